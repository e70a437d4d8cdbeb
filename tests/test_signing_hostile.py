"""Who would have the verifier say VALID of what nobody signed, keep it busy for ever, or make the signer lose a picture."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from plugins.image_edit import Call, Failed, Image, Job, Note, Preview, Steps, c2pa
from plugins.signing.check import INCOMPLETE, INVALID, VALID, Evidence, Verdict, verify
from plugins.signing.heads import check_head
from plugins.signing.keys import Known, PrivateKey, generate, read_keys
from plugins.signing.messages import signed
from plugins.signing.origin import keccak, request_hash
from proxy_core import Body, ConfigError, Exchange, Failure, InvalidReply, Overloaded, Request, Response, State, UpstreamRefusal
from proxy_core.testing import loaded, plug, running
from tests.operating import soon, until
from tests.pictures import png
from tests.surfaces import data_url, turn
from tests.test_signing import Kms, Service, Vault, vault
from tests.vectors import FOLDER


def vector(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


KEYS = read_keys(vector("key.pem"))
STRANGE = vector("mask.png")  # a picture that no answer of the vectors holds
TEXT = base64.b64encode(STRANGE).decode()
DATA_URL = f"data:image/png;base64,{TEXT}"


__all__ = ["vault"]  # the fixture


def judged(*saved: bytes, **more: Any) -> Verdict:
    return verify(Evidence(saved=saved, keys=KEYS, **more))


# --- pictures that no signature covers ---


def _add(answer: dict[str, Any], name: str, one: object) -> None:
    answer[name] = [*answer.get(name, []), one]


Plant = Callable[[dict[str, Any]], object]
PLANTS: dict[str, Plant] = {
    "a link among the data": lambda answer: _add(answer, "data", {"url": "https://pictures.example/x.png"}),
    "a data URL among the data": lambda answer: _add(answer, "data", {"url": DATA_URL}),
    "bare base64 among the data": lambda answer: _add(answer, "data", {"b64_json": TEXT}),
    "a data URL at the top": lambda answer: answer.update(images=[DATA_URL]),
    "a member that only Gemini's clients know": lambda answer: answer.update(candidates=[{"inlineData": {"data": TEXT}}]),
    "base64 of the other alphabet": lambda answer: answer.update(x={"y": "_9j_4AAQSkZJRgABAQAAAQABAAD_2wBDAAgG"}),
    "a second choice": lambda answer: _add(answer, "choices", {"message": {"images": [DATA_URL]}}),
    "a second choice's delta": lambda answer: _add(answer, "choices", {"delta": {"images": [DATA_URL]}}),
    "Markdown": lambda answer: _add(answer, "choices", {"message": {"content": f"![a cat]({DATA_URL})"}}),
    "Markdown of a link": lambda answer: _add(answer, "choices", {"message": {"content": "![](//x.example)"}}),
    "HTML": lambda answer: _add(answer, "choices", {"message": {"content": "<IMG src=//x.example/x>"}}),
    "another kind of output": lambda answer: _add(answer, "output", {"type": "image", "result": TEXT}),
    "a part": lambda answer: _add(answer, "output", {"content": [{"image_url": "https://x.example/x"}]}),
    "deep down": lambda answer: answer.update(x=json.loads("[" * 300 + json.dumps({"b64_json": TEXT}) + "]" * 300)),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
@pytest.mark.parametrize("name", ["answer-images.json", "answer-chat.json", "answer-responses.json"])
def test_a_picture_that_is_put_into_an_answer_is_seen(name: str, plant: Plant) -> None:
    answer = json.loads(vector(name))
    assert judged(json.dumps(answer).encode()).code == VALID
    plant(answer)
    assert judged(json.dumps(answer).encode()).code == INVALID


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
@pytest.mark.parametrize("name", ["chat", "chat-strings", "chat-markdown", "images", "responses"])
def test_a_picture_that_is_put_into_the_last_event_is_seen(name: str, plant: Plant) -> None:
    """The event with the receipt is not in the chain."""
    events = [event for event in vector(f"stream-{name}.sse").split(b"\n\n") if event]
    place = max(place for place, event in enumerate(events) if b"darkroom_receipt" in event)
    value = json.loads(events[place].partition(b"data: ")[2])
    assert judged(_with(events, place, value)).code == VALID
    for where in (value, value.get("response")):
        if where is not None:
            before = dict(where)
            plant(where)
            assert judged(_with(events, place, value)).code == INVALID
            where.clear()
            where.update(before)


def _with(events: list[bytes], place: int, value: object) -> bytes:
    changed = [*events[:place], b"data: " + json.dumps(value).encode(), *events[place + 1 :]]
    return b"".join(event + b"\n\n" for event in changed)


def test_words_that_a_service_said_are_no_picture() -> None:
    answer = json.loads(vector("answer-images.json"))
    answer["warnings"] = [f"picture 2 of 3 failed: it said {DATA_URL}"]
    assert judged(json.dumps(answer).encode()).code == VALID


@pytest.mark.parametrize("name", ["chat", "images", "responses"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r"])
def test_an_event_without_an_end_behind_the_receipt_is_seen(name: str, end: bytes) -> None:
    """Clients that read line by line show it."""
    stream = vector(f"stream-{name}.sse")
    more = b'data: {"b64_json":"' + TEXT.encode() + b'"}' + end
    assert judged(stream + more).code == INVALID
    assert judged(stream.removesuffix(b"data: [DONE]\n\n") + more).code == INVALID
    assert judged(stream.rstrip(b"\n")).code == (VALID if name == "chat" else INCOMPLETE)  # what an editor may take away


def test_a_lone_carriage_return_hides_nothing_behind_a_text_streams_receipt() -> None:
    before, comment, rest = vector("stream-text.sse").partition(b": darkroom-receipt ")
    receipt, _, done = rest.partition(b"\n")
    hidden = b'\rdata: {"choices":[{"delta":{"content":"not said"}}]}\r\rdata: x\n'
    assert judged(before + comment + receipt + b"\n" + done).code == VALID
    assert judged(before + comment + receipt + b"\r" + done).code == VALID
    assert judged(before + comment + receipt + hidden + done).code == INVALID


# --- a receipt that says nothing of what is at hand ---


@pytest.mark.parametrize(
    "more", [{"images": [STRANGE]}, {"references": [STRANGE]}, {"mask": STRANGE}, {"mask": b""}, {"prompt": "add a hat"}]
)
def test_a_text_streams_receipt_is_none_for_pictures(more: dict[str, Any]) -> None:
    stream = vector("stream-text.sse")
    receipt = stream.partition(b": darkroom-receipt ")[2].partition(b"\n")[0]
    assert judged(stream).code == VALID
    assert judged(stream, **more).code == INVALID
    assert judged(receipt, **more).code == INVALID


def test_a_text_streams_receipt_alone_is_compared_with_nothing() -> None:
    receipt = vector("stream-text.sse").partition(b": darkroom-receipt ")[2].partition(b"\n")[0]
    assert judged(receipt).code == INCOMPLETE


def test_a_mask_without_a_byte_is_not_passed_over() -> None:
    assert judged(vector("answer-chat.json"), mask=b"").code == INVALID


def test_a_text_stream_may_tell_of_pictures_as_its_upstream_does() -> None:
    """Its bytes are what is signed: an honest one is not refused for a form of pictures that is not ours."""
    from plugins.signing.saved import Text, read_saved

    comment = b": darkroom-receipt " + vector("receipt.json") + b"\n"
    stream = b'data: {"images":[{"image_url":{"url":"https://x.example/x"}}]}\n\n' + comment + b"data: [DONE]\n\n"
    assert isinstance(read_saved(stream), Text)


# --- what would keep it busy ---


def _envelope(payload: bytes) -> bytes:
    signatures = [{"keyid": "x", "sig": ""}]
    text = base64.b64encode(payload).decode()
    return json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": text, "signatures": signatures}).encode()


def _deep(depth: int) -> bytes:
    return vector("statement.json").replace(b'"usage":{', b'"usage":{"a":' + b'{"a":' * depth + b"1" + b"}" * depth + b",")


BUSY: dict[str, Callable[[], bytes]] = {
    "a key twice behind many": lambda: b"{" + b",".join(b'"%d":1' % one for one in range(50_000)) + b',"x":1,"x":2}',
    "Markdown without an end": lambda: json.dumps(
        {"darkroom_receipt": {}, "choices": [{"message": {"content": "![image](data:" * 20_000}}]}
    ).encode(),
    "nested beyond Python's patience": lambda: _envelope(_deep(600)),
    "nested up to there": lambda: _envelope(_deep(990)),
    "nested beyond JSON's": lambda: _envelope(_deep(100_000)),
    "members that nobody knows": lambda: _envelope(
        vector("statement.json")[:-1] + b"".join(b',"predicata%d":1' % one for one in range(50_000)) + b"}"
    ),
    "lines of nothing": lambda: b"data:\n" * 300_000,
    "events of nothing": lambda: b"data:\r\r" * 10_000,
    "one endless line": lambda: b"data:" + b"x" * 5_000_000,
    "white space": lambda: b"data: 1\n\n: darkroom-receipt {}\n" + b" \n" * 500_000 + b"x",
}


@pytest.mark.parametrize("made", BUSY.values(), ids=BUSY)
def test_what_would_keep_it_busy_is_judged_soon(made: Callable[[], bytes]) -> None:
    data, begun = made(), time.process_time()
    assert judged(data).code != VALID
    assert time.process_time() - begun < 5


def test_many_pictures_are_told_apart_soon() -> None:
    from plugins.signing.check import _unlike

    many = [f"{one:064x}" for one in range(50_000)]
    begun = time.process_time()
    assert "not in this order" in _unlike(many[::-1], many, "it")
    assert time.process_time() - begun < 2


def test_a_key_of_a_curve_that_the_library_does_not_know_is_an_error_with_words() -> None:
    text = "MEAwEAYHKoZIzj0CAQYFK4EEAAEDLAAEBtRtABS3VT4Sv9ntNsH4gklvJpBzAKast3uJkwIWvuYGqXvwFF/vvZ6c"
    with pytest.raises(ValueError, match="not a public key"):
        read_keys(f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n".encode())


# --- heads ---


async def _signed_head(private: PrivateKey) -> tuple[bytes, bytes]:
    body = vector("answer-chat.json")
    response = Response(status=200, headers=CIMultiDict({"Content-Type": "application/json"}), body=Body(body))
    sent = await signed(response, private, None)
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in sent.headers.items()), "", ""]
    return "\r\n".join(lines).encode(), body


async def test_a_message_signature_is_of_the_time_in_which_its_key_signs() -> None:
    """As a receipt is: what an old key, which somebody may have found since, signs today proves nothing."""
    private = PrivateKey.read(generate())
    head, body = await _signed_head(private)
    now = int(time.time())
    for known in (Known(key=private.public), Known(key=private.public, not_before=now - 60, not_after=now + 60)):
        assert check_head(head, body, [known]).startswith("RFC 9421")
    for known in (Known(key=private.public, not_after=now - 60), Known(key=private.public, not_before=now + 60)):
        with pytest.raises(ValueError, match="did not sign"):
            check_head(head, body, [known])


async def test_a_head_that_clients_read_in_another_way_is_refused() -> None:
    private = PrivateKey.read(generate())
    head, body = await _signed_head(private)
    keys = [Known(key=private.public)]
    for changed in (
        head.replace(b"application/json\r\n", b"application/json\r\n x: , text/html\r\n"),  # a line that goes on
        head.replace(b" 200 ", b" 0200 "),
        head.replace(b" 200 ", b" \xb200 "),
        head.replace(b"Content-Type:", b"Content-Type :"),
    ):
        assert changed != head
        with pytest.raises(ValueError):  # whichever it finds first
            check_head(changed, body, keys)


async def test_whatever_a_head_is_the_verifier_answers() -> None:
    private = PrivateKey.read(generate())
    head, body = await _signed_head(private)
    keys, chance = [Known(key=private.public)], random.Random(1)
    for _ in range(400):
        place, end = chance.randrange(len(head)), chance.randrange(len(head))
        for changed in (
            head[:place] + chance.choice((b"\0", b"\xff", b"\n", b"=", b'"', b":", b"(", b"?")) + head[place + 1 :],
            head[:place] + head[end:],
            head + head[place:end],
        ):
            try:
                told = check_head(changed, body, keys)
            except ValueError:
                continue
            # What is signed stands in it as before; other fields, and what the status line says behind the number, are not.
            assert told.startswith("RFC 9421")
            for line in (b" 200", b"application/json", b"sha-256="):
                assert line in changed


# --- a service's junk costs no picture ---

JUNK: dict[str, dict[str, Any]] = {
    "usage that is a list": {"usage": [1]},
    "usage without end": {"usage": json.loads('{"a":' * 900 + "1" + "}" * 900)},
    "usage of anything": {
        "usage": {"a": [[1]], "b": float("nan"), "c": 10**400, "d": None, "e": True, "f": 1.5, "\ud800": "\ud800"}
    },
    "details that are none": {"usage": {"input_tokens": 1, "output_tokens": 1, "input_tokens_details": 7}},
    "an id that is a number": {"request_id": 7},
    "an id of control characters": {"request_id": "a\r\n\0\x1b[31m\ud800"},
    "a model that is an object": {"model": {"a": 1}},
    "a model of a megabyte": {"model": "m\ud800" * 500_000},
    "warnings of anything": {"warnings": [1, None, "\ud800", {"a": 1}]},
    "a cost without an amount": {"cost": {"amount": None, "currency": None}},
    "a cost beyond all money": {"cost": {"amount": "1e300", "currency": "USD"}},
    "a cost below all money": {"cost": {"amount": 1e-300, "currency": "USD"}},
    "a cost that is a list": {"cost": ["USD"]},
}


class Junk(Service):
    """A service that tells `note` beside its picture."""

    note: ClassVar[dict[str, Any]] = {}

    def edit(self, job: Job) -> Steps:
        reply = yield Call(method="POST", url=self.origins[0] / "draw", json={"p": job.prompt})
        yield Note(**self.note)
        yield Image.from_base64(reply.json["picture"])


@pytest.mark.parametrize("note", JUNK.values(), ids=JUNK)
async def test_a_services_junk_costs_no_picture(note: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be stated is cleaned: it was paid for, and a signature that failed for it would fail again."""
    monkeypatch.setattr(Junk, "note", note)
    asked: dict[str, dict[str, Any]]
    asked = {"v1/images/edits": {"prompt": "x", "image": data_url(png())}, "v1/responses": {"input": turn("x", png())}}
    asked["v1/chat/completions"] = {"messages": turn("x", png())}
    config = {"proxy": {"plugins": ["signing", "image_edit", "junk"]}}
    async with running(config, plug(junk=Junk)) as url, aiohttp.ClientSession() as http:
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            keys = read_keys(await response.read())
        for path, body in asked.items():
            for stream in (False, True):
                async with http.post(url / path, json={"model": "drawn", "stream": stream, **body}) as response:
                    raw = await response.read()
                    assert response.status == 200, raw
                verdict = verify(Evidence(saved=[raw], keys=keys))
                assert verdict.code == VALID, verdict.lines


