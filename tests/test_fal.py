"""Models on fal through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

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

from plugins.fal import Fal
from plugins.fal.models import MODELS
from plugins.image_edit import Failed, HostedImage, Image, Job, Link, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from proxy_core.testing import loaded
from tests.emulators import fal as service_module
from tests.emulators.fal import PATHS, Black, Cut, Ends, Raw, detail
from tests.pictures import mask, opened, png
from tests.surfaces import bytes_of, edited, generated, proxied, refused, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = Fal(api_key=Secret("id:secret-0123456789"))
NANO, FLUX, KONTEXT, SEEDREAM = (
    "fal-ai/nano-banana",
    "fal-ai/flux/dev",
    "fal-ai/flux-pro/kontext",
    "fal-ai/bytedance/seedream/v4.5",
)
Service = service_module.Fal
DATA = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def told(**value: Any) -> Reply:
    return Reply(body=orjson.dumps(value))


LINK = "https://v3.fal.media/files/a.png"
GOOD = [told(request_id="q1"), told(status="IN_QUEUE"), told(status="COMPLETED"), told(images=[{"url": LINK}])]


class TestFal(ProviderConformance):
    plugin = Fal
    config = {"api_key": "not-a-real-one"}
    model = NANO
    replies = GOOD


# --- rules and steps ---


def course(model: str = NANO, replies: Any = GOOD, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), replies)


def sent(model: str = NANO, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(payload(course(model, **more).calls[0]))
    return value


def test_a_request_is_queued_and_asked_for() -> None:
    """At the first two steps of its path, and nowhere else, whatever links the answer holds."""
    submit, *asked, response = course(references=(Image(PNG),)).calls
    assert str(submit.url) == "https://queue.fal.run/fal-ai/nano-banana/edit"
    assert submit.headers == {"Authorization": "Key id:secret-0123456789"}
    there = "https://queue.fal.run/fal-ai/nano-banana/requests/q1"
    assert [str(call.url) for call in asked] == [f"{there}/status"] * 2
    assert str(response.url) == there
    assert [call.wait for call in asked] == [0.5, 0.65]


def test_generations_and_edits_have_paths_of_their_own() -> None:
    for model, rules in MODELS.items():
        assert str(course(model).calls[0].url).removeprefix("https://queue.fal.run/") == rules.generates
        if rules.references:
            edit = course(model, references=(Image(PNG),)).calls[0]
            assert str(edit.url).removeprefix("https://queue.fal.run/") == rules.edits


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        (NANO, {"references": (Image(PNG), Link("https://a/b"))}, {"image_urls": [DATA, "https://a/b"]}),
        (KONTEXT, {"references": (Image(PNG),)}, {"image_url": DATA}),
        (NANO, {"n": 3, "aspect_ratio": "16:9"}, {"num_images": 3, "aspect_ratio": "16:9"}),
        (NANO, {"size": "1024x1024", "quality": "high", "seed": 7}, {"aspect_ratio": "1:1"}),
        (FLUX, {"size": "1000x600", "seed": 7}, {"image_size": {"width": 1008, "height": 608}, "seed": 7}),
        (FLUX, {"output_format": "webp"}, {}),
        (SEEDREAM, {}, {"image_size": {"width": 2048, "height": 2048}}),
        (SEEDREAM, {"aspect_ratio": "16:9", "resolution": "4K"}, {"image_size": {"width": 4096, "height": 2304}}),
    ],
)
def test_each_model_has_names_of_its_own(model: str, given: dict[str, Any], made: dict[str, Any]) -> None:
    value = sent(model, **given)
    assert value.pop("prompt") == "a hat"
    assert value == made


def test_the_answer() -> None:
    """Facts 9 and 16: a black picture is a refusal, and a picture may be in hand."""
    note, image = course().outputs
    assert (note, image) == (Note(request_id="q1"), HostedImage(LINK))
    mixed = told(images=[{"url": LINK}, {"url": DATA}], has_nsfw_concepts=[True, False])
    _, failed, inline = course(replies=[*GOOD[:-1], mixed]).outputs
    assert isinstance(failed, Failed)
    assert failed.error.code == "content_policy_violation"
    assert inline.media_type == "image/png"


@pytest.mark.parametrize("wrong", [{"base_url": URL("https://u:p@a.example")}, {"poll_every": 0}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fal(api_key=Secret("k"), **wrong)


# --- through a running proxy ---


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
    """Facts 1, 12, 15, 17 and 18."""
    assert {path for rules in MODELS.values() for path in (rules.generates, rules.edits) if path} == set(PATHS)
    for picture in await generated(client, model):
        assert opened(picture).size == (256, 256)
    if MODELS[model].references:
        await edited(client, model, most=min(3, MODELS[model].references))
    assert all(seen.status == 200 for seen in service.requests)
    assert all("Authorization" not in seen.headers and seen.path.endswith("x=a%2Fb%7E") for seen in service.downloads)


async def test_n(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 12: four at once."""
    answer = await client.images.generate(model=NANO, prompt="x", n=5)
    assert len(set(bytes_of(answer))) == 5
    assert sorted(seen.pictures for seen in service.requests) == [1, 4]


