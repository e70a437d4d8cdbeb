"""Pictures asked for by name: generations, edits as multipart and as JSON, and the answers to both."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from plugins.image_edit import Image, Job, Link, Result, Rules
from plugins.image_edit.ask import Ask, Event, Given, job
from plugins.image_edit.dialects.images import EDITS, GENERATIONS, Images
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG
from plugins.image_edit.wire import Form, Upload, json_pieces
from proxy_core import Body, ClientError, Data, Exchange, Piece

B64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{B64}"
URL_A, URL_B = "https://a.example/1.png?sig=a%2Fb", "https://b.example/2.png"


def form(fields: Mapping[str, Any], *uploads: Upload) -> Form:
    """A multipart form whose texts are `fields`; a list is a repeated one."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}
    return Form(fields={name: values[-1] for name, values in lists.items()}, uploads=uploads, multipart=True, lists=lists)


def upload(name: str, data: bytes = PNG, filename: str = "upload") -> Upload:
    return Upload(name=name, filename=filename, image=Image(data))


def edited(**fields: Any) -> Ask:
    return EDITS.parse(Form(fields={"model": "m", "prompt": "a hat", **fields}))


def refused(dialect: Images, given: Form) -> ClientError:
    with pytest.raises(ClientError) as caught:
        dialect.parse(given)
    assert caught.value.status == 400
    assert caught.value.code
    assert caught.value.param
    assert len(caught.value.message) < 400
    return caught.value


def shown(given: Given | None) -> str:
    """Where a link leads, or the picture's bytes."""
    assert given is not None
    if isinstance(given.value, Link):
        return given.value.url
    return b"".join(map(bytes, given.value.chunks())).decode("latin-1")


PIXELS = PNG.decode("latin-1")


def numbered(n: int) -> bytes:
    return PNG + bytes([n])


# --- generations ---


@pytest.mark.parametrize("multipart", [False, True])
def test_a_generation_is_a_prompt_and_options(multipart: bool) -> None:
    fields = {"model": "m", "prompt": "a hat\n", "n": "2", "size": "1024x1024", "quality": "high", "style": "vivid"}
    made = GENERATIONS.parse(form(fields) if multipart else Form(fields=fields))
    assert made == Ask(
        prompt="a hat\n",
        options={"n": 2, "size": "1024x1024", "quality": "high"},
        extra={"style": "vivid"},
    )


@pytest.mark.parametrize("name", ["image", "images", "image[]", "image[0]", "mask", "image_url"])
@pytest.mark.parametrize(
    "value", [DATA, [DATA], [{"image_url": DATA}], {"url": DATA}, "x", 5], ids=lambda value: repr(value)[:20]
)
def test_a_generation_with_a_picture_is_refused_not_served_without_it(name: str, value: object) -> None:
    error = refused(GENERATIONS, Form(fields={"model": "m", "prompt": "a hat", name: value}))
    assert (error.param, error.code) == (name, "unsupported_parameter")
    assert "/v1/images/edits" in error.message


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "images", "mask", "picture", ""])
def test_a_generation_with_a_file_is_refused_not_served_without_it(name: str) -> None:
    with pytest.raises(ClientError) as caught:
        GENERATIONS.parse(form({"model": "m", "prompt": "a hat"}, upload(name)))
    assert caught.value.status == 400
    assert (caught.value.param or "") == name


@pytest.mark.parametrize("value", [None, "", [], False])
@pytest.mark.parametrize("name", ["image", "images", "mask"])
def test_a_generation_with_no_picture_in_a_pictures_place_is_one(name: str, value: object) -> None:
    assert GENERATIONS.parse(Form(fields={"model": "m", "prompt": "a hat", name: value})).references == ()


@pytest.mark.parametrize("dialect", [GENERATIONS, EDITS])
@pytest.mark.parametrize("prompt", [None, "", "  \n", 5, ["a hat"], {"text": "a hat"}, True, ...], ids=repr)
def test_a_prompt_is_needed(dialect: Images, prompt: object) -> None:
    fields = {"model": "m", "image": DATA} if dialect is EDITS else {"model": "m"}
    error = refused(dialect, Form(fields=fields if prompt is ... else {**fields, "prompt": prompt}))
    assert error.param == "prompt"


