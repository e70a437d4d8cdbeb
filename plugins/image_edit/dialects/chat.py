"""Images asked for in a conversation: POST /v1/chat/completions, plain and streamed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from proxy_core import ClientError, Data, Exchange

from ..ask import Ask, Event, Extra, Given, Pieces, ask, boolean, kind, previews
from ..model import Job, Result
from ..picture import Image
from ..wire import Form, json_pieces
from .turns import read_image_url, read_turn, read_words

Shape = Literal["objects", "strings", "content", "markdown"]

# Fields that steer the transport or the conversation, and say nothing of the picture.
_USED = frozenset(
    {"model", "messages", "stream", "stream_options", "modalities", "user", "metadata", "store", "image_config", "mask"}
    | {"partial_images"}
)
# Fields that steer how words are chosen. A client sends them by habit; of a picture they say nothing.
_WORDS_ALONE = frozenset(
    {
        "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop", "presence_penalty",
        "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "tool_choice",
        "parallel_tool_calls", "functions", "function_call", "reasoning_effort", "reasoning", "verbosity", "prediction",
        "service_tier", "audio", "web_search_options", "prompt_cache_key", "safety_identifier",
    }
)  # fmt: skip


def _image_config(config: object) -> dict[str, object]:
    """OpenRouter's `image_config`: {"aspect_ratio": "16:9", "image_size": "2K"}."""
    if not isinstance(config, dict):
        raise ClientError(f"image_config must be an object, not {kind(config)}", param="image_config", code="invalid_type")
    return {"resolution" if name == "image_size" else str(name): value for name, value in config.items()}


def _images(images: Sequence[Image], first: int) -> list[dict[str, object]]:
    return [{"type": "image_url", "image_url": {"url": image.data_url}, "index": i} for i, image in enumerate(images, first)]


def _message(images: Sequence[Image], shape: Shape, first: int = 0) -> dict[str, object]:
    """A message or delta with the pictures in it (contracts: clients.md section 6 says who reads which shape).

    `first` is the first picture's place in the whole answer.
    """
    match shape:
        case "objects":
            return {"content": "", "images": _images(images, first)}
        case "strings":
            return {"content": "", "images": [image.data_url for image in images]}
        case "content":
            return {"content": [{"type": "image_url", "image_url": {"url": image.data_url}} for image in images]}
        case "markdown":
            return {"content": Markdown(images, follows=first > 0)}


class Markdown:
    """A Piece: the pictures as Markdown, each a data URL. It stands in a JSON string, so its line breaks are escapes."""

    def __init__(self, images: Sequence[Image], *, follows: bool = False) -> None:
        self._images = images
        self._follows = follows

    @property
    def size(self) -> int:
        return sum(len(lead) + image.data_url.size + 1 for lead, image in self._led())

    def chunks(self) -> Iterator[Data]:
        for lead, image in self._led():
            yield lead
            yield from image.data_url.chunks()
            yield b")"

    def _led(self) -> Iterator[tuple[bytes, Image]]:
        for place, image in enumerate(self._images):
            yield b"\\n\\n![image](" if place or self._follows else b"![image](", image


def _head(job: Job, exchange: Exchange, object_type: str) -> dict[str, object]:
    # openrouter's SDK insists on a system_fingerprint key; null will do.
    return {
        "id": f"chatcmpl-{exchange.id}",
        "object": object_type,
        "created": int(time.time()),
        "model": job.name,
        "system_fingerprint": None,
    }


def _tail(result: Result) -> dict[str, object]:
    usage = result.usage or {}
    # A client that reads completion_tokens_details without reasoning_tokens in it fails: it is left out.
    tokens = {
        "prompt_tokens": usage.get("input_tokens", 0),
        "completion_tokens": usage.get("output_tokens", 0),
        "total_tokens": usage.get("total_tokens", 0),
    }
    return {"usage": tokens, "cost": result.cost, "warnings": list(result.warnings)}


