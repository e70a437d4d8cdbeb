"""The plugin: which requests are for pictures, and the way of one from the client's words to the signed answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

import pluggy
from multidict import CIMultiDict

from proxy_core import (
    MODEL,
    PROVIDER,
    Body,
    ClientError,
    ConfigError,
    Data,
    Exchange,
    Failure,
    Fault,
    Handler,
    Middleware,
    NotFound,
    ProxyError,
    Request,
    Response,
    State,
    TooLarge,
    UpstreamError,
    hookimpl,
)

from .ask import Ask, Dialect, Given, job, kind
from .catalogue import PATH as MODELS_PATH
from .catalogue import Catalogue
from .dialects.chat import Chat, Shape
from .dialects.images import EDITS, GENERATIONS
from .dialects.responses import Responses
from .drive import Run
from .fetch import Fetcher, FetchPolicy
from .fit import fit
from .hookspecs import ImageEditHooks
from .inputs import check_inputs
from .kept import Kept, Paid
from .model import Job, Result, Seal, Signer
from .outcome import Outcome, Tell
from .picture import LONG, Image
from .record import Record
from .registry import ModelEntry, Served, serve
from .stream import Stream
from .wire import MAX_PARTS, Form, boundary_of, read_form

log = logging.getLogger("darkroom.image_edit")


@dataclass(kw_only=True)
class ImageEdit:
    """Makes image generation and editing work on any provider."""

    models: dict[str, ModelEntry] = field(default_factory=dict)
    """Names that clients may ask for, beside or instead of those that the providers bring."""
    unsupported: Literal["warn", "reject"] = "warn"
    """What happens to what a model cannot do: it is left out or mapped with a warning, or answered with a 400 that names it."""
    chat_images: Shape = "objects"
    """How pictures stand in a chat answer. `objects` is what most clients read; the others are for clients that need them."""
    fetch_references: bool = False
    """Whether a link that a client sends is fetched where the provider needs bytes; otherwise it is answered with a 400."""
    body_limit: int = 128 * 1024 * 1024
    """Bytes of a request for pictures."""
    max_pixels: int = 16384 * 16384
    """Pixels that a picture may declare, either way; none is decoded here, but whoever decodes a bomb runs out of memory."""
    parallel: int = 4
    """Calls at once for one request with `n` above 1."""
    deadline: float = 600.0
    """Seconds that the pictures of one request may take, polling and downloads included; what is done by then is answered."""
    commit_after: float = 10.0
    """Seconds that the headers of a stream are held while there is nothing to send: an error keeps its status until then."""
    keep_alive: float = 5.0
    """Silent seconds after which a stream is sent a comment, so that no timer on the way cuts it."""
    keep_unsigned: float = 3600.0
    """Seconds that pictures which could not be signed are kept for the client that asks again; they are paid for."""
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    """How links are fetched."""

    def __post_init__(self) -> None:
        counts = ("parallel", "body_limit", "max_pixels")
        faults = [Fault(name, "must be at least 1") for name in counts if getattr(self, name) < 1]
        spans = ("deadline", "commit_after", "keep_alive", "keep_unsigned")
        times = [name for name in spans if not 0 < getattr(self, name) < math.inf]
        faults += [Fault(name, "must be more than 0 seconds, and finite") for name in times]
        if faults:
            raise ConfigError(faults)
        self._dialects: dict[str, Dialect] = {
            "/v1/chat/completions": Chat(self.chat_images),
            "/v1/images/generations": GENERATIONS,
            "/v1/images/edits": EDITS,
            "/v1/responses": Responses(),
        }
        self._served: dict[str, Served] = {}
        self._signer: Signer | None = None

    @hookimpl
    def proxy_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        pluginmanager.add_hookspecs(ImageEditHooks)
        providers = [provider for group in pluginmanager.hook.image_edit_providers() for provider in group]
        signers: list[Signer] = pluginmanager.hook.image_edit_signer()
        if len(signers) > 1:
            raise ConfigError([Fault("proxy.plugins", "two plugins sign images; switch one of them off")])
        self._signer = signers[0] if signers else None
        self._served = serve(providers, self.models)
        self._catalogue = Catalogue(self._served, int(time.time()))

    @hookimpl
    def proxy_lifespan(self, state: State) -> AbstractAsyncContextManager[object]:
        return self._open(state)

    @asynccontextmanager
    async def _open(self, state: State) -> AsyncIterator[None]:
        self._kept = Kept(state, self.keep_unsigned)
        await self._kept.open()
        async with Fetcher(self.fetch) as self._fetcher:
            yield

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        return self.intercept

    @hookimpl
    def proxy_describe(self) -> Mapping[str, Sequence[str]]:
        lines: dict[str, list[str]] = {"image_edit": [*(f"POST {path}" for path in self._dialects), f"GET {MODELS_PATH}"]}
        for name, served in sorted(self._served.items()):
            sent = f" (sent as {served.model})" if served.model != name else ""
            then = "".join(f", else {other.model} of {other.provider.name}" for other in served.fallback)
            lines.setdefault(served.provider.name, []).append(f"model {name}{sent}{then}")
        return lines

    async def intercept(self, request: Request, next: Handler) -> Response:
        """Serve a request for a model of ours; pass every other on, byte for byte."""
        dialect = self._dialects.get(request.path) if request.method == "POST" else None
        if dialect is None:
            return await (self._catalogue.answer(request, next) if self._catalogue.knows(request) else next(request))
        request = await self._buffered(request)
        try:
            form: Form | None = await read_form(request, self.body_limit)
        except ClientError as error:
            return await self._elsewhere(request, next, error)
        assert form is not None  # noqa: S101  # for the type checker: it becomes None only when it is let go
        name = form.fields.get("model")
        served = self._served.get(name) if isinstance(name, str) else None
        if served is None:
            return await self._elsewhere(request, next, None, name)
        asked = dialect.parse(form)
        order = await self._order(request)
        # From here on the pictures live in what was asked alone: the body's bytes and the parsed form are let go.
        form, request = None, replace(request, body=Body())
        return await self._serve(dialect, asked, served, order, request, next)

    async def _order(self, request: Request) -> Order:
        """What goes with a request through all that is done for it. Nothing has been spent yet where it cannot be signed."""
        if self._signer is None:
            return Order()
        digest = await _sha256(request.body)
        try:
            seal = await self._signer.begin(request, digest)
        except Exception as error:
            if isinstance(error, ClientError):
                raise
            raise Unsigned(kept=True) from error
        return Order(seal=seal, key=await _identity(request, digest), record=Record())

    async def _buffered(self, request: Request) -> Request:
        try:
            return await request.buffered(self.body_limit)
        except TooLarge as error:
            raise TooLarge(f"{error.message} (plugins.image_edit.body_limit)") from None

    async def _elsewhere(self, request: Request, next: Handler, why: ClientError | None, name: object = None) -> Response:
        """What is not ours goes to its route; where there is none, the error is `why`, or that nobody has the model `name`."""
        try:
            return await next(request)
        except NotFound as missing:
            raise (why or self._unknown(name) if missing.code == NotFound.code else missing) from None

    def _unknown(self, name: object) -> ClientError:
        known = ", ".join(sorted(self._served)) or "none"
        if name is None:
            return ClientError(f"model is missing; image models are {known}", param="model", code="missing_required_parameter")
        if not isinstance(name, str):
            return ClientError(f"model must be a string, not {kind(name)}", param="model", code="invalid_type")
        what = f"the model {name[:80]!r} is not served here, and no route leads on; image models are {known}"
        return NotFound(what, param="model", code="model_not_found")

    async def _serve(
        self, dialect: Dialect, asked: Ask, served: Served, order: Order, request: Request, next: Handler
    ) -> Response:
        """The answer of the first that can: of `served`, or of what stands in for it while nothing can have been charged."""
        exchange = request.exchange
        exchange[MODEL] = served.name
        candidates = [served, *served.fallback]
        paid = await self._kept.take(order.key) if order.key else None
        if paid is None:
            return await self._tried(dialect, asked, candidates, order, exchange, next)
        try:
            made = [one for one in candidates if (one.provider.name, one.model) == (paid.told["provider"], paid.told["sent"])]
            order = replace(order, paid=paid if made else None)  # who made it may stand in the config no more
            response = await self._tried(dialect, asked, made[:1] or candidates, order, exchange, next)
        except BaseException:
            self._kept.put_back(paid)
            raise
        if made:
            await self._kept.deliver(paid)
        else:
            self._kept.put_back(paid)
        return response

    async def _tried(
        self, dialect: Dialect, asked: Ask, candidates: Sequence[Served], order: Order, exchange: Exchange, next: Handler
    ) -> Response:
        failed: UpstreamError | None = None
        served = candidates[0]
        for candidate in candidates:
            exchange[PROVIDER] = candidate.provider.name
            try:
                return await self._served_by(candidate, dialect, asked, order, exchange, next)
            except UpstreamError as error:
                failed = error
                if not _may_fall_back(error):
                    raise
                told = f"{candidate.provider.name} did not answer ({error.status} {error.code}); another was asked"
                order = replace(order, notes=(*order.notes, told))
                log.warning("%s: %s", served.name, error, extra={"request_id": exchange.id})
            except ClientError:
                if failed is None:
                    raise
                # What stands in cannot do what was asked: to the client, that is the trouble of what it asked for.
        assert failed is not None  # noqa: S101  # for the type checker
        raise failed

    async def _served_by(
        self, served: Served, dialect: Dialect, asked: Ask, order: Order, exchange: Exchange, next: Handler
    ) -> Response:
        if order.paid is None:  # what stands at a link now need not be what the picture was made of
            asked = await self._fetched(asked, served, exchange)
        made = job(asked, name=served.name, model=served.model, like=served.like)
        made, warnings = fit(made, served.rules, reject=self.unsupported == "reject")
        given = asked.references[: len(made.references)]
        await check_inputs(given, asked.mask, served.rules, served.name, max_pixels=self.max_pixels)
        outcome = Outcome(made, served, [*order.notes, *asked.notes, *warnings], max_pixels=self.max_pixels)
        way = Run(provider=served.provider, next=next, exchange=exchange, parallel=self.parallel, record=order.record)
        if made.stream:
            return await self._stream(dialect, made, outcome, way, order)
        await self._collect(outcome, way, order)
        return await self._answer(dialect, outcome.result(exchange), exchange, order)

    async def _stream(self, dialect: Dialect, made: Job, outcome: Outcome, way: Run, order: Order) -> Response:
        async def give_up(result: Result, why: BaseException) -> ProxyError:
            return await self._unsigned(result, order, why)

        stream = Stream(
            dialect.events(made, way.exchange),
            order.seal,
            way.exchange,
            give_up=give_up,
            commit_after=self.commit_after,
            keep_alive=self.keep_alive,
        )

        async def collect(tell: Tell) -> None:
            await self._collect(outcome, way, order, tell)

        return await stream.respond(made, outcome, collect, _headers)

    async def _unsigned(self, result: Result, order: Order, why: BaseException) -> ProxyError:
        """No receipt, no picture; but it is paid for, and kept for who asks again."""
        try:
            if order.paid is None or order.paid.delivered:  # or it lies there yet, and is put back
                await self._kept.keep(order.key, result)
        except Exception as error:  # noqa: BLE001  # a full disk, or whatever else: it is lost, and that is told
            log.error("pictures of %s could neither be signed nor kept: %s", result.provider, error)
            unsigned = Unsigned(kept=False)
        else:
            unsigned = Unsigned(kept=True)
        unsigned.__cause__ = why
        return unsigned

    async def _collect(self, outcome: Outcome, way: Run, order: Order, tell: Tell | None = None) -> None:
        if order.paid is not None:
            await outcome.adopt(order.paid, tell)
            return
        try:
            await outcome.collect(way, self._fetcher, deadline=self.deadline, tell=tell)
        except BaseException as error:
            if not isinstance(error, UpstreamError) or error.failure is Failure.UNKNOWN:
                outcome.account(way.exchange)  # it may have been charged
            raise

    async def _fetched(self, asked: Ask, served: Served, exchange: Exchange) -> Ask:
        """`asked` with bytes where the provider cannot take a link."""
        references = asked.references
        if not served.provider.takes_links:
            references = tuple([await self._in_hand(given, exchange) for given in asked.references])
        mask = asked.mask and await self._in_hand(asked.mask, exchange)
        return replace(asked, references=references, mask=mask)

    async def _in_hand(self, given: Given, exchange: Exchange) -> Given:
        if isinstance(given.value, Image):
            return given
        if not self.fetch_references:
            raise ClientError(
                f"{given.param} is a link, and this model needs the picture itself; send it as a data: URL",
                param=given.param,
                code="link_not_supported",
            )
        try:
            fetched = await self._fetcher.fetch(given.value.url, take=exchange.memory.take)
        except UpstreamError as error:
            raise ClientError(f"{given.param}: {error.message}", param=given.param, code="invalid_image_url") from None
        image = Image(*fetched.chunks)
        image.host = fetched.host
        if not image.media_type:
            raise ClientError(f"{given.param}: the link leads to no image", param=given.param, code="invalid_image_url")
        return Given(image, given.param)

    async def _answer(self, dialect: Dialect, result: Result, exchange: Exchange, order: Order) -> Response:
        """Sealed and rendered. Nothing is sent before every picture is known to be good, and the receipt is made."""
        extra: Mapping[str, object] = {}
        fields: Mapping[str, str] = {}
        if order.seal is not None:
            try:
                extra, fields = await order.seal.end(result)
            except asyncio.CancelledError as left:
                exchange.later(self._unsigned(result, order, left))  # a signer that hung, and a client that will ask again
                raise
            except Exception as error:  # whatever it was, the pictures are kept
                raise await self._unsigned(result, order, error) from error
        body = Body(*dialect.render(result, exchange, extra))
        return Response(status=200, headers=_headers(result, fields), body=body)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What goes with a request through all that is done for it."""

    seal: Seal | None = None
    key: str = ""  # who asked for what; "" where nothing is signed, and so nothing kept
    record: Record | None = None
    paid: Paid | None = None
    notes: tuple[str, ...] = ()


