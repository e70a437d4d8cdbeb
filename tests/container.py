"""Builds and runs deploy/Dockerfile without a container engine, in Linux namespaces that need no privileges.

It knows the few instructions which that file uses, and says so where one is new. `FROM python` is this interpreter, laid out as
that image is: in /usr/local, without bytecode and tests, with pip.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import string
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
BASE_ENV = {
    "HOME": "/root",
    "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": "/usr/local/lib",  # in the image, ldconfig has done that
}

# Run by a shell in namespaces of its own; $1 is the image's folder, $2 "ro" or "rw", then SOURCE TARGET pairs up to "--", then
# the command. Without chroot, inside which no user namespace could be made.
ENTER = """
set -eu
image=$1 mode=$2; shift 2
mount --bind "$image" "$image"
mount --rbind /usr "$image/usr"
mount -o remount,bind,ro,nosuid,nodev "$image/usr"
mount --bind "$image/.local" "$image/usr/local"
if [ $mode = ro ]; then
    mount -o remount,bind,ro,nosuid,nodev "$image/usr/local"
    mount -o remount,bind,ro,nosuid,nodev "$image"
fi
mount --rbind /dev "$image/dev"
mount -t proc proc "$image/proc" 2>/dev/null || mount --rbind /proc "$image/proc"
mount -t tmpfs tmpfs "$image/tmp"
while [ "$1" != -- ]; do mount --bind "$1" "$image$2"; shift 2; done
shift
cd "$image"
pivot_root . .
umount -l .
cd /
exec "$@"
"""
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as one:
    fcntl.ioctl(one, 0x8914, struct.pack("16sh22x", b"lo", 1))    # SIOCSIFFLAGS, IFF_UP
os.execvp(sys.argv[1], sys.argv[1:])
"""


def hindrance() -> str | None:
    """Why this machine cannot do it, or None."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        return "needs Linux and unshare(1)"
    if sys.base_prefix == "/usr":
        return "needs a Python with a prefix of its own, as the image's is"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"needs user namespaces: {done.stderr.strip()}" if done.returncode else None


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def exec_form(self) -> list[str] | None:
        """The words of a JSON list, or None for a line that a shell would read."""
        try:
            return [str(word) for word in json.loads(self.text)]
        except ValueError:
            return None

    def words(self, env: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
        """The flags, and the words after them."""
        words = shlex.split(string.Template(self.text).safe_substitute(env))
        flags = [word for word in words if word.startswith("--")]
        return _pairs(flag[2:] for flag in flags), [word for word in words if word not in flags]


def _pairs(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def parse(text: str) -> list[Instruction]:
    """Comments go, also between the lines of one instruction, which a backslash joins."""
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    logical = re.sub(r"\\\n\s*", "", lines).splitlines()
    return [Instruction(name.upper(), rest.strip()) for name, _, rest in (line.strip().partition(" ") for line in logical)]


def ignored(path: str, patterns: Sequence[str]) -> bool:
    """By a .dockerignore's patterns: the last one that fits the path, or a folder that it is in, decides."""
    parts = PurePosixPath(path).parts
    found = False
    for line in patterns:
        pattern = line.removeprefix("!")
        for end in range(1, len(parts) + 1):
            above = "/".join(parts[:end])
            anywhere = pattern.startswith("**/") and fnmatch.fnmatchcase(parts[end - 1], pattern.removeprefix("**/"))
            if anywhere or (pattern.count("/") == above.count("/") and fnmatch.fnmatchcase(above, pattern)):
                found = not line.startswith("!")
    return found


def send_context(root: Path, target: Path) -> None:
    """What an engine would be sent of `root`."""
    text = (root / ".dockerignore").read_text(encoding="utf-8")
    patterns = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    wanted = [line.removeprefix("!") for line in patterns if line.startswith("!")]
    assert patterns[0] == "*", "an allowlist, so that nothing is sent by oversight"
    for top in wanted:
        for path in [root / top, *(root / top).rglob("*")]:
            name = path.relative_to(root).as_posix()
            if path.is_file() and not ignored(name, patterns):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / name)


def lay_out_python(target: Path) -> None:
    """/usr/local of the image `python`."""
    base = Path(sys.base_prefix)
    left_out = shutil.ignore_patterns("__pycache__", "test", "tests", "site-packages", "config-*", "*.a")
    shutil.copytree(base / "lib" / VERSION, target / "lib" / VERSION, ignore=left_out)
    for library in (base / "lib").glob("libpython*"):
        shutil.copy2(library, target / "lib", follow_symlinks=False)
    (target / "bin").mkdir()
    shutil.copy2(base / "bin" / VERSION, target / "bin")
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to(VERSION)
    packages = target / "lib" / VERSION / "site-packages"
    packages.mkdir()
    pip = distribution("pip")
    for name in {file.parts[0] for file in pip.files or [] if file.parts[0].startswith("pip")}:
        shutil.copytree(str(pip.locate_file(name)), packages / name, ignore=left_out)


