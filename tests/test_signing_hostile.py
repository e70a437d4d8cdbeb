"""Who would have the verifier say VALID of what nobody signed, keep it busy for ever, or make the signer lose a picture."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from typing import Any, ClassVar

import aiohttp
import pytest
from multidict import CIMultiDict

from plugins.image_edit import Call, Image, Job, Note, Steps
from plugins.signing.check import INCOMPLETE, INVALID, VALID, Evidence, Verdict, verify
from plugins.signing.heads import check_head
from plugins.signing.keys import Known, PrivateKey, generate, read_keys
from plugins.signing.messages import signed
from proxy_core import Body, Response
from proxy_core.testing import plug, running
from tests.pictures import png
from tests.surfaces import data_url, turn
from tests.test_signing import Service
from tests.vectors import FOLDER


def vector(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


KEYS = read_keys(vector("key.pem"))
STRANGE = vector("mask.png")  # a picture that no answer of the vectors holds
TEXT = base64.b64encode(STRANGE).decode()
URL = f"data:image/png;base64,{TEXT}"


def judged(*saved: bytes, **more: Any) -> Verdict:
    return verify(Evidence(saved=saved, keys=KEYS, **more))


# --- pictures that no signature covers ---


def _add(answer: dict[str, Any], name: str, one: object) -> None:
    answer[name] = [*answer.get(name, []), one]


Plant = Callable[[dict[str, Any]], object]
PLANTS: dict[str, Plant] = {
    "a link among the data": lambda answer: _add(answer, "data", {"url": "https://pictures.example/x.png"}),
    "a data URL among the data": lambda answer: _add(answer, "data", {"url": URL}),
    "bare base64 among the data": lambda answer: _add(answer, "data", {"b64_json": TEXT}),
    "a data URL at the top": lambda answer: answer.update(images=[URL]),
    "a member that only Gemini's clients know": lambda answer: answer.update(candidates=[{"inlineData": {"data": TEXT}}]),
    "base64 of the other alphabet": lambda answer: answer.update(x={"y": "_9j_4AAQSkZJRgABAQAAAQABAAD_2wBDAAgG"}),
    "a second choice": lambda answer: _add(answer, "choices", {"message": {"images": [URL]}}),
    "a second choice's delta": lambda answer: _add(answer, "choices", {"delta": {"images": [URL]}}),
    "Markdown": lambda answer: _add(answer, "choices", {"message": {"content": f"![a cat]({URL})"}}),
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
    answer["warnings"] = [f"picture 2 of 3 failed: it said {URL}"]
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
