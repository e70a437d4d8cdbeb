"""Receipts: real answers verified by our verifier and by stock openssl; whatever is changed in them shows."""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import json
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from plugins.signing.envelope import pre_authentication
from plugins.signing.keys import PrivateKey, PublicKey, generate
from plugins.signing.verify import INCOMPLETE, INVALID, VALID, verify
from proxy_core import ConfigError
from proxy_core.testing import loaded, running
from tests.pictures import png

PLUGINS = ["signing", "image_edit", "sandbox"]


@dataclass
class Answer:
    body: dict[str, Any]
    sent: bytes  # the request's body
    reference: bytes
    image: bytes
    receipt: bytes
    key: bytes
    headers: dict[str, str]


async def ask(config: dict[str, Any]) -> Answer:
    reference = png()
    url_ = f"data:image/png;base64,{base64.b64encode(reference).decode()}"
    parts = [{"type": "text", "text": "grayscale"}, {"type": "image_url", "image_url": {"url": url_}}]
    sent = orjson.dumps({"model": "sandbox", "messages": [{"role": "user", "content": parts}]})
    async with running(config) as url, aiohttp.ClientSession() as http:
        async with http.post(url / "v1/chat/completions", data=sent, headers={"Content-Type": "application/json"}) as response:
            assert response.status == 200
            body = await response.json()
            headers = dict(response.headers)
        async with http.get(url / ".well-known/darkroom/key.pem") as response:
            key = await response.read()
        async with http.get(url / ".well-known/darkroom/keys.json") as response:
            (jwk,) = (await response.json())["keys"]
    assert jwk["kid"] == PublicKey.read(key).id
    image = base64.b64decode(body["choices"][0]["message"]["images"][0]["image_url"]["url"].partition(",")[2])
    return Answer(body, sent, reference, image, orjson.dumps(body["darkroom_receipt"]), key, headers)


@pytest.fixture
async def answer() -> Answer:
    return await ask({"proxy": {"plugins": PLUGINS}})


async def test_a_real_answer_is_valid(answer: Answer) -> None:
    verdict = verify([answer.image], answer.receipt, PublicKey.read(answer.key))
    assert verdict.code == VALID
    assert verdict.lines[-1] == "VALID"
    whole = verify([answer.image], orjson.dumps(answer.body), PublicKey.read(answer.key))
    assert whole.code == VALID  # the saved answer serves as well as the receipt taken out of it


async def test_what_is_stated(answer: Answer) -> None:
    statement = json.loads(base64.b64decode(json.loads(answer.receipt)["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [subject["digest"] for subject in statement["subject"]] == [{"sha256": hashlib.sha256(answer.image).hexdigest()}]
    predicate = statement["predicate"]
    assert predicate["request"]["sha256"] == hashlib.sha256(answer.sent).hexdigest()
    (reference,) = predicate["request"]["references"]
    assert reference["sha256"] == hashlib.sha256(answer.reference).hexdigest()
    assert reference["length"] == len(answer.reference)
    assert predicate["upstream"]["provider"] == "sandbox"
    assert predicate["upstream"]["modelAsked"] == "sandbox"
    assert predicate["receipt"] == answer.headers["Darkroom-Receipt"]
    assert predicate["keyid"] == PublicKey.read(answer.key).id


async def test_openssl_accepts_it(answer: Answer, tmp_path: Path) -> None:
    envelope = json.loads(answer.receipt)
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "signed").write_bytes(pre_authentication(payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "key.pem").write_bytes(answer.key)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "signed"]
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Verified OK", done.stderr


async def test_without_a_key_it_is_incomplete(answer: Answer) -> None:
    assert verify([answer.image], answer.receipt, None).code == INCOMPLETE


async def test_one_flipped_bit_of_the_image(answer: Answer) -> None:
    flipped = bytearray(answer.image)
    flipped[len(flipped) // 2] ^= 1
    assert verify([bytes(flipped)], answer.receipt, PublicKey.read(answer.key)).code == INVALID


async def test_a_foreign_key_is_not_trusted_even_if_the_receipt_names_it(answer: Answer) -> None:
    other = PrivateKey.read(generate())
    envelope = json.loads(answer.receipt)
    payload = base64.b64decode(envelope["payload"])
    forged = {
        **envelope,
        "signatures": [
            {"keyid": PublicKey.read(answer.key).id, "sig": base64.b64encode(other.sign(pre_authentication(payload))).decode()}
        ],
    }
    verdict = verify([answer.image], orjson.dumps(forged), PublicKey.read(answer.key))
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
    statement = json.loads(base64.b64decode(envelope["payload"]))
    leaves = _leaves(statement)
    assert len(leaves) > 15
    for path in leaves:
        changed = copy.deepcopy(statement)
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        value = inner[path[-1]]
        inner[path[-1]] = value + 1 if isinstance(value, int) else f"{value}x"
        forged = {**envelope, "payload": base64.b64encode(orjson.dumps(changed)).decode()}
        verdict = verify([answer.image], orjson.dumps(forged), PublicKey.read(answer.key))
        assert verdict.code == INVALID, path


def change(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda envelope: {**envelope, name: value}


@pytest.mark.parametrize(
    "broken",
    [
        lambda envelope: [],
        lambda envelope: "text",
        lambda envelope: {},
        change("payload", "%%%"),
        change("payload", 7),
        change("payload", base64.b64encode(b"not json").decode()),
        change("payload", base64.b64encode(b"[]").decode()),
        change("payloadType", "text/plain"),
        change("signatures", []),
        change("signatures", {}),
        change("signatures", [7]),
        change("signatures", [{"sig": None}]),
        change("signatures", [{"keyid": 7, "sig": "AAAA"}]),
        change("signatures", [{"keyid": "\x1b[31m", "sig": ""}]),
    ],
)
async def test_a_broken_receipt_is_invalid_and_no_traceback(answer: Answer, broken: Callable[[Any], object]) -> None:
    verdict = verify([answer.image], orjson.dumps(broken(json.loads(answer.receipt))), PublicKey.read(answer.key))
    assert verdict.code == INVALID
    assert all(line.isprintable() for line in verdict.lines)
    assert verify([answer.image], answer.receipt[:-40], PublicKey.read(answer.key)).code == INVALID


async def test_a_stream_carries_its_receipt_too() -> None:
    body = {"model": "sandbox", "stream": True, "messages": [{"role": "user", "content": "a sun"}]}
    async with running({"proxy": {"plugins": PLUGINS}}) as url, aiohttp.ClientSession() as http:
        async with http.post(url / "v1/chat/completions", json=body) as response:
            events = [line[6:] for line in (await response.read()).split(b"\n") if line.startswith(b"data: {")]
        async with http.get(url / ".well-known/darkroom/key.pem") as response:
            key = PublicKey.read(await response.read())
    first, last = map(json.loads, events)
    image = base64.b64decode(first["choices"][0]["delta"]["images"][0]["image_url"]["url"].partition(",")[2])
    assert verify([image], orjson.dumps(last), key).code == VALID


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
