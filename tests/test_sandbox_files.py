"""Which files the sandbox reads and writes, and what must not harm it."""

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from plugins.sandbox.captions import legible
from plugins.sandbox.pixels import UnreadableImage, edit
from plugins.sandbox.things import THINGS
from tests.test_sandbox_pixels import PHOTO, change, encoded, is_red, opened, photo, pixel, result

# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_read(kind: str) -> None:
    image = result("", encoded(photo(), kind))
    assert image.size == (240, 180)
    assert change(image, photo()) < 12


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = Image.new("I;16", (20, 20), 32768)
    assert pixel(result("", encoded(deep)), 0.5, 0.5) in ((127, 127, 127), (128, 128, 128))


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_the_format_that_is_asked_for_is_written(kind: str, start: bytes) -> None:
    data = edit("make it brighter", [PHOTO], output_format=kind)
    assert data.startswith(start)
    assert opened(data).size == (240, 180)


def test_unknown_formats_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="output_format"):
        edit("", [PHOTO], output_format="gif")
    for size in ((0, 10), (10, 100_000)):
        with pytest.raises(ValueError, match="size"):
            edit("", [PHOTO], size=size)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation_is_applied_and_metadata_dropped(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned to the right
    exif[0x010F] = "Maker"
    data = edit("", [encoded(photo(), kind, exif)])
    image = opened(data)
    assert image.size == (180, 240)
    assert is_red(pixel(image, 0.95, 0.03))
    assert b"Maker" not in data
    assert not image.getexif()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("sides", [(8001, 8000), (10_000, 10_000), (100_000, 100_000)])
def test_pixel_bombs_are_refused_from_the_header(sides: tuple[int, int]) -> None:
    with pytest.raises(UnreadableImage, match="megapixels"):
        edit("blur", [bomb(*sides)])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"hello",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-20],
        lambda data: data[40:],
    ],
)
def test_what_is_no_whole_image_is_refused_by_its_place(spoil: Callable[[bytes], bytes]) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        with pytest.raises(UnreadableImage) as caught:
            edit("blur", [PHOTO, PHOTO, spoil(encoded(photo(), kind))])
        assert caught.value.index == 2
        assert "image 3" in str(caught.value)
        assert isinstance(caught.value, ValueError)


def test_a_large_picture_is_made_smaller_first() -> None:
    assert opened(edit("", [encoded(Image.new("L", (5000, 1000)))])).size == (4096, 819)
    line = encoded(Image.new("RGB", (300, 4), (1, 2, 3)))
    assert opened(edit("enlarge 99x", [line])).size == (4096, 55)
    assert max(opened(edit("enlarge 9x, rotate 3 degrees, add a 900px border", [line])).size) <= 4096


# ---- what must not harm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    ["x" * 100_000, "blur " * 20_000, '"' * 100_000, "make it " * 12_000, "rotate " + "9" * 100_000, "\n" * 100_000 + "x",
     "".join(map(chr, range(32))) * 3000, "\ud800 add a hat \udfff", "\u0645\u0631\u062d\u0628\u0627 " * 10_000,
     "a" + "\u0301" * 100_000, "\ufdfa" * 5000, "add a hat\x00", "crop to 0x0", "resize to 0%", "resize to 99999x1", "rotate 0",
     "add a 99999px border and blur 99999", "posterize to 0 levels", "pixelate 0 px"],
)  # fmt: skip
def test_odd_prompts_do_no_harm(prompt: str) -> None:
    small = encoded(Image.new("RGBA", (64, 48), (10, 200, 100, 128)))
    opened(edit(prompt, [small], size=(32, 32)))
    opened(edit(prompt, [], size=(32, 32)))


EVERYTHING = ("grayscale", "sepia", "invert", "blur", "sharpen", "rotate 33", "mirror", "flip vertically", "crop to a square",
              "resize to 50%", "add a border", "add a frame", "brighter", "contrast", "vivid", "make it blue", "pixelate",
              "posterize", "emboss", "sketch", "edges", "vignette", "round the corners", "crop to a circle", 'write "x"',
              "snow", "rain", "rainbow", "hat", "draw a dragon", *THINGS)  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2)])
def test_the_smallest_pictures_survive_everything(size: tuple[int, int]) -> None:
    tiny = encoded(Image.new("RGB", size, (200, 100, 50)))
    for prompt in EVERYTHING:
        opened(edit(prompt, [tiny]))
    opened(edit("", [tiny, PHOTO, tiny], size=(20, 10)))


def test_the_same_arguments_give_the_same_bytes_in_any_thread() -> None:
    jobs = ["add a hat and snow", "a dragon", "blur and rotate 20", "rain", "three hearts and a rainbow"] * 2
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: edit(prompt, [PHOTO], seed=7), jobs))
    assert together == [edit(prompt, [PHOTO], seed=7) for prompt in jobs]
    assert edit("add snow", [PHOTO], seed=7) != edit("add snow", [PHOTO], seed=8)


def test_text_is_made_legible_for_the_built_in_font() -> None:
    assert legible("Cr\u00e8me  br\u00fbl\u00e9e\x07\n\n\u00c4\u00df") == "Creme brulee\nAss"
    assert len(legible("word " * 1000)) <= 700