@dataclass(frozen=True)
class Chat:
    """The dialect. `shape` is how pictures stand in the answer."""

    shape: Shape = "objects"

    def parse(self, form: Form) -> Ask:
        """Prompt: the text of all user turns, a line each. References: those of the latest user turn only.

        That is the origin's behaviour (contracts: tee-gateway.md): each turn replaces the set, a text-only turn clears it.
        """
        fields = form.fields
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ClientError("messages must be an array of at least one message", param="messages", code="invalid_type")
        lines: list[str] = []
        references: list[Given] = []
        users = [i for i, message in enumerate(messages) if isinstance(message, dict) and message.get("role") == "user"]
        latest = users[-1] if users else -1
        for place, message in enumerate(messages):
            where = f"messages[{place}]"
            if not isinstance(message, dict):
                raise ClientError(f"{where} must be an object, not {kind(message)}", param=where, code="invalid_type")
            if message.get("role") == "user":
                if place == latest:
                    spoken, references = read_turn(message.get("content"), f"{where}.content")
                else:
                    spoken = read_words(message.get("content"), f"{where}.content")
                lines += spoken
        prompt = "\n".join(lines)
        if not prompt.strip():
            raise ClientError("no user message has any text, so there is no prompt", param="messages", code="missing_prompt")
        config = fields.get("image_config")
        if config is not None:
            fields = {**fields, **_image_config(config)}
        stream = boolean(form.fields.get("stream"), "stream")
        count, notes = previews(form.fields, stream=stream)
        idle = sorted(name for name in fields.keys() & _WORDS_ALONE if fields[name] is not None)
        return ask(
            prompt,
            fields,
            used=_USED | _WORDS_ALONE,
            references=references,
            spoken="messages",
            mask=read_image_url(form.fields["mask"], "mask") if form.fields.get("mask") is not None else None,
            stream=stream,
            partial_images=count,
            notes=(*notes, f"{', '.join(idle)}: for words alone, not for pictures; not used") if idle else notes,
        )

    def render(self, result: Result, exchange: Exchange, extra: Extra) -> Pieces:
        """The whole answer as JSON."""
        message = {"role": "assistant", **_message(result.images, self.shape)}
        return json_pieces(
            {
                **_head(result.job, exchange, "chat.completion"),
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                **_tail(result),
                **extra,
            }
        )

    def events(self, job: Job, exchange: Exchange) -> ChatEvents:
        return ChatEvents(self.shape, _head(job, exchange, "chat.completion.chunk"))


class ChatEvents:
    """A chunk for each picture as it comes, the chunk that finishes, and `[DONE]`.

    `strings` puts the pictures at the top of the chunk, where the origin's clients look for them. Previews are objects in
    `delta.images` in every shape, marked `partial`: they come only to who asked for `partial_images`.
    """

    def __init__(self, shape: Shape, head: Mapping[str, object]) -> None:
        self._shape = shape
        self._head = head
        self._begun = False
        self._made = 0

    def _chunk(self, delta: dict[str, object], top: Mapping[str, object], finish: str | None = None) -> dict[str, Any]:
        if not self._begun:
            rest = dict(delta)
            delta.clear()
            delta.update({"role": "assistant", **rest})  # the same object: a signer's fields are put into it later
        self._begun = True
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "choices": [choice], **top}

    def preview(self, image: Image, *, index: int, number: int) -> list[Event]:
        shown = {"type": "image_url", "image_url": {"url": image.data_url}, "index": index}
        delta: dict[str, object] = {"content": "", "images": [{**shown, "partial": True, "partial_image_index": number}]}
        return [Event(self._chunk(delta, {}), image=image, preview=True, place=delta)]

    def image(self, image: Image) -> list[Event]:
        delta = _message([image], self._shape, self._made)
        self._made += 1
        top = {"images": delta.pop("images")} if self._shape == "strings" else {}
        return [Event(self._chunk(delta, top), image=image, place=delta)]

    def end(self, result: Result, extra: Extra) -> list[Event]:
        return [Event(self._chunk({}, {**_tail(result), **extra}, "stop")), Event(None)]
