"""What is asked in a model's stead, and when nothing is: only while nothing can have been charged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from proxy_core import ConfigError
from proxy_core.testing import loaded
from tests.emulators import ark as ark_module
from tests.emulators import zai as zai_module
from tests.emulators.ark import Ark
from tests.emulators.ark_faults import Cut, Hang, Raw, Refuse
from tests.emulators.zai import Zai
from tests.pictures import png
from tests.surfaces import bytes_of, proxied, turn, warnings

HOUSE = {"provider": "bytedance", "model": "seedream-4-5-251128", "fallback": ["glm-image"]}


@pytest.fixture
async def ark() -> AsyncIterator[Ark]:
    async with Ark() as service:
        yield service


@pytest.fixture
async def zai() -> AsyncIterator[Zai]:
    async with Zai() as service:
        yield service


@asynccontextmanager
async def both(ark: Ark, zai: Zai, entry: Any = HOUSE, **image_edit: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of a proxy where `house` is Seedream, and GLM-Image stands in."""
    one, two = ark_module.setup(ark), zai_module.setup(zai)
    hosts = [host for setup in (one, two) for host in setup["plugins"]["image_edit"]["fetch"]["allow_hosts"]]
    tables = {**one["plugins"], **two["plugins"], "image_edit": {"fetch": {"allow_hosts": hosts, "retries": []}}}
    setup = {"plugins": tables, "environ": {**one["environ"], **two["environ"]}}
    async with proxied(setup, max_retries=0, models={"house": entry}, **image_edit) as client:
        yield client


REFUSED = [
    Refuse(status=401, code="AuthenticationError"),
    Refuse(status=403, code="AccountOverdueError"),
    Refuse(status=404, code="ModelNotOpen"),
    Refuse(status=429, code="RateLimitExceeded.EndpointRPMExceeded"),
]


@pytest.mark.parametrize("fault", REFUSED, ids=[str(fault.status) for fault in REFUSED])
async def test_another_is_asked_where_nothing_was_charged(
    ark: Ark, zai: Zai, fault: Refuse, caplog: pytest.LogCaptureFixture
) -> None:
    ark.script(fault)
    with caplog.at_level("INFO"):
        async with both(ark, zai) as client:
            answer = await client.images.generate(model="house", prompt="x")
    assert (ark.pictures, zai.pictures) == (0, 1)
    assert warnings(answer)[0].startswith("bytedance did not answer (4")
    assert answer.model_extra is not None
    assert answer.model_extra["cost"]["amount"] == "0.015"  # of who made it
    (record,) = [record for record in caplog.records if record.name == "darkroom.access"]
    assert (getattr(record, "provider", ""), getattr(record, "model", "")) == ("zai", "house")


@pytest.mark.parametrize("surface", ["chat", "stream"])
async def test_so_it_is_on_every_surface(ark: Ark, zai: Zai, surface: str) -> None:
    ark.script(REFUSED[0])
    async with both(ark, zai) as client:
        if surface == "chat":
            answer: Any = await client.chat.completions.create(model="house", messages=turn("x"))
            assert answer.model == "house"
        else:
            stream = await client.images.generate(model="house", prompt="x", stream=True)
            (answer,) = [event async for event in stream]
    assert "did not answer" in warnings(answer)[0]
    assert zai.pictures == 1


async def test_a_service_that_is_not_there_is_passed_over(zai: Zai) -> None:
    async with Ark() as gone:
        pass
    async with both(gone, zai) as client:
        answer = await client.images.generate(model="house", prompt="x")
    assert "did not answer (502" in warnings(answer)[0]


KEPT: list[Any] = [
    Refuse(status=400, code="InputTextSensitiveContentDetected"),
    Refuse(status=400, code="InvalidParameter"),
    Refuse(status=500, code="InternalServiceError"),
    Raw(body=b"<html>"),
    Raw(body=b'{"data": []}'),
    Cut(),
    Cut(when="body"),
]


@pytest.mark.parametrize("fault", KEPT, ids=repr)
async def test_nobody_else_is_asked_where_it_may_have_been_charged_or_the_request_is_at_fault(
    ark: Ark, zai: Zai, fault: Any
) -> None:
    ark.script(fault)
    async with both(ark, zai) as client:
        with pytest.raises(openai.APIStatusError):
            await client.images.generate(model="house", prompt="x")
    assert not zai.requests
    assert len(ark.requests) == 1


async def test_some_of_several_are_enough(ark: Ark, zai: Zai) -> None:
    ark.script(REFUSED[3])
    async with both(ark, zai) as client:
        answer = await client.images.generate(model="house", prompt="x", n=2)
    assert len(bytes_of(answer)) == 1
    assert not zai.requests


