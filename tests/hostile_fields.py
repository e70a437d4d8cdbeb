"""Every field of every dialect, and odd values for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.hostile import DATA_URL, LOOSE

HOLE = "@"

# As JSON. What no parser takes is not among them: see UNREADABLE.
ODD: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "0": b"0",
    "1": b"1",
    "-1": b"-1",
    "2^63-1": b"9223372036854775807",
    "2^63": b"9223372036854775808",
    "2^64": b"18446744073709551616",
    "-2^63-1": b"-9223372036854775809",
    "1.5": b"1.5",
    "-0.0": b"-0.0",
    "empty": b'""',
    "blank": b'" "',
    "word": b'"x"',
    "text 1": b'"1"',
    "text 2^64": b'"18446744073709551616"',
    "NUL": b'"\\u0000"',
    "CRLF": b'"a\\r\\nB: c"',
    "emoji": b'"\\ud83d\\ude00\xe2\x80\xae"',
    "huge": b'"' + b"h" * 100_000 + b'"',
    "[]": b"[]",
    "[null]": b"[null]",
    '["x"]': b'["x"]',
    "[{}]": b"[{}]",
    "{}": b"{}",
    "object": b'{"x":{"y":[]}}',
    "{type}": b'{"type":{"type":"type"}}',
    "{url}": b'{"url":{"url":"url"}}',
    "300 deep": b"[" * 300 + b"]" * 300,
    "900 deep": b'{"url":' * 900 + b"0" + b"}" * 900,
    "100,000": b"[" + b"0," * 99_999 + b"0]",
}

UNREADABLE: dict[str, bytes] = {
    "1e400": b"1e400",
    "NaN": b"NaN",
    "1024 deep": b"[" * 1024 + b"]" * 1024,
    "2000 deep": b'{"a":' * 2000 + b"0" + b"}" * 2000,
    "half a pair": b'"\\ud800"',
    "not UTF-8": b'"\xff"',
}

BASE: dict[str, dict[str, Any]] = {
    "chat": {"model": LOOSE, "messages": [{"role": "user", "content": "a hat"}]},
    "responses": {"model": LOOSE, "input": "a hat"},
    "generations": {"model": LOOSE, "prompt": "a hat"},
    "edits": {"model": LOOSE, "prompt": "a hat", "image": DATA_URL},
}

TEXTS = ("size", "aspect_ratio", "resolution", "quality", "background", "output_format")
OPTIONS = ("n", "seed", *TEXTS, "watermark", "output_compression", "partial_images", "stream", "unknown")

TOP: dict[str, tuple[str, ...]] = {
    "chat": ("model", "messages", "mask", "image_config", "prompt", "image", *OPTIONS),
    "responses": ("model", "input", "tools", "mask", "prompt", "conversation", "previous_response_id", *OPTIONS),
    "generations": ("model", "prompt", "image", "images", "image_url", "mask", *OPTIONS),
    "edits": ("model", "prompt", "image", "images", "mask", *OPTIONS),
}

# What says nothing of a picture: all of these at once.
IDLE: dict[str, str] = {
    "chat": "stream_options modalities metadata store user temperature top_p top_k max_tokens max_completion_tokens stop "
    "presence_penalty frequency_penalty logit_bias logprobs top_logprobs response_format tool_choice parallel_tool_calls "
    "functions function_call reasoning_effort reasoning verbosity prediction service_tier audio web_search_options "
    "prompt_cache_key safety_identifier",
    "responses": "stream_options metadata store user instructions temperature top_p top_logprobs max_output_tokens "
    "max_tool_calls parallel_tool_calls tool_choice reasoning text truncation include service_tier safety_identifier "
    "prompt_cache_key prompt_cache_retention prompt_cache_options",
    "generations": "response_format user safety_identifier",
    "edits": "response_format user safety_identifier",
}

PART = {"type": "text", "text": "a hat"}


def turn(*parts: object, role: object = "user") -> list[Any]:
    return [{"role": role, "content": [PART, *parts]}]


# What stands deeper: place -> a base with a hole.
INNER: dict[str, dict[str, Any]] = {
    "chat": {
        "messages[0]": {"messages": [HOLE, *turn()]},
        "messages[1]": {"messages": [*turn(), HOLE]},
        "messages[0].role": {"messages": [{"role": HOLE, "content": "a"}, *turn()]},
        "messages[0].content": {"messages": [{"role": "user", "content": HOLE}]},
        "messages[0].content, earlier": {"messages": [{"role": "user", "content": HOLE}, *turn()]},
        "messages[0].content, a system's": {"messages": [{"role": "system", "content": HOLE}, *turn()]},
        "messages[0].content[1]": {"messages": turn(HOLE)},
        "messages[0].content[1], earlier": {"messages": [*turn(HOLE), *turn()]},
        "messages[0].content[1].type": {"messages": turn({"type": HOLE, "text": "x", "image_url": DATA_URL})},
        "messages[0].content[1].text": {"messages": turn({"type": "text", "text": HOLE})},
        "messages[0].content[1].image_url": {"messages": turn({"type": "image_url", "image_url": HOLE})},
        "messages[0].content[1].image_url.url": {"messages": turn({"type": "image_url", "image_url": {"url": HOLE}})},
        "messages[0].content[1].image_url.detail": {
            "messages": turn({"type": "image_url", "image_url": {"url": DATA_URL, "detail": HOLE}})
        },
        "messages[0].content[1].base64": {"messages": turn({"type": "image", "base64": HOLE})},
        "messages[0].content[1].data": {"messages": turn({"type": "image", "data": HOLE})},
        "messages[0].content[1].url": {"messages": turn({"type": "image", "url": HOLE})},
        "image_config.aspect_ratio": {"image_config": {"aspect_ratio": HOLE}},
        "image_config.image_size": {"image_config": {"image_size": HOLE}},
        "image_config.seed": {"image_config": {"seed": HOLE}},
        "image_config.stream": {"image_config": {"stream": HOLE}},
        "mask.url": {"mask": {"url": HOLE}},
    },
    "responses": {
        "input[0]": {"input": [HOLE, *turn()]},
        "input[0].type": {"input": [{"type": HOLE, "result": "x"}, *turn()]},
        "input[0].result": {"input": [{"type": "image_generation_call", "result": HOLE}, *turn()]},
        "input[0].content": {"input": [{"role": "user", "content": HOLE}]},
        "input[0].content[1].type": {"input": turn({"type": HOLE})},
        "input[0].content[1].text": {"input": turn({"type": "input_text", "text": HOLE})},
        "input[0].content[1].image_url": {"input": turn({"type": "input_image", "image_url": HOLE})},
        "input[0].content[1].file_id": {"input": turn({"type": "input_image", "file_id": HOLE})},
        "tools[0]": {"tools": [HOLE]},
        "tools[0].type": {"tools": [{"type": HOLE}]},
        **{
            f"tools[0].{name}": {"tools": [{"type": "image_generation", name: HOLE}]}
            for name in ("n", "size", "quality", "background", "output_format", "output_compression", "moderation",
                         "input_fidelity", "input_image_mask", "partial_images", "model", "action", "prompt")
        },
        "tools[0].input_image_mask.image_url": {
            "tools": [{"type": "image_generation", "input_image_mask": {"image_url": HOLE}}]
        },
        "tools, and a background": {"background": "auto", "tools": HOLE},
    },
    "generations": {"stream, with previews": {"partial_images": 1, "stream": HOLE}, "image[0]": {"image[0]": HOLE}},
    "edits": {
        "image[0]": {"image": [HOLE]},
        "image.url": {"image": {"url": HOLE}},
        "images[0]": {"images": [HOLE]},
        "images[0].image_url": {"images": [{"image_url": HOLE}]},
        "images[0].image_url.url": {"images": [{"image_url": {"url": HOLE}}]},
        "images[0].file_id": {"images": [{"file_id": HOLE}]},
        "mask.image_url": {"mask": {"image_url": HOLE}},
        "mask.file_id": {"mask": {"file_id": HOLE}},
    },
}  # fmt: skip


def places(surface: str) -> Mapping[str, dict[str, Any]]:
    """Place -> a good request with a hole there."""
    base = BASE[surface]
    top = {name: {**base, name: HOLE} for name in TOP[surface]}
    return {**top, **{name: {**base, **more} for name, more in INNER[surface].items()}}


# --- what is right ---

EVERY = frozenset(ODD)
STRINGS = frozenset(name for name, text in ODD.items() if text.startswith(b'"'))
SPOKEN = STRINGS - {"empty", "blank", "huge"}
OBJECTS = frozenset(name for name, text in ODD.items() if text.startswith(b"{"))
SHALLOW = EVERY - {"300 deep", "900 deep"}  # what is nested without end could be read, and not be sent on
NOTHING = frozenset({"null"})
NO_PICTURE = frozenset({"null", "false", "0", "-0.0", "empty", "[]", "{}"})
SWITCH = frozenset({"null", "true", "false", "0", "1", "-0.0", "empty"})
NUMBER = frozenset({"null", "0", "1", "-1", "2^63-1", "2^63", "text 1"})
NOT_KEPT = frozenset({"null", "false", "0", "-0.0"})

# Which values are right in a field, wherever it stands; more than 10 pictures are 10, and a warning.
RIGHT: dict[str, frozenset[str]] = {
    "n": frozenset({"null", "1", "2^63-1", "2^63", "text 1"}),
    "seed": NUMBER - {"2^63"},
    **dict.fromkeys(TEXTS, STRINGS | NOTHING),
    "watermark": SWITCH,
    "stream": SWITCH,
    "stream, with previews": SWITCH,
    "output_compression": NUMBER,
    "partial_images": frozenset({"null", "0", "1", "text 1"}),
    "unknown": SHALLOW,
    "moderation": SHALLOW,
    "input_fidelity": SHALLOW,
    "image_size": STRINGS | NOTHING,
    "detail": EVERY,
    "model": frozenset(),
    "mask": NOTHING,
    "input_image_mask": NOTHING,
}
RIGHT_AT: dict[tuple[str, str], frozenset[str]] = {
    ("chat", "messages"): frozenset(),
    ("chat", "image_config"): NOTHING | OBJECTS - {"900 deep"},
    ("chat", "image_config.stream"): EVERY,  # it is said elsewhere
    ("chat", "prompt"): SHALLOW,  # a field that a chat does not have
    ("chat", "image"): SHALLOW,
    ("chat", "messages[0]"): OBJECTS,
    ("chat", "messages[1]"): OBJECTS,
    ("chat", "messages[0].role"): EVERY,
    ("chat", "messages[0].content"): SPOKEN | {'["x"]'},
    ("chat", "messages[0].content, earlier"): STRINGS - {"huge"}
    | {"null", "[]", "[null]", '["x"]', "[{}]", "300 deep", "100,000"},
    ("chat", "messages[0].content, a system's"): EVERY,
    ("chat", "messages[0].content[1]"): STRINGS - {"huge"},
    ("chat", "messages[0].content[1], earlier"): EVERY - {"huge"},
    ("chat", "messages[0].content[1].text"): STRINGS - {"huge"},
    ("responses", "input"): SPOKEN,
    ("responses", "tools"): frozenset({"null", "[]", "[{}]"}),
    ("responses", "tools, and a background"): frozenset({"null", "[]", "[{}]"}),
    ("responses", "prompt"): NOT_KEPT,
    ("responses", "conversation"): NOT_KEPT,
    ("responses", "previous_response_id"): NOT_KEPT,
    ("responses", "background"): STRINGS | NOT_KEPT,
    ("responses", "input[0]"): OBJECTS,
    ("responses", "input[0].type"): EVERY,
    ("responses", "input[0].content"): SPOKEN | {'["x"]'},
    ("responses", "input[0].content[1].text"): STRINGS - {"huge"},
    ("responses", "tools[0]"): OBJECTS,
    ("responses", "tools[0].type"): EVERY,
    ("responses", "tools[0].model"): EVERY,
    ("responses", "tools[0].action"): EVERY,
    ("responses", "tools[0].prompt"): SHALLOW,
    ("generations", "prompt"): SPOKEN,
    **{("generations", name): NO_PICTURE for name in ("image", "images", "image_url", "mask", "image[0]")},
    ("edits", "prompt"): SPOKEN,
    ("edits", "images"): frozenset({"null", "[]"}),
}

# Where the error names another field than the place: the nearest that can be at fault.
NAMED: dict[str, str] = {
    "messages[0].content": "messages",
    "messages[0].content, earlier": "messages",
    "messages[0].content[1]": "messages",
    "messages[0].content[1], earlier": "messages",
    "messages[0].content[1].text": "messages",
    "messages[0].content[1].type": "messages[0].content[1]",
    "messages[0].content[1].base64": "messages[0].content[1]",
    "messages[0].content[1].data": "messages[0].content[1]",
    "messages[0].content[1].url": "messages[0].content[1]",
    "image_config": "*",  # a field of it
    "image_config.aspect_ratio": "aspect_ratio",
    "image_config.image_size": "resolution",
    "image_config.seed": "seed",
    "input[0].content": "input",
    "input[0].content[1].text": "input",
    "input[0].content[1].type": "input[0].content[1]",
    "input[0].content[1].file_id": "input[0].content[1]",
    "tools[0]": "tools",
    "tools, and a background": "tools",
    "stream, with previews": "stream",
    "image.url": "image",
    "images[0].image_url": "images[0]",
    "images[0].image_url.url": "images[0].image_url",
    "images[0].file_id": "images[0]",
    "mask.image_url": "mask",
    "mask.file_id": "mask",
}


def right(surface: str, place: str) -> frozenset[str]:
    """The odd values that are right there."""
    field = place.rpartition(".")[2]
    return RIGHT_AT.get((surface, place), RIGHT.get(field, frozenset()))


def named(place: str) -> str:
    """What an error there names: this field, or one within it."""
    return NAMED.get(place) or (place.removeprefix("tools[0].") if place.startswith("tools[0].") else place)


# --- words for sizes ---

RATIOS = {
    "16:9 ": "16:9 ",
    "1e-320": "1:0." + "0" * 319 + "1",
    "1e-320 first": "0." + "0" * 319 + "1:1",
    "1e-310": "9999:0." + "0" * 305 + "1",
    "extreme": "9999:0.0001",
    "0.0001:1": "0.0001:1",
    "9999:1": "9999:1",
}
NO_RATIOS = [
    "0:0",
    "1:0",
    "0:1",
    "0.0:1",
    "1:-1",
    "-1:1",
    "1e9:1",
    "99999:1",
    "1:1:1",
    ":",
    "1:",
    ":1",
    "\u0661:\u0661",
    "1/1",
    "1:1x",
    "nan:1",
]  # digits of another script
PIXELS = ["1x1", "99999x1", "1x99999", "99999x99999", "1024X1024", "1024*1024", "auto", "AUTO", "1k", "9.9K", "2K"]
NO_PIXELS = [
    *[
        "0x0",
        "0x1024",
        "-1x-1",
        "100000x1",
        "1024x",
        "x",
        "1e3x1e3",
        "1024\xd71024",
        "\uff11\uff10x\uff11\uff10",
        "K",
        "0K",
        "0.0K",
        "-1K",
        "\u0662K",
        "NaN",
        "1x1x1",
    ],
    "1024x1024\n",
    "1024 x 1024",
    "9" * 5000 + "x1",
]
