"""Servers of OpenAI's images API through a running proxy, judged by emulators as strict as the contracts; the client is
OpenAI's SDK, which also judges the emulators themselves."""

from __future__ import annotations

import asyncio
import base64
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse

from proxy_core.testing import loaded, running
from tests.emulators.openai_compatible import FLAVOURS, KEY, MODELS_TO_TRY, Compatible, Cut, Fewer, Hang, Raw, Refuse, setup
from tests.pictures import BLUE, GREEN, RED, opened, png

MODEL = MODELS_TO_TRY[0]
ROOT = Path(__file__).resolve().parent.parent
MASKS = ("sd_cpp", "localai", "deepinfra")


@asynccontextmanager
async def proxied(server: Compatible, image_edit: Any = None, **keys: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    table = setup(server, **keys)
    table["plugins"]["image_edit"].update(image_edit or {})
    config = {"proxy": {"plugins": ["image_edit", "openai_compatible"]}, "plugins": table["plugins"]}
    async with running(config, environ=table["environ"]) as url, sdk(f"{url}/v1", "the-clients-own", 2) as client:
        yield client


def sdk(base_url: str, key: str, retries: int = 0) -> openai.AsyncOpenAI:
    """Without TLS, whose certificates take longer to load than most tests to run."""
    http = openai.DefaultAsyncHttpxClient(verify=False)
    return openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=retries, http_client=http)


@pytest.fixture(params=FLAVOURS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Compatible]:
    async with Compatible(request.param) as server:
        yield server


@pytest.fixture
async def client(server: Compatible) -> AsyncIterator[openai.AsyncOpenAI]:
    async with proxied(server) as client:
        yield client


def images(answer: ImagesResponse) -> list[bytes]:
    assert answer.data is not None
    return [base64.b64decode(item.b64_json or "") for item in answer.data]


def warnings(answer: Any) -> list[str]:
    assert answer.model_extra is not None
    found: list[str] = answer.model_extra["warnings"]
    return found


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def turn(text: str, *pictures: bytes) -> list[Any]:
    urls = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *urls]}]


