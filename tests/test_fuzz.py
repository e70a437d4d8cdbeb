"""The fuzz targets stay alive between two runs of `make fuzz`, and what was found stays mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fuzz import mutate, readers
from fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent

# What a target failed on, once.
FOUND: list[tuple[str, bytes]] = [
    ("dialects", b'\0{"input": "a hat", "background": "auto", "tools": true}'),
    ("dialects", b'\0{"prompt": "a hat", "aspect_ratio": "1:0.' + b"0" * 320 + b'1"}'),
    ("dialects", b'\0{"prompt": "a hat", "size": "0.' + b"0" * 320 + b'1:9999"}'),
    ("dialects", b'\0{"prompt": "a hat", "extra": ' + b"[" * 300 + b"]" * 300 + b"}"),
]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds(name: str) -> None:
    """And what the mutations begin with: nothing, one byte, and each seed cut in half."""
    target = TARGETS[name]
    seeds = list(target.seeds())
    assert len(seeds) == len(set(seeds)) >= 4
    for seed in [b"", b"\0", b"\xff", *seeds, *(seed[: len(seed) // 2] for seed in seeds[:8])]:
        target.run(seed)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_is_mended(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


def test_seeds_reach_what_they_are_for() -> None:
    """A seed that is refused at the door would be worth nothing."""
    forms = [readers.body(seed[1:], "multipart/form-data; boundary=b") for seed in TARGETS["form"].seeds()]
    assert all(forms)
    assert [form for form in forms if form and form.uploads]
    assert readers.data_url(next(iter(TARGETS["data_url"].seeds())).decode()) is not None
    kinds = {readers.picture(seed[1:]).media_type for seed in TARGETS["picture"].seeds()}
    assert kinds == {f"image/{kind}" for kind in ("png", "jpeg", "gif", "bmp", "webp", "tiff", "avif", "heic")}
    assert readers.events([b"data: a\n\n"]) == [b"a"]


def test_a_broken_promise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise KeyError("not among the reader's own")

    monkeypatch.setattr(readers, "read_saved", broken)
    with pytest.raises(KeyError):
        TARGETS["verifier"].run(b"{}")


def test_a_change_to_json_is_json_and_can_be_made_again() -> None:
    words = ["n", "tools"]
    seeds = [seed for name in ("dialects", "verifier") for seed in TARGETS[name].seeds()]
    documents = [seed for seed in seeds if mutate.changed(seed, words, 1) is not None]
    assert len(documents) > 10
    made = [(document, number, mutate.changed(document, words, number)) for document in documents for number in range(50)]
    for document, number, new in made:
        assert new == mutate.changed(document, words, number)
        if new is not None:  # a value that was put into itself has no text
            json.loads(new[new[:1] not in (b"{", b"[") :])
            TARGETS["dialects"].run(new)
    assert len({new for _, _, new in made}) > len(made) / 2
    assert mutate.changed(b"no JSON", words, 1) is None
    assert mutate.changed(b"\0[" * 5000, words, 1) is None


def test_make_knows_every_target() -> None:
    listed = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("TARGETS :="))
    assert listed.split()[2:] == list(TARGETS)


def test_the_environment_is_pinned() -> None:
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["fuzz"]
    assert [line.split(">=")[0] for line in group] == ["atheris"]
    assert "atheris==" in (ROOT / "requirements-fuzz.lock").read_text()


def test_without_its_environment_it_says_what_to_do() -> None:
    asked = [sys.executable, "-m", "fuzz", "form"]
    ended = subprocess.run(asked, cwd=ROOT, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, timeout=60)
    assert ended.returncode
    assert "make fuzz" in ended.stderr
