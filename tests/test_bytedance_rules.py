"""What ModelArk is sent for every Seedream model, whatever a client asks, and what is made of its answers."""

from __future__ import annotations

import base64
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict
from yarl import URL

from plugins.bytedance import ByteDance
from plugins.bytedance.models import MODELS
from plugins.image_edit import Failed, HostedImage, Image, InvalidReply, Job, Link, Note, Reply, Secret
from plugins.image_edit.ask import job
from plugins.image_edit.dialects.images import EDITS, GENERATIONS
from plugins.image_edit.fit import fit
from plugins.image_edit.registry import serve
from plugins.image_edit.testing import PNG, Course, payload, run_steps
from plugins.image_edit.wire import read_form
from proxy_core import Body, ClientError, Exchange, Failure, Request, UpstreamRefusal

B64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{B64}"
ARK = ByteDance(api_key=Secret("ark-key"))
SERVED = serve([ARK], {})
BOTH = [name for name, rules in MODELS.items() if rules.references > 1]  # the 3.0 line makes or edits, not both

# What each model knows beside model, prompt, image, size, response_format and watermark (bytedance.md, section 3): a known
# field of another model is a 400 on some, so that nothing else may ever be sent.
GROUPED = {"seedream-4-0-250828", "seedream-4-5-251128", "seedream-5-0-260128"}
KNOWN = {
    "seedream-4-0-250828": {"seed", "stream", "sequential_image_generation", "optimize_prompt_options"},
    "seedream-4-5-251128": {"seed", "stream", "sequential_image_generation"},
    "seedream-5-0-260128": {"output_format", "tools", "stream", "sequential_image_generation"},
    "dola-seedream-5-0-pro-260628": {"output_format", "background"},
    "seedream-5-0-flash-260915": {"output_format", "background"},
    "seedream-5-5-261028": {"output_format", "background"},
    "dola-seedream-5-5-261028": {"output_format", "background"},
}
ALWAYS = {"model", "prompt", "size", "response_format", "watermark"}

LINK_REPLY = Reply(body=orjson.dumps({"model": "m", "data": [{"url": "https://storage.example/1"}]}))


def course(name: str, reply: Reply = LINK_REPLY, provider: ByteDance = ARK, **more: Any) -> Course:
    """What is done for a job that has been fitted as the plugin does it."""
    served = SERVED[name]
    asked = Job(name=name, model=served.model, like=served.like, prompt="a hat", **more)
    return run_steps(provider.edit(fit(asked, served.rules, reject=False)[0]), [reply])


def body(name: str, provider: ByteDance = ARK, **more: Any) -> dict[str, Any]:
    (call,) = course(name, provider=provider, **more).calls
    value = orjson.loads(payload(call))
    assert isinstance(value, dict)
    return value


def references(count: int) -> tuple[Image | Link, ...]:
    return tuple(Image(PNG, bytes([n])) for n in range(count))


def data_url(image: Image | Link) -> str:
    assert isinstance(image, Image)
    return b"".join(image.data_url.chunks()).decode()


# --- the call ---


@pytest.mark.parametrize("name", BOTH)
def test_one_call_does_everything(name: str) -> None:
    """There is no edits path, no multipart and no second try."""
    for given in ((), references(1), references(3)):
        (call,) = course(name, references=given).calls
        assert (call.method, str(call.url)) == ("POST", "https://ark.ap-southeast.bytepluses.com/api/v3/images/generations")
        assert call.headers == {"Authorization": "Bearer ark-key"}
        assert (tuple(call.parts), call.again, call.events, call.wait) == ((), None, False, 0)
        assert b"ark-key" not in payload(call)


@pytest.mark.parametrize("name", BOTH)
def test_a_generation_is_the_fewest_fields(name: str) -> None:
    model = SERVED[name].model
    expected = {
        "model": model,
        "prompt": "a hat",
        "size": "2K",
        "watermark": False,
        "response_format": "b64_json" if model == "seedream-4-0-250828" else "url",
    }
    # Known by these alone, and a 400 elsewhere, even as "disabled".
    grouped = {"sequential_image_generation": "disabled"} if model in GROUPED else {}
    assert body(name) == {**expected, **grouped}


