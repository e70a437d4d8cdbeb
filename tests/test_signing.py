"""Receipts: real answers verified by our verifier and by stock openssl; whatever is changed in them shows."""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import json
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import openai
import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from multidict import CIMultiDict
from yarl import URL

from plugins.image_edit import Call, Image, Job, Provider, Steps
from plugins.image_edit.testing import PNG
from plugins.signing import Attestation, Attestor, PrivateKey, SigningKey
from plugins.signing.check import INCOMPLETE, INVALID, VALID, Evidence, Verdict, verify
from plugins.signing.envelope import pre_authentication
from plugins.signing.keys import Known, generate, read_keys
from plugins.signing.origin import generate as generate_origin
from plugins.signing.origin import keccak, request_hash
from proxy_core import Body, ConfigError, Exchange, Handler, Middleware, Request, Response, hookimpl
from proxy_core.__main__ import main as darkroom
from proxy_core.testing import loaded, plug, running
from tests.operating import darkroom as operated
from tests.operating import until
from tests.pictures import mask, png
from tests.surfaces import data_url, turn

PLUGINS = ["signing", "image_edit", "sandbox"]


@dataclass
class Answer:
    body: dict[str, Any]
    raw: bytes
    sent: bytes  # the request's body
    reference: bytes
    image: bytes
    receipt: bytes
    key: bytes
    headers: dict[str, str]
    head: bytes

    @property
    def known(self) -> list[Known]:
        return read_keys(self.key)

    @property
    def statement(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.b64decode(json.loads(self.receipt)["payload"]))
        return found

    def check(self, *images: bytes, receipt: bytes | None = None) -> Verdict:
        saved = [self.receipt if receipt is None else receipt]
        return verify(Evidence(images=images or [self.image], saved=saved, keys=self.known))


def question(reference: bytes, **more: Any) -> bytes:
    return orjson.dumps({"model": "sandbox", "messages": turn("grayscale", reference), **more})


async def ask(config: dict[str, Any], **headers: str) -> Answer:
    async with running(config) as url, aiohttp.ClientSession() as http:
        return await answered(http, url, **headers)


async def answered(http: aiohttp.ClientSession, url: URL, **headers: str) -> Answer:
    reference = png()
    sent = question(reference)
    more = {"Content-Type": "application/json", **headers}
    async with http.post(url / "v1/chat/completions", data=sent, headers=more) as response:
        assert response.status == 200
        raw = await response.read()
        got = dict(response.headers)
        lines = [f"HTTP/1.1 {response.status} OK", *(f"{name}: {value}" for name, value in response.headers.items())]
    async with http.get(url / ".well-known/darkroom/key.pem") as response:
        key = await response.read()
    body = json.loads(raw)
    image = base64.b64decode(body["choices"][0]["message"]["images"][0]["image_url"]["url"].partition(",")[2])
    receipt = orjson.dumps(body["darkroom_receipt"])
    return Answer(body, raw, sent, reference, image, receipt, key, got, "\r\n".join([*lines, "", ""]).encode())


@pytest.fixture
async def answer() -> Answer:
    return await ask({"proxy": {"plugins": PLUGINS}}, **{"Darkroom-Nonce": "n-1"})


async def test_a_real_answer_is_valid(answer: Answer) -> None:
    assert answer.check().lines[-1] == "VALID"
    whole = verify(Evidence(saved=[answer.raw], keys=answer.known, head=answer.head, request=answer.sent))
    assert whole.code == VALID, whole.lines  # the saved answer serves as well as the receipt taken out of it
    assert {"head", "request", "image", "signed"} <= {check.topic for check in whole.checks if check.state == "proven"}


async def test_what_is_stated(answer: Answer) -> None:
    statement = answer.statement
    digest = hashlib.sha256(answer.image).hexdigest()
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "image-0", "digest": {"sha256": digest}}]
    said = statement["predicate"]
    assert said["receipt"] == answer.headers["Darkroom-Receipt"]
    assert said["keyid"] == answer.known[0].key.id
    assert said["nonce"] == "n-1"
    assert abs(said["timeMs"] / 1000 - int(said["receipt"][5:13], 16)) < 5
    request = said["request"]
    assert request["id"] == answer.headers["X-Request-ID"]
    assert (request["sha256"], request["length"]) == (hashlib.sha256(answer.sent).hexdigest(), len(answer.sent))
    assert (request["path"], request["mediaType"]) == ("/v1/chat/completions", "application/json")
    (reference,) = request["inputs"]
    assert reference == {
        "role": "reference",
        "index": 0,
        "observed": "bytes",
        "sha256": hashlib.sha256(answer.reference).hexdigest(),
        "length": len(answer.reference),
        "mediaType": "image/png",
    }
    (output,) = said["outputs"]
    assert (output["length"], output["mediaType"], output["delivery"]) == (len(answer.image), "image/png", "inline")
    assert (output["width"], output["height"], output["c2pa"]) == (96, 64, "absent")
    upstream = said["upstream"]
    assert {upstream["provider"], upstream["plugin"], upstream["modelAsked"], upstream["modelSent"]} == {"sandbox"}
    assert upstream["package"] == "darkroom-proxy"
    assert (said["outcome"], said["asked"]) == ("complete", 1)
    assert b"grayscale" not in base64.b64decode(answer.body["darkroom_receipt"]["payload"])  # the prompt is not told


