"""Steps meet the proxy: calls, polling and streams, what is repeated and what never, errors, and several runs at once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict
from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Failed,
    HostedImage,
    Image,
    InvalidReply,
    Job,
    Next,
    Note,
    Part,
    Preview,
    Reply,
    Steps,
    Submitted,
    UpstreamRefusal,
    refusal,
)
from plugins.image_edit.drive import Run, drive, run
from plugins.image_edit.testing import PNG
from proxy_core import Body, ClientError, Data, Exchange, Failure, Memory, PluginFault, Request, Response, UpstreamError

BASE = URL("https://api.toy.example/v1")
JOB = Job(name="toy", model="toy-1", prompt="a hat")


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A provider made of one generator function."""

    steps: Callable[[Job], Steps]
    batch: int = 1
    origins: Collection[URL] = (BASE,)
    name: str = "toy"
    models: Collection[str] = frozenset({"toy-1"})
    takes_links: bool = True

    def edit(self, job: Job) -> Steps:
        return self.steps(job)


@dataclass(frozen=True)
class Seen:
    """A request as the upstream got it."""

    request: Request
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.request.method} {self.request.origin}{self.request.target}"

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Answer = Response | BaseException | Callable[[Request], Awaitable[Response]]


@dataclass
class Service:
    """The `next` of these tests: answers each request with the next of `answers`, and remembers what it was asked."""

    answers: list[Answer]
    seen: list[Seen] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    background: list[Coroutine[Any, Any, object]] = field(default_factory=list)

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.seen, self.slept, self.background = [], [], []

    async def __call__(self, request: Request) -> Response:
        body = b"".join([bytes(chunk) async for chunk in request.body.chunks()])
        self.seen.append(Seen(request, body))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Response) else await answer(request)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def run(self, provider: Toy, **more: Any) -> Run:
        exchange = Exchange(spawn=self.background.append, memory=Memory(1 << 28).lease())
        given = {"provider": provider, "next": self, "exchange": exchange, "sleep": self.sleep, "spread": lambda: 1.0}
        return Run(**{**given, **more})

    @property
    def lines(self) -> list[str]:
        return [seen.line for seen in self.seen]


@dataclass
class Watched:
    """An answer whose body is on its way, and whether somebody saw to its end."""

    chunks: Sequence[Data]
    status: int = 200
    hang: bool = False
    closed: bool = False
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def response(self) -> Response:
        return Response(status=self.status, headers=CIMultiDict(), body=Body.stream(self._chunks(), close=self._close))

    async def _chunks(self) -> AsyncGenerator[Data, None]:
        for chunk in self.chunks:
            yield chunk
        self.reading.set()
        if self.hang:
            await asyncio.get_running_loop().create_future()

    def _close(self) -> None:
        self.closed = True


