"""How the Ark emulator delivers: links to results, streams, and the faults that tests ask for."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.emulators.ark import Ark, Break, Cut, Fault, Hang, ItemErrors, Raw, Refuse
from tests.emulators.ark_cases import AUTO, KEY, LITE, V4, V45, fetch, generate


@pytest.fixture
async def ark() -> AsyncIterator[Ark]:
    async with Ark() as ark:
        yield ark


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        yield http


async def link(http: aiohttp.ClientSession, ark: Ark) -> str:
    _, answer = await generate(http, ark)
    url = answer["data"][0]["url"]
    assert isinstance(url, str)
    return url


async def test_results_have_an_origin_of_their_own(ark: Ark, http: aiohttp.ClientSession) -> None:
    url = await link(http, ark)
    assert URL(url).origin() != ark.url.origin()
    assert all(mark in url for mark in ("%2F", "%3D", "&"))
    assert (await fetch(ark, url))[0] == 200
    assert (await fetch(ark, url.replace("_0.", "_1.")))[0] == 404


async def test_a_link_that_was_written_anew_is_denied(ark: Ark, http: aiohttp.ClientSession) -> None:
    url = await link(http, ark)
    async with aiohttp.ClientSession() as anyone, anyone.get(url) as response:  # the client's own quoting
        assert response.status == 403
        assert (await response.json())["Code"] == "AccessDenied"
    for changed in (url.replace("%2F", "/"), url.replace("%3D", "="), url.replace("%2b", "%2B"), f"{url}&x=1",
                    url.replace("&", "&amp;"), url.partition("?")[0]):
        assert (await fetch(ark, changed))[0] == 403
    assert [download.status for download in ark.downloads] == [403] * 7
    assert (await fetch(ark, url))[0] == 200
    assert ark.downloads[-1].target == url.removeprefix(str(URL(url).origin()))


async def test_credentials_at_the_storage_are_a_leak(ark: Ark, http: aiohttp.ClientSession) -> None:
    url = await link(http, ark)
    assert (await fetch(ark, url, Authorization="Bearer x"))[0] == 400
    assert (await fetch(ark, url, **{"X-Api-Key": KEY}))[0] == 400
    assert (await fetch(ark, f"{url}&key={KEY}"))[0] == 400
    assert (await fetch(ark, url))[0] == 200
    assert ark.leaks == ark.downloads[:3]


async def test_a_result_may_come_late(ark: Ark, http: aiohttp.ClientSession) -> None:
    ark.missing = 2
    first, second = await link(http, ark), await link(http, ark)
    assert [(await fetch(ark, first))[0] for _ in range(4)] == [404, 404, 200, 200]
    assert (await fetch(ark, second))[0] == 404


@pytest.mark.parametrize(("status", "code", "kind"), [
    (400, "OutputImageSensitiveContentDetected", "BadRequest"), (403, "AccountOverdueError", "Forbidden"),
    (404, "ModelNotOpen", "NotFound"), (429, "RateLimitExceeded.EndpointRPMExceeded", "TooManyRequests"),
    (500, "InternalServiceError", "InternalServerError")])
async def test_refuse(ark: Ark, http: aiohttp.ClientSession, status: int, code: str, kind: str) -> None:
    ark.script(Refuse(status=status, code=code, message="No.", headers={"Retry-After": "1"}))
    assert (await generate(http, ark, size="1:1"))[0] == 400  # a bad request does not use the fault up
    async with http.post(ark.url / "images/generations", json={"model": V4, "prompt": "x"}) as response:
        error = (await response.json())["error"]
        assert (response.status, response.headers["Retry-After"]) == (status, "1")
    message = f"No. Request id: {ark.requests[1].request_id}"
    assert error == {"code": code, "message": message, "param": "", "type": kind}
    assert (await generate(http, ark))[0] == 200
    assert ark.pictures == 1


async def test_item_errors(ark: Ark, http: aiohttp.ClientSession) -> None:
    ark.script(ItemErrors(), ItemErrors(outcomes=(True, False)))
    status, answer = await generate(http, ark)
    error, = answer["data"]
    assert (status, error["error"]["code"], ark.pictures) == (200, "OutputImageSensitiveContentDetected", 0)
    assert answer["usage"] == {"generated_images": 0, "output_tokens": 0, "total_tokens": 0}
    _, answer = await generate(http, ark)
    assert [set(item) for item in answer["data"]] == [{"url", "size"}, {"error"}]
    assert ark.pictures == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b'{"data": []}', b"null"])
async def test_raw(ark: Ark, http: aiohttp.ClientSession, body: bytes) -> None:
    ark.script(Raw(body=body, content_type="text/html"))
    async with http.post(ark.url / "images/generations", json={"model": V4, "prompt": "x"}) as response:
        assert (response.status, response.content_type, await response.read()) == (200, "text/html", body)
    assert ark.pictures == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_cut(ark: Ark, http: aiohttp.ClientSession, stream: bool) -> None:
    ark.script(Cut(), Cut(when="body"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await generate(http, ark, stream=stream)
    body = {"model": V4, "prompt": "x", "stream": stream}
    async with http.post(ark.url / "images/generations", json=body) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert [(seen.status, seen.pictures) for seen in ark.requests] == [(0, 1), (0, 1)]
    assert (await generate(http, ark))[0] == 200


async def test_hang_until_released(ark: Ark, http: aiohttp.ClientSession) -> None:
    ark.script(hang := Hang())
    call = asyncio.create_task(generate(http, ark))
    await hang.arrived.wait()
    assert ark.requests[0].status == 0
    hang.release.set()
    assert (await call)[0] == 200
    assert not ark.requests[0].gone


async def test_hang_notices_that_the_client_left(ark: Ark, http: aiohttp.ClientSession) -> None:
    ark.script(hang := Hang())
    call = asyncio.create_task(generate(http, ark))
    await hang.arrived.wait()
    call.cancel()
    await asyncio.wait_for(hang.gone.wait(), 5)
    assert ark.requests[0].gone
    assert ark.pictures == 0


async def test_closing_releases_who_hangs() -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        async with Ark() as ark:
            ark.script(hang := Hang())
            call = asyncio.create_task(generate(http, ark))
            await hang.arrived.wait()
        await asyncio.wait([call])
        assert call.exception() is None or isinstance(call.exception(), aiohttp.ClientError)
        assert not ark.requests[0].gone


async def events(http: aiohttp.ClientSession, ark: Ark, model: str = V4, /, **fields: object) -> list[Any]:
    """The stream's frames; each is its JSON, and the last its text if it is none."""
    body = {"model": model, "prompt": "x", "stream": True, **fields}
    async with http.post(ark.url / "images/generations", json=body) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        *frames, rest = (await response.text()).split("\n\n")
    assert rest == ""
    datas = [line.removeprefix("data: ") for frame in frames for line in frame.split("\n") if line.startswith("data: ")]
    assert len(datas) == len(frames)
    assert all(frame.startswith("event: image_generation.") is ark.event_lines for frame in frames[:-1])
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