def strips(made: bytes, count: int) -> list[tuple[int, ...]]:
    """The colour of each reference as the emulator drew it into its result."""
    picture = opened(made)
    width, height = picture.size
    return [picture.getpixel((int((k + 0.5) * (width // count)), height - 8)) for k in range(count)]  # type: ignore[misc]


# --- surfaces ---


@pytest.mark.parametrize("name", MODELS_TO_TRY)
async def test_every_surface(server: Compatible, client: openai.AsyncOpenAI, name: str) -> None:
    """With what clients send by habit; every reference is in the result. Facts 1, 2, 3, 15, 16, 26; names hold slashes."""
    habits: Any = {"quality": "high", "response_format": "b64_json", "user": "someone", "size": "512x512"}
    made = await client.images.generate(model=name, prompt="a lighthouse", **habits)
    one = await client.images.edit(model=name, image=png(), prompt="add a hat", **habits)
    three = await client.images.edit(model=name, image=[png(colour=c) for c in (RED, GREEN, BLUE)], prompt="one scene")
    body = {"model": name, "prompt": "x", "images": [{"image_url": data_url(png(colour=BLUE))}]}
    as_json = await client.post("/images/edits", body=body, cast_to=ImagesResponse)
    chat: Any = await client.chat.completions.create(model=name, messages=turn("add a hat", png(colour=GREEN)))
    stream = await client.chat.completions.create(model=name, messages=turn("a hat", png(), png(colour=BLUE)), stream=True)
    chunks: list[Any] = [chunk async for chunk in stream]

    assert opened(images(made)[0]).size == (512, 512)
    assert strips(images(one)[0], 1) == [RED]
    assert strips(images(three)[0], 3) == [RED, GREEN, BLUE]
    assert strips(images(as_json)[0], 1) == [BLUE]
    url: str = chat.choices[0].message.images[0]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert strips(base64.b64decode(url.partition(",")[2]), 1) == [GREEN]
    streamed: str = chunks[0].choices[0].delta.images[0]["image_url"]["url"]
    assert strips(base64.b64decode(streamed.partition(",")[2]), 2) == [RED, BLUE]
    assert [seen.status for seen in server.requests] == [200] * 6
    assert [len(seen.references) for seen in server.requests] == [0, 1, 3, 1, 1, 2]
    assert [seen.fields["model"] for seen in server.requests] == [MODEL] * 6
    assert warnings(made) == [f"{name} has no parameter 'quality'; it was left out"]


async def test_the_way_of_an_edit(server: Compatible, client: openai.AsyncOpenAI) -> None:
    """Facts 1 and 2: the parts' names, or JSON, as each server wants them."""
    await client.images.edit(model=MODEL, image=[png(), png(colour=BLUE)], prompt="x")
    (seen,) = server.requests
    if server.flavour == "localai":
        assert (seen.path, len(seen.fields["ref_images"])) == ("/v1/images/generations", 2)
    else:
        part = "image" if server.flavour == "deepinfra" else "image[]"
        assert (seen.path, seen.parts) == (f"{server.row.base}/images/edits", [part, part])


async def test_an_octet_stream_is_sniffed(server: Compatible, client: openai.AsyncOpenAI) -> None:
    """Facts 15 and 26: the SDK's bare bytes are `upload`, application/octet-stream."""
    await client.images.edit(model=MODEL, image=("blob", png(kind="JPEG"), "application/octet-stream"), prompt="x")
    assert server.requests[0].claims == ([] if server.flavour == "localai" else ["image/jpeg"])


async def test_keys_stay_where_they_belong(server: Compatible, client: openai.AsyncOpenAI) -> None:
    await client.images.generate(model=MODEL, prompt="x")
    expected = None if server.flavour == "sd_cpp" else f"Bearer {KEY}"
    assert server.requests[0].headers.get("Authorization") == expected
    assert "the-clients-own" not in str(server.requests[0].headers)


async def test_several_pictures(server: Compatible, client: openai.AsyncOpenAI) -> None:
    """Fact 12: in one call where the server knows `n`, in parallel where it does not."""
    answer = await client.images.edit(model=MODEL, image=png(), prompt="x", n=2)
    assert len(images(answer)) == 2
    assert server.pictures == 2
    one_by_one = server.flavour in ("localai", "deepinfra")
    assert [seen.fields.get("n", 1) for seen in server.requests] == ([1, 1] if one_by_one else [2])
    assert strips(images(answer)[1], 1) == [RED]


async def test_masks(server: Compatible, client: openai.AsyncOpenAI) -> None:
    """Fact 13: honoured, or a 400 before anything is made; never dropped."""
    white = png(colour=(255, 255, 255))
    if server.flavour not in MASKS:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.edit(model=MODEL, image=png(), mask=white, prompt="x")
        assert caught.value.param == "mask"
        assert not server.requests
        return
    answer = await client.images.edit(model=MODEL, image=png(), mask=white, prompt="x", size="512x512")
    assert server.requests[0].mask == white
    assert server.requests[0].references == [png()]
    assert strips(images(answer)[0], 1) != [RED]
    left_out = [f"{MODEL} takes no size beside a mask; left out"] if server.flavour == "localai" else []
    assert warnings(answer) == left_out


async def test_shapes(server: Compatible, client: openai.AsyncOpenAI) -> None:
    extra = {"aspect_ratio": "16:9"}
    answer = await client.images.generate(model=MODEL, prompt="x", extra_body=extra)
    assert server.requests[0].fields["size"] == "1360x768"
    assert opened(images(answer)[0]).size == (1360, 768)
    await client.images.generate(model=MODEL, prompt="x", extra_body={"resolution": "0.5K"})
    assert server.requests[1].fields["size"] == "512x512"
    answer = await client.images.generate(model=MODEL, prompt="x", size="500x500")
    assert warnings(answer) == [f"{MODEL} cannot make size 500x500; 496x496 was used"]


WORDS = {"seed": 7, "output_format": "jpeg", "background": "transparent", "negative_prompt": "rain", "num_inference_steps": 9}
TAKEN = {
    "vllm_omni": {"seed", "output_format", "negative_prompt", "num_inference_steps"},
    "sglang": {"seed", "output_format", "negative_prompt", "num_inference_steps"},
    "sd_cpp": {"seed", "output_format", "negative_prompt"},
    "localai": {"negative_prompt"},
    "deepinfra": set[str](),
}


@pytest.mark.parametrize("edit", [False, True], ids=["generate", "edit"])
async def test_the_vocabulary(server: Compatible, client: openai.AsyncOpenAI, edit: bool) -> None:
    """Each word is honoured, or named. A form brings numbers as text (fact 26)."""
    if edit:
        answer = await client.images.edit(model=MODEL, image=png(), prompt="x", extra_body=WORDS)
    else:
        answer = await client.images.generate(model=MODEL, prompt="x", extra_body=WORDS)
    taken = TAKEN[server.flavour]
    (seen,) = server.requests
    told = " ".join(warnings(answer))
    for word in WORDS:
        assert (f"'{word}'" in told) == (word not in taken), word
    values = {**seen.fields, **seen.extra_args}
    if server.flavour == "localai":
        assert values["prompt"] == "x|rain"
    else:
        assert {word: values[word] for word in taken} == {word: WORDS[word] for word in taken}
    expected = "jpeg" if "output_format" in taken else "png"
    assert answer.model_extra is not None
    assert answer.output_format == expected  # as sniffed (fact 15)
    assert opened(images(answer)[0]).size == (512, 512)


async def test_reject_names_the_parameter(server: Compatible) -> None:
    async with proxied(server, {"unsupported": "reject"}) as client:
        for field, value in {"background": "transparent", "size": "500x500"}.items():
            with pytest.raises(openai.BadRequestError) as caught:
                await client.images.generate(model=MODEL, prompt="x", extra_body={field: value})
            assert caught.value.param == field
    assert not server.requests


async def test_too_many_references_are_named(server: Compatible) -> None:
    async with proxied(server, references=2) as client:
        answer = await client.images.edit(model=MODEL, image=[png() for _ in range(3)], prompt="x")
    assert len(server.requests[0].references) == 2
    assert f"{MODEL} takes 2 reference(s), and 3 were sent" in warnings(answer)[0]


# --- links ---


@pytest.mark.parametrize("flavour", ["sglang", "localai"])
@pytest.mark.parametrize("n", [1, 2])
async def test_results_at_the_server_itself_are_fetched_although_it_is_private(flavour: str, n: int) -> None:
    """Fact 31: SGLang's links are relative, LocalAI's lead to its own address; no host is allowed by config."""
    async with Compatible(flavour) as server, proxied(server, response_format="url") as client:
        answer = await client.images.edit(model=MODEL, image=png(), prompt="x", n=n)
        assert strips(images(answer)[0], 1) == [RED]
        assert len(server.downloads) == n
        assert all(seen.headers["Authorization"] == f"Bearer {KEY}" for seen in server.downloads)


async def test_other_private_hosts_stay_out_of_reach() -> None:
    """Facts 18 and 31: a link elsewhere is guarded, whoever tells it; where it is allowed, it is fetched without the key."""
    async with Compatible("sglang") as server:
        server.elsewhere = True
        async with proxied(server, response_format="url") as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.images.generate(model=MODEL, prompt="x")
        assert (caught.value.status_code, caught.value.code) == (502, "image_link_refused")
        assert not server.downloads
        fetch = {"allow_hosts": [f"127.0.0.1:{server.storage.port}"], "retries": []}
        async with proxied(server, {"fetch": fetch}, response_format="url") as client:
            await client.images.generate(model=MODEL, prompt="x")
        assert server.downloads[0].path.endswith("?sig=a%2Fb%3D")  # fact 17
        assert not server.leaks


async def test_a_lost_result_is_not_bought_again() -> None:
    """Fact 19: the SDK asks three times unless told otherwise."""
    async with Compatible("sglang") as server, proxied(server, response_format="url") as client:
        server.lost = True
        with pytest.raises(openai.InternalServerError) as caught:
            await client.images.generate(model=MODEL, prompt="x")
    assert (caught.value.status_code, caught.value.code) == (502, "image_fetch_failed")
    assert "Image not found" in str(caught.value)
    assert server.pictures == 1


async def test_links_of_clients() -> None:
    """Refused unless the operator says that the server may fetch them."""
    link = "https://pictures.example/a.png?sig=a%2Fb"
    parts: Any = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": link}}]
    async with Compatible("vllm_omni") as server:
        async with proxied(server) as client:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])
            assert caught.value.code == "link_not_supported"
        async with proxied(server, link_field="url") as client:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])
        assert [seen.links for seen in server.requests] == [[link]]


# --- errors ---


async def test_a_bad_key(server: Compatible) -> None:
    """Facts 20 and 21: every server's own words, in OpenAI's shape."""
    async with proxied(server, api_key="wrong-key-entirely") as client:
        if server.row.key == "none":
            await client.images.generate(model=MODEL, prompt="x")
            return
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.images.generate(model=MODEL, prompt="x")
    assert (caught.value.code, caught.value.response.headers["X-Upstream-Request-ID"]) == ("invalid_api_key", "req-1")
    assert "Unauthorized" in str(caught.value)
    assert "wrong-key-entirely" not in str(caught.value)


async def test_an_unknown_model(server: Compatible) -> None:
    async with proxied(server, models={"gone": "org/gone"}) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.images.generate(model="gone", prompt="x")
    assert caught.value.code == "model_not_found"
    assert "The model `org/gone` does not exist." in str(caught.value)


async def test_a_bad_parameter(server: Compatible) -> None:
    async with proxied(server, fields=["whatever"]) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model=MODEL, prompt="x", extra_body={"whatever": 1})
    fastapi = server.flavour in ("vllm_omni", "sglang")
    assert caught.value.param == ("whatever" if fastapi else None)
    assert caught.value.code == ("unknown_parameter" if fastapi else "invalid_request")
    assert "Extra inputs are not permitted" in str(caught.value)


