"""GLM-Image and CogView through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from yarl import URL

from plugins.image_edit import HostedImage, Image, Job, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import Course, ProviderConformance, payload, run_steps
from plugins.zai import Zai
from plugins.zai.models import MODELS
from proxy_core.testing import loaded
from tests.emulators import zai as service_module
from tests.emulators.zai import KEY, MODELS_TO_TRY, Cut, Raw, Refused, refusal
from tests.pictures import opened, png
from tests.surfaces import bytes_of, first, generated, proxied, refused, turn, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
SERVICE = Zai(api_key=Secret("id.secret-0123456789"))
GLM, COGVIEW = "glm-image", "cogview-4-250304"
Service = service_module.Zai
LINK = "https://mfile.z.ai/1.png?ufileattname=1.png"
GOOD = Reply(body=orjson.dumps({"created": 1, "request_id": "r1", "data": [{"url": LINK}]}))


class TestZai(ProviderConformance):
    plugin = Zai
    config = {"api_key": "not-a-real-one"}
    model = GLM
    replies = [GOOD]


# --- rules and steps ---


def course(model: str = GLM, reply: Reply = GOOD, provider: Zai = SERVICE, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(provider.edit(fit(asked, MODELS[model], reject=False)[0]), [reply])


def sent(model: str = GLM, **more: Any) -> dict[str, Any]:
    (call,) = course(model, **more).calls
    value: dict[str, Any] = orjson.loads(payload(call))
    return value


def test_a_generation_is_the_fewest_fields() -> None:
    """Facts 3, 8 and 12: no `n`, no response_format; the mark is the service's default, and is switched off by name."""
    (call,) = course().calls
    assert (call.method, str(call.url)) == ("POST", "https://api.z.ai/api/paas/v4/images/generations")
    assert sent() == {"model": GLM, "prompt": "a hat"}
    assert sent(provider=Zai(api_key=Secret("k" * 9), watermark=False))["watermark_enabled"] is False


@pytest.mark.parametrize(
    ("model", "given", "size"),
    [
        (GLM, {"size": "1280x1280"}, "1280x1280"),
        (GLM, {"size": "1728x960"}, "1728x960"),
        (GLM, {"size": "1024x1024"}, "1024x1024"),
        (GLM, {"size": "1536x1024"}, "1536x1024"),
        (GLM, {"size": "512x512"}, "1024x1024"),
        (GLM, {"aspect_ratio": "16:9"}, "1728x960"),
        (GLM, {"aspect_ratio": "1:1", "resolution": "2K"}, "2048x2048"),
        (GLM, {"size": "auto"}, None),
        (COGVIEW, {"size": "1024x1024"}, "1024x1024"),
        (COGVIEW, {"aspect_ratio": "9:16"}, "768x1344"),
        (COGVIEW, {"size": "2048x2048"}, "1440x1440"),
        (COGVIEW, {"aspect_ratio": "2:1"}, "1440x720"),
    ],
)
def test_sizes(model: str, given: dict[str, str], size: str | None) -> None:
    assert sent(model, **given).get("size") == size


@pytest.mark.parametrize(
    ("model", "quality", "taken"),
    [(GLM, "hd", "hd"), (GLM, "standard", "hd"), (COGVIEW, "standard", "standard"), (COGVIEW, "high", "hd"),
     (COGVIEW, "low", "standard"), (GLM, "best", None), (GLM, "auto", None), ("cogview-3-flash", "hd", None)],
)  # fmt: skip
def test_quality(model: str, quality: str, taken: str | None) -> None:
    assert sent(model, quality=quality).get("quality") == taken


def test_the_answer() -> None:
    note, image = course().outputs
    assert note == Note(request_id="r1")
    assert image == HostedImage(LINK)


def test_an_error_that_is_null_is_none() -> None:
    good = Reply(body=orjson.dumps({"error": None, "success": True, "data": [{"url": LINK}]}))
    assert course(reply=good).outputs[1] == HostedImage(LINK)


def test_a_base_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="base_url"):
        Zai(api_key=Secret("k"), base_url=URL("https://u:p@a.example"))


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
    """Facts 15, 21 and 30: the storage calls everything an octet-stream, and a picture is what its bytes are."""
    assert [*MODELS] == MODELS_TO_TRY
    for picture in await generated(client, model):
        assert opened(picture).size == (256, 256)
        assert Image(picture).media_type == "image/png"
    assert service.pictures == 3


async def test_a_fresh_link_may_be_unknown_for_a_while() -> None:
    """Facts 17 and 18: it is asked for again, byte for byte, and never shown the key."""
    async with Service(lag=3) as service, proxied(service_module.setup(service)) as client:
        answer = await client.images.generate(model=GLM, prompt="x")
        assert opened(first(answer)).size == (256, 256)
        assert [seen.status for seen in service.downloads] == [404, 404, 404, 200]
        assert service.pictures == 1
        for seen in service.downloads:
            assert seen.path.endswith("?ufileattname=a%2Fb%7E_%E5%9B%BE.png")
            assert "Authorization" not in seen.headers
            assert KEY not in str(seen.headers)


async def test_a_link_that_stays_unknown_is_told_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Facts 17 and 19: the picture is paid for, so no SDK may buy another; an operator finds the link in the log."""
    async with Service(lag=9) as service, proxied(service_module.setup(service)) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.generate(model=GLM, prompt="x")
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert service.pictures == 1
        assert f"{service.url.origin()}/storage/0.png" in caplog.text


async def test_several_pictures_are_several_calls(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 12."""
    answer = await client.images.generate(model=GLM, prompt="x", n=3)
    assert len(set(bytes_of(answer))) == 3
    assert service.pictures == 3


