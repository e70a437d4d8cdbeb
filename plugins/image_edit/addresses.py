"""Which addresses may be connected to for a link that somebody else chose, and the gates where connections are made."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

# Explicit, because `ipaddress` is not enough: what it calls global differs between releases of Python, and takes in
# multicast, 6to4, NAT64 and site-local addresses. The first row that holds an address gives the reason.
_DENIED: tuple[tuple[IPv4Network | IPv6Network, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "an address of this host"),  # Linux connects 0.0.0.0 to itself
    (IPv4Network("10.0.0.0/8"), "a private address"),
    (IPv4Network("100.64.0.0/10"), "a shared address (carrier-grade NAT)"),  # cloud metadata lives here, too
    (IPv4Network("127.0.0.0/8"), "a loopback address"),
    (IPv4Network("168.63.129.16/32"), "a cloud platform's own address"),  # Azure's host; it looks public
    (IPv4Network("169.254.0.0/16"), "a link-local address"),  # 169.254.169.254: most clouds' credentials
    (IPv4Network("172.16.0.0/12"), "a private address"),
    (IPv4Network("192.0.0.0/24"), "a protocol's reserved address"),
    (IPv4Network("192.0.2.0/24"), "a documentation address"),
    (IPv4Network("192.88.99.0/24"), "a 6to4 relay address"),
    (IPv4Network("192.168.0.0/16"), "a private address"),
    (IPv4Network("198.18.0.0/15"), "a benchmarking address"),
    (IPv4Network("198.51.100.0/24"), "a documentation address"),
    (IPv4Network("203.0.113.0/24"), "a documentation address"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv4Network("240.0.0.0/4"), "a reserved address"),
    (IPv6Network("::/128"), "an address of this host"),
    (IPv6Network("::1/128"), "a loopback address"),
    (IPv6Network("::/96"), "an IPv4-compatible address"),
    (IPv6Network("::ffff:0:0:0/96"), "an IPv4-translated address"),
    (IPv6Network("64:ff9b:1::/48"), "a local NAT64 address"),  # where the IPv4 address stands in it, only its network knows
    (IPv6Network("100::/64"), "a discard address"),
    (IPv6Network("2001::/32"), "a Teredo address"),
    (IPv6Network("2001::/23"), "a protocol's reserved address"),
    (IPv6Network("2001:db8::/32"), "a documentation address"),
    (IPv6Network("2002::/16"), "a 6to4 address"),
    (IPv6Network("3fff::/20"), "a documentation address"),
    (IPv6Network("5f00::/16"), "a segment routing address"),
    (IPv6Network("fc00::/7"), "a private address"),
    (IPv6Network("fe80::/10"), "a link-local address"),
    (IPv6Network("fec0::/10"), "a site-local address"),
    (IPv6Network("ff00::/8"), "a multicast address"),
    # All that is left outside 2000::/3, the only part of IPv6 given out to the public.
    (IPv6Network("::/3"), "an unassigned address"),
    (IPv6Network("4000::/2"), "an unassigned address"),
    (IPv6Network("8000::/1"), "an unassigned address"),
)

# Networks whose last 32 bits are the IPv4 address that is really reached; a public one is fine there. NAT64's is needed:
# where a host has IPv6 alone, its DNS answers with these for every server that has IPv4 alone.
_EMBEDDED = (
    (IPv6Network("::ffff:0:0/96"), "IPv4-mapped"),
    (IPv6Network("64:ff9b::/96"), "NAT64"),
)

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|((?:[\w-]{1,63}\.)*[\w-]{1,63}))(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # by its last label: what the system would take for an address


def refused(address: str | IPv4Address | IPv6Address) -> str | None:
    """Why an address may not be connected to, in words that follow "it is"; None if it may."""
    try:
        ip = ip_address(address)
    except ValueError:
        return "no IP address"
    if isinstance(ip, IPv6Address):
        return _refused_v6(ip)
    return _listed(ip)


def _refused_v6(ip: IPv6Address) -> str | None:
    if ip.scope_id is not None:
        return "an address with a zone"
    for network, name in _EMBEDDED:
        if ip in network:
            why = _listed(IPv4Address(int(ip) & 0xFFFF_FFFF))
            return why and f"{why} ({name})"
    # ISATAP: an interface id of 0:5efe or 200:5efe and then an IPv4 address, under any prefix at all.
    if int(ip) >> 32 & 0xFDFF_FFFF == 0x0000_5EFE:
        return "an ISATAP address"
    return _listed(ip)


def _listed(ip: IPv4Address | IPv6Address) -> str | None:
    for network, why in _DENIED:
        if ip in network:
            return why
    return None if ip.is_global else "not a public address"


def place(authority: str) -> tuple[str, int | None, IPv4Address | IPv6Address | None]:
    """What stands between "//" and the path: host, port if given, address if the host is one. ValueError tells the rule."""
    if "@" in authority:
        raise ValueError("it carries a user name or a password")
    found = _AUTHORITY.fullmatch(authority)
    port = int(found[3]) if found and found[3] else None
    if not found or (port or 0) > 65535:
        raise ValueError("its host or port is missing or malformed")
    host = (found[1] or found[2]).lower()
    if not found[1] and not _NUMBER.fullmatch(host):
        return host, port, None
    try:
        address = IPv6Address(host) if found[1] else IPv4Address(host)
    except ValueError:
        raise ValueError("its host is a malformed address") from None
    return address.compressed, port, address


class AddressRefused(OSError):
    """The guard's word where a connection is made: an OSError, for the HTTP client swallows any other kind on its way up."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address} is {why}")
        self.why = why


def _admit(address: str) -> None:
    if why := refused(address):
        raise AddressRefused(address, why)


def gate(info: aiohttp.AddrInfoType) -> socket.socket:
    """The last gate: every connection passes it with the address it really goes to, those without a look-up too."""
    family, kind, protocol, _, address = info
    _admit(address[0])
    return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """The first gate: a name with one bad address among good ones is an attack, or a mistake, and is refused whole."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not found:
            raise OSError("the name has no address")  # the HTTP client would fail an assertion
        for result in found:
            _admit(result["host"])
        return found

    async def close(self) -> None:
        """The Fetcher closes the inner one."""
