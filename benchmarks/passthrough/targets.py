"""The gateways: how each is started, told its upstream, and ended."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .meters import family, on

ROOT = Path(__file__).resolve().parents[2]

_NGINX = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    upstream bench {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
        location /v1/chat/ {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""


class Missing(Exception):
    """This target cannot be measured here; the text says why."""


class Broken(Exception):
    """What was started does not serve; the text says why."""


@dataclass(frozen=True)
class Command:
    """How a gateway is started: `listening` on a port, in front of an upstream's port, in a folder of its own."""

    name: str
    title: str
    make: Callable[[Path, int, int], Sequence[str]]
    all_cores: bool = False
    logs: bool = False  # whether it writes a line for each request
    cwd: Path = ROOT


@dataclass
class Target:
    """A gateway that runs, or the upstream itself."""

    name: str
    title: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    logs: bool = False
    pids: list[int] = field(default_factory=list)

    def lines(self) -> int:
        with self.log.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def module(name: str) -> Callable[[Path, int, int], Sequence[str]]:
    return lambda folder, port, upstream: [sys.executable, "-m", f"benchmarks.passthrough.{name}", str(port)]


def yardstick(folder: Path, port: int, upstream: int) -> Sequence[str]:
    return [*module("yardstick")(folder, port, upstream), f"http://127.0.0.1:{upstream}"]


def _nginx(folder: Path, port: int, upstream: int) -> Sequence[str]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Missing("nginx is not installed (Debian: apt-get install nginx-light)")
    # Started by root, the worker would be `nobody`, who may not enter the folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream, user=user), encoding="utf-8")
    return [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]


def _darkroom(workers: int = 1, root: Path = ROOT, before: Sequence[str] = ()) -> Callable[[Path, int, int], Sequence[str]]:
    def make(folder: Path, port: int, upstream: int) -> Sequence[str]:
        # The shipped config, every plugin of it on, and one route.
        text = (root / "config.toml").read_text(encoding="utf-8")
        if workers > 1:
            text = text.replace("[proxy]\n", f"[proxy]\nworkers = {workers}\n", 1)
        text += f'\n[proxy.routes."/v1"]\nupstream = "http://127.0.0.1:{upstream}"\n'
        config = folder / "config.toml"
        config.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "proxy_core"]
        checked = subprocess.run([*command, "check", "--config", str(config)], cwd=root, capture_output=True, text=True)
        if checked.returncode and workers > 1 and "proxy.workers" in checked.stderr:
            raise Missing("this Darkroom has no proxy.workers")
        if checked.returncode:
            raise Broken(f"darkroom check refuses the config of {root}: {checked.stderr.strip()}")
        return [*(before or command), "run", "--config", str(config), "--listen", f"127.0.0.1:{port}", "--log", "json"]

    return make


def profiled(out: Path, name: str) -> Command:
    """Darkroom under cProfile, which writes to `out` when the proxy ends."""
    before = [sys.executable, "-m", "cProfile", "-o", str(out), "-m", "proxy_core"]
    return Command(name, "Darkroom, profiled", _darkroom(before=before), logs=True)


UPSTREAM = Command("direct", "no proxy", module("upstream"))
COMMANDS = (
    Command("nginx", "nginx, one worker", _nginx),
    Command("yardstick", "barest aiohttp proxy", yardstick),
    Command("darkroom", "Darkroom, shipped plugins, access log", _darkroom(), logs=True),
    Command("darkroom-2", "Darkroom, `workers = 2`, on all cores", _darkroom(workers=2), logs=True, all_cores=True),
)


def elsewhere(checkout: Path) -> Command:
    """Darkroom as it stands in another checkout, run by the same Python: for before and after."""
    root = checkout.resolve()
    return Command(f"darkroom@{root.name}", f"Darkroom of {root.name}", _darkroom(root=root), logs=True, cwd=root)


class Started:
    """Starts gateways, and ends every one of them when it is left, however it is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    def start(self, command: Command, cores: Sequence[int], upstream: int = 0) -> Target:
        folder = self._folder / command.name
        folder.mkdir()
        port = free_port()
        line = command.make(folder, port, upstream)
        log = folder / "log"
        # A session of its own: Ctrl-C reaches the harness alone, which then ends what it started, children and all.
        with log.open("wb") as out, on(cores), _uninterrupted():  # between its start and the promise to end it
            process = subprocess.Popen(line, cwd=command.cwd, stdout=out, stderr=out, start_new_session=True)
            self._stack.callback(end, process)
        target = Target(command.name, command.title, port, process, log, command.logs)
        _await(target)
        target.pids = family(process.pid)
        return target


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Who interrupts meanwhile is heard at the end."""
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in both}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _await(target: Target) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and target.process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", target.port), 1):
            time.sleep(0.3)  # workers and caches
            return
        time.sleep(0.05)
    tail = target.log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise Broken(f"{target.name} does not serve: {tail or 'it says nothing'}")


def end(process: subprocess.Popen[bytes]) -> None:
    """May be called again."""
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    # A child that outlived its parent is in the same group, which the second signal has reached.
