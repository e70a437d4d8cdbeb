"""Grok Imagine through a running proxy, judged by a strict emulator; the client is OpenAI's SDK."""

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

from plugins.image_edit import Failed, Image, Job, Link, Note, Reply, Secret
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from plugins.xai import XAI
from plugins.xai.models import MODELS
from proxy_core import ClientError, Failure
from proxy_core.testing import loaded
from tests.emulators import xai as service_module
from tests.emulators.xai import KEY, MODELS_TO_TRY, Cut, Raw, Refused, Withheld
from tests.pictures import mask, opened, png
from tests.surfaces import bytes_of, edited, first, generated, proxied, refused, warnings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "providers"
B64 = base64.b64encode(PNG).decode()
SERVICE = XAI(api_key=Secret("xai-0123456789"))
PLAIN, NEW = "grok-imagine-image", "grok-imagine-image-2.0"
Service = service_module.XAI


def told(*items: dict[str, Any], **more: Any) -> Reply:
    return Reply(headers={"x-request-id": "r1"}, body=orjson.dumps({"data": items, **more}))


GOOD = told({"b64_json": B64, "respect_moderation": True}, usage={"cost_in_usd_ticks": 220_000_000})


class TestXAI(ProviderConformance):
    plugin = XAI
    config = {"api_key": "not-a-real-one"}
    model = PLAIN
    replies = [GOOD]


# --- rules and steps ---


def course(model: str = PLAIN, reply: Reply = GOOD, **more: Any) -> Course:
    asked = Job(name=model, model=model, like=model, prompt="a hat", **more)
    return run_steps(SERVICE.edit(fit(asked, MODELS[model], reject=False)[0]), [reply])


def sent(model: str = PLAIN, **more: Any) -> dict[str, Any]:
    (call,) = course(model, **more).calls
    value: dict[str, Any] = orjson.loads(payload(call))
    return value


def test_a_generation_is_the_fewest_fields() -> None:
    """Facts 3 and 12: `n` is the service's own here, and base64 is asked for."""
    (call,) = course().calls
    assert (call.method, str(call.url)) == ("POST", "https://api.x.ai/v1/images/generations")
    assert sent() == {"model": PLAIN, "prompt": "a hat", "response_format": "b64_json"}
    assert sent(n=10)["n"] == 10


def test_a_reference_never_goes_where_it_would_be_ignored() -> None:
    """Facts 2 and 14: JSON alone, `image` for one and `images` for several, and never both."""
    one, two = Image(PNG), Link("https://a.example/b.png?sig=%2F")
    (call,) = course(references=(one,)).calls
    assert str(call.url) == "https://api.x.ai/v1/images/edits"
    assert not call.parts
    value = sent(references=(one,))
    assert value["image"] == {"url": f"data:image/png;base64,{B64}", "type": "image_url"}
    assert "images" not in value
    value = sent(references=(one, two))
    assert [item["url"][:10] for item in value["images"]] == ["data:image", "https://a."]
    assert "image" not in value


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"aspect_ratio": "16:9"}, {"aspect_ratio": "16:9"}),
        ({"size": "1024x1024"}, {"aspect_ratio": "1:1", "resolution": "1k"}),
        ({"size": "2048x1152"}, {"aspect_ratio": "16:9", "resolution": "1.5k"}),
        ({"resolution": "2K", "aspect_ratio": "9:19.5"}, {"aspect_ratio": "9:19.5", "resolution": "2k"}),
        ({"resolution": "4K"}, {"resolution": "2k"}),
        ({"aspect_ratio": "auto"}, {"aspect_ratio": "auto"}),
        ({"size": "auto", "quality": "high", "seed": 7}, {}),
    ],
)
def test_shapes(given: dict[str, Any], made: dict[str, str]) -> None:
    """Facts 7 and 28: no sizes in pixels here, and the k is lower case."""
    value = sent(**given)
    assert {name: value[name] for name in value.keys() - {"model", "prompt", "response_format"}} == made


