"""The doorbell: tells the workers that there is a job, by id alone, after the commit. It may fail; the row stays."""

import logging
import queue
import threading
from contextlib import suppress
from typing import Final, Protocol

from celery import Celery
from kombu.exceptions import KombuError
from redis import RedisError

from winnow.queues import COMPUTE_QUEUE, KEY_PREFIX, RUN_JOB

_WAITING: Final = 1000  # rings; more are dropped, since the reconciler rings again
_TRANSPORT: Final = {"socket_timeout": 2, "socket_connect_timeout": 2, "global_keyprefix": KEY_PREFIX}
_CLOSE_S: Final = 3.0

logger = logging.getLogger(__name__)


class Doorbell(Protocol):
    def ring(self, job_id: str) -> None: ...

    def close(self) -> None: ...


class NullDoorbell:
    """Embedded workers look for themselves."""

    def ring(self, job_id: str) -> None:
        pass

    def close(self) -> None:
        pass


class CeleryDoorbell:
    """Publishes from a thread of its own, so that no request ever waits for a broker."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery("winnow", broker=broker_url, set_as_current=False)
        self._celery.conf.update(task_publish_retry=False, task_ignore_result=True, broker_transport_options=_TRANSPORT)
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="doorbell", daemon=True)
        self._thread.start()

    def ring(self, job_id: str) -> None:
        try:
            self._waiting.put_nowait(job_id)
        except queue.Full:
            logger.warning("the doorbell is jammed; %s is found by polling", job_id)

    def close(self) -> None:
        """Whatever is still waiting is rung by the reconciler."""
        self._closing.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes the thread, unless it is busy anyway
        self._thread.join(_CLOSE_S)
        self._celery.close()

    def _publish(self) -> None:
        while (job_id := self._waiting.get()) is not None and not self._closing.is_set():
            try:
                self._celery.send_task(RUN_JOB, (job_id,), queue=COMPUTE_QUEUE, ignore_result=True)
            except (KombuError, RedisError, OSError):
                logger.warning("the broker is away; %s is found by polling", job_id)
