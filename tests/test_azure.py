"""GPT Image by Azure OpenAI, on both kinds of its paths, judged by an emulator; what it shares with OpenAI is tested there."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest
from openai.types import ImagesResponse

from plugins.azure import Azure
from plugins.image_edit import Reply
from plugins.image_edit.testing import PNG, ProviderConformance
from proxy_core import ConfigError
from proxy_core.testing import loaded, running
from tests.emulators.azure import KEY, MODELS_TO_TRY, Bare, azure, filtered, setup
from tests.emulators.azure import Azure as Resource
from tests.emulators.gpt_image import Refused
from tests.pictures import BLUE, GREEN, RED, mask, png
from tests.test_openai import DOCS, HABITS, chat_picture, colours, data_url, first, near, turn, warnings

PREVIEW = "2025-04-01-preview"
TABLE = {"api_key": "not-a-real-one", "base_url": "https://mine.example", "deployments": {"pictures": "gpt-image-2"}}
GOOD = Reply(body=orjson.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]}))


class TestAzure(ProviderConformance):
    plugin = Azure
    config = TABLE
    replies = [GOOD]


class TestAzureClassic(TestAzure):
    config = {**TABLE, "api_version": PREVIEW}
    name = "azure"


@asynccontextmanager
async def proxied(
    resource: Resource, *, plugin: dict[str, Any] | None = None, max_retries: int = 2, **image_edit: Any
) -> AsyncIterator[openai.AsyncOpenAI]:
    made = setup(resource)
    plugins = {"azure": {**made["plugins"]["azure"], **(plugin or {})}, "image_edit": image_edit}
    config = {"proxy": {"plugins": ["image_edit", "azure"]}, "plugins": plugins}
    async with (
        running(config, environ=made["environ"]) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="the-clients-own", max_retries=max_retries) as client,
    ):
        yield client


@pytest.fixture
async def resource() -> AsyncIterator[Resource]:
    async with Resource() as resource:
        yield resource


@pytest.mark.parametrize("version", ["", PREVIEW], ids=["v1", "classic"])
@pytest.mark.parametrize("model", MODELS_TO_TRY)
async def test_every_deployment_on_every_surface(resource: Resource, version: str, model: str) -> None:
    """Facts 1, 2, 3, 13, 15 and 26."""
    three = [png(colour=colour) for colour in (RED, GREEN, BLUE)]
    body = {"model": model, "prompt": "one scene", "images": [{"image_url": data_url(picture)} for picture in three]}
    async with proxied(resource, plugin={"api_version": version}) as client:
        made = await client.images.generate(model=model, prompt="a lighthouse", n=2, **HABITS)
        one = await client.images.edit(model=model, image=png(colour=BLUE), prompt="add a hat", **HABITS)
        many = await client.images.edit(model=model, image=three, prompt="one scene")
        covered = await client.images.edit(model=model, image=png(), mask=mask((96, 64)), prompt="a hat")
        listed = await client.post("/images/edits", body=body, cast_to=ImagesResponse)
        chat = await client.chat.completions.create(model=model, messages=turn("one scene", *three))
        stream = await client.chat.completions.create(model=model, messages=turn("x", png(colour=GREEN)), stream=True)
        streamed = [chunk async for chunk in stream]
    assert len(made.data or ()) == 2
    assert made.usage is not None
    assert colours(first(one), 1) == near(BLUE)
    for picture in (first(many), first(listed), chat_picture(chat)):
        assert colours(picture, 3) == near(RED, GREEN, BLUE)
    assert covered.data
    assert streamed[0].choices[0].delta.images  # type: ignore[attr-defined]
    stem = f"/openai/deployments/{model}/images/%s?api-version={PREVIEW}" if version else "/openai/v1/images/%s"
    assert [seen.path for seen in resource.requests] == [stem % "generations", *[stem % "edits"] * 6]
    assert [seen.status for seen in resource.requests] == [200] * 7
    assert resource.requests[3].mask is not None
    for seen in resource.requests:
        assert seen.headers["api-key"] == KEY
        assert "Authorization" not in seen.headers
        assert seen.fields["model"] == model


async def test_a_deployment_follows_the_rules_of_its_model(resource: Resource) -> None:
    async with proxied(resource) as client:
        new = await client.images.generate(model="pictures", prompt="x", size="1536x864")
        old = await client.images.generate(model="pictures-old", prompt="x", size="1536x864")
    assert [seen.fields["size"] for seen in resource.requests] == ["1536x864", "1536x1024"]
    assert not warnings(new)
    assert warnings(old) == ["pictures-old cannot make size 1536x864; 1536x1024 was used"]


async def test_names_are_the_operators(resource: Resource) -> None:
    """And both services may serve one model, each by a name of its own."""
    names = {"gpt-image-2": {"provider": "azure", "model": "pictures"}}
    async with proxied(resource, models=names) as client:
        listed = [model.id async for model in client.models.list()]
        await client.images.generate(model="gpt-image-2", prompt="x")
    assert listed == ["gpt-image-2", "pictures", "pictures-old"]
    assert resource.requests[0].fields["model"] == "pictures"
    both = {
        "proxy": {"plugins": ["image_edit", "openai", "azure"]},
        "plugins": {"openai": {"api_key": "x"}, "azure": TABLE, "image_edit": {"models": names}},
    }
    loaded(both)


FILTER = filtered(violence=True, hate=False, sexual=True)
REFUSALS: dict[str, tuple[Any, type[openai.APIStatusError], str, str]] = {
    "filter": (FILTER, openai.BadRequestError, "content_policy_violation", f"{FILTER.message} (filtered: violence, sexual)"),
    "policy": (
        filtered("content_policy_violation"),
        openai.BadRequestError,
        "content_policy_violation",
        "open an Azure support ticket.",
    ),
    "moderation": (filtered("moderation_blocked", violence=True), openai.BadRequestError, "moderation_blocked", "violence"),
    "too often": (
        azure(429, "429", "Requests have exceeded the call rate limit.", **{"Retry-After": "6"}),
        openai.RateLimitError,
        "rate_limit_exceeded",
        "call rate limit",
    ),
    "parameter": (Refused(400, "No.", "invalid_value", "size"), openai.BadRequestError, "invalid_value", "azure: No."),
    "broken": (azure(500, "InternalServerError", "Oops."), openai.InternalServerError, "InternalServerError", "azure: Oops."),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_failures_keep_their_meaning(resource: Resource, case: str) -> None:
    """Facts 19, 20 and 21: Azure's words in OpenAI's shape."""
    fault, kind, code, words = REFUSALS[case]
    resource.script(fault)
    async with proxied(resource, max_retries=0) as client:
        with pytest.raises(kind) as caught:
            await client.images.edit(model="pictures", image=png(), prompt="x")
    failed = caught.value
    assert (failed.status_code, failed.code, failed.param) == (fault.status, code, fault.param)
    assert words in str(failed)
    assert failed.response.headers["X-Upstream-Request-ID"] == resource.requests[0].request_id
    assert failed.response.headers.get("x-should-retry") == ("false" if fault.status == 500 else None)
    assert failed.response.headers.get("retry-after") == fault.headers.get("Retry-After")


async def test_a_bad_key_and_a_deployment_that_is_none(resource: Resource) -> None:
    async with Resource(key="another") as strict, proxied(strict) as client:
        with pytest.raises(openai.AuthenticationError) as denied:
            await client.images.generate(model="pictures", prompt="x")
    async with proxied(resource, plugin={"deployments": {"gone": "gpt-image-2"}}) as client:
        with pytest.raises(openai.NotFoundError, match="does not exist") as missing:
            await client.images.generate(model="gone", prompt="x")
    assert (denied.value.code, missing.value.code) == ("invalid_api_key", "model_not_found")


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ({"inner_error": {"content_filter_results": {"hate": {"filtered": True}}}}, "No. (filtered: hate)"),
        ({"innererror": {"content_filter_result": {"hate": {"filtered": True}}}}, "No. (filtered: hate)"),
        ({"inner_error": {"content_filter_results": {"hate": "yes"}}}, "No."),
        ({"inner_error": {"content_filter_results": []}}, "No."),
        ({"inner_error": "text"}, "No."),
        ({"inner_error": None}, "No."),
    ],
)
def test_what_the_filter_objects_to(inner: dict[str, Any], words: str) -> None:
    class Answered(Bare):
        def body(self) -> dict[str, Any]:
            return {"error": {"code": self.code, "message": self.message, **inner}}

    plugin = loaded({"proxy": {"plugins": ["image_edit", "azure"]}, "plugins": {"azure": TABLE}}).plugins.get_plugin("azure")
    assert isinstance(plugin, Azure)
    made = plugin._refused(Reply(status=400, body=orjson.dumps(Answered(400, "No.", "contentFilter").body())))
    assert (made.message, made.code) == (f"azure: {words}", "content_policy_violation")


@pytest.mark.parametrize(
    ("changed", "where", "what"),
    [
        ({"deployments": {}}, "plugins.azure.deployments", "name at least one"),
        ({"deployments": {"a": "gpt-image-1"}}, "plugins.azure.deployments.a", "'gpt-image-1' is no model"),
        ({"base_url": "https://mine.example/openai/v1/"}, "plugins.azure.base_url", "the resource's alone"),
        ({"base_url": "https://u:p@mine.example"}, "plugins.azure.base_url", "without user"),
    ],
)
def test_a_config_that_is_wrong(changed: dict[str, Any], where: str, what: str) -> None:
    table = {"proxy": {"plugins": ["image_edit", "azure"]}, "plugins": {"azure": {**TABLE, **changed}}}
    with pytest.raises(ConfigError) as caught:
        loaded(table)
    (fault,) = caught.value.faults
    assert fault.where == where
    assert what in fault.what


def test_the_pages_config_loads() -> None:
    text = (DOCS / "azure.md").read_text(encoding="utf-8")
    table = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    loaded(table, environ={"AZURE_OPENAI_API_KEY": "x"})
