"""The Responses API with image models, read by OpenAI's SDKs; and what goes on to a route untouched."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from plugins.image_edit.dialects.responses import Responses
from plugins.image_edit.picture import Image, Link
from plugins.image_edit.testing import PNG
from plugins.image_edit.wire import Form
from proxy_core import ClientError
from proxy_core.testing import running
from tests.emulators import ark, gpt_image
from tests.emulators.gpt_image import GptImage, Refused
from tests.pictures import BLUE, GREEN, RED, is_gray, mask, png
from tests.surfaces import data_url, holds, proxied
from tests.test_clients_node import decoded, node
from tests.upstream import Peer, upstream

GPT = "gpt-image-2"
B64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{B64}"
TOOL = {"type": "image_generation"}


def turn(text: str, *urls: str) -> dict[str, Any]:
    shown = [{"type": "input_image", "image_url": url} for url in urls]
    return {"role": "user", "content": [{"type": "input_text", "text": text}, *shown]}


def made(result: object = B64) -> dict[str, Any]:
    return {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result}


# --- what is asked ---


def parsed(given: object, **fields: Any) -> Any:
    return Responses().parse(Form(fields={"model": "m", "input": given, **fields}))


def shown(asked: Any) -> list[str]:
    return [one.value.url if isinstance(one.value, Link) else "bytes" for one in asked.references]


@pytest.mark.parametrize(
    ("given", "prompt", "references"),
    [
        ("a hat", "a hat", []),
        ([turn("a hat", DATA, "https://a/b")], "a hat", ["bytes", "https://a/b"]),
        ([*({"role": role, "content": role[:1]} for role in ("user", "assistant", "user"))], "u\nu", []),
        ([turn("a", DATA), turn("b")], "a\nb", []),  # as in a chat
        ([turn("a cat"), made(), turn("add a hat")], "a cat\nadd a hat", ["bytes"]),
        ([turn("a cat"), made(), turn("this one", "https://a/b")], "a cat\nthis one", ["https://a/b"]),
        ([turn("a"), made(), made(), turn("b")], "a\nb", ["bytes"]),  # the last of them
        ([turn("a"), made(), {"type": "reasoning", "summary": []}, turn("b")], "a\nb", ["bytes"]),
        ([turn("a"), made()], "a", []),  # nothing was asked since
        ([{"type": "message", **turn("a", DATA)}], "a", ["bytes"]),
    ],
)
def test_words_and_pictures(given: object, prompt: str, references: list[str]) -> None:
    """Fact 25's way; and a picture that was made before is what the next turn is about."""
    asked = parsed(given)
    assert (asked.prompt, shown(asked)) == (prompt, references)


def test_the_tools_settings_are_the_pictures() -> None:
    tool = {**TOOL, "size": "1024x1024", "quality": "low", "output_format": "webp", "background": "opaque", "partial_images": 2}
    asked = parsed("x", tools=[tool, {"type": "web_search"}], stream=True, temperature=0.5, n=2)
    assert asked.options == {"size": "1024x1024", "quality": "low", "output_format": "webp", "background": "opaque", "n": 2}
    assert (asked.stream, asked.partial_images) == (True, 2)
    assert asked.notes == ("temperature, tools (web_search): for words alone, not for pictures; not used",)
    assert parsed("x", tools=[{**TOOL, "model": "gpt-image-2", "action": "edit"}]).extra == {}
    assert parsed("x", background="transparent").options == {"background": "transparent"}
    assert parsed("x", background=False, previous_response_id=None).options == {}


