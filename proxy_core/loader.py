"""From names in the config to plugins that are built, registered and checked."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from .build import Source, build
from .config import Config, examine, parse, read
from .errors import ConfigError, Fault
from .hookspecs import PROJECT, CoreHooks

Installed = Mapping[str, "EntryPoint | type[Any]"]  # plugin name -> its entry point, or the class itself


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A config and its plugins: built, registered and checked, not yet started."""

    config: Config
    plugins: pluggy.PluginManager

    @property
    def by_name(self) -> dict[str, Any]:
        """The plugins themselves."""
        return dict(self.plugins.list_name_plugin())

    def having(self, hook: str) -> list[tuple[str, Any]]:
        """(plugin name, bound method) of every plugin that implements `hook`, in the operator's order."""
        methods = {impl.plugin_name: impl.function for impl in getattr(self.plugins.hook, hook).get_hookimpls()}
        return [(name, methods[name]) for name in self.config.proxy.plugins if name in methods]


def installed() -> dict[str, EntryPoint | type[Any]]:
    """Every plugin on this machine, by the name of its entry point."""
    return {point.name: point for point in entry_points(group=PROJECT)}


def load_file(path: Path) -> Loaded:
    """Read a file and bring its plugins up to the point of serving. Raises ConfigError with every fault."""
    return load_text(read(path), path)


def load_text(text: str, path: Path) -> Loaded:
    """The same for the text of the file at `path`, which need not be read again."""
    return load(*parse(text, path))


def load(table: Mapping[str, object], source: Source | None = None, known: Installed | None = None) -> Loaded:
    """The same for a table; `known` are the plugins there are, by default the installed ones."""
    known = installed() if known is None else known
    config, faults = examine(table, source or Source())
    faults += _stray_tables(config, known)
    built: list[tuple[str, object]] = []
    for name in config.proxy.plugins:
        try:
            built.append((name, _build(name, _place(name, table), config, known)))
        except ConfigError as error:
            faults += error.faults
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(CoreHooks)
    for name, plugin in reversed(built):  # pluggy calls the last registered first
        try:
            manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            faults.append(Fault(f"plugins.{name}", str(error)))
    loaded = Loaded(config=config, plugins=manager)
    failed = {name for name in config.proxy.plugins if name not in dict(built)}
    faults += _connect(loaded, failed, complete=not faults)
    if faults:
        raise ConfigError(faults)
    return loaded


def _connect(loaded: Loaded, failed: Collection[str], *, complete: bool) -> list[Fault]:
    """Let plugins declare their hooks, then look for implementations that nobody declared."""
    faults: list[Fault] = []
    for name, addhooks in loaded.having("proxy_addhooks"):
        try:
            call(addhooks, pluginmanager=loaded.plugins)
        except ConfigError as error:
            faults += [fault for fault in error.faults if not _follows(fault, failed)]
        except Exception as error:  # noqa: BLE001  # whatever a stranger's plugin raises
            faults.append(Fault(f"plugins.{name}", f"{type(error).__name__}: {error}"))
    return faults or (_orphans(loaded.plugins) if complete else [])


def call(method: Any, **arguments: object) -> Any:
    """Call a hook with those of `arguments` that its implementation takes; as in pluggy, it may take fewer."""
    taken = inspect.signature(method).parameters
    return method(**{name: value for name, value in arguments.items() if name in taken})


def _orphans(manager: pluggy.PluginManager) -> list[Fault]:
    """Implementations of hooks that nobody declared; pluggy's own check stops at the first."""
    faults = []
    for name, hook in vars(manager.hook).items():
        if name.startswith("_") or hook.has_spec():
            continue
        for impl in hook.get_hookimpls():
            if not impl.optionalhook:
                what = f"unknown hook {name!r}; list the plugin that declares this hook, or mark it optional"
                faults.append(Fault(f"plugins.{impl.plugin_name}", what))
    return faults


def _place(name: str, table: Mapping[str, object]) -> str:
    """Where in the file a plugin is listed; what is no name there counts too."""
    own = table.get("proxy")
    listed = own.get("plugins") if isinstance(own, Mapping) else None
    return f"proxy.plugins[{listed.index(name) if isinstance(listed, list) else 0}]"


def _follows(fault: Fault, failed: Collection[str]) -> bool:
    """Whether somebody only misses what a plugin would have brought that failed itself: its own fault is the one to tell."""
    return fault.missing.partition(".")[0] in failed


def _build(name: str, where: str, config: Config, known: Installed) -> object:
    if name not in known:
        near = difflib.get_close_matches(name, list(known), n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"installed are {', '.join(sorted(known)) or 'none'}"
        raise ConfigError([Fault(where, f"no plugin {name!r} is installed; {mend}")])
    try:
        cls = resolve(known[name])
    except Exception as error:  # whatever a stranger's module raises while it is imported
        raise ConfigError([Fault(where, f"plugin {name!r} cannot be imported: {_import_fault(error)}")]) from error
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise ConfigError([Fault(where, f"plugin {name!r} is not a dataclass, so it has no config fields")])
    try:
        return build(cls, config.tables.get(name, {}), f"plugins.{name}", config.source)
    except ConfigError:
        raise
    except Exception as error:  # whatever a stranger's class raises while it is made
        raise ConfigError([Fault(f"plugins.{name}", f"{type(error).__name__}: {error}")]) from error


def resolve(entry: EntryPoint | type[Any]) -> Any:
    """The class behind an entry point."""
    return entry.load() if isinstance(entry, EntryPoint) else entry


def _import_fault(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    shadow = getattr(sys.modules.get("plugins"), "__file__", None)
    # Ours is a namespace package and has no file: one that has is somebody else's `plugins`, and hides ours.
    return f"{text} (a package named 'plugins' at {shadow} hides the proxy's own)" if shadow else text


def _stray_tables(config: Config, known: Installed) -> list[Fault]:
    """A table may stay while its plugin is off; one that nearly bears a plugin's name is a slip of the hand."""
    faults = []
    for name in config.tables:
        near = difflib.get_close_matches(name, list(known), n=1)
        if name not in known and name not in config.proxy.plugins and near:
            faults.append(Fault(f"plugins.{name}", f"no plugin of this name is installed; did you mean {near[0]!r}?"))
    return faults
