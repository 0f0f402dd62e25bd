"""How fast a tenant may ask: a token bucket each, so that a burst is fine and a flood is nobody else's trouble."""

import threading
import time
from collections.abc import Callable

from winnow.errors import RateLimited


class Buckets:
    """One minute's requests a tenant, filled evenly. Each API process keeps its own."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = per_minute, clock
        self._left: dict[str, tuple[float, float]] = {}  # tenant -> requests left, when
        self._lock = threading.Lock()

    def spend(self, tenant_id: str) -> None:
        now, full = self._clock(), float(self._rate)
        with self._lock:
            left, then = self._left.get(tenant_id, (full, now))
            left = min(full, left + (now - then) * full / 60)
            self._left[tenant_id] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            raise RateLimited(f"more than {self._rate} requests a minute; wait a little and go on")
