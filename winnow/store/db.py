"""Connections and transactions: one door to PostgreSQL and to SQLite, with the same guarantees from both."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Double, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from winnow.errors import RequestInFlight, StorageFull, Unavailable, WinnowError

# No statement of ours takes seconds; one that does is waiting for something that is not coming.
_POSTGRES_SESSION: Final = (
    "-c statement_timeout=8000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000 -c timezone=UTC"
)
_DISK_FULL: Final = "53100"
_LOCK_TIMEOUT: Final = "55P03"
_NO_SUCH_TABLE: Final = "42P01"


class now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """Seconds since 1970 by the database's clock: the only clock leases are judged by."""

    type = Double()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


@compiles(now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


class Database:
    """An engine with our session rules. `begin` writes, `read` only reads; errors come out as ours."""

    def __init__(self, url: str, *, pool_size: int = 16) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.engine = _sqlite(parsed, pool_size) if self.is_sqlite else _postgres(parsed, pool_size)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that commits on leaving; on SQLite it takes the write lock at once, so it cannot deadlock."""
        with _our_errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state and never waits for a writer."""
        reader = self.engine.execution_options(winnow_read=True)
        with _our_errors(), reader.begin() as connection:
            yield connection

    def ping(self) -> None:
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def dispose(self) -> None:
        self.engine.dispose()


def _postgres(url: URL, pool_size: int) -> Engine:
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            "options": _POSTGRES_SESSION,
            "connect_timeout": 3,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )


def _sqlite(url: URL, pool_size: int) -> Engine:
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=0, pool_timeout=15, connect_args={"check_same_thread": False}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    # The timeout comes first: switching to WAL takes a lock that another process may hold.
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("winnow_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("every database connection is in use; try again") from error
    except (OperationalError, InterfaceError) as error:
        raise _translated(error) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("the database connection was lost; try again") from error
        if getattr(error.orig, "sqlstate", None) == _NO_SUCH_TABLE:
            raise _translated(error) from error
        raise


def _translated(error: DBAPIError) -> WinnowError:
    state = getattr(error.orig, "sqlstate", None)
    if state == _DISK_FULL or "disk is full" in str(error.orig):
        return StorageFull("the database's disk is full; free some space and try again")
    if state == _LOCK_TIMEOUT:
        return RequestInFlight("another request holds this row; try again")
    if state == _NO_SUCH_TABLE or "no such table" in str(error.orig):
        return Unavailable("the database lacks the schema; run `winnow migrate`")
    return Unavailable("the database does not answer; try again")


def is_postgres(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"
