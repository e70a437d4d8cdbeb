"""`python -m fuzz TARGET --seconds 60`: runs one target, in the environment that `make fuzz` makes."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("fuzz: atheris is not here; `make fuzz` makes the environment that has it")

with atheris.instrument_imports(include=["proxy_core", "plugins", "multipart", "imagesize"]):
    from proxy_core.loader import installed

    from .targets import TARGETS, Target

    for point in installed().values():  # the config's reader imports them by name
        if isinstance(point, EntryPoint):
            point.load()

from .mutate import changed

TIMEOUT = 2  # seconds that no input may take, instrumented
MEMORY = 1024  # MB


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--input", type=Path, help="run this file alone, as a finding is run again")
    parser.add_argument("--corpus", type=Path, help="a folder in which what was reached is kept; made anew unless given")
    given = parser.parse_args()
    target = TARGETS[given.target]
    if given.input is not None:
        target.run(given.input.read_bytes())
        return
    with tempfile.TemporaryDirectory() as scratch:
        corpus = given.corpus or Path(scratch) / "corpus"
        corpus.mkdir(exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
        words = Path(scratch) / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))

        def run(data: bytes) -> None:
            try:
                target.run(data)
            except BaseException:
                _tell(given.target, data)
                raise

        options = [
            f"-max_total_time={given.seconds}",
            f"-timeout={TIMEOUT}",
            f"-rss_limit_mb={MEMORY}",
            f"-max_len={target.longest}",
            f"-dict={words}",
            f"-artifact_prefix={Path.cwd()}/{given.target}-",
            "-print_final_stats=1",
        ]
        more = {"custom_mutator": _mutator(target)} if target.json else {}
        atheris.Setup([sys.argv[0], *options, str(corpus)], run, **more)
        atheris.Fuzz()


def _mutator(target: Target) -> Callable[[bytes, int, int], bytes]:
    words = [word for word in target.words if isinstance(word, str)]

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        new = changed(data, words, seed) if seed % 2 else None
        return new if new is not None and len(new) <= longest else atheris.Mutate(data, longest)

    return mutate


def _tell(name: str, data: bytes) -> None:
    shown = repr(data) if len(data) <= 2000 else f"{data[:2000]!r} and {len(data) - 2000} more, see the file named below"
    print(f"\nThe target {name} failed on {len(data)} bytes:\n{shown}\n", file=sys.stderr)
    print(f'Add ("{name}", those bytes) to FOUND in tests/test_fuzz.py, where it fails the ordinary tests.\n', file=sys.stderr)


def _escaped(word: str | bytes) -> str:
    data = word.encode() if isinstance(word, str) else word
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data)


main()
