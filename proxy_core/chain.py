"""Middlewares folded around the endpoint into one handler, and errors turned into answers."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from .errors import PluginFault, ProxyError, Resting
from .message import Handler, Middleware, Request, Response

log = logging.getLogger("darkroom")


class Bounds(Protocol):
    """What a plugin may cost: seconds of its own a request, and faults in a row before it rests a while; 0 is no bound."""

    @property
    def budget(self) -> float: ...

    @property
    def failures(self) -> int: ...

    @property
    def rest(self) -> float: ...


def compose(
    middlewares: Sequence[tuple[str, Middleware]], endpoint: Handler, guards: Mapping[str, Bounds] | None = None
) -> Handler:
    """One handler of (plugin name, middleware) pairs, the first outermost; `guards` are bounds by the plugin's name."""
    handler = _guarded(endpoint)
    for name, middleware in reversed(middlewares):
        bounds = (guards or {}).get(name)
        if bounds is not None and bounds.budget:
            middleware = _timed(name, middleware, bounds.budget)
        handler = _link(name, middleware, handler)
        if bounds is not None and bounds.failures:
            handler = Breaker(name, handler, bounds)
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


def _timed(name: str, middleware: Middleware, budget: float) -> Middleware:
    """`middleware` with `budget` seconds of its own: the clock stands while what comes after it is at work."""

    async def handle(request: Request, next: Handler) -> Response:
        now = asyncio.get_running_loop().time
        inside, left, over = 0, budget, False

        async def counted(request: Request) -> Response:
            nonlocal inside, left
            if not inside and not over:
                left = (limit.when() or now()) - now()
                limit.reschedule(None)
            inside += 1
            try:
                return await next(request)
            finally:
                inside -= 1
                if not inside and not over and not limit.expired():
                    limit.reschedule(now() + left)

        try:
            async with asyncio.timeout(budget) as limit:
                try:
                    return await middleware(request, counted)
                finally:
                    over = True
        except TimeoutError as error:
            if not limit.expired():
                raise
            cause = TimeoutError(f"it took more than {budget:g} s (proxy.guards.{name}.budget)")
            raise PluginFault(name) from cause.with_traceback(error.__traceback__)

    return handle


class Breaker:
    """A handler that is asked no more for a while once it has failed several times in a row."""

    def __init__(self, name: str, handler: Handler, bounds: Bounds) -> None:
        self._name = name
        self._handler = handler
        self._bounds = bounds
        self._failed = 0
        self._closed_from = 0.0  # on the loop's clock

    async def __call__(self, request: Request) -> Response:
        left = self._closed_from - asyncio.get_running_loop().time()
        if left > 0:
            raise Resting(math.ceil(left))
        try:
            response = await self._handler(request)
        except PluginFault as fault:
            if fault.plugin == self._name:
                self._count()
            raise
        except Exception:
            self._failed = 0
            raise
        self._failed = 0
        return response

    def _count(self) -> None:
        self._failed += 1
        if self._failed >= self._bounds.failures:
            self._closed_from = asyncio.get_running_loop().time() + self._bounds.rest
            log.error(
                "plugin %s failed %d times in a row and rests for %g s (proxy.guards.%s)",
                self._name, self._failed, self._bounds.rest, self._name,
            )  # fmt: skip


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
