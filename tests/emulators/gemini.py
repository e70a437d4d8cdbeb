"""A strict stand-in for Gemini's generateContent as image models answer it (contracts: google-gemini.md part A)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict
from PIL import Image
from yarl import URL

from tests.emulators.ark_faults import Cut, Hang, Raw

__all__ = ["Blocked", "Cut", "Drafts", "Ended", "Gemini", "Hang", "Raw", "Refused", "Seen", "Several"]

KEY = "AIza-test-0123456789abcdef"
_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_HEIC = ("image/heic", "image/heif")
_RATIOS = frozenset({"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"})
_ALL_RATIOS = _RATIOS | {"1:4", "4:1", "1:8", "8:1"}
SIDES = MappingProxyType({"512": 512, "1K": 1024, "2K": 2048, "4K": 4096})
_DRAWN = 4  # a picture has a fourth of its sides here: tests want many, not large ones


@dataclass(frozen=True, kw_only=True)
class Model:
    """What differs between the models."""

    references: int = 14
    ratios: frozenset[str] = _RATIOS
    sizes: frozenset[str] = frozenset()  # none: imageSize is refused
    thinks: bool = True  # its drafts come as parts with `thought`
    kind: str = "JPEG"


MODELS = {
    "gemini-2.5-flash-image": Model(references=3, thinks=False, kind="PNG"),
    "gemini-3.1-flash-image": Model(ratios=_ALL_RATIOS, sizes=frozenset(SIDES)),
    "gemini-3.1-flash-lite-image": Model(),
    "gemini-3-pro-image": Model(sizes=frozenset({"1K", "2K", "4K"})),
    "gemini-nano-banana-2.1": Model(ratios=_ALL_RATIOS, sizes=frozenset({"1K", "2K", "4K"})),
}

# Every key that may come, by where it stands; what the Vertex twin alone has is unknown here.
_KEYS: dict[str, frozenset[str]] = {
    "": frozenset({"contents", "generationConfig", "safetySettings", "systemInstruction", "tools", "toolConfig"}),
    "contents": frozenset({"role", "parts"}),
    "contents.parts": frozenset({"text", "inlineData", "fileData", "thought", "thoughtSignature"}),
    "contents.parts.inlineData": frozenset({"mimeType", "data"}),
    "generationConfig": frozenset(
        {"responseModalities", "imageConfig", "seed", "temperature", "topP", "topK", "candidateCount", "maxOutputTokens",
         "stopSequences", "thinkingConfig", "mediaResolution"}
    ),
    "generationConfig.imageConfig": frozenset({"aspectRatio", "imageSize"}),
}  # fmt: skip


class Refused(Exception):
    """An error in Google's shape; its code is a number."""

    def __init__(self, code: int, message: str, status: str, *details: Mapping[str, Any]) -> None:
        self.code = code
        typed = [{**detail, "@type": f"type.googleapis.com/google.rpc.{detail['@type']}"} for detail in details]
        error = {"code": code, "message": message, "status": status, **({"details": typed} if typed else {})}
        self.body = {"error": error}


def invalid(message: str, where: str = "") -> Refused:
    violation = {"field": where, "description": message} if where else {"description": message}
    return Refused(400, message, "INVALID_ARGUMENT", {"@type": "BadRequest", "fieldViolations": [violation]})


