"""The vectors of the framing battery: a client's bytes, and what must become of each request in them."""

from __future__ import annotations

from dataclasses import dataclass

SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"  # stands behind every vector
INNER = b"GET /v1/inner HTTP/1.1\r\nHost: h\r\n\r\n"  # stands where only a second reading makes it a request


@dataclass(frozen=True)
class Sent:
    """A request that must reach the upstream, with this body."""

    body: bytes = b""
    method: str = "POST"
    target: str = "/v1/x"


@dataclass(frozen=True)
class Vector:
    id: str
    data: bytes
    becomes: tuple[Sent | int, ...]  # what becomes of each request: it is sent on, or answered with this status
    goes_on: bool = True  # whether the connection then serves what follows
    or_refused: bool = False  # where what follows comes in the same packet, of which llhttp then takes nothing


def no(id: str, data: bytes, status: int = 400) -> Vector:
    """Refused, and the connection closed: whatever follows is not read."""
    return Vector(id, data, (status,), goes_on=False)


def kept(id: str, data: bytes, status: int = 400) -> Vector:
    """Refused for what it asks, not for how: where it ends is beyond doubt, and the connection serves what follows."""
    return Vector(id, data, (status,))


def yes(id: str, data: bytes, *sent: Sent | int) -> Vector:
    """Sent on with one meaning; the connection serves what follows."""
    return Vector(id, data, sent or (Sent(),))


def last(id: str, data: bytes, *sent: Sent) -> Vector:
    """Sent on with one meaning, and the connection closed: a chunked body is the last thing that it carries."""
    return Vector(id, data, sent or (Sent(),), goes_on=False)


def closing(id: str, data: bytes, *sent: Sent | int) -> Vector:
    """The client has said that nothing follows, or what follows is nonsense."""
    return Vector(id, data, sent, goes_on=False, or_refused=True)


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    head = b"\r\n".join([b"POST /v1/x HTTP/" + version, b"Host: h", *lines])
    return head + b"\r\n\r\n" + body


