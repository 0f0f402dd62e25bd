"""Azure's Blob Storage, through adlfs's client."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from winnow.connections import Connection
from winnow.datasets.stores.base import (
    CALL_LIMIT_S,
    CONNECT_S,
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

_CREDENTIAL_CODES: Final = frozenset(
    {"AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"}
)


class AzureStore:
    """Credentials: an `account_key`, a `sas_token` or a `connection_string`; without, the machine's identity.

    What Azure says of an object's MD5 is what its writer claimed, so a sample is known by place and version: copies of
    one picture are told apart, and only the encoder finds them alike.
    """

    def __init__(self, connection: Connection) -> None:
        adlfs, self._asyn = driver("adlfs", "azure"), driver("fsspec.asyn", "azure")
        self._container = connection.bucket
        secrets = {name: secret.get_secret_value() for name, secret in connection.secrets().items()}
        if connection.endpoint_url is not None:
            secrets = {"connection_string": _elsewhere(connection, secrets)}
        with connecting():
            self._files = adlfs.AzureBlobFileSystem(
                account_name=connection.account,
                **secrets,
                anon=connection.anonymous,
                connection_timeout=CONNECT_S,
                read_timeout=READ_S,
                use_listings_cache=False,
                skip_instance_cache=True,
            )

    def page(self, prefix: str, after: str) -> tuple[list[Found], str | None]:
        page: tuple[list[Found], str | None] = self._called(self._page, prefix, after)
        return page

    def read(self, key: str, is_wanted: Callable[[Stamp], bool], max_bytes: int) -> bytes:
        content: bytes = self._called(self._read, key, is_wanted, max_bytes)
        return content

    def _called(self, call: Callable[..., Any], *arguments: Any) -> Any:
        with _azure_errors():
            return self._asyn.sync(self._files.loop, call, *arguments, timeout=CALL_LIMIT_S)

    async def _page(self, prefix: str, after: str) -> tuple[list[Found], str | None]:
        client = self._files.service_client.get_container_client(self._container)
        listed = client.list_blobs(name_starts_with=prefix or None, results_per_page=PAGE)
        pages = listed.by_page(continuation_token=after or None)
        page = await anext(pages)
        return [Found(blob.name, _stamp(blob)) async for blob in page], pages.continuation_token or None

    async def _read(self, key: str, is_wanted: Callable[[Stamp], bool], max_bytes: int) -> bytes:
        """The first answer says the version; what is left of a large object is asked for by that version."""
        client = self._files.service_client.get_blob_client(self._container, key)
        stream = await client.download_blob()
        check(_stamp(stream.properties), is_wanted, max_bytes)
        content: bytes = await stream.readall()
        return content


def _elsewhere(connection: Connection, secrets: dict[str, str]) -> str:
    if "account_key" not in secrets:
        raise ConnectionBroken("an azure connection with an endpoint of its own needs an account_key")
    return (
        f"AccountName={connection.account};AccountKey={secrets['account_key']};BlobEndpoint={connection.endpoint_url}"
    )


def _stamp(properties: Any) -> Stamp:
    return Stamp(int(properties.size), None, str(properties.etag).strip('"'))


@contextmanager
def _azure_errors() -> Iterator[None]:
    try:
        yield
    except (ItemError, JobError):
        raise
    except Exception as error:
        _raise_for_azure(error)


def _raise_for_azure(error: Exception) -> NoReturn:
    """Every error of Azure's client has its status and the service's own word for it."""
    code, status = str(getattr(error, "error_code", "") or ""), int(getattr(error, "status_code", 0) or 0)
    if status == 412:
        raise ItemError("CONTENT_CHANGED", "the object has been overwritten since it was listed") from error
    if code == "BlobArchived":
        raise ItemError("UNREADABLE", "the object lies in cold storage") from error
    if code == "ContainerNotFound":
        raise SourceGone("the connection's container is not there; ask the administrator") from error
    if code in _CREDENTIAL_CODES or status == 401:
        raise StoreRefused("the object store refuses the connection's credentials; ask the administrator") from error
    if status == 404:
        raise Missing from error
    if status == 403:
        raise Denied from error
    if status == 400:
        raise Odd from error
    raise Passing from error