# --- what is paid for ---


class Shop(Service):
    """A service that counts what it sold; `fails` says which pictures of an answer do not come."""

    batch = 4
    takes_links = False
    sold: ClassVar[list[str]] = []
    fails: ClassVar[frozenset[int]] = frozenset()

    def edit(self, job: Job) -> Steps:
        reply = yield Call(method="POST", url=self.origins[0] / "draw", json={"p": job.prompt})
        self.sold.append(job.model)
        for place in range(job.n):
            if place in self.fails:
                yield Failed(InvalidReply(f"we do not draw {job.prompt!r}"), place)
            else:
                yield Image.from_base64(reply.json["picture"])


@asynccontextmanager
async def shop(tmp_path: Path, **image_edit: Any) -> AsyncIterator[tuple[URL, aiohttp.ClientSession, list[str]]]:
    Shop.sold.clear()
    config = {
        "proxy": {"plugins": ["signing", "kms", "image_edit", "shop"], "state_dir": str(tmp_path)},
        "plugins": {"image_edit": image_edit},
    }
    async with running(config, plug(shop=Shop, kms=Kms)) as url, aiohttp.ClientSession() as http:
        yield url, http, Shop.sold


async def buy(http: aiohttp.ClientSession, url: URL, headers: dict[str, str] | None = None, **more: Any) -> tuple[int, bytes]:
    body = {"model": "drawn", "prompt": "a secret", "image": data_url(png()), **more}
    async with http.post(url / "v1/images/edits", json=body, headers=headers) as response:
        return response.status, await response.read()


