"""Page tokens: a position the caller carries for us, signed so that it can only be one we gave out."""

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from winnow.errors import InvalidRequest

_SIGNATURE_BYTES: Final = 16
_SECRET_BYTES: Final = 32


class Tokens:
    """Signs with a secret that lies in the data folder, so that all API processes of a service agree."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, purpose: str, value: Any) -> str:
        body = json.dumps(value, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._signature(purpose, body) + body).decode().rstrip("=")

    def read(self, purpose: str, token: str) -> Any:
        """The value, if this list gave it out; `purpose` names the list with everything that narrows it."""
        refused = InvalidRequest(
            "this page_token was not given out for this list; start again without one",
            fields=(("/page_token", "not a token of this list"),),
        )
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise refused from error
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(purpose, body)):
            raise refused
        return json.loads(body)

    def _signature(self, purpose: str, body: bytes) -> bytes:
        return hmac.digest(self._secret, purpose.encode() + b"\0" + body, hashlib.sha256)[:_SIGNATURE_BYTES]


def load_secret(folder: Path) -> bytes:
    """The service's secret; the first process to come makes it, whole before anybody can see it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret.key"
    if not path.exists():
        aside = folder / f".tmp.secret.{os.getpid()}.{secrets.token_hex(4)}"
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(aside, path)  # fails where another process was faster: then its secret counts
        aside.unlink()
    secret = path.read_bytes()
    if len(secret) < _SECRET_BYTES:
        raise RuntimeError(f"{path} is damaged; remove it, and a new one is made (old page tokens end with it)")
    return secret
