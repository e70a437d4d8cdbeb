"""What costs most: Darkroom and the yardstick under cProfile, side by side, per request."""

from __future__ import annotations

import pstats
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import load
from .meters import allowed
from .targets import ROOT, UPSTREAM, Command, Started, end, profiled, yardstick
from .workloads import WORKLOADS

_SHOWN = 30

Found = dict[tuple[str, int, str], tuple[int, float, float]]


def profile(started: Started, folder: Path, name: str, seconds: int) -> str:
    """cProfile makes a call cost more than it does and cannot see into C: read it for what is called, and for ranks."""
    workload = next(one for one in WORKLOADS if one.name == name)
    gateway, others = allowed()[:1], allowed()[1:] or allowed()
    upstream = started.start(UPSTREAM, others)
    kind = load.generator()
    texts = []
    for make in (_yardstick, _darkroom):
        idle = _profiled(started, make(folder, "idle"), gateway, upstream.port)
        command, out = make(folder, "busy")
        target = started.start(command, gateway, upstream.port)
        load.probe(workload, target.port)
        seen = load.run(workload, target.port, seconds, folder, others, kind)
        end(target.process)
        texts.append("\n".join(_lines(command.title, _less(_read(out), idle), seen.requests)))
    return "\n\n".join(texts)


def _profiled(started: Started, made: tuple[Command, Path], cores: Sequence[int], upstream: int) -> Found:
    """What starting and ending costs, which is no request's."""
    command, out = made
    end(started.start(command, cores, upstream).process)
    return _read(out)


def _read(out: Path) -> Found:
    """(calls, own seconds, seconds with callees) of each function."""
    stats = vars(pstats.Stats(str(out)))["stats"]
    return {place: (calls, own, whole) for place, (_, calls, own, whole, _) in stats.items()}


def _less(busy: Found, idle: Found) -> Found:
    less: Found = {}
    for place, (calls, own, whole) in busy.items():
        before = idle.get(place, (0, 0.0, 0.0))
        less[place] = calls - before[0], own - before[1], whole - before[2]
    return less


def _darkroom(folder: Path, name: str) -> tuple[Command, Path]:
    out = folder / f"darkroom-{name}.profile"
    return profiled(out, f"darkroom-{name}"), out


def _yardstick(folder: Path, name: str) -> tuple[Command, Path]:
    out = folder / f"yardstick-{name}.profile"
    before = [sys.executable, "-m", "cProfile", "-o", str(out), "-m"]
    title = "barest aiohttp proxy, profiled"
    return Command(f"yardstick-{name}", title, lambda *where: [*before, *yardstick(*where)[2:]]), out


def _lines(title: str, found: Found, requests: int) -> Iterator[str]:
    """The functions that cost most by themselves, in microseconds a request."""
    each = 1e6 / max(requests, 1)
    total = sum(own for _, own, _ in found.values())
    yield f"{title}: {requests} requests, {total * each:.0f} us each under the profiler"
    yield f"{'own us':>8} {'with callees':>12} {'calls':>7}  function"
    ordered = sorted(found.items(), key=lambda item: item[1][1], reverse=True)
    for (file, line, function), (calls, own, whole) in ordered[:_SHOWN]:
        yield f"{own * each:8.1f} {whole * each:12.1f} {calls / max(requests, 1):7.2f}  {_place(file, line)}{function}"


def _place(file: str, line: int) -> str:
    if file == "~":
        return ""
    short = file.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2].removeprefix(sys.base_prefix)
    return f"{short}:{line} "
