"""The plugin: it keeps the keys, signs what goes out, and publishes what it takes to check it."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from importlib.util import find_spec
from typing import TypeVar

import orjson
import pluggy
from multidict import CIMultiDict

from plugins.image_edit import Seal, Signer
from proxy_core import (
    RECEIPT,
    Body,
    ClientError,
    ConfigError,
    Exchange,
    Fault,
    Handler,
    Key,
    Middleware,
    NotFound,
    Request,
    Response,
    Secret,
    State,
    hookimpl,
)

from .hookspecs import Attestation, Attestor, SigningHooks
from .keys import PrivateKey, PublicKey, generate
from .messages import FOREIGN, signed
from .origin import OriginKey, request_hash
from .origin import generate as generate_origin
from .passthrough import Hashed, StreamSeal, watch
from .ring import Held, Ring
from .seal import ImageSeal, Seen
from .store import Store

KEYS_PATH = "/.well-known/darkroom/keys.json"
PEM_PATH = "/.well-known/darkroom/key.pem"
PEMS = re.compile(r"/\.well-known/darkroom/keys/([A-Za-z0-9_-]{43})\.pem", re.ASCII)
PAGE_PATH = "/.well-known/darkroom/verify"
ATTESTATION_PATH = "/.well-known/darkroom/attestation"
ORIGIN_PATH = "/signing-key"
RECEIPTS = "/v1/receipts/"
KEY_FILE = "signing/key.pem"
ORIGIN_FILE = "signing/origin.pem"
JSON_LIMIT = 1024 * 1024  # bytes of a JSON answer that is passed on and signed
NONCE_HEADER = "Darkroom-Nonce"

log = logging.getLogger("darkroom.signing")

_NONCE: Key[str] = Key("nonce")
_SEALED: Key[bool] = Key("sealed")  # the answer is one of pictures, and bears a receipt or is none
_NONCE_FORM = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}", re.ASCII)
_KEYS_SLOT = b'<script type="application/json" id="keys"></script>'
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class KeyEntry:
    """A key, and when it signs. Of several that may, the one with the latest `not_before` does."""

    key: Secret
    """A P-256 private key in PEM, best as `file:PATH` or `env:NAME`."""
    not_before: str | None = None
    """From when: `"2027-01-01"` (midnight UTC) or `"2027-01-01T09:00:00Z"`. It is published at once."""
    not_after: str | None = None
    """Until when."""

    def held(self, where: str) -> Held:
        """Raises ValueError, worded as the config's faults are."""
        bounds = {name: _seconds(getattr(self, name), f"{where}.{name}") for name in ("not_before", "not_after")}
        if bounds["not_before"] and bounds["not_after"] and bounds["not_before"] >= bounds["not_after"]:
            raise ValueError(f"{where}.not_after: is not after not_before")
        return Held(key=_read(PrivateKey.read, self.key, f"{where}.key"), **bounds)


def _read(read: Callable[[bytes], T], secret: Secret, where: str) -> T:
    try:
        return read(secret.reveal().encode())
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _seconds(text: str | None, where: str) -> int | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'{where}: {text!r} is no date such as "2027-01-01" or "2027-01-01T09:00:00Z"') from None
    if moment.tzinfo is None and len(text) > len("2027-01-01"):
        raise ValueError(f"{where}: {text!r} has no time zone; end it with Z for UTC")
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)).timestamp())


