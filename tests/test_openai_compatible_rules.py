"""What each kind of server is sent, whatever a client asks, and what is made of its answers; no network."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
import pytest
from yarl import URL

from plugins.image_edit import (
    Call,
    Failed,
    Failure,
    HostedImage,
    Image,
    InvalidReply,
    Job,
    Link,
    Note,
    Part,
    Provider,
    Reply,
    UpstreamRefusal,
    refusal,
)
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG, Course, ProviderConformance, payload, run_steps
from plugins.openai_compatible import OpenAICompatible
from plugins.openai_compatible.models import OPENAI, PRESETS
from plugins.openai_compatible.provider import Compatible
from plugins.openai_compatible.server import Server
from proxy_core import ClientError, ConfigError
from proxy_core.testing import loaded

B64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{B64}"
BASE = "http://10.0.0.5:8000/v1"


def answer(*items: Mapping[str, object], **more: object) -> Reply:
    return Reply(body=orjson.dumps({"created": 1, "data": list(items), **more}))


GOOD = answer({"b64_json": B64})


class Suite(ProviderConformance):
    plugin = OpenAICompatible
    name = "openai_compatible"
    provider_name = "openai_compatible.second"
    model = "Qwen/Qwen-Image-Edit"
    replies = [GOOD]
    preset = "openai"
    keys: Mapping[str, Any] = {}
    built: ClassVar[Provider]

    @property
    def config(self) -> Mapping[str, Any]:  # type: ignore[override]
        first = {"base_url": "http://10.0.0.4/v1", "models": ["another"]}
        second = {
            "base_url": BASE,
            "models": {self.model: "org/model-2"},
            "api_key": "not-a-real-one",
            "preset": self.preset,
            **self.keys,
        }
        return {"servers": {"first": first, "second": second}}

    def provider(self) -> Provider:
        """Built once: it holds no state, and the plugins would be looked up some hundred times."""
        if "built" not in vars(type(self)):
            type(self).built = super().provider()
        return self.built

    def test_it_is_the_second_one_and_its_key_is_looked_for(self) -> None:
        """ProviderConformance, with a plugin that brings several providers."""
        assert self.provider().name == "openai_compatible.second"
        assert self.secrets() == ["not-a-real-one"]


class TestOpenAILike(Suite):
    pass


class TestVLLMOmni(Suite):
    preset = "vllm_omni"
    replies = [answer({"b64_json": B64, "url": None, "revised_prompt": None}, output_format="png", size="1x1", metrics={})]


class TestVLLMOmniWithLinks(TestVLLMOmni):
    keys = {"link_field": "url"}


class TestSGLang(Suite):
    preset = "sglang"
    keys = {"response_format": "url"}
    replies = [answer({"url": "/v1/images/a/content", "file_path": None}, usage={"image_count": 1}), Reply(body=PNG)]


class TestStableDiffusionCpp(Suite):
    preset = "sd_cpp"


class TestLocalAI(Suite):
    preset = "localai"


class TestDeepInfra(Suite):
    preset = "deepinfra"
    replies = [answer({"b64_json": f"data:image/png;base64,{B64}"})]


class TestJson(Suite):
    keys = {"edits": "json", "image_field": "images", "link_field": "images"}


def test_a_provider_that_is_not_there_is_told() -> None:
    class Nobody(Suite):
        provider_name = "openai_compatible.third"

    with pytest.raises(AssertionError, match=r"no openai_compatible\.third among"):
        Nobody().provider()


# --- the config ---


def built(preset: Any = "openai", **keys: Any) -> Compatible:
    given: dict[str, Any] = {"base_url": URL(BASE), "models": ["m"], **keys}
    return Compatible(name="openai_compatible.here", server=Server(preset=preset, **given).completed())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_everything(preset: str) -> None:
    ways = PRESETS[preset]
    assert [one.name for one in dataclasses.fields(ways) if getattr(ways, one.name) is None and one.name != "base_url"] == []


def test_the_operators_word_wins() -> None:
    server = built("sd_cpp", mask_field="", references=0, fields=[], batch=1).server
    assert (server.mask_field, server.references, server.fields, server.batch) == ("", 0, [], 1)
    assert server.prompt_fields == PRESETS["sd_cpp"].prompt_fields


def test_deepinfra_needs_no_address() -> None:
    server = Server(preset="deepinfra", models=["black-forest-labs/FLUX.2-dev"]).completed()
    assert str(server.base_url) == "https://api.deepinfra.com/v1/openai"


def config(servers: Mapping[str, object], **image_edit: object) -> dict[str, Any]:
    plugins = {"openai_compatible": {"servers": servers}, "image_edit": image_edit}
    return {"proxy": {"plugins": ["image_edit", "openai_compatible"]}, "plugins": plugins}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"models": ["m"]}, "base_url: is missing"),
        ({"models": ["m"], "base_url": "ftp://a/v1"}, "base_url: must be an http or https URL"),
        ({"models": ["m"], "base_url": "http://u:p@a/v1"}, "base_url: must be an http or https URL"),
        ({"base_url": BASE}, "models: is missing"),
        ({"models": ["m"], "base_url": BASE, "preset": "comfyui"}, "preset: must be one of 'openai', 'vllm_omni'"),
        ({"models": ["m"], "base_url": BASE, "batch": 0}, "batch: must be at least 1"),
        ({"models": ["m"], "base_url": BASE, "references": -1}, "references: must be at least 0"),
        ({"models": ["m"], "base_url": BASE, "size_side": [512, 64]}, "size_side: must be the least and the most"),
        ({"models": ["m"], "base_url": BASE, "size_default": "1K"}, "size_default: must be WIDTHxHEIGHT"),
        ({"models": ["m"], "base_url": BASE, "image_field": ""}, "image_field: is empty"),
        ({"models": ["m"], "base_url": BASE, "imgae_field": "image"}, "did you mean 'image_field'?"),
    ],
)
def test_mistakes_are_told_at_their_key(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(config({"a": table}))
    assert "plugins.openai_compatible.servers.a" in str(caught.value)
    assert said in str(caught.value)


def test_no_server_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="servers: is empty"):
        loaded(config({}))


def test_two_servers_with_one_name_for_a_model_need_the_operators_word() -> None:
    servers = {name: {"base_url": f"http://{name}/v1", "models": ["m"]} for name in ("a", "b")}
    with pytest.raises(ConfigError, match=r'"m" = \{ provider = "openai_compatible\.a" \}'):
        loaded(config(servers))
    loaded(config(servers, models={"m": {"provider": "openai_compatible.b"}}))


# --- what is sent ---


def course(provider: Compatible, *replies: Reply, **more: Any) -> Course:
    """What is done for a job that has been fitted as the plugin does it."""
    rules = provider.models["m"]
    job = Job(name="m", model=rules.model or "m", like="m", prompt="a hat", **more)
    return run_steps(provider.edit(fit(job, rules, reject=False)[0]), replies or [GOOD])


def sent(provider: Compatible, **more: Any) -> tuple[str, dict[str, Any], list[Part]]:
    (call,) = course(provider, **more).calls
    fields = {part.name: part.value for part in call.parts if isinstance(part.value, str)} if call.parts else call.json
    assert isinstance(fields, dict)
    return str(call.url).removeprefix(BASE), fields, [part for part in call.parts if isinstance(part.value, Image)]


def pictures(count: int) -> tuple[Image, ...]:
    return tuple(Image(PNG, bytes([n])) for n in range(count))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_generation_is_the_fewest_fields(preset: str) -> None:
    """Facts 3 and 12: `response_format` and `n` go only where they are known."""
    path, fields, files = sent(built(preset))
    expected = {"model": "m", "prompt": "a hat"}
    if preset not in ("openai", "sd_cpp"):
        expected["response_format"] = "b64_json"
    assert (path, fields, files) == ("/images/generations", expected, [])


@pytest.mark.parametrize(
    ("preset", "path", "part"),
    [
        ("openai", "/images/edits", "image[]"),
        ("vllm_omni", "/images/edits", "image[]"),
        ("sglang", "/images/edits", "image[]"),
        ("sd_cpp", "/images/edits", "image[]"),
        ("deepinfra", "/images/edits", "image"),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_are_parts_by_the_servers_name(preset: str, path: str, part: str, count: int) -> None:
    """Facts 1 and 26: `image[]` repeated, or `image` repeated, for one as for many; all that is text is text."""
    given = pictures(count)
    where, fields, files = sent(built(preset), references=given, n=2, seed=7)
    assert where == path
    assert [(one.name, one.value) for one in files] == [(part, picture) for picture in given]
    assert all(isinstance(value, str) for value in fields.values())
    assert fields.get("n", "2") == "2"


def test_localai_is_sent_bare_base64_in_json() -> None:
    """Fact 16: it drops what begins with data: and says nothing."""
    provider = built("localai")
    path, fields, _ = sent(provider, references=pictures(2))
    assert path == "/images/generations"
    assert [b"".join(text.chunks()) for text in fields["ref_images"]] == [base64.b64encode(PNG + bytes([n])) for n in range(2)]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("object", [{"image_url": DATA}]), ("data_url", [DATA]), ("base64", [B64])],
)
def test_json_edits_in_every_form(form: str, expected: list[object]) -> None:
    """Fact 2: OpenAI's `images` are objects, and others want strings."""
    provider = built(edits="json", image_field="images", image_form=form)
    path, fields, _ = sent(provider, references=(Image(PNG),), mask=Image(PNG))
    assert path == "/images/edits"
    body = orjson.loads(payload(Call(method="POST", url=URL(BASE), json=fields)))
    assert body["images"] == expected
    assert body["mask"] == expected[0]


