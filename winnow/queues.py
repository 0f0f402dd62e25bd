"""Names both processes share: queues, tasks, job kinds and states."""

from typing import Final, Literal

COMPUTE_QUEUE: Final = "compute"
KEY_PREFIX: Final = "winnow:"  # of everything of ours in a broker that others may use too
RUN_JOB: Final = "winnow.run_job"

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL_STATES: Final = frozenset({"succeeded", "failed", "cancelled"})

JobKind = Literal["list", "filter", "embed"]
