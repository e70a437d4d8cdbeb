"""FLUX on Fireworks through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

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

from plugins.fireworks import Fireworks
from plugins.fireworks.models import MODELS
from plugins.image_edit import HostedImage, Image, Job, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from proxy_core.testing import loaded
from tests.emulators import fireworks as service_module
from tests.emulators.fireworks import MODELS_TO_TRY, Cut, Ends, Filtered, Raw, Refused, error
from tests.pictures import mask, opened, png
from tests.surfaces import bytes_of, edited, first, generated, proxied, refused, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = Fireworks(api_key=Secret("fw_0123456789"))
FLUX, KONTEXT, SDXL = (
    f"accounts/fireworks/models/{name}" for name in ("flux-1-schnell-fp8", "flux-kontext-pro", "stable-diffusion-xl-1024-v1-0")
)
Service = service_module.Fireworks
DATA = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
BYTES = Reply(headers={"finish-reason": "SUCCESS", "x-request-id": "r1"}, body=PNG)


def told(**value: Any) -> Reply:
    return Reply(body=orjson.dumps(value))


JOB = [told(request_id="k1"), told(status="Pending"), told(status="Ready", result={"sample": "https://a/b.png"})]


class TestBytes(ProviderConformance):
    plugin = Fireworks
    config = {"api_key": "not-a-real-one"}
    model = FLUX
    replies = [BYTES]

    def test_a_bad_answer_at_any_step_is_an_error_not_a_crash(self) -> None:
        """Whatever comes is bytes, and whether they are a picture is found where every picture is checked."""
        output = run_steps(self.provider().edit(self.job()), [Reply(body=b"<html>")]).pictures[0]
        assert isinstance(output, Image)
        assert not output.media_type


class TestJobs(ProviderConformance):
    plugin = Fireworks
    config = {"api_key": "not-a-real-one"}
    model = KONTEXT
    replies = JOB


def course(model: str, replies: Any, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), replies)


def test_a_picture_comes_as_bytes() -> None:
    done = course(FLUX, [BYTES], aspect_ratio="16:9", output_format="jpeg", seed=7)
    (call,) = done.calls
    assert str(call.url) == "https://api.fireworks.ai/inference/v1/workflows/accounts/fireworks/models/flux-1-schnell-fp8/text_to_image"
    assert call.headers["Accept"] == "image/jpeg"
    assert orjson.loads(payload(call)) == {"prompt": "a hat", "aspect_ratio": "16:9", "seed": 7}
    note, image = done.outputs
    assert note == Note(request_id="r1")
    assert b"".join(image.chunks()) == PNG


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"size": "1024x1024", "seed": 7}, {"width": 1024, "height": 1024, "seed": 7}),
        ({"aspect_ratio": "16:9"}, {"width": 1344, "height": 768}),
        ({"extra": {"negative_prompt": "rain", "steps": 30}}, {"negative_prompt": "rain", "steps": 30}),
        ({}, {}),
    ],
)
def test_sdxl_has_sizes_and_a_path_of_its_own(given: dict[str, Any], made: dict[str, Any]) -> None:
    (call,) = course(SDXL, [BYTES], **given).calls
    assert str(call.url).endswith("/inference/v1/image_generation/accounts/fireworks/models/stable-diffusion-xl-1024-v1-0")
    assert orjson.loads(payload(call)) == {"prompt": "a hat", **made}


def test_kontext_is_a_job() -> None:
    done = course(KONTEXT, JOB, references=(Image(PNG),), output_format="png")
    submit, *asked = done.calls
    assert str(submit.url).endswith("/workflows/accounts/fireworks/models/flux-kontext-pro")
    assert orjson.loads(payload(submit)) == {"prompt": "a hat", "input_image": DATA, "output_format": "png"}
    assert [str(call.url).rpartition("/")[2] for call in asked] == ["get_result"] * 2
    assert [orjson.loads(payload(call)) for call in asked] == [{"id": "k1"}] * 2
    assert done.outputs[-1] == HostedImage("https://a/b.png")
    inline = course(KONTEXT, [JOB[0], told(status="Ready", result={"sample": DATA})]).outputs[-1]
    assert inline.media_type == "image/png"


@pytest.mark.parametrize("wrong", [{"base_url": URL("https://u:p@a.example")}, {"poll_every": 0}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fireworks(api_key=Secret("k"), **wrong)


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
    """Facts 1, 12, 15 and 18."""
    assert set(MODELS) == set(MODELS_TO_TRY)
    for picture in await generated(client, model):
        assert opened(picture).size == (256, 256)
    if MODELS[model].references:
        await edited(client, model, most=1)
    assert all(seen.status == 200 for seen in service.requests)
    assert all("Authorization" not in seen.headers for seen in service.downloads)


async def test_formats_and_n(service: Service, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.generate(model=FLUX, prompt="x", n=3, output_format="jpeg")
    assert len(set(bytes_of(answer))) == 3
    assert Image(first(answer)).media_type == "image/jpeg"
    assert answer.output_format == "jpeg"


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13 among it."""
    extra = {"background": "transparent", "output_format": "webp", "quality": "high"}
    answer = await client.images.generate(model=FLUX, prompt="x", extra_body=extra)
    for name in extra:
        assert any(name in warning for warning in warnings(answer))
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=KONTEXT, image=png(), mask=mask((96, 64)), prompt="x")
    with pytest.raises(openai.BadRequestError) as none:
        await client.images.edit(model=FLUX, image=png(), prompt="x")
    assert [one.value.param for one in (masked, none)] == ["mask", "image"]
    assert len(service.requests) == 1


