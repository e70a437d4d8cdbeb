"""What clients may send, over a real socket: each is answered, or told what is wrong with it, and the proxy is well after.

Each vector has a name, which is in the failure's message. Nobody is asked for a picture on behalf of a refused one.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from plugins.image_edit.testing import PNG
from tests.hostile import (
    ASKED,
    CHAT,
    DATA_URL,
    EDITS,
    FORM,
    GENERATIONS,
    LIMIT,
    LOOSE,
    RESPONSES,
    SANDBOX,
    SHAPED,
    STRICT,
    SURFACES,
    House,
    Vector,
    file,
    form,
    holed,
    house,
    text,
    written,
)
from tests.hostile_fields import (
    BASE,
    EVERY,
    HOLE,
    IDLE,
    NO_PIXELS,
    NO_RATIOS,
    ODD,
    OPTIONS,
    PIXELS,
    RATIOS,
    UNREADABLE,
    named,
    places,
    right,
)
from tests.hostile_forms import BROKEN_FORMS, GOOD_FORMS, WHOLE, WRONG_FORMS, Form
from tests.hostile_pictures import BAD_URLS, BOMBS, CUT, GOOD_URLS, JPEG64, WHOLE_BY_THEIR_HEADER
from tests.hostile_pictures import url as picture_url

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain() -> AsyncIterator[House]:
    async with house() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signed() -> AsyncIterator[House]:
    async with house(signed=True) as found:
        yield found


# --- every field of every dialect ---


@pytest.mark.parametrize("surface", SURFACES)
async def test_odd_values_in_every_field(plain: House, surface: str) -> None:
    path = SURFACES[surface]
    vectors: dict[str, Vector] = {}
    for place, base in places(surface).items():
        param = named(place)
        for name, value in ODD.items():
            body = holed(base, value)
            if name in right(surface, place):
                vectors[f"{place} = {name}"] = Vector(path=path, body=body, status=200)
            elif place == "model" and value.startswith(b'"'):
                vectors[f"{place} = {name}"] = Vector(path=path, body=body, status=404, param="model", code="model_not_found")
            else:
                vectors[f"{place} = {name}"] = Vector(path=path, body=body, param=param.removesuffix("*") + "*")
    idle = {**BASE[surface], **dict.fromkeys(IDLE[surface].split(), HOLE)}
    for name, value in ODD.items():
        if name != "100,000":
            vectors[f"all that is idle = {name}"] = Vector(path=path, body=written(idle).replace(b'"@"', value), status=200)
    assert right(surface, "unknown") < EVERY
    await plain.hold(vectors)


@pytest.mark.parametrize("surface", SURFACES)
async def test_what_no_parser_takes_in_every_field(plain: House, surface: str) -> None:
    await plain.hold(
        {
            f"{place} = {name}": Vector(path=SURFACES[surface], body=holed(base, value), param=None, code="invalid_json")
            for place, base in places(surface).items()
            for name, value in UNREADABLE.items()
        }
    )


# --- words for sizes ---


@pytest.mark.parametrize("model", [LOOSE, SHAPED, STRICT, SANDBOX])
async def test_odd_words_for_a_size(plain: House, model: str) -> None:
    """What would be divided by nothing, or is no size: a model is asked for what it can do, and for nothing else."""

    def asked(name: str, value: str, status: int) -> Vector:
        body = written({"model": model, "prompt": "a hat", name: value})
        return Vector(path=GENERATIONS, body=body, status=200 if model == LOOSE else status, param=name)

    vectors = {f"aspect_ratio {name}": asked("aspect_ratio", value, 200) for name, value in RATIOS.items()}
    vectors |= {f"aspect_ratio {value[:20]}": asked("aspect_ratio", value, 400) for value in NO_RATIOS}
    vectors |= {f"size {name}": asked("size", value, 200) for name, value in RATIOS.items() if name != "16:9 "}
    vectors |= {f"size {value[:20]}": asked("size", value, 200) for value in PIXELS}
    vectors |= {f"size {value[:20]}": asked("size", value, 400) for value in NO_PIXELS}
    vectors |= {f"resolution {value[:20]}": asked("resolution", value, 400) for value in NO_PIXELS}
    if model == SANDBOX:  # which takes its time to draw
        vectors = {name: vector for name, vector in vectors.items() if vector.status != 200}
    await plain.hold(vectors)


# --- documents ---

SMALL = {surface: written(base) for surface, base in BASE.items()}

UNREADABLE_DOCUMENTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda body: b"",
    "blanks": lambda body: b" \r\n\t ",
    "a BOM": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "NUL before": lambda body: b"\0" + body,
    "NUL after": lambda body: body + b"\0",
    "a comment before": lambda body: b"// a comment\n" + body,
    "a comment after": lambda body: body + b" # a comment",
    "a comment within": lambda body: body[:1] + b"/* a comment */" + body[1:],
    "a trailing comma": lambda body: body[:-1] + b",}",
    "a comma after": lambda body: body + b",",
    "two documents": lambda body: body + body,
    "two documents, a line each": lambda body: body + b"\n" + body,
    "single quotes": lambda body: body.replace(b'"', b"'"),
    "bare keys": lambda body: body.replace(b'"model"', b"model"),
    "a guard against hijacking": lambda body: b")]}',\n" + body,
    "an event": lambda body: b"data: " + body + b"\n\n",
    "a lone surrogate in a key": lambda body: body[:-1] + b',"\\udfff":1}',
    "surrogates the wrong way round": lambda body: body[:-1] + b',"a":"\\udc00\\ud800"}',
    "an overlong slash": lambda body: body[:-1] + b',"a":"\xc0\xaf"}',
    "a surrogate in UTF-8": lambda body: body[:-1] + b',"a":"\xed\xa0\x80"}',
    "beyond Unicode": lambda body: body[:-1] + b',"a":"\xf4\x90\x80\x80"}',
    "a control character": lambda body: body[:-1] + b',"a":"\x01"}',
    "a bad escape": lambda body: body[:-1] + b',"a":"\\x41"}',
    "half an escape": lambda body: body[:-1] + b',"a":"\\u00"}',
    "hex": lambda body: body[:-1] + b',"a":0x10}',
    "a leading zero": lambda body: body[:-1] + b',"a":01}',
    "a plus": lambda body: body[:-1] + b',"a":+1}',
    "-Infinity": lambda body: body[:-1] + b',"a":-Infinity}',
    "undefined": lambda body: body[:-1] + b',"a":undefined}',
    "True": lambda body: body[:-1] + b',"a":True}',
    "an array about it": lambda body: b"[" + body + b"]",
    "a string about it": lambda body: json.dumps(body.decode()).encode(),
    "null": lambda body: b"null",
    "true": lambda body: b"true",
    "a number": lambda body: b"1e5",
    "an array": lambda body: b"[]",
    "braces without end": lambda body: b'{"a":' * 100_000,
    "brackets without end": lambda body: b"[" * 100_000,
    "a form's text": lambda body: b"model=loose&prompt=a+hat",
    "a picture": lambda body: PNG,
    "gzip": lambda body: gzip.compress(body),
}

GOOD_DOCUMENTS: dict[str, Callable[[bytes], bytes]] = {
    "blanks around": lambda body: b"\r\n\t " + body + b" \n",
    "a key twice, the last counts": lambda body: b'{"model":"nobody",' + body[1:],
    "escaped keys": lambda body: body.replace(b'"model"', b'"\\u006d\\u006fdel"'),
    "a key of nothing": lambda body: body[:-1] + b',"":null}',
    "keys like a prototype's": lambda body: body[:-1] + b',"__proto__":{"n":9},"constructor":1,"__class__":1,"self":1}',
    "a key with NUL": lambda body: body[:-1] + b',"a\\u0000b":1}',
    "a huge key": lambda body: body[:-1] + b',"' + b"k" * 100_000 + b'":1}',
    "a number of 5000 digits": lambda body: body[:-1] + b',"a":' + b"0." + b"3" * 5000 + b"}",
    "an exponent of nothing": lambda body: body[:-1] + b',"a":1e-99999}',
    "200 fields": lambda body: body[:-1] + b"".join(b',"a%d":1' % n for n in range(200)) + b"}",
}  # fmt: skip


@pytest.mark.parametrize("surface", SURFACES)
async def test_odd_documents(plain: House, surface: str) -> None:
    path, body = SURFACES[surface], SMALL[surface]
    vectors = {
        name: Vector(path=path, body=spoil(body), param=None, code="invalid_json")
        for name, spoil in UNREADABLE_DOCUMENTS.items()
    }
    vectors |= {name: Vector(path=path, body=make(body), status=200) for name, make in GOOD_DOCUMENTS.items()}
    many = body[:-1] + b"".join(b',"a%d":1' % n for n in range(1000)) + b"}"
    vectors["1000 fields"] = Vector(path=path, body=many, param=None, code="too_many_fields")
    deep = body[:-1] + b',"' + b"k" * 50_000 + b'":' + ODD["900 deep"] + b"}"
    vectors["a huge key of something deep"] = Vector(path=path, body=deep, param="k" * 60, code="invalid_value")
    await plain.hold(vectors)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_document_that_is_cut_anywhere(plain: House, surface: str) -> None:
    body = SMALL[surface]
    await plain.hold(
        {f"after {end} bytes": Vector(path=SURFACES[surface], body=body[:end], code="invalid_json") for end in range(len(body))}
    )


def chat(*parts: object) -> bytes:
    return written({"model": LOOSE, "messages": [{"role": "user", "content": [{"type": "text", "text": "a hat"}, *parts]}]})


async def test_huge_documents(plain: House) -> None:
    """Few, for each takes its time: a part or a place of which there are 100,000, and 30 MB where a word or a link belongs."""
    link = {"type": "image_url", "image_url": "https://a.example/b"}
    huge = b'"' + b"h" * 30_000_000 + b'"'
    large = b'"' + b"h" * 3_000_000 + b'"'
    data = b'"data:image/png;base64,' + b"A" * 30_000_000 + b'"'
    edit = {"model": LOOSE, "prompt": "a hat", "image": HOLE}
    words = {"model": LOOSE, "messages": [{"role": "user", "content": "a"}] * 100_000}
    items = {"model": LOOSE, "input": [{"role": "user", "content": "a hat"}, *[{"type": "reasoning"}] * 100_000]}
    images = {"model": LOOSE, "prompt": "a hat", "images": ["https://a.example/b"] * 100_000}
    await plain.hold(
        {
            "100,000 texts": Vector(path=CHAT, body=chat(*["a"] * 100_000), param="messages", code="string_above_max_length"),
            "100,000 pictures": Vector(
                path=CHAT, body=chat(*[link] * 100_000), param="messages[0].content[257]", code="too_many_images"
            ),
            "100,000 parts of no kind": Vector(path=CHAT, body=chat(*[{}] * 100_000), param="messages[0].content[1]"),
            "17 pictures": Vector(path=CHAT, body=chat(*[link] * 17), param="image[16]", code="too_many_images"),
            "100,000 messages": Vector(path=CHAT, body=written(words), param="messages", code="string_above_max_length"),
            "100,000 items": Vector(path=RESPONSES, body=written(items), status=200),
            "100,000 images": Vector(path=EDITS, body=written(images), param="images[256]", code="too_many_images"),
            "30 MB for a link": Vector(path=EDITS, body=holed(edit, huge), param="image", code="invalid_image_url"),
            "30 MB for a picture": Vector(path=EDITS, body=holed(edit, data), param="image", code="invalid_image"),
            "3 MB for a prompt": Vector(
                path=GENERATIONS, body=holed({"model": LOOSE, "prompt": HOLE}, large), code="string_above_max_length"
            ),
            "3 MB for a model": Vector(
                path=RESPONSES, body=holed({"model": HOLE, "input": "a"}, large), status=404, param="model"
            ),
            "more than is taken": Vector(path=CHAT, body=b'"' + bytes(LIMIT), status=413, param=None, code="request_too_large"),
        }
    )


# --- pictures ---

PICTURE_PLACES: dict[str, tuple[str, str, dict[str, Any]]] = {  # where it stands -> (path, what an error names, request)
    "chat": (CHAT, "messages[0].content[1].image_url.url", json.loads(chat({"type": "image_url", "image_url": {"url": HOLE}}))),
    "responses": (
        RESPONSES,
        "input[0].content[1].image_url",
        {"model": LOOSE, "input": [{"role": "user", "content": ["a hat", {"type": "input_image", "image_url": HOLE}]}]},
    ),
    "edits": (EDITS, "images[1].image_url", {**BASE["edits"], "images": [DATA_URL, {"image_url": HOLE}]}),
    "mask": (EDITS, "mask", {**BASE["edits"], "mask": HOLE}),
}  # fmt: skip


@pytest.mark.parametrize("place", PICTURE_PLACES)
async def test_odd_data_urls(plain: House, place: str) -> None:
    path, param, base = PICTURE_PLACES[place]
    good = {name: url for name, url in GOOD_URLS.items() if place != "mask" or "JPEG64" not in url}
    if place == "mask":  # it has the size of what it covers
        good = {name: url for name, url in good.items() if JPEG64[:100] not in url}
    vectors = {name: Vector(path=path, body=holed(base, written(url)), status=200) for name, url in good.items()}
    for name, (url, code) in BAD_URLS.items():
        vectors[name] = Vector(path=path, body=holed(base, written(url)), param=param, code=code)
    await plain.hold(vectors)


@pytest.mark.parametrize("place", PICTURE_PLACES)
async def test_pictures_that_are_bombs_or_cut(plain: House, place: str) -> None:
    path, param, base = PICTURE_PLACES[place]
    vectors: dict[str, Vector] = {}
    for name, data in {**BOMBS, **CUT}.items():
        body = holed(base, written(picture_url(data)))
        vectors[name] = Vector(path=path, body=body, param=param, code="invalid_image")
    if place != "mask":
        for name, data in WHOLE_BY_THEIR_HEADER.items():
            vectors[name] = Vector(path=path, body=holed(base, written(picture_url(data))), status=200)
    await plain.hold(vectors)


async def test_bare_base64(plain: House) -> None:
    """Where a turn's part, or an earlier answer, has it."""
    result = {"type": "image_generation_call", "result": HOLE}
    places = {
        "chat": (CHAT, "messages[0].content[1].base64", json.loads(chat({"type": "image", "base64": HOLE}))),
        "earlier": (RESPONSES, "input[0].result", {"model": LOOSE, "input": [result, {"role": "user", "content": "a hat"}]}),
    }
    vectors: dict[str, Vector] = {}
    for place, (path, param, base) in places.items():
        for name, (url, code) in BAD_URLS.items():
            if code == "invalid_image" and (encoded := url.partition(",")[2]):
                vectors[f"{place}: {name}"] = Vector(path=path, body=holed(base, written(encoded)), param=param, code=code)
        for name, url in GOOD_URLS.items():
            vectors[f"{place}: {name}"] = Vector(path=path, body=holed(base, written(url.partition(",")[2])), status=200)
        vectors[f"{place}: a data URL"] = Vector(path=path, body=holed(base, written(DATA_URL)), param=param)
    await plain.hold(vectors)