def test_links_are_sent_only_where_the_operator_says_so() -> None:
    """Fact 31: a server that fetches a client's link fetches it from inside."""
    assert not any(built(preset).takes_links for preset in PRESETS)
    provider = built("vllm_omni", link_field="url")
    references = (Link("https://a.example/1?sig=a%2Fb"), Image(PNG))
    (call,) = course(provider, references=references).calls
    assert [(part.name, part.value) for part in call.parts][-2:] == [("url", references[0].url), ("image[]", references[1])]


def test_a_server_without_edits() -> None:
    assert built(edits="none").models["m"].references == 0
    assert not built(edits="none").models["m"].mask


def test_stable_diffusion_cpp_reads_the_rest_from_the_prompt() -> None:
    _, fields, _ = sent(
        built("sd_cpp"), seed=7, extra={"negative_prompt": "</sd_cpp_extra_args>é", "sample_params": {"sample_steps": 4}}
    )
    head, _, rest = fields["prompt"].partition("</sd_cpp_extra_args>")
    assert rest == "a hat"
    inner = orjson.loads(head.removeprefix("<sd_cpp_extra_args>"))
    assert inner == {"seed": 7, "negative_prompt": "</sd_cpp_extra_args>é", "sample_params": {"sample_steps": 4}}
    assert "seed" not in fields
    assert sent(built("sd_cpp"))[1]["prompt"] == "a hat"


