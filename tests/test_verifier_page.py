"""The verifier's page in a real Chromium: as strict as our own verifier; without a key nothing is proven; nothing is sent."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
import rfc8785
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from playwright.async_api import Browser, Page, async_playwright

from plugins.signing.check import VALID, Evidence, verify
from plugins.signing.keys import read_keys
from proxy_core.testing import running
from tests.pictures import photograph
from tests.surfaces import turn
from tests.test_signing_hostile import BUSY, PLANTS
from tests.test_signing_mutations import mutated
from tests.vectors import FOLDER, FOREIGN, KEYPAIR, NOW, PROMPT, SALT, SCHEMA, _events, _signed

PAGE = Path(__file__).resolve().parent.parent / "plugins" / "signing" / "verifier.html"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_bytes())
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run")

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI_REQUIRE_CHROMIUM"), reason="there is no Chromium on this machine"
    ),
    pytest.mark.asyncio(loop_scope="module"),
]

File = tuple[str, bytes]

# Drops each set of files on the page, and waits until it has a verdict: all in one call, for there are hundreds of them.
DROP = """async ([sets, afresh]) => {
  const verdict = () => document.body.dataset.verdict;
  const words = (one) => [...one.childNodes].map((part) => part.textContent).join(" ").replace(/\\s+/g, " ").trim();
  const told = [];
  for (const files of sets) {
    if (afresh) document.getElementById("clear").click();
    const carried = new DataTransfer();
    for (const [name, text] of files) {
      carried.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
    }
    const dropped = new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
    document.querySelector("h1").dispatchEvent(dropped);
    if (!dropped.defaultPrevented) throw new Error("the browser would open the file");
    await new Promise((done) => {
      const look = () => { if (verdict()) { watch.disconnect(); done(); } };
      const watch = new MutationObserver(look);
      watch.observe(document.body, { attributes: true });
      look();
    });
    told.push({
      verdict: verdict(),
      words: words(document.getElementById("verdict")),
      lines: [...document.querySelectorAll("#checks li")].map((one) => [one.className, words(one)]),
      drawn: [...document.querySelectorAll("figure")].map((one) => [one.className, words(one)]),
    });
  }
  return told;
}"""


@dataclass
class Told:
    """What the page says."""

    verdict: str
    words: str
    lines: list[tuple[str, str]]  # (state, words)
    drawn: list[tuple[str, str]]

    def of(self, state: str) -> str:
        return "\n".join(words for found, words in self.lines if found == state)


class Desk:
    """The page, and what left it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.context.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text))

    @property
    def left(self) -> list[str]:
        return [url for url in self.asked if not url.startswith(("blob:", "data:"))]

    async def drop(self, *files: File, afresh: bool = True) -> Told:
        """What it says once these are dropped; with others that lie there already, if not `afresh`."""
        (told,) = await self.drop_each([files], afresh=afresh)
        return told

    async def drop_each(self, sets: Sequence[Sequence[File]], *, afresh: bool = True) -> list[Told]:
        given = [[[name, base64.b64encode(data).decode()] for name, data in files] for files in sets]
        return [
            Told(one["verdict"], one["words"], [(state, words) for state, words in one["lines"]], [*map(tuple, one["drawn"])])
            for one in await self.page.evaluate(DROP, [given, afresh])
        ]

    async def becomes(self, verdict: str) -> str:
        await self.page.wait_for_function("(wanted) => document.body.dataset.verdict === wanted", arg=verdict)
        return await self.page.inner_text("#verdict")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield launched
        await launched.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(browser: Browser) -> AsyncIterator[Desk]:
    page = await browser.new_page(viewport={"width": 400, "height": 300})  # little to paint
    found = Desk(page)
    await page.goto(PAGE.as_uri())
    yield found
    assert found.errors == []
    assert found.left == [PAGE.as_uri()]  # it came from the disk, and asked for nothing more, whatever was given to it


def read(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def vector(name: str) -> File:
    return Path(name).name, read(name)


KEY, KEYS, IMAGE, RECEIPT = vector("key.pem"), vector("keys.json"), vector("image-0.png"), vector("receipt.json")
STATEMENT: dict[str, Any] = json.loads(read("statement.json"))
PREDICATE = STATEMENT["predicate"]
OTHER = base64.b64encode(read("reference.png")).decode()  # a picture that no receipt lists among its own
SAFE = "\n" + OTHER.translate(str.maketrans("+/", "-_"))
OTHER_URL = f"data:image/png;base64,{OTHER}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def of_vectors(desk: Desk) -> list[Told]:
    """What it says of each vector."""
    return await desk.drop_each([[*map(vector, [*case["files"], *filter(None, [case["key"]])])] for case in CASES])


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number]['files'][0]}-{CASES[number]['key']}")
async def test_it_says_of_every_vector_what_our_verifier_says(of_vectors: list[Told], number: int) -> None:
    case, told = CASES[number], of_vectors[number]
    assert told.verdict == case["verdict"], told.words
    reason = {"must be an integer": "not canonical", "not as many as outputs": "not as many subjects as outputs"}
    assert reason.get(case["reason"], case["reason"]) in told.words, told.words
    assert told.words.startswith(told.verdict.upper())
    assert bool(told.of("bad")) == (told.verdict == "invalid")
    if not case["key"]:
        assert not told.of("proven")


# ---- the statement


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for name, one in inner for leaf in _leaves(one, (*path, name))]
    return [path]


