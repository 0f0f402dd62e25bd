"""`python -m worker`: runners that claim jobs, the reconciler that mends, and, where there is a broker, the bell."""

import logging
import os
import signal
import socket
import threading

from winnow import log
from winnow.settings import Settings
from winnow.store.db import Database
from worker.bell import Bell, press
from worker.reconciler import Reconciler
from worker.runner import Runner

_POLL_WITH_BELL_S = 2.0  # a broker that is away delays a job by this much at most

logger = logging.getLogger(__name__)


def main() -> None:
    settings = Settings()
    log.configure(settings.log_level)
    database = Database(settings.effective_database_url)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    runners = [Runner(settings, database, f"{owner}:{slot}") for slot in range(settings.slots)]
    bell = Bell(settings, lambda: _wake(runners)) if settings.broker_url else None
    reconciler = Reconciler(settings, database, press if bell else lambda _job_id: None)
    threads = _started(settings, runners, reconciler, bell)
    _wait_for_signal()
    for runner in runners:
        runner.stop()
    reconciler.stop()
    if bell is not None:
        bell.stop()
    for thread in threads:
        thread.join(settings.stop_grace_s + 2)
    database.dispose()


def _started(
    settings: Settings, runners: list[Runner], reconciler: Reconciler, bell: Bell | None
) -> list[threading.Thread]:
    poll_s = _POLL_WITH_BELL_S if bell else settings.poll_s
    threads = [threading.Thread(target=runner.loop, args=(poll_s,)) for runner in runners]
    threads.append(threading.Thread(target=reconciler.loop))
    for thread in threads:
        thread.daemon = True
        thread.start()
    if bell is not None:
        bell.start()
    logger.info("worker ready with %s slots", len(runners))
    return threads


def _wake(runners: list[Runner]) -> None:
    for runner in runners:
        runner.wake.set()


def _wait_for_signal() -> None:
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    while not asked.wait(3600):
        pass


if __name__ == "__main__":
    main()
