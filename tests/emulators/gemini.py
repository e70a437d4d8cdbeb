"""A strict stand-in for Gemini's generateContent as image models answer it (contracts: google-gemini.md part A)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from aiohttp import web
from PIL.Image import new

from tests.emulators.service import Cut, Picture, Raw, Refused, Seen, Service, draw, read_base64

__all__ = ["Blocked", "Cut", "Drafts", "Ended", "Gemini", "Raw", "Refused", "Seen", "Several", "google"]

KEY = "AIza-test-0123456789abcdef"
_FORMATS = ("image/png", "image/jpeg", "image/webp")
_HEIC = ("image/heic", "image/heif")
_RATIOS = frozenset({"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"})
_ALL_RATIOS = _RATIOS | {"1:4", "4:1", "1:8", "8:1"}
SIDES = MappingProxyType({"512": 512, "1K": 1024, "2K": 2048, "4K": 4096})


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


def google(code: int, message: str, status: str, *details: Mapping[str, Any]) -> Refused:
    """An error in Google's shape; its code is a number."""
    typed = [{**detail, "@type": f"type.googleapis.com/google.rpc.{detail['@type']}"} for detail in details]
    error = {"code": code, "message": message, "status": status}
    return Refused(code, {"error": {**error, "details": typed} if typed else error})


def invalid(message: str, where: str = "") -> Refused:
    violation = {"field": where, "description": message} if where else {"description": message}
    return google(400, message, "INVALID_ARGUMENT", {"@type": "BadRequest", "fieldViolations": [violation]})


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


class Gemini(Service):
    """`prefix` is put before base64; the service itself has none."""

    root: ClassVar[str] = "v1beta"

    def __init__(self, *, key: str = KEY, limit: int = 20 * 1024 * 1024) -> None:
        super().__init__()
        self.prefix = ""
        self._key, self._limit = key, limit

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        match = re.fullmatch(r"/v1beta/models/([^/]+):generateContent", request.path)
        if match is None or request.method != "POST":
            raise google(404, "The requested URL was not found on this server.", "NOT_FOUND")
        self._authorize(request)
        name = match[1]
        if name not in MODELS:
            what = f"models/{name} is not found for API version v1beta, or is not supported for generateContent."
            raise google(404, what, "NOT_FOUND")
        if len(raw) > self._limit:
            raise invalid(f"Request payload size exceeds the limit: {self._limit} bytes.")
        try:
            seen.body = known(json.loads(raw))
        except ValueError:
            raise invalid("Invalid JSON payload received.") from None
        files, prompt = read(seen, MODELS[name])
        head = {"modelVersion": name, "responseId": f"r{len(self.requests)}"}
        return web.json_response({**head, **self._made(seen, MODELS[name], prompt, files)})  # Google has no header for the id

    def _authorize(self, request: web.Request) -> None:
        given = request.headers.getall("x-goog-api-key", []) + request.query.getall("key", [])
        if not given or "Authorization" in request.headers:
            words = "Method doesn't allow unregistered callers (callers without established identity)."
            raise google(403, words, "PERMISSION_DENIED")
        if given != [self._key]:
            reason = {"@type": "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            raise google(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", reason)

    def _made(self, seen: Seen, model: Model, prompt: str, files: Sequence[Picture]) -> Mapping[str, Any]:
        fault = self.fault(seen)
        asked = [{"modality": "TEXT", "tokenCount": 9}, {"modality": "IMAGE", "tokenCount": 258 * len(files)}]
        usage: dict[str, Any] = {"promptTokenCount": 9 + 258 * len(files), "promptTokensDetails": asked}
        if isinstance(fault, Blocked):
            usage["totalTokenCount"] = usage["promptTokenCount"]
            return {"promptFeedback": {"blockReason": fault.reason}, "usageMetadata": usage}
        config = seen.body.get("generationConfig", {})
        salt = f"{prompt}\0{config.get('seed', len(self.requests))}"
        parts: list[dict[str, Any]] = []
        if model.thinks or isinstance(fault, Drafts):
            draft = blob(draw("draft", (64, 64)), "PNG")
            parts = [{"text": "I shall draw it.", "thought": True}, {"inlineData": draft, "thought": True}]
            usage["thoughtsTokenCount"] = 100
        candidate: dict[str, Any] = {"content": {"role": "model"}, "index": 0, "finishReason": "STOP"}
        if isinstance(fault, Ended):
            candidate["finishReason"] = fault.reason
            parts += [{"text": fault.text}] if fault.text else []
            candidate |= {"finishMessage": fault.message} if fault.message else {}
        elif not isinstance(fault, Drafts):
            seen.pictures = fault.pictures if isinstance(fault, Several) else 1
            parts.append({"text": "Here it is."})
            for index in range(seen.pictures):
                made = blob(draw(f"{salt}\0{index}", size_of(config, files), files, model.kind), model.kind, self.prefix)
                parts.append({"inlineData": made, **({"thoughtSignature": "c2lnbmVk"} if model.thinks else {})})
            usage["candidatesTokenCount"] = 1290 * seen.pictures
            usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": 1290 * seen.pictures}]
        counted = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
        usage["totalTokenCount"] = sum(usage.get(name, 0) for name in counted)
        if parts:
            candidate["content"]["parts"] = parts
        return {"candidates": [candidate], "usageMetadata": usage}


