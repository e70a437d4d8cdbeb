"""Answers as they were saved: where the pictures, the receipt and the signed places in a stream stand in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pybase64

from plugins.image_edit import Image

from .strict import decode, read_json

COMMENT = b": darkroom-receipt "
_DONE = b"[DONE]"
_LINES = re.compile(rb"([^\r\n]*)(\r\n|\n|\r)")
_MARKDOWN = re.compile(r"!\[image\]\((data:[^()!]*)\)")  # no `!` within, or a text full of beginnings would take for ever
# What a client would show as a picture, wherever in an answer it stands.
_NAMES = frozenset({"b64_json", "partial_image_b64", "image_url", "image", "url"})
_MARK = re.compile(r"!\[|<img|data:(?:image/|[^\s,]{0,100};base64,)", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture in an answer."""

    sha256: str
    preview: bool = False
    source: object = field(default=None, repr=False, compare=False)  # the text that it was read from


@dataclass(frozen=True, kw_only=True)
class SavedEvent:
    """An event of a stream, `[DONE]` not counted."""

    sha256: bytes  # of its data
    pictures: list[Shown]  # its own: not those that the last event repeats
    repeated: list[Shown]
    claim: object = None  # the envelope in its `darkroom_event`
    receipt: object = None
    salt: object = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """An answer in JSON."""

    receipt: object
    salt: object = field(repr=False)
    pictures: list[Shown]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An answer as a stream."""

    events: list[SavedEvent]
    ended: bool  # nothing is left behind the last event but `[DONE]`; a client may read on where an event has no end


@dataclass(frozen=True, kw_only=True)
class Text:
    """A stream that was passed on, with its receipt in a comment."""

    receipt: object
    sha256: str  # of all bytes before the comment
    length: int
    behind: bool  # something follows the receipt that is not `[DONE]`


@dataclass(frozen=True, kw_only=True)
class Bare:
    """A receipt by itself."""

    receipt: object


Saved = Whole | Stream | Text | Bare


def read_saved(data: bytes) -> Saved:
    """What a file holds that is no picture. Raises ValueError that says what is wrong with it."""
    if data.lstrip()[:1] in (b"{", b"["):
        value = read_json(data, "it")
        if not isinstance(value, dict):
            raise ValueError("it is a JSON array, and neither a receipt nor an answer")
        if "payloadType" in value:
            return Bare(receipt=value)
        if "darkroom_receipt" not in value:
            raise ValueError("it is JSON without a darkroom_receipt")
        pictures = list(_in_answer(value))
        _refuse_strays(value, pictures)
        return Whole(receipt=value["darkroom_receipt"], salt=value.get("darkroom_prompt_salt"), pictures=pictures)
    if re.match(rb"\s*(data|event|id|retry)?:", data):
        return _read_stream(data)
    raise ValueError("it is neither a picture, nor a receipt, nor a saved answer")


@dataclass
class _Reading:
    texts: list[bytes] = field(default_factory=list)  # the data of each event
    lines: list[bytes] = field(default_factory=list)
    comments: list[tuple[int, int, bytes]] = field(default_factory=list)  # where it begins and ends, and what it says
    done: bool = False
    beyond: bool = False  # an event follows `[DONE]`


def _read_stream(data: bytes) -> Stream | Text:
    found = _Reading()
    place = 0
    while match := _LINES.match(data, place):
        _line(match[1], place, match.end(), found)
        place = match.end()
    _line(data[place:], place, len(data), found)
    if found.comments:
        return _text(data, found)
    if found.beyond:
        raise ValueError("an event follows [DONE]")
    events = [_event(text, number) for number, text in enumerate(found.texts)]
    return Stream(events=events, ended=not found.lines or (found.lines == [_DONE] and not found.done))


def _line(line: bytes, start: int, end: int, found: _Reading) -> None:
    if line.startswith(COMMENT):
        found.comments.append((start, end, line.removeprefix(COMMENT)))
    elif line.startswith(b"data:"):
        found.lines.append(line.removeprefix(b"data:").removeprefix(b" "))
    elif not line and found.lines and start < end:
        text = b"\n".join(found.lines)
        found.lines.clear()
        found.beyond = found.beyond or found.done
        if text == _DONE:
            found.done = True
        else:
            found.texts.append(text)


def _text(data: bytes, found: _Reading) -> Text:
    if len(found.comments) > 1:
        raise ValueError("two receipts stand in the stream")
    (start, end, text) = found.comments[0]
    return Text(
        receipt=read_json(text, "the receipt in the stream"),
        sha256=hashlib.sha256(data[:start]).hexdigest(),
        length=start,
        behind=not re.fullmatch(rb"\s*(data: ?\[DONE\]\s*)?", data[end:]),
    )


def _event(text: bytes, number: int) -> SavedEvent:
    digest = hashlib.sha256(text).digest()
    try:
        value = read_json(text, f"event {number}")
    except ValueError:
        if b"darkroom_" in text or b"base64" in text or b"b64" in text:
            raise
        value = None  # of a text stream, anything may be an event
    if not isinstance(value, dict):
        return SavedEvent(sha256=digest, pictures=[], repeated=[])
    response = value.get("response")
    whole: dict[str, Any] = response if isinstance(response, dict) else {}
    pictures, repeated = list(_in_event(value)), list(_in_answer(whole))
    receipt = value.get("darkroom_receipt", whole.get("darkroom_receipt"))
    if receipt is not None:  # every other event is in the chain, byte for byte
        _refuse_strays(value, [*pictures, *repeated])
    return SavedEvent(
        sha256=digest,
        pictures=pictures,
        repeated=repeated,
        claim=_claim(value),
        receipt=receipt,
        salt=value.get("darkroom_prompt_salt", whole.get("darkroom_prompt_salt")),
    )


def _claim(value: dict[str, Any]) -> object:
    places = [value, _delta(value), value.get("item")]
    found = [place["darkroom_event"] for place in places if isinstance(place, dict) and "darkroom_event" in place]
    if len(found) > 1:
        raise ValueError("an event holds two signatures of its place")
    return found[0] if found else None


def _delta(value: dict[str, Any]) -> dict[str, Any]:
    for choice in _dicts(value.get("choices")):
        delta = choice.get("delta")
        return delta if isinstance(delta, dict) else {}
    return {}


def _in_answer(value: dict[str, Any]) -> Iterator[Shown]:
    """The pictures of a whole answer, in their order."""
    for item in _dicts(value.get("data")):
        if "b64_json" in item:
            yield _bare(item["b64_json"])
    for choice in _dicts(value.get("choices")):
        if isinstance(message := choice.get("message"), dict):
            yield from _in_message(message)
    for item in _dicts(value.get("output")):
        if item.get("type") == "image_generation_call" and item.get("result") is not None:
            yield _bare(item["result"])


def _in_event(value: dict[str, Any]) -> Iterator[Shown]:
    kind = value.get("type")
    kind = kind if isinstance(kind, str) else ""
    if "b64_json" in value:
        yield _bare(value["b64_json"], preview=kind.endswith(".partial_image"))
    if "partial_image_b64" in value:
        yield _bare(value["partial_image_b64"], preview=True)
    item = value.get("item")
    if isinstance(item, dict) and item.get("type") == "image_generation_call" and item.get("result") is not None:
        yield _bare(item["result"])
    yield from _in_message({"images": value.get("images")})
    yield from _in_message(_delta(value))


def _in_message(message: dict[str, Any]) -> Iterator[Shown]:
    content = message.get("content")
    for listed in (message.get("images"), content):
        for item in listed if isinstance(listed, list) else []:
            if isinstance(item, str):
                yield _linked(item)
            elif isinstance(item, dict) and "image_url" in item:
                url = item["image_url"]
                yield _linked(url.get("url") if isinstance(url, dict) else url, preview=item.get("partial") is True)
    if isinstance(content, str):
        for match in _MARKDOWN.finditer(content):
            yield replace(_linked(match[1]), source=content)
        if _MARK.search(_MARKDOWN.sub("", content)):
            raise ValueError(_STRAY)


_STRAY = "a picture stands in it where no signature covers one"


def _refuse_strays(value: dict[str, Any], pictures: list[Shown]) -> None:
    """Raises ValueError for a picture in `value` that is none of these: some client would show it as if it were signed."""
    known = {id(picture.source) for picture in pictures}
    left: list[tuple[str, object]] = [("", value)]
    while left:  # no recursion: it may be nested deeply
        name, one = left.pop()
        if isinstance(one, dict):
            left += [(key, inner) for key, inner in one.items() if key != "warnings"]  # words of a service, and never shown
        elif isinstance(one, list):
            left += [(name, inner) for inner in one]
        elif isinstance(one, str) and id(one) not in known and _pictured(name, one):
            raise ValueError(_STRAY)


def _pictured(name: str, text: str) -> bool:
    if (name in _NAMES and text.strip()) or _MARK.search(text):
        return True
    try:
        return bool(Image(pybase64.b64decode(text.lstrip()[:64].translate(_URL_SAFE), validate=False)).media_type)
    except ValueError:
        return False


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict):
            yield item


def _linked(url: object, *, preview: bool = False) -> Shown:
    head, comma, text = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError("a picture in it is no data: URL in base64")
    data = decode(text, "a picture in it")
    kind = Image(data).media_type
    if head != f"data:{kind};base64":
        raise ValueError(f"a picture in it is labelled {head[5:60]!r}, and is {kind or 'no picture'}")
    return _shown(data, url, preview=preview)


def _bare(text: object, *, preview: bool = False) -> Shown:
    return _shown(decode(text, "a picture in it"), text, preview=preview)


def _shown(data: bytes, source: object, *, preview: bool) -> Shown:
    return Shown(sha256=hashlib.sha256(data).hexdigest(), preview=preview, source=source)
