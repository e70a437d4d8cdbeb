"""The yardstick: the barest aiohttp proxy that streams both ways with `ClientSession`, on the same event loop as Darkroom.

`python yardstick.py PORT UPSTREAM_PORT`. No router, no log, no limits, no checks: what is left is what aiohttp costs.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"}


async def _serve(port: int, upstream: int) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            headers = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP)
            url = URL(f"http://127.0.0.1:{upstream}{request.raw_path}", encoded=True)
            data = request.content if request.body_exists else None
            async with session.request(request.method, url, headers=headers, data=data, allow_redirects=False) as answer:
                fields = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP)
                response = web.StreamResponse(status=answer.status, headers=fields)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        server = web.Server(handle, auto_decompress=False, access_log=None, handler_cancellation=True)
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
        await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
