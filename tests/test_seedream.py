"""Seedream through a running proxy, judged by an emulator that rejects what ModelArk rejects; the client is OpenAI's SDK."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from plugins.bytedance.models import MODELS
from proxy_core.testing import running
from tests.emulators.ark import Ark, Cut, Hang, ItemErrors, Raw, Refuse
from tests.pictures import BLUE, GREEN, RED, opened, photograph, png

KEY = "ark-test-key"
EP_LITE, EP_PRO = "ep-20260101000000-lite1", "ep-20260101000000-pro01"


@pytest.fixture
async def ark() -> AsyncIterator[Ark]:
    endpoints = {EP_LITE: "seedream-5-0-260128", EP_PRO: "dola-seedream-5-0-pro-260628"}
    async with Ark(key=KEY, endpoints=endpoints) as ark:
        yield ark


@asynccontextmanager
async def proxied(ark: Ark, **image_edit: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    storage = ark.storage.origin
    config = {
        "proxy": {"plugins": ["access_log", "signing", "image_edit", "bytedance"]},
        "plugins": {
            "bytedance": {"api_key": "env:ARK_API_KEY", "base_url": str(ark.url)},
            "image_edit": {
                "models": {
                    "house-style": {"provider": "bytedance", "model": EP_LITE, "like": "seedream-5.0-lite"},
                    "house-pro": {"provider": "bytedance", "model": EP_PRO, "like": "seedream-5.0-pro"},
                },
                "fetch": {"allow_hosts": [f"{storage.host}:{storage.port}"], "retries": [0, 0, 0]},
                **image_edit,
            },
        },
    }
    async with (
        running(config, environ={"ARK_API_KEY": KEY}) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="the-clients-own", max_retries=2) as client,
    ):
        yield client


@pytest.fixture
async def client(ark: Ark) -> AsyncIterator[openai.AsyncOpenAI]:
    async with proxied(ark) as client:
        yield client


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def turn(text: str, *pictures: bytes) -> list[Any]:
    urls = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *urls]}]


NAMES = [*(name for name, rules in MODELS.items() if rules.references > 1), "house-style", "house-pro"]


@pytest.mark.parametrize("name", NAMES)
async def test_every_model_is_accepted_on_every_surface(ark: Ark, client: openai.AsyncOpenAI, name: str) -> None:
    """With what OpenAI's clients send by habit: sizes that are illegal here, n, quality, response_format, user."""
    habits: Any = {"size": "1024x1024", "quality": "high", "response_format": "b64_json", "user": "someone"}
    made = await client.images.generate(model=name, prompt="a lighthouse", **habits)
    one = await client.images.edit(model=name, image=png(), prompt="add a hat", **habits)
    three = await client.images.edit(model=name, image=[png(colour=c) for c in (RED, GREEN, BLUE)], prompt="one scene")
    chat = await client.chat.completions.create(model=name, messages=turn("add a hat", png()))
    for answer in (made, one, three):
        assert answer.data is not None
        assert opened(base64.b64decode(answer.data[0].b64_json or "")).format in ("JPEG", "PNG", None)
    url: str = chat.choices[0].message.images[0]["image_url"]["url"]  # type: ignore[attr-defined]
    kind = "png" if "5.5" in name or "5-5" in name else "jpeg"
    assert url.startswith(f"data:image/{kind};base64,")  # sniffed, whatever anybody claims

    assert [seen.status for seen in ark.requests] == [200, 200, 200, 200]
    assert [len(seen.references) for seen in ark.requests] == [0, 1, 3, 1]
    assert not any(seen.watermarked or seen.ignored for seen in ark.requests)
    bodies = [seen.json or {} for seen in ark.requests]
    assert isinstance(bodies[1]["image"], str)
    assert isinstance(bodies[2]["image"], list)
    assert "image" not in bodies[0]
    assert not ark.leaks


@pytest.mark.parametrize("name", ["seedream-3.0", "seedream-3-0-t2i-250415"])
async def test_the_oldest_line_makes_pictures_and_does_not_edit(ark: Ark, client: openai.AsyncOpenAI, name: str) -> None:
    made = await client.images.generate(model=name, prompt="a lighthouse", size="1536x1024", extra_body={"guidance_scale": 3})
    assert made.data is not None
    assert (ark.requests[0].json or {})["size"] == "1536x1024"
    with pytest.raises(openai.BadRequestError):
        await client.images.edit(model=name, image=png(), prompt="add a hat")
    assert [seen.status for seen in ark.requests] == [200]