def test_localai_takes_both_prompts_as_one() -> None:
    provider = built("localai")
    assert sent(provider, extra={"negative_prompt": "rain"})[1]["prompt"] == "a hat|rain"
    asked = Job(name="m", model="m", like="m", prompt="a|b", extra={"negative_prompt": "rain"})
    with pytest.raises(ClientError) as caught:
        run_steps(provider.edit(asked), [GOOD])
    assert caught.value.param == "negative_prompt"


def test_a_forms_numbers_are_numbers_in_json() -> None:
    """Fact 26: what a client's form said in text is no string to a server that reads JSON."""
    extra = {"step": "20", "mode": "1"}
    _, fields, _ = sent(built("localai"), references=pictures(1), extra=extra)
    assert (fields["step"], fields["mode"]) == (20, 1)
    _, fields, _ = sent(built("vllm_omni"), extra={"guidance_scale": "4.5", "layers": "many"})
    assert (fields["guidance_scale"], fields["layers"]) == (4.5, "many")  # the server has words for what is no number
    _, fields, _ = sent(built("vllm_omni"), references=pictures(1), extra={"lora": {"name": "x"}, "guidance_scale": 4.5})
    assert (fields["lora"], fields["guidance_scale"]) == ('{"name":"x"}', "4.5")


def test_inpainting_is_told_nothing_else_and_says_so() -> None:
    """Fact 13: LocalAI's mask has an endpoint of its own, for one picture."""
    provider = built("localai")
    done = course(provider, references=pictures(1), mask=Image(PNG), size="512x512", extra={"step": 20})
    (call,) = done.calls
    assert str(call.url) == f"{BASE}/images/inpainting"
    assert [part.name for part in call.parts] == ["model", "prompt", "image", "mask"]
    (note,) = [output for output in done.outputs if isinstance(output, Note)]
    assert note.warnings == ("m takes no size, step beside a mask; left out",)
    for references in (pictures(2), (Link("https://a.example/1"),)):
        job = Job(name="m", model="m", like="m", prompt="x", references=references, mask=Image(PNG))
        with pytest.raises(ClientError):
            next(provider.edit(job))


