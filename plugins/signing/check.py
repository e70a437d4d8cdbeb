"""The verifier: everything that is at hand, checked against one receipt and the keys that are trusted."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import orjson

from .chain import Chain, EventClaim
from .envelope import EVENT, Envelope
from .keys import Known
from .saved import Bare, Saved, SavedEvent, Shown, Stream, Text, Whole, read_saved
from .statement import ImageStatement, Input, Statement, StreamStatement, read_as, read_statement

VALID, INVALID, USAGE, INCOMPLETE = range(4)
_NAMES = {VALID: "valid", INVALID: "invalid", INCOMPLETE: "incomplete"}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is at hand. `keys` are the ones that are trusted, None where none was given."""

    images: Sequence[bytes] = field(default=(), repr=False)
    saved: Sequence[bytes] = field(default=(), repr=False)  # receipts and answers
    keys: Sequence[Known] | None = None
    request: bytes | None = field(default=None, repr=False)
    references: Sequence[bytes] = field(default=(), repr=False)
    mask: bytes | None = field(default=None, repr=False)
    prompt: str | None = None
    salt: str | None = None
    nonce: str | None = None
    head: bytes | None = None  # the answer's status line and header fields, as saved


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at: proven by a signature, told by the signer alone, or left open."""

    state: Literal["proven", "told", "open"]
    topic: str
    what: str

    def __str__(self) -> str:
        return f"{self.topic:<10} {self.what}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`code` is the exit status; `reason` says why it is not VALID."""

    code: int
    checks: Sequence[Check]
    reason: str = ""
    statement: Mapping[str, Any] | None = None  # only where a trusted key signed it

    @property
    def lines(self) -> list[str]:
        """For people; the last one is the verdict."""
        return [*map(str, self.checks), f"{_NAMES[self.code].upper()}: {self.reason}" if self.reason else "VALID"]

    @property
    def json(self) -> dict[str, object]:
        checks = [{"state": one.state, "topic": one.topic, "what": one.what} for one in self.checks]
        return {"verdict": _NAMES[self.code], "reason": self.reason or None, "checks": checks, "statement": self.statement}


class _Invalid(Exception):
    pass


def _refuse(why: str) -> NoReturn:
    raise _Invalid(why)


def verify(evidence: Evidence) -> Verdict:
    """Whether all that is at hand fits one receipt, and a trusted key signed that. Whatever is in it, it raises nothing."""
    work = _Work(evidence)
    try:
        work.check()
    except _Invalid as why:
        return Verdict(code=INVALID, checks=work.checks, reason=shown(str(why), 600))
    code = INCOMPLETE if work.missing else VALID
    statement = orjson.loads(work.payload) if work.payload and work.signer else None
    return Verdict(code=code, checks=work.checks, reason="; ".join(work.missing), statement=statement)


