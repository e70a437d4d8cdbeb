"""HTTP message signatures: RFC 9421 over the head of an answer, RFC 9530 over its body."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from dataclasses import dataclass

from http_message_signatures import HTTPMessageSigner
from http_message_signatures.algorithms import ECDSA_P256_SHA256

from proxy_core import Body, Response

from .chain import digest_of
from .keys import SigningKey
from .strict import encode

LABEL = "darkroom"
COVERED = ("@status", "content-type", "content-digest", "darkroom-receipt")
# What an upstream signs with is not passed off as ours.
FOREIGN = ("Signature", "Signature-Input", "Darkroom-Receipt")


@dataclass(kw_only=True)
class _Message:
    """An answer as the library reads one."""

    status_code: int
    headers: MutableMapping[str, str]
    request: None = None


async def content_digest(body: Body) -> str:
    """RFC 9530, of a body in hand."""
    return f"sha-256=:{encode(await digest_of(body.pieces) if body.pieces else hashlib.sha256().digest())}:"


async def signed(response: Response, key: SigningKey, nonce: str | None) -> Response:
    """`response`, its body in hand, with Content-Digest, Signature-Input and Signature."""
    headers = response.headers.copy()
    headers["Content-Digest"] = await content_digest(response.body)
    message = _Message(status_code=response.status, headers=headers)
    present = [name for name in COVERED if name.startswith("@") or name in headers]
    signer = HTTPMessageSigner(signature_algorithm=ECDSA_P256_SHA256)
    prepared = signer.prepare(
        message,
        key_id=key.public.id,
        label=LABEL,
        tag=LABEL,
        nonce=nonce,
        covered_component_ids=present,
        use_existing_digest=True,
    )
    # RFC 9421 3.3.4: the two numbers side by side, not DER.
    signer.apply(message, prepared, ECDSA_P256_SHA256.signature_from_der(await key.sign(prepared.signature_base)))
    return Response(status=response.status, headers=headers, body=response.body)