async def test_the_prompt_can_be_shown_to_be_the_one(answer: Answer) -> None:
    assert verify(Evidence(saved=[answer.raw], keys=answer.known, prompt="grayscale")).code == VALID
    assert verify(Evidence(saved=[answer.raw], keys=answer.known, prompt="greyscale")).code == INVALID


async def test_without_a_key_it_is_incomplete(answer: Answer) -> None:
    verdict = verify(Evidence(images=[answer.image], saved=[answer.receipt]))
    assert verdict.code == INCOMPLETE
    assert "nobody checked who signed" in verdict.reason
    assert verdict.statement is None  # what nobody vouches for is not handed on as if somebody did


async def test_one_flipped_bit_of_the_image(answer: Answer) -> None:
    flipped = bytearray(answer.image)
    flipped[len(flipped) // 2] ^= 1
    assert answer.check(bytes(flipped)).code == INVALID


async def test_a_foreign_key_is_not_trusted_even_if_the_receipt_names_it(answer: Answer) -> None:
    other = PrivateKey.read(generate())
    envelope = json.loads(answer.receipt)
    payload = base64.b64decode(envelope["payload"])
    signature = await other.sign(pre_authentication(payload))
    keyid = answer.known[0].key.id
    forged = {**envelope, "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}]}
    verdict = answer.check(receipt=orjson.dumps(forged))
    assert verdict.code == INVALID
    assert "not signed by the key" in verdict.lines[-1]


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, (*path, name))]
    if isinstance(value, list):
        return [leaf for place, inner in enumerate(value) for leaf in _leaves(inner, (*path, place))]
    return [path]


async def test_every_field_of_the_statement_counts(answer: Answer) -> None:
    envelope = json.loads(answer.receipt)
    leaves = _leaves(answer.statement)
    assert len(leaves) > 40
    for path in leaves:
        changed = copy.deepcopy(answer.statement)
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        value = inner[path[-1]]
        inner[path[-1]] = value + 1 if isinstance(value, int) else f"{value}x"
        forged = {**envelope, "payload": base64.b64encode(orjson.dumps(changed)).decode()}
        assert answer.check(receipt=orjson.dumps(forged)).code == INVALID, path
        del inner[path[-1]]
        forged = {**envelope, "payload": base64.b64encode(orjson.dumps(changed)).decode()}
        assert answer.check(receipt=orjson.dumps(forged)).code == INVALID, path


def change(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda envelope: {**envelope, name: value}


@pytest.mark.parametrize(
    "broken",
    [
        lambda envelope: [],
        lambda envelope: "text",
        lambda envelope: {},
        lambda envelope: {**envelope, "payload": envelope["payload"] + "\n"},
        change("payload", "%%%"),
        change("payload", 7),
        change("payload", base64.b64encode(b"not json").decode()),
        change("payload", base64.b64encode(b"[]").decode()),
        change("payload", base64.b64encode(b"[" * 100_000).decode()),
        change("payload", base64.b64encode(b'{"a":' + b"9" * 5000 + b"}").decode()),
        change("payload", base64.b64encode(b'{"a":NaN}').decode()),
        change("payload", base64.b64encode(b"\xff").decode()),
        change("payloadType", "text/plain"),
        change("payloadType", None),
        change("signatures", []),
        change("signatures", {}),
        change("signatures", [7]),
        change("signatures", [{"sig": None}]),
        change("signatures", [{"keyid": 7, "sig": "AAAA"}]),
        change("signatures", [{"keyid": "\x1b[31m", "sig": ""}]),
        change("alg", "none"),
    ],
)
async def test_a_broken_receipt_is_invalid_and_no_traceback(answer: Answer, broken: Callable[[Any], object]) -> None:
    verdict = answer.check(receipt=orjson.dumps(broken(json.loads(answer.receipt))))
    assert verdict.code == INVALID
    assert all(line.isprintable() for line in verdict.lines)
    assert answer.check(receipt=answer.receipt[:-40]).code == INVALID


@pytest.mark.parametrize(
    "jwk",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"kty": "oct", "k": "AAAA"},
        {"crv": "P-384"},
        {"use": "enc"},
        {"x": "AAAA"},
        {"nbf": "soon"},
        {"d": "AAAA"},
    ],
)
async def test_a_key_that_is_none_for_receipts_is_not_used(answer: Answer, jwk: dict[str, object]) -> None:
    """The algorithm is the key's: a receipt cannot choose it, and a key of another kind checks nothing."""
    good = answer.known[0].key.jwk
    with pytest.raises(ValueError, match="holds no key for receipts"):
        read_keys(orjson.dumps({"keys": [{**good, **jwk}]}))
    assert len(read_keys(orjson.dumps({"keys": [{**good, **jwk}, good]}))) == 1


