"""A plugin that falls ill in every way, in a folder that only the soak's proxy looks into."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
"""By the path's last word."""

import asyncio
import time
from dataclasses import dataclass

from proxy_core import hookimpl


@dataclass(frozen=True, kw_only=True)
class Sick:
    @hookimpl
    def proxy_middleware(self):
        return ill


async def ill(request, next):
    if not request.path.startswith("/sick/"):
        return await next(request)
    match request.path.removeprefix("/sick/"):
        case "raise":
            raise ValueError("sick")
        case "hang":
            await asyncio.Event().wait()
        case "nonsense":
            return "an answer"
        case "block":
            time.sleep(0.05)
        case "tasks":
            request.exchange.later(asyncio.sleep(5))
    if request.path == "/sick/none":
        return None
    return await next(request)
'''


def install(folder: Path) -> dict[str, str]:
    """The environment in which the plugin `sick` is found."""
    site = folder / "site"
    meta = site / "sick-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / "sick.py").write_text(SOURCE)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: sick\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[proxy_core]\nsick = sick:Sick\n")
    return {"PYTHONPATH": str(site)}
