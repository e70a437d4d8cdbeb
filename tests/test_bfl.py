"""FLUX through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

from __future__ import annotations

import base64
import hashlib
import logging
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from yarl import URL

from plugins.bfl import BFL
from plugins.bfl.models import MODELS
from plugins.image_edit import HostedImage, Image, InvalidReply, Job, Link, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from proxy_core.testing import loaded
from tests.emulators import bfl as service_module
from tests.emulators.bfl import KEY, MODELS_TO_TRY, Cut, Ends, Raw, Refused, detail
from tests.pictures import mask, opened, png
from tests.surfaces import bytes_of, edited, generated, proxied, refused, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = BFL(api_key=Secret("bfl-0123456789"))
FLUX, KONTEXT = "flux-2-pro", "flux-kontext-pro"
Service = service_module.BFL
POLLING = "https://gateway.bfl.ai/v1/get_result?id=j1"


def submitted(polling: str = POLLING, **more: Any) -> Reply:
    return Reply(body=orjson.dumps({"id": "j1", "polling_url": polling, **more}))


def state(status: str, **more: Any) -> Reply:
    return Reply(body=orjson.dumps({"id": "j1", "status": status, "result": None, **more}))


READY = state("Ready", result={"sample": "https://delivery-eu1.bfl.ai/a.png?sig=%2F"})
GOOD = [submitted(cost=4.5), state("Pending"), READY]


class TestBFL(ProviderConformance):
    plugin = BFL
    config = {"api_key": "not-a-real-one"}
    model = FLUX
    replies = GOOD

    def test_calls_go_to_its_origins(self) -> None:
        """And to no others: where to ask for a job is told by the service."""
        assert [call.url.host for call in self.course().calls] == ["api.bfl.ai", "gateway.bfl.ai", "gateway.bfl.ai"]


# --- rules and steps ---


def course(model: str = FLUX, replies: Any = GOOD, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), replies)


def sent(model: str = FLUX, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(payload(course(model, **more).calls[0]))
    return value


def test_a_job_is_submitted_and_asked_for() -> None:
    """The model is the path, and the key has a header of its own."""
    submit, *polls = course().calls
    assert (submit.method, str(submit.url)) == ("POST", "https://api.bfl.ai/v1/flux-2-pro")
    assert submit.headers == {"x-key": "bfl-0123456789"}
    assert [(poll.method, str(poll.url), poll.headers) for poll in polls] == [("GET", POLLING, submit.headers)] * 2
    assert [poll.wait for poll in polls] == [0.5, 0.6]
    assert sent() == {"prompt": "a hat"}


def test_references_are_numbered_and_bare() -> None:
    """Fact 16, the other way: base64 without a head here; links as they are."""
    value = sent(references=(Image(PNG), Link("https://a.example/b.png"), Image(PNG)))
    bare = base64.b64encode(PNG).decode()
    assert value["input_image"] == bare
    assert value["input_image_2"] == "https://a.example/b.png"
    assert value["input_image_3"] == bare
    assert "input_image_4" not in value


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        (FLUX, {"size": "1024x768"}, {"width": 1024, "height": 768}),
        (FLUX, {"size": "1000x1000"}, {"width": 1008, "height": 1008}),
        (FLUX, {"aspect_ratio": "16:9"}, {"width": 1360, "height": 768}),
        (FLUX, {"resolution": "2K"}, {"width": 2048, "height": 2048}),
        (FLUX, {"resolution": "4K"}, {"width": 2048, "height": 2048}),
        (FLUX, {"size": "auto", "seed": 7, "output_format": "png"}, {"seed": 7, "output_format": "png"}),
        (FLUX, {"output_format": "webp", "quality": "high"}, {}),
        (KONTEXT, {"aspect_ratio": "21:9"}, {"aspect_ratio": "21:9"}),
        (KONTEXT, {"size": "1024x1024"}, {"aspect_ratio": "1:1"}),
        ("flux-pro-1.1", {"size": "1024x1000"}, {"width": 1024, "height": 992}),
        ("flux-2-flex", {"extra": {"steps": 30, "guidance": 4.5}}, {"steps": 30, "guidance": 4.5}),
        (FLUX, {"extra": {"steps": 30, "safety_tolerance": 2}}, {"safety_tolerance": 2}),
    ],
)
def test_what_is_sent(model: str, given: dict[str, Any], made: dict[str, Any]) -> None:
    value = sent(model, **given)
    value.pop("prompt")
    assert value == made


def test_the_answer() -> None:
    """Fact 17: byte for byte. The bill is in credits."""
    note, bill, image = course().outputs
    assert (note, bill) == (Note(request_id="j1"), Note(cost={"amount": "0.045", "currency": "USD"}))
    assert image == HostedImage("https://delivery-eu1.bfl.ai/a.png?sig=%2F")
    older = orjson.dumps({"id": "j1", "state": "Ready", "result": {"sample": "https://x/y"}})
    assert course(replies=[submitted(), Reply(body=older)]).outputs[-1] == HostedImage("https://x/y")


@pytest.mark.parametrize(
    "link",
    ["https://evil.example/v1/get_result?id=j1", "https://evilbfl.ai/x", "https://bfl.ai.evil.example/x", "http://gateway.bfl.ai/x",
     "https://gateway.bfl.ai:444/x", "//gateway.bfl.ai/x", "get_result",
     "https://gateway.bfl.ai@evil.example/x", "https://gateway.bfl.ai:443@evil.example/x", "https://evil.example#.bfl.ai",
     "https://evil.example?.bfl.ai", "https://evil.example/.bfl.ai", "https://gateway.bfl.ai./x"],
)  # fmt: skip
def test_the_key_goes_nowhere_else(link: str) -> None:
    """Fact 18: to polling hosts of the vendor, and to those alone."""
    with pytest.raises(InvalidReply, match="may not see the key"):
        course(replies=[submitted(link)])


@pytest.mark.parametrize("host", ["bfl.ai", "gateway.bfl.ai", "api.eu2.bfl.ai", "GATEWAY.bfl.ai"])
def test_the_vendors_own_hosts_see_the_key(host: str) -> None:
    """Fact 18, the other half: regions differ."""
    assert str(course(replies=[submitted(f"https://{host}/x?id=j1"), READY]).calls[1].url.host) == host.lower()


def test_a_gateway_of_ones_own_asks_at_itself_alone() -> None:
    ours = BFL(api_key=Secret("k"), base_url=URL("http://10.0.0.5:8000/v1"))
    assert ours.origins == [URL("http://10.0.0.5:8000/v1")]


@pytest.mark.parametrize("wrong", [{"base_url": URL("https://u:p@a.example")}, {"poll_every": 0}, {"poll_every": 61}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BFL(api_key=Secret("k"), **wrong)


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
    """Facts 1, 12, 15 and 30."""
    assert set(MODELS) == set(MODELS_TO_TRY)
    for picture in await generated(client, model):
        assert opened(picture).size == (256, 256)
    if MODELS[model].references:
        await edited(client, model)
    assert all(len(job.asked) == 3 for job in service.jobs.values())
    assert all("x-key" not in seen.headers and seen.path.endswith("?sig=a%2Fb%7E") for seen in service.downloads)


async def test_a_link_without_an_id_is_completed() -> None:
    async with Service(bare=True) as service, proxied(service_module.setup(service)) as client:
        await client.images.generate(model=FLUX, prompt="x")
        (job,) = service.jobs.values()
        assert job.asked[0].path == "/v1/get_result?id=job-1"
        assert job.asked[0].headers["x-key"] == KEY


async def test_a_link_to_elsewhere_is_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    async with Service() as elsewhere, Service(elsewhere=str(elsewhere.url.origin())) as service:
        async with proxied(service_module.setup(service), max_retries=0) as client:
            with pytest.raises(openai.APIStatusError, match="may not see the key") as caught:
                await client.images.generate(model=FLUX, prompt="x")
        assert not elsewhere.requests
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "job job-1 at bfl was given up" in caplog.text


async def test_cost_and_ids(client: openai.AsyncOpenAI) -> None:
    answer = await client.images.with_raw_response.generate(model=FLUX, prompt="x", n=2)
    assert answer.headers["X-Upstream-Request-ID"].startswith("job-")
    told: Any = answer.parse()
    assert len(set(bytes_of(told))) == 2
    assert (told.cost["amount"], told.cost["per_image"], told.cost["source"]) == ("0.09", "0.045", "provider")


async def test_what_was_moderated_costs_nothing(service: Service, client: openai.AsyncOpenAI) -> None:
    """Beside pictures that were made; contracts, bfl.md: not charged."""
    service.script(Ends(state="Content Moderated"))
    told: Any = await client.images.generate(model=FLUX, prompt="x", n=2)
    assert len(bytes_of(told)) == 1
    assert (told.cost["amount"], told.cost["per_image"]) == ("0.045", "0.045")


@pytest.mark.parametrize("state", ["Request Moderated", "Error"])
async def test_a_job_that_failed_is_named(service: Service, state: str) -> None:
    fault = Ends(state=state, details={"Moderation Reasons": ["violence"]})
    error = await refused(service, service_module.setup(service), fault, FLUX, edit=False)
    assert error.response.headers["X-Upstream-Request-ID"] == "job-1"
    assert f'{state}: {{"Moderation Reasons":["violence"]}}' in error.message


async def test_a_form_has_only_text(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 26: the service is sent numbers and switches."""
    extra = {"prompt_upsampling": "true", "guidance": "4.5", "steps": "30", "safety_tolerance": "2", "seed": "7"}
    await client.images.edit(model="flux-2-flex", image=png(), prompt="x", extra_body=extra)
    body = service.requests[0].body
    assert [body[name] for name in extra] == [True, 4.5, 30, 2, 7]


