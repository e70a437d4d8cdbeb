"""The published test vectors: they are made anew byte for byte, and the verifier says of each what they say of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from plugins.image_edit import Image
from plugins.signing.check import Evidence, verify
from plugins.signing.keys import read_keys
from tests.vectors import FOLDER, PROMPT, SALT, SCHEMA, make, schema_text

CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_bytes())
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())


async def test_they_are_made_anew_byte_for_byte() -> None:
    made = await make()
    assert {path.relative_to(FOLDER).as_posix() for path in FILES} == made.keys()
    different = [name for name, data in made.items() if (FOLDER / name).read_bytes() != data]
    assert not different, "run: python -m tests.vectors"
    assert SCHEMA.read_bytes() == schema_text()


def _evidence(case: dict[str, Any]) -> Evidence:
    files = [(FOLDER / name).read_bytes() for name in case["files"]]
    pictures = [data for data in files if Image(data).media_type]
    saved = [data for data in files if not Image(data).media_type]
    keys = read_keys((FOLDER / case["key"]).read_bytes()) if case["key"] else None
    return Evidence(images=pictures, saved=saved, keys=keys)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['files'][0]}-{case['key'] or 'no key'}")
def test_the_verifier_agrees(case: dict[str, Any]) -> None:
    verdict = verify(_evidence(case))
    assert verdict.json["verdict"] == case["verdict"], verdict.lines
    assert case["reason"] in verdict.reason, verdict.reason
    assert all(line.isprintable() for line in verdict.lines)


def test_there_is_a_case_for_every_file() -> None:
    """A vector that nothing checks proves nothing."""
    named = {name for case in CASES for name in [*case["files"], case["key"]]}
    beside = {"cases.json", "statement.json", "pae.bin", "salt.hex", "prompt.txt", "private-key.hex", "request.json"}
    beside |= {"reference.png", "mask.png"}
    assert {path.relative_to(FOLDER).as_posix() for path in FILES} - named == beside


def test_the_schema_takes_the_statement_and_nothing_else() -> None:
    check = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    statement = json.loads((FOLDER / "statement.json").read_bytes())
    check.validate(statement)
    for change in ({"note": "x"}, {"predicateType": "x"}, {"subject": "x"}):
        assert not check.is_valid({**statement, **change})
    for name in statement["predicate"]:
        rest = {key: value for key, value in statement["predicate"].items() if key != name}
        optional = name in ("nonce", "usage", "cost", "stream")
        assert check.is_valid({**statement, "predicate": rest}) is optional, name


def test_request_inputs_and_prompt_are_checked_too() -> None:
    def read(name: str) -> bytes:
        return (FOLDER / name).read_bytes()

    keys = read_keys(read("key.pem"))
    whole = {"saved": [read("answer-chat.json")], "keys": keys}
    more = {"request": read("request.json"), "references": [read("reference.png")], "mask": read("mask.png"), "prompt": PROMPT}
    verdict = verify(Evidence(**whole, **more, nonce="a-nonce-of-the-client"))  # type: ignore[arg-type]
    assert verdict.code == 0, verdict.lines
    for name in more:
        changed = {**more, name: "x" if name == "prompt" else [b"x"] if name == "references" else b"x"}
        assert verify(Evidence(**whole, **changed)).code == 1, name  # type: ignore[arg-type]
    assert verify(Evidence(**whole, nonce="another")).code == 1  # type: ignore[arg-type]
    bare = {"saved": [read("receipt.json")], "images": [read("image-0.png")], "keys": keys}
    assert verify(Evidence(**bare, prompt=PROMPT)).code == 3  # type: ignore[arg-type]  # no salt at hand
    assert verify(Evidence(**bare, prompt=PROMPT, salt=SALT.hex())).code == 0  # type: ignore[arg-type]
    assert verify(Evidence(**bare, prompt=PROMPT, salt="zz")).code == 1  # type: ignore[arg-type]
    assert Path(FOLDER / "prompt.txt").read_text(encoding="utf-8") == PROMPT
