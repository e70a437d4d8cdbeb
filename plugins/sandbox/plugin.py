"""The provider and its middleware: it calls a host that does not exist, and answers that host itself, in a thread."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pluggy
import pybase64
from yarl import URL

from plugins.image_edit import Call, Image, Job, Provider, Rules, Sizes, Steps
from proxy_core import (
    ClientError,
    ConfigError,
    Fault,
    Handler,
    Middleware,
    Request,
    Response,
    hookimpl,
)

_ORIGIN = URL("http://sandbox.invalid")  # RFC 6761: never a real host
_FORMATS = ("png", "jpeg", "webp")

_RULES = Rules(
    references=16,
    fields=frozenset({"seed", "output_format"}),
    values={"output_format": frozenset(_FORMATS), "seed": range(-(2**63), 2**63)},
    sizes=Sizes(area=(256, 4096 * 4096), side=(16, 4096), ratio=256.0),
    mask=True,
)


@dataclass(kw_only=True)
class Sandbox:
    """An image service inside the proxy: it really edits the picture, by a handful of plain requests."""

    threads: int = 2
    """Pictures worked on at once."""

    name = "sandbox"
    models = {"sandbox": _RULES, "sandbox-edit": _RULES}  # noqa: RUF012
    batch = 1
    takes_links = False
    origins = (_ORIGIN,)

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise ValueError("threads: must be from 1 to 64")
        if importlib.util.find_spec("PIL") is None:
            raise ValueError("needs Pillow: pip install 'darkroom-proxy[sandbox]'")

    @hookimpl
    def proxy_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        # Registered in reverse, so the operator's order is this list from its end.
        order = [name for name, _ in pluginmanager.list_name_plugin()][::-1]
        if "image_edit" in order and order.index("image_edit") > order.index("sandbox"):
            what = "list 'sandbox' after 'image_edit': it answers what image_edit sends on"
            raise ConfigError([Fault("proxy.plugins", what)])

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        reply = yield Call(
            method="POST",
            url=_ORIGIN / "edit",
            json={
                "prompt": job.prompt,
                "images": [image.base64 for image in job.images],
                "mask": job.mask.base64 if job.mask else None,
                "size": job.size,
                "seed": job.seed or 0,
                "output_format": job.output_format or "png",
            },
        )
        yield Image.from_base64(reply.json["image"])

    @hookimpl
    def proxy_lifespan(self) -> AbstractAsyncContextManager[object]:
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        # Threads of its own: a client that leaves takes its waiting work with it, and nobody else's work waits behind.
        self._threads = ThreadPoolExecutor(self.threads, thread_name_prefix="sandbox")
        try:
            yield
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        gate = asyncio.Semaphore(self.threads)

        async def answer(request: Request, next: Handler) -> Response:
            if request.origin is None or request.origin != _ORIGIN:
                return await next(request)
            await gate.acquire()
            try:
                chunks = [bytes(chunk) async for chunk in request.body.chunks()]
                work = asyncio.get_running_loop().run_in_executor(self._threads, _edit, chunks)
            except BaseException:
                gate.release()
                raise
            # A thread cannot be stopped: its place is free when it is done, and not when its client leaves.
            work.add_done_callback(lambda done: gate.release())
            return await asyncio.shield(work)

        return answer


def _edit(chunks: list[bytes]) -> Response:
    """The service behind the host that does not exist; it runs in a thread, parsing and all."""
    from .pixels import UnreadableImage, edit  # Pillow is loaded where it is used

    body: dict[str, Any] = orjson.loads(b"".join(chunks))
    kind = body["output_format"]
    if kind not in _FORMATS:
        raise ClientError(
            f"output_format must be one of {', '.join(_FORMATS)}", param="output_format", code="invalid_value"
        )
    mask = body["mask"]
    try:
        picture = edit(
            body["prompt"],
            [pybase64.b64decode(image) for image in body["images"]],
            size=_size(body["size"]),
            output_format=kind,
            seed=body["seed"],
            mask=pybase64.b64decode(mask) if mask else None,
        )
    except UnreadableImage as error:
        param = f"image[{error.index}]"
        raise ClientError(f"{param}: {error}", param=param, code="invalid_image") from None
    except ValueError as error:
        raise ClientError(str(error), param="mask" if mask else None, code="invalid_value") from None
    return Response.json({"image": pybase64.b64encode(picture).decode()})


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise ClientError(f"size must be WIDTHxHEIGHT, not {text[:40]!r}", param="size", code="invalid_value")
    sides = int(width), int(height)
    if not all(16 <= side <= 4096 for side in sides):
        raise ClientError("size must have sides from 16 to 4096 pixels", param="size", code="invalid_value")
    return sides
