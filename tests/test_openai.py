"""GPT Image through a running proxy, judged by an emulator that rejects what OpenAI rejects; the client is OpenAI's SDK."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai.types import ImagesResponse
from yarl import URL

from plugins.image_edit import CallError, Image, InvalidReply, Job, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from plugins.openai import MODELS, OpenAI, refused
from proxy_core import Failure, UpstreamRefusal
from proxy_core.testing import loaded, running
from tests.emulators.ark import Ark
from tests.emulators.gpt_image import KEY, MODELS_TO_TRY, Cut, GptImage, Hang, Raw, Refused, Short, setup
from tests.pictures import BLUE, GREEN, RED, mask, opened, photograph, png

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
B64 = base64.b64encode(PNG).decode()
USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
GOOD = Reply(headers={"x-request-id": "req_1"}, body=orjson.dumps({"created": 1, "data": [{"b64_json": B64}], "usage": USAGE}))
SERVICE = OpenAI(api_key=Secret("sk-0123456789"))


class TestOpenAI(ProviderConformance):
    plugin = OpenAI
    config = {"api_key": "not-a-real-one"}
    model = "gpt-image-2"
    replies = [GOOD]


# --- rules and steps ---


def course(model: str = "gpt-image-2", reply: Reply = GOOD, provider: OpenAI = SERVICE, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(provider.edit(fit(asked, MODELS[model], reject=False)[0]), [reply])


def sent(model: str = "gpt-image-2", **more: Any) -> dict[str, Any]:
    (call,) = course(model, **more).calls
    value: dict[str, Any] = orjson.loads(payload(call))
    return value


def parts(**more: Any) -> list[tuple[str, object, str]]:
    (call,) = course(**more).calls
    return [(part.name, part.value, part.filename) for part in call.parts]


def test_the_models_are_those_that_are_left() -> None:
    """Fact 27: what is retired is not offered."""
    assert set(MODELS) == set(MODELS_TO_TRY)


@pytest.mark.parametrize("model", MODELS)
def test_a_generation_is_the_fewest_fields(model: str) -> None:
    """Facts 3 and 12: no response_format; `n` is one call's."""
    (call,) = course(model).calls
    assert (call.method, str(call.url)) == ("POST", "https://api.openai.com/v1/images/generations")
    assert call.headers == {"Authorization": "Bearer sk-0123456789"}
    assert sent(model) == {"model": model, "prompt": "a hat"}
    assert sent(model, n=10)["n"] == 10
    assert SERVICE.batch == 10


def test_an_edit_is_a_form_in_order() -> None:
    """Facts 1, 2, 15 and 26: `image[]` in order, types and names as sniffed, numbers as texts, the mask behind its picture."""
    jpeg, other, covered = Image(b"\xff\xd8\xff one"), Image(PNG), Image(PNG)
    (call,) = course(references=(jpeg, other)).calls
    assert str(call.url) == "https://api.openai.com/v1/images/edits"
    assert call.json is None
    assert parts(references=(jpeg, other), mask=covered, n=2, quality="low", extra={"output_compression": 80}) == [
        ("model", "gpt-image-2", ""),
        ("prompt", "a hat", ""),
        ("n", "2", ""),
        ("quality", "low", ""),
        ("output_compression", "80", ""),
        ("image[]", jpeg, "image-1.jpeg"),
        ("image[]", other, "image-2.png"),
        ("mask", covered, "mask.png"),
    ]
    assert parts(references=(jpeg,))[-1] == ("image[]", jpeg, "image-1.jpeg")


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        ("gpt-image-2", {"aspect_ratio": "16:9"}, "1536x864"),
        ("gpt-image-2", {"aspect_ratio": "4:3"}, "1408x1056"),
        ("gpt-image-2", {"aspect_ratio": "9:21", "resolution": "1K"}, "768x1792"),
        ("gpt-image-2", {"aspect_ratio": "16:9", "resolution": "4K"}, "3840x2160"),
        ("gpt-image-2", {"resolution": "2K"}, "2048x2048"),
        ("gpt-image-2.5-flare", {"size": "1000x1000"}, "1008x1008"),
        ("gpt-image-2.5-flare", {"size": "256x256"}, "816x816"),
        ("gpt-image-2", {"size": "auto"}, None),
        ("gpt-image-1.5", {"aspect_ratio": "16:9"}, "1536x1024"),
        ("gpt-image-2.6-flare", {"size": "1024x1792"}, "1024x1536"),
    ],
)
def test_sizes(model: str, given: dict[str, str], made: str | None) -> None:
    """Fact 7: neither a ratio nor a label is a field of OpenAI's."""
    value = sent(model, **given)
    assert value.get("size") == made
    assert not {"aspect_ratio", "resolution"} & set(value)


