"""The command `darkroom`, the same as `python -m proxy_core`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from . import __version__
from .errors import ConfigError
from .loader import Loaded, installed, load_file, resolve
from .logs import set_up
from .server import Server

log = logging.getLogger("darkroom")

COMMANDS = "proxy_core.commands"  # entry points: modules with SUMMARY, configure(parser) and main(args) -> exit status


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 good, 1 a fault, 2 a wrong call."""
    _forget_working_directory()
    parser = argparse.ArgumentParser(prog="darkroom", description="A proxy that makes image generation work on any provider.")
    parser.add_argument("--version", action="version", version=f"darkroom {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary, handler in (
        ("run", "serve", _run),
        ("check", "report every fault of a config, and do nothing else", _check),
        ("plugins", "list what is installed, what is switched on, and what each serves", _plugins),
    ):
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.add_argument("--config", type=Path, default=Path("config.toml"), help="default: ./config.toml")
        command.set_defaults(main=handler)
        if name == "run":
            command.add_argument("--listen", metavar="HOST:PORT", help="instead of proxy.listen; port 0 takes a free one")
            command.add_argument("--log", choices=("auto", "json", "console"), default="auto", help="form of the log lines")
    for point in sorted(entry_points(group=COMMANDS), key=lambda point: point.name):
        try:
            module: ModuleType = point.load()
        except Exception as error:  # noqa: BLE001  # a broken package of somebody's must not cost the other commands
            print(f"the command {point.name!r} cannot be loaded: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        command = commands.add_parser(point.name, help=module.SUMMARY)
        module.configure(command)
        command.set_defaults(main=module.main)
    args = parser.parse_args(argv)
    try:
        return int(args.main(args))
    except ConfigError as error:
        return _report(error)
    except KeyboardInterrupt:
        return 130


def _forget_working_directory() -> None:
    """`python -m` puts the working directory first on sys.path, where a folder `plugins` would hide ours."""
    here = os.getcwd()  # noqa: PTH109
    if sys.path and sys.path[0] in ("", here) and Path(here) != Path(__file__).resolve().parent.parent:
        del sys.path[0]


def _report(error: ConfigError) -> int:
    count = len(error.faults)
    print(f"{count} {'fault' if count == 1 else 'faults'} in the config:", file=sys.stderr)
    for fault in error.faults:
        print(f"  {fault}", file=sys.stderr)
    return 1


def _check(args: argparse.Namespace) -> int:
    loaded = load_file(args.config)
    proxy = loaded.config.proxy
    routes = ", ".join(f"{prefix} -> {route.upstream}" for prefix, route in proxy.routes.items()) or "none"
    print(f"{args.config} is good: plugins {', '.join(proxy.plugins) or 'none'}; routes {routes}")
    return 0


def _plugins(args: argparse.Namespace) -> int:
    loaded = load_file(args.config)
    serves: dict[str, list[str]] = {}
    for described in loaded.plugins.hook.proxy_describe():
        for name, lines in described.items():
            serves.setdefault(name, []).extend(lines)
    listed = loaded.config.proxy.plugins
    known = installed()
    for name in [*listed, *sorted(set(known) - set(listed))]:
        place = f"on, {listed.index(name) + 1} of {len(listed)}" if name in listed else "off"
        print(f"{name} ({place}): {_summary(known.get(name))}")
        for line in serves.get(name, []):
            print(f"    {line}")
    return 0


def _summary(entry: object) -> str:
    try:
        doc = resolve(entry).__doc__ or ""  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001  # a plugin that is off may be broken; the others are still to be listed
        return f"cannot be imported: {type(error).__name__}: {error}"
    first = doc.strip().partition("\n")[0]
    return first if first and not first.startswith("The fields are") else _module_summary(entry)


def _module_summary(entry: object) -> str:
    cls = resolve(entry)  # type: ignore[arg-type]
    package = sys.modules.get(cls.__module__.rpartition(".")[0] if cls.__module__.endswith(".plugin") else cls.__module__)
    return (getattr(package, "__doc__", None) or "").strip().partition("\n")[0]


def _run(args: argparse.Namespace) -> int:
    form = args.log if args.log != "auto" else "console" if sys.stderr.isatty() else "json"
    set_up(form)
    loaded = load_file(args.config)
    try:
        return _loop(serve(loaded, args.listen))
    except asyncio.CancelledError:
        return 130
    except OSError as error:
        where = args.listen or loaded.config.proxy.listen
        print(f"cannot serve on {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(str(error), file=sys.stderr)
        return 2


def _loop(work: Coroutine[Any, Any, int]) -> int:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):  # uvloop where it runs; the proxy is the same without it
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def serve(loaded: Loaded, listen: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT; then let what is in flight end. A second signal ends it at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()

    def asked_to_stop() -> None:
        if not stop.is_set():
            limit = loaded.config.proxy.limits.drain
            log.info("stopping: requests in flight have up to %g s to end; a second signal cuts them", limit)
            stop.set()
        elif serving is not None:
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # an event loop without signals
            loop.add_signal_handler(number, asked_to_stop)
    async with Server(loaded, listen=listen) as server:
        _announce(server, loaded)
        await stop.wait()
    return 0


def _announce(server: Server, loaded: Loaded) -> None:
    plugins = ", ".join(loaded.config.proxy.plugins)
    log.info("listening on %s", server.url, extra={"url": str(server.url), "plugins": plugins})


if __name__ == "__main__":
    sys.exit(main())

