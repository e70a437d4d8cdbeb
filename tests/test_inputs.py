"""What a mask and a reference may be, told before anything is paid."""

from __future__ import annotations

import pytest

from plugins.image_edit import Image, Inputs, Link, Rules
from plugins.image_edit.ask import Given
from plugins.image_edit.inputs import check_inputs
from proxy_core import ClientError
from tests.pictures import mask, png

MOST = 100 * 100
RULES = Rules(
    mask=True,
    inputs=Inputs(formats=frozenset({"image/png", "image/jpeg"})),
    masks=Inputs(formats=frozenset({"image/png"}), size=10_000),
)


async def test_a_mask_has_limits_of_its_own() -> None:
    picture = Given(Image(png(kind="JPEG")), "image[0]")
    await check_inputs([picture], Given(Image(mask((96, 64))), "mask"), RULES, "m", max_pixels=MOST)
    long = mask((96, 64)) + bytes(10_000)  # what follows the end of a PNG does no harm
    for given, words in ((png(kind="JPEG"), "is image/jpeg; it must be png"), (long, "at most 10000 are taken")):
        with pytest.raises(ClientError, match=words) as caught:
            await check_inputs([picture], Given(Image(given), "mask"), RULES, "m", max_pixels=MOST)
        assert (caught.value.param, caught.value.code) == ("mask", "invalid_image")


async def test_a_mask_covers_its_picture_pixel_by_pixel() -> None:
    with pytest.raises(ClientError, match="10x10 pixels, and image 96x64"):
        await check_inputs([Given(Image(png()), "image")], Given(Image(mask((10, 10))), "mask"), RULES, "m", max_pixels=MOST)


async def test_a_picture_that_declares_more_than_anybody_can_decode_is_refused() -> None:
    bomb = bytearray(png())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # what its header says; nobody looks at the rest
    with pytest.raises(ClientError, match="declares 60000x60000 pixels; at most 10000") as caught:
        await check_inputs([Given(Image(bytes(bomb)), "image[0]")], None, RULES, "m", max_pixels=MOST)
    assert (caught.value.status, caught.value.param) == (400, "image[0]")


async def test_a_link_is_for_the_service_to_judge() -> None:
    await check_inputs([Given(Link("https://a.example/x.gif"), "image")], None, RULES, "m", max_pixels=MOST)