@pytest.mark.parametrize("name", BOTH)
def test_one_picture_is_a_string_and_several_are_a_list(name: str) -> None:
    """Fact 4."""
    given = references(3)
    assert "image" not in body(name)
    assert body(name, references=given[:1])["image"] == data_url(given[0])
    assert body(name, references=given[:2])["image"] == [data_url(image) for image in given[:2]]
    assert body(name, references=given)["image"] == [data_url(image) for image in given]
    assert body(name, references=(Link("https://a.example/1?sig=a%2Fb"),))["image"] == "https://a.example/1?sig=a%2Fb"
    mixed = (Link("https://a.example/1"), given[0])
    assert body(name, references=mixed)["image"] == ["https://a.example/1", data_url(given[0])]


def test_a_picture_is_sent_as_what_it_is() -> None:
    """And its type in lower case, whatever a client wrote."""
    text = base64.b64encode(b"\xff\xd8\xffa jpeg").decode()
    assert body("seedream-4.5", references=(Image(b"\xff\xd8\xffa jpeg"),))["image"] == f"data:image/jpeg;base64,{text}"


@pytest.mark.parametrize("name", BOTH)
def test_several_pictures_are_several_calls(name: str) -> None:
    assert ARK.batch == 1
    sent = body(name, n=4)
    assert not {"n", "max_images", "sequential_image_generation_options"} & set(sent)
    assert sent == body(name)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("operator", "client", "sent"), [
    (False, None, False), (True, None, True), (False, True, True), (True, False, False),
])  # fmt: skip
def test_the_vendors_mark_is_there_only_if_somebody_wants_it(
    name: str, operator: bool, client: bool | None, sent: bool
) -> None:
    provider = dataclasses.replace(ARK, watermark=operator)
    extra = {} if client is None else {"watermark": client}
    assert body(name, provider, extra=extra)["watermark"] is sent


def test_the_model_of_an_endpoint_is_its_id() -> None:
    """Fact 11."""
    asked = Job(name="house", model="ep-20260101-x", like="seedream-5.0-pro", prompt="p", size="1K")
    (call,) = run_steps(ARK.edit(asked), [LINK_REPLY]).calls
    sent = orjson.loads(payload(call))
    assert (sent["model"], sent["size"]) == ("ep-20260101-x", "1K")
    assert "sequential_image_generation" not in sent


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://ark.cn-beijing.volces.com/api/v3", "https://ark.cn-beijing.volces.com/api/v3/images/generations"),
        ("https://ark.eu-west.bytepluses.com/api/v3/", "https://ark.eu-west.bytepluses.com/api/v3/images/generations"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/images/generations"),
    ],
)
def test_regions_have_bases_of_their_own(base: str, url: str) -> None:
    provider = ByteDance(api_key=Secret("k"), base_url=URL(base))
    (call,) = course("seedream-4.5", provider=provider).calls
    assert str(call.url) == url
    assert call.url.origin() in {origin.origin() for origin in provider.origins}


@pytest.mark.parametrize(
    "base", ["ark.example/api", "ftp://ark.example", "https://u:p@ark.example", "https://ark.example?key=x", "/api"]
)
def test_a_base_that_is_none_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        ByteDance(api_key=Secret("k"), base_url=URL(base))


# --- whatever a client asks ---

# What OpenAI's clients and others send by habit, and what only some models know.
HABITS: dict[str, Any] = {
    "n": 2, "size": "1024x1024", "aspect_ratio": "16:9", "resolution": "4K", "quality": "high", "style": "vivid",
    "response_format": "url", "user": "someone", "background": "transparent", "output_format": "png", "moderation": "low",
    "output_compression": 80, "partial_images": 2, "stream": True, "seed": 7, "guidance_scale": 2.5, "watermark": True,
    "input_fidelity": "high", "sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 4},
    "optimize_prompt_options": {"mode": "fast"}, "optimize_prompt": True, "tools": [{"type": "web_search"}], "null": None,
    "layer_decomposition": True, "prompt_extra": "x",
}  # fmt: skip


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dialect", [GENERATIONS, EDITS], ids=["generation", "edit"])
async def test_only_what_a_model_knows_is_ever_sent(name: str, dialect: Any) -> None:
    """Facts 5 and 12."""
    fields = {"model": name, "prompt": "a hat", **HABITS, **({"image": DATA} if dialect is EDITS else {})}
    sent = await asked(name, dialect, fields)
    assert set(sent) >= ALWAYS
    assert set(sent) <= ALWAYS | KNOWN[sent["model"]] | ({"image"} if dialect is EDITS else set())
    assert all(value is not None for value in sent.values())
    assert sent.get("sequential_image_generation", "disabled") == "disabled"  # "auto" would let the model make several