async def test_response_format_url_is_a_422_at_vllm_omni() -> None:
    """Fact 3."""
    async with Compatible("vllm_omni") as server, proxied(server, response_format="url") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model=MODEL, prompt="x")
    assert caught.value.param == "response_format"


SOON = {"Retry-After": "0.01"}
POLICY = {"error": {"message": "no", "code": "content_policy_violation"}}


@pytest.mark.parametrize(
    ("fault", "status", "code", "asked"),
    [
        (Refuse(status=500, body={"detail": "CUDA out of memory"}), 500, "upstream_error", 1),
        (Refuse(status=402, body={"detail": {"error": "balance"}}), 429, "insufficient_quota", 1),
        (Refuse(status=429, body={"error": {"message": "slow"}}, headers=SOON), 429, "rate_limit_exceeded", 3),
        (Refuse(status=503, body={"detail": "busy"}, headers=SOON), 503, "overloaded", 3),
        (Refuse(status=503, body={"detail": "busy"}), 503, "overloaded", 1),
        (Refuse(status=400, body=POLICY), 400, "content_policy_violation", 1),
        (Raw(body=b'{"error": {"message": "no", "code": 400}}'), 400, "invalid_request", 1),
        (Raw(body=b"<html>", content_type="text/html"), 502, "invalid_upstream_reply", 1),
        (Raw(body=b""), 502, "invalid_upstream_reply", 1),
        (Raw(body=b'{"created": 1, "data": []}'), 502, "invalid_upstream_reply", 1),
        (Raw(body=b'{"created": 1, "data": [{"b64_json": "bm90IGFuIGltYWdl"}]}'), 502, "invalid_image", 1),
        (Cut(), 502, "upstream_cut", 1),
        (Cut(40), 502, "upstream_cut", 1),
    ],
    ids=["500", "402", "429", "503 and when", "503", "policy", "200", "html", "empty", "no data", "no image", "cut", "in it"],
)
async def test_failures_keep_their_meaning(fault: Any, status: int, code: str, asked: int) -> None:
    """Facts 19, 20, 21: asked again only where nothing was made and asking helps."""
    async with Compatible("vllm_omni") as server, proxied(server) as client:
        server.script(*[fault] * 3)
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.generate(model=MODEL, prompt="x")
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert len(server.requests) == asked
    assert KEY not in str(caught.value.body)