def _objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        yield path
    for name, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _objects(one, (*path, name))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _with(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(STATEMENT)
    _at(changed, path[:-1])[path[-1]] = value
    return changed


async def test_every_field_of_the_statement_counts(desk: Desk) -> None:
    envelope = json.loads(RECEIPT[1])
    leaves = _leaves(STATEMENT)
    assert len(leaves) > 60
    sets = []
    for path in leaves:
        value = _at(STATEMENT, path)
        payload = rfc8785.dumps(_with(path, value + 1 if isinstance(value, int) else f"{value}x"))
        forged = {**envelope, "payload": base64.b64encode(payload).decode()}
        sets.append([("r.json", orjson.dumps(forged)), IMAGE, KEY])
    for path, told in zip(leaves, await desk.drop_each(sets), strict=True):
        assert (told.verdict, told.of("proven")) == ("invalid", ""), (path, told.words)


async def test_every_field_has_its_type_though_the_right_key_signed(desk: Desk) -> None:
    leaves = [path for path in _leaves(STATEMENT) if path[:2] != ("predicate", "usage")]  # there, anything may stand
    sets = []
    for path in leaves:
        value = _at(STATEMENT, path)
        receipt = await _signed(_with(path, str(value) if isinstance(value, int) else 1))
        sets.append([("r.json", receipt), IMAGE, KEY])
    for path, told in zip(leaves, await desk.drop_each(sets), strict=True):
        assert told.verdict == "invalid", (path, told.words)
        if path != ("predicateType",):  # of a statement of another type, nothing more is read
            assert re.search(r"of a wrong kind|has not its form|is none of", told.words), (path, told.words)


async def test_no_object_of_the_statement_has_a_member_too_many(desk: Desk) -> None:
    paths = [path for path in _objects(STATEMENT) if path[1:] not in (("usage",), ("cost",))]  # whose names are the services'
    told = await desk.drop_each([[("r.json", await _signed(_with((*path, "note"), "x"))), IMAGE, KEY] for path in paths])
    assert len(told) > 10
    for path, one in zip(paths, told, strict=True):
        assert (one.verdict, "unknown key" in one.words) == ("invalid", True), (path, one.words)


async def test_no_object_of_the_statement_has_a_member_too_few(desk: Desk) -> None:
    paths = [(*path, name) for path in _objects(STATEMENT) for name in _at(STATEMENT, path)]
    sets = []
    for path in paths:
        changed = copy.deepcopy(STATEMENT)
        del _at(changed, path[:-1])[path[-1]]
        sets.append([("r.json", await _signed(changed)), IMAGE, KEY])
    told = dict(zip(paths, await desk.drop_each(sets), strict=True))
    optional = {path[-1] for path, one in told.items() if one.verdict == "valid"}
    assert optional == {
        *("answerLength", "answerSha256", "status", "height", "width", "host", "inputs", "promptCommitment", "length"),
        *("mediaType", "sha256", "nonce", "cost", "usage", "package", "plugin", "requestId", "version"),
        *PREDICATE["usage"], *PREDICATE["cost"],
    }  # fmt: skip
    for path, one in told.items():
        if one.verdict != "valid":
            assert re.search("is missing|states something else", one.words), (path, one.words)


SENSELESS: list[tuple[tuple[Any, ...], object, str]] = [
    (("predicate", "timeMs"), 1.5, "not canonical"),
    (("predicate", "timeMs"), -1, "is not a count"),
    (("predicate", "timeMs"), 2**53, "not canonical"),
    (("predicate", "issuer"), None, "not canonical"),
    (("predicate", "asked"), True, "not canonical"),
    (("predicate", "receipt"), "rcpt_1", "has not its form"),
    (("predicate", "receipt"), PREDICATE["receipt"] + "\n", "has not its form"),
    (("predicate", "request", "sha256"), "A" * 64, "has not its form"),
    (("predicate", "outcome"), "fine", "is none of"),
    (("predicate", "outputs", 0, "length"), 1, "another length"),
    (("predicate", "outputs", 0, "mediaType"), "image/webp", "and it is image/png"),
    (("subject", 0, "name"), "image-1", "names are not"),
    (("subject", 0, "name"), "image-0,image-1", "names are not"),
    (("subject",), [STATEMENT["subject"][0]], "not as many subjects as outputs"),
    (("predicate", "usage", "x"), [[[{"y": 1.5}]]], "not canonical"),
    (("_type",), "https://in-toto.io/Statement/v0.1", "is none of"),
    (("predicateType",), ["https://darkroom.invalid/image-receipt/v1"], "states something else"),
]


async def test_what_a_right_key_signed_must_still_make_sense(desk: Desk) -> None:
    statements = [orjson.dumps(_with(path, value), option=orjson.OPT_SORT_KEYS) for path, value, _ in SENSELESS]
    told = await desk.drop_each([[("r.json", await _signed(one)), IMAGE, KEY] for one in statements])
    for (path, value, reason), one in zip(SENSELESS, told, strict=True):
        assert (one.verdict, reason in one.words) == ("invalid", True), (path, value, one.words)


# ---- keys and signatures


def _envelope(**members: object) -> bytes:
    return orjson.dumps({**json.loads(RECEIPT[1]), **members})


def _with_signature(der: bytes) -> File:
    signature = {"keyid": KEYPAIR.public.id, "sig": base64.b64encode(der).decode()}
    return "r.json", _envelope(signatures=[signature])


def _der() -> bytes:
    return base64.b64decode(json.loads(RECEIPT[1])["signatures"][0]["sig"])


def _numbers(*numbers: bytes) -> bytes:
    body = b"".join(b"\x02" + bytes([len(number)]) + number for number in numbers)
    return b"\x30" + bytes([len(body)]) + body


def _forms_of_der() -> dict[str, bytes]:
    r, s = ((b"\0" if n >> 255 else b"") + n.to_bytes(32, "big") for n in decode_dss_signature(_der()))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    return {
        "a zero too many": _numbers(b"\0" + r, s),
        "negative": _numbers(r, (int.from_bytes(s, "big") | 1 << 255).to_bytes(33, "big")[-32:]),
        "something behind": _der() + b"\0",
        "something behind, inside": b"\x30" + bytes([_der()[1] + 1]) + _der()[2:] + b"\0",
        "three numbers": _numbers(r, s, s),
        "one number": _numbers(r),
        "a long length": b"\x30\x81" + _der()[1:],
        "the two side by side": r[-32:] + s[-32:],
        "zeros": _numbers(b"\0", b"\0"),
        "r of the order": _numbers(b"\0" + order.to_bytes(32, "big"), s),
        "s is s + order": _numbers(r, (int.from_bytes(s, "big") + order).to_bytes(33, "big")),
        "r and s": _numbers(s, r),
        "empty": b"",
        "cut": _der()[:-1],
        "a length beyond": b"\x30\x06\x02\x20\x01\x02\x01\x01",
    }


async def test_a_signature_has_one_form(desk: Desk) -> None:
    forms = _forms_of_der()
    told = await desk.drop_each([[_with_signature(form), IMAGE, KEY] for form in forms.values()])
    for name, one in zip(forms, told, strict=True):
        assert (one.verdict, "not signed by the key" in one.words) == ("invalid", True), (name, one.words)


async def test_base64_has_one_form(desk: Desk) -> None:
    envelope = json.loads(await _signed(_with(("predicate", "issuer"), "x" * 19)))
    text = envelope["payload"]
    assert text.endswith("==")
    bare = text.rstrip("=")
    loose = bare[:-1] + chr(ord(bare[-1]) + 1) + "=="  # other bits where nobody reads them
    broken = [
        *(text[:40] + "\n" + text[40:], f" {text}", bare, f"{text}=", f"{text}====", text[:-4], loose),
        *(text.replace("A", "-", 1), f"{text[:8]}={text[9:]}", 7, None),
    ]
    told = await desk.drop_each([[("r.json", orjson.dumps({**envelope, "payload": one})), IMAGE, KEY] for one in broken])
    for changed, one in zip(broken, told, strict=True):
        assert one.verdict == "invalid", changed
        assert re.search("payload is not valid base64|payload is not a string|statement is not", one.words), one.words


JWK = KEYPAIR.public.jwk


def _set(*keys: object) -> File:
    return "keys.json", orjson.dumps({"keys": list(keys)})


def _pem(key: Any) -> bytes:
    found: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _private_pem() -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return KEYPAIR.key.private_bytes(*form)


P384 = ec.derive_private_key(7, ec.SECP384R1()).public_key()


NO_KEYS: list[tuple[File, str]] = [
    (_set({**JWK, "alg": "none"}), "not a P-256 key for ES256"),
    (_set({**JWK, "alg": "HS256"}), "not a P-256 key for ES256"),
    (_set({**JWK, "alg": None}), "not a P-256 key for ES256"),
    (_set({"kty": "oct", "k": JWK["x"], "alg": "HS256", "kid": JWK["kid"]}), "not a P-256 key for ES256"),
    (_set({"kty": "RSA", "n": JWK["x"], "e": "AQAB", "kid": JWK["kid"]}), "not a P-256 key for ES256"),
    (_set({**JWK, "crv": "secp256k1"}), "not a P-256 key for ES256"),
    (_set({**JWK, "use": "enc"}), "not a public key for signatures"),
    (_set({**JWK, "d": JWK["x"]}), "not a public key for signatures"),
    (_set({**JWK, "x": JWK["y"]}), "not a point on P-256"),
    (_set({**JWK, "nbf": "0"}), "no whole number of seconds"),
    (_set(), "it is empty"),
    (_set(None, 7, "x"), "not a P-256 key"),
    (("keys.json", b'{"keys":{}}'), "neither a public key in PEM nor a key set"),
    (("keys.json", KEYS[1].replace(b'"kty"', b'"kty":"EC","kty"')), "the key 'kty' stands in it twice"),
    (("keys.json", KEYS[1].rstrip()[:-1]), "the key set is not JSON"),
    (("key.pem", _private_pem()), "this is a private key"),
    (("key.pem", _pem(P384)), "not a P-256 key"),
    (("key.pem", KEY[1].replace(b"PUBLIC", b"RSA PUBLIC")), "not a public key in PEM"),
    (("key.pem", KEY[1].replace(b"MFkw", b"MF=w")), "the key is not valid base64"),
]


async def test_what_is_no_key_for_receipts_is_refused(desk: Desk) -> None:
    told = await desk.drop_each([[RECEIPT, IMAGE, key] for key, _ in NO_KEYS])
    for (key, reason), one in zip(NO_KEYS, told, strict=True):
        assert (one.verdict, reason in one.words) == ("invalid", True), (key, one.words)


async def test_of_a_key_set_the_right_key_is_taken_and_all_that_is_known_of_it_counts(desk: Desk) -> None:
    many = _set({"kty": "RSA"}, FOREIGN.public.jwk, {**JWK, "kid": FOREIGN.public.id}, {**JWK, "alg": "none"})
    assert (await desk.drop(RECEIPT, IMAGE, many)).verdict == "valid"
    alone = await desk.drop(RECEIPT, IMAGE, ("key.json", orjson.dumps(JWK)))
    assert alone.verdict == "valid"
    assert "whether the key was in use at that time" in alone.of("open")
    timed = await desk.drop(RECEIPT, IMAGE, _set({**JWK, "nbf": NOW, "exp": NOW + 1}))
    assert timed.verdict == "valid"
    assert "in use at that time" not in timed.of("open")
    both = await desk.drop(RECEIPT, IMAGE, KEY, _set({**JWK, "exp": NOW}))
    assert (both.verdict, "did not sign" in both.words) == ("invalid", True)


# ---- pictures that no receipt covers


def _changed(name: str, change: Callable[[Any], object]) -> File:
    value = json.loads(read(name))
    change(value)
    return name, json.dumps(value).encode()  # orjson would not write what is nested deeply


def _message(value: Any) -> Any:
    return value["choices"][0]["message"]


def _last(name: str, change: Callable[[Any], object]) -> File:
    """The event with the receipt is the one that the chain does not cover."""
    events = _events(read(name))
    place = max(place for place, event in enumerate(events) if b"darkroom_receipt" in event)
    head, _, data = events[place].rpartition(b"data: ")
    value = json.loads(data)
    change(value)
    events[place] = head + b"data: " + json.dumps(value).encode() + b"\n\n"
    return name, b"".join(events)


CHAT, IMAGES, RESPONSES = "answer-chat.json", "answer-images.json", "answer-responses.json"
LINK = "https://elsewhere.example/x.png"
STRAY = {
    "a link for a picture": _changed(IMAGES, lambda v: v["data"].append({"url": LINK})),
    "a link beside a picture": _changed(IMAGES, lambda v: v["data"][0].update(url=LINK)),
    "other Markdown": _changed(CHAT, lambda v: _message(v).update(content=f"![x]({OTHER_URL})")),
    "Markdown with a link": _changed(CHAT, lambda v: _message(v).update(content=f"![image]({LINK})")),
    "Markdown by name": _changed(CHAT, lambda v: _message(v).update(content=f"![x][1]\n\n[1]: {LINK}")),
    "HTML": _changed(CHAT, lambda v: _message(v).update(content=f"<IMG src={LINK}>")),
    "Markdown in a part": _changed(CHAT, lambda v: _message(v).update(content=[{"type": "text", "text": f"![a]({LINK})"}])),
    "an object of another form": _changed(CHAT, lambda v: _message(v)["images"].append({"url": OTHER_URL})),
    "at the top": _changed(CHAT, lambda v: v.update(images=[OTHER_URL])),
    "links at the top": _changed(CHAT, lambda v: v.update(images=[LINK])),
    "another API's place": _changed(CHAT, lambda v: v.update(data=[{"url": OTHER_URL}])),
    "bare, in a place of its own": _changed(CHAT, lambda v: _message(v).update(audio={"data": OTHER})),
    "bare, in the other alphabet": _changed(CHAT, lambda v: v.update(parts=[{"inlineData": {"data": SAFE}}])),
    "a message": _changed(RESPONSES, lambda v: v["output"].append({"content": [{"image_url": OTHER_URL}]})),
    "an SVG": _changed(CHAT, lambda v: _message(v).update(content="data:image/svg+xml,%3Csvg/%3E")),
    "the same one twice": _changed(CHAT, lambda v: v.update(picture=_message(v)["images"][0]["image_url"]["url"])),
    "last event, link": _last("stream-chat.sse", lambda v: v["choices"][0]["delta"].update(content=f"![image]({LINK})")),
    "last event, second choice": _last(
        "stream-chat.sse", lambda v: v["choices"].append({"delta": {"images": [{"image_url": {"url": OTHER_URL}}]}})
    ),
    "last event, message": _last(
        "stream-chat.sse", lambda v: v["choices"][0].update(message={"images": [{"image_url": {"url": OTHER_URL}}]})
    ),
    "last event, link beside": _last("stream-images.sse", lambda v: v.update(url=LINK)),
    "last event, output": _last("stream-responses.sse", lambda v: v["response"]["output"].append({"image_url": OTHER_URL})),
}


async def test_a_picture_where_none_should_be(desk: Desk) -> None:
    for what, one in zip(STRAY, await desk.drop_each([[file, KEY] for file in STRAY.values()]), strict=True):
        assert (one.verdict, "where no signature covers one" in one.words) == ("invalid", True), (what, one.words)


async def test_what_our_verifier_sees_planted_is_seen_here(desk: Desk) -> None:
    files = [_changed(name, plant) for name in (CHAT, IMAGES, RESPONSES) for plant in PLANTS.values()]
    for name in ("chat", "chat-strings", "chat-markdown", "images", "responses"):
        files += [_last(f"stream-{name}.sse", plant) for plant in PLANTS.values()]
    files += [_last("stream-responses.sse", lambda v, plant=plant: plant(v["response"])) for plant in PLANTS.values()]  # type: ignore[misc]
    for file, one in zip(files, await desk.drop_each([[file, KEY] for file in files]), strict=True):
        assert one.verdict == "invalid", file
    warned = {"warnings": [f"it said {OTHER_URL}"]}
    honest = [_changed(IMAGES, lambda v: v.update(warned))]
    honest += [_last("stream-responses.sse", lambda v: v["response"].update(warned))]
    assert {one.verdict for one in await desk.drop_each([[file, KEY] for file in honest])} == {"valid"}


@pytest.mark.parametrize("made", BUSY.values(), ids=BUSY)
async def test_what_would_keep_it_busy_is_judged_soon(desk: Desk, made: Callable[[], bytes]) -> None:
    assert (await desk.drop(("busy", made()), KEY)).verdict != "valid"


CHANGED: list[tuple[File, str]] = [
    (_changed(CHAT, lambda v: _message(v)["images"][0]["image_url"].update(url=LINK)), "no data: URL"),
    (_changed(CHAT, lambda v: _message(v)["images"].append(LINK)), "no data: URL"),
    (_changed(CHAT, lambda v: _message(v)["images"].append(OTHER_URL)), "not in the receipt"),
    (_changed(CHAT, lambda v: _message(v).update(content=f"![image]({OTHER_URL})")), "not in the receipt"),
    (_changed(CHAT, lambda v: _message(v).update(images=[])), "holds 0 images"),
    (_changed(CHAT, lambda v: v.update(choices=v["choices"] * 2)), "holds 4 images"),
    (_changed(IMAGES, lambda v: v["data"][0].update(b64_json=None)), "not a string"),
    (_changed(RESPONSES, lambda v: v["output"][0].update(result=OTHER)), "not in the receipt"),
    (_changed(RESPONSES, lambda v: v["output"][0].update(type="x")), "where no signature covers one"),
    (_last("stream-responses.sse", lambda v: v["response"].update(output=[])), "holds 0 images"),
    (_last("stream-responses.sse", lambda v: v["response"]["output"].reverse()), "not in this order"),
    (_last("stream-images.sse", lambda v: v.update(b64_json=OTHER)), "not the one that was signed there"),
    (_last("stream-images.sse", lambda v: v.pop("b64_json")), "signs a picture|not in this order|holds 1 images"),
    (_last("stream-images.sse", lambda v: v.update(response={"darkroom_receipt": 1})), "in two places"),
]


async def test_an_answer_has_the_pictures_of_its_receipt_and_no_others(desk: Desk) -> None:
    told = await desk.drop_each([[file, KEY] for file, _ in CHANGED])
    for (file, reason), one in zip(CHANGED, told, strict=True):
        assert one.verdict == "invalid", file
        assert re.search(reason, one.words), one.words
        assert "proven" not in {state for state, label in one.drawn if "not " in label}


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(created=7, note="not signed"),
        lambda v: v.update(warnings=["write <img> as ![x](y)"]),
        lambda v: _message(v).update(content="no picture, but [a link](https://elsewhere.example) and data: as such"),
        lambda v: v.update(tee_signature="Qk" * 170 + "=="),  # it begins as a BMP does
    ],
    ids=range(4),
)
async def test_what_shows_nobody_a_picture_makes_no_difference(desk: Desk, change: Callable[[Any], object]) -> None:
    told = await desk.drop(_changed(CHAT, change), KEY)
    assert told.verdict == "valid", told.words


