"""What operators install: the unit, the image, the examples and docs/deploy.md, checked and run where this machine can."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

from proxy_core.config import Limits
from proxy_core.testing import loaded
from tests import container

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "darkroom.service").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
STEPS = container.parse(DOCKERFILE)
BIN = Path(sys.executable).parent


def darkroom(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "proxy_core", *args], capture_output=True, text=True, check=False, timeout=60)


def the(name: str) -> container.Instruction:
    """The last stage's one instruction of that name."""
    last = max(number for number, step in enumerate(STEPS) if step.name == "FROM")
    (found,) = [step for step in STEPS[last:] if step.name == name]
    return found


def seconds(pattern: str, text: str) -> float:
    (found,) = re.findall(pattern, text)
    return float(found)


# Words in the files


def commands(text: str) -> Iterator[tuple[str, set[str]]]:
    """The subcommands of `darkroom` in a text, and the flags after each."""
    named = r"(?:bin/darkroom (\w+)|darkroom (run|check|plugins|health)\b)((?: --[a-z-]+(?: \S+)?)*)"
    for first, second, rest in re.findall(named, text):
        yield first or second, set(re.findall(r" (--[a-z-]+)", rest))


@pytest.mark.parametrize("path", ["deploy/Dockerfile", "deploy/darkroom.service", "docs/deploy.md"])
def test_every_command_and_flag_exists(path: str) -> None:
    found = list(commands((ROOT / path).read_text(encoding="utf-8")))
    assert found
    for name, flags in found:
        told = darkroom(name, "--help")
        assert told.returncode == 0, name
        assert flags <= set(re.findall(r"--[a-z-]+", told.stdout)), name


