"""A strict stand-in for ByteDance ModelArk's image generation: it rejects what the service rejects."""

import asyncio
import base64
import json
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.emulators.ark_faults import Break, Cut, Fault, Hang, ItemErrors, Raw, Refuse
from tests.emulators.ark_images import Reference, draw, is_link, read_bytes, read_data_uri, unfetched
from tests.emulators.ark_order import Order, check, parse
from tests.emulators.ark_rules import ENDPOINTS, MODELS, Refusal, pixel_size
from tests.emulators.ark_storage import Download, Storage

__all__ = ["Ark", "Break", "Cut", "Download", "Fault", "Hang", "ItemErrors", "Raw", "Reference", "Refuse", "Seen"]

Fetch = Callable[[str], Awaitable[bytes | None]]
_PATH = "/api/v3"


@dataclass(kw_only=True)
class Seen:
    """One request to the API, and what became of it."""

    method: str
    path: str
    headers: CIMultiDict[str] = field(repr=False)
    raw: bytes = field(default=b"", repr=False)
    json: dict[str, Any] | None = field(default=None, repr=False)
    references: list[Reference] = field(default_factory=list)
    watermarked: bool = False    # the result bears the vendor's mark: the request did not say `watermark: false`
    ignored: list[str] = field(default_factory=list)  # accepted, to no effect; `n` stands here whenever it was sent
    request_id: str = ""
    status: int = 0              # of the answer; 0 while there is none, and if the connection was cut
    code: str = ""               # of the error, if it is one
    pictures: int = 0            # billed
    gone: bool = False           # the client went away before it had the answer