async def test_pictures_as_parts_and_as_strings(desk: Desk) -> None:
    def parts(value: Any) -> None:
        images = _message(value).pop("images")
        _message(value)["content"] = [{"type": "text", "text": "Here:"}, *images]

    def strings(value: Any) -> None:
        _message(value)["images"] = [one["image_url"]["url"] for one in _message(value)["images"]]

    def markdown(value: Any) -> None:
        urls = [one["image_url"]["url"] for one in _message(value).pop("images")]
        _message(value)["content"] = "Here:\n" + "\n\n".join(f"![image]({url})" for url in urls)

    for change in (parts, strings, markdown):
        told = await desk.drop(_changed(CHAT, change), KEY)
        assert told.verdict == "valid", told.words
        assert [label for _, label in told.drawn] == ["✓proven: image 1 of 2", "✓proven: image 2 of 2"]


async def test_a_receipt_kept_apart_from_its_answer(desk: Desk) -> None:
    bare = _changed(CHAT, lambda v: v.pop("darkroom_receipt"))
    assert (await desk.drop(bare, RECEIPT, KEY)).verdict == "valid"
    alone = await desk.drop(bare, KEY)
    assert (alone.verdict, "holds no receipt" in alone.words) == ("incomplete", True)
    other = _changed(IMAGES, lambda v: (v.pop("darkroom_receipt"), v["data"].pop()))
    assert (await desk.drop(other, RECEIPT, KEY)).verdict == "invalid"


