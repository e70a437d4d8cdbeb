"""`python -m benchmarks.signing`: the CPU of an answer's signature, as a ratio to one sha256 of the file and one ES256."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import platform
import statistics
import struct
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import cryptography
import pybase64
from multidict import CIMultiDict

from plugins.image_edit import Image, Job, Result, Sent
from plugins.image_edit.dialects.images import GENERATIONS
from plugins.image_edit.wire import json_pieces
from plugins.signing.keys import PrivateKey, generate
from plugins.signing.messages import signed
from plugins.signing.origin import OriginKey, keccak
from plugins.signing.origin import generate as generate_origin
from plugins.signing.seal import ImageSeal, Seen
from plugins.signing.store import Store
from proxy_core import Body, Exchange, Response, State

README = Path(__file__).resolve().parent.parent / "README.md"
SIZE = 4 * 1024 * 1024


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture(size: int) -> bytes:
    """A PNG of about that size as its chunks go, 8 KiB each as libpng writes them; nobody here looks at its pixels."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1024, 1024, 8, 2, 0, 0, 0))
    data = b"".join(_chunk(b"IDAT", os.urandom(8192)) for _ in range(size // 8204))
    return b"\x89PNG\r\n\x1a\n" + head + data + _chunk(b"IEND", b"")


FILE = picture(SIZE)
TEXT = pybase64.b64encode(FILE).decode()
CHUNKS = [FILE[start : start + 256 * 1024] for start in range(0, len(FILE), 256 * 1024)]
KEY = PrivateKey.read(generate())
ORIGIN = OriginKey.read(generate_origin())

Work = Callable[[Image], Awaitable[None]]


async def baseline(image: Image) -> None:
    """The least: one sha256 of the file, and one signature."""
    await KEY.sign(hashlib.sha256(FILE).digest())


def _result(image: Image) -> Result:
    job = Job(name="gpt-image-2", model="gpt-image-2", prompt="a lighthouse at dusk")
    call = Sent(method="POST", origin="https://api.example", sha256="0" * 64, length=99, status=200,
                answer_sha256="0" * 64, answer_length=9)  # fmt: skip
    usage: dict[str, object] = {"input_tokens": 12, "output_tokens": 4096, "total_tokens": 4108}
    return Result(job=job, provider="openai", images=[image], model="gpt-image-2", usage=usage, calls=[call])


def _seal(store: Store, origin: OriginKey | None = None) -> ImageSeal:
    exchange = Exchange()
    hashed = asyncio.get_running_loop().create_task(_zero()) if origin is not None else None
    seen = Seen(
        path="/v1/images/generations", sha256="0" * 64, length=99, media_type="application/json", nonce=None, origin_hash=hashed
    )
    return ImageSeal(seen, exchange, key=KEY, issuer="darkroom", store=store, origin=origin)


async def _zero() -> bytes:
    return keccak(b"{}")


class Signings:
    """What is measured; each makes one answer with one picture of 4 MiB."""

    def __init__(self, folder: Path) -> None:
        self._forgets = Store(State(folder), 0)
        self._keeps = Store(State(folder), 3600)

    async def receipt(self, image: Image) -> None:
        await _seal(self._forgets).end(_result(image))

    inline = receipt

    async def kept(self, image: Image) -> None:
        await _seal(self._keeps).end(_result(image))

    async def origin(self, image: Image) -> None:
        await _seal(self._forgets, ORIGIN).end(_result(image))

    async def message(self, image: Image) -> None:
        result = _result(image)
        fields, headers = await _seal(self._forgets).end(result)
        head = CIMultiDict({"Content-Type": "application/json", **headers})
        body = Body(*GENERATIONS.render(result, Exchange(), fields))
        await signed(Response(status=200, headers=head, body=body), KEY, None)

    async def stream(self, image: Image) -> None:
        seal = _seal(self._forgets)
        fields = await seal.image(image, preview=False)
        await seal.sent(json_pieces({"b64_json": image.base64, **fields}))
        await seal.end(_result(image))


ROWS = {
    "receipt": "the receipt alone (wanted: under 1.3)",
    "inline": "the same, of a picture that came as base64",
    "kept": "the receipt, kept on disk for `GET /v1/receipts/ID`",
    "origin": "the receipt and the origin's fields",
    "message": "the receipt, Content-Digest and HTTP message signature over the JSON answer",
    "stream": "the receipt and a stream's chain over the event with the picture",
}


def _image(name: str) -> Image:
    """A picture that nobody has hashed yet. Its size in pixels is known: the answer tells it, signed or not."""
    image = Image.from_base64(TEXT) if name == "inline" else Image(*CHUNKS)
    assert image.pixels
    return image


async def _cpu(work: Work, name: str, times: int) -> float:
    """Milliseconds of CPU for one, threads included."""
    images = [_image(name) for _ in range(times)]
    begun = time.process_time()
    for image in images:
        await work(image)
    return (time.process_time() - begun) / times * 1000


async def measure(rounds: int, times: int) -> tuple[list[float], dict[str, list[float]]]:
    """(milliseconds of the baseline, ratios of each row), a value a round; each is taken beside a baseline of its own."""
    with tempfile.TemporaryDirectory() as folder:
        signings = Signings(Path(folder))
        least: list[float] = []
        ratios: dict[str, list[float]] = {name: [] for name in ROWS}
        for name in ROWS:
            await getattr(signings, name)(_image(name))  # the first of each pays for imports and caches
        for _ in range(rounds):
            for name in ROWS:
                base = await _cpu(baseline, name, times)
                least.append(base)
                ratios[name].append(await _cpu(getattr(signings, name), name, times) / base)
    return least, ratios


def table(least: list[float], ratios: dict[str, list[float]]) -> str:
    lines = ["| one answer with one picture of 4 MiB | CPU, ratio to one sha256 and one ES256 | lowest, highest round |"]
    lines.append("|---|---|---|")
    for name, words in ROWS.items():
        found = ratios[name]
        lines.append(f"| {words} | {statistics.median(found):.2f} | {min(found):.2f}, {max(found):.2f} |")
    told = f"The baseline took {statistics.median(least):.2f} ms of CPU ({min(least):.2f} to {max(least):.2f})."
    where = f"Python {platform.python_version()}, cryptography {cryptography.__version__}, {len(ratios['receipt'])} rounds."
    return "\n".join([*lines, "", f"{told} {where}"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one: it shows that it runs, and measures nothing")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/README.md")
    args = parser.parse_args()
    figures = table(*asyncio.run(measure(*((1, 1) if args.quick else (11, 40)))))
    print(figures)
    if args.write:
        text = README.read_text(encoding="utf-8")
        before, _, rest = text.partition("<!-- signing: begin -->\n")
        behind = rest.partition("<!-- signing: end -->")[2]
        marked = f"<!-- signing: begin -->\n\n{figures}\n\n<!-- signing: end -->"
        README.write_text(f"{before}{marked}{behind}", encoding="utf-8")


if __name__ == "__main__":
    main()
