"""The kit for plugin authors, and for our own tests: a proxy on a real socket, with plugins that need not be installed."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from yarl import URL

from .build import Source
from .client import HttpTransport
from .loader import Installed, Loaded, installed, load
from .server import Server
from .upstream import Transport


def plug(**classes: type[Any]) -> dict[str, EntryPoint | type[Any]]:
    """The installed plugins, and these: `plug(acme=Acme)`."""
    return {**installed(), **classes}


def loaded(config: Mapping[str, object], known: Installed | None = None, *, environ: Mapping[str, str] | None = None) -> Loaded:
    """A config as a table, loaded. Raises ConfigError. Relative paths start in the working directory."""
    return load(config, Source(folder=Path.cwd(), environ=environ or {}), known)


@asynccontextmanager
async def running(
    config: Mapping[str, Any],
    known: Installed | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    transport: Callable[[], Transport] = HttpTransport,
) -> AsyncIterator[URL]:
    """A proxy that serves at the URL yielded, on a free port, with a state directory of its own unless one is given."""
    with tempfile.TemporaryDirectory() as folder:
        proxy = {"state_dir": f"{folder}/state", **config.get("proxy", {})}
        ready = loaded({**config, "proxy": proxy}, known, environ=environ)
        async with Server(ready, listen="127.0.0.1:0", transport=transport) as server:
            yield server.url
