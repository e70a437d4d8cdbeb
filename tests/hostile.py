"""A proxy that is sent whatever anybody can think of, and a judge of what it answers: for the batteries of hostile requests."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from plugins.image_edit import Call, Image, Job, Link, Provider, Rules, Shapes, Steps
from plugins.image_edit.testing import PNG
from proxy_core import Handler, Middleware, Request, Response, hookimpl
from proxy_core.testing import plug, running
from tests.emulators import gpt_image
from tests.emulators.gpt_image import GptImage

LIMIT = 32 * 1024 * 1024  # bytes of a body
SECONDS = 60.0  # for one answer, while fifteen others are asked for and the machine is busy: what hangs does so for ever
LOOSE, SHAPED, STRICT, SANDBOX = "loose", "shaped", "gpt-image-2", "sandbox"

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
SURFACES = {"chat": CHAT, "responses": RESPONSES, "generations": GENERATIONS, "edits": EDITS}

B64 = base64.b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{B64}"


@dataclass(kw_only=True)
class Loose:
    """A service that takes everything, and so is sent everything: whatever cannot be sent shows."""

    name = "loose"
    models = {
        LOOSE: Rules(others=True, mask=True, fields=frozenset({"size", "seed", "quality", "output_format", "background"})),
        SHAPED: Rules(shapes=Shapes(ratios=("1:1", "16:9", "auto"), resolutions={"1K": 1024 * 1024, "2K": 2048 * 2048})),
    }
    batch = 10
    takes_links = True
    origins = (URL("http://loose.invalid"),)

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        references = [one.url if isinstance(one, Link) else one.data_url for one in job.references]
        options = {"size": job.size, "seed": job.seed, "quality": job.quality, "n": job.n, "mask": job.mask and job.mask.base64}
        reply = yield Call(
            method="POST",
            url=self.origins[0] / "make",
            json={"prompt": job.prompt, "references": references, **options, "extra": job.extra},
        )
        for _ in range(reply.json["n"]):
            yield Image(PNG)

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def answer(request: Request, next: Handler) -> Response:
            if request.origin != self.origins[0]:
                return await next(request)
            body = b"".join([bytes(chunk) async for chunk in request.body.chunks()])
            return Response.json({"n": json.loads(body)["n"]})

        return answer


@dataclass(kw_only=True)
class Counted:
    """Counts what is sent on by whose request it is sent for."""

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def count(request: Request, next: Handler) -> Response:
            if request.origin is not None:
                SENT[request.exchange.id] += 1
            return await next(request)

        return count


SENT: Counter[str] = Counter()  # by the request's id
NUMBERS = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Vector:
    """A request, and what is right: the status, and which field the error names ("a*" is one within `a`, "*" any or none)."""

    path: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})  # "" leaves one out
    status: int = 400
    param: str | None = "*"
    code: str = "*"


class Errors(logging.Handler):
    """What the proxy calls its own mistake, or a plugin's."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


@dataclass
class House:
    """The proxy, its client, and the strict service behind it."""

    url: URL
    client: aiohttp.ClientSession
    service: GptImage
    errors: Errors

    async def answer(self, vector: Vector) -> tuple[int, bytes, str]:
        """(status, body, id)."""
        name = f"vector-{next(NUMBERS)}"
        url = self.url.join(URL(vector.path))
        async with asyncio.timeout(SECONDS):
            async with self.client.post(
                url,
                data=io.BytesIO(vector.body),
                headers={**{key: value for key, value in vector.headers.items() if value}, "X-Request-ID": name},
                skip_auto_headers=[key for key, value in vector.headers.items() if not value],
            ) as answer:
                return answer.status, await answer.read(), name

    async def fault(self, vector: Vector) -> str | None:
        """What is wrong with the answer; None if nothing is."""
        try:
            status, body, name = await self.answer(vector)
        except TimeoutError:
            return f"no answer within {SECONDS:g} s"
        except aiohttp.ClientError as error:
            return f"no answer: {error!r}"
        return judged(vector, status, body, SENT[name])

    async def hold(self, vectors: Mapping[str, Vector]) -> None:
        """Every one of these is answered as it should be, nobody is asked for a refused one, and the proxy is well after."""
        gate = asyncio.Semaphore(16)

        async def one(name: str, vector: Vector) -> str | None:
            async with gate:
                fault = await self.fault(vector)
            return None if fault is None else f"{vector.path} {name}: {fault}"

        self.errors.lines.clear()
        billed = self.service.pictures
        faults = [fault for fault in await asyncio.gather(*(one(*item) for item in vectors.items())) if fault]
        assert not faults, f"{len(faults)} of {len(vectors)}:\n" + "\n".join(faults[:200])
        assert vectors
        if all(vector.status != 200 for vector in vectors.values()):
            assert self.service.pictures == billed
        assert [seen.status for seen in self.service.requests if seen.status != 200] == []  # what was sent was good
        await self.well()

    async def well(self) -> None:
        """An ordinary request is answered, and nothing went wrong inside."""
        vector = Vector(path=GENERATIONS, body=written({"model": LOOSE, "prompt": "a hat"}), status=200)
        assert await self.fault(vector) is None
        assert not self.errors.lines