async def test_who_cannot_do_it_does_not_hide_the_trouble(ark: Ark, zai: Zai) -> None:
    """GLM-Image takes no picture: what is told is why Seedream did not."""
    ark.script(REFUSED[3])
    async with both(ark, zai) as client:
        with pytest.raises(openai.RateLimitError):
            await client.images.edit(model="house", image=png(), prompt="x")
    assert not zai.requests


async def test_the_last_trouble_is_told(ark: Ark, zai: Zai) -> None:
    """It may be that somebody was charged in the end: then no SDK asks again."""
    ark.script(REFUSED[3])
    zai.script(zai_module.refusal(500, 500, "internal"))
    async with both(ark, zai) as client:
        with pytest.raises(openai.InternalServerError, match="zai: internal") as caught:
            await client.images.generate(model="house", prompt="x")
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_a_provider_may_stand_in_under_the_same_name(ark: Ark, zai: Zai) -> None:
    one, two = ark_module.setup(ark), zai_module.setup(zai)
    hosts = [host for setup in (one, two) for host in setup["plugins"]["image_edit"]["fetch"]["allow_hosts"]]
    entry = {"provider": "bytedance", "model": "x", "like": "seedream-4.5", "fallback": ["zai"]}
    image_edit = {"fetch": {"allow_hosts": hosts}, "models": {"glm-image": entry}}
    tables = {**one["plugins"], **two["plugins"], "image_edit": image_edit}
    ark.script(REFUSED[0])
    async with proxied({"plugins": tables, "environ": {**one["environ"], **two["environ"]}}, max_retries=0) as client:
        await client.images.generate(model="glm-image", prompt="x")
    assert zai.pictures == 1


@pytest.mark.parametrize(
    ("fallback", "what"),
    [
        (["glm-imag"], "'glm-imag' is neither a model nor a provider .*; did you mean 'glm-image'"),
        (["zai"], "zai has no model 'house'"),
        (["house"], "is what it is to stand in for"),
        (["bytedance"], "is what it is to stand in for"),
        (["glm-image", "xai"], "'xai' is neither"),
    ],
)
def test_a_fallback_that_is_none_stops_the_start(fallback: list[str], what: str) -> None:
    plugins = {
        "image_edit": {"models": {"house": {**HOUSE, "fallback": fallback}}},
        "bytedance": {"api_key": "k"},
        "zai": {"api_key": "k"},
    }
    with pytest.raises(ConfigError, match=what) as caught:
        loaded({"proxy": {"plugins": ["image_edit", "bytedance", "zai"]}, "plugins": plugins})
    assert caught.value.faults[0].where.startswith('plugins.image_edit.models."house".fallback[')


def test_the_list_of_plugins_tells_what_stands_in() -> None:
    table = {"image_edit": {"models": {"house": HOUSE}}, "bytedance": {"api_key": "k"}, "zai": {"api_key": "k"}}
    ready = loaded({"proxy": {"plugins": ["image_edit", "bytedance", "zai"]}, "plugins": table})
    lines = [line for told in ready.plugins.hook.proxy_describe() for line in told.get("bytedance", [])]
    assert "model house (sent as seedream-4-5-251128), else glm-image of zai" in lines


# --- a storm ---


async def test_a_storm_of_retries_buys_nothing_twice(ark: Ark) -> None:
    """200 requests by SDKs that retry, at a service that fails in every way: no request is made twice that may be charged."""
    chance = random.Random(7)
    free = [Refuse(status=429, code="RateLimitExceeded.EndpointRPMExceeded", headers={"Retry-After": "0.01"})]
    dear: list[Any] = [
        Refuse(status=500, code="InternalServiceError"),
        Refuse(status=504, code="InternalServiceError"),
        Cut(),
        Cut(when="body"),
        Raw(body=b"<html>"),
        Raw(body=b"", status=502),
        Hang(),  # later than anybody waits
    ]
    faults = [chance.choice([*free * 3, *dear]) for _ in range(150)]
    ark.script(*faults)
    async with proxied(ark_module.setup(ark), max_retries=2, deadline=0.5) as client:
        gate = asyncio.Semaphore(20)

        async def ask(place: int) -> bool:
            async with gate:
                try:
                    await client.images.generate(model="seedream-4.5", prompt=f"picture {place}")
                except openai.APIStatusError:
                    return False
                return True

        answered = sum(await asyncio.gather(*(ask(place) for place in range(200))))
    tries: dict[str, list[Any]] = {}
    for seen in ark.requests:
        assert seen.json is not None
        tries.setdefault(str(seen.json["prompt"]), []).append(seen)
    assert len(tries) == 200
    for prompt, made in tries.items():
        # All but the last try were refused before anything was made.
        assert [seen.status for seen in made[:-1]] == [429] * (len(made) - 1), prompt
        assert sum(seen.pictures for seen in made) <= 1, prompt
    billed = sum(isinstance(fault, Cut) for fault in faults)
    assert ark.pictures == answered + billed
    assert len(ark.requests) <= 200 + sum(fault is free[0] for fault in faults)
