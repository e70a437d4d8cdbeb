"""Steps meet the proxy: a provider's generator is driven through `next`, and jobs for several pictures are fanned out."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from multidict import CIMultiDict
from yarl import URL

from proxy_core import (
    Body,
    Data,
    Exchange,
    Failure,
    Handler,
    InvalidReply,
    Overloaded,
    PluginFault,
    ProxyError,
    Request,
    Response,
    TooLarge,
    UpstreamError,
    UpstreamRefusal,
)

from .model import (
    Call,
    CallError,
    Ended,
    Failed,
    HostedImage,
    Job,
    Next,
    Output,
    Preview,
    Provider,
    Reply,
    Step,
    Submitted,
    rules_of,
)
from .origins import may_call
from .picture import Image
from .polling import hinted
from .record import Entry, Record
from .wire import json_pieces, multipart_pieces, read_events

log = logging.getLogger("darkroom.image_edit")

REPLY_LIMIT = 192 * 1024 * 1024  # bytes of one reply; a 4K picture in base64 is some 20 MB
_AGAIN = (0.5, 1.0, 2.0)  # seconds before a call that may be repeated is
_PATIENTLY = (*_AGAIN, 4.0, 8.0, 16.0, 16.0, 16.0)  # and where a job runs that is paid for


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a provider's steps are driven: through `next`, on behalf of `exchange`."""

    provider: Provider
    next: Handler
    exchange: Exchange
    sleep: Callable[[float], Any] = asyncio.sleep
    spread: Callable[[], float] = lambda: random.uniform(0.9, 1.1)  # noqa: S311  # what each pause is multiplied by
    parallel: int = 4  # runs at once where one run cannot make all the pictures
    record: Record | None = None  # where it is noted what went out and came back, if anybody wants to know


