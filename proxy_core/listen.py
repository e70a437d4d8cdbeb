"""Where the proxy listens: addresses as an operator writes them, and the sockets bound to them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BACKLOG = 1024  # connections that may wait to be accepted; the kernel has a bound of its own (somaxconn)


@dataclass(frozen=True)
class Address:
    """`HOST:PORT`, or `unix:PATH`. Port 0 is any free one."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, folder: Path = Path()) -> Address:
    """`"127.0.0.1:8080"`, `"[::1]:8080"` or `"unix:run/darkroom.sock"`, whose path starts at `folder`. Raises ValueError."""
    scheme, colon, path = text.partition(":")
    if colon and scheme == "unix":
        if not path or "\0" in path:
            raise ValueError(f"{text!r} is not unix:PATH, such as 'unix:/run/darkroom.sock'")
        return Address(path=folder / path)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(
            f"{text!r} is not HOST:PORT or unix:PATH, such as '127.0.0.1:8080', '[::]:8080' or 'unix:/run/darkroom.sock'"
        )
    return Address(host, int(port))


@contextlib.contextmanager
def bound(addresses: Sequence[Address], mode: int) -> Iterator[list[socket.socket]]:
    """Listening sockets, closed at the end; files of unix sockets, made with the permissions `mode`, are removed then.

    Raises OSError whose `filename` is the address that could not be had.
    """
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for address in addresses:
            try:
                sockets += _bind_unix(address.path, mode, stack) if address.path else _bind_tcp(address, stack)
            except (OSError, UnicodeError) as error:
                reason = (isinstance(error, OSError) and error.strerror) or str(error)
                raise OSError(getattr(error, "errno", None) or 0, reason, str(address)) from None
        yield sockets


def _bind_tcp(address: Address, stack: contextlib.ExitStack) -> list[socket.socket]:
    """One socket for each address that the host has; all on one port, also where it is chosen freely."""
    port = address.port
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    found = dict.fromkeys(socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    for family, kind, protocol, _, where in found:
        try:
            one = stack.enter_context(socket.socket(family, kind, protocol))
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            missing = error
            continue
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Each family has its own entry in `listen`: a system's default would decide otherwise.
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind((where[0], port, *where[2:]))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or len(found) == 1:
                raise
            missing = error  # a name may have an address of a family that this machine has not: localhost in a container
            continue
        port = port or one.getsockname()[1]
        one.listen(BACKLOG)
        one.setblocking(False)
        sockets.append(one)
    if missing is not None and not sockets:
        raise missing
    return sockets


def _bind_unix(path: Path, mode: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    _remove_stale(path)
    one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    # Bound with no permissions at all, so that nobody connects before they are what the operator said.
    before = os.umask(0o777)
    try:
        one.bind(str(path))
    finally:
        os.umask(before)
    stack.callback(_remove, path, _mark(path))
    path.chmod(mode)
    one.listen(BACKLOG)
    one.setblocking(False)
    return [one]


def _remove_stale(path: Path) -> None:
    """Remove the socket file that a killed process left; one that somebody answers on stays, and binding fails."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return  # not ours to remove: binding says that the name is taken
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # one whose queue is full answers nobody, and is alive
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            return


def _mark(path: Path) -> tuple[int, int]:
    """What tells one socket file from another. The inode alone does not: it is given again once it is free."""
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _remove(path: Path, mark: tuple[int, int]) -> None:
    with contextlib.suppress(OSError):
        if _mark(path) == mark:  # another process may have put its own there since
            path.unlink()


def address_of(listening: socket.socket) -> Address:
    """The address that a bound socket has, with its real port."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return Address(path=Path(name))
    return Address(name[0], name[1])