@pytest.mark.parametrize("name", ["seededit-3.0", "seededit-3-0-i2i-250628"])
async def test_seededit_edits_one_picture(ark: Ark, client: openai.AsyncOpenAI, name: str) -> None:
    await client.images.edit(model=name, image=png(), prompt="add a hat", size="1024x1024")
    assert [(seen.status, len(seen.references)) for seen in ark.requests] == [(200, 1)]
    with pytest.raises(openai.BadRequestError, match="edits pictures; send one"):
        await client.images.generate(model=name, prompt="a hat")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.images.edit(model=name, image=[png(), png()], prompt="one scene")
    assert (caught.value.param or "").startswith("image")
    assert len(ark.requests) == 1


async def test_a_reference_that_the_service_would_refuse_is_named_before(ark: Ark, client: openai.AsyncOpenAI) -> None:
    """bytedance.md section 3: sides above 14 pixels, shapes up to 16:1, formats by model."""
    await client.images.edit(model="seedream-4.5", image=[png(), png(kind="TIFF")], prompt="x")
    for size in ((14, 200), (640, 32)):
        with pytest.raises(openai.BadRequestError, match="{}x{}".format(*size)) as caught:
            await client.images.edit(model="seedream-4.5", image=[png(), png(size)], prompt="x")
        assert caught.value.param == "image[1]"
    assert [seen.status for seen in ark.requests] == [200]


async def test_the_reference_arrives_as_it_was_sent(ark: Ark, client: openai.AsyncOpenAI) -> None:
    picture = png(colour=BLUE)
    await client.chat.completions.create(model="seedream-4.5", messages=turn("add a hat", picture))
    assert [ref.sha256 for ref in ark.requests[0].references] == [hashlib.sha256(picture).hexdigest()]


async def test_keys_stay_where_they_belong(ark: Ark, client: openai.AsyncOpenAI) -> None:
    await client.images.generate(model="seedream-4.5", prompt="x")
    assert ark.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert "the-clients-own" not in str(ark.requests[0].headers)
    assert ark.downloads
    assert not ark.leaks


async def test_sizes_are_mapped_and_named(ark: Ark, client: openai.AsyncOpenAI) -> None:
    """Fact 6."""
    answer = await client.images.generate(model="seedream-4.5", prompt="x", size="1024x1024")
    assert (ark.requests[0].json or {})["size"] == "1920x1920"
    assert answer.model_extra is not None
    assert answer.model_extra["warnings"] == ["seedream-4.5 cannot make size 1024x1024; 1920x1920 was used"]


async def test_ratio_and_resolution(ark: Ark, client: openai.AsyncOpenAI) -> None:
    extra = {"aspect_ratio": "16:9", "resolution": "4K"}
    await client.images.generate(model="seedream-4.0", prompt="x", extra_body=extra)
    assert (ark.requests[0].json or {})["size"] == "5504x3040"


async def test_too_many_references_are_refused_before_money_is_spent(ark: Ark, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="takes 10") as caught:
        await client.images.edit(model="seedream-4.0", image=[png((20 + i, 20)) for i in range(12)], prompt="x")
    assert caught.value.param == "image[10]"
    assert not ark.requests


async def test_reject_asks_before_money_is_spent(ark: Ark) -> None:
    async with proxied(ark, unsupported="reject") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model="seedream-4.5", prompt="x", size="1024x1024")
    assert caught.value.param == "size"
    assert "the nearest legal size is 1920x1920" in str(caught.value)
    assert not ark.requests


