"""The hooks of the core: all are called once, at start; none is on the path of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import pluggy

from .message import Middleware
from .state import State

PROJECT = "proxy_core"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class CoreHooks:
    """What a plugin may implement."""

    @hookspec
    def proxy_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        """Declare hooks of your own with `pluginmanager.add_hookspecs`, and ask the plugins that implement them.

        Every listed plugin is registered by now. Raise ConfigError for what does not fit together.
        """

    @hookspec
    def proxy_lifespan(self, state: State) -> AbstractAsyncContextManager[object]:  # type: ignore[empty-body]
        """A context that is open while the proxy serves: sessions, threads, keys from `state`.

        Entered in the order of `proxy.plugins` once the event loop runs, left in reverse, by one task.
        """

    @hookspec
    def proxy_middleware(self) -> Middleware | None:
        """`async def middleware(request, next) -> response`, or None. The first plugin listed is the outermost."""

    @hookspec
    def proxy_describe(self) -> Mapping[str, Sequence[str]]:  # type: ignore[empty-body]
        """What is served, for `darkroom plugins`: plugin name -> lines, such as `model seedream-4.0`."""
