"""The whole way of a request for pictures, where the parts meet: what is paid for, what is named, what stays bounded."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import aiohttp
import pytest
from yarl import URL

from plugins.image_edit import Call, HostedImage, Image, Job, Provider, Steps, hookimpl
from proxy_core import Handler, Middleware, Request, Response
from proxy_core.testing import plug, running
from tests.emulators.ark import Ark
from tests.pictures import opened, photograph, png
from tests.upstream import answering, upstream

PLUGINS = ["signing", "image_edit", "sandbox"]


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


async def post(url: URL, path: str, body: Any) -> tuple[int, Any, Any]:
    """(status, body, headers)."""
    async with aiohttp.ClientSession() as http, http.post(url / path, json=body) as response:
        return response.status, json.loads(await response.read()), response.headers


def seedream(ark: Ark, **proxy: Any) -> dict[str, Any]:
    storage = ark.storage.origin
    return {
        "proxy": {"plugins": ["image_edit", "bytedance"], **proxy},
        "plugins": {
            "bytedance": {"api_key": "ark-test-key", "base_url": str(ark.url)},
            "image_edit": {"fetch": {"allow_hosts": [f"{storage.host}:{storage.port}"], "retries": []}},
        },
    }


async def test_a_paid_picture_for_which_memory_runs_out_is_not_offered_again() -> None:
    async with Ark() as ark, running(seedream(ark, limits={"memory": 2_000, "memory_wait": 0.1})) as url:
        status, body, headers = await post(url, "v1/images/generations", {"model": "seedream-4.5", "prompt": "x"})
        assert ark.pictures == 1
    assert status in (413, 503), body
    assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize("given", ["true", "false"])
async def test_a_boolean_of_a_form_is_a_boolean_upstream(given: str) -> None:
    async with Ark() as ark, running(seedream(ark)) as url, aiohttp.ClientSession() as http:
        form = aiohttp.FormData({"model": "seedream-4.5", "prompt": "x", "watermark": given})
        form.add_field("image", png(), filename="a.png")
        async with http.post(url / "v1/images/edits", data=form) as response:
            assert response.status == 200, await response.text()
        assert (ark.requests[0].json or {})["watermark"] is (given == "true")


@pytest.mark.parametrize(
    ("model", "name", "value", "legal"),
    [
        ("seedream-5.0-lite", "output_format", "webp", "jpeg, png"),
        ("seedream-5.0-pro", "output_format", "gif", "jpeg, png"),
        ("seedream-4.5", "seed", 2**62, "-1 to 2147483647"),
    ],
)
async def test_a_value_that_a_model_cannot_take_is_named(model: str, name: str, value: object, legal: str) -> None:
    body = {"model": model, "prompt": "x", name: value}
    async with Ark() as ark:
        async with running(seedream(ark)) as url:
            status, answer, _ = await post(url, "v1/images/generations", body)
        assert status == 200
        assert answer["warnings"] == [f"{model} cannot make {name} '{value}'; it was left out"]
        assert name not in (ark.requests[0].json or {})
        config = seedream(ark)
        config["plugins"]["image_edit"]["unsupported"] = "reject"
        async with running(config) as url:
            status, answer, _ = await post(url, "v1/images/generations", body)
        assert (status, answer["error"]["param"]) == (400, name)
        assert f"it may be {legal}" in answer["error"]["message"]
        assert len(ark.requests) == 1


@pytest.mark.parametrize(
    ("asked", "made"), [("5000x5000", (4096, 4096)), ("10x20", (16, 32)), ("1K", (1024, 1024)), ("640*480", (640, 480))]
)
async def test_the_sandbox_maps_sizes(asked: str, made: tuple[int, int]) -> None:
    async with running({"proxy": {"plugins": PLUGINS}}) as url:
        status, body, _ = await post(url, "v1/images/generations", {"model": "sandbox", "prompt": "a sun", "size": asked})
    assert status == 200, body
    assert opened(base64.b64decode(body["data"][0]["b64_json"])).size == made


async def test_an_earlier_turns_files_do_not_break_the_conversation() -> None:
    earlier = [{"type": "file", "file": {}}, {"type": "image_url", "image_url": 7}, {"type": "text", "text": "grayscale"}]
    messages = [{"role": "user", "content": earlier}, {"role": "user", "content": "a red sun"}]
    async with running({"proxy": {"plugins": PLUGINS}}) as url:
        status, body, _ = await post(url, "v1/chat/completions", {"model": "sandbox", "messages": messages, "size": "64x64"})
        assert status == 200, body
        bad = [{"role": "user", "content": earlier}]
        status, body, _ = await post(url, "v1/chat/completions", {"model": "sandbox", "messages": bad})
    assert (status, body["error"]["param"]) == (400, "messages[0].content[0]")


async def test_names_and_numbers_of_fields_are_bounded() -> None:
    async with running({"proxy": {"plugins": PLUGINS}}) as url:
        body: dict[str, Any] = {"model": "sandbox", "prompt": "a sun", "size": "16x16", "k" * 1_000_000: 1}
        status, answer, headers = await post(url, "v1/images/generations", body)
        assert status == 200
        assert len(answer["warnings"][0]) < 300
        assert len(headers["Darkroom-Warnings"]) <= 1024
        many = {"model": "sandbox", "prompt": "x", **{f"k{n}": 1 for n in range(1000)}}
        assert (await post(url, "v1/images/generations", many))[1]["error"]["code"] == "too_many_fields"
        long = {"model": "sandbox", "prompt": "x" * 40_000}
        assert (await post(url, "v1/images/generations", long))[1]["error"]["code"] == "string_above_max_length"


async def test_clients_that_leave_do_not_pile_up_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's threads stay the bound that they are said to be."""
    at_once = most = 0
    lock = threading.Lock()
    release = threading.Event()
    busy = threading.Event()

    def slow(*args: Any, **more: Any) -> bytes:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        busy.set()
        release.wait(20)
        with lock:
            at_once -= 1
        return png()

    monkeypatch.setattr("plugins.sandbox.pixels.edit", slow)
    body = {"model": "sandbox", "prompt": "x"}
    async with running({"proxy": {"plugins": PLUGINS}, "plugins": {"sandbox": {"threads": 1}}}) as url:
        for _ in range(5):
            asked = asyncio.create_task(post(url, "v1/images/generations", body))
            await asyncio.to_thread(busy.wait, 20)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        release.set()
        assert (await post(url, "v1/images/generations", body))[0] == 200
    assert most == 1


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A provider whose steps a test gives; it answers itself."""

    steps: ClassVar[Any]
    name = "odd"
    models = frozenset({"odd-1"})
    batch = 1
    takes_links = False
    origins = (URL("http://odd.invalid"),)

    @hookimpl
    def image_edit_providers(self) -> list[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        steps: Steps = type(self).steps()
        return steps

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def answer(request: Request, next: Handler) -> Response:
            if request.origin != self.origins[0]:
                return await next(request)
            return Response.json({"error": {"message": "the key SECRET-KEY-1234 is bad"}}, status=401)

        return answer


CALL = Call(method="GET", url=URL("http://odd.invalid/x"), headers={"Authorization": "Bearer SECRET-KEY-1234"})


async def odd(steps: Any) -> tuple[int, Any, Any]:
    plugin = type("Odd", (Odd,), {"steps": staticmethod(steps)})
    async with running({"proxy": {"plugins": ["image_edit", "odd"]}}, plug(odd=plugin)) as url:
        return await post(url, "v1/images/generations", {"model": "odd-1", "prompt": "x"})


async def test_a_key_that_a_service_repeats_is_not_shown() -> None:
    def steps() -> Iterator[Any]:
        yield CALL

    status, body, _ = await odd(steps)
    assert (status, body["error"]["message"]) == (401, "odd: the key *** is bad")


@pytest.mark.parametrize("url", [5, None, ["x"]])
async def test_a_link_that_is_none_is_a_bad_gateway(url: Any) -> None:
    def steps() -> Iterator[Any]:
        yield HostedImage(url)

    status, body, _ = await odd(steps)
    assert (status, body["error"]["code"]) == (502, "invalid_upstream_reply")


def fails() -> Iterator[Any]:
    raise RuntimeError("a slip")
    yield


def yields_nonsense() -> Iterator[Any]:
    yield "hello"


def strays() -> Iterator[Any]:
    yield Call(method="GET", url=URL("http://elsewhere.invalid/"))


@pytest.mark.parametrize("steps", [fails, yields_nonsense, strays, list, lambda: None])
async def test_a_providers_own_fault_names_it_in_the_log_alone(steps: Any, caplog: pytest.LogCaptureFixture) -> None:
    status, body, headers = await odd(steps)
    assert (status, body["error"]["message"]) == (500, "internal error")
    assert headers["x-should-retry"] == "false"
    assert "plugin odd failed" in caplog.text


async def test_what_was_made_before_a_fault_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    def steps() -> Iterator[Any]:
        yield Image(png())
        raise RuntimeError("a slip")

    status, body, _ = await odd(steps)
    assert status == 200
    assert base64.b64decode(body["data"][0]["b64_json"]) == png()
    assert "failed: internal error" in body["warnings"][0]
    assert "a slip" in caplog.text


async def test_the_requests_bytes_are_let_go_while_the_service_works(caplog: pytest.LogCaptureFixture) -> None:
    import gc

    caplog.set_level(logging.INFO)
    photo = photograph(0.5)
    found: list[int] = []

    def steps() -> Iterator[Any]:
        gc.collect()
        held = [one for one in gc.get_objects() if isinstance(one, Request) and one.exchange.method == "POST"]
        found.extend(one.body.size or 0 for one in held if one.body.in_hand)  # a stream that was read holds nothing
        yield Image(png())

    plugin = type("Odd", (Odd,), {"steps": staticmethod(steps)})
    body = {"model": "odd-1", "prompt": "x", "image": data_url(photo)}
    async with running({"proxy": {"plugins": ["image_edit", "odd"]}}, plug(odd=plugin)) as url:
        status, _, _ = await post(url, "v1/images/edits", body)
    assert status == 200
    assert found
    assert max(found) < len(photo)


async def test_our_request_id_is_returned_and_the_upstreams_beside_it() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nContent-Length: 2\r\n\r\n{}"
    async with upstream(answering(answer)) as up:
        async with running({"proxy": {"routes": {"/v1": {"upstream": up.url}}}}) as url, aiohttp.ClientSession() as http:
            async with http.get(url / "v1/x", headers={"X-Request-ID": "mine"}) as response:
                assert response.headers.getall("X-Request-ID") == ["mine"]
                assert response.headers["X-Upstream-Request-ID"] == "theirs"


async def test_none_of_the_clients_credentials_pass_where_none_shall() -> None:
    names = ("Authorization", "api-key", "x-api-key", "x-goog-api-key", "Cookie", "OpenAI-Organization", "OpenAI-Project")
    async with upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as up:
        config = {"proxy": {"routes": {"/v1": {"upstream": up.url, "credentials": "none"}}}}
        async with running(config) as url, aiohttp.ClientSession() as http:
            async with http.get(url / "v1/x", headers=dict.fromkeys(names, "of-the-client")) as response:
                assert response.status == 200
    assert b"of-the-client" not in up.peers[0].head


async def test_a_reply_that_cannot_be_held_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.image_edit.drive.REPLY_LIMIT", 100)
    asked = 0

    class Large(Odd):
        @staticmethod
        def steps() -> Iterator[Any]:
            yield CALL

        @hookimpl
        def proxy_middleware(self) -> Middleware:
            async def answer(request: Request, next: Handler) -> Response:
                nonlocal asked
                if request.origin != self.origins[0]:
                    return await next(request)
                asked += 1
                return Response.json({"a": "x" * 1000})

            return answer

    async with running({"proxy": {"plugins": ["image_edit", "odd"]}}, plug(odd=Large)) as url:
        status, _, headers = await post(url, "v1/images/generations", {"model": "odd-1", "prompt": "x"})
    assert (status, headers["x-should-retry"], asked) == (413, "false", 1)
