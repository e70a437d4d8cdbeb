"""A strict stand-in for OpenAI's images API: it rejects what the service rejects (contracts: openai.md)."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.emulators.ark_faults import Cut, Hang, Raw
from tests.emulators.gpt_image_files import Asked, File, check_files, draw, encoded, read_form, read_json, size_of
from tests.emulators.gpt_image_rules import MODELS, RETIRED, Model, Order, Refused, check, invalid

__all__ = ["Cut", "GptImage", "Hang", "Raw", "Refused", "Seen", "Short"]

KEY = "sk-test-0123456789"


@dataclass(frozen=True)
class Short:
    """An answer with fewer pictures than were asked for."""

    pictures: int


Fault = Refused | Raw | Cut | Hang | Short


@dataclass(kw_only=True)
class Seen:
    """One request, and what became of it."""

    method: str
    path: str
    headers: CIMultiDict[str] = field(repr=False)
    raw: bytes = field(default=b"", repr=False)
    encoding: str = ""  # json or form
    fields: Mapping[str, Any] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    mask: File | None = None
    request_id: str = ""
    status: int = 0  # 0 while there is no answer, and if the connection was cut
    code: str | None = None
    pictures: int = 0  # billed
    gone: bool = False  # the client went away before it had the answer


class GptImage:
    """The service on a port of its own. `script` queues faults for the next valid requests."""

    root: ClassVar[str] = "/v1"

    def __init__(self, *, key: str = KEY) -> None:
        self.url = URL()
        self.requests: list[Seen] = []
        self.prefix = ""  # put before base64; the service has none, gateways do
        self._key = key
        self._faults: deque[Fault] = deque()
        self._hung: list[Hang] = []
        self._closing = False

    @property
    def pictures(self) -> int:
        """Billed."""
        return sum(seen.pictures for seen in self.requests)

    def script(self, *faults: Fault) -> None:
        self._faults.extend(faults)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{anything:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = URL(f"http://127.0.0.1:{self._runner.addresses[0][1]}") / self.root.removeprefix("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for hang in self._hung:
            hang.release.set()
        await self._runner.cleanup()

    # What Azure has otherwise.

    def operation(self, request: web.Request) -> str:
        """generations or edits. Raises Refused for other paths."""
        for operation in ("generations", "edits"):
            if (request.method, request.path) == ("POST", f"{self.root}/images/{operation}"):
                return operation
        raise Refused(404, f"Invalid URL ({request.method} {request.path})")

    def authorize(self, headers: CIMultiDict[str]) -> None:
        given = headers.getall("Authorization", [])
        if not given:
            raise Refused(401, "You didn't provide an API key.")
        if given != [f"Bearer {self._key}"]:
            raise Refused(401, f"Incorrect API key provided: {given[0][7:]}.", "invalid_api_key")

    def model(self, request: web.Request, fields: Mapping[str, Any]) -> Model:
        name = fields.get("model")
        if not isinstance(name, str):
            raise invalid("model", "Missing required parameter: 'model'.", "missing_required_parameter")
        if name not in MODELS:
            status = 410 if name in RETIRED else 404
            raise Refused(status, f"The model '{name}' does not exist.", "model_not_found", "model")
        return MODELS[name]

    def names(self, request_id: str) -> dict[str, str]:
        """The headers that tell a request's id."""
        return {"x-request-id": request_id, "openai-processing-ms": "7", "x-ratelimit-remaining-requests": "99"}

    # What is common.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(method=request.method, path=request.path_qs, headers=CIMultiDict(request.headers))
        seen.request_id = f"req_{uuid.uuid4().hex}"
        self.requests.append(seen)
        try:
            seen.raw = await request.read()
            return await self._answer(request, seen)
        except Refused as refused:
            seen.status, seen.code = refused.status, refused.code
            headers = {**self.names(seen.request_id), **refused.headers}
            return web.json_response(refused.body(), status=refused.status, headers=headers)
        except (asyncio.CancelledError, ConnectionError):
            seen.gone = not self._closing
            raise

    async def _answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        self.authorize(seen.headers)
        operation = self.operation(request)
        asked = self._read(request, seen, operation)
        seen.fields, seen.files, seen.mask = asked.fields, asked.files, asked.mask
        order = check(asked.fields, self.model(request, asked.fields), edit=operation == "edits")
        if operation == "edits":
            check_files(asked)
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, Refused):
            raise fault
        if isinstance(fault, Hang):
            await self._hang(fault)
        if isinstance(fault, Raw):
            seen.status = fault.status
            headers = self.names(seen.request_id)
            return web.Response(body=fault.body, status=fault.status, content_type=fault.content_type, headers=headers)
        count = fault.pictures if isinstance(fault, Short) else order.n
        size = size_of(order, asked.files)
        drawn = [self.prefix + encoded(draw(order, asked, index, size)) for index in range(count)]
        seen.pictures = count
        told = _told(order, size, asked, count)
        if order.stream:
            return await self._stream(request, seen, order, drawn, told, f"image_{operation.removesuffix('s')}")
        created = {"created": int(time.time()), **told, "data": [{"b64_json": text} for text in drawn]}
        body = json.dumps(created).encode()
        headers = {"Content-Type": "application/json", **self.names(seen.request_id)}
        if isinstance(fault, Cut):
            return await _cut(request, headers, body[: len(body) // 2] if fault.when == "body" else b"", len(body))
        seen.status = 200
        return web.Response(body=body, headers=headers)

    def _read(self, request: web.Request, seen: Seen, operation: str) -> Asked:
        if request.content_type == "multipart/form-data" and operation == "edits":
            seen.encoding = "form"
            return read_form(request.headers["Content-Type"], seen.raw)
        if request.content_type != "application/json":
            raise Refused(400, f"Unsupported content type: '{request.content_type}'.")
        seen.encoding = "json"
        try:
            body = json.loads(seen.raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(400, "We could not parse the JSON body of your request.")
        return read_json(body) if operation == "edits" else Asked(body)

    async def _hang(self, hang: Hang) -> None:
        self._hung.append(hang)
        hang.arrived.set()
        try:
            await hang.release.wait()
        except asyncio.CancelledError:
            hang.gone.set()
            raise

    async def _stream(
        self, request: web.Request, seen: Seen, order: Order, drawn: list[str], told: Mapping[str, Any], stem: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **self.names(seen.request_id)})
        await response.prepare(request)
        seen.status = 200
        common = {"created_at": int(time.time()), **{name: value for name, value in told.items() if name != "usage"}}
        for index in range(order.partial_images):
            await _event(response, f"{stem}.partial_image", {"b64_json": drawn[0], "partial_image_index": index, **common})
        for text in drawn:
            await _event(response, f"{stem}.completed", {"b64_json": text, **common, "usage": told["usage"]})
        await response.write_eof()
        return response


async def _event(response: web.StreamResponse, name: str, fields: Mapping[str, Any]) -> None:
    await response.write(f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode())


def _told(order: Order, size: tuple[int, int], asked: Asked, count: int) -> dict[str, Any]:
    text, images, made = len(order.prompt) // 4 + 1, 100 * len(asked.files), 1000 * count
    return {
        "background": "opaque" if order.background == "auto" else order.background,
        "output_format": order.output_format,
        "quality": "medium" if order.quality == "auto" else order.quality,
        "size": f"{size[0]}x{size[1]}",
        "usage": {
            "input_tokens": text + images,
            "output_tokens": made,
            "total_tokens": text + images + made,
            "input_tokens_details": {"text_tokens": text, "image_tokens": images},
            "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
        },
    }


async def _cut(request: web.Request, headers: Mapping[str, str], part: bytes, length: int) -> web.StreamResponse:
    """Send this much of the answer and close the connection; with no part, not even the status."""
    response = web.StreamResponse(headers=headers)
    response.content_length = length
    if part:
        await response.prepare(request)
        await response.write(part)
    if request.transport is not None:
        request.transport.close()
    return response


MODELS_TO_TRY = [*MODELS]


def setup(emulator: GptImage) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:OPENAI_API_KEY", "base_url": str(emulator.url)}
    image_edit = {"fetch": {"allow_hosts": [], "retries": [0, 0, 0]}}
    return {"plugins": {"openai": plugin, "image_edit": image_edit}, "environ": {"OPENAI_API_KEY": KEY}}
