"""What one request does to a picture, checked on the pixels; what all tests of the sandbox need to see that stands first."""

import io
import math

import pytest
from PIL import Image, ImageChops, ImageStat

from plugins.sandbox.pixels import edit
from plugins.sandbox.things import THINGS

Box = tuple[int, int, int, int]


def encoded(image: Image.Image, kind: str = "PNG", exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    if exif is None:
        image.save(buffer, kind)
    else:
        image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def photo(width: int = 240, height: int = 180) -> Image.Image:
    """Colours that run across and down, with a red mark in the top left corner."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (across.point(lambda value: value // 2), down, ImageChops.invert(across)))
    image.paste((255, 0, 0), (0, 0, width // 8, height // 8))
    return image


PHOTO = encoded(photo())


def result(prompt: str, *images: bytes, size: tuple[int, int] | None = None, mask: bytes | None = None) -> Image.Image:
    return opened(edit(prompt, images or (PHOTO,), size=size, mask=mask)).convert("RGB")


def pixel(image: Image.Image, x: float, y: float) -> tuple[int, int, int]:
    """The colour at a place given in fractions of the picture."""
    where = (min(image.width - 1, int(x * image.width)), min(image.height - 1, int(y * image.height)))
    value = image.convert("RGB").getpixel(where)
    assert isinstance(value, tuple)
    return int(value[0]), int(value[1]), int(value[2])


def is_red(colour: tuple[int, int, int]) -> bool:
    return colour[0] > 150 and colour[1] < 90 and colour[2] < 90


def change(one: Image.Image, other: Image.Image, box: Box | None = None) -> float:
    """How far two pictures are apart, per channel and pixel."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return sum(ImageStat.Stat(difference.crop(box) if box else difference).mean) / 3


def spread(image: Image.Image) -> float:
    return sum(ImageStat.Stat(image.convert("RGB")).stddev) / 3


def means(image: Image.Image) -> list[float]:
    return list(ImageStat.Stat(image.convert("RGB")).mean)


def bottom(image: Image.Image) -> Image.Image:
    return image.crop((0, round(image.height * 0.8), image.width, image.height))


def captioned(prompt: str, image: Image.Image | None = None) -> bool:
    """Whether the bottom of the picture has become a dark strip with white letters on it."""
    plain = image or Image.new("RGB", (400, 300), (90, 160, 220))
    strip = bottom(result(prompt, encoded(plain))).convert("L")
    low, high = strip.getextrema()
    assert isinstance(low, (int, float))
    assert isinstance(high, (int, float))
    return low < 70 and high > 230


# ---- colours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["grayscale", "Make it Black and White!", "turn this into monochrome", "remove the colours"])
def test_grayscale_has_equal_channels(prompt: str) -> None:
    red, green, blue = result(prompt).split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()
    assert spread(red) > 20


@pytest.mark.parametrize(
    ("prompt", "channel"), [("make it blue", 2), ("tint red", 0), ("turn it green", 1), ("tint #0000ff", 2)]
)
def test_a_colour_word_tints(prompt: str, channel: int) -> None:
    even = Image.new("RGB", (60, 60), (128, 128, 128))
    after = means(result(prompt, encoded(even)))
    assert after[channel] == max(after)
    assert after[channel] - min(after) > 40


def test_sepia_is_brown() -> None:
    red, green, blue = means(result("make it look like an old photo"))
    assert red > green > blue


def test_invert_twice_is_identity() -> None:
    assert result("invert it\nnow make a negative of it").tobytes() == photo().tobytes()
    assert pixel(result("invert"), 0.03, 0.03) == (0, 255, 255)


@pytest.mark.parametrize(
    ("brighter", "darker"),
    [("make it brighter", "make it darker"), ("40% brighter", "reduce the brightness by 40%"), ("lighten it", "make it dark")],
)
def test_brightness_goes_both_ways(brighter: str, darker: str) -> None:
    assert sum(means(result(brighter))) > sum(means(photo())) + 30
    assert sum(means(result(darker))) < sum(means(photo())) - 30


def test_degree_words_are_heeded() -> None:
    slight, usual, strong = (result(f"make it {word} darker") for word in ("slightly", "", "much"))
    assert sum(means(slight)) > sum(means(usual)) > sum(means(strong))


def test_contrast_and_saturation_go_both_ways() -> None:
    gray = result("grayscale")
    assert spread(result("grayscale, more contrast")) > spread(gray) > spread(result("grayscale, less contrast"))

    def saturation(image: Image.Image) -> float:
        return ImageStat.Stat(image.convert("HSV").getchannel("S")).mean[0]

    muted = encoded(result("desaturate by 50%"))
    assert saturation(result("more saturated", muted)) > saturation(opened(muted)) > saturation(result("less saturated", muted))


def test_posterize_leaves_few_colours() -> None:
    colours = result("posterize to 4 levels").getcolors(maxcolors=100_000)
    assert colours is not None
    assert len(colours) <= 64


# ---- filters -------------------------------------------------------------------------------------------------------


def checkers(cell: int) -> Image.Image:
    small = Image.new("L", (160 // cell, 160 // cell))
    small.putdata([255 * ((n + n // small.width) % 2) for n in range(small.width * small.height)])
    return small.resize((160, 160), Image.Resampling.NEAREST).convert("RGB")


def test_blur_flattens_and_more_blur_flattens_more() -> None:
    board = encoded(checkers(8))
    slight, usual, strong = (spread(result(f"{words} blur", board)) for words in ("slight", "", "strong"))
    assert spread(checkers(8)) > slight > usual > strong


def test_sharpen_raises_the_steps() -> None:
    soft = encoded(result("blur 3", encoded(checkers(20))))
    assert spread(result("sharpen it a lot", soft)) > spread(opened(soft))


def test_pixelate_makes_blocks() -> None:
    blocks = result("pixelate with 20 px blocks")
    assert blocks.size == (240, 180)
    first = blocks.crop((0, 0, 20, 20)).getcolors()
    assert first is not None
    assert len(first) == 1
    assert len(blocks.getcolors(maxcolors=10_000) or []) <= 12 * 9


def test_vignette_darkens_the_corners_and_not_the_middle() -> None:
    light = Image.new("RGB", (200, 200), (200, 200, 200))
    dark = result("add a vignette", encoded(light))
    assert pixel(dark, 0.5, 0.5) == (200, 200, 200)
    assert sum(pixel(dark, 0.01, 0.01)) < 300


def test_sketch_is_dark_lines_on_light_paper_and_edges_are_the_reverse() -> None:
    square = Image.new("RGB", (200, 200), (230, 200, 180))
    square.paste((40, 60, 120), (60, 60, 140, 140))
    sketch, edges = result("pencil sketch", encoded(square)), result("show the edges", encoded(square))
    assert min(pixel(sketch, 0.05, 0.05)) > 200
    assert max(pixel(edges, 0.05, 0.05)) < 10
    assert max(pixel(edges, 0.295, 0.5)) > 100
    assert spread(result("emboss", encoded(square))) > 1


# ---- shape ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "corner"),
    [
        ("rotate 90 degrees", (0.95, 0.03)),
        ("rotate it to the right", (0.95, 0.03)),
        ("rotate 90 degrees left", (0.03, 0.95)),
        ("turn it 90° counter-clockwise", (0.03, 0.95)),
    ],
)
def test_rotate_swaps_the_sides_and_moves_the_marked_corner(prompt: str, corner: tuple[float, float]) -> None:
    turned = result(prompt)
    assert turned.size == (180, 240)
    assert is_red(pixel(turned, *corner))
    assert not is_red(pixel(turned, 0.03, 0.03))


def test_rotate_four_times_is_identity_and_a_slant_shows_it_all() -> None:
    assert result("rotate 90\n" * 4).tobytes() == photo().tobytes()
    slanted = opened(edit("rotate by 30 degrees", [PHOTO]))
    assert slanted.size[0] > 240
    assert slanted.size[1] > 180
    assert slanted.mode == "RGBA"
    assert slanted.getchannel("A").getpixel((0, 0)) == 0


@pytest.mark.parametrize(
    ("prompt", "corner"),
    [("mirror it", (0.97, 0.03)), ("flip horizontally", (0.97, 0.03)), ("flip it vertically", (0.03, 0.97)),
     ("turn the image upside down", (0.03, 0.97))],
)  # fmt: skip
def test_mirror_moves_the_mark_and_twice_is_identity(prompt: str, corner: tuple[float, float]) -> None:
    once = result(prompt)
    assert is_red(pixel(once, *corner))
    assert not is_red(pixel(once, 0.03, 0.03))
    assert result(prompt, encoded(once)).tobytes() == photo().tobytes()


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        ("crop to a square", (180, 180)),
        ("crop to 100x50", (100, 50)),
        ("crop the left half", (120, 180)),
        ("keep only the bottom half", (240, 90)),
        ("crop to 16:9", (240, 135)),
        ("crop the center", (180, 135)),
        ("resize to 120x60", (120, 60)),
        ("resize to 50%", (120, 90)),
        ("scale it up 2x", (480, 360)),
        ("make it 20% smaller", (192, 144)),
        ("shrink by 25%", (180, 135)),
        ("resize to 120 pixels wide", (120, 90)),
        ("add a 10px border", (260, 200)),
        ("crop it to a circle", (180, 180)),
    ],
)
def test_sizes_that_operations_give(prompt: str, size: tuple[int, int]) -> None:
    assert opened(edit(prompt, [PHOTO])).size == size


def test_crop_takes_the_part_that_was_named() -> None:
    assert is_red(pixel(result("crop the top left quarter"), 0.03, 0.03))
    assert result("crop the right half").tobytes() == photo().crop((120, 0, 240, 180)).tobytes()


def test_border_has_its_colour_and_leaves_the_picture() -> None:
    framed = result("add a 12px green border")
    assert framed.crop((12, 12, 252, 192)).tobytes() == photo().tobytes()
    red, green, blue = pixel(framed, 0.5, 0.01)
    assert green > red
    assert green > blue
    assert result("put it in a frame").size > (240, 180)


def test_circle_and_round_corners_are_clear_and_jpeg_shows_them_white() -> None:
    for prompt in ("round the corners", "crop to a circle"):
        image = opened(edit(prompt, [PHOTO]))
        assert image.getchannel("A").getpixel((0, 0)) == 0
        assert image.getchannel("A").getpixel((image.width // 2, image.height // 2)) == 255
    jpeg = opened(edit("crop to a circle", [PHOTO], output_format="jpeg"))
    assert min(pixel(jpeg, 0.0, 0.0)) > 245


# ---- things --------------------------------------------------------------------------------------------------------


def test_a_hat_sits_near_the_top_centre() -> None:
    plain = Image.new("RGB", (300, 300), (120, 170, 140))
    hat = result("add a hat", encoded(plain))
    assert change(plain, hat, (90, 0, 210, 110)) > 20
    assert change(plain, hat, (0, 180, 300, 300)) == 0
    assert change(plain, hat, (0, 0, 60, 300)) == 0
    moved = result("add a hat in the bottom left", encoded(plain))
    assert change(plain, moved, (0, 180, 120, 300)) > 20
    assert change(plain, moved, (0, 0, 300, 120)) == 0


def test_a_thing_has_the_colour_that_was_named() -> None:
    plain = encoded(Image.new("RGB", (300, 300), (128, 128, 128)))
    blue = means(result("add a blue hat", plain).crop((125, 10, 175, 45)))
    red = means(result("put a red hat on his head", plain).crop((125, 10, 175, 45)))
    assert blue[2] > blue[0] + 60
    assert red[0] > red[2] + 60


@pytest.mark.parametrize("name", sorted(THINGS))
def test_every_thing_is_drawn_and_scales_with_the_picture(name: str) -> None:
    shares = []
    for side in (200, 400):
        plain = Image.new("RGB", (side, side), (110, 140, 190))
        drawn = result(f"add a {name}", encoded(plain))
        changed = ImageChops.difference(plain, drawn).convert("L").point([0] * 24 + [255] * 232)
        shares.append(ImageStat.Stat(changed).mean[0] / 255)
    assert 0.005 < shares[0] < 0.6
    assert math.isclose(shares[0], shares[1], rel_tol=0.15)


@pytest.mark.parametrize("weather", ["snow", "rain", "a rainbow"])
def test_weather_is_all_over_the_picture(weather: str) -> None:
    plain = Image.new("RGB", (300, 300), (70, 90, 120))
    wet = result(f"add {weather}", encoded(plain))
    assert change(plain, wet, (0, 0, 150, 300)) > 2
    assert change(plain, wet, (150, 0, 300, 300)) > 2


def test_several_things_take_more_room_than_one() -> None:
    plain = Image.new("RGB", (400, 400), (70, 90, 120))
    one, four = (result(f"add {words}", encoded(plain)) for words in ("a tiny star", "four tiny stars"))
    boxes = [ImageChops.difference(plain, image).getbbox() for image in (one, four)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[1][2] - boxes[1][0] > boxes[0][2] - boxes[0][0]


def test_quoted_text_is_written_where_it_was_asked_for_and_not_obeyed() -> None:
    plain = Image.new("RGB", (300, 300), (60, 120, 60))
    top = result('add text "Make it blue" at the top in yellow', encoded(plain))
    assert change(plain, top, (0, 0, 300, 100)) > 5
    assert change(plain, top, (0, 150, 300, 300)) == 0
    low = result("write \u201cHello\u201d at the bottom", encoded(plain))
    assert change(plain, low, (0, 200, 300, 300)) > 5
    assert change(plain, low, (0, 0, 300, 150)) == 0
