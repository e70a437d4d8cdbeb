"""A job made to fit its model: what is changed, to what, how it is told, and that the result is always legal."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Container
from typing import Any

import pytest

from plugins.bytedance.models import MODELS
from plugins.image_edit import Decimals, Image, Job, Link, Rules, Sizes
from plugins.image_edit.fit import fit
from plugins.image_edit.sizing import nearest
from plugins.image_edit.testing import PNG
from proxy_core import ClientError

# What the vendor takes, written down once more (bytedance.md, section 4), so that a slip in the table shows:
# labels, smallest and largest area in pixels, step of the sides.
LEGAL = {
    "4.0": ({"1K", "2K", "4K"}, 921_600, 16_777_216, 1),
    "4.5": ({"2K", "4K"}, 3_686_400, 16_777_216, 1),
    "lite": ({"2K", "3K", "4K"}, 3_686_400, 16_777_216, 1),
    "pro": ({"1K", "1.5K", "2K"}, 921_600, 4_194_304, 16),
}
KINDS = {
    "seedream-4.0": "4.0",
    "seedream-4-0-250828": "4.0",
    "seedream-4.5": "4.5",
    "seedream-4-5-251128": "4.5",
    "seedream-5.0-lite": "lite",
    "seedream-5-0-260128": "lite",
    "seedream-5-0-lite-260128": "lite",
    "seedream-5.0-pro": "pro",
    "dola-seedream-5-0-pro-260628": "pro",
    "seedream-5.0-flash": "pro",
    "seedream-5-0-flash-260915": "pro",
    "seedream-5.5": "pro",
    "seedream-5-5-261028": "pro",
    "dola-seedream-5-5-261028": "pro",
}
ONE_OF_EACH = ["seedream-4.0", "seedream-4.5", "seedream-5.0-lite", "seedream-5.0-pro"]


def sides(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    return int(width), int(height)


def legal(model: str, size: str) -> bool:
    labels, least, most, step = LEGAL[KINDS[model]]
    if size in labels:
        return True
    if not re.fullmatch(r"[1-9][0-9]*x[1-9][0-9]*", size):
        return False
    width, height = sides(size)
    return (
        least <= width * height <= most
        and max(width, height) <= 16 * min(width, height)
        and width % step == 0
        and height % step == 0
    )


def asked(model: str, **more: Any) -> Job:
    return Job(name=model, model="m", prompt="p", **more)


def fitted(model: str, **more: Any) -> tuple[Job, list[str]]:
    return fit(asked(model, **more), MODELS[model], reject=False)


def refused(model: str, **more: Any) -> ClientError:
    return refusal(MODELS[model], name=model, **more)


def refusal(rules: Rules, *, name: str = "m", reject: bool = True, **more: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        fit(asked(name, **more), rules, reject=reject)
    assert caught.value.status == 400
    return caught.value


def test_every_model_is_known_here() -> None:
    assert set(KINDS) == {name for name, rules in MODELS.items() if rules.references > 1}
    for name, kind in KINDS.items():
        (first,) = [one for one in ONE_OF_EACH if KINDS[one] == kind]
        # So that what holds for one of each holds for all.
        assert (MODELS[name].sizes, MODELS[name].fields) == (MODELS[first].sizes, MODELS[first].fields)


# --- size ---


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        # What OpenAI's clients ask for by default is too small for two of the models.
        ("seedream-4.0", "1024x1024", "1024x1024"),
        ("seedream-4.5", "1024x1024", "1920x1920"),
        ("seedream-5.0-lite", "1024x1024", "1920x1920"),
        ("seedream-5.0-pro", "1024x1024", "1024x1024"),
        # The smallest and the largest area are legal themselves.
        ("seedream-4.0", "960x960", "960x960"),
        ("seedream-4.5", "2560x1440", "2560x1440"),
        ("seedream-4.5", "1440x2560", "1440x2560"),
        ("seedream-4.5", "4096x4096", "4096x4096"),
        ("seedream-4.5", "2048X2048", "2048x2048"),
        ("seedream-4.5", "2048*2048", "2048x2048"),  # DashScope's way to write it
        ("seedream-5.0-pro", "2048x2048", "2048x2048"),
        ("seedream-4.0", "8192x8192", "4096x4096"),
        ("seedream-5.0-pro", "4096x4096", "2048x2048"),
        ("seedream-5.0-pro", "512x512", "960x960"),
        # Extreme shapes end at 16:1.
        ("seedream-4.0", "8192x512", "8192x512"),
        ("seedream-4.0", "16384x1024", "16384x1024"),
        ("seedream-4.5", "512x8192", "512x8192"),
        # Labels, however they are written.
        ("seedream-4.0", "1K", "1K"),
        ("seedream-4.0", "1k", "1K"),
        ("seedream-4.5", "4k", "4K"),
        ("seedream-5.0-pro", "1.5k", "1.5K"),
        ("seedream-4.5", "1K", "2K"),
        ("seedream-5.0-lite", "1k", "2K"),
        ("seedream-5.0-lite", "9K", "4K"),
        ("seedream-5.0-pro", "4K", "2K"),
        ("seedream-4.0", "0.5K", "1K"),
        # A ratio is no size at the vendor, but some clients send one.
        ("seedream-4.0", "16:9", "2848x1600"),
        ("seedream-4.0", "1:1", "2048x2048"),
        ("seedream-4.5", "9:16", "1600x2848"),
        # None and "auto" are the table's default.
        ("seedream-4.0", None, "2K"),
        ("seedream-4.5", "auto", "2K"),
        ("seedream-5.0-pro", "AUTO", "2K"),
    ],
)
def test_a_size_is_the_nearest_that_is_legal(model: str, size: str | None, sent: str) -> None:
    job, warnings = fitted(model, size=size)
    assert job.size == sent
    assert legal(model, sent)
    assert (job.aspect_ratio, job.resolution) == (None, None)
    same = size is None or size.lower() == "auto" or ":" in size or size.replace("*", "x").lower() == sent.lower()
    assert warnings == ([] if same else [f"{model} cannot make size {size}; {sent} was used"])


@pytest.mark.parametrize("model", ONE_OF_EACH)
@pytest.mark.parametrize(
    "size",
    [
        "",
        " ",
        "large",
        "2048",
        "x",
        "1024x",
        "0x0",
        "0x1024",
        "-1x5",
        "1024 x 1024",
        "100000x100000",
        "K",
        "2KB",
        "\uff12K",
        "1e3x5",
    ],
)
@pytest.mark.parametrize("reject", [False, True])
def test_what_is_no_size_is_the_clients_fault(model: str, size: str, reject: bool) -> None:
    error = refusal(MODELS[model], name=model, reject=reject, size=size)
    assert (error.param, error.code) == ("size", "invalid_value")
    assert all(label in error.message for label in LEGAL[KINDS[model]][0])


def shape(size: str) -> float:
    width, height = sides(size)
    return width / height


@pytest.mark.parametrize("model", ONE_OF_EACH)
def test_any_size_in_pixels_becomes_a_legal_one(model: str) -> None:
    """The property: legal, of the same shape where that is legal, as near in area as may be, and a fixed point."""
    dice = random.Random(model)
    _, least, most, step = LEGAL[KINDS[model]]
    edges = [(a, b) for a in (1, 15, 16, 17, 959, 960, 1920, 4095, 4096, 4097, 16384, 20000) for b in (1, 16, 961, 2048, 20000)]
    logarithmic = [(round(20_000 ** dice.random()), round(20_000 ** dice.random())) for _ in range(120)]
    even = [(dice.randint(1, 20_000), dice.randint(1, 20_000)) for _ in range(120)]
    for width, height in [*edges, *logarithmic, *even]:
        size = f"{width}x{height}"
        job, warnings = fitted(model, size=size)
        sent = job.size or ""
        assert legal(model, sent), size
        if legal(model, size):
            assert (sent, warnings) == (size, [])
            continue
        assert len(warnings) == 1
        assert size in warnings[0]
        assert sent in warnings[0]
        assert fitted(model, size=sent) == (dataclasses.replace(job, size=sent), [])
        wide, high = sides(sent)
        meant = min(max(width / height, 1 / 16), 16)
        # Rounding may move the shorter side by one step, and staying inside the area may move both sides by 5 %.
        assert abs(math.log(wide / high / meant)) <= 1.01 * step / min(wide, high) + 0.002, (size, sent)
        area = min(max(width * height, least), most)
        assert abs(math.log(wide * high / area)) <= 2 * step / min(wide, high) + 0.1, (size, sent)


@pytest.mark.parametrize("model", ONE_OF_EACH)
def test_any_ratio_and_resolution_become_a_legal_size(model: str) -> None:
    ratios = ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21", "2.39:1", "1:2.39", "16:1", "1:16", "5:7"]
    for ratio in [*ratios, "auto", None]:
        for resolution in ("0.5K", "1K", "1k", "1.5K", "2K", "3K", "4K", "8K", None):
            job, _ = fitted(model, aspect_ratio=ratio, resolution=resolution)
            assert job.size is not None
            assert legal(model, job.size), (ratio, resolution, job.size)
            assert (job.aspect_ratio, job.resolution) == (None, None)
            if ratio not in (None, "auto"):
                a, _, b = (ratio or "").partition(":")
                assert abs(math.log(shape(job.size) / (float(a) / float(b)))) < 0.03, (ratio, resolution, job.size)


@pytest.mark.parametrize(
    ("model", "ratio", "resolution", "sent", "named"),
    [
        ("seedream-4.0", "16:9", None, "2848x1600", []),
        ("seedream-4.0", "16:9", "1K", "1312x736", []),
        ("seedream-4.0", "9:16", "2k", "1600x2848", []),
        ("seedream-4.0", "3:2", "4K", "4992x3328", []),
        ("seedream-4.0", "21:9", "4K", "6240x2656", []),
        ("seedream-4.0", None, "4K", "4K", []),
        ("seedream-4.0", "auto", "1K", "1K", []),
        ("seedream-4.5", "1:1", "1K", "2048x2048", ["resolution"]),
        ("seedream-4.5", None, "1K", "2K", ["resolution"]),
        ("seedream-5.0-lite", "4:3", "3K", "3456x2592", []),
        ("seedream-5.0-lite", "4:3", "1K", "2304x1728", ["resolution"]),
        ("seedream-5.0-pro", "1:1", "1K", "1024x1024", []),
        ("seedream-5.0-pro", "3:4", "1K", "864x1152", []),
        ("seedream-5.0-pro", "1:1", "1.5K", "1536x1536", []),
        ("seedream-5.0-pro", "16:9", "1.5K", "2048x1152", []),
        ("seedream-5.0-pro", "4:3", "2K", "2304x1728", []),
        ("seedream-5.0-pro", "4:3", "4K", "2304x1728", ["resolution"]),
    ],
)
def test_ratio_and_resolution_are_the_vendors_presets(
    model: str, ratio: str | None, resolution: str | None, sent: str, named: list[str]
) -> None:
    job, warnings = fitted(model, aspect_ratio=ratio, resolution=resolution)
    assert job.size == sent
    assert len(warnings) == len(named)
    for warning, word in zip(warnings, named, strict=True):
        assert word in warning


@pytest.mark.parametrize(
    "ratio",
    ["", "16", "16/9", "a:b", "0:1", "1:0", "0:0", "-1:1", "1:1:1", "16\uff1a9", "1:", "nan:1", "1e3:1", "9" * 5 + ":1"],
)
@pytest.mark.parametrize("reject", [False, True])
def test_what_is_no_ratio_is_the_clients_fault(ratio: str, reject: bool) -> None:
    error = refusal(MODELS["seedream-4.5"], name="seedream-4.5", reject=reject, aspect_ratio=ratio)
    assert (error.param, error.code) == ("aspect_ratio", "invalid_value")
    assert "16:9" in error.message


@pytest.mark.parametrize("resolution", ["", "huge", "720p", "1024x1024", "K"])
def test_what_is_no_resolution_is_told_of_the_resolution(resolution: str) -> None:
    error = refusal(MODELS["seedream-4.5"], name="seedream-4.5", reject=False, resolution=resolution)
    assert (error.param, error.code) == ("resolution", "invalid_value")


EXTREME = ["17:1", "100:1", "1:100", "2500:1", "1:2500", "9999:1", "1:9999", "1:0.001", "1:0." + "0" * 300 + "1"]


@pytest.mark.parametrize("model", ONE_OF_EACH)
@pytest.mark.parametrize("ratio", EXTREME, ids=lambda ratio: ratio[:12])
def test_an_extreme_ratio_ends_at_sixteen_and_is_named(model: str, ratio: str) -> None:
    job, warnings = fitted(model, aspect_ratio=ratio)
    assert job.size is not None
    assert legal(model, job.size)
    wide = not ratio.startswith("1:") or ratio.startswith("1:0.")
    assert abs(math.log(shape(job.size) / (16 if wide else 1 / 16))) < 0.07
    assert len(warnings) == 1
    assert ratio[:40] in warnings[0]
    assert refused(model, aspect_ratio=ratio).param == "aspect_ratio"


@pytest.mark.parametrize(
    ("given", "sent", "lost"),
    [
        ({"size": "2K", "aspect_ratio": "16:9"}, ["2848x1600"], "aspect_ratio"),
        ({"size": "1024x1024", "aspect_ratio": "16:9"}, [], "aspect_ratio"),
        ({"size": "1024x1024", "resolution": "4K"}, [], "resolution"),
        ({"size": "2K", "resolution": "4K"}, [], "resolution"),
        ({"size": "16:9", "aspect_ratio": "1:1"}, [], "size"),
    ],
    ids=str,
)
def test_of_two_that_contradict_each_other_none_is_lost_in_silence(given: dict[str, str], sent: list[str], lost: str) -> None:
    job, warnings = fitted("seedream-4.0", **given)
    assert job.size in sent or any(lost in warning or given[lost] in warning for warning in warnings)


@pytest.mark.parametrize(
    "given", [{"size": "2048x2048", "aspect_ratio": "1:1"}, {"size": "auto", "aspect_ratio": "1:1"}], ids=str
)
def test_two_that_agree_are_no_reason_for_a_warning(given: dict[str, str]) -> None:
    assert fitted("seedream-4.0", **given) == (asked("seedream-4.0", size="2048x2048"), [])


# --- sizes of other kinds of models ---


def test_a_model_of_labels_alone_is_sent_a_label() -> None:
    rules = Rules(sizes=Sizes(labels=("1K", "2K"), custom=False, default="1K"))
    assert fit(asked("m", size="1024x1024"), rules, reject=False)[0].size == "1K"
    job, warnings = fit(asked("m", aspect_ratio="16:9"), rules, reject=False)
    assert job.size == "1K"
    assert "aspect ratio" in warnings[0]
    assert refusal(rules, aspect_ratio="16:9").param == "aspect_ratio"


def test_without_a_default_the_size_is_the_services_choice() -> None:
    rules = Rules(sizes=Sizes(area=(100, 10_000)))
    assert fit(asked("m"), rules, reject=True) == (asked("m"), [])
    assert fit(asked("m", size="auto"), rules, reject=True) == (asked("m"), [])
    assert fit(asked("m", size="100x100"), rules, reject=True)[0].size == "100x100"
    job, _ = fit(asked("m", aspect_ratio="1:1"), rules, reject=True)
    assert job.size is not None
    assert 100 <= math.prod(sides(job.size)) <= 10_000


@pytest.mark.parametrize(
    ("sizes", "size", "sent"),
    [
        (Sizes(side=(512, 2048), area=(1, 1 << 30)), "100x100", "512x512"),
        (Sizes(side=(512, 2048), area=(1, 1 << 30)), "4096x4096", "2048x2048"),
        (Sizes(step=32), "1000x1000", "992x992"),
        (Sizes(ratio=3.0), "3000x1000", "3000x1000"),
        (Sizes(labels=("adaptive",), custom=False, default="adaptive"), "1024x1024", "adaptive"),
        (Sizes(labels=("adaptive",), custom=False), "ADAPTIVE", "adaptive"),
        (Sizes(labels=("adaptive",), custom=False, default="adaptive"), "2K", "adaptive"),
    ],
)
def test_sides_steps_and_words_are_kept_too(sizes: Sizes, size: str, sent: str) -> None:
    assert nearest(size, sizes) == sent


LISTED = Sizes(labels=("1024x1024", "1536x1024", "1024x1536"), custom=False)
FREE = Sizes(area=(600_000, 8_294_400), side=(16, 3840), ratio=3.0, step=16, presets={"4K": ("3840x2160",)})


@pytest.mark.parametrize(
    ("sizes", "given", "sent", "told"),
    [
        (LISTED, {"size": "1024X1536"}, "1024x1536", ""),
        (LISTED, {"size": "512x512"}, "1024x1024", "cannot make size 512x512; 1024x1024 was used"),
        (LISTED, {"size": "1792x1024"}, "1536x1024", "cannot make size 1792x1024; 1536x1024 was used"),
        (LISTED, {"aspect_ratio": "3:2"}, "1536x1024", ""),
        (LISTED, {"aspect_ratio": "2:3", "resolution": "1K"}, "1024x1536", ""),
        (LISTED, {"aspect_ratio": "21:9"}, "1536x1024", "cannot make aspect ratio 21:9; 1536x1024 was used"),
        (LISTED, {"resolution": "1k"}, "1024x1024", ""),
        (LISTED, {"size": "4K"}, "1024x1024", "cannot make size 4K; 1024x1024 was used"),
        (LISTED, {"aspect_ratio": "auto"}, None, ""),
        (FREE, {"resolution": "2K"}, "2048x2048", ""),
        (FREE, {"size": "2K", "aspect_ratio": "16:9"}, "2736x1536", ""),
        (FREE, {"resolution": "4K", "aspect_ratio": "16:9"}, "3840x2160", ""),
        (FREE, {"resolution": "4K"}, "2880x2880", "cannot make resolution 4K; 2880x2880 was used"),
        (FREE, {"aspect_ratio": "8:1", "resolution": "1K"}, "1776x592", "cannot make aspect ratio 8:1; 1776x592 was used"),
        (FREE, {"resolution": "1K", "size": "2K"}, "2048x2048", "resolution 1K contradicts what else was asked: size is 2K"),
    ],
)
def test_a_model_told_in_pixels_alone(sizes: Sizes, given: dict[str, Any], sent: str | None, told: str) -> None:
    """A ratio and a resolution become the nearest size; what comes to the same is no change."""
    rules = Rules(sizes=sizes)
    job, warnings = fit(asked("m", **given), rules, reject=False)
    assert (job.size, job.aspect_ratio, job.resolution) == (sent, None, None)
    assert len(warnings) == bool(told)
    assert told in "".join(warnings)
    if told:
        assert str(refusal(rules, **given).param) in given


@pytest.mark.parametrize("given", [{"size": "large"}, {"resolution": "0K"}, {"resolution": "HD"}, {"aspect_ratio": "wide"}])
@pytest.mark.parametrize("sizes", [LISTED, FREE])
def test_what_a_model_told_in_pixels_cannot_read(sizes: Sizes, given: dict[str, Any]) -> None:
    error = refusal(Rules(sizes=sizes), reject=False, **given)
    assert (error.param, error.code) == (next(iter(given)), "invalid_value")


def test_any_ratio_and_resolution_are_legal_in_pixels() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        ratio = f"{chance.randint(1, 99)}:{chance.randint(1, 99)}"
        given = {"aspect_ratio": ratio, "resolution": chance.choice(["1K", "1.5K", "2K", "4K", "9K", None])}
        width, height = sides(fit(asked("m", **given), Rules(sizes=FREE), reject=False)[0].size or "")
        assert 600_000 <= width * height <= 8_294_400, given
        assert width % 16 == height % 16 == 0, given
        assert max(width, height) <= min(3840, 3 * min(width, height)), given


def test_a_model_without_sizes_is_sent_none() -> None:
    job, warnings = fit(asked("m", size="1024x1024"), Rules(), reject=False)
    assert job.size is None
    assert warnings == ["m has no parameter 'size'; it was left out"]
    assert refusal(Rules(), size="1024x1024").param == "size"
    assert fit(asked("m", size="auto"), Rules(), reject=True) == (asked("m"), [])


def test_a_size_without_rules_is_passed_on_as_it_came() -> None:
    rules = Rules(fields=frozenset({"size", "aspect_ratio", "resolution"}))
    job = asked("m", size="anything", aspect_ratio="x", resolution="y")
    assert fit(job, rules, reject=True) == (job, [])


# --- n ---


@pytest.mark.parametrize("n", [1, 2, 10])
def test_up_to_ten_pictures_may_be_asked_for(n: int) -> None:
    assert fitted("seedream-4.5", n=n) == (asked("seedream-4.5", n=n, size="2K"), [])


@pytest.mark.parametrize("n", [11, 10**18])
def test_more_than_ten_pictures_are_ten(n: int) -> None:
    job, warnings = fitted("seedream-4.5", n=n)
    assert job.n == 10
    assert warnings == [f"n is {n}; 10 pictures were made"]
    error = refused("seedream-4.5", n=n)
    assert error.param == "n"
    assert "at most 10" in error.message


# --- references and masks ---


def pictures(count: int) -> tuple[Image | Link, ...]:
    return tuple(Image(PNG + bytes([n])) if n % 2 else Link(f"https://a.example/{n}") for n in range(count))


@pytest.mark.parametrize(
    ("model", "most"), [("seedream-4.0", 10), ("seedream-4.5", 14), ("seedream-5.0-lite", 14), ("seedream-5.0-pro", 10)]
)
def test_no_reference_is_ever_left_out(model: str, most: int) -> None:
    given = pictures(most + 1)
    job, warnings = fitted(model, references=given[:most])
    assert (job.references, warnings) == (given[:most], [])
    for reject in (False, True):
        error = refusal(MODELS[model], name=model, reject=reject, references=given)
        assert (error.param, error.code) == (f"image[{most}]", "too_many_images")
        assert f"at most {most}" in error.message


def test_a_model_that_cannot_edit_says_so() -> None:
    for reject in (False, True):
        error = refusal(Rules(references=0), reject=reject, references=pictures(2))
        assert (error.param, error.code) == ("image", "unsupported_parameter")
        assert "from words alone" in error.message


@pytest.mark.parametrize("reject", [False, True])
def test_a_model_that_only_edits_wants_a_picture(reject: bool) -> None:
    rules = Rules(needs_reference=True)
    assert refusal(rules, reject=reject).code == "missing_required_parameter"
    job = asked("m", references=pictures(1))
    assert fit(job, rules, reject=reject) == (job, [])


@pytest.mark.parametrize("reject", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_mask_is_never_left_out(model: str, reject: bool) -> None:
    error = refusal(MODELS[model], name=model, reject=reject, mask=Image(PNG), references=pictures(1))
    assert (error.param, error.code) == ("mask", "unsupported_parameter")


def test_a_mask_reaches_a_model_that_takes_masks() -> None:
    job = asked("m", mask=Image(PNG), references=pictures(1))
    assert fit(job, Rules(mask=True), reject=True) == (job, [])


@pytest.mark.parametrize("reject", [False, True])
def test_a_mask_without_its_picture_is_no_job(reject: bool) -> None:
    error = refusal(Rules(mask=True), reject=reject, mask=Image(PNG))
    assert (error.param, error.code) == ("image", "missing_required_parameter")


# --- other fields ---


def test_a_field_of_edits_is_taken_beside_a_picture_alone() -> None:
    rules = Rules(fields=frozenset({"seed"}), edit_fields=frozenset({"fidelity"}))
    extra = {"fidelity": "high"}
    assert fit(asked("m", extra=extra, references=pictures(1)), rules, reject=True)[0].extra == extra
    job, warnings = fit(asked("m", extra=extra), rules, reject=False)
    assert (job.extra, warnings) == ({}, ["m has no parameter 'fidelity' without a picture to edit; it was left out"])
    assert "it takes seed" in refusal(rules, extra=extra).message


def test_warnings_are_bounded() -> None:
    """They are signed, and stand in the answer and a header."""
    _, warnings = fitted("seedream-4.5", extra={f"field {i}": 1 for i in range(5000)})
    assert 10 <= len(warnings) <= 100


@pytest.mark.parametrize(
    ("model", "field", "value", "taken"),
    [
        ("seedream-4.5", "seed", -1, True),
        ("seedream-4.5", "seed", 0, True),
        ("seedream-4.5", "seed", 2**31 - 1, True),
        ("seedream-4.5", "seed", -2, False),
        ("seedream-4.5", "seed", 2**31, False),
        ("seedream-5.0-lite", "output_format", "png", True),
        ("seedream-5.0-pro", "output_format", "jpeg", True),
        ("seedream-5.0-pro", "output_format", "webp", False),
        ("seedream-5.0-pro", "output_format", "", False),
    ],
)
def test_a_value_that_the_vendor_refuses_is_left_out_and_named(model: str, field: str, value: object, taken: bool) -> None:
    job, warnings = fitted(model, **{field: value})
    assert getattr(job, field) == (value if taken else None)
    assert len(warnings) == (not taken)
    if not taken:
        assert field in warnings[0]
        assert refused(model, **{field: value}).param == field


@pytest.mark.parametrize("value", [None, [], {}, [1], {"a": 1}, 1.5, "x"], ids=repr)
def test_a_value_of_a_strange_type_is_left_out(value: object) -> None:
    rules = Rules(fields=frozenset({"mode"}), values={"mode": frozenset({"fast", "slow"})})
    job, warnings = fit(asked("m", extra={"mode": value}), rules, reject=False)
    assert (dict(job.extra), len(warnings)) == ({}, 1)
    assert "fast, slow" in refusal(rules, extra={"mode": value}).message
    assert fit(asked("m", extra={"mode": "fast"}), rules, reject=True)[0].extra == {"mode": "fast"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"steps": "30"}, {"steps": 30}),
        ({"steps": "-1"}, {}),
        ({"steps": "3.5"}, {}),
        ({"steps": "٣"}, {}),  # a digit, and none of ours
        ({"expand": "false"}, {"expand": False}),
        ({"expand": "True"}, {"expand": True}),
        ({"expand": 1}, {"expand": True}),
        ({"expand": False}, {"expand": False}),
        ({"expand": "no"}, {}),
        ({"expand": []}, {}),
        ({"mode": "1"}, {"mode": "1"}),
        ({"scale": "4.5"}, {"scale": 4.5}),
        ({"scale": "3"}, {"scale": 3.0}),
        ({"scale": 3}, {"scale": 3}),
        ({"scale": "11"}, {}),
        ({"scale": "-2"}, {}),
        ({"scale": "nan"}, {}),
        ({"scale": "1e1"}, {}),
        ({"scale": True}, {}),
        ({"scale": float("nan")}, {}),
    ],
)
def test_numbers_and_switches_of_a_form(given: dict[str, object], meant: dict[str, object]) -> None:
    """Fact 26: a multipart form has only text."""
    values: dict[str, Container[object]]
    values = {"steps": range(1, 51), "expand": (True, False), "mode": frozenset({"1", "2"}), "scale": Decimals(-1, 10)}
    fields = frozenset(values)
    job, warnings = fit(asked("m", extra=given), Rules(fields=fields, values=values), reject=False)
    assert (dict(job.extra), len(warnings)) == (meant, int(not meant))
    assert all(type(job.extra[name]) is type(value) for name, value in meant.items())


VALUES = {"quality": "high", "output_format": "png", "background": "opaque", "seed": 7}
TAKEN = {
    "seedream-4.0": {"seed", "watermark"},
    "seedream-4.5": {"seed", "watermark"},
    "seedream-5.0-lite": {"output_format", "watermark", "tools"},
    "seedream-5.0-pro": {"output_format", "watermark"},
}


@pytest.mark.parametrize("model", ONE_OF_EACH)
@pytest.mark.parametrize("field", VALUES)
def test_fields_that_a_model_lacks_are_left_out_and_named(model: str, field: str) -> None:
    job, warnings = fitted(model, **{field: VALUES[field]})
    if field in TAKEN[model]:
        assert (getattr(job, field), warnings) == (VALUES[field], [])
        assert fit(asked(model, **{field: VALUES[field]}), MODELS[model], reject=True)[1] == []
    else:
        assert getattr(job, field) is None
        assert warnings == [f"{model} has no parameter '{field}'; it was left out"]
        error = refused(model, **{field: VALUES[field]})
        assert error.param == field
        assert all(legal in error.message for legal in TAKEN[model])


@pytest.mark.parametrize("field", ["quality", "background"])
def test_auto_is_no_wish(field: str) -> None:
    """OpenAI's word for "as you like": a client that sends it unasked is neither warned nor refused."""
    listed = Rules(fields=frozenset({field}), values={field: frozenset({"low"})}, nearest={field: {"auto": "low"}})
    spelt = Rules(fields=frozenset({field}), values={field: frozenset({"auto"})})
    for rules, sent in [(Rules(), None), (listed, None), (spelt, "auto")]:
        job, warnings = fit(asked("m", **{field: "auto"}), rules, reject=True)
        assert (getattr(job, field), warnings) == (sent, [])


