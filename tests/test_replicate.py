"""Models on Replicate through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

from __future__ import annotations

import base64
import hashlib
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
from plugins.replicate import Replicate
from plugins.replicate.models import MODELS
from proxy_core.testing import loaded
from tests.emulators import replicate as service_module
from tests.emulators.replicate import MODELS_TO_TRY, TOKEN, Cut, Ends, Raw, problem
from tests.pictures import mask, opened, photograph, png
from tests.surfaces import bytes_of, edited, generated, proxied, refused, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = Replicate(api_token=Secret("r8_0123456789"))
FLUX, SCHNELL, KONTEXT, NANO = (
    "black-forest-labs/flux-2-pro",
    "black-forest-labs/flux-schnell",
    "black-forest-labs/flux-kontext-pro",
    "google/nano-banana-pro",
)
Service = service_module.Replicate
DATA = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def state(status: str, output: Any = None, **more: Any) -> Reply:
    return Reply(body=orjson.dumps({"id": "p1", "status": status, "output": output, **more}))


GOOD = [state("starting"), state("processing"), state("succeeded", "https://replicate.delivery/a.webp")]


class TestReplicate(ProviderConformance):
    plugin = Replicate
    config = {"api_token": "not-a-real-one"}
    model = FLUX
    replies = GOOD


# --- rules and steps ---


def course(model: str = FLUX, replies: Any = GOOD, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), replies)


def sent(model: str = FLUX, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(payload(course(model, **more).calls[0]))["input"]
    return value


def test_a_prediction_is_submitted_and_asked_for() -> None:
    submit, *polls = course().calls
    assert str(submit.url) == "https://api.replicate.com/v1/models/black-forest-labs/flux-2-pro/predictions"
    assert submit.headers == {"Authorization": "Bearer r8_0123456789"}  # and no Prefer: the id comes first
    assert [str(poll.url) for poll in polls] == ["https://api.replicate.com/v1/predictions/p1"] * 2
    assert [poll.wait for poll in polls] == [0.5, 0.65]
    assert sent() == {"prompt": "a hat"}


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        (FLUX, {"references": (Image(PNG), Link("https://a/b"))}, {"input_images": [DATA, "https://a/b"]}),
        (KONTEXT, {"references": (Image(PNG),)}, {"input_image": DATA}),
        (NANO, {"references": (Image(PNG),)}, {"image_input": [DATA]}),
        (FLUX, {"aspect_ratio": "16:9", "seed": 7}, {"aspect_ratio": "16:9", "seed": 7}),
        (FLUX, {"output_format": "jpeg"}, {"output_format": "jpg"}),
        (FLUX, {"size": "1024x1024", "quality": "high"}, {"aspect_ratio": "1:1"}),
        (SCHNELL, {"n": 3}, {"num_outputs": 3}),
        (NANO, {"resolution": "2k", "aspect_ratio": "21:9"}, {"resolution": "2K", "aspect_ratio": "21:9"}),
        ("bytedance/seedream-4", {"size": "4K"}, {"size": "4K"}),
        ("bytedance/seedream-4.5", {"size": "2048x2048"}, {"size": "2K", "aspect_ratio": "1:1"}),
    ],
)
def test_each_model_has_names_of_its_own(model: str, given: dict[str, Any], made: dict[str, Any]) -> None:
    value = sent(model, **given)
    assert value.pop("prompt") == "a hat"
    assert value == made


def test_the_answer() -> None:
    """A string, or a list of them; and what was done at once needs no asking."""
    note, image = course().outputs
    assert (note, image) == (Note(request_id="p1"), HostedImage("https://replicate.delivery/a.webp"))
    done = course(replies=[state("succeeded", ["https://a/1", "https://a/2"])])
    assert len(done.calls) == 1
    assert done.outputs[1:] == [HostedImage("https://a/1"), HostedImage("https://a/2")]


@pytest.mark.parametrize("wrong", [{"base_url": URL("https://u:p@a.example")}, {"poll_every": 0}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Replicate(api_token=Secret("k"), **wrong)


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
    assert set(MODELS) == set(MODELS_TO_TRY)
    for picture in await generated(client, model):
        assert opened(picture).size == (256, 256)
    if MODELS[model].references:
        await edited(client, model, most=min(3, MODELS[model].references))
    assert all(seen.status == 201 for seen in service.requests)
    assert all("Authorization" not in seen.headers and seen.path.endswith("sig=a%2Fb%7E") for seen in service.downloads)


@pytest.mark.parametrize(("model", "calls"), [(SCHNELL, [1, 4]), (FLUX, [1] * 5)])
async def test_n(service: Service, client: openai.AsyncOpenAI, model: str, calls: list[int]) -> None:
    """Fact 12."""
    answer = await client.images.generate(model=model, prompt="x", n=5)
    assert len(set(bytes_of(answer))) == 5
    assert sorted(seen.pictures for seen in service.requests) == calls


async def test_a_large_picture_is_uploaded_first(service: Service, client: openai.AsyncOpenAI) -> None:
    photo = photograph(1.5)
    await client.images.edit(model=FLUX, image=[photo, png()], prompt="x")
    assert [seen.path for seen in service.requests] == ["/v1/files", "/v1/models/black-forest-labs/flux-2-pro/predictions"]
    wanted = [hashlib.sha256(picture).hexdigest() for picture in (photo, png())]
    assert service.requests[1].references == wanted
    assert service.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13 among it."""
    extra = {"background": "transparent", "output_format": "gif", "quality": "high"}
    answer = await client.images.generate(model=FLUX, prompt="x", extra_body=extra)
    for name in extra:
        assert any(name in warning for warning in warnings(answer))
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=FLUX, image=png(), mask=mask((96, 64)), prompt="x")
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.edit(model=KONTEXT, image=[png()] * 2, prompt="x")
    with pytest.raises(openai.BadRequestError) as none:
        await client.images.edit(model=SCHNELL, image=png(), prompt="x")
    assert [one.value.param for one in (masked, many, none)] == ["mask", "image[1]", "image"]
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "said"),
    [
        (problem(401, "bad token"), 401, "invalid_api_key", None, "bad token"),
        (problem(402, "Insufficient credit"), 429, "insufficient_quota", "false", "credit"),
        (problem(403, "not yours"), 403, "permission_denied", None, "not yours"),
        (problem(404, "gone"), 404, "model_not_found", None, "gone"),
        (problem(422, "- input: bad"), 422, "invalid_value", None, "input: bad"),
        (problem(429, "throttled", Retry_After="7"), 429, "rate_limit_exceeded", None, "throttled"),
        (problem(500, "oh"), 500, "upstream_error", "false", "oh"),
        (Ends(), 502, "upstream_error", "false", "CUDA out of memory"),
        (Ends(error="The input or output was flagged as sensitive"), 400, "content_policy_violation", "false", "flagged"),
        (Ends(status="canceled", error=None), 502, "upstream_error", "false", "canceled"),
        (Ends(status="aborted", error=None), 502, "upstream_error", "false", "aborted"),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, said: str) -> None:
    """Facts 9, 19, 20 and 21: a prediction that failed is a 200 there."""
    error = await refused(service, service_module.setup(service), fault, FLUX, edit=True)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message


async def test_a_prediction_that_nobody_waits_for_is_canceled(caplog: pytest.LogCaptureFixture) -> None:
    async with Service(polls=10**9) as service:
        async with proxied(service_module.setup(service), max_retries=0, deadline=0.2) as client:
            with pytest.raises(openai.InternalServerError):
                await client.images.generate(model=FLUX, prompt="x")
        assert service.predictions["p1"].canceled
    assert "job p1 at replicate was given up" in caplog.text


def test_the_page_is_right() -> None:
    text = (DOCS / "replicate.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"REPLICATE_API_TOKEN": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