def judged(vector: Vector, status: int, body: bytes, sent: int) -> str | None:
    """What is wrong with an answer; None if nothing is."""
    shown = f"{status} {body[:300]!r}"
    if status != vector.status:
        return f"is not {vector.status}: {shown}"
    if status == 200:
        return None if sent else f"nobody was asked: {shown}"
    if sent:
        return f"{sent} calls went out: {shown}"
    if len(body) > 2000:
        return f"tells {len(body)} bytes: {shown}"
    error = json.loads(body)["error"]
    if sorted(error) != ["code", "message", "param", "type"] or error["type"] != "invalid_request_error":
        return f"is not of OpenAI's shape: {shown}"
    if not error["message"] or not isinstance(error["code"], str):
        return f"does not say what is wrong: {shown}"
    if not names(error["param"], vector.param):
        return f"names {error['param']!r}, not {vector.param!r}: {shown}"
    if vector.code != "*" and error["code"] != vector.code:
        return f"is not {vector.code}: {shown}"
    return None


def names(told: str | None, wanted: str | None) -> bool:
    """Whether `told` is the field that was wanted, or one within it where that ends in a star."""
    if wanted is None or told is None or not wanted.endswith("*"):
        return told == wanted or wanted == "*"
    return (told.startswith(wanted[:-1]) and told[len(wanted) - 1 :][:1] in ("", ".", "[")) or wanted == "*"


@asynccontextmanager
async def house(*, signed: bool = False) -> AsyncIterator[House]:
    async with GptImage() as service:
        setup: dict[str, Any] = gpt_image.setup(service)
        plugins = [*(["signing"] if signed else []), "image_edit", "counted", "openai", "loose", "sandbox"]
        tables = {**setup["plugins"], "image_edit": {**setup["plugins"]["image_edit"], "body_limit": LIMIT}}
        config = {"proxy": {"plugins": plugins}, "plugins": tables}
        errors = Errors()
        log = logging.getLogger("darkroom")
        log.addHandler(errors)
        try:
            async with (
                running(config, plug(loose=Loose, counted=Counted), environ=setup["environ"]) as url,
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
            ):
                yield House(url, client, service, errors)
        finally:
            log.removeHandler(errors)


def written(value: object) -> bytes:
    """As JSON; where "@" stands in it, something else is put."""
    return json.dumps(value, separators=(",", ":")).encode()


def holed(value: object, filling: bytes) -> bytes:
    """`value` as JSON with `filling` in the place of its "@"."""
    text = written(value)
    assert text.count(b'"@"') == 1
    return text.replace(b'"@"', filling)


# --- forms ---

FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def text(name: str, value: str | bytes, more: bytes = b"") -> bytes:
    """A part; `more` are further lines of its head."""
    return (
        f'Content-Disposition: form-data; name="{name}"\r\n'.encode()
        + more
        + b"\r\n"
        + (value if isinstance(value, bytes) else value.encode())
    )


def file(name: str, data: bytes = PNG, kind: bytes = b"image/png", more: bytes = b"") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\n'.encode()
    return head + b"Content-Type: " + kind + b"\r\n" + more + b"\r\n" + data


def form(*parts: bytes, boundary: bytes = b"b", end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + end


ASKED = (text("model", LOOSE), text("prompt", "a hat"))
