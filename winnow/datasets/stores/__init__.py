"""Object stores, through fsspec's drivers: `base` the contract, `s3`, `gcs` and `azure` one module a protocol.

The drivers come with extras of the same names. Each is used below its file interface, which can neither list a bucket
page by page nor say which version of an object the bytes are of.
"""

from collections.abc import Callable
from typing import Final

from winnow.connections import Connection, Protocol
from winnow.datasets.stores.azure import AzureStore
from winnow.datasets.stores.base import Store
from winnow.datasets.stores.gcs import GcsStore
from winnow.datasets.stores.s3 import S3Store

_STORES: Final[dict[Protocol, Callable[[Connection], Store]]] = {"s3": S3Store, "gcs": GcsStore, "azure": AzureStore}


def store_for(connection: Connection) -> Store:
    return _STORES[connection.protocol](connection)