def test_one_picture_keeps_its_shape() -> None:
    """A ratio beside a single picture is not honoured: it is said before anything is paid, unless it is the picture's own."""
    picture = Image(png((320, 180)))
    job = Job(name=PLAIN, model=PLAIN, prompt="x", references=(picture,), aspect_ratio="1:1", resolution="2K")
    made, said = fit(job, MODELS[PLAIN], reject=False)
    assert (made.aspect_ratio, made.resolution) == (None, "2k")
    (warning,) = said
    assert "keeps the shape of the one picture" in warning
    assert "aspect_ratio 1:1" in warning
    with pytest.raises(ClientError, match="keeps the shape") as caught:
        fit(job, MODELS[PLAIN], reject=True)
    assert caught.value.param == "aspect_ratio"
    own = Job(name=PLAIN, model=PLAIN, prompt="x", references=(picture,), size="1280x720")
    assert fit(own, MODELS[PLAIN], reject=True)[0].aspect_ratio is None
    two = Job(name=PLAIN, model=PLAIN, prompt="x", references=(picture, picture), aspect_ratio="1:1")
    assert fit(two, MODELS[PLAIN], reject=True)[0].aspect_ratio == "1:1"


@pytest.mark.parametrize(
    ("side", "given", "resolution", "said"),
    [
        ((300, 100), {"aspect_ratio": "3:1"}, None, []),  # in no list, and yet what comes
        ((320, 180), {"size": "auto", "aspect_ratio": "auto"}, None, []),
        ((1536, 1024), {"size": "1536x1024"}, "1.5k", ["size 1536x1024; 1.5k was used"]),
        ((320, 180), {"size": "1536x1024"}, "1.5k", ["cannot be told size 1536x1024", "size 1536x1024; 1.5k was used"]),
        ((320, 180), {"aspect_ratio": "1:3"}, None, ["cannot be told aspect_ratio 1:3; the picture's shape is kept"]),
        (
            (320, 180),
            {"size": "1024x1024", "aspect_ratio": "16:9"},
            "1k",
            ["aspect_ratio 16:9 contradicts", "cannot be told size 1024x1024"],
        ),
    ],
)
def test_of_one_picture_only_what_is_true_is_told(
    side: tuple[int, int], given: dict[str, str], resolution: str | None, said: list[str]
) -> None:
    """No ratio is sent, so none "was used"; and what the picture has is no reason for a warning, nor for a 400."""
    job = Job(name=PLAIN, model=PLAIN, prompt="x", references=(Image(png(side)),), **given)  # type: ignore[arg-type]
    made, told = fit(job, MODELS[PLAIN], reject=False)
    assert (made.size, made.aspect_ratio, made.resolution) == (None, None, resolution)
    assert len(told) == len(said)
    for warning, words in zip(told, said, strict=True):
        assert words in warning
    if not said:
        assert fit(job, MODELS[PLAIN], reject=True)[1] == []


def test_a_links_shape_is_not_known() -> None:
    linked = Job(name=PLAIN, model=PLAIN, prompt="x", references=(Link("https://a.example/b.png"),), aspect_ratio="1:1")
    made, (warning,) = fit(linked, MODELS[PLAIN], reject=False)
    assert made.aspect_ratio is None
    assert "cannot be told aspect_ratio 1:1" in warning


@pytest.mark.parametrize(
    ("model", "quality", "taken"),
    [(PLAIN, "low", None), (NEW, "low", "low"), (NEW, "auto", None), (NEW, "high", "medium"), (NEW, "best", None)],
)
def test_quality(model: str, quality: str, taken: str | None) -> None:
    assert sent(model, quality=quality).get("quality") == taken


def test_the_answer() -> None:
    """Facts 9, 15, 16 and 17."""
    note, image = course().outputs
    assert note == Note(cost={"amount": "0.022", "currency": "USD"}, request_id="r1")
    assert b"".join(image.chunks()) == PNG
    mixed = told({"b64_json": f"data:image/png;base64,{B64}"}, {"url": "https://a/b"}, {"respect_moderation": False})
    note, prefixed, hosted, failed = course(reply=mixed).outputs
    assert note.cost is None
    assert prefixed.media_type == "image/png"
    assert hosted.url == "https://a/b"
    assert isinstance(failed, Failed)
    assert (failed.index, failed.error.status, failed.error.code) == (2, 400, "content_policy_violation")
    assert getattr(failed.error, "failure", None) is Failure.UNKNOWN


@pytest.mark.parametrize(
    ("ticks", "amount"), [("200000000", "0.02"), (10**10, "1"), (200_000_000, "0.02"), (1, "0.0000000001"), (10**12, "100")]
)
def test_ticks_are_dollars(ticks: int | str, amount: str) -> None:
    note = course(reply=told({"b64_json": B64}, usage={"cost_in_usd_ticks": ticks})).outputs[0]
    assert note.cost["amount"] == amount