@pytest.mark.parametrize("model", [V4, V45, LITE])
async def test_stream(ark: Ark, http: aiohttp.ClientSession, model: str) -> None:
    ark.event_lines = model != V45
    first, second, completed, done = await events(
        http, ark, model, sequential_image_generation="auto", sequential_image_generation_options={"max_images": 2})
    assert [event.pop("image_index") for event in (first, second)] == [0, 1]
    assert first["type"] == second["type"] == "image_generation.partial_succeeded"
    assert set(first) == {"type", "model", "created", "url", "size"}
    assert (await fetch(ark, second["url"]))[0] == 200
    assert set(completed) == {"type", "model", "created", "usage"}
    assert (completed["type"], completed["usage"]["generated_images"]) == ("image_generation.completed", 2)
    assert (done, ark.pictures, ark.requests[0].status) == ("[DONE]", 2, 200)


async def test_stream_of_base64_and_tools(ark: Ark, http: aiohttp.ClientSession) -> None:
    tools = [{"type": "web_search"}]
    picture_event, completed, _ = await events(http, ark, LITE, response_format="b64_json", tools=tools)
    assert base64.b64decode(picture_event["b64_json"], validate=True)[:2] == b"\xff\xd8"
    assert completed["tools"] == tools


async def test_stream_goes_on_after_a_refused_picture(ark: Ark, http: aiohttp.ClientSession) -> None:
    ark.script(ItemErrors(outcomes=(False, True)))
    failed, made, completed, _ = await events(http, ark)
    assert (failed["type"], failed["image_index"]) == ("image_generation.partial_failed", 0)
    assert set(failed["error"]) == {"code", "message"}
    assert (made["type"], made["image_index"]) == ("image_generation.partial_succeeded", 1)
    assert completed["usage"]["generated_images"] == ark.pictures == 1


async def test_stream_ends_with_an_error(ark: Ark, http: aiohttp.ClientSession) -> None:
    ark.event_lines = False
    ark.script(Break(after=1), Break())
    made, error = await events(http, ark, **AUTO)
    assert made["type"] == "image_generation.partial_succeeded"
    assert error["error"]["code"] == ark.requests[0].code == "InternalServiceError"
    assert ark.pictures == 1
    status, answer = await generate(http, ark)  # without a stream
    assert (status, answer["error"]["code"]) == (500, "InternalServiceError")


async def test_hang_and_refuse_before_a_stream(ark: Ark, http: aiohttp.ClientSession) -> None:
    faults: list[Fault] = [Hang(), Refuse(status=429, code="QuotaExceeded")]
    ark.script(*faults)
    assert isinstance(faults[0], Hang)
    faults[0].release.set()
    assert len(await events(http, ark)) == 3
    assert (await generate(http, ark, stream=True))[0] == 429
