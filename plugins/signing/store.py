"""Receipts on disk, for a while: any worker can show what another one signed."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
import time

from proxy_core import State

log = logging.getLogger("darkroom.signing")

_FOLDER = "signing/receipts"
_HOUR = 3600
_ID = re.compile(r"rcpt_([0-9a-f]{8})[0-9a-f]{24}")


def new_id() -> str:
    """A receipt's id. It begins with the time, so that it says where its file lies; the rest nobody can guess."""
    return f"rcpt_{int(time.time()):08x}{secrets.token_hex(12)}"


class Store:
    """A folder for each hour, which goes as a whole when its time is up."""

    def __init__(self, state: State, seconds: float) -> None:
        self._state = state
        self._seconds = seconds
        self._swept = 0

    async def keep(self, receipt: str, envelope: bytes) -> None:
        """A receipt that cannot be kept is in the answer all the same: it is no reason to withhold that."""
        if not self._seconds:
            return
        try:
            await asyncio.to_thread(self._keep, receipt, envelope)
        except OSError as error:
            log.warning("the receipt %s could not be kept: %s", receipt, error)

    def _keep(self, receipt: str, envelope: bytes) -> None:
        self._state.write(_name(receipt), envelope, durable=False)  # the client has it, too
        hour = int(time.time()) // _HOUR
        if hour != self._swept:
            self._swept = hour
            self._sweep(hour)

    def _sweep(self, hour: int) -> None:
        for folder in self._state.path(_FOLDER).iterdir():
            if folder.name.isdigit() and (hour - int(folder.name) - 1) * _HOUR > self._seconds:
                shutil.rmtree(folder, ignore_errors=True)

    async def find(self, receipt: str) -> bytes | None:
        """The envelope, or None for one that is unknown or was kept long enough."""
        found = _ID.fullmatch(receipt)
        if found is None or time.time() - int(found[1], 16) > self._seconds:
            return None
        return await asyncio.to_thread(self._state.read, _name(receipt))


def _name(receipt: str) -> str:
    return f"{_FOLDER}/{int(receipt[5:13], 16) // _HOUR}/{receipt}.json"