@pytest.mark.parametrize("name", BOTH)
async def test_each_field_by_itself_is_kept_within_what_a_model_knows(name: str) -> None:
    for field, value in HABITS.items():
        sent = await asked(name, GENERATIONS, {"model": name, "prompt": "a hat", field: value})
        assert set(sent) <= ALWAYS | KNOWN[sent["model"]], field


async def asked(name: str, dialect: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """What Ark is sent for a client's JSON: read, parsed, fitted and written as a running proxy does it."""
    request = Request(exchange=Exchange(), method="POST", target="/", headers=CIMultiDict(), body=Body(orjson.dumps(fields)))
    form = await read_form(request, 1 << 24)
    served = SERVED[name]
    made = job(dialect.parse(form), name=name, model=served.model, like=served.like)
    (call,) = run_steps(ARK.edit(fit(made, served.rules, reject=False)[0]), [LINK_REPLY]).calls
    value = orjson.loads(payload(call))
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("name", ["seedream-4.0", "seedream-4.5", "seedream-5.0-lite", "seedream-5.0-pro"])
@pytest.mark.parametrize("field", ["tools", "watermark", "optimize_prompt_options", "style", "size", "seed"])
@pytest.mark.parametrize("depth", [200, 300, 1000])
async def test_a_field_that_is_nested_deeply_is_no_crash(name: str, field: str, depth: int) -> None:
    """JSON may be read that is too deep to be written again."""
    nested = "[" * depth + "1" + "]" * depth
    text = f'{{"model": "{name}", "prompt": "p", "{field}": {nested}}}'.encode()
    request = Request(exchange=Exchange(), method="POST", target="/", headers=CIMultiDict(), body=Body(text))
    served = SERVED[name]
    try:
        form = await read_form(request, 1 << 24)
        made = job(GENERATIONS.parse(form), name=name, model=served.model, like=served.like)
        fitted, _ = fit(made, served.rules, reject=False)
    except ClientError:
        return
    (call,) = run_steps(ARK.edit(fitted), [LINK_REPLY]).calls
    assert payload(call)


@pytest.mark.parametrize("name", ["seedream-4.5", "seedream-5.0-lite"])
def test_a_chat_clients_functions_are_not_the_vendors_tools(name: str) -> None:
    """The one tool that the vendor knows is web_search, of one model."""
    search = [{"type": "web_search"}]
    functions = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    known = {"tools": search} if name == "seedream-5.0-lite" else {}
    assert {key: value for key, value in body(name, extra={"tools": search}).items() if key == "tools"} == known
    assert "tools" not in body(name, extra={"tools": functions})


@pytest.mark.parametrize(("text", "sent"), [("true", True), ("false", False)])
async def test_a_forms_text_is_sent_as_what_it_means(text: str, sent: bool) -> None:
    """A multipart edit has only text, and Ark wants a boolean."""
    boundary = "b"
    parts = {"prompt": "a hat", "watermark": text, "image": DATA, "seed": "7"}
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts.items()
    ]
    headers = CIMultiDict({"Content-Type": f"multipart/form-data; boundary={boundary}"})
    data = ("".join(lines) + f"--{boundary}--\r\n").encode()
    request = Request(exchange=Exchange(), method="POST", target="/", headers=headers, body=Body(data))
    served = SERVED["seedream-4.5"]
    made = job(
        EDITS.parse(await read_form(request, 1 << 24)), name="x", model=served.model, like=served.like
    )
    (call,) = run_steps(ARK.edit(fit(made, served.rules, reject=False)[0]), [LINK_REPLY]).calls
    value = orjson.loads(payload(call))
    assert value["watermark"] is sent
    assert value["seed"] == 7