async def test_receipts_and_pictures_that_do_not_belong_together(desk: Desk) -> None:
    strange = await _signed(_with(("predicate", "receipt"), PREDICATE["receipt"][:-1] + "c"))
    told = await desk.drop(RECEIPT, ("other.json", strange), IMAGE, KEY)
    assert (told.verdict, "two different receipts" in told.words) == ("invalid", True)
    told = await desk.drop(vector(CHAT), vector("stream-chat.sse"), KEY)
    assert (told.verdict, "two different receipts" in told.words) == ("invalid", True)
    told = await desk.drop(vector("broken/early-stream-chat.sse"), RECEIPT, KEY)
    assert told.verdict == "invalid"
    told = await desk.drop(vector(CHAT), ("re-encoded.png", photograph(0.01)), KEY)
    assert (told.verdict, "is not the one in the receipt" in told.words) == ("invalid", True)
    assert ("bad", "✗wrong: re-encoded.png: not in the receipt") in told.drawn
    told = await desk.drop(vector(CHAT), ("request.json", read("request.json") + b" "), KEY)
    assert (told.verdict, "the request" in told.words) == ("invalid", True)


# ---- streams


async def test_line_ends_and_a_done_that_was_cut_make_no_difference(desk: Desk) -> None:
    whole = read("stream-chat.sse")
    assert whole.endswith(b"data: [DONE]\n\n")
    for data in (
        whole.replace(b"\n", b"\r\n"),
        whole.replace(b"\n", b"\r"),
        whole.replace(b"data: ", b"data:"),
        whole.replace(b"data: ", b": a comment\nid: 7\ndata: "),
        whole.removesuffix(b"data: [DONE]\n\n"),
        whole[:-2],
        whole[:-1],
        whole[:-8],
    ):
        told = await desk.drop(("s.sse", data), KEY)
        assert told.verdict == "valid", (data[-40:], told.words)
        assert "none missing, changed or moved" in told.of("proven")


