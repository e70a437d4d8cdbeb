"""HTTP/1.1 as bytes, rule by rule: what also stands behind another guard is shown to work without that."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from multidict import CIMultiDict

from proxy_core.http1 import _FIELDS, _HEAD, _INTERIM, _LINE, FRAMING, HOST, AnswerParser, BadAnswer, request_head, unclear

OK = b"HTTP/1.1 200 OK\r\n"


def why(*lines: tuple[str, str], method: str = "POST", version: tuple[int, int] = (1, 1)) -> str | None:
    return unclear(method, version, CIMultiDict(lines))


def test_what_is_clear() -> None:
    assert why() is None
    assert why(version=(1, 0)) is None
    assert why(("Host", "h"), ("Content-Length", "0" * 19)) is None
    assert why(("Host", "h:80"), ("Transfer-Encoding", "Chunked")) is None


@pytest.mark.parametrize("version", [(0, 9), (1, 2), (2, 0), (3, 1)])
def test_other_versions(version: tuple[int, int]) -> None:
    assert why(version=version) == "its version is neither HTTP/1.1 nor HTTP/1.0"


def test_connect() -> None:
    assert why(method="CONNECT") == "CONNECT is not served here"


@pytest.mark.parametrize("values", [[""], ["gzip"], ["gzip, chunked"], ["chunked", "chunked"], ["x", "chunked"], ["chunked,"]])
def test_codings(values: list[str]) -> None:
    said = why(*(("Transfer-Encoding", value) for value in values))
    assert said is not None
    assert said.startswith("its Transfer-Encoding is not just")


def test_a_coding_in_the_version_that_has_none() -> None:
    said = why(("Transfer-Encoding", "chunked"), version=(1, 0))
    assert said is not None
    assert said.startswith("its Transfer-Encoding is not just")


@pytest.mark.parametrize(
    "lines",
    [
        [("Content-Length", "1"), ("Content-Length", "1")],
        [("Content-Length", "1"), ("Transfer-Encoding", "chunked")],
        *([("Content-Length", bad)] for bad in ("", "+1", "-1", "1 ", "1_0", "0x1", "1,1", "\u0661", "0" * 20)),
    ],
)
def test_lengths(lines: list[tuple[str, str]]) -> None:
    assert why(*lines) == "its Content-Length is not one number of up to 19 digits"


@pytest.mark.parametrize(
    "hosts",
    [["h", "h"], ["h", "i"], [""], ["a b"], ["a/b"], ["u@h"], ["h:"], ["h:x"], ["h:123456"], ["[::1"], ["a,b"], ["\u00e4"]],
)
def test_hosts(hosts: list[str]) -> None:
    assert why(*(("Host", host) for host in hosts)) == "its Host is not one host"


def test_good_hosts() -> None:
    assert all(map(HOST.fullmatch, ("h", "a-b.example", "a_b", "1.2.3.4:80", "[::1]", "[::1]:65535", "%41", "~x")))


# --- heads that are written ---


def test_a_head() -> None:
    head = request_head("GET", "/a?b=\udce9", [("Host", "h"), ("X-Name", "caf\u00e9"), ("X-Empty", "")])
    assert head == b"GET /a?b=\xe9 HTTP/1.1\r\nHost: h\r\nX-Name: caf\xc3\xa9\r\nX-Empty: \r\n\r\n"


@pytest.mark.parametrize("odd", ["\r", "\n", "\r\n", "\0", "\r\nX: y", "\n\r"])
def test_no_value_becomes_a_line(odd: str) -> None:
    for target, name, value in (("/", "X", f"a{odd}b"), (f"/{odd}", "X", "a"), ("/", f"X{odd}", "a")):
        with pytest.raises(ValueError, match="a line break or null byte"):
            request_head("GET", target, [(name, value)])
    with pytest.raises(ValueError, match="a line break or null byte"):
        request_head(f"GET{odd}", "/", [])


@pytest.mark.parametrize(
    ("method", "name"), [("", "X"), ("GET", ""), ("GE T", "X"), ("GET", "X Y"), ("GET", "X:"), ("G\u00c4T", "X")]
)
def test_methods_and_names_are_tokens(method: str, name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        request_head(method, "/", [("Host", "h"), (name, "a")])


@pytest.mark.parametrize("target", ["", "/a b", "/\t", "/\x7f", "/\x01"])
def test_a_target_has_no_space(target: str) -> None:
    with pytest.raises(ValueError, match="target holds a space"):
        request_head("GET", target, [])


# --- answers ---


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def fed(*parts: bytes, method: str = "GET", upgrading: bool = False) -> AnswerParser:
    parser = AnswerParser(method, upgrading=upgrading)
    for part in parts:
        parser.feed(part)
    return parser


def counted(body: bytes, *lines: bytes) -> bytes:
    return OK + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_an_answer_in_any_pieces(size: int) -> None:
    parser = fed(*pieces(counted(b"hello", b"X-A: b"), size))
    assert (parser.status, parser.complete, parser.keep) == (200, True, True)
    assert parser.fields is not None
    assert dict(parser.fields) == {"X-A": "b", "Content-Length": "5"}
    assert parser.held == 5
    assert parser.take() == b"hello"
    assert (parser.held, parser.take()) == (0, b"")


def test_an_answer_cut_in_two_anywhere() -> None:
    data = counted(b"hello", b"X-A: b")
    for place in range(len(data)):
        parser = fed(data[:place], data[place:])
        assert (parser.complete, parser.take()) == (True, b"hello"), place


def test_closed_it_is_let_go_of() -> None:
    """llhttp's parser and this one hold each other, and no cycle may wait for the collector with a body in it."""
    gc.collect()
    gc.disable()
    try:
        parser = fed(counted(b"hello"))
        gone = weakref.ref(parser)
        parser.close()
        del parser
        assert gone() is None
    finally:
        gc.enable()