# --- the answer ---


def answered(value: object, name: str = "seedream-4.5", **headers: str) -> list[Any]:
    reply = Reply(headers={key.replace("_", "-"): text for key, text in headers.items()}, body=orjson.dumps(value))
    return course(name, reply).outputs


def pictures(outputs: Sequence[Any]) -> list[Any]:
    return [output for output in outputs if not isinstance(output, Note)]


USAGE = {"generated_images": 1, "output_tokens": 16384, "total_tokens": 16384}


def test_a_link_is_a_hosted_image() -> None:
    """Its string as it came: it is signed."""
    url = "https://ark.example/x.jpeg?X-Tos-Expires=86400&X-Tos-Signature=a%2Fb%3D&c=d%20e"
    item = {"url": url, "size": "2048x2048"}
    outputs = answered(
        {"model": "seedream-4-5-251128", "created": 1757321139, "data": [item], "usage": USAGE}, x_request_id="r1"
    )
    assert outputs == [
        Note(
            model="seedream-4-5-251128",
            usage={"input_tokens": 0, "output_tokens": 16384, "total_tokens": 16384},
            request_id="r1",
        ),
        HostedImage(url),
    ]


@pytest.mark.parametrize("text", [B64, DATA, B64.rstrip("="), f"data:application/octet-stream;base64,{B64}"])
async def test_base64_is_an_image(text: str) -> None:
    """Bare, or with the prefix that the vendor's own helpers write."""
    (image,) = pictures(answered({"data": [{"b64_json": text}]}, "seedream-4.0"))
    assert isinstance(image, Image)
    assert b"".join(map(bytes, image.chunks())) == PNG
    assert image.media_type == "image/png"


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (USAGE, {"input_tokens": 0, "output_tokens": 16384, "total_tokens": 16384}),
        ({"output_tokens": 5}, {"input_tokens": 0, "output_tokens": 5, "total_tokens": 5}),
        ({"output_tokens": 0, "total_tokens": 0}, {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}),
        ({"generated_images": 1}, None),
        ({"output_tokens": "5"}, None),
        ({}, None),
        (None, None),
    ],
    ids=repr,
)
def test_usage_is_told_in_openais_shape(usage: object, told: object) -> None:
    (note,) = [one for one in answered({"data": [{"url": "x"}], "usage": usage}) if isinstance(one, Note)]
    assert note.usage == told


def test_without_a_request_id_none_is_told() -> None:
    assert answered({"data": [{"url": "x"}]})[0] == Note()


ITEM_ERROR = {"error": {"code": "OutputImageSensitiveContentDetected", "message": "It may be sensitive. Request id: 1"}}


def test_a_200_may_hold_errors_in_pictures_places() -> None:
    outputs = pictures(answered({"data": [{"url": "a"}, ITEM_ERROR, {"url": "b"}]}))
    assert [type(output) for output in outputs] == [HostedImage, Failed, HostedImage]
    error = outputs[1].error
    assert (error.status, error.code) == (400, "content_policy_violation")
    assert error.message == "bytedance: It may be sensitive. Request id: 1 (OutputImageSensitiveContentDetected)"
    assert error.failure is Failure.NOT_BILLED  # only pictures that were made are charged


@pytest.mark.parametrize(
    "value",
    [
        {"data": [ITEM_ERROR]},
        {"data": [ITEM_ERROR, ITEM_ERROR]},
        {"data": [], **ITEM_ERROR},
        {"data": None, **ITEM_ERROR},
        {"model": "m", **ITEM_ERROR},
    ],
    ids=itertools.count(),
)
def test_only_errors_are_only_failures(value: object) -> None:
    outputs = pictures(answered(value))
    assert outputs
    assert all(isinstance(output, Failed) for output in outputs)
    assert {output.error.code for output in outputs} == {"content_policy_violation"}


