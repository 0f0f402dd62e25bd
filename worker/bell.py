"""Keeps the bell alive: a Celery process that owns no job, may crash at will, and is started again.

A message that kills every consumer (broken base64 does) would be delivered for ever; after a few quick deaths the
queue is emptied. That loses nothing: waiting jobs are rows, and are rung again.
"""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis
from kombu.exceptions import KombuError

from winnow.lifeline import die_with_parent
from winnow.queues import COMPUTE_QUEUE, KEY_PREFIX
from winnow.settings import Settings
from worker.celery_app import SOCKET_VARIABLE, ring

_QUICK_S: Final = 10.0  # a bell that lives shorter died of what it was fed
_QUICK_DEATHS: Final = 3
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
# In Redis a queue is a list of its name; what was taken and not acknowledged lies in two more.
_KEYS: Final = tuple(KEY_PREFIX + name for name in (COMPUTE_QUEUE, "unacked", "unacked_index"))

logger = logging.getLogger(__name__)


class Bell:
    """`on_ring` is called for every message, from a thread of its own."""

    def __init__(self, settings: Settings, on_ring: Callable[[], None]) -> None:
        self._settings, self._on_ring = settings, on_ring
        self._stopping = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="winnow-")
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = str(Path(self._folder.name) / "bell")
        self._door.bind(self._path)
        self._door.settimeout(0.5)

    def start(self) -> None:
        for work in (self._listen, self._keep_alive):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                self._door.recv(64)
            except TimeoutError:
                continue
            self._on_ring()

    def _keep_alive(self) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._ring_until_it_dies()
            deaths = deaths + 1 if time.monotonic() - began < _QUICK_S else 1
            if deaths >= _QUICK_DEATHS:
                self._empty_queue()
            self._stopping.wait(_PAUSES_S[min(deaths, len(_PAUSES_S)) - 1])

    def _ring_until_it_dies(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker"]
        options = ["-P", "solo", "-c", "1", "-Q", COMPUTE_QUEUE, "--without-gossip", "--without-mingle"]
        environment: dict[str, Any] = os.environ | {SOCKET_VARIABLE: self._path}
        bell = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, *options, "--loglevel", "ERROR"],
            env=environment,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one call that takes no lock
        )
        while bell.poll() is None:
            if self._stopping.wait(0.2):
                bell.kill()
        bell.wait()

    def _empty_queue(self) -> None:
        try:
            with redis.Redis.from_url(str(self._settings.broker_url), socket_timeout=2) as broker:
                broker.delete(*_KEYS)
            logger.warning("the bell died %s times in a row; its queue was emptied, jobs are rung again", _QUICK_DEATHS)
        except redis.RedisError:
            return  # the broker is away, which is why the bell died


def press(job_id: str) -> None:
    """Ring for a job that has waited; a broker that is away is no reason to stop mending."""
    try:
        ring.apply_async((job_id,), ignore_result=True)
    except (KombuError, OSError, redis.RedisError):
        logger.warning("the broker is away; workers find their jobs by polling")
