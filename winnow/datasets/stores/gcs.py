"""Google's Cloud Storage, through gcsfs's calls of the JSON interface."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from winnow.connections import Connection
from winnow.datasets.stores.base import (
    CALL_LIMIT_S,
    PAGE,
    Denied,
    Found,
    Missing,
    Odd,
    Passing,
    Stamp,
    check,
    connecting,
    driver,
)
from winnow.errors import ItemError, JobError, StoreRefused

_FIELDS = "name,size,md5Hash,contentEncoding,generation"


class GcsStore:
    """Credentials: a service account's JSON file. An object is asked for twice: which version, then that version."""

    def __init__(self, connection: Connection) -> None:
        gcsfs, self._asyn = driver("gcsfs.core", "gcs"), driver("fsspec.asyn", "gcs")
        self._bucket = connection.bucket
        account = connection.secrets().get("service_account")
        ambient = "anon" if connection.anonymous else "google_default"
        with connecting():
            token = json.loads(account.get_secret_value()) if account else ambient
            self._files = gcsfs.GCSFileSystem(
                access="read_only", token=token, endpoint_url=connection.endpoint_url, skip_instance_cache=True
            )

    def page(self, prefix: str, after: str) -> tuple[list[Found], str | None]:
        """`startOffset` is the first name of a page, so the last of the page before comes once more."""
        query = {"prefix": prefix, "maxResults": PAGE, "fields": f"items({_FIELDS}),nextPageToken"}
        answer = self._asked("b/{}/o", self._bucket, **query | ({"startOffset": after} if after else {}))
        found = [Found(item["name"], _stamp(item)) for item in answer.get("items", ())]
        following = found[-1].key if "nextPageToken" in answer and found else None
        return [entry for entry in found if entry.key != after], following

    def read(self, key: str, is_wanted: Callable[[Stamp], bool], max_bytes: int) -> bytes:
        said = self._asked("b/{}/o/{}", self._bucket, key, fields=_FIELDS)
        check(_stamp(said), is_wanted, max_bytes)
        version = {"alt": "media", "ifGenerationMatch": said["generation"]}
        _, content = self._called("b/{}/o/{}", self._bucket, key, **version)
        return bytes(content)

    def _asked(self, path: str, *names: str, **query: Any) -> Any:
        return self._called(path, *names, json_out=True, **query)

    def _called(self, path: str, *names: str, **query: Any) -> Any:
        call = self._files._call
        with _gcs_errors():
            return self._asyn.sync(self._files.loop, call, "GET", path, *names, timeout=CALL_LIMIT_S, **query)


def _stamp(said: Any) -> Stamp:
    """Composed objects have no MD5, and packed ones not that of what comes: their generation stands for them."""
    size, md5 = int(said.get("size", 0)), None if said.get("contentEncoding") else said.get("md5Hash")
    return Stamp(size, None, str(said["generation"]), md5=base64.b64decode(md5) if md5 else None)


@contextmanager
def _gcs_errors() -> Iterator[None]:
    try:
        yield
    except (ItemError, JobError):
        raise
    except Exception as error:
        _raise_for_gcs(error)


def _raise_for_gcs(error: Exception) -> NoReturn:
    """gcsfs tells a refusal as an OSError that begins with a word, and the rest by a number."""
    code = int(getattr(error, "code", 0) or 0)
    if isinstance(error, FileExistsError):  # 412: another generation by now
        raise ItemError("CONTENT_CHANGED", "the object has been overwritten since it was listed") from error
    if isinstance(error, FileNotFoundError):
        raise Missing from error
    if code == 401 or type(error).__module__.startswith("google.auth"):
        raise StoreRefused("the object store refuses the connection's credentials; ask the administrator") from error
    if code == 403 or (isinstance(error, OSError) and str(error).startswith("Forbidden")):
        raise Denied from error
    if code == 400 or isinstance(error, ValueError):
        raise Odd from error
    raise Passing from error
