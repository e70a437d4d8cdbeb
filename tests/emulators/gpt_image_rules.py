"""What OpenAI takes for each image model, and its refusals (contracts: openai.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Model:
    """What differs between the models."""

    free: bool = False  # sizes beyond the presets
    qualities: frozenset[str] = frozenset({"low", "medium", "high", "auto"})
    fidelity: frozenset[str] = frozenset()  # values of input_fidelity; empty: it is no parameter


_BETTER = Model(free=True, qualities=Model.qualities | {"xhigh", "max"})
MODELS = {
    "gpt-image-1.5": Model(fidelity=frozenset({"high", "low"})),
    "gpt-image-1-mini": Model(fidelity=frozenset({"low"})),
    "gpt-image-2": Model(free=True),
    "gpt-image-2-2026-04-21": Model(free=True),
    "gpt-image-2.5-sunburst": _BETTER,
    "gpt-image-2.5-sunburst-2026-09-08": _BETTER,
    "gpt-image-2.5-flare": _BETTER,
    "gpt-image-2.5-flare-2026-09-08": _BETTER,
    "gpt-image-2.6-sunburst": Model(),  # parameters unknown: the fewest
    "gpt-image-2.6-flare": Model(),
    "chatgpt-image-latest": Model(),
}
RETIRED = frozenset({"dall-e-2", "dall-e-3", "gpt-image-1"})

_PRESETS = frozenset({"auto", "1024x1024", "1536x1024", "1024x1536"})
_BOTH = frozenset(
    {"model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation",
     "stream", "partial_images", "user", "safety_identifier"}
)  # fmt: skip
_WORDS = {
    "background": frozenset({"transparent", "opaque", "auto"}),
    "output_format": frozenset({"png", "webp", "jpeg"}),
    "moderation": frozenset({"low", "auto"}),
}
_NUMBERS = {"n": (1, 10), "output_compression": (0, 100), "partial_images": (0, 3)}


@dataclass
class Refused(Exception):
    """An error in OpenAI's shape; all four keys are always there."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": {**error, **self.more}}


def invalid(param: str, message: str, code: str = "invalid_value") -> Refused:
    return Refused(400, message, code, param)


@dataclass(frozen=True, kw_only=True)
class Order:
    """A request that is good."""

    prompt: str
    n: int
    size: str
    quality: str
    background: str
    output_format: str
    stream: bool
    partial_images: int


def check(fields: Mapping[str, Any], model: Model, *, edit: bool) -> Order:
    """`fields` are texts and numbers alone; pictures are checked elsewhere. Raises Refused."""
    known = _BOTH | ({"input_fidelity"} if edit else frozenset())
    for name in fields:
        if name not in known:
            raise invalid(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not 1 <= len(prompt) <= 32_000:
        raise invalid("prompt", "Missing required parameter: 'prompt'.", "missing_required_parameter")
    for name, value in fields.items():
        _check_one(name, value, model)
    order = Order(
        prompt=prompt,
        n=fields.get("n", 1),
        size=fields.get("size", "auto"),
        quality=fields.get("quality", "auto"),
        background=fields.get("background", "auto"),
        output_format=fields.get("output_format", "png"),
        stream=fields.get("stream", False),
        partial_images=fields.get("partial_images", 0),
    )
    if order.background == "transparent" and order.output_format == "jpeg":
        raise invalid("background", "Transparent background is not supported for jpeg.")
    if order.output_format == "png" and fields.get("output_compression", 100) != 100:
        raise invalid("output_compression", "Compression is for jpeg and webp.")
    return order


def _check_one(name: str, value: Any, model: Model) -> None:
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if type(value) is not int:
            raise invalid(name, f"Invalid type for '{name}': expected an integer.", "invalid_type")
        if not low <= value <= high:
            raise invalid(name, f"Invalid value for '{name}': expected {low} to {high}, got {value}.")
    elif name == "stream":
        if type(value) is not bool:
            raise invalid(name, "Invalid type for 'stream': expected a boolean.", "invalid_type")
    elif not isinstance(value, str):
        raise invalid(name, f"Invalid type for '{name}': expected a string.", "invalid_type")
    elif name == "size":
        _check_size(value, model)
    elif name == "input_fidelity" and not model.fidelity:
        raise invalid(name, "Unknown parameter: 'input_fidelity'.", "unknown_parameter")
    else:
        legal = {"quality": model.qualities, "input_fidelity": model.fidelity, **_WORDS}.get(name)
        if legal is not None and value not in legal:
            raise invalid(name, f"Invalid value: '{value}'. Supported values are: {', '.join(sorted(legal))}.")


def _check_size(value: str, model: Model) -> None:
    if value in _PRESETS:
        return
    match = re.fullmatch(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})", value)
    if match is None or not model.free:
        raise invalid("size", f"Invalid size '{value}'. Supported sizes are {', '.join(sorted(_PRESETS))}.")
    width, height = int(match[1]), int(match[2])
    faults = {
        "both sides must be divisible by 16": width % 16 or height % 16,
        "the ratio must be between 1:3 and 3:1": max(width, height) > 3 * min(width, height),
        "the longest edge must be at most 3840": max(width, height) > 3840,
        "the pixels must be 655360 to 8294400": not 655_360 <= width * height <= 8_294_400,
    }
    for fault, holds in faults.items():
        if holds:
            raise invalid("size", f"Invalid size '{value}': {fault}.")