# --- edits as multipart ---


@pytest.mark.parametrize(
    ("fields", "uploads", "pictures"),
    [
        ({}, [upload("image")], [PIXELS]),
        ({}, [upload("image[]")], [PIXELS]),
        ({}, [upload("image[0]")], [PIXELS]),
        ({}, [upload("image", filename="")], [PIXELS]),
        ({}, [upload("image", filename="blob")], [PIXELS]),
        (
            {},
            [upload("image[]", numbered(2)), upload("image[]", numbered(0)), upload("image[]", numbered(1))],
            [f"{PIXELS}{chr(n)}" for n in (2, 0, 1)],
        ),
        ({}, [upload("image", numbered(0)), upload("image", numbered(1))], [f"{PIXELS}\x00", f"{PIXELS}\x01"]),
        ({}, [upload("image[0]", numbered(0)), upload("image[1]", numbered(1))], [f"{PIXELS}\x00", f"{PIXELS}\x01"]),
        ({"image": URL_A}, [], [URL_A]),
        ({"image": DATA}, [], [PIXELS]),
        ({"image[]": [URL_A, URL_B]}, [], [URL_A, URL_B]),
        ({"image[1]": URL_A, "image[0]": URL_B}, [], [URL_A, URL_B]),
        ({"image": URL_A}, [upload("image[]")], [PIXELS, URL_A]),
    ],
    ids=itertools.count(),
)
def test_files_are_references_in_order(fields: dict[str, Any], uploads: list[Upload], pictures: list[str]) -> None:
    made = EDITS.parse(form({"prompt": "a hat", "model": "m", **fields}, *uploads))
    assert [shown(given) for given in made.references] == pictures
    assert made.mask is None
    assert made.extra == {}
    assert made.options == {}


@pytest.mark.parametrize(
    ("fields", "uploads", "mask"),
    [
        ({}, [upload("mask", numbered(9)), upload("image")], f"{PIXELS}\x09"),
        ({}, [upload("image"), upload("mask", numbered(9))], f"{PIXELS}\x09"),
        ({"mask": URL_B}, [upload("image")], URL_B),
    ],
)
def test_a_mask_is_no_reference(fields: dict[str, Any], uploads: list[Upload], mask: str) -> None:
    made = EDITS.parse(form({"prompt": "a hat", **fields}, *uploads))
    assert [shown(given) for given in made.references] == [PIXELS]
    assert shown(made.mask) == mask
    assert made.extra == {}


def test_texts_of_a_form_are_read_as_what_they_mean() -> None:
    texts = {
        "model": "m",
        "prompt": "a hat",
        "n": "2",
        "seed": "-1",
        "stream": "true",
        "watermark": "false",
        "user": "u",
        "x": "y",
    }
    made = EDITS.parse(form(texts, upload("image")))
    assert made.options == {"n": 2, "seed": -1}
    assert made.stream is True
    assert made.extra == {"watermark": False, "x": "y"}


@pytest.mark.parametrize(
    ("fields", "uploads", "param"),
    [
        ({}, [], "image"),
        ({}, [upload("mask")], "image"),
        ({"mask": DATA}, [], "image"),
        ({}, [upload("image", b"")], "image[0]"),
        ({}, [upload("image", b"<html>")], "image[0]"),
        ({}, [upload("image[]"), upload("image[]", b"GIF8")], "image[1]"),
        ({}, [upload("image"), upload("mask", b"text")], "mask"),
        ({}, [upload("image"), upload("mask", b"")], "mask"),
        ({}, [upload("image"), upload("picture")], "picture"),
        ({}, [upload("image"), upload("x" * 5000)], "x" * 40),
        ({}, [upload("images")], "images"),
        ({}, [upload("image[a]")], "image[a]"),
        ({}, [upload("image[0][1]")], "image[0][1]"),
        ({"image": "a file's name"}, [], "image"),
        ({"image[]": [URL_A, ""]}, [], "image[]"),
        ({"mask": ""}, [upload("image")], "mask"),
        ({"prompt": ""}, [upload("image")], "prompt"),
        ({"n": "two"}, [upload("image")], "n"),
        ({"n": "1.0"}, [upload("image")], "n"),
        ({"stream": "maybe"}, [upload("image")], "stream"),
    ],
    ids=itertools.count(),
)
def test_what_is_wrong_with_a_form_is_named(fields: dict[str, Any], uploads: list[Upload], param: str) -> None:
    assert refused(EDITS, form({"prompt": "a hat", **fields}, *uploads)).param == param


