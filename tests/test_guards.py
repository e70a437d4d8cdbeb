"""Plugins that raise, hang or spend too long: a budget and a breaker for each, and the others go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from proxy_core import ConfigError, Handler, Middleware, Request, Response, hookimpl
from proxy_core.chain import compose
from proxy_core.config import Guard
from proxy_core.errors import PluginFault, Resting
from proxy_core.message import Body, Exchange
from proxy_core.testing import loaded, plug, running

Doing = Callable[[Request, Handler], Awaitable[Response]]


def request_() -> Request:
    from multidict import CIMultiDict

    return Request(exchange=Exchange(), method="GET", target="/", headers=CIMultiDict(), body=Body())


async def endpoint(request: Request) -> Response:
    return Response(status=204)


async def passing(request: Request, next: Handler) -> Response:
    return await next(request)


async def hanging(request: Request, next: Handler) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def hanging_behind(request: Request, next: Handler) -> Response:
    await next(request)
    return await hanging(request, next)


@pytest.mark.parametrize("middleware", [hanging, hanging_behind])
async def test_a_plugin_that_never_returns_has_a_budget(middleware: Middleware) -> None:
    handler = compose([("outer", passing), ("slow", middleware)], endpoint, {"slow": Guard(budget=0.02)})
    with pytest.raises(PluginFault) as caught:
        await handler(request_())
    assert caught.value.plugin == "slow"
    assert "proxy.guards.slow.budget" in str(caught.value.__cause__)


async def test_what_comes_after_it_is_not_on_its_account() -> None:
    go = asyncio.Event()

    async def slow_endpoint(request: Request) -> Response:
        await go.wait()
        return Response(status=204)

    async def several(request: Request, next: Handler) -> Response:
        first, _ = await asyncio.gather(next(request), next(request))
        return first

    handler = compose([("several", several)], slow_endpoint, {"several": Guard(budget=0.05)})
    asked = asyncio.ensure_future(handler(request_()))
    await asyncio.sleep(0.2)  # the budget itself, several times over
    assert not asked.done()
    go.set()
    assert (await asked).status == 204


async def test_its_own_timeouts_are_its_own() -> None:
    async def impatient(request: Request, next: Handler) -> Response:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(PluginFault) as caught:
        await compose([("one", impatient)], endpoint, {"one": Guard(budget=30)})(request_())
    assert "budget" not in str(caught.value.__cause__)


async def test_a_client_that_leaves_is_no_fault() -> None:
    handler = compose([("slow", hanging)], endpoint, {"slow": Guard(budget=30, failures=1)})
    asked = asyncio.ensure_future(handler(request_()))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


@dataclass
class Moody:
    """Fails as long as it is told to."""

    failing: bool = True
    asked: int = 0

    async def __call__(self, request: Request, next: Handler) -> Response:
        self.asked += 1
        if self.failing:
            raise LookupError("a slip")
        return await next(request)


async def test_a_plugin_that_fails_again_and_again_rests(caplog: pytest.LogCaptureFixture) -> None:
    moody = Moody()
    handler = compose([("moody", moody)], endpoint, {"moody": Guard(failures=3, rest=0.05)})
    for _ in range(3):
        with pytest.raises(PluginFault):
            await handler(request_())
    for _ in range(5):
        with pytest.raises(Resting) as caught:
            await handler(request_())
    assert (caught.value.status, caught.value.code, caught.value.headers["Retry-After"]) == (503, "plugin_unavailable", "1")
    assert moody.asked == 3
    assert "plugin moody failed 3 times in a row" in caplog.text
    async with asyncio.timeout(5):
        while moody.asked == 3:  # until it has rested
            with pytest.raises((Resting, PluginFault)):
                await handler(request_())
            await asyncio.sleep(0.005)
    with pytest.raises(Resting):  # one more fault, and it rests again
        await handler(request_())
    moody.failing = False
    async with asyncio.timeout(5):
        while True:
            try:
                assert (await handler(request_())).status == 204
                break
            except Resting:
                await asyncio.sleep(0.005)


async def test_faults_in_a_row_alone_are_counted_and_only_its_own() -> None:
    inner, outer = Moody(), Moody(failing=False)
    guards = {"outer": Guard(failures=2), "inner": Guard(failures=3)}
    handler = compose([("outer", outer), ("inner", inner)], endpoint, guards)
    for inner.failing in (True, True, False, True, True):
        if inner.failing:
            with pytest.raises(PluginFault):
                await handler(request_())
        else:
            await handler(request_())
    assert (outer.asked, inner.asked) == (5, 5)


@dataclass(kw_only=True)
class Sick:
    """A plugin that has lost its mind."""

    how: str = "raise"
    leaked: list[Any] = field(default_factory=list)

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def act(request: Request, next: Handler) -> Response:
            if request.path != "/v1/sick":
                return await next(request)
            match self.how:
                case "raise":
                    raise RuntimeError("secret detail")
                case "nonsense":
                    return 7  # type: ignore[return-value]
                case "hang":
                    await asyncio.Event().wait()
                case "leak":
                    self.leaked += [asyncio.create_task(asyncio.Event().wait()) for _ in range(50)]
                    raise RuntimeError("after the leak")
            raise AssertionError

        return act


@pytest.mark.parametrize("how", ["raise", "nonsense", "hang", "leak"])
async def test_one_sick_plugin_costs_its_requests_and_no_others(how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    config = {
        "proxy": {"plugins": ["signing", "sick", "image_edit", "sandbox"], "guards": {"sick": {"budget": 0.05, "failures": 4}}},
        "plugins": {"sick": {"how": how}},
    }
    async with running(config, plug(sick=Sick)) as url, aiohttp.ClientSession() as http:
        codes = []
        for _ in range(6):
            async with http.get(url / "v1/sick") as response:
                told = await response.json()
                codes.append((response.status, told["error"]["code"]))
                assert "secret" not in str(told)
        assert codes == [(500, "internal_error")] * 4 + [(503, "plugin_unavailable")] * 2
        assert "plugin sick failed" in caplog.text
        async with http.get(url / "healthz") as response:
            assert response.status == 200  # the proxy itself is well
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            assert response.status == 200  # and what stands before the sick one


async def test_without_a_breaker_others_are_never_shut_out() -> None:
    config = {"proxy": {"plugins": ["sick", "image_edit", "sandbox"]}}
    async with running(config, plug(sick=Sick)) as url, aiohttp.ClientSession() as http:
        for _ in range(20):
            async with http.get(url / "v1/sick") as response:
                assert response.status == 500
        async with http.get(url / "v1/models") as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("guards", "where"),
    [
        ({"imag_edit": {}}, "proxy.guards.imag_edit"),
        ({"image_edit": {"budget": -1}}, "proxy.guards.image_edit.budget"),
        ({"image_edit": {"failures": "3"}}, "proxy.guards.image_edit.failures"),
        ({"image_edit": {"bugdet": 3}}, "proxy.guards.image_edit.bugdet"),
    ],
)
def test_slips_are_told(guards: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded({"proxy": {"plugins": ["image_edit", "sandbox"], "guards": guards}})
    (fault,) = caught.value.faults
    assert fault.where == where
