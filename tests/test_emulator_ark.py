"""The Ark emulator is as strict as its contract says, seen over real sockets."""

import base64
import hashlib
import io
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from PIL import Image

from tests.emulators.ark import Ark
from tests.emulators.ark_cases import (
    AUTO,
    BAD,
    EDIT,
    FLASH,
    KEY,
    LINK,
    LITE,
    PRO,
    RED,
    T3,
    TABLE,
    V4,
    V45,
    V55,
    fetch,
    generate,
    picture,
    uri,
)
from tests.emulators.ark_rules import FIELDS, MODELS

GROUP_REFUSED = ("The parameter `sequential_image_generation` specified in the request are not valid: "
                 "the parameter `sequential_image_generation` is not supported by the current model.")


@pytest.fixture
async def ark() -> AsyncIterator[Ark]:
    async with Ark(endpoints={"ep-1-a": V45, "ep-1-b": PRO}) as ark:
        yield ark


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        yield http


def label(change: dict[str, object]) -> str:
    return re.sub(r"(,[^\"]{12})[^\"]+", r"\1...", json.dumps(change))[:90]


@pytest.mark.parametrize(
    ("model", "change", "code"),
    [pytest.param(model, change, code, id=f"{model}-{label(change)}-{code or 'ok'}")
     for models, change, code in TABLE for model in models])
async def test_matrix(ark: Ark, http: aiohttp.ClientSession, model: str, change: dict[str, object], code: str) -> None:
    status, answer = await generate(http, ark, model, **change)
    seen = ark.requests[0]
    assert (seen.status, seen.code) == (status, code)
    if not code:
        assert status == 200, answer
        assert ark.pictures == seen.pictures == len(answer["data"])
        return
    error = answer["error"]
    expected = 404 if code in {"InvalidEndpoint.NotFound", "ModelNotOpen"} else 400
    assert (status, error["code"], ark.pictures) == (expected, code, 0), error
    assert set(error) == {"code", "message", "param", "type"}
    assert error["message"].endswith(f" Request id: {seen.request_id}")


@pytest.mark.parametrize(("model", "length", "expected"), [
    (V4, 10_000_000, 200), (V4, 10_000_001, 400), (EDIT, 10_000_001, 400), (FLASH, 10_000_001, 400),
    (V55, 10_000_001, 400), (PRO, 10_000_001, 200), (PRO, 30_000_001, 400)])
async def test_bytes_of_a_reference(
        ark: Ark, http: aiohttp.ClientSession, model: str, length: int, expected: int) -> None:
    jpeg = picture(kind="jpeg")  # readers pass over what follows its end
    assert (await generate(http, ark, model, image=uri(jpeg.ljust(length, b"\0"), "jpeg")))[0] == expected


@pytest.mark.parametrize(("model", "change", "message"), [
    (V45, {"size": "1024x1024"},
     "The parameter `size` specified in the request is not valid: image size must be at least 3686400 pixels."),
    (V45, {"size": "1K"}, ("The parameter `size` specified in the request is not valid: "
                           "the specified size is not supported for model doubao-seedream-4-5.")),
    (PRO, {"sequential_image_generation": "disabled"}, GROUP_REFUSED),
])
async def test_documented_messages(
        ark: Ark, http: aiohttp.ClientSession, model: str, change: dict[str, object], message: str) -> None:
    _, answer = await generate(http, ark, model, **change)
    assert answer["error"]["message"] == f"{message} Request id: {ark.requests[0].request_id}"


async def test_the_vendor_sdks_nulls_are_absent_fields(ark: Ark, http: aiohttp.ClientSession) -> None:
    nulls: dict[str, object] = dict.fromkeys(FIELDS - {"model", "prompt"})
    for model in set(MODELS) - {EDIT, f"doubao-{EDIT}"}:
        assert (await generate(http, ark, model, **nulls))[0] == 200, model
    assert all(seen.watermarked for seen in ark.requests)  # a null is no refusal of the mark