def test_a_base_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="base_url"):
        XAI(api_key=Secret("k"), base_url=URL("https://u:p@a.example"))


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
    """Facts 1, 2, 14, 15, 21, 27 and 30."""
    assert {rules.model or name for name, rules in MODELS.items()} == set(MODELS_TO_TRY)
    for picture in await generated(client, model):
        assert opened(picture).size == (256, 256)
        assert Image(picture).media_type == "image/jpeg"
    await edited(client, model)
    assert [seen.status for seen in service.requests] == [200] * 8
    assert [seen.path.rpartition("/")[2] for seen in service.requests] == ["generations"] * 3 + ["edits"] * 5


async def test_links_are_fetched_without_the_key() -> None:
    """Facts 17 and 18: byte for byte, and by nobody's leave."""
    async with Service(links=True) as service, proxied(service_module.setup(service)) as client:
        answer = await client.images.generate(model=PLAIN, prompt="x", n=2)
        assert len(set(bytes_of(answer))) == 2
        assert not service.leaks
        assert service.requests[-1].path.endswith("?sig=a%2Fb%7E")


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_deferred_job_looks_like_an_ordinary_answer(accepted: bool) -> None:
    """With links, as the service's are then; whichever way it says that the job still runs."""
    async with Service(links=True, accepted=accepted) as service:
        setup = service_module.setup(service)
        table = {**setup["plugins"]["xai"], "deferred": True, "poll_every": 0.001}
        async with proxied({**setup, "plugins": {**setup["plugins"], "xai": table}}, max_retries=0) as client:
            await edited(client, PLAIN)
            assert all(seen.body["deferred"] is True for seen in service.requests if seen.method == "POST")
            service.script(Withheld())
            with pytest.raises(openai.BadRequestError) as caught:
                await client.images.generate(model=PLAIN, prompt="x")
    assert caught.value.code == "content_policy_violation"


