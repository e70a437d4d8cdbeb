"""Qwen-Image and Wan through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from yarl import URL

from plugins.dashscope import DashScope
from plugins.dashscope.models import MODELS
from plugins.image_edit import HostedImage, Image, Job, Link, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from proxy_core import ClientError
from proxy_core.testing import loaded
from tests.emulators import dashscope as service_module
from tests.emulators.dashscope import KEY, MODELS_TO_TRY, Cut, Ends, Raw, Refused, Said, refusal
from tests.pictures import mask, opened, png
from tests.surfaces import bytes_of, edited, generated, proxied, refused, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = DashScope(api_key=Secret("sk-0123456789"))
QWEN, EDIT, WAN, WAN_EDIT = "qwen-image", "qwen-image-edit-plus", "wan2.2-t2i-plus", "wan2.5-i2i-preview"
Service = service_module.DashScope
DATA = "data:image/png;base64,"


def told(*links: str) -> Reply:
    content = [{"image": link} for link in links]
    return Reply(body=orjson.dumps({"output": {"choices": [{"message": {"content": content}}]}, "request_id": "r1"}))


def task(status: str, **more: Any) -> Reply:
    return Reply(body=orjson.dumps({"output": {"task_id": "t1", "task_status": status, **more}, "request_id": "r1"}))


GOOD = told("https://oss/a.png?Expires=1")
JOB = [task("PENDING"), task("RUNNING"), task("SUCCEEDED", results=[{"url": "https://oss/a.png"}])]


class TestSync(ProviderConformance):
    plugin = DashScope
    config = {"api_key": "not-a-real-one"}
    model = EDIT
    replies = [GOOD]


class TestJobs(ProviderConformance):
    plugin = DashScope
    config = {"api_key": "not-a-real-one"}
    model = WAN_EDIT
    replies = JOB


# --- rules and steps ---


def course(model: str, replies: Any = (GOOD,), **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), replies)


def sent(model: str, replies: Any = (GOOD,), **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(payload(course(model, replies, **more).calls[0]))
    return value


def test_a_conversation_of_one_turn() -> None:
    """Pictures first, each part an object of one key; parameters are never empty."""
    (call,) = course(EDIT, references=(Image(PNG), Link("https://a.example/b.png"))).calls
    assert str(call.url) == "https://dashscope-intl.aliyuncs.com/api/v1/services/aigc/multimodal-generation/generation"
    assert "X-DashScope-Async" not in call.headers
    value = orjson.loads(payload(call))
    (turn,) = value["input"]["messages"]
    first, second, last = turn["content"]
    assert first["image"].startswith(DATA)
    assert (second, last) == ({"image": "https://a.example/b.png"}, {"text": "a hat"})
    assert value["parameters"] == {"n": 1}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (WAN, "text2image/image-synthesis"),
        (WAN_EDIT, "image2image/image-synthesis"),
        ("wan2.6-image", "image-generation/generation"),
    ],
)
def test_wan_is_asked_for(model: str, path: str) -> None:
    submit, *polls = course(model, JOB, references=(Image(PNG),) if model != WAN else ()).calls
    assert str(submit.url).endswith(f"/api/v1/services/aigc/{path}")
    assert submit.headers["X-DashScope-Async"] == "enable"
    assert [str(poll.url.path) for poll in polls] == ["/api/v1/tasks/t1"] * 2
    assert [poll.wait for poll in polls] == [2.0, 2.6]
    assert "X-DashScope-Async" not in polls[0].headers


def test_older_lines_have_a_body_of_their_own() -> None:
    value = sent(WAN_EDIT, JOB, references=(Image(PNG),), extra={"negative_prompt": "rain"}, seed=7)
    assert value["input"]["prompt"] == "a hat"
    assert value["input"]["negative_prompt"] == "rain"
    assert [url[: len(DATA)] for url in value["input"]["images"]] == [DATA]
    assert value["parameters"] == {"n": 1, "seed": 7}


@pytest.mark.parametrize(
    ("model", "given", "size"),
    [
        (QWEN, {"size": "1024x1024"}, "1328*1328"),
        (QWEN, {"aspect_ratio": "16:9"}, "1664*928"),
        (QWEN, {"aspect_ratio": "3:4"}, "1104*1472"),
        (QWEN, {}, None),
        ("qwen-image-2.0", {"size": "1024x768"}, "1024*768"),
        ("qwen-image-2.0", {"resolution": "4K"}, "2048*2048"),
        ("qwen-image-2.0", {"aspect_ratio": "1:1"}, "1024*1024"),
        (EDIT, {}, None),
    ],
)
def test_sizes(model: str, given: dict[str, str], size: str | None) -> None:
    """Fact 28: with an asterisk."""
    references = (Image(PNG),) if MODELS[model].needs_reference else ()
    assert sent(model, references=references, **given)["parameters"].get("size") == size


@pytest.mark.parametrize("id_", [7, None, "", ["r1"], "r\n1"])
def test_an_id_that_is_none(id_: object) -> None:
    value = orjson.loads(GOOD.body) | {"request_id": id_}
    reply = Reply(body=orjson.dumps(value), headers={"x-request-id": "of-the-head"})
    told = course(QWEN, [reply]).outputs[0].request_id
    assert told == ("r1" if id_ == "r\n1" else "of-the-head")


@pytest.mark.parametrize("wrong", ["x" * 501, 5, ["rain"]])
def test_a_negative_prompt_has_an_end(wrong: object) -> None:
    rules = MODELS[QWEN]
    asked = Job(name=QWEN, model=QWEN, like=QWEN, prompt="a hat", extra={"negative_prompt": wrong})
    made, told = fit(asked, rules, reject=False)
    assert not made.extra
    assert "500 characters" in _rejected(asked)
    assert len(told) == 1
    assert fit(replace(asked, extra={"negative_prompt": "x" * 500}), rules, reject=True)[1] == []


def _rejected(asked: Job) -> str:
    with pytest.raises(ClientError) as caught:
        fit(asked, MODELS[asked.like], reject=True)
    assert caught.value.param == "negative_prompt"
    return str(caught.value)


def test_several_choices_and_several_parts() -> None:
    value = orjson.loads(told("https://a/1", "https://a/2").body)
    value["output"]["choices"] *= 2
    outputs = course(QWEN, [Reply(body=orjson.dumps(value))]).outputs
    assert outputs[0].request_id == "r1"
    assert outputs[1:] == [HostedImage("https://a/1"), HostedImage("https://a/2")] * 2


@pytest.mark.parametrize("wrong", [{"base_url": URL("https://u:p@a.example")}, {"poll_every": 0}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DashScope(api_key=Secret("k"), **wrong)


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
    if not MODELS[model].needs_reference:
        for picture in await generated(client, model):
            assert opened(picture).size == (256, 256)
    if MODELS[model].references:
        # Sides below 384 are refused before anything is sent.
        with pytest.raises(openai.BadRequestError, match="384"):
            await client.images.edit(model=model, image=png((300, 200)), prompt="x")
        await edited(client, model, scale=2)
    assert all(seen.status == 200 for seen in service.requests)
    for seen in service.downloads:
        assert "Authorization" not in seen.headers
        assert seen.path.endswith("Signature=a%2Fb%7E%2b")


@pytest.mark.parametrize("choices", [False, True])
@pytest.mark.parametrize(("model", "calls"), [(QWEN, [1] * 5), ("qwen-image-2.0", [5]), (WAN, [4, 1])])
async def test_n(model: str, calls: list[int], choices: bool) -> None:
    """Fact 12: as many in one call as the model makes."""
    async with Service(choices=choices) as service, proxied(service_module.setup(service)) as client:
        answer = await client.images.generate(model=model, prompt="x", n=5)
        assert len(set(bytes_of(answer))) == 5
        assert sorted(seen.pictures for seen in service.requests) == sorted(calls)


async def test_keys_ids_and_cost(service: Service, client: openai.AsyncOpenAI) -> None:
    raw = await client.images.with_raw_response.generate(model=QWEN, prompt="x")
    assert service.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert raw.headers["X-Upstream-Request-ID"] == "r-1"
    answer: Any = raw.parse()
    assert answer.cost["amount"] is None  # the prices that are known are not certain


async def test_settings_of_a_form(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 26: a multipart form has only text."""
    extra = {"prompt_extend": "false", "watermark": "false", "seed": "7", "negative_prompt": "rain"}
    answer = await client.images.edit(model=EDIT, image=png((400, 400)), prompt="x", n=2, extra_body=extra)
    assert warnings(answer) == []
    settings = service.requests[0].body["parameters"]
    assert settings == {"n": 2, "prompt_extend": False, "watermark": False, "seed": 7, "negative_prompt": "rain"}


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13 among it."""
    extra = {"background": "transparent", "output_format": "webp", "quality": "high"}
    answer = await client.images.generate(model=QWEN, prompt="x", extra_body={**extra, "negative_prompt": "rain"})
    for name in extra:
        assert any(name in warning for warning in warnings(answer))
    assert service.requests[0].body["parameters"]["negative_prompt"] == "rain"
    large = png((400, 400))
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=EDIT, image=large, mask=mask((400, 400)), prompt="x")
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.edit(model=EDIT, image=[large] * 4, prompt="x")
    with pytest.raises(openai.BadRequestError) as none:
        await client.images.generate(model=EDIT, prompt="x")
    assert [one.value.param for one in (masked, many, none)] == ["mask", "image[3]", "image"]
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        (QWEN, "size", "1024x1024"),
        (QWEN, "resolution", "2K"),
        (QWEN, "quality", "high"),
        (QWEN, "output_format", "webp"),
        (QWEN, "background", "transparent"),
        (QWEN, "seed", 2**31),
        (QWEN, "negative_prompt", "x" * 501),
        (QWEN, "prompt_extend", "perhaps"),
        (WAN, "resolution", "4K"),
    ],
)
async def test_what_cannot_be_done_is_refused_on_demand(service: Service, model: str, name: str, value: object) -> None:
    async with proxied(service_module.setup(service), unsupported="reject") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model=model, prompt="x", extra_body={name: value})
    assert caught.value.param == name
    assert not service.requests


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "said"),
    [
        (refusal(400, "InvalidParameter", "bad"), 400, "invalid_value", None, "bad (InvalidParameter)"),
        (refusal(400, "Arrearage", "overdue"), 429, "insufficient_quota", "false", "overdue"),
        (refusal(400, "DataInspectionFailed", "inappropriate"), 400, "content_policy_violation", None, "inappropriate"),
        (refusal(401, "InvalidApiKey", "bad key"), 401, "invalid_api_key", None, "bad key"),
        (refusal(403, "AccessDenied.Unpurchased", "buy it"), 403, "permission_denied", None, "buy it"),
        (refusal(404, "ModelNotFound", "gone"), 404, "model_not_found", None, "gone"),
        (refusal(429, "Throttling.RateQuota", "slow", Retry_After="7"), 429, "rate_limit_exceeded", None, "slow"),
        (refusal(500, "InternalError.Timeout", "late"), 500, "upstream_error", "false", "late"),
        (Said(code="DataInspectionFailed"), 400, "content_policy_violation", None, "no"),
        (Said(code="InternalError"), 500, "upstream_error", "false", "no"),
        (Said(code="Model.NotExist"), 404, "model_not_found", None, "no"),
        (Said(code="ServiceUnavailable"), 503, "overloaded", "false", "no"),
        (Said(code="DataInspectionFailed", more={"output": None}), 400, "content_policy_violation", None, "no"),
        (Said(code="DataInspectionFailed", more={"output": {"choices": []}}), 400, "content_policy_violation", None, "no"),
        (Said(code="SomethingNew"), 502, "upstream_error", "false", "SomethingNew"),
        (Refused(503, [1]), 503, "upstream_error", "false", "no reason"),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b'{"output": {}}'), 502, "invalid_upstream_reply", "false", ""),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
@pytest.mark.parametrize("model", [QWEN, WAN])
async def test_errors(service: Service, model: str, fault: Any, status: int, code: str, again: str | None, said: str) -> None:
    """Facts 9, 19, 20 and 21."""
    error = await refused(service, service_module.setup(service), fault, model, edit=False)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message
    if isinstance(fault, (Refused, Said)) and said != "no reason":
        assert error.response.headers["X-Upstream-Request-ID"] == "r-0"


@pytest.mark.parametrize(
    ("ends", "status", "code"),
    [
        (Ends(), 500, "upstream_error"),
        (Ends(code="DataInspectionFailed"), 400, "content_policy_violation"),
        (Ends(status="CANCELED", code=""), 502, "upstream_error"),
        (Ends(status="UNKNOWN", code=""), 502, "upstream_error"),
    ],
)
async def test_a_task_that_fails(
    service: Service, caplog: pytest.LogCaptureFixture, ends: Ends, status: int, code: str
) -> None:
    """What ran may be charged, whatever became of it."""
    service.script(ends)
    async with proxied(service_module.setup(service), max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.generate(model=WAN, prompt="x")
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert service.tasks["task-1"].unwelcome == 0  # what has ended is not canceled, nor said to be given up
    assert "given up" not in caplog.text


async def test_some_of_a_tasks_pictures(service: Service, client: openai.AsyncOpenAI) -> None:
    service.script(Ends(of=1))
    answer = await client.images.generate(model=WAN, prompt="x", n=3)
    assert len(bytes_of(answer)) == 2
    assert "inappropriate (DataInspectionFailed)" in warnings(answer)[0]


async def test_a_task_without_a_single_picture(service: Service) -> None:
    """Fact 19: nothing tells that pictures which fail are free, so nobody is to buy them again."""
    service.script(Ends(of=4))
    async with proxied(service_module.setup(service), max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="inappropriate") as caught:
            await client.images.generate(model=WAN, prompt="x", n=4)
    assert caught.value.code == "content_policy_violation"
    assert caught.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (refusal(401, "InvalidApiKey", "bad key"), 401, "invalid_api_key"),
        (refusal(403, "AccessDenied", "not yours"), 403, "permission_denied"),
        (Said(code="InvalidApiKey", message="bad key"), 401, "invalid_api_key"),
        (Said(code="SomethingNew", message="oh"), 502, "upstream_error"),
    ],
)
async def test_a_task_that_may_not_be_asked_for(service: Service, fault: Any, status: int, code: str) -> None:
    """Facts 9 and 21 hold for tasks too; what runs may be charged whatever is told of it."""
    service.script_polls(fault)
    async with proxied(service_module.setup(service), max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.generate(model=WAN, prompt="x")
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["X-Upstream-Request-ID"] == "r-0"
    assert service.tasks["task-1"].canceled


@pytest.mark.parametrize("passing", ["QUEUED", Said(code="Throttling.RateQuota"), Said(code="InternalError")])
async def test_a_task_is_asked_for_again(service: Service, client: openai.AsyncOpenAI, passing: Any) -> None:
    """A state that nobody knows, or a service too busy to tell, with status 200 as ever, is no end of what is paid for."""
    service.script_polls(passing)
    assert len(bytes_of(await client.images.generate(model=WAN, prompt="x"))) == 1
    assert len(service.requests) == 1


async def test_a_task_that_nobody_waits_for_is_canceled() -> None:
    async with Service(polls=10**9) as service:
        async with proxied(service_module.setup(service), max_retries=0, deadline=0.2) as client:
            with pytest.raises(openai.InternalServerError):
                await client.images.generate(model=WAN, prompt="x")
        # The proxy has ended, and with it all that it does in the background.
        assert service.tasks["task-1"].canceled


def test_the_page_is_right() -> None:
    text = (DOCS / "dashscope.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"DASHSCOPE_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
