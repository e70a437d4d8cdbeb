"""Images asked for by the Responses API: POST /v1/responses with an image model, plain and streamed.

The answer holds an `image_generation_call` for each picture, as if the model had used that tool. A text model that is to use
the tool itself is somebody else's: such a request goes on to its route.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from proxy_core import ClientError, Exchange

from ..ask import Ask, Event, Extra, Given, Pieces, ask, boolean, kind, picture, previews, reference, text
from ..model import Job, Result
from ..picture import Image
from ..wire import Form, json_pieces
from .turns import read_turn, read_words

_USED = frozenset(
    {"model", "input", "stream", "stream_options", "tools", "partial_images", "mask", "metadata", "store", "user"}
)
# Fields that steer words, tools or the vendor's storage, and say nothing of a picture.
_WORDS_ALONE = frozenset(
    {
        "instructions", "temperature", "top_p", "top_logprobs", "max_output_tokens", "max_tool_calls", "parallel_tool_calls",
        "tool_choice", "reasoning", "text", "truncation", "include", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options",
    }
)  # fmt: skip
# What would have to be looked up where nothing is kept; going on without it would make another picture than was asked for.
_KEPT = {
    "previous_response_id": "earlier responses are not kept here; send their items in 'input'",
    "conversation": "conversations are not kept here; send their items in 'input'",
    "background": "responses are not kept here, so none can be fetched later; leave it out, or stream",
    "prompt": "prompts are not kept here; send their words in 'input'",
}
_TOOL = "image_generation"


class Responses:
    """The dialect."""

    def parse(self, form: Form) -> Ask:
        """Prompt: the words of all user turns. References: the pictures of the latest one, or else the last picture that was
        made before it and stands in `input`: that is what "add a hat" is about."""
        fields = form.fields
        tool, others = _tool(fields.get("tools"))
        if isinstance(fields.get("background"), str):
            tool["background"] = fields["background"]  # the picture's; the API's own field of that name is a switch
        else:
            _check_kept("background", fields)
        for name in _KEPT.keys() - {"background"}:
            _check_kept(name, fields)
        lines, references = _conversation(fields.get("input"))
        prompt = "\n".join(lines)
        if not prompt.strip():
            raise ClientError("no user message has any text, so there is no prompt", param="input", code="missing_prompt")
        mask, where = tool.pop("input_image_mask", None), "input_image_mask"
        if mask is None:
            mask, where = fields.get("mask"), "mask"
        stream = boolean(fields.get("stream"), "stream")
        count, notes = previews({"partial_images": tool.pop("partial_images", fields.get("partial_images"))}, stream=stream)
        idle = sorted(name for name in fields.keys() & _WORDS_ALONE if fields[name] is not None)
        idle += [f"tools ({others})"] if others else []
        return ask(
            prompt,
            {**fields, **tool},
            used=_USED | _WORDS_ALONE | (_KEPT.keys() - tool.keys()),
            references=references,
            spoken="input",
            mask=_mask(mask, where) if mask is not None else None,
            stream=stream,
            partial_images=count,
            notes=(*notes, f"{', '.join(idle)}: for words alone, not for pictures; not used") if idle else notes,
        )

    def render(self, result: Result, exchange: Exchange, extra: Extra) -> Pieces:
        """The whole answer as JSON."""
        calls = [_call(exchange, place, result.job, image) for place, image in enumerate(result.images)]
        return json_pieces({**_response(result.job, exchange, "completed", calls), **_tail(result), **extra})

    def events(self, job: Job, exchange: Exchange) -> ResponseEvents:
        return ResponseEvents(job, exchange)


def _check_kept(name: str, fields: Mapping[str, Any]) -> None:
    if fields.get(name) not in (None, False):
        raise ClientError(_KEPT[name], param=name, code="unsupported_parameter")


def _conversation(given: object) -> tuple[list[str], list[Given]]:
    """(the users' words, the latest references) of `input`: a text, or a list of messages and of what was made between them."""
    if isinstance(given, str):
        return [given], []
    if not isinstance(given, list) or not given:
        raise ClientError(f"input must be a string or an array of items, not {kind(given)}", param="input", code="invalid_type")
    users = [place for place, item in enumerate(given) if isinstance(item, dict) and item.get("role") == "user"]
    latest = users[-1] if users else -1
    lines: list[str] = []
    made: list[Given] = []
    shown: list[Given] = []
    for place, item in enumerate(given):
        where = f"input[{place}]"
        if not isinstance(item, dict):
            raise ClientError(f"{where} must be an object, not {kind(item)}", param=where, code="invalid_type")
        if item.get("type") == f"{_TOOL}_call" and place < latest:
            made = [_earlier(item, where)]
        elif item.get("type") == "item_reference":
            raise ClientError("items are not kept here; send the item itself", param=where, code="unsupported_parameter")
        elif item.get("role") == "user" and place == latest:
            spoken, shown = read_turn(item.get("content"), f"{where}.content")
            lines += spoken
        elif item.get("role") == "user":
            lines += read_words(item.get("content"), f"{where}.content")
    return lines, shown or made


def _earlier(call: Mapping[str, Any], where: str) -> Given:
    """A picture that an earlier answer brought."""
    result = call.get("result")
    if not isinstance(result, str) or not result:
        what = f"{where} has no 'result': pictures are not kept here; send it with the picture"
        raise ClientError(what, param=f"{where}.result", code="missing_required_parameter")
    return picture(result, f"{where}.result")


def _tool(tools: object) -> tuple[dict[str, Any], str]:
    """(the settings of the tool that makes pictures, the names of all others)."""
    if tools is None:
        return {}, ""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise ClientError("tools must be an array of objects", param="tools", code="invalid_type")
    found: dict[str, Any] = {}
    for tool in tools:
        if tool.get("type") == _TOOL:
            found |= {name: value for name, value in tool.items() if name not in ("type", "action", "model")}
    return found, ", ".join(sorted({str(tool.get("type"))[:40] for tool in tools if tool.get("type") != _TOOL}))


def _mask(value: object, where: str) -> Given:
    """`{"image_url": ...}`, or its text alone."""
    if isinstance(value, dict):
        value, where = value.get("image_url"), f"{where}.image_url"
    return reference(text(value, where), where)


def _response(job: Job, exchange: Exchange, status: str, output: Sequence[object]) -> dict[str, object]:
    now = int(time.time())
    return {
        "id": f"resp_{exchange.id}",
        "object": "response",
        "created_at": now,
        "status": status,
        **({"completed_at": now} if status == "completed" else {}),
        "model": job.name,
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [{"type": _TOOL}],
        "temperature": None,
        "top_p": None,
        "usage": None,
    }


def _tail(result: Result) -> dict[str, object]:
    usage = result.usage or {}
    # Without both details, OpenAI's clients cannot read it.
    tokens = {
        "input_tokens": usage.get("input_tokens", 0),
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.get("output_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.get("total_tokens", 0),
    }
    return {"usage": tokens, "cost": result.cost, "warnings": list(result.warnings)}


def _id(exchange: Exchange, place: int) -> str:
    return f"ig_{exchange.id}_{place}"


def _shown(job: Job, image: Image) -> dict[str, object]:
    """What a picture is, beside what was asked."""
    told: dict[str, object] = {"output_format": image.media_type.partition("/")[2]}
    if image.pixels is not None:
        told["size"] = f"{image.pixels[0]}x{image.pixels[1]}"
    return {**told, "quality": job.quality or "auto", "background": job.background or "auto"}


def _call(exchange: Exchange, place: int, job: Job, image: Image) -> dict[str, object]:
    call = {"id": _id(exchange, place), "type": f"{_TOOL}_call", "status": "completed", "result": image.base64}
    return {**call, "action": "edit" if job.references else "generate", **_shown(job, image)}


class ResponseEvents:
    """The events of a response: it begins, a call is added for each picture and done with it, and it is complete."""

    def __init__(self, job: Job, exchange: Exchange) -> None:
        self._job = job
        self._exchange = exchange
        self._sequence = 0
        self._added: set[int] = set()
        self._calls: list[dict[str, object]] = []

    def _event(self, name: str, **fields: object) -> list[Event]:
        if not self._sequence:
            begun = _response(self._job, self._exchange, "in_progress", [])
            before = [self._numbered(f"response.{state}", response=begun) for state in ("created", "in_progress")]
            return [*before, self._numbered(name, **fields)]
        return [self._numbered(name, **fields)]

    def _numbered(self, name: str, **fields: object) -> Event:
        value = {"type": name, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return Event(value, name)

    def _of(self, place: int) -> dict[str, object]:
        return {"item_id": _id(self._exchange, place), "output_index": place}

    def _add(self, place: int) -> list[Event]:
        if place in self._added:
            return []
        self._added.add(place)
        item = {"id": _id(self._exchange, place), "type": f"{_TOOL}_call", "status": "in_progress", "result": None}
        events = self._event("response.output_item.added", output_index=place, item=item)
        for state in ("in_progress", "generating"):
            events += self._event(f"response.{_TOOL}_call.{state}", **self._of(place))
        return events

    def preview(self, image: Image, *, index: int, number: int) -> list[Event]:
        fields = {"partial_image_index": number, "partial_image_b64": image.base64, **_shown(self._job, image)}
        added = self._add(index)
        *before, event = self._event(f"response.{_TOOL}_call.partial_image", **self._of(index), **fields)
        return [*added, *before, replace(event, image=image, preview=True, place=event.value)]

    def image(self, image: Image) -> list[Event]:
        place = len(self._calls)
        call = _call(self._exchange, place, self._job, image)
        self._calls.append(call)
        events = self._add(place)
        events += self._event(f"response.{_TOOL}_call.completed", **self._of(place))
        item = dict(call)  # what is signed of this event stands here alone, not in the whole at the end
        *before, event = self._event("response.output_item.done", output_index=place, item=item)
        return [*events, *before, replace(event, image=image, place=item)]

    def end(self, result: Result, extra: Extra) -> list[Event]:
        whole = {**_response(self._job, self._exchange, "completed", self._calls), **_tail(result), **extra}
        return self._event("response.completed", response=whole)