def told(value: object, status: int = 200, **headers: str) -> Response:
    return Response.json(value, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def collected(job: Job, way: Run) -> list[Any]:
    async with aclosing(run(job, way)) as outputs:
        return [output async for output in outputs]


def ask(**more: Any) -> Call:
    return Call(**{"method": "POST", "url": BASE / "make", "json": {"prompt": "a hat"}, **more})


def one_call(job: Job) -> Steps:
    reply = yield ask()
    yield HostedImage(reply.json["link"])


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(5):
        await asyncio.sleep(0)  # a generator that was dropped is closed by a task of the loop's
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


# --- single calls ---


async def test_a_call_is_answered_with_its_reply() -> None:
    service = Service(told({"link": "https://cdn.example/1", "id": 7}, X_Request_Id="abc"))
    replies: list[Reply] = []

    def steps(job: Job) -> Steps:
        reply = yield ask(
            url=BASE / "make" % {"a": "b c"},
            headers={"authorization": "Bearer key", "ACCEPT": "image/png"},
            json={"p": job.prompt},
        )
        replies.append(reply)
        yield Note(model="toy-1b")
        yield HostedImage(reply.json["link"])

    assert await collected(JOB, service.run(Toy(steps=steps))) == [Note(model="toy-1b"), HostedImage("https://cdn.example/1")]
    (seen,) = service.seen
    assert seen.line == "POST https://api.toy.example/v1/make?a=b+c"
    assert seen.json == {"p": "a hat"}
    assert seen.request.headers.getall("Accept") == ["image/png"]
    assert seen.request.headers.getall("Authorization") == ["Bearer key"]
    assert seen.request.headers.getall("Content-Type") == ["application/json"]
    assert seen.request.headers["Accept-Encoding"] == "identity"
    assert (replies[0].status, replies[0].ended) == (200, False)
    assert replies[0].headers["x-request-id"] == "abc"  # names in lower case, whatever the service writes


async def test_a_picture_is_sent_and_answered_raw() -> None:
    sent, answered = Image(PNG), Image(PNG, b"more")
    service = Service(Watched([PNG[:7], memoryview(PNG)[7:], b"more"]).response)

    def steps(job: Job) -> Steps:
        reply = yield ask(json=None, parts=(Part("prompt", job.prompt), Part("image[]", sent)))
        yield Image(reply.body)

    (image,) = await collected(JOB, service.run(Toy(steps=steps)))
    assert await image.sha256() == await answered.sha256()
    (seen,) = service.seen
    assert seen.request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert PNG in seen.body
    assert seen.request.body.size == len(seen.body)


async def test_a_get_has_no_body() -> None:
    service = Service(told({"link": "x"}))

    def steps(job: Job) -> Steps:
        reply = yield Call(method="GET", url=URL("https://api.toy.example"))
        yield HostedImage(reply.json["link"])

    await collected(JOB, service.run(Toy(steps=steps)))
    (seen,) = service.seen
    assert (seen.line, seen.body) == ("GET https://api.toy.example/", b"")
    assert "Content-Type" not in seen.request.headers


async def test_a_reply_is_taken_from_the_exchanges_memory() -> None:
    service = Service(Watched([b'{"link":', b'"x"}']).response)
    way = service.run(Toy(steps=one_call))
    await collected(JOB, way)
    assert way.exchange.memory.held == len(b'{"link":"x"}')


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_reply_for_which_memory_runs_out_may_have_been_charged(method: str) -> None:
    watched = [Watched([b"x" * 100]) for _ in range(4)]
    service = Service(*(one.response for one in watched))

    def steps(job: Job) -> Steps:
        yield ask(method=method, json=None)

    way = service.run(Toy(steps=steps), exchange=Exchange(memory=Memory(50).lease()))
    with pytest.raises(UpstreamError) as caught:
        await collected(JOB, way)
    assert caught.value.failure is Failure.UNKNOWN
    assert caught.value.headers["x-should-retry"] == "false"
    assert all(one.closed for one in watched[: len(service.seen)])


# --- submit and poll ---


def submit_and_poll(job: Job) -> Steps:
    task = yield ask(url=BASE / "tasks")
    cancel = Call(method="DELETE", url=BASE / "tasks" / task.json["id"], headers={"Authorization": "Bearer key"})
    yield Submitted(task.json["id"], cancel)
    while True:
        reply = yield Call(method="GET", url=BASE / "tasks" / task.json["id"], wait=1.5)
        match reply.json["state"]:
            case "done":
                yield HostedImage(reply.json["link"])
                return
            case "failed":
                raise InvalidReply(reply.json["reason"])


DONE = {"state": "done", "link": "https://cdn.example/1"}


def make_and_look(job: Job) -> Steps:
    made = yield ask()
    yield HostedImage((yield Call(method="GET", url=BASE / made.json["id"])).json["link"])


@pytest.mark.parametrize("failure", [Failure.NOT_SENT, Failure.NOT_BILLED, Failure.UNKNOWN])
async def test_what_fails_after_an_answer_may_have_been_charged(failure: Failure) -> None:
    """Even where nothing was sent: what the first call made is made, and a client that asks again pays again."""
    service = Service(told({"id": "t1"}), *[UpstreamError("no connection", failure=failure, status=504, code="x")] * 9)
    with pytest.raises(UpstreamError) as caught:
        await collected(JOB, service.run(Toy(steps=make_and_look)))
    assert (caught.value.failure, caught.value.status, caught.value.code) == (Failure.UNKNOWN, 504, "x")
    assert caught.value.headers["x-should-retry"] == "false"


async def test_what_fails_before_any_answer_keeps_its_meaning() -> None:
    service = Service(UpstreamError("no connection", failure=Failure.NOT_SENT))
    with pytest.raises(UpstreamError) as caught:
        await collected(JOB, service.run(Toy(steps=one_call)))
    assert caught.value.failure is Failure.NOT_SENT


async def test_a_task_is_polled_until_it_is_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "darkroom.image_edit")
    service = Service(told({"id": "t1"}), told({"state": "queued"}), told({"state": "running"}), told(DONE))
    assert await collected(JOB, service.run(Toy(steps=submit_and_poll))) == [HostedImage("https://cdn.example/1")]
    assert service.lines == [
        "POST https://api.toy.example/v1/tasks",
        *["GET https://api.toy.example/v1/tasks/t1"] * 3,
    ]
    assert service.slept == [1.5, 1.5, 1.5]
    assert not service.background  # it ended well: nothing is cancelled
    assert "job t1 runs at toy" in caplog.text  # so that a job is never lost


async def test_the_reason_of_a_failed_task_is_told() -> None:
    service = Service(told({"id": "t1"}), told({"state": "failed", "reason": "the model is on holiday"}))
    with pytest.raises(InvalidReply, match="on holiday"):
        await collected(JOB, service.run(Toy(steps=submit_and_poll)))
    for work in service.background:  # it may be cancelled all the same
        service.answers.append(told({}))
        await work


async def left(way: Run, leaves: asyncio.Event, job: Job = JOB) -> None:
    """Start the job, and go away once `leaves` is set."""
    task = asyncio.create_task(collected(job, way))
    async with asyncio.timeout(5):
        await leaves.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def hanging(event: asyncio.Event) -> Response:
    event.set()
    await asyncio.get_running_loop().create_future()
    raise AssertionError


@pytest.mark.parametrize("where", ["in next", "asleep", "in the body"])
async def test_a_client_that_leaves_cancels_the_task(where: str, caplog: pytest.LogCaptureFixture) -> None:
    there = asyncio.Event()
    body = Watched([b'{"state"'], hang=True, reading=there)

    async def asleep(seconds: float) -> None:
        await hanging(there)

    answer: Answer = body.response if where == "in the body" else lambda request: hanging(there)
    service = Service(told({"id": "t1"}), answer)
    await left(service.run(Toy(steps=submit_and_poll), **({"sleep": asleep} if where == "asleep" else {})), there)
    assert body.closed == (where == "in the body")
    assert "job t1 at toy was given up" in caplog.text
    (cancel,) = service.background  # after the answer, and while a server that stops waits for it
    gone = Watched([b"{}"])
    service.answers = [gone.response]
    await cancel
    assert service.lines[-1] == "DELETE https://api.toy.example/v1/tasks/t1"
    assert service.seen[-1].request.headers["Authorization"] == "Bearer key"
    assert gone.closed