async def test_lenient_about_names_nobody_documents() -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with Ark(strict_unknown=False) as ark, aiohttp.ClientSession(headers=headers) as http:
        assert (await generate(http, ark, PRO, quality="high", n=2, seed=1, stream=False))[0] == 200
        assert ark.requests[0].ignored == ["quality", "n", "seed"]
        assert (await generate(http, ark, PRO, sequential_image_generation="auto"))[0] == 400


async def test_fields_to_no_effect_are_told(ark: Ark, http: aiohttp.ClientSession) -> None:
    assert (await generate(http, ark, V4, n=1, guidance_scale=99, output_format="png", size="2K"))[0] == 200
    assert (await generate(http, ark, T3, stream=True, seed=1, **AUTO))[0] == 200
    assert [seen.ignored for seen in ark.requests] == [
        ["n", "guidance_scale", "output_format"], ["stream", "sequential_image_generation"]]


@pytest.mark.parametrize("header", [None, "Bearer wrong", KEY, f"bearer  {KEY}", f"Basic {KEY}"])
async def test_auth(ark: Ark, header: str | None) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": header} if header else {}) as http:
        status, answer = await generate(http, ark)
    assert (status, answer["error"]["code"], answer["error"]["type"]) == (401, "AuthenticationError", "Unauthorized")


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "images/edits"), ("GET", "images/edits"), ("OPTIONS", "images/edits"), ("GET", "images/generations"),
    ("POST", "images/generations/"), ("POST", "chat/completions"), ("GET", "models")])
async def test_there_is_one_path(ark: Ark, http: aiohttp.ClientSession, method: str, path: str) -> None:
    async with http.request(method, f"{ark.url}/{path}") as response:
        assert (response.status, await response.read(), response.headers["server"]) == (404, b"", "istio-envoy")
    assert (ark.requests[0].method, ark.requests[0].path) == (method, f"/api/v3/{path}")


@pytest.mark.parametrize(("kind", "data"), [
    ("application/json", b""), ("application/json", b"{"), ("application/json", b"[]"), ("application/json", b"null"),
    ("application/json", b'{"model": NaN}'), ("application/json", b"\xff"), ("application/json", b"[" * 100_000),
    ("text/plain", json.dumps({"model": V4, "prompt": "x"}).encode()),
    ("application/x-www-form-urlencoded", f"model={V4}&prompt=x".encode())])
async def test_json_only(ark: Ark, http: aiohttp.ClientSession, kind: str, data: bytes) -> None:
    async with http.post(ark.url / "images/generations", data=data, headers={"Content-Type": kind}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, BAD)
    assert ark.requests[0].raw == data


async def test_no_multipart(ark: Ark, http: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData({"model": V4, "prompt": "x"})
    form.add_field("image", picture(), filename="a.png", content_type="image/png")
    async with http.post(ark.url / "images/generations", data=form) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, BAD)


async def test_answer(ark: Ark, http: aiohttp.ClientSession) -> None:
    body = {"model": "ep-1-a", "prompt": "a lighthouse", "size": "2560x1440", "watermark": False, "n": 2}
    async with http.post(ark.url / "images/generations", json=body) as response:
        answer = await response.json()
        assert response.headers["X-Request-Id"] == ark.requests[0].request_id
    assert answer["model"] == V45  # not the endpoint's id
    assert set(answer) == {"model", "created", "data", "usage"}
    assert answer["usage"] == {"generated_images": 1, "output_tokens": 14400, "total_tokens": 14400}
    assert [set(item) for item in answer["data"]] == [{"url", "size"}]
    assert answer["data"][0]["size"] == "2560x1440"
    seen = ark.requests[0]
    assert (seen.json, seen.watermarked, seen.ignored, seen.gone) == (body, False, ["n"], False)
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    status, data = await fetch(ark, answer["data"][0]["url"])
    with Image.open(io.BytesIO(data)) as drawn:
        assert (status, drawn.format, drawn.size) == (200, "JPEG", (256, 144))