def test_a_mask_stands_in_the_tool() -> None:
    asked = parsed([turn("x", DATA)], tools=[{**TOOL, "input_image_mask": {"image_url": DATA}}])
    assert asked.mask is not None
    assert isinstance(asked.mask.value, Image)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": "   "}, "input"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
        ({"input": [turn("x", "file:///etc/passwd")]}, "input[0].content[1].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input[0].content[0]"),
        ({"input": [turn("a"), made(None), turn("b")]}, "input[1].result"),
        ({"input": [turn("a"), made("!!"), turn("b")]}, "input[1].result"),
        ({"input": [{"type": "item_reference", "id": "x"}, turn("b")]}, "input[0]"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools"),
        ({"tools": [{**TOOL, "partial_images": 9}]}, "partial_images"),
        ({"tools": [{**TOOL, "input_image_mask": {"file_id": "x"}}]}, "input_image_mask.image_url"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        parsed(**{"given": "x", **({"given": fields.pop("input")} if "input" in fields else {}), **fields})
    assert caught.value.status == 400
    assert caught.value.param == param


# --- what is answered ---


@pytest.fixture
async def gpt() -> AsyncIterator[GptImage]:
    async with GptImage() as service:
        yield service


@pytest.fixture
async def client(gpt: GptImage) -> AsyncIterator[openai.AsyncOpenAI]:
    async with proxied(gpt_image.setup(gpt)) as client:
        yield client


async def test_a_picture_is_a_call_of_the_tool(gpt: GptImage, client: openai.AsyncOpenAI) -> None:
    answer: Any = await client.responses.create(model=GPT, input="a lighthouse", tools=[{"type": "image_generation"}])
    (call,) = answer.output
    assert (answer.object, answer.status, answer.model) == ("response", "completed", GPT)
    assert (call.type, call.status) == ("image_generation_call", "completed")
    assert (call.action, call.output_format) == ("generate", "png")
    assert Image(base64.b64decode(call.result)).media_type == "image/png"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert answer.darkroom_receipt["payloadType"] == "application/vnd.in-toto+json"
    assert answer.cost["source"] == "usage"
    assert answer.output_text == ""


async def test_edits_build_on_what_was_shown_or_made(client: openai.AsyncOpenAI) -> None:
    three = [data_url(png((300, 200), colour)) for colour in (RED, GREEN, BLUE)]
    first: Any = await client.responses.create(model=GPT, input=[turn("one scene", *three)])  # type: ignore[list-item]
    assert holds(base64.b64decode(first.output[0].result), RED, GREEN, BLUE)
    history: list[Any] = [turn("a"), made(three[1][22:]), turn("add a hat")]
    second: Any = await client.responses.create(model=GPT, input=history)
    assert holds(base64.b64decode(second.output[0].result), GREEN)
    again: Any = await client.responses.create(model=GPT, input=[turn("a"), *second.output, turn("add another")])  # type: ignore[list-item]
    assert again.output[0].action == "edit"


async def test_a_stream_is_typed_events(client: openai.AsyncOpenAI) -> None:
    tools: Any = [{"type": "image_generation", "partial_images": 2}]
    stream = await client.responses.create(model=GPT, input="x", tools=tools, stream=True)
    events: list[Any] = [event async for event in stream]
    call = "response.image_generation_call"
    assert [event.type for event in events] == [
        *("response.created", "response.in_progress", "response.output_item.added"),
        *(f"{call}.in_progress", f"{call}.generating", f"{call}.partial_image", f"{call}.partial_image", f"{call}.completed"),
        *("response.output_item.done", "response.completed"),
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert [event.partial_image_index for event in events[5:7]] == [0, 1]
    done, last = events[-2].item, events[-1].response
    assert last.output[0].result == done.result
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {done.id}
    assert last.darkroom_receipt
    assert last.usage.total_tokens > 0


async def test_the_sdks_own_stream_helper_reads_it(client: openai.AsyncOpenAI) -> None:
    async with client.responses.stream(model=GPT, input="x", tools=[{"type": "image_generation"}]) as stream:
        async for _ in stream:
            pass
        final: Any = await stream.get_final_response()
    assert Image(base64.b64decode(final.output[0].result)).media_type == "image/png"


async def test_several_pictures_are_several_calls() -> None:
    async with ark.Ark() as service, proxied(ark.setup(service)) as client:
        extra = {"n": 2}
        answer: Any = await client.responses.create(model="seedream-4.5", input="x", extra_body=extra)
        assert len({call.id for call in answer.output}) == 2
        assert service.pictures == 2
        stream = await client.responses.create(model="seedream-4.5", input="x", extra_body=extra, stream=True)
        events: list[Any] = [event async for event in stream]
        assert [event.output_index for event in events if event.type == "response.output_item.done"] == [0, 1]
        assert len(events[-1].response.output) == 2


async def test_a_mask_is_honoured(gpt: GptImage, client: openai.AsyncOpenAI) -> None:
    tool: Any = {"type": "image_generation", "input_image_mask": {"image_url": data_url(mask((300, 200)))}}
    picture = data_url(png((300, 200), BLUE))
    await client.responses.create(model=GPT, input=[turn("x", picture)], tools=[tool])  # type: ignore[list-item]
    assert gpt.requests[0].mask is not None


async def test_errors_are_openais(gpt: GptImage, client: openai.AsyncOpenAI) -> None:
    gpt.script(Refused(400, "No.", "moderation_blocked"), Refused(400, "No.", "moderation_blocked"))
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model=GPT, input="x", stream=stream)
        assert caught.value.code == "moderation_blocked"
    with pytest.raises(openai.BadRequestError) as kept:
        await client.responses.create(model=GPT, input="x", previous_response_id="resp_1")
    assert kept.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="no-such", input="x")


async def test_a_text_model_goes_on_untouched() -> None:
    """With the tool and all: whoever serves it makes its pictures."""
    body = orjson.dumps({"model": "gpt-5", "input": "x", "tools": [{"type": "image_generation", "model": "gpt-image-2"}]})
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.read_request()
        seen.append(peer.body)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    plugins = {"proxy": {"plugins": ["image_edit", "sandbox"]}}
    async with upstream(script) as up, aiohttp.ClientSession() as http:
        config = {"proxy": {**plugins["proxy"], "routes": {"/v1": {"upstream": up.url}}}}
        headers = {"Content-Type": "application/json"}
        async with running(config) as url, http.post(f"{url}/v1/responses", data=body, headers=headers) as answer:
            assert await answer.read() == b"{}"
    assert seen == [body]


async def test_node_reads_it(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png())
    async with running({"proxy": {"plugins": ["access_log", "signing", "image_edit", "sandbox"]}}) as url:
        read = await node(url, "responses", str(picture))
    assert [is_gray(decoded(image)) for image in read["images"]] == [True, True]
    assert (read["kinds"][0], read["kinds"][-1]) == ("response.created", "response.completed")
    assert all(receipt["payloadType"] == "application/vnd.in-toto+json" for receipt in read["receipts"])
