"""Removes each line of the guard in turn, and names those whose absence no test notices: `python -m tests.mutants`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.mutants.run import Outcome, Run
from tests.mutants.targets import SUITES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("suite", nargs="*", help=f"of {', '.join(SUITES)}; all without one")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once (2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants whose file, function or change holds TEXT")
    parser.add_argument("--killers", action="store_true", help="say which test noticed each mutant")
    given = parser.parse_args()
    begun = time.monotonic()
    wrong = 0
    rows = []
    for name in given.suite or SUITES:
        suite = SUITES[name]
        run = Run(
            files=suite.files,
            tests=suite.tests,
            jobs=given.jobs,
            only=lambda file, mutant: given.only in f"{file}:{mutant.line} {mutant.where}: {mutant.what}",
            say=say,
        )
        outcomes = run.run()
        for file in suite.files:
            of_file = [one for one in outcomes if one.file == file]
            listed = suite.equivalent.get(file, {})
            rows.append((file, of_file, listed))
            wrong += check(file, of_file, listed, whole=not given.only)
        if given.killers:
            for one in outcomes:
                say(f"{one.file}:{one.mutant.line} {one.key}  <- {one.killed or 'NOBODY'}")
    say("\n| file | mutants | noticed | listed |\n|---|---|---|---|")
    for file, of_file, listed in rows:
        alive = [one for one in of_file if not one.killed]
        say(f"| `{file}` | {len(of_file)} | {len(of_file) - len(alive)} | {sum(one.key in listed for one in alive)} |")
    say(f"\n{time.monotonic() - begun:.0f} s")
    return bool(wrong)


def check(file: str, outcomes: list[Outcome], listed: dict[str, str], *, whole: bool) -> int:
    """Say what is wrong: survivors that are not listed, and entries of the list that no survivor needs."""
    alive = {one.key: one for one in outcomes if not one.killed}
    unlisted = [one for key, one in alive.items() if key not in listed]
    stale = [key for key in listed if key not in alive] if whole else []
    for one in unlisted:
        say(f"no test notices: {file}:{one.mutant.line} {one.key}")
    for key in stale:
        say(f"listed, and not needed: {file} {key}")
    return len(unlisted) + len(stale)


def say(text: str) -> None:
    sys.__stdout__.write(f"{text}\n")  # type: ignore[union-attr]  # pytest holds the other
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main())