async def test_a_task_looks_like_an_ordinary_answer() -> None:
    async with Service() as service:
        setup = service_module.setup(service)
        table = {**setup["plugins"]["zai"], "asynchronous": True, "poll_every": 0.001}
        async with proxied({**setup, "plugins": {**setup["plugins"], "zai": table}}, max_retries=0) as client:
            for picture in await generated(client, GLM):
                assert opened(picture).size == (256, 256)
            service.script({"error": {"code": "1301", "message": "unsafe"}})
            with pytest.raises(openai.BadRequestError) as caught:
                await client.images.generate(model=GLM, prompt="x")
            service.script({})
            with pytest.raises(openai.InternalServerError) as unknown:
                await client.images.generate(model=GLM, prompt="x")
    assert caught.value.code == "content_policy_violation"
    assert [one.value.response.headers["x-should-retry"] for one in (caught, unknown)] == ["false", "false"]
    assert all(seen.path.endswith("/async/images/generations") for seen in service.requests)


async def test_keys_and_ids(service: Service, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.with_raw_response.generate(model=GLM, prompt="x")
    assert service.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert answer.headers["X-Upstream-Request-ID"] == "id-1"


async def test_no_reference_is_taken(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13: nothing is made without what was sent for it to be made of."""
    with pytest.raises(openai.BadRequestError, match="makes pictures from words alone") as caught:
        await client.images.edit(model=GLM, image=png(), prompt="x")
    assert caught.value.param == "image"
    with pytest.raises(openai.BadRequestError, match="makes pictures from words alone"):
        await client.chat.completions.create(model=GLM, messages=turn("x", png()))
    assert not service.requests


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    extra = {"seed": 7, "background": "transparent", "output_format": "webp", "aspect_ratio": "3:1"}
    answer = await client.images.generate(model=GLM, prompt="x", quality="low", extra_body=extra)
    for name in ("seed", "background", "output_format", "aspect ratio", "quality"):
        assert any(name in warning for warning in warnings(answer))
    assert service.requests[0].body["size"] == "2048x1024"
    async with proxied(service_module.setup(service), unsupported="reject") as strict:
        for name, value in extra.items():
            with pytest.raises(openai.BadRequestError) as caught:
                await strict.images.generate(model=GLM, prompt="x", extra_body={name: value})
            assert caught.value.param == name
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "said"),
    [
        (refusal(400, 1210, "bad parameter"), 400, "invalid_value", None, "bad parameter (code 1210)"),
        (refusal(400, 1211, "Unknown Model"), 404, "model_not_found", None, "Unknown Model"),
        (refusal(400, 1301, "unsafe content"), 400, "content_policy_violation", "false", "unsafe content (code 1301)"),
        (refusal(401, 1002, "token"), 401, "invalid_api_key", None, "token"),
        (refusal(200, 1001, "no header"), 401, "invalid_api_key", None, "no header"),
        (refusal(200, 9999, "of no kind"), 502, "upstream_error", "false", "of no kind (code 9999)"),
        (refusal(200, 500, "internal"), 500, "upstream_error", "false", "internal (code 500)"),
        (Refused(200, {"error": "in words alone"}), 502, "upstream_error", "false", "in words alone"),
        (Refused(200, {"code": 401, "msg": "expired", "success": False}), 401, "invalid_api_key", None, "expired"),
        (Refused(200, {"code": 500, "msg": "404 NOT_FOUND", "success": False}), 500, "upstream_error", "false", "NOT_FOUND"),
        (Refused(200, {"success": False}), 502, "upstream_error", "false", "without a reason"),
        (Refused(400, {"error": None}), 400, "upstream_error", None, "without a reason"),
        (Refused(400, {"error": {"code": "1210"}}), 400, "invalid_value", None, "no reason (code 1210)"),
        (Refused(401, {"code": 401, "msg": "expired", "success": False}), 401, "invalid_api_key", None, "expired"),
        (refusal(429, 1113, "in arrears"), 429, "insufficient_quota", "false", "in arrears (code 1113)"),
        (refusal(429, 1121, "account locked"), 403, "account_problem", None, "account locked"),
        (refusal(429, 1302, "concurrency", Retry_After="7"), 429, "rate_limit_exceeded", None, "concurrency"),
        (refusal(429, 1305, "too busy"), 429, "rate_limit_exceeded", None, "too busy"),
        (refusal(403, 1220, "no permission"), 403, "permission_denied", None, "no permission"),
        (Refused(434, {"error": {"message": "no API"}}), 403, "permission_denied", None, "no API"),
        (refusal(500, 500, "internal"), 500, "upstream_error", "false", "internal"),
        (refusal(500, 1234, "network"), 502, "upstream_error", "false", "network"),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b'{"data": []}'), 502, "invalid_upstream_reply", "false", "without a picture"),
        (Raw(body=b'{"data": [{}]}'), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b"[1]", status=502), 502, "upstream_error", "false", "without a reason"),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, said: str) -> None:
    """Facts 9, 19, 20 and 21: 429 is haste and an empty balance, and only one of them may be tried again."""
    error = await refused(service, service_module.setup(service), fault, GLM, edit=False)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message


def test_the_page_is_right() -> None:
    text = (DOCS / "zai.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"ZAI_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