def test_whatever_stops_it_waits_longer_than_it_drains() -> None:
    limits = Limits()
    least = limits.drain + 10  # a supervisor gives its workers that much more
    for pattern, text in (
        (r"TimeoutStopSec=(\d+)\n", UNIT),
        (r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")),
        (r"--stop-timeout (\d+)", GUIDE),
        (r"terminationGracePeriodSeconds: (\d+)", GUIDE),
    ):
        assert seconds(pattern, text) > least, pattern


def test_every_open_connection_has_a_file() -> None:
    assert seconds(r"LimitNOFILE=(\d+)", UNIT) > 2 * Limits().connections


@pytest.mark.parametrize("block", re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
def test_the_guides_config_is_good(block: str, tmp_path: Path) -> None:
    if "tls" in block:
        made = "openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=x -keyout privkey.pem -out fullchain.pem"
        subprocess.run(made.split(), cwd=tmp_path, check=True, capture_output=True)
    loaded(tomllib.loads(block.replace("/etc/darkroom/tls", str(tmp_path))))


def test_the_guides_limits_are_the_shipped_ones() -> None:
    limits = Limits()
    assert f"`proxy.limits.drain` seconds ({limits.drain:g})" in GUIDE
    assert f"client_max_body_size {limits.body // 2**20}m;" in (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert limits.memory == 2**30


# The unit


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the program of this virtualenv: systemd looks whether it is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    path = tmp_path / "darkroom.service"
    path.write_text(UNIT.replace("/opt/darkroom/bin/", f"{BIN}/"))
    return path


def test_systemd_finds_no_fault_in_the_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_is_exposed_no_more_than_a_proxy_must_be(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout.splitlines()[-1]  # of 100, where lower is better


def test_nginx_takes_the_example(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/bin:/usr/local/bin")
    if not nginx:
        pytest.skip("needs nginx")
    text = f"events {{}}\npid {tmp_path}/pid;\nhttp {{ access_log off; include {DEPLOY}/nginx.conf; }}\n"
    (tmp_path / "nginx.conf").write_text(text.replace("listen 80;", "listen 127.0.0.1:0;"))
    command = [nginx, "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "syntax is ok" in done.stderr, done.stderr  # its exit status also says whether root has started it


# The Dockerfile, read


def test_hadolint_finds_no_fault() -> None:
    hadolint = shutil.which("hadolint", path=f"{BIN}")
    if not hadolint:
        pytest.skip("hadolint has no wheel for this machine")
    done = subprocess.run([hadolint, "--no-color", f"{DEPLOY}/Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_runs_as_a_number_that_is_not_root() -> None:
    # A number, since Kubernetes' runAsNonRoot cannot tell what a name means.
    user = the("USER").text
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"runAsUser: {user.split(':')[0]}" in GUIDE


def test_signals_reach_the_process() -> None:
    for name in ("ENTRYPOINT", "CMD"):
        assert the(name).exec_form, f"{name}: a shell in between would keep the signal to itself"
    assert the("STOPSIGNAL").text == "SIGTERM"
    assert container.Instruction("CMD", the("HEALTHCHECK").text.partition("CMD ")[2]).exec_form == ["darkroom", "health"]


def test_it_starts_from_a_pinned_tag_and_names_no_host() -> None:
    bases = [step.text.split()[0] for step in STEPS if step.name == "FROM"]
    assert set(bases) == {"python:${PYTHON}"}
    (argument,) = [step.text for step in STEPS if step.name == "ARG"]
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-[a-z]+", argument)
    assert "://" not in DOCKERFILE
    assert not [step for step in STEPS if step.name == "ADD"]


def test_the_config_fits_the_image() -> None:
    proxy = tomllib.loads((DEPLOY / "config.toml").read_text(encoding="utf-8"))["proxy"]
    assert proxy["listen"] == f"0.0.0.0:{the('EXPOSE').text}"
    (volume,) = the("VOLUME").exec_form or []
    assert proxy["state_dir"].startswith(f"{volume}/")


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "state/signing/key.pem", "demo/key.pem", "tests/container.py", "config.toml",
             "proxy_core/__pycache__/x.pyc", "plugins/signing/__pycache__/x.pyc", "node_modules/x", "deploy/Dockerfile"]
)  # fmt: skip
def test_nothing_else_is_sent_to_the_build(path: str) -> None:
    assert container.ignored(path, (ROOT / ".dockerignore").read_text(encoding="utf-8").split())


# The image, built and run


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[container.Image]:
    """A COPY of what is not there, or is not sent, fails in here."""
    hindrance = container.hindrance()
    if hindrance:
        pytest.skip(hindrance)
    scratch = tmp_path_factory.mktemp("image")
    container.send_context(ROOT, scratch / "context")
    # From the registry that this machine is set up for; the build itself then has no network.
    lock = ["--require-hashes", f"--requirement={ROOT}/requirements.lock", f"--dest={scratch}/wheels"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    subprocess.run([*pip, *lock], check=True, capture_output=True)
    try:
        yield container.build(DOCKERFILE, scratch / "context", scratch / "wheels", scratch)
    finally:
        shutil.rmtree(scratch)  # a quarter of a gigabyte, which pytest would keep three times


@pytest.fixture
def running(image: container.Image, tmp_path: Path) -> Iterator[container.Container]:
    (tmp_path / "state").mkdir()
    with container.running(image, {tmp_path / "state": "/var/lib/darkroom"}) as one:
        assert one.process.stderr is not None
        assert json.loads(one.process.stderr.readline())["url"] == "http://0.0.0.0:8080"
        yield one


ASK = """
import json, urllib.request
body = json.dumps({"model": "sandbox", "prompt": "a red sun", "size": "64x64"}).encode()
request = urllib.request.Request("http://127.0.0.1:8080/v1/images/generations", body, {"content-type": "application/json"})
with urllib.request.urlopen(request, timeout=20) as answer:
    print(answer.status, sorted(json.load(answer)))
"""


def test_it_makes_pictures_and_stops_when_told(running: container.Container, tmp_path: Path) -> None:
    asked = running.exec("python", "-c", ASK)
    assert asked.stdout.startswith("200 "), asked.stderr
    assert "darkroom_receipt" in asked.stdout
    assert (tmp_path / "state" / "state" / "signing" / "key.pem").stat().st_mode & 0o777 == 0o600
    status, told = running.stop()
    assert status == 0, told


WRITABLE = """
import os
for path, folders, _ in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(path, name) not in ("/proc", "/dev")]
    if os.access(path, os.W_OK):
        print(path)
"""


def test_it_can_write_nowhere_else(running: container.Container) -> None:
    done = running.exec("python", "-c", WRITABLE)
    assert done.returncode == 0, done.stderr
    assert {path for path in done.stdout.split() if not path.startswith("/var/lib/darkroom")} == {"/tmp"}
    status = Path(f"/proc/{running.first}/status").read_text()
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)


def test_other_commands_find_the_config(running: container.Container) -> None:
    done = running.exec("darkroom", "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_its_health_check(running: container.Container) -> None:
    done = running.exec(*running.image.health)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    running.stop()


def test_it_holds_what_the_lock_says_and_no_tools(image: container.Image) -> None:
    packages = image.inside("/opt/darkroom/lib") / container.VERSION / "site-packages"
    held = dict(path.name.removesuffix(".dist-info").rsplit("-", 1) for path in packages.glob("*.dist-info"))
    names = {name.lower().replace("_", "-"): version for name, version in held.items()}
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE))
    assert names.pop("darkroom-proxy")
    assert names.items() <= locked.items()
    wanted = {re.split(r"[><=;\s\[]", one)[0] for one in requires("darkroom-proxy") or []}
    assert wanted <= set(names)
    assert not set(names) & {"pip", "setuptools", "wheel", "hatchling", "pytest"}
    assert not list((image.folder / ".local").glob("lib/python*/site-packages/pip*"))


def test_all_of_it_is_compiled(image: container.Image) -> None:
    packages = image.inside("/opt/darkroom/lib") / container.VERSION / "site-packages"
    for path in packages.rglob("*.py"):
        assert (path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc").is_file(), path
