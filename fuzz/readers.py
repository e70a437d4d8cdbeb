"""What each reader of foreign bytes promises: a value, or its own kind of error. Each function here holds one to that.

The tests with hypothesis and the fuzz targets share these, so that neither forgives what the other does not.
"""

# ruff: noqa: PT017  # these are no tests: what is raised is theirs to see

from __future__ import annotations

import base64
import functools
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import orjson
from multidict import CIMultiDict

from plugins.image_edit import Image, Rules, Shapes, Sizes
from plugins.image_edit.ask import Ask, Dialect, job, reference
from plugins.image_edit.c2pa import c2pa
from plugins.image_edit.dialects.chat import Chat
from plugins.image_edit.dialects.images import EDITS, GENERATIONS
from plugins.image_edit.dialects.responses import Responses
from plugins.image_edit.fit import fit
from plugins.image_edit.wire import Form, json_pieces, read_events, read_form
from plugins.signing.check import Evidence, verify
from plugins.signing.keys import Known, read_keys
from plugins.signing.saved import read_saved
from proxy_core import Body, ClientError, ConfigError, Exchange, Request
from proxy_core.http1 import AnswerParser, BadAnswer
from proxy_core.loader import load_text
from proxy_core.testing import loaded

T = TypeVar("T")

VECTORS = Path(__file__).resolve().parent.parent / "docs" / "receipt-vectors"
DIALECTS: dict[str, Dialect] = {"chat": Chat(), "generations": GENERATIONS, "edits": EDITS, "responses": Responses()}

# Models of every kind: what is asked is made to fit each.
_MODELS = (
    Rules(others=True, mask=True, fields=frozenset({"size", "aspect_ratio", "resolution", "seed", "quality"})),
    Rules(sizes=Sizes(area=(256, 4096 * 4096), side=(16, 4096), step=16), values={"seed": range(1000)}, mask=True),
    Rules(sizes=Sizes(labels=("1K", "2K", "4K"), custom=False, presets={"2K": ("2048x2048", "2304x1728")}, default="2K")),
    Rules(sizes=Sizes(labels=("1024x1024", "1536x1024"), custom=False, default="1024x1024")),
    Rules(shapes=Shapes(ratios=("1:1", "16:9", "auto"), resolutions={"1K": 1 << 20, "2K": 1 << 22})),
    Rules(shapes=Shapes(ratios=("1:1", "3:2"), follows=True), edit_fields=frozenset({"strength"})),
)


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing but its turn; an event loop for each input would be most of the time."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def refused(error: ClientError) -> None:
    """A refusal has a status, says what is wrong, and can be told."""
    assert 400 <= error.status < 500
    assert error.message
    assert len(error.message) < 1000
    orjson.dumps(error.body())


def ask(dialect: Dialect, form: Form) -> Ask | None:
    """A dialect asks or refuses; what it asks has a prompt, and can be made to fit every kind of model and be sent to it."""
    try:
        asked = dialect.parse(form)
    except ClientError as error:
        refused(error)
        return None
    assert isinstance(asked, Ask)
    assert asked.prompt.strip()
    made = job(asked, name="m", model="m", like="m")
    for rules in _MODELS:
        try:
            fitted, warnings = fit(made, rules, reject=False)
        except ClientError as error:
            refused(error)
            continue
        assert all(len(warning) < 1000 for warning in warnings)
        json_pieces(
            {"input": [{"size": fitted.size, "shape": fitted.aspect_ratio, "extra": fitted.extra, "seed": fitted.seed}]}
        )
    return asked


def body(data: bytes, kind: str, encoding: str = "") -> Form | None:
    """A body is a form or refused."""
    headers = CIMultiDict({"Content-Type": kind})
    if encoding:
        headers["Content-Encoding"] = encoding
    request = Request(exchange=Exchange(), method="POST", target="/", headers=headers, body=Body(data))
    try:
        form = finished(read_form(request, 1 << 20))
    except ClientError as error:
        refused(error)
        return None
    assert isinstance(form, Form)
    assert all(isinstance(name, str) and name for upload in form.uploads for name in [upload.name])
    return form


