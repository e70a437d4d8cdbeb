"""Gemini's image models through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import tomllib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from openai.types import ImagesResponse
from yarl import URL

from plugins.gemini import Gemini
from plugins.gemini.errors import refused
from plugins.gemini.models import MODELS
from plugins.image_edit import Image, InvalidReply, Job, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from proxy_core import ClientError, Failure, UpstreamRefusal
from proxy_core.testing import loaded
from tests.emulators import gemini as service_module
from tests.emulators.gemini import KEY, MODELS_TO_TRY, Blocked, Cut, Drafts, Ended, Raw, Seen, Several, google, setup
from tests.pictures import mask, opened, png
from tests.surfaces import THREE, chat_picture, data_url, edited, first, generated, proxied, turn, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
Service = service_module.Gemini
SERVICE = Gemini(api_key=Secret("AIza-0123456789"))
FLASH, OLD, LITE, PRO, NEW = (
    "gemini-3.1-flash-image",
    "gemini-2.5-flash-image",
    "gemini-3.1-flash-lite-image",
    "gemini-3-pro-image",
    "gemini-nano-banana-2.1",
)
B64 = base64.b64encode(PNG).decode()
PICTURE = {"inlineData": {"mimeType": "image/png", "data": B64}}
USAGE = {
    "promptTokenCount": 267,
    "candidatesTokenCount": 1290,
    "thoughtsTokenCount": 100,
    "totalTokenCount": 1657,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}, {"modality": "IMAGE", "tokenCount": 258}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
}


def told(*parts: Mapping[str, Any], **more: Any) -> Reply:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return Reply(body=orjson.dumps({"candidates": [candidate], "modelVersion": "m-1", "responseId": "r-1", **more}))


GOOD = told({"text": "Here it is."}, PICTURE, usageMetadata=USAGE)


class TestGemini(ProviderConformance):
    plugin = Gemini
    config = {"api_key": "not-a-real-one"}
    model = FLASH
    replies = [GOOD]


# --- rules and steps ---


def course(model: str = FLASH, reply: Reply = GOOD, provider: Gemini = SERVICE, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(provider.edit(fit(asked, MODELS[model], reject=False)[0]), [reply])


def sent(model: str = FLASH, **more: Any) -> dict[str, Any]:
    (call,) = course(model, **more).calls
    value: dict[str, Any] = orjson.loads(payload(call))
    return value


def test_the_models_are_those_that_are_left() -> None:
    """Fact 27: Imagen is gone from this API."""
    assert set(MODELS) == set(MODELS_TO_TRY)
    assert not [name for name in MODELS if name.startswith("imagen")]


@pytest.mark.parametrize("model", MODELS)
def test_a_generation_is_the_fewest_fields(model: str) -> None:
    """Facts 12 and 28: no `n`; and the key is in a header of its own."""
    (call,) = course(model).calls
    host = "https://generativelanguage.googleapis.com"
    assert (call.method, str(call.url)) == ("POST", f"{host}/v1beta/models/{model}:generateContent")
    assert call.headers == {"x-goog-api-key": "AIza-0123456789"}
    contents = [{"role": "user", "parts": [{"text": "a hat"}]}]
    assert sent(model) == {"contents": contents, "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}
    assert SERVICE.batch == 1


@pytest.mark.parametrize("name", ["a/b", "../x", "m?key=1", "m#f", "50%", "a b"])
def test_a_models_name_is_one_step_of_the_path(name: str) -> None:
    (call,) = run_steps(SERVICE.edit(Job(name="x", model=name, like=FLASH, prompt="x")), [GOOD]).calls
    path = call.url.raw_path_qs
    assert path.startswith("/v1beta/models/")
    assert path.endswith(":generateContent")
    assert path.count("/") == 3
    assert (call.url.query_string, call.url.fragment) == ("", "")
    assert call.url.path == f"/v1beta/models/{name}:generateContent"


def test_references_follow_the_prompt_in_order_by_what_they_are() -> None:
    """Facts 15 and 16: types are sniffed, and base64 is bare."""
    jpeg, heic = b"\xff\xd8\xff one", b"\x00\x00\x00\x18ftypheic two"
    (turn,) = sent(references=(Image(PNG), Image(jpeg), Image(heic)))["contents"]
    assert turn["parts"] == [
        {"text": "a hat"},
        PICTURE,
        {"inlineData": {"mimeType": "image/jpeg", "data": base64.b64encode(jpeg).decode()}},
        {"inlineData": {"mimeType": "image/heic", "data": base64.b64encode(heic).decode()}},
    ]


@pytest.mark.parametrize(
    ("model", "given", "config"),
    [
        (FLASH, {"aspect_ratio": "16:9"}, {"aspectRatio": "16:9"}),
        (FLASH, {"aspect_ratio": "1:8"}, {"aspectRatio": "1:8"}),
        (NEW, {"aspect_ratio": "4:1"}, {"aspectRatio": "4:1"}),
        (PRO, {"aspect_ratio": "1:8"}, {"aspectRatio": "9:16"}),
        (FLASH, {"aspect_ratio": "auto"}, None),
        (FLASH, {"size": "auto"}, None),
        (FLASH, {"size": "1024x1024"}, {"aspectRatio": "1:1", "imageSize": "1K"}),
        (FLASH, {"size": "2048x2048"}, {"aspectRatio": "1:1", "imageSize": "2K"}),
        (FLASH, {"size": "512x512"}, {"aspectRatio": "1:1", "imageSize": "512"}),
        (PRO, {"size": "512x512"}, {"aspectRatio": "1:1", "imageSize": "1K"}),
        (PRO, {"size": "16:9", "resolution": "2k"}, {"aspectRatio": "16:9", "imageSize": "2K"}),
        (PRO, {"size": "4k"}, {"imageSize": "4K"}),
        (FLASH, {"resolution": "512"}, {"imageSize": "512"}),
        (NEW, {"resolution": "4K"}, {"imageSize": "4K"}),
        (OLD, {"size": "1024x1024"}, {"aspectRatio": "1:1"}),
        (OLD, {"resolution": "2K"}, None),
        (OLD, {"resolution": "1K"}, None),
        (LITE, {"resolution": "4K", "aspect_ratio": "21:9"}, {"aspectRatio": "21:9"}),
    ],
)
def test_shapes(model: str, given: dict[str, str], config: dict[str, str] | None) -> None:
    """Facts 7 and 28: a size is a ratio and a label here, with a capital K; 2.5 and lite have no label."""
    assert sent(model, **given)["generationConfig"].get("imageConfig") == config


@pytest.mark.parametrize("model", [OLD, LITE, PRO])
@pytest.mark.parametrize("given", [{"size": "1024x1024"}, {"resolution": "1K"}, {"aspect_ratio": "16:9"}, {"seed": 7}])
def test_ordinary_wishes_are_met_without_a_word(model: str, given: dict[str, Any]) -> None:
    asked = Job(name=model, model=model, like=model, prompt="x", **given)
    assert fit(asked, MODELS[model], reject=True)[1] == []


@pytest.mark.parametrize(("seed", "taken"), [(7, 7), (0, 0), (-1, -1), (2**31, None)])
def test_a_seed_has_32_bits(seed: int, taken: int | None) -> None:
    assert sent(seed=seed)["generationConfig"].get("seed") == taken


def test_the_answer() -> None:
    """Facts 15 and 16: what is beside the picture is not one; a data URL is read too."""
    note, image = course().outputs
    usage = {
        "input_tokens": 267,
        "output_tokens": 1390,
        "total_tokens": 1657,
        "input_tokens_details": {"text_tokens": 9, "image_tokens": 258},
        "output_tokens_details": {"text_tokens": 100, "image_tokens": 1290},
    }
    assert note == Note(model="m-1", usage=usage, request_id="r-1")
    assert b"".join(image.chunks()) == PNG
    prefixed = {"inlineData": {"mimeType": "image/png", "data": f"data:image/png;base64,{B64}"}}
    note, image = course(reply=told(prefixed, usageMetadata={"totalTokenCount": 5})).outputs
    assert note.usage == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 5}
    assert b"".join(image.chunks()) == PNG
    assert course(reply=told(PICTURE, usageMetadata=[1])).outputs[0].usage is None


def test_drafts_are_no_results() -> None:
    """Fact 29."""
    draft = {"thought": True, "inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"\x89PNG draft").decode()}}
    (image,) = course(reply=told(draft, {"text": "hm", "thought": True}, PICTURE, {**draft})).pictures
    assert isinstance(image, Image)
    assert b"".join(image.chunks()) == PNG
    with pytest.raises(UpstreamRefusal, match=r"no picture was made \(STOP\)$"):
        course(reply=told(draft, {"text": "secret thoughts", "thought": True}))


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"error": {"message": "x"}}, {"responseId": 7}])
def test_an_answer_of_another_kind_is_none(body: object) -> None:
    with pytest.raises(InvalidReply):
        course(reply=Reply(body=orjson.dumps(body)))


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        *((reason, "content_policy_violation") for reason in ("SAFETY", "PROHIBITED_CONTENT", "IMAGE_SAFETY")),
        *((reason, "content_policy_violation") for reason in ("IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "RECITATION")),
        *((reason, "no_image") for reason in ("NO_IMAGE", "IMAGE_OTHER", "MAX_TOKENS", "STOP", "SOMETHING_NEW")),
    ],
)
def test_a_200_without_a_picture(reason: str, code: str) -> None:
    """Fact 9: every reason of the contract, with the model's words; what it thought may be charged."""
    candidate = {"content": {"parts": [{"text": "I could not."}]}, "finishReason": reason, "finishMessage": "Sorry."}
    with pytest.raises(UpstreamRefusal) as caught:
        course(reply=Reply(body=orjson.dumps({"candidates": [candidate], "responseId": "r-9"})))
    error = caught.value
    assert (error.status, error.code) == (400 if code == "content_policy_violation" else 502, code)
    assert error.message == f"gemini: no picture was made ({reason}): Sorry. I could not."
    assert error.failure is Failure.UNKNOWN
    assert error.headers["X-Upstream-Request-ID"] == "r-9"