async def test_what_arrives_is_what_was_sent(service: Service, client: openai.AsyncOpenAI) -> None:
    pictures = [png((40 + place, 40)) for place in range(8)]
    await client.images.edit(model=FLUX, image=pictures, prompt="x")
    assert service.requests[0].references == [hashlib.sha256(picture).hexdigest() for picture in pictures]


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13 among it."""
    extra = {"background": "transparent", "output_format": "webp", "quality": "high"}
    answer = await client.images.generate(model=FLUX, prompt="x", extra_body=extra)
    for name in extra:
        assert any(name in warning for warning in warnings(answer))
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=FLUX, image=png(), mask=mask((96, 64)), prompt="x")
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.edit(model="flux-2-klein-4b", image=[png()] * 5, prompt="x")
    with pytest.raises(openai.BadRequestError) as none:
        await client.images.edit(model="flux-pro-1.1", image=png(), prompt="x")
    assert [one.value.param for one in (masked, many, none)] == ["mask", "image[4]", "image"]
    assert len(service.requests) == 1


MISSING = [{"loc": ["body", "seed"], "msg": "too large", "type": "value_error"}]


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "said"),
    [
        (detail(400, "bad"), 400, "upstream_error", None, "bad"),
        (detail(402, "Insufficient credits"), 429, "insufficient_quota", "false", "credits"),
        (detail(403, "Not authenticated"), 401, "invalid_api_key", None, "Not authenticated"),
        (detail(403, "Forbidden for your plan"), 403, "permission_denied", None, "plan"),
        (detail(422, MISSING), 422, "invalid_value", None, "seed: too large"),
        (detail(429, "24 active tasks", Retry_After="7"), 429, "rate_limit_exceeded", None, "active tasks"),
        (detail(500, "oh"), 500, "upstream_error", "false", "oh"),
        (detail(503, "busy"), 503, "overloaded", None, "busy"),
        (Refused(500, {"message": "oh"}), 500, "upstream_error", "false", "oh"),
        (Ends(state="Request Moderated", details={"reasons": ["v"]}), 400, "content_policy_violation", None, "reasons"),
        (Ends(state="Content Moderated"), 400, "content_policy_violation", None, "Content Moderated"),
        (Ends(state="Error"), 502, "upstream_error", "false", "Error"),
        (Ends(state="Failed"), 502, "upstream_error", "false", "Failed"),
        (Ends(state="Who knows"), 502, "upstream_error", "false", "Who knows"),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b"{}"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, said: str) -> None:
    """Facts 9, 19, 20 and 21: moderation is a state of the job, and is not charged; every other end may be."""
    error = await refused(service, service_module.setup(service), fault, FLUX, edit=True)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message


async def test_a_job_that_outlasts_patience_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with Service(polls=10**9) as service, proxied(service_module.setup(service), max_retries=0, deadline=0.2) as client:
        with caplog.at_level(logging.INFO), pytest.raises(openai.InternalServerError, match="was not done within"):
            await client.images.generate(model=FLUX, prompt="x")
    assert "job job-1 at bfl was given up" in caplog.text


def test_the_page_is_right() -> None:
    text = (DOCS / "bfl.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"BFL_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
