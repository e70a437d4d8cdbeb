"""Pictures that are paid for and could not be signed, kept for the client that asks again."""

from __future__ import annotations

import asyncio
import logging
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

log = logging.getLogger("darkroom.image_edit")

_FOLDER = "image_edit/kept"
_LAST = "answer.json"  # written last: a folder without it is not complete


@dataclass(kw_only=True)
class Paid:
    """What an earlier request was answered with by its service."""

    key: str
    folder: Path  # where it lies until the answer is made
    images: list[Image]
    calls: list[Sent]
    told: Mapping[str, Any]  # provider, the model that it was sent and the one it told, warnings, usage, cost, request_id
    delivered: bool = False


class Kept:
    """A folder of the state directory, shared by all workers; what nobody has asked for after `seconds` is removed."""

    def __init__(self, state: State, seconds: float) -> None:
        self._state = state
        self._folder = state.path(_FOLDER)
        self._seconds = seconds

    async def open(self) -> None:
        """Look after what an earlier process left."""
        if self._folder.is_dir():
            await asyncio.to_thread(self._purge)
            self._purge_later()

    async def keep(self, key: str, result: Result) -> None:
        """`key` says who asked for what. Raises OSError."""
        await asyncio.to_thread(self._keep, key, result)
        self._purge_later()

    async def take(self, key: str) -> Paid | None:
        """What is kept under `key`, for one of those who ask. Either `deliver` or `put_back` follows.

        While nothing at all is kept, that costs one system call.
        """
        return await asyncio.to_thread(self._take, key) if self._folder.is_dir() else None

    async def deliver(self, paid: Paid) -> None:
        """It was answered with: it is handed out once."""
        paid.delivered = True
        await asyncio.to_thread(shutil.rmtree, paid.folder, ignore_errors=True)

    def put_back(self, paid: Paid) -> None:
        """It was not answered with, for whatever reason: it waits for the next retry. One system call, and no `await`."""
        try:
            paid.folder.rename(self._new(paid.key))
        except OSError as error:
            log.error("what was kept at %s could not be put back: %s", paid.folder, error)

    def _new(self, key: str) -> Path:
        return self._folder / f"{key}.{secrets.token_hex(8)}"

    def _keep(self, key: str, result: Result) -> None:
        self._purge()
        folder = self._new(key)
        try:
            self._write(f"{_FOLDER}/{folder.name}", result)
        except BaseException:  # half of it is of use to nobody
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _write(self, name: str, result: Result) -> None:
        for place, image in enumerate(result.images):
            self._state.write(f"{name}/{place}", b"".join(image.chunks()))
        told = {
            "provider": result.provider,
            "sent": result.job.model,
            "model": result.model,
            "warnings": list(result.warnings),
            "discreet": dict(result.discreet),
            "usage": result.usage,
            "cost": result.cost,
            "request_id": result.request_id,
            "hosts": [image.host for image in result.images],
            "calls": [asdict(call) for call in result.calls],
        }
        self._state.write(f"{name}/{_LAST}", orjson.dumps(told))

    def _take(self, key: str) -> Paid | None:
        self._purge()
        for folder in sorted(self._folder.glob(f"{key}.*")):
            if not (folder / _LAST).exists() or self._old(folder):
                continue
            mine = folder.with_name(f"taken.{secrets.token_hex(8)}")
            try:
                folder.rename(mine)  # of several that try, one can
            except OSError:
                continue
            try:
                return _read(key, mine)
            except (OSError, ValueError, LookupError, TypeError) as error:
                log.error("what was kept at %s cannot be read, and is removed: %s", folder, error)
                shutil.rmtree(mine, ignore_errors=True)
        return None

    def _purge_later(self) -> None:
        """A picture does not lie there for ever because nobody asks for anything."""
        loop = asyncio.get_running_loop()
        loop.call_later(self._seconds + 1, loop.run_in_executor, None, self._purge)

    def _purge(self) -> None:
        for folder in self._folder.glob("*"):
            if self._old(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _old(self, folder: Path) -> bool:
        try:
            return time.time() - folder.stat().st_mtime > self._seconds
        except FileNotFoundError:
            return True


def _read(key: str, folder: Path) -> Paid:
    told = orjson.loads((folder / _LAST).read_bytes())
    images = []
    for place, host in enumerate(told.pop("hosts")):
        image = Image((folder / str(place)).read_bytes())
        image.host = host
        images.append(image)
    calls = [Sent(**call) for call in told.pop("calls")]
    return Paid(key=key, folder=folder, images=images, calls=calls, told=told)
