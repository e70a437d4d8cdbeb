"""What pictures cost: every price in the tables at each tier, what a service says itself, and what nobody knows."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from plugins.image_edit import Image, Job, Price, Rules, Tier, hookimpl
from plugins.image_edit.cost import cost_of, unknown
from plugins.image_edit.fit import fit
from plugins.image_edit.registry import ModelEntry
from proxy_core import COST, USAGE, ConfigError, Handler, Middleware, Request, Response
from proxy_core.build import build
from tests.emulators import ark, gpt_image, openrouter, xai, zai
from tests.emulators.ark_faults import Refuse
from tests.pictures import png
from tests.surfaces import proxied, turn

PLUGINS = Path(__file__).resolve().parent.parent / "plugins"
REFERENCE = Image(png())
SMALL, LARGE = Image(png((1024, 1024))), Image(png((2048, 2048)))


def tables() -> dict[str, Rules]:
    """Every model of every provider that has a table, by "provider/model"."""
    found: dict[str, Rules] = {}
    for path in sorted(PLUGINS.glob("*/models.py")):
        name = path.parent.name
        models = getattr(importlib.import_module(f"plugins.{name}.models"), "MODELS", {})
        found |= {f"{name}/{model}": rules for model, rules in models.items() if isinstance(rules, Rules)}
    return found


# provider/model, what is asked, the picture that comes, references, US dollars
ROWS: list[tuple[str, dict[str, Any], Image, int, str]] = [
    ("bytedance/seedream-3.0", {}, SMALL, 0, "0.03"),
    ("bytedance/seedream-4.0", {}, LARGE, 3, "0.03"),
    ("bytedance/seedream-4.5", {"size": "4K"}, LARGE, 0, "0.04"),
    ("bytedance/seedream-5.0-lite", {}, LARGE, 1, "0.035"),
    ("bytedance/seedream-5.0-pro", {"size": "1K"}, SMALL, 0, "0.045"),
    ("bytedance/seedream-5.0-pro", {"size": "1K"}, SMALL, 1, "0.045"),
    ("bytedance/seedream-5.0-pro", {"size": "1K"}, SMALL, 3, "0.051"),
    ("bytedance/seedream-5.0-pro", {}, LARGE, 2, "0.093"),
    ("bytedance/seedream-5.0-flash", {}, LARGE, 4, "0.018"),
    ("bytedance/seedream-5.5", {"resolution": "1K"}, SMALL, 0, "0.02"),
    ("bytedance/seedream-5.5", {"resolution": "1.5K"}, SMALL, 1, "0.028"),
    ("bytedance/seedream-5.5", {}, LARGE, 0, "0.035"),
    ("bytedance/seedream-5.5", {"size": "1600x1200"}, LARGE, 2, "0.051"),
    ("gemini/gemini-2.5-flash-image", {}, SMALL, 2, "0.039"),
    ("gemini/gemini-3.1-flash-image", {"resolution": "512"}, SMALL, 0, "0.045"),
    ("gemini/gemini-3.1-flash-image", {}, SMALL, 0, "0.067"),
    ("gemini/gemini-3.1-flash-image", {"size": "1024x1024"}, SMALL, 0, "0.067"),
    ("gemini/gemini-3.1-flash-image", {"resolution": "2k"}, LARGE, 0, "0.101"),
    ("gemini/gemini-3.1-flash-image", {"resolution": "4K"}, LARGE, 3, "0.151"),
    ("gemini/gemini-3-pro-image", {}, SMALL, 0, "0.134"),
    ("gemini/gemini-3-pro-image", {"resolution": "2K"}, LARGE, 0, "0.134"),
    ("gemini/gemini-3-pro-image", {"resolution": "4K"}, LARGE, 0, "0.24"),
    ("xai/grok-imagine-image", {}, SMALL, 0, "0.02"),
    ("xai/grok-imagine-image", {"resolution": "2k"}, LARGE, 2, "0.024"),
    ("xai/grok-imagine-image-quality", {}, SMALL, 1, "0.06"),
    ("xai/grok-imagine-image-quality", {"resolution": "2K"}, LARGE, 0, "0.07"),
    ("xai/grok-imagine-image-2.0", {"quality": "low"}, SMALL, 0, "0.04"),
    ("xai/grok-imagine-image-2.0", {"quality": "low", "resolution": "2k"}, LARGE, 0, "0.06"),
    ("xai/grok-imagine-image-2.0", {}, SMALL, 0, "0.06"),
    ("xai/grok-imagine-image-2.0", {"quality": "high", "resolution": "2k"}, LARGE, 3, "0.11"),
    ("zai/glm-image", {}, SMALL, 0, "0.015"),
]


@pytest.mark.parametrize(("model", "asked", "image", "references", "amount"), ROWS)
def test_each_tier(model: str, asked: dict[str, Any], image: Image, references: int, amount: str) -> None:
    rules = tables()[model]
    job = Job(name=model, model=model, prompt="x", references=(REFERENCE,) * references, **asked)
    made, _ = fit(job, rules, reject=False)
    cost = cost_of(made, rules.price, [image], runs=1, usage={}, told=[])
    assert rules.price is not None
    assert cost == {
        "amount": amount,
        "currency": "USD",
        "per_image": amount,
        "source": "list",
        "price_date": rules.price.date,
    }


def test_every_tier_is_in_the_rows() -> None:
    """A price that is added without a row here fails."""
    met: set[tuple[int, Tier]] = set()
    for model, asked, image, references, _ in ROWS:
        rules = tables()[model]
        made, _ = fit(
            Job(name=model, model=model, prompt="x", references=(REFERENCE,) * references, **asked), rules, reject=False
        )
        assert rules.price is not None
        for tier in rules.price.tiers:
            alone = Price(tiers=(tier,))
            if cost_of(made, alone, [image], runs=1, usage={}, told=[])["amount"] is not None:
                met.add((hash(repr(rules.price)), tier))
                break
    wanted = {
        (hash(repr(rules.price)), tier) for rules in tables().values() if rules.price is not None for tier in rules.price.tiers
    }
    assert met == wanted


@pytest.mark.parametrize("model", [model for model, rules in tables().items() if rules.price is not None])
def test_a_price_says_where_it_is_from(model: str) -> None:
    price = tables()[model].price
    assert price is not None
    assert price.date
    assert price.source


USAGE_ALL = {"input_tokens": 150, "output_tokens": 1000, "input_tokens_details": {"text_tokens": 50, "image_tokens": 100}}


@pytest.mark.parametrize(
    ("usage", "references", "amount"),
    [
        (USAGE_ALL, 1, "0.03105"),  # (50 x 5 + 100 x 8 + 1000 x 30) / 1,000,000
        ({"input_tokens": 50, "output_tokens": 1000}, 0, "0.03025"),
        ({"input_tokens": 50, "output_tokens": 1000}, 1, None),  # how many of them are a picture's is not told
        ({"input_tokens": 50}, 0, None),
        ({}, 0, None),
    ],
)
def test_tokens_have_prices(usage: dict[str, Any], references: int, amount: str | None) -> None:
    price = tables()["openai/gpt-image-2"].price
    job = Job(name="m", model="m", prompt="x", references=(REFERENCE,) * references)
    cost = cost_of(job, price, [SMALL], runs=1, usage=usage, told=[])
    assert (cost["amount"], cost["source"]) == (amount, "usage" if amount else "unknown")


PRICE = Price(tiers=(Tier(amount="0.03"),), reference="0.001")
JOB = Job(name="m", model="m", prompt="x", references=(REFERENCE, REFERENCE))


def test_several_pictures_and_calls() -> None:
    cost = cost_of(JOB, PRICE, [SMALL, SMALL, None], runs=3, usage={}, told=[])
    assert (cost["amount"], cost["per_image"]) == ("0.096", "0.032")  # the one that did not arrive is paid for too
    assert cost_of(JOB, PRICE, [SMALL, SMALL], runs=1, usage={}, told=[])["amount"] == "0.062"


@pytest.mark.parametrize(
    ("told", "amount"),
    [
        ([{"amount": "0.04", "currency": "USD"}], "0.04"),
        ([{"amount": "0.04", "currency": "USD"}, {"amount": "0.005", "currency": "USD"}], "0.045"),
        ([{"amount": "0", "currency": "USD"}], "0"),  # it says so itself
        ([{"amount": "0.0000001", "currency": "USD"}], "0.0000001"),
    ],
)
def test_what_a_service_says_counts(told: list[dict[str, object]], amount: str) -> None:
    cost = cost_of(JOB, PRICE, [SMALL], runs=1, usage=USAGE_ALL, told=told)
    assert (cost["amount"], cost["source"]) == (amount, "provider")


@pytest.mark.parametrize(
    "told",
    [[{"amount": "many", "currency": "USD"}], [{"amount": "-1", "currency": "USD"}], [{"amount": "1", "currency": "CNY"}],
     [{"amount": "NaN", "currency": "USD"}], [{"currency": "USD"}], [{}]],
)  # fmt: skip
def test_what_makes_no_sense_does_not(told: list[dict[str, object]]) -> None:
    assert cost_of(JOB, PRICE, [SMALL], runs=1, usage={}, told=told)["source"] == "list"


@pytest.mark.parametrize(
    "price",
    [None, Price(), Price(tiers=(Tier(amount="1", quality=("high",)),)), Price(tiers=(Tier(amount="1", resolution=("4K",)),)),
     Price(tiers=(Tier(amount="1", pixels=1000),)), Price(tiers=(Tier(amount="1", edit=False),))],
)  # fmt: skip
def test_an_unknown_price_is_null_and_never_0(price: Price | None) -> None:
    cost = cost_of(JOB, price, [SMALL], runs=1, usage={}, told=[])
    assert cost == unknown() == {"amount": None, "currency": "USD", "per_image": None, "source": "unknown"}


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ({"tiers": [{"amount": "free"}]}, "price.tiers[0].amount"),
        ({"tiers": [{"amount": "-1"}]}, "price.tiers[0].amount"),
        ({"tiers": [{"amount": 0.03}]}, "price.tiers[0].amount"),
        ({"reference": "1e3"}, "price.reference"),
        ({"tokens": {"outputs": "3"}}, "price.tokens.outputs"),
        ({"tokens": {"output": "x"}}, "price.tokens.output"),
        ({"tier": []}, "price.tier"),
    ],
)
def test_a_price_that_is_none_is_named(table: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Price, table, "price")
    assert caught.value.faults[0].where == where


# --- through a running proxy ---


@dataclass(kw_only=True)
class Ledger:
    """Another plugin: what it sees when all is over."""

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def watch(request: Request, next: Handler) -> Response:
            exchange = request.exchange
            exchange.on_end(lambda ended: BOOKS.append((exchange.get(COST), exchange.get(USAGE))))
            return await next(request)

        return watch


BOOKS: list[tuple[Mapping[str, object] | None, Mapping[str, object] | None]] = []


@pytest.fixture(autouse=True)
def books() -> None:
    BOOKS.clear()


@dataclass
class Served:
    """A provider's emulator, a model, and what one picture of it costs."""

    module: Any
    made: Any
    model: str
    cost: dict[str, object]
    fault: Any = field(default=None)


