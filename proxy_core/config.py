"""The operator's file: read, checked against dataclasses, and told of every mistake at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from yarl import URL

from .errors import ConfigError, Fault

C = TypeVar("C")


class Secret:
    """A key or password. It is not a str: it shows itself only to who calls `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def bearer(self) -> dict[str, str]:
        """The header that carries it as a bearer token."""
        return {"Authorization": f"Bearer {self._value}"}

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a config's relative paths start, and which environment its `env:` values are read from."""

    folder: Path = field(default_factory=Path.cwd)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


def _check_upstream(key: str, url: URL) -> None:
    if url.user or url.password:
        raise ValueError(f"{key}: a URL without a user or password; put a key into 'api_key'")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{key}: {str(url)!r} is not an http or https URL with a host")
    if url.query_string or url.fragment:
        raise ValueError(f"{key}: a URL of scheme, host and path only; put a key into 'api_key'")


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """One of a route's several upstreams, and its share of the requests."""

    url: URL
    weight: int = 1

    def __post_init__(self) -> None:
        _check_upstream("url", self.url)
        if self.weight < 1:
            raise ValueError("weight: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long an upstream may take, in seconds."""

    connect_timeout: float = 10.0
    first_byte_timeout: float = 600.0  # from the request's last byte to the answer's head
    read_timeout: float = 600.0  # between two reads of the answer, or two writes of the request
    total_timeout: float = 0.0  # for the whole answer, unless it is an event stream; 0 is no limit

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "first_byte_timeout", "read_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: must be more than 0 seconds, and finite")
        if not 0 <= self.total_timeout < math.inf:
            raise ValueError("total_timeout: must be 0 (no limit) or more seconds, and finite")


@dataclass(frozen=True, kw_only=True)
class Route(Timeouts):
    """What is behind one path prefix. Times are seconds.

    `upstream` without a path leaves the request's path as it came; with one, that path stands in the prefix's place.
    `credentials` says whose are sent upstream: `client` passes the client's own on, `api_key` replaces them with the key
    given here, `none` takes them away. Left out, it is `api_key` where a key is given and `client` where none is.
    """

    upstream: URL | None = None
    upstreams: list[Weighted] = field(default_factory=list)  # several, by turns, in place of `upstream`
    api_key: Secret | None = None
    api_key_header: str = "Authorization"  # "Authorization" sends "Bearer KEY"; any other header sends the bare key
    credentials: Literal["client", "api_key", "none"] | None = None
    connections: int = 0  # requests at one upstream at once; 0 is no limit
    failures: int = 3  # in a row, after which one of several upstreams is left alone
    rest: float = 10.0  # for how long
    forwarded: bool = False  # whether X-Forwarded-For, -Proto, -Host and Via tell the upstream who asks

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
    """Bounds on what a client may cost. Sizes are bytes, times are seconds."""

    body: int = 256 * 1024 * 1024  # one request's body
    memory: int = 1024 * 1024 * 1024  # all bodies, replies and images that are held at once
    memory_wait: float = 5.0  # how long a request that holds nothing may wait for memory
    head: int = 32 * 1024  # one header line, name and value; also the request line
    headers: int = 128  # header lines
    head_timeout: float = 15.0  # from the connection, or a head's first byte, to the whole head
    body_timeout: float = 60.0  # between two reads of a request's body
    connections: int = 10_000  # open at once
    requests: int = 4_096  # being served at once
    keepalive: float = 75.0  # an idle connection
    drain: float = 150.0  # how long requests in flight may take to end when the server stops

    def __post_init__(self) -> None:
        wrong = [one.name for one in dataclasses.fields(self) if not 0 < getattr(self, one.name) < math.inf]
        if wrong:
            raise ConfigError([Fault(name, "must be more than 0, and finite") for name in wrong])


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """The table `[proxy]`."""

    listen: str = "127.0.0.1:8080"
    state_dir: Path = Path("state")
    plugins: list[str] = field(default_factory=list)
    routes: dict[str, Route] = field(default_factory=dict)
    calls: Timeouts = field(default_factory=Timeouts)  # of what plugins call by themselves, such as image services
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        faults = []
        try:
            split_listen(self.listen)
        except ValueError as error:
            faults.append(Fault("listen", str(error)))
        stray = [prefix for prefix in self.routes if not prefix.startswith("/") or "?" in prefix or "#" in prefix]
        twice = sorted({name for name in self.plugins if self.plugins.count(name) > 1})
        faults += [Fault(f'routes."{prefix}"', "a route is a path that begins with '/'") for prefix in stray]
        faults += [Fault("plugins", f"{name!r} is listed twice; each plugin has one place in the order") for name in twice]
        if faults:
            raise ConfigError(faults)


def split_listen(listen: str) -> tuple[str, int]:
    """`"127.0.0.1:8080"` or `"[::1]:8080"` -> (host, port)."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{listen!r} is not HOST:PORT, such as '127.0.0.1:8080' or '[::]:8080'")
    return host, int(port)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One file, read: the proxy's own part built, the plugins' tables as they came."""

    proxy: ProxyConfig
    tables: Mapping[str, Mapping[str, object]] = field(repr=False)  # plugin name -> its table; secrets may stand in it
    source: Source


def read(path: Path) -> tuple[Mapping[str, object], Source]:
    """A file's table, and where its relative paths start. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError([Fault("", f"cannot read {path}: {reason}")]) from None
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


def unknown(key: str, known: Any, where: str) -> Fault:
    """The fault for a key, plugin or model that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(key, list(known), n=1)
    mend = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
    return Fault(where, f"unknown key; {mend}")


def build(cls: type[C], table: object, where: str, source: Source | None = None) -> C:
    """An instance of dataclass `cls` from a TOML table, strictly by its annotations.

    Understood: bool, int, float, str, URL, Path, Secret, Literal, list, tuple, dict with str keys, other dataclasses, and
    unions with None. A ValueError from `__post_init__`, worded "KEY: what", becomes a fault at that key; a ConfigError brings
    several. Raises ConfigError with every fault.
    """
    builder = _Builder(source or Source())
    value = builder.dataclass(cls, table, where)
    if builder.faults:
        raise ConfigError(builder.faults)
    return value  # type: ignore[no-any-return]  # _BAD comes with a fault


_BAD: Any = object()  # stands where a value could not be built; never seen outside, for a fault goes with it

_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "a table",
}


def kind(value: object) -> str:
    """A TOML value's type in an operator's words."""
    return _KINDS.get(type(value), type(value).__name__)


class _Builder:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Fault] = []

    def fault(self, where: str, what: str) -> Any:
        self.faults.append(Fault(where, what))
        return _BAD

    def dataclass(self, cls: type[Any], table: object, where: str) -> Any:
        if not isinstance(table, Mapping):
            return self.fault(where, f"must be a table, not {kind(table)}")
        before = len(self.faults)
        hints = get_type_hints(cls)
        known = {f.name: f for f in dataclasses.fields(cls) if f.init}
        values: dict[str, Any] = {}
        bad: list[str] = []
        for key, value in table.items():
            if key in known:
                count = len(self.faults)
                values[key] = self.value(hints[key], value, f"{where}.{key}")
                if len(self.faults) > count:
                    bad.append(key)
            else:
                self.faults.append(unknown(key, known, f"{where}.{key}"))
        for name, f in known.items():
            if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                self.fault(f"{where}.{name}", f"is missing; it is required ({_expected(hints[name])})")
        # Made even where a key is bad, of what is good: `__post_init__` may have more to tell.
        good = {key: value for key, value in values.items() if value is not _BAD}
        for name, f in known.items():
            if hints[name] is Path and name not in table and isinstance(f.default, Path):
                good[name] = self.source.folder / f.default
        made = _BAD
        try:
            made = cls(**good)
        except ConfigError as error:
            self._told(error.faults, where, bad)
        except ValueError as error:
            key, colon, what = str(error).partition(": ")
            named = colon and key.split(".")[0].split("[")[0] in known
            self._told([Fault(key, what) if named else Fault("", str(error))], where, bad)
        except TypeError:
            if len(self.faults) == before:
                raise  # not for a key that is missing: that has been told
        return made if len(self.faults) == before else _BAD

    def _told(self, faults: Sequence[Fault], where: str, bad: Sequence[str]) -> None:
        """What a class found out by itself, but for what is said of, or for want of, a key that has been told already."""
        for fault in faults:
            if not any(fault.where == key or f"'{key}'" in fault.what for key in bad):
                path = f"{where}.{fault.where}" if fault.where else where
                self.faults.append(Fault(path, fault.what, fault.missing))

    def value(self, hint: Any, value: object, where: str) -> Any:
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return self.value(next(arg for arg in args if arg is not types.NoneType), value, where)
        if origin is Literal:
            if any(type(value) is type(arg) and value == arg for arg in args):
                return value
            return self.fault(where, f"must be one of {', '.join(map(repr, args))}, not {_shown(value)}")
        if origin in (list, tuple):
            if not isinstance(value, list):
                return self.fault(where, f"must be a list, not {kind(value)}")
            kinds = [args[0]] * len(value) if origin is list or args[-1] is Ellipsis else list(args)
            if len(kinds) != len(value):
                return self.fault(where, f"must be a list of {len(kinds)}, not of {len(value)}")
            items = [self.value(kinds[i], item, f"{where}[{i}]") for i, item in enumerate(value)]
            good = [item for item in items if item is not _BAD]  # a class's own check is to see what is good
            return good if origin is list else tuple(good) if args[-1] is Ellipsis or len(good) == len(items) else _BAD
        if origin is dict or hint is dict:
            if not isinstance(value, Mapping):
                return self.fault(where, f"must be a table, not {kind(value)}")
            inner = args[1] if args else Any
            table = {key: self.value(inner, item, f"{where}.{_quoted(key)}") for key, item in value.items()}
            return {key: item for key, item in table.items() if item is not _BAD}
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self.dataclass(hint, value, where)
        return self.plain(hint, value, where)

    def plain(self, hint: Any, value: object, where: str) -> Any:
        if hint is Any or hint is object:
            return value
        if hint is float and type(value) is int:
            return float(value)
        if hint in (bool, int, float, str):
            return value if type(value) is hint else self.mismatch(hint, value, where)
        if not isinstance(value, str):
            return self.mismatch(hint, value, where)
        if hint is Secret:
            return self.secret(value, where)
        if hint is Path:
            return self.path(value, where)
        if hint is URL:
            return self.url(value, where)
        raise TypeError(f"{where}: a config field cannot be of type {hint!r}")

    def path(self, value: str, where: str) -> Any:
        try:
            if "\0" in value:
                raise ValueError("it holds a null byte")
            return self.source.folder / Path(value).expanduser()
        except (ValueError, RuntimeError) as error:
            return self.fault(where, f"{value!r} is not a path: {error}")

    def url(self, value: str, where: str) -> Any:
        shown = "it" if "@" in value else repr(value)  # a password may stand before an @
        try:
            url = URL(value)
        except ValueError as error:
            return self.fault(where, f"{shown} is not a URL: {'it cannot be read' if '@' in value else error}")
        return url if url.scheme and url.host else self.fault(where, f"{shown} is not a URL with scheme and host")

    def mismatch(self, hint: Any, value: object, where: str) -> Any:
        return self.fault(where, f"must be {_expected(hint)}, not {_shown(value) if hint is not Secret else kind(value)}")

    def secret(self, value: str, where: str) -> Any:
        scheme, colon, rest = value.partition(":")
        if colon and scheme == "env":
            found = self.source.environ.get(rest)
            if found is None:
                return self.fault(where, f"environment variable {rest} is not set; set it, or use 'file:PATH'")
            value = found
        elif colon and scheme == "file":
            path = self.path(rest, where)
            if path is _BAD:
                return _BAD
            try:
                value = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                return self.fault(where, f"cannot read {path}: {reason}")
        if not value.strip():
            return self.fault(where, "is empty")
        if any(c < " " or c == "\x7f" for c in value) and not value.startswith("-----BEGIN "):
            return self.fault(where, "holds a line break or control character; a key is one line")
        return Secret(value)


def _quoted(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'


def _shown(value: object) -> str:
    return f"{kind(value)} ({value!r})" if isinstance(value, (bool, int, float, str)) else kind(value)


def _expected(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(arg for arg in get_args(hint) if arg is not types.NoneType)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if hint is Secret:
        return "a string: a key, 'env:NAME' or 'file:PATH'"
    if hint is URL:
        return "a URL"
    if hint is Path:
        return "a path"
    return _KINDS.get(hint, _KINDS.get(get_origin(hint) or hint, "a table"))
