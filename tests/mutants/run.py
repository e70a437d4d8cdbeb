"""Runs tests against mutants: pytest collects once; then each mutant is a fork in which living functions change their code."""

from __future__ import annotations

import ast
import contextlib
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import IO, Any

import pytest

from tests.mutants.change import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
_SLOW = 3.0  # seconds; a test that takes longer is left out, for what it finds shorter ones must find


@dataclass
class Outcome:
    file: str
    mutant: Mutant
    killed: str  # the test that failed, or ran out of time; "" if all passed
    ran: int = 0  # tests at hand for its line

    @property
    def key(self) -> str:
        return f"{self.mutant.where}: {self.mutant.what}"


@dataclass
class _File:
    name: str
    path: str
    tree: ast.Module
    module: ModuleType
    functions: dict[tuple[str, int], list[FunctionType]]


@dataclass(eq=False)
class Run:
    """One set of files against one set of tests, as a plugin of pytest."""

    files: dict[str, tuple[str, ...]]  # and the functions or classes of each that count; none for all
    tests: tuple[str, ...]
    jobs: int
    only: Callable[[str, Mutant], bool]
    say: Callable[[str], None]
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._report: Callable[[pytest.TestReport], None] = lambda report: None

    def run(self) -> list[Outcome]:
        with tempfile.TemporaryDirectory() as folder:
            options = ["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:xdist", f"--basetemp={folder}/t"]
            settings = ["addopts=--import-mode=importlib", "tmp_path_retention_policy=failed"]
            options += [word for setting in settings for word in ("-o", setting)]
            code = pytest.main([*options, *self.tests], plugins=[self])
        if code:
            raise SystemExit(f"the tests cannot be collected: {code!r}")
        return self.outcomes

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.say(str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._report(report)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        factory.getbasetemp()  # one for all forks
        files = [self._file(name) for name in self.files]
        covered, seconds = _baseline(session, {file.path: file.name for file in files}, self)
        items = {item.nodeid: item for item in session.items}
        place = {nodeid: number for number, nodeid in enumerate(items)}
        todo: list[tuple[_File, Mutant]] = []
        for file in files:
            wanted = self.files[file.name]
            for mutant in mutants(file.tree):
                counts = not wanted or any(mutant.where == name or mutant.where.startswith(f"{name}.") for name in wanted)
                if counts and self.only(file.name, mutant):
                    todo.append((file, mutant))
        killers: dict[str, Counter[str]] = defaultdict(Counter)

        def order(file: _File, mutant: Mutant) -> list[str]:
            lines = covered[file.name]
            found = {test for line in mutant.lines for test in lines.get(line, ())} if mutant.top is None else set(items)
            known = [killers[f"{file.name}:{mutant.where}"], killers[file.name]]
            return sorted(
                (test for test in found if seconds[test] <= _SLOW),
                key=lambda test: (-known[0][test], -min(1, known[1][test]), round(seconds[test], 1), place[test]),
            )

        living: dict[int, tuple[_File, Mutant, IO[bytes], int]] = {}
        begun = time.monotonic()
        while todo or living:
            while todo and len(living) < self.jobs:
                file, mutant = todo.pop(0)
                tests = order(file, mutant)
                pid, told = self._fork(file, mutant, [items[test] for test in tests], seconds)
                living[pid] = (file, mutant, told, len(tests))
            pid, status = os.wait()
            if pid not in living:
                continue
            file, mutant, told, ran = living.pop(pid)
            with told:
                told.seek(0)
                last = told.read().decode().rstrip()
            _end_group(pid)
            killed = ""
            if os.WIFSIGNALED(status):
                killed = f"{last} ({signal.Signals(os.WTERMSIG(status)).name})"
            elif os.WEXITSTATUS(status):
                killed = last
                killers[f"{file.name}:{mutant.where}"][killed] += 1
                killers[file.name][killed] += 1
            self.outcomes.append(Outcome(file.name, mutant, killed, ran))
            if not killed:
                self.say(f"SURVIVED {file.name}:{mutant.line} {self.outcomes[-1].key}  [{ran} tests]")
            elif len(self.outcomes) % 50 == 0:
                self.say(f"... {len(self.outcomes)} done, {len(todo)} to go, {time.monotonic() - begun:.0f} s")
        return True

    def _file(self, name: str) -> _File:
        path = str(ROOT / name)
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        module = next(one for one in sys.modules.values() if getattr(one, "__file__", None) == path)
        functions: dict[tuple[str, int], list[FunctionType]] = defaultdict(list)
        for one in gc.get_objects():
            if isinstance(one, FunctionType) and one.__code__.co_filename == path:
                functions[one.__code__.co_qualname, one.__code__.co_firstlineno].append(one)
        return _File(name, path, tree, module, functions)

    def _fork(
        self, file: _File, mutant: Mutant, tests: list[pytest.Item], seconds: dict[str, float]
    ) -> tuple[int, IO[bytes]]:
        told = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # the test that runs; closed by who reads it
        pid = os.fork()
        if pid:
            return pid, told
        os.setsid()
        _quiet()
        try:
            _change(file, mutant)
        except Exception as error:  # noqa: BLE001  # a module that cannot even be made is not alive
            os.pwrite(told.fileno(), f"{type(error).__name__} while it was made".encode(), 0)
            os._exit(1)

        def report(report: pytest.TestReport) -> None:
            if report.failed:
                os._exit(1)

        self._report = report
        try:
            for test, after in zip_longest(tests, tests[1:]):
                os.ftruncate(told.fileno(), 0)
                os.pwrite(told.fileno(), test.nodeid.encode(), 0)
                signal.setitimer(signal.ITIMER_REAL, 3 + 5 * seconds[test.nodeid])
                test.config.hook.pytest_runtest_protocol(item=test, nextitem=after)
        except BaseException:  # noqa: BLE001  # nothing may get back into the parent's loop
            os._exit(1)
        os._exit(0)


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _end_group(pid: int) -> None:
    """What the tests of a mutant started and did not live to end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _change(file: _File, mutant: Mutant) -> None:
    """Let the module that the tests have imported be the mutant."""
    names = vars(file.module)
    if mutant.top is not None and not mutant.where:
        before = dict(names)
        mutant.apply()
        code = compile(ast.fix_missing_locations(ast.Module([mutant.top], [])), file.path, "exec")
        exec(code, names)
        for name, old in before.items():
            if names[name] is not old:
                for other in list(sys.modules.values()):  # who has imported it by name
                    if vars(other).get(name) is old and name in vars(other):
                        setattr(other, name, names[name])
        return
    if mutant.top is not None:
        assert isinstance(mutant.top, ast.Assign)
        owner: Any = file.module
        for part in mutant.where.split("."):
            owner = getattr(owner, part)
        if mutant.what.startswith("without: "):
            delattr(owner, ast.unparse(mutant.top.targets[0]))
        else:
            mutant.apply()
            value = ast.fix_missing_locations(ast.Expression(mutant.top.value))
            setattr(owner, ast.unparse(mutant.top.targets[0]), eval(compile(value, file.path, "eval"), names))
        return
    mutant.apply()
    code = compile(ast.fix_missing_locations(file.tree), file.path, "exec", flags=0, dont_inherit=True)
    changed = 0
    for new in _codes(code):
        for function in file.functions.get((new.co_qualname, new.co_firstlineno), ()):
            if new.co_code != function.__code__.co_code or new.co_consts != function.__code__.co_consts:
                changed += 1
            # A function that no longer says `super()` has one free name less, and cannot be given such a code.
            function.__code__ = new.replace(co_freevars=function.__code__.co_freevars)
    assert changed, "nothing was changed"


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


def _baseline(
    session: pytest.Session, paths: dict[str, str], run: Run
) -> tuple[dict[str, dict[int, set[str]]], dict[str, float]]:
    """In a fork, so that mutants start from a clean process: which tests run which line, and how long each takes."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
        os.close(reads)
        _quiet()
        told = _measure(session, paths, run)
        with os.fdopen(writes, "w") as stream:
            json.dump(told, stream)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    _end_group(pid)
    found = json.loads(text)
    if found["failed"]:
        raise SystemExit("\n".join(["tests fail without any change:", *found["failed"]]))
    covered: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for test, lines in found["lines"].items():
        for path, line in lines:
            covered[path][line].add(test)
    run.say(f"{len(found['seconds'])} tests in {sum(found['seconds'].values()):.0f} s")
    return covered, found["seconds"]


def _measure(session: pytest.Session, paths: dict[str, str], run: Run) -> dict[str, Any]:
    hit: set[tuple[str, int]] = set()
    failed: list[str] = []
    lines: dict[str, list[tuple[str, int]]] = {}
    seconds: dict[str, float] = {}

    def on_call(frame: FrameType, event: str, arg: object) -> Any:
        name = paths.get(frame.f_code.co_filename)
        if name is None:
            return None

        def on_line(frame: FrameType, event: str, arg: object) -> Any:
            if event == "line":
                hit.add((name, frame.f_lineno))
            return on_line

        return on_line

    def report(report: pytest.TestReport) -> None:
        if report.failed:
            failed.append(f"{report.nodeid}\n{str(report.longrepr)[-2000:]}")

    run._report = report
    sys.settrace(on_call)
    threading.settrace(on_call)
    for item, after in zip_longest(session.items, session.items[1:]):
        hit.clear()
        begun = time.monotonic()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        seconds[item.nodeid] = time.monotonic() - begun
        lines[item.nodeid] = sorted(hit)
    sys.settrace(None)
    return {"failed": failed, "lines": lines, "seconds": seconds}
