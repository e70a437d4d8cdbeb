"""Images asked for by name: POST /v1/images/generations, and /v1/images/edits as multipart and as JSON."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy_core import ClientError, Exchange

from ..ask import MOST_PICTURES, Ask, Event, Extra, Given, Pieces, ask, boolean, checked, kind, previews, reference, text
from ..model import Job, Result
from ..picture import Image
from ..wire import Form, json_pieces

_USED = frozenset({"model", "prompt", "stream", "partial_images", "response_format", "user", "safety_identifier"})
_PICTURES = frozenset({"image", "images", "mask"})
_ALSO_PICTURES = frozenset({"images", "image_url", "mask"})
_FILE_NAMES = re.compile(r"image(\[[0-9]*\])?")


def parse_generation(form: Form) -> Ask:
    """A generation has no references; one that was sent is refused, never lost."""
    fields = [name for name, value in form.fields.items() if value and (_FILE_NAMES.fullmatch(name) or name in _ALSO_PICTURES)]
    for name in [*fields, *(upload.name for upload in form.uploads)]:
        raise ClientError(
            f"{name[:60]!r} is a picture, and generations take none; send it to /v1/images/edits",
            param=name[:60],
            code="unsupported_parameter",
        )
    return _ask(form, (), None, _USED)


def parse_edit(form: Form) -> Ask:
    """An edit has at least one reference, as a file, or in JSON as a link or data URL."""
    if form.multipart:
        references, mask = _uploaded(form)
        used = _USED | {name for name in form.fields if _FILE_NAMES.fullmatch(name)} | {"mask"}
    else:
        references, mask = _listed(form.fields)
        used = _USED | _PICTURES
    if not references:
        raise ClientError("an edit needs a picture: send 'image'", param="image", code="missing_required_parameter")
    return _ask(form, references, mask, used)


def _ask(form: Form, references: Sequence[Given], mask: Given | None, used: frozenset[str]) -> Ask:
    prompt = text(form.fields.get("prompt", ""), "prompt")
    if not prompt.strip():
        raise ClientError("prompt is missing", param="prompt", code="missing_required_parameter")
    stream = boolean(form.fields.get("stream"), "stream")
    count, notes = previews(form.fields, stream=stream)
    if form.fields.get("response_format") == "url":
        notes += ("response_format is 'url', but the image itself is in b64_json: links expire and are not passed on",)
    more: dict[str, Any] = {"mask": mask, "stream": stream, "partial_images": count, "notes": notes}
    return ask(prompt, form.fields, used=used, references=references, **more)


def _uploaded(form: Form) -> tuple[list[Given], Given | None]:
    """Files in `image`, `image[]` or `image[0]`, in order, and in `mask`; text in their place is a link or data URL."""
    references: list[Given] = []
    mask: Given | None = None
    for upload in form.uploads:
        if upload.name == "mask":
            _only(mask)
            mask = checked(upload.image, "mask")
        elif _FILE_NAMES.fullmatch(upload.name):
            references.append(checked(upload.image, f"image[{len(references)}]"))
        else:
            raise ClientError(f"no file is expected in {upload.name[:40]!r}", param=upload.name[:40], code="unknown_parameter")
    for name, values in form.lists.items():
        if _FILE_NAMES.fullmatch(name):
            references += [reference(value, name) for value in values]
        elif name == "mask":
            for value in values:
                _only(mask)
                mask = reference(value, name)
    return references, mask


def _only(mask: Given | None) -> None:
    """A second mask would be lost, and the picture paid for without it."""
    if mask is not None:
        raise ClientError("only one mask is taken", param="mask", code="invalid_value")


def _listed(fields: Mapping[str, Any]) -> tuple[list[Given], Given | None]:
    """OpenAI's `images` of objects, xAI's `image` object, Ark's `image` string or strings."""
    references: list[Given] = []
    for name in ("image", "images"):
        value = fields.get(name)
        if value is None:
            continue
        listed = value if isinstance(value, list) else [value]
        if len(listed) > MOST_PICTURES:
            what = f"{name} has {len(listed)} pictures; at most {MOST_PICTURES} are read"
            raise ClientError(what, param=f"{name}[{MOST_PICTURES}]", code="too_many_images")
        references += [_one(item, f"{name}[{i}]" if isinstance(value, list) else name) for i, item in enumerate(listed)]
    mask = fields.get("mask")
    return references, None if mask is None else _one(mask, "mask")