async def test_a_mask_is_never_left_out(ark: Ark, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.images.edit(model="seedream-4.5", image=png(), mask=png(), prompt="x")
    assert caught.value.param == "mask"
    assert not ark.requests


async def test_links_are_handed_on(ark: Ark, client: openai.AsyncOpenAI) -> None:
    link = "https://pictures.example/a.png?sig=a%2Fb"
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": link}]
    messages: Any = [{"role": "user", "content": parts}]
    await client.chat.completions.create(model="seedream-4.5", messages=messages)
    assert (ark.requests[0].json or {})["image"] == link


async def test_n_is_fanned_out(ark: Ark, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.generate(model="seedream-4.5", prompt="x", n=3)
    assert answer.data is not None
    assert len(answer.data) == 3
    assert [seen.status for seen in ark.requests] == [200, 200, 200]


async def test_a_partial_failure_returns_what_succeeded(ark: Ark, client: openai.AsyncOpenAI) -> None:
    ark.script(Refuse(status=400, code="OutputImageSensitiveContentDetected", message="The output may hold sensitive content."))
    answer = await client.images.generate(model="seedream-4.5", prompt="x", n=2)
    assert answer.data is not None
    assert len(answer.data) == 1
    assert answer.model_extra is not None
    assert "of 2 failed: bytedance: The output may hold" in answer.model_extra["warnings"][0]


@pytest.mark.parametrize("broken", ["!!!!", "Zm9v" * 30 + "=AAA", "\u00e9" * 8, base64.b64encode(b"no picture").decode()])
async def test_a_broken_picture_costs_no_other(ark: Ark, client: openai.AsyncOpenAI, broken: str) -> None:
    good = base64.b64encode(png()).decode()
    answer = {"model": "m", "created": 1, "data": [{"b64_json": broken}, {"b64_json": good}]}
    ark.script(Raw(body=json.dumps(answer).encode()))
    made = await client.images.generate(model="seedream-4.5", prompt="x")
    assert made.data is not None
    assert [one.b64_json for one in made.data] == [good]
    assert made.model_extra is not None
    assert "what bytedance sent is" in made.model_extra["warnings"][0]


async def test_a_late_link_is_tried_again(ark: Ark, client: openai.AsyncOpenAI) -> None:
    ark.missing = 2
    await client.images.generate(model="seedream-4.5", prompt="x")
    assert [download.status for download in ark.downloads] == [404, 404, 200]
    assert ark.pictures == 1


async def test_a_lost_link_is_not_bought_again(ark: Ark, client: openai.AsyncOpenAI) -> None:
    ark.missing = 99
    with pytest.raises(openai.InternalServerError) as caught:
        await client.images.generate(model="seedream-4.5", prompt="x")
    assert caught.value.status_code == 502
    assert ark.pictures == 1  # the SDK would have asked three times, but for x-should-retry: false


@pytest.mark.parametrize(
    ("fault", "error", "status", "code"),
    [
        (Refuse(status=400, code="InputTextRiskDetection"), openai.BadRequestError, 400, "content_policy_violation"),
        (Refuse(status=404, code="ModelNotOpen", message="Not open."), openai.NotFoundError, 404, "model_not_found"),
        (Refuse(status=500, code="InternalServiceError"), openai.InternalServerError, 500, "upstream_error"),
        (ItemErrors(), openai.BadRequestError, 400, "content_policy_violation"),
        (Raw(body=b"not json"), openai.InternalServerError, 502, "invalid_upstream_reply"),
        (Cut(), openai.InternalServerError, 502, "upstream_cut"),
        (Cut(when="body"), openai.InternalServerError, 502, "upstream_cut"),
    ],
    ids=["refusal", "not open", "500", "items", "garbage", "cut", "cut within"],
)
async def test_failures_keep_their_meaning_and_are_not_repeated(
    ark: Ark, client: openai.AsyncOpenAI, fault: Any, error: type[openai.APIStatusError], status: int, code: str
) -> None:
    ark.script(fault)
    with pytest.raises(error) as caught:
        await client.images.generate(model="seedream-4.5", prompt="x")
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert len(ark.requests) == 1
    assert KEY not in str(caught.value.body)


async def test_a_client_that_leaves_cancels_the_upstream(ark: Ark, client: openai.AsyncOpenAI) -> None:
    hang = Hang()
    ark.script(hang)
    asked = asyncio.create_task(client.images.generate(model="seedream-4.5", prompt="x"))
    await hang.arrived.wait()
    asked.cancel()
    await asyncio.wait_for(hang.gone.wait(), 2)
    assert ark.requests[0].gone


async def test_a_photograph_of_ten_megabytes_reaches_the_provider(ark: Ark, client: openai.AsyncOpenAI) -> None:
    photo = photograph(9.5)
    await client.images.edit(model="house-pro", image=photo, prompt="add a hat")
    assert ark.requests[0].references[0].sha256 == hashlib.sha256(photo).hexdigest()