@pytest.mark.parametrize("model", ONE_OF_EACH)
@pytest.mark.parametrize("field", ["watermark", "optimize_prompt_options", "style", "stream", "model", "", "é\n", "x" * 99])
def test_unknown_fields_are_left_out_and_named(model: str, field: str) -> None:
    job, warnings = fitted(model, extra={field: False})
    if field in TAKEN[model]:
        assert (job.extra, warnings) == ({field: False}, [])
    else:
        assert job.extra == {}
        assert len(warnings) == 1
        assert repr(field)[:40] in warnings[0]
        param = refused(model, extra={field: False}).param  # a name may be as long as its sender likes
        assert param is not None
        assert param[:40] == field[:40]


def test_everything_that_was_changed_is_told() -> None:
    job, warnings = fitted(
        "seedream-4.5",
        n=11,
        references=pictures(14),
        size="1024x1024",
        quality="high",
        background="opaque",
        extra={"style": "vivid", "watermark": True},
    )
    told = ["n is 11", "size 1024x1024", "'quality'", "'background'", "'style'"]
    assert len(warnings) == len(told)
    for warning, words in zip(warnings, told, strict=True):
        assert words in warning
    assert (job.n, len(job.references), job.size, job.extra) == (10, 14, "1920x1920", {"watermark": True})


def test_a_job_that_fits_is_not_touched() -> None:
    job = asked("seedream-4.5", n=3, references=pictures(3), size="2K", seed=1, extra={"watermark": True}, stream=True)
    assert fit(job, MODELS["seedream-4.5"], reject=True) == (job, [])