REFUSED = [
    (error(400, "bad"), 400, "upstream_error", None, "bad"),
    (Refused(400, {"error": {"message": "no such LoRA", "code": "bad_lora", "param": "lora"}}), 400, "bad_lora", None, "LoRA"),
    (error(503, "busy"), 503, "overloaded", "false", "busy"),
    (error(401, "bad key"), 401, "invalid_api_key", None, "bad key"),
    (error(402, "pay"), 429, "insufficient_quota", "false", "pay"),
    (error(412, "Account suspended"), 429, "insufficient_quota", "false", "suspended"),
    (error(404, "gone"), 404, "model_not_found", None, "gone"),
    (error(429, "slow", Retry_After="7"), 429, "rate_limit_exceeded", None, "slow"),
    (error(500, "oh"), 500, "upstream_error", "false", "oh"),
    (Cut(), 502, "upstream_cut", "false", ""),
]


@pytest.mark.parametrize(
    ("model", "fault", "status", "code", "again", "said"),
    [
        *((FLUX, *row) for row in REFUSED),
        *((KONTEXT, *row) for row in REFUSED),
        *((SDXL, *row) for row in REFUSED),
        (FLUX, Filtered(), 400, "content_policy_violation", "false", "withheld"),
        (FLUX, Raw(body=b"<html>", content_type="text/html"), 502, "invalid_image", "false", "not an image"),
        (FLUX, Raw(body=b""), 502, "invalid_image", "false", "empty"),
        (KONTEXT, Ends(status="Request Moderated"), 400, "content_policy_violation", "false", "Moderated"),
        (KONTEXT, Ends(status="Content Moderated"), 400, "content_policy_violation", "false", "Moderated"),
        (KONTEXT, Ends(status="Error", details="why"), 502, "upstream_error", "false", "why"),
        (KONTEXT, Ends(status="Task not found"), 502, "upstream_error", "false", "Task not found"),
        (KONTEXT, Raw(body=b"<html>"), 502, "invalid_upstream_reply", "false", "not understood"),
    ],
)
async def test_errors(
    service: Service, model: str, fault: Any, status: int, code: str, again: str | None, said: str
) -> None:
    """Facts 9, 19, 20 and 21."""
    error = await refused(service, service_module.setup(service), fault, model, edit=False)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message


@pytest.mark.parametrize("status", ["Content Moderated", "Error"])
async def test_a_job_that_failed_is_named(service: Service, status: str) -> None:
    error = await refused(service, service_module.setup(service), Ends(status=status), KONTEXT, edit=False)
    assert error.response.headers["X-Upstream-Request-ID"] == "k1"


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        (FLUX, {"num_inference_steps": "4", "guidance_scale": "3.5", "seed": "7"}, [4, 3.5, 7]),
        (KONTEXT, {"safety_tolerance": "2", "prompt_upsampling": "true"}, [2, True]),
        (SDXL, {"steps": "30", "cfg_scale": "7", "safety_check": "false"}, [30, 7.0, False]),
    ],
)
async def test_a_form_has_only_text(
    service: Service, client: openai.AsyncOpenAI, model: str, given: dict[str, str], sent: list[object]
) -> None:
    """Fact 26: the service is sent numbers and switches."""
    await client.images.generate(model=model, prompt="x", extra_body=given)
    assert [service.requests[0].body[name] for name in given] == sent


def test_the_page_is_right() -> None:
    text = (DOCS / "fireworks.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"FIREWORKS_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
