"""Pictures that are paid for and could not be signed, kept for the client that asks again."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from proxy_core import State

from .model import Result, Sent
from .picture import Image

_FOLDER = "image_edit/kept"
_LAST = "answer.json"  # written last: a folder without it is not complete


@dataclass(frozen=True, kw_only=True)
class Paid:
    """What an earlier request was answered with by its service."""

    images: list[Image]
    calls: list[Sent]
    told: Mapping[str, Any]  # provider, model, warnings, usage, cost, request_id


class Kept:
    """A folder of the state directory, shared by all workers; what nobody has asked for after `seconds` is removed."""

    def __init__(self, state: State, seconds: float) -> None:
        self._state = state
        self._folder = state.path(_FOLDER)
        self._seconds = seconds

    async def keep(self, key: str, result: Result) -> None:
        """`key` says who asked for what. Raises OSError."""
        await asyncio.to_thread(self._keep, key, result)

    async def take(self, key: str) -> Paid | None:
        """What is kept under `key`, handed out once. While nothing at all is kept, that costs one system call."""
        return await asyncio.to_thread(self._take, key) if self._folder.is_dir() else None

    def _keep(self, key: str, result: Result) -> None:
        self._purge()
        name = f"{_FOLDER}/{key}.{secrets.token_hex(8)}"
        for place, image in enumerate(result.images):
            self._state.write(f"{name}/{place}", b"".join(image.chunks()))
        told = {
            "provider": result.provider,
            "model": result.model,
            "warnings": list(result.warnings),
            "usage": result.usage,
            "cost": result.cost,
            "request_id": result.request_id,
            "hosts": [image.host for image in result.images],
            "calls": [asdict(call) for call in result.calls],
        }
        self._state.write(f"{name}/{_LAST}", orjson.dumps(told))

    def _take(self, key: str) -> Paid | None:
        for folder in sorted(self._folder.glob(f"{key}.*")):
            if not (folder / _LAST).exists() or self._old(folder):
                continue
            mine = folder.with_name(f"taken.{secrets.token_hex(8)}")
            try:
                folder.rename(mine)  # of several that try, one can
            except FileNotFoundError:
                continue
            try:
                return _read(mine)
            finally:
                shutil.rmtree(mine)
        return None

    def _purge(self) -> None:
        for folder in self._folder.glob("*"):
            if self._old(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _old(self, folder: Path) -> bool:
        try:
            return time.time() - folder.stat().st_mtime > self._seconds
        except FileNotFoundError:
            return True


def _read(folder: Path) -> Paid:
    told = orjson.loads((folder / _LAST).read_bytes())
    images = []
    for place, host in enumerate(told.pop("hosts")):
        image = Image((folder / str(place)).read_bytes())
        image.host = host
        images.append(image)
    return Paid(images=images, calls=[Sent(**call) for call in told.pop("calls")], told=told)
