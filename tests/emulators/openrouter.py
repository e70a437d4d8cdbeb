"""A strict stand-in for OpenRouter's chat API as image models answer it (contracts: openrouter.md section A)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict
from PIL import Image
from yarl import URL

from tests.emulators.ark_faults import Cut, Raw

__all__ = ["Cut", "Failed", "OpenRouter", "Raw", "Refused", "Said"]

KEY = "sk-or-v1-0123456789abcdef"
# At 1K, from the contract's table.
PIXELS = MappingProxyType(
    {
        "1:1": (1024, 1024),
        "2:3": (832, 1248),
        "3:2": (1248, 832),
        "3:4": (864, 1184),
        "4:3": (1184, 864),
        "4:5": (896, 1152),
        "5:4": (1152, 896),
        "9:16": (768, 1344),
        "16:9": (1344, 768),
        "21:9": (1536, 672),
    }
)
SCALES = MappingProxyType({"1K": 1, "2K": 2, "4K": 4})


@dataclass(frozen=True, kw_only=True)
class Model:
    """Where the contract does not tell a model's limits, it has none here."""

    talks: bool = True
    references: int = 99
    sizes: bool = False


MODELS = {
    "google/gemini-2.5-flash-image": Model(references=3),
    "google/gemini-3.1-flash-image": Model(references=14, sizes=True),
    "google/gemini-3-pro-image": Model(references=14, sizes=True),
    "openai/gpt-5-image": Model(),
    "openai/gpt-5-image-mini": Model(),
    "black-forest-labs/flux.2-pro": Model(talks=False, references=8),
    "black-forest-labs/flux.2-flex": Model(talks=False, references=8),
    "black-forest-labs/flux.2-max": Model(talks=False, references=8),
    "black-forest-labs/flux.2-klein-4b": Model(talks=False, references=4),
    "bytedance-seed/seedream-4.5": Model(talks=False, references=14),
}


class Refused(Exception):
    """An error before processing: its status is its code."""

    def __init__(self, code: int, message: str, metadata: Mapping[str, Any] | None = None, **headers: str) -> None:
        self.code, self.headers = code, headers
        self.body = {"error": {"code": code, "message": message, **({"metadata": metadata} if metadata else {})}}


