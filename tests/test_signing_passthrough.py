"""Answers that only pass through, signed where the operator wants it; and whatever an upstream forges is not taken for ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from multidict import CIMultiDict
from yarl import URL

from plugins.signing.check import INCOMPLETE, INVALID, VALID, Evidence, verify
from plugins.signing.keys import Known, PrivateKey, generate, read_keys
from plugins.signing.passthrough import StreamSeal, watch
from plugins.signing.store import Store
from proxy_core import Body, Exchange, Request, Response, State
from proxy_core.testing import running
from tests.operating import soon
from tests.upstream import Peer, Script, Upstream, upstream

EVENTS = b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\ndata: {"choices":[{"delta":{"content":"lo"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def head(kind: str, *fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {kind}", *fields, "", ""]).encode()


def streaming(*chunks: bytes, kind: str = "text/event-stream", fields: Sequence[str] = ()) -> Script:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(head(kind, "Transfer-Encoding: chunked", "Connection: close", *fields) + chunked(*chunks))

    return script


@asynccontextmanager
async def passing(script: Script, **signing: Any) -> AsyncIterator[tuple[URL, Upstream]]:
    async with upstream(script) as there:
        routes = {"/v1": {"upstream": there.url}}
        config = {"proxy": {"plugins": ["signing"], "routes": routes}, "plugins": {"signing": signing}}
        async with running(config) as url:
            yield url, there


BODY = b'{"model":"gpt","stream":true}'


async def asked(url: URL, **headers: str) -> tuple[bytes, dict[str, str], list[Known]]:
    async with aiohttp.ClientSession() as http:
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            keys = read_keys(await response.read())
        more = {"Content-Type": "application/json", **headers}
        async with http.post(url / "v1/chat/completions", data=BODY, headers=more) as response:
            return await response.read(), dict(response.headers), keys


async def test_a_stream_has_its_receipt_before_done() -> None:
    async with passing(streaming(EVENTS, DONE), passthrough_streams=True) as (url, there):
        body, _, keys = await asked(url, **{"Darkroom-Nonce": "n"})
        assert b"accept-encoding: identity\r\n" in there.peers[0].head.lower()
    assert body.startswith(EVENTS + b": darkroom-receipt {")
    assert body.endswith(b"}\n" + DONE)
    verdict = verify(Evidence(saved=[body], keys=keys, request=BODY, nonce="n"))
    assert verdict.code == VALID, verdict.lines
    assert verdict.statement is not None
    assert verdict.statement["subject"][0]["digest"]["sha256"] == hashlib.sha256(EVENTS).hexdigest()
    changed = body.replace(b"Hel", b"Hal")
    assert verify(Evidence(saved=[changed], keys=keys)).code == INVALID
    assert verify(Evidence(saved=[body], keys=keys, request=b"{}")).code == INVALID


CUTS = {
    "whole": [EVENTS + DONE],
    "byte by byte": [bytes([byte]) for byte in EVENTS + DONE],
    "within done": [EVENTS + b"data: [DO", b"NE]\n\n"],
    "before its line break": [EVENTS + b"data: [DONE]", b"\n\n"],
    "crlf": [EVENTS.replace(b"\n", b"\r\n") + b"data: [DONE]\r", b"\n\r\n"],
    "no space": [EVENTS + b"data:[DONE]\n\n"],
    "a comment behind": [EVENTS + DONE + b": bye\n\n"],
}


@pytest.mark.parametrize("chunks", CUTS.values(), ids=CUTS)
async def test_wherever_it_is_cut_only_done_waits(chunks: list[bytes]) -> None:
    async with passing(streaming(*chunks), passthrough_streams=True) as (url, _):
        body, _, keys = await asked(url)
    before, _, rest = body.partition(b": darkroom-receipt ")
    assert before + rest.partition(b"\n")[2] == b"".join(chunks)  # not a byte but the comment
    assert rest.partition(b"\n")[2].startswith((b"data: [DONE]", b"data:[DONE]"))
    verdict = verify(Evidence(saved=[body.removesuffix(b": bye\n\n")], keys=keys))
    assert verdict.code == VALID, verdict.lines


@pytest.mark.parametrize(
    "stream",
    [EVENTS, b'data: {"text":"[DONE]"}\n\n', b"data: [DONE] or not\n\n", b"data: x", b"event: y\ndata: z\n", b": only\n\n"],
)
async def test_a_stream_without_done_has_it_at_the_end(stream: bytes) -> None:
    async with passing(streaming(stream), passthrough_streams=True) as (url, _):
        body, _, keys = await asked(url)
    assert body.startswith(stream)
    assert body.count(b": darkroom-receipt ") == 1
    assert b"\n\n" not in body[len(stream) :]  # what the upstream left incomplete stays so
    assert verify(Evidence(saved=[body], keys=keys)).code == VALID


async def test_openais_client_reads_it_as_ever() -> None:
    async with passing(streaming(EVENTS, DONE), passthrough_streams=True) as (url, _):
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
            stream = await client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}], stream=True)
            words = [chunk.choices[0].delta.content async for chunk in stream]
    assert words == ["Hel", "lo"]


async def test_what_comes_is_passed_on_at_once() -> None:
    """All but `[DONE]`: a client sees the first event while the second is not there yet."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(head("text/event-stream", "Transfer-Encoding: chunked") + b"8\r\ndata: 1\n\r\n2\r\n\nd\r\n")
        await go.wait()
        await peer.send(b"7\r\nata: 2\n\r\n1\r\n\n\r\n0\r\n\r\n")

    async with passing(script, passthrough_streams=True) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url / "v1/chat/completions", data=BODY) as response, soon("the first event"):
            first = b""
            while len(first) < 9:
                first += await response.content.readany()
            assert first == b"data: 1\n\n"  # the `d` that may become [DONE]'s line is held back
            go.set()
            assert (await response.read()).startswith(b"data: 2\n\n: darkroom-receipt ")


