"""The object stores an administrator has named: where each is, who may use it, where its secrets lie.

The file holds no secret itself, only the name of a file or of environment variables that do; so whoever only has to
know the names (the API) never learns more.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from winnow.errors import ConnectionBroken
from winnow.spec import ConnectionName

Protocol = Literal["s3", "gcs", "azure"]
Secrets = Mapping[str, SecretStr]

_WANTED: Final[Mapping[Protocol, tuple[str, ...]]] = {
    "s3": ("key", "secret", "token"),  # the token may be left out
    "gcs": ("service_account",),  # the text of its JSON file
    "azure": ("account_key", "sas_token", "connection_string"),  # one of them
}


class Connection(BaseModel):
    """One bucket (or container) of one store. Without credentials of its own, those of the machine are used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Protocol
    bucket: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,221}$")]
    prefix: Annotated[str, StringConstraints(max_length=512, pattern=r"^([^/\x00].*)?$")] = ""
    endpoint_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] | None = None
    region: str | None = None  # s3
    account: str | None = None  # azure
    tenants: tuple[str, ...] | None = Field(None, min_length=1)  # names; None: every tenant
    credentials_file: Path | None = None  # JSON: {"key": ..., "secret": ...}; for gcs the service account's own file
    credentials_env: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None  # LAKE: LAKE_KEY ...
    anonymous: bool = False

    @model_validator(mode="after")
    def _one_way_in(self) -> "Connection":
        if sum((self.credentials_file is not None, self.credentials_env is not None, self.anonymous)) > 1:
            raise ValueError("give at most one of credentials_file, credentials_env, anonymous")
        if self.protocol == "azure" and self.account is None:
            raise ValueError("azure needs an account")
        return self

    @property
    def root(self) -> str:
        """What every key begins with: a folder's name, so that `yard` does not open `yard-2`."""
        return self.prefix if not self.prefix or self.prefix.endswith("/") else f"{self.prefix}/"

    def serves(self, tenant: str) -> bool:
        return self.tenants is None or tenant in self.tenants

    def secrets(self) -> Secrets:
        """Read where they lie, when they are needed; empty where the machine's own are to be used."""
        if self.credentials_file is not None:
            return self._from_file(self.credentials_file)
        if self.credentials_env is not None:
            names = {name: f"{self.credentials_env}_{name.upper()}" for name in _WANTED[self.protocol]}
            found = {name: os.environ.get(variable) for name, variable in names.items()}
            return self._wanted({name: text for name, text in found.items() if text})
        return {}

    def _from_file(self, path: Path) -> Secrets:
        try:
            text = path.read_text()
            return self._wanted({"service_account": text} if self.protocol == "gcs" else json.loads(text))
        except (OSError, ValueError, TypeError) as error:
            raise ConnectionBroken("the credentials of the connection cannot be read; ask the administrator") from error

    def _wanted(self, found: Mapping[str, str]) -> Secrets:
        secrets = {name: SecretStr(found[name]) for name in _WANTED[self.protocol] if name in found}
        if not secrets or (self.protocol == "s3" and not {"key", "secret"} <= secrets.keys()):
            raise ConnectionBroken("the connection lacks its credentials; ask the administrator")
        return secrets


Connections = Mapping[str, Connection]
_TABLE: Final[TypeAdapter[dict[ConnectionName, Connection]]] = TypeAdapter(dict[ConnectionName, Connection])


def load_connections(path: Path | None) -> Connections:
    """The TOML file's tables, one a connection; ConnectionBroken says what is wrong there, and quotes no value."""
    if path is None:
        return {}
    try:
        tables: Any = tomllib.loads(path.read_text())
        return _TABLE.validate_python(tables)
    except ValidationError as error:
        parts = error.errors(include_input=False)
        wrong = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in parts)
        raise ConnectionBroken(f"WINNOW_CONNECTIONS: {wrong}") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConnectionBroken(f"WINNOW_CONNECTIONS: {path} cannot be read: {error}") from None