@pytest.mark.parametrize(
    ("model", "quality", "taken"),
    [
        ("gpt-image-2", "medium", "medium"),
        ("gpt-image-2", "max", "high"),
        ("gpt-image-2.5-sunburst", "max", "max"),
        ("gpt-image-2.5-sunburst", "standard", "medium"),
        ("chatgpt-image-latest", "hd", "high"),
        ("gpt-image-2", "best", None),
    ],
)
def test_quality(model: str, quality: str, taken: str | None) -> None:
    assert sent(model, quality=quality).get("quality") == taken


@pytest.mark.parametrize(
    ("model", "asked", "taken"),
    [("gpt-image-1.5", "high", "high"), ("gpt-image-1-mini", "high", "low"), ("gpt-image-2", "high", None)],
)
def test_fidelity_is_of_some_models_edits(model: str, asked: str, taken: str | None) -> None:
    names = {name: value for name, value, _ in parts(model=model, references=(Image(PNG),), extra={"input_fidelity": asked})}
    assert names.get("input_fidelity") == taken
    assert "input_fidelity" not in sent(model, extra={"input_fidelity": asked})


def test_whose_account_it_is() -> None:
    service = dataclasses.replace(SERVICE, organization="org-1", project="proj-1")
    (call,) = course(provider=service).calls
    assert call.headers["OpenAI-Organization"] == "org-1"
    assert call.headers["OpenAI-Project"] == "proj-1"


@pytest.mark.parametrize("base", ["ftp://a.example", "https://u:p@a.example", "https://a.example?key=x", "/v1"])
def test_a_base_that_is_none_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        OpenAI(api_key=Secret("k"), base_url=URL(base))


def test_the_answer() -> None:
    """Fact 16: base64 may come as a data URL."""
    note, image = course().outputs
    assert note == Note(usage=USAGE, request_id="req_1")
    assert image.media_type == "image/png"
    prefixed = Reply(body=orjson.dumps({"data": [{"b64_json": f"data:image/png;base64,{B64}"}]}))
    note, image = course(reply=prefixed).outputs
    assert note.usage is None
    assert b"".join(image.chunks()) == PNG


def error(status: int, code: object = None, kind: str = "invalid_request_error", **more: Any) -> UpstreamRefusal:
    body = {"error": {"message": "Told so.", "type": kind, "param": None, "code": code, **more}}
    return refused(Reply(status=status, body=orjson.dumps(body)), "openai")


@pytest.mark.parametrize(
    ("made", "status", "code", "failure", "again"),
    [
        (error(400, "moderation_blocked", "image_generation_user_error"), 400, "moderation_blocked", "NOT_BILLED", None),
        (error(400, "billing_hard_limit_reached"), 400, "billing_hard_limit_reached", "NOT_BILLED", "false"),
        (error(401), 401, "invalid_api_key", "NOT_BILLED", None),
        (error(401, "account_deactivated"), 401, "account_deactivated", "NOT_BILLED", None),
        (error(403), 403, "permission_denied", "NOT_BILLED", None),
        (error(404, "model_not_found"), 404, "model_not_found", "NOT_BILLED", None),
        (error(410), 404, "model_not_found", "NOT_BILLED", None),
        (error(429), 429, "rate_limit_exceeded", "NOT_BILLED", None),
        (error(429, 429), 429, "rate_limit_exceeded", "NOT_BILLED", None),
        (error(429, None, "insufficient_quota"), 429, "insufficient_quota", "NOT_BILLED", "false"),
        (error(500, None, "server_error"), 500, "upstream_error", "UNKNOWN", "false"),
        (error(503, "overloaded", "server_error"), 503, "overloaded", "NOT_BILLED", None),
        (error(503, None, "server_error"), 503, "upstream_error", "UNKNOWN", "false"),
    ],
)
def test_refusals(made: UpstreamRefusal, status: int, code: str, failure: str, again: str | None) -> None:
    """Facts 19, 20 and 21."""
    assert (made.status, made.code, made.failure) == (status, code, Failure[failure])
    assert made.headers.get("x-should-retry") == again
    assert made.message == "openai: Told so."


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": "text"}', b'{"error": {"code": [1]}}'])
def test_a_refusal_in_no_known_shape(body: bytes) -> None:
    assert refused(Reply(status=429, body=body), "openai").code == "rate_limit_exceeded"