def test_a_file_without_a_name_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        EDITS.parse(form({"prompt": "a hat"}, upload("image"), upload("")))
    assert caught.value.status == 400


# --- edits as JSON ---


@pytest.mark.parametrize(
    ("fields", "pictures"),
    [
        # OpenAI's `images` of objects.
        ({"images": [{"image_url": URL_A}]}, [URL_A]),
        ({"images": [{"image_url": DATA}, {"image_url": URL_B}]}, [PIXELS, URL_B]),
        ({"images": [{"image_url": {"url": URL_A}}]}, [URL_A]),
        ({"images": [{"image_url": URL_A, "file_id": None}]}, [URL_A]),
        # xAI's `image` object, and its `images`.
        ({"image": {"url": URL_A, "type": "image_url"}}, [URL_A]),
        ({"images": [{"url": URL_A}, {"url": URL_B}]}, [URL_A, URL_B]),
        # Ark's `image` string or strings.
        ({"image": DATA}, [PIXELS]),
        ({"image": [URL_B, URL_A]}, [URL_B, URL_A]),
        ({"images": URL_A}, [URL_A]),
        ({"image": URL_A, "images": [URL_B]}, [URL_A, URL_B]),
        ({"image": None, "images": [URL_B]}, [URL_B]),
    ],
    ids=itertools.count(),
)
def test_json_names_its_pictures_in_three_ways(fields: dict[str, Any], pictures: list[str]) -> None:
    made = edited(**fields)
    assert [shown(given) for given in made.references] == pictures
    assert made.mask is None
    assert made.extra == {}


@pytest.mark.parametrize("mask", [DATA, {"image_url": DATA}, {"url": DATA}, {"image_url": {"url": DATA}}])
def test_a_mask_in_json(mask: object) -> None:
    made = edited(image=URL_A, mask=mask)
    assert shown(made.mask) == PIXELS
    assert [shown(given) for given in made.references] == [URL_A]
    assert edited(image=URL_A, mask=None).mask is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "image"),
        ({"image": None}, "image"),
        ({"images": []}, "image"),
        ({"mask": DATA}, "image"),
        ({"image": ""}, "image"),
        ({"image": 5}, "image"),
        ({"image": True}, "image"),
        ({"image": "file-123"}, "image"),
        ({"image": {}}, "image"),
        ({"image": {"url": None}}, "image"),
        ({"image": {"url": 5}}, "image.url"),
        ({"image": {"image_url": []}}, "image.image_url"),
        ({"image": {"image_url": {"url": "x"}}}, "image.image_url.url"),
        ({"image": {"file_id": "file-123"}}, "image.file_id"),
        ({"image": {"file_id": 5, "image_url": DATA}}, "image.file_id"),
        ({"images": [{"file_id": "file-123"}]}, "images[0].file_id"),
        ({"images": [URL_A, None]}, "images[1]"),
        ({"images": [URL_A, [URL_B]]}, "images[1]"),
        ({"images": [URL_A, {"image_url": "data:image/png;base64,"}]}, "images[1].image_url"),
        ({"images": [{"type": "image"}]}, "images[0]"),
        ({"image": DATA, "mask": {}}, "mask"),
        ({"image": DATA, "mask": {"file_id": "x"}}, "mask.file_id"),
        ({"image": DATA, "mask": 5}, "mask"),
        ({"image": DATA, "mask": []}, "mask"),
        ({"image": DATA, "mask": ""}, "mask"),
        ({"image": DATA, "n": 0}, "n"),
        ({"image": DATA, "n": 1.5}, "n"),
        ({"image": DATA, "n": True}, "n"),
        ({"image": DATA, "size": 1024}, "size"),
        ({"image": DATA, "seed": "x"}, "seed"),
        ({"image": DATA, "stream": "x"}, "stream"),
        ({"image": DATA, "background": {}}, "background"),
        ({"image": DATA, "output_format": ["png"]}, "output_format"),
        ({"image": DATA, "quality": 5}, "quality"),
    ],
    ids=itertools.count(),
)
def test_what_is_wrong_with_json_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(EDITS, Form(fields={"model": "m", "prompt": "a hat", **fields})).param == param