def get(*lines: bytes, target: bytes = b"/v1/x", method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: h", *lines]) + b"\r\n\r\n"


def counted(value: bytes, body: bytes = b"hello") -> bytes:
    return post(b"Content-Length:" + value, body=body)


def coded(line: bytes, body: bytes = b"5\r\nhello\r\n0\r\n\r\n") -> bytes:
    return post(line, body=body)


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


HELLO = Sent(b"hello")
GOT = Sent(method="GET")
CL5 = b"Content-Length: 5"
TE = b"Transfer-Encoding: chunked"
HELLO_CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"

LENGTHS = [
    yes("plain", counted(b" 5"), HELLO),
    yes("no space", counted(b"5"), HELLO),
    yes("blanks around", counted(b" \t 5\t "), HELLO),
    yes("a leading zero", counted(b" 005"), HELLO),
    yes("lower case", post(b"content-length: 5", body=b"hello"), HELLO),
    yes("upper case", post(b"CONTENT-LENGTH: 5", body=b"hello"), HELLO),
    yes("zero", counted(b" 0", b"")),
    yes("a body that is a request", counted(b" %d" % len(INNER), INNER), Sent(INNER)),
    yes("a body of CRLF", counted(b" 4", b"\r\n\r\n"), Sent(b"\r\n\r\n")),
    yes("a body of chunks", counted(b" %d" % len(HELLO_CHUNKED), HELLO_CHUNKED), Sent(HELLO_CHUNKED)),
    yes("an underscore in the name is another header", post(b"Content_Length: 5"), Sent()),
    yes("a prefixed name is another header", post(b"X-Content-Length: 5"), Sent()),
    no("twice, different", post(CL5, b"Content-Length: 6", body=b"hello!")),
    no("twice, the same", post(CL5, CL5, body=b"hello")),
    no("twice, zero first", post(b"Content-Length: 0", b"Content-Length: %d" % len(INNER), body=INNER)),
    no("twice, other lines between", post(CL5, b"X-A: 1", b"content-length: 0", body=b"hello")),
    no("a list of the same", counted(b" 5, 5")),
    no("a list of different", counted(b" 5, 6")),
    no("a list, comma last", counted(b" 5,")),
    no("a list, comma first", counted(b" ,5")),
    no("a plus", counted(b" +5")),
    no("a minus", counted(b" -5")),
    no("minus one", counted(b" -1")),
    no("minus zero", counted(b" -0", b"")),
    no("hexadecimal", counted(b" 0x5")),
    no("a hexadecimal digit", counted(b" a", b"hellohello")),
    no("octal by its sign", counted(b" 0o5")),
    no("an underscore", counted(b" 1_0", b"hellohello")),
    no("a fraction", counted(b" 5.0")),
    no("an exponent", counted(b" 5e0")),
    no("empty", counted(b"")),
    no("blank", counted(b"   ")),
    no("a space within", counted(b" 1 0", b"hellohello")),
    no("a tab within", counted(b" 1\t0", b"hellohello")),
    no("a semicolon", counted(b" 5;")),
    no("a parameter", counted(b" 5; a=b")),
    no("quoted", counted(b' "5"')),
    no("a word", counted(b" five")),
    no("NUL behind", counted(b" 5\0")),
    no("NUL before", counted(b" \x005")),
    no("vertical tab before", counted(b" \x0b5")),
    no("vertical tab behind", counted(b" 5\x0b")),
    no("form feed behind", counted(b" 5\x0c")),
    no("no-break space behind", counted(b" 5\xa0")),
    no("bare CR behind", counted(b" 5\r")),
    no("arabic digits", counted(" \u0665".encode())),
    no("full-width digits", counted(" \uff15".encode())),
    no("superscript digits", counted(b" \xb2")),
    no("2^63", counted(b" 9223372036854775808"), 413),
    no("2^64 - 1", counted(b" 18446744073709551615")),
    no("2^64", counted(b" 18446744073709551616")),
    no("2^64 + 5, which wraps to 5", counted(b" 18446744073709551621")),
    no("2^32 + 5, which wraps to 5 elsewhere", counted(b" 4294967301"), 413),
    no("one more than the limit", counted(b" 65537"), 413),
    no("a thousand digits", counted(b" " + b"9" * 1000)),
    no("five thousand zeros", counted(b" " + b"0" * 5000 + b"5")),
    no("space before the colon", post(b"Content-Length : 5", body=b"hello")),
    no("tab before the colon", post(b"Content-Length\t: 5", body=b"hello")),
    no("folded", post(b"Content-Length:\r\n 5", body=b"hello")),
    no("folded within", post(b"Content-Length: 1\r\n 0", body=b"hellohello")),
    no("NUL in the name", post(b"Content-\0Length: 5", body=b"hello")),
    no("a line that begins with it behind a space", post(b"X-A: 1", b" Content-Length: 5", body=b"hello")),
]

CODINGS = [
    last("plain", coded(TE), HELLO),
    last("no space", coded(b"Transfer-Encoding:chunked"), HELLO),
    last("blanks around", coded(b"Transfer-Encoding: \t chunked  "), HELLO),
    last("a capital", coded(b"Transfer-Encoding: Chunked"), HELLO),
    last("capitals", coded(b"TRANSFER-ENCODING: CHUNKED"), HELLO),
    last("mixed case", coded(b"tRANSFER-eNCODING: cHuNkEd"), HELLO),
    last("TE beside it is another header", post(b"TE: trailers", TE, body=HELLO_CHUNKED), HELLO),
    yes("an underscore in the name is another header", post(b"Transfer_Encoding: chunked"), Sent()),
    yes("a prefixed name is another header", post(b"X-Transfer-Encoding: chunked"), Sent()),
    yes("Content-Encoding chunked is another header", post(b"Content-Encoding: chunked", CL5, body=b"hello"), HELLO),
    no("CL.TE", post(b"Content-Length: %d" % len(b"0\r\n\r\n" + INNER), TE, body=b"0\r\n\r\n" + INNER)),
    no("TE.CL", post(TE, b"Content-Length: 4", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER))),
    no("CL.0", post(b"Content-Length: 0", TE, body=HELLO_CHUNKED)),
    no("CL.TE that agree", post(b"Content-Length: 15", TE, body=HELLO_CHUNKED)),
    no("CL.TE, the length folded away", post(TE, b"Content-Length:\r\n\t15", body=HELLO_CHUNKED)),
    no("CL and TE identity", post(CL5, b"Transfer-Encoding: identity", body=b"hello")),
    no("CL and TE empty", post(CL5, b"Transfer-Encoding:", body=b"hello")),
    no("CL and TE unknown", post(CL5, b"Transfer-Encoding: cow", body=b"hello")),
    no("two CLs and TE", post(CL5, b"Content-Length: 0", TE, body=HELLO_CHUNKED)),
    no("TE.TE, the same", post(TE, TE, body=HELLO_CHUNKED)),
    no("TE.TE, cow last", post(TE, b"Transfer-Encoding: cow", body=HELLO_CHUNKED)),
    no("TE.TE, cow first", post(b"Transfer-Encoding: cow", TE, body=HELLO_CHUNKED)),
    no("TE.TE, identity last", post(TE, b"Transfer-Encoding: identity", body=HELLO_CHUNKED)),
    no("TE.TE, identity first", post(b"Transfer-Encoding: identity", TE, body=HELLO_CHUNKED)),
    no("TE.TE, empty last", post(TE, b"Transfer-Encoding:", body=HELLO_CHUNKED)),
    no("chunked twice in a list", coded(b"Transfer-Encoding: chunked, chunked")),
    no("chunked, identity", coded(b"Transfer-Encoding: chunked, identity")),
    no("identity, chunked", coded(b"Transfer-Encoding: identity, chunked")),
    no("identity", coded(b"Transfer-Encoding: identity")),
    no("gzip, chunked: nobody here takes the gzip off", coded(b"Transfer-Encoding: gzip, chunked")),
    no("gzip", coded(b"Transfer-Encoding: gzip")),
    no("chunked, gzip", coded(b"Transfer-Encoding: chunked, gzip")),
    no("xchunked", coded(b"Transfer-Encoding: xchunked")),
    no("chunkedx", coded(b"Transfer-Encoding: chunkedx")),
    no("chunk", coded(b"Transfer-Encoding: chunk")),
    no("x chunked", coded(b"Transfer-Encoding: x chunked")),
    no("chunked with a parameter", coded(b"Transfer-Encoding: chunked;q=1")),
    no("comma first", coded(b"Transfer-Encoding: ,chunked")),
    no("comma last", coded(b"Transfer-Encoding: chunked,")),
    no("double quotes", coded(b'Transfer-Encoding: "chunked"')),
    no("single quotes", coded(b"Transfer-Encoding: 'chunked'")),
    no("empty", coded(b"Transfer-Encoding:")),
    no("blank", coded(b"Transfer-Encoding:  ")),
    no("NUL behind", coded(b"Transfer-Encoding: chunked\0")),
    no("NUL before", coded(b"Transfer-Encoding: \0chunked")),
    no("vertical tab before", coded(b"Transfer-Encoding: \x0bchunked")),
    no("vertical tab behind", coded(b"Transfer-Encoding: chunked\x0b")),
    no("form feed before", coded(b"Transfer-Encoding: \x0cchunked")),
    no("bare CR before", coded(b"Transfer-Encoding: \rchunked")),
    no("bare CR behind", coded(b"Transfer-Encoding: chunked\r")),
    no("bare LF before", coded(b"Transfer-Encoding: \nchunked")),
    no("no-break space before", coded(b"Transfer-Encoding: \xa0chunked")),
    no("a high byte behind", coded(b"Transfer-Encoding: chunked\xff")),
    no("a long s for its s", coded("Tran\u017ffer-Encoding: chunked".encode())),
    no("a Kelvin sign for its k", coded("Transfer-Encoding: chun\u212aed".encode())),
    no("space before the colon", coded(b"Transfer-Encoding : chunked")),
    no("tab before the colon", coded(b"Transfer-Encoding\t: chunked")),
    no("vertical tab before the colon", coded(b"Transfer-Encoding\x0b: chunked")),
    no("NUL before the colon", coded(b"Transfer-Encoding\0: chunked")),
    no("CR before the colon", coded(b"Transfer-Encoding\r: chunked")),
    no("two colons", coded(b"Transfer-Encoding:: chunked")),
    no("no colon", coded(b"Transfer-Encoding chunked")),
    no("an equals sign", coded(b"Transfer-Encoding=chunked")),
    no("a space before the name", coded(b" Transfer-Encoding: chunked")),
    no("a space before the name, further down", post(b"X-A: 1", b" Transfer-Encoding: chunked", body=HELLO_CHUNKED)),
    no("a tab before the name", post(b"X-A: 1", b"\tTransfer-Encoding: chunked", body=HELLO_CHUNKED)),
    no("folded", coded(b"Transfer-Encoding:\r\n chunked")),
    no("folded by a tab", coded(b"Transfer-Encoding:\r\n\tchunked")),
    no("folded behind", coded(b"Transfer-Encoding: chunked\r\n , identity")),
    no("folded before the colon", coded(b"Transfer-Encoding\r\n : chunked")),
    no("behind a bare CR", post(b"X-A: 1\rTransfer-Encoding: chunked", CL5, body=b"hello")),
    no("behind a bare LF", post(b"X-A: 1\nTransfer-Encoding: chunked", CL5, body=b"hello")),
    no("in HTTP/1.0", post(TE, body=HELLO_CHUNKED, version=b"1.0")),
    no("in HTTP/1.0 kept alive", post(b"Connection: keep-alive", TE, body=HELLO_CHUNKED, version=b"1.0")),
    no("in HTTP/1.0 with a length", post(CL5, TE, body=HELLO_CHUNKED, version=b"1.0")),
]