def test_others_are_passed_on_where_they_are_tolerated() -> None:
    assert sent(built(others=True), extra={"scheduler": "euler"})[1]["scheduler"] == "euler"
    assert "scheduler" not in sent(built(), extra={"scheduler": "euler"})[1]


def test_the_words_of_a_request_are_never_overwritten() -> None:
    fields = sent(built(others=True), extra={"model": "another", "prompt": "another", "response_format": "url"})[1]
    assert (fields["model"], fields["prompt"]) == ("m", "a hat")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"size": "1000x1000"}, "1008x1008"),
        ({"size": "512x768"}, "512x768"),
        ({"aspect_ratio": "16:9"}, "1360x768"),
        ({"resolution": "2K", "aspect_ratio": "1:1"}, "2048x2048"),
        ({"size": "8192x8192"}, "4096x4096"),
        ({}, None),
    ],
)
def test_sizes_are_in_whole_steps(asked: dict[str, Any], expected: str | None) -> None:
    assert sent(built("vllm_omni"), **asked)[1].get("size") == expected


def test_a_default_size_is_sent() -> None:
    assert sent(built("localai", size_default="512x512"))[1]["size"] == "512x512"
    assert sent(built("localai", size_default="512x512"), aspect_ratio="2:1")[1]["size"] == "736x368"


def test_the_key_is_sent_where_there_is_one() -> None:
    (call,) = course(built()).calls
    assert call.headers == {}


# --- what is answered ---


@pytest.mark.parametrize(
    "item",
    [
        {"b64_json": B64},
        {"b64_json": f"data:image/png;base64,{B64}"},
        {"b64_json": None, "url": f"data:image/png;base64,{B64}"},
        {"b64_json": B64, "url": "https://elsewhere.example/x"},
        {"b64_json": B64.replace("+", "-").replace("/", "_").rstrip("=")},
    ],
)
def test_pictures_in_hand(item: dict[str, object]) -> None:
    """Fact 16: base64 comes bare, with a prefix, in either alphabet."""
    (picture,) = course(built(), answer(item)).pictures
    assert isinstance(picture, Image)
    assert b"".join(map(bytes, picture.chunks())) == PNG


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        ("/v1/images/a%2Fb/content?variant=1&sig=a%20b", "http://10.0.0.5:8000/v1/images/a%2Fb/content?variant=1&sig=a%20b"),
        ("http://10.0.0.5:8000/generated-images/x.png", "http://10.0.0.5:8000/generated-images/x.png"),
        ("HTTP://10.0.0.5:8000/x.png", "http://10.0.0.5:8000/x.png"),
        ("images/x.png", "http://10.0.0.5:8000/images/x.png"),
    ],
)
def test_links_that_lead_back_are_called(link: str, asked: str) -> None:
    """Facts 17 and 31: relative, private, plain http, and byte for byte; with the key, for it is the server's own."""
    provider = built("sglang", api_key=None)
    done = course(provider, answer({"url": link}), Reply(body=PNG))
    assert [(call.method, str(call.url)) for call in done.calls][1:] == [("GET", asked)]
    assert len(done.pictures) == 1


