"""The table `[proxy]` of the operator's file, and the file as a whole: read, and checked as far as the core knows it.

The string below a field is its documentation: `darkroom reference` prints it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from yarl import URL

from .build import Secret, Source, build, kind, unknown
from .errors import ConfigError, Fault
from .listen import Address, parse_address


def _check_upstream(key: str, url: URL) -> None:
    if url.user or url.password:
        raise ValueError(f"{key}: a URL without a user or password; put a key into 'api_key'")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{key}: {str(url)!r} is not an http or https URL with a host")
    if url.query_string or url.fragment:
        raise ValueError(f"{key}: a URL of scheme, host and path only; put a key into 'api_key'")


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """One of a route's several upstreams."""

    url: URL
    """As `upstream` of a route."""
    weight: int = 1
    """Its share of the requests, beside the weights of the others."""

    def __post_init__(self) -> None:
        _check_upstream("url", self.url)
        if self.weight < 1:
            raise ValueError("weight: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long an upstream may take."""

    connect_timeout: float = 10.0
    """Seconds until a connection stands: the name's look-up, TCP and TLS."""
    first_byte_timeout: float = 600.0
    """Seconds from the request's last byte to the head of the answer."""
    read_timeout: float = 600.0
    """Seconds between two reads of the answer, or two writes of the request."""
    total_timeout: float = 0.0
    """Seconds for the whole answer, unless it is an event stream; 0 is no limit."""

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "first_byte_timeout", "read_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: must be more than 0 seconds, and finite")
        if not 0 <= self.total_timeout < math.inf:
            raise ValueError("total_timeout: must be 0 (no limit) or more seconds, and finite")