EXTRA = b'data: {"choices":[]}\n\n'
RECEIPT_LINE = b": darkroom-receipt " + RECEIPT[1] + b"\n"


def _last_picture_changed(stream: bytes) -> bytes:
    """Beside the picture: of all that is in that event, only the head in the receipt tells."""
    *before, event, receipt, done = _events(stream)
    assert b"darkroom_event" in event
    return b"".join([*before, event.replace(b'"index":1', b'"index":0'), receipt, done])


BROKEN: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda s: b"data\n\n" + s, "is not JSON"),
    (lambda s: s.replace(b"\n\n", b"\n\ndata\n\n", 1), "is not JSON"),
    (lambda s: s.replace(b"\n\n", b"\n\ndata: []\n\n", 1), "is not an object"),
    (lambda s: s.replace(b"\n\n", b"\n\ndata: {}\n\n", 1), "was event"),
    (lambda s: s.replace(b"data: [DONE]", EXTRA + b"data: [DONE]"), "an event follows the receipt"),
    (lambda s: s + EXTRA, "an event follows [DONE]"),
    (lambda s: s + EXTRA[:-1], "something follows the event with the receipt"),
    (lambda s: s + EXTRA[:-2], "something follows the event with the receipt"),
    (lambda s: s.replace(b"data: [DONE]\n\n", EXTRA[:-4]), "something follows the event with the receipt"),
    (lambda s: s.replace(b'"object":', b'"object":1,"object":', 1), "stands in it twice"),
    (lambda s: s.replace(b'"created":', b'"created": ', 1), "is not what was sent"),
    (lambda s: b"".join([*_events(s)[:2], *_events(s)[3:]]), "was event|came before the receipt"),
    (lambda s: b"".join([_events(s)[0], *_events(s)]), "was event"),
    (_last_picture_changed, "not those that were sent"),
    (lambda s: s.replace(b'"partial":true', b'"partial":false', 1), "not the one that was signed there"),
    (lambda s: s.replace(b"data: [DONE]", RECEIPT_LINE + b"data: [DONE]"), "of another kind of answer|two different"),
]


