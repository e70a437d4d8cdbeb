"""What stand-ins for image services have in common: a port, a record of what came, faults by script, and drawing."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import io
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from aiohttp import web
from multidict import CIMultiDict
from PIL import Image
from yarl import URL

from tests.emulators.ark_faults import Cut, Raw

__all__ = [
    "Cut",
    "Picture",
    "Raw",
    "Refused",
    "Seen",
    "Service",
    "draw",
    "mistyped",
    "read_any_base64",
    "read_base64",
    "read_data_url",
    "read_json",
]

Picture = Image.Image


class Refused(Exception):
    """An error answer, with whatever JSON the service gives."""

    def __init__(self, status: int, body: object, **headers: str) -> None:
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(kw_only=True)
class Seen:
    """One request, and what became of it."""

    method: str
    path: str
    headers: CIMultiDict[str] = field(repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    references: list[str] = field(default_factory=list)  # sha256 of each, or its link
    status: int = 0
    pictures: int = 0  # billed


class Service:
    """A service on a port of its own, below `root`. `script` queues faults for the next valid requests."""

    root: ClassVar[str] = ""

    def __init__(self) -> None:
        self.url = URL()
        self.requests: list[Seen] = []
        self._faults: deque[Any] = deque()

    @property
    def pictures(self) -> int:
        """Billed."""
        return sum(seen.pictures for seen in self.requests)

    def script(self, *faults: Any) -> None:
        """A Refused, Raw or Cut for each of the next requests that are valid, or what the service itself understands."""
        self._faults.extend(faults)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{anything:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = URL(f"http://127.0.0.1:{self._runner.addresses[0][1]}").joinpath(self.root)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        """A JSON value, or a web.Response. Raises Refused."""
        raise NotImplementedError

    def fault(self, seen: Seen) -> Any:
        """The next fault, if the base class has no way with it; called when a request was found valid. Raises it otherwise."""
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, (Refused, _Broken)):
            raise fault
        if isinstance(fault, (Raw, Cut)):
            raise _Broken(fault)
        return fault

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(method=request.method, path=request.path_qs, headers=CIMultiDict(request.headers))
        self.requests.append(seen)
        try:
            made = self.answer(request, await request.read(), seen)
        except Refused as refused:
            seen.status = refused.status
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)
        except _Broken as broken:
            return await _break(broken.fault, request, seen)
        if isinstance(made, web.StreamResponse):
            seen.status = made.status
            return made
        seen.status = 200
        return web.json_response(made, headers={"x-request-id": f"id-{len(self.requests)}"})


class _Broken(Exception):
    def __init__(self, fault: Raw | Cut) -> None:
        self.fault = fault


async def _break(fault: Raw | Cut, request: web.Request, seen: Seen) -> web.StreamResponse:
    if isinstance(fault, Raw):
        seen.status = fault.status
        return web.Response(body=fault.body, status=fault.status, content_type=fault.content_type)
    seen.pictures = 1
    assert request.transport is not None
    request.transport.close()
    await asyncio.sleep(0)
    return web.Response()


def read_json(request: web.Request, raw: bytes) -> dict[str, Any]:
    """The body. Raises ValueError for what is no JSON object, or is not called JSON."""
    if request.content_type != "application/json":
        raise ValueError(f"Content-Type is {request.content_type}")
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def mistyped(body: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> str | None:
    """The first field that is none of its kinds: a number's text is no number, and neither is a true."""
    wrong = (name for name, kind in kinds.items() if name in body and type(body[name]) not in kind)
    return next(wrong, None)


def read_base64(text: str, kind: str) -> tuple[Picture, str]:
    """(picture, its sha256) of strict base64 that must be a picture of the claimed `kind`: png, jpeg ... Raises ValueError."""
    data = binascii.a2b_base64(text, strict_mode=True)
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, SyntaxError) as error:
        raise ValueError("no picture") from error
    if (picture.format or "").lower() != kind:
        raise ValueError(f"it is {picture.format}, and is said to be {kind}")
    return picture.convert("RGB"), hashlib.sha256(data).hexdigest()


def read_any_base64(text: str) -> tuple[Picture, str]:
    """(picture, its sha256) of strict, bare base64, of whatever kind. Raises ValueError."""
    data = binascii.a2b_base64(text, strict_mode=True)
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, SyntaxError) as error:
        raise ValueError("no picture") from error
    return picture.convert("RGB"), hashlib.sha256(data).hexdigest()


def read_data_url(url: str, kinds: Sequence[str] = ("png", "jpeg", "webp")) -> tuple[Picture | None, str]:
    """(picture, its sha256) of a data URL; (None, link) of a link, which nobody follows here. Raises ValueError."""
    if re.match("https?://", url):
        return None, url
    head = re.match(f"data:image/({'|'.join(kinds)});base64,", url)
    if head is None:
        raise ValueError("no data URL of a known kind")
    return read_base64(url[head.end() :], head[1])


_DRAWN = 256 * 256  # pixels of a drawn picture at most: tests want many pictures, not large ones


def draw(seed: str, size: tuple[int, int], files: Sequence[Picture] = (), kind: str = "PNG") -> bytes:
    """A real picture of that shape: what the seed decides, below the references side by side."""
    scale = min(1.0, (_DRAWN / (size[0] * size[1])) ** 0.5)
    width, height = round(size[0] * scale), round(size[1] * scale)
    blocks = hashlib.shake_256(seed.encode("utf-8", "surrogatepass")).digest(4 * 4 * 3)
    made = Image.frombytes("RGB", (4, 4), blocks).resize((width, height), Image.Resampling.NEAREST)
    for place, file in enumerate(files):
        left, right = width * place // len(files), width * (place + 1) // len(files)
        made.paste(file.resize((right - left, height * 3 // 4)), (left, 0))
    out = io.BytesIO()
    made.save(out, kind, **({"compress_level": 1} if kind == "PNG" else {"quality": 95}))
    return out.getvalue()
