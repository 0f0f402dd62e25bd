"""Which URLs may be fetched, and which addresses connected to: the public internet, and what the operator has named.

A URL is judged as text when it is given, and the address it leads to is judged again at each connect.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

import psutil

from winnow.errors import UrlNotAllowed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS: Final = {"http": 80, "https": 443}
_MAX_CHARACTERS: Final = 2048
_ODD: Final = re.compile(r"[\x00-\x20\x7f\\]")  # urlsplit would drop a line break without a word
_HOST: Final = re.compile(r"^(?!.*\.\.)[a-z0-9_]([a-z0-9._-]{0,252}[a-z0-9_])?$")
_HOME: Final = ("localhost", "local", "internal", "home.arpa", "lan")  # names that lead inwards wherever they lead
_AS_IS: Final = "/?&=%:@!$'()*+,;~-._[]"

# Not `is_global` alone: it calls 64:ff9b::7f00:1, ::127.0.0.1, fec0::1, 224.0.0.1 and 168.63.129.16 public.
_CLOSED_4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/3", "168.63.129.16/32",
        ),
    )
)  # fmt: skip
_OPEN_6: Final = ipaddress.IPv6Network("2000::/3")  # all that has been given out; what follows are its exceptions
_CLOSED_6: Final = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)  # protocols and tunnels to anywhere, examples


def _own_addresses() -> frozenset[str]:
    """Of this machine's interfaces: what listens here is not for strangers to reach through us."""
    families = (socket.AF_INET, socket.AF_INET6)
    interfaces = psutil.net_if_addrs().values()
    return frozenset(a.address.split("%")[0] for found in interfaces for a in found if a.family in families)


@dataclass(frozen=True)
class UrlRules:
    """What the operator has said: private places that may be reached all the same, and the service's own names."""

    private: frozenset[tuple[str, int]] = frozenset()  # (host, port)
    own_names: frozenset[str] = frozenset()
    own_addresses: frozenset[str] = field(default_factory=_own_addresses)

    def names(self, host: str, port: int) -> bool:
        return (host, port) in self.private


@dataclass(frozen=True)
class Url:
    """One URL, taken apart by the one parser whose word counts."""

    scheme: str
    host: str
    port: int
    target: str  # path and query

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"


def parsed(text: str, rules: UrlRules) -> Url:
    """The URL, if as a text it is one that may be fetched; the refusal does not repeat it."""
    if len(text) > _MAX_CHARACTERS or _ODD.search(text):
        raise UrlNotAllowed("a URL has at most 2,048 characters, none of them a space, a line break or a backslash")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError as error:
        raise UrlNotAllowed("this is no URL") from error
    if parts.scheme not in _PORTS:
        raise UrlNotAllowed("only http and https are fetched")
    if "@" in parts.netloc:
        raise UrlNotAllowed("a URL must not hold a user or a password")
    port = _PORTS[parts.scheme] if port is None else port
    _check_host(host, port, rules)
    target = quote(parts.path or "/", _AS_IS) + (f"?{quote(parts.query, _AS_IS)}" if parts.query else "")
    return Url(parts.scheme, host, port, target)


def _check_host(host: str, port: int, rules: UrlRules) -> None:
    if rules.names(host, port):
        return
    if port not in _PORTS.values():
        raise UrlNotAllowed("only the ports 80 and 443 are fetched from")
    literal = _literal(host)
    if literal is not None:
        check_address(literal, rules)
    elif not _HOST.match(host):
        raise UrlNotAllowed("the host's name must be written in ASCII letters, digits, dots and hyphens")
    elif host in rules.own_names or any(host == name or host.endswith(f".{name}") for name in _HOME):
        raise UrlNotAllowed("this host is not on the public internet")


def _literal(host: str) -> str | None:
    """The address, where the host is one however it is spelled: 2130706433, 0x7f000001, 127.1 and 0 are."""
    try:
        return str(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, UnicodeError):
        return None


def addresses_of(host: str, port: int, rules: UrlRules) -> list[str]:
    """Where the host is now, to be connected to without asking again; OSError where the name leads nowhere.

    One address that may not be reached refuses them all: an honest name has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(place[4][0]) for place in found]
    if not rules.names(host, port):
        for address in addresses:
            check_address(address, rules)
    return addresses


def check_address(text: str, rules: UrlRules) -> None:
    try:
        address = _plain(ipaddress.ip_address(text))
    except ValueError:  # with a zone, for one
        address = None
    if address is None or not _is_public(address) or str(address) in rules.own_addresses:
        raise UrlNotAllowed("the host is not on the public internet")


def _plain(address: Address) -> Address:
    """::ffff:7f00:1 is 127.0.0.1 to the system."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    closed = any(address in network for network in _CLOSED_6) or address.scope_id is not None
    return address in _OPEN_6 and not closed
