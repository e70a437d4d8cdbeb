"""A log line is one line and can be read by what reads it, whatever a client or a plugin puts into it."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy_core import Secret
from proxy_core.logs import Console, JsonLines, set_up

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
FORGED = "04:00:00.000 ERROR   forged"


def record(message: str = "hello", *args: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    fields: dict[str, Any] = {
        "name": "darkroom.access",
        "levelno": logging.INFO,
        "levelname": "INFO",
        "msg": message,
        "args": args,
        "created": MOMENT.timestamp(),
        "exc_info": (type(error), error, error.__traceback__) if error else None,
    }
    return logging.makeLogRecord({**fields, **extra})


def raised(message: str) -> BaseException:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(made)
    assert line.splitlines() == [line]
    value: dict[str, Any] = orjson.loads(line)  # stricter than `json`: a lone surrogate is no JSON, escaped or not
    return value


# --- JSON ---


def test_a_json_line_holds_the_four_fields() -> None:
    assert as_json(record("%s is %d", "x", 7)) == {
        "time": "2026-01-02T03:04:05.678+00:00",
        "level": "info",
        "logger": "darkroom.access",
        "message": "x is 7",
    }


def test_extras_stand_beside_them() -> None:
    line = as_json(
        record(request_id="req_1", status=200, total_ms=1.5, tags=["a"], cost={"amount": "0.03"}, error=None, ok=True)
    )
    assert line["request_id"] == "req_1"
    assert (line["status"], line["total_ms"], line["tags"], line["cost"], line["ok"]) == (
        200,
        1.5,
        ["a"],
        {"amount": "0.03"},
        True,
    )
    assert set(line) == {"time", "level", "logger", "message", "request_id", "status", "total_ms", "tags", "cost", "ok"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Path("/a"), "/a"),
        (Secret("sk-123"), "Secret(***)"),
        ({1: "a"}, {"1": "a"}),
        (b"bytes", "b'bytes'"),
        ({"inner": Secret("sk-123")}, {"inner": "Secret(***)"}),
        ("\u00e9\u20ac\U0001f600", "\u00e9\u20ac\U0001f600"),
    ],
)
def test_any_extra_can_be_written(value: object, shown: object) -> None:
    assert as_json(record(thing=value))["thing"] == shown


def circle() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    "value",
    ["a lone \ud800 surrogate", "raw \udcff byte", 1 << 64, {"deep": [1 << 70]}, circle()],
    ids=["surrogate", "raw byte", "big integer", "nested", "circle"],
)
def test_a_value_json_cannot_hold_does_not_cost_the_line(value: object) -> None:
    # The line that says so would otherwise be lost, and with it the trace of whoever sent such a thing.
    line = as_json(record("kept", thing=value, request_id="req_1", status=200))
    assert line["message"] == "kept"
    assert line["thing"]
    assert (line["request_id"], line["status"]) == ("req_1", 200)  # by which it will be looked for
    assert line["time"] == "2026-01-02T03:04:05.678+00:00"


def test_a_message_json_cannot_hold_does_not_cost_the_line() -> None:
    line = as_json(record("path %s", "/\udcff"))
    assert line["message"].startswith("path /")
    assert line["level"] == "info"


def test_an_exception_is_a_field() -> None:
    line = as_json(record("failed", error=raised("bad\nvalue")))
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert line["exception"].endswith("ValueError: bad\nvalue")
    assert "exception" not in as_json(record())


@pytest.mark.parametrize("name", ["time", "level", "logger", "exception"])
def test_an_extra_cannot_stand_in_for_the_lines_own_fields(name: str) -> None:
    line = as_json(record("failed", error=raised("x"), **{name: "forged"}))
    assert line[name] != "forged"


NASTY = [
    "\n" + FORGED,
    "\r\n" + FORGED,
    '"}\n{"level":"error"}',
    "\x00\x1b[2J",
    "\u2028" + FORGED,
    "\u0085" + FORGED,
    "\x0b\x0c\x1c",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_json_line_cannot_be_forged(text: str) -> None:
    made = JsonLines().format(record("%s", text, target=text, error=raised(text)))
    assert "\n" not in made
    assert "\r" not in made
    value = json.loads(made)
    assert (value["message"], value["target"], value["level"]) == (text, text, "info")


# --- console ---


def test_a_console_line_is_short() -> None:
    assert Console().format(record("%s is %d", "x", 7)) == "03:04:05.678 INFO    x is 7"
    made = record("GET /", status=200, client="::1", levelname="WARNING")
    assert Console().format(made) == "03:04:05.678 WARNING GET /  status=200 client=::1"


def test_a_console_line_shows_letters_and_masks_secrets() -> None:
    line = Console().format(record("h\u00e9llo \u20ac", key=Secret("sk-123")))
    assert line.endswith("h\u00e9llo \u20ac  key=Secret(***)")


def test_a_console_line_is_followed_by_its_traceback() -> None:
    first, *rest = Console().format(record("failed", error=raised("bad value"), request_id="req_1")).splitlines()
    assert first == "03:04:05.678 INFO    failed  request_id=req_1"
    assert rest[0].strip() == "Traceback (most recent call last):"
    assert rest[-1].strip() == "ValueError: bad value"


@pytest.mark.parametrize("text", [*NASTY, "\u202egnp.exe", "\udcff", "\x7f", "\x9b31m"])
def test_a_console_line_cannot_be_forged(text: str) -> None:
    for made in (record("%s", text), record(target=text), record(text)):
        line = Console().format(made)
        assert len(line.splitlines()) == 1
        assert line.isprintable()


@pytest.mark.parametrize("text", NASTY)
def test_a_traceback_cannot_forge_a_line(text: str) -> None:
    # What an exception says is often what a client sent.
    lines = Console().format(record("failed", error=raised(f"bad {text}"))).split("\n")
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines[1:] if re.match(r"\d\d:\d\d:\d\d", line)]


# --- set_up ---


@pytest.fixture
def _root() -> Iterator[None]:
    """The root logger without pytest's handlers, which `set_up` would close; put back afterwards."""
    root, noisy = logging.getLogger(), logging.getLogger("asyncio")
    before = (root.handlers[:], root.level, noisy.level)
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = before[0]
    root.setLevel(before[1])
    noisy.setLevel(before[2])


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("form", ["json", "console"])
def test_set_up_writes_to_standard_error_from_info_on(capsys: pytest.CaptureFixture[str], form: str) -> None:
    set_up("json")
    set_up(form)  # a second call does not double the lines
    logger = logging.getLogger("darkroom.some.plugin")
    logger.debug("not seen")
    logger.info("seen %s", "once", extra={"request_id": "req_1"})
    logging.getLogger("asyncio").info("not seen")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    if form == "json":
        assert json.loads(line)["message"] == "seen once"
        assert json.loads(line)["request_id"] == "req_1"
    else:
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    seen once  request_id=req_1", line)


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("form", ["json", "console"])
def test_whatever_is_logged_a_line_comes_out(capsys: pytest.CaptureFixture[str], form: str) -> None:
    set_up(form)
    logging.getLogger("darkroom").info("GET /%s", "\udcff", extra={"size": 1 << 64})
    err = capsys.readouterr().err
    assert "Logging error" not in err
    assert len(err.splitlines()) == 1
    assert "GET /" in err
    assert sys.stderr is not None