@dataclass(frozen=True, kw_only=True)
class Route(Timeouts):
    """What is behind one path prefix; the longest prefix that fits a request's path is taken."""

    upstream: URL | None = None
    """Where requests go. Without a path, the request's path goes on as it came; with one, it stands in the prefix's place."""
    upstreams: list[Weighted] = field(default_factory=list)
    """Several, by turns, in place of `upstream`: `[{ url = "...", weight = 2 }, { url = "..." }]`. The next one is asked only
    where nothing was sent, or asking twice does no harm."""
    api_key: Secret | None = None
    """Sent in place of the client's credentials."""
    api_key_header: str = "Authorization"
    """The header that carries it. `Authorization` sends `Bearer KEY`; any other header sends the bare key."""
    credentials: Literal["client", "api_key", "none"] | None = None
    """Whose are sent on: the client's own, those of `api_key`, or none at all. Left out: `api_key` where a key is given, else
    `client`."""
    connections: int = 0
    """Requests at one upstream at once; 0 is no limit."""
    failures: int = 3
    """Failures in a row after which one of several upstreams is left alone."""
    rest: float = 10.0
    """Seconds for which it is left alone."""
    forwarded: bool = False
    """Whether X-Forwarded-For, -Proto, -Host and Via tell the upstream who asks."""

    def all_upstreams(self) -> list[Weighted]:
        return self.upstreams or ([Weighted(url=self.upstream)] if self.upstream is not None else [])

    def __post_init__(self) -> None:
        if (self.upstream is None) == (not self.upstreams):
            raise ValueError("upstream: give either 'upstream', or 'upstreams' for several")
        if self.upstream is not None:
            _check_upstream("upstream", self.upstream)
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", self.api_key_header):
            raise ValueError(f"api_key_header: {self.api_key_header!r} is not a header's name")
        for name, least in (("connections", 0), ("failures", 1), ("rest", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be at least {least}")
        if self.credentials == "api_key" and self.api_key is None:
            raise ValueError("credentials: is 'api_key', but 'api_key' is not set; set it, or choose 'client' or 'none'")
        if self.api_key is not None and self.credentials in ("client", "none"):
            raise ValueError(f"api_key: is set, but never used with credentials = {self.credentials!r}; leave one of them out")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what clients may cost, each for one worker."""

    body: int = 256 * 1024 * 1024
    """Bytes of one request's body, as sent and after decompression."""
    memory: int = 1024 * 1024 * 1024
    """Bytes of all bodies, replies and images that are held at once. Above it, 503 with Retry-After."""
    memory_wait: float = 5.0
    """Seconds that a request which holds nothing may wait for memory."""
    head: int = 32 * 1024
    """Bytes of one header line, name and value; also of the request line."""
    headers: int = 128
    """Header lines of one request."""
    head_timeout: float = 15.0
    """Seconds from the connection, or a head's first byte, to the whole head; also for the TLS handshake."""
    body_timeout: float = 60.0
    """Seconds between two reads of a request's body."""
    connections: int = 10_000
    """Connections open at once."""
    requests: int = 4_096
    """Requests served at once."""
    keepalive: float = 75.0
    """Seconds that a connection may be idle."""
    drain: float = 150.0
    """Seconds that requests in flight have to end by themselves when the proxy stops; then they are cut."""
    shutdown_delay: float = 0.0
    """Seconds after SIGTERM during which new connections are still taken, with `/readyz` red already: for a balancer that needs
    a moment to notice."""

    def __post_init__(self) -> None:
        least = {"shutdown_delay": 0}
        wrong = [
            Fault(one.name, f"must be {'0 or more' if one.name in least else 'more than 0'}, and finite")
            for one in dataclasses.fields(self)
            if not (0 if one.name in least else math.ulp(0.0)) <= getattr(self, one.name) < math.inf
        ]
        if wrong:
            raise ConfigError(wrong)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What one plugin may cost the others."""

    budget: float = 0.0
    """Seconds that one request may spend in this plugin before it has its answer's head, what comes after it in the list not
    counted; then the request fails as it does where the plugin raises. 0 is no bound."""
    failures: int = 0
    """Faults in a row (exceptions that are no answer, or a spent budget) after which requests are answered 503 at once instead
    of reaching it. 0 is never: where one odd request can make a plugin fail, a client could switch it off for all."""
    rest: float = 10.0
    """Seconds that this lasts; then one request tries it again."""

    def __post_init__(self) -> None:
        faults = [Fault(name, "must be 0 or more, and finite") for name in ("budget", "failures", "rest")
                  if not 0 <= getattr(self, name) < math.inf]  # fmt: skip
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True, kw_only=True)
class Tls:
    """TLS towards clients, 1.2 or newer, on every address that is not a unix socket."""

    certificate: Path
    """The certificate and those between it and the root, in PEM. A renewed file is noticed, as a changed config is."""
    key: Path | None = None
    """The private key in PEM; left out, it stands in the file of `certificate`."""
    password: Secret | None = None
    """Of an encrypted key."""
    client_ca: Path | None = None
    """Certificates of those who sign client certificates, in PEM. Given, a client must show one."""

    def __post_init__(self) -> None:
        self.context()

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises ValueError, worded "KEY: what"."""
        for name in ("certificate", "key", "client_ca"):
            path: Path | None = getattr(self, name)
            try:
                data = path.read_bytes() if path is not None else b"-----BEGIN"
            except OSError as error:
                raise ValueError(f"{name}: cannot read {path}: {error.strerror}") from None
            if b"-----BEGIN" not in data:
                raise ValueError(f"{name}: {path} holds nothing in PEM")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        # Never None: OpenSSL would ask for it at the terminal.
        password = self.password.reveal() if self.password is not None else ""
        try:
            context.load_cert_chain(self.certificate, self.key, password)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            what = f"certificate and key cannot be used together: {reason}"
            raise ValueError(f"{'key' if self.key else 'certificate'}: {what}; is 'password' right?") from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise ValueError(f"client_ca: {self.client_ca} holds no certificate: {error.reason}") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """The proxy itself. `listen`, `socket_mode`, `workers`, `stall` and `state_dir` are read at the start alone; all else,
    plugins included, is taken over by a reload."""

    listen: str | list[str] = "127.0.0.1:8080"
    """Where to listen: `"HOST:PORT"`, `"unix:PATH"`, or a list of such. `"0.0.0.0:8080"` is every IPv4 address, `"[::]:8080"`
    every IPv6 address."""
    socket_mode: int = 0o660
    """Permissions of unix sockets."""
    tls: Tls | None = None
    """Certificate and key; without them the proxy speaks plain HTTP."""
    workers: int = 1
    """Processes that serve; with more than one, a supervisor binds the sockets, and replaces a worker that dies."""
    watch: float = 1.0
    """Seconds between two looks at the config file (and the TLS files), which is loaded anew when it has changed; 0 leaves that
    to SIGHUP."""
    stall: float = 0.5
    """Seconds that the event loop may stand still before that is logged, with the plugin it happened in; 0 is never."""
    state_dir: Path = Path("state")
    """Keys and the like, for the owner alone, and shared by all workers."""
    plugins: list[str] = field(default_factory=list)
    """What is switched on, and the order: the first sees a request first, and its answer last. A plugin's table may stay while
    it is off."""
    routes: dict[str, Route] = field(default_factory=dict)
    """Where requests go that no plugin takes, by path prefix: `[proxy.routes."/v1"]`."""
    calls: Timeouts = field(default_factory=Timeouts)
    """The same for what plugins call by themselves, such as image services."""
    limits: Limits = field(default_factory=Limits)
    """Bounds on what clients may cost."""
    guards: dict[str, Guard] = field(default_factory=dict)
    """Bounds on what plugins may cost, each by the plugin's name: `[proxy.guards.NAME]`."""

    def __post_init__(self) -> None:
        faults = []
        if not self.listeners:
            faults.append(Fault("listen", "is empty; give at least one address"))
        for text in self.listeners:
            try:
                parse_address(text)
            except ValueError as error:
                faults.append(Fault("listen", str(error)))
        for name in self.guards.keys() - set(self.plugins):
            near = difflib.get_close_matches(name, self.plugins, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            faults.append(Fault(f"guards.{name}", f"no plugin of this name is switched on{meant}"))
        if self.workers < 1:
            faults.append(Fault("workers", "must be at least 1"))
        if not 0 <= self.socket_mode <= 0o777:
            faults.append(Fault("socket_mode", "must be permissions from 0o000 to 0o777"))
        faults += [
            Fault(name, "must be 0 (off) or more seconds, and finite")
            for name in ("watch", "stall")
            if not 0 <= getattr(self, name) < math.inf
        ]
        stray = [prefix for prefix in self.routes if not prefix.startswith("/") or "?" in prefix or "#" in prefix]
        twice = sorted({name for name in self.plugins if self.plugins.count(name) > 1})
        faults += [Fault(f'routes."{prefix}"', "a route is a path that begins with '/'") for prefix in stray]
        faults += [Fault("plugins", f"{name!r} is listed twice; each plugin has one place in the order") for name in twice]
        if faults:
            raise ConfigError(faults)

    @property
    def listeners(self) -> list[str]:
        return [self.listen] if isinstance(self.listen, str) else self.listen


@dataclass(frozen=True, kw_only=True)
class Config:
    """One file, read: the proxy's own part built, the plugins' tables as they came."""

    proxy: ProxyConfig
    tables: Mapping[str, Mapping[str, object]] = field(repr=False)  # plugin name -> its table; secrets may stand in it
    source: Source

    def addresses(self, instead: str | None = None) -> list[Address]:
        """Where to listen; `instead` is what the command line says. Raises ValueError."""
        texts = self.proxy.listeners if instead is None else [instead]
        return [parse_address(text, self.source.folder) for text in texts]


def read(path: Path) -> str:
    """A config file's text. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError([Fault("", f"cannot read {path}: {reason}")]) from None


def parse(text: str, path: Path) -> tuple[Mapping[str, object], Source]:
    """The table in a file's text, and where its relative paths start. Raises ConfigError."""
    try:
        return tomllib.loads(text), Source(folder=path.resolve().parent)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, or a thousand brackets, is no TOMLDecodeError
        raise ConfigError([Fault("", f"{path} is not valid TOML: {error}")]) from None


def examine(table: Mapping[str, object], source: Source) -> tuple[Config, list[Fault]]:
    """A table checked as far as the core knows it: the config as good as it can be made, and the faults beside it.

    Not raised at once, so that a fault in `[proxy]` does not hide those of the plugins.
    """
    faults = [unknown(key, ("proxy", "plugins"), key) for key in table if key not in ("proxy", "plugins")]
    own = table.get("proxy", {})
    try:
        proxy = build(ProxyConfig, own, "proxy", source)
    except ConfigError as error:
        faults += error.faults
        listed = own.get("plugins") if isinstance(own, Mapping) else None
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        proxy = ProxyConfig(plugins=list(dict.fromkeys(names)))
    tables: dict[str, Mapping[str, object]] = {}
    plugins = table.get("plugins", {})
    if not isinstance(plugins, Mapping):
        faults.append(Fault("plugins", f"must be tables [plugins.NAME], not {kind(plugins)}; the list is 'proxy.plugins'"))
        plugins = {}
    for name, value in plugins.items():
        if isinstance(value, Mapping):
            tables[name] = value
        else:
            faults.append(Fault(f"plugins.{name}", f"must be a table [plugins.{name}], not {kind(value)}"))
    return Config(proxy=proxy, tables=tables, source=source), faults
