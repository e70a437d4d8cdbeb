"""Which addresses the fetch guard lets through: each network's edges, the disguises of IPv4, and their neighbours."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from plugins.image_edit import addresses
from plugins.image_edit.addresses import AddressRefused, GuardedResolver, gate, place, refused

REFUSED = [
    # (address, why): the first and the last of every network
    ("0.0.0.0", "an address of this host"),
    ("0.255.255.255", "an address of this host"),
    ("10.0.0.0", "a private address"),
    ("10.255.255.255", "a private address"),
    ("100.64.0.0", "a shared address (carrier-grade NAT)"),
    ("100.100.100.200", "a shared address (carrier-grade NAT)"),  # a cloud's metadata
    ("100.127.255.255", "a shared address (carrier-grade NAT)"),
    ("127.0.0.0", "a loopback address"),
    ("127.0.0.1", "a loopback address"),
    ("127.255.255.255", "a loopback address"),
    ("168.63.129.16", "a cloud platform's own address"),
    ("169.254.0.0", "a link-local address"),
    ("169.254.169.254", "a link-local address"),  # the metadata of most clouds
    ("169.254.255.255", "a link-local address"),
    ("172.16.0.0", "a private address"),
    ("172.31.255.255", "a private address"),
    ("192.0.0.0", "a protocol's reserved address"),
    ("192.0.0.9", "a protocol's reserved address"),  # global to newer releases of Python
    ("192.0.0.192", "a protocol's reserved address"),  # a cloud's metadata
    ("192.0.0.255", "a protocol's reserved address"),
    ("192.0.2.0", "a documentation address"),
    ("192.0.2.255", "a documentation address"),
    ("192.88.99.0", "a 6to4 relay address"),
    ("192.88.99.255", "a 6to4 relay address"),
    ("192.168.0.0", "a private address"),
    ("192.168.255.255", "a private address"),
    ("198.18.0.0", "a benchmarking address"),
    ("198.19.255.255", "a benchmarking address"),
    ("198.51.100.0", "a documentation address"),
    ("198.51.100.255", "a documentation address"),
    ("203.0.113.0", "a documentation address"),
    ("203.0.113.255", "a documentation address"),
    ("224.0.0.0", "a multicast address"),
    ("239.255.255.255", "a multicast address"),
    ("240.0.0.0", "a reserved address"),
    ("255.255.255.255", "a reserved address"),
    ("::", "an address of this host"),
    ("::1", "a loopback address"),
    ("::2", "an IPv4-compatible address"),
    ("::127.0.0.1", "an IPv4-compatible address"),
    ("::8.8.8.8", "an IPv4-compatible address"),
    ("::255.255.255.255", "an IPv4-compatible address"),
    ("::ffff:0:0:0", "an IPv4-translated address"),
    ("::ffff:0:127.0.0.1", "an IPv4-translated address"),
    ("::ffff:0:8.8.8.8", "an IPv4-translated address"),
    ("::ffff:0:255.255.255.255", "an IPv4-translated address"),
    ("64:ff9b:1::", "a local NAT64 address"),
    ("64:ff9b:1::8.8.8.8", "a local NAT64 address"),
    ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "a local NAT64 address"),
    ("100::", "a discard address"),
    ("100::ffff:ffff:ffff:ffff", "a discard address"),
    ("2001::", "a Teredo address"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "a Teredo address"),
    ("2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "a Teredo address"),
    ("2001:1::1", "a protocol's reserved address"),
    ("2001:2::", "a protocol's reserved address"),
    ("2001:10::", "a protocol's reserved address"),
    ("2001:20::1", "a protocol's reserved address"),
    ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "a protocol's reserved address"),
    ("2001:db8::", "a documentation address"),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "a documentation address"),
    ("2002::", "a 6to4 address"),
    ("2002:7f00:1::1", "a 6to4 address"),
    ("2002:808:808::1", "a 6to4 address"),
    ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a 6to4 address"),
    ("3fff::", "a documentation address"),
    ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "a documentation address"),
    ("5f00::", "a segment routing address"),
    ("5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a segment routing address"),
    ("fc00::", "a private address"),
    ("fd00:ec2::254", "a private address"),  # a cloud's metadata
    ("fd20:ce::254", "a private address"),  # another's
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a private address"),
    ("fe80::", "a link-local address"),
    ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a link-local address"),
    ("fec0::", "a site-local address"),
    ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a site-local address"),
    ("ff00::", "a multicast address"),
    ("ff02::1", "a multicast address"),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a multicast address"),
    # what is left outside 2000::/3
    ("0:0:0:0:fffe:ffff:ffff:ffff", "an unassigned address"),
    ("::1:0:0:0", "an unassigned address"),
    ("64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "an unassigned address"),
    ("64:ff9b::1:0:0", "an unassigned address"),
    ("64:ff9b:2::", "an unassigned address"),
    ("100:0:0:1::", "an unassigned address"),
    ("200::1", "an unassigned address"),
    ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "an unassigned address"),
    ("4000::", "an unassigned address"),
    ("7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "an unassigned address"),
    ("8000::", "an unassigned address"),
    ("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "an unassigned address"),
    # an IPv4 address in disguise
    ("::ffff:127.0.0.1", "a loopback address (IPv4-mapped)"),
    ("::ffff:7f00:1", "a loopback address (IPv4-mapped)"),
    ("0:0:0:0:0:ffff:7f00:0001", "a loopback address (IPv4-mapped)"),
    ("::FFFF:10.0.0.1", "a private address (IPv4-mapped)"),
    ("::ffff:100.64.0.1", "a shared address (carrier-grade NAT) (IPv4-mapped)"),
    ("::ffff:0.0.0.0", "an address of this host (IPv4-mapped)"),
    ("::ffff:169.254.169.254", "a link-local address (IPv4-mapped)"),
    ("::ffff:224.0.0.1", "a multicast address (IPv4-mapped)"),
    ("64:ff9b::7f00:1", "a loopback address (NAT64)"),
    ("64:ff9b::10.0.0.1", "a private address (NAT64)"),
    ("64:ff9b::169.254.169.254", "a link-local address (NAT64)"),
    ("64:ff9b::100.64.0.1", "a shared address (carrier-grade NAT) (NAT64)"),
    ("2606:4700::5efe:10.0.0.1", "an ISATAP address"),
    ("2606:4700::5efe:8.8.8.8", "an ISATAP address"),
    ("2606:4700::200:5efe:127.0.0.1", "an ISATAP address"),
    ("fe80::5efe:127.0.0.1", "an ISATAP address"),
    # a zone names a network card
    ("fe80::1%eth0", "an address with a zone"),
    ("2606:4700::1%1", "an address with a zone"),
    ("::1%lo", "an address with a zone"),
    ("::ffff:8.8.8.8%lo", "an address with a zone"),
    # forms that a system's parser takes, and this one does not
    ("127.1", "no IP address"),
    ("2130706433", "no IP address"),
    ("0x7f000001", "no IP address"),
    ("0177.0.0.1", "no IP address"),
    ("127.0.0.01", "no IP address"),
    ("127.0.0.1.", "no IP address"),
    (" 127.0.0.1", "no IP address"),
    ("8.8.8.8\n", "no IP address"),
    ("8.8.8.8/32", "no IP address"),
    ("256.0.0.1", "no IP address"),
    ("\uff18.8.8.8", "no IP address"),
    ("8\u30028\u30028\u30028", "no IP address"),
    ("[::1]", "no IP address"),
    ("localhost", "no IP address"),
    ("", "no IP address"),
]

ALLOWED = [
    # just outside the networks above
    *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"),
    *("168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0", "192.88.98.255", "192.88.100.0"),
    *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0"),
    *("203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
    *("2001:db9::", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    *("3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    # a public IPv4 address in disguise
    *("::ffff:8.8.8.8", "::ffff:9.255.255.255", "::ffff:11.0.0.0", "64:ff9b::8.8.8.8", "64:ff9b::126.255.255.255"),
    # almost ISATAP
    *("2606:4700::5efd:10.0.0.1", "2606:4700::5eff:10.0.0.1", "2606:4700::100:5efe:a00:1", "2606:4700::300:5efe:a00:1"),
    *("2606:4700::5efe", "2606:4700::5efe:0:0:1"),
    # anybody's
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001:82a::200e"),
]


@pytest.mark.parametrize(("address", "why"), REFUSED)
def test_refused(address: str, why: str) -> None:
    assert refused(address) == why


@pytest.mark.parametrize("address", ALLOWED)
def test_allowed(address: str) -> None:
    assert refused(address) is None


def test_takes_parsed_addresses() -> None:
    assert refused(IPv4Address("127.0.0.1")) == refused(IPv6Address("::1")) == "a loopback address"
    assert refused(IPv6Address("2606:4700::1%1")) == "an address with a zone"
    assert refused(IPv4Address("8.8.8.8")) is refused(IPv6Address("2606:4700::1")) is None


@pytest.mark.parametrize(("network", "why"), addresses._DENIED, ids=str)
def test_every_row_is_needed(network: IPv4Network | IPv6Network, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = tuple(row for row in addresses._DENIED if row != (network, why))
    monkeypatch.setattr(addresses, "_DENIED", rest)
    assert any(refused(address) != told for address, told in REFUSED)


LOCAL = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0", "::1", "fd00::1", "fe80::1", "2001::1"]


@pytest.mark.parametrize("address", LOCAL)
def test_the_table_does_not_need_the_standard_library(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (IPv4Address, IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
    assert refused(address)


@pytest.mark.parametrize("address", LOCAL)
def test_the_standard_library_does_not_need_the_table(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_DENIED", ())
    assert refused(address) == "not a public address"


# ---- what stands in a URL


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("cdn.example", "cdn.example", None),
        ("CDN.Example:8443", "cdn.example", 8443),
        ("a_b-c.example:80", "a_b-c.example", 80),
        ("x" * 63 + ".example", "x" * 63 + ".example", None),
        ("0x.example", "0x.example", None),
        ("8.8.8.8.example", "8.8.8.8.example", None),
        ("0xg", "0xg", None),
        ("1.1.1.1:65535", "1.1.1.1", 65535),
        ("[2606:4700::1]", "2606:4700::1", None),
        ("[2606:4700:0:0:0:0:0:ABCD]:443", "2606:4700::abcd", 443),
        ("[::FFFF:8.8.8.8]", "::ffff:808:808", None),
    ],
)
def test_place(authority: str, host: str, port: int | None) -> None:
    found, number, address = place(authority)
    assert (found, number) == (host, port)
    assert (address is not None) == (":" in host or host == "1.1.1.1")


# ---- the gates


def _infos(address: str) -> tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80)


@pytest.mark.parametrize("address", [*LOCAL, "::ffff:127.0.0.1", "fe80::1%1"])
def test_the_gate_opens_no_socket_to_a_refused_address(address: str) -> None:
    with pytest.raises(AddressRefused, match="is a"):
        gate(_infos(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1"])
def test_the_gate_opens_a_socket_to_others(address: str) -> None:
    info = _infos(address)
    with gate(info) as opened:
        assert (opened.family, opened.type, opened.proto) == info[:3]


class Answers(AbstractResolver):
    def __init__(self, *found: str) -> None:
        self.found = found

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0) for address in self.found
        ]

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["8.8.8.8", "::1"], ["fe80::1%eth0"], ["x"]]
)
async def test_the_resolver_refuses_any_bad_address(found: list[str]) -> None:
    with pytest.raises(AddressRefused):
        await GuardedResolver(Answers(*found)).resolve("cdn.example", 80)


async def test_the_resolver_passes_good_addresses() -> None:
    results = await GuardedResolver(Answers("8.8.8.8", "2606:4700::1")).resolve("cdn.example", 80)
    assert [(result["host"], result["port"]) for result in results] == [("8.8.8.8", 80), ("2606:4700::1", 80)]


async def test_the_resolver_takes_no_answer_for_an_error() -> None:
    with pytest.raises(OSError, match="no address"):
        await GuardedResolver(Answers()).resolve("cdn.example", 80)
