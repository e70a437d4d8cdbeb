"""Middlewares folded around the endpoint into one handler, and errors turned into answers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .errors import PluginFault, ProxyError
from .message import Handler, Middleware, Request, Response

log = logging.getLogger("darkroom")


def compose(middlewares: Sequence[tuple[str, Middleware]], endpoint: Handler) -> Handler:
    """One handler of (plugin name, middleware) pairs, the first outermost."""
    handler = _guarded(endpoint)
    for name, middleware in reversed(middlewares):
        handler = _link(name, middleware, handler)
    return handler


def _guarded(endpoint: Handler) -> Handler:
    """The endpoint's own mistakes are the core's, not those of the plugin that happens to stand next to it."""

    async def handle(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ProxyError:
            raise
        except Exception as error:
            raise PluginFault("") from error

    return handle


def _link(name: str, middleware: Middleware, next: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        try:
            response = await middleware(request, next)
        except ProxyError:
            raise
        except Exception as error:
            raise PluginFault(name) from error
        if not isinstance(response, Response):
            raise PluginFault(name) from TypeError(f"middleware returned {type(response).__name__}, not a Response")
        return response

    return handle


def answer(error: Exception, exchange_id: str) -> Response:
    """The one place where an error becomes an answer in OpenAI's shape. What is not a ProxyError is logged, not told."""
    if isinstance(error, PluginFault):
        who = f"plugin {error.plugin}" if error.plugin else "the core"
        log.error("%s failed", who, exc_info=error.__cause__, extra={"request_id": exchange_id})
    elif not isinstance(error, ProxyError):
        log.error("internal error", exc_info=error, extra={"request_id": exchange_id})
        error = ProxyError("internal error", code="internal_error")
    assert isinstance(error, ProxyError)  # noqa: S101  # for the type checker; the branch above made it one
    headers = error.headers.copy()
    if error.status >= 500 and not hasattr(error, "failure"):
        headers.setdefault("x-should-retry", "true" if error.status == 503 else "false")
    return Response.json(error.body(), status=error.status, headers=headers)
