"""What is mutated, against which tests, and which mutants are let live."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Suite:
    files: dict[str, tuple[str, ...]]  # and the functions or classes of each that count; none for all
    tests: tuple[str, ...]
    equivalent: dict[str, dict[str, str]] = field(default_factory=dict)  # file -> mutant -> why it changes nothing


_PAUSE = "when the event loop is free in between; the digest is the same"
_MORE = "what is not looked at need not be read"

_KNOWN = "llhttp itself knows that these have no body"
_FIRST = "not 100 <= status < 600 or version not in ('1.1', '1.0')"
_LONG = (
    r"AnswerParser._parse_head: len(head) > _LINE and max(map(len, head.split(b'\r\n'))) > _LINE -> "
    r"max(map(len, head.split(b'\r\n'))) > _LINE"
)

SUITES = {
    "fetch": Suite(
        files={
            "plugins/image_edit/addresses.py": (),
            "plugins/image_edit/fetch.py": (),
            "plugins/image_edit/inline.py": (),
            "plugins/image_edit/picture.py": ("sniff", "Image.bound", "Image.pixels", "Image.verify", "_measure", "_decoded"),
        },
        tests=(
            "tests/test_addresses.py", "tests/test_fetch.py", "tests/test_hostile_answers.py", "tests/test_model.py",
            "tests/test_inline.py", "tests/test_inputs.py",
        ),
        equivalent={
            "plugins/image_edit/fetch.py": {
                ": without the element int": "a type, which nothing looks at while it runs",
                "Fetcher._session: aiohttp.ClientSession(...) without trust_env=False": "aiohttp's default, said aloud",
                "Fetcher._read: len(block) >= _BLOCK -> len(block) > _BLOCK": "how large one chunk of a picture is in memory",
            },
            "plugins/image_edit/picture.py": {
                "Image.verify: done >= LONG -> done >= LONG or True": _PAUSE,
                "Image.verify: done >= LONG -> done > LONG": _PAUSE,
                "Image.verify: without: done = 0": _PAUSE,
                "_measure: imagesize.get_info(...) without dpi=False": _MORE,
                "_measure: imagesize.get_info(...) without colors=False": _MORE,
                "_measure: imagesize.get_info(...) without channels=False": _MORE,
            },
        },
    ),
    "framing": Suite(
        files={
            "proxy_core/http1.py": (),
            "proxy_core/protocol.py": ("_Parser",),
            "proxy_core/wire.py": ("receive", "_absolute", "_Incoming"),
        },
        tests=(
            "tests/test_http1.py", "tests/test_protocol.py", "tests/test_framing.py", "tests/test_client.py",
            "tests/test_upstream.py", "tests/test_server.py", "tests/test_limits.py",
        ),
        equivalent={
            "proxy_core/http1.py": {
                "AnswerParser.take: len(self._chunks) == 1 -> len(self._chunks) == 1 and False": "one copy less of a body",
                "AnswerParser._feed_heads: max(0, seen - 3) -> 0": "what was looked through is not looked through again",
                _LONG: "only a long head can have a long line",
                f"AnswerParser._parse_head: not self._parsed or {_FIRST} -> {_FIRST}": "no head, no status",
                "AnswerParser._frame: self._bodiless or self.status in (204, 304) -> self._bodiless": _KNOWN,
                "AnswerParser._frame: without the element 204": _KNOWN,
                "AnswerParser._frame: without the element 304": _KNOWN,
                "AnswerParser._feed_body: without: self.keep = False": "a second answer has begun by then",
                "AnswerParser._feed_body: without the element HttpParserUpgrade": "raised at a head, as far as is known",
                "AnswerParser._parse_head: len(head) > _LINE -> len(head) >= _LINE": "only a long head can have a long line",
                "AnswerParser.on_message_begin: self.complete -> self.complete or True": "the head says it anew",
                "AnswerParser.on_header: not self._parsed -> not self._parsed or True": "the head's fields are a copy by then",
                "AnswerParser._feed_heads: end < 0 -> end <= 0": "at 0 stands an empty head, which is refused either way",
            },
            "proxy_core/wire.py": {
                "receive: size != 0 -> size != 0 or True": "a stream of no bytes is an empty body",
                "_Incoming.__anext__: not chunk and (not self._content.at_eof()) -> not chunk": "at the end none is waite",
                "_Incoming.__anext__: without the element HttpProcessingError": "aiohttp says RequestPayloadError",
                "_Incoming.__anext__: without: exchange.body = time.monotonic() - exchange.started": "a figure of the log",
                "_Incoming._continue: without: self._http.writer.output_size = 0": "asked where our handler fails: never",
            },
        },
    ),
}