@dataclass
class _Work:
    given: Evidence
    checks: list[Check] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    payload: bytes = b""
    signer: Known | None = None
    salt: object = None

    def _add(self, state: Literal["proven", "told", "open"], topic: str, what: str) -> None:
        self.checks.append(Check(state=state, topic=topic, what=shown(what, 400)))

    def check(self) -> None:
        saved = [self._read(data) for data in self.given.saved]
        receipts = [found for one in saved if (found := _receipt_of(one)) is not None]
        streams = [one for one in saved if isinstance(one, Stream)]
        if not receipts:
            if not streams:
                self._nothing()
                return
            self._beginning(streams[0])
            return
        statement = self._statement(receipts)
        for one in saved:
            self._fits(one, statement)
        if isinstance(statement, ImageStatement):
            self._pictures(saved, statement)
            self._inputs(statement)
        else:
            self._no_pictures(saved)
        self._common(statement)
        self._head(saved)
        self._tell(statement)

    def _nothing(self) -> None:
        if self.given.images:
            self.missing.append("there is no receipt: give it, or the saved answer that holds it")
        else:
            self.missing.append("there is nothing to check")

    def _read(self, data: bytes) -> Saved:
        try:
            return read_saved(data)
        except ValueError as error:
            _refuse(f"the receipt cannot be read: {error}")

    # ---- the receipt

    def _statement(self, receipts: Sequence[object]) -> Statement:
        try:
            envelopes = [Envelope.read(value) for value in receipts]
            if len({envelope.payload for envelope in envelopes}) > 1:
                _refuse("two different receipts were given together; check them one by one")
            envelope = envelopes[0]
            statement = read_statement(envelope.payload)
        except ValueError as error:
            _refuse(f"the receipt cannot be read: {error}")
        predicate = statement.predicate
        self.signer = self._signer(envelopes, "the receipt", predicate.keyid)
        if self.signer is not None and not self.signer.covers(predicate.timeMs / 1000):
            _refuse(f"the receipt is of {_time(predicate.timeMs)}, when the key {self.signer.key.id} did not sign")
        self.payload = envelope.payload
        return statement

    def _signer(self, envelopes: Sequence[Envelope], what: str, named: str) -> Known | None:
        """Whose signatures these are, by the keys that are trusted."""
        found = None
        for envelope in envelopes:
            if self.given.keys is not None:
                found = envelope.signed_by(self.given.keys)
                if found is None:
                    trusted = ", ".join(one.key.id for one in self.given.keys)
                    _refuse(f"{what} is not signed by the key {trusted} (it claims {envelope.keyid})")
                if found.key.id != named:
                    _refuse(f"{what} is signed by {found.key.id}, and names the key {named} within")
            if envelope.keyid != named:
                _refuse(f"{what} names the key {named} within, and {envelope.keyid} beside the signature")
        return found

    # ---- what came with it

    def _fits(self, one: Saved, statement: Statement) -> None:
        match one, statement:
            case Whole(), ImageStatement():
                self._whole(one, statement)
            case Stream(), ImageStatement():
                self._stream(one, statement)
            case Text(), StreamStatement():
                self._text(one, statement)
            case Bare(), _:
                pass
            case _:
                _refuse("the receipt is of another kind of answer")

    def _whole(self, one: Whole, statement: ImageStatement) -> None:
        self.salt = one.salt
        found = [picture.sha256 for picture in one.pictures]
        if found != statement.digests:
            _refuse(_unlike(found, statement.digests, "the answer"))
        for place, digest in enumerate(found):
            self._add("proven", "image", f"sha256 {digest}: image {place + 1} of {len(found)}")

    def _stream(self, one: Stream, statement: ImageStatement) -> None:
        chained = statement.predicate.stream
        if chained is None:
            _refuse("the answer is a stream, and its receipt is of none")
        chain, finished = self._walk(one.events, statement.predicate.receipt)
        if chain.events != chained.events:
            _refuse(f"{chained.events} events came before the receipt, and here are {chain.events}: one was cut out or put in")
        if chain.head != chained.head:
            _refuse("the events are not those that were sent: one was changed, or moved")
        if Counter(finished) != Counter(statement.digests):
            _refuse(_unlike(finished, statement.digests, "the stream"))
        last = one.events[-1]
        if not one.ended and last.receipt is not None:
            _refuse("something follows the event with the receipt")
        repeated = [picture.sha256 for picture in last.repeated]
        if repeated and repeated != statement.digests:
            _refuse(_unlike(repeated, statement.digests, "the last event"))
        self.salt = last.salt
        self._add("proven", "stream", f"{chain.events} events before the receipt, none missing, changed or moved")

    def _walk(self, events: Sequence[SavedEvent], receipt: str) -> tuple[Chain, list[str]]:
        """(the chain before the event with the receipt, or after the last one; the finished pictures)."""
        chain, finished = Chain(receipt), []
        for event in events:
            for picture in event.pictures:
                self._placed(event, picture, chain, receipt)
                if not picture.preview:
                    finished.append(picture.sha256)
            if event.receipt is not None:
                if event is not events[-1]:
                    _refuse("an event follows the receipt")
                break
            if event.claim is not None and not event.pictures:
                _refuse(f"event {chain.events} signs a picture that it does not hold")
            chain.add(event.sha256)
        return chain, finished

    def _placed(self, event: SavedEvent, picture: Shown, chain: Chain, receipt: str) -> None:
        """A picture of a stream, by the signature that its event carries."""
        number = chain.events
        if event.claim is None or len(event.pictures) != 1:
            _refuse(f"event {number} has a picture without a signature of its own")
        try:
            envelope = Envelope.read(event.claim, EVENT)
            claim = read_as(EventClaim, envelope.payload, "the event's claim")
        except ValueError as error:
            _refuse(f"what signs event {number} cannot be read: {error}")
        self._signer([envelope], f"event {number}", claim.keyid)
        kind = "preview" if picture.preview else "image"
        if (claim.receipt, claim.kind, claim.image) != (receipt, kind, picture.sha256):
            _refuse(f"the picture in event {number} is not the one that was signed there")
        if claim.sequence != number:
            _refuse(f"event {number} was event {claim.sequence} when it was signed: some were cut out, put in or moved")
        if claim.head != chain.head:
            _refuse(f"what came before event {number} is not what was sent")
        self._add("proven", kind, f"sha256 {picture.sha256}: event {number}")

    def _beginning(self, stream: Stream) -> None:
        """A stream that ends before its receipt: its pictures are proven, each by its event."""
        claims = [event.claim for event in stream.events if event.claim is not None]
        if not claims:
            self.missing.append("the stream holds no receipt and no signed picture")
            return
        try:
            first = read_as(EventClaim, Envelope.read(claims[0], EVENT).payload, "the event's claim")
        except ValueError as error:
            _refuse(f"what signs the first picture cannot be read: {error}")
        _, finished = self._walk(stream.events, first.receipt)
        for image in self.given.images:
            digest = hashlib.sha256(image).hexdigest()
            if digest not in finished:
                _refuse(f"the image (sha256 {digest}) is not in the stream")
        told = f"up to its last picture, it is as it was sent ({len(finished)} pictures)"
        self.missing.append(f"the stream ends before its receipt; {told}")
        self._unsigned()

    def _text(self, one: Text, statement: StreamStatement) -> None:
        if one.behind:
            _refuse("something follows the receipt that is not [DONE]")
        if one.sha256 != statement.subject[0].digest.sha256 or one.length != statement.predicate.answer.length:
            _refuse("the stream is not the one in the receipt: what stands before the receipt was changed")
        self._add("proven", "stream", f"sha256 {one.sha256}: all {one.length} bytes before the receipt")

    def _pictures(self, saved: Sequence[Saved], statement: ImageStatement) -> None:
        for image in self.given.images:
            digest = hashlib.sha256(image).hexdigest()
            if digest not in statement.digests:
                listed = ", ".join(statement.digests)
                _refuse(f"the image (sha256 {digest}) is not the one in the receipt (sha256 {listed})")
            place = statement.digests.index(digest)
            if len(image) != statement.predicate.outputs[place].length:
                _refuse(f"the receipt says that image {place + 1} has another length than it has")
            self._add("proven", "image", f"sha256 {digest}: image {place + 1} of {len(statement.digests)}")
        if not self.given.images and all(isinstance(one, Bare) for one in saved):
            self.missing.append("no picture was given to compare")

    def _no_pictures(self, saved: Sequence[Saved]) -> None:
        """The receipt is of a text stream: it says nothing of pictures or prompts, so none can be found to fit."""
        if self.given.images or self.given.references or self.given.mask is not None or self.given.prompt is not None:
            _refuse("the receipt is of a text stream, and says nothing of a picture or a prompt")
        if all(isinstance(one, Bare) for one in saved):
            self.missing.append("no stream was given to compare")

    # ---- what was sent

    def _inputs(self, statement: ImageStatement) -> None:
        inputs = statement.predicate.request.inputs or []
        masks = [self.given.mask] if self.given.mask is not None else []
        for role, files in (("reference", self.given.references), ("mask", masks)):
            listed = [one for one in inputs if one.role == role]
            for data in files:
                self._input(role, hashlib.sha256(data).hexdigest(), listed)
        self._prompt(statement)

    def _input(self, role: str, digest: str, listed: Sequence[Input]) -> None:
        found = next((one for one in listed if one.sha256 == digest), None)
        if found is None:
            _refuse(f"the {role} (sha256 {digest}) is not among those in the receipt")
        self._add("proven", role, f"sha256 {digest}: {role} {found.index + 1} of {len(listed)}")

    def _prompt(self, statement: ImageStatement) -> None:
        if self.given.prompt is None:
            return
        salt = self.given.salt or self.salt
        if not isinstance(salt, str):
            self.missing.append("the prompt cannot be checked without its salt (darkroom_prompt_salt in the answer)")
            return
        try:
            key = bytes.fromhex(salt)
        except ValueError:
            _refuse("the salt is not hex")
        made = hmac.new(key, self.given.prompt.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        if made != statement.predicate.request.promptCommitment:
            _refuse("the prompt is not the one in the receipt, or the salt is another")
        self._add("proven", "prompt", "it is the one that was asked")

    def _common(self, statement: Statement) -> None:
        predicate = statement.predicate
        if self.given.request is not None:
            digest = hashlib.sha256(self.given.request).hexdigest()
            if digest != predicate.request.sha256:
                _refuse(f"the request (sha256 {digest}) is not the one in the receipt (sha256 {predicate.request.sha256})")
            self._add("proven", "request", f"sha256 {digest}: these bytes")
        if self.given.nonce is not None:
            if predicate.nonce != self.given.nonce:
                _refuse(f"the nonce in the receipt is {predicate.nonce or 'not there'}, not {self.given.nonce}")
            self._add("proven", "nonce", predicate.nonce)

    def _head(self, saved: Sequence[Saved]) -> None:
        if self.given.head is None:
            return
        if len(self.given.saved) != 1 or isinstance(saved[0], Bare):
            _refuse("to check the head of an answer, give its body as it was saved, and nothing else")
        if self.given.keys is None:
            return
        from .heads import check_head  # the library is not needed for anything else here

        try:
            self._add("proven", "head", check_head(self.given.head, self.given.saved[0], self.given.keys))
        except ValueError as error:
            _refuse(f"the HTTP message signature: {error}")

    # ---- what is told

    def _unsigned(self) -> None:
        if self.given.keys is None:
            self.missing.append("nobody checked who signed: give the public key with --key")

    def _tell(self, statement: Statement) -> None:
        predicate = statement.predicate
        if isinstance(statement, ImageStatement):
            self._tell_pictures(statement)
        self._add("told", "request", f"sha256 {predicate.request.sha256}, to {predicate.request.path}")
        self._add("told", "time", _time(predicate.timeMs))
        if self.signer is not None:
            self._add("proven", "signed", f"by {self.signer.key.id}, which you trust, as {predicate.issuer}")
            self._add("open", "not shown", "that it was so: this operator's key asserts it, and no enclave was checked")
        self._unsigned()

    def _tell_pictures(self, statement: ImageStatement) -> None:
        predicate = statement.predicate
        upstream = predicate.upstream
        self._add("told", "made by", f"{upstream.provider}, model {upstream.modelReported} (asked: {upstream.modelAsked})")
        for one in predicate.request.inputs or []:
            what = f"sha256 {one.sha256}" if one.sha256 else f"a link, sha256 {one.urlSha256}"
            self._add("told", "from", f"{one.role} {one.index + 1}, {what}, seen as {one.observed}")
        for call in predicate.forwarded.calls:
            answered = call.status or "nothing"
            self._add("told", "sent", f"{call.method} to {call.origin}, sha256 {call.sha256}, answered {answered}")
        for change in predicate.forwarded.changes:
            self._add("told", "changed", change)
        if predicate.outcome == "partial":
            self._add("told", "partial", f"{len(statement.subject)} of {predicate.asked} pictures")


def _receipt_of(one: Saved) -> object | None:
    if isinstance(one, Stream):
        found = [event.receipt for event in one.events if event.receipt is not None]
        if len(found) > 1:
            _refuse("two receipts stand in the stream")
        return found[0] if found else None
    return one.receipt


def _unlike(found: Sequence[str], listed: Sequence[str], where: str) -> str:
    known = set(listed)
    strange = next((digest for digest in found if digest not in known), None)
    if strange is not None:
        return f"{where} holds an image (sha256 {strange}) that is not in the receipt (sha256 {', '.join(listed)})"
    return f"{where} holds {len(found)} images, the receipt {len(listed)}: they are not the same, or not in this order"


def _time(milliseconds: int) -> str:
    try:
        return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms after 1970"


def shown(text: str, most: int) -> str:
    """`text` that cannot break a terminal, whatever it is."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])
