"""Where database and computation meet: claim a row, watch one child process, keep the lease, write the verdict.

The child never sees the database, and the database never waits for the child. Every write is fenced by the attempt's
number, so it does not matter when this process dies or freezes: the lease runs out and somebody else goes on.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import psutil
from sqlalchemy import Connection

from winnow.errors import (
    DeadlineExceeded,
    JobError,
    MemoryLimit,
    Stalled,
    StorageFull,
    Unavailable,
    WinnowError,
    WorkerCrashed,
)
from winnow.settings import Settings
from winnow.store import datasets, jobs, keys
from winnow.store.db import Database
from worker.progress import STAGES_OF, Progress

_CANCEL_GRACE_S: Final = 0.7  # how long a child may take to come to a safe point
_CHILD: Final = (sys.executable, "-m", "worker.child")
# Spinning threads starve their neighbours; and linear algebra adds in another order on another number of threads.
_SURROUNDINGS: Final = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Runner:
    """One slot: runs a job at a time. `wake` cuts the wait for the next one short."""

    def __init__(self, settings: Settings, database: Database, owner: str) -> None:
        self._settings, self._database, self._owner = settings, database, owner
        self.wake = threading.Event()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Give the job in hand back to the queue and end."""
        self._stopping.set()
        self.wake.set()

    def loop(self, poll_s: float) -> None:
        while not self._stopping.is_set():
            try:
                busy = self.run_one()
            except WinnowError:
                busy = False  # the database is away; the next poll tries again
            except Exception:
                logger.exception("a job could not be supervised; its lease will run out")
                busy = False
            if not busy:
                self.wake.wait(poll_s)
            self.wake.clear()

    def run_one(self) -> bool:
        """Claim and finish one job; False where there was none."""
        with self._database.begin() as connection:
            held = jobs.claim(connection, owner=self._owner, lease_s=self._settings.lease_s)
            if held is None:
                return False
            dataset = datasets.get(connection, held.tenant_id, held.dataset_id)
            tenant, max_items = keys.name_and_max_items(connection, held.tenant_id)
        if dataset is None:
            raise LookupError("a job always has its dataset")
        logger.info("claimed %s attempt %s", held.job_id, held.attempt)
        task = {
            "job_id": held.job_id,
            "attempt": held.attempt,
            "kind": held.kind,
            "spec": held.spec,
            "tenant": tenant,
            "dataset_id": held.dataset_id,
            "source": dataset.source,
            "labels": dataset.labels,
            "snapshot": dataset.snapshot,
            "max_items": min(self._settings.max_items, max_items),
        }
        child = Child(task)
        try:
            self._supervise(held, child)
        finally:
            child.kill()
        return True

    def _supervise(self, held: jobs.Claim, child: "Child") -> None:
        """Beat until the child has a verdict, or until somebody else has one for it."""
        deadline = time.monotonic() + held.run_limit_s
        while not child.ended.wait(self._settings.beat_s):
            if self._stopping.is_set():
                child.kill()
                self._write(held, jobs.release)
                return
            heard = self._beat(held, child)
            if heard == "lost" or not self._publish_listing(held, child):
                return
            if heard == "cancel":
                child.ask_to_stop(_CANCEL_GRACE_S)
                self._write(held, jobs.cancelled)
                return
            reason = self._out_of_bounds(child, deadline)
            if reason is not None:
                child.kill()
                self._write_error(held, reason)
                return
        if self._publish_listing(held, child):
            self._conclude(held, child)

    def _beat(self, held: jobs.Claim, child: "Child") -> jobs.Beat:
        progress = child.progress
        try:
            with self._database.begin() as connection:
                return jobs.beat(
                    connection,
                    held,
                    lease_s=self._settings.lease_s,
                    stage=progress.stage,
                    progress=progress.as_json(),
                )
        except WinnowError:
            return "held"  # the database is away: go on, the fence decides later

    def _publish_listing(self, held: jobs.Claim, child: "Child") -> bool:
        """Fix the dataset's snapshot once; False where another job was faster with another one: begin again."""
        listed, child.listed = child.listed, None
        if listed is None:
            return True
        first = self._retried(lambda connection: datasets.set_listed(connection, held.dataset_id, **listed))
        if first:
            return True
        row = self._retried(lambda connection: datasets.get(connection, held.tenant_id, held.dataset_id))
        if row is not None and row.fingerprint == listed["fingerprint"]:
            return True
        child.kill()
        self._write(held, jobs.release)
        return False

    def _out_of_bounds(self, child: "Child", deadline: float) -> JobError | None:
        if time.monotonic() > deadline:
            return DeadlineExceeded(
                "the job ran longer than its limit; filter a part of the dataset, or raise the limit"
            )
        if time.monotonic() - child.progress.moved_at > self._settings.stall_s:
            return Stalled(f"no progress for {self._settings.stall_s:g} s")
        limit = self._settings.child_memory_bytes
        if limit is not None and child.memory_bytes() > limit:
            return MemoryLimit("the job needs more memory than a worker may use; filter a part of the dataset")
        return None

    def _conclude(self, held: jobs.Claim, child: "Child") -> None:
        verdict = child.verdict
        if verdict is None:
            self._write_error(held, WorkerCrashed(f"the computation ended with status {child.status()}"))
        elif "done" in verdict:
            self._write(held, jobs.finish, **verdict["done"], progress=child.progress.as_json())
        elif "failed" in verdict:
            self._fail(held, **verdict["failed"])
        else:
            # Stopped without our asking: somebody sent it SIGTERM from outside.
            self._write(held, jobs.release)

    def _fail(self, held: jobs.Claim, *, code: str, title: str, detail: str, transient: bool) -> None:
        error = {"code": code, "title": title, "detail": detail}
        self._write(held, jobs.fail, code=code, error=error, transient=transient)

    def _write_error(self, held: jobs.Claim, error: JobError) -> None:
        body = {"code": error.code, "title": error.title, "detail": error.detail}
        if isinstance(error, WorkerCrashed | Stalled):
            self._write(held, jobs.crash, code=error.code, error=body)
        else:
            self._write(held, jobs.fail, code=error.code, error=body)

    def _write(self, held: jobs.Claim, verdict: Callable[..., bool], **facts: Any) -> None:
        """Write a verdict, as often as it takes; the fence makes a second writing harmless."""
        written = self._retried(lambda connection: verdict(connection, held, **facts))
        logger.info("%s attempt %s: %s %s", held.job_id, held.attempt, verdict.__name__, "" if written else "(fenced)")

    def _retried(self, write: Callable[[Connection], T]) -> T:
        """Over a database outage; a worker that is told to stop gives up after its grace, and the lease runs out."""
        give_up_at = None
        while True:
            try:
                with self._database.begin() as connection:
                    return write(connection)
            except (Unavailable, StorageFull):
                if self._stopping.is_set() and give_up_at is None:
                    give_up_at = time.monotonic() + self._settings.stop_grace_s
                if give_up_at is not None and time.monotonic() > give_up_at:
                    raise
                time.sleep(0.5)


