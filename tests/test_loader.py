"""From names to plugins that are built, registered and checked; what stops the start is told at once, with the mend."""

from __future__ import annotations

import contextlib
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest

from proxy_core import ConfigError, Fault, Handler, Middleware, Request, Response, Secret, State, hookimpl, hookspec
from proxy_core.build import Source
from proxy_core.loader import Installed, Loaded, installed, load, load_file


async def passing(request: Request, next: Handler) -> Response:
    return await next(request)


@dataclass(frozen=True, kw_only=True)
class Alpha:
    """A plugin with a field of each kind that matters here."""

    size: int = 1
    api_key: Secret | None = None
    folder: Path | None = None

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        return passing


@dataclass(frozen=True, kw_only=True)
class Beta:
    name: str = "beta"

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        return passing

    @hookimpl
    def proxy_lifespan(self, state: State) -> AbstractAsyncContextManager[object]:
        return contextlib.nullcontext()


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """Takes fewer arguments than the hook has, as pluggy allows."""

    @hookimpl
    def proxy_lifespan(self) -> AbstractAsyncContextManager[object]:
        return contextlib.nullcontext()


@dataclass(frozen=True, kw_only=True)
class Strict:
    api_key: Secret

    @hookimpl
    def proxy_middleware(self) -> None:
        return None


class HouseHooks:
    @hookspec
    def house_things(self, size: int) -> list[str]:  # type: ignore[empty-body]
        """Things of a house."""


@dataclass(frozen=True, kw_only=True)
class House:
    """Declares a hook, and asks those that implement it."""

    wanted: str = ""
    asked: list[list[str]] = field(default_factory=list)

    @hookimpl
    def proxy_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        pluginmanager.add_hookspecs(HouseHooks)
        self.asked.extend(pluginmanager.hook.house_things(size=3))
        if self.wanted:
            raise ConfigError([Fault("plugins.house.wanted", f"nobody brings {self.wanted!r}", missing=self.wanted)])


@dataclass(frozen=True, kw_only=True)
class Guest:
    @hookimpl
    def house_things(self, size: int) -> list[str]:
        return ["chair"] * size


@dataclass(frozen=True, kw_only=True)
class Visitor:
    @hookimpl(optionalhook=True)
    def house_things(self) -> list[str]:
        return ["hat"]


