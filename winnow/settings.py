"""Every setting, read once at process start from `WINNOW_*`, frozen, and passed down; units in the names."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Defaults are those of the embedded mode; `.env.example` lists every name."""

    model_config = SettingsConfigDict(env_prefix="WINNOW_", frozen=True, extra="ignore", secrets_dir=None)

    # where things are
    data_dir: Path = Path(".winnow")
    database_url: str | None = None  # None: SQLite in data_dir
    database_url_file: Path | None = None  # a file that holds it: how containers hand over secrets
    broker_url: str | None = None  # None: workers poll the database, no broker
    broker_url_file: Path | None = None
    allow_roots: Annotated[tuple[Path, ...], NoDecode] = ()  # ':'-separated; folders datasets may come from
    output_roots: Annotated[tuple[Path, ...], NoDecode] = ()  # ':'-separated; folders copies may go to
    connections: Path | None = None  # TOML: the object stores that may be read; see winnow/connections.py
    allow_urls: bool = False  # whether datasets may be lists of URLs
    private_url_hosts: str = ""  # 'host:port,host:port' that lists of URLs may reach although they are not public

    # the HTTP door
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    require_keys: bool | None = None  # None: on unless host is loopback
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # ':'-separated Host names beyond loopback
    max_json_bytes: int = Field(1 << 20, ge=1024)
    max_upload_bytes: int = Field(64 << 30, ge=1)
    body_idle_s: float = Field(15.0, gt=0)
    body_total_s: float = Field(30.0, gt=0)  # JSON bodies; uploads are bounded by size and idleness
    header_s: float = Field(10.0, gt=0)
    rate_per_minute: int = Field(6000, ge=1)  # per tenant and API process

    # limits of one job
    max_items: int = Field(20_000_000, ge=1)
    max_item_bytes: int = Field(256 << 20, ge=1)
    max_pixels: int = Field(64_000_000, ge=1)
    run_limit_s: int = Field(6 * 3600, ge=1)
    stall_s: float = Field(300.0, gt=0)
    child_memory_bytes: int | None = None  # without pages of files; None: no limit beyond the machine's

    # the lease
    lease_s: float = Field(30.0, gt=0)
    beat_s: float = Field(1.0, gt=0)
    reap_s: float = Field(2.0, gt=0)
    poll_s: float = Field(0.2, gt=0)  # how often an embedded worker looks for jobs
    stop_grace_s: float = Field(8.0, ge=0)

    # the worker
    slots: int = Field(1, ge=1)  # jobs at a time in one worker process
    threads: int = Field(0, ge=0)  # 0: what the machine and its cgroup give
    decoders: int = Field(0, ge=0)  # decode processes; 0: one per thread
    cache_bytes: int = Field(20 << 30, ge=0)  # of vectors that are not computed again; 0: none once no job runs

    # what encoders may use
    weights_dir: Path | None = None  # safetensors that do not ship; `winnow encoders fetch` writes them
    allow_downloads: bool = False  # True: a job may fetch what is missing there
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of backbones; auto: bfloat16 where it is native

    log_level: str = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("database_url", "broker_url"):
            file = values.get(f"{name}_file")
            if file and not values.get(name):
                values = values | {name: Path(file).read_text().strip()}
        return values

    @field_validator("allow_roots", "output_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return tuple(Path(part) for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("connections", mode="before")
    @classmethod
    def _none_where_empty(cls, value: object) -> object:
        return value or None

    @field_validator("private_url_hosts")
    @classmethod
    def _are_places(cls, value: str) -> str:
        _places(value)
        return value

    @property
    def private_places(self) -> frozenset[tuple[str, int]]:
        return _places(self.private_url_hosts)

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'winnow.db'}"

    @property
    def is_loopback(self) -> bool:
        return self.host in {"127.0.0.1", "::1", "localhost"}

    @property
    def keys_required(self) -> bool:
        return not self.is_loopback if self.require_keys is None else self.require_keys


def _places(text: str) -> frozenset[tuple[str, int]]:
    """(host, port) of each; ValueError where it is no such list."""
    places = (part.strip().rpartition(":") for part in text.split(",") if part.strip())
    return frozenset((host.lower().strip("[]"), int(port)) for host, _, port in places)
