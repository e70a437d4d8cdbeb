"""FLUX on Together through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from yarl import URL

from plugins.image_edit import HostedImage, Image, Job, Link, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from plugins.together import Together
from plugins.together.models import MODELS
from proxy_core.testing import loaded
from tests.emulators import together as service_module
from tests.emulators.together import MODELS_TO_TRY, Cut, Raw, error
from tests.pictures import mask, opened, png
from tests.surfaces import bytes_of, edited, generated, proxied, refused, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = Together(api_key=Secret("together-0123456789"))
FLUX, KONTEXT, SCHNELL = (f"black-forest-labs/FLUX.{name}" for name in ("2-pro", "1-kontext-pro", "1-schnell"))
Service = service_module.Together
B64 = base64.b64encode(PNG).decode()
GOOD = Reply(body=orjson.dumps({"id": "t1", "model": FLUX, "data": [{"index": 0, "b64_json": B64}]}))


class TestTogether(ProviderConformance):
    plugin = Together
    config = {"api_key": "not-a-real-one"}
    model = FLUX
    replies = [GOOD]


def course(model: str = FLUX, reply: Reply = GOOD, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), [reply])


def sent(model: str = FLUX, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(payload(course(model, **more).calls[0]))
    return value


def test_base64_has_another_name() -> None:
    """Fact 3."""
    (call,) = course().calls
    assert str(call.url) == "https://api.together.xyz/v1/images/generations"
    assert sent() == {"model": FLUX, "prompt": "a hat", "response_format": "base64"}


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        (KONTEXT, {"references": (Image(PNG),)}, {"image_url": f"data:image/png;base64,{B64}"}),
        (FLUX, {"references": (Link("https://a/b"),)}, {"reference_images": ["https://a/b"]}),
        (FLUX, {"size": "1000x600", "n": 3, "seed": 7}, {"width": 1008, "height": 608, "n": 3, "seed": 7}),
        (FLUX, {"aspect_ratio": "16:9"}, {"width": 1360, "height": 768}),
        (SCHNELL, {"resolution": "4K"}, {"width": 1440, "height": 1440}),
        (FLUX, {"extra": {"steps": 4, "negative_prompt": "rain"}}, {"steps": 4, "negative_prompt": "rain"}),
        (FLUX, {"quality": "high", "output_format": "png"}, {"output_format": "png"}),
        (FLUX, {"output_format": "webp"}, {}),
    ],
)
def test_what_is_sent(model: str, given: dict[str, Any], made: dict[str, Any]) -> None:
    value = sent(model, **given)
    assert {name: value[name] for name in value.keys() - {"model", "prompt", "response_format"}} == made


def test_the_answer() -> None:
    """In the order of the index, as base64 or as links."""
    data = [{"index": 1, "url": "https://a/2"}, {"index": 0, "b64_json": B64}]
    note, image, link = course(reply=Reply(body=orjson.dumps({"id": "t1", "data": data}))).outputs
    assert (note, link) == (Note(request_id="t1"), HostedImage("https://a/2"))
    assert image.media_type == "image/png"


def test_a_base_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="base_url"):
        Together(api_key=Secret("k"), base_url=URL("https://u:p@a.example"))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with proxied(service_module.setup(service)) as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
async def test_every_model_on_every_surface(service: Service, client: openai.AsyncOpenAI, model: str) -> None:
    """Facts 1, 3 and 15."""
    assert set(MODELS) == set(MODELS_TO_TRY)
    for picture in await generated(client, model):
        assert opened(picture).size == (256, 256)
    if MODELS[model].references:
        await edited(client, model, most=min(3, MODELS[model].references))
    assert all(seen.status == 200 for seen in service.requests)


async def test_output_format(client: openai.AsyncOpenAI) -> None:
    """Fact 15: as asked, and a JPEG where nothing was."""
    made = [await client.images.generate(model=FLUX, prompt="x", **more) for more in ({}, {"output_format": "png"})]  # type: ignore[call-overload]
    assert [bytes_of(answer)[0][:4] for answer in made] == [b"\xff\xd8\xff\xe0", b"\x89PNG"]
    assert not any(
        "output_format" in warning for answer in made for warning in (answer.model_extra or {}).get("warnings") or ()
    )


async def test_a_form_has_only_text(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 26: the service is sent numbers and switches."""
    extra = {"steps": "4", "guidance_scale": "3.5", "disable_safety_checker": "false", "seed": "7"}
    await client.images.edit(model=FLUX, image=png(), prompt="x", extra_body=extra)
    assert [service.requests[0].body[name] for name in extra] == [4, 3.5, False, 7]


async def test_n(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 12: four at once."""
    answer = await client.images.generate(model=FLUX, prompt="x", n=5)
    assert len(set(bytes_of(answer))) == 5
    assert sorted(seen.pictures for seen in service.requests) == [1, 4]


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13 among it."""
    extra = {"background": "transparent", "output_format": "webp", "quality": "high"}
    answer = await client.images.generate(model=FLUX, prompt="x", extra_body=extra)
    for name in extra:
        assert any(name in warning for warning in warnings(answer))
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=FLUX, image=png(), mask=mask((96, 64)), prompt="x")
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.edit(model=KONTEXT, image=[png()] * 2, prompt="x")
    assert [one.value.param for one in (masked, many)] == ["mask", "image[1]"]
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "said"),
    [
        (error(400, "bad width"), 400, "upstream_error", None, "bad width"),
        (error(400, "bad width", "invalid_width"), 400, "invalid_width", None, "bad width"),
        (error(503, "busy"), 503, "overloaded", "false", "busy"),
        (error(401, "bad key", "invalid_api_key"), 401, "invalid_api_key", None, "bad key"),
        (error(402, "no credit left"), 429, "insufficient_quota", "false", "no credit"),
        (error(404, "no such model"), 404, "model_not_found", None, "no such model"),
        (error(422, "NSFW content detected in the prompt"), 400, "content_policy_violation", None, "NSFW"),
        (error(422, "steps: too many"), 422, "invalid_value", None, "too many"),
        (error(429, "slow", Retry_After="7"), 429, "rate_limit_exceeded", None, "slow"),
        (error(500, "oh"), 500, "upstream_error", "false", "oh"),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b'{"data": []}'), 502, "invalid_upstream_reply", "false", "without a picture"),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, said: str) -> None:
    """Facts 19, 20 and 21."""
    error = await refused(service, service_module.setup(service), fault, FLUX, edit=True)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message


def test_the_page_is_right() -> None:
    text = (DOCS / "together.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"TOGETHER_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
