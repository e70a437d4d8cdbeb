"""Our own providers pass the suite that we ship; and a provider that is wrong does not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from yarl import URL

from plugins.bytedance import ByteDance
from plugins.image_edit import Call, HostedImage, Image, Job, Provider, Reply, Secret, Steps, hookimpl
from plugins.image_edit.testing import PNG, ProviderConformance
from plugins.sandbox import Sandbox

TEXT = base64.b64encode(PNG).decode()


class TestByteDance(ProviderConformance):
    plugin = ByteDance
    config = {"api_key": "not-a-real-one"}
    model = "seedream-4.5"
    replies = [Reply(body=orjson.dumps({"model": "m", "data": [{"url": "https://storage.example/a"}]}))]


class TestByteDanceInline(TestByteDance):
    model = "seedream-4.0"
    replies = [Reply(body=orjson.dumps({"model": "m", "data": [{"b64_json": TEXT}], "usage": {"output_tokens": 9}}))]


class TestSandbox(ProviderConformance):
    plugin = Sandbox
    replies = [Reply(body=orjson.dumps({"image": TEXT}))]


@dataclass(frozen=True, kw_only=True)
class Good:
    api_key: Secret
    base_url: URL = URL("https://api.good.example")

    name = "good"
    models = frozenset({"good-1"})
    batch = 1
    takes_links = False

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> list[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        reply = yield Call(method="POST", url=self.base_url / "make", headers=self.api_key.bearer(), json=self.body(job))
        yield HostedImage(reply.json["link"])

    def body(self, job: Job) -> dict[str, Any]:
        return {"prompt": job.prompt, "images": [image.base64 for image in job.images]}


class TestGood(ProviderConformance):
    plugin = Good
    config = {"api_key": "very-secret"}
    replies = [Reply(body=b'{"link": "https://storage.example/a"}')]


class KeyInUrl(Good):
    def edit(self, job: Job) -> Steps:
        reply = yield Call(method="POST", url=self.base_url % {"key": self.api_key.reveal()}, json=self.body(job))
        yield HostedImage(reply.json["link"])


class ForgetsThePicture(Good):
    def body(self, job: Job) -> dict[str, Any]:
        return {"prompt": job.prompt}


class ForgetsTheSecondPicture(Good):
    def body(self, job: Job) -> dict[str, Any]:
        return {"prompt": job.prompt, "image": job.images[0].base64}


class ForgetsThePrompt(Good):
    def body(self, job: Job) -> dict[str, Any]:
        return {"images": [image.base64 for image in job.images]}


class GoesElsewhere(Good):
    def edit(self, job: Job) -> Steps:
        reply = yield Call(method="POST", url=URL("https://elsewhere.example"), json=self.body(job))
        yield HostedImage(reply.json["link"])


class Crashes(Good):
    def edit(self, job: Job) -> Steps:
        reply = yield Call(method="POST", url=self.base_url, json=self.body(job))
        if "link" not in reply.json:
            raise RuntimeError("what now?")
        yield HostedImage(reply.json["link"])


class NeverStops(Good):
    def edit(self, job: Job) -> Steps:
        reply = yield Call(method="POST", url=self.base_url, json=self.body(job))
        while reply.body in (b"{}", b"[]"):
            reply = yield Call(method="GET", url=self.base_url)
        yield HostedImage(reply.json["link"])


class MakesPicturesOfNothing(Good):
    def edit(self, job: Job) -> Steps:
        yield Call(method="POST", url=self.base_url, json=self.body(job))
        yield Image(PNG)


class YieldsWhileItIsClosed(Good):
    def edit(self, job: Job) -> Steps:
        try:
            reply = yield Call(method="POST", url=self.base_url, json=self.body(job))
            yield HostedImage(reply.json["link"])
        finally:
            yield Call(method="DELETE", url=self.base_url)


class Different(Good):
    seen: list[int] = []

    def body(self, job: Job) -> dict[str, Any]:
        self.seen.append(1)
        return {**super().body(job), "n": len(self.seen)}


def failing(plugin: type[Any]) -> set[str]:
    """The names of the inherited tests that a provider fails."""
    suite: Any = type("Suite", (TestGood,), {"plugin": plugin, "name": "good"})()
    failed = set()
    for name in dir(suite):
        if name.startswith("test_"):
            test: Callable[[], None] = getattr(suite, name)
            try:
                test()
            except Exception:  # noqa: BLE001  # any way to fail is one
                failed.add(name)
    return failed


@pytest.mark.parametrize(
    ("plugin", "caught"),
    [
        (KeyInUrl, "test_secrets_are_in_headers_only"),
        (ForgetsThePicture, "test_the_reference_is_sent"),
        (ForgetsTheSecondPicture, "test_several_references_are_sent"),
        (ForgetsThePrompt, "test_the_prompt_is_sent"),
        (GoesElsewhere, "test_calls_go_to_its_origins"),
        (Crashes, "test_a_bad_answer_at_any_step_is_an_error_not_a_crash"),
        (NeverStops, "test_a_bad_answer_at_any_step_is_an_error_not_a_crash"),
        (MakesPicturesOfNothing, "test_a_bad_answer_at_any_step_is_an_error_not_a_crash"),
        (YieldsWhileItIsClosed, "test_it_can_be_closed_at_any_step"),
        (Different, "test_the_same_job_makes_the_same_calls"),
    ],
)
def test_a_provider_that_is_wrong_fails(plugin: type[Any], caught: str) -> None:
    assert caught in failing(plugin)


def test_one_that_is_right_does_not() -> None:
    assert failing(Good) == set()
