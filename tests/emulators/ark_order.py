"""A request body to Ark, checked against its model's rules."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.emulators.ark_rules import FIELDS, MAX_GROUP, MODELS, Model, Refusal, invalid, missing, unsupported


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a request that Ark accepts asks for."""

    model: Model
    answered_as: str         # the answer's `model`
    prompt: str
    images: list[str]
    max_images: int
    size: str
    base64: bool
    stream: bool
    kind: str                # jpeg or png
    told_kind: bool          # the request named it
    transparent: bool
    layers: bool
    tools: bool
    ignored: list[str]       # accepted, to no effect


def parse(content_type: str, raw: bytes) -> dict[str, Any]:
    if content_type != "application/json":
        raise Refusal(400, "InvalidParameter", f"The request body must be JSON, not {content_type}.")
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "InvalidParameter", "The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise Refusal(400, "InvalidParameter", "The request body must be a JSON object.")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


def check(raw: Mapping[str, Any], endpoints: Mapping[str, str], *, strict: bool) -> Order:
    # The vendor's SDK sends null for whatever its caller left out, so null is absence, also where the field is refused.
    body = {name: value for name, value in raw.items() if value is not None or name not in FIELDS}
    name, model = _model(body, endpoints)
    ignored = _names(body, model, strict=strict)
    body = {name: value for name, value in body.items() if name not in ignored}
    if not isinstance(body.get("prompt", ""), str):
        raise invalid("prompt", "it must be a string")
    if not body.get("prompt"):
        raise missing("prompt")
    _values(body, model)
    images = _images(body, model)
    kind = body.get("output_format", model.picture)
    _layers(body, images, kind)
    return Order(
        model=model, answered_as=name, prompt=body["prompt"], images=images, max_images=_group(body, len(images)),
        size=body.get("size", model.size), base64=body.get("response_format") == "b64_json",
        stream=body.get("stream", False), kind=kind, told_kind="output_format" in body,
        transparent=body.get("background") == "transparent", layers=body.get("layer_decomposition", False),
        tools=bool(body.get("tools")), ignored=ignored,
    )


def _model(body: Mapping[str, Any], endpoints: Mapping[str, str]) -> tuple[str, Model]:
    name = body.get("model")
    if name is None:
        raise missing("model")
    if not isinstance(name, str):
        raise invalid("model", "it must be a string")
    if name.startswith("ep-"):
        if name not in endpoints:
            raise Refusal(404, "InvalidEndpoint.NotFound", f"The endpoint {name} does not exist.")
        name = endpoints[name]  # answers name the model: an endpoint's id is not promised to come back
    if name not in MODELS:
        raise Refusal(404, "ModelNotOpen", f"Your account has not activated the model {name}.")
    return name, MODELS[name]


def _names(body: Mapping[str, Any], model: Model, *, strict: bool) -> list[str]:
    """Names that are accepted and mean nothing; others that do not belong are refused, whatever their value."""
    ignored = []
    for name, value in body.items():
        if name in model.refused and not (name == "stream" and value is False):
            raise unsupported(name)
        if name == "n" or name in model.idle:
            ignored.append(name)
        elif name not in FIELDS or name in model.undocumented:
            if strict:
                raise unsupported(name)
            ignored.append(name)
    return ignored


def _one_of(*values: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in values


def _whole(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _guidance(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 10


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _options(**checks: Callable[[object], bool]) -> Callable[[object], bool]:
    """An object with no other names than these; null is absence here too."""
    def fits(value: object) -> bool:
        return isinstance(value, dict) and all(
            name in checks and (item is None or checks[name](item)) for name, item in value.items())
    return fits


def _web_search(value: object) -> bool:
    return isinstance(value, list) and all(tool == {"type": "web_search"} for tool in value)


_VALUES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "response_format": (_one_of("url", "b64_json"), "it must be url or b64_json"),
    "watermark": (_flag, "it must be a boolean"),
    "stream": (_flag, "it must be a boolean"),
    "optimize_prompt": (_flag, "it must be a boolean"),
    "layer_decomposition": (_flag, "it must be a boolean"),
    "seed": (_whole(-1, 2_147_483_647), "it must be an integer between -1 and 2147483647"),
    "guidance_scale": (_guidance, "it must be a number between 1 and 10"),
    "sequential_image_generation": (_one_of("auto", "disabled"), "it must be auto or disabled"),
    "sequential_image_generation_options": (
        _options(max_images=_whole(1, MAX_GROUP)), "max_images must be an integer between 1 and 15"),
    "optimize_prompt_options": (
        _options(mode=_one_of("standard", "fast"), thinking=_one_of("auto", "enabled", "disabled")),
        "mode must be standard or fast, and thinking auto, enabled or disabled"),
    "output_format": (_one_of("jpeg", "png"), "it must be jpeg or png"),
    "background": (_one_of("auto", "transparent", "opaque"), "it must be auto, transparent or opaque"),
    "tools": (_web_search, "the only tool is web_search"),
}


def _values(body: Mapping[str, Any], model: Model) -> None:
    for name, (fits, why) in _VALUES.items():
        if name in body and not fits(body[name]):
            raise invalid(name, why)
    if body.get("optimize_prompt_options", {}).get("mode") == "fast" and not model.fast_mode:
        raise invalid("optimize_prompt_options", "the mode fast is not supported by the current model")


def _images(body: Mapping[str, Any], model: Model) -> list[str]:
    image = body.get("image")
    if image is None:
        if model.image_required:
            raise missing("image")
        return []
    if model.image_required and not isinstance(image, str):
        raise invalid("image", "it must be one string")
    images = [image] if isinstance(image, str) else image
    if not isinstance(images, list) or not images or not all(isinstance(item, str) for item in images):
        raise invalid("image", "it must be a string or an array of strings")
    if len(images) > model.max_refs:
        raise invalid("image", f"the current model takes at most {model.max_refs} images")
    return images


def _group(body: Mapping[str, Any], references: int) -> int:
    """How many pictures may come."""
    told = body.get("sequential_image_generation_options", {}).get("max_images")
    if told and told + references > MAX_GROUP:
        raise invalid("sequential_image_generation_options",
                      f"reference images and max_images together must not exceed {MAX_GROUP}")
    return (told or MAX_GROUP - references) if body.get("sequential_image_generation") == "auto" else 1


def _layers(body: Mapping[str, Any], images: list[str], kind: str) -> None:
    if body.get("background") == "transparent" and kind == "jpeg":
        raise invalid("background", "transparent needs output_format png")
    if body.get("layer_decomposition"):
        if "background" in body:
            raise invalid("background", "it cannot be combined with layer_decomposition")
        if len(images) != 1:
            raise invalid("layer_decomposition", "it needs exactly one input image")