@dataclass(kw_only=True)
class Signing:
    """Signs what goes out, and publishes the keys to check it with."""

    key: Secret | None = None
    """A P-256 private key in PEM, best as `file:PATH` or `env:NAME`; without any key, one is made on the first start and kept
    in the state directory."""
    keys: dict[str, KeyEntry] = field(default_factory=dict)
    """Several keys, each with its time, by names of your own: so they are replaced without a restart."""
    issuer: str = "darkroom"
    """Who the receipts say made them."""
    keep_receipts: float = 7 * 86400.0
    """Seconds that `GET /v1/receipts/ID` finds a receipt; 0 keeps none."""
    message_signatures: bool = True
    """Whether answers whose body is in hand bear an HTTP message signature (RFC 9421) and a Content-Digest (RFC 9530)."""
    passthrough_json: bool = False
    """The same for JSON of known length up to 1 MiB that is only passed on."""
    passthrough_streams: bool = False
    """Whether event streams that are only passed on get a receipt, in a comment before `[DONE]`. Their upstreams are then asked
    for no compression."""
    origin_fields: bool = False
    """Whether answers with pictures bear the five `tee_*` fields of OpenGradient's tee-gateway, too."""
    origin_key: Secret | None = None
    """The RSA key of 2048 bits that signs those; without one, it is made on the first start and kept."""

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        self._held: list[Held] = []
        self._origin: OriginKey | None = None

        def attempt(made: Callable[[], object]) -> None:
            try:
                made()
            except ValueError as error:
                faults.append(Fault(*str(error).split(": ", 1)))

        if self.key is not None:
            secret = self.key
            attempt(lambda: self._held.append(Held(key=_read(PrivateKey.read, secret, "key"))))
        for name, entry in self.keys.items():
            attempt(lambda name=name, entry=entry: self._held.append(entry.held(f"keys.{name}")))  # type: ignore[misc]
        if self.origin_key is not None:
            self._origin = None
            origin = self.origin_key
            attempt(lambda: setattr(self, "_origin", _read(OriginKey.read, origin, "origin_key")))
        if len({one.known.key.id for one in self._held}) < len(self._held):
            faults.append(Fault("keys", "one key stands there twice; give it one entry: it has one pair of bounds"))
        if self._held and not faults and not any(one.known.covers(time.time()) for one in self._held):
            faults.append(Fault("keys", "none of them may sign now; add one whose not_before has come"))
        if not 0 <= self.keep_receipts < 1e9:
            faults.append(Fault("keep_receipts", "must be 0 or more seconds"))
        if self.origin_fields and find_spec("Crypto") is None:
            faults.append(Fault("origin_fields", "needs the package pycryptodome: pip install 'darkroom-proxy[origin]'"))
        if faults:
            raise ConfigError(faults)

    @hookimpl
    def proxy_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
        pluginmanager.add_hookspecs(SigningHooks)
        names = [name for name, _ in pluginmanager.list_name_plugin()]
        if "image_edit" in names and names.index("image_edit") > names.index(str(pluginmanager.get_name(self))):
            what = "signing must stand before image_edit in the list, or it does not see the whole answers"
            raise ConfigError([Fault("proxy.plugins", what)])
        self._held = [Held(key=key) for keys in pluginmanager.hook.signing_keys() for key in keys] + self._held
        attestors: list[Attestor] = pluginmanager.hook.signing_attestor()
        if len(attestors) > 1:
            raise ConfigError([Fault("proxy.plugins", "two plugins vouch for the keys; switch one of them off")])
        self._attestor = attestors[0] if attestors else None

    @hookimpl
    def proxy_lifespan(self, state: State) -> AbstractAsyncContextManager[object]:
        return self._open(state)

    @asynccontextmanager
    async def _open(self, state: State) -> AsyncIterator[None]:
        if not self._held:
            self._held = [Held(key=_obtained(state, KEY_FILE, generate, PrivateKey.read))]
        if self.origin_fields and self._origin is None:
            self._origin = _obtained(state, ORIGIN_FILE, generate_origin, OriginKey.read)
        self._store = Store(state, self.keep_receipts)
        self._ring = Ring(self._held, state)
        try:
            self._ring.archive()
        except OSError as error:
            raise ConfigError([Fault("plugins.signing", f"the public keys cannot be kept: {error}")]) from None
        yield

    @hookimpl(optionalhook=True)  # where image_edit is off, there are no pictures, but the keys stay published
    def image_edit_signer(self) -> Signer:
        return self

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        return self.intercept

    @hookimpl
    def proxy_describe(self) -> Mapping[str, list[str]]:
        pages = [*self._pages, "/.well-known/darkroom/keys/KEYID.pem", f"{RECEIPTS}ID"]
        return {"signing": [f"GET {path}" for path in pages]}

    @property
    def _pages(self) -> Mapping[str, Handler]:
        pages: dict[str, Handler] = {
            KEYS_PATH: self._keys_page,
            PEM_PATH: self._pem_page,
            PAGE_PATH: self._verify_page,
        }
        if self.origin_fields:
            pages[ORIGIN_PATH] = self._origin_page
        if self._attestor is not None:
            pages[ATTESTATION_PATH] = self._attestation_page
        return pages

    # ---- what is signed

    async def begin(self, request: Request, sha256: str) -> Seal:
        """Raises NoKey, before anything is spent, where no key may sign."""
        exchange = request.exchange
        key = self._ring.current()
        origin_hash = asyncio.create_task(request_hash(request)) if self._origin is not None and self.origin_fields else None
        seen = Seen(
            path=request.path,
            sha256=sha256,
            length=request.body.size or 0,
            media_type=request.headers.get("Content-Type", ""),
            nonce=exchange.get(_NONCE),
            origin_hash=origin_hash,
        )
        origin = self._origin if origin_hash is not None else None
        exchange[_SEALED] = True
        still = self._ring.still
        return ImageSeal(seen, exchange, key=key, issuer=self.issuer, store=self._store, origin=origin, still=still)

    async def intercept(self, request: Request, next: Handler) -> Response:
        """Publish the keys; sign the answers of others."""
        if request.method in ("GET", "HEAD"):
            if request.path in self._pages:
                return await self._pages[request.path](request)
            if named := PEMS.fullmatch(request.path):
                return await self._former_pem(named[1])
            if request.path.startswith(RECEIPTS):
                return await self._receipt(request)
        _note_nonce(request)
        hashed: Hashed | None = None
        if self.passthrough_streams and request.method == "POST":
            request, hashed = watch(_plain(request))
        response = await next(request)
        if response.tunnel is not None:
            return response
        if response.body.in_hand:
            return await self._in_hand(response, request.exchange) if self.message_signatures else response
        return await self._passed(request, hashed, response)

    async def _in_hand(self, response: Response, exchange: Exchange) -> Response:
        try:
            return await self._signed(response, exchange)
        except Exception as error:
            if RECEIPT not in exchange:
                raise
            # Its pictures are paid for, and signed by the receipt: they are not withheld for want of a second signature.
            log.warning("an answer goes out with its receipt alone: %s", error, extra={"request_id": exchange.id})
            return response

    async def _signed(self, response: Response, exchange: Exchange) -> Response:
        return await signed(response, self._ring.current(), exchange.get(_NONCE))

    async def _passed(self, request: Request, hashed: Hashed | None, response: Response) -> Response:
        """An answer that streams: one of ours, which has its seal, or one that is only passed on."""
        if _SEALED in request.exchange:  # its receipt is made when all is made
            return response
        headers = CIMultiDict(response.headers)
        for name in FOREIGN:
            headers.popall(name, None)
        response = Response(status=response.status, headers=headers, body=response.body)
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        size = response.body.size
        plain = kind == "application/json" and headers["Content-Type"].isascii()  # or RFC 9421 has no form for it
        if self.passthrough_json and plain and size is not None and size <= JSON_LIMIT:
            body = await response.body.read(request.exchange.memory, limit=JSON_LIMIT)
            await response.body.aclose()
            return await self._signed(Response(status=response.status, headers=headers, body=body), request.exchange)
        if hashed is not None and kind == "text/event-stream" and "Content-Encoding" not in headers:
            nonce, key, still = request.exchange.get(_NONCE), self._ring.current(), self._ring.still
            seal = StreamSeal(request, hashed, key=key, issuer=self.issuer, store=self._store, nonce=nonce, still=still)
            return seal.response(response)
        return response

    # ---- what is published

    async def _keys_page(self, request: Request) -> Response:
        published = await asyncio.to_thread(self._ring.published)
        if self._attestor is not None:
            attested = await self._attest(b"")
            digest = hashlib.sha256(attested.document).hexdigest()
            told = {"mediaType": attested.media_type, "sha256": digest, "keysSha256": self._ring.digest.hex()}
            published = {**published, "attestation": told}
        return Response.json(published, headers={"Cache-Control": "max-age=300"})

    async def _pem_page(self, request: Request) -> Response:
        return _pem(self._ring.current().public)

    async def _former_pem(self, keyid: str) -> Response:
        """A key of the set in the form that openssl reads: an old receipt may have been signed with an old one."""
        found = await asyncio.to_thread(self._ring.find, keyid)
        if found is None:
            raise NotFound("no key of this id is known here", code="key_not_found")
        return _pem(found.key)

    async def _origin_page(self, request: Request) -> Response:
        assert self._origin is not None  # noqa: S101  # for the type checker: the page is there with it
        return Response.json(self._origin.published)

    async def _attest(self, nonce: bytes) -> Attestation:
        assert self._attestor is not None  # noqa: S101  # for the type checker
        return await self._attestor.attest(self._ring.digest, nonce)

    async def _attestation_page(self, request: Request) -> Response:
        nonce = dict(part.partition("=")[::2] for part in request.query.split("&")).get("nonce", "")
        if not re.fullmatch(r"([0-9a-f]{2}){0,64}", nonce):
            raise ClientError("nonce must be hex of at most 64 bytes", param="nonce", code="invalid_value")
        attested = await self._attest(bytes.fromhex(nonce))
        headers = CIMultiDict({"Content-Type": attested.media_type, "Cache-Control": "no-store"})
        return Response(status=200, headers=headers, body=Body(attested.document))

    async def _verify_page(self, request: Request) -> Response:
        """The verifier, with this proxy's keys in it: it asks nobody for them, for it may ask nobody for anything."""
        page, known = await asyncio.to_thread(lambda: (_verifier(), self._ring.published()))
        text = orjson.dumps(known).replace(b"<", b"\\u003c")
        body = page.replace(_KEYS_SLOT, _KEYS_SLOT.replace(b"></", b">" + text + b"</"))
        headers = CIMultiDict({"Content-Type": "text/html; charset=utf-8", "Cache-Control": "max-age=300"})
        headers.update({"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"})
        headers["Content-Security-Policy"] = "frame-ancestors 'none'"  # the rest of its policy stands in the page itself
        return Response(status=200, headers=headers, body=Body(body))

    async def _receipt(self, request: Request) -> Response:
        found = await self._store.find(request.path.removeprefix(RECEIPTS))
        if found is None:
            raise NotFound("no receipt of this id is kept here; it may have been kept long enough", code="receipt_not_found")
        headers = CIMultiDict({"Content-Type": "application/json", "Cache-Control": "max-age=3600"})
        return Response(status=200, headers=headers, body=Body(found))