@pytest.mark.parametrize("depth", [10, 300, 1000])
@pytest.mark.parametrize("key", ["url", "image_url"])
@pytest.mark.parametrize("place", ["image", "images", "mask"])
def test_pictures_within_pictures_are_no_crash_at_any_depth(depth: int, key: str, place: str) -> None:
    """As deep as a body's JSON may be nested."""
    nested: Any = 5
    for _ in range(depth):
        nested = {key: nested}
    fields = {"model": "m", "prompt": "a hat", "image": DATA, place: [nested] if place == "images" else nested}
    with pytest.raises(ClientError) as caught:
        EDITS.parse(Form(fields=fields))
    assert caught.value.param is not None
    assert caught.value.param.startswith(place)


# --- what is served differently ---


@pytest.mark.parametrize("dialect", [GENERATIONS, EDITS])
def test_links_are_asked_for_and_not_given(dialect: Images) -> None:
    fields = {"model": "m", "prompt": "a hat", **({"image": DATA} if dialect is EDITS else {})}
    (note,) = dialect.parse(Form(fields={**fields, "response_format": "url"})).notes
    assert "b64_json" in note
    others: list[object] = ["b64_json", None, "", 5, [], {}]
    for asked in others:
        made = dialect.parse(Form(fields={**fields, "response_format": asked}))
        assert made.notes == ()
        assert made.extra == {}


@pytest.mark.parametrize("asked", [2, "2"])
def test_previews_are_for_who_streams(asked: object) -> None:
    fields = {"model": "m", "prompt": "a hat", "partial_images": asked}
    assert GENERATIONS.parse(Form(fields={**fields, "stream": True})).partial_images == 2
    made = GENERATIONS.parse(Form(fields=fields))
    assert made.partial_images == 0
    (note,) = made.notes
    assert "partial_images" in note
    for none in (0, "0", None):
        assert GENERATIONS.parse(Form(fields={**fields, "partial_images": none})).notes == ()


@pytest.mark.parametrize("asked", [4, -1, "many", 1.5, [], True])
def test_previews_are_at_most_three(asked: object) -> None:
    with pytest.raises(ClientError) as caught:
        GENERATIONS.parse(Form(fields={"model": "m", "prompt": "a hat", "stream": True, "partial_images": asked}))
    assert caught.value.param == "partial_images"


def test_who_asks_is_nobodys_business() -> None:
    made = GENERATIONS.parse(Form(fields={"model": "m", "prompt": "p", "user": "someone", "safety_identifier": "x"}))
    assert (made.extra, made.options) == ({}, {})


# --- every value in every place ---

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, 1e30, "", "x", " ", "\x00", "16:9", "1024x1024", "data:",
    "data:image/png;base64,!!!!", "http://", "https://a.example", DATA, [], {}, [[]], [None], [5], ["x"], [{}], {"url": None},
    {"image_url": []}, {"file_id": []}, {"": {}}, {"url": {"url": {"url": 5}}},
]  # fmt: skip