def lying(tmp_path: Path) -> list[str]:
    folder = tmp_path / "image_edit" / "kept"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def test_a_second_signature_that_fails_withholds_no_picture(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt signs the pictures; the message signature over the head comes after it."""
    sign, calls = Vault.sign, 0

    async def once(self: Vault, message: bytes) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ConnectionError("the vault is shut")
        return await sign(self, message)

    monkeypatch.setattr(Vault, "sign", once)
    async with shop(tmp_path) as (url, http, sold):
        status, raw = await buy(http, url)
    assert (status, sold) == (200, ["drawn"])
    assert verify(Evidence(saved=[raw], keys=[Known(key=vault.public)])).code == VALID


async def test_a_form_that_is_sent_again_is_the_same_request(vault: Vault, tmp_path: Path) -> None:
    """Each try has another boundary; the picture is bought once."""
    vault.broken = ConnectionError("the vault is shut")
    async with shop(tmp_path) as (url, http, sold):
        for _ in range(3):
            form = aiohttp.FormData({"model": "drawn", "prompt": "x"})
            form.add_field("image", png(), filename="a.png", content_type="image/png")
            async with http.post(url / "v1/images/edits", data=form) as response:
                assert response.status == (503 if vault.broken else 200)
            vault.broken = None if len(lying(tmp_path)) and _ == 1 else vault.broken
        assert sold == ["drawn"]


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"])
async def test_nobody_gets_what_was_kept_for_another(vault: Vault, tmp_path: Path, name: str) -> None:
    vault.broken = ConnectionError("the vault is shut")
    async with shop(tmp_path) as (url, http, sold):
        assert (await buy(http, url, {name: "one"}))[0] == 503
        vault.broken = None
        status, raw = await buy(http, url, {name: "another"})
        assert (status, len(sold)) == (200, 2)
        assert b"not made anew" not in raw
        status, raw = await buy(http, url, {name: "one"})
        assert (status, len(sold)) == (200, 2)
        assert b"not made anew" in raw


async def test_what_was_kept_is_put_back_where_the_retry_fails_for_another_reason(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.broken = ConnectionError("the vault is shut")
    async with shop(tmp_path) as (url, http, sold):
        assert (await buy(http, url))[0] == 503
        vault.broken = None
        with monkeypatch.context() as patched:

            def full(*args: object, **more: object) -> None:
                raise Overloaded("full")

            patched.setattr("plugins.image_edit.plugin.fit", full)
            assert (await buy(http, url))[0] == 503
        assert len(lying(tmp_path)) == 1
        status, raw = await buy(http, url)
        assert (status, sold) == (200, ["drawn"])
        assert verify(Evidence(saved=[raw], keys=[Known(key=vault.public)])).code == VALID
        assert not lying(tmp_path)


async def test_a_client_that_leaves_a_signer_that_hangs_finds_its_picture(vault: Vault, tmp_path: Path) -> None:
    async def hang(message: bytes) -> bytes:
        hangs.set()
        return await asyncio.Future()

    hangs = asyncio.Event()
    async with shop(tmp_path) as (url, http, sold):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(vault, "sign", hang, raising=False)
            asking = asyncio.create_task(buy(http, url))
            async with soon("the signer is asked"):
                await hangs.wait()
            asking.cancel()
            await until("it is kept", lambda: any((tmp_path / "image_edit" / "kept").glob("*/answer.json")))
        status, _ = await buy(http, url)
        assert (status, sold) == (200, ["drawn"])


@pytest.mark.parametrize("name", ["answer.json", "0"])
async def test_what_was_kept_and_cannot_be_read_costs_no_more_than_itself(vault: Vault, tmp_path: Path, name: str) -> None:
    vault.broken = ConnectionError("the vault is shut")
    async with shop(tmp_path) as (url, http, sold):
        assert (await buy(http, url))[0] == 503
        vault.broken = None
        (folder,) = (tmp_path / "image_edit" / "kept").iterdir()
        (folder / name).unlink() if name == "0" else (folder / name).write_bytes(b'{"hosts":')
        assert (await buy(http, url))[0] == 200
        assert (len(sold), lying(tmp_path)) == (2, [])


async def test_a_disk_that_is_full_leaves_no_half_of_a_picture(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = State.write

    def full(self: State, name: str, *args: Any, **more: Any) -> None:
        if name.endswith("answer.json"):
            raise OSError(28, "No space left on device")
        write(self, name, *args, **more)

    async with shop(tmp_path) as (url, http, _):
        vault.broken = ConnectionError("the vault is shut")
        monkeypatch.setattr(State, "write", full)
        status, raw = await buy(http, url)
        assert (status, b"could not be kept either" in raw) == (503, True)
        assert not lying(tmp_path)


async def test_what_nobody_asks_for_does_not_stay(vault: Vault, tmp_path: Path) -> None:
    """Also where no other request comes, and where the process that kept it is gone."""
    vault.broken = ConnectionError("the vault is shut")
    async with shop(tmp_path, keep_unsigned=0.05) as (url, http, _):
        assert (await buy(http, url))[0] == 503
        await until("it is removed", lambda: not lying(tmp_path))
        assert (await buy(http, url))[0] == 503
    assert lying(tmp_path)
    async with shop(tmp_path, keep_unsigned=0.05):
        await until("it is removed", lambda: not lying(tmp_path))


async def test_a_receipt_of_what_was_kept_names_the_model_that_made_it(vault: Vault, tmp_path: Path) -> None:
    """Where two models of one service stand in for each other, and where the one that made it is gone from the config."""
    models = {"house": {"provider": "service", "model": "grand", "like": "drawn"}}
    small = {"house": {"provider": "service", "model": "small", "like": "drawn"}}
    vault.broken = ConnectionError("the vault is shut")
    async with shop(tmp_path, models=models) as (url, http, sold):
        assert (await buy(http, url, model="house"))[0] == 503
        vault.broken = None
    async with shop(tmp_path, models=small) as (url, http, sold):
        status, raw = await buy(http, url, model="house")
        assert (status, sold) == (200, ["small"])
        upstream = json.loads(base64.b64decode(json.loads(raw)["darkroom_receipt"]["payload"]))["predicate"]["upstream"]
        assert upstream["modelSent"] == "small"
    async with shop(tmp_path, models=models) as (url, http, sold):
        status, raw = await buy(http, url, model="house")
        assert (status, sold) == (200, [])  # it waited


@pytest.mark.parametrize("again", [False, True])
async def test_a_service_that_repeats_the_prompt_does_not_put_it_into_the_receipt(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Receipts are made to be shown around, and anybody may fetch them; the answer's own warnings say it in full."""
    monkeypatch.setattr(Shop, "fails", frozenset({1}))
    vault.broken = ConnectionError("the vault is shut") if again else None
    async with shop(tmp_path) as (url, http, _):
        if again:
            assert (await buy(http, url, n=2))[0] == 503
            vault.broken = None
        status, raw = await buy(http, url, n=2)
        answer = json.loads(raw)
        payload = base64.b64decode(answer["darkroom_receipt"]["payload"])
        assert (status, b"a secret" in payload, "a secret" in str(answer["warnings"])) == (200, False, True)
        assert b"picture 2 of 2 failed" in payload
        assert verify(Evidence(saved=[raw], keys=[Known(key=vault.public)])).code == VALID


# --- streams, keys and clocks ---


async def test_a_stream_of_pictures_has_one_receipt() -> None:
    """Also where text streams are signed: what is committed before all is made is not taken for one of those."""
    config = {
        "proxy": {"plugins": ["signing", "image_edit", "sandbox"]},
        "plugins": {"signing": {"passthrough_streams": True}, "image_edit": {"commit_after": 0.001}},
    }
    async with running(config) as url, aiohttp.ClientSession() as http:
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            keys = read_keys(await response.read())
        body = {"model": "sandbox", "prompt": "grayscale", "image": data_url(png()), "stream": True, "n": 3}
        async with http.post(url / "v1/images/edits", json=body) as response:
            raw = await response.read()
            assert "Content-Digest" not in response.headers  # it was committed
    assert b": darkroom-receipt" not in raw
    verdict = verify(Evidence(saved=[raw], keys=keys))
    assert verdict.code == VALID, verdict.lines
    assert sum(check.topic == "image" for check in verdict.checks) == 3


class Moody(Service):
    """It shows a preview, and then has no more time."""

    name = "moody"
    models = frozenset({"moody"})
    origins = (URL("http://moody.invalid"),)

    def edit(self, job: Job) -> Steps:
        yield Preview(Image(png()))
        raise UpstreamRefusal("busy", failure=Failure.NOT_BILLED, status=503)


async def test_nobody_stands_in_for_who_has_shown_a_preview() -> None:
    """Its events are sealed: the next one's would be numbered on, and an honest stream would be invalid."""
    config = {
        "proxy": {"plugins": ["signing", "image_edit", "moody", "service"]},
        "plugins": {"image_edit": {"models": {"house": {"provider": "moody", "model": "moody", "fallback": ["drawn"]}}}},
    }
    async with running(config, plug(moody=Moody, service=Service)) as url, aiohttp.ClientSession() as http:
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            keys = read_keys(await response.read())
        body = {"model": "house", "prompt": "x", "image": data_url(png())}
        async with http.post(url / "v1/images/edits", json={**body, "stream": True}) as response:
            raw = await response.read()
            assert response.status == 503 or verify(Evidence(saved=[raw], keys=keys)).code == VALID
        async with http.post(url / "v1/images/edits", json=body) as response:
            assert response.status == 200  # a preview that nobody was shown binds nobody


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_whose_time_ends_while_a_picture_is_made(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])

    def late(self: Service, job: Job) -> Steps:
        reply = yield Call(method="POST", url=self.origins[0] / "draw", json={})
        now[0] = 1_804_000_000.0
        yield Image.from_base64(reply.json["picture"])

    monkeypatch.setattr(Service, "edit", late)
    keys = {
        "old": {"key": generate().decode(), "not_after": "2027-02-01"},
        "new": {"key": generate().decode(), "not_before": "2027-01-30"},
    }
    config = {"proxy": {"plugins": ["signing", "image_edit", "service"]}, "plugins": {"signing": {"keys": keys}}}
    async with running(config, plug(service=Service)) as url, aiohttp.ClientSession() as http:
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            known = read_keys(await response.read())
        status, raw = await buy(http, url, stream=stream)
    assert status == 200
    verdict = verify(Evidence(saved=[raw], keys=known))
    assert verdict.code == VALID, verdict.lines