class Unsigned(ProxyError):
    """The answer could not be signed. `kept` says that asking again costs nothing more."""

    status = 503
    code = "signing_failed"

    def __init__(self, *, kept: bool) -> None:
        words = "ask again: what was made is kept, and is not made anew" if kept else "it could not be kept either"
        headers = {"x-should-retry": "true", "Retry-After": "2"} if kept else {"x-should-retry": "false"}
        super().__init__(f"the answer could not be signed, and nothing goes out unsigned; {words}", headers=headers)


def _headers(result: Result, fields: Mapping[str, str]) -> CIMultiDict[str]:
    """Of an answer that is known as a whole; `fields` are the signer's."""
    headers = CIMultiDict({"Cache-Control": "no-store"})
    headers.update(fields)
    if result.request_id:
        headers["X-Upstream-Request-ID"] = _header(result.request_id)
    if result.warnings:
        headers["Darkroom-Warnings"] = _header("; ".join(result.warnings))
    headers["Content-Type"] = "text/event-stream; charset=utf-8" if result.job.stream else "application/json"
    return headers


def _may_fall_back(error: UpstreamError) -> bool:
    """Whether another may be asked: nothing can have been charged, and it was not the request that was at fault.

    What one service refuses for its content or its form is not taken to another behind the client's back.
    """
    return error.failure is not Failure.UNKNOWN and error.status not in (400, 413, 415, 422)


