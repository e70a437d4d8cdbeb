"""OpenRouter's image models through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

from __future__ import annotations

import base64
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

from plugins.image_edit import Image, Job, Link, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from plugins.openrouter import OpenRouter
from plugins.openrouter.models import MODELS
from proxy_core import Failure
from proxy_core.testing import loaded, running
from tests.emulators import openrouter as service_module
from tests.emulators.openrouter import KEY, MODELS_TO_TRY, Cut, Failed, Raw, Refused, Said
from tests.pictures import BLUE, GREEN, RED, mask, opened, png

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = OpenRouter(api_key=Secret("sk-or-0123456789"))
MODEL = "google/gemini-3.1-flash-image"
PAINTER = "black-forest-labs/flux.2-pro"
Service = service_module.OpenRouter


def told(*urls: str, **more: Any) -> Reply:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    message = {"role": "assistant", "content": "", "images": images}
    choices = [{"finish_reason": "stop", "message": message}]
    return Reply(body=orjson.dumps({"id": "gen-1", "model": "vendor/model", "choices": choices, **more}))


INLINE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "cost": 0.04}
GOOD = told(INLINE, usage=USAGE)


class TestOpenRouter(ProviderConformance):
    plugin = OpenRouter
    config = {"api_key": "not-a-real-one"}
    model = MODEL
    replies = [GOOD]


# --- rules and steps ---


def course(model: str = MODEL, reply: Reply = GOOD, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), [reply])


def sent(model: str = MODEL, **more: Any) -> dict[str, Any]:
    (call,) = course(model, **more).calls
    value: dict[str, Any] = orjson.loads(payload(call))
    return value


@pytest.mark.parametrize(("model", "modalities"), [(MODEL, ["image", "text"]), (PAINTER, ["image"])])
def test_a_model_that_only_paints_is_not_asked_for_text(model: str, modalities: list[str]) -> None:
    value = sent(model)
    assert value == {"model": model, "messages": [{"role": "user", "content": "a hat"}], "modalities": modalities}


def test_references_follow_the_prompt_as_bytes_or_as_links() -> None:
    value = sent(references=(Image(PNG), Link("https://a.example/b.png?sig=%2F")))
    (turn,) = value["messages"]
    assert [part["type"] for part in turn["content"]] == ["text", "image_url", "image_url"]
    assert [part["image_url"]["url"] for part in turn["content"][1:]] == [INLINE, "https://a.example/b.png?sig=%2F"]


@pytest.mark.parametrize(
    ("model", "given", "config"),
    [
        (MODEL, {"aspect_ratio": "16:9"}, {"aspect_ratio": "16:9"}),
        (MODEL, {"size": "2048x2048"}, {"aspect_ratio": "1:1", "image_size": "2K"}),
        (MODEL, {"resolution": "4k"}, {"image_size": "4K"}),
        (MODEL, {"size": "1024x1024"}, {"aspect_ratio": "1:1", "image_size": "1K"}),
        (MODEL, {"aspect_ratio": "1:8"}, {"aspect_ratio": "9:16"}),
        (PAINTER, {"size": "1024x1024", "quality": "high"}, {"aspect_ratio": "1:1"}),
        (PAINTER, {"resolution": "4K"}, None),
        (PAINTER, {"resolution": "1K"}, None),
    ],
)
def test_shapes(model: str, given: dict[str, str], config: dict[str, str] | None) -> None:
    """Facts 7 and 28: a size is a ratio and a label here, and the label has a capital K."""
    assert sent(model, **given).get("image_config") == config


def test_the_answer() -> None:
    """Fact 16: the picture is a data URL; a link would do as well."""
    note, image = course().outputs
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    cost = {"amount": "0.04", "currency": "USD"}
    assert note == Note(model="vendor/model", usage=usage, cost=cost, request_id="gen-1")
    assert b"".join(image.chunks()) == PNG
    note, hosted = course(reply=told("https://cdn.example/a.png")).outputs
    assert (note.usage, hosted.url) == (None, "https://cdn.example/a.png")


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        ({"prompt_tokens": None, "completion_tokens": 7, "total_tokens": None}, [0, 7, 7], None),
        ({"prompt_tokens": 5, "completion_tokens": None, "cost": 1e-7}, None, "0.0000001"),
        ({"cost": "free"}, None, None),
        ([1], None, None),
        (None, None, None),
    ],
)
def test_what_a_picture_took_never_costs_the_picture(usage: Any, tokens: list[int] | None, cost: str | None) -> None:
    note, image = course(reply=told(INLINE, usage=usage)).outputs
    assert (note.usage and [*note.usage.values()]) == tokens
    assert (note.cost and note.cost["amount"]) == cost
    assert b"".join(image.chunks()) == PNG


@pytest.mark.parametrize("broken", [{}, {"image_url": None}, {"image_url": {"url": 7}}, "text", None])
def test_what_is_broken_of_several_costs_no_other(broken: Any) -> None:
    """All are paid for: what came whole is delivered, whatever lies beside it."""
    answer = orjson.loads(told(INLINE, INLINE).body)
    answer["choices"][0]["message"]["images"][1:1] = [broken]
    _, first_one, failed, second = course(reply=Reply(body=orjson.dumps(answer))).outputs
    assert b"".join([*first_one.chunks(), *second.chunks()]) == PNG * 2
    assert (failed.error.status, failed.error.failure) == (502, Failure.UNKNOWN)


@pytest.mark.parametrize("wrong", [{"base_url": URL("https://u:p@a.example")}, {"site_name": "caf\xe9\r\nX: y"}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OpenRouter(api_key=Secret("k"), **wrong)


def test_whose_application_it_is() -> None:
    ours = OpenRouter(api_key=Secret("k" * 8), site_url="https://ours.example", site_name="Ours")
    (call,) = run_steps(ours.edit(Job(name=MODEL, model=MODEL, like=MODEL, prompt="x")), [GOOD]).calls
    assert (call.headers["HTTP-Referer"], call.headers["X-Title"]) == ("https://ours.example", "Ours")


# --- through a running proxy ---


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as service:
        yield service


@asynccontextmanager
async def proxied(service: Service, *, max_retries: int = 2, **image_edit: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    made = service_module.setup(service)
    plugins = {**made["plugins"], "image_edit": {**made["plugins"]["image_edit"], **image_edit}}
    config = {"proxy": {"plugins": ["access_log", "signing", "image_edit", "openrouter"]}, "plugins": plugins}
    async with (
        running(config, environ=made["environ"]) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="the-clients-own", max_retries=max_retries) as client,
    ):
        yield client


@pytest.fixture
async def client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
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


def colours(picture: bytes, count: int) -> list[object]:
    """Of the references in a picture that the emulator drew: it puts them side by side."""
    image = opened(picture)
    return [image.getpixel((image.width * (2 * place + 1) // (2 * count), image.height // 2)) for place in range(count)]


@pytest.mark.parametrize("model", MODELS)
async def test_every_model_on_every_surface(service: Service, client: openai.AsyncOpenAI, model: str) -> None:
    """Facts 1, 12, 15 and 30."""
    assert set(MODELS) == set(MODELS_TO_TRY)
    three = [png(colour=colour) for colour in (RED, GREEN, BLUE)]
    made = await client.images.generate(model=model, prompt="a lighthouse", size="1024x1024", response_format="b64_json")
    one = await client.images.edit(model=model, image=png(colour=BLUE), prompt="add a hat")
    many = await client.images.edit(model=model, image=three, prompt="one scene", size="1536x1024")
    body = {"model": model, "prompt": "one scene", "images": [{"image_url": data_url(picture)} for picture in three]}
    listed = await client.post("/images/edits", body=body, cast_to=ImagesResponse)
    chat = await client.chat.completions.create(model=model, messages=turn("one scene", *three))
    stream = await client.chat.completions.create(model=model, messages=turn("add a hat", png(colour=GREEN)), stream=True)
    streamed = [c.choices[0].delta.images[0] async for c in stream if hasattr(c.choices[0].delta, "images")]

    assert opened(first(made)).size == (256, 256)
    assert made.created > 1_700_000_000
    assert colours(first(one), 1) == [BLUE]
    chatted: Any = chat.choices[0].message
    pictures = [first(many), first(listed), base64.b64decode(chatted.images[0]["image_url"]["url"].partition(",")[2])]
    for picture in pictures:
        assert colours(picture, 3) == [RED, GREEN, BLUE]
    assert colours(base64.b64decode(streamed[0]["image_url"]["url"].partition(",")[2]), 1) == [GREEN]
    assert service.pictures == 6
    assert service.requests[2].references == [hashlib.sha256(picture).hexdigest() for picture in three]


async def test_keys_and_ids(service: Service, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.with_raw_response.generate(model=MODEL, prompt="x")
    assert service.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert "the-clients-own" not in str(service.requests[0].headers)
    assert answer.headers["X-Upstream-Request-ID"] == "gen-1"
    usage = (await client.images.generate(model=MODEL, prompt="x")).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (12, 1290, 1302)


async def test_several_pictures_are_several_chats(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 12."""
    answer = await client.images.edit(model=MODEL, image=png(), prompt="x", n=3)
    assert len({one.b64_json for one in answer.data or ()}) == 3
    assert len(service.requests) == 3


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    extra = {"seed": 7, "background": "transparent", "output_format": "webp", "aspect_ratio": "1:3"}
    answer = await client.images.generate(model=MODEL, prompt="x", quality="high", extra_body=extra)
    assert answer.model_extra is not None
    told = " ".join(answer.model_extra["warnings"])
    for name in ("seed", "background", "output_format", "aspect ratio", "quality"):
        assert name in told
    assert service.requests[0].body["image_config"] == {"aspect_ratio": "9:16"}
    async with proxied(service, unsupported="reject") as strict:
        for name, value in extra.items():
            with pytest.raises(openai.BadRequestError) as caught:
                await strict.images.generate(model=MODEL, prompt="x", extra_body={name: value})
            assert caught.value.param == name
    assert len(service.requests) == 1


