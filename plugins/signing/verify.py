"""`darkroom verify`: check pictures against a receipt, with nothing but a public key that is trusted already."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .envelope import Envelope, parse
from .keys import PublicKey
from .statement import Statement

VALID, INVALID, USAGE, INCOMPLETE = range(4)

SUMMARY = "check an image against its receipt"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`code` is the exit status; `lines` say what was found, the last one the verdict."""

    code: int
    lines: tuple[str, ...]


def verify(images: Sequence[bytes], receipt: bytes, key: PublicKey | None) -> Verdict:
    """Whether the receipt is signed by `key` and names every one of `images`. A key inside the receipt is never asked."""
    lines: list[str] = []
    try:
        envelope = parse(receipt)
        statement = Statement.read(envelope.payload)
    except ValueError as error:
        return _invalid(lines, f"the receipt cannot be read: {error}")
    if key is not None and not envelope.signed_by(key):
        return _invalid(lines, f"the receipt is not signed by the key {key.id}{_claim(envelope)}")
    for image in images:
        digest = hashlib.sha256(image).hexdigest()
        if digest not in statement.digests:
            listed = ", ".join(statement.digests)
            return _invalid(lines, f"the image (sha256 {digest}) is not the one in the receipt (sha256 {listed})")
        lines.append(f"image    sha256 {digest}: image {statement.digests.index(digest) + 1} of {len(statement.digests)}")
    lines += _told(statement)
    if key is None:
        return Verdict(
            code=INCOMPLETE,
            lines=(*lines, "INCOMPLETE: the image matches, but nobody checked who signed: give the public key with --key"),
        )
    lines.append(f"signed   by {key.id}, which you trust")
    return Verdict(code=VALID, lines=(*lines, "VALID"))


def _invalid(lines: Sequence[str], why: str) -> Verdict:
    return Verdict(code=INVALID, lines=(*lines, f"INVALID: {why}"))


def _claim(envelope: Envelope) -> str:
    claimed = ", ".join(_shown(name) for name, _ in envelope.signatures if name)
    return f" (it claims {claimed})" if claimed else ""


def _told(statement: Statement) -> list[str]:
    """What the signer asserts, a line each; whatever it is, it cannot break the terminal."""
    predicate = statement.predicate
    upstream, request = predicate.get("upstream"), predicate.get("request")
    lines = []
    if isinstance(upstream, dict):
        lines.append(f"made by  {_shown(upstream.get('provider'))}, model {_shown(upstream.get('modelSent'))}")
    if isinstance(request, dict):
        lines.append(f"request  sha256 {_shown(request.get('sha256'))}")
        references = request.get("references")
        for one in references if isinstance(references, list) else []:
            if isinstance(one, dict):
                what, name = ("sha256", "sha256") if "sha256" in one else ("a link, sha256", "urlSha256")
                lines.append(f"from     {what} {_shown(one.get(name))}")
    time = predicate.get("timeMs")
    if isinstance(time, int) and 0 <= time < 253402300800000:
        moment = dt.datetime.fromtimestamp(time / 1000, dt.UTC)
        lines.append(f"time     {moment.isoformat(timespec='milliseconds')}")
    return lines


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Exit status: 0 valid, 1 invalid, 2 usage, 3 incomplete (no key given)."
    parser.add_argument("image", type=Path, help="the image file, as it was received")
    parser.add_argument("receipt", type=Path, help="the receipt, or the saved JSON answer that holds it")
    parser.add_argument("--key", type=Path, metavar="PUB", help="the signer's public key, PEM")


def main(args: argparse.Namespace) -> int:
    try:
        image, receipt = args.image.read_bytes(), args.receipt.read_bytes()
        key = PublicKey.read(args.key.read_bytes()) if args.key else None
    except OSError as error:
        print(f"cannot read {error.filename}: {error.strerror}")
        return USAGE
    except ValueError as error:
        print(f"{args.key}: {error}")
        return USAGE
    verdict = verify([image], receipt, key)
    print("\n".join(verdict.lines))
    return verdict.code