async def test_a_task_that_cannot_be_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    there = asyncio.Event()

    def steps(job: Job) -> Steps:
        yield Submitted("t9")
        yield ask()

    service = Service(lambda request: hanging(there))
    await left(service.run(Toy(steps=steps)), there)
    assert not service.background
    assert "job t9 at toy was given up; it may still be running and charged" in caplog.text


async def test_leaving_at_an_output_closes_the_steps_and_cancels() -> None:
    closed: list[str] = []

    def steps(job: Job) -> Steps:
        try:
            yield Submitted("t1", Call(method="DELETE", url=BASE / "t1"))
            yield Preview(Image(PNG))
            yield HostedImage("never reached")
        finally:
            closed.append("steps")

    service = Service(told({}))
    async with aclosing(run(JOB, service.run(Toy(steps=steps)))) as outputs:
        assert isinstance(await anext(outputs), Preview)
        assert not closed
    assert closed == ["steps"]
    (cancel,) = service.background
    await cancel
    assert service.lines == ["DELETE https://api.toy.example/v1/t1"]


# --- streams ---


def streaming(job: Job) -> Steps:
    opened = yield ask(events=True)
    assert opened.status == 200
    while True:
        event = yield Next()
        if event.ended:
            return
        match event.json["type"]:
            case "partial":
                yield Preview(Image(PNG))
            case "done":
                yield HostedImage(event.json["link"])


PARTIAL, FINAL = b'event: x\ndata: {"type":"partial"}\n\n', b'data: {"type":"done","link":"https://cdn.example/1"}\n\n'


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data: [DONE]\n\ndata: {}\n\n", b"", b": bye\n\n", b"data: cut"])
@pytest.mark.parametrize("size", [1, 10, 1000])
async def test_events_are_read_one_by_one(end: bytes, size: int) -> None:
    text = b": hello\n\n" + PARTIAL + FINAL + end
    watched = Watched([text[i : i + size] for i in range(0, len(text), size)])
    outputs = await collected(JOB, Service(watched.response).run(Toy(steps=streaming)))
    assert [type(output) for output in outputs] == [Preview, HostedImage]
    assert watched.closed


async def test_a_stream_may_be_in_hand() -> None:
    """A middleware that answers a call in the upstream's place has its events in one piece."""
    response = Response(status=200, headers=CIMultiDict(), body=Body(PARTIAL, FINAL))
    outputs = await collected(JOB, Service(response).run(Toy(steps=streaming)))
    assert [type(output) for output in outputs] == [Preview, HostedImage]


async def test_an_event_is_handed_on_before_the_next_comes() -> None:
    watched = Watched([PARTIAL], hang=True)
    async with aclosing(run(JOB, Service(watched.response).run(Toy(steps=streaming)))) as outputs:
        assert isinstance(await anext(outputs), Preview)
        assert not watched.closed
    assert watched.closed


async def test_a_client_that_leaves_drops_the_stream() -> None:
    watched = Watched([PARTIAL], hang=True)
    await left(Service(watched.response).run(Toy(steps=streaming)), watched.reading)
    assert watched.closed


async def test_a_second_stream_takes_the_first_ones_place() -> None:
    def steps(job: Job) -> Steps:
        yield ask(events=True)
        yield Next()
        yield from streaming(job)

    first, second = Watched([PARTIAL], hang=True), Watched([FINAL])
    outputs = await collected(JOB, Service(first.response, second.response).run(Toy(steps=steps)))
    assert outputs == [HostedImage("https://cdn.example/1")]
    assert (first.closed, second.closed) == (True, True)


async def test_steps_that_will_not_be_closed_leave_nothing_open() -> None:
    """A generator cannot yield while it is being closed; one that tries must not keep its connection."""

    def steps(job: Job) -> Steps:
        try:
            yield from streaming(job)
        finally:
            yield ask(url=BASE / "cancel")

    watched = Watched([PARTIAL], hang=True)
    outputs = run(JOB, Service(watched.response).run(Toy(steps=steps)))
    assert isinstance(await anext(outputs), Preview)
    with pytest.raises((RuntimeError, PluginFault)):
        await outputs.aclose()
    assert watched.closed


async def test_a_stream_that_is_cut_is_an_error_not_an_end() -> None:
    async def chunks() -> AsyncGenerator[Data, None]:
        yield PARTIAL
        raise UpstreamError("the connection was cut", failure=Failure.UNKNOWN, code="upstream_cut")

    response = Response(status=200, headers=CIMultiDict(), body=Body.stream(chunks()))
    outputs: list[Any] = []
    with pytest.raises(UpstreamError, match="was cut"):
        async with aclosing(run(JOB, Service(response).run(Toy(steps=streaming)))) as steps:
            outputs += [output async for output in steps]
    assert len(outputs) <= 1


async def test_a_refused_stream_is_a_refusal() -> None:
    watched = Watched([b'{"error": {"message": "no", "code": "x"}}'], status=400)
    with pytest.raises(UpstreamRefusal, match="toy: no"):
        await collected(JOB, Service(watched.response).run(Toy(steps=streaming)))
    assert watched.closed


