"""C2PA manifests: found where the official library puts them, and whatever else a file is, never a fault."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import random
import struct
import zlib
from dataclasses import dataclass
from typing import ClassVar

import aiohttp
import c2pa as official  # type: ignore[import-untyped]
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image as Pillow

from plugins.image_edit import Image, Job, Provider, Steps
from plugins.image_edit.c2pa import c2pa
from proxy_core import Data, hookimpl
from proxy_core.testing import plug, running


def drawn(kind: str) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (64, 48), (200, 30, 30)).save(out, kind)
    return out.getvalue()


def forms(data: bytes) -> list[Image]:
    """The same file in each form that an Image can have."""
    cut = [data[start : start + 7] for start in range(0, len(data), 7)]
    return [Image(data), Image(*cut), Image.from_base64(base64.b64encode(data).decode())]


# --- as the official library writes them ---


def _certificates() -> tuple[bytes, bytes]:
    """(a chain of two in PEM, the signer's key): what the library asks of a signer's certificate, and no more."""
    now = dt.datetime.now(dt.UTC)

    def name(common: str) -> x509.Name:
        told = {NameOID.ORGANIZATION_NAME: "Tests", NameOID.COMMON_NAME: common}
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in told.items()])

    def certificate(subject: str, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        other = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage = dict.fromkeys((*other, "encipher_only", "decipher_only"), False)
        usage |= {"digital_signature": not ca, "key_cert_sign": ca, "crl_sign": ca}
        made = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("Root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )
        if not ca:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        return made.sign(root, hashes.SHA256())

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = [certificate("Signer", leaf.public_key(), ca=False), certificate("Root", root.public_key(), ca=True)]
    pem = serialization.Encoding.PEM
    key = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(one.public_bytes(pem) for one in chain), key


KINDS = {name: f"image/{name.lower()}" for name in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "AVIF")}


def signed_by_somebody(kind: str, media_type: str) -> tuple[bytes, bytes]:
    """(a plain picture, the same with a manifest that the official library wrote into it)."""
    chain, key = _certificates()
    kind_ = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    made = {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": kind_}]}}
    claim = {"claim_generator_info": [{"name": "tests", "version": "1"}], "format": media_type, "assertions": [made]}
    info = official.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None)
    before, signed = drawn(kind), io.BytesIO()
    with official.Signer.from_info(info) as signer, official.Builder(json.dumps(claim)) as builder:
        builder.sign(signer, media_type, io.BytesIO(before), signed)
    return before, signed.getvalue()


@pytest.mark.parametrize(("kind", "media_type"), KINDS.items())
def test_a_manifest_of_the_official_library_is_found(kind: str, media_type: str) -> None:
    before, after = signed_by_somebody(kind, media_type)
    assert len(after) > len(before)
    assert Image(after).media_type == media_type
    assert [c2pa(image) for image in forms(after)] == ["present"] * 3
    assert [c2pa(image) for image in forms(before)] == ["absent"] * 3
    with official.Reader(media_type, io.BytesIO(after)) as reader:
        assert json.loads(reader.json())["manifests"]


@pytest.mark.parametrize(("kind", "media_type"), KINDS.items())
def test_a_signed_file_that_was_cut_is_never_said_to_have_none(kind: str, media_type: str) -> None:
    _, after = signed_by_somebody(kind, media_type)
    found = [c2pa(Image(after[:end])) for end in range(len(after))]
    assert "absent" not in found
    assert found[:64] == ["unknown"] * 64


@dataclass(kw_only=True)
class Maker:
    """A service whose pictures bear a manifest."""

    name = "maker"
    models = frozenset({"made"})
    batch = 1
    takes_links = True
    origins = ()
    picture: ClassVar[bytes] = b""

    @hookimpl
    def image_edit_providers(self) -> list[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        yield from [Image(self.picture)]


async def test_a_manifest_comes_through_byte_for_byte() -> None:
    """What somebody else signed stays good, and our receipt says that it is there."""
    _, Maker.picture = signed_by_somebody("PNG", "image/png")
    config = {"proxy": {"plugins": ["signing", "image_edit", "maker"]}}
    async with running(config, plug(maker=Maker)) as url, aiohttp.ClientSession() as http:
        async with http.post(url / "v1/images/generations", json={"model": "made", "prompt": "x"}) as response:
            answer = await response.json()
    got = base64.b64decode(answer["data"][0]["b64_json"])
    assert got == Maker.picture
    with official.Reader("image/png", io.BytesIO(got)) as reader:
        validation = json.loads(reader.json())
    codes = {one["code"] for one in validation.get("validation_status", [])}
    assert not {code for code in codes if "mismatch" in code or "Hash" in code}, codes
    statement = json.loads(base64.b64decode(answer["darkroom_receipt"]["payload"]))
    assert statement["predicate"]["outputs"][0]["c2pa"] == "present"


# --- whatever else a file is ---


@pytest.mark.parametrize("kind", [*KINDS, "BMP"])
def test_a_plain_picture_has_none(kind: str) -> None:
    assert [c2pa(image) for image in forms(drawn(kind))] == ["absent"] * 3


@pytest.mark.parametrize("kind", [*KINDS, "BMP"])
def test_a_cut_or_scrambled_file_is_no_fault(kind: str) -> None:
    data = drawn(kind)
    for end in range(len(data)):
        assert c2pa(Image(data[:end])) in ("absent", "unknown")
    chance = random.Random(7)
    for _ in range(2000):
        junk = bytearray(data[:16] + chance.randbytes(chance.randrange(200)))
        assert c2pa(Image(bytes(junk))) in ("absent", "unknown", "present")


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = b"\x89PNG\r\n\x1a\n"


def test_it_is_found_behind_the_pixels_too() -> None:
    chunks = [chunk(b"IHDR", bytes(13)), chunk(b"IDAT", b"x"), chunk(b"caBX", b"y"), chunk(b"IEND")]
    assert c2pa(Image(PNG + b"".join(chunks))) == "present"


@pytest.mark.parametrize(
    "data",
    [
        PNG + chunk(b"IDAT") * 9000,  # more chunks than any file has
        b"\xff\xd8\xff" + b"\xff" * 9000,
        b"RIFF" + struct.pack("<I", 1 << 20) + b"WEBP" + b"VP8 \0\0\0\0" * 9000,
        b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8),  # a directory that follows itself
        b"GIF89a" + bytes(7) + b"\x21\xfe\x00" * 9000,
        b"\0\0\0\x10ftypavif\0\0\0\0" + struct.pack(">I4s", 4, b"free"),
        b"\0\0\0\x10ftypavif\0\0\0\0" + struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1),
        b"no picture",
    ],
    ids=["png", "jpeg", "webp", "tiff", "gif", "avif", "avif long", "none"],
)
def test_a_walk_has_an_end(data: bytes) -> None:
    assert c2pa(Image(data)) in ("unknown", "absent")


class Counted(Image):
    """A picture that counts how often it is looked into, and how much of it is read."""

    __slots__ = ("looks", "read")

    def __init__(self, *raw: Data) -> None:
        super().__init__(*raw)
        self.looks = self.read = 0

    def at(self, offset: int, size: int) -> bytes:
        found = super().at(offset, size)
        self.looks, self.read = self.looks + 1, self.read + len(found)
        return found


def overlapping(directories: int) -> bytes:
    """A TIFF of directories of 65535 entries each, every one eight bytes behind the last."""
    size = 65535 * 12
    data = bytearray(b"II*\0" + struct.pack("<I", 8)) + bytearray(size + directories * 8 + 6)
    for place in range(8, 8 + directories * 8, 8):
        struct.pack_into("<H", data, place, 65535)
        struct.pack_into("<I", data, place + 2 + size, place + 8)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        PNG + chunk(b"IDAT") * 50_000,
        b"GIF89a" + bytes(7) + (b"\x21\xfe" + b"\x01x" * 8000 + b"\0") * 20,  # no block has too many parts; all have
        b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8),
        overlapping(63),
    ],
    ids=["png", "gif", "tiff circle", "tiff overlapping"],
)
def test_what_was_made_to_be_long_is_given_up(data: bytes) -> None:
    for image in (Counted(data), Counted(*(data[start : start + 1024] for start in range(0, len(data), 1024)))):
        assert c2pa(image) == "unknown"
        assert image.looks < 20_000
        assert image.read < 1_000_000


def test_the_last_of_many_pages_may_hold_it() -> None:
    """Where the specification wants it since 1.4."""
    pages, entry = 300, struct.pack("<HHII", 0xCD41, 7, 4, 0)
    chain = [struct.pack("<HI", 0, 8 + 6 * (page + 1)) for page in range(pages)]
    head = b"II*\0" + struct.pack("<I", 8) + b"".join(chain)
    assert c2pa(Image(head + struct.pack("<H", 1) + entry + bytes(4))) == "present"
    assert c2pa(Image(head + struct.pack("<H", 1) + bytes(12) + bytes(4))) == "absent"


@pytest.mark.parametrize(
    "data",
    [
        PNG + chunk(b"caBX") + chunk(b"IEND"),
        PNG + struct.pack(">I4s", 1000, b"caBX") + bytes(100),
        b"RIFF" + struct.pack("<I", 24) + b"WEBPC2PA" + struct.pack("<I", 1000) + bytes(12),
        b"RIFF" + struct.pack("<I", 1024) + b"WEBPVP8 " + struct.pack("<I", 1012) + bytes(12),
        b"\0\0\0\x10ftypavif\0\0\0\0" + struct.pack(">I4s", 1000, b"mdat") + bytes(100),
        b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0xCD41, 7, 1000, 26, 0),
        b"\xff\xd8\xff\xe0\0\1" + bytes(40),
    ],
    ids=["png empty", "png", "webp", "webp pixels", "avif pixels", "tiff", "jpeg"],
)
def test_what_is_not_all_there_is_unknown(data: bytes) -> None:
    assert [c2pa(image) for image in forms(data)] == ["unknown"] * 3


def test_a_marker_of_jpeg_that_stands_alone_has_no_length() -> None:
    assert c2pa(Image(b"\xff\xd8\xff\x01\xff\xd0\xff\xff\xe0\0\2\xff\xda")) == "absent"


def test_broken_base64_is_unknown() -> None:
    image = Image.from_base64(base64.b64encode(drawn("PNG")).decode()[:40] + "%%%%" * 20)
    assert c2pa(image) == "unknown"


@pytest.mark.parametrize("size", [1, 2, 3, 8, 50, 5000])
def test_any_part_of_a_file_can_be_read(size: int) -> None:
    data = bytes(range(256)) * 4
    single = [data[start : start + 1] for start in range(len(data))]
    for image in (*forms(data), Image(*single), Image(b"", memoryview(data)[:99], b"", data[99:], b"")):
        for offset in (0, 1, 2, 3, 6, 7, 100, 1020, 1024, 5000):
            assert image.at(offset, size) == data[offset : offset + size]
