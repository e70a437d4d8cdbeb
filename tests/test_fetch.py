"""The guarded fetch, over real sockets: local servers stand at public addresses, so that the guard is on in every test."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plugins.image_edit import fetch
from plugins.image_edit.fetch import BadLink, Fetched, Fetcher, FetchPolicy, LinkRefused, check_link
from proxy_core import ConfigError, Failure, Overloaded, UpstreamError, UpstreamTimeout

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"
LINK = "http://cdn.example/image.png?signature=secret"
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(body: bytes = b"image", status: int = 200, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(location: str, status: int = 302) -> bytes:
    return reply(b"", status, f"Location: {location}")


class Site:
    """A server that keeps the head of each request, and gives its answers in turn, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []

    @property
    def targets(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the fetch has hung up
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("ascii"))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if not isinstance(answer, bytes):
                return await answer(writer)
            writer.write(answer)
            await writer.drain()
            if b"Connection: close" in answer or b"HTTP/1.0" in answer:
                return None

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a turn for the transports to close


class Net(AbstractResolver):
    """A small internet: names with the answers that DNS gives in turn, and public addresses that lead to local servers."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.names: dict[str, list[list[str]]] = {"cdn.example": [[PUBLIC]], "other.example": [[OTHER]]}
        self.dialled: list[tuple[str, int]] = []
        self.pauses: list[float] = []
        self.closed = False
        self._routes: dict[tuple[str, int], int] = {}
        self._stack = stack
        loop = asyncio.get_running_loop()
        self._connect = loop.sock_connect

    async def sock_connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        place = (address[0], address[1])
        self.dialled.append(place)
        if place[0] != "127.0.0.1" and place not in self._routes:
            raise ConnectionRefusedError("nobody there")  # and never anybody outside this machine
        await self._connect(sock, ("127.0.0.1", self._routes.get(place, place[1])))

    async def site(self, *answers: Answer, at: str = PUBLIC, port: int = 80, tls: ssl.SSLContext | None = None) -> Site:
        site = Site(*answers)
        self._routes[at, port] = await self.local(site, tls)
        return site

    async def local(self, site: Site, tls: ssl.SSLContext | None = None) -> int:
        """The port of a server that stands at 127.0.0.1 openly."""
        server = await asyncio.start_server(site, "127.0.0.1", 0, ssl=tls)
        self._stack.push_async_callback(site.close)
        await self._stack.enter_async_context(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        answers = self.names.get(host.lower())
        if not answers:
            raise OSError("no such name")
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0) for address in found]

    async def close(self) -> None:
        self.closed = True

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def fetch(self, link: str = LINK, take: fetch.Take | None = None, **policy: Any) -> Fetched:
        async with asyncio.timeout(10), self.fetcher(**policy) as fetcher:
            return await fetcher.fetch(link, take=take)

    def fetcher(self, **policy: Any) -> Fetcher:
        return Fetcher(FetchPolicy(**policy), resolver=self, sleep=self.pause)

    async def fault(self, link: str = LINK, **policy: Any) -> UpstreamError:
        """The error of a fetch; it holds no more than the client may see, and keeps a client from asking again."""
        with pytest.raises(UpstreamError) as raised:
            await self.fetch(link, **policy)
        error = raised.value
        assert "secret" not in str(error.body())
        assert error.failure is Failure.UNKNOWN
        assert error.headers["x-should-retry"] == "false"
        return error

    async def refusal(self, link: str = LINK, **policy: Any) -> LinkRefused:
        """The error of a fetch that must be refused, at once."""
        error = await self.fault(link, **policy)
        assert isinstance(error, LinkRefused), error
        assert (error.code, error.status, self.pauses) == ("image_link_refused", 502, [])
        return error


@pytest.fixture
async def net(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Net]:
    async with contextlib.AsyncExitStack() as stack:
        made = Net(stack)
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", made.sock_connect)
        yield made


# ---- links, without a network

GOOD = [
    "http://cdn.example",
    "http://cdn.example/",
    "https://cdn.example/a.png",
    "HTTPS://CDN.Example/a.png",
    "http://cdn.example:80/",
    "https://cdn.example:443/",
    "http://cdn.example:443/",
    "https://cdn.example?q",
    "https://cdn.example#f",
    "https://a_bucket.s3-eu.example/x",
    "https://xn--bcher-kva.example/",
    "https://localhost/",  # a name: its address is the gates' business
    "https://8.8.8.8.example/",
    "https://0x.example/",
    "https://x0/",
    "https://8.8.8.8/x",
    "https://100.128.0.0/",
    "https://[2606:4700::1111]/x",
    "https://[2606:4700:0:0:0:0:0:1111]:443/x",
    "https://[::ffff:8.8.8.8]/",
    "https://cdn.example/a/../b/./c//d;e=1?x=%2F%2f%7e+%20&y=/?@:[]{}|^`\"'<>~&y=a=b&&",
    "https://cdn.example/@user:pass@10.0.0.1/",
    "https://cdn.example/?u=http://10.0.0.1/",
    "https://cdn.example/" + "x" * (16 * 1024 - len("https://cdn.example/")),
]

BAD = {
    # a word of the rule: links
    "scheme": [
        *("", "cdn.example/a.png", "/a.png", "//cdn.example/a.png", "ftp://cdn.example/", "ws://cdn.example/"),
        *("wss://cdn.example/", "tcp://cdn.example/", "file:///etc/passwd", "file://cdn.example/etc/passwd"),
        *("data:image/png;base64,AAAA", "gopher://cdn.example/", "javascript:alert(1)", "http+unix://cdn.example/"),
        *("httpx://cdn.example/",),
    ],
    "host": ["http:cdn.example/", "http:/cdn.example/", "http://", "http:///a.png", "http://:80/", "http://?q"],
    "user name": [
        *("http://user@cdn.example/", "http://user:secret@cdn.example/", "http://:secret@cdn.example/"),
        *("http://@cdn.example/", "http://cdn.example@10.0.0.1/", "http://cdn.example:80@10.0.0.1/", "http://user@"),
    ],
    "ASCII": [
        *(" http://cdn.example/", "\thttp://cdn.example/", "http://cdn.example/ ", "http://cdn.example/\n"),
        *("http://cdn.exa\tmple/", "http://cdn.exa\nmple/", "ht\ntp://cdn.example/"),
        *("http://cdn.example/\r\nHost: 10.0.0.1", "http://cdn.example/a b", "http://cdn.example/\x00"),
        *("http://cdn.example/\x7f", "http://cdn.example/\xfc", "http://cdn.example/\ud800", "http://b\xfccher.example/"),
        *("http://\uff11\uff12\uff17.0.0.1/", "http://127\u30020\u30020\u30021/", "http://cdn.example\uff0f10.0.0.1/"),
        *("http://cdn\u200b.example/",),
    ],
    "backslash": ["http://cdn.example\\@10.0.0.1/", "http:\\\\cdn.example\\", "http://cdn.example/a\\b"],
    "malformed": [
        *("http://cdn.example:+80/", "http://cdn.example:8_0/", "http://cdn.example:000080/", "http://cdn.example./"),
        *("http://.cdn.example/", "http://cdn..example/", "http://./"),
        *("http://" + "x" * 64 + ".example/", "http://cdn.ex%61mple/"),
        *("http://%31%32%37.0.0.1/", "http://cdn.example%00.evil.example/", "http://cdn.example;evil.example/"),
        *("http://cdn.example,10.0.0.1/", "http://cdn.example&evil.example/", "http://*/", "http://${host}/"),
        *("http://127.0.0.1./", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[2606:4700::1111%251]/"),
        *("http://[v1.x:y]/", "http://cdn.example:/"),
    ],
    "URL": [
        *("http://cdn.example:-1/", "http://cdn.example:http/", "http://cdn.example:65536/", "http://cdn.example:080808/"),
        *("http://cdn.example:80:80/", "http://[::1", "http://::1/", "http://[]/", "http://[127.0.0.1]/"),
        *("http://[::1]cdn.example/", "http://cdn.example[::1]/"),
    ],
    "port is 0": ["http://cdn.example:0/"],
    "port is 8080, not 80 or 443": ["http://cdn.example:8080/"],
    "port is 22": ["http://cdn.example:22/"],
    "port is 6379": ["http://cdn.example:6379/"],
    "port is 8080": ["http://[2606:4700::1111]:8080/"],
    "address": [
        *("http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0X7F.0.0.1/"),
        *("http://127.0.0.0x1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.0.0.1.1/"),
        *("http://127.0.0.256/", "http://cdn.example.1/", "http://cdn.example.0x/", "http://0/", "http://[:]/"),
        *("http://[2606:4700::1111::]/",),
    ],
    "loopback": ["http://127.0.0.1/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/"],
    "private": ["https://10.0.0.1/", "http://[fd00::1]/"],
    "this host": ["http://0.0.0.0/", "http://[::]/"],
    "link-local": ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/"],
    "cloud": ["http://168.63.129.16/"],
    "shared": ["http://100.64.0.1/", "http://100.100.100.200/"],
    "reserved": ["http://255.255.255.255/"],
    "multicast": ["http://224.0.0.1/"],
    "compatible": ["http://[::127.0.0.1]/"],
    "mapped": ["http://[::ffff:127.0.0.1]/", "http://[::FFFF:7f00:1]/"],
    "translated": ["http://[::ffff:0:127.0.0.1]/"],
    "NAT64": ["http://[64:ff9b::a00:1]/"],
    "6to4": ["http://[2002:7f00:1::]/"],
    "Teredo": ["http://[2001:0:a00:1::]/"],
    "longer": ["https://cdn.example/" + "x" * (16 * 1024 - len("https://cdn.example/") + 1)],
}


@pytest.mark.parametrize("link", GOOD)
def test_good_links(link: str) -> None:
    assert check_link(link, FetchPolicy()).scheme in ("http", "https")


@pytest.mark.parametrize(("rule", "link"), [(rule, link) for rule, links in BAD.items() for link in links])
def test_bad_links(rule: str, link: str) -> None:
    with pytest.raises(BadLink) as raised:
        check_link(link, FetchPolicy())
    assert rule in raised.value.rule
    assert "secret" not in str(raised.value)


def test_bad_links_name_their_host() -> None:
    for link, host in [
        ("ftp://cdn.example/?signature=secret", "cdn.example"),
        ("http://user:secret@cdn.example/", "cdn.example"),
        ("http://CDN.Example:8080/", "cdn.example"),
        ("http://[0:0::1]/", "::1"),
        (f"http://{'x' * 9999}/", "x" * 253),
        ("data:,secret", ""),
    ]:
        with pytest.raises(BadLink) as raised:
            check_link(link, FetchPolicy())
        assert raised.value.host == host
        assert (host or "an image") in str(raised.value)
        assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("entry", "good", "bad"),
    [
        ("127.0.0.1", ["http://127.0.0.1/", "https://127.0.0.1:9000/"], ["http://127.0.0.2/", "http://[::ffff:127.0.0.1]/"]),
        ("127.0.0.1:9000", ["http://127.0.0.1:9000/"], ["http://127.0.0.1/", "http://127.0.0.1:9001/", "http://127.1:9000/"]),
        ("Images.Local:9000", ["http://images.LOCAL:9000/"], ["http://images.local:9001/", "http://x.images.local:9000/"]),
        ("images.local:80", ["http://images.local/"], ["http://images.local:8080/"]),
        ("[::1]", ["http://[0:0:0:0:0:0:0:1]:9000/"], ["http://[::2]/"]),
        ("[0::1]:9000", ["http://[::1]:9000/"], ["http://[::1]/"]),
        ("10.0.0.1", [], ["http://user@10.0.0.1/", "ftp://10.0.0.1/", "http://10.0.0.1./", "http://10.0.0.1:99999/"]),
    ],
)
def test_allow_hosts(entry: str, good: list[str], bad: list[str]) -> None:
    policy = FetchPolicy(allow_hosts=[entry])
    for link in good:
        check_link(link, policy)
    for link in bad:
        with pytest.raises(BadLink):
            check_link(link, policy)


def test_ports() -> None:
    check_link("http://cdn.example:8080/", FetchPolicy(ports=[8080]))
    with pytest.raises(BadLink, match="port is 80, not 8080"):
        check_link("http://cdn.example/", FetchPolicy(ports=[8080]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("allow_hosts", ["b\u00fccher.example"]),
        *(("allow_hosts", [bad]) for bad in ("", "http://x/", "x:65536", "::1", "*", "*.x", "10.0.0.0/8", "10.1", "u@x")),
        *((name, bad) for name in ("total_timeout", "read_timeout", "connect_timeout") for bad in (0.0, -1.0, float("inf"))),
        *((name, 0) for name in ("max_bytes", "concurrency")),
        *(
            ("max_redirects", -1),
            ("retries", (-1.0,)),
            ("retries", (float("inf"),)),
            ("retries", (float("nan"),)),
            ("ports", [0]),
            ("ports", [65536]),
        ),
    ],
)
def test_a_policy_that_makes_no_sense(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: ") as caught:
        FetchPolicy(**{key: value})
    if key == "allow_hosts":
        assert "an entry is not HOST, HOST:PORT, [V6] or [V6]:PORT: " in str(caught.value)


def test_a_policy_as_shipped() -> None:
    policy = FetchPolicy()
    assert (policy.max_bytes, policy.concurrency) == (26_214_400, 16)
    assert (policy.total_timeout, policy.read_timeout, policy.connect_timeout) == (60, 20, 10)
    assert (policy.max_redirects, policy.retries, policy.ports) == (3, (1, 2, 4), [80, 443])


def test_a_policy_at_its_limits() -> None:
    FetchPolicy(max_bytes=1, concurrency=1, max_redirects=0, retries=(0.0,), ports=[1, 65535], allow_hosts=["x:65535"])


# ---- a good fetch


async def test_an_image(net: Net) -> None:
    await net.site(reply(b"image", 200, "Content-Type: image/png; x=y"))
    assert await net.fetch() == Fetched((b"image",), 5, "image/png; x=y", "cdn.example")
    assert net.dialled == [(PUBLIC, 80)]


async def test_a_body_with_no_type_and_no_length(net: Net) -> None:
    await net.site(b"HTTP/1.0 200 OK\r\n\r\nimage")
    assert await net.fetch() == Fetched((b"image",), 5, "", "cdn.example")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a/../b/./c//d",
        "/%7Ea%2Fb%2f;x=1?X-Amz-Signature=%2F%2f+a%20b&X=%E5%9B%BE&e=&=&&f?g/h:@!$'()*,;~",
        "/?sig=a%2Bb%3D%3d&u=https://x/y?z",
        '/{a}|b^`<>[]"?{a}|b^`<>[]"',
    ],
)
async def test_the_path_and_the_query_arrive_as_they_were(net: Net, target: str) -> None:
    cdn = await net.site(moved(f"http://other.example{target}"))
    other = await net.site(reply(), at=OTHER)
    await net.fetch(f"http://cdn.example{target}#fragment")
    assert cdn.targets == other.targets == [target]


async def test_a_request_says_no_more_than_it_must(net: Net, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine cdn.example login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    cdn = await net.site(moved("/again"), reply(b"image", 200, "Set-Cookie: a=b; Path=/"))
    async with net.fetcher() as fetcher:
        await fetcher.fetch(LINK)
        await fetcher.fetch(LINK)
    assert len(cdn.heads) == 3
    for head in cdn.heads:
        assert head.partition("\r\n")[2].split("\r\n") == [
            "Host: cdn.example",
            "Accept: image/*",
            "Accept-Encoding: identity",
            "User-Agent: darkroom",
            "",
            "",
        ]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
async def test_proxies_in_the_environment_are_ignored(net: Net, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    proxy = await net.site(reply(b"from the proxy"), at=OTHER, port=3128)
    await net.site(reply())
    monkeypatch.setenv(name, f"http://{OTHER}:3128")
    assert (await net.fetch()).chunks == (b"image",)
    assert proxy.heads == []


async def test_the_systems_resolver_is_guarded_too() -> None:
    async with Fetcher(FetchPolicy(retries=())) as fetcher:
        with pytest.raises(LinkRefused, match="loopback"):
            await fetcher.fetch("http://localhost/")


async def test_a_big_body_stays_in_pieces(net: Net) -> None:
    body = bytes(range(256)) * 4096 + b"!"
    taken: list[int] = []

    async def take(n: int) -> None:
        taken.append(n)

    await net.site(reply(body))
    fetched = await net.fetch(take=take, max_bytes=len(body))
    assert b"".join(fetched.chunks) == body
    assert fetched.size == sum(taken) == len(body)
    assert len(fetched.chunks) > 2
    assert min(map(len, fetched.chunks[:-1])) >= 64 * 1024


async def test_a_body_that_fills_its_piece(net: Net) -> None:
    await net.site(reply(b"x" * 64 * 1024))
    assert [len(chunk) for chunk in (await net.fetch()).chunks] == [64 * 1024]


async def test_a_body_in_crumbs_is_kept_as_one_piece(net: Net) -> None:
    async def crumbs(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            writer.write(b"2\r\nab\r\n")
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    await net.site(crumbs)
    assert (await net.fetch()).chunks == (b"ab" * 200,)


# ---- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://cdn.example/b?x=%2F", "/b?x=%2F"),
        ("//cdn.example/b", "/b"),
        ("/b;c//d?x=/../y&z=%2f", "/b;c//d?x=/../y&z=%2f"),
        ("b", "/a%2Fa/b"),
        ("../b", "/b"),
        ("?y=%2f", "/a%2Fa/?y=%2f"),
        ("HTTP://CDN.EXAMPLE:80/b", "/b"),
    ],
)
async def test_redirects_are_followed(net: Net, status: int, location: str, target: str) -> None:
    cdn = await net.site(moved(location, status), reply())
    await net.fetch("http://cdn.example/a%2Fa/?signature=secret")
    assert cdn.targets == ["/a%2Fa/?signature=secret", target]


async def test_the_host_is_the_one_that_answered(net: Net) -> None:
    await net.site(moved("http://other.example/"))
    await net.site(reply(), at=OTHER)
    assert (await net.fetch()).host == "other.example"


async def test_three_redirects_are_enough(net: Net) -> None:
    cdn = await net.site(moved("/1"), moved("/2"), moved("/3"), reply())
    assert (await net.fetch()).size == 5
    cdn.answers = [moved("/1"), moved("/2"), moved("/3"), moved("/4"), reply()]
    assert "more than 3 redirects" in (await net.refusal()).rule
    assert cdn.targets[4:] == ["/image.png?signature=secret", "/1", "/2", "/3"]
    cdn.answers = [moved("/1"), reply()]
    assert "more than 0 redirects" in (await net.refusal(max_redirects=0)).rule


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("http://127.0.0.1/", "loopback"),
        ("//127.0.0.1/", "loopback"),
        ("http://[::ffff:127.0.0.1]/", "mapped"),
        ("http://2130706433/", "address"),
        ("http://evil.example/", "link-local"),
        ("http://cdn.example:8080/", "port"),
        ("http://user:secret@cdn.example/", "user name"),
        ("file:///etc/passwd", "scheme"),
        ("ws://cdn.example/", "scheme"),
        ("data:image/png,secret", "scheme"),
        ("/a b", "ASCII"),
        ("/a\tb", "ASCII"),
        ("http://cdn.example\t/", "ASCII"),
        ("/\\127.0.0.1/", "backslash"),
        ("http:/b", "host"),
    ],
)
async def test_each_hop_is_checked(net: Net, location: str, rule: str) -> None:
    net.names["evil.example"] = [["169.254.169.254"]]
    await net.site(moved(location))
    assert rule in (await net.refusal()).rule
    assert net.dialled == [(PUBLIC, 80)]


async def test_a_redirect_to_nowhere(net: Net) -> None:
    await net.site(reply(b"", 302))
    error = await net.fault()
    assert (error.code, net.pauses) == ("image_fetch_failed", [])
    assert "302" in error.message


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    """For a server called cdn.example, whose certificate the client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cdn.example")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("cdn.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2999))
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    file = tmp_path / "key.pem"
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = made.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain) + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    trusting = ssl.create_default_context(cadata=pem.decode())
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    return context