# --- through a running proxy ---


@pytest.fixture
async def service() -> AsyncIterator[GptImage]:
    async with GptImage() as service:
        yield service


@asynccontextmanager
async def proxied(service: GptImage, *, max_retries: int = 2, **image_edit: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    made = setup(service)
    plugins = {**made["plugins"], "image_edit": {**made["plugins"]["image_edit"], **image_edit}}
    config = {"proxy": {"plugins": ["access_log", "signing", "image_edit", "openai"]}, "plugins": plugins}
    async with (
        running(config, environ=made["environ"]) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="the-clients-own", max_retries=max_retries) as client,
    ):
        yield client


@pytest.fixture
async def client(service: GptImage) -> AsyncIterator[openai.AsyncOpenAI]:
    async with proxied(service) as client:
        yield client


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def turn(text: str, *pictures: bytes) -> list[Any]:
    urls = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *urls]}]


def first(answer: ImagesResponse) -> bytes:
    assert answer.data
    return base64.b64decode(answer.data[0].b64_json or "")


def warnings(answer: Any) -> list[str]:
    told: list[str] = answer.model_extra["warnings"]
    return told


def chat_picture(answer: Any) -> bytes:
    url: str = answer.choices[0].message.images[0]["image_url"]["url"]
    return base64.b64decode(url.partition(",")[2])