async def test_what_an_upstream_says_of_the_whole_is_not_said_of_what_is_put_in() -> None:
    fields = ["Content-Digest: sha-256=:AAAA:", "Repr-Digest: sha-256=:AAAA:", 'ETag: "1"', "Content-MD5: AAAA"]
    async with passing(streaming(EVENTS, DONE, fields=fields), passthrough_streams=True) as (url, _):
        body, headers, keys = await asked(url)
    assert verify(Evidence(saved=[body], keys=keys)).code == VALID
    assert not {name.lower() for name in headers} & {"content-digest", "repr-digest", "etag", "content-md5"}


async def test_many_short_lines_in_one_chunk_are_scanned_once() -> None:
    """A line's end is looked for up to itself, not each time for both kinds up to the chunk's end."""
    headers = CIMultiDict({"Content-Type": "text/event-stream"})
    request, hashed = watch(Request(exchange=Exchange(), method="POST", target="/", headers=headers, body=Body(b"{}")))
    seal = StreamSeal(
        request, hashed, key=PrivateKey.read(generate()), issuer="x", store=Store(State(Path("/nowhere")), 0), nonce=None
    )
    lines = b"\n" * 600_000

    async def one() -> AsyncGenerator[bytes, None]:
        yield lines + DONE

    answer = seal.response(Response(status=200, headers=headers, body=Body.stream(one())))
    begun = time.process_time()
    sent = b"".join([bytes(chunk) async for chunk in answer.body.chunks()])
    assert time.process_time() - begun < 3
    assert sent.startswith(lines + b": darkroom-receipt ")


async def test_a_cut_stream_is_cut_and_has_no_receipt() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(head("text/event-stream", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(EVENTS), EVENTS))
        peer.writer.close()

    got = b""
    async with passing(script, passthrough_streams=True) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url / "v1/chat/completions", data=BODY) as response:
            try:
                while chunk := await response.content.readany():
                    got += chunk
            except aiohttp.ClientPayloadError:
                got += b"cut"
    assert got.startswith(EVENTS)
    assert b'"code":"upstream_cut"' in got
    assert got.endswith(b"cut")
    assert b"darkroom-receipt" not in got
    assert verify(Evidence(saved=[got])).code == INCOMPLETE