@dataclass(frozen=True)
class Blocked:
    """200: the prompt was refused, and there is no candidate."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """200: a candidate without a picture."""

    reason: str
    text: str = ""
    message: str = ""  # Google's, beside the reason


@dataclass(frozen=True)
class Several:
    """200: one answer with so many pictures."""

    pictures: int


@dataclass(frozen=True)
class Drafts:
    """200: the model thought, and drew nothing in the end."""


Fault = Refused | Blocked | Ended | Several | Drafts | Raw | Cut | Hang


@dataclass(kw_only=True)
class Seen:
    """One request, and what became of it."""

    path: str
    headers: CIMultiDict[str] = field(repr=False)
    body: Any = field(default=None, repr=False)
    prompt: str = ""
    references: list[tuple[str, str]] = field(default_factory=list)  # (media type as claimed, sha256)
    response_id: str = ""
    status: int = 0
    pictures: int = 0  # billed
    gone: bool = False

    @property
    def config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.body.get("generationConfig", {})
        return config


class Gemini:
    """The service on a port of its own. `script` queues faults for the next valid requests."""

    def __init__(self, *, key: str = KEY, limit: int = 20 * 1024 * 1024) -> None:
        self.url = URL()
        self.requests: list[Seen] = []
        self.prefix = ""  # put before base64; the service has none
        self._key, self._limit = key, limit
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
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = URL(f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1beta")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(path=request.raw_path, headers=CIMultiDict(request.headers), response_id=f"r{len(self.requests) + 1}")
        self.requests.append(seen)
        try:
            answer = await self._answer(request, await request.read(), seen)
        except Refused as refused:
            seen.status = refused.code
            return web.json_response(refused.body, status=refused.code)
        except (asyncio.CancelledError, ConnectionError):
            seen.gone = True
            raise
        if isinstance(answer, Raw):
            seen.status = answer.status
            return web.Response(body=answer.body, status=answer.status, content_type=answer.content_type)
        if isinstance(answer, Cut):
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        seen.status = 200
        return web.json_response(answer)

    async def _answer(self, request: web.Request, raw: bytes, seen: Seen) -> Mapping[str, Any] | Raw | Cut:
        match = re.fullmatch(r"/v1beta/models/([^/]+):generateContent", request.path)
        if match is None or request.method != "POST":
            raise Refused(404, "The requested URL was not found on this server.", "NOT_FOUND")
        self._authorize(request)
        name = match[1]
        if name not in MODELS:
            what = f"models/{name} is not found for API version v1beta, or is not supported for generateContent."
            raise Refused(404, what, "NOT_FOUND")
        if len(raw) > self._limit:
            raise invalid(f"Request payload size exceeds the limit: {self._limit} bytes.")
        try:
            seen.body = known(json.loads(raw))
        except ValueError:
            raise invalid("Invalid JSON payload received.") from None
        files = read(seen, MODELS[name])
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, Refused):
            raise fault
        if isinstance(fault, Raw):
            return fault
        if isinstance(fault, Hang):
            fault.arrived.set()
            try:
                await fault.release.wait()
            except asyncio.CancelledError:
                fault.gone.set()
                raise
        return self._made(seen, name, files, fault)

    def _authorize(self, request: web.Request) -> None:
        given = request.headers.getall("x-goog-api-key", []) + request.query.getall("key", [])
        if not given or "Authorization" in request.headers:
            words = "Method doesn't allow unregistered callers (callers without established identity)."
            raise Refused(403, words, "PERMISSION_DENIED")
        if given != [self._key]:
            reason = {"@type": "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            raise Refused(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", reason)

    def _made(self, seen: Seen, name: str, files: Sequence[Image.Image], fault: Fault | None) -> Mapping[str, Any] | Cut:
        model, size = MODELS[name], size_of(seen.config, files)
        head = {"modelVersion": name, "responseId": seen.response_id}
        asked = [{"modality": "TEXT", "tokenCount": 9}, {"modality": "IMAGE", "tokenCount": 258 * len(files)}]
        usage: dict[str, Any] = {"promptTokenCount": sum(one["tokenCount"] for one in asked), "promptTokensDetails": asked}
        if isinstance(fault, Blocked):
            usage["totalTokenCount"] = usage["promptTokenCount"]
            return {**head, "promptFeedback": {"blockReason": fault.reason}, "usageMetadata": usage}
        thought: list[dict[str, Any]] = []
        if model.thinks or isinstance(fault, Drafts):
            draft = draw(seen, files, (64, 64), "PNG", index=99)
            thought = [{"text": "I shall draw it.", "thought": True}, {"inlineData": draft, "thought": True}]
            usage["thoughtsTokenCount"] = 100
        if isinstance(fault, (Ended, Drafts)):
            usage["totalTokenCount"] = usage["promptTokenCount"] + usage.get("thoughtsTokenCount", 0)
            candidate: dict[str, Any] = {"content": {"role": "model"}, "index": 0, "finishReason": "STOP"}
            if isinstance(fault, Ended):
                candidate["finishReason"] = fault.reason
                thought += [{"text": fault.text}] if fault.text else []
                candidate |= {"finishMessage": fault.message} if fault.message else {}
            if thought:
                candidate["content"]["parts"] = thought
            return {**head, "candidates": [candidate], "usageMetadata": usage}
        seen.pictures = fault.pictures if isinstance(fault, Several) else 1
        if isinstance(fault, Cut):
            return fault
        drawn = [draw(seen, files, size, model.kind, index=index) for index in range(seen.pictures)]
        parts: list[dict[str, Any]] = [*thought, {"text": "Here it is."}]
        for one in drawn:
            one["data"] = self.prefix + one["data"]
            parts.append({"inlineData": one, **({"thoughtSignature": "c2lnbmVk"} if model.thinks else {})})
        made = {"candidatesTokenCount": 1290 * len(drawn)}
        made["totalTokenCount"] = usage["promptTokenCount"] + made["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0)
        usage |= made | {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290 * len(drawn)}]}
        candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
        return {**head, "candidates": [candidate], "usageMetadata": usage}


def known(value: Any, where: str = "") -> Any:
    """`value` with its keys in camel case: either case is read. Raises Refused for a key that is not known where it stands."""
    if isinstance(value, list):
        return [known(one, where) for one in value]
    if where not in _KEYS:
        return value
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{where}' (message), {value!r}", where)
    read = {}
    for name, inner in value.items():
        camel = re.sub("_([a-z])", lambda found: found[1].upper(), name)
        if camel not in _KEYS[where]:
            snake = re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", where)
            at = f" at '{snake}'" if where else ""
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', snake)
        read[camel] = known(inner, f"{where}.{camel}".lstrip("."))
    return read


def read(seen: Seen, model: Model) -> list[Image.Image]:
    """The references of a request whose keys are good. Raises Refused for values that are not."""
    config = seen.body.get("generationConfig", {})
    if set(config.get("responseModalities", ["IMAGE"])) not in ({"IMAGE"}, {"TEXT", "IMAGE"}):
        raise invalid("The requested combination of response modalities is not supported by the model.")
    if config.get("candidateCount", 1) != 1:
        raise invalid("Multiple candidates is not enabled for this model")
    seed = config.get("seed", 0)
    if type(seed) is not int or not -(2**31) <= seed < 2**31:
        raise invalid(f"Invalid value at 'generation_config.seed' (TYPE_INT32), {seed}", "generation_config.seed")
    shape, where = config.get("imageConfig", {}), "generation_config.image_config"
    if shape.get("aspectRatio", "1:1") not in model.ratios:
        what = f"aspect_ratio must be one of {', '.join(sorted(model.ratios))}"
        raise invalid(f"* GenerateContentRequest.{where}.aspect_ratio: {what}", f"{where}.aspect_ratio")
    if "imageSize" in shape and shape["imageSize"] not in model.sizes:
        raise invalid(f"Invalid value for image_size: {shape['imageSize']}", f"{where}.image_size")
    contents = seen.body.get("contents")
    if not contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified", "contents")
    parts = contents[-1].get("parts", []) if isinstance(contents, list) else contents.get("parts", [])
    files = []
    for part in parts:
        if len(part.keys() & {"text", "inlineData", "fileData"}) != 1:
            raise invalid("* GenerateContentRequest.contents.parts: required oneof field 'data' must be set")
        if "fileData" in part:
            raise Refused(403, "You do not have permission to access the File or it may not exist.", "PERMISSION_DENIED")
        seen.prompt += part.get("text", "")
        files += [_file(part["inlineData"], seen)] if "inlineData" in part else []
    if len(files) > model.references:
        raise invalid(f"At most {model.references} images are supported by this model.")
    if not seen.prompt:
        raise invalid("Unable to draw without words.")
    return files


def _file(blob: Mapping[str, Any], seen: Seen) -> Image.Image:
    claimed = blob.get("mimeType")
    if claimed not in (*_KINDS.values(), *_HEIC):
        raise invalid(f"Unsupported MIME type: {claimed}")
    text = str(blob.get("data")).translate({ord("-"): "+", ord("_"): "/"})  # either alphabet, as protobuf's JSON has it
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise invalid("Invalid value at 'contents[0].parts[1].inline_data.data' (TYPE_BYTES), Base64 decoding failed") from None
    seen.references.append((claimed, hashlib.sha256(data).hexdigest()))
    if claimed in _HEIC and data[4:8] == b"ftyp":
        return Image.new("RGB", (64, 64), (90, 90, 90))  # Pillow does not decode these
    try:
        picture = Image.open(io.BytesIO(data), formats=[*_KINDS])
        picture.load()
    except (OSError, SyntaxError, ValueError):
        raise invalid("Unable to process input image.") from None
    if _KINDS[picture.format or ""] != claimed:
        raise invalid("Unable to process input image.")
    return picture.convert("RGB")


def size_of(config: Mapping[str, Any], files: Sequence[Image.Image]) -> tuple[int, int]:
    """In pixels, of which a fourth of each side is drawn; without a ratio an edit has its first picture's."""
    shape = config.get("imageConfig", {})
    wide, high = map(int, shape["aspectRatio"].split(":")) if "aspectRatio" in shape else files[0].size if files else (1, 1)
    side = SIDES[shape.get("imageSize", "1K")] / _DRAWN
    return round(side * (wide / high) ** 0.5), round(side * (high / wide) ** 0.5)


