"""What a client asks, read and checked: every field in every type, pictures in every spelling, and the job that comes of it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from plugins.image_edit import Image, Job, Link
from plugins.image_edit.ask import (
    LINK_LENGTH,
    PROMPT_LENGTH,
    Ask,
    Given,
    ask,
    boolean,
    checked,
    integer,
    job,
    kind,
    picture,
    reference,
    text,
)
from plugins.image_edit.testing import PNG
from proxy_core import ClientError

B64 = base64.b64encode(PNG).decode()

# One of every JSON type, and the odd ones among them.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 7, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.0, 1.0, 1.5, 1e30, "", " ", "x", "1", "0", "-1",
    "1.0", "true", "True", "false", "TRUE", "\x00", "é", "\u0661", "1_0", "+1", " 1", "9" * 18, "9" * 19, [], [1], ["x"], {},
    {"a": 1}, [[]],
]  # fmt: skip


def refused(work: Callable[[], object]) -> ClientError:
    with pytest.raises(ClientError) as caught:
        work()
    assert caught.value.status == 400
    assert caught.value.code
    return caught.value


def same(a: object, b: object) -> bool:
    """Equal, and of one type: True is no 1 here."""
    return type(a) is type(b) and a == b


# --- readers of values ---


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_string_is_a_string(value: object) -> None:
    if isinstance(value, str):
        assert text(value, "p") == value
    else:
        error = refused(lambda: text(value, "p"))
        assert (error.param, error.code) == ("p", "invalid_type")
        assert kind(value) in error.message


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_an_integer_is_one_or_the_text_of_one(value: object) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole or (isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}", value)):
        assert same(integer(value, "p"), int(value))  # type: ignore[call-overload]
    else:
        error = refused(lambda: integer(value, "p"))
        assert (error.param, error.code) == ("p", "invalid_type")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_boolean_is_one_or_the_text_of_one(value: object) -> None:
    if any(same(value, yes) for yes in (True, "true", "True")):
        assert boolean(value, "p") is True
    elif any(same(value, no) for no in (None, False, "false", "False", "")):
        assert boolean(value, "p") is False
    elif value in (0, 1):
        assert boolean(value, "p") is bool(value)  # some clients count
    else:
        error = refused(lambda: boolean(value, "p"))
        assert (error.param, error.code) == ("p", "invalid_type")


def test_types_are_named_in_a_client_developers_words() -> None:
    values: list[object] = [None, True, 1, 1.5, "", [], {}, b""]
    words = ["null", "a boolean", "a number", "a number", "a string", "an array", "an object", "something else"]
    assert [kind(value) for value in values] == words


# --- reference, picture, checked ---


def contents(given: Given) -> bytes:
    assert isinstance(given.value, Image)
    return b"".join(map(bytes, given.value.chunks()))


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{B64}",
        f"DATA:IMAGE/PNG;BASE64,{B64}",
        f"data:;base64,{B64}",
        f"data:image/jpeg;base64,{B64}",  # what it claims to be is not asked
        f"data:image/png;name=a%2Cb.png;charset=x;base64,{B64}",
        f"data:image/png;base64,{B64.replace('+', '-').replace('/', '_').rstrip('=')}",
        f"data:image/png;base64,{B64[:20]}\r\n{B64[20:]}\n",
    ],
)
def test_a_data_url_is_a_picture(url: str) -> None:
    given = reference(url, "here")
    assert given.param == "here"
    assert contents(given) == PNG
    assert isinstance(given.value, Image)
    assert given.value.media_type == "image/png"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x.png",
        "http://a.example",
        "HTTPS://A.example/x?sig=a%2Fb+c&d=é#f",
        "http://127.0.0.1:8000/x",  # whether it may be fetched is decided by who fetches
        "https://[::1]/x",
        "https://user:word@a.example/",
        "https://a.example/" + "x" * (LINK_LENGTH - 18),
    ],
    ids=lambda url: url[:30],
)
def test_a_link_is_kept_as_it_came(url: str) -> None:
    assert reference(url, "here") == Given(Link(url), "here")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_image_url"),
        (" ", "invalid_image_url"),
        ("x", "invalid_image_url"),
        ("a.example/x.png", "invalid_image_url"),
        ("//a.example/x.png", "invalid_image_url"),
        ("https:a.example", "invalid_image_url"),
        ("https://", "invalid_image_url"),
        ("https:///x", "invalid_image_url"),
        ("https:// a.example", "invalid_image_url"),
        ("ftp://a.example/x.png", "invalid_image_url"),
        ("file:///etc/passwd", "invalid_image_url"),
        ("javascript:alert(1)", "invalid_image_url"),
        ("file-abc123", "invalid_image_url"),
        (" https://a.example", "invalid_image_url"),
        ("https://a.example/" + "x" * LINK_LENGTH, "invalid_image_url"),
        (B64, "invalid_image_url"),
        ("data:", "invalid_image_url"),
        ("data:,", "invalid_image_url"),
        ("data:image/png,abc", "invalid_image_url"),
        ("data:image/png;base64", "invalid_image_url"),
        (f"data:image/png;base64;{B64}", "invalid_image_url"),
        (f"data:image/png {B64}", "invalid_image_url"),
        ("data:" + ";" * 100_000 + f";base64,{B64}", "invalid_image_url"),
        ("data:image/png;base64,", "invalid_image"),
        ("data:image/png;base64, ", "invalid_image"),
        ("data:image/png;base64,!!!!", "invalid_image"),
        ("data:image/png;base64,A", "invalid_image"),
        ("data:image/png;base64,é", "invalid_image"),
        ("data:image/png;base64,%2B%2B", "invalid_image"),
        ("data:image/png;base64,QUJDRA==", "invalid_image"),
        (f"data:image/png;base64,data:image/png;base64,{B64}", "invalid_image"),
        (
            "data:image/svg+xml;base64," + base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(),
            "invalid_image",
        ),
    ],
    ids=lambda value: ascii(value[:40]),
)
def test_what_is_no_picture_names_where_it_stands(url: str, code: str) -> None:
    error = refused(lambda: reference(url, "image[3]"))
    assert (error.param, error.code) == ("image[3]", code)
    assert "image[3]" in error.message
    assert len(error.message) < 200  # a picture is not repeated to who sent it


@pytest.mark.parametrize("encoded", [B64, B64.rstrip("="), B64.replace("/", "_").replace("+", "-"), f"\n{B64}\n"])
def test_bare_base64_is_a_picture(encoded: str) -> None:
    assert contents(picture(encoded, "p")) == PNG


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("QUJD", "known format"),
        ("!", "base64"),
        ("é", "base64"),
        (f"data:image/png;base64,{B64}", "base64"),
    ],
)
def test_bare_base64_that_is_no_picture_is_refused(encoded: str, words: str) -> None:
    error = refused(lambda: picture(encoded, "p"))
    assert (error.param, error.code) == ("p", "invalid_image")
    assert words in error.message


def test_a_broken_middle_is_left_to_who_verifies() -> None:
    """It is found by the pass that hashes the picture, before anything is sent."""
    given = picture(base64.b64encode(PNG + bytes(1000)).decode()[:-8] + "!!!!!!!!", "p")
    assert isinstance(given.value, Image)


def test_a_file_is_checked_by_its_first_bytes() -> None:
    image = Image(PNG)
    assert checked(image, "p") == Given(image, "p")
    assert refused(lambda: checked(Image(), "p")).param == "p"
    assert "empty" in refused(lambda: checked(Image(b""), "p")).message
    assert "png, jpeg, webp" in refused(lambda: checked(Image(b"<html>" * 9), "p")).message


@pytest.mark.parametrize(
    "url", ["data:" + ";" * 1_000_000, "data:" + "a;" * 500_000, "https://" + "a" * 1_000_000, "data:" * 200_000]
)
def test_odd_text_is_refused_at_once(url: str) -> None:
    begun = time.process_time()
    refused(lambda: reference(url, "p"))
    assert time.process_time() - begun < 0.2


# --- ask ---


def asked(fields: Mapping[str, Any], prompt: str = "a hat") -> Ask:
    return ask(prompt, fields, used=frozenset({"model", "prompt"}), references=())


FIELDS: dict[str, list[tuple[Any, Any]]] = {
    "n": [(1, 1), ("2", 2), (10**18, 10**18)],
    "seed": [(0, 0), (-1, -1), ("42", 42), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63))],
    "size": [("1024x1024", "1024x1024"), ("", "")],
    "aspect_ratio": [("16:9", "16:9")],
    "resolution": [("2K", "2K")],
    "quality": [("high", "high")],
    "output_format": [("png", "png")],
    "background": [("opaque", "opaque")],
}


@pytest.mark.parametrize(("name", "given", "taken"), [(name, *pair) for name, pairs in FIELDS.items() for pair in pairs])
def test_known_fields_are_options_of_the_job(name: str, given: object, taken: object) -> None:
    made = asked({"model": "m", "prompt": "p", name: given})
    assert made.options == {name: taken}
    assert same(made.options[name], taken)
    assert made.extra == {}
    assert getattr(job(made, name="n", model="m", like="l"), name) == taken


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_any_type_is_taken_or_named(name: str) -> None:
    faults = []
    for value in VALUES:
        try:
            made = asked({name: value})
        except ClientError as error:
            faults.append(error)
        else:
            assert isinstance(job(made, name="n", model="m", like="l"), Job), value
            assert (name in made.options) == (value is not None), value
    assert 15 < len(faults) < len(VALUES) - 5
    assert {(fault.status, fault.param, name in fault.message) for fault in faults} == {(400, name, True)}


@pytest.mark.parametrize("value", [0, -1, "0", "-5", -(2**63)])
def test_n_counts_pictures(value: object) -> None:
    error = refused(lambda: asked({"n": value}))
    assert (error.param, error.code) == ("n", "invalid_value")


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_a_seed_has_64_bits(value: object) -> None:
    assert refused(lambda: asked({"seed": value})).code == "invalid_value"


def test_other_fields_are_kept_as_they_came() -> None:
    fields = {"style": {"a": [1]}, "tools": [], "": "", "watermark": True, "user": None, "prompt": 7, "model": []}
    made = asked(fields)
    assert made.extra == {"style": {"a": [1]}, "tools": [], "": "", "watermark": True}  # null is as good as absent
    assert made.options == {}


@pytest.mark.parametrize(("value", "taken"), [("true", True), ("false", False), (True, True), (False, False)])
def test_a_watermark_is_a_boolean_in_every_form(value: object, taken: bool) -> None:
    assert asked({"watermark": value}).extra["watermark"] is taken


@pytest.mark.parametrize(("value", "taken"), [(80, 80), ("80", 80), ("0", 0)])
def test_a_number_beyond_the_vocabulary_is_one_in_every_form(value: object, taken: int) -> None:
    """contracts, README fact 26: a multipart form has only texts."""
    assert asked({"output_compression": value}).extra["output_compression"] == taken
    assert refused(lambda: asked({"output_compression": "much"})).param == "output_compression"


@pytest.mark.parametrize("value", ["yes", [], {}, 7])
def test_a_watermark_of_another_type_is_named(value: object) -> None:
    assert refused(lambda: asked({"watermark": value})).param == "watermark"


def test_a_prompt_has_a_length() -> None:
    assert asked({}, "é" * PROMPT_LENGTH).prompt == "é" * PROMPT_LENGTH
    error = refused(lambda: asked({}, "x" * (PROMPT_LENGTH + 1)))
    assert error.param == "prompt"
    assert len(error.message) < 200


# --- job ---


def test_a_job_is_what_was_asked() -> None:
    one, two, mask = Image(PNG), Link("https://a.example"), Image(PNG, b"mask")
    made = Ask(
        prompt="a hat",
        references=(Given(one, "image[0]"), Given(two, "image[1]")),
        mask=Given(mask, "mask"),
        options={"n": 2, "size": "2K", "seed": 5},
        extra={"style": "vivid"},
        stream=True,
        notes=("a note",),
    )
    assert job(made, name="house-style", model="ep-1", like="seedream-4.0") == Job(
        name="house-style",
        model="ep-1",
        like="seedream-4.0",
        prompt="a hat",
        references=(one, two),
        mask=mask,
        n=2,
        size="2K",
        seed=5,
        extra={"style": "vivid"},
        stream=True,
    )


def test_a_plain_ask_is_a_plain_job() -> None:
    assert job(Ask(prompt="p"), name="n", model="m", like="l") == Job(
        name="n", model="m", like="l", prompt="p"
    )
