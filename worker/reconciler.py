"""Mends what others left: expired leases, unheard doorbells, forgotten files. Several may run side by side."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from winnow.embeddings.cache import ShardCache
from winnow.errors import WinnowError
from winnow.settings import Settings
from winnow.store import idempotency, jobs, uploads
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database

_HOUSEKEEPING_S: Final = 3600.0
_CACHE_S: Final = 60.0
_CLOCKS_APART_S: Final = 60.0  # the database's and the disk's, at most
_ORPHAN_AGE_S: Final = 24 * 3600.0  # nobody writes to one file for a day
_ROWLESS_AGE_S: Final = 3600.0  # a file and its row appear within one request

logger = logging.getLogger(__name__)


class Reconciler:
    """`ring(job_id)` presses the doorbell; without a broker it does nothing."""

    def __init__(self, settings: Settings, database: Database, ring: Callable[[str], None]) -> None:
        self._settings, self._database, self._ring = settings, database, ring
        self._stopping = threading.Event()
        self._swept_at = self._slept_since = self._bounded_at = time.time()

    def stop(self) -> None:
        self._stopping.set()

    def loop(self) -> None:
        while not self._stopping.wait(self._settings.reap_s):
            try:
                self.run_once()
            except WinnowError:
                continue  # the database is away
            except Exception:
                logger.exception("a round of mending failed")

    def run_once(self) -> None:
        if self._was_suspended():
            return
        with self._database.begin() as connection:
            for job_id in jobs.reap(connection, lease_s=self._settings.lease_s):
                logger.warning("the lease of %s ran out", job_id)
        with self._database.begin() as connection:
            due = jobs.due_to_ring(connection)
        for job_id in due:
            self._ring(job_id)
        if time.time() - self._bounded_at > _CACHE_S:
            self._bounded_at = time.time()
            cache = ShardCache(Artifacts(self._settings.data_dir).cache)
            bound_cache(self._database, cache, self._settings.cache_bytes)
        if time.time() - self._swept_at > _HOUSEKEEPING_S:
            self._swept_at = time.time()
            self._sweep()

    def _was_suspended(self) -> bool:
        """After a laptop's sleep every lease has run out and nobody is dead: let the living beat first."""
        now, before = time.time(), self._slept_since
        self._slept_since = now
        return now - before > self._settings.reap_s + self._settings.lease_s

    def _sweep(self) -> None:
        with self._database.begin() as connection:
            idempotency.forget_old(connection)
            for upload_id in uploads.remove_abandoned(connection, older_than_s=_ORPHAN_AGE_S):
                logger.info("upload %s was never completed", upload_id)
        artifacts = Artifacts(self._settings.data_dir)
        sweep_orphans(self._database, artifacts, older_than_s=_ORPHAN_AGE_S)
        sweep_uploads(self._database, artifacts, older_than_s=_ROWLESS_AGE_S)


def bound_cache(database: Database, cache: ShardCache, keep_bytes: int) -> int:
    """Tidy the cache and bring it down to its bound, but for what a job may use that has not ended; the bytes gone."""
    with database.read() as connection:
        spare_since = jobs.oldest_unfinished_start(connection) - _CLOCKS_APART_S
    cache.merge()
    gone = cache.prune(keep_bytes, spare_since=spare_since)
    if gone:
        logger.info("the cache of vectors gave %s bytes back", gone)
    return gone


def sweep_orphans(database: Database, artifacts: Artifacts, *, older_than_s: float) -> int:
    """Delete attempts that no result names and files that were never finished; returns how many went."""
    with database.read() as connection:
        unfinished, results = jobs.attempts_in_use(connection)
    before = time.time() - older_than_s
    gone = 0
    for attempt in artifacts.root.glob("jobs/*/a*"):
        named = attempt.parent.name in unfinished or (attempt.parent.name, attempt.name) in results
        if named or _younger(attempt, before):
            continue
        shutil.rmtree(attempt, ignore_errors=True)
        gone += 1
    for remnant in artifacts.root.rglob(".tmp.*"):
        if not _younger(remnant, before):
            remnant.unlink(missing_ok=True)
            gone += 1
    return gone


def sweep_uploads(database: Database, artifacts: Artifacts, *, older_than_s: float) -> int:
    """Delete uploaded bytes that no row speaks of, so that nobody counts them or could delete them; how many went."""
    before = time.time() - older_than_s
    old = [path for path in artifacts.root.glob("uploads/up_*") if not _younger(path, before)]
    with database.read() as connection:
        known = uploads.known(connection)
    rowless = [path for path in old if path.name not in known]
    for path in rowless:
        path.unlink(missing_ok=True)
    return len(rowless)


def _younger(path: Path, than: float) -> bool:
    try:
        return path.stat().st_mtime > than
    except OSError:
        return True
