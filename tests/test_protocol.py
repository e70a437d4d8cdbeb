"""What stands around aiohttp's parser of requests, by itself: the parser in it says what a test wants it to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine
from multidict import CIMultiDict

from proxy_core.errors import ClientError
from proxy_core.http1 import FRAMING
from proxy_core.protocol import _Parser
from proxy_core.wire import _absolute


class Head(NamedTuple):
    """Of aiohttp's RawRequestMessage what is looked at."""

    method: str = "POST"
    version: tuple[int, int] = (1, 1)
    headers: CIMultiDict[str] = CIMultiDict()
    chunked: bool = False
    upgrade: bool = False
    should_close: bool = False


class Payload:
    def __init__(self) -> None:
        self.total_bytes = 0
        self.error: Exception | None = None
        self.ended = False

    def is_eof(self) -> bool:
        return self.ended

    def feed_eof(self) -> None:
        self.ended = True

    def set_exception(self, error: Exception) -> None:
        self.error = error


class Scripted:
    """Gives one after the other, or raises it."""

    upgraded = False

    def __init__(self, *script: Sequence[tuple[Head, Payload]] | Exception) -> None:
        self.script = deque(script)

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        step = self.script.popleft()
        if isinstance(step, Exception):
            raise step
        return step, self.upgraded, b"tail"


NOTHING: tuple[Sequence[Any], bool, bytes] = ((), False, b"")


def test_what_is_clear_passes() -> None:
    payload = Payload()
    scripted = Scripted([(Head(), payload)], [])
    scripted.upgraded = True
    parser = _Parser(scripted)
    assert parser.feed_data(b"x") == ([(Head(), payload)], True, b"tail")
    assert parser.feed_data(b"x") == ([], True, b"tail")
    assert parser.script is scripted.script  # and whatever else is asked of it


@pytest.mark.parametrize(("head", "closes"), [(Head(chunked=True), True), (Head(upgrade=True), True), (Head(), False)])
def test_which_request_is_the_last_of_its_connection(head: Head, closes: bool) -> None:
    messages, _, _ = _Parser(Scripted([(head, Payload())])).feed_data(b"x")
    assert messages[0][0].should_close is closes


@pytest.mark.parametrize("script", [Scripted(BadStatusLine("odd")), Scripted([(Head(version=(2, 0)), Payload())])])
def test_an_unclear_head_is_refused_and_nothing_behind_it_read(script: Scripted) -> None:
    parser = _Parser(script)
    with pytest.raises(BadHttpMessage):
        parser.feed_data(b"x")
    assert parser.feed_data(b"y") == NOTHING  # the script is at its end: nobody asked it


def test_a_body_that_breaks_is_ended_with_the_reason() -> None:
    payload = Payload()
    parser = _Parser(Scripted([(Head(chunked=True), payload)], BadHttpMessage("bad chunk:\n  zz\n  ^"), []))
    parser.feed_data(b"x")
    assert parser.feed_data(b"zz") == NOTHING
    assert payload.ended
    assert str(payload.error) == "bad chunk"
    assert parser.feed_data(b"GET / HTTP/1.1\r\n\r\n") == NOTHING
    assert len(parser.script) == 1


def test_a_fault_behind_a_whole_body_is_one_of_the_next_head() -> None:
    payload = Payload()
    payload.feed_eof()
    parser = _Parser(Scripted([(Head(), payload)], BadHttpMessage("odd")))
    parser.feed_data(b"x")
    with pytest.raises(BadHttpMessage):
        parser.feed_data(b"y")
    assert payload.error is None


def test_framing_is_bounded_between_two_pieces_of_a_body() -> None:
    payload = Payload()
    parser = _Parser(Scripted([(Head(chunked=True), payload)], *[[]] * 9))
    parser.feed_data(b"x" * FRAMING * 2)  # a head is bounded elsewhere
    parser.feed_data(b"e" * FRAMING)
    payload.total_bytes += 1
    parser.feed_data(b"e" * FRAMING)  # a piece came with it
    parser.feed_data(b"e" * FRAMING)
    assert payload.error is None
    assert parser.feed_data(b"e")[0] == []
    assert payload.ended
    assert "bytes of chunk extensions or trailers" in str(payload.error)
    left = len(parser.script)
    assert parser.feed_data(b"e") == NOTHING
    assert len(parser.script) == left


@pytest.mark.parametrize(
    ("target", "read"),
    [
        ("http://h", ("h", "/")),
        ("HTTPS://h:443/a/../b?c", ("h:443", "/a/../b?c")),
        ("http://h?a=b", ("h", "/?a=b")),
        ("http://[::1]:80//evil/", ("[::1]:80", "//evil/")),
    ],
)
def test_an_absolute_target(target: str, read: tuple[str, str]) -> None:
    assert _absolute(target) == read


@pytest.mark.parametrize("target", ["ftp://h/", "http:/h/", "http://u@h/", "http:///a", "*", "h:80", "http://a b/"])
def test_other_targets(target: str) -> None:
    with pytest.raises(ClientError) as caught:
        _absolute(target)
    assert caught.value.code == "invalid_path"
