"""Multipart forms of every broken kind."""

from __future__ import annotations

from collections.abc import Mapping

from plugins.image_edit.testing import PNG
from tests.hostile import ASKED, B64, DATA_URL, FORM, LOOSE, file, form, text
from tests.hostile_pictures import BOMBS, HTML, JPEG, SVG
from tests.pictures import png


def boundary(value: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={value}"}


def head(line: bytes, body: bytes = b"x") -> bytes:
    """A part of any head."""
    return line + b"\r\n\r\n" + body


DISPOSITION = b'Content-Disposition: form-data; name="x"'
WHOLE = form(*ASKED, file("image"))
LONG = "b" * 1000

Form = tuple[bytes, Mapping[str, str]]

GOOD_FORMS: dict[str, bytes | Form] = {
    "as it should be": WHOLE,
    "a boundary in quotes": (WHOLE, boundary('"b"')),
    "a boundary with blanks": (form(*ASKED, file("image"), boundary=b"a b"), boundary('"a b"')),
    "a boundary of signs": (form(*ASKED, file("image"), boundary=b"'()+_,-./:=?"), boundary('"\'()+_,-./:=?"')),
    "a boundary of 1000 letters": (form(*ASKED, file("image"), boundary=LONG.encode()), boundary(LONG)),
    "a boundary that begins like a line's end": (form(*ASKED, file("image"), boundary=b"--"), boundary("--")),
    "upper-case": (WHOLE, {"Content-Type": "MULTIPART/FORM-DATA; BOUNDARY=b"}),
    "other options": (WHOLE, {"Content-Type": 'multipart/form-data; charset=utf-8; x="a;boundary=c"; boundary=b'}),
    "a preamble": b"This is a message in MIME format.\r\n" + WHOLE,
    "an epilogue": WHOLE + b"something after",
    "an epilogue that is a form": WHOLE + form(text("model", "nobody")),
    "no line's end at its end": WHOLE[:-2],
    "a field twice, the last counts": form(text("model", "nobody"), *ASKED, file("image")),
    "a picture as a link": form(*ASKED, text("image", "https://a.example/b.png")),
    "a picture as a data URL": form(*ASKED, text("image", DATA_URL)),
    "pictures under three names": form(*ASKED, file("image"), file("image[]"), file("image[7]")),
    "a picture that claims to be HTML": form(*ASKED, file("image", kind=b"text/html")),
    "a picture that claims nothing": form(*ASKED, b'Content-Disposition: form-data; name=image; filename=""\r\n\r\n' + PNG),
    "a picture by its type alone": form(
        *ASKED, b'Content-Disposition: form-data; name="image"\r\nContent-Type: image/png\r\n\r\n' + PNG
    ),
    "filename*": form(
        *ASKED,
        b"Content-Disposition: form-data; name=image; filename*=UTF-8''%e2%82%ac.png\r\nContent-Type: image/png\r\n\r\n" + PNG,
    ),
    "a path for a filename": form(
        *ASKED, b'Content-Disposition: form-data; name="image"; filename="../../etc/passwd"\r\n\r\n' + PNG
    ),
    "a filename of NUL and line ends": form(
        *ASKED, b'Content-Disposition: form-data; name="image"; filename="a%0D%0AB: c%00\0.png"\r\n\r\n' + PNG
    ),
    "a line's end in a name": form(*ASKED, file("image"), text("a%0D%0AB: c", "x")),
    "NUL in a name": form(*ASKED, file("image"), text("a\0b", "x")),
    "a prompt in latin-1": form(
        ASKED[0], text("prompt", b"a caf\xe9", b"Content-Type: text/plain; charset=ISO-8859-1\r\n"), file("image")
    ),
    "a prompt of line ends": form(ASKED[0], text("prompt", "a\r\n--\r\n--c\r\n\r\nhat\0"), file("image")),
    "bytes as they are": form(*ASKED, file("image", more=b"Content-Transfer-Encoding: binary\r\n")),
    "a folded head": form(*ASKED, head(b'Content-Disposition: form-data;\r\n name="x"'), file("image")),
    "other heads": form(*ASKED, head(b"X-A: b\r\nContent-Length: 1\r\n" + DISPOSITION), file("image")),
    "the heads of a request": form(
        *ASKED, head(b"Authorization: Bearer x\r\nHost: a.example\r\n" + DISPOSITION), file("image")
    ),
}

BROKEN_FORMS: dict[str, bytes | Form] = {
    "nothing": b"",
    "no boundary": (WHOLE, {"Content-Type": "multipart/form-data"}),
    "an empty boundary": (WHOLE, boundary("")),
    "quotes about nothing": (WHOLE, boundary('""')),
    "quotes without end": (WHOLE, boundary('"b')),
    "quotes of another kind": (WHOLE, boundary("'b'")),
    "another boundary": (WHOLE, boundary("c")),
    "the body's boundary is longer": (form(*ASKED, boundary=b"bb"), FORM),
    "the body's boundary is shorter": (WHOLE, boundary("bb")),
    "two boundaries": (WHOLE, boundary("b; boundary=c")),
    "a boundary with a charset": (WHOLE, {"Content-Type": "multipart/form-data; boundary*=utf-8''b"}),
    "a boundary of 4000 letters": (WHOLE, boundary("b" * 4000)),
    "a boundary that is not ASCII": (WHOLE, boundary("\xe9")),
    "JSON": b'{"model":"loose","prompt":"a hat"}',
    "an end alone is no edit's": b"--b",
    "boundaries alone": b"--b\r\n" * 5000,
    "line ends alone": b"\r\n" * 5000,
    "dashes alone": b"-" * 100_000,
    "line feeds alone": WHOLE.replace(b"\r\n", b"\n"),
    "something before the first boundary": b"x" + WHOLE,
    "something behind a boundary": WHOLE.replace(b"--b\r\n", b"--b x\r\n", 1),
    "no end": WHOLE[: -len(b"--b--\r\n")],
    "another part where the end should be": form(*ASKED, end=b"\r\n"),
    "no head": form(*ASKED, b"\r\nx"),
    "no colon": form(*ASKED, head(b"Content-Disposition")),
    "no disposition": form(*ASKED, head(b"Content-Type: text/plain")),
    "another disposition": form(*ASKED, head(b'Content-Disposition: attachment; name="x"')),
    "no name": form(*ASKED, head(b"Content-Disposition: form-data")),
    "an empty name": form(*ASKED, text("", "x")),
    "a file without a name": form(*ASKED, head(b'Content-Disposition: form-data; filename="a.png"', PNG)),
    "a file of an empty name": form(*ASKED, file("")),
    "name*": form(*ASKED, head(b"Content-Disposition: form-data; name*=utf-8''x")),
    "a name that is not UTF-8": form(*ASKED, head(b'Content-Disposition: form-data; name="\xff"')),
    "a text that is not UTF-8": form(*ASKED, text("x", b"\xff")),
    "a text in UTF-16": form(
        ASKED[0], text("prompt", "a hat".encode("utf-16"), b"Content-Type: text/plain; charset=utf-16\r\n")
    ),
    "a text in UTF-7": form(ASKED[0], text("prompt", "a hat", b"Content-Type: text/plain; charset=utf-7\r\n")),
    "a text in a charset that runs code": form(*ASKED, text("x", "y", b"Content-Type: text/plain; charset=unicode_escape\r\n")),
    "a text in a charset of no kind": form(
        *ASKED, text("x", "y", b"Content-Type: text/plain; charset=" + b"z" * 500 + b"\r\n")
    ),
    "base64": form(*ASKED, file("image", B64.encode(), more=b"Content-Transfer-Encoding: base64\r\n")),
    "quoted-printable": form(ASKED[0], text("prompt", "a=20hat", b"Content-Transfer-Encoding: quoted-printable\r\n")),
    "an encoding of no kind": form(*ASKED, text("x", "y", b"Content-Transfer-Encoding: \r\n")),
    "an endless head": form(*ASKED, head(b"X: " + b"y" * 100_000 + b"\r\n" + DISPOSITION)),
    "an endless name": form(*ASKED, text("n" * 10_000, "x")),
    "an endless filename": form(
        *ASKED, head(b'Content-Disposition: form-data; name="image"; filename="' + b"f" * 10_000 + b'"', PNG)
    ),
    "a thousand heads": form(*ASKED, head(b"X: y\r\n" * 1000 + DISPOSITION)),
    "a head without an end": b"--b\r\n" + b"X: y\r\n" * 1000,
    "a bad name of a head": form(*ASKED, head(b"X Y: z\r\n" + DISPOSITION)),
    "NUL in a head's name": form(*ASKED, head(b"X\0: y\r\n" + DISPOSITION)),
    "a carriage return alone": form(*ASKED, head(b"X: y\r" + DISPOSITION)),
    "a line feed in a head": form(*ASKED, b"X: y\n" + head(DISPOSITION, b"z" * 9)).replace(b"\r\n\r\nz", b"\n\nz"),
    "folded before it began": form(*ASKED, head(b" X: y\r\n" + DISPOSITION)),
    "folded around nothing": form(*ASKED, head(DISPOSITION + b"\r\n ")),
    "shorter than it says": form(*ASKED, head(b"Content-Length: 9\r\n" + DISPOSITION)),
    "longer than it says": form(*ASKED, head(b"Content-Length: 1\r\n" + DISPOSITION, b"xyz")),
    "a length below 0": form(*ASKED, head(b"Content-Length: -1\r\n" + DISPOSITION)),
    "a length of many digits": form(*ASKED, head(b"Content-Length: " + b"9" * 4000 + b"\r\n" + DISPOSITION)),
    "a length of 5000 digits": form(*ASKED, head(b"Content-Length: " + b"9" * 4100 + b"\r\n" + DISPOSITION)),
    "a length in other digits": form(*ASKED, head(b"Content-Length: \xd9\xa1\r\n" + DISPOSITION)),
    "two lengths": form(*ASKED, head(b"Content-Length: 1\r\nContent-Length: 1\r\n" + DISPOSITION)),
    "257 parts": form(*[text("x", "y")] * 257),
    "5000 parts": form(*[text("x", "y")] * 5000),
    "5000 files": form(*ASKED, *[file("image")] * 5000),
}

WRONG_FORMS: dict[str, tuple[bytes, str, str]] = {  # well made, and no edit: (form, the field at fault, code)
    "no parts": (form(), "model", "missing_required_parameter"),
    "a preamble alone": (b"a\r\n--b--", "model", "missing_required_parameter"),
    "no picture": (form(*ASKED), "image", "missing_required_parameter"),
    "no prompt": (form(ASKED[0], file("image")), "prompt", "missing_required_parameter"),
    "a prompt of blanks": (form(ASKED[0], text("prompt", " \r\n"), file("image")), "prompt", "missing_required_parameter"),
    "a huge prompt": (form(ASKED[0], text("prompt", "x" * 100_000), file("image")), "prompt", "string_above_max_length"),
    "a model in a file": (form(file("model", LOOSE.encode()), ASKED[1], file("image")), "model", "missing_required_parameter"),
    "a prompt in a file": (form(*ASKED, file("prompt", b"a hat"), file("image")), "prompt", "unknown_parameter"),
    "a number in a file": (form(*ASKED, file("n", b"1"), file("image")), "n", "unknown_parameter"),
    "a file nobody knows": (form(*ASKED, file("image"), file("a" * 500)), "a" * 40, "unknown_parameter"),
    "a file of NUL": (form(*ASKED, file("image"), file("a\0")), "a\0", "unknown_parameter"),
    "a file almost known": (form(*ASKED, file("image[a]")), "image[a]", "unknown_parameter"),
    "a picture in a text": (form(*ASKED, text("image", "a cat")), "image", "invalid_image_url"),
    "a picture's base64 in a text": (form(*ASKED, text("image", B64)), "image", "invalid_image_url"),
    "a mask in a text": (form(*ASKED, file("image"), text("mask", "a cat")), "mask", "invalid_image_url"),
    "two masks": (form(*ASKED, file("image"), file("mask"), file("mask")), "mask", "invalid_value"),
    "a mask in a file and in a text": (
        form(*ASKED, file("image"), file("mask"), text("mask", DATA_URL)),
        "mask",
        "invalid_value",
    ),
    "two masks in texts": (
        form(*ASKED, file("image"), text("mask", DATA_URL), text("mask", DATA_URL)),
        "mask",
        "invalid_value",
    ),
    "a mask alone": (form(*ASKED, file("mask")), "image", "missing_required_parameter"),
    "a mask of another size": (form(*ASKED, file("image"), file("mask", png())), "mask", "invalid_image"),
    "an empty file": (form(*ASKED, file("image", b"")), "image[0]", "invalid_image"),
    "an empty file after a good one": (form(*ASKED, file("image"), file("image", b"")), "image[1]", "invalid_image"),
    "an empty mask": (form(*ASKED, file("image"), file("mask", b"")), "mask", "invalid_image"),
    "a text for a picture": (form(*ASKED, file("image", b"a hat")), "image[0]", "invalid_image"),
    "HTML for a picture": (form(*ASKED, file("image", HTML)), "image[0]", "invalid_image"),
    "SVG for a picture": (form(*ASKED, file("image", SVG, b"image/svg+xml")), "image[0]", "invalid_image"),
    "base64 for a picture": (form(*ASKED, file("image", B64.encode())), "image[0]", "invalid_image"),
    "a form for a picture": (
        form(*ASKED, file("image", form(file("image"), boundary=b"c"), b"multipart/mixed; boundary=c")),
        "image[0]",
        "invalid_image",
    ),
    "a form for a text": (
        form(*ASKED, text("image", form(file("image", b"x"), boundary=b"c"), b"Content-Type: multipart/mixed; boundary=c\r\n")),
        "image",
        "invalid_image_url",
    ),
    "a bomb": (form(*ASKED, file("image", BOMBS["PNG of 60000x60000"])), "image[0]", "invalid_image"),
    "a cut picture": (form(*ASKED, file("image", JPEG[:40])), "image[0]", "invalid_image"),
    "17 pictures": (form(*ASKED, *[file("image")] * 17), "image[16]", "too_many_images"),
    **{
        f"n is {value!r}": (form(*ASKED, text("n", value), file("image")), "n", "*")
        for value in (
            "",
            " ",
            " 1",
            "1 ",
            "0",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "0x1",
            "\u0661",
            "one",
            "true",
            "null",
            "9" * 19,
            "9" * 9000,
        )
    },
    **{
        f"stream is {value!r}": (form(*ASKED, text("stream", value), file("image")), "stream", "*")
        for value in (" ", "yes", "0.0", "TRUE")
    },
    **{f"seed is {value!r}": (form(*ASKED, text("seed", value), file("image")), "seed", "*") for value in ("", "x", "9" * 400)},
    **{
        f"partial_images is {value!r}": (form(*ASKED, text("partial_images", value), file("image")), "partial_images", "*")
        for value in ("", "4", "-1", "1.5", "x")
    },
}