def test_what_a_model_says_is_cut() -> None:
    with pytest.raises(UpstreamRefusal) as caught:
        course(reply=told({"text": "no " * 5000}))
    assert len(caught.value.message) < 700


def test_a_request_that_is_too_long_is_refused_before_it_is_sent() -> None:
    """Google's texts say 20 MB and 100: 20 is right either way, and a key says 100."""
    large = Image(PNG, bytes(6_000_000))
    assert len(course(PRO, references=(large, large)).calls) == 1
    with pytest.raises(ClientError, match="in one request; send smaller ones") as caught:
        course(PRO, references=(large, large, large))
    assert caught.value.param == "image[2]"
    assert len(course(PRO, references=(large,) * 9, provider=dataclasses.replace(SERVICE, inline_limit=100_000_000)).calls) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"base_url": URL("https://u:p@a.example")}, "base_url"),
        ({"base_url": URL("https://a.example/v1beta?key=x")}, "base_url"),
        ({"base_url": URL("https://a.example/v1beta/openai/")}, "leave out /openai"),
        ({"inline_limit": 0}, "inline_limit"),
    ],
)
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Gemini(api_key=Secret("k"), **wrong)


@pytest.mark.parametrize("details", [7, [7], [{"@type": 3}], [{"@type": "a.BadRequest", "fieldViolations": [[]]}], [{}]])
@pytest.mark.parametrize("message", ["no", None, ["x"]])
def test_a_refusal_in_no_known_shape(details: object, message: object) -> None:
    """Facts 20 and 21: numbers for codes, one-element lists, and worse."""
    error = {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}
    for body in (error, [error]):
        made = refused(Reply(status=429, body=orjson.dumps(body)), "gemini")
        assert (made.status, made.code, made.param) == (429, "rate_limit_exceeded", None)
    for raw in (b"", b"<html>", b"[]", b'{"error": "text"}'):
        assert refused(Reply(status=403, body=raw), "gemini").code == "permission_denied"


