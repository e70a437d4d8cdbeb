"""Where a request goes: the longest prefix decides, and a path is what it says."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict
from yarl import URL

from proxy_core import Body, Exchange, NotFound, Request
from proxy_core.config import Route
from proxy_core.routes import Routes, target_on


def request(target: str, **headers: str) -> Request:
    return Request(exchange=Exchange(), method="GET", target=target, headers=CIMultiDict(headers), body=Body())


ROUTES = {"/v1": Route(upstream=URL("https://one.example")), "/v1/images/": Route(upstream=URL("https://two.example/api"))}


@pytest.mark.parametrize(
    ("target", "origin", "sent"),
    [
        ("/v1", "https://one.example", "/v1"),
        ("/v1/chat?a=%2F", "https://one.example", "/v1/chat?a=%2F"),
        ("/v1/images/x", "https://two.example", "/api/x"),
        ("/v1/images", "https://two.example", "/api"),
    ],
)
def test_the_longest_prefix_decides(target: str, origin: str, sent: str) -> None:
    asked = request(target)
    pool = Routes(ROUTES).match(asked.path)
    (found,) = pool.candidates()
    assert (found.origin, target_on(pool, found, asked)) == (URL(origin), sent)


@pytest.mark.parametrize("target", ["/", "/v2", "/v1x", "/V1/x"])
def test_what_no_route_takes_is_not_found(target: str) -> None:
    with pytest.raises(NotFound):
        Routes(ROUTES).match(target)