@pytest.mark.parametrize(
    "link",
    [
        "https://cdn.example/a%2Fb?sig=x%3D&e=",
        "http://10.0.0.5/x.png",
        "https://10.0.0.5:8000/x.png",
        "http://10.0.0.5:8001/x.png",
        "http://10.0.0.5:8000@evil.example/x.png",
        "//evil.example/x.png",
    ],
)
def test_other_links_are_left_to_the_guard(link: str) -> None:
    """Facts 18 and 31: another host, port or scheme is not the server; no call, and no key."""
    done = course(built(), answer({"url": link}))
    assert len(done.calls) == 1
    (picture,) = done.pictures
    assert isinstance(picture, HostedImage)
    assert picture.url == (link if link.startswith("http") else f"http:{link}")


def test_a_lost_picture_of_ones_own_is_not_bought_again() -> None:
    done = course(built(), answer({"url": "/x.png"}), Reply(status=404, body=b'{"detail": "Image not found"}'))
    (failed,) = [output for output in done.outputs if isinstance(output, Failed)]
    assert (failed.error.status, failed.error.code) == (502, "image_fetch_failed")
    assert failed.error.headers["x-should-retry"] == "false"


def test_fewer_pictures_than_asked_are_told() -> None:
    """Fact 12: a server that ignores `n` is not believed."""
    done = course(built("vllm_omni"), answer({"b64_json": B64}), n=3)
    failed = [output for output in done.outputs if isinstance(output, Failed)]
    assert [one.index for one in failed] == [1, 2]
    assert "made 1 of 3 pictures" in str(failed[0].error)


def test_an_item_without_a_picture_is_a_failure_of_its_own() -> None:
    done = course(built(), answer({"b64_json": B64}, {"error": {"message": "too hot", "code": 500}}, {}), n=3)
    failed = [output.error for output in done.outputs if isinstance(output, Failed)]
    assert [type(error) for error in failed] == [UpstreamRefusal, InvalidReply]
    assert (failed[0].status, str(failed[0])) == (500, "openai_compatible.here: too hot")


@pytest.mark.parametrize(
    ("usage", "told"),
    [({"input_tokens": 1, "output_tokens": 2}, True), ({"image_count": 1}, False), (None, False), ("x", False)],
)
def test_usage_is_told_only_in_openais_shape(usage: object, told: bool) -> None:
    (note,) = [output for output in course(built(), answer({"b64_json": B64}, usage=usage)).outputs if isinstance(output, Note)]
    assert note.usage == (usage if told else None)


# --- errors ---

