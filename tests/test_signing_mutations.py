"""Vectors with something changed in them at random: the verifier always answers, and never says VALID of what was changed."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import time
from collections.abc import Iterator

import pytest

from plugins.image_edit import Image
from plugins.signing.check import VALID, Evidence, verify
from plugins.signing.keys import read_keys
from tests.vectors import FOLDER

KEYS = read_keys((FOLDER / "key.pem").read_bytes())
FILES = sorted(path.name for path in FOLDER.iterdir() if re.match(r"(answer|stream)-.*|receipt\.json", path.name))


def check(name: str, data: bytes) -> int:
    images = [(FOLDER / "image-0.png").read_bytes()] if name != "stream-text.sse" else []
    if name.endswith(".png"):
        return verify(Evidence(images=[data], saved=[(FOLDER / "receipt.json").read_bytes()], keys=KEYS)).code
    return verify(Evidence(images=images, saved=[data], keys=KEYS)).code


def mutated(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """One change each: a byte, a piece cut out, put in twice or moved, two lines changed places."""
    place = chance.randrange(len(data))
    end = min(len(data), place + chance.choice((1, 1, 2, 7, 60, 900)))
    other = chance.randrange(len(data))
    yield data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
    yield data[:place] + data[end:]
    yield data[:end] + data[place:end] + data[end:]
    rest = data[:place] + data[end:]
    yield rest[:other] + data[place:end] + rest[other:]
    lines = data.split(b"\n")
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    yield b"\n".join(lines)


def pictures(data: bytes) -> list[str]:
    """The sha256 of each picture in base64, wherever it stands: found by other means than the verifier's."""
    runs = [run for run in re.findall(rb"[A-Za-z0-9+/]{60,}", data) if len(run) % 4 != 1]
    found = [base64.b64decode(run + b"=" * (-len(run) % 4)) for run in runs]
    return [hashlib.sha256(run).hexdigest() for run in found if Image(run).media_type]


def covered(name: str, data: bytes) -> object:
    """What may not differ where the verdict is VALID: the pictures; of a stream also every event's data but the last one's.

    White space and fields such as `created` in an answer, and events' names and comments in a stream, are not signed
    (docs/receipts.md).
    """
    if name.endswith(".png"):
        return data
    if name == "stream-text.sse":
        return data.partition(b": darkroom-receipt")[0]
    if name.endswith(".json"):
        return pictures(data)
    events: list[bytes] = []
    lines: list[bytes] = []
    for line in re.split(rb"\r\n|\r|\n", data):
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            events.append(b"\n".join(lines))
            lines = []
    *before, last = [event for event in events if event != b"[DONE]"]
    return before, pictures(last)


@pytest.mark.parametrize("name", [*FILES, "image-0.png"])
def test_what_was_changed_is_never_valid(name: str) -> None:
    data = (FOLDER / name).read_bytes()
    chance = random.Random(name)
    assert check(name, data) == VALID
    before = covered(name, data)
    refused = 0
    for _ in range(60):
        for changed in mutated(data, chance):
            code = check(name, changed)
            if changed == data:
                continue
            if code == VALID:
                assert covered(name, changed) == before, changed[:3000]
            else:
                refused += 1
    assert refused > 150


@pytest.mark.parametrize(
    "data",
    [
        b"data:\n" * 200_000,
        b"data: {}\n\n" * 20_000,
        b'data: {"darkroom_event":{}}\n\n' * 5_000,
        b": darkroom-receipt {}\n" * 20_000,
        b"\r" * 500_000 + b"data: x\n\n",
        b'{"darkroom_receipt":' * 10_000,
        b'{"darkroom_receipt":{"payload":"' + b"A" * 4_000_000 + b'","payloadType":"application/vnd.in-toto+json"}}',
        b'{"darkroom_receipt":{},' + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}",
        b'{"darkroom_receipt":{},"choices":[' + b",".join([b'{"message":{"content":"![image](data:"}}'] * 20_000) + b"]}",
        b'{"darkroom_receipt":{},"choices":[{"message":{"content":"' + b"![image](data:" * 50_000 + b'"}}]}',
    ],
    ids=range(10),
)
def test_what_is_large_is_answered_in_a_moment(data: bytes) -> None:
    begun = time.process_time()
    assert verify(Evidence(saved=[data], keys=KEYS)).code != VALID
    assert time.process_time() - begun < 30  # no test of speed: what is quadratic takes minutes here
