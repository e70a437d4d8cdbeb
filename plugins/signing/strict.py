"""JSON and base64 read so strictly that one text has one meaning: no key twice, and no second spelling."""

from __future__ import annotations

import json
from typing import Any

import pybase64


def read_json(data: bytes, what: str) -> Any:
    """The value of a JSON text. Raises ValueError that begins with `what`, also for a key that stands twice in an object."""
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON ({error.msg}, line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} stands in it twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant)  # made once: a stream has many events


def decode(text: object, what: str) -> bytes:
    """The bytes of standard base64 with padding, and nothing else in it. Raises ValueError that begins with `what`."""
    if not isinstance(text, str):
        raise ValueError(f"{what} is not a string")
    try:
        found = pybase64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"{what} is not valid base64") from None
    if pybase64.b64encode(found).decode() != text:  # bits that nobody reads may not differ either
        raise ValueError(f"{what} is not valid base64")
    return found


def encode(data: bytes) -> str:
    return pybase64.b64encode(data).decode()