async def test_https_stays_https(net: Net, tls: ssl.SSLContext) -> None:
    secure = await net.site(moved("/a"), moved("https://cdn.example/b"), reply(), port=443, tls=tls)
    await net.site(moved("https://cdn.example/"))
    assert (await net.fetch("http://cdn.example/")).size == 5  # up is fine
    assert len(secure.heads) == 3
    secure.answers = [moved("http://cdn.example/")]
    error = await net.refusal("https://cdn.example/")
    assert "https to http" in error.rule
    assert net.dialled.count((PUBLIC, 80)) == 1


async def test_a_certificate_must_be_for_the_host(net: Net, tls: ssl.SSLContext) -> None:
    site = await net.site(reply(), at=OTHER, port=443, tls=tls)
    error = await net.fault("https://other.example/")
    assert (error.code, error.message) == ("image_fetch_failed", "no image from other.example: TLS failed")
    assert site.heads == []


# ---- names, and the places they lead to


@pytest.mark.parametrize("found", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"], ["fe80::1%1"]])
async def test_a_name_with_a_bad_address(net: Net, found: list[str]) -> None:
    net.names["cdn.example"] = [found]
    error = await net.refusal()
    assert error.host == "cdn.example"
    assert "its address is" in error.rule
    assert not any(address in str(error) for address in found)  # what a name means in here is nobody's business
    assert net.dialled == []


async def test_a_name_that_turns(net: Net) -> None:
    net.names["cdn.example"] = [[PUBLIC], ["127.0.0.1"]]
    await net.site(reply(b"", 503, "Connection: close"))
    error = await net.fault()
    assert isinstance(error, LinkRefused)
    assert (net.pauses, net.dialled) == ([1.0], [(PUBLIC, 80)])


async def test_the_last_gate_holds_alone(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the checks before it miss, a literal address or a name."""
    port = await net.local(Site(reply(b"inside")))
    monkeypatch.setattr(fetch, "GuardedResolver", lambda inner: inner)
    monkeypatch.setattr(fetch, "refused", lambda address: None)
    net.names["cdn.example"] = [["127.0.0.1"]]
    for host in ("cdn.example", "127.0.0.1"):
        assert "loopback" in (await net.refusal(f"http://{host}:{port}/", ports=[port])).rule
    net.names["cdn.example"] = [["127.0.0.1", "::1"]]
    await net.fault(f"http://cdn.example:{port}/", ports=[port])
    assert net.dialled == []


async def test_allowed_hosts_may_be_private(net: Net) -> None:
    port = await net.local(Site(moved("/b"), reply()))
    net.names["images.local"] = [["127.0.0.1"]]
    assert (await net.fetch(f"http://127.0.0.1:{port}/", allow_hosts=[f"127.0.0.1:{port}"])).size == 5
    assert (await net.fetch(f"http://images.local:{port}/", allow_hosts=["images.local"])).size == 5


async def test_an_allowed_host_helps_no_other(net: Net) -> None:
    """Not by its leave, and not by its open connection: by name, by address, by redirect, before, meanwhile and after."""
    inside = Site(reply(b"inside"))
    port = await net.local(inside)
    net.names["evil.example"] = net.names["images.local"] = [["127.0.0.1"]]
    good = [f"http://127.0.0.1:{port}/", f"http://images.local:{port}/"]
    evil = [
        f"http://evil.example:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/",
        "http://cdn.example/",
        f"http://127.1:{port}/",
    ]
    await net.site(moved(f"http://evil.example:{port}/"))
    async with net.fetcher(allow_hosts=["127.0.0.1", "images.local"], ports=[80, port]) as fetcher:
        for _ in range(2):
            links = [*evil, *good, *evil, *good, *evil]
            results = await asyncio.gather(*map(fetcher.fetch, links), return_exceptions=True)
            for link, result in zip(links, results, strict=True):
                assert isinstance(result, Fetched if link in good else LinkRefused), link
    assert len(inside.heads) == 8


async def test_an_allowed_host_does_not_vouch_for_its_redirects(net: Net) -> None:
    private = Site(reply(b"inside"))
    target = await net.local(private)
    port = await net.local(Site(moved(f"http://127.0.0.1:{target}/")))
    policy: dict[str, Any] = {"allow_hosts": [f"127.0.0.1:{port}"], "ports": [80, target]}
    assert "loopback" in (await net.refusal(f"http://127.0.0.1:{port}/", **policy)).rule
    assert private.heads == []


# ---- answers that are no image, and trying again


async def test_what_may_get_better_is_tried_again(net: Net) -> None:
    cdn = await net.site(reply(b"", 404), reply(b"", 500), reply(b"", 503), reply())
    assert (await net.fetch()).size == 5
    assert net.pauses == [1.0, 2.0, 4.0]
    assert len(set(cdn.targets)) == 1


@pytest.mark.parametrize("status", [404, 500, 502, 599])
async def test_three_more_attempts_are_enough(net: Net, status: int) -> None:
    cdn = await net.site(reply(b"", status))
    error = await net.fault()
    assert (error.status, error.code) == (502, "image_fetch_failed")
    assert error.message == f"no image from cdn.example: it answered {status}"
    assert (len(cdn.heads), net.pauses) == (4, [1.0, 2.0, 4.0])


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 405, 410, 418, 429, 499])
async def test_what_will_not_get_better_is_not(net: Net, status: int) -> None:
    cdn = await net.site(reply(b"" if status in (204, 304) else b"image", status))
    error = await net.fault()
    assert (error.status, error.code) == (502, "image_fetch_failed")
    assert str(status) in error.message
    assert (len(cdn.heads), net.pauses) == (1, [])


async def test_an_empty_body(net: Net) -> None:
    await net.site(reply(b""))
    error = await net.fault()
    assert (error.code, net.pauses) == ("image_fetch_failed", [])
    assert "empty" in error.message


@pytest.mark.parametrize("field", ["Content-Encoding: gzip", "content-encoding: identity, BR", "Content-Encoding: x"])
async def test_a_body_that_is_encoded(net: Net, field: str) -> None:
    await net.site(reply(zlib.compress(b"image"), 200, field))
    error = await net.fault()
    assert (error.code, net.pauses) == ("image_fetch_failed", [])
    assert "Content-Encoding" in error.message


async def test_a_body_that_is_encoded_with_nothing(net: Net) -> None:
    await net.site(reply(b"image", 200, "Content-Encoding: Identity"))
    assert (await net.fetch()).chunks == (b"image",)


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nimage", "the connection was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n9\r\nima", "the connection was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nimage\r\n", "the connection was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nxx\r\n", "its answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", "the connection was cut"),
        (b"SSH-2.0-x\r\nConnection: close\r\n\r\n", "its answer is not HTTP"),
    ],
)
async def test_a_cut_is_tried_again(net: Net, cut: bytes, reason: str) -> None:
    taken: list[int] = []

    async def take(n: int) -> None:
        taken.append(n)

    cdn = await net.site(cut, cut, reply(b"a whole image"))
    assert (await net.fetch(take=take)).size == sum(taken) == 13  # no byte is taken twice
    assert min(taken) > 0
    cdn.answers = [cut]
    error = await net.fault()
    assert (error.code, error.message) == ("image_fetch_failed", f"no image from cdn.example: {reason}")


async def test_a_body_that_goes_wrong_in_the_middle(net: Net) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nimage\r\n")
        await read.wait()
        writer.write(b"xx\r\n")
        await writer.drain()

    read = asyncio.Event()

    async def take(n: int) -> None:
        read.set()

    await net.site(answer, reply(b"a whole image"))
    assert (await net.fetch(take=take, read_timeout=0.05)).size == 13
    assert net.pauses == [1.0]


async def test_a_body_that_the_slower_parser_refuses(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    async def readany(self: object) -> bytes:
        raise HttpProcessingError(code=400)  # of aiohttp without its C extension

    monkeypatch.setattr(aiohttp.StreamReader, "readany", readany)
    await net.site(reply())
    assert (await net.fault()).message == "no image from cdn.example: its answer is not HTTP"
    assert net.pauses == [1.0, 2.0, 4.0]


async def test_nobody_there(net: Net) -> None:
    assert "it could not be connected to" in (await net.fault()).message
    assert len(net.dialled) == 4
    nothing: list[list[list[str]]] = [[], [[]]]
    for answers in nothing:
        net.names["cdn.example"] = answers
        assert "its name could not be resolved" in (await net.fault()).message
    assert net.pauses == [1.0, 2.0, 4.0] * 3


# ---- bounds


async def test_a_body_over_the_limit_by_its_own_word(net: Net) -> None:
    async def head_only(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n")
        await writer.wait_closed()

    await net.site(head_only)
    error = await net.fault(max_bytes=100)
    assert (error.status, error.code, net.pauses) == (502, "image_too_large", [])
    assert "cdn.example" in error.message
    assert "100 bytes" in error.message


@pytest.mark.parametrize("length", ["Transfer-Encoding: chunked", "X-Length: none"])
async def test_a_body_over_the_limit_in_silence(net: Net, length: str) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode())
        while True:  # until the fetch hangs up
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    taken: list[int] = []

    async def take(n: int) -> None:
        taken.append(n)

    await net.site(endless)
    with pytest.raises(UpstreamError) as raised:
        await net.fetch(take=take, max_bytes=10_000)
    assert (raised.value.code, net.pauses) == ("image_too_large", [])
    assert sum(taken) <= 10_000


async def test_a_body_at_the_limit(net: Net) -> None:
    await net.site(reply(b"x" * 100))
    assert (await net.fetch(max_bytes=100)).size == 100
    await net.site(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100)
    assert (await net.fetch(max_bytes=100)).size == 100


async def test_a_length_that_is_too_small(net: Net) -> None:
    await net.site(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage and more")
    (result,) = await asyncio.gather(net.fetch(), return_exceptions=True)
    if isinstance(result, Fetched):  # as the bytes fall into segments
        assert result.chunks == (b"image",)
    else:
        assert isinstance(result, UpstreamError)
        assert result.code == "image_fetch_failed"


async def test_an_answer_to_a_question_not_asked(net: Net) -> None:
    await net.site(reply() + reply(b"forged"), reply(b"second"))
    async with net.fetcher() as fetcher:
        assert [(await fetcher.fetch(LINK)).chunks for _ in range(2)] == [(b"image",), (b"second",)]


def _silent(start: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.wait_closed()

    return answer


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (_silent(b""), "read_timeout"),
        (_silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nimage"), "read_timeout"),
        (_silent(b""), "total_timeout"),
        (_drip, "total_timeout"),
    ],
)
async def test_a_slow_host(net: Net, answer: Answer, limit: str) -> None:
    cdn = await net.site(answer)
    policy: dict[str, Any] = {limit: 0.05}
    error = await net.fault(**policy)
    assert isinstance(error, UpstreamTimeout)
    assert (error.status, error.code) == (504, "image_fetch_timeout")
    assert error.message == "no image from cdn.example: it timed out"
    assert (len(cdn.heads), net.pauses) == (4, [1.0, 2.0, 4.0])
    await net.site(answer, reply())
    assert (await net.fetch(**policy)).size == 5


async def test_redirects_share_one_time_limit(net: Net) -> None:
    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.04)
        writer.write(moved("/again"))
        await writer.drain()

    await net.site(late)
    assert isinstance(await net.fault(total_timeout=0.06, retries=()), UpstreamTimeout)  # or it would be a redirect too many


async def test_a_name_server_that_is_silent(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object) -> list[ResolveResult]:
        return await asyncio.Event().wait() and []

    monkeypatch.setattr(net, "resolve", never)
    assert isinstance(await net.fault(connect_timeout=0.02), UpstreamTimeout)
    assert net.pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("error", [Overloaded("full"), TimeoutError("mine"), ConnectionResetError("mine"), ValueError("mine")])
async def test_what_take_raises_is_passed_on(net: Net, error: Exception) -> None:
    async def take(n: int) -> None:
        raise error

    cdn = await net.site(reply())
    with pytest.raises(type(error)) as raised:
        await net.fetch(take=take)
    assert raised.value is error
    assert (len(cdn.heads), net.pauses) == (1, [])


async def test_attempts_at_once_are_bounded(net: Net) -> None:
    active, peak = 0, 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        for _ in range(300):  # turns of the loop in which the others would come
            await asyncio.sleep(0)
        active -= 1
        writer.write(reply())
        await writer.drain()

    await net.site(answer)
    async with net.fetcher(concurrency=2) as fetcher:
        await asyncio.gather(*(fetcher.fetch(LINK) for _ in range(6)))
    assert peak == 2


async def test_a_pause_holds_no_place(net: Net) -> None:
    await net.site(reply(b"", 404), reply())
    await net.site(reply(), at=OTHER)
    async with net.fetcher(concurrency=1) as fetcher:

        async def pause(seconds: float) -> None:
            await fetcher.fetch("http://other.example/")

        fetcher._sleep = pause
        assert (await fetcher.fetch(LINK)).size == 5


async def test_connections_are_kept_and_closed(net: Net) -> None:
    await net.site(reply())
    async with net.fetcher() as fetcher:
        for _ in range(3):
            await fetcher.fetch(LINK)
        assert net.dialled == [(PUBLIC, 80)]
        connectors = [fetcher._guarded.connector, fetcher._vouched.connector]
    assert all(connector and connector.closed for connector in connectors)
    assert net.closed


async def test_both_sessions_are_strict(net: Net) -> None:
    """Where a slip would show under load, or to an attacker, alone."""
    async with net.fetcher() as fetcher:
        for session in (fetcher._guarded, fetcher._vouched):
            assert not session.auto_decompress
            assert not session.trust_env
            assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
            assert isinstance(session.connector, aiohttp.TCPConnector)
            assert not session.connector.limit
            assert not session.connector.use_dns_cache


# ---- the log


async def test_the_log_holds_the_whole_link(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    await net.site(reply(b"", 403))
    await net.fault()
    await net.fault(f"{LINK}\nFORGED")
    await net.fault(LINK.replace("http", "HTTPS"))
    failed, refused, secure = caplog.records
    assert (failed.name, failed.levelno) == ("darkroom.image_edit", logging.WARNING)
    assert LINK in failed.getMessage()
    assert "it answered 403" in failed.getMessage()
    assert LINK in refused.getMessage()
    assert "\n" not in refused.getMessage()
    assert LINK.replace("http", "HTTPS") in secure.getMessage().partition("the link")[2]


async def test_the_log_holds_no_image(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    await net.refusal("data:image/png;base64," + "secret" * 1000)
    await net.refusal("http://cdn.example/" + "x" * 10**6)
    assert "secret" not in caplog.text
    assert len(caplog.text) < 20_000


async def test_the_log_tells_the_address(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    net.names["cdn.example"] = [["10.1.2.3"]]
    await net.refusal()
    assert "10.1.2.3 is a private address" in caplog.text


async def test_success_is_silent(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    await net.site(reply())
    await net.fetch()
    assert caplog.records == []