def test_a_body_is_taken_as_it_comes() -> None:
    parser = fed(OK + b"Content-Length: 4\r\n\r\na", b"b")
    assert (parser.held, parser.take(), parser.complete) == (2, b"ab", False)
    parser.feed(b"cd")
    assert (parser.take(), parser.complete) == (b"cd", True)


@pytest.mark.parametrize("size", [1, 1000])
def test_what_nobody_asked_for_ends_the_connection(size: int) -> None:
    for behind in (b"x", counted(b"evil"), b"\r\n" + counted(b"evil"), b"HTTP/1.1 100 Continue\r\n\r\n"):
        parser = fed(*pieces(counted(b"ok") + behind, size))
        assert (parser.take(), parser.complete, parser.keep) == (b"ok", True, False)
    parser = fed(counted(b"ok"))
    assert parser.keep
    parser.feed(b"later")
    assert not parser.keep


@pytest.mark.parametrize("parts", [[counted(b"ab")], [counted(b"ab")[:-2], b"ab"]])
def test_a_body_where_there_can_be_none_ends_the_connection(parts: list[bytes]) -> None:
    parser = fed(*parts, method="HEAD")
    assert (parser.complete, parser.take(), parser.keep) == (True, b"", False)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body(method: str, status: bytes) -> None:
    parser = fed(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n", method=method)
    assert (parser.complete, parser.keep) == (True, True)
    assert fed(OK + b"Content-Length: 5\r\n\r\n", method="HEAD").complete
    assert not fed(OK + b"Content-Length: 5\r\n\r\n").complete


@pytest.mark.parametrize(
    ("lines", "keep"), [(b"", True), (b"Connection: close\r\n", False), (b"Connection: keep-alive\r\n", True)]
)
def test_whether_the_connection_is_kept(lines: bytes, keep: bool) -> None:
    assert fed(OK + lines + b"Content-Length: 0\r\n\r\n").keep is keep
    assert not fed(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keep


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    parser = fed(OK + b"\r\nab", b"cd")
    assert not parser.complete
    parser.feed_eof()
    assert (parser.complete, parser.keep, parser.take()) == (True, False, b"abcd")


def test_a_body_with_a_length_does_not() -> None:
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    for data in (OK + b"Content-Length: 9\r\n\r\nab", chunked, b"HTTP/1.1 2"):
        parser = fed(data)
        parser.feed_eof()
        assert not parser.complete
    whole = fed(counted(b"ok"))
    whole.feed_eof()
    assert (whole.complete, whole.keep) == (True, False)


def test_interim_answers_are_skipped_and_counted() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
    for size in (1, 10_000):
        parser = fed(*pieces(interim * _INTERIM + counted(b"ok"), size))
        assert (parser.status, parser.take(), parser.complete) == (200, b"ok", True)
        assert parser.fields is not None
        assert "X-Early" not in parser.fields
    with pytest.raises(BadAnswer, match="more than 64 interim answers"):
        fed(interim * (_INTERIM + 1) + counted(b"ok"))


def test_heads_are_bounded() -> None:
    most = OK + b"X: y\r\n" * (_FIELDS - 1) + b"Content-Length: 0\r\n\r\n"
    assert fed(most).complete
    with pytest.raises(BadAnswer, match="more than 128 lines"):
        fed(most.replace(b"X: y\r\n", b"X: y\r\n" * 2, 1))
    line = b"X: " + b"y" * (_LINE - 3)
    assert fed(OK + line + b"\r\nContent-Length: 0\r\n\r\n").complete
    with pytest.raises(BadAnswer, match="a line of its head is longer"):
        fed(OK + line + b"y\r\nContent-Length: 0\r\n\r\n")
    lines = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60_000) for n in range(4))
    end = b"Content-Length: 0\r\n\r\n"
    filled = OK + lines + b"Z: " + b"z" * (_HEAD - len(OK + lines + end) - 5) + b"\r\n" + end
    assert len(filled) == _HEAD
    for size in (_HEAD, 50_000):
        assert fed(*pieces(filled, size)).complete
        with pytest.raises(BadAnswer, match="its head is longer than"):
            fed(*pieces(filled.replace(b"Z: ", b"Z: z"), size))
    with pytest.raises(BadAnswer, match="its head is longer than"):
        fed(OK, *[b"X-Endless: " + b"y" * 10_000] * 30)
    hints = b"HTTP/1.1 103 Early\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60_000) for n in range(2)) + b"\r\n"
    with pytest.raises(BadAnswer, match="its head is longer than"):  # all heads together
        fed(hints, hints, hints)


