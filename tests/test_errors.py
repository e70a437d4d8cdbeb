"""Each error is answered with its own status, type and code, and tells a client nothing it must not know."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from proxy_core import errors
from proxy_core.errors import (
    BodyTimeout,
    ClientError,
    ConfigError,
    Failure,
    Fault,
    InvalidReply,
    NotFound,
    Overloaded,
    PluginFault,
    ProxyError,
    TooLarge,
    UpstreamError,
    UpstreamRefusal,
    UpstreamTimeout,
)


@pytest.mark.parametrize(
    ("make", "status", "type", "code"),
    [
        (ProxyError, 500, "server_error", None),
        (ClientError, 400, "invalid_request_error", None),
        (NotFound, 404, "invalid_request_error", "unknown_url"),
        (TooLarge, 413, "invalid_request_error", "request_too_large"),
        (BodyTimeout, 408, "invalid_request_error", "request_timeout"),
        (lambda m: UpstreamError(m, failure=Failure.NOT_SENT), 502, "upstream_error", "upstream_error"),
        (lambda m: UpstreamTimeout(m, failure=Failure.NOT_SENT), 504, "upstream_error", "upstream_timeout"),
        (InvalidReply, 502, "upstream_error", "invalid_upstream_reply"),
        (Overloaded, 503, "overloaded_error", "overloaded"),
    ],
)
def test_status_type_and_code_of_each_class(
    make: Callable[[str], ProxyError], status: int, type: str, code: str | None
) -> None:
    error = make("what went wrong")
    assert error.status == status
    assert error.body() == {"error": {"message": "what went wrong", "type": type, "param": None, "code": code}}
    assert str(error) == "what went wrong"


def _descendants(cls: type[ProxyError]) -> set[type[ProxyError]]:
    return {cls}.union(*(_descendants(child) for child in cls.__subclasses__() if child.__module__ == errors.__name__))


def test_the_tree_drawn_on_top_of_the_file_is_the_tree_there_is() -> None:
    drawn = dict(re.findall(r"([A-Z]\w+) +(?:(\d{3}|the upstream's own|not answered))", errors.__doc__ or ""))
    assert set(drawn) == {cls.__name__ for cls in _descendants(ProxyError)} | {"ConfigError"}
    statuses = {cls.__name__: str(cls.status) for cls in _descendants(ProxyError)}
    assert {name: said for name, said in drawn.items() if said.isdigit()} == {
        name: status for name, status in statuses.items() if drawn[name].isdigit()
    }


def test_an_instance_may_say_more_without_changing_its_class() -> None:
    given = {"Allow": "POST"}
    error = ClientError("no", param="size", code="bad_size", status=405, type="other", headers=given)
    assert error.body() == {"error": {"message": "no", "type": "other", "param": "size", "code": "bad_size"}}
    assert error.status == 405
    assert dict(error.headers) == given
    error.headers["Allow"] = "GET"
    assert given == {"Allow": "POST"}  # a shared mapping must not change with one error
    assert (ClientError.status, ClientError.type, ClientError.code) == (400, "invalid_request_error", None)
    assert dict(ClientError("again").headers) == {}


def test_a_class_keeps_its_code_unless_another_is_given() -> None:
    assert NotFound("gone").code == "unknown_url"
    assert NotFound("gone", code="model_not_found").code == "model_not_found"


@pytest.mark.parametrize("cls", [UpstreamError, UpstreamTimeout, UpstreamRefusal])
@pytest.mark.parametrize(
    ("failure", "retry"), [(Failure.NOT_SENT, None), (Failure.NOT_BILLED, None), (Failure.UNKNOWN, "false")]
)
def test_only_what_may_have_been_charged_forbids_a_retry(cls: type[UpstreamError], failure: Failure, retry: str | None) -> None:
    error = cls("cut", failure=failure)
    assert error.failure is failure
    assert error.headers.get("x-should-retry") == retry


@pytest.mark.parametrize("name", ["x-should-retry", "X-Should-Retry"])
def test_a_retry_header_of_ones_own_stands_alone(name: str) -> None:
    error = UpstreamError("busy", failure=Failure.UNKNOWN, headers={name: "true"})
    assert [value for key, value in error.headers.items() if key.lower() == "x-should-retry"] == ["true"]


def test_a_refusal_takes_over_the_upstreams_words() -> None:
    error = UpstreamRefusal("slow down", failure=Failure.NOT_BILLED, status=429, type="rate_limit", param="n", code="rpm")
    assert error.status == 429
    assert error.body() == {"error": {"message": "slow down", "type": "rate_limit", "param": "n", "code": "rpm"}}


def test_an_invalid_reply_may_have_cost_money_unless_known_otherwise() -> None:
    assert InvalidReply("no image").failure is Failure.UNKNOWN
    assert InvalidReply("no image").headers["x-should-retry"] == "false"
    refused = InvalidReply("filtered", failure=Failure.NOT_BILLED, code="content_filter")
    assert (refused.failure, refused.code) == (Failure.NOT_BILLED, "content_filter")
    assert "x-should-retry" not in refused.headers


@pytest.mark.parametrize(("given", "seconds"), [({}, "2"), ({"retry_after": 17}, "17")])
def test_overloaded_says_when_to_come_again(given: dict[str, int], seconds: str) -> None:
    assert dict(Overloaded("full", **given).headers) == {"Retry-After": seconds}


def test_a_plugin_fault_does_not_tell_the_client_which_plugin() -> None:
    fault = PluginFault("house_secret")
    assert fault.plugin == "house_secret"
    assert fault.status == 500
    assert fault.body() == {
        "error": {"message": "internal error", "type": "server_error", "param": None, "code": "internal_error"}
    }
    assert "house_secret" not in str(fault)


@pytest.mark.parametrize(("where", "text"), [("proxy.listen", "proxy.listen: is odd"), ("", "is odd")])
def test_a_fault_reads_as_path_and_mend(where: str, text: str) -> None:
    assert str(Fault(where, "is odd")) == text


def test_a_config_error_holds_every_fault_in_order() -> None:
    error = ConfigError([Fault("b", "two"), Fault("a", "one", missing="acme"), Fault("b", "also")])
    assert [fault.where for fault in error.faults] == ["a", "b", "b"]
    assert str(error) == "a: one\nb: also\nb: two"
    assert error.faults[0].missing == "acme"
    assert not isinstance(error, ProxyError)  # it stops the start; nobody is there to be answered