@pytest.mark.parametrize("text", [b"data: not json\n\n", b"data: {}\n\n", b"data: []\n\n", b'data: {"type":"done"}\n\n'])
async def test_an_event_that_makes_no_sense_is_an_invalid_reply(text: bytes) -> None:
    watched = Watched([text])
    with pytest.raises(InvalidReply):
        await collected(JOB, Service(watched.response).run(Toy(steps=streaming)))
    assert watched.closed


async def test_next_without_a_stream_is_the_providers_fault() -> None:
    def steps(job: Job) -> Steps:
        yield Next()

    with pytest.raises(PluginFault):
        await collected(JOB, Service().run(Toy(steps=steps)))


# --- errors that a service answers ---


async def test_a_provider_may_know_better_what_an_error_means() -> None:
    caught: list[Reply] = []

    def steps(job: Job) -> Steps:
        try:
            yield ask()
        except CallError as error:
            caught.append(error.reply)
        reply = yield ask(url=BASE / "other")
        yield HostedImage(reply.json["link"])

    service = Service(
        told({"error": {"message": "use the other"}}, status=409, X_A="1"), told({"link": "https://cdn.example/2"})
    )
    assert await collected(JOB, service.run(Toy(steps=steps))) == [HostedImage("https://cdn.example/2")]
    assert caught[0].status == 409
    assert caught[0].json == {"error": {"message": "use the other"}}
    assert caught[0].headers["x-a"] == "1"


async def test_what_a_provider_makes_of_an_error_is_told() -> None:
    def steps(job: Job) -> Steps:
        try:
            yield ask()
        except CallError as error:
            raise InvalidReply(f"it is asleep ({error.reply.status})") from error

    with pytest.raises(InvalidReply, match=r"it is asleep \(500\)"):
        await collected(JOB, Service(told({}, status=500)).run(Toy(steps=steps)))


async def test_an_error_that_nobody_catches_is_told_in_the_services_words() -> None:
    service = Service(told({"error": {"message": "too rude", "code": "rude", "param": "prompt"}}, status=400))
    with pytest.raises(UpstreamRefusal) as caught:
        await collected(JOB, service.run(Toy(steps=one_call)))
    error = caught.value
    assert error.body() == {
        "error": {"message": "toy: too rude", "type": "invalid_request_error", "param": "prompt", "code": "rude"}
    }
    assert (error.status, error.failure) == (400, Failure.NOT_BILLED)


async def test_a_key_that_a_service_repeats_is_masked() -> None:
    service = Service(told({"error": {"message": "Incorrect API key provided: sk-not-a-real-one."}}, status=401))

    def steps(job: Job) -> Steps:
        yield ask(headers={"Authorization": "Bearer sk-not-a-real-one"})

    with pytest.raises(UpstreamRefusal) as caught:
        await collected(JOB, service.run(Toy(steps=steps)))
    assert "sk-not-a-real-one" not in str(caught.value.body())
    assert "Incorrect API key" in caught.value.message


MISSING = "missing_required_parameter"
SHAPES: dict[str, tuple[int, object, str, str, str | None]] = {
    # name: status, body, message, code, param (contracts: clients.md section 1, and each provider's)
    "openai": (
        400,
        {
            "error": {
                "message": "Unknown parameter: 'x'.",
                "type": "invalid_request_error",
                "param": "x",
                "code": "unknown_parameter",
            }
        },
        "Unknown parameter: 'x'.",
        "unknown_parameter",
        "x",
    ),
    "ark": (
        400,
        {"error": {"code": "InvalidParameter", "message": "It is wrong. Request id: 1", "param": "", "type": ""}},
        "It is wrong. Request id: 1",
        "InvalidParameter",
        None,
    ),
    "xai, a string": (400, {"code": "Client specified", "error": "Incorrect key"}, "Incorrect key", "Client specified", None),
    "xai, a string alone": (422, {"error": "no such size"}, "no such size", "upstream_error", None),
    "gemini, a list": (
        400,
        [{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}],
        "Unknown name",
        "400",
        None,
    ),
    "a list of strings": (400, [{"error": "plain"}], "plain", "upstream_error", None),
    "flat": (400, {"code": "InvalidApiKey", "message": "No API key", "request_id": "1"}, "No API key", "InvalidApiKey", None),
    "zai": (429, {"error": {"code": "1113", "message": "no balance"}}, "no balance", "1113", None),
    "openrouter": (402, {"error": {"code": 402, "message": "credits", "metadata": {}}}, "credits", "402", None),
    "fastapi, text": (404, {"detail": "Not Found"}, "Not Found", "upstream_error", None),
    "fastapi, list": (
        422,
        {"detail": [{"loc": ["body", "n"], "msg": "too large"}, {"loc": ["body", "lora", 0], "msg": "no", "type": "missing"}]},
        "n: too large; lora.0: no",
        "invalid_value",
        "n",
    ),
    "fastapi, missing": (422, {"detail": [{"loc": ["body", "x"], "msg": "no", "type": "missing"}]}, "x: no", MISSING, "x"),
    "fastapi, a list of text": (422, {"detail": ["a", "b"]}, '["a","b"]', "upstream_error", None),
    "deepinfra": (400, {"detail": {"error": "model busy"}}, "model busy", "upstream_error", None),
    "replicate": (422, {"detail": "bad version", "title": "Invalid"}, "bad version", "upstream_error", None),
    "detail in error": (400, {"error": {"detail": "inner"}}, "inner", "upstream_error", None),
    "error is null": (400, {"error": None, "message": "beside it"}, "beside it", "upstream_error", None),
    "error is a number": (400, {"error": 400, "message": "beside it", "code": 7}, "beside it", "7", None),
    "code is an object": (400, {"error": {"message": "m", "code": {"a": 1}, "param": ["x"]}}, "m", "upstream_error", None),
    "a string": (500, "went wrong", "went wrong", "upstream_error", None),
}
NO_REASON: dict[str, bytes] = {
    "empty": b"",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "object": b"{}",
    "list": b"[]",
    "null": b"null",
    "number": b"1",
    "empty error": b'{"error": {}}',
    "empty string": b'{"error": ""}',
    "empty message": b'{"error": {"message": "", "code": null}}',
    "list of lists": b"[[]]",
    "cut": b'{"error": {"mess',
    "not UTF-8": b'{"error": "\xff"}',
    "deep": b"[" * 5000,
}