def _pem(key: PublicKey) -> Response:
    headers = CIMultiDict({"Content-Type": "application/x-pem-file", "Cache-Control": "max-age=300"})
    return Response(status=200, headers=headers, body=Body(key.pem))


def _obtained(state: State, name: str, make: Callable[[], bytes], read: Callable[[bytes], T]) -> T:
    """A key that is made on the first start."""
    try:
        return read(state.obtain(name, make))
    except (OSError, ValueError) as error:
        what = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise ConfigError([Fault("plugins.signing", f"the key kept at {state.path(name)}: {what}")]) from None


def _verifier() -> bytes:
    return resources.files(__package__).joinpath("verifier.html").read_bytes()


def _note_nonce(request: Request) -> None:
    given: Sequence[str] = request.headers.getall(NONCE_HEADER, [])
    if not given:
        return
    if len(given) > 1 or not _NONCE_FORM.fullmatch(given[0]):
        what = f"{NONCE_HEADER} must be 1 to 128 letters, digits or ._~+/=:-"
        raise ClientError(what, param=NONCE_HEADER, code="invalid_value")
    request.exchange[_NONCE] = given[0]


def _plain(request: Request) -> Request:
    """`request`, asking for no compression: a comment cannot be put into a compressed stream."""
    headers = CIMultiDict(request.headers)
    headers["Accept-Encoding"] = "identity"
    return Request(
        exchange=request.exchange,
        method=request.method,
        target=request.target,
        headers=headers,
        body=request.body,
        origin=request.origin,
    )