TRIPS = (LookupError, TypeError, ValueError, AttributeError)  # of which an InvalidReply is made by who drives


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"data": []},
        {"data": None},
        {"data": [{}]},
        {"data": [{"url": None, "b64_json": None}]},
        {"data": [{"url": ""}]},
        {"data": [{"size": "2048x2048"}]},
        {"data": [None]},
        {"data": ["https://a.example"]},
        {"data": [[]]},
        {"data": [{"b64_json": 5}]},
        {"data": [{"b64_json": ["x"]}]},
        {"data": 5},
        {"data": "x"},
        {"data": {"url": "https://a.example"}},
        {"data": [{"url": "x"}], "usage": 5},
        {"data": [{"url": "x"}], "usage": [1]},
        [],
        [{"data": []}],
        None,
        5,
        "text",
        True,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_answer_without_sense_is_no_picture(value: object) -> None:
    with pytest.raises((InvalidReply, *TRIPS)):
        answered(value)


@pytest.mark.parametrize("text", [b"", b"<html>", b"{", b"\xff"])
def test_an_answer_that_is_no_json_is_no_picture(text: bytes) -> None:
    with pytest.raises(ValueError):
        course("seedream-4.5", Reply(body=text))


@pytest.mark.parametrize(
    ("status", "word", "told", "code", "failure"),
    [
        (400, "InvalidParameter", 400, "invalid_value", "NOT_BILLED"),
        (400, "MissingParameter.prompt", 400, "missing_required_parameter", "NOT_BILLED"),
        (400, "InputImageSensitiveContentDetected.PrivacyInformation", 400, "content_policy_violation", "NOT_BILLED"),
        (400, "InputTextRiskDetection", 400, "content_policy_violation", "NOT_BILLED"),
        (401, "AuthenticationError", 401, "invalid_api_key", "NOT_BILLED"),
        (403, "AccessDenied", 403, "permission_denied", "NOT_BILLED"),
        (403, "AccountOverdueError", 429, "insufficient_quota", "NOT_BILLED"),
        (404, "InvalidEndpoint.NotFound", 404, "model_not_found", "NOT_BILLED"),
        (404, "ModelNotOpen", 404, "model_not_found", "NOT_BILLED"),
        (404, "InvalidEndpointOrModel.ModelIDAccessDisabled", 403, "permission_denied", "NOT_BILLED"),
        (429, "RateLimitExceeded.EndpointRPMExceeded", 429, "rate_limit_exceeded", "NOT_BILLED"),
        (500, "InternalServiceError", 500, "upstream_error", "UNKNOWN"),
        (429, "SomethingNew", 429, "rate_limit_exceeded", "NOT_BILLED"),
        (400, "SomethingNew", 400, "upstream_error", "NOT_BILLED"),
        (503, "RateLimitExceeded", 503, "rate_limit_exceeded", "UNKNOWN"),
    ],
)
def test_a_refusal_has_openais_words(status: int, word: str, told: int, code: str, failure: str) -> None:
    """Facts 20 and 21: with the vendor's own behind its message."""
    body = orjson.dumps({"error": {"code": word, "message": "No. Request id: 1", "param": "size", "type": ""}})
    with pytest.raises(UpstreamRefusal, match="bytedance: No") as caught:
        course("seedream-4.5", Reply(status=status, body=body))
    error = caught.value
    assert (error.status, error.code, error.param, error.failure) == (told, code, "size", Failure[failure])
    assert f"({word})" in error.message
    assert error.headers.get("x-should-retry") == ("false" if code == "insufficient_quota" or failure == "UNKNOWN" else None)


# --- the table ---


def test_the_hook_brings_the_provider() -> None:
    assert list(ARK.image_edit_providers()) == [ARK]
    assert ARK.takes_links
    assert set(ARK.models) == set(MODELS)
    assert "ark-key" not in repr(ARK)


@pytest.mark.parametrize("name", BOTH)
def test_each_entry_is_within_what_the_vendor_documents(name: str) -> None:
    rules = MODELS[name]
    assert rules.model in KNOWN
    assert rules.references == (14 if rules.model in {"seedream-4-5-251128", "seedream-5-0-260128"} else 10)
    assert rules.fields <= KNOWN[rules.model] | {"watermark"}
    assert rules.group == (rules.model in GROUPED)
    assert rules.answers in {"url", "b64_json"}
    assert not rules.mask
    assert not rules.needs_reference
    assert rules.sizes is not None
    assert rules.sizes.default in rules.sizes.labels
    assert set(rules.sizes.labels) <= set(rules.sizes.presets) | {"1.5K"}