class Ark:
    """ModelArk on two ports: the API, and the object storage that its links lead to."""

    def __init__(self, *, key: str = "ark-test-key", endpoints: Mapping[str, str] = MappingProxyType({}),
                 strict_unknown: bool = True, fetch: Fetch | None = None) -> None:
        if unknown := set(endpoints.values()) - set(MODELS):
            raise ValueError(f"endpoints of unknown models: {', '.join(sorted(unknown))}")
        self.url = URL()
        self.requests: list[Seen] = []
        self.pictures = 0        # generations billed
        self.group = 3           # pictures that the model decides on when it may (`auto`)
        self.previews = False  # a stream shows a picture before it is finished
        self.event_lines = True  # streams show `event:` lines, as the vendor's samples do
        self.storage = Storage(key)
        self._key, self._fetch, self._strict = key, fetch, strict_unknown
        self._endpoints = {**ENDPOINTS, **endpoints}
        self._faults: deque[Fault] = deque()
        self._hung: list[Hang] = []
        self._closing = False
        self._stack = AsyncExitStack()

    def script(self, *faults: Fault) -> None:
        """Queue faults. A request that Ark would refuse is refused, and leaves the queue as it is."""
        self._faults.extend(faults)

    @property
    def missing(self) -> int:
        """How many times a link to a result answers 404 before it works."""
        return self.storage.missing

    @missing.setter
    def missing(self, times: int) -> None:
        self.storage.missing = times

    @property
    def downloads(self) -> list[Download]:
        return self.storage.downloads

    @property
    def leaks(self) -> list[Download]:
        """Downloads that brought the API's credentials to the storage."""
        return self.storage.leaks

    async def __aenter__(self) -> Self:
        self.url = await self._listen(self._serve) / _PATH.removeprefix("/")
        self.storage.origin = await self._listen(self.storage.serve)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for hang in self._hung:
            hang.release.set()
        await self._stack.aclose()

    async def _listen(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> URL:
        app = web.Application(client_max_size=0)  # no limit: pictures are bounded one by one
        app.router.add_route("*", "/{anything:.*}", handler)
        # A handler is cancelled when its client leaves: this is how the emulator learns of it.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return URL(f"http://127.0.0.1:{runner.addresses[0][1]}")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(method=request.method, path=request.raw_path, headers=CIMultiDict(request.headers))
        self.requests.append(seen)
        try:
            seen.raw = await request.read()
            response = await self._route(request, seen)
        except (asyncio.CancelledError, ConnectionError):
            seen.gone = not self._closing
            raise
        return response

    async def _route(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if (seen.method, seen.path.partition("?")[0]) != ("POST", f"{_PATH}/images/generations"):
            seen.status = 404  # the gateway's own: no body, no request id; /images/edits is such a path
            return web.Response(status=404, headers={"Server": "istio-envoy"})
        seen.request_id = f"02{uuid.uuid4().hex}"
        try:
            return await self._generate(request, seen)
        except Refusal as refusal:
            seen.status, seen.code = refusal.status, refusal.code
            return web.json_response(refusal.body(seen.request_id), status=refusal.status,
                                     headers={**_headers(seen), **refusal.headers})

    async def _generate(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if seen.headers.getall("Authorization", []) != [f"Bearer {self._key}"]:
            raise Refusal(401, "AuthenticationError", "The API key in the request is missing or invalid.")
        body = seen.json = parse(request.content_type, seen.raw)
        order = check(body, self._endpoints, strict=self._strict)
        seen.ignored = order.ignored
        for image in order.images:
            seen.references.append(await self._reference(image, order))
        size = pixel_size(order.model, order.size, _adapted(seen.references))
        seen.watermarked = body.get("watermark") is not False
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, Hang):
            await self._hang(fault)
        if isinstance(fault, Raw):
            seen.status = fault.status
            return web.Response(body=fault.body, status=fault.status, content_type=fault.content_type,
                                headers=_headers(seen))
        if isinstance(fault, Refuse):
            raise Refusal(fault.status, fault.code, fault.message, headers=fault.headers)
        if isinstance(fault, Break) and not order.stream:
            raise Refusal(fault.status, fault.code, fault.message)
        items = self._items(order, seen, size, fault)
        if order.stream:
            return await self._stream(request, seen, order, items, fault)
        return await self._respond(request, seen, order, items, fault)

    async def _hang(self, hang: Hang) -> None:
        self._hung.append(hang)
        hang.arrived.set()
        try:
            await hang.release.wait()
        except asyncio.CancelledError:
            hang.gone.set()
            raise

    async def _reference(self, image: str, order: Order) -> Reference:
        if not is_link(image):
            return read_data_uri(image, order.model)
        if self._fetch is None:
            return Reference(link=image)
        data = await self._fetch(image)
        if data is None:
            raise unfetched(image)
        return read_bytes(data, order.model, link=image)

    def _items(self, order: Order, seen: Seen, size: tuple[int, int], fault: Fault | None) -> list[dict[str, Any]]:
        if isinstance(fault, ItemErrors):
            outcomes, error = fault.outcomes, {"code": fault.code, "message": f"{fault.message} {_trailer(seen)}"}
        else:
            outcomes, error = (True,) * min(order.max_images, self.group), {}
        return [self._item(order, seen, size, index) if made else {"error": error}
                for index, made in enumerate(outcomes)]

    def _item(self, order: Order, seen: Seen, size: tuple[int, int], index: int) -> dict[str, Any]:
        data = draw(order.prompt, index, seen.references, size, kind=order.kind, transparent=order.transparent)
        item: dict[str, Any] = ({"b64_json": base64.b64encode(data).decode()} if order.base64
                                else {"url": self.storage.put(data, order.kind)})
        item["size"] = f"{size[0]}x{size[1]}"
        if order.told_kind:
            item["output_format"] = order.kind
        if order.layers:
            item["z_index"] = 0  # the base; this model finds no further layers
        return item

    def _bill(self, seen: Seen, pictures: int) -> None:
        seen.pictures += pictures
        self.pictures += pictures

    async def _respond(self, request: web.Request, seen: Seen, order: Order, items: list[dict[str, Any]],
                       fault: Fault | None) -> web.StreamResponse:
        self._bill(seen, sum("error" not in item for item in items))
        answer = {"model": order.answered_as, "created": int(time.time()), "data": items, "usage": _usage(order, items)}
        body = json.dumps(answer).encode()
        headers = {"Content-Type": "application/json", **_headers(seen)}
        if isinstance(fault, Cut):
            return await _cut(request, headers, body[:len(body) // 2] if fault.when == "body" else b"", len(body))
        seen.status = 200
        return web.Response(body=body, headers=headers)

    async def _stream(self, request: web.Request, seen: Seen, order: Order, items: list[dict[str, Any]],
                      fault: Fault | None) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream", **_headers(seen)}
        last = items[:fault.after] if isinstance(fault, Break) else items
        frames = [self._frame(order, index, item) for index, item in enumerate(last)]
        frames = [self._preview(order, item) + frame for item, frame in zip(last, frames, strict=True)]
        if isinstance(fault, Cut):
            self._bill(seen, sum("error" not in item for item in items))
            whole = b"".join(frames)
            # Inside the last picture's frame: those before it came whole.
            return await _cut(request, headers, whole[:-len(frames[-1]) // 2] if fault.when == "body" else b"")
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        seen.status = 200
        for item, frame in zip(last, frames, strict=True):
            self._bill(seen, int("error" not in item))
            await response.write(frame)
        await response.write(self._ending(order, seen, items, fault))
        await response.write_eof()
        return response

    def _frame(self, order: Order, index: int, item: dict[str, Any]) -> bytes:
        name = "partial_failed" if "error" in item else "partial_succeeded"
        return self._event(name, order, {"image_index": index, **item})

    def _preview(self, order: Order, item: dict[str, Any]) -> bytes:
        """As BytePlus shows it in one example; the others know no previews."""
        if not self.previews or "b64_json" not in item:
            return b""
        return self._event("partial_image", order, {"partial_image_index": 0, "b64_json": item["b64_json"]})

    def _ending(self, order: Order, seen: Seen, items: list[dict[str, Any]], fault: Fault | None) -> bytes:
        if isinstance(fault, Break):
            refusal = Refusal(fault.status, fault.code, fault.message)
            seen.code = fault.code
            return f"data: {json.dumps(refusal.body(seen.request_id))}\n\n".encode()
        more: dict[str, Any] = {"usage": _usage(order, items)}
        if order.tools:
            more["tools"] = [{"type": "web_search"}]
        return self._event("completed", order, more) + b"data: [DONE]\n\n"

    def _event(self, name: str, order: Order, fields: Mapping[str, Any]) -> bytes:
        event = {"type": f"image_generation.{name}", "model": order.answered_as, "created": int(time.time()), **fields}
        line = f"event: {event['type']}\n" if self.event_lines else ""
        return f"{line}data: {json.dumps(event)}\n\n".encode()


def _headers(seen: Seen) -> dict[str, str]:
    return {"Server": "istio-envoy", "X-Request-Id": seen.request_id}


def _trailer(seen: Seen) -> str:
    return f"Request id: {seen.request_id}"


def _adapted(references: list[Reference]) -> tuple[int, int]:
    """The size of an edit that adapts to its input; a link's is not known."""
    return references[0].size if references and references[0].format else (1024, 1024)


def _usage(order: Order, items: list[dict[str, Any]]) -> dict[str, Any]:
    sizes = [item["size"].split("x") for item in items if "error" not in item]
    tokens = sum(int(width) * int(height) // 256 for width, height in sizes)
    usage: dict[str, Any] = {"generated_images": len(sizes), "output_tokens": tokens, "total_tokens": tokens}
    if order.images:
        usage["input_images"] = len(order.images)
    if order.tools:
        usage["tool_usage"] = {"web_search": 0}
    return usage


async def _cut(request: web.Request, headers: Mapping[str, str], part: bytes,
               length: int | None = None) -> web.StreamResponse:
    """Send this much of the answer and close the connection; with no part, not even the status."""
    response = web.StreamResponse(headers=headers)
    response.content_length = length
    if part:
        await response.prepare(request)
        await response.write(part)
    if request.transport is not None:
        request.transport.close()
    return response


def setup(ark: Ark) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    storage = ark.storage.origin
    fetch = {"allow_hosts": [f"{storage.host}:{storage.port}"], "retries": [0, 0, 0]}
    plugins = {"bytedance": {"api_key": "env:ARK_API_KEY", "base_url": str(ark.url)}, "image_edit": {"fetch": fetch}}
    return {"plugins": plugins, "environ": {"ARK_API_KEY": "ark-test-key"}}
