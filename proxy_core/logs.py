"""Log records as lines: JSON for machines, plain text for a person at a terminal."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(form: str) -> None:
    """Send every record of level INFO and above to standard error, as `json` or `console`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Console())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _ORDINARY}


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class Console(logging.Formatter):
    """`time LEVEL message key=value`, on one line but for tracebacks. Control characters cannot forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        text = f"{record.getMessage()}  {fields}".rstrip()
        safe = "".join(c if c.isprintable() else "?" for c in text)
        line = f"{_moment(record)[11:23]} {record.levelname:7} {safe}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
