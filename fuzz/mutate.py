"""Changes JSON as JSON: libFuzzer changes bytes, and seldom makes a list into a number within a good document."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

# One of each kind, and what has been mistaken for another kind before.
_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, 2**64, 1.5, -0.0, "", " ", "1", "true", "\0", "a\r\nB: c", "\U0001f600"),
    *([], [None], ["x"], [[]], [{}], {}, {"x": {"y": []}}, {"type": "text"}, {"url": "url"}),
    *("1:0." + "0" * 320 + "1", "0x0", "1x", "99999x99999", "data:,", "data:image/png;base64,AAAA", "https://a.example/b.png"),
]


def changed(data: bytes, words: Sequence[str], seed: int) -> bytes | None:
    """The document with one value in it, anywhere, another one, gone, or twice; None for what is no object or list in JSON.

    It may have a byte before it, which tells the target something.
    """
    lots = random.Random(seed)  # noqa: S311  # libFuzzer's own number, so that a run can be repeated
    before = data[: data[:1] not in (b"{", b"[")]
    try:
        root = json.loads(data[len(before) :])
    except (ValueError, RecursionError):
        return None
    holders = _holders(root)
    if not holders:
        return None
    holder = lots.choice(holders)
    there = [value for other in holders for value in (other.values() if isinstance(other, dict) else other)]
    value = lots.choice(lots.choice([_VALUES, words or _VALUES, there or _VALUES]))
    if isinstance(holder, list):
        place = lots.randrange(len(holder) + 1)
        holder[place : place + lots.randrange(2)] = [value] * lots.randrange(3)
    elif holder and lots.random() < 0.1:
        del holder[lots.choice(list(holder))]
    else:
        holder[lots.choice([*holder, *words])] = value
    try:
        return before + json.dumps(root).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # it holds itself by now
        return None


def _holders(root: Any) -> list[Any]:
    """Every object and list in the document."""
    found = [root] if isinstance(root, (dict, list)) else []
    for one in found:
        found += [inner for inner in (one.values() if isinstance(one, dict) else one) if isinstance(inner, (dict, list))]
    return found