@pytest.mark.parametrize(("model", "fields", "kind", "size"), [
    (V4, {}, "JPEG", "2048x2048"), (V4, {"output_format": "png"}, "JPEG", "2048x2048"), (T3, {}, "JPEG", "1024x1024"),
    (LITE, {"output_format": "png"}, "PNG", "2048x2048"), (PRO, {}, "JPEG", "1024x1024"),
    (PRO, {"size": "1.5K"}, "JPEG", "1536x1536"), (V55, {}, "PNG", "2048x2048"),
    (V55, {"output_format": "jpeg"}, "JPEG", "2048x2048"), (LITE, {"size": "3K"}, "JPEG", "3072x3072"),
    (EDIT, {"image": uri(picture(80, 60))}, "JPEG", "80x60"), (EDIT, {"image": LINK}, "JPEG", "1024x1024"),
    (V55, {"background": "transparent"}, "PNG", "2048x2048"),
])
async def test_base64_pictures(ark: Ark, http: aiohttp.ClientSession, model: str, fields: dict[str, object], kind: str,
                               size: str) -> None:
    _, answer = await generate(http, ark, model, response_format="b64_json", **fields)
    item, = answer["data"]
    with Image.open(io.BytesIO(base64.b64decode(item["b64_json"], validate=True))) as drawn:
        assert (drawn.format, drawn.has_transparency_data) == (kind, "background" in fields)
    assert (item["size"], item.get("output_format", kind.lower())) == (size, kind.lower())


async def test_pictures_tell_their_request(ark: Ark, http: aiohttp.ClientSession) -> None:
    async def made(**fields: object) -> bytes:
        _, answer = await generate(http, ark, response_format="b64_json", **fields)
        return base64.b64decode(answer["data"][0]["b64_json"])

    blue = uri(picture(color="blue"))
    pictures = [await made(), await made(prompt="a mill"), await made(image=RED), await made(image=[RED, blue]),
                await made(image=[blue, RED]), await made(image=LINK), await made(image="https://example.com/2")]
    assert len(set(pictures)) == len(pictures)
    assert await made() == pictures[0]
    with Image.open(io.BytesIO(pictures[3])) as red_first, Image.open(io.BytesIO(pictures[4])) as blue_first:
        assert _mean(red_first)[0] > 150 > 80 > _mean(red_first)[2]
        assert _mean(blue_first)[2] > 150 > 80 > _mean(blue_first)[0]


def _mean(drawn: Image.Image) -> list[float]:
    pixel = drawn.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return list(pixel)


async def test_references_are_recorded(ark: Ark, http: aiohttp.ClientSession) -> None:
    data = picture(80, 60, "jpeg")
    _, answer = await generate(http, ark, image=[uri(data, "png"), LINK])
    first, second = ark.requests[0].references
    assert (first.declared, first.format, first.size, first.length) == ("png", "jpeg", (80, 60), len(data))
    assert first.sha256 == hashlib.sha256(data).hexdigest()
    assert (second.link, second.sha256) == (LINK, "")
    assert answer["usage"]["input_images"] == 2


async def test_links_can_be_fetched() -> None:
    async def fetch_link(link: str) -> bytes | None:
        return {LINK: picture(30, 20), "https://example.com/page": b"<html>"}.get(link)

    async with Ark(fetch=fetch_link) as ark, aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        assert (await generate(http, ark, image=LINK))[0] == 200
        assert (ark.requests[0].references[0].size, ark.requests[0].references[0].link) == ((30, 20), LINK)
        for link in ("https://example.com/page", "https://example.com/nothing"):
            status, answer = await generate(http, ark, image=link)
            assert (status, answer["error"]["code"]) == (400, BAD)
            assert "`image`" in answer["error"]["message"]


async def test_groups(ark: Ark, http: aiohttp.ClientSession) -> None:
    for limit, count in ((2, 2), (5, 3)):  # the model decides; `group` is what it decides on
        _, answer = await generate(http, ark, V4, sequential_image_generation_options={"max_images": limit}, **AUTO)
        assert len({item["url"] for item in answer["data"]}) == answer["usage"]["generated_images"] == count
    ark.group = 20
    _, answer = await generate(http, ark, image=[LINK] * 10, **AUTO)
    assert len(answer["data"]) == 5
    assert ark.pictures == 10


def test_endpoints_name_models() -> None:
    with pytest.raises(ValueError, match="seedream-9"):
        Ark(endpoints={"ep-1": "seedream-9"})