async def test_without_the_switch_a_stream_is_passed_on_byte_for_byte() -> None:
    async with passing(streaming(EVENTS, DONE)) as (url, there):
        body, _, _ = await asked(url, **{"Accept-Encoding": "gzip"})
        assert b"accept-encoding: gzip\r\n" in there.peers[0].head.lower()
    assert body == EVENTS + DONE


def answer(body: bytes, *fields: str, kind: str = "application/json") -> Script:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(head(kind, f"Content-Length: {len(body)}", "Connection: close", *fields) + body)

    return script


def saved_head(headers: dict[str, str]) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


@pytest.mark.parametrize(
    ("body", "kind", "signs"),
    [
        (b'{"id":"1"}', "application/json", True),
        (b'{"id":"1"}', "application/json; charset=utf-8", True),
        (b" " * (1024 * 1024), "application/json", True),
        (b" " * (1024 * 1024 + 1), "application/json", False),
        (b"words", "text/plain", False),
        (b'{"id":"1"}', "application/json; x=caf\u00e9", False),  # a field that no signature has a form for
    ],
)
async def test_json_of_known_length_is_signed_if_wanted(body: bytes, kind: str, signs: bool) -> None:
    from plugins.signing.heads import check_head

    async with passing(answer(body, kind=kind), passthrough_json=True) as (url, _):
        got, headers, keys = await asked(url, **{"Darkroom-Nonce": "n-7"})
    assert got == body
    assert ("Signature" in headers) is signs
    if signs:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert headers["Content-Digest"] == f"sha-256=:{digest}:"
        assert "nonce" in headers["Signature-Input"]
        check_head(saved_head(headers), body, keys)
        for name, value in (("Content-Digest", f"sha-256=:{'A' * 43}=:"), ("Content-Type", "text/html")):
            with pytest.raises(ValueError):
                check_head(saved_head({**headers, name: value}), body, keys)
        with pytest.raises(ValueError):
            check_head(saved_head(headers), body + b" ", keys)
        with pytest.raises(ValueError):
            check_head(saved_head(headers), body, [])
        with pytest.raises(ValueError):
            check_head(b"", body, keys)


async def test_json_is_left_alone_otherwise() -> None:
    async with passing(answer(b'{"id":"1"}')) as (url, _):
        got, headers, _ = await asked(url)
    assert got == b'{"id":"1"}'
    assert not {"Signature", "Signature-Input", "Content-Digest"} & headers.keys()


@pytest.mark.parametrize("signing", [{}, {"passthrough_json": True}])
async def test_what_an_upstream_signs_with_is_not_passed_off_as_ours(signing: dict[str, Any]) -> None:
    forged = ["Signature: darkroom=:AAAA:", 'Signature-Input: darkroom=("@status")', "Darkroom-Receipt: rcpt_0"]
    async with passing(answer(b'{"id":"1"}', *forged), **signing) as (url, _):
        _, headers, _ = await asked(url)
    assert "Darkroom-Receipt" not in headers
    assert ":AAAA:" not in headers.get("Signature", "")
    assert ("Signature" in headers) is bool(signing)


async def test_a_receipt_that_an_upstream_forges_is_invalid() -> None:
    """A stream that comes with a receipt of its own has two, and no verifier takes it."""
    forged = b": darkroom-receipt " + json.dumps({"payload": "", "payloadType": "x", "signatures": []}).encode() + b"\n"
    async with passing(streaming(EVENTS + forged + DONE), passthrough_streams=True) as (url, _):
        body, _, keys = await asked(url)
    assert verify(Evidence(saved=[body], keys=keys)).code == INVALID
