"""The vectors of the framing battery that upstreams send: an answer's bytes, and what the client must be given."""

from __future__ import annotations

from dataclasses import dataclass

CUT = 0  # the answer was begun and cannot be ended: the connection is


@dataclass(frozen=True)
class Answered:
    id: str
    data: bytes
    status: int  # that the client is given, or CUT
    body: bytes = b"ok"
    method: str = "GET"
    closes: bool = False  # whether the upstream closes behind it


def good(
    id: str, data: bytes, body: bytes = b"ok", status: int = 200, method: str = "GET", *, closes: bool = False
) -> Answered:
    return Answered(id, data, status, body, method, closes)


def bad(id: str, data: bytes) -> Answered:
    return Answered(id, data, 502)


def cut(id: str, data: bytes, *, closes: bool = False) -> Answered:
    return Answered(id, data, CUT, closes=closes)


def of(*lines: bytes, body: bytes = b"ok", first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([first, *lines]) + b"\r\n\r\n" + body


def counted(*lines: bytes) -> bytes:
    return of(*lines, b"Content-Length: 2")


def chunked(body: bytes) -> bytes:
    return of(b"Transfer-Encoding: chunked", body=body)


EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"  # an answer that nobody asked for
CHUNKED = b"2\r\nok\r\n0\r\n\r\n"

LENGTHS = [
    good("plain", counted()),
    good("leading zeros", of(b"Content-Length: 002")),
    good("chunked", chunked(CHUNKED)),
    good("to the end", of(b"Connection: close"), closes=True),
    bad("twice, the same", of(b"Content-Length: 2", b"Content-Length: 2")),
    bad("twice, zero first", of(b"Content-Length: 0", b"Content-Length: 2")),
    bad("a list", of(b"Content-Length: 2, 2")),
    bad("a plus", of(b"Content-Length: +2")),
    bad("hexadecimal", of(b"Content-Length: 0x2")),
    bad("an underscore", of(b"Content-Length: 0_2")),
    bad("empty", of(b"Content-Length:")),
    bad("NUL behind", of(b"Content-Length: 2\0")),
    bad("vertical tab before", of(b"Content-Length: \x0b2")),
    bad("full-width digits", of("Content-Length: \uff12".encode())),
    bad("2^64 + 2, which wraps to 2", of(b"Content-Length: 18446744073709551618")),
    bad("2^64 - 1", of(b"Content-Length: 18446744073709551615")),
    bad("five thousand zeros", of(b"Content-Length: " + b"0" * 5000 + b"2")),
    bad("space before the colon", of(b"Content-Length : 2")),
    bad("folded", of(b"Content-Length:\r\n 2")),
    bad("coded twice", of(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKED)),
    bad("chunked, chunked", of(b"Transfer-Encoding: chunked, chunked", body=CHUNKED)),
    bad("identity", of(b"Transfer-Encoding: identity")),
    bad("identity and a length", of(b"Transfer-Encoding: identity", b"Content-Length: 2")),
    bad("xchunked", of(b"Transfer-Encoding: xchunked", body=CHUNKED)),
    bad("no coding", of(b"Transfer-Encoding:", body=CHUNKED)),
    bad("space before the coding's colon", of(b"Transfer-Encoding : chunked", body=CHUNKED)),
    bad("vertical tab before the coding", of(b"Transfer-Encoding: \x0bchunked", body=CHUNKED)),
    bad("chunked in HTTP/1.0", of(b"Transfer-Encoding: chunked", body=CHUNKED, first=b"HTTP/1.0 200 OK")),
]

CHUNKS = [
    good("an extension", chunked(b"2;a=b\r\nok\r\n0\r\n\r\n")),
    good("trailers that would be headers", chunked(b"2\r\nok\r\n0\r\nX-Evil: 1\r\nSet-Cookie: evil=1\r\n\r\n")),
    cut("a size that wraps", chunked(b"2\r\nok\r\n10000000000000002\r\nok\r\n0\r\n\r\n")),
    cut("a minus", chunked(b"2\r\nok\r\n-2\r\nok\r\n0\r\n\r\n")),
    cut("0x", chunked(b"2\r\nok\r\n0x2\r\nok\r\n0\r\n\r\n")),
    cut("longer than its size", chunked(b"2\r\nokevil\r\n0\r\n\r\n")),
    cut("shorter than its size", chunked(b"2\r\nok\r\n9\r\nok\r\n0\r\n\r\n"), closes=True),
    cut("LF after the size", chunked(b"2\r\nok\r\n2\nok\r\n0\r\n\r\n")),
    cut("a bare CR in an extension", chunked(b"2\r\nok\r\n2;a\rb\r\nok\r\n0\r\n\r\n")),
    cut("a bare LF in an extension", chunked(b"2\r\nok\r\n2;a\nb\r\nok\r\n0\r\n\r\n")),
    cut("the end without its last line", chunked(b"2\r\nok\r\n0\r\n"), closes=True),
    cut("LF at the end", chunked(b"2\r\nok\r\n0\n\n")),
    cut("another answer where a size should be", chunked(b"2\r\nok\r\n" + EVIL)),
    cut("closed in a counted body", of(b"Content-Length: 9"), closes=True),
]

HEADS = [
    good("high bytes in a value", counted(b"X-A: \xff")),
    good("a tab in a value", counted(b"X-A: a\tb")),
    good("an empty value", counted(b"X-A:")),
    good("odd cookies", counted(b'Set-Cookie: a="b c"; Path=/;;', b"Set-Cookie: =", b"Set-Cookie:")),
    good("two of what should be one", counted(b"Content-Type: a/b", b"Content-Type: c/d")),
    good("hop by hop", counted(b"Connection: X-Evil, keep-alive", b"X-Evil: 1", b"Keep-Alive: 9", b"Proxy-Authenticate: x")),
    good("Connection names the length", counted(b"Connection: Content-Length, Content-Type")),
    good("an upgrade that is only offered", counted(b"Upgrade: h2c", b"Connection: Upgrade")),
    good("no reason", of(b"Content-Length: 2", first=b"HTTP/1.1 200 ")),
    good("no reason, no space", of(b"Content-Length: 2", first=b"HTTP/1.1 200")),
    good("a reason like an answer", of(b"Content-Length: 2", first=b"HTTP/1.1 200 HTTP/1.1 200 evil")),
    good("a reason with NUL, which is not passed on", of(b"Content-Length: 2", first=b"HTTP/1.1 200 a\0b")),
    good("HTTP/1.0", of(b"Content-Length: 2", first=b"HTTP/1.0 200 OK")),
    good("HTTP/1.0, kept alive", of(b"Connection: keep-alive", b"Content-Length: 2", first=b"HTTP/1.0 200 OK")),
    bad("LF alone", counted().replace(b"\r\n", b"\n") + b"\r\n\r\n"),
    bad("LF after the first line", b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok"),
    bad("CR after the first line", b"HTTP/1.1 200 OK\rContent-Length: 2\r\n\r\nok"),
    bad("LF after a header", counted(b"X-A: 1\nX-Evil: 2")),
    bad("a bare CR in a value", counted(b"X-A: 1\rX-Evil: 2")),
    bad("a bare CR at a value's end", counted(b"X-A: 1\r")),
    bad("CR CR LF at the end", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\r\n\r\n\r\nok"),
    bad("a control character in a value", counted(b"X-A: a\x01b")),
    bad("an escape in a value", counted(b"X-A: \x1b[31m")),
    bad("NUL in a name", counted(b"X\0A: 1")),
    bad("a high byte in a name", counted(b"X\xffA: 1")),
    bad("no name", counted(b": 1")),
    bad("no colon", counted(b"X-A")),
    bad("space before the colon", counted(b"X-A : 1")),
    bad("folded by a tab", counted(b"X-A: 1\r\n\tX-Evil: 1")),
    bad("a folded first line", of(b" X-Evil: 1", b"Content-Length: 2")),
    bad("a space first", b" " + counted()),
    *[
        bad(f"first line {first!r}", of(b"Content-Length: 2", first=first))
        for first in (
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.1 000 OK",
            b"HTTP/1.1 -200 OK",
            b"HTTP/1.1 +200 OK",
            b"HTTP/1.1 0x200 OK",
            b"HTTP/1.1 2e2 OK",
            b"HTTP/1.1 600 OK",
            b"HTTP/1.1 999 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1200 OK",
            b"HTTP/1.1 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/0.9 200 OK",
            b"HTTP/11 200 OK",
            b"ICY 200 OK",
            b"200 OK",
            b"GET / HTTP/1.1",
            b"HTTP/1.1 200 a\rb",
            b"HTTP/1.1 200 a\nX-Evil: 1",
            b"<html>",
        )
    ],
]

BODILESS = [
    good("204 with a body", of(b"Content-Length: 4", first=b"HTTP/1.1 204 No Content", body=b"evil"), b"", 204),
    good("204 with chunks", of(b"Transfer-Encoding: chunked", first=b"HTTP/1.1 204 X", body=CHUNKED), b"", 204),
    good("304 with a body", of(b"Content-Length: 4", first=b"HTTP/1.1 304 Not Modified", body=b"evil"), b"", 304),
    good("204 and another answer", of(first=b"HTTP/1.1 204 No Content", body=EVIL), b"", 204),
    good("304 and another answer", of(first=b"HTTP/1.1 304 Not Modified", body=EVIL), b"", 304),
    good("HEAD with a body", of(b"Content-Length: 4", body=b"evil"), b"", method="HEAD"),
    good("HEAD with chunks", of(b"Transfer-Encoding: chunked", body=CHUNKED), b"", method="HEAD"),
    good("HEAD and another answer", of(b"Content-Length: 2", body=EVIL), b"", method="HEAD"),
]

QUEUED = [
    good("bytes behind a counted body", counted() + b"evil"),
    good("CRLF behind a counted body", counted() + b"\r\n\r\n"),
    good("an answer behind a counted body", counted() + EVIL),
    good("answers behind a counted body", counted() + EVIL * 50),
    good("an answer behind no body", of(b"Content-Length: 0", body=EVIL), b""),
    good("bytes behind chunks", chunked(CHUNKED + b"evil")),
    good("an answer behind chunks", chunked(CHUNKED + EVIL)),
    good("half an answer behind a body", counted() + EVIL[:-2]),
    good("an interim answer behind a body", counted() + b"HTTP/1.1 100 Continue\r\n\r\n"),
    good("interim answers first", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Evil: 1\r\n\r\n" + counted()),
    bad("an interim answer with a body", b"HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nevil" + counted()),
    bad("interim answers without end", b"HTTP/1.1 102 Processing\r\n\r\n" * 100 + counted()),
    bad("101 that nobody asked for", of(b"Upgrade: websocket", b"Connection: Upgrade", first=b"HTTP/1.1 101 X", body=EVIL)),
    bad("101 behind an interim answer", b"HTTP/1.1 100 X\r\n\r\n" + of(b"Upgrade: x", first=b"HTTP/1.1 101 X", body=EVIL)),
]

ANSWERS = {"lengths": LENGTHS, "chunks": CHUNKS, "heads": HEADS, "bodiless": BODILESS, "queued": QUEUED}