class Child:
    """The computing process: its reports, its verdict, its end."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.progress = Progress(STAGES_OF[task["kind"]])
        self.listed: dict[str, Any] | None = None
        self.verdict: dict[str, Any] | None = None
        self.ended = threading.Event()
        # This thread waits for the child to end, as it must: the child is told to die with the thread that made it.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            _CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | _SURROUNDINGS,
        )
        self._hand_over(task)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def memory_bytes(self) -> int:
        """Of the child and of what it started."""
        try:
            process = psutil.Process(self._process.pid)
            return sum(unshared_bytes(part) for part in (process, *process.children(recursive=True)))
        except psutil.Error:
            return 0

    def ask_to_stop(self, grace_s: float) -> None:
        self._process.send_signal(signal.SIGTERM)
        self.ended.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """The child and all it started; it may be gone already."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def status(self) -> int:
        return self._process.wait()

    def _hand_over(self, task: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - Popen was given a pipe
        with suppress(BrokenPipeError):  # it died at birth; the missing verdict will tell
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - Popen was given a pipe
        for line in self._process.stdout:
            message = _message(line)
            if "report" in message:
                self.progress.report(*message["report"])
            elif "listed" in message:
                self.listed = message["listed"]
            elif message:
                self.verdict = message
        self.ended.set()


def unshared_bytes(process: psutil.Process) -> int:
    """What it alone holds in memory. Pages of files are shared with the system, which takes them back when it must."""
    held = process.memory_info()
    return int(held.rss) - int(getattr(held, "shared", 0))  # Linux alone tells


def _message(line: str) -> dict[str, Any]:
    """A line of the protocol; a line cut off by a kill says nothing."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