def draw(seen: Seen, files: Sequence[Image.Image], size: tuple[int, int], kind: str, *, index: int) -> dict[str, str]:
    """A Blob: what prompt and seed decide, below the references side by side."""
    width, height = size
    salt = f"{seen.prompt}\0{seen.config.get('seed', seen.response_id)}\0{index}"
    blocks = hashlib.shake_256(salt.encode("utf-8", "surrogatepass")).digest(4 * 4 * 3)
    made = Image.frombytes("RGB", (4, 4), blocks).resize(size, Image.Resampling.NEAREST)
    for place, file in enumerate(files):
        left, right = width * place // len(files), width * (place + 1) // len(files)
        made.paste(file.resize((max(1, right - left), max(1, height * 3 // 4))), (left, 0))
    out = io.BytesIO()
    made.save(out, kind, **({"compress_level": 1} if kind == "PNG" else {"quality": 90}))
    return {"mimeType": _KINDS[kind], "data": base64.b64encode(out.getvalue()).decode()}


MODELS_TO_TRY = [*MODELS]


def setup(emulator: Gemini) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:GEMINI_API_KEY", "base_url": str(emulator.url)}
    image_edit = {"fetch": {"allow_hosts": [], "retries": [0, 0, 0]}}
    return {"plugins": {"gemini": plugin, "image_edit": image_edit}, "environ": {"GEMINI_API_KEY": KEY}}
