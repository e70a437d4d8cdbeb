"""The facts that implementers get wrong (contracts, README.md, 1 to 31): each has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_each_fact_has_a_test() -> None:
    found: set[int] = set()
    for path in HERE.glob("test_*.py"):
        for listed in re.findall(r"\bFacts? ((?:\d+(?:, | and )?)+)", path.read_text(encoding="utf-8")):
            found |= {int(number) for number in re.findall(r"\d+", listed)}
    assert found == set(range(1, 32))
