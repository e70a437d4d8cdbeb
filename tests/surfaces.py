"""Every way in which OpenAI's SDK asks for pictures, through a running proxy in front of an emulator."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse

from proxy_core.testing import plug, running
from tests.pictures import BLUE, GREEN, RED, opened, png

HABITS: Any = {"size": "1024x1024", "response_format": "b64_json", "user": "someone"}  # what many clients send unasked

THREE = [png((300, 200), colour=colour) for colour in (RED, GREEN, BLUE)]


@asynccontextmanager
async def proxied(
    setup: Mapping[str, Any], *, max_retries: int = 2, outer: Mapping[str, type[Any]] | None = None, **image_edit: Any
) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of a proxy with the plugins of an emulator's `setup`; `image_edit` are further keys of that plugin's table.

    `outer` are plugins by name that see every request before the others.
    """
    tables = {**setup["plugins"], "image_edit": {**setup["plugins"]["image_edit"], **image_edit}}
    others = [name for name in tables if name != "image_edit"]
    config = {"proxy": {"plugins": [*(outer or {}), "access_log", "signing", "image_edit", *others]}, "plugins": tables}
    async with (
        running(config, plug(**(outer or {})), environ=setup["environ"]) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="the-clients-own", max_retries=max_retries) as client,
    ):
        yield client


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def turn(text: str, *pictures: bytes) -> list[Any]:
    urls = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *urls]}]


def bytes_of(answer: ImagesResponse) -> list[bytes]:
    return [base64.b64decode(one.b64_json or "") for one in answer.data or ()]


def first(answer: ImagesResponse) -> bytes:
    return bytes_of(answer)[0]


def chat_picture(answer: Any) -> bytes:
    url: str = answer.choices[0].message.images[0]["image_url"]["url"]
    return base64.b64decode(url.partition(",")[2])


def warnings(answer: Any) -> list[str]:
    told: list[str] = answer.model_extra["warnings"]
    return told


def holds(picture: bytes, *wanted: tuple[int, int, int]) -> bool:
    """Whether an emulator drew references of these colours side by side; about, for JPEG is not exact."""
    image = opened(picture)
    for place, colour in enumerate(wanted):
        pixel = image.getpixel((image.width * (2 * place + 1) // (2 * len(wanted)), image.height // 2))
        assert isinstance(pixel, tuple)
        if any(abs(a - b) > 12 for a, b in zip(pixel, colour, strict=True)):
            return False
    return True


async def generated(client: openai.AsyncOpenAI, model: str) -> list[bytes]:
    """A picture from words on every surface that has them."""
    made = await client.images.generate(model=model, prompt="a lighthouse", **HABITS)
    assert made.created > 1_700_000_000
    chat = await client.chat.completions.create(model=model, messages=turn("a lighthouse"))
    stream = await client.chat.completions.create(model=model, messages=turn("a lighthouse"), stream=True)
    return [first(made), chat_picture(chat), *await _streamed(stream)]


async def edited(client: openai.AsyncOpenAI, model: str, most: int = 3, scale: int = 1) -> None:
    """Edits on every surface, with one picture and with three (or `most`): each must hold what it was made from."""
    three = [png((300 * scale, 200 * scale), colour=colour) for colour in (RED, GREEN, BLUE)]
    pictures, wanted = three[:most], (RED, GREEN, BLUE)[:most]
    one = await client.images.edit(model=model, image=three[2], prompt="add a hat", **HABITS)
    many = await client.images.edit(model=model, image=pictures, prompt="one scene", **HABITS)
    body = {"model": model, "prompt": "one scene", "images": [{"image_url": data_url(picture)} for picture in pictures]}
    listed = await client.post("/images/edits", body=body, cast_to=ImagesResponse)
    chat = await client.chat.completions.create(model=model, messages=turn("one scene", *pictures))
    stream = await client.chat.completions.create(model=model, messages=turn("add a hat", three[1]), stream=True)
    assert holds(first(one), BLUE)
    for picture in (first(many), first(listed), chat_picture(chat)):
        assert holds(picture, *wanted)
    assert holds((await _streamed(stream))[0], GREEN)


async def refused(service: Any, setup: Mapping[str, Any], fault: object, model: str, *, edit: bool) -> openai.APIStatusError:
    """What a client is told that meets this fault and asks once. A Retry-After reaches it; the service sees one request."""
    async with proxied(setup, max_retries=0) as client:
        service.script(fault)
        asked = client.images.edit(model=model, image=png(), prompt="x") if edit else None
        with pytest.raises(openai.APIStatusError) as caught:
            await (asked or client.images.generate(model=model, prompt="x"))
    assert len(service.requests) == 1
    assert caught.value.response.headers.get("retry-after") == getattr(fault, "headers", {}).get("Retry-After")
    return caught.value


async def _streamed(stream: Any) -> list[bytes]:
    found = [c.choices[0].delta.images[0] async for c in stream if hasattr(c.choices[0].delta, "images")]
    return [base64.b64decode(one["image_url"]["url"].partition(",")[2]) for one in found]