@pytest.mark.parametrize("path", ["chat/completions", "images/edits", "responses"])
@pytest.mark.parametrize("commit_after", [0.001, 30.0])
async def test_a_stream_carries_its_chain(path: str, commit_after: float) -> None:
    """Committed early or sent as a whole: the same events, each picture signed in its place, then the receipt."""
    words: dict[str, dict[str, Any]] = {
        "chat/completions": {"messages": turn("grayscale", png())},
        "responses": {"input": turn("grayscale", png())},
        "images/edits": {"prompt": "grayscale", "image": data_url(png())},
    }
    config = {"proxy": {"plugins": PLUGINS}, "plugins": {"image_edit": {"commit_after": commit_after}}}
    async with running(config) as url, aiohttp.ClientSession() as http:
        body = {"model": "sandbox", "stream": True, "n": 2, **words[path]}
        async with http.post(url / "v1" / path, json=body) as response:
            assert response.status == 200, await response.text()
            stream = await response.read()
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            keys = read_keys(await response.read())
    verdict = verify(Evidence(saved=[stream], keys=keys))
    assert verdict.code == VALID, verdict.lines
    events = [event + b"\n\n" for event in stream.split(b"\n\n") if event]
    pictures = sum(b"darkroom_event" in event for event in events)
    assert pictures == 2
    for place in range(len(events) - 1 - (events[-1] == b"data: [DONE]\n\n")):
        if not events[place].startswith(b":"):
            without = b"".join([*events[:place], *events[place + 1 :]])
            assert verify(Evidence(saved=[without], keys=keys)).code == INVALID, place
    early = next(place for place, event in enumerate(events) if b"darkroom_event" in event) + 1
    cut = verify(Evidence(saved=[b"".join(events[:early])], keys=keys))
    assert cut.code == INCOMPLETE
    assert "ends before its receipt" in cut.reason


async def test_an_image_in_hand_and_a_mask_are_stated_apart() -> None:
    form = aiohttp.FormData()
    form.add_field("model", "sandbox")
    form.add_field("prompt", "grayscale")
    form.add_field("image[]", png(), filename="a.png", content_type="image/png")
    form.add_field("mask", mask((96, 64)), filename="m.png", content_type="image/png")
    async with running({"proxy": {"plugins": PLUGINS}}) as url, aiohttp.ClientSession() as http:
        async with http.post(url / "v1/images/edits", data=form) as response:
            body = await response.json()
    statement = json.loads(base64.b64decode(body["darkroom_receipt"]["payload"]))
    inputs = statement["predicate"]["request"]["inputs"]
    assert [(one["role"], one["index"], one["sha256"]) for one in inputs] == [
        ("reference", 0, hashlib.sha256(png()).hexdigest()),
        ("mask", 0, hashlib.sha256(mask((96, 64))).hexdigest()),
    ]
    assert statement["predicate"]["request"]["mediaType"].startswith("multipart/form-data; boundary=")


