"""The test vectors of docs/receipts.md, by the proxy's own code with fixed keys, times and draws: `python -m tests.vectors`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import rfc8785

from plugins.image_edit import Image, Job, Result, Sent
from plugins.image_edit.ask import Dialect
from plugins.image_edit.dialects.chat import Chat
from plugins.image_edit.dialects.images import EDITS
from plugins.image_edit.dialects.responses import Responses
from plugins.image_edit.wire import event_pieces, json_pieces
from plugins.signing.envelope import EVENT, STATEMENT, pre_authentication, seal
from plugins.signing.keys import Known, PrivateKey, key_set
from plugins.signing.passthrough import StreamSeal, watch
from plugins.signing.seal import ImageSeal, Seen
from plugins.signing.statement import schema
from plugins.signing.store import Store
from proxy_core import Body, Exchange, Request, Response, State

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "receipt-vectors"
SCHEMA = FOLDER.parent / "receipt.schema.json"

NOW = 1_790_000_000
RECEIPT = f"rcpt_{NOW:08x}" + "00112233445566778899aabb"
SALT = bytes(range(32))
PROMPT = "add a hat, said the caf\u00e9's owner \U0001f3a9"
NONCE = "a-nonce-of-the-client"


def _private(number: int) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return PrivateKey(ec.derive_private_key(number, ec.SECP256R1()))


# Made for these vectors alone; nothing else may ever be signed with them.
KEYPAIR = _private(int("11" * 32, 16))
FOREIGN = _private(int("22" * 32, 16))


@contextmanager
def _fixed() -> Iterator[None]:
    """Time stands still, and every draw falls the same way."""
    with ExitStack() as stack:
        for name, made in (
            ("time.time", lambda: NOW + 0.125),
            ("secrets.token_bytes", lambda size: SALT if size == len(SALT) else b"\xee" * size),
            ("plugins.signing.seal.new_id", lambda: RECEIPT),
            ("plugins.signing.passthrough.new_id", lambda: RECEIPT),
        ):
            stack.enter_context(patch(name, made))
        yield


def _request(body: bytes, path: str) -> Request:
    from multidict import CIMultiDict

    exchange = Exchange(method="POST", target=path, asked_id="vector-1")
    headers = CIMultiDict({"Content-Type": "application/json"})
    return Request(exchange=exchange, method="POST", target=path, headers=headers, body=Body(body))


def _png(width: int, height: int, colour: bytes) -> bytes:
    """A picture of one colour, not compressed, so that every zlib makes the same bytes of it."""
    kind = {3: 2, 4: 6}[len(colour)]  # RGB, or RGB and alpha
    rows = zlib.compress(b"".join(b"\0" + colour * width for _ in range(height)), 0)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    packed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


REFERENCE, MASK = _png(8, 8, b"\xdc\x1e\x1e"), _png(8, 8, b"\0\0\0\x80")
PICTURES = [_png(16, 12, b"\x1e\xc8\x28"), _png(12, 16, b"\x28\x3c\xdc")]
PREVIEW = _png(4, 3, b"\x80\x80\x80")


def _asked() -> bytes:
    url = f"data:image/png;base64,{base64.b64encode(REFERENCE).decode()}"
    parts = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": url}}]
    return orjson.dumps({"model": "house-style", "messages": [{"role": "user", "content": parts}], "n": 2})


def _result(count: int, *, stream: bool) -> Result:
    images = [Image(data) for data in PICTURES[:count]]
    images[0].host = "pictures.example"
    job = Job(
        name="house-style",
        model="seedream-4-0-250828",
        prompt=PROMPT,
        references=(Image(REFERENCE),),
        mask=Image(MASK),
        n=2,
        stream=stream,
    )
    calls = [
        Sent(
            method="POST",
            origin="https://ark.example",
            sha256=hashlib.sha256(b"sent").hexdigest(),
            length=4,
            status=200,
            answer_sha256=hashlib.sha256(b"answered").hexdigest(),
            answer_length=8,
        )
    ]
    return Result(
        job=job,
        provider="bytedance",
        images=images,
        model="seedream-4-0-250828",
        warnings=["quality is not known to this model; not used"],
        usage={"input_tokens": 0, "output_tokens": 4096, "total_tokens": 4096},
        cost={"amount": "0.06", "currency": "USD", "per_image": "0.03", "source": "list"},
        request_id="0217900000",
        calls=calls,
        plugin="bytedance",
        package="darkroom-proxy",
        version="1.0.0",
    )


class _Nowhere(Store):
    async def keep(self, receipt: str, envelope: bytes) -> None:
        pass


STORE = _Nowhere(State(Path("/nonexistent")), 0)


def _sealed(path: str) -> tuple[ImageSeal, Exchange]:
    request = _request(_asked(), path)
    seen = Seen(
        path=path,
        sha256=hashlib.sha256(_asked()).hexdigest(),
        length=len(_asked()),
        media_type="application/json",
        nonce=NONCE,
    )
    made = ImageSeal(seen, request.exchange, key=KEYPAIR, issuer="darkroom.example", store=STORE, origin=None)
    return made, request.exchange


async def _whole(dialect: Dialect, path: str) -> bytes:
    made, exchange = _sealed(path)
    result = _result(2, stream=False)
    fields, _ = await made.end(result)
    return bytes(Body(*dialect.render(result, exchange, fields)).contiguous())


async def _stream(dialect: Dialect, path: str) -> bytes:
    made, exchange = _sealed(path)
    result = _result(2, stream=True)
    told = dialect.events(result.job, exchange)
    out = b""

    async def write(events: Any) -> None:
        nonlocal out
        for event in events:
            if event.value is None:
                out += b"data: [DONE]\n\n"
                continue
            if event.image is not None:
                event.place.update(await made.image(event.image, preview=event.preview))
            data = json_pieces(event.value)
            await made.sent(data)
            out += bytes(Body(*event_pieces(data, event=event.name)).contiguous())

    await write(told.preview(Image(PREVIEW), index=0, number=0))
    out += b": keep-alive\n\n"
    for image in result.images:
        await write(told.image(image))
    extra, _ = await made.end(result)
    await write(told.end(result, extra))
    return out


async def _text() -> bytes:
    request, hashed = watch(_request(b'{"model":"gpt","stream":true}', "/v1/chat/completions"))
    async for _ in request.body.chunks():
        pass
    made = StreamSeal(request, hashed, key=KEYPAIR, issuer="darkroom.example", store=STORE, nonce=None)
    words = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'
    answer = made.response(Response(status=200, headers=_request(b"", "/").headers, body=Body.stream(Body(words).chunks())))
    return b"".join([bytes(chunk) async for chunk in answer.body.chunks()])


async def _files() -> dict[str, bytes]:
    chat = await _whole(Chat(), "/v1/chat/completions")
    envelope = json.loads(chat)["darkroom_receipt"]
    payload = base64.b64decode(envelope["payload"])
    public = Known(key=KEYPAIR.public)
    return {
        "key.pem": KEYPAIR.public.pem,
        "keys.json": orjson.dumps(key_set([public]), option=orjson.OPT_INDENT_2) + b"\n",
        "private-key.hex": b"11" * 32 + b"\n",
        "request.json": _asked(),
        "prompt.txt": PROMPT.encode(),
        "salt.hex": SALT.hex().encode() + b"\n",
        "reference.png": REFERENCE,
        "mask.png": MASK,
        "image-0.png": PICTURES[0],
        "image-1.png": PICTURES[1],
        "statement.json": payload,
        "pae.bin": pre_authentication(payload),
        "receipt.json": orjson.dumps(envelope),
        "answer-chat.json": chat,
        "answer-images.json": await _whole(EDITS, "/v1/images/edits"),
        "answer-responses.json": await _whole(Responses(), "/v1/responses"),
        "stream-chat.sse": await _stream(Chat(), "/v1/chat/completions"),
        "stream-chat-strings.sse": await _stream(Chat("strings"), "/v1/chat/completions"),
        "stream-chat-markdown.sse": await _stream(Chat("markdown"), "/v1/chat/completions"),
        "stream-images.sse": await _stream(EDITS, "/v1/images/edits"),
        "stream-responses.sse": await _stream(Responses(), "/v1/responses"),
        "stream-text.sse": await _text(),
    }


# ---- what is wrong, and why

Case = dict[str, Any]


async def _signed(statement: dict[str, Any] | bytes, key: PrivateKey = KEYPAIR, kind: str = STATEMENT) -> bytes:
    payload = statement if isinstance(statement, bytes) else rfc8785.dumps(statement)
    return orjson.dumps(await seal(payload, key, kind))


def _events(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n") if event]


def _changed(data: bytes, change: Callable[[Any], object]) -> bytes:
    value = json.loads(data)
    change(value)
    return orjson.dumps(value)


async def _broken(good: dict[str, bytes]) -> dict[str, tuple[bytes, list[str], str]]:
    """name -> (the broken file, what is checked with it, what the reason says)."""
    statement = json.loads(good["statement.json"])
    receipt, chat = good["receipt.json"], good["answer-chat.json"]
    sig = json.loads(receipt)["signatures"][0]["sig"]
    one = ["image-0.png"]
    pixel = bytearray(good["image-0.png"])
    pixel[len(pixel) // 2] ^= 1
    extra = {**statement, "subject": [*statement["subject"], {"digest": {"sha256": "0" * 64}, "name": "image-2"}]}
    twice = good["statement.json"].replace(b'"asked":2,', b'"asked":2,"asked":2,')
    other = await _signed({**statement, "predicate": {**statement["predicate"], "receipt": RECEIPT[:-1] + "c"}})
    merged = _changed(receipt, lambda v: v["signatures"].append(json.loads(other)["signatures"][0]))
    images = _events(good["stream-images.sse"])
    talk = _events(good["stream-chat.sse"])
    responses = _events(good["stream-responses.sse"])
    return {
        "image-one-pixel.png": (bytes(pixel), ["receipt.json"], "is not the one in the receipt"),
        "receipt-foreign-key.json": (await _signed(statement, FOREIGN), one, "not signed by the key"),
        "receipt-foreign-key-named-ours.json": (
            _changed(await _signed(statement, FOREIGN), lambda v: v["signatures"][0].update(keyid=KEYPAIR.public.id)),
            one,
            "not signed by the key",
        ),
        "receipt-payload-type.json": (_changed(receipt, lambda v: v.update(payloadType="text/plain")), one, "payloadType"),
        "receipt-event-for-statement.json": (await _signed(good["statement.json"], kind=EVENT), one, "payloadType"),
        "receipt-no-signature.json": (_changed(receipt, lambda v: v.update(signatures=[])), one, "exactly one signature"),
        "receipt-two-merged.json": (merged, one, "exactly one signature"),
        "receipt-two-payloads.json": (
            b'{"payload":"' + json.loads(other)["payload"].encode() + b'",' + receipt[1:],
            one,
            "stands in it twice",
        ),
        "receipt-extra-member.json": (_changed(receipt, lambda v: v.update(jwk={"kty": "EC"})), one, "DSSE envelope"),
        "receipt-truncated-payload.json": (
            _changed(receipt, lambda v: v.update(payload=v["payload"][:-6])),
            one,
            "not valid base64",
        ),
        "receipt-truncated-signature.json": (
            _changed(receipt, lambda v: v["signatures"][0].update(sig=sig[:-5])),
            one,
            "not valid base64",
        ),
        "receipt-short-signature.json": (
            _changed(receipt, lambda v: v["signatures"][0].update(sig=sig[: len(sig) // 8 * 4])),
            one,
            "not signed by the key",
        ),
        "receipt-cut.json": (receipt[:-40], one, "not JSON"),
        "statement-key-twice.json": (await _signed(twice), one, "stands in it twice"),
        "statement-not-canonical.json": (await _signed(json.dumps(statement).encode()), one, "not canonical"),
        "statement-extra-subject.json": (await _signed(extra), one, "not as many as outputs"),
        "statement-extra-member.json": (await _signed({**statement, "note": "x"}), one, "unknown key"),
        "statement-another-type.json": (await _signed({**statement, "predicateType": "x"}), one, "something else"),
        "statement-another-keyid.json": (
            await _signed({**statement, "predicate": {**statement["predicate"], "keyid": FOREIGN.public.id}}),
            one,
            "names the key",
        ),
        "statement-fraction.json": (
            await _signed({**statement, "predicate": {**statement["predicate"], "asked": 2.5}}),
            one,
            "must be an integer",
        ),
        "answer-image-swapped.json": (
            _changed(chat, lambda v: v["choices"][0]["message"]["images"].reverse()),
            [],
            "not the same, or not in this order",
        ),
        "answer-image-missing.json": (
            _changed(chat, lambda v: v["choices"][0]["message"]["images"].pop()),
            [],
            "holds 1 images",
        ),
        "answer-image-added.json": (
            _changed(good["answer-images.json"], lambda v: v["data"].append({"b64_json": base64.b64encode(PREVIEW).decode()})),
            [],
            "not in the receipt",
        ),
        "answer-image-replaced.json": (
            _changed(
                good["answer-images.json"], lambda v: v["data"][1].update(b64_json=base64.b64encode(PREVIEW).decode())
            ),
            [],
            "not in the receipt",
        ),
        "stream-event-removed.sse": (b"".join(images[:1] + images[3:]), [], "was event"),
        "stream-preview-removed.sse": (b"".join(images[1:]), [], "was event"),
        "stream-events-swapped.sse": (b"".join([talk[2], talk[0], *talk[3:]]), [], "was event"),
        "stream-event-changed.sse": (
            b"".join(responses).replace(b'"status":"in_progress"', b'"status":"in-progress"', 1),
            [],
            "is not what was sent",
        ),
        "stream-event-added.sse": (
            b"".join([*talk[:-2], b'data: {"choices":[]}\n\n', *talk[-2:]]),
            [],
            "events came before the receipt",
        ),
        "stream-picture-unsigned.sse": (
            b"".join(talk).replace(b'"darkroom_event"', b'"darkroom_evant"', 1),
            [],
            "without a signature of its own",
        ),
        "stream-picture-changed.sse": (
            b"".join(talk).replace(base64.b64encode(PICTURES[0]), base64.b64encode(PREVIEW)),
            [],
            "not the one that was signed there",
        ),
        "stream-text-changed.sse": (good["stream-text.sse"].replace(b"Hello", b"Hallo"), [], "is not the one in the receipt"),
        "stream-text-added.sse": (
            good["stream-text.sse"].replace(b"data: [DONE]", b'data: {"choices":[{}]}\n\ndata: [DONE]'),
            [],
            "something follows the receipt",
        ),
    }


def _key_sets() -> dict[str, tuple[bytes, str]]:
    """Key sets of which none may be believed: name -> (the file, what the reason says)."""
    jwk = KEYPAIR.public.jwk
    return {
        "keys-expired.json": (_keys({**jwk, "exp": NOW}), "did not sign"),
        "keys-not-yet.json": (_keys({**jwk, "nbf": NOW + 1}), "did not sign"),
        "keys-another.json": (_keys(FOREIGN.public.jwk), "not signed by the key"),
    }


def _keys(*jwks: dict[str, object]) -> bytes:
    return orjson.dumps({"keys": list(jwks)})


async def make() -> dict[str, bytes]:
    """Every file, by its name."""
    with _fixed():
        files = await _files()
        broken = await _broken(files)
    valid = {"key": "key.pem", "verdict": "valid", "reason": ""}
    streams = [name for name in files if name.endswith(".sse")]
    whole = ["answer-chat.json", "answer-images.json", "answer-responses.json"]
    cases: list[Case] = [{"files": [name], **valid} for name in [*whole, *streams]]
    cases.append({"files": ["image-0.png", "image-1.png", "receipt.json"], **valid, "key": "keys.json"})
    cases += [
        {"files": ["answer-chat.json"], "key": None, "verdict": "incomplete", "reason": "nobody checked who signed"},
        {"files": ["receipt.json"], "key": "key.pem", "verdict": "incomplete", "reason": "no picture was given"},
        {"files": ["image-0.png"], "key": "key.pem", "verdict": "incomplete", "reason": "there is no receipt"},
    ]
    for name in streams:
        if name != "stream-text.sse":
            early = f"early-{name}"
            events = _events(files[name])
            broken[early] = (b"".join(events[: 2 if "responses" not in name else 12]), [], "ends before its receipt")
    for name, (data, beside, reason) in broken.items():
        files[f"broken/{name}"] = data
        verdict = "incomplete" if name.startswith("early-") else "invalid"
        cases.append({"files": [f"broken/{name}", *beside], "key": "key.pem", "verdict": verdict, "reason": reason})
    for name, (data, reason) in _key_sets().items():
        files[f"broken/{name}"] = data
        cases.append({"files": ["answer-chat.json"], "key": f"broken/{name}", "verdict": "invalid", "reason": reason})
    files["cases.json"] = orjson.dumps(cases, option=orjson.OPT_INDENT_2) + b"\n"
    return files


def main() -> None:
    files = asyncio.run(make())
    for path in [*FOLDER.rglob("*")] if FOLDER.exists() else []:
        if path.is_file():
            path.unlink()
    for name, data in files.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_bytes(data)
    SCHEMA.write_bytes(schema_text())
    sys.stdout.write(f"{len(files)} files in {FOLDER.name}\n")


def schema_text() -> bytes:
    return orjson.dumps(schema(), option=orjson.OPT_INDENT_2) + b"\n"


if __name__ == "__main__":
    main()