async def test_a_stream_is_as_it_was_sent(desk: Desk) -> None:
    whole = read("stream-chat.sse")
    told = await desk.drop_each([[("s.sse", change(whole)), KEY] for change, _ in BROKEN])
    for place, ((_, reason), one) in enumerate(zip(BROKEN, told, strict=True)):
        assert one.verdict == "invalid", place
        assert any(words in one.words for words in reason.split("|")), (place, one.words)


async def test_a_stream_that_ends_early_says_how_far_it_is_proven(desk: Desk) -> None:
    events = [event for event in _events(read("stream-chat.sse")) if b"data:" in event]
    early = await desk.drop(("s.sse", b"".join(events[:2])), KEY)
    assert early.verdict == "incomplete"
    assert "up to its last picture, in event 1, it is as it was sent (1 picture, 1 preview)" in early.words
    assert early.of("proven").count("sha256") == 2
    more = await desk.drop(("s.sse", b"".join(events[:2]) + EXTRA), KEY)
    assert (more.verdict, "after the last picture, 1 event" in more.of("open")) == ("incomplete", True)
    unsigned = await desk.drop(("s.sse", b"".join(events[:2])))
    assert (unsigned.verdict, unsigned.of("proven"), unsigned.drawn[0][0]) == ("incomplete", "", "match")
    given = await desk.drop(("s.sse", b"".join(events[:2])), IMAGE, KEY)
    assert given.verdict == "incomplete"
    strange = await desk.drop(("s.sse", b"".join(events[:2])), vector("reference.png"), KEY)
    assert strange.verdict == "invalid"
    late = await desk.drop(("s.sse", b"".join(events[:2])), _set({**JWK, "exp": NOW}))
    assert (late.verdict, "did not sign" in late.words) == ("invalid", True)


@pytest.mark.parametrize(
    "forged",
    [
        {"choices": [{"delta": {}}, {"delta": {"images": [OTHER_URL]}}]},
        {"type": "response.completed", "response": {"output": [{"type": "image_generation_call", "result": OTHER}]}},
        {"type": "response.output_item.done", "item": {"type": "image_generation_call", "result": OTHER}},
        {"type": "image_generation.completed", "b64_json": OTHER},
        {"images": [OTHER_URL]},
        {"images": [LINK]},
    ],
    ids=range(6),
)
async def test_no_picture_can_be_put_behind_a_stream_that_ended_early(desk: Desk, forged: dict[str, Any]) -> None:
    early = read("broken/early-stream-images.sse") + b"data: " + orjson.dumps(forged) + b"\n\n"
    told = await desk.drop(("s.sse", early), KEY)
    assert told.verdict == "invalid", told.words
    good = read("broken/early-stream-chat.sse")
    assert (await desk.drop(("a.sse", good), ("b.sse", early), KEY)).verdict == "invalid"  # each stream is looked at


async def test_a_stream_of_text(desk: Desk) -> None:
    whole = vector("stream-text.sse")
    line = next(line for line in whole[1].split(b"\n") if line.startswith(b": darkroom-receipt "))
    receipt = ("r.json", line.removeprefix(b": darkroom-receipt "))
    assert (await desk.drop(whole, receipt, KEY)).verdict == "valid"
    alone = await desk.drop(receipt, KEY)
    assert (alone.verdict, "no stream was given" in alone.words) == ("incomplete", True)
    beside = await desk.drop(whole, IMAGE, KEY)
    assert (beside.verdict, "of a text stream" in beside.words) == ("invalid", True)
    end = whole[1].index(line) + len(line)
    assert (await desk.drop(("s.sse", whole[1][:end]), KEY)).verdict == "valid"
    for behind in (b"\r" + EXTRA, b"\n" + EXTRA, b"\r\r" + EXTRA + b"data: [DONE]\n\n"):
        more = await desk.drop(("s.sse", whole[1][:end] + behind), KEY)
        assert (more.verdict, "something follows the receipt" in more.words) == ("invalid", True)
    twice = await desk.drop(("s.sse", whole[1].replace(line, line + b"\n" + line)), KEY)
    assert (twice.verdict, "two receipts" in twice.words) == ("invalid", True)
    await desk.drop(whole, KEY)
    await desk.page.evaluate("document.querySelector('details').open = true")
    await desk.page.fill("#prompt", "x")
    assert "says nothing of a picture or a prompt" in await desk.becomes("invalid")


# ---- what was sent


async def test_what_was_sent_is_checked_too(desk: Desk) -> None:
    files = [CHAT, "keys.json", "request.json", "reference.png", "mask.png", "image-1.png"]
    before = await desk.drop(*map(vector, files))
    assert before.verdict == "valid"
    for words in ("request sha256", "reference sha256", "mask sha256", "signed by"):
        assert words in before.of("proven")
    for words in ("made by bytedance", "cost 0.06 USD", "changed quality", "POST to https://ark.example", "image 2 image/png"):
        assert words in before.of("told")
    assert "the nonce, the prompt" in before.of("open")
    await desk.page.evaluate("document.querySelector('details').open = true")
    await desk.page.get_by_label("Prompt").fill(PROMPT)
    await desk.page.get_by_label("Nonce").fill("a-nonce-of-the-client")
    await desk.page.wait_for_function("() => document.getElementById('checks').textContent.includes('the one that was asked')")
    assert await desk.becomes("valid")
    await desk.page.fill("#prompt", PROMPT + " ")
    assert "the prompt is not the one" in await desk.becomes("invalid")
    await desk.page.fill("#prompt", PROMPT)
    await desk.becomes("valid")
    await desk.page.fill("#nonce", "another")
    assert "the nonce in the receipt" in await desk.becomes("invalid")