@pytest.mark.parametrize(("delay", "header"), [("23s", "23"), ("37.82626638s", "38"), ("0.2s", "1"), ("soon", None), (9, None)])
def test_when_to_come_again(delay: object, header: str | None) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    error = {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": details}}
    assert refused(Reply(status=429, body=orjson.dumps(error)), "gemini").headers.get("retry-after") == header


# --- through a running proxy ---


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with proxied(setup(service)) as client:
        yield client


def config_of(seen: Seen) -> Mapping[str, Any]:
    config: Mapping[str, Any] = seen.body["generationConfig"]
    return config


@pytest.mark.parametrize("model", MODELS)
async def test_every_model_on_every_surface(service: Service, client: openai.AsyncOpenAI, model: str) -> None:
    """Facts 1, 12, 15, 26, 29 and 30: one picture each, told as what it is, and each edit holds its references."""
    kind = "image/png" if model == OLD else "image/jpeg"
    assert {Image(picture).media_type for picture in await generated(client, model)} == {kind}
    await edited(client, model)
    assert [seen.pictures for seen in service.requests] == [1] * 8
    assert service.requests[4].references == [hashlib.sha256(picture).hexdigest() for picture in THREE]
    made = await client.images.edit(model=model, image=THREE[0], prompt="x", size="1024x1024")
    assert (len(made.data or ()), made.output_format, warnings(made)) == (1, kind.removeprefix("image/"), [])


async def test_types_are_sniffed_and_bytes_unchanged(service: Service, client: openai.AsyncOpenAI) -> None:
    """Facts 15 and 26: whatever a form claims."""
    pictures = [png(), png(kind="JPEG"), png(kind="WEBP"), b"\x00\x00\x00\x18ftypheic" + bytes(64)]
    await client.images.edit(model=FLASH, image=[("x.gif", one, "application/octet-stream") for one in pictures], prompt="x")
    (seen,) = service.requests
    blobs = [part["inlineData"] for part in seen.body["contents"][0]["parts"][1:]]
    assert [blob["mimeType"] for blob in blobs] == ["image/png", "image/jpeg", "image/webp", "image/heic"]
    assert [base64.b64decode(blob["data"]) for blob in blobs] == pictures


async def test_keys_and_ids(service: Service, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.with_raw_response.generate(model=FLASH, prompt="x")
    (seen,) = service.requests
    assert seen.headers["x-goog-api-key"] == KEY
    assert seen.path == f"/v1beta/models/{FLASH}:generateContent"
    assert "the-clients-own" not in str(seen.headers)
    assert answer.headers["X-Upstream-Request-ID"] == "r1"


async def test_n_is_as_many_calls(service: Service, client: openai.AsyncOpenAI) -> None:
    """Facts 12 and 26: fanned out, from a form's text too; usage and its details are added up."""
    answer = await client.images.edit(model=FLASH, image=png(), prompt="x", n=3)
    assert len({one.b64_json for one in answer.data or ()}) == 3
    assert service.pictures == len(service.requests) == 3
    assert answer.usage is not None
    assert answer.usage.model_dump()["output_tokens_details"] == {"text_tokens": 300, "image_tokens": 3870}
    assert (answer.usage.input_tokens_details.text_tokens, answer.usage.input_tokens_details.image_tokens) == (27, 774)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens == 4971
    chat = await client.chat.completions.create(model=FLASH, messages=turn("x"), n=2)
    assert len(chat.choices[0].message.images) == 2  # type: ignore[attr-defined]
    assert chat.usage is not None
    assert chat.usage.completion_tokens == 2780


@pytest.mark.parametrize(("n", "came"), [(1, 3), (2, 4)])
async def test_all_that_one_call_draws_are_results(service: Service, client: openai.AsyncOpenAI, n: int, came: int) -> None:
    """They are paid for; none is dropped, and none made up."""
    service.script(Several(3))
    answer = await client.images.generate(model=PRO, prompt="x", n=n)
    assert len({one.b64_json for one in answer.data or ()}) == came
    assert service.pictures == came
    assert len(service.requests) == n
    assert not warnings(answer)


@pytest.mark.parametrize("surface", ["form", "json", "chat"])
async def test_a_mask_is_refused(service: Service, client: openai.AsyncOpenAI, surface: str) -> None:
    """Fact 13: on every surface, before anything is paid."""
    given = {"images": [{"image_url": data_url(png())}], "mask": {"image_url": data_url(mask((96, 64)))}}
    asked: dict[str, Any] = {
        "form": lambda: client.images.edit(model=FLASH, image=png(), mask=mask((96, 64)), prompt="x"),
        "json": lambda: client.post("/images/edits", body={"model": FLASH, "prompt": "x", **given}, cast_to=ImagesResponse),
        "chat": lambda: client.chat.completions.create(
            model=FLASH, messages=turn("x", png()), extra_body={"mask": data_url(mask((96, 64)))}
        ),
    }
    with pytest.raises(openai.BadRequestError, match="cannot honour a mask") as caught:
        await asked[surface]()
    assert caught.value.param == "mask"
    assert not service.requests


@pytest.mark.parametrize(
    ("asked", "arrived"),
    [
        ({"aspect_ratio": "16:9"}, {"imageConfig": {"aspectRatio": "16:9"}}),
        ({"size": "16:9", "resolution": "2k"}, {"imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}}),
        ({"size": "512x512"}, {"imageConfig": {"aspectRatio": "1:1", "imageSize": "512"}}),
        ({"resolution": "2K", "aspect_ratio": "1:1"}, {"imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"}}),
        ({"seed": 7, "aspect_ratio": "1:1"}, {"seed": 7, "imageConfig": {"aspectRatio": "1:1"}}),
    ],
)
async def test_what_is_honoured_is_so_everywhere(service: Service, asked: dict[str, Any], arrived: dict[str, Any]) -> None:
    """Fact 28. With `reject`, so that nothing is changed behind our back."""
    async with proxied(setup(service), unsupported="reject") as client:
        made = await client.images.generate(model=FLASH, prompt="x", extra_body=asked)
        edited = await client.images.edit(model=FLASH, image=png(), prompt="x", extra_body=asked)
        chat = await client.chat.completions.create(model=FLASH, messages=turn("x", png()), extra_body=asked)
    for seen in service.requests:
        assert config_of(seen) == {"responseModalities": ["TEXT", "IMAGE"], **arrived}
    for picture in (first(made), first(edited), chat_picture(chat)):
        width, height = map(int, arrived["imageConfig"]["aspectRatio"].split(":"))
        assert abs(opened(picture).width / opened(picture).height - width / height) < 0.02


async def test_a_seed_makes_the_same_picture_again(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": FLASH, "prompt": "x", "extra_body": {"seed": 7}}
    assert first(await client.images.generate(**asked)) == first(await client.images.generate(**asked))


CHANGED: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    ("size", {"size": "1536x1024"}, {"aspectRatio": "3:2", "imageSize": "1K"}),
    ("aspect_ratio", {"aspect_ratio": "5:1"}, {"aspectRatio": "4:1"}),
    ("resolution", {"resolution": "8K"}, {"imageSize": "4K"}),
    ("quality", {"quality": "high"}, None),
    ("output_format", {"output_format": "webp"}, None),
    ("background", {"background": "transparent"}, None),
    ("seed", {"seed": 2**40}, None),
    ("negative_prompt", {"negative_prompt": "rain"}, None),
    ("watermark", {"watermark": True}, None),
    ("personGeneration", {"personGeneration": "ALLOW_ALL"}, None),
]


@pytest.mark.parametrize(("name", "asked", "arrived"), CHANGED, ids=[name for name, _, _ in CHANGED])
async def test_what_cannot_be_done_is_named_or_refused(
    service: Service, client: openai.AsyncOpenAI, name: str, asked: dict[str, Any], arrived: dict[str, Any] | None
) -> None:
    """Unknown keys are a 400 at Google: none gets there."""
    made = await client.images.generate(model=FLASH, prompt="x", extra_body=asked)
    edited = await client.images.edit(model=FLASH, image=png(), prompt="x", extra_body=asked)
    for seen in service.requests:
        assert config_of(seen).get("imageConfig") == arrived
        assert config_of(seen).keys() <= {"responseModalities", "imageConfig"}
    for answer in (made, edited):
        assert name.replace("_", " ") in warnings(answer)[0].replace("_", " ")
    async with proxied(setup(service), unsupported="reject") as strict:
        with pytest.raises(openai.BadRequestError) as caught:
            await strict.images.edit(model=FLASH, image=png(), prompt="x", extra_body=asked)
    assert caught.value.param == name
    assert len(service.requests) == 2


async def test_references_are_limited(service: Service, client: openai.AsyncOpenAI) -> None:
    await client.images.edit(model=FLASH, image=[png((20 + place, 20)) for place in range(14)], prompt="x")
    assert len(service.requests[0].references) == 14
    for model, pictures, param, words in (
        (FLASH, [png()] * 15, "image[14]", "takes 14"),
        (OLD, [png()] * 4, "image[3]", "takes 3"),
        (FLASH, [png(), png(kind="GIF")], "image[1]", "is image/gif; it must be heic, heif, jpeg, png, webp"),
        (PRO, [png(), png() + bytes(15_000_000)], "image[1]", "send smaller ones"),
    ):
        with pytest.raises(openai.BadRequestError, match=words) as caught:
            await client.images.edit(model=model, image=pictures, prompt="x")
        assert caught.value.param == param
    assert len(service.requests) == 1


async def test_a_link_is_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """fileData is for Google's own files: a public link is no safe bet there."""
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
    messages: Any = [{"role": "user", "content": content}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=FLASH, messages=messages)
    assert caught.value.code == "link_not_supported"
    assert not service.requests


def info(kind: str, **more: Any) -> dict[str, Any]:
    return {"@type": kind, **more}


FREE = "You exceeded your current quota.\n* Quota exceeded for metric: free_tier_requests, limit: 0, model: x"
UNKNOWN_KEY = info("BadRequest", fieldViolations=[{"field": "generation_config", "description": "x"}])
ERRORS: list[tuple[Any, int, str, str | None, str]] = [
    (google(400, "bad", "INVALID_ARGUMENT"), 400, "invalid_value", None, "gemini: bad"),
    (
        google(400, 'Unknown name "x": Cannot find field.', "INVALID_ARGUMENT", UNKNOWN_KEY),
        400,
        "unknown_parameter",
        None,
        "Unknown name",
    ),
    (google(400, "Not in your country.", "FAILED_PRECONDITION"), 400, "failed_precondition", None, "country"),
    (google(400, "no", "INVALID_ARGUMENT", info("ErrorInfo", reason="API_KEY_INVALID")), 401, "invalid_api_key", None, "no"),
    (google(400, "API key expired. Please renew.", "INVALID_ARGUMENT"), 401, "invalid_api_key", None, "expired"),
    (google(401, "who?", "UNAUTHENTICATED"), 401, "invalid_api_key", None, "who"),
    (google(402, "Credits are depleted.", "RESOURCE_EXHAUSTED"), 429, "insufficient_quota", "false", "depleted"),
    (google(403, "Not you.", "PERMISSION_DENIED"), 403, "permission_denied", None, "Not you."),
    (google(404, "models/x is not found", "NOT_FOUND"), 404, "model_not_found", None, "not found"),
    (
        google(429, "slow down", "RESOURCE_EXHAUSTED", info("RetryInfo", retryDelay="6.2s")),
        429,
        "rate_limit_exceeded",
        None,
        "slow down",
    ),
    (
        google(429, FREE, "RESOURCE_EXHAUSTED", info("RetryInfo", retryDelay="49s")),
        429,
        "insufficient_quota",
        "false",
        "limit: 0",
    ),
    (google(500, "oops", "INTERNAL"), 500, "upstream_error", "false", "oops"),
    (google(503, "The model is overloaded.", "UNAVAILABLE"), 503, "overloaded", None, "overloaded"),
    (google(504, "late", "DEADLINE_EXCEEDED"), 504, "upstream_error", "false", "late"),
    (Blocked("PROHIBITED_CONTENT"), 400, "content_policy_violation", "false", "(PROHIBITED_CONTENT)"),
    (Blocked("OTHER"), 400, "content_policy_violation", "false", "(OTHER)"),
    (
        Ended(reason="IMAGE_SAFETY", message="Filtered."),
        400,
        "content_policy_violation",
        "false",
        "no picture was made (IMAGE_SAFETY): Filtered.",
    ),
    (Ended(reason="NO_IMAGE"), 502, "no_image", "false", "no picture was made (NO_IMAGE)"),
    (Ended(reason="MAX_TOKENS", text="Let me tell"), 502, "no_image", "false", "(MAX_TOKENS): Let me tell"),
    (Ended(reason="STOP", text="What colour?"), 502, "no_image", "false", "What colour?"),
    (Drafts(), 502, "no_image", "false", "no picture was made (STOP)"),
    (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
    (Raw(body=b"<html>", status=502, content_type="text/html"), 502, "upstream_error", "false", "without a reason"),
    (Raw(body=b""), 502, "invalid_upstream_reply", "false", "not understood"),
    (Raw(body=b"{}"), 502, "invalid_upstream_reply", "false", "without a picture"),
    (Cut(), 502, "upstream_cut", "false", ""),
]


@pytest.mark.parametrize(("fault", "status", "code", "again", "words"), ERRORS)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, words: str) -> None:
    """Facts 9, 19, 20 and 21: each with its meaning, and none that an SDK would pay for twice."""
    async with proxied(setup(service), max_retries=0 if again is None else 2) as client:
        service.script(fault)
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.edit(model=FLASH, image=png(), prompt="x")
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert words in error.message
    assert KEY not in str(error.body)
    assert error.response.headers.get("retry-after") == ("7" if words == "slow down" else None)
    assert error.param == {"unknown_parameter": "generation_config", "model_not_found": "model"}.get(code)
    assert len(service.requests) == 1
    if isinstance(fault, (Blocked, Ended, Drafts)):
        assert error.response.headers["X-Upstream-Request-ID"] == "r1"


async def test_errors_have_openais_classes(service: Service) -> None:
    """A bad key is a 400 at Google."""
    async with Service(key="another") as strict, proxied(setup(strict)) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.images.generate(model=FLASH, prompt="x")
        assert len(strict.requests) == 1
    old = {"imagen": {"provider": "gemini", "model": "imagen-4.0-generate-001", "like": PRO}}
    async with proxied(setup(service), models=old) as client:
        for name in ("imagen", "imagen-4.0-generate-001"):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.images.generate(model=name, prompt="x")
            assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_a_refusal_in_chat_is_an_error_too(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 9: streamed or not, never an empty success."""
    for stream in (False, True):
        service.script(Ended(reason="IMAGE_SAFETY"))
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=FLASH, messages=turn("x", png()), stream=stream)
        assert caught.value.code == "content_policy_violation"


async def test_one_of_several_that_fails_is_told(service: Service, client: openai.AsyncOpenAI) -> None:
    """What the failed one cost is counted."""
    service.script(Ended(reason="NO_IMAGE", text="I drew nothing."))
    answer = await client.images.generate(model=FLASH, prompt="x", n=2)
    assert len(answer.data or ()) == 1
    assert "no picture was made (NO_IMAGE): I drew nothing." in warnings(answer)[0]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (18, 1490)


async def test_a_ratio_that_was_not_honoured_is_named(service: Service, client: openai.AsyncOpenAI) -> None:
    service.script(Raw(body=bytes(GOOD.body)))
    answer = await client.images.generate(model=FLASH, prompt="x", extra_body={"aspect_ratio": "16:9"})
    assert warnings(answer) == ["aspect_ratio 16:9 was asked for, and picture 1 has 1x1 pixels"]


async def test_a_gateways_data_urls_are_read(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 16."""
    service.prefix = "data:image/jpeg;base64,"
    assert opened(first(await client.images.generate(model=FLASH, prompt="x"))).size == (256, 256)


# --- the emulator ---


def with_picture(kind: str, data: str) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": "x"}, {"inlineData": {"mimeType": kind, "data": data}}]}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 2}, 'Unknown name "n": Cannot find field.'),
        ({"generationConfig": {"imageConfig": {"outputMimeType": "image/png"}}}, 'Unknown name "outputMimeType"'),
        ({"generationConfig": {"imageConfig": {"imageSize": "2k"}}}, "image_size"),
        ({"generationConfig": {"imageConfig": {"aspectRatio": "7:5"}}}, "aspect_ratio"),
        ({"generationConfig": {"candidateCount": 2}}, "Multiple candidates"),
        (with_picture("image/gif", B64), "MIME"),
        (with_picture("image/jpeg", B64), "is said to be"),
        (with_picture("image/png", f"data:image/png;base64,{B64}"), "Base64"),
    ],
)
async def test_the_emulator_refuses(service: Service, change: dict[str, Any], words: str) -> None:
    body = {"contents": [{"parts": [{"text": "x"}]}], **change}
    url = f"{service.url}/models/{PRO}:generateContent"
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers={"x-goog-api-key": KEY}) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in error["message"]


def test_the_page_is_right() -> None:
    text = (DOCS / "gemini.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"GEMINI_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