async def test_keys_and_ids(service: Service, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.with_raw_response.generate(model=PLAIN, prompt="x")
    assert service.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert answer.headers["X-Upstream-Request-ID"] == "id-1"


async def test_n(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 12: one call where there is no picture; beside one, `n` may be ignored, and each picture has a call."""
    made = await client.images.generate(model=PLAIN, prompt="x", n=3)
    changed = await client.images.edit(model=PLAIN, image=png(), prompt="x", n=2)
    assert [len(set(bytes_of(made))), len(set(bytes_of(changed)))] == [3, 2]
    assert [seen.pictures for seen in service.requests] == [3, 1, 1]


async def test_what_cannot_be_done_is_named_or_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    extra = {"seed": 7, "background": "transparent", "output_format": "webp", "aspect_ratio": "1:3"}
    answer = await client.images.generate(model=PLAIN, prompt="x", quality="high", extra_body=extra)
    for name in ("seed", "background", "output_format", "aspect ratio", "quality"):
        assert any(name in warning for warning in warnings(answer))
    assert service.requests[0].body["aspect_ratio"] == "9:20"
    async with proxied(service_module.setup(service), unsupported="reject") as strict:
        for name, value in extra.items():
            with pytest.raises(openai.BadRequestError) as caught:
                await strict.images.generate(model=PLAIN, prompt="x", extra_body={name: value})
            assert caught.value.param == name
    assert len(service.requests) == 1


async def test_a_mask_and_too_many_references_are_refused(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 13; the vendor says three."""
    with pytest.raises(openai.BadRequestError) as masked:
        await client.images.edit(model=PLAIN, image=png(), mask=mask((96, 64)), prompt="x")
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.edit(model=PLAIN, image=[png()] * 4, prompt="x")
    with pytest.raises(openai.BadRequestError) as gif:
        await client.images.edit(model=PLAIN, image=[png(), png(kind="GIF")], prompt="x")
    assert [one.value.param for one in (masked, many, gif)] == ["mask", "image[3]", "image[1]"]
    assert not service.requests


def words(text: str, code: str = "Client specified an invalid argument") -> dict[str, str]:
    return {"code": code, "error": text}


UNSAFE = "Content violates usage guidelines. Team: t, API key ID: k, Model: m, Failed check: SAFETY_CHECK_TYPE_X"


@pytest.mark.parametrize(
    ("fault", "status", "code", "again", "said"),
    [
        (Refused(400, words("bad n")), 400, "invalid_value", None, "bad n"),
        (Refused(400, words("Incorrect API key provided: ab***.")), 401, "invalid_api_key", None, "Incorrect API key"),
        (Refused(400, words("Model 'x' of api key ab*** takes no n")), 400, "invalid_value", None, "takes no n"),
        (Refused(400, {"error": "Content violates usage guidelines."}), 400, "content_policy_violation", "false", "guidelines"),
        (Refused(400, words("Generated image rejected by content moderation.")), 400, "content_policy_violation", "false", ""),
        (Refused(403, words(UNSAFE)), 400, "content_policy_violation", "false", "SAFETY_CHECK"),
        (Refused(403, words("The API key is disabled")), 403, "permission_denied", None, "disabled"),
        (Refused(401, words("No credentials", "Unauthenticated")), 401, "invalid_api_key", None, "No credentials"),
        (Refused(403, words("Your team is blocked")), 403, "permission_denied", None, "blocked"),
        (Refused(403, words("Your team has used all available credits")), 429, "insufficient_quota", "false", "credits"),
        (Refused(404, {"error": "no such model"}), 404, "model_not_found", None, "no such model"),
        (Refused(415, {"error": "not JSON"}), 415, "upstream_error", None, "not JSON"),
        (Refused(422, {"error": {"message": "wrong", "type": "t", "code": "c"}}), 422, "invalid_value", None, "wrong"),
        (Refused(429, words("Too many requests with API key ab***")), 429, "rate_limit_exceeded", None, "requests with"),
        (Refused(429, words("Too many"), Retry_After="7"), 429, "rate_limit_exceeded", None, "Too many"),
        (Refused(500, {"error": "oh"}), 500, "upstream_error", "false", "oh"),
        (Withheld(), 400, "content_policy_violation", "false", "withheld"),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", "false", "not understood"),
        (Raw(body=b'{"data": []}'), 502, "invalid_upstream_reply", "false", "without a picture"),
        (Raw(body=b"", status=503), 503, "upstream_error", "false", "without a reason"),
        (Cut(), 502, "upstream_cut", "false", ""),
    ],
)
async def test_errors(service: Service, fault: Any, status: int, code: str, again: str | None, said: str) -> None:
    """Facts 9, 19, 20 and 21: an `error` that is a text is an object here, and a 400 that is a bad key says so."""
    error = await refused(service, service_module.setup(service), fault, PLAIN, edit=True)
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers.get("x-should-retry") == again
    assert said in error.message


async def test_what_moderation_kept_of_several_is_told(service: Service, client: openai.AsyncOpenAI) -> None:
    """Fact 9."""
    service.script(Withheld(shown=(True, False, True)))
    answer = await client.images.generate(model=PLAIN, prompt="x", n=3)
    assert len(bytes_of(answer)) == 2
    assert "picture 2 of 3 failed" in warnings(answer)[0]


async def test_what_is_broken_of_several_costs_no_other(service: Service, client: openai.AsyncOpenAI) -> None:
    """All are paid for: what came whole is delivered, whatever lies beside it."""
    good, usage = {"b64_json": B64}, {"cost_in_usd_ticks": 600_000_000}
    for broken in ({"respect_moderation": True}, {"b64_json": "*"}, {"url": 7}, "text", None):
        service.script(Raw(body=orjson.dumps({"data": [good, broken, good], "usage": usage})))
        answer = await client.images.generate(model=PLAIN, prompt="x", n=3)
        assert bytes_of(answer) == [PNG, PNG]
        (warning,) = warnings(answer)
        assert warning.startswith("picture 2 of 3 failed: ")


@pytest.mark.parametrize(
    "usage", ["text", [1], {"cost_in_usd_ticks": None}, {"cost_in_usd_ticks": True}, {"cost_in_usd_ticks": "x"}]
)
def test_what_a_picture_cost_never_costs_the_picture(usage: Any) -> None:
    note, image = course(reply=told({"b64_json": B64}, usage=usage)).outputs
    assert note.cost is None
    assert b"".join(image.chunks()) == PNG


async def test_a_single_edit_is_as_large_as_asked(service: Service, client: openai.AsyncOpenAI) -> None:
    extra = {"resolution": "2K", "aspect_ratio": "1:1"}
    answer = await client.images.edit(model=PLAIN, image=png((320, 180)), prompt="x", extra_body=extra)
    assert opened(first(answer)).width > opened(first(answer)).height
    assert service.requests[0].body["resolution"] == "2k"
    assert "keeps the shape" in warnings(answer)[0]


def test_the_page_is_right() -> None:
    text = (DOCS / "xai.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"XAI_API_KEY": "x"})
    for model in MODELS:
        assert f"`{model}`" in text