async def test_a_salt_can_be_given_by_hand(desk: Desk) -> None:
    await desk.drop(RECEIPT, IMAGE, KEY)
    await desk.page.evaluate("document.querySelector('details').open = true")
    await desk.page.fill("#prompt", PROMPT)
    assert "without its salt" in await desk.becomes("incomplete")
    await desk.page.get_by_label("Its salt").fill(SALT.hex())
    await desk.becomes("valid")
    await desk.page.fill("#salt", SALT.hex()[:-2])
    assert "64 hex digits" in await desk.becomes("invalid")


async def test_what_was_not_given_is_not_claimed(desk: Desk) -> None:
    told = await desk.drop(RECEIPT, IMAGE, KEY)
    assert told.verdict == "valid"
    assert "1 of 2 pictures are" in told.words
    assert "image 2 of 2" in told.of("open")
    unsigned = await desk.drop(RECEIPT, IMAGE)
    assert (unsigned.verdict, unsigned.of("proven")) == ("incomplete", "")
    assert "image 1 of 2" in unsigned.of("match")


# ---- what it is given, and how


async def test_files_are_chosen_too_and_pictures_are_shown(desk: Desk) -> None:
    await desk.page.click("#clear")
    await desk.page.set_input_files("#files", [FOLDER / "stream-images.sse", FOLDER / "key.pem"])
    await desk.becomes("valid")
    drawn = desk.page.locator("#pictures img")
    assert await drawn.count() == 3  # a preview and two pictures
    decoded = "images => Promise.all(images.map(async (image) => { await image.decode(); return image.naturalWidth; }))"
    assert await drawn.evaluate_all(decoded) == [4, 16, 12]
    assert await drawn.evaluate_all("images => images.every((image) => image.src.startsWith('blob:') && image.alt)")


async def test_one_by_one_taken_away_and_from_the_start(desk: Desk) -> None:
    assert (await desk.drop(RECEIPT)).verdict == "incomplete"
    assert (await desk.drop(IMAGE, afresh=False)).verdict == "incomplete"
    assert (await desk.drop(KEY, afresh=False)).verdict == "valid"
    assert (await desk.drop(vector("broken/image-one-pixel.png"), afresh=False)).verdict == "invalid"
    await desk.page.get_by_role("button", name="Remove image-one-pixel.png").focus()
    await desk.page.keyboard.press("Enter")
    await desk.becomes("valid")
    await desk.page.get_by_role("button", name="Start over").focus()
    await desk.page.keyboard.press("Enter")
    await desk.page.wait_for_function("() => document.getElementById('verdict').textContent.startsWith('Nothing')")
    assert await desk.page.locator("#given li, #checks li, figure").count() == 0


async def test_a_folder_is_no_fault(desk: Desk) -> None:
    folder = """() => {
      document.getElementById("clear").click();
      const dropped = new Event("drop", { bubbles: true, cancelable: true });
      const unread = { name: "folder", size: 4096, arrayBuffer: () => Promise.reject(new DOMException("", "NotFoundError")) };
      Object.defineProperty(dropped, "dataTransfer", { value: { files: [unread] } });
      document.body.dispatchEvent(dropped);
    }"""
    await desk.page.evaluate(folder)
    assert "folder cannot be read" in await desk.becomes("incomplete")


async def test_words_in_a_receipt_cannot_become_a_page(desk: Desk) -> None:
    statement = copy.deepcopy(STATEMENT)
    strange = "\u202e\u2066\u200b\u0007\U000e0041" + "\u0301" * 50
    evil = f"<img src=x onerror=document.body.dataset.verdict='valid'>{strange}" + "x" * 5000
    statement["predicate"]["upstream"]["provider"] = statement["predicate"]["issuer"] = evil
    statement["predicate"]["forwarded"]["changes"] = [evil, *[evil[:70]] * 3000]
    told = await desk.drop(("<b>\u202er.json", await _signed(statement)), IMAGE, KEY)
    assert told.verdict == "valid"
    assert await desk.page.locator("#checks img, #verdict img, #given b b").count() == 0
    whole = await desk.page.inner_text("body")
    assert "<img src=x" in whole
    assert not re.search("[\u202e\u2066\u200b\u0007\U000e0041]|\u0301{4}", whole)
    assert len(told.lines) < 310
    assert max(len(words) for _, words in told.lines) < 600


async def test_only_pictures_are_drawn(desk: Desk) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title = 1</script></svg>'
    statement = _with(("subject", 0, "digest", "sha256"), hashlib.sha256(svg).hexdigest())
    statement["predicate"]["outputs"][0].update(length=len(svg), mediaType="image/svg+xml")
    answer = {"data": [{"b64_json": base64.b64encode(one).decode()} for one in (svg, read("image-1.png"))]}
    told = await desk.drop(("a.json", orjson.dumps({**answer, "darkroom_receipt": json.loads(await _signed(statement))})), KEY)
    assert told.verdict == "valid"
    assert await desk.page.locator("figure").count() == 2
    assert await desk.page.locator("figure img").count() == 1


JUNK = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"darkroom_receipt":' + b"[" * 5000,
    b'{"payloadType":"x","payload":1e999,"signatures":[]}',
    b'{"darkroom_receipt":null}',
    b'{"darkroom_receipt":{},"darkroom_receipt":{}}',
    b'{"darkroom_receipt":{"__proto__":{},"constructor":1}}',
    b'\xff{"darkroom_receipt":{}}',
    b'{"darkroom_receipt":"\xff"}',
    b"data: x",
    b"data: {}\n\n" * 1000,
    b'data: {"darkroom_event":{}}\n\n' * 1000,
    b"data:\n" * 30_000,
    b"\r" * 100_000 + b"data: x\n\n",
    b": darkroom-receipt {}\n",
    b": darkroom-receipt {\n\ndata: [DONE]\n\n",
    b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    b'{"keys":[{"kty":"RSA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}',
    b'{"choices":[{"message":{"images":["https://elsewhere.example/x"]}}]}',
    b'{"darkroom_receipt":{},"choices":[{"message":{"content":"' + b"![image](data:" * 20_000 + b'"}}]}',
    b'{"darkroom_receipt":{},"choices":[{"message":{"content":"' + b"![" * 100_000 + b'"}}]}',
    b'{"darkroom_receipt":{},"x":"' + b"data:" * 50_000 + b'"}',
    b'{"darkroom_receipt":{"payload":"' + b"A" * 300_000 + b'","payloadType":"application/vnd.in-toto+json"}}',
    b'{"darkroom_receipt":{},' + b",".join(b'"%d":1' % n for n in range(20_000)) + b"}",
    b"\xff\xfe\x00",
    b"<html></html>",
    b"HTTP/1.1 200 OK\r\n\r\n{}",
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
async def test_junk_is_never_valid_and_never_a_fault(desk: Desk, junk: bytes) -> None:
    for told in await desk.drop_each([[("junk", junk), IMAGE], [("junk", junk), RECEIPT, IMAGE, KEY]]):
        assert told.verdict in ("invalid", "incomplete"), told.words
        assert "cannot be read (" not in told.words  # each has a reason of its own