def colours(picture: bytes, count: int) -> list[tuple[int, ...]]:
    """Of the references in a picture that the emulator drew: it puts them side by side."""
    image = opened(picture)
    found = [image.getpixel((image.width * (2 * place + 1) // (2 * count), image.height // 2)) for place in range(count)]
    return [tuple(round(c / 40) for c in pixel) for pixel in found if isinstance(pixel, tuple)]


def near(*wanted: tuple[int, int, int]) -> list[tuple[int, ...]]:
    return [tuple(round(c / 40) for c in colour) for colour in wanted]


HABITS: Any = {"size": "1024x1024", "quality": "high", "response_format": "b64_json", "user": "someone"}


@pytest.mark.parametrize("model", MODELS)
async def test_every_model_on_every_surface(service: GptImage, client: openai.AsyncOpenAI, model: str) -> None:
    """Facts 1, 2, 3, 15, 21, 26 and 30: with what clients send by habit, a file without a type among it."""
    three = [png(colour=colour) for colour in (RED, GREEN, BLUE)]
    made = await client.images.generate(model=model, prompt="a lighthouse", **HABITS)
    one = await client.images.edit(model=model, image=png(colour=BLUE), prompt="add a hat", **HABITS)
    many = await client.images.edit(model=model, image=three, prompt="one scene", **HABITS)
    body = {"model": model, "prompt": "one scene", "images": [{"image_url": data_url(picture)} for picture in three]}
    listed = await client.post("/images/edits", body=body, cast_to=ImagesResponse)
    chat = await client.chat.completions.create(model=model, messages=turn("one scene", *three))
    stream = await client.chat.completions.create(model=model, messages=turn("add a hat", png(colour=GREEN)), stream=True)
    chunks = [chunk async for chunk in stream]
    streamed = [chunk.choices[0].delta.images[0] for chunk in chunks if hasattr(chunk.choices[0].delta, "images")]

    assert opened(first(made)).size == (256, 256)  # drawn small
    assert made.created > 0
    assert colours(first(one), 1) == near(BLUE)
    for picture in (first(many), first(listed), chat_picture(chat)):
        assert colours(picture, 3) == near(RED, GREEN, BLUE)
    assert colours(base64.b64decode(streamed[0]["image_url"]["url"].partition(",")[2]), 1) == near(GREEN)
    assert [seen.status for seen in service.requests] == [200] * 6
    assert [seen.encoding for seen in service.requests] == ["json", *["form"] * 5]
    assert [[file.part for file in seen.files] for seen in service.requests[1:3]] == [["image[]"], ["image[]"] * 3]
    assert {file.claimed for seen in service.requests for file in seen.files} == {"image/png"}
    assert not any({"user", "response_format"} & set(seen.fields) for seen in service.requests)
    assert not warnings(made)


async def test_what_is_sent_is_what_was_given(service: GptImage, client: openai.AsyncOpenAI) -> None:
    """Fact 15: a type is sniffed, whatever anybody claims."""
    pictures = [png(), png(kind="JPEG"), png(kind="WEBP")]
    await client.images.edit(model="gpt-image-2", image=[("x.gif", one, "image/gif") for one in pictures], prompt="x")
    (seen,) = service.requests
    assert [file.sha256 for file in seen.files] == [hashlib.sha256(one).hexdigest() for one in pictures]
    assert [file.claimed for file in seen.files] == ["image/png", "image/jpeg", "image/webp"]
    assert [file.filename for file in seen.files] == ["image-1.png", "image-2.jpeg", "image-3.webp"]


async def test_keys_stay_where_they_belong(service: GptImage, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.with_raw_response.generate(model="gpt-image-2", prompt="x")
    assert service.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert "the-clients-own" not in str(service.requests[0].headers)
    assert answer.headers["X-Upstream-Request-ID"] == service.requests[0].request_id


async def test_n_is_one_call(service: GptImage, client: openai.AsyncOpenAI) -> None:
    """Fact 26: in a form it is a text, from the client and to the service."""
    made = await client.images.generate(model="gpt-image-2", prompt="x", n=2)
    edited = await client.images.edit(model="gpt-image-2", image=png(), prompt="x", n=3)
    assert [len(made.data or ()), len(edited.data or ())] == [2, 3]
    assert len({one.b64_json for one in edited.data or ()}) == 3
    assert [seen.pictures for seen in service.requests] == [2, 3]
    assert b'name="n"\r\n\r\n3\r\n' in service.requests[1].raw


async def test_fewer_pictures_than_asked_for_are_named(service: GptImage, client: openai.AsyncOpenAI) -> None:
    service.script(Short(1))
    answer = await client.images.generate(model="gpt-image-2", prompt="x", n=3)
    assert len(answer.data or ()) == 1
    assert warnings(answer) == ["3 pictures were asked for, and 1 came"]


async def test_usage_is_told(client: openai.AsyncOpenAI) -> None:
    answer = await client.images.edit(model="gpt-image-2", image=[png(), png()], prompt="x")
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens == 200
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


@pytest.mark.parametrize("surface", ["form", "json", "chat"])
async def test_a_mask_says_what_may_change(service: GptImage, client: openai.AsyncOpenAI, surface: str) -> None:
    """Fact 13: it is honoured on every surface that can carry one."""
    picture, cover = png((300, 200), BLUE), mask((300, 200))
    if surface == "form":
        image = first(await client.images.edit(model="gpt-image-2", image=picture, mask=cover, prompt="x"))
    elif surface == "json":
        pictures = {"images": [{"image_url": data_url(picture)}], "mask": {"image_url": data_url(cover)}}
        body = {"model": "gpt-image-2", "prompt": "x", **pictures}
        image = first(await client.post("/images/edits", body=body, cast_to=ImagesResponse))
    else:
        extra = {"mask": data_url(cover)}
        asked = client.chat.completions.create(model="gpt-image-2", messages=turn("x", picture), extra_body=extra)
        image = chat_picture(await asked)
    (seen,) = service.requests
    assert seen.mask is not None
    assert (seen.mask.sha256, seen.mask.claimed) == (hashlib.sha256(cover).hexdigest(), "image/png")
    made = opened(image)
    left = {made.getpixel((x, made.height - 10)) for x in range(0, made.width // 2 - 10, 40)}
    right = {made.getpixel((x, made.height - 10)) for x in range(made.width // 2 + 10, made.width, 40)}
    assert left == {BLUE}
    assert BLUE not in right


@pytest.mark.parametrize(
    ("cover", "words"),
    [
        (png((96, 64), kind="JPEG"), "must be png"),
        (mask((95, 64)), "must be the same"),
        (mask((96, 64)) + bytes(4 << 20), "at most 4194304"),
    ],
    ids=["jpeg", "another size", "too long"],
)
async def test_a_mask_that_cannot_be_is_named(service: GptImage, client: openai.AsyncOpenAI, cover: bytes, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        await client.images.edit(model="gpt-image-2", image=png(), mask=cover, prompt="x")
    assert caught.value.param == "mask"
    assert not service.requests


async def test_a_mask_that_covers_nothing_is_no_edit(service: GptImage, client: openai.AsyncOpenAI) -> None:
    extra = {"mask": data_url(mask((96, 64)))}
    with pytest.raises(openai.BadRequestError, match="the picture that it covers"):
        await client.chat.completions.create(model="gpt-image-2", messages=turn("x"), extra_body=extra)
    assert not service.requests


@pytest.mark.parametrize(
    ("asked", "arrived"),
    [
        ({"size": "1536x1024"}, {"size": "1536x1024"}),
        ({"aspect_ratio": "16:9"}, {"size": "1536x864"}),
        ({"size": "16:9"}, {"size": "1536x864"}),
        ({"aspect_ratio": "3:4", "resolution": "2K"}, {"size": "1776x2368"}),
        ({"quality": "low"}, {"quality": "low"}),
        ({"output_format": "webp"}, {"output_format": "webp"}),
        ({"output_format": "jpg", "output_compression": 70}, {"output_format": "jpeg", "output_compression": 70}),
        ({"background": "transparent"}, {"background": "transparent"}),
        ({"moderation": "low"}, {"moderation": "low"}),
    ],
)
async def test_what_is_honoured_is_so_everywhere(service: GptImage, asked: dict[str, Any], arrived: dict[str, Any]) -> None:
    """Facts 15 and 26: the format told is the one that came. With `reject`, so that nothing is changed behind our back."""
    model = "gpt-image-2"
    async with proxied(service, unsupported="reject") as client:
        made = await client.images.generate(model=model, prompt="x", extra_body=asked)
        edited = await client.images.edit(model=model, image=png(), prompt="x", extra_body=asked)
        chat = await client.chat.completions.create(model=model, messages=turn("x", png()), extra_body=asked)
    for seen in service.requests:
        assert {name: value for name, value in seen.fields.items() if name not in ("model", "prompt")} == arrived
    wanted = str(arrived.get("output_format", "png"))
    for picture in (first(made), first(edited), chat_picture(chat)):
        assert Image(picture).media_type == f"image/{wanted}"
    assert (made.output_format, edited.output_format) == (wanted, wanted)
    url: str = chat.choices[0].message.images[0]["image_url"]["url"]  # type: ignore[attr-defined]
    assert url.startswith(f"data:image/{wanted};base64,")
    if "size" in arrived:
        width, height = opened(first(made)).size
        asked_width, asked_height = map(int, arrived["size"].split("x"))
        assert abs(width / height - asked_width / asked_height) < 0.02


CHANGED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("size", {"size": "1000x1000"}, {"size": "1008x1008"}),
    ("aspect_ratio", {"aspect_ratio": "5:1"}, {"size": "1776x592"}),
    ("quality", {"quality": "max"}, {"quality": "high"}),
    ("output_format", {"output_format": "gif"}, {}),
    ("background", {"background": "blue"}, {}),
    ("seed", {"seed": 7}, {}),
    ("negative_prompt", {"negative_prompt": "rain"}, {}),
    ("watermark", {"watermark": True}, {}),
    ("output_compression", {"output_compression": 101}, {}),
    ("input_fidelity", {"input_fidelity": "high"}, {}),
    ("n", {"n": 11}, {"n": 10}),
]


@pytest.mark.parametrize(("name", "asked", "arrived"), CHANGED, ids=[name for name, _, _ in CHANGED])
async def test_what_is_changed_is_named(
    service: GptImage, client: openai.AsyncOpenAI, name: str, asked: dict[str, Any], arrived: dict[str, Any]
) -> None:
    small = {} if "size" in arrived else {"size": "1024x1024"}
    made = await client.images.generate(model="gpt-image-2", prompt="x", extra_body={**asked, **small})
    edited = await client.images.edit(model="gpt-image-2", image=png(), prompt="x", extra_body={**asked, **small})
    for seen in service.requests:
        assert {k: v for k, v in seen.fields.items() if k not in ("model", "prompt")} == {**arrived, **small}
    for answer in (made, edited):
        assert len(warnings(answer)) == 1
        assert name.replace("_", " ") in warnings(answer)[0].replace("_", " ")


@pytest.mark.parametrize(("name", "asked"), [(name, asked) for name, asked, _ in CHANGED], ids=[name for name, _, _ in CHANGED])
async def test_or_is_refused_before_anything_is_paid(service: GptImage, name: str, asked: dict[str, Any]) -> None:
    async with proxied(service, unsupported="reject") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.edit(model="gpt-image-2", image=png(), prompt="x", extra_body=asked)
    assert caught.value.param == name
    assert not service.requests


async def test_a_combination_that_the_service_refuses_is_told_in_its_words(
    service: GptImage, client: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.BadRequestError, match="openai: Transparent background") as caught:
        await client.images.generate(model="gpt-image-2", prompt="x", background="transparent", output_format="jpeg")
    assert (caught.value.param, caught.value.code) == ("background", "invalid_value")
    assert service.pictures == 0


async def test_references_are_limited(service: GptImage, client: openai.AsyncOpenAI) -> None:
    sixteen = [png((20 + place, 20)) for place in range(16)]
    await client.images.edit(model="gpt-image-2", image=sixteen, prompt="x")
    assert len(service.requests[0].files) == 16
    for pictures, words in (([*sixteen, png()], "16"), ([png(), png(kind="GIF")], "is image/gif; it must be jpeg, png, webp")):
        with pytest.raises(openai.BadRequestError, match=words) as caught:
            await client.images.edit(model="gpt-image-2", image=pictures, prompt="x")
        assert (caught.value.param or "").startswith("image")
    assert len(service.requests) == 1


async def test_a_link_is_refused_or_fetched_never_lost(service: GptImage, client: openai.AsyncOpenAI) -> None:
    async with Ark() as other:
        link = other.storage.put(png(colour=GREEN), "png")
        asked: Any = {
            "model": "gpt-image-2",
            "messages": [{"role": "user", "content": ["x", {"type": "image_url", "image_url": {"url": link}}]}],
        }
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**asked)
        assert caught.value.code == "link_not_supported"
        assert not service.requests
        fetch = {"allow_hosts": [f"{URL(link).host}:{URL(link).port}"], "retries": [0, 0, 0]}
        async with proxied(service, fetch_references=True, fetch=fetch) as fetching:
            answer = await fetching.chat.completions.create(**asked)
    assert colours(chat_picture(answer), 1) == near(GREEN)


async def test_a_photograph_arrives_whole(service: GptImage, client: openai.AsyncOpenAI) -> None:
    photo = photograph(3)
    await client.images.edit(model="gpt-image-2", image=photo, prompt="add a hat")
    assert service.requests[0].files[0].sha256 == hashlib.sha256(photo).hexdigest()


async def test_a_retired_model_is_not_found(service: GptImage) -> None:
    """Fact 27: not here, and where the operator's table has it still, not there."""
    old = {"old": {"provider": "openai", "model": "gpt-image-1", "like": "gpt-image-1.5"}}
    async with proxied(service, models=old) as client:
        for name, asked in (("dall-e-3", 0), ("gpt-image-1", 0), ("old", 1)):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.images.generate(model=name, prompt="x")
            assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
            assert len(service.requests) == asked


REFUSALS: dict[str, tuple[Any, type[openai.APIStatusError], str, str | None]] = {
    "moderation": (
        Refused(
            400,
            "Your request was rejected by the safety system. safety_violations=[violence].",
            "moderation_blocked",
            type="image_generation_user_error",
            more={"moderation_details": {"moderation_stage": "input", "categories": ["violence"]}},
        ),
        openai.BadRequestError,
        "moderation_blocked",
        None,
    ),
    "policy": (Refused(400, "No.", "content_policy_violation"), openai.BadRequestError, "content_policy_violation", None),
    "no money": (
        Refused(429, "You exceeded your quota.", "insufficient_quota", type="insufficient_quota"),
        openai.RateLimitError,
        "insufficient_quota",
        "false",
    ),
    "a limit": (
        Refused(400, "No more.", "billing_hard_limit_reached"),
        openai.BadRequestError,
        "billing_hard_limit_reached",
        "false",
    ),
    "too often": (
        Refused(429, "Slow down.", "rate_limit_exceeded", headers={"retry-after": "3"}),
        openai.RateLimitError,
        "rate_limit_exceeded",
        None,
    ),
    "unverified": (Refused(403, "Verify your organization."), openai.PermissionDeniedError, "permission_denied", None),
    "broken": (Refused(500, "Oops.", type="server_error"), openai.InternalServerError, "upstream_error", "false"),
    "overloaded": (Refused(503, "Busy.", "overloaded", type="server_error"), openai.InternalServerError, "overloaded", None),
    "html": (Raw(body=b"<html>", status=502, content_type="text/html"), openai.InternalServerError, "upstream_error", "false"),
    "nothing": (Raw(body=b""), openai.InternalServerError, "invalid_upstream_reply", "false"),
    "no picture": (Raw(body=b'{"data": []}'), openai.InternalServerError, "invalid_upstream_reply", "false"),
    "error in 200": (Raw(body=b'{"error": {"message": "x"}}'), openai.InternalServerError, "invalid_upstream_reply", "false"),
    "cut": (Cut(), openai.InternalServerError, "upstream_cut", "false"),
    "cut within": (Cut(when="body"), openai.InternalServerError, "upstream_cut", "false"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
async def test_failures_keep_their_meaning(service: GptImage, case: str) -> None:
    """Facts 19, 20 and 21: class, words, code; and an SDK is told not to buy the same twice."""
    fault, kind, code, again = REFUSALS[case]
    service.script(fault)
    async with proxied(service, max_retries=0 if again is None else 2) as client:
        with pytest.raises(kind) as caught:
            await client.images.edit(model="gpt-image-2", image=png(), prompt="x")
    failed = caught.value
    assert failed.code == code
    assert failed.response.headers.get("x-should-retry") == again
    assert len(service.requests) == 1
    assert KEY not in str(failed.body)
    if isinstance(fault, Refused):
        assert failed.status_code == fault.status
        assert f"openai: {fault.message}" in str(failed)
        assert failed.response.headers["X-Upstream-Request-ID"] == service.requests[0].request_id
        assert failed.response.headers.get("retry-after") == fault.headers.get("retry-after")


async def test_a_bad_key_is_told_apart_and_is_not_repeated(service: GptImage) -> None:
    async with GptImage(key="another") as strict, proxied(strict) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.images.generate(model="gpt-image-2", prompt="x")
    assert caught.value.code == "invalid_api_key"
    assert KEY not in str(caught.value.body)  # the service says it over again


async def test_a_client_that_leaves_cancels_the_call(service: GptImage, client: openai.AsyncOpenAI) -> None:
    hang = Hang()
    service.script(hang)
    asked = asyncio.create_task(client.images.generate(model="gpt-image-2", prompt="x"))
    await hang.arrived.wait()
    asked.cancel()
    await asyncio.wait_for(hang.gone.wait(), 2)
    assert service.requests[0].gone


async def test_a_gateways_data_urls_are_read(service: GptImage, client: openai.AsyncOpenAI) -> None:
    """Fact 16."""
    service.prefix = "data:image/png;base64,"
    assert opened(first(await client.images.generate(model="gpt-image-2", prompt="x"))).size == (256, 256)


def test_an_answer_without_pictures_is_none() -> None:
    with pytest.raises((InvalidReply, LookupError, CallError)):
        course(reply=Reply(body=b"{}"))


def test_the_pages_config_loads() -> None:
    text = (DOCS / "openai.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"OPENAI_API_KEY": "x"})
