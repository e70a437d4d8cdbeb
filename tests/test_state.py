"""Files in the state directory are the owner's alone, appear whole or not at all, and are made once."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from proxy_core import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def failing(error: OSError) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize(
    "name", ["a", "a.b", "keys/a", "a/b/c.pem", ".hidden", "a b", "..a", "a..", "...", "\u00e9", "a\\b", "~"]
)
def test_a_name_lies_inside(state: State, name: str) -> None:
    path = state.path(name)
    assert path == state.folder / name
    assert state.folder.resolve() in path.resolve().parents
    state.write(name, b"x")
    assert state.read(name) == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/passwd",
        "//a",
        "..",
        ".",
        "../a",
        "a/..",
        "a/../b",
        "a/../../b",
        "a//b",
        "a/",
        "./a",
        "a/./b",
        "a\0b",
        "\0",
    ],
)
def test_a_name_that_leaves_the_directory_is_refused(state: State, name: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: state.path(name),
        lambda: state.read(name),
        lambda: state.write(name, b"x"),
        lambda: state.obtain(name, lambda: b"x"),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="not a name in the state directory"):
            use()
    assert not state.folder.exists()


def test_what_is_not_there_is_none_and_reading_makes_nothing(state: State) -> None:
    assert state.read("a") is None
    assert state.read("keys/a") is None
    assert not state.folder.exists()


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_what_is_written_is_read_and_replaced_whole(state: State, data: bytes) -> None:
    state.write("a", b"something longer than the next" * 100)
    state.write("a", data)
    assert state.read("a") == data
    assert files(state.folder) == ["a"]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177])
@pytest.mark.parametrize("way", ["write", "obtain"])
def test_only_the_owner_may_look_whatever_the_umask(state: State, umask: Callable[[int], int], mask: int, way: str) -> None:
    umask(mask)
    if way == "write":
        state.write("keys/deep/a.pem", b"x")
    else:
        assert state.obtain("keys/deep/a.pem", lambda: b"x") == b"x"
    path = state.path("keys/deep/a.pem")
    assert mode(path) == 0o600
    assert [mode(folder) for folder in (path.parent, path.parent.parent, state.folder)] == [0o700] * 3


def test_what_was_open_to_others_is_closed(state: State, umask: Callable[[int], int]) -> None:
    umask(0)
    (state.folder / "keys").mkdir(parents=True, mode=0o777)
    state.path("keys/a").write_bytes(b"old")
    assert (mode(state.folder), mode(state.path("keys/a"))) == (0o777, 0o666)
    state.write("keys/a", b"new")
    assert [mode(path) for path in (state.folder, state.folder / "keys", state.path("keys/a"))] == [0o700, 0o700, 0o600]


def test_the_directory_may_lie_deep_and_be_named_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = State(Path("var/lib/state"))
    state.write("keys/a", b"x")
    assert (tmp_path / "var/lib/state/keys/a").read_bytes() == b"x"


def test_until_the_new_file_is_on_the_disk_readers_see_the_old(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write("a", b"old")
    seen: list[tuple[bytes | None, list[int]]] = []
    sync = os.fsync

    def watch(handle: int) -> None:
        temporary = [path for path in state.folder.iterdir() if path.name != "a"]
        seen.append((state.read("a"), [mode(path) for path in temporary]))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    state.write("a", b"new")
    # First the data, beside the old file and never readable by others; then, renamed, the folder.
    assert seen == [(b"old", [0o600]), (b"new", [])]


@pytest.mark.parametrize("way", ["write", "obtain"])
def test_a_full_disk_leaves_what_was_and_no_rubbish(state: State, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    state.write("old", b"old")
    monkeypatch.setattr(os, "fsync", failing(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        state.write("old", b"new") if way == "write" else state.obtain("new", lambda: b"new")
    assert files(state.folder) == ["old"]
    assert state.read("old") == b"old"


def test_a_name_that_is_a_folder_cannot_be_written_and_leaves_no_rubbish(state: State) -> None:
    state.write("keys/a", b"x")
    with pytest.raises(OSError, match="keys"):
        state.write("keys", b"y")
    assert files(state.folder) == ["keys/a"]


def test_a_file_system_without_links_leaves_no_rubbish(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", failing(PermissionError(errno.EPERM, "Operation not permitted")))
    with pytest.raises(PermissionError):
        state.obtain("a", lambda: b"x")
    assert files(state.folder) == []


def test_obtain_makes_once(state: State) -> None:
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"key %d" % len(made))
        return made[-1]

    assert [state.obtain("keys/a", make) for _ in range(3)] == [b"key 0"] * 3
    assert made == [b"key 0"]
    assert files(state.folder) == ["keys/a"]


def test_an_empty_file_is_content_too(state: State) -> None:
    state.write("a", b"")
    assert state.obtain("a", lambda: b"other") == b""


def test_what_cannot_be_made_is_made_the_next_time(state: State) -> None:
    def fail() -> bytes:
        raise ValueError("no entropy")

    with pytest.raises(ValueError, match="no entropy"):
        state.obtain("a", fail)
    assert not state.folder.exists() or files(state.folder) == []
    assert state.obtain("a", lambda: b"x") == b"x"


def test_who_makes_it_while_another_does_gets_the_others(state: State) -> None:
    def make() -> bytes:
        state.write("a", b"theirs")
        return b"ours"

    assert state.obtain("a", make) == b"theirs"
    assert files(state.folder) == ["a"]


# Each process says that it has found nothing and has made its own; none goes on before all have.
RACER = """
import sys
from pathlib import Path
from proxy_core import State

def make():
    print("made", flush=True)
    sys.stdin.readline()
    return sys.argv[2].encode() * 10_000

print(State(Path(sys.argv[1])).obtain("keys/signing.pem", make)[:1].decode(), flush=True)
"""


def test_of_several_processes_one_wins_and_all_get_the_winners(state: State) -> None:
    root = Path(__file__).resolve().parent.parent
    names = "abcde"
    racers: list[subprocess.Popen[str]] = []
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    try:
        racers += [
            subprocess.Popen([sys.executable, "-c", RACER, str(state.folder), name], cwd=root, **pipes) for name in names
        ]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "made\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        results = {racer.communicate(timeout=20)[0].strip() for racer in racers}
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert len(results) == 1
    (winner,) = results
    assert winner in names
    assert state.read("keys/signing.pem") == winner.encode() * 10_000
    assert files(state.folder) == ["keys/signing.pem"]
    assert mode(state.path("keys/signing.pem")) == 0o600
    assert [racer.returncode for racer in racers] == [0] * len(names)
