"""The guarded fetch: gets an image from a link that somebody else chose, and from nowhere that they should not reach."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from proxy_core import ConfigError, Failure, Fault, UpstreamError, UpstreamTimeout

from .addresses import AddressRefused, GuardedResolver, gate, place, refused

log = logging.getLogger("darkroom.image_edit")

Take = Callable[[int], Awaitable[None]]

_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "darkroom"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BLOCK = 64 * 1024  # bytes; the least that is kept as one chunk
_LONGEST = 16 * 1024  # characters of a link; one signed with a session token has about 3,000

# The URL parser drops or maps these in silence, or parsers differ over them: what is checked might not be what is fetched.
_STRANGE = re.compile(r"[^\x21-\x7e]|\\")


class BadLink(ValueError):
    """A link that a rule of the guard forbids. `host` and `rule` may be told to anyone; the link itself holds a signature."""

    def __init__(self, host: str, rule: str) -> None:
        super().__init__(f"the link to {host[:253] or 'an image'} was refused: {rule}")
        self.host = host[:253]
        self.rule = rule


class LinkRefused(UpstreamError):
    """A fetch that a rule of the guard forbids, of the link itself or of where it leads."""

    code = "image_link_refused"

    def __init__(self, bad: BadLink) -> None:
        super().__init__(str(bad), failure=Failure.UNKNOWN)
        self.host = bad.host
        self.rule = bad.rule


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """How images at links are fetched."""

    max_bytes: int = 25 * 1024 * 1024
    """Bytes of one image."""
    total_timeout: float = 60.0
    """Seconds for one attempt."""
    read_timeout: float = 20.0
    """Seconds between two reads."""
    connect_timeout: float = 10.0
    """Seconds for the name's look-up, the connection and TLS."""
    max_redirects: int = 3
    """Redirects followed; each is checked as the link itself is."""
    retries: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Seconds to wait before each further attempt, made after 404, 5xx, a cut, a time-out or a failed connection."""
    allow_hosts: list[str] = field(default_factory=list)
    """Hosts that may have private addresses and any port: `"host"`, `"host:port"`, `"[v6]"` or `"[v6]:port"`."""
    ports: list[int] = field(default_factory=lambda: [80, 443])
    """Ports that may be connected to on all other hosts."""
    concurrency: int = 16
    """Attempts at once; the others wait."""

    def __post_init__(self) -> None:
        times = ("total_timeout", "read_timeout", "connect_timeout")
        faults = [Fault(name, "must be more than 0 seconds") for name in times if not 0 < getattr(self, name) < math.inf]
        for name, least in (("max_bytes", 1), ("concurrency", 1), ("max_redirects", 0)):
            if getattr(self, name) < least:
                faults.append(Fault(name, f"must be at least {least}"))
        if not all(0 <= pause < math.inf for pause in self.retries):
            faults.append(Fault("retries", "a pause must be 0 seconds or more"))
        if not all(0 < port < 65536 for port in self.ports):
            faults.append(Fault("ports", "must be from 1 to 65535"))
        try:
            self._places  # noqa: B018  # raises ValueError for a host that cannot be read
        except ValueError as error:
            faults.append(Fault("allow_hosts", str(error).removeprefix("allow_hosts: ")))
        if faults:
            raise ConfigError(faults)

    def vouches(self, host: str, port: int | None) -> bool:
        """Whether the operator trusts this place; `host` as `check_link` writes it: lower case, no brackets."""
        return (host, None) in self._places or (host, port) in self._places

    @cached_property
    def _places(self) -> frozenset[tuple[str, int | None]]:
        try:
            return frozenset(place(entry)[:2] for entry in self.allow_hosts)
        except ValueError as error:
            raise ValueError(f"allow_hosts: an entry is not HOST, HOST:PORT, [V6] or [V6]:PORT: {error}") from None


@dataclass(frozen=True)
class Fetched:
    """A body as it came. `content_type` is what the host claims, and proves nothing; `host` is the one that sent it."""

    chunks: tuple[bytes, ...]
    size: int
    content_type: str
    host: str


@dataclass(frozen=True)
class _Hop:
    """One place on the way to an image, checked."""

    url: URL
    host: str
    vouched: bool


def check_link(link: str, policy: FetchPolicy) -> URL:
    """The URL of a link, exactly as written. Raises BadLink if a rule that needs no network forbids it."""
    return _check(link, policy).url


def _check(link: str, policy: FetchPolicy) -> _Hop:
    if len(link) > _LONGEST:
        raise BadLink("", f"it is longer than {_LONGEST} characters")
    if _STRANGE.search(link):
        raise BadLink("", "it holds a space, a control character, a backslash or a character outside ASCII")
    try:
        url = URL(link, encoded=True)  # or a signed query would be quoted anew
        shown, port = url.raw_host or "", url.port
    except ValueError:
        raise BadLink("", "it is not a URL") from None
    if url.scheme not in ("http", "https"):  # the HTTP client takes ws, wss and tcp, too
        raise BadLink(shown, "its scheme is not http or https")
    try:
        host, _, address = place(url.raw_authority)
    except ValueError as error:
        raise BadLink(shown, str(error)) from None
    if policy.vouches(host, port):
        return _Hop(url, host, vouched=True)
    if port not in policy.ports:
        raise BadLink(host, f"its port is {port}, not {' or '.join(map(str, policy.ports))}")
    if address and (why := refused(address)):
        raise BadLink(host, f"its address is {why}")
    return _Hop(url, host, vouched=False)


class _Again(Exception):
    """A failure that another attempt may cure; `error` is what it comes to if none does."""

    def __init__(self, error: UpstreamError) -> None:
        self.error = error


class _Budget:
    """What was taken for one image. A second attempt fills the room of the first before it takes more."""

    def __init__(self, take: Take | None) -> None:
        self._take = take
        self._held = 0

    async def hold(self, size: int) -> None:
        if self._take is not None and size > self._held:
            await self._take(size - self._held)
            self._held = size


class Fetcher:
    """Fetches images within a policy. An async context manager: connections are kept between fetches, and closed at its end.

    What the operator vouches for has a session of its own, without the gates, so that neither its leave nor one of its
    connections can ever serve any other link.
    """

    _resolver: AbstractResolver
    _guarded: aiohttp.ClientSession
    _vouched: aiohttp.ClientSession

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        resolver: AbstractResolver | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`resolver` is closed with the Fetcher; the system's is used without one."""
        self._policy = policy
        self._given = resolver
        self._sleep = sleep
        self._slots = asyncio.Semaphore(policy.concurrency)

    async def __aenter__(self) -> Fetcher:
        self._resolver = self._given or aiohttp.DefaultResolver()
        self._guarded = self._session(GuardedResolver(self._resolver), gate)
        self._vouched = self._session(self._resolver, None)
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._guarded.close()
        await self._vouched.close()
        await self._resolver.close()

    def _session(self, resolver: AbstractResolver, sockets: aiohttp.SocketFactoryType | None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, socket_factory=sockets, use_dns_cache=False, limit=0),
            timeout=aiohttp.ClientTimeout(connect=self._policy.connect_timeout, sock_read=self._policy.read_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),  # the usual jar would carry one client's cookies into another's fetch
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,  # a proxy from the environment would connect for us, past the gates
        )

    async def fetch(self, link: str, *, take: Take | None = None) -> Fetched:
        """The bytes at `link`. `take` is awaited with the number of bytes about to be held; what it raises is passed on.

        Raises LinkRefused, UpstreamTimeout, or UpstreamError with the code `image_fetch_failed` or `image_too_large`. They
        name the host and the reason. The whole link goes to the log alone: there the operator finds an image that was paid for.
        """
        try:
            return await self._persist(link, _Budget(take))
        except Exception as error:
            log.warning("%s; cause: %r; the link: %s", error, error.__cause__, _for_log(link))
            raise

    async def _persist(self, link: str, budget: _Budget) -> Fetched:
        pauses = iter(self._policy.retries)
        while True:
            try:
                return await self._attempt(_check(link, self._policy), budget)
            except BadLink as bad:
                raise LinkRefused(bad) from bad.__cause__
            except _Again as failed:
                pause = next(pauses, None)
                if pause is None:
                    raise failed.error from failed.__cause__
            await self._sleep(pause)

    async def _attempt(self, first: _Hop, budget: _Budget) -> Fetched:
        async with self._slots:
            try:
                async with asyncio.timeout(self._policy.total_timeout) as limit:
                    return await self._follow(first, budget)
            except TimeoutError:
                if not limit.expired():  # then it came from `take`
                    raise
                raise _Again(_timeout(first.host)) from None

    async def _follow(self, hop: _Hop, budget: _Budget) -> Fetched:
        for _ in range(self._policy.max_redirects + 1):
            async with await self._ask(hop) as response:
                if response.status not in _REDIRECTS:
                    self._judge(response, hop.host)
                    return await self._read(response, hop.host, budget)
                hop = self._next(response, hop)
        raise BadLink(hop.host, f"it came after more than {self._policy.max_redirects} redirects")

    async def _ask(self, hop: _Hop) -> aiohttp.ClientResponse:
        session = self._vouched if hop.vouched else self._guarded
        with _faults(hop.host):
            return await session.get(hop.url, allow_redirects=False)

    def _next(self, response: aiohttp.ClientResponse, hop: _Hop) -> _Hop:
        location = response.headers.get("Location")
        if not location:
            raise _failed(hop.host, f"it answered {response.status} without a Location")
        # `_check` again sees what `urljoin` would strip; a whole URL is not joined, for that can change its bytes.
        relative = not _STRANGE.search(location) and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location)
        target = _check(urljoin(str(hop.url), location) if relative else location, self._policy)
        if hop.url.scheme == "https" and target.url.scheme == "http":
            raise BadLink(target.host, "it was redirected from https to http")
        return target

    def _judge(self, response: aiohttp.ClientResponse, host: str) -> None:
        """Whether the body is worth reading, by the head alone."""
        if response.status != 200:
            error = _failed(host, f"it answered {response.status}")
            # A fresh result may be unknown yet (404) to the part of a storage service that is asked.
            raise _Again(error) if response.status == 404 or response.status >= 500 else error
        encodings = {encoding.strip().lower() for encoding in response.headers.getall("Content-Encoding", [])}
        if encodings - {"identity"}:
            raise _failed(host, f"it answered with Content-Encoding {', '.join(sorted(encodings))!r}, which was not asked for")
        if (response.content_length or 0) > self._policy.max_bytes:
            raise self._too_large(host)

    async def _read(self, response: aiohttp.ClientResponse, host: str, budget: _Budget) -> Fetched:
        chunks: list[bytes] = []
        block = bytearray()  # joined up to a bound, for a drip of tiny chunks would cost many times its size
        size = 0
        while True:
            with _faults(host):
                # aiohttp (3.14.5) drops its own timer, and says nothing, when a body breaks the rules of chunks half-way.
                async with asyncio.timeout(self._policy.read_timeout):
                    data = await response.content.readany()
            if not data:
                break
            size += len(data)
            if size > self._policy.max_bytes:  # counted, whatever Content-Length says
                raise self._too_large(host)
            await budget.hold(size)
            block += data
            if len(block) >= _BLOCK:
                chunks.append(bytes(block))
                block.clear()
        if not size:
            raise _failed(host, "it answered with an empty body")
        if block:
            chunks.append(bytes(block))
        return Fetched(tuple(chunks), size, response.headers.get("Content-Type", ""), host)

    def _too_large(self, host: str) -> UpstreamError:
        text = f"the image at {host} is larger than {self._policy.max_bytes} bytes (plugins.image_edit.fetch.max_bytes)"
        return UpstreamError(text, failure=Failure.UNKNOWN, code="image_too_large")


