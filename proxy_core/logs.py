"""Log records as lines: JSON for machines, plain text for a person at a terminal."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache

import orjson

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(form: str, worker: int | None = None) -> None:
    """Send every record of level INFO and above to standard error, as `json` or `console`; with a worker's number."""
    handler = _Lines()
    if worker is not None:
        handler.addFilter(_Numbered(worker))
    handler.setFormatter(JsonLines() if form == "json" else Console())
    # What no line shows is not looked up for each: the Logging HOWTO's own advice, worth a fifth of a line's cost.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class _Lines(logging.Handler):
    """Writes to standard error, which flushes itself at each line's end."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001  # as every handler of logging does it
            self.handleError(record)


class _Numbered(logging.Filter):
    """Lets every record pass, with the number of the worker it comes from."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._worker
        return True


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _ORDINARY}


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


def _moment(record: logging.LogRecord) -> str:
    second, micro = divmod(round(record.created * 1_000_000), 1_000_000)
    return f"{_second(second)}.{micro // 1000:03d}+00:00"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        own: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            own["exception"] = self.formatException(record.exc_info)
        line = own.copy()
        for name, value in vars(record).items():
            if name not in _ORDINARY and name not in own:
                line[name] = value
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except (TypeError, ValueError, RecursionError):
            # Lone surrogates, integers beyond 64 bits, circles: shown as Python shows them, for a lost line helps nobody.
            return orjson.dumps({name: _writable(value) for name, value in line.items()}).decode()


def _writable(value: object) -> object:
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError, RecursionError):
        return str(value).encode("utf-8", "backslashreplace").decode()


class Console(logging.Formatter):
    """`time LEVEL message key=value`, on one line but for tracebacks. Control characters cannot forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        text = f"{record.getMessage()}  {fields}".rstrip()
        lines = [f"{_moment(record)[11:23]} {record.levelname:7} {_printable(text)}"]
        if record.exc_info:
            # Set in, so that nothing that an exception says can pass for a line of the log.
            lines += [f"    {_printable(line)}" for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
