"""Where a request goes: its route by the longest prefix, and of the route's upstreams the one whose turn it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from urllib.parse import unquote

from multidict import CIMultiDict
from yarl import URL

from .config import Route
from .errors import ClientError, Failure, NotFound, Overloaded, UpstreamError
from .message import Request


class Target:
    """One upstream of a route, and how it has been of late."""

    def __init__(self, url: URL, weight: int, connections: int) -> None:
        self._gate = asyncio.Semaphore(connections) if connections else None
        self.url = url
        self.origin = url.origin()
        self.base = url.raw_path.rstrip("/")
        self.weight = weight
        self.turn = 0  # of smooth weighted round robin
        self.failures = 0  # in a row
        self.rests_until = 0.0

    @property
    def full(self) -> bool:
        return self._gate is not None and self._gate.locked()

    async def enter(self) -> None:
        if self._gate is not None:
            await self._gate.acquire()

    def leave(self) -> None:
        if self._gate is not None:
            self._gate.release()


class RoutePool:
    """A route's upstreams, by turns: weighted, and one that keeps failing is left alone for a while."""

    def __init__(self, prefix: str, route: Route) -> None:
        self.prefix = prefix
        self.bare = prefix.rstrip("/")
        self.route = route
        self.targets = [Target(one.url, one.weight, route.connections) for one in route.all_upstreams()]

    def candidates(self) -> list[Target]:
        """Each upstream that is not resting, the one whose turn it is first. Raises UpstreamError (503) if all rest."""
        if len(self.targets) == 1:
            return self.targets[:]  # there is nobody to turn to: it is always asked
        now = time.monotonic()
        awake = [target for target in self.targets if target.rests_until <= now]
        if not awake:
            raise self._none_left(now)
        total = sum(target.weight for target in awake)
        for target in awake:
            target.turn += target.weight
        first = max(awake, key=lambda target: target.turn)
        first.turn -= total
        return [first, *sorted((target for target in awake if target is not first), key=lambda target: -target.turn)]

    async def enter(self, left: list[Target], *, wait: bool) -> Target | None:
        """The next of the candidates in `left`, entered: who takes one must `leave` it. None if there is no other.

        One that has as many requests as it may is passed over; where all have, with `wait`, the first to have room is awaited
        for as long as a connection would be. Raises Overloaded (503).
        """
        full: list[Target] = []
        while left:
            target = left.pop(0)
            if not target.full:
                await target.enter()
                return target
            full.append(target)
        return await self._room(full) if full and wait else None

    async def _room(self, targets: list[Target]) -> Target:
        waits = {asyncio.ensure_future(target.enter()): target for target in targets}
        try:
            done, _ = await asyncio.wait(waits, timeout=self.route.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            done = set()
            raise
        finally:
            first = next(iter(done), None)
            for wait, target in waits.items():
                if wait is not first and not wait.cancel() and not wait.cancelled():
                    target.leave()
        if first is None:
            limit = f"each upstream of {self.prefix} has {self.route.connections} requests, as many as it may"
            raise Overloaded(f"{limit} (proxy.routes.connections); try again soon")
        return waits[first]

    def failed(self, target: Target) -> None:
        target.failures += 1
        if target.failures >= self.route.failures:
            target.rests_until = time.monotonic() + self.route.rest

    def worked(self, target: Target) -> None:
        target.failures = 0
        target.rests_until = 0.0

    def _none_left(self, now: float) -> UpstreamError:
        soonest = min(target.rests_until for target in self.targets) - now
        names = ", ".join(f"{target.origin.host}:{target.origin.port}" for target in self.targets)
        return UpstreamError(
            f"every upstream of {self.prefix} has failed of late and is left alone for now: {names}",
            failure=Failure.NOT_SENT,
            status=503,
            code="no_upstream_left",
            headers={"Retry-After": str(max(1, round(soonest)))},
        )


class Routes:
    """All routes, the longest prefix first."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        ordered = sorted(routes.items(), key=lambda item: len(item[0]), reverse=True)
        self._pools = [RoutePool(prefix, route) for prefix, route in ordered]

    def match(self, path: str) -> RoutePool:
        """Raises NotFound, or ClientError for a path that could be read as leaving its route."""
        for pool in self._pools:
            if path == pool.bare or path.startswith(pool.bare + "/"):
                if _leaves(path[len(pool.bare) :]):
                    raise ClientError(f"the path's dot segments lead out of {pool.prefix}", code="invalid_path")
                return pool
        raise NotFound(f"nothing is served at {path[:200]}: no plugin takes this path, and no route leads on (proxy.routes)")


def target_on(pool: RoutePool, target: Target, request: Request) -> str:
    """As in nginx: an upstream with a path puts it in the prefix's place; one without leaves the target as it came."""
    return target.base + request.target[len(pool.bare) :] if target.base else request.target


def _leaves(rest: str) -> bool:
    """Whether a server behind could read `rest` as leading out of its start, plain, percent-encoded, even twice, or with
    backslashes. What goes on is the path as it came, so what is meant must be beyond doubt."""
    if ".." not in rest and "%" not in rest:
        return False  # as nearly every path: nothing in it leads anywhere but down
    for _ in range(3):
        depth = 0
        for segment in rest.replace("\\", "/").split("/"):
            name = segment.partition(";")[0]
            depth += -1 if name == ".." else 0 if name in ("", ".") else 1
            if depth < 0:
                return True
        if "%" not in rest:
            return False
        rest = unquote(rest)
    return False


# Who a client is at its provider; the last two choose whose account is charged.
_CREDENTIALS = ("Authorization", "api-key", "x-api-key", "x-goog-api-key", "Cookie", "OpenAI-Organization", "OpenAI-Project")


def set_credentials(headers: CIMultiDict[str], route: Route) -> None:
    """Make `headers` bear whose credentials the operator chose."""
    whose = route.credentials or ("api_key" if route.api_key else "client")
    if whose == "client":
        return
    for name in (*_CREDENTIALS, route.api_key_header):
        headers.popall(name, None)
    if whose == "api_key" and route.api_key is not None:
        bearer = route.api_key_header.lower() == "authorization"
        headers.update(route.api_key.bearer() if bearer else {route.api_key_header: route.api_key.reveal()})


def set_forwarded(headers: CIMultiDict[str], request: Request) -> None:
    """X-Forwarded-For, -Proto and -Host, and Via (RFC 9110 7.6.3). What a client claimed before us is kept in front."""
    client = request.exchange.client
    earlier = headers.getall("X-Forwarded-For", [])
    headers["X-Forwarded-For"] = ", ".join([*earlier, client] if client else earlier)
    headers["X-Forwarded-Proto"] = request.exchange.scheme
    headers["X-Forwarded-Host"] = request.headers.get("Host", "")
    headers["Via"] = ", ".join([*headers.getall("Via", []), "1.1 darkroom"])
