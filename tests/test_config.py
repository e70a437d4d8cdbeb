"""The operator's file is built strictly, and every mistake in it is told at once, by its path and without secrets."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import pytest
from yarl import URL

from proxy_core import ConfigError, Fault, Secret
from proxy_core.build import Source, build, kind
from proxy_core.config import ProxyConfig, Route, examine, parse, read
from proxy_core.listen import Address, parse_address


def read_table(path: Path) -> tuple[Mapping[str, object], Source]:
    return parse(read(path), path)


FOLDER = Path("/etc/darkroom")
ENVIRON = {"KEY": "sk-from-env", "EMPTY": "", "BLANK": " \t"}
SOURCE = Source(folder=FOLDER, environ=ENVIRON)


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Every:
    """A field of every type that a config may have."""

    flag: bool = False
    count: int = 0
    ratio: float = 0.0
    text: str = ""
    url: URL | None = None
    path: Path | None = None
    secret: Secret | None = None
    mode: Literal["warn", "reject"] = "warn"
    level: Literal[1, 2] = 1
    maybe: int | None = None
    old_maybe: Optional[str] = None  # noqa: UP045  # authors still write it
    names: list[str] = field(default_factory=list)
    numbers: tuple[float, ...] = ()
    pair: tuple[str, int] = ("", 0)
    keys: list[Secret] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)
    key_by_name: dict[str, Secret] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    bare: dict = field(default_factory=dict)  # type: ignore[type-arg]  # authors still write it
    anything: Any = None
    inner: Inner | None = None
    inners: dict[str, Inner] = field(default_factory=dict)
    row: list[Inner] = field(default_factory=list)
    nested: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    made: int = field(default=0, init=False)
    constant: ClassVar[int] = 7


def faults(make: Callable[[], object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make()
    return [str(fault) for fault in caught.value.faults]


def of(cls: type[Any], **table: object) -> list[str]:
    return faults(lambda: build(cls, table, "t", SOURCE))


def proxy(**own: object) -> list[str]:
    return [str(fault) for fault in sorted(examine({"proxy": own}, SOURCE)[1])]


# --- types ---


@pytest.mark.parametrize(
    ("key", "given", "built"),
    [
        ("flag", True, True),
        ("count", -3, -3),
        ("ratio", 1.5, 1.5),
        ("ratio", 3, 3.0),
        ("ratio", math.inf, math.inf),
        ("text", "", ""),
        ("text", "env:KEY", "env:KEY"),  # only a Secret looks into the environment
        ("url", "https://h:8443/a%2Fb?c=%20", URL("https://h:8443/a%2Fb?c=%20")),
        ("path", "keys/a.pem", FOLDER / "keys/a.pem"),
        ("path", "/var/a.pem", Path("/var/a.pem")),
        ("secret", "sk-literal", Secret("sk-literal")),
        ("secret", "env:KEY", Secret("sk-from-env")),
        ("secret", "http://not-a-scheme", Secret("http://not-a-scheme")),
        ("mode", "reject", "reject"),
        ("level", 2, 2),
        ("maybe", 5, 5),
        ("old_maybe", "x", "x"),
        ("names", [], []),
        ("names", ["a", "b"], ["a", "b"]),
        ("numbers", [1, 2.5], (1.0, 2.5)),
        ("pair", ["a", 1], ("a", 1)),
        ("keys", ["a", "env:KEY"], [Secret("a"), Secret("sk-from-env")]),
        ("by_name", {"a": 1, "b c": 2}, {"a": 1, "b c": 2}),
        ("key_by_name", {"a": "env:KEY"}, {"a": Secret("sk-from-env")}),
        ("free", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("bare", {"a": 1, "b": "c"}, {"a": 1, "b": "c"}),
        ("anything", [1, "a"], [1, "a"]),
        ("inner", {"name": "a"}, Inner(name="a")),
        ("inners", {"x": {"name": "a", "size": 2}, "y": {"name": "b"}}, {"x": Inner(name="a", size=2), "y": Inner(name="b")}),
        ("row", [{"name": "a"}], [Inner(name="a")]),
        ("nested", {"a": [{"b": 1}, {}]}, {"a": [{"b": 1}, {}]}),
    ],
)
def test_each_type_is_built(key: str, given: object, built: object) -> None:
    value = getattr(build(Every, {key: given}, "t", SOURCE), key)
    assert value == built
    assert type(value) is type(built)


def test_what_is_left_out_has_its_default() -> None:
    assert build(Every, {}, "t", SOURCE) == Every()


@pytest.mark.parametrize(
    ("key", "given", "fault"),
    [
        ("flag", 1, "t.flag: must be a boolean, not an integer (1)"),
        ("flag", "true", "t.flag: must be a boolean, not a string ('true')"),
        ("count", True, "t.count: must be an integer, not a boolean (True)"),
        ("count", 1.0, "t.count: must be an integer, not a number (1.0)"),
        ("count", "1", "t.count: must be an integer, not a string ('1')"),
        ("ratio", True, "t.ratio: must be a number, not a boolean (True)"),
        ("ratio", "1.5", "t.ratio: must be a number, not a string ('1.5')"),
        ("text", 1, "t.text: must be a string, not an integer (1)"),
        ("text", ["a"], "t.text: must be a string, not a list"),
        ("text", {}, "t.text: must be a string, not a table"),
        ("maybe", "1", "t.maybe: must be an integer, not a string ('1')"),
        ("mode", "wrn", "t.mode: must be one of 'warn', 'reject', not a string ('wrn')"),
        ("mode", 1, "t.mode: must be one of 'warn', 'reject', not an integer (1)"),
        ("mode", ["warn"], "t.mode: must be one of 'warn', 'reject', not a list"),
        ("level", 3, "t.level: must be one of 1, 2, not an integer (3)"),
        ("level", True, "t.level: must be one of 1, 2, not a boolean (True)"),
        ("level", 1.0, "t.level: must be one of 1, 2, not a number (1.0)"),
        ("names", "a", "t.names: must be a list, not a string"),
        ("names", ["a", 1], "t.names[1]: must be a string, not an integer (1)"),
        ("numbers", [1, "a"], "t.numbers[1]: must be a number, not a string ('a')"),
        ("pair", ["a", "b"], "t.pair[1]: must be an integer, not a string ('b')"),
        ("by_name", [1], "t.by_name: must be a table, not a list"),
        ("by_name", {"a": "x"}, "t.by_name.a: must be an integer, not a string ('x')"),
        ("by_name", {"/v1": "x"}, "t.by_name.\"/v1\": must be an integer, not a string ('x')"),
        ("by_name", {"a.b": "x"}, "t.by_name.\"a.b\": must be an integer, not a string ('x')"),
        ("bare", [], "t.bare: must be a table, not a list"),
        ("inner", "a", "t.inner: must be a table, not a string"),
        ("inner", {}, "t.inner.name: is missing; it is required (a string)"),
        ("inners", {"x": {"name": 1}}, "t.inners.x.name: must be a string, not an integer (1)"),
        ("row", [{"name": "a"}, {"name": "b", "size": "c"}], "t.row[1].size: must be an integer, not a string ('c')"),
        ("nested", {"a": [{}, {"b": "c"}]}, "t.nested.a[1].b: must be an integer, not a string ('c')"),
        ("path", 1, "t.path: must be a path, not an integer (1)"),
        ("url", 1, "t.url: must be a URL, not an integer (1)"),
        ("url", "", "t.url: '' is not a URL with scheme and host"),
        ("url", "api.example.com/v1", "t.url: 'api.example.com/v1' is not a URL with scheme and host"),
        ("url", "//api.example.com/v1", "t.url: '//api.example.com/v1' is not a URL with scheme and host"),
        ("url", "http://", "t.url: 'http://' is not a URL with scheme and host"),
    ],
)
def test_a_wrong_value_is_told_at_its_key(key: str, given: object, fault: str) -> None:
    assert of(Every, **{key: given}) == [fault]


@pytest.mark.parametrize("given", ["http://[::1", "http://h:99999/", "https://user:pass@"])
def test_a_url_that_cannot_be_read_says_why(given: str) -> None:
    (fault,) = of(Every, url=given)
    assert fault.startswith("t.url: ")
    assert "is not a URL: " in fault


@pytest.mark.parametrize("given", [[], ["a"], ["a", 1, 2]])
def test_a_tuple_of_fixed_length_has_that_length(given: list[object]) -> None:
    (fault,) = of(Every, pair=given)
    assert fault.startswith("t.pair: ")
    assert "2" in fault


@pytest.mark.parametrize("table", ["a", 1, [], None])
def test_a_config_that_is_no_table(table: object) -> None:
    (fault,) = faults(lambda: build(Every, table, "t", SOURCE))
    assert fault.startswith("t: must be a table, not ")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "a boolean"),
        (1, "an integer"),
        (1.5, "a number"),
        ("", "a string"),
        ([], "a list"),
        ({}, "a table"),
    ],
)
def test_kinds_are_told_in_an_operators_words(value: object, words: str) -> None:
    assert kind(value) == words


# --- keys ---


@pytest.mark.parametrize(
    ("key", "mend"),
    [
        ("cuont", "did you mean 'count'?"),
        ("raito", "did you mean 'ratio'?"),
        ("Flag", "did you mean 'flag'?"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, mend: str) -> None:
    assert of(Every, **{key: 1}) == [f"t.{key}: unknown key; {mend}"]


def test_an_unknown_key_far_from_all_names_all() -> None:
    assert of(Inner, name="a", zzz=1) == ["t.zzz: unknown key; known are name, size"]


def test_an_unknown_key_of_what_has_no_keys() -> None:
    @dataclass
    class Keyless:
        pass

    assert of(Keyless, zzz=1) == ["t.zzz: unknown key; known are none"]


@pytest.mark.parametrize("key", ["made", "constant"])
def test_what_is_no_config_field_is_unknown(key: str) -> None:
    (fault,) = of(Every, **{key: 1})
    assert fault.startswith(f"t.{key}: unknown key; ")


@dataclass(frozen=True, kw_only=True)
class Required:
    key: Secret
    url: URL
    path: Path
    ratio: float
    names: list[str]
    table: dict[str, int]
    maybe: int | None
    mode: Literal["warn", "reject"]
    numbers: tuple[float, ...]
    inner: Inner


def test_what_is_missing_is_told_with_what_it_should_be() -> None:
    told = dict(line.split(": ", 1) for line in of(Required))
    assert set(told) == {f"t.{name}" for name in Required.__dataclass_fields__}
    assert told["t.key"] == "is missing; it is required (a string: a key, 'env:NAME' or 'file:PATH')"
    assert told["t.url"] == "is missing; it is required (a URL)"
    assert told["t.path"] == "is missing; it is required (a path)"
    assert told["t.ratio"] == "is missing; it is required (a number)"
    assert told["t.names"] == "is missing; it is required (a list)"
    assert told["t.table"] == told["t.inner"] == "is missing; it is required (a table)"
    assert told["t.maybe"] == "is missing; it is required (an integer)"
    assert "'warn'" in told["t.mode"]
    assert "'reject'" in told["t.mode"]
    assert told["t.numbers"] == "is missing; it is required (a list)"


def test_missing_unknown_and_wrong_are_told_together() -> None:
    assert of(Inner, nmae="a", size="b") == [
        "t.name: is missing; it is required (a string)",
        "t.nmae: unknown key; did you mean 'name'?",
        "t.size: must be an integer, not a string ('b')",
    ]


# --- what a class checks by itself ---


def raising(error: Exception) -> type[Any]:
    @dataclass(frozen=True, kw_only=True)
    class Checked:
        size: int = 1
        models: dict[str, int] = field(default_factory=dict)
        rows: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            raise error

    return Checked


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ValueError("size: must be at least 1"), "t.size: must be at least 1"),
        (ValueError("models.a.b: is odd: very"), "t.models.a.b: is odd: very"),
        (ValueError("rows[3]: is odd"), "t.rows[3]: is odd"),
        (ValueError("needs Pillow: pip install x"), "t: needs Pillow: pip install x"),
        (ValueError("sizes: is no key"), "t: sizes: is no key"),
        (ValueError("no colon at all"), "t: no colon at all"),
        (ValueError("size is odd"), "t: size is odd"),
    ],
    ids=lambda value: str(value) if isinstance(value, Exception) else "",
)
def test_a_value_error_becomes_a_fault_at_its_key(error: Exception, fault: str) -> None:
    assert of(raising(error)) == [fault]


def test_a_config_error_brings_several() -> None:
    error = ConfigError([Fault("size", "one"), Fault("", "two"), Fault("models.a", "three")])
    assert of(raising(error)) == ["t: two", "t.models.a: three", "t.size: one"]


def test_what_a_fault_misses_is_kept() -> None:
    checked = raising(ConfigError([Fault("models.a", "no provider", missing="acme.eu")]))
    with pytest.raises(ConfigError) as caught:
        build(checked, {}, "t", SOURCE)
    assert [fault.missing for fault in caught.value.faults] == ["acme.eu"]


def test_a_check_of_a_nested_class_is_told_at_the_nested_path() -> None:
    told = proxy(routes={"/v1": {"upstream": "https://h"}, "/v2": {"upstream": "ftp://h"}})
    assert told == ["proxy.routes.\"/v2\".upstream: 'ftp://h' is not an http or https URL with a host"]


def test_a_check_sees_only_good_values() -> None:
    seen: list[object] = []

    @dataclass(frozen=True, kw_only=True)
    class Checked:
        names: list[str] = field(default_factory=lambda: ["default"])
        numbers: tuple[float, ...] = (7.0,)
        by_name: dict[str, int] = field(default_factory=lambda: {"default": 1})
        inners: dict[str, Inner] = field(default_factory=dict)
        good: int = 0

        def __post_init__(self) -> None:
            seen.extend([*self.names, *self.numbers, *self.by_name.values(), *self.inners.values(), self.good])

    told = of(Checked, names=[1, "a"], numbers=["b", 1], by_name={"c": "d", "e": 2}, inners={"f": {}}, good=3)
    assert len(told) == 4
    assert {type(value) for value in seen} <= {str, int, float, Inner}


def test_a_check_never_sees_a_pair_of_one() -> None:
    seen: list[tuple[str, int]] = []

    @dataclass(frozen=True, kw_only=True)
    class Checked:
        pair: tuple[str, int] = ("default", 1)

        def __post_init__(self) -> None:
            seen.append(self.pair)

    assert of(Checked, pair=["a", "b"]) == ["t.pair[1]: must be an integer, not a string ('b')"]
    assert seen == [("default", 1)]


def test_a_check_does_not_complain_of_a_key_that_was_told_already() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Checked:
        names: list[str] = field(default_factory=list)
        size: int = 1

        def __post_init__(self) -> None:
            told = [Fault("names", "must not be empty")] if not self.names else []
            raise ConfigError([*told, Fault("size", "must be at least 2")])

    assert of(Checked, names=[1]) == ["t.names[0]: must be a string, not an integer (1)", "t.size: must be at least 2"]
    assert of(Checked) == ["t.names: must not be empty", "t.size: must be at least 2"]


def test_an_authors_own_mistake_is_not_taken_for_the_operators() -> None:
    @dataclass
    class Odd:
        value: complex = 1j

    with pytest.raises(TypeError, match=r"t\.value.*complex"):
        build(Odd, {"value": "1"}, "t", SOURCE)


# --- secrets ---


@pytest.mark.parametrize("show", [repr, str, format, "{0}".format, "{0!r}".format, "%s".__mod__, ascii])
def test_a_secret_does_not_show_itself(show: Callable[[object], str]) -> None:
    secret = Secret("sk-topsecret")
    assert show(secret) == "Secret(***)"
    assert "sk-topsecret" not in show([secret])
    assert "sk-topsecret" not in show(Every(secret=secret, keys=[secret], key_by_name={"a": secret}))


def test_a_secret_is_revealed_to_who_asks() -> None:
    secret = Secret("sk-topsecret")
    assert secret.reveal() == "sk-topsecret"
    assert secret.bearer() == {"Authorization": "Bearer sk-topsecret"}
    assert not isinstance(secret, str)


def test_secrets_are_equal_by_value_and_to_nothing_else() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_secret_does_not_leave_the_process_unnoticed() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("a"))
    with pytest.raises(TypeError):
        copy.deepcopy({"key": [Secret("a")]})
    assert not hasattr(Secret("a"), "__dict__")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"sk-file", "sk-file"),
        (b"sk-file\n", "sk-file"),
        (b"sk-file\r\n", "sk-file"),
        (b" sk file \n", " sk file "),
        ("sk-\u00e9\n".encode(), "sk-\u00e9"),
        (b"-----BEGIN KEY-----\nabc\n-----END KEY-----\n", "-----BEGIN KEY-----\nabc\n-----END KEY-----"),
    ],
)
def test_a_secret_in_a_file(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "keys").mkdir()
    path = tmp_path / "keys" / "ark"
    path.write_bytes(content)
    source = Source(folder=tmp_path, environ={})
    for given in ("file:keys/ark", f"file:{path}"):
        built = build(Every, {"secret": given}, "t", source).secret
        assert built is not None
        assert built.reveal() == value


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("", "t.secret: is empty"),
        ("  ", "t.secret: is empty"),
        ("env:EMPTY", "t.secret: is empty"),
        ("env:BLANK", "t.secret: is empty"),
        ("file:/dev/null", "t.secret: is empty"),
        ("file:none", "t.secret: cannot read /etc/darkroom/none: No such file or directory"),
        ("file:/", "t.secret: cannot read /: Is a directory"),
    ],
)
def test_a_secret_that_is_not_there(given: str, fault: str) -> None:
    assert of(Every, secret=given) == [fault]


@pytest.mark.parametrize("name", ["UNSET", "key"])
def test_a_variable_that_is_not_set_is_named(name: str) -> None:
    (fault,) = of(Every, secret=f"env:{name}")
    assert fault.startswith(f"t.secret: environment variable {name} is not set")


def test_a_secret_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    (fault,) = of(Every, secret=f"file:{tmp_path}/key")
    assert fault == f"t.secret: cannot read {tmp_path}/key: it is not UTF-8 text"


@pytest.mark.parametrize("key", ["path", "secret"])
@pytest.mark.parametrize("given", ["~no-such-user/a", "a\0b"])
def test_a_path_that_cannot_be_is_told(key: str, given: str) -> None:
    (fault,) = of(Every, **{key: f"file:{given}" if key == "secret" else given})
    assert fault.startswith(f"t.{key}: ")


@pytest.mark.parametrize(
    "table",
    [
        {"secret": ["sk-topsecret"]},
        {"secret": {"value": "sk-topsecret"}},
        {"secert": "sk-topsecret"},
        {"keys": "sk-topsecret"},
        {"keys": [["sk-topsecret"]]},
        {"key_by_name": "sk-topsecret"},
        {"key_by_name": {"a": {"b": "sk-topsecret"}}},
        {"inner": "sk-topsecret"},
        {"secret": "sk-topsecret", "count": "x"},
        {"row": [{"name": "a", "api_key": "sk-topsecret"}]},
    ],
)
def test_a_fault_does_not_tell_a_secret(table: dict[str, object]) -> None:
    assert not [fault for fault in of(Every, **table) if "topsecret" in fault]


def test_a_number_for_a_secret_is_not_told() -> None:
    assert of(Every, secret=123456789) == [
        "t.secret: must be a string: a key, 'env:NAME' or 'file:PATH', not an integer",
    ]


@pytest.mark.parametrize("upstream", ["https://user:topsecret@h", "ftp://user:topsecret@h", "https://user:topsecret@h/?a=b"])
def test_a_password_in_an_upstream_is_refused_and_not_told(upstream: str) -> None:
    (fault,) = proxy(routes={"/": {"upstream": upstream}})
    assert fault.startswith('proxy.routes."/".upstream: ')
    assert "topsecret" not in fault


# --- the file ---


def test_a_file_is_read_with_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[proxy]\nstate_dir = "data"\n[plugins.acme]\na = 1\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path.parent)
    table, source = read_table(Path(tmp_path.name, "config.toml"))
    config, told = examine(table, source)
    assert told == []
    assert config.proxy.state_dir == tmp_path / "data"
    assert config.tables == {"acme": {"a": 1}}
    assert config.source is source


def test_paths_left_out_lie_in_the_files_folder_too(tmp_path: Path) -> None:
    # Else a start from another directory would make a second signing key there.
    path = tmp_path / "config.toml"
    path.write_text("[proxy]\n", encoding="utf-8")
    config, _ = examine(*read_table(path))
    assert config.proxy.state_dir == tmp_path / "state"

    @dataclass(frozen=True, kw_only=True)
    class Kept:
        relative: Path = Path("kept")
        absolute: Path = Path("/var/kept")
        none: Path | None = None

    assert build(Kept, {}, "t", SOURCE) == Kept(relative=FOLDER / "kept")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[proxy\n", ["not valid TOML", "line 1"]),
        (b"[proxy]\nlisten = \n", ["not valid TOML", "line 2"]),
        (b"[proxy]\n\nlisten = 'a'\nlisten = 'b'\n", ["not valid TOML", "line 4"]),
        (b"a = 1\n" * 2, ["not valid TOML", "line 2"]),
        (b"\xff\xfe[proxy]", ["it is not UTF-8 text"]),
        (b"# caf\xe9\n", ["it is not UTF-8 text"]),
        (b"a = " + b"1" * 5000, ["not valid TOML"]),  # Python refuses to read it, but not as a TOML error
        (b"a = " + b"[" * 5000 + b"]" * 5000, ["not valid TOML"]),
    ],
    ids=["table", "value", "twice", "twice more", "utf-16", "latin-1", "digits", "depth"],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    (fault,) = faults(lambda: read_table(path))
    assert str(path) in fault
    for word in words:
        assert word in fault


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[proxy]\n")
    assert read_table(path)[0] == {"proxy": {}}


@pytest.mark.parametrize(("name", "reason"), [("none.toml", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_is_not_there(tmp_path: Path, name: str, reason: str) -> None:
    assert faults(lambda: read_table(tmp_path / name)) == [f"cannot read {tmp_path / name}: {reason}"]


MISTAKES = """
[proxy]
listn = "127.0.0.1:8080"
plugins = ["a", 2]