# The first that fits. Never the HTTP client's own words: they hold the whole link.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "its name could not be resolved"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (aiohttp.ClientConnectorError, "it could not be connected to"),
    (aiohttp.ClientResponseError, "its answer is not HTTP"),
    (HttpProcessingError, "its answer is not HTTP"),
)


@contextlib.contextmanager
def _faults(host: str) -> Iterator[None]:
    """The HTTP client's errors as ours. Around its calls alone, so that what `take` raises is never taken for one of them."""
    try:
        yield
    except TimeoutError as error:
        raise _Again(_timeout(host)) from error
    except (aiohttp.ClientError, HttpProcessingError) as error:
        cause = getattr(error, "os_error", None)
        if isinstance(cause, AddressRefused):
            raise BadLink(host, f"its address is {cause.why}") from cause
        reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "the connection was cut")
        raise _Again(_failed(host, reason)) from error


def _failed(host: str, reason: str) -> UpstreamError:
    return UpstreamError(f"no image from {host}: {reason}", failure=Failure.UNKNOWN, code="image_fetch_failed")


def _timeout(host: str) -> UpstreamTimeout:
    return UpstreamTimeout(f"no image from {host}: it timed out", failure=Failure.UNKNOWN, code="image_fetch_timeout")


def _for_log(link: str) -> str:
    """The whole link, escaped, if it is one; the start alone of anything else, which may be a data: URL full of image."""
    return repr(link[:_LONGEST] if link.strip().lower().startswith(("http://", "https://")) else link[:16])
