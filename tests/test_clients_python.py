"""The official OpenAI SDK for Python, unmodified, sync and async, against a running proxy with the shipped config's plugins."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from yarl import URL

from proxy_core.testing import running
from tests.pictures import BLUE, GREEN, RED, is_gray, opened, photograph, png

CONFIG: dict[str, Any] = {"proxy": {"plugins": ["access_log", "signing", "image_edit", "sandbox"]}}


@pytest.fixture
async def url() -> AsyncIterator[URL]:
    async with running(CONFIG) as url:
        yield url


@pytest.fixture
async def client(url: URL) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="not-needed") as client:
        yield client


def turn(text: str, *pictures: bytes) -> list[Any]:
    parts: list[Any] = [{"type": "text", "text": text}]
    for picture in pictures:
        data = base64.b64encode(picture).decode()
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    return [{"role": "user", "content": parts}]


def decoded(data_url: str) -> bytes:
    head, _, data = data_url.partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(data, validate=True)


async def test_chat_edit(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="sandbox", messages=turn("make it grayscale", png()))
    message = answer.choices[0].message
    images: list[Any] = message.images  # type: ignore[attr-defined]  # an extra field, kept by the SDK
    assert [(image["type"], image["index"]) for image in images] == [("image_url", 0)]
    picture = decoded(images[0]["image_url"]["url"])
    assert is_gray(picture)
    assert opened(picture).size == (96, 64)
    assert message.content == ""
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "sandbox"
    assert answer.model_extra is not None
    assert answer.model_extra["darkroom_receipt"]["payloadType"] == "application/vnd.in-toto+json"
    assert "system_fingerprint" in answer.model_fields_set


async def test_chat_edit_streamed(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="sandbox", messages=turn("grayscale", png()), stream=True)
    chunks = [chunk async for chunk in stream]
    first, last = chunks
    images: list[Any] = first.choices[0].delta.images  # type: ignore[attr-defined]
    assert is_gray(decoded(images[0]["image_url"]["url"]))
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    assert last.model_extra is not None
    assert "darkroom_receipt" in last.model_extra


async def test_the_latest_turn_brings_the_reference(client: openai.AsyncOpenAI) -> None:
    messages = [
        *turn("grayscale", png(colour=RED)),
        {"role": "assistant", "content": "done"},
        *turn("mirror it", png((40, 30), BLUE)),
    ]
    answer = await client.chat.completions.create(model="sandbox", messages=messages)
    picture = decoded(answer.choices[0].message.images[0]["image_url"]["url"])  # type: ignore[attr-defined]
    assert opened(picture).size == (40, 30)
    assert is_gray(picture)  # the prompt is that of all turns


async def test_generate(client: openai.AsyncOpenAI) -> None:
    answer = await client.images.generate(model="sandbox", prompt="a red sun over the sea", size="1024x1024", n=2)
    assert answer.data is not None
    assert answer.created > 0
    for item in answer.data:
        assert item.url is None
        assert opened(base64.b64decode(item.b64_json or "")).size == (1024, 1024)
    assert len(answer.data) == 2


async def test_generate_streamed(client: openai.AsyncOpenAI) -> None:
    stream = await client.images.generate(model="sandbox", prompt="a red sun", size="256x256", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == ["image_generation.completed"]
    assert opened(base64.b64decode(events[0].b64_json)).size == (256, 256)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(png(), id="bytes"),
        pytest.param(("photo.png", png(), "image/png"), id="tuple"),
        pytest.param([png()], id="a list of one"),
        pytest.param(io.BytesIO(png()), id="a file"),
    ],
)
async def test_edit_with_one_file(client: openai.AsyncOpenAI, image: Any) -> None:
    answer = await client.images.edit(model="sandbox", image=image, prompt="make it grayscale")
    assert answer.data is not None
    assert is_gray(base64.b64decode(answer.data[0].b64_json or ""))


async def test_edit_with_three_files_uses_all_three(client: openai.AsyncOpenAI) -> None:
    files = [png(colour=colour) for colour in (RED, GREEN, BLUE)]
    answer = await client.images.edit(model="sandbox", image=files, prompt="side by side")
    assert answer.data is not None
    shown = opened(base64.b64decode(answer.data[0].b64_json or "")).getcolors(1 << 24)
    assert shown is not None
    for colour in (RED, GREEN, BLUE):
        near = sum(n for n, c in shown if isinstance(c, tuple) and all(abs(a - b) < 24 for a, b in zip(c, colour, strict=True)))
        assert near > 500, f"no {colour} in the result"


async def test_edit_in_json(client: openai.AsyncOpenAI) -> None:
    images = [{"image_url": f"data:image/png;base64,{base64.b64encode(png()).decode()}"}]
    body = {"model": "sandbox", "prompt": "make it grayscale", "images": images}
    answer = await client.post("/images/edits", body=body, cast_to=openai.types.ImagesResponse)
    assert answer.data is not None
    assert is_gray(base64.b64decode(answer.data[0].b64_json or ""))


async def test_a_photograph_of_ten_megabytes(client: openai.AsyncOpenAI) -> None:
    photo = photograph(10)
    assert len(photo) > 10_000_000
    answer = await client.chat.completions.create(model="sandbox", messages=turn("make it grayscale", photo))
    picture = decoded(answer.choices[0].message.images[0]["image_url"]["url"])  # type: ignore[attr-defined]
    assert is_gray(picture)
    assert opened(picture).size == opened(photo).size


async def test_the_sync_client(url: URL) -> None:
    def work() -> tuple[bytes, bytes]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="not-needed") as client:
            answer = client.chat.completions.create(model="sandbox", messages=turn("grayscale", png()))
            edited = client.images.edit(model="sandbox", image=png(), prompt="grayscale")
            assert edited.data is not None
            image = answer.choices[0].message.images[0]  # type: ignore[attr-defined]
            return decoded(image["image_url"]["url"]), base64.b64decode(edited.data[0].b64_json or "")

    for picture in await asyncio.to_thread(work):
        assert is_gray(picture)


async def test_a_bad_part_is_named(client: openai.AsyncOpenAI) -> None:
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": 7}}]
    messages: Any = [{"role": "user", "content": parts}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="sandbox", messages=messages)
    assert caught.value.param == "messages[0].content[1].image_url.url"
    assert caught.value.code == "invalid_type"
    assert caught.value.type == "invalid_request_error"
    assert "must be a string" in str(caught.value)
    assert caught.value.request_id


async def test_an_unknown_model_lists_the_image_models(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.images.generate(model="sandbxo", prompt="x")
    assert caught.value.code == "model_not_found"
    assert "sandbox, sandbox-edit" in str(caught.value)


async def test_what_is_left_out_is_named(client: openai.AsyncOpenAI) -> None:
    raw = await client.images.with_raw_response.generate(model="sandbox", prompt="x", size="64x64", quality="high")
    said = raw.parse().model_extra
    assert said is not None
    assert said["warnings"] == ["sandbox has no parameter 'quality'; it was left out"]
    assert raw.headers["darkroom-warnings"] == said["warnings"][0]


async def test_what_is_unsupported_is_refused_where_the_operator_wants_that() -> None:
    config = {**CONFIG, "plugins": {"image_edit": {"unsupported": "reject"}}}
    async with running(config) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model="sandbox", prompt="x", quality="high")
    assert caught.value.param == "quality"
    assert "it takes output_format, seed" in str(caught.value)


async def test_a_mask_is_honoured(client: openai.AsyncOpenAI) -> None:
    from PIL import Image

    mask = Image.new("RGBA", (96, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (48, 0, 96, 64))  # the right half may change
    out = io.BytesIO()
    mask.save(out, "PNG")
    answer = await client.images.edit(model="sandbox", image=png(), mask=("mask.png", out.getvalue()), prompt="grayscale")
    assert answer.data is not None
    picture = opened(base64.b64decode(answer.data[0].b64_json or ""))
    assert picture.getpixel((40, 40)) == RED
    red, green, blue = picture.getpixel((80, 40))  # type: ignore[misc]
    assert red == green == blue