@pytest.mark.parametrize(("status", "body", "message", "code", "param"), SHAPES.values(), ids=SHAPES)
def test_every_common_shape_of_an_error_is_understood(
    status: int, body: object, message: str, code: str, param: str | None
) -> None:
    error = refusal(Reply(status=status, body=orjson.dumps(body)), "toy")
    assert (error.message, error.code, error.param, error.status) == (f"toy: {message}", code, param, status)
    assert isinstance(orjson.loads(orjson.dumps(error.body()))["error"]["message"], str)


@pytest.mark.parametrize("body", NO_REASON.values(), ids=NO_REASON)
def test_an_error_without_words_names_its_status(body: bytes) -> None:
    error = refusal(Reply(status=503, body=body), "toy")
    assert error.message == "toy: it answered 503 without a reason"
    assert (error.code, error.param, error.status) == ("upstream_error", None, 503)


@pytest.mark.parametrize("key", ["detail", "message", "error"])
@pytest.mark.parametrize("depth", [10, 300, 900])
def test_words_that_are_nested_deeply_are_no_crash(key: str, depth: int) -> None:
    """JSON may be read that is too deep to be written again."""
    body = b'{"%s": %s1%s}' % (key.encode(), b"[" * depth, b"]" * depth)
    error = refusal(Reply(status=422, body=body), "toy")
    assert error.status == 422
    assert len(error.message) < 700


@pytest.mark.parametrize(
    ("status", "kind", "failure", "answered"),
    [
        (400, "invalid_request_error", Failure.NOT_BILLED, 400),
        (401, "authentication_error", Failure.NOT_BILLED, 401),
        (403, "permission_error", Failure.NOT_BILLED, 403),
        (404, "invalid_request_error", Failure.NOT_BILLED, 404),
        (408, "invalid_request_error", Failure.UNKNOWN, 408),
        (409, "invalid_request_error", Failure.UNKNOWN, 409),
        (422, "invalid_request_error", Failure.NOT_BILLED, 422),
        (429, "rate_limit_error", Failure.NOT_BILLED, 429),
        (500, "upstream_error", Failure.UNKNOWN, 500),
        (503, "upstream_error", Failure.UNKNOWN, 503),
        (302, "upstream_error", Failure.UNKNOWN, 502),
    ],
)
def test_a_status_says_what_the_call_may_have_cost(status: int, kind: str, failure: Failure, answered: int) -> None:
    error = refusal(Reply(status=status, headers={"retry-after": "9", "set-cookie": "a=b", "server": "x"}), "toy")
    assert (error.status, error.type, error.failure) == (answered, kind, failure)
    assert error.headers["Retry-After"] == "9"
    # The SDKs repeat 408, 409, 429 and 5xx unasked: what may have been charged must not be.
    assert error.headers.get("x-should-retry") == ("false" if failure is Failure.UNKNOWN else None)
    assert not {"set-cookie", "server"} & {name.lower() for name in error.headers}


@pytest.mark.parametrize("status", [None, 200, 302])
def test_an_error_never_has_the_status_of_a_success(status: int | None) -> None:
    """Fact 9: an error that came with 200 would be an empty success to a client."""
    error = refusal(Reply(status=200, body=b'{"error": "no"}'), "toy", status=status)
    assert (error.status, error.type, error.failure) == (502, "upstream_error", Failure.UNKNOWN)


def test_a_services_words_are_cut() -> None:
    error = refusal(Reply(status=400, body=orjson.dumps({"error": {"message": "x" * 10_000, "code": "c" * 10_000}})), "toy")
    assert error.message == "toy: " + "x" * 600
    assert error.code == "c" * 100


# --- answers that make no sense ---


def tripping(read: Callable[[Reply], object]) -> Callable[[Job], Steps]:
    def steps(job: Job) -> Steps:
        reply = yield ask()
        read(reply)
        yield HostedImage("x")

    return steps


TRIPS: dict[str, Callable[[Reply], object]] = {
    "KeyError": lambda reply: reply.json["data"],
    "IndexError": lambda reply: reply.json["list"][3],
    "TypeError": lambda reply: reply.json["number"]["url"],
    "TypeError, null": lambda reply: reply.json["null"][0],
    "AttributeError": lambda reply: reply.json["list"].get("url"),
    "ValueError": lambda reply: int(reply.json["text"]),
    "TypeError, base64": lambda reply: Image.from_base64(reply.json["number"]),
    "a relative link": lambda reply: URL(reply.json["text"]).origin(),
}