async def test_a_server_that_ignores_n_is_not_believed() -> None:
    """Fact 12."""
    async with Compatible("sd_cpp") as server, proxied(server) as client:
        server.script(Fewer(1))
        answer = await client.images.generate(model=MODEL, prompt="x", n=3)
    assert len(images(answer)) == 1
    assert [text.split(" failed")[0] for text in warnings(answer)] == ["picture 2 of 3", "picture 3 of 3"]


async def test_a_client_that_leaves_cancels_the_upstream() -> None:
    async with Compatible("sglang") as server, proxied(server) as client:
        hang = Hang()
        server.script(hang)
        asked = asyncio.create_task(client.images.generate(model=MODEL, prompt="x"))
        await hang.arrived.wait()
        asked.cancel()
        await asyncio.wait_for(hang.gone.wait(), 2)


async def test_two_servers_side_by_side() -> None:
    async with Compatible("vllm_omni") as one, Compatible("sd_cpp") as other:
        table = setup(one)
        servers = table["plugins"]["openai_compatible"]["servers"]
        servers["small"] = {"base_url": str(other.url), "preset": "sd_cpp", "models": {"sketch": MODEL}}
        config = {"proxy": {"plugins": ["image_edit", "openai_compatible"]}, "plugins": table["plugins"]}
        async with running(config, environ=table["environ"]) as url, sdk(f"{url}/v1", "x") as client:
            await client.images.generate(model=MODEL, prompt="x")
            await client.images.generate(model="sketch", prompt="x")
            listed = [model.id for model in (await client.models.list()).data]
        assert [len(one.requests), len(other.requests)] == [1, 1]
        assert "Authorization" not in other.requests[0].headers
        assert {"sketch", *MODELS_TO_TRY} <= set(listed)


