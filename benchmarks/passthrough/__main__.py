"""`python -m benchmarks.passthrough`: what a request costs on its way through, against other ways, all in one run."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .load import WORKLOADS, Workload, press
from .processes import Tree, free_port, started, wait_for

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "README.md"
BEGIN, END = "<!-- made by make bench -->", "<!-- end of what is made -->"

GATEWAY, LOAD = {0}, {1}  # cores

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/nginx-access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 64m; keepalive_requests 100000000;
  upstream behind {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
_DARKROOM = """
[proxy]
state_dir = "state"
workers = {workers}
plugins = ["access_log", "signing", "image_edit", "sandbox"]
[proxy.routes."/v1"]
upstream = "http://127.0.0.1:{upstream}"
"""


@dataclass
class Target:
    """One way to the upstream, running."""

    name: str
    port: int
    tree: Tree | None  # None where there is no gateway


@dataclass
class Figures:
    """What one workload came to on one target, round by round."""

    rate: list[float] = field(default_factory=list)  # a second
    cpu: list[float] = field(default_factory=list)  # milliseconds each
    peak: list[float] = field(default_factory=list)  # MiB
    p50: list[float] = field(default_factory=list)  # milliseconds, one connection
    p99: list[float] = field(default_factory=list)


@contextlib.contextmanager
def targets(names: list[str], folder: Path) -> Iterator[list[Target]]:
    """Start the upstream and every gateway asked for."""
    with contextlib.ExitStack() as stack:
        behind = free_port()
        stack.enter_context(started([sys.executable, str(HERE / "upstream.py"), str(behind)], LOAD, folder, "upstream"))
        wait_for(behind, folder / "upstream.log")
        found: list[Target] = []
        for name in names:
            if name == "direct":
                found.append(Target(name, behind, None))
                continue
            port = free_port()
            command, cores = _command(name, port, behind, folder)
            tree = stack.enter_context(started(command, cores, folder, name.replace(" ", "-")))
            wait_for(port, folder / f"{name.replace(' ', '-')}.log")
            found.append(Target(name, port, tree))
        yield found


def _command(name: str, port: int, behind: int, folder: Path) -> tuple[list[str], set[int]]:
    if name == "nginx":
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port, upstream=behind))
        return ["nginx", "-p", str(folder), "-c", str(config)], GATEWAY
    if name == "yardstick":
        return [sys.executable, str(HERE / "yardstick.py"), str(port), str(behind)], GATEWAY
    workers = 2 if name.endswith("2") else 1
    config = folder / f"darkroom-{workers}.toml"
    config.write_text(_DARKROOM.format(workers=workers, upstream=behind))
    listen = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "proxy_core", "run", "--config", str(config), "--listen", listen, "--log", "json"]
    return command, GATEWAY | LOAD if workers > 1 else GATEWAY


def measure(target: Target, workload: Workload, seconds: float, figures: Figures, folder: Path) -> None:
    """One round of one workload on one target."""
    if target.tree is not None:
        target.tree.forget_peak()
    before = target.tree.cpu() if target.tree else 0.0
    run = press(target.port, workload, seconds * workload.share, LOAD, folder)
    figures.rate.append(run.requests / run.seconds)
    if target.tree is not None:
        figures.cpu.append((target.tree.cpu() - before) / run.requests * 1000)
        figures.peak.append(target.tree.peak())
    if workload.name == "small JSON":
        alone = press(target.port, workload, max(1.0, seconds / 3), LOAD, folder, connections=1)
        figures.p50.append(alone.p50)
        figures.p99.append(alone.p99)


def calibrate() -> float:
    """Milliseconds that a fixed piece of work takes: what it varies by is the machine's own noise."""
    begun = time.perf_counter()
    total = 0
    for number in range(1_000_000):
        total += number * number
    return (time.perf_counter() - begun) * 1000


def spread(values: list[float]) -> str:
    """Half the range between the extremes, in per cent of the median."""
    middle = statistics.median(values)
    return f"±{(max(values) - min(values)) / 2 / middle * 100:.0f} %" if len(values) > 1 and middle else ""


