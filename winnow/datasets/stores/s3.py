"""Amazon's S3, and every store that speaks its protocol, through s3fs."""

import asyncio
import base64
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from winnow.connections import Connection
from winnow.datasets.stores.base import (
    CALL_LIMIT_S,
    CONNECT_S,
    CONNECTIONS,
    PAGE,
    READ_S,
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
from winnow.errors import ConnectionBroken, ItemError, JobError, SourceGone, StoreRefused

_HEADS: Final = 32  # at one time
_HEAD_PAUSES_S: Final = (0.2, 0.8, 3.2)  # one of a thousand that is throttled must not cost the page
_TRANSIENT_CODES: Final = frozenset(
    {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException", "429"}
)
_CREDENTIAL_CODES: Final = frozenset(
    {
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
        "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "InvalidSecurity", "NotSignedUp",
    }
)  # fmt: skip
_TAG: Final = re.compile(r"^[0-9a-f]{32}(-[0-9]+)?$")  # an MD5, of the content or of its parts' MD5s: but for objects
# under a key of their own (SSE-KMS, SSE-C), of which only the answer to a read would tell; so it is no digest to check


class S3Store:
    """Credentials: `key` and `secret`, and a `token` where they are for a while only."""

    def __init__(self, connection: Connection) -> None:
        s3fs, self._asyn = driver("s3fs", "s3"), driver("fsspec.asyn", "s3")
        self._bucket = connection.bucket
        secrets = {name: secret.get_secret_value() for name, secret in connection.secrets().items()}
        with connecting():
            self._files = s3fs.S3FileSystem(
                **secrets,
                anon=connection.anonymous,
                endpoint_url=connection.endpoint_url,
                client_kwargs={"region_name": connection.region} if connection.region else {},
                config_kwargs={
                    "connect_timeout": CONNECT_S,
                    "read_timeout": READ_S,
                    "max_pool_connections": CONNECTIONS,
                    "retries": {"total_max_attempts": 1},  # the reader tries again, in a time it knows
                },
                skip_instance_cache=True,
                use_listings_cache=False,
            )
        self._files.retries = 1
        self._few = asyncio.Semaphore(_HEADS)

    def page(self, prefix: str, after: str) -> tuple[list[Found], str | None]:
        page: tuple[list[Found], str | None] = self._called(self._page, prefix, after)
        return page

    def read(self, key: str, is_wanted: Callable[[Stamp], bool], max_bytes: int) -> bytes:
        content: bytes = self._called(self._read, key, is_wanted, max_bytes)
        return content

    def _called(self, call: Callable[..., Any], *arguments: Any) -> Any:
        with _s3_errors():
            return self._asyn.sync(self._files.loop, call, *arguments, timeout=CALL_LIMIT_S)

    async def _page(self, prefix: str, after: str) -> tuple[list[Found], str | None]:
        place = {"StartAfter": after} if after else {}
        answer = await self._files._call_s3(
            "list_objects_v2", Bucket=self._bucket, Prefix=prefix, MaxKeys=PAGE, **place
        )
        entries = answer.get("Contents", ())
        digests = await asyncio.gather(*(self._sha256(entry) for entry in entries))
        found = [
            Found(entry["Key"], _s3_stamp(entry["Size"], entry["ETag"], digest))
            for entry, digest in zip(entries, digests, strict=True)
        ]
        return found, found[-1].key if answer.get("IsTruncated") and found else None

    async def _sha256(self, entry: Any) -> str | None:
        """Asked for one by one, and only where the page says that it is kept; an object may do without."""
        if "SHA256" not in entry.get("ChecksumAlgorithm", ()):
            return None
        for pause_s in (*_HEAD_PAUSES_S, None):
            try:
                return await self._head(entry["Key"])
            except (Missing, Denied, Odd):  # deleted since, or closed: reading will tell
                return None
            except Passing:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
        return None

    async def _head(self, key: str) -> str | None:
        call = {"Bucket": self._bucket, "Key": key, "ChecksumMode": "ENABLED"}
        async with self._few:
            with _s3_errors():
                digest: str | None = (await self._files._call_s3("head_object", **call)).get("ChecksumSHA256")
                return digest

    async def _read(self, key: str, is_wanted: Callable[[Stamp], bool], max_bytes: int) -> bytes:
        answer = await self._files._call_s3("get_object", Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        async with answer["Body"] as body:
            stamp = _s3_stamp(answer["ContentLength"], answer["ETag"], answer.get("ChecksumSHA256"))
            check(stamp, is_wanted, max_bytes)
            content: bytes = await body.read()
            return content


def _s3_stamp(size: int, etag: str, sha256: str | None) -> Stamp:
    tag = etag.strip('"')
    digest = base64.b64decode(sha256) if sha256 and "-" not in sha256 else None  # else: of the parts' digests
    return Stamp(size, tag if _TAG.match(tag) else None, tag, digest)


@contextmanager
def _s3_errors() -> Iterator[None]:
    try:
        yield
    except (ItemError, JobError):
        raise
    except Exception as error:
        _raise_for_s3(error)


def _raise_for_s3(error: Exception) -> NoReturn:
    """What the driver's error means. Its words are dropped: they may hold an address or a key's name."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    code, status = _s3_code(response)
    if code in _TRANSIENT_CODES or status == 429 or status >= 500:
        raise Passing from error
    if code == "NoSuchBucket":
        raise SourceGone("the connection's bucket is not there; ask the administrator") from error
    if code in _CREDENTIAL_CODES or type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError"}:
        raise StoreRefused("the object store refuses the connection's credentials; ask the administrator") from error
    if code == "InvalidObjectState":
        raise ItemError("UNREADABLE", "the object lies in cold storage") from error
    if status in {301, 307}:
        raise ConnectionBroken("the bucket lies elsewhere: look at the connection's region and endpoint") from error
    if status == 400:
        raise Odd from error
    if status == 404:
        raise Missing from error
    if status in {401, 403}:
        raise Denied from error
    raise Passing from error


def _s3_code(response: Any) -> tuple[str, int]:
    return (
        str(response.get("Error", {}).get("Code", "")),
        int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
    )
