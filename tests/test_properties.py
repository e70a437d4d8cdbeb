"""Readers against whatever hypothesis can think of: what each promises is in `fuzz.readers`."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzz import readers
from plugins.image_edit.testing import PNG
from plugins.image_edit.wire import Form
from tests.vectors import FOLDER

# The same inputs on every machine and in every run: what was found stays found, and nothing fails by chance.
SETTINGS = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

DATA_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
TEXT = st.one_of(
    st.text(max_size=40), st.sampled_from(["", DATA_URL, "data:,", "https://a.example/b.png", "1", "true", "auto"])
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)

PART = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "input_text", "image_url", "input_image", "image", "file"])},
        optional={"text": JSON, "image_url": JSON, "image": JSON, "base64": JSON, "url": JSON, "file_id": JSON},
    ),
)
TURN = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"])},
        optional={"content": st.one_of(JSON, st.lists(PART, max_size=4)), "type": TEXT, "result": JSON},
    ),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "model": JSON,
        "prompt": JSON,
        "n": JSON,
        "size": JSON,
        "quality": JSON,
        "stream": JSON,
        "partial_images": JSON,
        "seed": JSON,
        "image": JSON,
        "images": JSON,
        "mask": JSON,
        "messages": st.one_of(JSON, st.lists(TURN, max_size=4)),
        "tools": JSON,
        "input": st.one_of(JSON, st.lists(TURN, max_size=4)),
        "image_config": JSON,
        "response_format": JSON,
        "background": JSON,
        "previous_response_id": JSON,
        "watermark": JSON,
        "output_format": JSON,
    },
)


@pytest.mark.parametrize("dialect", readers.DIALECTS)
@SETTINGS
@example(fields={"input": "a hat", "background": "auto", "tools": True})
@given(fields=st.one_of(FIELDS, st.dictionaries(TEXT, JSON, max_size=6)))
def test_a_dialect_asks_or_refuses(dialect: str, fields: dict[str, Any]) -> None:
    readers.ask(readers.DIALECTS[dialect], Form(fields=fields))


@SETTINGS
@given(text=st.one_of(TEXT, st.builds("data:{};base64,{}".format, st.text(max_size=12), st.text(max_size=60))))
def test_a_reference_is_one_or_is_refused(text: str) -> None:
    readers.data_url(text)


HEADERS = st.sampled_from(
    [
        "application/json",
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "text/plain",
        "multipart/form-data; boundary=" + "x" * 300,
        "application/json; charset=utf-16",
        ";;;",
        "a/b",
    ]
)
PIECES = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\n",
        b"\r",
        b'Content-Disposition: form-data; name="image"',
        b'; filename="a.png"',
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="prompt"',
        b"Content-Type: image/png",
        PNG,
        b"\0",
        b'{"prompt":"x"}',
        b"[" * 50,
        b"\xff",
    ]
)


@SETTINGS
@given(kind=HEADERS, body=st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=12).map(b"".join)), encoding=TEXT)
def test_a_body_is_read_or_refused(kind: str, body: bytes, encoding: str) -> None:
    readers.body(body, kind, encoding if encoding.isascii() and encoding.isprintable() else "")


@SETTINGS
@given(data=st.one_of(st.binary(max_size=200), st.integers(0, len(PNG)).map(lambda end: PNG[:end])))
def test_a_file_is_measured_and_searched_without_a_fault(data: bytes) -> None:
    readers.picture(data)
    readers.manifest(data)


HEADS = st.sampled_from(
    [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"RIFF\x10\0\0\0WEBP",
        b"II*\0",
        b"MM\0*",
        b"BM\0\0\0\0\0\0\0\0",
        b"\0\0\0\x10ftypavif",
    ]
)


@SETTINGS
@given(head=HEADS, rest=st.binary(max_size=300))
def test_whatever_begins_like_a_picture_is_no_fault(head: bytes, rest: bytes) -> None:
    assert readers.picture(head, rest).media_type
    readers.manifest(head, rest)


NAMES = st.sampled_from(
    ["proxy", "plugins", "listen", "routes", "image_edit", "signing", "models", "keys", "fetch", "guards", "limits"]
)
TABLE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXT, inner, max_size=4), max_leaves=12
)


@SETTINGS
@given(proxy=st.dictionaries(NAMES | TEXT, TABLE, max_size=3), plugins=st.dictionaries(NAMES, TABLE, max_size=3))
def test_a_config_is_built_or_every_fault_has_a_place(proxy: dict[str, Any], plugins: dict[str, Any]) -> None:
    config = {"proxy": {"plugins": ["signing", "image_edit", "sandbox"], **proxy}, "plugins": plugins}
    readers.table(config)


WORDS = st.sampled_from(
    [
        b"data: ",
        b"\n\n",
        b"\r\n",
        b": darkroom-receipt ",
        b"[DONE]",
        b'{"darkroom_receipt":',
        b"{",
        b"}",
        b'"payloadType"',
        b"null",
        (FOLDER / "receipt.json").read_bytes(),
        (FOLDER / "answer-images.json").read_bytes(),
        b'"choices":[',
        b"]",
        b'"b64_json":"AAAA"',
    ]
)


@SETTINGS
@given(
    data=st.one_of(
        st.binary(max_size=100), st.lists(WORDS, max_size=10).map(b"".join), JSON.map(lambda value: json.dumps(value).encode())
    )
)
def test_the_verifier_always_answers(data: bytes) -> None:
    readers.verifier(data)
