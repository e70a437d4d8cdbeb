"""The command `python -m benchmarks.passthrough`: every target under every workload, by turns, and the figures as Markdown."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from . import load
from .load import WrongAnswer
from .meters import Meter, allowed, calibrate, peak, reset_peak
from .profiles import profile
from .tables import DIRECT, Figures, spread, table
from .targets import COMMANDS, ROOT, UPSTREAM, Broken, Command, Missing, Started, Target, elsewhere
from .workloads import BODY, WORKLOADS, Workload

README = ROOT / "benchmarks" / "README.md"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
_QUICK = ("json", "latency", "streams", "up", "down")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 good, 1 if a run failed, 2 for a wrong call."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    commands = [*COMMANDS, *map(elsewhere, args.also)]
    if args.targets:
        commands = [command for command in commands if command.name in args.targets or command.cwd != ROOT]
    quick = _QUICK if args.quick else ()
    workloads = [one for one in WORKLOADS if one.name in (args.workloads or quick or [each.name for each in WORKLOADS])]
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Started(Path(folder)) as started:
            if args.profile:
                print(profile(started, Path(folder), args.profile, args.seconds or 5))
                return 0
            bench = Bench(started, Path(folder), commands, args.generator or load.generator())
            bench.run(workloads, args.rounds or (1 if args.quick else 5), args.seconds or (1 if args.quick else None))
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    except (Broken, WrongAnswer) as error:
        print(error, file=sys.stderr)
        return 1
    text = bench.report(workloads)
    print(text)
    if args.write:
        _write(text)
    return 1 if bench.faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passthrough", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5")
    parser.add_argument("--seconds", type=int, metavar="N", help="of each run; default: as each workload says, 2")
    parser.add_argument("--workloads", nargs="+", choices=[one.name for one in WORKLOADS], metavar="NAME",
                        help=", ".join(one.name for one in WORKLOADS))
    parser.add_argument("--targets", nargs="+", choices=[one.name for one in COMMANDS], metavar="NAME",
                        help=", ".join(one.name for one in COMMANDS) + "; the upstream is always measured directly too")
    parser.add_argument("--also", action="append", type=Path, default=[], metavar="CHECKOUT",
                        help="Darkroom of another checkout as one more target, for before and after; may be repeated")
    parser.add_argument("--generator", choices=("wrk", "builtin"), help="default: wrk where it is installed")
    parser.add_argument("--profile", nargs="?", const="json", choices=[one.name for one in WORKLOADS], metavar="WORKLOAD",
                        help="print what costs most in Darkroom and in the yardstick under one workload (json), and stop")
    parser.add_argument("--write", action="store_true", help="put the figures into benchmarks/README.md")
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Bench:
    """One whole measurement."""

    def __init__(self, started: Started, folder: Path, commands: Sequence[Command], generator: str) -> None:
        self._folder = folder
        self._generator = generator
        self._cores = allowed()
        # The gateway has a core to itself; everything else shares the others.
        self._gateway, self._others = self._cores[:1], self._cores[1:] or self._cores
        self.notes: list[str] = []
        self.faults: list[str] = []
        self.runs: dict[tuple[str, str], list[Figures]] = {}
        self._calibration: dict[int, list[float]] = {core: [] for core in {self._gateway[0], self._others[0]}}
        self._began = dt.datetime.now(dt.UTC)
        self._seconds = 0.0
        self._upstream = started.start(UPSTREAM, self._others)
        self._targets = [self._upstream]
        for command in commands:
            cores = self._cores if command.all_cores else self._gateway
            try:
                self._targets.append(started.start(command, cores, self._upstream.port))
            except Missing as missing:
                self.notes.append(f"{command.title}: skipped, {missing}")
                _say(self.notes[-1])
        if len(self._cores) == 1:
            self.notes.append("There is one core only: gateway, upstream and clients share it, and the figures mean little")

    def run(self, workloads: Sequence[Workload], rounds: int, seconds: int | None) -> None:
        begun = time.monotonic()
        sizes = {(w.name, t.name): load.probe(w, t.port) for w in workloads for t in self._targets}
        for target in self._targets:
            load.run(WORKLOADS[0], target.port, 1, self._folder, self._others, self._generator)  # caches, connections
        for number in range(rounds):
            for workload in workloads:
                for target in self._targets:
                    figures = self._one(workload, target, seconds or workload.seconds, sizes[workload.name, target.name])
                    self.runs.setdefault((workload.name, target.name), []).append(figures)
                    what = f"round {number + 1} of {rounds}, {workload.name}, {target.name}"
                    if figures.fault:
                        self.faults.append(f"{what}: {figures.fault}")
                    _say(f"{what}: {figures.fault or f'{figures.rate:.1f} {workload.unit}/s, {figures.cpu:.3f} CPU ms'}")
        self._seconds = time.monotonic() - begun

    def _one(self, workload: Workload, target: Target, seconds: int, size: int) -> Figures:
        for core, taken in self._calibration.items():
            taken.append(calibrate(core))
        lines = target.lines() if target.logs else 0
        carried = self._carried()
        reset_peak(target.pids)
        before = Meter.read(target.pids)
        seen = load.run(workload, target.port, seconds, self._folder, self._others, self._generator)
        after = Meter.read(target.pids)
        highest = peak(target.pids)
        time.sleep(0.1)  # what was cut ends, and is logged
        units = float(seen.requests)
        if workload.by_bytes:
            units = (self._carried() - carried) / BODY if len(workload.body) == BODY else seen.bytes / size
        fault = seen.fault
        if target.process.poll() is not None:
            fault = f"{target.name} has ended, with status {target.process.returncode}"
        elif target.logs and not fault and target.lines() - lines < seen.requests:
            fault = f"only {target.lines() - lines} lines were logged of {seen.requests} requests"
        return Figures(
            rate=units / seen.seconds,
            cpu=(after.cpu - before.cpu) * 1000 / units if units else 0.0,
            p50=seen.p50,
            p99=seen.p99,
            peak=highest,
            waited=(after.waited - before.waited) / seen.seconds,
            fault=fault,
        )

    def _carried(self) -> int:
        return int(load.ask(self._upstream.port, "/received"))

    def report(self, workloads: Sequence[Workload]) -> str:
        titles = {target.name: target.title for target in self._targets}
        rounds = max(map(len, self.runs.values()))
        lines = [f"{self._began:%Y-%m-%d}, {rounds} rounds, {self._seconds:.0f} s. {_versions(self._generator)}", ""]
        lines += [f"- {note}." for note in [*self._noise(), *self.notes]]
        lines += [f"- Failed, and left out: {fault}." for fault in self.faults]
        return "\n".join([*lines, "", *(table(workload, titles, self.runs) for workload in workloads)])

    def _noise(self) -> list[str]:
        said = []
        for core, taken in self._calibration.items():
            whose = "the gateway's core" if core == self._gateway[0] else "the core of upstream and clients"
            quartiles = statistics.quantiles(taken, n=4) if len(taken) > 1 else [taken[0]] * 3
            apart = 100 * (quartiles[2] - quartiles[0]) / quartiles[1]
            said.append(
                f"Noise: a fixed loop took {quartiles[1]:.1f} ms on {whose}{spread(taken)}, "
                f"half of {len(taken)} times within {apart:.0f} %"
            )
        alone = [run.waited for (_, name), runs in self.runs.items() for run in runs if name not in (DIRECT, "darkroom-2")]
        if alone:
            said.append(
                f"Noise: a gateway that was ready to run waited for its core {100 * statistics.median(alone):.1f} % of "
                f"the time in the middle run, {100 * max(alone):.1f} % in the worst"
            )
        return said


def _versions(generator: str) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    found = [f"Python {python}", *(f"{name} {version(name)}" for name in ("aiohttp", "uvloop"))]
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is not None:
        told = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr
        found += ["nginx " + match[1] for match in [re.search(r"nginx/(\S+)", told)] if match]
    git = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True)
    commit = git.stdout.strip() or "unknown"
    clients = "wrk" if generator == "wrk" else "the generator written in Python (wrk is not installed: rates are its own limit)"
    return f"{', '.join(found)}; {len(allowed())} of {os.cpu_count()} cores; commit {commit}; clients: {clients}."


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(text: str) -> None:
    readme = README.read_text(encoding="utf-8")
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    README.write_text(f"{before}{_BEGIN}\n\n{text.rstrip()}\n\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
