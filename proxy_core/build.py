"""Instances of dataclasses from a TOML table, strictly by their annotations; every mistake is told at once."""

from __future__ import annotations

import dataclasses
import difflib
import os
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


def unknown(key: str, known: Any, where: str) -> Fault:
    """The fault for a key, plugin or model that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(key, list(known), n=1)
    mend = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
    return Fault(where, f"unknown key; {mend}")


def build(cls: type[C], table: object, where: str, source: Source | None = None) -> C:
    """An instance of dataclass `cls` from a TOML table, strictly by its annotations.

    Understood: bool, int, float, str, URL, Path, Secret, Literal, list, tuple, dict with str keys, other dataclasses, and
    unions with None, or of a type with a list of it. A ValueError from `__post_init__`, worded "KEY: what", becomes a fault at
    that key; a ConfigError brings several. Raises ConfigError with every fault.
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


_GUESSES = 100  # faults up to which the nearest key is looked for: in a receipt that somebody made up, all may be unknown


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
            elif len(self.faults) < _GUESSES:
                self.faults.append(unknown(key, known, f"{where}.{key}"))
            else:
                self.fault(f"{where}.{key}", "unknown key")
        for name, f in known.items():
            if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                self.fault(f"{where}.{name}", f"is missing; it is required ({expected(hints[name])})")
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
            return self.value(_arm(args, value), value, where)
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
        return self.fault(where, f"must be {expected(hint)}, not {_shown(value) if hint is not Secret else kind(value)}")

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


def _arm(args: Sequence[Any], value: object) -> Any:
    """The member of a union that a value is meant for: a list where it is one, else the first that is not None."""
    arms = [arg for arg in args if arg is not types.NoneType]
    wanted = [arg for arg in arms if (get_origin(arg) is list) == isinstance(value, list)]
    return (wanted or arms)[0]


def _quoted(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'


def _shown(value: object) -> str:
    return f"{kind(value)} ({value!r})" if isinstance(value, (bool, int, float, str)) else kind(value)


def expected(hint: Any) -> str:
    """The TOML value that a field of this type wants, in an operator's words."""
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
