"""HTTP/1.1 as bytes: a request's head written, an answer parsed, and whatever could be read in two ways refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

_LINE = 64 * 1024  # one line of a head
_HEAD = 256 * 1024  # an answer's head, with those of the interim answers before it
_FIELDS = 128  # lines of a head
_INTERIM = 64  # answers before the final one
FRAMING = 64 * 1024  # what may stand between two pieces of a chunked body, or follow the last: extensions, trailers

_COUNT = re.compile(r"[0-9]{1,19}")  # fewer bytes than a 64-bit number can count, so that it wraps around nowhere
HOST = re.compile(r"([A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")  # RFC 9112 3.2
_TOKENS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 5.6.2
_TARGET = re.compile(r"[^\x00-\x20\x7f]+")


def unclear(method: str, version: tuple[int, int], fields: MultiMapping[str]) -> str | None:
    """Why a request that was parsed may be read otherwise by whoever comes next, or None.

    llhttp takes any version of one digit each, any coding before the last, an empty one for none, and any Host.
    """
    if version not in ((1, 1), (1, 0)):
        return "its version is neither HTTP/1.1 nor HTTP/1.0"
    if method == "CONNECT":
        return "CONNECT is not served here"
    codings = fields.getall("Transfer-Encoding", None)
    if codings is not None and (version == (1, 0) or [coding.lower() for coding in codings] != ["chunked"]):
        # Any other coding would be dropped as hop-by-hop, and its bytes be passed off as the body.
        return "its Transfer-Encoding is not just 'chunked', or it is one of HTTP/1.0"
    lengths = fields.getall("Content-Length", ())
    if len(lengths) + (codings is not None) > 1 or not all(map(_COUNT.fullmatch, lengths)):
        return "its Content-Length is not one number of up to 19 digits"
    hosts = fields.getall("Host", ())
    if len(hosts) > 1 or not all(map(HOST.fullmatch, hosts)):
        return "its Host is not one host"
    return None


def request_head(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """The head as it goes out. Raises ValueError where a value would become a line, or a request, of its own."""
    lines = [f"{method} {target} HTTP/1.1"]
    names = [method]
    for name, value in fields:
        names.append(name)
        lines.append(f"{name}: {value}")
    head = "\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count("\r") != breaks or head.count("\n") != breaks or "\0" in head:
        raise ValueError("a line break or null byte stands in a request's target or header")
    if "" in names or not _TOKENS.fullmatch("".join(names)):
        raise ValueError("a request's method, or a header's name, is not a token")
    if not _TARGET.fullmatch(target):
        raise ValueError("a request's target holds a space or control character")
    # Both as aiohttp's parsers decode: bytes that are no UTF-8 come out as they came in.
    return head.encode("utf-8", "surrogateescape") + b"\r\n\r\n"


class BadAnswer(Exception):
    """These bytes are not an HTTP answer, or may be taken for two different ones."""


class AnswerParser:
    """One answer, fed as it comes. llhttp parses; what it lets pass, and has no limits for, is refused here.

    Interim answers are skipped. `keep` says, once `complete`, whether the connection may carry another exchange.
    """

    def __init__(self, method: str, *, upgrading: bool) -> None:
        self._bodiless = method == "HEAD"
        self._upgrading = upgrading
        self._parser: Any  # an HttpResponseParser, once a head is whole
        self._begun = bytearray()  # of a head that comes in parts
        self._heads = 0  # bytes of heads so far
        self._interim = 0
        self._lines: list[tuple[str, str]]  # of the latest head
        self._parsed: bool  # that head, by llhttp's account
        self._until_eof = False
        self._framing = 0  # bytes since the last of the body
        self._chunks: list[bytes] = []
        self.held = 0  # bytes of the body that nobody has taken yet
        self.status = 0
        self.fields: CIMultiDictProxy[str] | None = None  # once the final head is here
        self.complete = False
        self.keep: bool  # once a head is whole

    def feed(self, data: bytes) -> None:
        """Raises BadAnswer."""
        while self.fields is None and data:
            data = self._feed_heads(data)
        if not data:
            return
        if self.complete:
            self.keep = False  # nothing was asked that this could answer
        elif self.status == 101:
            self.on_body(data)
        else:
            self._feed_body(data)

    def feed_eof(self) -> None:
        """The upstream sends no more: the end of a body that has no other."""
        self.keep = False
        self.complete = self.complete or self._until_eof

    def take(self) -> bytes:
        """What is here of the body."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self.held = 0
        return data

    def close(self) -> None:
        """Let go of llhttp's parser, which holds this one."""
        self._parser = None

    def _feed_heads(self, data: bytes) -> bytes:
        """Returns what follows a head that is whole now."""
        seen = len(self._begun)
        if seen:
            self._begun += data
            end = self._begun.find(b"\r\n\r\n", max(0, seen - 3))
        else:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._begun += data
        size = len(self._begun) if end < 0 else end + 4
        if self._heads + size > _HEAD:
            raise BadAnswer(f"its head is longer than {_HEAD} bytes")
        if end < 0:
            return b""
        if seen:
            data = bytes(self._begun)
            self._begun.clear()
        self._heads += size
        self._parse_head(data[:size])
        return data[size:]

    def _parse_head(self, head: bytes) -> None:
        if len(head) > _LINE and max(map(len, head.split(b"\r\n"))) > _LINE:
            raise BadAnswer(f"a line of its head is longer than {_LINE} bytes")
        self._lines, self._parsed = [], False
        self._parser = parser = HttpResponseParser(self)
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            pass  # after a 101, which is told by its status
        except HttpParserError as error:
            raise BadAnswer(str(error)) from None
        status = self.status = parser.get_status_code()
        version = parser.get_http_version()
        if not self._parsed or not 100 <= status < 600 or version not in ("1.1", "1.0"):
            raise BadAnswer("its first line is not one of HTTP/1.1")
        if len(self._lines) > _FIELDS:
            raise BadAnswer(f"its head has more than {_FIELDS} lines")
        if status < 200 and status != 101:
            self._interim += 1
            if self._interim > _INTERIM:
                raise BadAnswer(f"more than {_INTERIM} interim answers")
            return
        fields = CIMultiDictProxy(CIMultiDict(self._lines))
        self._frame(fields, version)
        self.fields = fields  # not before: who waits for them takes the head for good

    def _frame(self, fields: CIMultiDictProxy[str], version: str) -> None:
        """How long the body is."""
        codings = fields.getall("Transfer-Encoding", None)
        if self.status == 101:
            if not self._upgrading:
                raise BadAnswer("it switches protocols unasked")
        elif codings is not None and (version == "1.0" or [coding.lower() for coding in codings] != ["chunked"]):
            # Any other coding would be dropped as hop-by-hop, and its bytes be passed off as the body.
            raise BadAnswer("its Transfer-Encoding is not just 'chunked'")
        elif not all(map(_COUNT.fullmatch, fields.getall("Content-Length", ()))):
            raise BadAnswer("its Content-Length is not a number of up to 19 digits")
        elif self._bodiless or self.status in (204, 304):
            self.complete = True
        elif codings is None and "Content-Length" not in fields:
            self._until_eof = True

    def _feed_body(self, data: bytes) -> None:
        before = self.held
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.complete:
                raise BadAnswer(str(error)) from None
            self.keep = False  # what follows the end is nonsense: the answer is good, the connection is not
        if self.held > before:
            self._framing = 0
        elif not self.complete:
            self._framing += len(data)
            if self._framing > FRAMING:
                raise BadAnswer(f"more than {FRAMING} bytes of chunk extensions or trailers")

    # What llhttp calls.

    def on_message_begin(self) -> None:
        if self.complete:
            self.keep = False  # a second answer, that nobody asked for: from here on all that comes is ignored

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._parsed:  # else it is a trailer, which belongs to this hop alone
            self._lines.append((name.decode("ascii"), value.rstrip(b" \t").decode("utf-8", "surrogateescape")))

    def on_headers_complete(self) -> None:
        if not self.complete:
            self._parsed = True
            self.keep = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._chunks.append(data)
            self.held += len(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:  # an interim answer is followed by another
            self.complete = True
