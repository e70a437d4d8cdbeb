"""What costs most: Darkroom and the yardstick under cProfile, side by side, per request."""

from __future__ import annotations

import pstats
import sys
from collections.abc import Iterator
from pathlib import Path

from . import load
from .meters import allowed
from .targets import ROOT, UPSTREAM, Command, Started, end, profiled, yardstick
from .workloads import WORKLOADS

_SHOWN = 30


def profile(started: Started, folder: Path, name: str, seconds: int) -> str:
    """cProfile makes a call cost more than it does and cannot see into C: read it for what is called, and for ranks."""
    workload = next(one for one in WORKLOADS if one.name == name)
    gateway, others = allowed()[:1], allowed()[1:] or allowed()
    upstream = started.start(UPSTREAM, others)
    kind = load.generator()
    texts = []
    for command, out in (_yardstick(folder), _darkroom(folder)):
        target = started.start(command, gateway, upstream.port)
        load.probe(workload, target.port)
        seen = load.run(workload, target.port, seconds, folder, others, kind)
        end(target.process)
        texts.append("\n".join(_lines(command.title, out, seen.requests)))
    return "\n\n".join(texts)


def _darkroom(folder: Path) -> tuple[Command, Path]:
    out = folder / "darkroom.profile"
    return profiled(out), out


def _yardstick(folder: Path) -> tuple[Command, Path]:
    out = folder / "yardstick.profile"
    before = [sys.executable, "-m", "cProfile", "-o", str(out), "-m"]
    return Command("yardstick", "barest aiohttp proxy, profiled", lambda *where: [*before, *yardstick(*where)[2:]]), out


def _lines(title: str, out: Path, requests: int) -> Iterator[str]:
    """The functions that cost most by themselves, in microseconds a request."""
    found: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(pstats.Stats(str(out)))["stats"]
    each = 1e6 / max(requests, 1)
    total = sum(own for _, _, own, _, _ in found.values())
    yield f"{title}: {requests} requests, {total * each:.0f} us each under the profiler"
    yield f"{'own us':>8} {'with callees':>12} {'calls':>7}  function"
    ordered = sorted(found.items(), key=lambda item: item[1][2], reverse=True)
    for (file, line, function), (_, calls, own, whole, _) in ordered[:_SHOWN]:
        yield f"{own * each:8.1f} {whole * each:12.1f} {calls / max(requests, 1):7.2f}  {_place(file, line)}{function}"


def _place(file: str, line: int) -> str:
    if file == "~":
        return ""
    short = file.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2].removeprefix(sys.base_prefix)
    return f"{short}:{line} "