# By any of these a client, or a front door before the proxy, may say who asks.
_CREDENTIALS = ("Authorization", "Proxy-Authorization", "Api-Key", "X-Api-Key", "X-Goog-Api-Key", "Cookie")


async def _identity(request: Request, digest: str) -> str:
    """Who asks, and for what: a client is handed what was kept for itself alone.

    A form is known by its parts: a client that asks again cuts it with another boundary.
    """
    if boundary := boundary_of(request):
        digest = await asyncio.to_thread(_uncut, request.body.contiguous(), boundary)
    shown = [f"{name}: {value}" for name in _CREDENTIALS for value in request.headers.getall(name, [])]
    who = "\n".join([request.target, digest, *shown])
    return hashlib.sha256(who.encode("utf-8", "surrogateescape")).hexdigest()


def _uncut(data: Data, boundary: bytes) -> str:
    """The digest of a form without its boundaries; more than a form can have stand in it only for mischief, and stay."""
    found, view, start = hashlib.sha256(), memoryview(data), 0
    for match in islice(re.finditer(re.escape(boundary), data), 2 * MAX_PARTS):
        found.update(view[start : match.start()])
        found.update(b"\0")
        start = match.end()
    found.update(view[start:])
    return found.hexdigest()


async def _sha256(body: Body) -> str:
    data = body.contiguous()
    work = hashlib.sha256
    return (work(data) if len(data) < LONG else await asyncio.to_thread(work, data)).hexdigest()


def _header(text: str) -> str:
    """`text` fit for a header: printable ASCII, at most 1 KiB."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:1024]
