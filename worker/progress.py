"""Reports of a computation become what a person watches: share done, rate and time left, stage by stage."""

import time
from typing import Any, Final

STAGES: Final = ("reading", "embedding", "selecting", "covering", "inspecting", "writing")
STAGES_OF: Final[dict[str, tuple[str, ...]]] = {
    "list": ("reading",),
    "embed": ("reading", "embedding", "writing"),
    "filter": STAGES,
}
# The share of a typical job each stage takes; only the bar depends on it.
_WEIGHTS: Final = {
    "reading": 0.15,
    "embedding": 0.55,
    "selecting": 0.1,
    "covering": 0.05,
    "inspecting": 0.05,
    "writing": 0.10,
}


class Progress:
    """Fed with reports, read as the `progress` object of a job."""

    def __init__(self, stages: tuple[str, ...] = STAGES) -> None:
        whole = sum(_WEIGHTS[name] for name in stages)
        self._weights = {name: _WEIGHTS[name] / whole for name in stages}
        self._began: dict[str, float] = {}
        self._stages: dict[str, dict[str, Any]] = {}
        self._started = time.monotonic()
        self.stage: str | None = None
        self.moved_at = time.monotonic()

    def report(self, stage: str, done: int, total: int, skipped: int) -> None:
        now = time.monotonic()
        self.stage, self.moved_at = stage, now
        elapsed = max(1e-3, now - self._began.setdefault(stage, now))
        rate = round(done / elapsed, 1) if elapsed > 0.2 else None
        self._stages[stage] = {"name": stage, "done": done, "total": total, "skipped": skipped, "rate_per_s": rate}

    def as_json(self) -> dict[str, Any]:
        fraction = sum(weight * self._share(name) for name, weight in self._weights.items())
        elapsed = time.monotonic() - self._started
        eta = round(elapsed * (1 - fraction) / fraction) if fraction > 0.02 and elapsed > 1 else None
        stages = [self._stages[name] for name in STAGES if name in self._stages]
        return {"fraction": round(fraction, 4), "eta_s": eta, "stages": stages}

    def _share(self, name: str) -> float:
        stage = self._stages.get(name)
        later = any(other in self._stages for other in STAGES[STAGES.index(name) + 1 :])
        if later:
            return 1.0
        return min(1.0, stage["done"] / stage["total"]) if stage and stage["total"] else 0.0
