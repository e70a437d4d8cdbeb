"""What each client's script does: every operation in one process, as imports are slow; prints what was read as JSON."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODEL = "sandbox"
BASE_URL, CONTENT_URL, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
PICTURES = sorted(FOLDER.glob("[0-9].png"))
MASK = FOLDER / "mask-of-another-size.png"

Operation = Callable[[], dict[str, Any]]


def data_url(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def turn(text: str, paths: list[Path]) -> list[dict[str, Any]]:
    pictures = [{"type": "image_url", "image_url": {"url": data_url(path)}} for path in paths]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *pictures]}]


def run(*operations: Operation) -> None:
    """Print {operation: what it read}; an exception is read too, by its class and the names that clients look at."""
    read: dict[str, Any] = {}
    for operation in operations:
        try:
            read[operation.__name__] = operation()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what the client's user sees
            said = {name: getattr(error, name, None) for name in ("status_code", "code", "param", "type")}
            read[operation.__name__] = {"error": {"class": type(error).__name__, "message": str(error), **said}}
    print(json.dumps(read, default=str))