def report(found: dict[tuple[str, str], Figures], names: list[str], noise: list[float]) -> str:
    lines = [f"The machine's own noise, a fixed piece of work timed between the runs: {spread(noise)}.", ""]
    for workload in WORKLOADS:
        rows = {name: found[name, workload.name] for name in names if (name, workload.name) in found}
        if not rows:
            continue
        latency = workload.name == "small JSON"
        lines += [f"**{workload.name}**, {workload.connections} at once", ""]
        more = " added p50 ms | added p99 ms |" if latency else ""
        lines.append(f"| | {workload.unit}s/s | of the yardstick | CPU ms each | of the yardstick | peak MiB |{more}")
        lines.append("|---|---|---|---|---|---|" + ("---|---|" if latency else ""))
        for name, figures in rows.items():
            cells = [name, f"{statistics.median(figures.rate):.0f} {spread(figures.rate)}", _ratio(rows, name, "rate")]
            if figures.cpu:
                cells += [f"{statistics.median(figures.cpu):.3f} {spread(figures.cpu)}", _ratio(rows, name, "cpu")]
                cells.append(f"{max(figures.peak):.0f}")
            else:
                cells += ["", "", ""]
            if latency:
                cells += [_added(rows, name, "p50"), _added(rows, name, "p99")]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _ratio(rows: dict[str, Figures], name: str, what: str) -> str:
    """To the yardstick, round by round: neighbours in time share the machine's moods."""
    if "yardstick" not in rows or name == "yardstick":
        return ""
    pairs = zip(getattr(rows[name], what), getattr(rows["yardstick"], what), strict=False)
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return f"{statistics.median(ratios):.2f} {spread(ratios)}" if ratios else ""


def _added(rows: dict[str, Figures], name: str, what: str) -> str:
    if "direct" not in rows or name == "direct":
        return ""
    ours, theirs = statistics.median(getattr(rows[name], what)), statistics.median(getattr(rows["direct"], what))
    return f"{ours - theirs:.2f}"


def _versions(rounds: int, seconds: float) -> str:
    known = [f"Python {platform.python_version()}", f"{os.cpu_count()} cores, {platform.machine()}"]
    known += [f"{name} {importlib.metadata.version(name)}" for name in ("aiohttp", "uvloop", "orjson")]
    if shutil.which("nginx"):
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
        known.append(told.strip().rpartition("/")[2].join(["nginx ", ""]))
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HERE)
    if asked.returncode == 0:
        known.append(f"commit {asked.stdout.strip()}")
    return f"{datetime.now(UTC):%Y-%m-%d}; {', '.join(known)}; {rounds} rounds of {seconds:g} s."


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.passthrough", description=__doc__)
    every = ["direct", "nginx", "yardstick", "darkroom", "darkroom, workers = 2"]
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one workload on one target in one round")
    kinds = [one.name for one in WORKLOADS]
    parser.add_argument("--targets", nargs="*", choices=every, default=every, metavar="TARGET", help=f"of {', '.join(every)}")
    parser.add_argument("--workloads", nargs="*", choices=kinds, default=kinds, metavar="KIND", help=f"of {', '.join(kinds)}")
    parser.add_argument("--quick", action="store_true", help="one round of one second: shows that it works, measures nothing")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds = 1, 1.0
    if not shutil.which("wrk"):
        print("wrk is missing; on Debian: apt-get install wrk nginx", file=sys.stderr)
        return 2
    names = [name for name in args.targets if name != "nginx" or shutil.which("nginx")]
    if os.cpu_count() == 1:
        print("one core: gateway and load share it, and figures mean little", file=sys.stderr)
        GATEWAY.update({0})
        LOAD.clear()
        LOAD.add(0)
    found: dict[tuple[str, str], Figures] = {}
    noise: list[float] = []
    with tempfile.TemporaryDirectory() as name, targets(names, Path(name)) as ready:
        for number in range(args.rounds):
            for workload in WORKLOADS:
                if workload.name not in args.workloads:
                    continue
                for target in ready:
                    noise.append(calibrate())
                    figures = found.setdefault((target.name, workload.name), Figures())
                    measure(target, workload, args.seconds, figures, Path(name))
            print(f"round {number + 1} of {args.rounds} done", file=sys.stderr)
    made = f"{_versions(args.rounds, args.seconds)}\n\n{report(found, names, noise)}"
    print(made)
    if args.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{made}{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