@pytest.mark.parametrize("read", TRIPS.values(), ids=TRIPS)
async def test_a_provider_that_trips_over_an_answer_is_an_invalid_reply(read: Callable[[Reply], object]) -> None:
    service = Service(told({"list": [], "number": 1, "null": None, "text": "!"}))
    with pytest.raises(InvalidReply) as caught:
        await collected(JOB, service.run(Toy(steps=tripping(read))))
    assert (caught.value.status, caught.value.failure) == (502, Failure.UNKNOWN)
    assert caught.value.message == "toy answered in a form that is not understood"
    assert len(service.seen) == 1  # it was charged, perhaps


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff", b"[]", b"null", b'"text"', b"1", b"{}"])
async def test_a_body_that_is_not_what_was_expected_is_an_invalid_reply(body: bytes) -> None:
    watched = Watched([body])
    with pytest.raises(InvalidReply):
        await collected(JOB, Service(watched.response).run(Toy(steps=one_call)))
    assert watched.closed


@pytest.mark.parametrize("status", [204, 301, 302, 304])
async def test_an_answer_that_is_neither_good_nor_an_error_is_an_invalid_reply(status: int) -> None:
    with pytest.raises(InvalidReply):
        await collected(JOB, Service(Watched([b""], status=status).response).run(Toy(steps=one_call)))


@pytest.mark.parametrize(
    "outputs", [(), (Note(model="m"),), (Preview(Image(PNG)),), (Submitted("1"),)], ids=["none", "note", "preview", "job"]
)
async def test_an_answer_without_a_picture_is_an_invalid_reply(outputs: tuple[Any, ...]) -> None:
    def steps(job: Job) -> Steps:
        yield ask()
        yield from outputs

    with pytest.raises(InvalidReply, match="toy answered without a picture"):
        await collected(JOB, Service(told({})).run(Toy(steps=steps)))


async def test_a_picture_that_failed_is_an_answer() -> None:
    failed = Failed(ClientError("too rude"), 0)

    def steps(job: Job) -> Steps:
        yield ask()
        yield failed

    assert await collected(JOB, Service(told({})).run(Toy(steps=steps))) == [failed]


# --- a provider's own mistakes ---


def broken(error: Exception) -> Callable[[Job], Steps]:
    def steps(job: Job) -> Steps:
        if job:
            raise error
        yield ask()

    return steps


def eager(job: Job) -> Steps:
    raise KeyError("at once")


def unwritable(job: Job) -> Steps:
    yield ask(json={"image": object()})


def stray(job: Job) -> Steps:
    yield "no step at all"  # type: ignore[misc]
    yield HostedImage("x")


def relative(job: Job) -> Steps:
    yield ask(url=URL("/v1/make"))


MISTAKES: dict[str, Any] = {
    **{
        type(error).__name__: broken(error)
        for error in (
            KeyError("x"),
            IndexError(),
            TypeError(),
            ValueError(),
            AttributeError(),
            RuntimeError(),
            AssertionError(),
        )
    },
    "before the first step": eager,
    "no generator": lambda job: None,
    "a list": lambda job: [HostedImage("x")],
    "unwritable JSON": unwritable,
    "a stray value": stray,
    "a relative URL": relative,
}


@pytest.mark.parametrize("steps", MISTAKES.values(), ids=MISTAKES)
async def test_a_providers_own_mistake_is_not_blamed_on_the_service(steps: Callable[[Job], Steps]) -> None:
    service = Service()
    with pytest.raises(PluginFault) as caught:
        await collected(JOB, service.run(Toy(steps=steps)))
    assert caught.value.message == "internal error"
    assert not service.seen


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1/make",
        "http://api.toy.example/v1/make",
        "https://api.toy.example:8443/v1/make",
        "https://api.toy.example.evil.example/",
        "https://toy.example/",
        "https://api.toy.example@evil.example/",
    ],
)
async def test_a_call_to_a_foreign_origin_is_refused_before_it_is_sent(url: str) -> None:
    """Keys stay with the origin they were configured for."""
    service = Service(told({"link": url}))

    def steps(job: Job) -> Steps:
        reply = yield ask()
        yield Call(method="GET", url=URL(reply.json["link"]), headers={"Authorization": "Bearer key"})

    with pytest.raises(PluginFault):
        await collected(JOB, service.run(Toy(steps=steps)))
    assert len(service.seen) == 1


@pytest.mark.parametrize(
    "url", ["https://api.toy.example/elsewhere?x#y", "https://API.toy.example:443/", "https://user:word@api.toy.example/"]
)
async def test_an_origin_is_scheme_host_and_port(url: str) -> None:
    service = Service(told({}))

    def steps(job: Job) -> Steps:
        yield ask(url=URL(url))
        yield HostedImage("x")

    await collected(JOB, service.run(Toy(steps=steps)))
    origin = service.seen[0].request.origin
    assert origin is not None
    assert (origin.scheme, origin.host, origin.port, origin.user) == ("https", "api.toy.example", 443, None)


# --- what is repeated, and what never ---

CUT = "cut"


def calling(method: str, again: bool | None) -> Callable[[Job], Steps]:
    def steps(job: Job) -> Steps:
        reply = yield Call(method=method, url=BASE / "x", json={"a": 1}, again=again, wait=9)
        yield HostedImage(reply.json["link"])

    return steps