def mutants(value: Any) -> Iterator[Any]:
    """`value` with each part of it, in turn, replaced by everything strange, doubled, and left out."""
    yield from STRANGE
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {other: kept for other, kept in value.items() if other != key}
            yield from ({**value, key: mutant} for mutant in mutants(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield [*value[:place], *value[place + 1 :]]
            yield [*value[: place + 1], *value[place:]]
            yield from ([*value[:place], mutant, *value[place + 1 :]] for mutant in mutants(inner))


PLAIN: dict[str, Any] = {
    "model": "m", "prompt": "a hat", "n": 1, "size": "1024x1024", "quality": "high", "response_format": "url", "user": "u",
    "stream": False, "partial_images": 1, "background": "opaque", "output_format": "png", "seed": 1, "aspect_ratio": "1:1",
    "resolution": "2K", "watermark": True, "style": {"a": [1]},
}  # fmt: skip
PICTURES: dict[str, Any] = {
    "image": [DATA, {"url": DATA, "type": "image_url"}],
    "images": [{"image_url": DATA, "file_id": None}, {"image_url": {"url": URL_A}}, URL_B],
    "mask": {"image_url": DATA},
}
RULES = [Rules(mask=True), Rules(fields=frozenset({"size", "seed", "style", "quality", "watermark"}), mask=True)]


@pytest.mark.parametrize(
    ("dialect", "valid"), [(GENERATIONS, PLAIN), (EDITS, {**PLAIN, **PICTURES})], ids=["generations", "edits"]
)
def test_whatever_is_sent_becomes_a_job_or_names_what_is_wrong(dialect: Images, valid: dict[str, Any]) -> None:
    counts = {"jobs": 0, "refusals": 0}
    for fields in mutants(valid):
        if not isinstance(fields, dict):
            continue  # refused by who reads the body
        try:
            made = job(dialect.parse(Form(fields=fields)), name="n", model="m", like="l")
            for rules, reject in itertools.product(RULES, [False, True]):
                counts["jobs"] += 1
                fit(made, rules, reject=reject)
        except ClientError as error:
            counts["refusals"] += 1
            told = (error.status, bool(error.code), isinstance(error.param, str), len(error.message) < 500)
            assert told == (400, True, True, True), (fields, error.body())  # noqa: PT017  # the mutant is shown
    assert min(counts.values()) > 200  # both ways were taken


@pytest.mark.parametrize("name", [*PLAIN, "image", "image[]", "image[0]", "mask", ""])
@pytest.mark.parametrize("dialect", [GENERATIONS, EDITS], ids=["generations", "edits"])
def test_any_text_in_a_form_becomes_a_job_or_names_what_is_wrong(dialect: Images, name: str) -> None:
    for text in (value for value in STRANGE if isinstance(value, str)):
        uploads = [upload("image")] if dialect is EDITS else []
        try:
            made = job(
                dialect.parse(form({"prompt": "p", name: [text]}, *uploads)), name="n", model="m", like=""
            )
            fit(made, RULES[1], reject=False)
        except ClientError as error:
            assert (error.status, isinstance(error.param, str)) == (400, True), text  # noqa: PT017  # the text is shown


# --- answers ---

ONE, TWO = Image(PNG), Image(b"\xff\xd8\xff", b"a jpeg")
TWO64 = base64.b64encode(b"\xff\xd8\xffa jpeg").decode()
EXCHANGE = Exchange(asked_id="req-7")
USAGE = {"input_tokens": 0, "output_tokens": 5, "total_tokens": 5, "input_tokens_details": {"text_tokens": 0}}


def result(*images: Image, **more: Any) -> Result:
    asked = Job(name="house-style", model="ep-1", prompt="p")
    return Result(**{"job": asked, "provider": "toy", "images": images, "model": "toy-1", "warnings": ["w"], **more})


def joined(pieces: Sequence[Data | Piece]) -> bytes:
    body = b"".join(bytes(chunk) for p in pieces for chunk in (p.chunks() if isinstance(p, Piece) else [p]))
    assert Body(*pieces).size == len(body)
    return body


def rendered(given: Result, extra: Any = None) -> Any:
    return orjson.loads(joined(EDITS.render(given, EXCHANGE, extra or {})))


def written(events: Sequence[Event], *items: dict[str, Any]) -> list[tuple[str, Any]]:
    """(name, data) as they are sent, a signer's fields in those that take some."""
    for event, item in zip(events, items, strict=False):
        assert event.image is not None
        assert event.place is not None
        event.place.update(item)
    return [(event.name, orjson.loads(joined(json_pieces(event.value)))) for event in events]


def streamed(dialect: Images, given: Result, extra: Any = None, items: Any = ()) -> list[tuple[str, Any]]:
    told = dialect.events(given.job, EXCHANGE)
    events = [event for image in given.images for event in told.image(image)]
    return written([*events, *told.end(given, extra or {})], *items)


@pytest.mark.parametrize("dialect", [GENERATIONS, EDITS])
def test_an_answer_is_a_list_of_base64(dialect: Images) -> None:
    answer = orjson.loads(joined(dialect.render(result(ONE, TWO, usage=USAGE), EXCHANGE, {})))
    assert abs(answer.pop("created") - time.time()) < 10
    assert answer == {"data": [{"b64_json": B64}, {"b64_json": TWO64}], "warnings": ["w"], "usage": USAGE, "cost": None}


@pytest.mark.parametrize(("images", "told"), [((ONE,), "png"), ((TWO, TWO), "jpeg"), ((ONE, TWO), None)])
def test_the_format_told_is_the_format_made(images: tuple[Image, ...], told: str | None) -> None:
    """Whatever was asked, or claimed by who made it."""
    job_ = Job(name="n", model="m", prompt="p", output_format="webp")
    assert rendered(result(*images, job=job_)).get("output_format") == told
    events = [event for _, event in streamed(EDITS, result(*images, job=job_))]
    assert [event["output_format"] for event in events] == [image.media_type.partition("/")[2] for image in images]


def test_what_is_not_known_is_not_told() -> None:
    assert "usage" not in rendered(result(ONE))
    assert rendered(result(ONE, warnings=[]))["warnings"] == []


@pytest.mark.parametrize(("dialect", "name"), [(GENERATIONS, "image_generation.completed"), (EDITS, "image_edit.completed")])
def test_a_streamed_answer_is_an_event_for_each_picture(dialect: Images, name: str) -> None:
    (first, one), (second, two) = streamed(dialect, result(ONE, TWO, usage=USAGE))
    assert (first, second) == (name, name)
    for event in (one, two):
        assert abs(event.pop("created_at") - time.time()) < 10
    common = {"type": name, "quality": "auto", "background": "auto"}
    assert one.pop("size") == "1x1"
    assert one == {**common, "b64_json": B64, "index": 0, "output_format": "png"}
    last = {"index": 1, "output_format": "jpeg", "warnings": ["w"], "usage": USAGE, "cost": None}
    assert two == {**common, "b64_json": TWO64, **last}


def test_the_last_picture_waits_for_what_belongs_to_all() -> None:
    told = EDITS.events(result(ONE).job, EXCHANGE)
    assert told.image(ONE) == []
    assert [event.image for event in told.image(TWO)] == [ONE]
    assert [event.image for event in told.end(result(ONE, TWO), {})] == [TWO]


@pytest.mark.parametrize(("dialect", "stem"), [(GENERATIONS, "image_generation"), (EDITS, "image_edit")])
def test_a_preview_is_an_event_at_once(dialect: Images, stem: str) -> None:
    asked = Job(name="n", model="m", prompt="p", quality="low", background="opaque")
    ((name, event),) = written(dialect.events(asked, EXCHANGE).preview(ONE, index=0, number=2))
    assert name == f"{stem}.partial_image"
    assert abs(event.pop("created_at") - time.time()) < 10
    told = {"partial_image_index": 2, "index": 0, "size": "1x1", "output_format": "png"}
    told |= {"quality": "low", "background": "opaque"}
    assert event == {"type": f"{stem}.partial_image", "b64_json": B64, **told}


def test_a_signers_fields_stand_where_clients_keep_them() -> None:
    extra, items = {"signature": "s"}, [{"image_signature": "1"}, {"image_signature": "2"}]
    answer = rendered(result(ONE, TWO), extra)
    assert answer["signature"] == "s"
    (_, one), (_, two) = streamed(EDITS, result(ONE, TWO), extra, items)
    assert [one["image_signature"], two["image_signature"]] == ["1", "2"]
    assert "signature" not in one
    assert two["signature"] == "s"