async def run(job: Job, run: Run) -> AsyncGenerator[Output, None]:
    """The outputs of a job, in as many runs of its provider as its `n` takes; iterate under `aclosing`.

    A run that fails becomes a Failed; only if every run fails is the first error raised. Indices are those of the answer.
    """
    batch = batch_of(job, run.provider)
    shares = [min(batch, job.n - start) for start in range(0, job.n, batch)]
    if len(shares) == 1:
        async with aclosing(drive(job, run)) as outputs:
            async for output in outputs:
                yield output
        return
    results: asyncio.Queue[tuple[int, Output | Exception | None]] = asyncio.Queue()
    gate = asyncio.Semaphore(run.parallel)

    async def one(place: int, n: int) -> None:
        try:
            async with gate, aclosing(drive(replace(job, n=n, seed=_seed(job, place * batch, run)), run)) as outputs:
                async for output in outputs:
                    results.put_nowait((place, output))
        except Exception as error:  # noqa: BLE001  # it travels through the queue, and is raised or told there
            results.put_nowait((place, error))
        else:
            results.put_nowait((place, None))

    tasks = [asyncio.create_task(one(place, n)) for place, n in enumerate(shares)]
    try:
        errors: list[Exception] = []
        counts = [0] * len(tasks)  # pictures of each run so far: one that tells no index is the next
        left = len(tasks)
        while left:
            place, result = await results.get()
            if result is None:
                left -= 1
            elif isinstance(result, Exception):
                left -= 1
                if not isinstance(result, ProxyError):
                    raise result
                errors.append(result)
                for index in range(shares[place]):
                    yield Failed(result, place * batch + index)
            else:
                yield _placed(result, place * batch, counts[place])
                counts[place] += isinstance(result, (HostedImage, Failed))
        if len(errors) == len(tasks):
            raise errors[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _seed(job: Job, first: int, run: Run) -> int | None:
    """The seed of a run whose first picture is the `first`: were it the same for all, they would make the same picture."""
    if job.seed is None or job.seed < 0 or not first:  # some services say -1 for any
        return job.seed
    legal = rules_of(run.provider, job.like).values.get("seed")
    return job.seed + first if legal is None or job.seed + first in legal else job.seed - first


def batch_of(job: Job, provider: Provider) -> int:
    """Pictures that one run may be asked for."""
    if job.partial_images:
        return 1  # a preview does not say whose it is
    rules = rules_of(provider, job.like)
    return max(1, min(provider.batch, rules.batch or provider.batch, (job.references and rules.edit_batch) or provider.batch))


def _placed(output: Output, first: int, count: int) -> Output:
    """`output` with its index counted over all runs."""
    if isinstance(output, (HostedImage, Failed)):
        return replace(output, index=first + (count if output.index is None else output.index))
    return replace(output, index=first + output.index) if isinstance(output, Preview) else output


async def drive(job: Job, run: Run) -> AsyncGenerator[Output, None]:
    """The outputs of one run of a provider. Errors: what the service refused, in its words; InvalidReply (502)."""
    driver = _Driver(job, run)
    name = run.provider.name
    try:
        steps = run.provider.edit(job)
    except Exception as error:
        raise PluginFault(name) from error
    if not isinstance(steps, Generator):
        raise PluginFault(name) from TypeError(f"edit returned {type(steps).__name__}, not a generator")
    made = 0
    try:
        resume: Callable[[], Step] = partial(next, steps)
        while True:
            try:
                step = resume()
            except StopIteration:
                break
            resume = partial(next, steps)
            if isinstance(step, (Call, Next)):
                try:
                    resume = partial(steps.send, await driver.answer(step))
                except CallError as error:
                    resume = partial(steps.throw, error)
            elif isinstance(step, Submitted):
                driver.submitted, driver.ended = step, False
                log.info("job %s runs at %s", step.id, run.provider.name, extra={"request_id": run.exchange.id})
            elif isinstance(step, Ended):
                driver.ended = True
            else:
                if not isinstance(step, Output):
                    raise PluginFault(name) from TypeError(f"edit yielded {type(step).__name__}, which is no step")
                made += isinstance(step, (Image, HostedImage, Failed))
                yield step
        driver.submitted = None
        if not made:
            raise InvalidReply(f"{run.provider.name} answered without a picture")
    except CallError as error:
        # Whatever is wrong with asking for a job, the job runs.
        raise refusal(error.reply, name, failure=Failure.UNKNOWN if driver.submitted else None) from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if not driver.answered:
            raise PluginFault(name) from error  # nothing was read yet: it is the provider's own mistake, not the service's
        log.warning("%s: cannot read the answer", run.provider.name, exc_info=error, extra={"request_id": run.exchange.id})
        raise InvalidReply(f"{run.provider.name} answered in a form that is not understood") from error
    except ProxyError:
        raise
    except Exception as error:
        raise PluginFault(name) from error
    finally:
        try:
            steps.close()
        finally:
            await driver.close()


class _NoRoom(UpstreamError):
    """A reply that came, and cannot be held."""


class _Driver:
    """Answers the calls of one run."""

    def __init__(self, job: Job, run: Run) -> None:
        self._job = job
        self._run = run
        self.answered = False
        self.submitted: Submitted | None = None
        self.ended = False
        self._events: AsyncGenerator[bytes, None] | None = None
        self._stream: Response | None = None

    async def answer(self, step: Call | Next) -> Reply:
        try:
            reply = await (self._call(step) if isinstance(step, Call) else self._next())
        except UpstreamError as error:
            if not self.answered or error.failure is Failure.UNKNOWN:
                raise
            # An earlier call was answered: what it started may be charged, even if this one was never sent.
            raise UpstreamError(error.message, failure=Failure.UNKNOWN, status=error.status, code=error.code) from error
        self.answered = True
        if reply.status >= 400:
            raise CallError(replace(reply, body=_masked(reply.body, step.headers)) if isinstance(step, Call) else reply)
        return reply

    async def _close_stream(self) -> None:
        if self._events is not None:
            await self._events.aclose()
        if self._stream is not None:
            await self._stream.body.aclose()

    async def close(self) -> None:
        await self._close_stream()
        if self.submitted is not None and not self.ended:
            job, cancel = self.submitted.id, self.submitted.cancel
            log.warning(
                "job %s at %s was given up%s",
                job,
                self._run.provider.name,
                "; it is being cancelled" if cancel else "; it may still be running and charged",
                extra={"request_id": self._run.exchange.id},
            )
            if cancel is not None:
                self._run.exchange.later(self._cancel(cancel))

    async def _cancel(self, cancel: Call) -> None:
        request, _ = self._request(cancel)
        response = await self._run.next(request)
        await response.body.aclose()

    async def _call(self, call: Call) -> Reply:
        if call.wait:
            await self._run.sleep(call.wait * self._run.spread())
        again = call.again if call.again is not None else call.method == "GET"
        pauses = iter(() if not again else _AGAIN if self.submitted is None else _PATIENTLY)
        while True:
            request, entry = self._request(call)
            try:
                response = await self._run.next(request)
                if entry is not None:
                    entry.status = response.status
                passing = response.status >= 500 or (response.status == 429 and self.submitted is not None)
                if passing and (pause := next(pauses, None)) is not None:
                    await response.body.aclose()
                    await self._run.sleep(hinted(response.headers) or pause)
                    continue
                return await self._reply(response, call, entry)
            except _NoRoom:
                raise  # asked again, it would be as large
            except UpstreamError:
                if (pause := next(pauses, None)) is None:
                    raise
                await self._run.sleep(pause)

    async def _reply(self, response: Response, call: Call, entry: Entry | None) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        whole = headers.get("content-type", "").startswith("application/json")  # a service that does not stream, asked to
        if call.events and response.status < 400 and not whole:
            await self._close_stream()
            self._stream = response
            chunks = response.body.chunks()
            chunks = entry.follow(response.status, chunks) if entry is not None else chunks
            self._events = read_events(chunks, limit=REPLY_LIMIT)
            return Reply(status=response.status, headers=headers)
        try:
            body = await response.body.read(self._run.exchange.memory, limit=REPLY_LIMIT)
        except (Overloaded, TooLarge) as error:
            # The picture is made and paid for: a client that asked again would buy it twice.
            raise _NoRoom(error.message, failure=Failure.UNKNOWN, status=error.status, code=error.code) from error
        finally:
            await response.body.aclose()
        data = body.contiguous()
        if entry is not None:
            await entry.answered(response.status, data)
        return Reply(status=response.status, headers=headers, body=data)

    async def _next(self) -> Reply:
        if self._events is None:
            raise TypeError("Next without an open stream; yield a Call with events=True first")
        data = await anext(self._events, None)
        if data is None or data.startswith(b"[DONE]"):
            return Reply(ended=True)
        return Reply(body=data)

    def _request(self, call: Call) -> tuple[Request, Entry | None]:
        origin = call.url.origin()
        if not may_call(call.url, self._run.provider.origins):
            raise RuntimeError(f"{self._run.provider.name} calls {origin}, which is not among its origins")
        headers = CIMultiDict({"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "darkroom"})
        body = Body()
        if call.parts:
            headers["Content-Type"], pieces = multipart_pieces(call.parts)
            body = Body(*pieces)
        elif call.json is not None:
            headers["Content-Type"] = "application/json"
            body = Body(*json_pieces(call.json))
        headers.update(call.headers)
        target, entry = _target(call.url), None
        if self._run.record is not None:
            body, entry = self._run.record.call(call.method, str(origin), target, body)
        request = Request(
            exchange=self._run.exchange, method=call.method, target=target, headers=headers, body=body, origin=origin
        )
        return request, entry


# Whatever else a provider sets may be a credential, by whatever name its service calls it.
_PLAIN = frozenset({"accept", "accept-encoding", "content-type", "user-agent"})


def _masked(body: Data, headers: Mapping[str, str]) -> bytes:
    """An error's words without the credentials of the call, which some services repeat in them."""
    text = bytes(body)
    for name, value in headers.items():
        if name.lower() in _PLAIN:
            continue
        for word in value.split():
            if len(word) >= 8:
                text = text.replace(word.encode(), b"***")
    return text


def _target(url: URL) -> str:
    return url.raw_path_qs or "/"


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_WORDS = 600  # characters of a provider's own message that are passed on


# Where services name a request, so that their support can find it.
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-tt-logid", "x-goog-request-id", "x-generation-id")
# Nothing that asking again would mend: what is missing is money.
_BROKE = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})


def refusal(
    reply: Reply,
    provider: str,
    *,
    status: int | None = None,
    code: str | None = None,
    failure: Failure | None = None,
    message: str | None = None,
) -> UpstreamRefusal:
    """A service's error answer in OpenAI's shape: its status, its words (cut at 600 characters), its code.

    Understood are `{"error": {...}}`, `{"error": "text"}`, a one-element list of either, flat `{code, message}`,
    and FastAPI's `{"detail": ...}`: text, an object, or a list that names fields (contracts: clients.md section 1, "Errors").
    A provider that knows better gives `status`, `code`, `failure` or `message`; the code `insufficient_quota` keeps SDKs from
    asking again.
    """
    try:
        value = reply.json
    except ValueError:
        value = None
    words, told_code, param = _told(value)
    words, code = message or words, code or told_code
    # A redirect, say, or an error that came with 200, is no status of one; it is told as a bad gateway.
    status = status or reply.status
    status = status if status >= 400 else 502
    headers = {name: reply.headers[name] for name in ("retry-after",) if name in reply.headers}
    if (request_id := request_id_of(reply)) is not None:
        headers["X-Upstream-Request-ID"] = request_id
    if code in _BROKE:
        headers["x-should-retry"] = "false"
    return UpstreamRefusal(
        f"{provider}: {words[:_WORDS] or f'it answered {reply.status} without a reason'}",
        failure=failure or (Failure.NOT_BILLED if status < 500 and status not in (408, 409) else Failure.UNKNOWN),
        status=status,
        type=_TYPES.get(status, "invalid_request_error" if status < 500 else "upstream_error"),
        code=code or "upstream_error",
        param=param,
        headers=headers,
    )


def request_id_of(reply: Reply) -> str | None:
    """What the service calls the request, by whichever header it has for it; fit for a header."""
    found = next((reply.headers[name] for name in _REQUEST_IDS if reply.headers.get(name)), None)
    return "".join(c for c in found if " " < c <= "~")[:200] or None if found else None


def _told(value: object) -> tuple[str, str, str | None]:
    """(message, code, param) of an error answer in any of the common shapes."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) else "", "", None
    inner = value.get("error", value)
    if isinstance(inner, str):
        return inner, _text(value.get("code")), None
    if not isinstance(inner, Mapping):
        inner = value
    message = inner.get("message") or inner.get("detail") or value.get("detail") or ""
    if isinstance(message, list) and message and all(isinstance(one, Mapping) and one.get("msg") for one in message):
        return _faults(message)
    if isinstance(message, Mapping):  # DeepInfra's {"detail": {"error": ...}}
        message = message.get("error") or message.get("message") or message
    if not isinstance(message, str):
        try:
            message = orjson.dumps(message).decode()
        except TypeError:  # nested deeper than can be written
            message = ""
    return message, _text(inner.get("code")), _text(inner.get("param")) or None


# What pydantic calls a fault, in OpenAI's words.
_FAULTS = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


def _faults(faults: Sequence[Mapping[str, Any]]) -> tuple[str, str, str | None]:
    """Of FastAPI's list: `[{"loc": ["body", "size"], "msg": ..., "type": ...}]`."""
    told = []
    for fault in faults:
        loc = fault.get("loc")
        where = ".".join(_text(step) for step in loc if step not in ("body", "query")) if isinstance(loc, list) else ""
        told.append((where, _text(fault.get("msg"), _WORDS)))
    words = "; ".join(f"{where}: {text}" if where else text for where, text in told)
    return words, _FAULTS.get(_text(faults[0].get("type")), "invalid_value"), told[0][0][:100] or None


def _text(value: object, length: int = 100) -> str:
    return str(value)[:length] if isinstance(value, (str, int)) else ""