@dataclass(frozen=True, kw_only=True)
class Failed:
    """An error after processing began: status 200, at the top or within the choice."""

    code: int
    message: str = "Provider returned error"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    within: bool = False


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer in words alone."""

    content: str = ""
    native: str = "STOP"
    refusal: str | None = None


Fault = Refused | Failed | Said | Raw | Cut


@dataclass(kw_only=True)
class Seen:
    """One request, and what became of it."""

    headers: CIMultiDict[str] = field(repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    prompt: str = ""
    references: list[str] = field(default_factory=list)  # sha256 of each, or its link
    generation: str = ""
    status: int = 0
    pictures: int = 0  # billed


class OpenRouter:
    """The service on a port of its own. `script` queues faults for the next valid requests."""

    def __init__(self, *, key: str = KEY) -> None:
        self.url = URL()
        self.requests: list[Seen] = []
        self._key = key
        self._faults: deque[Fault] = deque()

    @property
    def pictures(self) -> int:
        """Billed."""
        return sum(seen.pictures for seen in self.requests)

    def script(self, *faults: Fault) -> None:
        self._faults.extend(faults)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{anything:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = URL(f"http://127.0.0.1:{self._runner.addresses[0][1]}/api/v1")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(headers=CIMultiDict(request.headers), generation=f"gen-{len(self.requests) + 1}")
        self.requests.append(seen)
        try:
            answer = self._answer(request, await request.read(), seen)
        except Refused as refused:
            seen.status = refused.code
            return web.json_response(refused.body, status=refused.code, headers=refused.headers)
        if isinstance(answer, Cut):
            assert request.transport is not None
            request.transport.close()
            await asyncio.sleep(0)
            return web.Response()
        if isinstance(answer, Raw):
            seen.status = answer.status
            return web.Response(body=answer.body, status=answer.status, content_type=answer.content_type)
        seen.status = 200
        return web.json_response(answer)

    def _answer(self, request: web.Request, raw: bytes, seen: Seen) -> Mapping[str, Any] | Raw | Cut:
        if (request.method, request.path) != ("POST", "/api/v1/chat/completions"):
            raise Refused(404, f"No such route: {request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bearer {self._key}":
            raise Refused(401, "No auth credentials found" if "Authorization" not in request.headers else "User not found.")
        if request.content_type != "application/json":
            raise Refused(400, "Input required: the body must be JSON")
        seen.body = json.loads(raw)
        files = self._check(seen)
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, Refused):
            raise fault
        if isinstance(fault, Raw):
            return fault
        head = {"id": seen.generation, "model": seen.body["model"], "object": "chat.completion", "created": 1}
        head |= {"system_fingerprint": None}  # which OpenRouter's own SDK insists on
        if isinstance(fault, Failed):
            error = {"code": fault.code, "message": fault.message, "metadata": {**fault.metadata}}
            if not fault.within:
                return {**head, "error": error}
            ended = {"index": 0, "finish_reason": "error", "error": error, "message": {"role": "assistant", "content": ""}}
            return {**head, "choices": [ended]}
        if isinstance(fault, Said):
            said = {"role": "assistant", "content": fault.content, "refusal": fault.refusal}
            return {
                **head,
                "choices": [{"index": 0, "finish_reason": "stop", "native_finish_reason": fault.native, "message": said}],
            }
        seen.pictures = 1
        if isinstance(fault, Cut):
            return fault
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_drawn(seen, files)}"}, "index": 0}
        message = {"role": "assistant", "content": "", "images": [image]}
        usage = {"prompt_tokens": 12, "completion_tokens": 1290, "total_tokens": 1302, "cost": 0.04}
        choice = {"index": 0, "finish_reason": "stop", "native_finish_reason": "STOP", "message": message}
        return {**head, "choices": [choice], "usage": usage}

    def _check(self, seen: Seen) -> list[Image.Image]:
        """Of the fields, those the contract names; whether others are tolerated is not known, so none may come."""
        body = seen.body
        if body.get("stream"):
            raise Refused(400, "streams are not drawn here")
        for name in body.keys() - {"model", "messages", "modalities", "image_config", "stream"}:
            raise Refused(400, f"Unrecognized key: {name!r}")
        model = MODELS.get(body.get("model", ""))
        if model is None:
            raise Refused(400, f"{body.get('model')} is not a valid model ID")
        if sorted(body.get("modalities", [])) != (["image", "text"] if model.talks else ["image"]):
            raise Refused(404, f"No endpoints found that support the requested output modalities: {body.get('modalities')}")
        config = body.get("image_config", {})
        if config.keys() - {"aspect_ratio", "image_size"} or config.get("aspect_ratio", "1:1") not in PIXELS:
            raise Refused(400, f"Invalid image_config: {config}")
        if "image_size" in config and (not model.sizes or config["image_size"] not in SCALES):
            raise Refused(400, f"Invalid image_config.image_size: {config['image_size']}")
        (turn,) = body["messages"]
        content = turn["content"]
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        seen.prompt = "".join(part["text"] for part in parts if part["type"] == "text")
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        if turn["role"] != "user" or not seen.prompt or len(parts) != len(urls) + 1:
            raise Refused(400, "Invalid messages")
        if len(urls) > model.references:
            raise Refused(400, f"at most {model.references} images are supported")
        return [picture for picture in [self._picture(url, seen) for url in urls] if picture]

    def _picture(self, url: str, seen: Seen) -> Image.Image | None:
        if re.match("https?://", url):
            seen.references.append(url)
            return None
        head = re.match(r"data:image/(png|jpeg|webp|gif);base64,", url)
        try:
            data = binascii.a2b_base64(url[head.end() :] if head else "", strict_mode=True)
            picture = Image.open(io.BytesIO(data))
            if head is None or (picture.format or "").lower() != head[1]:
                raise ValueError(head)
        except (ValueError, OSError):
            raise Refused(400, "Invalid image URL") from None
        seen.references.append(hashlib.sha256(data).hexdigest())
        return picture.convert("RGB")


def _drawn(seen: Seen, files: list[Image.Image]) -> str:
    """What the prompt decides, below the references side by side, in a quarter of the asked size."""
    config = seen.body.get("image_config", {})
    width, height = PIXELS[config.get("aspect_ratio", "1:1")]
    scale = SCALES[config.get("image_size", "1K")] / 4
    width, height = round(width * scale), round(height * scale)
    blocks = hashlib.shake_256(f"{seen.prompt}\0{seen.generation}".encode()).digest(4 * 4 * 3)
    made = Image.frombytes("RGB", (4, 4), blocks).resize((width, height), Image.Resampling.NEAREST)
    for place, file in enumerate(files):
        left, right = width * place // len(files), width * (place + 1) // len(files)
        made.paste(file.resize((right - left, height * 3 // 4)), (left, 0))
    out = io.BytesIO()
    made.save(out, "PNG", compress_level=1)
    return base64.b64encode(out.getvalue()).decode()


MODELS_TO_TRY = [*MODELS]


def setup(emulator: OpenRouter) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:OPENROUTER_API_KEY", "base_url": str(emulator.url)}
    image_edit = {"fetch": {"allow_hosts": [], "retries": [0, 0, 0]}}
    return {"plugins": {"openrouter": plugin, "image_edit": image_edit}, "environ": {"OPENROUTER_API_KEY": KEY}}