[proxy.limits]
body = "256 MiB"

[proxy.routes."/v1"]
upstream = "https://api.example"
api_key = "env:NO_SUCH_KEY"

[proxy.routes.v2]
upstream = "https://api.example"

[plugin.acme]

[plugins]
acme = "on"
"""


def test_a_file_with_seven_mistakes_tells_all_with_their_paths(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MISTAKES, encoding="utf-8")
    table, source = read_table(path)
    config, told = examine(table, Source(folder=source.folder, environ={}))
    assert sorted(fault.where for fault in told) == [
        "plugin",
        "plugins.acme",
        "proxy.limits.body",
        "proxy.listn",
        "proxy.plugins[1]",
        'proxy.routes."/v1".api_key',
        'proxy.routes."v2"',
    ]
    mends = {fault.where: fault.what for fault in told}
    assert mends["plugin"] == "unknown key; did you mean 'plugins'?"
    assert mends["plugins.acme"] == "must be a table [plugins.acme], not a string"
    assert mends["proxy.listn"] == "unknown key; did you mean 'listen'?"
    assert "NO_SUCH_KEY" in mends['proxy.routes."/v1".api_key']
    assert config.proxy.plugins == ["a"]  # so that its faults can be told as well


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"proxy": 1}, ["proxy: must be a table, not an integer"]),
        ({"proxy": []}, ["proxy: must be a table, not a list"]),
        ({"plugins": ["a"]}, ["plugins: must be tables [plugins.NAME], not a list; the list is 'proxy.plugins'"]),
        ({"plugins": {"a": []}}, ["plugins.a: must be a table [plugins.a], not a list"]),
        ({"zzz": {}}, ["zzz: unknown key; known are plugins, proxy"]),
        ({"proxy": {"plugins": "a"}}, ["proxy.plugins: must be a list, not a string"]),
        (
            {"proxy": {"plugins": ["a", "b", "a"]}},
            ["proxy.plugins: 'a' is listed twice; each plugin has one place in the order"],
        ),
        (
            {"proxy": {"plugins": [1, 2]}},
            [
                "proxy.plugins[0]: must be a string, not an integer (1)",
                "proxy.plugins[1]: must be a string, not an integer (2)",
            ],
        ),
        (
            {"proxy": {"plugins": [[], []]}},
            ["proxy.plugins[0]: must be a string, not a list", "proxy.plugins[1]: must be a string, not a list"],
        ),
    ],
)
def test_a_shape_that_is_wrong_is_told_and_something_usable_comes_back(table: dict[str, object], told: list[str]) -> None:
    config, found = examine(table, SOURCE)
    assert sorted(str(fault) for fault in found) == told
    assert isinstance(config.proxy, ProxyConfig)
    assert isinstance(config.tables, dict)


def test_an_empty_file_is_a_config() -> None:
    config, told = examine({}, SOURCE)
    assert told == []
    assert (config.proxy.listen, config.proxy.plugins, config.proxy.routes, config.tables) == ("127.0.0.1:8080", [], {}, {})


# --- listen and routes ---


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("[::1]:65535", "::1", 65535),
        ("[::]:80", "::", 80),
        ("0.0.0.0:1", "0.0.0.0", 1),
    ],
)
def test_where_to_listen(listen: str, host: str, port: int) -> None:
    assert parse_address(listen) == Address(host, port)
    assert proxy(listen=listen) == []


@pytest.mark.parametrize(
    "listen",
    [
        "",
        ":",
        "8080",
        ":8080",
        "[]:80",
        "localhost",
        "localhost:",
        "h:65536",
        "h:-1",
        "h:+1",
        "h:1_0",
        "h:http",
        "h:\u0661",
        "h:80/",
    ],
)
def test_nowhere_to_listen(listen: str) -> None:
    assert proxy(listen=listen) == [
        (f"proxy.listen: {listen!r} is not HOST:PORT or unix:PATH, such as '127.0.0.1:8080', "
            "'[::]:8080' or 'unix:/run/darkroom.sock'"),
    ]


@pytest.mark.parametrize("prefix", ["/", "/v1", "/v1/", "/v1/images.edits", "/%2F"])
def test_a_route_is_a_path(prefix: str) -> None:
    assert proxy(routes={prefix: {"upstream": "https://h"}}) == []


@pytest.mark.parametrize("prefix", ["", "v1", "https://h/v1", "/v1?a=b", "/v1#a", " /v1"])
def test_a_route_that_is_no_path(prefix: str) -> None:
    assert proxy(routes={prefix: {"upstream": "https://h"}}) == [
        f"proxy.routes.\"{prefix}\": a route is a path that begins with '/'",
    ]


@pytest.mark.parametrize(
    "upstream", ["https://api.openai.com", "http://10.0.0.5:8000/v1", "http://[::1]:80/", "https://h/a%2Fb/", "HTTPS://H"]
)
def test_an_upstream(upstream: str) -> None:
    config, told = examine({"proxy": {"routes": {"/": {"upstream": upstream}}}}, SOURCE)
    assert told == []
    assert config.proxy.routes["/"].upstream == URL(upstream)


@pytest.mark.parametrize(
    "upstream",
    ["ftp://h", "unix:///var/run/a", "https://h?key=1", "https://h#a", "https://user@h", "https://:pass@h", "wss://h"],
)
def test_no_upstream(upstream: str) -> None:
    (fault,) = proxy(routes={"/": {"upstream": upstream}})
    assert fault.startswith('proxy.routes."/".upstream: ')


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, []),
        ({"api_key": "k"}, []),
        ({"api_key": "k", "credentials": "api_key"}, []),
        ({"credentials": "client"}, []),
        ({"credentials": "none"}, []),
        ({"credentials": "api_key"}, ["credentials"]),
        ({"api_key": "k", "credentials": "client"}, ["api_key"]),
        ({"api_key": "k", "credentials": "none"}, ["api_key"]),
        ({"credentials": "mine"}, ["credentials"]),
        ({"credentials": ""}, ["credentials"]),
    ],
)
def test_whose_credentials_a_route_sends(given: dict[str, object], told: list[str]) -> None:
    found = proxy(routes={"/v1": {"upstream": "https://h", **given}})
    assert [line.split(": ")[0] for line in found] == [f'proxy.routes."/v1".{key}' for key in told]


@pytest.mark.parametrize(
    ("route", "key"),
    [
        ({"upstream": "https://h", "credentials": "api_key", "api_key": "env:UNSET"}, "api_key"),
        ({"upstream": "api.example"}, "upstream"),
        ({"upstream": 1}, "upstream"),
    ],
)
def test_one_mistake_is_not_told_as_two(route: dict[str, object], key: str) -> None:
    # What is bad is left out when the class checks itself, which must not then be told as missing.
    (fault,) = proxy(routes={"/v1": route})
    assert fault.startswith(f'proxy.routes."/v1".{key}: ')


def test_the_mend_for_a_routes_key_does_not_speak_of_plugins() -> None:
    (fault,) = proxy(routes={"/v1": {"upstream": "https://h", "api_key": "env:UNSET"}})
    assert "UNSET" in fault
    assert "plugin" not in fault


@pytest.mark.parametrize("show", [repr, str])
def test_a_config_shows_neither_the_environment_nor_a_key(show: Callable[[object], str]) -> None:
    table = {
        "proxy": {"routes": {"/": {"upstream": "https://h", "api_key": "sk-topsecret"}}},
        "plugins": {"acme": {"api_key": "sk-topsecret", "other": "env:KEY"}},
    }
    config, told = examine(table, Source(folder=FOLDER, environ={"KEY": "sk-topsecret"}))
    assert told == []
    assert "topsecret" not in show(config)


def test_a_route_does_not_show_its_key() -> None:
    route = build(Route, {"upstream": "https://h", "api_key": "sk-topsecret"}, "t", SOURCE)
    assert route.api_key == Secret("sk-topsecret")
    assert "topsecret" not in repr(route)


@pytest.mark.parametrize("name", ["body", "memory", "body_timeout", "connections", "drain"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_more_than_nothing(name: str, value: int) -> None:
    assert proxy(limits={name: value}) == [f"proxy.limits.{name}: must be more than 0, and finite"]


@pytest.mark.parametrize("name", ["connect_timeout", "first_byte_timeout", "read_timeout", "total_timeout"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_timeout_is_a_time(name: str, value: float) -> None:
    (fault,) = proxy(calls={name: value})
    assert fault.startswith(f"proxy.calls.{name}: ")


@pytest.mark.parametrize(
    ("route", "key"),
    [({"api_key": "a\nX-Injected: b"}, "api_key"), ({"api_key": "k", "api_key_header": "x y"}, "api_key_header")],
)
def test_what_cannot_stand_in_a_header(route: dict[str, object], key: str) -> None:
    (fault,) = proxy(routes={"/v1": {"upstream": "https://h", **route}})
    assert fault.startswith(f'proxy.routes."/v1".{key}: ')
    assert "X-Injected" not in fault