async def test_a_mask_and_too_many_references_are_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13."""
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=MODEL, image=png(), mask=mask((96, 64)), prompt="x")
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.edit(model="google/gemini-2.5-flash-image", image=[png()] * 4, prompt="x")
    assert (masked.value.param, many.value.param) == ("mask", "image[3]")
    assert not service.requests


async def test_a_ratio_that_was_not_honoured_is_named(service: Service, client: openai.AsyncOpenAI) -> None:
    square = told(data_url(png((64, 64)))).body
    service.script(Raw(body=bytes(square)))
    answer = await client.images.generate(model=PAINTER, prompt="x", extra_body={"aspect_ratio": "16:9"})
    assert answer.model_extra is not None
    assert answer.model_extra["warnings"] == ["aspect_ratio 16:9 was asked for, and picture 1 has 64x64 pixels"]


MODERATED = {"reasons": ["violence"], "flagged_input": "...", "provider_name": "X", "model_slug": "a/b"}
FLAGGED = {**MODERATED, "reasons": []}
DEEP = {"provider_name": "Vendor", "raw": {"error": {"message": "deep"}}}
BEHIND = {"provider_name": "Vendor", "raw": "the vendor's words"}


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "words"),
    [
        (Refused(400, "bad"), 400, "invalid_value", None, "bad"),
        (Refused(400, "a/b is not a valid model ID"), 404, "model_not_found", None, "a/b is not"),
        (Refused(401, "User not found."), 401, "invalid_api_key", None, "User not found"),
        (Refused(402, "Insufficient credits"), 429, "insufficient_quota", "false", "Insufficient credits"),
        (Refused(403, "Key limit exceeded"), 403, "permission_denied", None, "Key limit"),
        (Refused(403, "flagged", MODERATED), 400, "content_policy_violation", None, "reasons: violence"),
        (Refused(403, "flagged", FLAGGED), 400, "content_policy_violation", None, "flagged"),
        (Refused(404, "No endpoints found"), 404, "model_not_found", None, "No endpoints"),
        (Refused(408, "timed out"), 408, "upstream_error", "false", "timed out"),
        (Refused(413, "too large"), 413, "upstream_error", None, "too large"),
        (Refused(429, "slow down", None, **{"Retry-After": "7"}), 429, "rate_limit_exceeded", None, "slow down"),
        (Refused(502, "Provider returned error", BEHIND), 502, "upstream_error", "false", "Vendor; the vendor's words"),
        (Refused(502, "Provider returned error", DEEP), 502, "upstream_error", "false", 'Vendor; {"error":{"message":"deep"}}'),
        (Refused(503, "none available"), 503, "overloaded", None, "none available"),
        (Failed(code=429, metadata=BEHIND), 429, "rate_limit_exceeded", "false", "the vendor's words"),
        (Failed(code=403, message="no", metadata=MODERATED), 400, "content_policy_violation", "false", "violence"),
        (Failed(code=500, within=True), 500, "upstream_error", "false", "Provider returned error"),
        (Raw(body=b'{"error": {"code": "429", "message": "haste"}}'), 429, "rate_limit_exceeded", "false", "haste"),
        (Failed(code=7), 502, "upstream_error", "false", "Provider returned error"),
        (Said(content="I would rather not."), 502, "no_image", "false", "I would rather not."),
        (Said(native="IMAGE_SAFETY"), 400, "content_policy_violation", "false", "IMAGE_SAFETY"),
        (Said(refusal="No."), 400, "content_policy_violation", "false", "No."),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b'{"choices": []}'), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b"[]", status=500), 500, "upstream_error", "false", "no reason"),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, words: str) -> None:
    """Facts 9, 19, 20 and 21: each with its meaning, and none that an SDK would pay for twice."""
    async with proxied(service, max_retries=0) as client:
        service.script(fault)
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.edit(model=MODEL, image=png(), prompt="x")
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert words in error.message
    assert error.response.headers.get("retry-after") == ("7" if words == "slow down" else None)
    assert len(service.requests) == 1


async def test_one_of_several_that_fails_is_told(service: Service, client: openai.AsyncOpenAI) -> None:
    service.script(Said(native="IMAGE_SAFETY"))
    answer = await client.images.generate(model=MODEL, prompt="x", n=2)
    assert len(answer.data or ()) == 1
    assert answer.model_extra is not None
    assert "no picture was made" in answer.model_extra["warnings"][0]


def test_the_page_is_right() -> None:
    text = (DOCS / "openrouter.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"OPENROUTER_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