@pytest.mark.parametrize("nonce", ["", "a b", "x" * 129, "caf\u00e9"])
async def test_a_nonce_that_is_none_is_refused(nonce: str) -> None:
    async with running({"proxy": {"plugins": PLUGINS}}) as url, aiohttp.ClientSession() as http:
        headers = {"Darkroom-Nonce": nonce}
        async with http.post(url / "v1/chat/completions", data=question(png()), headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["error"]["param"] == "Darkroom-Nonce"


# --- what went out, and came back ---


@dataclass(kw_only=True)
class Service:
    """A provider and its service in one: it keeps what it was sent, and what it answered."""

    name = "service"
    models = frozenset({"drawn"})
    batch = 1
    takes_links = True
    origins = (URL("http://service.invalid"),)
    made: ClassVar[list[Service]] = []

    def __post_init__(self) -> None:
        self.seen: list[tuple[str, bytes, bytes]] = []
        self.made.append(self)

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        pictures = [reference.url for reference in job.references]
        task = yield Call(method="POST", url=self.origins[0] / "draw", json={"p": job.prompt, "pictures": pictures})
        for _ in range(3):
            task = yield Call(method="GET", url=self.origins[0] / "jobs" / "1")
        yield Image.from_base64(task.json["picture"])

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def serve(request: Request, next: Handler) -> Response:
            if request.origin != self.origins[0]:
                return await next(request)
            sent = bytes(request.body.contiguous())
            text = orjson.dumps({"n": len(self.seen), "picture": base64.b64encode(PNG).decode()})
            self.seen.append((request.method, sent, text))
            return Response(status=200, headers=CIMultiDict({"Content-Type": "application/json"}), body=Body(text))

        return serve


def serving(*others: type[Any], **tables: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config, plugins) of a proxy in front of it; the service itself is then `Service.made[-1]`."""
    names = [other.__name__.lower() for other in others]
    known = plug(service=Service, **dict(zip(names, others, strict=True)))
    config = {"proxy": {"plugins": ["signing", *names, "image_edit", "service"]}, "plugins": tables}
    return config, known


async def drawn(http: aiohttp.ClientSession, url: URL, **more: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": "drawn", "prompt": "x", "image": data_url(png()), **more}
    async with http.post(url / "v1/images/edits", json=body) as response:
        return response.status, await response.json()


async def test_what_went_out_and_came_back_is_stated() -> None:
    config, known = serving()
    async with running(config, known) as url, aiohttp.ClientSession() as http:
        status, body = await drawn(http, url)
        linked, _ = await drawn(http, url, image="https://pictures.example/a.png?signature=secret")
    assert (status, linked) == (200, 200)
    statement = json.loads(base64.b64decode(body["darkroom_receipt"]["payload"]))
    calls = statement["predicate"]["forwarded"]["calls"]
    service = Service.made[-1]
    assert [call["method"] for call in calls] == ["POST", "GET"]  # of three questions how it goes, the last
    for call, (method, sent, text) in zip(calls, [service.seen[0], service.seen[3]], strict=True):
        assert call["method"] == method
        assert (call["sha256"], call["length"]) == (hashlib.sha256(sent).hexdigest(), len(sent))
        assert (call["answerSha256"], call["answerLength"]) == (hashlib.sha256(text).hexdigest(), len(text))
        assert (call["origin"], call["status"]) == ("http://service.invalid", 200)


async def test_a_link_is_stated_by_its_digest_alone() -> None:
    config, known = serving()
    link = "https://pictures.example/a.png?signature=secret"
    async with running(config, known) as url, aiohttp.ClientSession() as http:
        _, body = await drawn(http, url, image=link)
    payload = base64.b64decode(body["darkroom_receipt"]["payload"])
    (given,) = json.loads(payload)["predicate"]["request"]["inputs"]
    digest = hashlib.sha256(link.encode()).hexdigest()
    assert given == {"role": "reference", "index": 0, "observed": "link", "urlSha256": digest}
    assert b"secret" not in payload


# --- keys ---


async def test_the_key_is_made_once_and_kept(tmp_path: Path) -> None:
    config = {"proxy": {"plugins": PLUGINS, "state_dir": str(tmp_path / "state")}}
    first, second = await ask(config), await ask(config)
    assert first.key == second.key
    kept = tmp_path / "state" / "signing" / "key.pem"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


async def test_a_key_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "mine.pem").write_bytes(generate())
    config = {"proxy": {"plugins": PLUGINS}, "plugins": {"signing": {"key": f"file:{tmp_path}/mine.pem"}}}
    answer = await ask(config)
    assert answer.key == PrivateKey.read((tmp_path / "mine.pem").read_bytes()).public.pem


@pytest.mark.parametrize("key", ["nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_stops_the_start(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded({"proxy": {"plugins": PLUGINS}, "plugins": {"signing": {"key": key}}})
    (fault,) = caught.value.faults
    assert fault.where == "plugins.signing.key"
    assert key not in str(caught.value)


PEM = generate().decode()


@pytest.mark.parametrize(
    ("table", "where", "what"),
    [
        ({"keys": {"a": {"key": "x"}}}, "keys.a.key", "not a private key in PEM"),
        ({"keys": {"a": {"key": PEM, "not_before": "tomorrow"}}}, "keys.a.not_before", "no date"),
        ({"keys": {"a": {"key": PEM, "not_before": "2026-01-01T00:00:00"}}}, "keys.a.not_before", "no time zone"),
        ({"keys": {"a": {"key": PEM, "not_before": "2027-01-01", "not_after": "2026-01-01"}}}, "keys.a.not_after", "not after"),
        ({"keys": {"a": {"key": PEM, "not_after": "2020-01-01"}}}, "keys", "none of them may sign now"),
        ({"keys": {"a": {"key": PEM, "not_before": "2099-01-01"}}}, "keys", "none of them may sign now"),
        ({"origin_fields": True, "origin_key": PEM}, "origin_key", "not an RSA key of 2048 bits"),
        ({"keep_receipts": -1}, "keep_receipts", "0 or more"),
    ],
)
def test_slips_in_the_config_are_told(table: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded({"proxy": {"plugins": PLUGINS}, "plugins": {"signing": table}})
    (fault,) = caught.value.faults
    assert fault.where == f"plugins.signing.{where}"
    assert what in fault.what


def test_it_must_stand_before_what_it_signs() -> None:
    with pytest.raises(ConfigError, match="must stand before image_edit"):
        loaded({"proxy": {"plugins": ["image_edit", "signing", "sandbox"]}})


async def test_keys_take_over_when_their_time_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next key is published before it signs, the last one after; no restart, and every receipt stays good."""
    moments = [1_800_000_000.0, 1_802_000_000.0, 1_806_000_000.0]  # before, together, after
    now = moments[:1]
    monkeypatch.setattr("time.time", lambda: now[0])
    keys = {
        "old": {"key": generate().decode(), "not_after": "2027-03-01"},
        "new": {"key": generate().decode(), "not_before": "2027-02-01"},
    }
    config = {"proxy": {"plugins": PLUGINS, "state_dir": str(tmp_path)}, "plugins": {"signing": {"keys": keys}}}
    signers, receipts = [], []
    async with running(config) as url, aiohttp.ClientSession() as http:
        for now[0] in moments:
            made = await answered(http, url)
            async with http.get(url / ".well-known/darkroom/keys.json") as response:
                published = await response.read()
            receipts.append((made, published))
            signers.append(made.statement["predicate"]["keyid"])
    old, new = (PrivateKey.read(keys[name]["key"].encode()).public.id for name in ("old", "new"))
    assert signers == [old, new, new]
    for made, published in receipts:
        known = read_keys(published)
        assert {one.key.id for one in known} == {old, new}
        assert verify(Evidence(saved=[made.raw], keys=known)).code == VALID


async def test_a_key_that_is_replaced_stays_published(tmp_path: Path) -> None:
    first, second = generate().decode(), generate().decode()
    config: dict[str, Any] = {"proxy": {"plugins": PLUGINS, "state_dir": str(tmp_path)}}
    before = await ask({**config, "plugins": {"signing": {"key": first}}})
    async with running({**config, "plugins": {"signing": {"key": second}}}) as url, aiohttp.ClientSession() as http:
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            known = read_keys(await response.read())
        async with http.get(url / f".well-known/darkroom/keys/{before.known[0].key.id}.pem") as response:
            assert await response.read() == before.key  # for tools that read no JWKS
        async with http.get(url / f".well-known/darkroom/keys/{'A' * 43}.pem") as response:
            assert response.status == 404
        after = await answered(http, url)
    assert before.key != after.key
    for made in (before, after):
        assert verify(Evidence(saved=[made.raw], keys=known)).code == VALID


class Vault:
    """A key that something else keeps."""

    def __init__(self) -> None:
        self._key = PrivateKey.read(generate())
        self.public = self._key.public
        self.broken: Exception | None = None
        self.other: PrivateKey | None = None

    async def sign(self, message: bytes) -> bytes:
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        return await (self.other or self._key).sign(message)


VAULT = Vault()


@dataclass(kw_only=True)
class Kms:
    """A third party's plugin: a key elsewhere, and an enclave that vouches for it."""

    @hookimpl
    def signing_keys(self) -> Iterable[SigningKey]:
        return [VAULT]

    @hookimpl
    def signing_attestor(self) -> Attestor:
        return self

    async def attest(self, keys_sha256: bytes, nonce: bytes) -> Attestation:
        return Attestation(media_type="application/cose", document=b"doc:" + keys_sha256 + nonce)


@pytest.fixture
def vault() -> Iterable[Vault]:
    yield VAULT
    VAULT.broken = VAULT.other = None


async def test_a_key_elsewhere_signs_and_is_vouched_for(vault: Vault, tmp_path: Path) -> None:
    config, known = serving(Kms)
    config["proxy"]["state_dir"] = str(tmp_path)
    async with running(config, known) as url, aiohttp.ClientSession() as http:
        _, body = await drawn(http, url)
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            published = await response.json()
        async with http.get(f"{url}/.well-known/darkroom/attestation?nonce=0aff") as response:
            document = await response.read()
            kind = response.content_type
        async with http.get(f"{url}/.well-known/darkroom/attestation?nonce=xyz") as response:
            refused = response.status
    assert verify(Evidence(saved=[orjson.dumps(body)], keys=[Known(key=vault.public)])).code == VALID
    assert [key["kid"] for key in published["keys"]] == [vault.public.id]
    required = vault.public.required
    text = orjson.dumps({"keys": [required]}, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(text).digest()
    assert published["attestation"]["keysSha256"] == digest.hex()
    assert published["attestation"]["sha256"] == hashlib.sha256(b"doc:" + digest).hexdigest()
    assert (document, kind, refused) == (b"doc:" + digest + b"\x0a\xff", "application/cose", 400)
    assert not (tmp_path / "signing" / "key.pem").exists()  # none is made that is not wanted


# --- nothing unsigned, nothing lost ---


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["raises", "another key"])
async def test_without_a_signature_the_paid_picture_waits_for_the_retry(
    vault: Vault, stream: bool, how: str, tmp_path: Path
) -> None:
    """No receipt, no picture; but the client that asks again is answered with the one that was made, and nothing is bought."""
    config, known = serving(Kms)
    config["proxy"]["state_dir"] = str(tmp_path)
    more = {"stream": True} if stream else {}
    async with running(config, known) as url, aiohttp.ClientSession() as http:
        vault.broken = ConnectionError("the vault is shut") if how == "raises" else None
        vault.other = PrivateKey.read(generate())
        body = {"model": "drawn", "prompt": "x", "image": data_url(png()), **more}
        for _ in range(2):  # the second time it is signed in vain again, and kept again
            async with http.post(url / "v1/images/edits", json=body) as response:
                told = await response.json()
                assert response.status == 503, told
                assert response.headers["x-should-retry"] == "true"
            assert told["error"]["code"] == "signing_failed"
            assert "vault" not in str(told)
            assert len(Service.made[-1].seen) == 4
        vault.broken = vault.other = None
        async with http.post(url / "v1/images/edits", json={**body, "prompt": "y"}) as response:
            await response.read()
            assert response.status == 200
        assert len(Service.made[-1].seen) == 8  # another request is another picture
        other = {"Authorization": "Bearer another-client"}
        async with http.post(url / "v1/images/edits", json=body, headers=other) as response:
            await response.read()
        assert len(Service.made[-1].seen) == 12  # and so is the same of another client
        async with http.post(url / "v1/images/edits", json=body) as response:
            raw = await response.read()
            assert response.status == 200
        assert len(Service.made[-1].seen) == 12
        verdict = verify(Evidence(saved=[raw], keys=[Known(key=vault.public)]))
        assert verdict.code == VALID, verdict.lines
        assert b"not made anew" in raw
        assert not list((tmp_path / "image_edit" / "kept").iterdir())
        async with http.post(url / "v1/images/edits", json=body) as response:
            await response.read()
        assert len(Service.made[-1].seen) == 16  # it was handed out once


async def test_openais_client_gets_it_by_its_own_retry(vault: Vault) -> None:
    config, known = serving(Kms)
    calls = 0
    sign = Vault.sign

    async def once(self: Vault, message: bytes) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise TimeoutError
        return await sign(self, message)

    async with running(config, known) as url:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Vault, "sign", once)
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=1) as client:
                answer = await client.images.edit(model="drawn", prompt="x", image=("a.png", png()))
    assert answer.data
    assert calls > 1


