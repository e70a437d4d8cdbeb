"""Strict stand-ins for servers that speak OpenAI's images API, each as its row in the contracts says (self-hosted.md, and
hosted-others.md for DeepInfra): what a row does not name is refused, even where the real server would only ignore it."""

import asyncio
import base64
import hashlib
import io
import json
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict
from PIL import Image
from yarl import URL

KEY = "compat-test-key"
MODELS_TO_TRY = ["Qwen/Qwen-Image-Edit", "house-edit"]  # the second is sent as the first
FLAVOURS = ("vllm_omni", "sglang", "sd_cpp", "localai", "deepinfra")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A column of the contract's table."""

    fields: Mapping[str, Callable[[Any], bool]]  # beyond model, prompt, n, size and response_format, and what they may be
    images: Sequence[str]  # the parts that hold pictures; none: no edits path
    links: Sequence[str] = ()
    mask: str = ""
    formats: Sequence[str] = ("b64_json",)  # values of response_format, the default first; empty: the field is not read
    base: str = "/v1"
    key: str = "optional"  # a bearer token: optional (as the server was started), required, none
    error: Callable[[int, str, str], object]


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _real(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and least <= value <= most


def _string(value: Any) -> bool:
    return isinstance(value, str)


def _openai(status: int, message: str, param: str) -> object:
    return {"error": {"message": message, "type": "BadRequestError", "param": param or None, "code": status}}


def _fastapi(status: int, message: str, param: str) -> object:
    if status != 422:
        return {"detail": message}
    kind = {"Field required": "missing", "Extra inputs are not permitted": "extra_forbidden"}.get(message, "value_error")
    return {"detail": [{"type": kind, "loc": ["body", param], "msg": message, "input": None}]}


def _vllm(status: int, message: str, param: str) -> object:
    if status == 401:
        return {"error": message}
    return _openai(status, message, param) if status == 404 else _fastapi(status, message, param)


def _deepinfra(status: int, message: str, param: str) -> object:
    return {"detail": {"error": message}} if status in (401, 402, 404) else {"error": {"message": message}}


_SEED = _whole(-(2**63), 2**63 - 1)
_FORMAT = ("png", "jpeg", "webp").__contains__
_DIFFUSION: dict[str, Callable[[Any], bool]] = {
    "seed": _SEED,
    "negative_prompt": _string,
    "num_inference_steps": _whole(1, 200),
    "guidance_scale": _real(0, 20),
    "true_cfg_scale": _real(0, 20),
    "output_format": _FORMAT,  # newer servers take what their reply names
}
ROWS: Mapping[str, Row] = {
    "vllm_omni": Row(
        fields={**_DIFFUSION, "layers": _whole(2, 10), "lora": lambda value: isinstance(value, dict)},
        images=("image", "image[]"), links=("url",), mask="mask_image", formats=("b64_json", "file"), error=_vllm,
    ),
    "sglang": Row(
        fields=_DIFFUSION, images=("image", "image[]"), links=("url", "url[]"), formats=("b64_json", "url"), error=_fastapi,
    ),
    "sd_cpp": Row(
        fields={"output_format": ("png", "jpeg").__contains__, "output_compression": _whole(0, 100)},
        images=("image[]", "image"), mask="mask", formats=(), key="none",
        error=lambda status, message, param: {"error": message},
    ),
    "localai": Row(
        fields={"step": _whole(1, 200), "mode": _whole(0, 9)}, images=(), mask="mask", formats=("url", "b64_json"),
        error=lambda status, message, param: {"error": {"code": status, "message": message, "type": ""}},
    ),
    "deepinfra": Row(
        fields={}, images=("image",), mask="mask", base="/v1/openai", key="required", error=_deepinfra,
    ),
}  # fmt: skip


class Refusal(Exception):
    """A request that the server answers with an error."""

    def __init__(self, status: int, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """This error in place of the next good answer."""

    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """These bytes in place of the next good answer."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the answer; with 0, not even its head is sent. The work was done."""

    after: int = 0


@dataclass(frozen=True)
class Fewer:
    """So many pictures, whatever `n` says."""

    made: int = 1


@dataclass
class Hang:
    """No byte comes; `gone` is set when the client has left."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


Fault = Refuse | Raw | Cut | Fewer | Hang


@dataclass(kw_only=True)
class Seen:
    """One request, and what became of it."""

    method: str
    path: str
    headers: CIMultiDict[str] = field(repr=False)
    fields: dict[str, Any] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)  # names of the files of a form, in order
    claims: list[str] = field(default_factory=list)  # their media types, as the form has them
    references: list[bytes] = field(default_factory=list, repr=False)
    links: list[str] = field(default_factory=list)
    mask: bytes = field(default=b"", repr=False)
    extra_args: dict[str, Any] = field(default_factory=dict)  # stable-diffusion.cpp's, from the prompt
    status: int = 0


class Compatible:
    """One server, of one flavour; on a second port, storage elsewhere where results lie if `elsewhere` is set."""

    def __init__(self, flavour: str = "vllm_omni", *, key: str = KEY) -> None:
        self.flavour, self.row = flavour, ROWS[flavour]
        self.url = URL()
        self.storage = URL()
        self.elsewhere = False
        self.stored: dict[str, bytes] = {}
        self.lost = False  # results cannot be fetched
        self.requests: list[Seen] = []
        self.downloads: list[Seen] = []
        self.pictures = 0  # made; at DeepInfra, billed
        self._key = key
        self._faults: deque[Fault] = deque()
        self._stack = AsyncExitStack()

    def script(self, *faults: Fault) -> None:
        """Queue faults; a request that would be refused is refused, and leaves the queue as it is."""
        self._faults.extend(faults)

    @property
    def leaks(self) -> list[Seen]:
        """Downloads from elsewhere that brought the key."""
        return [seen for seen in self.downloads if seen.path.startswith("/stored/") and "Authorization" in seen.headers]

    async def __aenter__(self) -> Self:
        self.url = URL(await self._listen(self._serve) + self.row.base)
        self.storage = URL(await self._listen(self._fetch))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _listen(self, handler: Callable[[web.Request], Any]) -> str:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{anything:.*}", handler)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await self._fetch(request)
        seen = Seen(method=request.method, path=request.raw_path, headers=CIMultiDict(request.headers))
        self.requests.append(seen)
        try:
            self._authorized(seen)
            await self._read(request, seen)
            return await self._answer(request, seen)
        except Refusal as error:
            seen.status = error.status
            return web.json_response(self.row.error(error.status, error.message, error.param), status=error.status,
                                     headers={"x-request-id": f"req-{len(self.requests)}"})

    def _authorized(self, seen: Seen) -> None:
        if self.row.key != "none" and seen.headers.getall("Authorization", []) != [f"Bearer {self._key}"]:
            raise Refusal(401, "Unauthorized")

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(method="GET", path=request.raw_path, headers=CIMultiDict(request.headers))
        self.downloads.append(seen)
        if request.path.startswith("/v1/"):  # the server's own endpoint, which wants the key
            self._authorized(seen)
        data = self.stored.get(request.raw_path)
        if data is None or self.lost:
            return web.json_response({"detail": "Image not found"}, status=404)
        return web.Response(body=data, content_type="application/octet-stream")

    # ---- what is asked

    async def _read(self, request: web.Request, seen: Seen) -> None:
        path = request.path.removeprefix(self.row.base)
        form = request.content_type == "multipart/form-data"
        if path == "/images/generations" and not form:
            self._check_json(seen, await request.read())
        elif path == "/images/edits" and self.row.images:
            if not form:
                raise Refusal(400, "Content-Type must be multipart/form-data")
            await self._check_form(request, seen, self.row.images)
        elif path == "/images/inpainting" and self.flavour == "localai" and form:
            await self._check_form(request, seen, ("image",))
            if len(seen.references) != 1 or not seen.mask or set(seen.fields) != {"model", "prompt"}:
                raise Refusal(400, "one image, its mask, model and prompt are wanted, and nothing else")
        else:
            raise Refusal(404, "Not Found")
        self._check_fields(seen)

    def _check_json(self, seen: Seen, body: bytes) -> None:
        try:
            seen.fields = json.loads(body)
        except ValueError:
            raise Refusal(400, "invalid JSON") from None
        if self.flavour == "localai":
            given = seen.fields.get("ref_images", [])
            listed = [*([seen.fields["file"]] if "file" in seen.fields else []), *given]
            for text in listed:
                try:
                    seen.references.append(base64.b64decode(text, validate=True))
                except ValueError:
                    raise Refusal(400, "ref_images: illegal base64 data", "ref_images") from None

    async def _check_form(self, request: web.Request, seen: Seen, images: Sequence[str]) -> None:
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                data = value.file.read()
                value.file.close()
                seen.parts.append(name)
                seen.claims.append(value.content_type)
                if name in images:
                    seen.references.append(data)
                elif name == self.row.mask:
                    seen.mask = data
                else:
                    raise Refusal(422, "Extra inputs are not permitted", name)
            elif name in self.row.links and isinstance(value, str):
                seen.links.append(value)
            elif isinstance(value, str):
                seen.fields[name] = _from_text(name, value)
        if not seen.references and not seen.links:
            raise Refusal(422, "Field required", images[0])
        if self.flavour == "sd_cpp" and "image" in seen.parts and len(seen.references) > 1:
            raise Refusal(400, "of several pictures in 'image', all but one would be lost")

    def _check_fields(self, seen: Seen) -> None:
        fields = seen.fields
        if not isinstance(fields.get("prompt"), str) or not fields["prompt"]:
            raise Refusal(422, "Field required", "prompt")
        if fields.get("model") != MODELS_TO_TRY[0]:
            raise Refusal(404, f"The model `{fields.get('model')}` does not exist.", "model")
        known: dict[str, Callable[[Any], bool]] = {
            "model": _string,
            "prompt": _string,
            "n": _whole(1, 10),
            "size": lambda value: isinstance(value, str) and re.fullmatch(r"[0-9]{2,4}x[0-9]{2,4}", value) is not None,
            **self.row.fields,
        }
        if self.row.formats:
            known["response_format"] = self.row.formats.__contains__
        if self.flavour == "localai" and not seen.parts:
            known |= {"file": _string, "ref_images": lambda value: isinstance(value, list)}
        for name, value in fields.items():
            if name not in known:
                raise Refusal(422, "Extra inputs are not permitted", name)
            if not known[name](value):
                raise Refusal(422, f"{value!r} is not a valid value", name)
        if self.flavour == "sd_cpp" and (found := re.search("<sd_cpp_extra_args>(.*?)</sd_cpp_extra_args>", fields["prompt"])):
            try:
                seen.extra_args = json.loads(found[1])
            except ValueError:
                raise Refusal(400, "invalid sd_cpp_extra_args") from None
            if type(seen.extra_args.get("seed", 0)) is not int:
                raise Refusal(400, "invalid sd_cpp_extra_args")

    # ---- what is answered

    async def _answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        fault = self._faults.popleft() if self._faults else None
        headers = {"x-request-id": f"req-{len(self.requests)}"}
        if isinstance(fault, Hang):
            fault.arrived.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                fault.gone.set()
                raise
        if isinstance(fault, Refuse):
            seen.status = fault.status
            return web.json_response(fault.body, status=fault.status, headers={**headers, **fault.headers})
        if isinstance(fault, Raw):
            seen.status = fault.status
            return web.Response(body=fault.body, status=fault.status, content_type=fault.content_type, headers=headers)
        n = fault.made if isinstance(fault, Fewer) else seen.fields.get("n", 1)
        self.pictures += n
        body = json.dumps(self._reply(request, seen, [draw(seen, place) for place in range(n)])).encode()
        if isinstance(fault, Cut):
            return await _cut(request, body[: fault.after], len(body))
        seen.status = 200
        return web.Response(body=body, content_type="application/json", headers=headers)

    def _reply(self, request: web.Request, seen: Seen, pictures: list[bytes]) -> dict[str, Any]:
        wanted = seen.fields.get("response_format", (*self.row.formats, "b64_json")[0])
        as_link = wanted == "url" or request.path.endswith("/inpainting")
        answer: dict[str, Any] = {"created": int(time.time()), "data": []}
        for place, picture in enumerate(pictures):
            item = {"url": self._link(request, place, picture)} if as_link else {"b64_json": base64.b64encode(picture).decode()}
            answer["data"].append(item)
        match self.flavour:
            case "vllm_omni":
                answer["data"] = [{**item, "url": None, "revised_prompt": None} for item in answer["data"]]
                answer |= {"output_format": seen.fields.get("output_format", "png"), "metrics": {}}
                answer["size"] = seen.fields.get("size", "512x512")
            case "sglang":
                answer |= {"id": uuid.uuid4().hex, "usage": {"image_count": len(pictures)}}
            case "sd_cpp":
                answer["output_format"] = seen.fields.get("output_format", "png")
            case "localai":
                answer["id"] = uuid.uuid4().hex
            case "deepinfra":  # its native replies carry the prefix: to be read with and without (README, fact 16)
                answer["data"] = [{"b64_json": f"data:image/png;base64,{item['b64_json']}"} for item in answer["data"]]
        return answer

    def _link(self, request: web.Request, place: int, picture: bytes) -> str:
        name = uuid.uuid4().hex
        if self.elsewhere:
            path = f"/stored/{name}.png?sig=a%2Fb%3D"
            link = f"{self.storage}".rstrip("/") + path
        elif self.flavour == "sglang":
            path = link = f"/v1/images/{name}/content" + (f"?variant={place}" if place else "")
        else:
            path = f"/generated-images/{name}.png"
            link = f"http://{request.host}{path}"
        self.stored[path] = picture
        return link


def _from_text(name: str, value: str) -> Any:
    """What a form's text means to a server that knows the field's type."""
    if name in ("model", "prompt", "size", "negative_prompt", "response_format", "output_format"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


async def _cut(request: web.Request, part: bytes, length: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(length)})
    if part:
        await response.prepare(request)
        await response.write(part)
    assert request.transport is not None
    request.transport.close()
    return response


def draw(seen: Seen, place: int) -> bytes:
    """A picture of the size asked for: a ground that prompt, seed and place decide, and below it a strip of each reference.
    With a mask, it is the first reference, and the ground where the mask is white."""
    width, height = (int(side) for side in seen.fields.get("size", "512x512").split("x"))
    words = f"{seen.fields['prompt']}\0{seen.fields.get('seed')}\0{place}"
    ground = Image.new("RGB", (width, height), tuple(hashlib.sha256(words.encode()).digest()[:3]))
    given = [Image.open(io.BytesIO(data)).convert("RGB") for data in seen.references]
    if seen.mask:
        mask = Image.open(io.BytesIO(seen.mask)).convert("L").resize(ground.size)
        ground = Image.composite(ground, given[0].resize(ground.size), mask)
    elif given:
        strip = width // len(given)
        for index, picture in enumerate(given):
            ground.paste(picture.resize((strip, height // 2)), (index * strip, height - height // 2))
    out = io.BytesIO()
    ground.save(out, seen.fields.get("output_format", "png").upper(), compress_level=1)
    return out.getvalue()


def setup(emulator: Compatible, flavour: str = "", **more: Any) -> dict[str, Any]:
    """The config for a proxy in front of this emulator; `more` are further keys of the server's table."""
    server = {
        "base_url": str(emulator.url),
        "preset": flavour or emulator.flavour,
        "models": dict.fromkeys(MODELS_TO_TRY, MODELS_TO_TRY[0]),
        **({} if emulator.row.key == "none" else {"api_key": "env:COMPATIBLE_KEY"}),
        **more,
    }
    return {
        "plugins": {
            "openai_compatible": {"servers": {"here": server}},
            "image_edit": {"fetch": {"allow_hosts": [], "retries": [0, 0, 0]}},
        },
        "environ": {"COMPATIBLE_KEY": KEY},
    }