def blob(data: bytes, kind: str, prefix: str = "") -> dict[str, str]:
    return {"mimeType": f"image/{kind.lower()}", "data": prefix + base64.b64encode(data).decode()}


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


def read(seen: Seen, model: Model) -> tuple[list[Picture], str]:
    """(references, prompt) of a request whose keys are good. Raises Refused for values that are not."""
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
    files: list[Picture] = []
    prompt = ""
    for part in parts:
        if len(part.keys() & {"text", "inlineData", "fileData"}) != 1:
            raise invalid("* GenerateContentRequest.contents.parts: required oneof field 'data' must be set")
        if "fileData" in part:
            raise google(403, "You do not have permission to access the File or it may not exist.", "PERMISSION_DENIED")
        prompt += part.get("text", "")
        files += [_file(part["inlineData"], seen)] if "inlineData" in part else []
    if len(files) > model.references:
        raise invalid(f"At most {model.references} images are supported by this model.")
    if not prompt:
        raise invalid("Unable to draw without words.")
    return files, prompt


def _file(given: Mapping[str, Any], seen: Seen) -> Picture:
    claimed = given.get("mimeType")
    if claimed not in (*_FORMATS, *_HEIC):
        raise invalid(f"Unsupported MIME type: {claimed}")
    text = str(given.get("data")).translate({ord("-"): "+", ord("_"): "/"})  # either alphabet, as protobuf's JSON has it
    try:
        if claimed in _HEIC and base64.b64decode(text, validate=True)[4:8] == b"ftyp":
            seen.references.append(claimed)  # Pillow does not decode these
            return new("RGB", (64, 64))
        picture, digest = read_base64(text, claimed.removeprefix("image/"))
    except ValueError as error:
        raise invalid(f"Base64 decoding failed, or unable to process input image: {error}") from None
    seen.references.append(digest)
    return picture


def size_of(config: Mapping[str, Any], files: Sequence[Picture]) -> tuple[int, int]:
    """In pixels; without a ratio an edit has its first picture's."""
    shape = config.get("imageConfig", {})
    wide, high = map(int, shape["aspectRatio"].split(":")) if "aspectRatio" in shape else files[0].size if files else (1, 1)
    side = SIDES[shape.get("imageSize", "1K")]
    return round(side * (wide / high) ** 0.5), round(side * (high / wide) ** 0.5)


MODELS_TO_TRY = [*MODELS]


def setup(emulator: Gemini) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:GEMINI_API_KEY", "base_url": str(emulator.url)}
    image_edit = {"fetch": {"allow_hosts": [], "retries": [0, 0, 0]}}
    return {"plugins": {"gemini": plugin, "image_edit": image_edit}, "environ": {"GEMINI_API_KEY": KEY}}
