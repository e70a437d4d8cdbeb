"""What a service tells beside its pictures, cut to what can be written, counted and signed: none of it may cost a picture."""

from __future__ import annotations

from collections.abc import Mapping

_LONGEST = 1000  # characters of a name or an id
_DEEPEST = 4  # details of details
_MOST = 64  # members of one object
_COUNT = 2**53  # beyond, JSON's readers disagree


def word(value: object) -> str | None:
    """A name or an id; None where it is no text. What no encoding has a form for becomes a question mark."""
    if not isinstance(value, str) or not value:
        return None
    return value[:_LONGEST].encode("utf-8", "replace").decode("utf-8")


def counts(value: object, depth: int = _DEEPEST) -> dict[str, object]:
    """OpenAI's `usage`: numbers, and objects of them. Whatever else stands in it is left out."""
    found: dict[str, object] = {}
    for name, one in list(value.items())[:_MOST] if isinstance(value, Mapping) else ():
        key = word(str(name)) or ""
        if isinstance(one, Mapping):
            if depth > 1:
                found[key] = counts(one, depth - 1)
        elif one is None or (isinstance(one, (int, float)) and -_COUNT < one < _COUNT):
            found[key] = one
        elif isinstance(one, str):
            found[key] = word(one) or ""
    return found
