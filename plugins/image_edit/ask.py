"""What a client asks, read from its form and checked: shared by all dialects."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from proxy_core import ClientError, Data, Exchange, Piece

from .model import Job, Result
from .picture import Image, Link
from .wire import Form

Extra = Mapping[str, object]

PROMPT_LENGTH = 32_000  # characters, as at OpenAI
MOST_PICTURES = 256  # in one place; no model takes as many, and each costs time to read
LINK_LENGTH = 8192  # characters of a link; a longer one is a slip, or an attack


@dataclass(frozen=True)
class Given:
    """A picture that the client gave, and where in its request it stands."""

    value: Image | Link
    param: str


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A client's request in its own words, before it is known who serves it."""

    prompt: str
    references: tuple[Given, ...] = ()
    mask: Given | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # fields of Job, checked
    extra: Mapping[str, Any] = field(default_factory=dict)  # every other field that was sent
    stream: bool = False
    partial_images: int = 0
    notes: tuple[str, ...] = ()  # what is served differently from what was asked


Pieces = list[Data | Piece]


@dataclass
class Event:
    """One server-sent event. `value` is its data as JSON; None is the `[DONE]` that some streams end with.

    Where it carries a picture, `image` is that, and `place` the object within `value` that takes a signer's fields.
    """

    value: dict[str, Any] | None
    name: str = ""
    image: Image | None = None
    preview: bool = False
    place: dict[str, Any] | None = None


class Events(Protocol):
    """One answer as server-sent events while it is made: each method gives those that are to be written now."""

    def preview(self, image: Image, *, index: int, number: int) -> list[Event]:
        """The preview `number` of the picture `index`, both counted from 0."""

    def image(self, image: Image) -> list[Event]:
        """The next finished picture."""

    def end(self, result: Result, extra: Extra) -> list[Event]:
        """What is left; `extra` stands in the last event that the client knows anyway."""


class Dialect(Protocol):
    """A client's request format: how it asks, and what it reads."""

    def parse(self, form: Form) -> Ask: ...

    def render(self, result: Result, exchange: Exchange, extra: Extra) -> Pieces:
        """The whole answer as JSON. `extra` stands at its top level."""

    def events(self, job: Job, exchange: Exchange) -> Events:
        """The answer of a client that streams."""


def ask(
    prompt: str,
    fields: Mapping[str, Any],
    *,
    used: frozenset[str],
    references: Sequence[Given],
    spoken: str = "prompt",
    **more: Any,
) -> Ask:
    """An Ask of a form's top-level `fields`, of which the dialect has `used` some itself. Raises ClientError.

    `spoken` is the field in which the client's words stand.
    """
    if len(prompt) > PROMPT_LENGTH:
        what = f"the prompt has {len(prompt)} characters; at most {PROMPT_LENGTH} are taken"
        raise ClientError(what, param=spoken, code="string_above_max_length")
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in fields.items():
        if name in used or value is None:
            continue
        if name in _READERS:
            options[name] = _READERS[name](value, name)
        else:
            extra[name] = _TYPED[name](value, name) if name in _TYPED else _shallow(value, name)
    return Ask(prompt=prompt, references=tuple(references), options=options, extra=extra, **more)


def job(asked: Ask, *, name: str, model: str, like: str) -> Job:
    """The Job of an Ask. Its mask is bytes by now."""
    mask = asked.mask.value if asked.mask is not None else None
    blank = Job(
        name=name,
        model=model,
        like=like,
        prompt=asked.prompt,
        references=tuple(given.value for given in asked.references),
        mask=mask if isinstance(mask, Image) else None,
    )
    blank = replace(blank, stream=asked.stream, partial_images=asked.partial_images)
    return replace(blank, extra=asked.extra, **asked.options)


def text(value: object, param: str) -> str:
    """`value` if it is a string, else ClientError naming `param`."""
    if not isinstance(value, str):
        raise ClientError(f"{param} must be a string, not {kind(value)}", param=param, code="invalid_type")
    return value


