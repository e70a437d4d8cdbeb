"""Middlewares fold into one handler in the operator's order; what goes wrong is pinned on its plugin, and answered."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from proxy_core import (
    Body,
    ClientError,
    Exchange,
    Failure,
    Handler,
    InvalidReply,
    Middleware,
    NotFound,
    Overloaded,
    ProxyError,
    Request,
    Response,
    UpstreamError,
    UpstreamRefusal,
    UpstreamTimeout,
)
from proxy_core.chain import answer, compose
from proxy_core.errors import BodyTimeout, PluginFault


@pytest.fixture
def request_() -> Request:
    return Request(exchange=Exchange(), method="GET", target="/", headers=CIMultiDict(), body=Body())


async def endpoint(request: Request) -> Response:
    return Response.json({"target": request.target})


async def passing(request: Request, next: Handler) -> Response:
    return await next(request)


def raising(error: BaseException) -> Middleware:
    async def middleware(request: Request, next: Handler) -> Response:
        raise error

    return middleware


def returning(value: Any) -> Middleware:
    async def middleware(request: Request, next: Handler) -> Response:
        return value  # type: ignore[no-any-return]  # what an author gets wrong where mypy does not look

    return middleware


def told(response: Response) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(response.body.contiguous())
    assert set(value) == {"error"}
    assert set(value["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = value["error"]
    return error


# --- compose ---


async def test_no_middleware_is_the_endpoint(request_: Request) -> None:
    assert (await compose([], endpoint)(request_)).status == 200


async def test_the_first_is_the_outermost(request_: Request) -> None:
    steps: list[str] = []

    def tracing(name: str) -> Middleware:
        async def middleware(request: Request, next: Handler) -> Response:
            steps.append(f"{name} in")
            response = await next(request)
            steps.append(f"{name} out")
            return response

        return middleware

    async def last(request: Request) -> Response:
        steps.append("endpoint")
        return Response(status=200)

    handler = compose([(name, tracing(name)) for name in "abc"], last)
    await handler(request_)
    assert steps == ["a in", "b in", "c in", "endpoint", "c out", "b out", "a out"]
    await handler(request_)
    assert steps[7:] == steps[:7]  # one handler serves every request


async def test_a_middleware_may_answer_by_itself_change_what_goes_on_and_ask_twice(request_: Request) -> None:
    asked: list[Request] = []

    async def counting(request: Request) -> Response:
        asked.append(request)
        return Response(status=200 + len(asked))

    async def twice(request: Request, next: Handler) -> Response:
        await next(request)
        return await next(request)

    own = Response(status=418)
    assert await compose([("own", returning(own)), ("twice", twice)], counting)(request_) is own
    assert asked == []
    assert (await compose([("twice", twice), ("passing", passing)], counting)(request_)).status == 202
    assert asked == [request_, request_]


@pytest.mark.parametrize("names", [["bad"], ["outer", "bad"], ["bad", "inner"], ["outer", "bad", "inner"]])
async def test_what_a_plugin_raises_is_pinned_on_it_alone(request_: Request, names: list[str]) -> None:
    cause = KeyError("data")
    handler = compose([(name, raising(cause) if name == "bad" else passing) for name in names], endpoint)
    with pytest.raises(PluginFault) as caught:
        await handler(request_)
    assert caught.value.plugin == "bad"
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("value", [None, b"{}", {"status": 200}, Response, (200, b"")])
async def test_nonsense_for_an_answer_is_the_plugins_fault(request_: Request, value: object) -> None:
    handler = compose([("outer", passing), ("bad", returning(value)), ("inner", passing)], endpoint)
    with pytest.raises(PluginFault) as caught:
        await handler(request_)
    assert caught.value.plugin == "bad"
    assert type(value).__name__ in str(caught.value.__cause__)


async def test_a_middleware_that_is_not_async_is_the_plugins_fault(request_: Request) -> None:
    def plain(request: Request, next: Handler) -> Any:
        return Response(status=200)

    with pytest.raises(PluginFault) as caught:
        await compose([("plain", plain)], endpoint)(request_)
    assert caught.value.plugin == "plain"
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("nothing here"),
        ClientError("bad size", param="size"),
        UpstreamError("cut", failure=Failure.UNKNOWN),
        Overloaded("full"),
        PluginFault("already named"),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_with_an_answer_and_an_end_pass_as_they_are(request_: Request, error: BaseException) -> None:
    # By hand, not by `pytest.raises`: an event loop ends with a KeyboardInterrupt that goes through it.
    handler = compose([("outer", passing), ("bad", raising(error)), ("inner", passing)], endpoint)
    with pytest.raises(type(error)) as caught:
        handler(request_).__await__().send(None)
    assert caught.value is error


async def test_a_middleware_may_mend_what_comes_from_within(request_: Request) -> None:
    async def mend(request: Request, next: Handler) -> Response:
        try:
            return await next(request)
        except ProxyError as error:
            return Response(status=error.status)

    assert (await compose([("mend", mend), ("bad", raising(ValueError()))], endpoint)(request_)).status == 500
    assert (await compose([("mend", mend), ("bad", raising(NotFound("x")))], endpoint)(request_)).status == 404


async def test_the_endpoints_own_failure_is_not_pinned_on_a_plugin(request_: Request, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Request) -> Response:
        raise KeyError("a mistake of the core")

    with pytest.raises(Exception) as caught:  # which class is the core's own affair
        await compose([("innocent", passing), ("bystander", passing)], broken)(request_)
    response = answer(caught.value, "req_1")
    assert response.status == 500
    assert "a mistake of the core" in caplog.text
    assert "innocent" not in caplog.text
    assert "plugin bystander" not in caplog.text


# --- answer ---


@pytest.mark.parametrize(
    ("error", "status", "shape"),
    [
        (
            ClientError("no such size", param="size", code="bad_size"),
            400,
            {"message": "no such size", "type": "invalid_request_error", "param": "size", "code": "bad_size"},
        ),
        (
            NotFound("nothing is served here"),
            404,
            {"message": "nothing is served here", "type": "invalid_request_error", "param": None, "code": "unknown_url"},
        ),
        (
            UpstreamRefusal("slow down", failure=Failure.NOT_BILLED, status=429, type="rate_limit", code="rpm"),
            429,
            {"message": "slow down", "type": "rate_limit", "param": None, "code": "rpm"},
        ),
        (
            InvalidReply("no image"),
            502,
            {"message": "no image", "type": "upstream_error", "param": None, "code": "invalid_upstream_reply"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_answered_in_openais_shape_and_not_logged(
    caplog: pytest.LogCaptureFixture, error: ProxyError, status: int, shape: dict[str, object]
) -> None:
    caplog.set_level(logging.DEBUG)
    response = answer(error, "req_1")
    assert response.status == status
    assert told(response) == shape
    assert response.headers["Content-Type"] == "application/json"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PluginFault("acme"), "plugin acme failed"),
        (ValueError("the key sk-123 is at /etc/secret"), "internal error"),
        (KeyError("sk-123"), "internal error"),
    ],
    ids=["plugin", "core", "key"],
)
def test_details_go_to_the_log_and_not_to_the_client(caplog: pytest.LogCaptureFixture, error: Exception, line: str) -> None:
    if isinstance(error, PluginFault):
        error.__cause__ = ValueError("the key sk-123 is at /etc/secret")
    response = answer(error, "req_77")
    assert response.status == 500
    assert told(response) == {"message": "internal error", "type": "server_error", "param": None, "code": "internal_error"}
    assert response.headers.getall("x-should-retry") == ["false"]
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("darkroom", "ERROR", line)
    assert vars(record)["request_id"] == "req_77"
    assert "sk-123" in caplog.text  # the traceback of the cause
    for secret in (b"sk-123", b"/etc", b"acme", b"ValueError", b"KeyError"):
        assert secret not in response.body.contiguous()
    assert all("sk-123" not in value for value in response.headers.values())


def test_a_plugin_fault_without_a_cause_is_logged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    answer(PluginFault("acme"), "req_1")
    assert [record.getMessage() for record in caplog.records] == ["plugin acme failed"]


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (ProxyError("x"), "false"),
        (ProxyError("x", status=599), "false"),
        (ProxyError("x", status=503), "true"),
        (Overloaded("x"), "true"),
        (PluginFault("x"), "false"),
        (ClientError("x"), None),
        (ClientError("x", status=499), None),
        (BodyTimeout("x"), None),
        (NotFound("x"), None),
        # An upstream's failure carries its own answer: what was not charged may be asked again.
        (UpstreamError("x", failure=Failure.UNKNOWN), "false"),
        (UpstreamTimeout("x", failure=Failure.UNKNOWN), "false"),
        (UpstreamRefusal("x", failure=Failure.UNKNOWN, status=503), "false"),
        (UpstreamRefusal("x", failure=Failure.UNKNOWN, status=429), "false"),
        (UpstreamError("x", failure=Failure.NOT_SENT), None),
        (UpstreamRefusal("x", failure=Failure.NOT_BILLED, status=503), None),
        (InvalidReply("x"), "false"),
        (InvalidReply("x", failure=Failure.NOT_BILLED), None),
        # What an error says of itself stands.
        (ProxyError("x", headers={"x-should-retry": "true"}), "true"),
        (ProxyError("x", headers={"X-Should-Retry": "true"}), "true"),
        (ProxyError("x", status=503, headers={"X-SHOULD-RETRY": "false"}), "false"),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.status}" if isinstance(value, ProxyError) else str(value),
)
def test_whether_to_ask_again(error: ProxyError, retry: str | None) -> None:
    response = answer(error, "req_1")
    assert response.headers.getall("x-should-retry", []) == ([] if retry is None else [retry])


def test_an_errors_headers_are_sent() -> None:
    response = answer(ClientError("no", status=405, headers={"Allow": "POST", "X-One": "1"}), "req_1")
    assert dict(response.headers) == {"Content-Type": "application/json", "Allow": "POST", "X-One": "1"}
    assert answer(Overloaded("full", retry_after=9), "req_1").headers["Retry-After"] == "9"


def test_an_error_can_be_answered_twice_alike() -> None:
    error = Overloaded("full")
    first, second = answer(error, "req_1"), answer(error, "req_2")
    assert dict(first.headers) == dict(second.headers)
    assert "x-should-retry" not in error.headers