def _one(item: object, where: str, depth: int = 0) -> Given:
    if isinstance(item, dict):
        if depth > 2:
            raise ClientError(f"{where[:60]} is nested too deeply", param=where[:60], code="invalid_image_url")
        if item.get("file_id") is not None:
            raise ClientError(
                f"{where}.file_id: files are not kept here; send the picture as a data: URL or link",
                param=f"{where}.file_id",
                code="unsupported_parameter",
            )
        for key in ("image_url", "url"):
            if item.get(key) is not None:
                return _one(item[key], f"{where}.{key}", depth + 1)
        raise ClientError(f"{where} has no 'image_url'", param=where, code="invalid_image_url")
    if not isinstance(item, str):
        raise ClientError(f"{where} must be an object or a string, not {kind(item)}", param=where, code="invalid_type")
    return reference(item, where)


def _tail(result: Result) -> dict[str, object]:
    formats = {image.media_type.partition("/")[2] for image in result.images}
    tail: dict[str, object] = {"warnings": list(result.warnings), "cost": result.cost}
    if len(formats) == 1:
        tail["output_format"] = formats.pop()
    sizes = {image.pixels for image in result.images}
    if len(sizes) == 1 and (pixels := sizes.pop()) is not None:
        tail["size"] = f"{pixels[0]}x{pixels[1]}"
    if result.usage is not None:
        tail["usage"] = result.usage
    return tail


@dataclass(frozen=True)
class Images:
    """The dialect of both image endpoints: `event` is the stem of its stream's event names."""

    event: str
    reader: Callable[[Form], Ask]

    def parse(self, form: Form) -> Ask:
        return self.reader(form)

    def render(self, result: Result, exchange: Exchange, extra: Extra) -> Pieces:
        """`output_format` is what the pictures really are."""
        data = [{"b64_json": image.base64} for image in result.images]
        return json_pieces({"created": int(time.time()), "data": data, **_tail(result), **extra})

    def events(self, job: Job, exchange: Exchange) -> ImageEvents:
        return ImageEvents(self.event, job)


class ImageEvents:
    """A `partial_image` event for each preview and a `completed` event for each picture.

    What belongs to the whole answer is in the last `completed`, so each is held back until it is known whether it is the last.
    """

    def __init__(self, stem: str, job: Job) -> None:
        self._stem = stem
        self._job = job
        self._held: Event | None = None
        self._made = 0

    def preview(self, image: Image, *, index: int, number: int) -> list[Event]:
        name = f"{self._stem}.partial_image"
        value = {"type": name, "b64_json": image.base64, "partial_image_index": number, "index": index, **self._common(image)}
        return [Event(value, name, image, preview=True, place=value)]

    def _common(self, image: Image) -> dict[str, object]:
        told: dict[str, object] = {"created_at": int(time.time()), "output_format": image.media_type.partition("/")[2]}
        if image.pixels is not None:
            told["size"] = f"{image.pixels[0]}x{image.pixels[1]}"
        return {**told, "quality": self._job.quality or "auto", "background": self._job.background or "auto"}

    def image(self, image: Image) -> list[Event]:
        before = self._released()
        name = f"{self._stem}.completed"
        value = {"type": name, "b64_json": image.base64, "index": self._made, **self._common(image)}
        self._held = Event(value, name, image, place=value)
        self._made += 1
        return before

    def _released(self) -> list[Event]:
        held, self._held = self._held, None
        return [held] if held is not None else []

    def end(self, result: Result, extra: Extra) -> list[Event]:
        last = self._released()
        for event in last:
            tail = {name: value for name, value in _tail(result).items() if name in ("warnings", "usage", "cost")}
            event.value = event.place = {**(event.value or {}), **tail, **extra}
        return last


GENERATIONS = Images("image_generation", parse_generation)
EDITS = Images("image_edit", parse_edit)
