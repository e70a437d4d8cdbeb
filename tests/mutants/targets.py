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
            "proxy_core/client.py": (),
            "proxy_core/upstream.py": (),
        },
        tests=(
            "tests/test_http1.py", "tests/test_framing.py", "tests/test_client.py", "tests/test_upstream.py",
            "tests/test_server.py", "tests/test_limits.py",
        ),
    ),
}
