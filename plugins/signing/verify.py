"""`darkroom verify`: check pictures and saved answers against their receipt, with nothing but a key that is trusted."""

from __future__ import annotations

import argparse
from pathlib import Path

import orjson

from plugins.image_edit import Image

from .check import USAGE, Evidence, shown, verify
from .keys import read_keys

SUMMARY = "check images and saved answers against their receipt"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "What is given is told apart by its content. Nothing is fetched. "
        "Exit status: 0 valid, 1 invalid, 2 usage, 3 incomplete (no key given, no picture, or a stream that ends early)."
    )
    what = "images as received, and a receipt, or a saved JSON or event-stream answer that holds one"
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=what)
    parser.add_argument("--key", type=Path, metavar="PUB", help="the signer's public key in PEM, or its key set (JWKS)")
    parser.add_argument("--request", type=Path, metavar="FILE", help="the body of the request, to be checked too")
    again = "a picture that was sent, to be checked too; may be given again"
    parser.add_argument("--reference", type=Path, metavar="IMAGE", action="append", default=[], help=again)
    parser.add_argument("--mask", type=Path, metavar="IMAGE", help="the mask that was sent, to be checked too")
    parser.add_argument("--prompt", metavar="TEXT", help="what was asked, to be checked too; - reads it from standard input")
    parser.add_argument("--salt", metavar="HEX", help="the prompt's salt, where no saved answer holds it")
    parser.add_argument("--nonce", metavar="TEXT", help="the Darkroom-Nonce that was sent, to be checked too")
    head = "the answer's status line and headers, as `curl -D FILE` saves them, for its HTTP message signature"
    parser.add_argument("--head", type=Path, metavar="FILE", help=head)
    parser.add_argument("--json", action="store_true", help="tell it in JSON")


def main(args: argparse.Namespace) -> int:
    try:
        evidence = _gathered(args)
    except OSError as error:
        print(f"cannot read {error.filename}: {error.strerror}")
        return USAGE
    except ValueError as error:
        print(shown(str(error), 400))
        return USAGE
    verdict = verify(evidence)
    print(orjson.dumps(verdict.json, option=orjson.OPT_INDENT_2).decode() if args.json else "\n".join(verdict.lines))
    return verdict.code


def _gathered(args: argparse.Namespace) -> Evidence:
    files = [path.read_bytes() for path in args.files]
    pictures = [data for data in files if Image(data).media_type]
    keys = None
    if args.key is not None:
        try:
            keys = read_keys(args.key.read_bytes())
        except ValueError as error:
            raise ValueError(f"{args.key}: {error}") from None
    return Evidence(
        images=pictures,
        saved=[data for data in files if not Image(data).media_type],
        keys=keys,
        request=args.request.read_bytes() if args.request else None,
        references=[path.read_bytes() for path in args.reference],
        mask=args.mask.read_bytes() if args.mask else None,
        prompt=_typed(args.prompt),
        salt=args.salt,
        nonce=args.nonce,
        head=args.head.read_bytes() if args.head else None,
    )


def _typed(text: str | None) -> str | None:
    return Path("/dev/stdin").read_text(encoding="utf-8") if text == "-" else text
