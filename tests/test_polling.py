"""How often a service is asked whether a job is done, and what becomes of a job that cannot be asked for."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

import pytest
from multidict import CIMultiDict
from yarl import URL

from plugins.image_edit import Call, Ended, HostedImage, Job, Reply, Steps, Submitted, UpstreamRefusal, poll
from plugins.image_edit.drive import drive
from plugins.image_edit.polling import hinted
from proxy_core import Body, Failure, Response, UpstreamError
from tests.test_drive import BASE, JOB, Service, Toy, collected, told


def steps(job: Job) -> Steps:
    reply = yield Call(method="POST", url=BASE / "jobs", json={})
    yield Submitted(reply.json["id"], cancel=Call(method="DELETE", url=BASE / "jobs" / reply.json["id"]))
    reply = yield from poll(
        Call(method="GET", url=BASE / "jobs" / reply.json["id"]), lambda reply: reply.json["state"] == "running", most=4.0
    )
    yield HostedImage(reply.json["link"])


SUBMITTED = told({"id": "j1"})
RUNNING = told({"state": "running"})
DONE = told({"state": "done", "link": "x"})


def busy(status: int, **headers: str) -> Response:
    return Response(status=status, headers=CIMultiDict(headers), body=Body(b'{"error": {"message": "busy"}}'))


async def test_it_is_asked_more_and_more_seldom() -> None:
    service = Service(SUBMITTED, *[told({"state": "running"}) for _ in range(6)], DONE)
    assert await collected(JOB, service.run(Toy(steps=steps))) == [HostedImage("x")]
    assert service.slept == [1.0, 1.5, 2.25, 3.375, 4.0, 4.0, 4.0]
    assert service.lines == [f"POST {BASE}/jobs", *[f"GET {BASE}/jobs/j1"] * 7]


async def test_a_hint_is_followed() -> None:
    hint = Response(status=200, headers=CIMultiDict({"Retry-After": "7"}), body=Body(b'{"state": "running"}'))
    service = Service(SUBMITTED, hint, told({"state": "running"}), DONE)
    await collected(JOB, service.run(Toy(steps=steps)))
    assert service.slept == [1.0, 7.0, 4.0]


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0.5", 0.5), ("900", 60.0), ("0", None), ("-1", None), ("Mon, 1 Jan", None), ("", None)]
)
def test_hints(value: str, seconds: float | None) -> None:
    assert hinted({"retry-after": value}) == seconds
    assert hinted(Reply().headers) is None


async def test_pauses_are_spread() -> None:
    service = Service(SUBMITTED, told({"state": "running"}), DONE)
    factors = iter((0.9, 1.1))
    await collected(JOB, service.run(Toy(steps=steps), spread=lambda: next(factors)))
    assert service.slept == [0.9, 1.5 * 1.1]


async def test_a_service_that_is_down_for_a_minute_costs_no_picture() -> None:
    cut = UpstreamError("cut", failure=Failure.NOT_SENT)
    refused = [busy(429, **{"Retry-After": "9"}), busy(429)]
    trouble: list[Response | BaseException] = [busy(503), cut, *refused, cut, busy(502), busy(500), cut]
    service = Service(SUBMITTED, *trouble, DONE)
    assert await collected(JOB, service.run(Toy(steps=steps))) == [HostedImage("x")]
    assert service.slept == [1.0, 0.5, 1.0, 9.0, 4.0, 8.0, 16.0, 16.0, 16.0]


@pytest.mark.parametrize("status", [401, 404, 422, 429, 500])
async def test_a_job_that_cannot_be_asked_for_runs_on(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the answer says: what runs may be charged, so nobody is told to try again, and it is in the log."""
    service = Service(SUBMITTED, *[busy(status) for _ in range(9)], told({}))
    with caplog.at_level(logging.INFO), pytest.raises(UpstreamRefusal, match="busy") as caught:
        await collected(JOB, service.run(Toy(steps=steps)))
    assert (caught.value.status, caught.value.failure) == (status, Failure.UNKNOWN)
    assert caught.value.headers["x-should-retry"] == "false"
    assert "job j1 at toy was given up" in caplog.text
    await service.background.pop()
    assert service.lines[-1] == f"DELETE {BASE}/jobs/j1"


async def test_a_client_that_leaves_ends_the_job() -> None:
    service = Service(SUBMITTED)
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    async def wait() -> None:
        async with aclosing(drive(JOB, service.run(Toy(steps=steps), sleep=sleep))) as outputs:
            async for _ in outputs:
                raise AssertionError("there is nothing yet")

    task = asyncio.create_task(wait())
    await asleep.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    service.answers.append(told({}))
    await service.background.pop()
    assert service.lines == [f"POST {BASE}/jobs", f"DELETE {BASE}/jobs/j1"]


@pytest.mark.parametrize("status", [200, 403])
async def test_a_job_that_has_ended_is_not_given_up(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Well or badly: nothing is cancelled. It may be charged all the same, if its result cannot be had."""

    def asked(job: Job) -> Steps:
        yield Submitted("j1", cancel=Call(method="DELETE", url=BASE / "jobs/j1"))
        yield from poll(Call(method="GET", url=BASE / "jobs/j1"), lambda reply: False)
        yield Ended()
        yield Call(method="GET", url=BASE / "jobs/j1/result")
        yield HostedImage("x")

    service = Service(DONE, told({}) if status == 200 else busy(status))
    failure = None
    try:
        async with aclosing(drive(JOB, service.run(Toy(steps=asked)))) as outputs:
            async for _ in outputs:
                break  # the client leaves while the picture is fetched
    except UpstreamRefusal as error:
        failure = error.failure
    assert failure is (None if status == 200 else Failure.UNKNOWN)
    assert not service.background
    assert "given up" not in caplog.text


def test_the_call_is_the_same_each_time() -> None:
    call = Call(method="POST", url=URL("https://a.example/result"), json={"id": 1})
    asking = poll(call, lambda reply: reply.json == 1, first=2.0)
    first = next(asking)
    assert (first.wait, first.again, first.json) == (2.0, True, {"id": 1})
    second = asking.send(Reply(body=b"1"))
    assert (second.wait, second.url) == (3.0, call.url)
    with pytest.raises(StopIteration) as ended:
        asking.send(Reply(body=b"2"))
    assert ended.value.value.json == 2
