"""The state directory: owner-only files that appear whole or not at all, safe for several processes at once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


class State:
    """One directory, mode 0700, of small files, mode 0600. Names are relative, with '/' between folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where `name` lies. Raises ValueError for a name that would leave the directory."""
        parts = name.split("/")
        if not all(parts) or any(part in (".", "..") or "\0" in part for part in parts):
            raise ValueError(f"{name!r} is not a name in the state directory")
        return self.folder.joinpath(*parts)

    def read(self, name: str) -> bytes | None:
        """The file's content, or None if there is none."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Put `data` there, in place of what was: a reader sees the old or the new, never a part.

        Where it is `durable`, it is on the disk when this returns, whatever happens to the machine.
        """
        path, temporary = self._written(name, data, durable=durable)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink()
            raise
        if durable:
            _sync(path.parent)

    def obtain(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The file's content, made first if it is not there. Of several processes that make it at once, one wins, and all
        get the winner's."""
        found = self.read(name)
        if found is not None:
            return found
        path, temporary = self._written(name, make())
        try:
            path.hardlink_to(temporary)  # fails where the name exists, which a rename would not
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        _sync(path.parent)
        return path.read_bytes()

    def _written(self, name: str, data: bytes, *, durable: bool = True) -> tuple[Path, Path]:
        path = self.path(name)
        self._make(path.parent)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return path, temporary

    def _make(self, folder: Path) -> None:
        if folder != self.folder:
            self._make(folder.parent)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)  # also where it was there already, or the umask took more than it should


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
