"""An embedded service: migrates its database, starts the API and the worker, restarts what dies, stops cleanly."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from winnow.errors import WinnowError
from winnow.lifeline import die_with_parent
from winnow.settings import Settings
from winnow.store import migrate

_READY_S: Final = 60.0
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_LIVED_WELL_S: Final = 30.0

_NAMES: Final = frozenset(f"WINNOW_{name.upper()}" for name in Settings.model_fields)
_ANYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - to be recognised, not to be bound


class CannotServe(WinnowError):
    code = "CANNOT_SERVE"
    title = "The service could not be started"


@contextmanager
def embedded(settings: Settings, *, worker: bool = True) -> Iterator[str]:
    """The URL of a running service, which ends with the block; nothing of it outlives this process."""
    if settings.port == 0:
        settings = settings.model_copy(update={"port": free_port()})
    migrate.upgrade(settings.effective_database_url)
    modules = ("app", "worker") if worker else ("app",)
    keepers = [_Keeper(module, _environment(settings), settings.stop_grace_s) for module in modules]
    try:
        for keeper in keepers:
            keeper.start()
        _await_ready(_url("127.0.0.1" if settings.host in _ANYWHERE else settings.host, settings.port), keepers[0])
        yield _url(settings.host, settings.port)
    finally:
        for keeper in keepers:
            keeper.ask_to_stop()
        for keeper in keepers:
            keeper.join()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def alone(**facts: Any) -> Settings:
    """Settings of a service of our own for one errand: whatever the environment says, on no database but its own."""
    own = {"host": "127.0.0.1", "port": 0, "require_keys": False, "allowed_hosts": ()}
    elsewhere = dict.fromkeys(("database_url", "database_url_file", "broker_url", "broker_url_file"))
    return Settings(**{**own, **elsewhere, **facts})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Keeper(threading.Thread):
    """Keeps one process running; the thread lives as long as the process should, since the process dies with it."""

    def __init__(self, module: str, environment: Mapping[str, str], grace_s: float) -> None:
        super().__init__(name=f"keeper-{module}", daemon=True)
        self._module, self._environment, self._grace_s = module, environment, grace_s
        self._stopping = threading.Event()
        self.refused: int | None = None

    def ask_to_stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            status = self._run_once()
            if status == 1 and time.monotonic() - began < _LIVED_WELL_S and deaths == 0:
                self.refused = status  # it ended by itself at its first start: it said why
            deaths = 0 if time.monotonic() - began > _LIVED_WELL_S else deaths + 1
            self._stopping.wait(_PAUSES_S[min(deaths, len(_PAUSES_S) - 1)])

    def _run_once(self) -> int:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", self._module],
            env=dict(self._environment),
            start_new_session=True,  # Ctrl-C reaches us alone; we tell the others
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one call that takes no lock
        )
        while process.poll() is None:
            if self._stopping.wait(0.1):
                return self._ended(process)
        return process.returncode

    def _ended(self, process: "subprocess.Popen[bytes]") -> int:
        process.terminate()
        try:
            return process.wait(self._grace_s + 2)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """This process's settings, spelled for the next ones."""
    environment = {name: value for name, value in os.environ.items() if name.upper() not in _NAMES}
    for name, value in settings.model_dump(exclude_none=True).items():
        text = ":".join(map(str, value)) if isinstance(value, tuple) else str(value)
        environment[f"WINNOW_{name.upper()}"] = text
    environment["WINNOW_DATA_DIR"] = str(settings.data_dir.absolute())
    return environment


def _await_ready(url: str, api: _Keeper) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and api.refused is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310 - our own address
                return
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                return  # it answers, and refuses this address or a caller without a key
            time.sleep(0.1)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise CannotServe("the API did not start; what it printed above says why (is the port taken?)")
