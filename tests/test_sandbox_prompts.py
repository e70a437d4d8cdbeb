"""How the sandbox takes a whole prompt: what it understands, several references, pictures made of nothing, and masks."""

import pytest
from PIL import Image

from plugins.sandbox.pixels import edit
from tests.test_sandbox_pixels import (
    PHOTO,
    Box,
    bottom,
    captioned,
    change,
    encoded,
    is_red,
    means,
    opened,
    photo,
    pixel,
    result,
    spread,
)

# ---- the prompt as a whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    ["add a dragon", "make it look like a Van Gogh", "add a hat and a dragon", "make the sky blue", "add a hat\nand a unicorn",
     "don't blur it", "remove the hat", "\u65e5\u672c\u8a9e", "make it blue and green", "\U0001f3a9"],
)  # fmt: skip
def test_what_is_not_understood_is_written_on_the_picture(prompt: str) -> None:
    assert captioned(prompt)


@pytest.mark.parametrize(
    "prompt",
    ["add a hat", "add a hat\nnow make it blue", "Please, could you make it a bit brighter?", "flip it and add a red border",
     "put a crown on the woman's head", "give it a blue tint, then rotate by 180 degrees", "resize to 200 x 100 pixels", "",
     "crop to a square", "add rain and a rainbow", "make it slightly more vivid"],
)  # fmt: skip
def test_what_is_understood_is_not(prompt: str) -> None:
    assert not captioned(prompt)


def test_understood_and_not_understood_are_both_shown() -> None:
    plain = Image.new("RGB", (400, 400), (90, 160, 220))
    both = result("add a hat and a dragon", encoded(plain))
    assert change(plain, both, (120, 0, 280, 140)) > 10
    assert captioned("add a hat and a dragon", plain)


def test_operations_apply_in_the_order_of_the_text() -> None:
    hat_then_blue = result("add a red hat\nnow make it blue")
    blue_then_hat = result("make it blue\nadd a red hat")
    hat = (110, 4, 130, 24)
    assert means(hat_then_blue.crop(hat))[2] > means(hat_then_blue.crop(hat))[0]
    assert means(blue_then_hat.crop(hat))[0] > means(blue_then_hat.crop(hat))[2]
    assert result("crop the left half, then resize to 50%").size == (60, 90)
    assert result("crop to 100x100 and add a 10px border").size == (120, 120)
    assert result("add a 10px border and crop to 100x100").size == (100, 100)


def test_an_empty_prompt_only_encodes_anew() -> None:
    for prompt in ("", "  \n\t "):
        assert result(prompt).tobytes() == photo().tobytes()


def test_the_size_that_is_asked_for_is_given_by_cover_fit() -> None:
    wide = Image.new("RGB", (400, 100), (0, 0, 255))
    wide.paste((255, 0, 0), (150, 0, 250, 100))
    fitted = result("", encoded(wide), size=(120, 120))
    assert fitted.size == (120, 120)
    assert all(is_red(pixel(fitted, x, 0.5)) for x in (0.02, 0.5, 0.98))
    for prompt in ("rotate 90", "add a dragon", "crop the left half"):
        assert result(prompt, size=(64, 100)).size == (64, 100)


# ---- several references --------------------------------------------------------------------------------------------

RED, GREEN, BLUE = (encoded(Image.new("RGB", (100 + 20 * n, 80 + 30 * n), colour))
                    for n, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))))  # fmt: skip


@pytest.mark.parametrize(
    "prompt", ["", "put these side by side", "make a collage", "stack them", "put the first on the others"]
)
def test_pixels_of_all_three_references_are_used(prompt: str) -> None:
    colours = result(prompt, RED, GREEN, BLUE).getcolors(maxcolors=1_000_000) or []
    areas = {colour: count for count, colour in colours}
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert areas.get(colour, 0) > 500