# --- receipts that are kept ---


async def test_a_receipt_can_be_fetched_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config: dict[str, Any] = {"proxy": {"plugins": PLUGINS, "state_dir": str(tmp_path)}}
    async with running(config) as url, running(config) as another, aiohttp.ClientSession() as http:
        made = await answered(http, url)
        where = f"v1/receipts/{made.headers['Darkroom-Receipt']}"
        for one in (url, another):  # whichever worker is asked
            async with http.get(one / where) as response:
                assert json.loads(await response.read()) == json.loads(made.receipt)
        for unknown in ("rcpt_" + "0" * 32, "rcpt_x", "..%2f..%2fkey.pem", "rcpt_6b04710" + "g" * 25, "%00"):
            async with http.get(f"{url}/v1/receipts/{unknown}") as response:
                assert response.status == 404
                assert (await response.json())["error"]["code"] in ("receipt_not_found", "unknown_url")
        salt = made.body["darkroom_prompt_salt"]
        files = [path.read_bytes() for path in (tmp_path / "signing" / "receipts").rglob("*.json")]
        assert len(files) == 1
        assert salt.encode() not in files[0]
        import time

        later = time.time() + 8 * 86400
        monkeypatch.setattr("plugins.signing.store.time.time", lambda: later)
        async with http.get(url / where) as response:
            assert response.status == 404
        await answered(http, url)
    assert len(list((tmp_path / "signing" / "receipts").rglob("*.json"))) == 1  # the old one is swept away


