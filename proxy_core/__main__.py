"""The command `darkroom`, the same as `python -m proxy_core`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from . import __version__
from .config import ProxyConfig, examine, parse, read
from .errors import ConfigError
from .health import ask
from .loader import Loaded, installed, load_file, load_text, resolve
from .logs import set_up
from .loop import run_loop
from .reference import reference
from .service import run_alone
from .supervisor import Supervisor

_RUN = """\
Where it listens, how many workers serve, TLS, limits and plugins are keys of the config; `darkroom reference` prints them all.
Port 0 takes a free one; the log tells it. Log lines go to standard error: JSON, or plain text at a terminal.

signals:
  SIGHUP           load the config anew; a bad one is refused and named in the log, and the old one kept.
                   A changed config file does the same (proxy.watch).
  SIGTERM, SIGINT  take nothing new, let requests in flight end (proxy.limits.drain), then exit. A second one cuts them.

answered by the proxy itself:
  GET /healthz     200 as long as the process lives
  GET /readyz      200, or 503 once it is stopping

exit status:
  0 stopped as asked, 1 a fault (told on standard error), 2 a wrong call, 130 cut by a second signal
"""
_HEALTH = "Exit status: 0 ready, 1 not. A unix socket among the addresses is asked first, else the first address."

_ABOUT_KEYS = """\
# Every key of config.toml

The file is read strictly: an unknown key, a wrong type or an unset variable stops the start, or is refused by a reload, and all
mistakes are named at once (`darkroom check`). Behind each key stand its type and, where it has one, its default. A key or
password is best written as `"env:NAME"`, an environment variable, or `"file:PATH"`. Relative paths start at the folder of the
file. This page is what `darkroom reference` prints.

"""

COMMANDS = "proxy_core.commands"  # entry points: modules with SUMMARY, configure(parser) and main(args) -> exit status


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 good, 1 a fault, 2 a wrong call."""
    _forget_working_directory()
    parser = argparse.ArgumentParser(prog="darkroom", description="A proxy that makes image generation work on any provider.")
    parser.add_argument("--version", action="version", version=f"darkroom {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary, more, handler in (
        ("run", "serve", _RUN, _run),
        ("check", "report every fault of a config, and do nothing else", "", _check),
        ("plugins", "list what is installed, what is switched on, and what each serves", "", _plugins),
        ("health", "ask a running proxy whether it is ready for requests", _HEALTH, _health),
        ("reference", "print every key of a config, of the proxy and of every installed plugin", "", _reference),
    ):
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=more,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name != "reference":
            command.add_argument("--config", type=Path, default=Path("config.toml"), help="default: ./config.toml")
        if name in ("run", "health"):
            command.add_argument("--listen", metavar="ADDRESS", help="HOST:PORT or unix:PATH, instead of proxy.listen")
        if name == "run":
            command.add_argument("--log", choices=("auto", "json", "console"), default="auto", help="form of the log lines")
        if name == "health":
            command.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="default: 5")
        command.set_defaults(main=handler)
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
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


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


def _reference(args: argparse.Namespace) -> int:
    classes: dict[str, type[Any]] = {"proxy": ProxyConfig}
    for name, entry in sorted(installed().items()):
        try:
            classes[f"plugins.{name}"] = resolve(entry)
        except Exception as error:  # noqa: BLE001  # a plugin that is off may be broken; the others are still to be told
            print(f"plugins.{name} cannot be imported: {type(error).__name__}: {error}", file=sys.stderr)
    print(_ABOUT_KEYS + reference(classes), end="")
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
    text = read(args.config)
    loaded = load_text(text, args.config)
    try:
        loaded.config.addresses(args.listen)
    except ValueError as error:
        print(str(error), file=sys.stderr)
        return 2
    try:
        if loaded.config.proxy.workers > 1:
            return run_loop(_supervise(args.config, text, loaded, args.listen, form))
        return run_loop(run_alone(args.config, loaded, load_file, args.listen))
    except asyncio.CancelledError:
        return 130
    except OSError as error:
        print(f"cannot serve on {error.filename}: {error.strerror or error}", file=sys.stderr)
        return 1


async def _supervise(path: Path, text: str, loaded: Loaded, listen: str | None, form: str) -> int:
    return await Supervisor(path, text, loaded, listen=listen, form=form).run()


def _health(args: argparse.Namespace) -> int:
    config, faults = examine(*parse(read(args.config), args.config))
    if faults and args.listen is None:
        raise ConfigError([fault for fault in faults if fault.where.startswith("proxy")] or faults)
    try:
        addresses = config.addresses(args.listen)
    except ValueError as error:
        print(str(error), file=sys.stderr)
        return 2
    ready, said = ask(addresses, tls=config.proxy.tls is not None, timeout=args.timeout)
    print(said, file=sys.stdout if ready else sys.stderr)
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())