@pytest.mark.parametrize(("method", "again"), [("GET", None), ("GET", True), ("POST", True)])
@pytest.mark.parametrize("faults", [[500], [503, 500], [502, CUT, 504], [CUT, CUT, CUT]])
async def test_a_call_that_may_be_repeated_is(method: str, again: bool | None, faults: list[Any]) -> None:
    cut = UpstreamError("cut", failure=Failure.UNKNOWN)
    watched = [Watched([b"x"], status=fault) for fault in faults if fault != CUT]
    bodies = iter(watched)
    service = Service(*(cut if fault == CUT else next(bodies).response for fault in faults), told({"link": "x"}))
    assert await collected(JOB, service.run(Toy(steps=calling(method, again)))) == [HostedImage("x")]
    assert service.slept == [9, *[0.5, 1.0, 2.0][: len(faults)]]
    assert {seen.body for seen in service.seen} == {b'{"a":1}'}
    assert all(one.closed for one in watched)


async def test_repeating_has_an_end() -> None:
    service = Service(*[told({"error": "down"}, status=503) for _ in range(9)])
    with pytest.raises(UpstreamRefusal, match="toy: down"):
        await collected(JOB, service.run(Toy(steps=calling("GET", None))))
    assert len(service.seen) == 4
    service = Service(*[UpstreamError("cut", failure=Failure.NOT_SENT)] * 9)
    with pytest.raises(UpstreamError, match="cut"):
        await collected(JOB, service.run(Toy(steps=calling("GET", None))))
    assert len(service.seen) == 4


@pytest.mark.parametrize(
    ("method", "again"), [("POST", None), ("POST", False), ("GET", False), ("PUT", None), ("DELETE", None)]
)
@pytest.mark.parametrize("fault", [500, 503, 408, 429, CUT])
async def test_a_call_that_may_be_charged_is_sent_once(method: str, again: bool | None, fault: Any) -> None:
    answer: Answer = UpstreamError("cut", failure=Failure.NOT_SENT) if fault == CUT else told({}, status=fault)
    service = Service(answer, told({"link": "never asked for"}))
    with pytest.raises(UpstreamError):
        await collected(JOB, service.run(Toy(steps=calling(method, again))))
    assert len(service.seen) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 429])
async def test_a_no_is_not_asked_again(status: int) -> None:
    service = Service(told({}, status=status), told({"link": "never asked for"}))
    with pytest.raises(UpstreamRefusal):
        await collected(JOB, service.run(Toy(steps=calling("GET", None))))
    assert len(service.seen) == 1


# --- several runs at once ---


def numbered(job: Job) -> Steps:
    """As many links as the service gives, in its order."""
    reply = yield ask(json={"n": job.n})
    yield Note(usage={"output_tokens": 1})
    for link in reply.json:
        yield HostedImage(link)


@pytest.mark.parametrize(
    ("n", "batch", "shares"), [(1, 1, [1]), (3, 1, [1, 1, 1]), (5, 2, [2, 2, 1]), (4, 4, [4]), (4, 10, [4]), (2, 0, [1, 1])]
)
async def test_a_job_takes_as_many_runs_as_it_needs(n: int, batch: int, shares: list[int]) -> None:
    service = Service(*(told([f"{place}-{i}" for i in range(share)]) for place, share in enumerate(shares)))
    outputs = await collected(dataclasses.replace(JOB, n=n), service.run(Toy(steps=numbered, batch=batch)))
    assert sorted(seen.json["n"] for seen in service.seen) == sorted(shares)
    assert sum(isinstance(output, HostedImage) for output in outputs) == n
    assert sum(isinstance(output, Note) for output in outputs) == len(shares)


@pytest.mark.parametrize(("seed", "sent"), [(None, [None] * 3), (7, [7, 9, 11]), (-1, [-1] * 3), (0, [0, 2, 4])])
async def test_the_same_seed_does_not_make_the_same_picture(seed: int | None, sent: list[int | None]) -> None:
    seen: list[int | None] = []

    def steps(job: Job) -> Steps:
        seen.append(job.seed)
        yield from numbered(job)

    service = Service(*(told(["a", "b"]) for _ in range(3)))
    await collected(dataclasses.replace(JOB, n=6, seed=seed), service.run(Toy(steps=steps, batch=2)))
    assert sorted(seen, key=str) == sorted(sent, key=str)


async def test_indices_are_counted_over_all_runs() -> None:
    def steps(job: Job) -> Steps:
        reply = yield ask()
        yield Preview(Image(PNG), 1)
        yield HostedImage(f"{reply.json} second", 1)
        yield HostedImage(f"{reply.json} first", 0)

    service = Service(told("a"), told("b"), told("c"))
    outputs = await collected(dataclasses.replace(JOB, n=6), service.run(Toy(steps=steps, batch=2)))
    found = {output.url: output.index or 0 for output in outputs if isinstance(output, HostedImage)}
    assert sorted(found.values()) == [0, 1, 2, 3, 4, 5]
    assert all(found[f"{name} second"] == found[f"{name} first"] + 1 for name in "abc")
    assert sorted(output.index for output in outputs if isinstance(output, Preview)) == [1, 3, 5]


async def test_pictures_without_an_index_are_counted_too() -> None:
    service = Service(told(["a", "b"]), told(["c", "d"]), told(["e"]))
    outputs = await collected(dataclasses.replace(JOB, n=5), service.run(Toy(steps=numbered, batch=2)))
    found = {output.url: output.index or 0 for output in outputs if isinstance(output, HostedImage)}
    assert sorted(found.values()) == [0, 1, 2, 3, 4]
    assert (found["b"], found["d"]) == (found["a"] + 1, found["c"] + 1)