# --- what a body is said to be ---

LIES: dict[str, tuple[str, int, str]] = {  # a JSON document under each name -> (status, code)
    "none": ("", 200, ""),
    "JSON": ("application/json", 200, ""),
    "JSON, upper-case": ("APPLICATION/JSON", 200, ""),
    "JSON in latin-1": ("application/json; charset=iso-8859-1", 200, ""),  # JSON is UTF-8 (RFC 8259 8.1)
    "JSON with a boundary": ("application/json; boundary=b", 200, ""),
    "JSON of a vendor": ("application/vnd.api+json", 200, ""),
    "text": ("text/plain;charset=UTF-8", 200, ""),
    "a form": ("multipart/form-data; boundary=b", 400, "invalid_multipart"),
    "a form without a boundary": ("multipart/form-data", 400, "invalid_multipart"),
    "a form of words": ("application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    "bytes": ("application/octet-stream", 415, "unsupported_media_type"),
    "a picture": ("image/png", 415, "unsupported_media_type"),
    "HTML": ("text/html", 415, "unsupported_media_type"),
    "a semicolon": (";", 415, "unsupported_media_type"),
    "half a type": ("json", 415, "unsupported_media_type"),
    "two types": ("application/json, text/html", 415, "unsupported_media_type"),
    "another multipart": ("multipart/mixed; boundary=b", 415, "unsupported_media_type"),
    "a long type": ("x" * 4000, 415, "unsupported_media_type"),
    "many options": ("application/json" + ";a=b" * 1000, 200, ""),
    "quotes without end": ('application/json; a="' + "\\" * 1000, 200, ""),
    "not ASCII": ("application/jsön", 415, "unsupported_media_type"),
}


@pytest.mark.parametrize("surface", SURFACES)
async def test_types_that_lie(plain: House, surface: str) -> None:
    vectors = {
        name: Vector(
            path=SURFACES[surface], body=SMALL[surface], headers={"Content-Type": kind}, status=status, param=None, code=code
        )
        for name, (kind, status, code) in LIES.items()
    }
    whole = form(*ASKED, file("image"))
    for name, kind in {"JSON": "application/json", "text": "text/plain", "none": ""}.items():
        vectors[f"a form that says {name}"] = Vector(
            path=SURFACES[surface], body=whole, headers={"Content-Type": kind}, param=None, code="invalid_json"
        )
    await plain.hold(vectors)


def layered(data: bytes, count: int) -> bytes:
    for _ in range(count):
        data = gzip.compress(data, 1)
    return data


PLAIN = SMALL["generations"]
BOMB = gzip.compress(bytes(LIMIT + 1), 1)
ZIPPED = gzip.compress(PLAIN)
CODED: dict[str, tuple[str, bytes, int, str]] = {  # (Content-Encoding, body, status, code)
    "gzip": ("gzip", ZIPPED, 200, ""),
    "twice": ("gzip, gzip", layered(PLAIN, 2), 200, ""),
    "deflate": ("deflate", zlib.compress(PLAIN), 200, ""),
    "raw deflate": ("deflate", zlib.compress(PLAIN)[2:-4], 200, ""),
    "identity": ("identity", PLAIN, 200, ""),
    "no gzip": ("gzip", PLAIN, 400, "invalid_encoding"),
    "nothing": ("gzip", b"", 400, "invalid_encoding"),
    "another": ("gzip", zlib.compress(PLAIN)[2:-4], 400, "invalid_encoding"),
    "cut": ("gzip", ZIPPED[:-9], 400, "invalid_encoding"),
    "cut in its check": ("gzip", ZIPPED[:-1], 400, "invalid_encoding"),
    "cut in its head": ("gzip", ZIPPED[:5], 400, "invalid_encoding"),
    "a false check": ("gzip", ZIPPED[:-8] + bytes(8), 400, "invalid_encoding"),
    "a false byte": ("gzip", ZIPPED[:20] + b"\xff" + ZIPPED[21:], 400, "invalid_encoding"),
    "something after": ("gzip", ZIPPED + b"x", 400, "invalid_encoding"),
    "two members": ("gzip", ZIPPED + ZIPPED, 400, "invalid_encoding"),
    "once more than is said": ("gzip", layered(PLAIN, 2), 400, "invalid_json"),
    "not said": ("", ZIPPED, 400, "invalid_json"),
    "brotli": ("br", b"\x0b\x02\x80" + PLAIN + b"\x03", 415, "unsupported_encoding"),
    "zstd": ("zstd", PLAIN, 415, "unsupported_encoding"),
    "of no kind": ("x" * 1000, PLAIN, 415, "unsupported_encoding"),
    "a thousand times": (",".join(["gzip"] * 1000), ZIPPED, 400, "invalid_encoding"),
    "a bomb": ("gzip", BOMB, 413, "request_too_large"),
    "a bomb in a bomb": ("gzip, gzip", gzip.compress(BOMB), 413, "request_too_large"),
    "a bomb of blanks and a document": ("gzip", gzip.compress(b" " * (LIMIT // 16) + PLAIN, 1), 200, ""),
}


async def test_odd_encodings(plain: House) -> None:
    kind = {"Content-Type": "application/json"}
    vectors = {
        name: Vector(
            path=GENERATIONS,
            body=body,
            headers={**kind, **({"Content-Encoding": coding} if coding else {})},
            status=status,
            param=None,
            code=code,
        )
        for name, (coding, body, status, code) in CODED.items()
    }
    await plain.hold(vectors)


# --- forms ---


def sent(given: bytes | Form, path: str = EDITS, **right: Any) -> Vector:
    body, headers = (given, FORM) if isinstance(given, bytes) else given
    return Vector(path=path, body=body, headers=headers, **right)


async def test_odd_forms(signed: House) -> None:
    """With a signer, too: it reads a form's bytes on its own."""
    vectors = {name: sent(given, status=200) for name, given in GOOD_FORMS.items()}
    vectors |= {name: sent(given, param=None, code="invalid_multipart") for name, given in BROKEN_FORMS.items()}
    vectors |= {name: sent(given, param=param, code=code) for name, (given, param, code) in WRONG_FORMS.items()}
    await signed.hold(vectors)


async def test_a_form_that_is_cut_anywhere(plain: House) -> None:
    """But for the line's end at its end."""
    await plain.hold({f"after {end} bytes": sent(WHOLE[:end], code="invalid_multipart") for end in range(len(WHOLE) - 2)})


@pytest.mark.parametrize("surface", ["chat", "responses", "generations"])
async def test_odd_forms_elsewhere(plain: House, surface: str) -> None:
    """Broken is broken; and what is well made is a generation, or lacks what only JSON can say."""
    path = SURFACES[surface]
    vectors = {name: sent(given, path, param=None, code="invalid_multipart") for name, given in BROKEN_FORMS.items()}
    words = text("messages", '[{"role":"user","content":"a hat"}]'), text("input", "a hat")
    if surface == "generations":
        vectors["words"] = sent(form(*ASKED), path, status=200)
        vectors["a file"] = sent(form(*ASKED, file("image")), path, param="image", code="unsupported_parameter")
        vectors["a link"] = sent(form(*ASKED, text("image[]", "https://a.example/b")), path, param="image[]")
    elif surface == "chat":
        vectors["words"] = sent(form(ASKED[0], *words), path, param="messages", code="invalid_type")
    else:
        vectors["words"] = sent(form(ASKED[0], words[1]), path, status=200)
        vectors["no words"] = sent(form(ASKED[0]), path, param="input", code="invalid_type")
    await plain.hold(vectors)


async def test_odd_codings_of_a_form(plain: House) -> None:
    zipped = gzip.compress(WHOLE)
    kind = {**FORM, "Content-Encoding": "gzip"}
    await plain.hold(
        {
            "zipped": sent((zipped, kind), status=200),
            "zipped, and cut": sent((zipped[:-1], kind), code="invalid_encoding"),
            "zipped, and broken": sent((gzip.compress(WHOLE[:-9]), kind), code="invalid_multipart"),
            "said to be zipped": sent((WHOLE, kind), code="invalid_encoding"),
            "a bomb": sent((BOMB, kind), status=413),
        }
    )


# --- a service that refuses what it does not know ---


@pytest.mark.parametrize(
    "field", [name for name in (*OPTIONS, "moderation", "user") if name not in ("aspect_ratio", "resolution")]
)
async def test_a_strict_service_is_sent_nothing_that_it_refuses(plain: House, field: str) -> None:
    """Its stand-in refuses what the service refuses: whatever the proxy lets through, it takes."""
    taken = {"size": frozenset({"null", "empty"}), "user": EVERY}.get(field, right("generations", field))
    base = {"model": STRICT, "prompt": "a hat", "output_format": "webp", field: HOLE}  # a PNG cannot be compressed
    await plain.hold(
        {
            f"{field} = {name}": Vector(path=GENERATIONS, body=holed(base, value), status=200 if name in taken else 400)
            for name, value in ODD.items()
            if name not in ("2^63-1", "-0.0")  # ten pictures, and what stands for others
        }
    )