async def test_pictures_in_hand_need_no_fetching() -> None:
    async with Service(inline=True) as service, proxied(service_module.setup(service)) as client:
        assert bytes_of(await client.images.generate(model=NANO, prompt="x"))
        assert not service.downloads


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13 among it."""
    extra = {"background": "transparent", "output_format": "gif", "quality": "high", "seed": 7}
    answer = await client.images.generate(model=NANO, prompt="x", extra_body=extra)
    for name in extra:
        assert any(name in warning for warning in warnings(answer))
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=NANO, image=png(), mask=mask((96, 64)), prompt="x")
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.edit(model=KONTEXT, image=[png()] * 2, prompt="x")
    with pytest.raises(openai.BadRequestError) as none:
        await client.images.edit(model=FLUX, image=png(), prompt="x")
    assert [one.value.param for one in (masked, many, none)] == ["mask", "image[1]", "image"]
    assert len(service.requests) == 1


POLICY = [{"loc": ["body", "prompt"], "msg": "flagged", "type": "content_policy_violation"}]


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "said"),
    [
        (detail(401, "who are you"), 401, "invalid_api_key", None, "who are you"),
        (detail(403, "User is locked. Reason: Exhausted balance."), 429, "insufficient_quota", "false", "balance"),
        (detail(403, "not yours"), 403, "permission_denied", None, "not yours"),
        (detail(404, "gone"), 404, "model_not_found", None, "gone"),
        (detail(422, [{"loc": ["body", "x"], "msg": "bad", "type": "value_error"}]), 422, "invalid_value", None, "x: bad"),
        (detail(422, POLICY), 400, "content_policy_violation", None, "flagged"),
        (detail(429, "slow", Retry_After="7"), 429, "rate_limit_exceeded", None, "slow"),
        (detail(500, "oh"), 500, "upstream_error", "false", "oh"),
        (Ends(status=422, body={"detail": POLICY}), 400, "content_policy_violation", "false", "flagged"),
        (Ends(status=422, body={"detail": "bad"}), 422, "invalid_value", "false", "bad"),
        (Black(), 400, "content_policy_violation", "false", "not safe for work"),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, said: str) -> None:
    """Facts 9, 19, 20 and 21."""
    error = await refused(service, service_module.setup(service), fault, NANO, edit=True)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message


async def test_a_request_that_nobody_waits_for_is_canceled(caplog: pytest.LogCaptureFixture) -> None:
    async with Service(polls=10**9) as service:
        async with proxied(service_module.setup(service), max_retries=0, deadline=0.2) as client:
            with pytest.raises(openai.InternalServerError):
                await client.images.generate(model=NANO, prompt="x")
        assert service.queue["q1"].canceled
    assert "job q1 at fal was given up" in caplog.text


def test_the_page_is_right() -> None:
    text = (DOCS / "fal.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"FAL_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