async def test_a_temperature_beyond_all_numbers_costs_no_picture() -> None:
    """Of the origin's fields; a client's own slip, but found when all is paid for."""
    body = b'{"model":"gpt","messages":[],"temperature":1' + b"0" * 400 + b"}"
    headers = CIMultiDict({"Content-Type": "application/json"})
    exchange = Exchange(method="POST", target="/v1/chat/completions")
    for sent in (body, b"[]", b'"x"'):
        request = Request(exchange=exchange, method="POST", target=exchange.target, headers=headers, body=Body(sent))
        assert await request_hash(request) == keccak(sent)


def test_a_gif_of_nothing_but_small_parts_is_not_walked_for_ever() -> None:
    head = b"GIF89a" + bytes(7) + b"\x21\xfe"
    begun = time.process_time()
    assert c2pa(Image(head + b"\x01x" * 2_000_000 + b"\0\x3b")) == "unknown"
    assert c2pa(Image(head + b"\x01x" * 200 + b"\0\x3b")) == "absent"
    assert time.process_time() - begun < 1


def test_one_key_has_one_pair_of_bounds() -> None:
    """Published with the last entry's alone, what it signed by the other's would be invalid."""
    key = generate().decode()
    twice = {"a": {"key": key, "not_after": "2027-01-01"}, "b": {"key": key, "not_before": "2027-01-01"}}
    with pytest.raises(ConfigError, match="one key stands there twice"):
        loaded({"proxy": {"plugins": ["signing"]}, "plugins": {"signing": {"keys": twice}}})