# --- the command ---


def run(*words: str | Path) -> int:
    return darkroom(["verify", *map(str, words)])


async def test_the_command(answer: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"image.png": answer.image, "answer.json": answer.raw, "receipt.json": answer.receipt, "key.pem": answer.key}
    files |= {"request": answer.sent, "reference.png": answer.reference, "head": answer.head, "other.png": answer.reference}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    at = {name.partition(".")[0]: tmp_path / name for name in files}
    key: list[str | Path] = ["--key", at["key"]]
    assert run(at["image"], at["receipt"], *key) == 0
    assert capsys.readouterr().out.rstrip().endswith("VALID")
    sent: list[str | Path] = ["--request", at["request"], "--reference", at["reference"]]
    all_: list[str | Path] = [*sent, "--prompt", "grayscale", "--nonce", "n-1"]
    assert run(at["answer"], *key, "--head", at["head"], *all_, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "valid"
    assert told["statement"] == answer.statement
    assert run(at["other"], at["receipt"], *key) == 1
    assert run(at["answer"], at["image"]) == 3
    assert run(at["answer"], "--key", at["image"]) == 2
    assert run(tmp_path / "nowhere", *key) == 2
    assert run(at["key"], *key) == 1  # a key is no receipt
    (tmp_path / "head").write_bytes(answer.head.replace(b"HTTP/1.1 200", b"HTTP/1.1 206"))
    assert run(at["answer"], *key, "--head", at["head"]) == 1
    assert "HTTP message signature" in capsys.readouterr().out


# --- as an operator runs it ---

ROTATING = """
    [proxy]
    listen = "127.0.0.1:0"
    workers = 2
    watch = 0
    plugins = ["signing", "image_edit", "sandbox"]
    [plugins.signing]
    key = "file:{key}.pem"
"""


async def test_a_key_is_replaced_under_load_without_a_restart(tmp_path: Path) -> None:
    """Two workers, a reload while they answer: every answer is signed, by the one key or the other, and all stay checkable; a
    receipt is found by whichever worker is asked."""
    for name in ("first", "second"):
        (tmp_path / f"{name}.pem").write_bytes(generate())
    ids = [PrivateKey.read((tmp_path / f"{name}.pem").read_bytes()).public.id for name in ("first", "second")]
    done: list[Answer] = []
    over = asyncio.Event()
    async with operated(tmp_path, ROTATING.format(key="first")) as proxy:
        url = URL(f"http://127.0.0.1:{proxy.port}")

        async def keep_asking() -> None:
            connector = aiohttp.TCPConnector(force_close=True)  # a new connection each time: whichever worker takes it
            async with aiohttp.ClientSession(connector=connector) as http:
                while not over.is_set():
                    done.append(await answered(http, url))

        def signers() -> list[str]:
            return [one.statement["predicate"]["keyid"] for one in done]

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(keep_asking())
            await until("answers by the first key", lambda: len(done) > 6)
            await proxy.reload(ROTATING.format(key="second"))
            await until("answers by the second", lambda: signers()[-6:].count(ids[1]) == 6)
            over.set()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            async with http.get(url / ".well-known/darkroom/keys.json") as response:
                known = read_keys(await response.read())
            for one in done:
                async with http.get(url / "v1/receipts" / one.headers["Darkroom-Receipt"]) as response:
                    assert json.loads(await response.read()) == one.body["darkroom_receipt"]
    assert {one.key.id for one in known} == set(ids)
    assert set(signers()) == set(ids)
    for one in done:
        assert verify(Evidence(saved=[one.raw], keys=known)).code == VALID


async def test_the_plugin_in_the_docs_is_one(vault: Vault) -> None:
    """docs/signing.md: its code is loaded, its key is asked, and its enclave too."""
    page = (Path(__file__).parent.parent / "docs" / "signing.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    space: dict[str, Any] = {"__name__": "acme_vault"}
    exec(compile(code, "docs/signing.md", "exec", dont_inherit=True), space)
    space["VaultKey"].sign = lambda self, message: vault.sign(message)
    config, known = serving()
    config["proxy"]["plugins"] = ["signing", "vault", "image_edit", "service"]
    config["plugins"] = {"vault": {"public_key": vault.public.pem.decode()}}
    async with running(config, {**known, "vault": space["Vault"]}) as url, aiohttp.ClientSession() as http:
        status, body = await drawn(http, url)
        async with http.get(url / ".well-known/darkroom/attestation") as response:
            assert response.status == 500  # NotImplementedError: the reader's to write
    assert status == 200
    assert verify(Evidence(saved=[orjson.dumps(body)], keys=[Known(key=vault.public)])).code == VALID


# --- the origin's verifiers ---


def origins_readme(response: dict[str, Any], public_key_pem: str) -> bool:
    """As the tee-gateway's README has it ("Verify Response Signature"), step by step."""
    public_key = serialization.load_pem_public_key(public_key_pem.encode())
    assert isinstance(public_key, rsa.RSAPublicKey)
    request_hash = bytes.fromhex(response["tee_request_hash"])
    output_hash = bytes.fromhex(response["tee_output_hash"])
    timestamp_bytes = response["tee_timestamp"].to_bytes(32, "big")
    msg_hash = keccak(request_hash + output_hash + timestamp_bytes)
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    try:
        public_key.verify(base64.b64decode(response["tee_signature"]), msg_hash, scheme, hashes.SHA256())
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kept", [False, True])
async def test_the_origins_readme_accepts_our_answer(stream: bool, kept: bool, tmp_path: Path) -> None:
    """Signature, request hash and key id, as its README checks them; and its output hash leads on to every picture."""
    (tmp_path / "rsa.pem").write_bytes(generate_origin())
    signing: dict[str, Any] = {"origin_fields": True}
    if kept:
        signing["origin_key"] = f"file:{tmp_path}/rsa.pem"
    original_request: dict[str, Any] = {
        "model": "sandbox",
        "messages": [{"role": "user", "content": "a h\u00e4t \U0001f3a9"}],
        "temperature": 0.7,
    }
    async with (
        running({"proxy": {"plugins": PLUGINS}, "plugins": {"signing": signing}}) as url,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(url / "v1/chat/completions", json={**original_request, "stream": stream}) as answer:
            raw = await answer.read()
        async with http.get(url / "signing-key") as answer:
            key = await answer.json()
    events = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    response = events[-1] if stream else json.loads(raw)
    assert origins_readme(response, key["public_key"])
    # "Verify Request Hash"
    request_bytes = json.dumps(original_request, sort_keys=True).encode()
    assert keccak(request_bytes).hex() == response["tee_request_hash"]
    # tee_manager.py: the id is the keccak256 of the key's DER form, which is what stands in the PEM
    der = base64.b64decode("".join(key["public_key"].split("\n")[1:-2]))
    assert f"0x{keccak(der).hex()}" == response["tee_id"] == key["tee_id"]
    payload = base64.b64decode(response["darkroom_receipt"]["payload"])
    assert keccak(payload).hex() == response["tee_output_hash"]
    for name in ("tee_request_hash", "tee_output_hash"):
        assert not origins_readme({**response, name: "00" * 32}, key["public_key"])
    assert not origins_readme({**response, "tee_timestamp": response["tee_timestamp"] + 1}, key["public_key"])


@pytest.mark.parametrize(
    ("body", "path", "hashed"),
    [
        (b'{"model":"m","messages":[],"n":2,"stream":true}', "/v1/chat/completions",
         '{"messages": [], "model": "m", "temperature": 0.0}'),
        (b'{"model":"m","messages":[],"temperature":1,"stop":["x"],"max_tokens":5}', "/v1/chat/completions",
         '{"max_tokens": 5, "messages": [], "model": "m", "stop": ["x"], "temperature": 1.0}'),
        (b'{"prompt":"x","model":"m"}', "/v1/images/generations", '{"model": "m", "prompt": "x"}'),
        (b"--b\r\n...", "/v1/images/edits", "--b\r\n..."),
        (b'{"model":"m","messages":[],"temperature":"warm"}', "/v1/chat/completions",
         '{"model":"m","messages":[],"temperature":"warm"}'),
    ],
)  # fmt: skip
async def test_what_the_origins_request_hash_is_of(body: bytes, path: str, hashed: str) -> None:
    request = Request(exchange=Exchange(), method="POST", target=path, headers=CIMultiDict(), body=Body(body))
    assert await request_hash(request) == keccak(hashed.encode())
