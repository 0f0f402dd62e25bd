"""A bar for terminals: how far a job is."""

import sys
from typing import Any, Final

_WIDTH: Final = 30


def draw(job: dict[str, Any]) -> None:
    """One line on stderr, over the one before; a line of its own where the job has ended."""
    share = 1.0 if job["state"] == "succeeded" else job["progress"]["fraction"]
    stages = job["progress"]["stages"]
    said = f"{stages[-1]['done']}/{stages[-1]['total'] or '?'}" if stages else ""
    full = round(_WIDTH * share)
    line = f"{'#' * full}{'.' * (_WIDTH - full)} {share:4.0%} {job['stage'] or job['state']} {said}"
    ended = job["finished_at"] is not None
    sys.stderr.write(f"\r{line:<78}" + ("\n" if ended else ""))
    sys.stderr.flush()