def data_url(text: str) -> Image | None:
    """A reference is a link, a picture, or refused; a picture's base64 is the same picture's, or broken and found to be."""
    try:
        given = reference(text, "image")
    except ClientError as error:
        refused(error)
        assert error.param == "image"
        return None
    assert given.param == "image"
    if not isinstance(given.value, Image):
        return None
    try:
        finished(given.value.verify())
    except ValueError:
        return None
    raw = b"".join(map(bytes, given.value.chunks()))
    assert raw == base64.b64decode(b"".join(given.value.base64_chunks()), validate=True)
    assert len(raw) == given.value.size
    assert given.value.at(3, 20) == raw[3:23]
    return given.value


def picture(*chunks: bytes) -> Image:
    """A file is measured without a fault, however it is cut into chunks, and whether it comes as bytes or as base64."""
    image, other = Image(*chunks), Image.from_base64(base64.b64encode(b"".join(chunks)).decode())
    assert image.media_type == other.media_type
    assert image.pixels == other.pixels
    assert image.pixels is None or min(image.pixels) > 0
    try:
        image.bound(1 << 28)
    except ValueError as error:
        assert str(error)
    return image


def manifest(*chunks: bytes) -> None:
    """A file is searched for a manifest without a fault; how it is cut changes nothing."""
    found = c2pa(Image(*chunks))
    assert found in ("present", "absent", "unknown")
    assert found == c2pa(Image(b"".join(chunks)))


def config(text: str) -> None:
    """A config file is built, or every fault in it is told."""
    try:
        load_text(text, Path("/nowhere/config.toml"))
    except ConfigError as error:
        _faulty(error)


def table(value: Mapping[str, Any]) -> None:
    """The same for a table."""
    try:
        loaded(value)
    except ConfigError as error:
        _faulty(error)


def _faulty(error: ConfigError) -> None:
    assert error.faults
    assert all(fault.what for fault in error.faults)


@functools.cache
def _keys() -> Sequence[Known]:
    return read_keys((VECTORS / "key.pem").read_bytes())


def verifier(data: bytes) -> None:
    """Whatever is to be verified has a verdict, in words that may be shown; what is no key or answer is refused with some."""
    verdict = verify(Evidence(saved=[data], keys=_keys(), head=data, request=data))
    assert verdict.lines
    assert all(line.isprintable() for line in verdict.lines)
    for read in (read_keys, read_saved):
        try:
            read(data)
        except ValueError as error:
            assert str(error)


def events(chunks: Sequence[bytes], limit: int = 1 << 16) -> list[bytes] | None:
    """A stream's events are the same however it is cut; one that is too long is a ValueError."""

    async def stream(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def read(pieces: Sequence[bytes]) -> list[bytes]:
        async with aclosing(read_events(stream(pieces), limit=limit)) as found:
            return [event async for event in found]

    try:
        found = finished(read(chunks))
    except ValueError:
        return None
    whole = b"".join(chunks)
    if len(whole) < limit // 2:
        assert found == finished(read([whole]))
        assert found == finished(read([whole[n : n + 1] for n in range(len(whole))]))
    return found


def answer(chunks: Sequence[bytes], method: str = "POST") -> None:
    """An HTTP answer is read, or is no good one, however it is cut: a connection that is kept has been understood whole."""
    seen = [_answer(chunks, method), _answer([b"".join(chunks)], method)]
    assert seen[0] == seen[1], f"cut, it is {seen[0]}, and as a whole {seen[1]}"


def _answer(chunks: Sequence[bytes], method: str) -> tuple[object, ...]:
    parser = AnswerParser(method, upgrading=False)
    try:
        taken = b""
        for chunk in chunks:
            parser.feed(chunk)
            taken += parser.take()
        parser.feed_eof()
        fields = None if parser.fields is None else tuple(parser.fields.items())
        return parser.status if parser.fields is not None else 0, fields, taken, parser.complete
    except BadAnswer as error:
        assert str(error)
        return ("bad",)
    finally:
        parser.close()