CHUNKS = [
    last("one", chunked(HELLO_CHUNKED), HELLO),
    last("none", chunked(b"0\r\n\r\n")),
    last("two", chunked(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), HELLO),
    last("an upper-case size", chunked(b"A\r\nhellohello\r\n0\r\n\r\n"), Sent(b"hellohello")),
    last("a lower-case size", chunked(b"a\r\nhellohello\r\n0\r\n\r\n"), Sent(b"hellohello")),
    last("leading zeros", chunked(b"0005\r\nhello\r\n0\r\n\r\n"), HELLO),
    last("a last chunk of many zeros", chunked(b"5\r\nhello\r\n0000\r\n\r\n"), HELLO),
    last("an extension", chunked(b"5;a=b\r\nhello\r\n0\r\n\r\n"), HELLO),
    last("an extension without a value", chunked(b"5;a\r\nhello\r\n0\r\n\r\n"), HELLO),
    last("a quoted extension", chunked(b'5;a="b c"\r\nhello\r\n0\r\n\r\n'), HELLO),
    last("an extension of the last chunk", chunked(b"5\r\nhello\r\n0;a=b\r\n\r\n"), HELLO),
    last("a chunk that is a request", chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)), Sent(INNER)),
    last("a chunk that looks like the end", chunked(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"), Sent(b"0\r\n\r\n")),
    last("a trailer", chunked(b"5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n"), HELLO),
    last("a trailer of credentials", chunked(b"5\r\nhello\r\n0\r\nAuthorization: Bearer evil\r\n\r\n"), HELLO),
    last("a trailer of a forwarded address", chunked(b"5\r\nhello\r\n0\r\nX-Forwarded-For: evil\r\n\r\n"), HELLO),
    closing("a trailer of a host", chunked(b"5\r\nhello\r\n0\r\nHost: evil\r\n\r\n"), HELLO),
    no("a trailer of a length", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 0\r\n\r\n")),
    no("a trailer of a coding", chunked(b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    no("a trailer without a colon", chunked(b"5\r\nhello\r\n0\r\n" + INNER)),
    no("a folded trailer", chunked(b"5\r\nhello\r\n0\r\nX-A: 1\r\n 2\r\n\r\n")),
    no("a trailer with space before its colon", chunked(b"5\r\nhello\r\n0\r\nX-A : 1\r\n\r\n")),
    no("a trailer with a bare CR", chunked(b"5\r\nhello\r\n0\r\nX-A: 1\r2\r\n\r\n")),
    no("a trailer with a bare LF", chunked(b"5\r\nhello\r\n0\r\nX-A: 1\nX-B: 2\r\n\r\n")),
    no("a trailer with NUL", chunked(b"5\r\nhello\r\n0\r\nX-A: 1\x002\r\n\r\n")),
    no("more trailers than headers may be", chunked(b"5\r\nhello\r\n0\r\n" + b"X-A: 1\r\n" * 200 + b"\r\n")),
    no("a trailer longer than a header may be", chunked(b"5\r\nhello\r\n0\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n")),
    no("a plus", chunked(b"+5\r\nhello\r\n0\r\n\r\n")),
    no("a minus", chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    no("0x", chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    no("0x of the last", chunked(b"5\r\nhello\r\n0x0\r\n\r\n")),
    no("an underscore", chunked(b"0_5\r\nhello\r\n0\r\n\r\n")),
    no("a leading space", chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    no("a leading tab", chunked(b"\t5\r\nhello\r\n0\r\n\r\n")),
    no("a space behind", chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    no("a tab behind", chunked(b"5\t\r\nhello\r\n0\r\n\r\n")),
    no("a space before an extension", chunked(b"5 ;a=b\r\nhello\r\n0\r\n\r\n")),
    no("a space within", chunked(b"0 5\r\nhello\r\n0\r\n\r\n")),
    no("NUL behind", chunked(b"5\0\r\nhello\r\n0\r\n\r\n")),
    no("empty", chunked(b"\r\nhello\r\n0\r\n\r\n")),
    no("no hexadecimal digit", chunked(b"g\r\nhello\r\n0\r\n\r\n")),
    no("a comma", chunked(b"5,5\r\nhello\r\n0\r\n\r\n")),
    no("a fraction", chunked(b"5.0\r\nhello\r\n0\r\n\r\n")),
    no("full-width digits", chunked("\uff15\r\nhello\r\n0\r\n\r\n".encode())),
    no("17 digits, which wrap to 5", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    no("all ones and one digit more", chunked(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
    no("more than the limit, as it comes", chunked(b"10001\r\n" + b"a" * 65537 + b"\r\n0\r\n\r\n"), 413),
    no("too short for its data", chunked(b"4\r\nhello\r\n0\r\n\r\n")),
    no("too long for its data", chunked(b"6\r\nhello\r\n0\r\n\r\n")),
    no("no CRLF after the data", chunked(b"5\r\nhello0\r\n\r\n")),
    no("other bytes after the data", chunked(b"5\r\nhelloXX0\r\n\r\n")),
    no("LF after the size", chunked(b"5\nhello\r\n0\r\n\r\n")),
    no("CR after the size", chunked(b"5\rhello\r\n0\r\n\r\n")),
    no("CR CR LF after the size", chunked(b"5\r\r\nhello\r\n0\r\n\r\n")),
    no("LF after the data", chunked(b"5\r\nhello\n0\r\n\r\n")),
    no("CR after the data", chunked(b"5\r\nhello\r0\r\n\r\n")),
    no("LF after the last size", chunked(b"5\r\nhello\r\n0\n\r\n")),
    no("LF at the end", chunked(b"5\r\nhello\r\n0\r\n\n")),
    no("LF LF at the end", chunked(b"5\r\nhello\r\n0\n\n")),
    no("CR CR LF at the end", chunked(b"5\r\nhello\r\n0\r\n\r\r\n")),
    no("an extension with a bare CR", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    no("an extension with a bare LF (TERM.EXT)", chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    no("an extension ended by LF (EXT.TERM)", chunked(b"5;\nhello\r\n0\r\n\r\n")),
    no("an extension with NUL", chunked(b"5;a\0b\r\nhello\r\n0\r\n\r\n")),
    no("an extension with a control character", chunked(b"5;a=\x01\r\nhello\r\n0\r\n\r\n")),
    no("an extension with a high byte", chunked(b"5;a=\xff\r\nhello\r\n0\r\n\r\n")),
    no("an extension without a name", chunked(b"5;\r\nhello\r\n0\r\n\r\n")),
    last("an extension of a name and no value", chunked(b"5;a=\r\nhello\r\n0\r\n\r\n"), HELLO),
    no("an extension with a space", chunked(b"5; a=b\r\nhello\r\n0\r\n\r\n")),
    no("a quoted extension with CRLF within", chunked(b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n')),
    no("a quoted extension without an end", chunked(b'5;a="b\r\nhello\r\n0\r\n\r\n')),
    no("a quoted extension that goes on", chunked(b'5;a="b"c\r\nhello\r\n0\r\n\r\n')),
    no("an escape before a quoted extension's end", chunked(b'5;a="b\\"\r\nhello\r\n0\r\n\r\n')),
]


HEADS = [
    yes("plain", get(), GOT),
    yes("high bytes in a value", get(b"X-A: \xff\xfe", "X-B: zażółć".encode()), GOT),
    yes("a tab in a value", get(b"X-A: a\tb"), GOT),
    yes("an empty value", get(b"X-A:"), GOT),
    yes("every character of a token", get(b"!#$%&'*+-.^_`|~09azAZ: 1"), GOT),
    yes("a colon in a value", get(b"X-A: b: c"), GOT),
    yes("a blank line first", b"\r\n" + get(), GOT),
    yes("blank lines between", get() + b"\r\n\r\n", GOT),
    yes("as many lines as may be", get(*[b"X-A: 1"] * 100), GOT),
    no("more lines than may be", get(*[b"X-A: 1"] * 200)),
    no("a longer line than may be", get(b"X-A: " + b"a" * 40_000)),
    no("a longer name than may be", get(b"a" * 40_000 + b": 1")),
    no("LF alone", get().replace(b"\r\n", b"\n")),
    no("CR alone", get().replace(b"\r\n", b"\r")),
    no("LF after the request line", b"GET /v1/x HTTP/1.1\nHost: h\r\n\r\n"),
    no("CR after the request line", b"GET /v1/x HTTP/1.1\rHost: h\r\n\r\n"),
    no("CR CR LF after the request line", b"GET /v1/x HTTP/1.1\r\r\nHost: h\r\n\r\n"),
    no("LF after a header", b"GET /v1/x HTTP/1.1\r\nHost: h\nX-A: 1\r\n\r\n"),
    no("CR after a header", b"GET /v1/x HTTP/1.1\r\nHost: h\rX-A: 1\r\n\r\n"),
    no("CR CR LF after a header", b"GET /v1/x HTTP/1.1\r\nHost: h\r\r\n\r\n"),
    no("LF CR after a header", b"GET /v1/x HTTP/1.1\r\nHost: h\n\rX-A: 1\r\n\r\n"),
    no("LF LF at the end", b"GET /v1/x HTTP/1.1\r\nHost: h\n\n"),
    no("CRLF LF at the end", b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\n"),
    no("CRLF CR at the end", b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\r" + INNER),
    no("LF CRLF at the end", b"GET /v1/x HTTP/1.1\r\nHost: h\n\r\n"),
    no("CR CR at the end", b"GET /v1/x HTTP/1.1\r\nHost: h\r\r"),
    no("a bare CR in a value", get(b"X-A: a\rb")),
    no("a bare CR before a value", get(b"X-A:\ra")),
    no("a bare CR at a value's end", get(b"X-A: a\r")),
    no("a bare LF in a value", get(b"X-A: a\nb")),
    no("a bare LF and a header in a value", get(b"X-A: a\nX-B: b")),
    no("NUL in a value", get(b"X-A: a\0b")),
    no("NUL first in a value", get(b"X-A: \0")),
    *[no(f"control character {n:#04x} in a value", get(b"X-A: a" + bytes([n]) + b"b")) for n in (1, 7, 8, 11, 12, 27, 127)],
    *[
        no(f"{bytes([n])!r} in a name", get(b"X" + bytes([n]) + b"A: 1"))
        for n in b'\0\1\x0b\x1b\x7f\x80\xff "(),/;<=>?@[\\]{}'
    ],
    no("space before the colon", get(b"X-A : 1")),
    no("tab before the colon", get(b"X-A\t: 1")),
    no("no name", get(b": 1")),
    no("no colon", get(b"X-A")),
    no("no colon, as a request", get(b"GET /v1/inner HTTP/1.1")),
    no("obs-fold by a space", get(b"X-A: 1\r\n 2")),
    no("obs-fold by a tab", get(b"X-A: 1\r\n\t2")),
    no("obs-fold that is blank", get(b"X-A: 1\r\n ")),
    no("obs-fold of a header", get(b"X-A: 1\r\n X-B: 2")),
    no("obs-fold of Host", b"GET /v1/x HTTP/1.1\r\nHost:\r\n h\r\n\r\n"),
    no("obs-fold of the last line", get(b"X-A: 1", b"X-B: 2\r\n 3")),
    no("obs-fold of the first line", b"GET /v1/x HTTP/1.1\r\n Host: h\r\n\r\n"),
    no("obs-fold after LF", get(b"X-A: 1\n 2")),
    no("obs-fold after CR", get(b"X-A: 1\r 2")),
    no("a space before the first header", b"GET /v1/x HTTP/1.1\r\n X-A: 1\r\nHost: h\r\n\r\n"),
    no("a tab before the first header", b"GET /v1/x HTTP/1.1\r\n\tX-A: 1\r\nHost: h\r\n\r\n"),
    no("a byte order mark first", b"\xef\xbb\xbf" + get()),
    no("NUL first", b"\0" + get()),
    no("a space first", b" " + get()),
]


def line(text: bytes) -> bytes:
    return text + b"\r\nHost: h\r\n\r\n"


LINES = [
    yes("plain", line(b"GET /v1/x HTTP/1.1"), GOT),
    yes("another method", get(method=b"DELETE"), Sent(method="DELETE")),
    yes("OPTIONS", get(method=b"OPTIONS"), Sent(method="OPTIONS")),
    yes("PATCH", get(b"Content-Length: 0", method=b"PATCH"), Sent(method="PATCH")),
    yes("TRACE, which tells nothing of ours", get(method=b"TRACE"), Sent(method="TRACE")),
    no("HTTP/0.9", b"GET /v1/x\r\n"),
    no("HTTP/0.9 with headers", line(b"GET /v1/x")),
    no("HTTP/0.9 by name", line(b"GET /v1/x HTTP/0.9")),
    no("HTTP/1.2", line(b"GET /v1/x HTTP/1.2")),
    no("HTTP/1.9", line(b"GET /v1/x HTTP/1.9")),
    no("HTTP/2.0", line(b"GET /v1/x HTTP/2.0")),
    no("HTTP/2", line(b"GET /v1/x HTTP/2")),
    no("HTTP/3.0", line(b"GET /v1/x HTTP/3.0")),
    no("HTTP/1", line(b"GET /v1/x HTTP/1")),
    no("HTTP/1.", line(b"GET /v1/x HTTP/1.")),
    no("HTTP/.1", line(b"GET /v1/x HTTP/.1")),
    no("HTTP/1.10", line(b"GET /v1/x HTTP/1.10")),
    no("HTTP/1.1.1", line(b"GET /v1/x HTTP/1.1.1")),
    no("HTTP/01.1", line(b"GET /v1/x HTTP/01.1")),
    no("HTTP/1,1", line(b"GET /v1/x HTTP/1,1")),
    no("HTTP/-1.1", line(b"GET /v1/x HTTP/-1.1")),
    no("HTTP/1.1 and a space", line(b"GET /v1/x HTTP/1.1 ")),
    no("HTTP/1.1 and a tab", line(b"GET /v1/x HTTP/1.1\t")),
    no("HTTP/1.1 and a word", line(b"GET /v1/x HTTP/1.1 x")),
    no("HTTP/1.1 twice", line(b"GET /v1/x HTTP/1.1 HTTP/1.1")),
    no("lower case", line(b"GET /v1/x http/1.1")),
    no("mixed case", line(b"GET /v1/x Http/1.1")),
    no("a space before the slash", line(b"GET /v1/x HTTP /1.1")),
    no("a space after the slash", line(b"GET /v1/x HTTP/ 1.1")),
    no("no slash", line(b"GET /v1/x HTTP1.1")),
    no("HTTPS", line(b"GET /v1/x HTTPS/1.1")),
    no("HTP", line(b"GET /v1/x HTP/1.1")),
    no("RTSP", line(b"GET /v1/x RTSP/1.0")),
    no("ICE", line(b"SOURCE /v1/x ICE/1.0")),
    no("full-width digits", line("GET /v1/x HTTP/\uff11.\uff11".encode())),
    yes("two spaces before the target", line(b"GET  /v1/x HTTP/1.1"), GOT),
    yes("two spaces after the target", line(b"GET /v1/x  HTTP/1.1"), GOT),
    no("tabs for spaces", line(b"GET\t/v1/x\tHTTP/1.1")),
    no("a tab after the target", line(b"GET /v1/x\tHTTP/1.1")),
    no("vertical tabs for spaces", line(b"GET\x0b/v1/x\x0bHTTP/1.1")),
    no("no-break spaces", line(b"GET\xa0/v1/x\xa0HTTP/1.1")),
    no("no target", line(b"GET HTTP/1.1")),
    no("no target, two spaces", line(b"GET  HTTP/1.1")),
    no("no method", line(b" /v1/x HTTP/1.1")),
    no("no method, no space", line(b"/v1/x HTTP/1.1")),
    no("a method in lower case", line(b"get /v1/x HTTP/1.1")),
    no("a method in mixed case", line(b"Get /v1/x HTTP/1.1")),
    no("a method that nobody knows", line(b"FOO /v1/x HTTP/1.1")),
    no("a method with more letters", line(b"GETS /v1/x HTTP/1.1")),
    no("a method that is no token", line(b"G@T /v1/x HTTP/1.1")),
    no("a method with a colon", line(b"GET: /v1/x HTTP/1.1")),
    no("a method with NUL", line(b"GET\0 /v1/x HTTP/1.1")),
    no("a method with CR", line(b"GET\r /v1/x HTTP/1.1")),
    no("a method folded", line(b"GET\r\n /v1/x HTTP/1.1")),
    no("a method with a high byte", line(b"G\xc9T /v1/x HTTP/1.1")),
    no("a long method", line(b"A" * 10_000 + b" /v1/x HTTP/1.1")),
    no("a long target", line(b"GET /v1/" + b"x" * 40_000 + b" HTTP/1.1")),
    no("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    no("HTTP/2's preface, its frames behind", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    no("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    no("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32),
    no("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    no("PROXY protocol, 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get()),
    no("PROXY protocol, 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\0" * 12 + get()),
    no("a colon line first", b"Host: h\r\n" + get()),
]


def target(text: bytes, method: bytes = b"GET") -> bytes:
    return get(target=text, method=method)


def reads(text: str, method: str = "GET") -> Sent:
    return Sent(method=method, target=text)


TARGETS = [
    *[
        yes(f"as it stands: {text}", target(text.encode()), reads(text))
        for text in (
            "/v1",
            "/v1/",
            "/v1?x",
            "/v1//x",
            "/v1/./x",
            "/v1/a/../x",
            "/v1/a%2Fb",
            "/v1/%00",
            "/v1/%0d%0aX-A:%201",
            "/v1/%zz",
            "/v1/%",
            "/v1/a;b=c",
            "/v1/a:b@c",
            "/v1/http://evil.example/",
            "/v1/x?u=http://evil.example/&v=../..",
            "/v1/x?a?b",
            "/v1/x?%23",
            "/v1/...",
            "/v1/..x",
            "/v1/%25252e%25252e/x",
            '/v1/"<>^`{|}',
            "/v1/[]",
        )
    ],
    no("high bytes", target(b"/v1/\xff\xfe")),
    no("UTF-8", target("/v1/ż".encode())),
    yes("absolute-form", target(b"http://h/v1/x"), GOT),
    yes("absolute-form, a query", target(b"http://h/v1/x?a=%2F"), reads("/v1/x?a=%2F")),
    yes("absolute-form, another host", target(b"http://evil.example/v1/x"), GOT),
    yes("absolute-form, a port", target(b"http://h:80/v1/x"), GOT),
    yes("absolute-form, https", target(b"https://h/v1/x"), GOT),
    yes("absolute-form, a scheme in capitals", target(b"HTTP://h/v1/x"), GOT),
    yes("absolute-form, dot segments stay", target(b"http://h/v1/a/../x"), reads("/v1/a/../x")),
    kept("absolute-form, userinfo", target(b"http://user:password@h/v1/x")),
    no("absolute-form, no host", target(b"http:///v1/x")),
    kept("absolute-form, another scheme", target(b"ftp://h/v1/x")),
    kept("absolute-form, a scheme of scripts", target(b"javascript://h/v1/x")),
    kept("absolute-form, a fragment", target(b"http://h/v1/x#a")),
    no("absolute-form, a port that is none", target(b"http://h:x/v1/x")),
    no("absolute-form, a port too high", target(b"http://h:99999/v1/x")),
    no("absolute-form, a host with a backslash", target(b"http://h\\evil/v1/x")),
    no("absolute-form, a bracket", target(b"http://[::1/v1/x")),
    no("absolute-form, one slash", target(b"http:/v1/x")),
    no("absolute-form, no slash", target(b"http:v1/x")),
    no("a scheme alone", target(b"http:")),
    no("no slash", target(b"v1/x")),
    no("a query alone", target(b"?x")),
    no("a fragment alone", target(b"#x")),
    kept("a fragment", target(b"/v1/x#a")),
    kept("a fragment behind a query", target(b"/v1/x?a#b")),
    kept("a fragment behind dots", target(b"/v1/..#/x")),
    no("authority-form", target(b"h:443")),
    no("asterisk-form", target(b"*")),
    kept("asterisk-form of OPTIONS", target(b"*", b"OPTIONS")),
    no("asterisk-form with more", target(b"*/v1/x", b"OPTIONS")),
    no("CONNECT, authority-form", target(b"evil.example:443", b"CONNECT")),
    no("CONNECT, a path", target(b"/v1/x", b"CONNECT")),
    no("CONNECT, absolute-form", target(b"http://h/v1/x", b"CONNECT")),
    *[no(f"control character {n:#04x}", target(b"/v1/a" + bytes([n]) + b"b")) for n in (0, 1, 8, 9, 11, 12, 27, 31, 127)],
    no("a bare CR", target(b"/v1/a\rb")),
    no("a bare LF", target(b"/v1/a\nb")),
    no("a space", target(b"/v1/a b")),
    no("a backslash", target(b"\\v1\\x")),
    *[
        kept(f"leaves its route: {text}", target(text.encode()))
        for text in (
            "/v1/..",
            "/v1/../",
            "/v1/../x",
            "/v1/../v1/x",
            "/v1/a/../../x",
            "/v1/./../x",
            "/v1//../../x",
            "/v1/%2e%2e/x",
            "/v1/%2E%2E/x",
            "/v1/.%2e/x",
            "/v1/%2e./x",
            "/v1/%252e%252e/x",
            "/v1/..%2fx",
            "/v1/..%2Fx",
            "/v1/..%252fx",
            "/v1/..%5cx",
            "/v1/..%255cx",
            "/v1/..\\x",
            "/v1/a\\..\\..\\x",
            "/v1/..;/x",
            "/v1/..;a=b/x",
            "/v1/%2e%2e;/x",
            "http://h/v1/../x",
            "http://h/v1/%2e%2e/x",
        )
    ],
    *[
        kept(f"no route: {text}", target(text.encode()), 404)
        for text in ("/", "//evil.example/v1/x", "//h/v1/x", "/./v1/x", "/V1/x", "/v1x", "/%76%31/x", "//evil/v1/x://", "http://h")
    ],
]


def hosted(*lines: bytes, target: bytes = b"/v1/x") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", *lines]) + b"\r\n\r\n"


HOSTS = [
    *[
        yes(f"{host.decode()}", hosted(b"Host: " + host), GOT)
        for host in (b"h", b"h:80", b"h.", b"a-b.example", b"a_b", b"127.0.0.1:8080", b"[::1]", b"[::1]:80", b"%61", b"xn--4ca")
    ],
    yes("no space", hosted(b"Host:h"), GOT),
    yes("blanks around", hosted(b"host: \t h \t "), GOT),
    yes("X-Forwarded-Host beside it is another header", hosted(b"Host: h", b"X-Forwarded-Host: evil"), GOT),
    no("missing", hosted(b"X-A: 1")),
    no("missing, absolute-form", hosted(b"X-A: 1", target=b"http://h/v1/x")),
    no("twice, different", hosted(b"Host: h", b"Host: evil")),
    no("twice, the same", hosted(b"Host: h", b"Host: h")),
    no("twice, one in capitals", hosted(b"Host: h", b"HOST: evil")),
    no("twice, one folded", hosted(b"Host: h", b" Host: evil")),
    no("twice, absolute-form", hosted(b"Host: h", b"Host: evil", target=b"http://h/v1/x")),
    no("space before the colon", hosted(b"Host : h")),
    no("space before the colon of a second", hosted(b"Host: h", b"Host : evil")),
    *[
        no(f"{host!r}", hosted(b"Host: " + host))
        for host in (
            b"",
            b"h, evil",
            b"h,evil",
            b"h evil",
            b"h\tevil",
            b"user@h",
            b"user:password@h",
            b"h/v1",
            b"h/",
            b"h?x",
            b"h#x",
            b"h\\evil",
            b"http://h",
            b"h:",
            b"h:x",
            b"h:80:80",
            b"h:80@evil",
            b"h:-1",
            b"h:123456",
            b":80",
            b"::1",
            b"[::1",
            b"[::1]evil",
            b"[evil]",
            b"h\xff",
            "ż".encode(),
            "\u2100".encode(),
            b"<script>",
            b'h"',
            b"h\0",
            b"h\x0bevil",
            b"h\revil",
        )
    ],
    no("not a host, absolute-form", hosted(b"Host: user@h", target=b"http://h/v1/x")),
]

BODIES = [
    yes("GET, counted", get(CL5) + b"hello", Sent(b"hello", "GET")),
    last("GET, chunked", get(TE) + HELLO_CHUNKED, Sent(b"hello", "GET")),
    yes("GET, a body that is a request", get(b"Content-Length: %d" % len(INNER)) + INNER, Sent(INNER, "GET")),
    yes("HEAD, counted", get(CL5, method=b"HEAD") + b"hello", Sent(b"hello", "HEAD")),
    last("HEAD, chunked", get(TE, method=b"HEAD") + HELLO_CHUNKED, Sent(b"hello", "HEAD")),
    yes("DELETE, counted", get(CL5, method=b"DELETE") + b"hello", Sent(b"hello", "DELETE")),
    last("DELETE, chunked", get(TE, method=b"DELETE") + HELLO_CHUNKED, Sent(b"hello", "DELETE")),
    yes("OPTIONS, counted", get(CL5, method=b"OPTIONS") + b"hello", Sent(b"hello", "OPTIONS")),
    yes("TRACE, counted", get(CL5, method=b"TRACE") + b"hello", Sent(b"hello", "TRACE")),
    yes("POST without a length has no body", post()),
    closing("POST without a length: what follows is no body", post(body=b"hello"), Sent(), 400),
    yes("the body limit itself", counted(b" 65536", b"a" * 65536), Sent(b"a" * 65536)),
    yes("multipart is no framing", post(b"Content-Type: multipart/byteranges; boundary=a", CL5, body=b"hello"), HELLO),
]

EXPECTS = [
    yes("100-continue", post(b"Expect: 100-continue", CL5, body=b"hello"), HELLO),
    yes("100-Continue", post(b"Expect: 100-Continue", CL5, body=b"hello"), HELLO),
    last("100-continue, chunked", post(b"Expect: 100-continue", TE, body=HELLO_CHUNKED), HELLO),
    yes("100-continue without a body", get(b"Expect: 100-continue"), GOT),
    yes("100-continue twice", post(b"Expect: 100-continue", b"Expect: 100-continue", CL5, body=b"hello"), HELLO),
    yes("a list", post(b"Expect: 100-continue, x", CL5, body=b"hello"), HELLO),
    yes("something else", post(b"Expect: 200-ok", CL5, body=b"hello"), HELLO),
    yes("y 100-continue (obfuscated)", post(b"Expect: y 100-continue", CL5, body=b"hello"), HELLO),
    yes("empty", post(b"Expect:", CL5, body=b"hello"), HELLO),
    no("folded", post(b"Expect:\r\n 100-continue", CL5, body=b"hello")),
]

UPGRADES = [
    last("h2c", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"), GOT),
    yes("h2c, not named by Connection", get(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"), GOT),
    last("h2c, a body", post(b"Connection: Upgrade", b"Upgrade: h2c", CL5, body=b"hello"), HELLO),
    last("h2c, chunks", post(b"Connection: Upgrade", b"Upgrade: h2c", TE, body=HELLO_CHUNKED), HELLO),
    last("HTTP/2.0", get(b"Connection: Upgrade", b"Upgrade: HTTP/2.0"), GOT),
    last("TLS", get(b"Connection: Upgrade", b"Upgrade: TLS/1.0"), GOT),
    last("websocket that the upstream does not take", get(b"Connection: Upgrade", b"Upgrade: websocket"), GOT),
    last("websocket of POST", post(b"Connection: Upgrade", b"Upgrade: websocket", CL5, body=b"hello"), HELLO),
    last("websocket of POST, chunks", post(b"Connection: Upgrade", b"Upgrade: websocket", TE, body=HELLO_CHUNKED), HELLO),
    yes("websocket, not named by Connection", get(b"Upgrade: websocket"), GOT),
    last("websocket of an odd version", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777"), GOT),
    last("a list", get(b"Connection: Upgrade", b"Upgrade: websocket, h2c"), GOT),
    last("tcp", get(b"Connection: Upgrade", b"Upgrade: tcp"), GOT),
    no("CL and TE", post(b"Connection: Upgrade", b"Upgrade: websocket", CL5, TE, body=HELLO_CHUNKED)),
]

CONNECTIONS = [
    *[
        yes(f"names {name.decode()}", post(b"Connection: " + name, b"Authorization: Bearer client", CL5, body=b"hello"), HELLO)
        for name in (
            b"Content-Length",
            b"content-length, Host",
            b"Host",
            b"Transfer-Encoding",
            b"Authorization",
            b"X-Forwarded-For",
            b"Content-Type",
            b"keep-alive",
            b",,,",
            b"",
            b"Connection",
            b"a b c",
            b"*",
        )
    ],
    last("names Transfer-Encoding, chunked", post(b"Connection: Transfer-Encoding", TE, body=HELLO_CHUNKED), HELLO),
    yes("names Expect", post(b"Connection: Expect", b"Expect: 100-continue", CL5, body=b"hello"), HELLO),
    yes("Keep-Alive beside it", get(b"Connection: keep-alive", b"Keep-Alive: timeout=5, max=1000"), GOT),
    yes("Proxy-Connection: keep-alive", get(b"Proxy-Connection: keep-alive"), GOT),
    closing("Proxy-Connection: close", get(b"Proxy-Connection: close"), GOT),
    last("Trailer", post(b"Trailer: Content-Length", TE, body=HELLO_CHUNKED), HELLO),
    yes("a thousand names", get(b"Connection: " + b", ".join(b"a%d" % n for n in range(1000))), GOT),
]

PIPELINES = [
    yes("three", INNER * 3, *[reads("/v1/inner")] * 3),
    yes("behind a body", counted(b" 5") + INNER, HELLO, reads("/v1/inner")),
    last("behind chunks", chunked(HELLO_CHUNKED) + INNER, HELLO),
    last("behind chunks and a trailer", chunked(b"0\r\nX-A: 1\r\n\r\n") + INNER, Sent()),
    yes("behind a body and blank lines", counted(b" 5") + b"\r\n\r\n" + INNER, HELLO, reads("/v1/inner")),
    yes("twenty", (counted(b" 5") + INNER) * 10, *[HELLO, reads("/v1/inner")] * 10),
    yes("behind an answer that is none of an upstream's", get(target=b"/none") + INNER, 404, reads("/v1/inner")),
    yes("behind a health check", get(target=b"/healthz") + INNER, 200, reads("/v1/inner")),
    yes("behind a health check with a body", get(CL5, target=b"/healthz") + b"hello" + INNER, 200, reads("/v1/inner")),
    no("a good one behind a bad one", get(b"X-A : 1") + INNER),
    yes("a good one behind a refused target", target(b"/v1/../x") + INNER, 400, reads("/v1/inner")),
    no("a good one behind a body too large", counted(b" 65537") + INNER, 413),
    no("a good one behind CONNECT", target(b"h:443", b"CONNECT") + INNER),
]

OLD = b"GET /v1/x HTTP/1.0\r\n"
VERSIONS = [
    closing("HTTP/1.0, no Host", OLD + b"\r\n", GOT),
    closing("HTTP/1.0", OLD + b"Host: h\r\n\r\n", GOT),
    closing("HTTP/1.0, a body", post(CL5, body=b"hello", version=b"1.0"), HELLO),
    yes("HTTP/1.0, kept alive", OLD + b"Connection: keep-alive\r\n\r\n", GOT),
    yes("HTTP/1.0, kept alive, a body", post(CL5, b"Connection: keep-alive", body=b"hello", version=b"1.0"), HELLO),
    closing("HTTP/1.0 knows no 100-continue", post(CL5, b"Expect: 100-continue", body=b"hello", version=b"1.0"), HELLO),
    no("HTTP/1.0, two Hosts", OLD + b"Host: h\r\nHost: evil\r\n\r\n"),
    no("HTTP/1.0, a Host that is none", OLD + b"Host: user@h\r\n\r\n"),
    closing("HTTP/1.1, close", get(b"Connection: close"), GOT),
    closing("HTTP/1.1, close in a list", get(b"Connection: keep-alive, close"), GOT),
    closing("HTTP/1.1, close on a line of its own", get(b"Connection: keep-alive", b"Connection: close"), GOT),
    closing("HTTP/1.1, close behind a body", post(CL5, b"Connection: close", body=b"hello"), HELLO),
]

GROUPS = {
    "lengths": LENGTHS,
    "codings": CODINGS,
    "chunks": CHUNKS,
    "heads": HEADS,
    "lines": LINES,
    "versions": VERSIONS,
    "targets": TARGETS,
    "hosts": HOSTS,
    "bodies": BODIES,
    "expects": EXPECTS,
    "upgrades": UPGRADES,
    "connections": CONNECTIONS,
    "pipelines": PIPELINES,
}
