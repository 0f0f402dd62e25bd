"""Says at submit time, without walking or fetching anything, whether a source may be opened at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from winnow.connections import Connection
from winnow.datasets.addresses import UrlRules, parsed
from winnow.errors import SourceNotAllowed, UrlNotAllowed
from winnow.spec import ObjectStoreSource, Source, UrlsSource

_MAX_PATH_BYTES = 4096
_SHOWN_URLS = 20  # refusals told one by one


@dataclass(frozen=True)
class Remote:
    """What the operator lets this tenant reach over the network: nothing, unless told."""

    connections: Mapping[str, Connection] = field(default_factory=dict)
    tenant: str = ""
    urls: UrlRules | None = None  # None: lists of URLs are switched off


NOTHING_REMOTE = Remote()


def remote_for(
    connections: Mapping[str, Connection],
    *,
    allow_urls: bool,
    private: frozenset[tuple[str, int]],
    own_names: Iterable[str],
    tenant: str = "",
) -> Remote:
    """In the words of the settings."""
    names = frozenset(name.lower() for name in own_names)
    return Remote(connections, tenant, UrlRules(private, names) if allow_urls else None)


def check_source(source: Source, roots: tuple[Path, ...], remote: Remote = NOTHING_REMOTE) -> None:
    """Refuse a path outside the allowed roots, a connection or a URL that is not allowed; uploads always pass."""
    if isinstance(source, ObjectStoreSource):
        allowed_prefix(source, remote)
    elif isinstance(source, UrlsSource):
        _check_urls(source.urls or (), url_rules(remote))
    else:
        path = getattr(source, "path", None)
        if path is not None:
            allowed_path(path, roots)


def allowed_path(text: str, roots: tuple[Path, ...], place: str = "/source/path") -> Path:
    """The real path, if it lies in or below a root; the refusal names no path, so it tells nothing about the server."""
    real = _resolved(text) if _is_plain(text) else None
    if real is None or not any(real.is_relative_to(root.resolve()) for root in roots):
        raise SourceNotAllowed(
            "the path must be absolute and lie below a folder the operator has allowed (--allow-root)",
            fields=((place, "not below an allowed root"),),
        )
    return real


def allowed_prefix(source: ObjectStoreSource, remote: Remote) -> Connection:
    """The connection, if it is this tenant's and the prefix stays within it; another's and none look the same."""
    connection = remote.connections.get(source.connection)
    if connection is None or not connection.serves(remote.tenant):
        raise SourceNotAllowed(
            "there is no such connection; the administrator makes and names them",
            fields=(("/source/connection", "no such connection"),),
        )
    if not _is_plain_prefix(source.prefix):
        raise SourceNotAllowed(
            "a prefix is the beginning of the objects' keys: no scheme, no `..`, no `::`, no leading slash",
            fields=(("/source/prefix", "not a plain prefix"),),
        )
    return connection


def url_rules(remote: Remote) -> UrlRules:
    if remote.urls is None:
        raise SourceNotAllowed(
            "this service fetches no URLs; the operator may switch it on (WINNOW_ALLOW_URLS)",
            fields=(("/source/type", "switched off"),),
        )
    return remote.urls


def _check_urls(urls: tuple[str, ...], rules: UrlRules) -> None:
    """What can be said without asking a name server; the address behind a name is judged when it is connected to."""
    refused: list[tuple[str, str]] = []
    for number, url in enumerate(urls):
        try:
            parsed(url, rules)
        except UrlNotAllowed as error:
            refused.append((f"/source/urls/{number}", error.detail))
        if len(refused) == _SHOWN_URLS:
            break
    if refused:
        raise UrlNotAllowed(refused[0][1], fields=tuple(refused))


def _is_plain_prefix(text: str) -> bool:
    control = any(ord(letter) < 32 or ord(letter) == 127 for letter in text)
    odd = control or "\\" in text or "::" in text or "://" in text or text.startswith(("/", "~"))
    return not odd and not {".", ".."} & set(text.split("/"))


def _is_plain(text: str) -> bool:
    """Absolute, and free of anything that could mean another place than it says."""
    parts = text.split("/")
    odd = "\0" in text or ".." in parts or any(part.startswith("~") for part in parts[:2])
    return text.startswith("/") and not odd and len(text.encode("utf-8", "replace")) <= _MAX_PATH_BYTES


def _resolved(text: str) -> Path | None:
    try:
        return Path(text).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, or letters no file system has
        return None
