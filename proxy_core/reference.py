"""Every key of a config as Markdown, from the dataclasses that it is built into: `darkroom reference`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from yarl import URL

from .build import Secret, expected

_PLURAL = {str: "strings", int: "integers", float: "numbers"}


def reference(classes: Mapping[str, type[Any]]) -> str:
    """Markdown of these tables: `{"proxy": ProxyConfig, "plugins.acme": Acme}`."""
    return "\n\n".join("\n".join(_table(cls, name)) for name, cls in classes.items()) + "\n"


def _table(cls: type[Any], name: str) -> Iterator[str]:
    """One table's heading, its keys, and then the tables in it."""
    hints = get_type_hints(cls)
    docs = field_docs(cls)
    inner: list[tuple[type[Any], str]] = []
    yield f"## `[{name}]`"
    yield ""
    yield " ".join((inspect.getdoc(cls) or "").split())
    yield ""
    fields = [one for one in dataclasses.fields(cls) if one.init]
    for one in fields:
        hint = hints[one.name]
        yield f"- **`{one.name}`** ({_kind(hint)}{_default(one)}): {docs.get(one.name, '')}"
        inner += [(table, f"{name}.{one.name}{mark}") for table, mark in _tables(hint)]
    if not fields:
        yield "It has no keys."
    for table, path in inner:
        yield ""
        yield from _table(table, path)


def field_docs(cls: type[Any]) -> dict[str, str]:
    """The string that stands below each field of a class, and of those it extends."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, SyntaxError):  # shipped without its source
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for pair in itertools.pairwise(body):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = " ".join(text.split())
    return docs


def _tables(hint: Any) -> Iterator[tuple[type[Any], str]]:
    """The dataclasses in a field's type, and what stands after the field's name in the table's heading."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint, ""
        return
    mark = {dict: '."NAME"', list: "[]"}.get(get_origin(hint) or hint, "")
    for arg in get_args(hint):
        for table, rest in _tables(arg):
            yield table, mark + rest


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(f"`{arg!r}`".replace("'", '"') for arg in get_args(hint))
    args = [arg for arg in get_args(hint) if arg is not type(None)]
    if get_origin(hint) in (list, tuple) and args[0] in _PLURAL:
        return f"a list of {_PLURAL[args[0]]}"
    if get_origin(hint) not in (list, tuple, dict) and args:
        return " or ".join(_kind(arg) for arg in args)
    if get_origin(hint) is dict and args[1:] and any(True for _ in _tables(args[1])):
        return "tables by name"
    if get_origin(hint) is list:
        return "a list of tables"
    return expected(hint)


def _default(one: dataclasses.Field[Any]) -> str:
    if one.default_factory is not dataclasses.MISSING:
        made = one.default_factory()
        return f", `{_toml(made)}`" if isinstance(made, (list, tuple)) and made else ""
    if one.default is dataclasses.MISSING:
        return ", required"
    if one.default is None:
        return ""
    text = f"0o{one.default:o}" if one.name.endswith("_mode") else _toml(one.default)
    return f", `{text}`{_in_mib(one.default)}"


def _in_mib(value: object) -> str:
    mib = 1024 * 1024
    return f" which is {value // mib} MiB" if type(value) is int and value >= mib and value % mib == 0 else ""


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, (str, Path, URL, Secret)) else f"{value:g}" if type(value) is float else str(value)