async def test_nothing_is_valid_here_that_our_verifier_refuses(desk: Desk) -> None:
    known = read_keys(KEYS[1])
    for name in (CHAT, IMAGES, RESPONSES, "stream-chat.sse", "stream-images.sse", "stream-responses.sse", "stream-text.sse"):
        chance = random.Random(name)
        changed = [data for _ in range(4) for data in mutated(read(name), chance)]
        for data, told in zip(changed, await desk.drop_each([[(name, data), KEYS] for data in changed]), strict=True):
            if told.verdict == "valid":
                assert verify(Evidence(saved=[data], keys=known)).code == VALID, data[:3000]


async def test_large_pictures(desk: Desk, tmp_path: Path) -> None:
    picture = photograph(8)
    statement = _with(("subject", 0, "digest", "sha256"), hashlib.sha256(picture).hexdigest())
    statement["predicate"]["outputs"][0]["length"] = len(picture)
    pictures = [{"b64_json": base64.b64encode(one).decode()} for one in (picture, read("image-1.png"))]
    answer = orjson.dumps({"created": 1, "data": pictures, "darkroom_receipt": json.loads(await _signed(statement))})
    (tmp_path / "large.png").write_bytes(picture)
    (tmp_path / "answer.json").write_bytes(answer)
    await desk.page.click("#clear")
    await desk.page.set_input_files("#files", [tmp_path / "large.png", tmp_path / "answer.json", FOLDER / "key.pem"])
    await desk.becomes("valid")


# ---- the page itself


async def test_everything_has_a_name_and_the_verdict_is_announced(desk: Desk) -> None:
    assert await desk.page.get_by_role("status").get_attribute("id") == "verdict"
    unnamed = "all => all.filter((one) => !one.labels?.length && !one.textContent.trim() && !one.ariaLabel).length"
    assert await desk.page.locator("input, textarea, button").evaluate_all(unnamed) == 0
    await desk.page.set_viewport_size({"width": 320, "height": 640})
    await desk.drop(vector(CHAT), ("a-very-long-name-" * 20 + ".json", RECEIPT[1]), KEY)
    assert await desk.page.evaluate("document.documentElement.scrollWidth <= 320")  # no scrolling sideways on a phone
    await desk.page.set_viewport_size({"width": 1280, "height": 720})


async def test_it_can_reach_nobody_and_leaves_nothing_behind(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "empty.html").write_text("<!doctype html><title>x</title>", encoding="utf-8")
    page = await browser.new_page()
    names = "() => Object.getOwnPropertyNames(window).filter((name) => !/^[0-9]+$/.test(name)).sort()"
    await page.goto((tmp_path / "empty.html").as_uri())
    before = await page.evaluate(names)
    await page.goto(PAGE.as_uri())
    assert await page.evaluate(names) == before
    refused = "() => fetch('http://127.0.0.1:9/').then(() => 'reached', (error) => error.name)"
    assert await page.evaluate(refused) == "TypeError"
    inline = """() => new Promise((done) => {
      addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
      const image = new Image();
      image.src = "http://127.0.0.1:9/x.png";
    })"""
    assert await page.evaluate(inline) == "img-src"
    written = "() => { try { document.body.innerHTML = '<b>'; } catch (error) { return error.name; } }"
    assert await page.evaluate(written) == "TypeError"
    await page.close()


async def test_served_by_the_proxy_it_has_its_keys(browser: Browser) -> None:
    async with running({"proxy": {"plugins": ["signing", "image_edit", "sandbox"]}}) as url, aiohttp.ClientSession() as http:
        body = {"model": "sandbox", "messages": turn("a sun")}
        async with http.post(url / "v1/chat/completions", json=body) as response:
            answer = await response.read()
        async with http.post(url / "v1/chat/completions", json={**body, "stream": True, "partial_images": 1}) as response:
            stream = await response.read()
        async with http.get(url / ".well-known/darkroom/verify") as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        page = await browser.new_page()
        desk = Desk(page)
        where = f"{url}/.well-known/darkroom/verify"
        await page.goto(where)
        assert "keys came with this page" in await page.inner_text("#trust")  # before anything is given
        told = await desk.drop(("answer.json", answer))
        assert told.verdict == "valid"
        assert "whose key came with this page" in told.of("proven")
        assert (await desk.drop(("answer.sse", stream))).verdict == "valid"
        assert desk.left == [where]
        assert (await desk.drop(KEY, afresh=False)).verdict == "invalid"  # a key that is given counts, and the page's no more
        assert "not those that came with this page" in await page.inner_text("#trust")
        assert desk.errors == []
        await page.close()


async def test_the_pages_schema_and_hash_are_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    schema = re.search(r'<script type="application/json" id="schema">(.*?)</script>', page, re.DOTALL)
    assert schema is not None
    assert json.loads(schema[1]) == json.loads(SCHEMA.read_bytes())
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page, "the script was changed: put its hash into the page's policy"
    assert '<script type="application/json" id="keys"></script>' in page
    assert "fetch(" not in page
    assert "http://" not in page