def integer(value: object, param: str) -> int:
    """An integer, or the text of one: multipart forms have only text."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        # JSON's reader makes a float of an integer that is too long for 64 bits.
        given = "a number beyond 64 bits, or with a fraction" if isinstance(value, float) else kind(value)
        raise ClientError(f"{param} must be an integer, not {given}", param=param, code="invalid_type")
    return value


def boolean(value: object, param: str) -> bool:
    """A boolean, or the text of one."""
    if value is None or value in ("", "false", "False", False):
        return False
    if value in ("true", "True", True):
        return True
    raise ClientError(f"{param} must be true or false, not {kind(value)}", param=param, code="invalid_type")


_PREVIEWS = 3  # as at OpenAI


def previews(fields: Mapping[str, Any], *, stream: bool) -> tuple[int, tuple[str, ...]]:
    """(how many previews are wanted, what is to be noted) of a form's `partial_images`."""
    asked = fields.get("partial_images")
    count = 0 if asked is None else integer(asked, "partial_images")
    if not 0 <= count <= _PREVIEWS:
        what = f"partial_images must be between 0 and {_PREVIEWS}, not {count}"
        raise ClientError(what, param="partial_images", code="invalid_value")
    if count and not stream:
        return 0, ("partial_images is for streams; the finished picture is sent alone",)
    return count, ()


def kind(value: object) -> str:
    """A JSON value's type in a client developer's words."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), "something else")


_DEPTH = 64  # arrays and objects within one another; what is nested deeper than 254 could be read, and not be written again


def _shallow(value: object, param: str) -> object:
    """`value`, if it can be written as JSON again wherever a service wants it."""
    level = [value]
    for _ in range(_DEPTH):
        level = [item for one in level for item in _inner(one)]
        if not level:
            return value
    shown = param[:60]
    raise ClientError(f"{shown} is nested more than {_DEPTH} deep", param=shown, code="invalid_value")


def _inner(value: object) -> Collection[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _count(value: object, param: str) -> int:
    n = integer(value, param)
    if n < 1:
        raise ClientError(f"n must be at least 1, not {n}", param=param, code="invalid_value")
    return n


def _seed(value: object, param: str) -> int:
    seed = integer(value, param)
    if not -(2**63) <= seed < 2**63:
        raise ClientError("seed must fit 64 bits", param=param, code="invalid_value")
    return seed


_READERS: dict[str, Any] = {
    "n": _count,
    "seed": _seed,
    **dict.fromkeys(("size", "aspect_ratio", "resolution", "quality", "background"), text),
    "output_format": lambda value, param: {"jpg": "jpeg"}.get(word := text(value, param).lower(), word),
}


# Beyond the vocabulary; a multipart form has only their text.
_TYPED: dict[str, Any] = {"watermark": boolean, "output_compression": integer}


_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)


def reference(value: str, param: str) -> Given:
    """The picture behind a data URL, or a link. Raises ClientError that names `param`."""
    if value[:5].lower() != "data:":
        if re.match(r"https?://[^\s/]", value, re.IGNORECASE) and len(value) <= LINK_LENGTH:
            return Given(Link(value), param)
        raise ClientError(f"{param} must be an http(s) link or a data: URL", param=param, code="invalid_image_url")
    match = _DATA_URL.match(value, 0, 1024)
    if match is None or ";base64" not in match[2].lower():
        raise ClientError(f"{param} must be a data: URL in base64", param=param, code="invalid_image_url")
    return picture(value[match.end() :], param)


def picture(encoded: str, param: str) -> Given:
    """The picture in bare base64. Raises ClientError that names `param`."""
    image = Image.from_base64(encoded)
    if image.broken or encoded.startswith("data:"):  # a service may answer with a data URL; here it is a slip
        raise ClientError(f"{param}: it is not valid base64", param=param, code="invalid_image")
    return checked(image, param)


def checked(image: Image, param: str) -> Given:
    """`image`, if its first bytes are an image's. Raises ClientError that names `param`."""
    if not image.size:
        raise ClientError(f"{param} is empty", param=param, code="invalid_image")
    if not image.media_type:
        raise ClientError(
            f"{param} is not an image in a known format (png, jpeg, webp, gif, bmp, tiff, heic, avif)",
            param=param,
            code="invalid_image",
        )
    return Given(image, param)