def test_a_row_has_one_height_and_the_order_of_the_references() -> None:
    row = result("side by side", RED, GREEN, BLUE)
    assert row.height == 140
    assert [pixel(row, x, 0.5) for x in (0.02, 0.45, 0.98)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    column = result("stacked on top of each other", RED, GREEN, BLUE)
    assert [pixel(column, 0.5, y) for y in (0.02, 0.45, 0.98)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_blend_mixes_them_in_equal_shares() -> None:
    assert all(84 <= value <= 87 for value in pixel(result("blend them", RED, GREEN, BLUE), 0.5, 0.5))


def test_one_can_be_put_on_another() -> None:
    first = result("put the green thing on the red one", RED, GREEN)
    assert first.size == (100, 80)
    assert pixel(first, 0.02, 0.02) == (255, 0, 0)
    assert pixel(first, 0.5, 0.6) == (0, 255, 0)
    second = result("put the first image onto the second", RED, GREEN)
    assert second.size == (120, 110)
    assert pixel(second, 0.5, 0.6) == (255, 0, 0)


def test_operations_apply_to_what_was_composed() -> None:
    red, green, blue = result("combine these in grayscale", RED, GREEN, BLUE).split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


def test_sixteen_references_make_one_picture() -> None:
    assert max(result("", *[RED, GREEN, BLUE, PHOTO] * 4).size) <= 4096


# ---- generation ----------------------------------------------------------------------------------------------------


def test_a_picture_is_made_of_nothing() -> None:
    image = opened(edit("a quiet lake", []))
    assert image.size == (1024, 1024)
    assert spread(image) > 15
    assert bottom(image).convert("L").getextrema()[1] == 255  # the letters of the caption
    assert opened(edit("a quiet lake", [], size=(300, 200))).size == (300, 200)


def test_another_prompt_or_seed_gives_another_picture() -> None:
    def make(prompt: str, seed: int = 0) -> bytes:
        return edit(prompt, [], size=(128, 128), seed=seed)

    assert make("a hill") == make("a hill")
    assert len({make("a hill"), make("a dale"), make("a hill", seed=1)}) == 3


def test_words_of_colours_and_things_show_in_the_scene() -> None:
    def sky(prompt: str) -> list[float]:
        return means(opened(edit(prompt, [], size=(256, 256))).crop((0, 0, 256, 60)))

    assert sky("red")[0] > sky("red")[2] + 20
    assert sky("blue")[2] > sky("blue")[0] + 20
    assert sum(sky("a hill at night")) < 0.6 * sum(sky("a hill"))
    land = (0, 150, 256, 220)
    forest, desert = (means(opened(edit(prompt, [], size=(256, 256))).crop(land)) for prompt in ("a forest", "a desert"))
    assert forest[1] == max(forest)
    assert desert[0] == max(desert)


def test_operations_apply_to_a_scene_too() -> None:
    red, green, blue = opened(edit("a red house by the sea, in grayscale", [], size=(200, 200))).convert("RGB").split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


@pytest.mark.parametrize(
    "prompt",
    ["", "cat", "city at sunset", "snow on mountains", "rainbow, rain, flowers, hearts", "desert, stars", "winter forest"],
)
def test_every_kind_of_scene_can_be_drawn(prompt: str) -> None:
    for size in ((160, 90), (48, 200), (16, 16)):
        assert opened(edit(prompt, [], size=size)).size == size


# ---- masks ---------------------------------------------------------------------------------------------------------


def masking(box: Box | None, size: tuple[int, int] = (240, 180)) -> bytes:
    """A mask that lets `box` change."""
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    if box:
        mask.paste((0, 0, 0, 0), box)
    return encoded(mask)


@pytest.mark.parametrize(
    "prompt", ["grayscale", "invert", "pixelate a lot", "rotate 90", "add a hat", "add a dragon", "crop the left half"]
)
def test_only_what_the_mask_frees_is_changed(prompt: str) -> None:
    box = (100, 60, 220, 170)
    edited = result(prompt, mask=masking(box))
    assert edited.size == (240, 180)
    assert change(photo(), edited, box) > 1
    restored = edited.copy()
    restored.paste(photo().crop(box), box)
    assert restored.tobytes() == photo().tobytes()


def test_half_transparent_pixels_of_a_mask_are_kept() -> None:
    mask = Image.new("RGBA", (240, 180), (0, 0, 0, 1))
    assert result("invert", mask=encoded(mask)).tobytes() == photo().tobytes()


def test_the_other_references_fill_the_free_area() -> None:
    filled = result("put it here", PHOTO, GREEN, mask=masking((100, 60, 200, 160)))
    assert pixel(filled, 150 / 240, 90 / 180) == (0, 255, 0)
    assert filled.crop((0, 0, 100, 180)).tobytes() == photo().crop((0, 0, 100, 180)).tobytes()
    assert result("put the first image on the second", PHOTO, RED, mask=masking((100, 60, 200, 160))).size == (240, 180)


def test_a_mask_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"100x50.*240x180"):
        edit("invert", [PHOTO], mask=masking(None, (100, 50)))
    with pytest.raises(ValueError, match="alpha"):
        edit("invert", [PHOTO], mask=encoded(Image.new("RGB", (240, 180))))
    with pytest.raises(ValueError, match="mask"):
        edit("invert", [PHOTO], mask=b"no image")
    with pytest.raises(ValueError, match="mask"):
        edit("a hill", [], mask=masking(None))