def test_what_stands_between_chunks_is_bounded() -> None:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    fed(head, b"1;" + b"e" * (FRAMING - 2))
    with pytest.raises(BadAnswer, match="bytes of chunk extensions or trailers"):
        fed(head, b"1;" + b"e" * (FRAMING - 1))
    extension = b"1;" + b"e" * (FRAMING - 10)
    assert fed(head, *[part for _ in range(5) for part in (extension, b"\r\na\r\n")], b"0\r\n\r\n").complete
    with pytest.raises(BadAnswer, match="bytes of chunk extensions or trailers"):
        fed(head, extension, b"e" * 11)
    trailer = b"0\r\nX-T: " + b"t" * 30_000
    assert fed(head, trailer, b"\r\n\r\n").complete
    with pytest.raises(BadAnswer, match="bytes of chunk extensions or trailers"):
        fed(head, trailer, b"t" * 30_000, b"t" * 30_000)


def test_nonsense_behind_the_end_does_not_spoil_the_answer() -> None:
    parser = fed(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n" + b"x" * (FRAMING + 1))
    assert (parser.complete, parser.keep, parser.take()) == (True, False, b"ok")


def test_trailers_are_no_headers() -> None:
    parser = fed(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n")
    assert (parser.complete, parser.keep, parser.take()) == (True, True, b"ok")
    assert parser.fields is not None
    assert "X-Late" not in parser.fields


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "switches protocols unasked"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "not just 'chunked'"),
        (OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "."),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "not just 'chunked'"),
        (OK + b"Content-Length: " + b"0" * 20 + b"\r\n\r\n", "up to 19 digits"),
        (b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", "its first line is not one of HTTP/1.1"),
        (b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", "."),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "."),
        (b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", "."),
        (b"\r\n\r\n", "."),
        (b"SSH-2.0-x\r\n\r\n", "."),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "."),
        (OK + b"X: a\r\n b\r\n\r\n", "."),
        (OK + b"X : a\r\n\r\n", "."),
        (OK + b"X: a\0b\r\n\r\n", "."),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "."),
    ],
)
def test_what_is_no_answer(data: bytes, words: str) -> None:
    for size in (1, 1000):
        with pytest.raises(BadAnswer, match=words) as caught:
            fed(*pieces(data, size))
        assert words != "." or data[:12] != OK[:12] or "first line" not in str(caught.value)  # but what llhttp says


def test_a_switch_that_was_asked_for() -> None:
    head = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    parser = fed(head + b"ab", b"cd", upgrading=True)
    assert (parser.status, parser.take(), parser.complete) == (101, b"abcd", False)


def test_bytes_that_are_no_utf8_come_out_as_they_came_in() -> None:
    parser = fed(OK + b"X-A: caf\xe9 \t\r\nContent-Length: 0\r\n\r\n")
    assert parser.fields is not None
    assert parser.fields["X-A"].encode("utf-8", "surrogateescape") == b"caf\xe9"