@dataclass
class Image:
    """One stage: a folder, and how its commands are run."""

    folder: Path
    env: dict[str, str] = field(default_factory=lambda: dict(BASE_ENV))
    workdir: str = "/"
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    @classmethod
    def made(cls, folder: Path, local: Path) -> Image:
        for name in ("usr", "proc", "dev", "tmp", "etc", "opt", "var/lib"):
            (folder / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib32", "lib64", "sbin"):
            if (Path("/") / name).is_symlink():
                (folder / name).symlink_to(f"usr/{name}")
        shutil.copytree(local, folder / ".local", symlinks=True, copy_function=os.link)
        return cls(folder)

    def inside(self, path: str) -> Path:
        return self.folder / os.path.normpath(os.path.join(self.workdir, path)).lstrip("/")

    def enter(self, command: Sequence[str], *, mounts: Mapping[Path, str], mode: str) -> list[str]:
        """The command line that runs `command` in there, as process 1."""
        pairs = [word for pair in mounts.items() for word in map(str, pair)]
        cd = ["/usr/bin/env", f"--chdir={self.workdir}"]
        return [*UNSHARE, "sh", "-c", ENTER, "sh", str(self.folder), mode, *pairs, "--", *cd, *command]

    def become(self) -> list[str]:
        """What stands before a command that is to run as the image's user."""
        uid, _, gid = self.user.partition(":")
        return ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}", "--"]

    def run(self, script: str, wheels: Path) -> None:
        (self.folder / "wheelhouse").mkdir(exist_ok=True)
        command = self.enter(["/bin/sh", "-c", script], mounts={wheels: "/wheelhouse"}, mode="rw")
        env = {**self.env, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheelhouse"}
        done = subprocess.run(command, env=env, stdout=-1, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, f"RUN {script}\n{done.stdout}"


def build(text: str, context: Path, wheels: Path, scratch: Path) -> Image:
    """The last stage. `wheels` stands for the package registry."""
    stages: dict[str, Image] = {}
    arguments: dict[str, str] = {}
    image: Image | None = None
    lay_out_python(scratch / "python")
    for one in parse(text):
        if one.name == "ARG" and image is None:
            arguments.update(_pairs([one.text]))
        elif one.name == "FROM":
            base, *name = string.Template(one.text).substitute(arguments).replace(" AS ", " ").split()
            assert base.startswith("python:"), base
            image = Image.made(scratch / f"stage{len(stages)}", scratch / "python")
            stages[name[0] if name else ""] = image
        else:
            assert image is not None
            _step(one, image, stages, context, wheels)
    assert image is not None
    return image


def _step(one: Instruction, image: Image, stages: Mapping[str, Image], context: Path, wheels: Path) -> None:
    flags, words = one.words(image.env) if one.name in ("COPY", "ENV", "HEALTHCHECK") else ({}, [])
    match one.name:
        case "RUN":
            image.run(one.text, wheels)
        case "ENV":
            image.env.update(_pairs(words))
        case "WORKDIR":
            image.workdir = one.text
            image.inside(".").mkdir(parents=True, exist_ok=True)
        case "COPY":
            *sources, target = words
            for source in sources:
                _copy(stages[flags["from"]].inside(source) if "from" in flags else context / source, image, target)
        case "USER":
            image.user = one.text
        case "ENTRYPOINT":
            image.entrypoint = one.exec_form or []
        case "CMD":
            image.command = one.exec_form or []
        case "HEALTHCHECK":
            image.health = Instruction("CMD", one.text.partition("CMD ")[2]).exec_form or []
        case "LABEL" | "VOLUME" | "EXPOSE" | "STOPSIGNAL":
            pass  # they build nothing
        case _:
            raise NotImplementedError(f"{one.name}: teach tests/container.py this instruction")


def _copy(source: Path, image: Image, target: str) -> None:
    to = image.inside(target)
    if source.is_dir():
        shutil.copytree(source, to, symlinks=True, dirs_exist_ok=True)
    else:
        to = to / source.name if target.endswith("/") or to.is_dir() else to
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, to)


class Container:
    """A running one: its root is read-only but for /tmp and what is mounted."""

    def __init__(self, image: Image, process: subprocess.Popen[str]) -> None:
        self.image = image
        self.process = process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        end = time.monotonic() + 10
        while not (found := children.read_text().split()):
            assert process.poll() is None, "it did not start"
            assert time.monotonic() < end, "it does not start"
            time.sleep(0.01)
        self.first = int(found[0])

    def exec(self, *command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run one more command in it, as its user."""
        # By the outer one of its two user namespaces, which owns the others.
        enter = ["nsenter", f"--user=/proc/{self.process.pid}/ns/user", "--preserve-credentials"]
        enter += [f"--target={self.first}", "--mount", "--net", "--pid", "--"]
        cd = ["/usr/bin/env", f"--chdir={self.image.workdir}"]
        done = [*enter, *cd, *self.image.become(), *command]
        return subprocess.run(done, env=self.image.env, capture_output=True, text=True, check=False, timeout=timeout)

    def stop(self, timeout: float = 30) -> tuple[int, str]:
        """SIGTERM to process 1, as an engine does; its exit status, and what it wrote."""
        os.kill(self.first, signal.SIGTERM)
        _, told = self.process.communicate(timeout=timeout)
        return self.process.returncode, told


@contextmanager
def running(image: Image, mounts: Mapping[Path, str]) -> Iterator[Container]:
    """`docker run --read-only --tmpfs /tmp -v ...`, with a network that has nothing but its own loopback."""
    command = ["/usr/local/bin/python", "-c", LOOPBACK, *image.become(), *image.entrypoint, *image.command]
    process = subprocess.Popen(image.enter(command, mounts=mounts, mode="ro"), env=image.env, stderr=-1, text=True)
    try:
        yield Container(image, process)
    finally:
        process.kill()  # with it goes the rest: --kill-child
        process.communicate()