async def test_answers_that_come_out_of_order_keep_their_places() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    asked: list[int] = []

    async def answer(request: Request) -> Response:
        place = len(asked)
        asked.append(place)
        await gates[place].wait()
        return told([f"link {place}"])

    gates[2].set()
    found: list[tuple[str, int | None]] = []
    async with aclosing(
        run(dataclasses.replace(JOB, n=3), Service(answer, answer, answer).run(Toy(steps=numbered)))
    ) as outputs:
        async for output in outputs:
            if isinstance(output, HostedImage):
                found.append((output.url, output.index))
                gates[3 - len(found) - 1].set()
    assert found == [("link 2", 2), ("link 1", 1), ("link 0", 0)]


@pytest.mark.parametrize(("n", "parallel"), [(3, 1), (5, 2), (10, 4), (3, 10)])
async def test_no_more_runs_than_allowed_go_on_at_once(n: int, parallel: int) -> None:
    now, most = 0, 0

    async def answer(request: Request) -> Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(3):
            await asyncio.sleep(0)
        now -= 1
        return told(["x"])

    service = Service(*[answer] * n)
    outputs = await collected(dataclasses.replace(JOB, n=n), service.run(Toy(steps=numbered), parallel=parallel))
    assert sum(isinstance(output, HostedImage) for output in outputs) == n
    assert most == min(n, parallel)


async def test_a_run_that_fails_leaves_the_others() -> None:
    refused = told({"error": {"message": "too rude", "code": "rude"}}, status=400)
    service = Service(told(["a", "b"]), refused, told(["e"]))
    way = service.run(Toy(steps=numbered, batch=2), parallel=1)
    outputs = await collected(dataclasses.replace(JOB, n=5), way)
    assert [output.url for output in outputs if isinstance(output, HostedImage)] == ["a", "b", "e"]
    failed = [output for output in outputs if isinstance(output, Failed)]
    assert [output.index for output in failed] == [2, 3]  # both pictures of that run
    assert {output.error.code for output in failed} == {"rude"}


async def test_only_if_all_fail_the_first_error_is_raised() -> None:
    errors = [told({"error": f"error {n}"}, status=400 + n) for n in range(3)]
    outputs: list[Any] = []

    async def collect() -> None:
        way = Service(*errors).run(Toy(steps=numbered), parallel=1)
        async with aclosing(run(dataclasses.replace(JOB, n=3), way)) as steps:
            async for output in steps:
                outputs.append(output)  # noqa: PERF401  # they are wanted although it raises

    with pytest.raises(UpstreamRefusal) as caught:
        await collect()
    assert (caught.value.message, caught.value.status) == ("toy: error 0", 400)
    assert all(isinstance(output, Failed) for output in outputs)


@pytest.mark.parametrize("n", [1, 2, 10])
async def test_a_consumer_that_is_cancelled_ends_all_runs(n: int) -> None:
    watched = [Watched([PARTIAL], hang=True) for _ in range(n)]
    service = Service(*(one.response for one in watched))
    await left(service.run(Toy(steps=streaming), parallel=10), watched[-1].reading, dataclasses.replace(JOB, n=n))
    assert [one.closed for one in watched] == [True] * n


async def test_a_consumer_that_leaves_early_ends_all_runs() -> None:
    closed: list[int] = []

    def steps(job: Job) -> Steps:
        try:
            yield from streaming(job)
        finally:
            closed.append(1)

    watched = [Watched([PARTIAL], hang=True) for _ in range(3)]
    service = Service(*(one.response for one in watched))
    async with aclosing(run(dataclasses.replace(JOB, n=3), service.run(Toy(steps=steps)))) as outputs:
        assert isinstance(await anext(outputs), Preview)
    assert closed == [1, 1, 1]
    assert all(one.closed for one in watched)


async def test_runs_that_wait_for_their_turn_never_begin_once_the_client_left() -> None:
    there = asyncio.Event()
    service = Service(lambda request: hanging(there))
    await left(service.run(Toy(steps=numbered), parallel=1), there, dataclasses.replace(JOB, n=5))
    assert len(service.seen) == 1


async def test_each_task_of_a_fan_out_is_cancelled() -> None:
    polled: list[str] = []
    there = asyncio.Event()

    async def answer(request: Request) -> Response:
        if request.method == "POST":
            return told({"id": f"t{len(service.seen)}"})
        if request.method == "GET":
            polled.append(request.target)
            return await hanging(there if len(polled) == 3 else asyncio.Event())
        return told({})

    service = Service(*[answer] * 9)
    await left(service.run(Toy(steps=submit_and_poll)), there, dataclasses.replace(JOB, n=3))
    for work in service.background:
        await work
    assert sorted(service.lines[-3:]) == sorted(f"DELETE https://api.toy.example{target}" for target in polled)


# --- one run by itself ---


async def test_the_steps_are_closed_after_every_ending() -> None:
    ended: list[Mapping[str, object]] = []

    def steps(job: Job) -> Steps:
        try:
            yield from one_call(job)
        finally:
            ended.append({})

    for answer in (told({"link": "x"}), told({}), told({}, status=400), UpstreamError("cut", failure=Failure.UNKNOWN)):
        service = Service(answer)
        with contextlib.suppress(UpstreamError):
            async with aclosing(drive(JOB, service.run(Toy(steps=steps)))) as outputs:
                assert [output async for output in outputs] == [HostedImage("x")]
    assert len(ended) == 4
