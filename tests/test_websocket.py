"""A WebSocket passes through as it is: handshake, frames of every kind, and the close, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web
from yarl import URL

from proxy_core import Handler, Middleware, Request, Response, hookimpl
from proxy_core.testing import plug, running


@asynccontextmanager
async def served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/v1/realtime", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def routed(url: str) -> dict[str, Any]:
    return {"proxy": {"plugins": ["access_log"], "routes": {"/v1": {"upstream": url}}}}


async def echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=["realtime"], max_msg_size=0)
    await socket.prepare(request)
    await socket.send_json({"query": request.query_string, "authorization": request.headers.get("Authorization")})
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"said {message.data}")
        else:
            await socket.send_bytes(message.data)
    return socket


async def test_messages_pass_both_ways() -> None:
    closed: list[int | None] = []

    async def echo_and_note(request: web.Request) -> web.StreamResponse:
        socket = await echo(request)
        assert isinstance(socket, web.WebSocketResponse)
        closed.append(socket.close_code)
        return socket

    large = bytes(range(256)) * 8192  # 2 MiB, in one message
    async with served(echo_and_note) as url, running(routed(url)) as proxy, aiohttp.ClientSession() as http:
        headers = {"Authorization": "Bearer k"}
        target = proxy / "v1/realtime" % {"model": "gpt-realtime"}
        async with http.ws_connect(target, protocols=["realtime"], headers=headers, compress=15, max_msg_size=0) as socket:
            assert socket.protocol == "realtime"
            assert await socket.receive_json() == {"query": "model=gpt-realtime", "authorization": "Bearer k"}
            for n in range(50):
                await socket.send_str(str(n))
            assert [await socket.receive_str() for _ in range(50)] == [f"said {n}" for n in range(50)]
            await socket.send_bytes(large)
            assert await socket.receive_bytes() == large
            await socket.ping(b"x")
            await socket.close(code=4001)
    assert closed == [4001]


async def test_the_upstreams_close_reaches_the_client() -> None:
    async def closing(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close(code=4002, message=b"enough")
        return socket

    async with served(closing) as url, running(routed(url)) as proxy, aiohttp.ClientSession() as http:
        async with http.ws_connect(proxy / "v1/realtime") as socket:
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4002, "enough")


async def test_a_client_that_leaves_ends_the_upstream() -> None:
    ended = asyncio.Event()

    async def waiting(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        ended.set()
        return socket

    async with served(waiting) as url, running(routed(url)) as proxy, aiohttp.ClientSession() as http:
        socket = await http.ws_connect(proxy / "v1/realtime")
        connection = socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        await asyncio.wait_for(ended.wait(), 1)


async def test_a_refused_upgrade_is_the_upstreams_own_answer() -> None:
    async def refusing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no"}}, status=401)

    async with served(refusing) as url, running(routed(url)) as proxy, aiohttp.ClientSession() as http:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
        async with http.get(proxy / "v1/realtime", headers=headers) as response:
            assert response.status == 401
            assert await response.json() == {"error": {"message": "no"}}


async def test_middleware_sees_the_upgrade_and_the_101() -> None:
    from dataclasses import dataclass

    seen: list[Any] = []

    @dataclass(kw_only=True)
    class Watch:
        @hookimpl
        def proxy_middleware(self) -> Middleware:
            async def middleware(request: Request, next: Handler) -> Response:
                response = await next(request)
                seen.append((request.headers["Upgrade"], response.status))
                return response

            return middleware

    async with served(echo) as url:
        config = routed(url)
        config["proxy"]["plugins"] = ["watch"]
        async with running(config, plug(watch=Watch)) as proxy, aiohttp.ClientSession() as http:
            async with http.ws_connect(URL(f"{proxy}/v1/realtime")) as socket:
                await socket.receive_json()
    assert seen == [("websocket", 101)]