@dataclass(frozen=True, kw_only=True)
class Slip:
    @hookimpl
    def proxy_midleware(self) -> Middleware:
        return passing


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Asks for an argument that the hook has not."""

    @hookimpl
    def proxy_middleware(self, request: object) -> Middleware:
        return passing


class Plain:
    @hookimpl
    def proxy_middleware(self) -> Middleware:
        return passing


KNOWN: Installed = {
    "alpha": Alpha,
    "beta": Beta,
    "gamma": Gamma,
    "strict": Strict,
    "house": House,
    "guest": Guest,
    "visitor": Visitor,
    "slip": Slip,
    "greedy": Greedy,
    "plain": Plain,
}
SOURCE = Source(folder=Path("/etc/darkroom"), environ={"KEY": "sk-env"})


def loaded(*plugins: str, known: Installed = KNOWN, **tables: object) -> Loaded:
    return load({"proxy": {"plugins": list(plugins)}, "plugins": tables}, SOURCE, known)


def faults_of(table: dict[str, object], known: Installed = KNOWN) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(table, SOURCE, known)
    return [str(fault) for fault in caught.value.faults]


def faults(*plugins: object, known: Installed = KNOWN, **tables: object) -> list[str]:
    return faults_of({"proxy": {"plugins": list(plugins)}, "plugins": tables}, known)


# --- what is loaded ---


def test_a_config_without_plugins_loads() -> None:
    made = load({}, SOURCE, KNOWN)
    assert made.plugins.get_plugins() == set()
    assert made.having("proxy_middleware") == []


def test_a_table_is_built_into_its_plugin() -> None:
    made = loaded("alpha", "strict", alpha={"size": 3, "folder": "keys"}, strict={"api_key": "env:KEY"})
    assert made.plugins.get_plugin("alpha") == Alpha(size=3, folder=Path("/etc/darkroom/keys"))
    assert made.plugins.get_plugin("strict") == Strict(api_key=Secret("sk-env"))
    assert made.config.proxy.plugins == ["alpha", "strict"]


@pytest.mark.parametrize("order", [("alpha", "beta", "gamma"), ("gamma", "beta", "alpha"), ("beta", "gamma", "alpha")])
def test_the_list_is_the_order(order: tuple[str, ...]) -> None:
    made = loaded(*order)
    assert [name for name, _ in made.having("proxy_middleware")] == [name for name in order if name != "gamma"]
    assert [name for name, _ in made.having("proxy_lifespan")] == [name for name in order if name != "alpha"]
    assert made.having("proxy_describe") == []
    assert all(
        getattr(method, "__self__", None) is made.plugins.get_plugin(name) for name, method in made.having("proxy_middleware")
    )


def test_pluggy_itself_calls_in_the_lists_order() -> None:
    known = {**KNOWN, "house": House, "guest": Guest, "visitor": Visitor}
    made = loaded("visitor", "house", "guest", known=known)
    house = made.plugins.get_plugin("house")
    assert isinstance(house, House)
    assert house.asked == [["hat"], ["chair"] * 3]


@pytest.mark.parametrize("order", [("house", "guest"), ("guest", "house")])
def test_a_plugin_may_declare_a_hook_for_others_wherever_it_stands(order: tuple[str, ...]) -> None:
    house = loaded(*order).plugins.get_plugin("house")
    assert isinstance(house, House)
    assert house.asked == [["chair"] * 3]


def test_what_is_not_listed_is_not_registered() -> None:
    made = loaded("alpha", beta={"name": "x"})
    assert [name for name, _ in made.plugins.list_name_plugin()] == ["alpha"]


def test_the_table_of_a_plugin_that_is_off_stays_unread() -> None:
    loaded("alpha", beta={"nmae": 1}, strict={}, slip={"api_key": "env:UNSET"})
    loaded("alpha", somebody_elses={"x": 1})


def test_two_configs_live_side_by_side() -> None:
    first, second = loaded("alpha", alpha={"size": 1}), loaded("beta", "alpha", alpha={"size": 2})
    assert first.plugins is not second.plugins
    assert first.plugins.get_plugin("alpha") == Alpha(size=1)
    assert second.plugins.get_plugin("alpha") == Alpha(size=2)


def test_a_property_is_not_asked_for_while_registering() -> None:
    @dataclass(frozen=True)
    class Lazy:
        @property
        def origins(self) -> list[str]:
            raise RuntimeError("not before the lifespan is entered")

    assert loaded("lazy", known={"lazy": Lazy}).plugins.has_plugin("lazy")


def test_a_plugin_need_not_be_frozen_or_hashable() -> None:
    @dataclass
    class Loose:
        names: list[str] = field(default_factory=list)

        @hookimpl
        def proxy_middleware(self) -> Middleware:
            return passing

    made = loaded("loose", "alpha", known={**KNOWN, "loose": Loose}, loose={"names": ["a"]})
    assert [name for name, _ in made.having("proxy_middleware")] == ["loose", "alpha"]


def test_the_built_in_plugins_are_installed() -> None:
    found = installed()
    assert {"access_log", "bytedance", "image_edit", "sandbox", "signing"} <= set(found)
    assert all(isinstance(entry, EntryPoint) for entry in found.values())
    made = load({"proxy": {"plugins": ["access_log"]}}, SOURCE)  # by default the installed ones
    assert [name for name, _ in made.having("proxy_middleware")] == ["access_log"]


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[proxy]\nplugins = ["access_log"]\n[plugins.access_log]\nquery = true\n', encoding="utf-8")
    made = load_file(path)
    assert made.config.source.folder == tmp_path
    assert [name for name, _ in made.having("proxy_middleware")] == ["access_log"]
    path.write_text('[proxy]\nplugins = ["acces_log"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'access_log'"):
        load_file(path)


# --- what stops the start ---


def test_a_missing_plugin_with_a_near_name() -> None:
    assert faults("alpha", "betta") == ["proxy.plugins[1]: no plugin 'betta' is installed; did you mean 'beta'?"]


@pytest.mark.parametrize(("known", "names"), [({"alpha": Alpha, "beta": Beta}, "alpha, beta"), ({}, "none")])
def test_a_missing_plugin_with_none_near(known: Installed, names: str) -> None:
    assert faults("zzz", known=known) == [f"proxy.plugins[0]: no plugin 'zzz' is installed; installed are {names}"]


@pytest.mark.parametrize(
    ("listed", "index"),
    [(["alpha", "zzz"], 1), (["alpha", "alpha", "zzz"], 2), ([1, "zzz"], 1), (["alpha", [], "beta", "zzz"], 3)],
)
def test_the_index_is_the_one_in_the_file(listed: list[object], index: int) -> None:
    assert [fault for fault in faults(*listed) if "'zzz'" in fault and fault.startswith(f"proxy.plugins[{index}]: ")]


def entry(value: str) -> dict[str, EntryPoint | type[Any]]:
    return {"acme": EntryPoint(name="acme", value=value, group="proxy_core")}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_module_here:Acme", ["ModuleNotFoundError", "no_such_module_here"]),
        ("contextlib:NoSuchClass", ["AttributeError", "NoSuchClass"]),
        ("darkroom_broken_plugin:Acme", ["RuntimeError", "needs a licence"]),
        ("darkroom_garbled_plugin:Acme", ["SyntaxError"]),
    ],
)
def test_a_plugin_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, words: list[str]
) -> None:
    (tmp_path / "darkroom_broken_plugin.py").write_text("raise RuntimeError('needs a licence')\n", encoding="utf-8")
    (tmp_path / "darkroom_garbled_plugin.py").write_text("def (:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (fault,) = faults("acme", known=entry(value))
    assert fault.startswith("proxy.plugins[0]: plugin 'acme' cannot be imported: ")
    for word in words:
        assert word in fault


def test_a_package_that_hides_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = ModuleType("plugins")
    foreign.__file__ = "/opt/elsewhere/plugins/__init__.py"
    monkeypatch.setitem(sys.modules, "plugins", foreign)
    (fault,) = faults("acme", known=entry("plugins.no_such_plugin:Acme"))
    assert "/opt/elsewhere/plugins/__init__.py hides the proxy's own" in fault


def test_an_import_that_fails_for_another_reason_blames_nobody() -> None:
    (fault,) = faults("acme", known=entry("no_such_module_here:Acme"))
    assert "hides" not in fault


def an_instance() -> Any:
    return Alpha()


@pytest.mark.parametrize("thing", [Plain, an_instance(), an_instance, "alpha"], ids=["class", "instance", "function", "string"])
def test_what_is_no_dataclass_is_no_plugin(thing: Any) -> None:
    assert faults("thing", known={"thing": thing}) == [
        "proxy.plugins[0]: plugin 'thing' is not a dataclass, so it has no config fields",
    ]


def test_a_plugins_table_is_built_strictly() -> None:
    assert faults("alpha", "strict", alpha={"szie": 1, "size": "x", "api_key": "env:UNSET"}) == [
        "plugins.alpha.api_key: environment variable UNSET is not set; set it, or use 'file:PATH'",
        "plugins.alpha.size: must be an integer, not a string ('x')",
        "plugins.alpha.szie: unknown key; did you mean 'size'?",
        "plugins.strict.api_key: is missing; it is required (a string: a key, 'env:NAME' or 'file:PATH')",
    ]


@pytest.mark.parametrize("error", [RuntimeError("no licence"), OSError(2, "No such file"), KeyError("x"), AttributeError("x")])
def test_whatever_a_plugin_raises_while_it_is_built_names_it_and_hides_nothing(error: Exception) -> None:
    @dataclass(frozen=True)
    class Faulty:
        def __post_init__(self) -> None:
            raise error

    told = faults("faulty", "zzz", known={"faulty": Faulty})
    assert len(told) == 2
    assert told[0].startswith("plugins.faulty: ")
    assert type(error).__name__ in told[0]
    assert told[1].startswith("proxy.plugins[1]: no plugin 'zzz'")


@pytest.mark.parametrize("error", [RuntimeError("odd"), ValueError("odd"), TypeError("odd"), KeyError("odd"), OSError("odd")])
def test_whatever_a_plugin_raises_in_addhooks_names_it(error: Exception) -> None:
    @dataclass(frozen=True)
    class Faulty:
        @hookimpl
        def proxy_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
            raise error

    (fault,) = faults("faulty", known={"faulty": Faulty})
    assert fault.startswith("plugins.faulty: ")
    assert "odd" in fault


def test_an_addhooks_may_take_fewer_arguments() -> None:
    called: list[str] = []

    @dataclass(frozen=True)
    class Brief:
        @hookimpl
        def proxy_addhooks(self) -> None:
            called.append("brief")

    loaded("brief", known={"brief": Brief})
    assert called == ["brief"]


def test_a_hook_with_an_argument_that_it_has_not() -> None:
    (fault,) = faults("alpha", "greedy")
    assert fault.startswith("plugins.greedy: ")
    assert "proxy_middleware" in fault
    assert "request" in fault


@pytest.mark.parametrize(("plugin", "hook"), [("slip", "proxy_midleware"), ("guest", "house_things")])
def test_a_hook_that_nobody_declared(plugin: str, hook: str) -> None:
    (fault,) = faults("alpha", plugin)
    assert fault.startswith(f"plugins.{plugin}: ")
    assert repr(hook) in fault
    assert "list the plugin that declares this hook, or mark it optional" in fault


def test_each_hook_that_nobody_declared_is_told() -> None:
    assert [fault.split(": ")[0] for fault in faults("slip", "alpha", "guest")] == ["plugins.guest", "plugins.slip"]


def test_an_orphan_does_not_show_its_plugins_key() -> None:
    @dataclass(frozen=True)
    class Orphan:
        api_key: Secret

        @hookimpl
        def nobodys_hook(self) -> None: ...

    assert "topsecret" not in "".join(faults("orphan", known={"orphan": Orphan}, orphan={"api_key": "sk-topsecret"}))


@pytest.mark.parametrize("plugins", [["visitor"], ["visitor", "house"], ["house", "visitor", "guest"]])
def test_an_optional_hook_needs_nobody_to_declare_it(plugins: list[str]) -> None:
    loaded(*plugins)


def test_what_does_not_fit_together_is_told_by_who_asks() -> None:
    assert faults("house", house={"wanted": "chimney"}) == ["plugins.house.wanted: nobody brings 'chimney'"]


@pytest.mark.parametrize("wanted", ["strict", "strict.eu"])
def test_what_only_follows_from_anothers_fault_is_not_told(wanted: str) -> None:
    told = faults("house", "strict", house={"wanted": wanted})
    assert [fault.split(": ")[0] for fault in told] == ["plugins.strict.api_key"]


@pytest.mark.parametrize("wanted", ["alpha", "strictly", "beta.strict"])
def test_what_does_not_follow_from_anothers_fault_is_told_beside_it(wanted: str) -> None:
    told = faults("house", "strict", house={"wanted": wanted})
    assert [fault.split(": ")[0] for fault in told] == ["plugins.house.wanted", "plugins.strict.api_key"]


def test_a_hook_is_not_called_an_orphan_while_its_declarer_is_broken() -> None:
    assert [fault.split(": ")[0] for fault in faults("house", "guest", house={"asekd": 1})] == ["plugins.house.asekd"]


# --- tables ---


@pytest.mark.parametrize(("table", "near"), [("alhpa", "alpha"), ("bta", "beta"), ("strict_", "strict")])
def test_a_table_whose_name_is_a_slip_is_told(table: str, near: str) -> None:
    assert faults_of({"proxy": {"plugins": ["alpha"]}, "plugins": {table: {"size": 2}}}) == [
        f"plugins.{table}: no plugin of this name is installed; did you mean {near!r}?",
    ]


def test_a_table_of_a_missing_plugin_is_told_once() -> None:
    (fault,) = faults("betta", betta={"name": "x"})
    assert fault.startswith("proxy.plugins[0]: ")


def test_all_is_told_at_once() -> None:
    table: dict[str, object] = {
        "prxoy": {},
        "proxy": {
            "listen": "8080",
            "plugins": ["alpha", "betta", "beta", "beta", "strict", "plain", "acme", "greedy"],
            "routes": {"v1": {"upstream": "https://h"}, "/v2": {"upstream": "https://h", "api_key": "env:UNSET"}},
            "limits": {"body": -1.5, "bodi": 1},
            "state_dir": 1,
        },
        "plugins": {"alpha": {"szie": 2}, "strict": {"api_key": ""}, "gama": {}, "beta": 1},
    }
    told = faults_of(table, {**KNOWN, **entry("no_such_module_here:Acme")})
    expected = {
        "prxoy",
        "proxy.listen",
        "proxy.plugins",
        "proxy.limits.body",
        "proxy.limits.bodi",
        "proxy.state_dir",
        'proxy.routes."v1"',
        'proxy.routes."/v2".api_key',
        "plugins.alpha.szie",
        "plugins.strict.api_key",
        "plugins.gama",
        "plugins.beta",
        "plugins.greedy",
    }
    where = [fault.split(": ")[0] for fault in told]
    assert expected <= set(where)
    # One each, and those of the list: not installed, no dataclass, cannot be imported.
    assert sum(place.startswith("proxy.plugins[") for place in where) == 3
    assert len(told) == len(expected) + 3


def test_a_fault_does_not_leave_a_secret_behind() -> None:
    told = faults(
        "alpha", "strict", alpha={"api_key": ["sk-topsecret"], "apikey": "sk-topsecret"}, strict={"key": "sk-topsecret"}
    )
    assert len(told) == 4
    assert "topsecret" not in "".join(told)


def test_what_is_loaded_does_not_show_its_keys() -> None:
    made = loaded("strict", strict={"api_key": "sk-topsecret"})
    assert "topsecret" not in repr(made)
    assert "sk-env" not in repr(made)
