"""Which provider serves which name: the operator's table, what providers claim, and every fault told with its mend."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from yarl import URL

from plugins.bytedance import ByteDance
from plugins.bytedance.models import MODELS, SEEDREAM_5_0_PRO
from plugins.image_edit import Job, Note, Rules, Secret, Steps
from plugins.image_edit.registry import Code, ModelEntry, Served, serve
from proxy_core import ConfigError, Fault, __version__


@dataclass(frozen=True)
class Toy:
    """A provider that is only asked what it serves."""

    name: str
    models: Collection[str] | Mapping[str, Rules]
    batch: int = 1
    takes_links: bool = False
    origins: tuple[URL, ...] = ()

    def edit(self, job: Job) -> Steps:
        yield Note()


FAST, FINE = Rules(model="acme-fast-v2", references=1), Rules(references=3)
ACME = Toy("acme", {"acme-fast": FAST, "acme-fine": FINE})
PLAIN = Toy("plain", frozenset({"plain-1"}))  # tells names, and no rules


def faults(providers: list[Any], **entries: ModelEntry) -> list[Fault]:
    with pytest.raises(ConfigError) as caught:
        serve(providers, entries)
    return list(caught.value.faults)


# --- names that providers claim ---


def test_providers_claim_the_names_they_know() -> None:
    assert serve([ACME, PLAIN], {}) == {
        "acme-fast": Served(name="acme-fast", provider=ACME, model="acme-fast-v2", like="acme-fast", rules=FAST),
        "acme-fine": Served(name="acme-fine", provider=ACME, model="acme-fine", like="acme-fine", rules=FINE),
        "plain-1": Served(name="plain-1", provider=PLAIN, model="plain-1", like="plain-1", rules=Rules()),
    }


def test_nobody_serves_nothing() -> None:
    assert serve([], {}) == {}
    assert serve([Toy("empty", {})], {}) == {}


def test_providers_may_come_from_a_generator() -> None:
    assert set(serve((provider for provider in [ACME, PLAIN]), {})) == {"acme-fast", "acme-fine", "plain-1"}


def test_a_name_that_two_claim_is_told_with_the_line_to_add() -> None:
    other = Toy("other", {"acme-fast": Rules(), "own": Rules()})
    (fault,) = faults([ACME, other])
    assert fault.where == "plugins.image_edit.models"
    assert fault.what == ('acme and other both serve \'acme-fast\'; say which one: "acme-fast" = { provider = "acme" }')


@pytest.mark.parametrize("chosen", ["acme", "other"])
def test_the_line_that_was_told_mends_it(chosen: str) -> None:
    other = Toy("other", {"acme-fast": Rules(references=9)})
    served = serve([ACME, other], {"acme-fast": ModelEntry(provider=chosen)})
    assert served["acme-fast"].provider.name == chosen
    assert served["acme-fast"].rules == (FAST if chosen == "acme" else Rules(references=9))
    assert served["acme-fast"].model == ("acme-fast-v2" if chosen == "acme" else "acme-fast")


def test_every_name_that_is_claimed_twice_is_told() -> None:
    copies = [Toy(name, ["a", "b"]) for name in ("one", "two", "three")]
    told = faults(copies)
    assert len(told) == 4
    assert {fault.what.partition(";")[0] for fault in told} == {
        f"one and {name} both serve {model!r}" for name in ("two", "three") for model in "ab"
    }


def test_two_providers_of_one_name_are_a_fault() -> None:
    """The second would silently take the place of the first."""
    (fault,) = faults([ACME, Toy("acme", {"else": Rules()})])
    assert "'acme'" in fault.what


# --- the operator's table ---


@pytest.mark.parametrize(
    ("name", "entry", "model", "like", "rules"),
    [
        # An alias: what the provider is sent, and whose rules hold, are those of the model named.
        ("house", ModelEntry(provider="acme", model="acme-fine"), "acme-fine", "acme-fine", FINE),
        ("house", ModelEntry(provider="acme", like="acme-fast"), "acme-fast-v2", "acme-fast", FAST),
        ("house", ModelEntry(provider="acme", like="acme-fine"), "house", "acme-fine", FINE),
        # An endpoint's id says nothing: `like` does.
        ("house", ModelEntry(provider="acme", model="ep-1", like="acme-fast"), "ep-1", "acme-fast", FAST),
        ("ep-1", ModelEntry(provider="acme", like="acme-fine"), "ep-1", "acme-fine", FINE),
        # `like` wins over the model's own rules.
        ("house", ModelEntry(provider="acme", model="acme-fine", like="acme-fast"), "acme-fine", "acme-fast", FAST),
        # A name that the provider knows, sent as something else.
        ("acme-fast", ModelEntry(provider="acme"), "acme-fast-v2", "acme-fast", FAST),
        ("acme-fast", ModelEntry(provider="acme", model="ep-2"), "ep-2", "acme-fast", FAST),
        ("acme-fast", ModelEntry(provider="acme", model="acme-fine"), "acme-fine", "acme-fine", FINE),
        # A provider without rules serves whatever it is told.
        ("house", ModelEntry(provider="plain"), "house", "house", Rules()),
        ("house", ModelEntry(provider="plain", model="plain-9"), "plain-9", "house", Rules()),
        ("house", ModelEntry(provider="plain", model="plain-1"), "plain-1", "plain-1", Rules()),
    ],
)
def test_an_entry_says_what_is_sent_and_whose_rules_hold(
    name: str, entry: ModelEntry, model: str, like: str, rules: Rules
) -> None:
    provider = ACME if entry.provider == "acme" else PLAIN
    assert serve([ACME, PLAIN], {name: entry})[name] == Served(
        name=name, provider=provider, model=model, like=like, rules=rules
    )


def test_an_entry_takes_a_name_away_from_who_claims_it() -> None:
    served = serve([ACME, PLAIN], {"acme-fast": ModelEntry(provider="plain")})
    assert served["acme-fast"].provider is PLAIN
    assert served["acme-fine"].provider is ACME


def test_an_unknown_provider_is_told_with_those_there_are() -> None:
    (fault,) = faults([PLAIN, ACME], house=ModelEntry(provider="acmee"))
    assert fault.where == 'plugins.image_edit.models."house".provider'
    assert fault.what == "no provider 'acmee' is switched on; there are acme, plain"
    assert fault.missing == "acmee"
    (fault,) = faults([], house=ModelEntry(provider="acme"))
    assert fault.what.endswith("there are none")


@pytest.mark.parametrize("entry", [ModelEntry(provider="acme"), ModelEntry(provider="acme", model="ep-1")])
def test_an_id_that_says_nothing_needs_a_like(entry: ModelEntry) -> None:
    (fault,) = faults([ACME], house=entry)
    assert fault.where == 'plugins.image_edit.models."house".like'
    assert fault.what == "is missing; whose rules does it follow? acme knows acme-fast, acme-fine"


@pytest.mark.parametrize("provider", [ACME, PLAIN])
def test_a_like_that_is_unknown_is_told(provider: Toy) -> None:
    (fault,) = faults([provider], house=ModelEntry(provider=provider.name, model="x", like="acme-slow"))
    assert fault.where == 'plugins.image_edit.models."house".like'
    assert fault.what == f"{provider.name} has no 'acme-slow'; it knows {', '.join(sorted(provider.models))}"


def test_all_faults_are_told_at_once() -> None:
    other = Toy("other", {"acme-fine": Rules()})
    told = faults(
        [ACME, other],
        a=ModelEntry(provider="nobody"),
        b=ModelEntry(provider="acme"),
        c=ModelEntry(provider="acme", like="x"),
    )
    assert [fault.where.rpartition(".models")[2] for fault in told] == ["", '."a".provider', '."b".like', '."c".like']


# --- ByteDance ---


def test_an_endpoint_follows_the_model_behind_it() -> None:
    ark = ByteDance(api_key=Secret("k"))
    entries = {"house-style": ModelEntry(provider="bytedance", model="ep-20260101-x", like="seedream-5.0-pro")}
    served = serve([ark], entries)
    code = Code(plugin="bytedance", package="darkroom-proxy", version=__version__)
    assert served["house-style"] == Served(
        name="house-style", provider=ark, model="ep-20260101-x", like="seedream-5.0-pro", rules=SEEDREAM_5_0_PRO, code=code
    )
    assert set(served) == {"house-style", *MODELS}
    (fault,) = faults([ark], style=ModelEntry(provider="bytedance", model="ep-20260101-x"))
    assert "seedream-5.0-pro" in fault.what


def test_friendly_names_are_sent_as_the_vendors_ids() -> None:
    served = serve([ByteDance(api_key=Secret("k"))], {})
    assert {name: one.model for name, one in served.items()} == {
        "seedream-3.0": "seedream-3-0-t2i-250415",
        "seedream-3-0-t2i-250415": "seedream-3-0-t2i-250415",
        "seededit-3.0": "seededit-3-0-i2i-250628",
        "seededit-3-0-i2i-250628": "seededit-3-0-i2i-250628",
        "seedream-5.0-flash": "seedream-5-0-flash-260915",
        "seedream-5-0-flash-260915": "seedream-5-0-flash-260915",
        "seedream-5.5": "seedream-5-5-261028",
        "seedream-5-5-261028": "seedream-5-5-261028",
        "dola-seedream-5-5-261028": "dola-seedream-5-5-261028",
        "seedream-4.0": "seedream-4-0-250828",
        "seedream-4-0-250828": "seedream-4-0-250828",
        "seedream-4.5": "seedream-4-5-251128",
        "seedream-4-5-251128": "seedream-4-5-251128",
        "seedream-5.0-lite": "seedream-5-0-260128",
        "seedream-5-0-260128": "seedream-5-0-260128",
        "seedream-5-0-lite-260128": "seedream-5-0-260128",
        "seedream-5.0-pro": "dola-seedream-5-0-pro-260628",
        "dola-seedream-5-0-pro-260628": "dola-seedream-5-0-pro-260628",
    }
    assert all(one.like == name for name, one in served.items())