@pytest.fixture(params=["openai", "bytedance", "xai", "openrouter", "zai"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    listed = {"currency": "USD", "price_date": "2026-11-22"}
    choices: dict[str, tuple[Any, Any, str, dict[str, object]]] = {
        "openai": (gpt_image, gpt_image.GptImage(), "gpt-image-2", {"amount": "0.030005", **listed, "source": "usage"}),
        "bytedance": (ark, ark.Ark(), "seedream-4.5", {"amount": "0.04", **listed, "source": "list"}),
        "xai": (xai, xai.XAI(), "grok-imagine-image", {"amount": "0.02", "currency": "USD", "source": "provider"}),
        "openrouter": (
            openrouter,
            openrouter.OpenRouter(),
            "openai/gpt-5-image",
            {"amount": "0.04", "currency": "USD", "source": "provider"},
        ),
        "zai": (zai, zai.Zai(), "glm-image", {"amount": "0.015", **listed, "source": "list"}),
    }
    module, made, model, cost = choices[request.param]
    async with made:
        yield Served(module, made, model, cost)


async def test_cost_is_in_every_answer_and_with_every_plugin(served: Served) -> None:
    setup = served.module.setup(served.made)
    wanted = {**served.cost, "per_image": served.cost["amount"]}
    async with proxied(setup, outer={"ledger": Ledger}) as client:
        image = await client.images.generate(model=served.model, prompt="x")
        chat = await client.chat.completions.create(model=served.model, messages=turn("x"))
        streamed = await client.chat.completions.create(model=served.model, messages=turn("x"), stream=True)
        chunks = [chunk async for chunk in streamed]
        events = await client.images.generate(model=served.model, prompt="x", stream=True)
        (event,) = [event async for event in events]
    for answer in (image, chat, chunks[-1], event):
        assert answer.model_extra is not None
        assert answer.model_extra["cost"] == wanted
    assert [cost for cost, _ in BOOKS] == [wanted] * 4


async def test_what_was_refused_costs_nothing_and_what_may_be_charged_is_unknown() -> None:
    async with ark.Ark() as service:
        async with proxied(ark.setup(service), max_retries=0, outer={"ledger": Ledger}) as client:
            for fault in (Refuse(status=400, code="SensitiveContentDetected"), Refuse(status=500, code="InternalServiceError")):
                service.script(fault)
                with pytest.raises(openai.APIStatusError):
                    await client.images.generate(model="seedream-4.5", prompt="x")
            with pytest.raises(openai.BadRequestError):
                await client.images.generate(model="seedream-4.5", prompt="x", n=0)
    assert [(None, None), (unknown(), None), (None, None)] == BOOKS


async def test_an_operators_price_counts_before_the_listed_one() -> None:
    async with zai.Zai() as service:
        entry = {"provider": "zai", "model": "glm-image", "price": {"tiers": [{"amount": "0.5"}], "date": "2027-01-01"}}
        async with proxied(zai.setup(service), models={"house": entry}) as client:
            answer = await client.images.generate(model="house", prompt="x", n=2)
    assert answer.model_extra is not None
    cost = answer.model_extra["cost"]
    assert (cost["amount"], cost["per_image"], cost["price_date"]) == ("1", "0.5", "2027-01-01")


def test_the_toml_of_a_price() -> None:
    text = '[house]\nprovider = "zai"\nprice = { tiers = [{ amount = "0.02", resolution = ["1K"] }], reference = "0.001" }\n'
    entry = build(ModelEntry, tomllib.loads(text)["house"], "house")
    assert entry.price == Price(tiers=(Tier(amount="0.02", resolution=("1K",)),), reference="0.001")


async def test_the_access_log_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    async with zai.Zai() as service, proxied(zai.setup(service)) as client:
        with caplog.at_level("INFO", logger="darkroom.access"):
            await client.images.generate(model="glm-image", prompt="x")
    (record,) = [record for record in caplog.records if record.name == "darkroom.access"]
    assert json.loads(json.dumps(getattr(record, "cost_amount", None))) == "0.015"
