"""What `make mutants` takes out, and that its lists name what exists. The run itself is apart from the suite."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.change import mutants
from tests.mutants.targets import SUITES

ROOT = Path(__file__).resolve().parent.parent

SOURCE = """
LIMITS = {"a": 1, "b": 2}

def guard(address, port, *, hops=3):
    if address in ("x", "y") and port < 10:
        raise ValueError("no")
    for one in address:
        log.warning("wording is not the guard")
        check(one, trust=False)
    try:
        return send(port)
    except OSError:
        return None
"""


def texts() -> list[str]:
    return [f"{mutant.where}: {mutant.what}".removeprefix(": ") for mutant in mutants(ast.parse(SOURCE))]


def test_everything_is_taken_out_once() -> None:
    condition = "address in ('x', 'y') and port < 10"
    assert texts() == [
        "without the key 'a'",
        "without the key 'b'",
        f"guard: {condition} -> {condition} or True",
        f"guard: {condition} -> ({condition}) and False",
        f"guard: {condition} -> port < 10",
        f"guard: {condition} -> address in ('x', 'y')",
        "guard: without the element 'x'",
        "guard: without the element 'y'",
        "guard: port < 10 -> port <= 10",
        "guard: without: for one in address",
        "guard: without: check(one, trust=False)",
        "guard: check(...) without trust=False",
        "guard: without: except OSError",
        "guard: without: return None",
        "guard: without: return send(port)",
    ]


@pytest.mark.parametrize("number", range(len(texts())))
def test_each_is_a_program_of_its_own(number: int) -> None:
    tree = ast.parse(SOURCE)
    before = ast.unparse(tree)
    [*mutants(tree)][number].apply()
    compile(ast.fix_missing_locations(tree), "mutant", "exec")
    assert ast.unparse(tree) != before


def test_the_lists_name_what_exists() -> None:
    for suite in SUITES.values():
        assert all((ROOT / test).exists() for test in suite.tests)
        for file, wanted in suite.files.items():
            found = [*mutants(ast.parse((ROOT / file).read_text()))]
            for name in wanted:
                assert any(mutant.where == name or mutant.where.startswith(f"{name}.") for mutant in found), (file, name)
            keys = {f"{mutant.where}: {mutant.what}" for mutant in found}
            assert not set(suite.equivalent.get(file, {})) - keys, file
