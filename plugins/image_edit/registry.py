"""Which provider serves which name: the operator's table first, then what providers claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points

from proxy_core import ConfigError, Fault

from .model import Provider, rules_of
from .rules import Price, Rules


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A name that clients may ask for, and what serves it."""

    provider: str
    """The provider's name, as `darkroom plugins` lists it."""
    model: str | None = None
    """What the provider is sent; left out, what the provider calls this name."""
    like: str | None = None
    """The model whose rules and price it follows, for ids that say nothing, such as an endpoint's."""
    fallback: list[str] = field(default_factory=list)
    """What is asked in its stead, in this order, while nothing can have been charged: other names of models, or providers
    that serve this name."""
    price: Price | None = None
    """What its pictures cost, in place of what is listed. What the service itself says it cost counts before either."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """The plugin that brings a provider, and the distribution it comes from; "" where it was not installed as one."""

    plugin: str = ""
    package: str = ""
    version: str = ""


def codes(providers: Iterable[Provider]) -> dict[str, Code]:
    """The code behind each provider, by its name: that of the plugin in whose package its class stands."""
    found: dict[str, Code] = {}
    for provider in providers:
        module = f"{type(provider).__module__}."
        for package, code in _installed():
            if module.startswith(f"{package}."):
                found[provider.name] = code
    return found


@cache  # what is installed does not change while a process runs, and looking costs ten milliseconds
def _installed() -> list[tuple[str, Code]]:
    """(package, code) of every plugin that was installed as one."""
    points = [(point.value.partition(":")[0], point) for point in entry_points(group="proxy_core")]
    return [
        (package, Code(plugin=point.name, package=point.dist.name, version=point.dist.version))
        for package, point in points
        if point.dist is not None
    ]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A client-facing name, resolved."""

    name: str
    provider: Provider
    model: str
    like: str
    rules: Rules
    code: Code = Code()
    fallback: tuple[Served, ...] = ()  # in whose place they are asked they know; their own fallbacks do not count


def serve(providers: Iterable[Provider], entries: Mapping[str, ModelEntry]) -> dict[str, Served]:
    """Every name that is served. Raises ConfigError for entries that do not fit, and for names that two providers claim."""
    known: dict[str, Provider] = {}
    twice = [one.name for one in providers if known.setdefault(one.name, one) is not one]
    faults = [Fault("proxy.plugins", f"two plugins bring a provider named {name!r}; switch one off") for name in twice]
    served: dict[str, Served] = {}
    for name, entry in entries.items():
        try:
            served[name] = _entered(name, entry, known)
        except ConfigError as error:
            faults += error.faults
    claimed: dict[str, Provider] = {}
    for provider in known.values():
        for name in provider.models:
            if name in entries:
                continue
            if name in claimed:
                line = f'"{name}" = {{ provider = "{claimed[name].name}" }}'
                what = f"{claimed[name].name} and {provider.name} both serve {name!r}; say which one: {line}"
                faults.append(Fault("plugins.image_edit.models", what))
                continue
            claimed[name] = provider
            rules = rules_of(provider, name)
            served[name] = Served(name=name, provider=provider, model=rules.model or name, like=name, rules=rules)
    for name, entry in entries.items():
        if name in served and entry.fallback:
            try:
                served[name] = replace(served[name], fallback=tuple(_instead(name, entry, served, known)))
            except ConfigError as error:
                faults += error.faults
    if faults:
        raise ConfigError(faults)
    code = codes(known.values())
    return {name: _coded(one, code) for name, one in served.items()}


def _coded(served: Served, code: Mapping[str, Code]) -> Served:
    fallback = tuple(_coded(other, code) for other in served.fallback)
    return replace(served, code=code.get(served.provider.name, Code()), fallback=fallback)


def _instead(
    name: str, entry: ModelEntry, served: Mapping[str, Served], known: Mapping[str, Provider]
) -> Iterator[Served]:
    for place, other in enumerate(entry.fallback):
        where = f'plugins.image_edit.models."{name}".fallback[{place}]'
        if other == name or other == entry.provider:
            raise ConfigError([Fault(where, "is what it is to stand in for")])
        if other in served:
            yield replace(served[other], name=name, fallback=())
        elif other in known and name in known[other].models:
            rules = rules_of(known[other], name)
            yield Served(name=name, provider=known[other], model=rules.model or name, like=name, rules=rules)
        elif other in known:
            what = f"{other} has no model {name!r}; name a model of its instead: {', '.join(sorted(known[other].models))}"
            raise ConfigError([Fault(where, what)])
        else:
            near = get_close_matches(other, [*served, *known], 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            what = f"{other!r} is neither a model nor a provider that is switched on{meant}"
            raise ConfigError([Fault(where, what, missing=other)])


def _entered(name: str, entry: ModelEntry, known: Mapping[str, Provider]) -> Served:
    where = f'plugins.image_edit.models."{name}"'
    provider = known.get(entry.provider)
    if provider is None:
        what = f"no provider {entry.provider!r} is switched on; there are {', '.join(sorted(known)) or 'none'}"
        raise ConfigError([Fault(f"{where}.provider", what, missing=entry.provider)])
    models = provider.models
    like = entry.like or next((key for key in (entry.model, name) if key is not None and key in models), None)
    if like is None and isinstance(models, Mapping):
        what = f"is missing; whose rules does it follow? {provider.name} knows {', '.join(sorted(models))}"
        raise ConfigError([Fault(f"{where}.like", what)])
    if like is not None and like not in models:
        raise ConfigError([Fault(f"{where}.like", f"{provider.name} has no {like!r}; it knows {', '.join(sorted(models))}")])
    rules = rules_of(provider, like or name)
    if entry.price is not None:
        rules = replace(rules, price=entry.price)
    return Served(name=name, provider=provider, model=entry.model or rules.model or name, like=like or name, rules=rules)