FAULTS = [
    {"type": "less_than_equal", "loc": ["body", "n"], "msg": "Input should be less than or equal to 10", "input": 11},
    {"type": "missing", "loc": ["body", "lora", "name"], "msg": "Field required"},
]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        # FastAPI: text, and a list that names fields
        (422, {"detail": FAULTS}, (400, "invalid_value", "n", "n: Input should be less than or equal to 10; lora.name: ")),
        (422, {"detail": FAULTS[1:]}, (400, "missing_required_parameter", "lora.name", "lora.name: Field required")),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["query", "x"], "msg": "no"}]},
         (400, "unknown_parameter", "x", "x: no")),
        (422, {"detail": "Field 'image' or 'url' is required"}, (400, "invalid_request", None, "Field 'image' or 'url'")),
        (400, {"detail": "Invalid size"}, (400, "invalid_request", None, "Invalid size")),
        (404, {"detail": "Not Found"}, (404, "not_found", None, "Not Found")),
        # vLLM: OpenAI's shape with the status for a code; its key check has a string
        (404, {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}},
         (404, "model_not_found", "model", "The model `x` does not exist.")),
        (401, {"error": "Unauthorized"}, (401, "invalid_api_key", None, "Unauthorized")),
        # stable-diffusion.cpp
        (400, {"error": "prompt required"}, (400, "invalid_request", None, "prompt required")),
        (500, {"error": "server_error", "message": "x"}, (500, "upstream_error", None, "server_error")),
        # LocalAI
        (403, {"error": {"code": 403, "message": "no", "type": ""}}, (403, "permission_denied", None, "no")),
        (503, {"error": {"code": 503, "message": "busy", "type": ""}}, (503, "overloaded", None, "busy")),
        (500, {"error": {"code": "500", "message": "rpc error", "type": ""}}, (500, "upstream_error", None, "rpc error")),
        # DeepInfra
        (401, {"detail": {"error": "Invalid key"}}, (401, "invalid_api_key", None, "Invalid key")),
        (402, {"detail": {"error": "top up"}}, (429, "insufficient_quota", None, "top up")),
        (404, {"detail": {"error": "Model x is not available"}}, (404, "model_not_found", None, "Model x is not available")),
        (429, {"error": {"message": "slow down"}}, (429, "rate_limit_exceeded", None, "slow down")),
        # a code that is a word is the service's own
        (400, {"error": {"message": "no", "code": "content_policy_violation", "param": "prompt"}},
         (400, "content_policy_violation", "prompt", "no")),
        (429, {"error": {"message": "no", "code": "insufficient_quota"}}, (429, "insufficient_quota", None, "no")),
        # no JSON at all
        (502, b"<html>bad gateway</html>", (502, "upstream_error", None, "it answered 502 without a reason")),
        (422, {"detail": [1, {"msg": []}]}, (400, "invalid_request", None, "[1,")),
        (422, {"detail": [{"msg": "no", "loc": "body"}]}, (400, "invalid_value", None, "no")),
        (400, {"detail": {"error": {"deep": 1}}}, (400, "invalid_request", None, '{"deep":1}')),
    ],
)  # fmt: skip
def test_errors_in_openais_words(status: int, body: object, expected: tuple[int, str, str | None, str]) -> None:
    """Fact 21: `error` as text, `detail` as text, list or object, and codes that are numbers, are all told as OpenAI tells."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    with pytest.raises(UpstreamRefusal) as caught:
        course(built(), Reply(status=status, body=raw, headers={"x-request-id": "req-1"}))
    error = caught.value
    assert (error.status, error.code, error.param) == expected[:3]
    assert expected[3] in error.message
    assert error.headers["X-Upstream-Request-ID"] == "req-1"
    final = status >= 500 or error.code == "insufficient_quota"  # nothing is to be made twice, and nothing made for no money
    assert error.headers.get("x-should-retry") == ("false" if final else None)


def test_a_full_server_that_says_when_is_asked_again() -> None:
    with pytest.raises(UpstreamRefusal) as caught:
        course(built(), Reply(status=503, body=b'{"detail": "queue is full"}', headers={"retry-after": "3"}))
    assert (caught.value.failure, caught.value.headers["retry-after"]) == (Failure.NOT_BILLED, "3")
    assert "x-should-retry" not in caught.value.headers


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"error": {"message": "refused", "code": "content_policy_violation"}}, 400, "content_policy_violation"),
        ({"error": {"message": "engine died", "code": 500}, "data": []}, 500, "upstream_error"),
        ({"error": "refused"}, 400, "invalid_request"),
    ],
)
def test_a_refusal_with_status_200_is_an_error(body: object, status: int, code: str) -> None:
    with pytest.raises(UpstreamRefusal) as caught:
        course(built(), Reply(body=orjson.dumps(body)))
    assert (caught.value.status, caught.value.code) == (status, code)


def test_the_frameworks_own_reading_of_fastapis_faults() -> None:
    """Any provider has it, and a deeply nested one does no harm."""
    error = refusal(Reply(status=422, body=orjson.dumps({"detail": FAULTS})), "toy")
    assert (error.param, error.code) == ("n", "invalid_value")
    assert len(refusal(Reply(status=422, body=b'{"detail":' + b"[" * 900 + b"]" * 900 + b"}"), "toy").message) < 700


def test_what_openai_is_like_is_the_default() -> None:
    assert built().server.response_format == OPENAI.response_format == "none"