# --- the emulators, judged by OpenAI's SDK without a proxy between ---

Files = Callable[[], Any]


def direct(server: Compatible, key: str = KEY) -> openai.AsyncOpenAI:
    return sdk(str(server.url), key)


async def test_the_sdk_generates(server: Compatible) -> None:
    async with direct(server) as client:
        answer = await client.images.generate(model=MODEL, prompt="x", n=2, size="256x256")
        assert answer.created
        assert answer.data is not None
        assert len(answer.data) == 2
        if server.flavour == "localai":  # links are its default
            assert (answer.data[0].url or "").endswith(".png")
            with pytest.raises(openai.APIStatusError):
                await client.images.generate(model=MODEL, prompt="x", quality="high")


@pytest.mark.parametrize("files", [lambda: png(), lambda: [png()], lambda: [png(), png(), png()]], ids=["one", "list", "three"])
async def test_the_sdk_edits(server: Compatible, files: Files) -> None:
    """Fact 1: the SDK's `image` and `image[]`; DeepInfra knows no brackets, and LocalAI no such path."""
    async with direct(server) as client:
        if server.flavour == "localai" or (server.flavour == "deepinfra" and isinstance(files(), list)):
            with pytest.raises(openai.APIStatusError):
                await client.images.edit(model=MODEL, image=files(), prompt="x")
            return
        answer = await client.images.edit(model=MODEL, image=files(), prompt="x")
        assert answer.data is not None
        assert strips(base64.b64decode((answer.data[0].b64_json or "").rpartition(",")[2]), 1) == [RED]


async def test_the_sdk_is_refused(server: Compatible) -> None:
    async with direct(server, "another") as client:
        if server.row.key == "none":
            await client.images.generate(model=MODEL, prompt="x")
        else:
            with pytest.raises(openai.AuthenticationError):
                await client.images.generate(model=MODEL, prompt="x")
    wrong = [{"n": 11}, {"size": "auto"}, {"quality": "hd"}, {"response_format": "pixels"}, {"watermark": 1}]
    async with direct(server) as client:
        for fields in wrong:
            with pytest.raises(openai.APIStatusError):
                await client.images.generate(model=MODEL, prompt="x", extra_body=fields)
        with pytest.raises(openai.NotFoundError):
            await client.images.generate(model="gpt-image-2", prompt="x")
    assert server.pictures == (1 if server.row.key == "none" else 0)


# --- the operator's page ---


def test_the_snippets_of_the_page_load() -> None:
    page = (ROOT / "docs" / "providers" / "openai_compatible.md").read_text(encoding="utf-8")
    blocks = [block.partition("\n```")[0] for block in page.split("```toml\n")[1:]]
    assert len(blocks) >= 2
    for block in blocks:
        loaded(tomllib.loads(block), environ={"VLLM_KEY": "x", "DEEPINFRA_KEY": "y"})
