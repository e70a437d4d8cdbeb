"""The verifier's page in a real Chromium: it says of every test vector what our own verifier says, and sends nothing."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from proxy_core.testing import running
from tests.surfaces import turn
from tests.vectors import FOLDER, PROMPT, SALT, SCHEMA

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

# What stands in the page is the browser's to tell: `click`, `drop` and the like wait for what follows.
VERDICT = "() => document.body.dataset.verdict"
DROP = """async (files) => {
  const carried = new DataTransfer();
  for (const [name, text] of files) {
    carried.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
  }
  delete document.body.dataset.verdict;
  const dropped = new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
  document.getElementById("drop").dispatchEvent(dropped);
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield launched
        await launched.close()


class Desk:
    """The page, and what left it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def drop(self, *files: tuple[str, bytes]) -> tuple[str, str]:
        """(verdict, its words) once these are dropped, too."""
        await self.page.evaluate(DROP, [[name, base64.b64encode(data).decode()] for name, data in files])
        return await self.read()

    async def read(self) -> tuple[str, str]:
        found = await self.page.wait_for_function(VERDICT)
        return str(await found.json_value()), await self.page.inner_text("#verdict")

    async def lines(self) -> list[str]:
        return [re.sub(r"\s+", " ", text) for text in await self.page.locator("#checks li").all_inner_texts()]

    async def clear(self) -> None:
        await self.page.click("#clear")
        await self.page.wait_for_function("() => document.getElementById('verdict').textContent.startsWith('Nothing')")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(browser: Browser) -> AsyncIterator[Desk]:
    page = await browser.new_page()
    await page.goto(PAGE.as_uri())
    found = Desk(page)
    yield found
    assert not found.errors
    assert not [url for url in found.asked if not url.startswith("blob:")]  # once it stood there, it asked for nothing


@pytest_asyncio.fixture(loop_scope="module")
async def desk(shared: Desk) -> Desk:
    await shared.clear()
    return shared


def vector(name: str) -> tuple[str, bytes]:
    return Path(name).name, (FOLDER / name).read_bytes()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['files'][0]}-{case['key'] or 'no key'}")
async def test_it_says_of_every_vector_what_our_verifier_says(desk: Desk, case: dict[str, Any]) -> None:
    names = [*case["files"], *([case["key"]] if case["key"] else [])]
    verdict, words = await desk.drop(*map(vector, names))
    assert verdict == case["verdict"], words
    reason = {"must be an integer": "not canonical", "not as many as outputs": "not as many subjects as outputs"}
    assert reason.get(case["reason"], case["reason"]) in words, words


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for name, one in inner for leaf in _leaves(one, (*path, name))]
    return [path]


async def test_every_field_of_the_statement_counts(desk: Desk) -> None:
    envelope = json.loads((FOLDER / "receipt.json").read_bytes())
    statement = json.loads((FOLDER / "statement.json").read_bytes())
    leaves = _leaves(statement)
    assert len(leaves) > 60
    for path in leaves:
        changed = copy.deepcopy(statement)
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        value = inner[path[-1]]
        inner[path[-1]] = value + 1 if isinstance(value, int) else f"{value}x"
        forged = {**envelope, "payload": base64.b64encode(orjson.dumps(changed, option=orjson.OPT_SORT_KEYS)).decode()}
        await desk.clear()
        verdict, words = await desk.drop(("r.json", orjson.dumps(forged)), vector("image-0.png"), vector("key.pem"))
        assert verdict == "invalid", (path, words)


async def test_what_was_sent_is_checked_too(desk: Desk) -> None:
    files = ["answer-chat.json", "keys.json", "request.json", "reference.png", "mask.png", "image-1.png"]
    await desk.drop(*map(vector, files))
    await desk.page.click("summary")
    await desk.page.fill("#prompt", PROMPT)
    await desk.page.fill("#nonce", "a-nonce-of-the-client")
    await desk.page.wait_for_function("() => document.getElementById('checks').textContent.includes('the one that was asked')")
    assert (await desk.read())[0] == "valid"
    told = " ".join(await desk.lines())
    for words in ("request sha256", "reference sha256", "mask sha256", "nonce a-nonce", "made by bytedance", "cost 0.06 USD"):
        assert words in told
    await desk.page.fill("#prompt", "another")
    await desk.page.wait_for_function("() => document.body.dataset.verdict === 'invalid'")
    await desk.page.fill("#prompt", PROMPT)
    await desk.page.fill("#nonce", "another")
    await desk.page.wait_for_function("() => document.getElementById('verdict').textContent.includes('nonce')")


async def test_a_salt_can_be_given_by_hand(desk: Desk) -> None:
    await desk.drop(*map(vector, ["receipt.json", "image-0.png", "key.pem"]))
    await desk.page.fill("#prompt", PROMPT)
    await desk.page.wait_for_function("() => document.body.dataset.verdict === 'incomplete'")
    await desk.page.fill("#salt", SALT.hex())
    await desk.page.wait_for_function("() => document.body.dataset.verdict === 'valid'")


async def test_files_are_chosen_too_and_pictures_are_shown(desk: Desk) -> None:
    paths = [FOLDER / name for name in ("stream-images.sse", "key.pem")]
    await desk.page.set_input_files("#files", paths)
    assert (await desk.read())[0] == "valid"
    drawn = desk.page.locator("#pictures img")
    assert await drawn.count() == 3  # a preview and two pictures
    decoded = "images => Promise.all(images.map(async (image) => { await image.decode(); return image.naturalWidth; }))"
    widths = await drawn.evaluate_all(decoded)
    assert widths == [4, 16, 12]


async def test_words_in_a_receipt_cannot_become_a_page(desk: Desk) -> None:
    from tests.vectors import _signed

    statement = json.loads((FOLDER / "statement.json").read_bytes())
    evil = "<img src=x onerror=document.body.dataset.verdict='valid'>\u202e\u0007" + "x" * 5000
    statement["predicate"]["upstream"]["provider"] = statement["predicate"]["issuer"] = evil
    verdict, _ = await desk.drop(("r.json", await _signed(statement)), vector("image-0.png"), vector("key.pem"))
    assert verdict == "valid"
    assert await desk.page.locator("#checks img").count() == 0
    told = "".join(await desk.lines())
    assert "<img src=x" in told
    assert "\u202e" not in told
    assert len(told) < 5000


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"darkroom_receipt":' + b"[" * 5000,
        b'{"payloadType":"x","payload":1e999,"signatures":[]}',
        b'{"darkroom_receipt":null}',
        b'{"darkroom_receipt":{},"darkroom_receipt":{}}',
        b"data: x",
        b"data: {}\n\n" * 1000,
        b": darkroom-receipt {}\n",
        b": darkroom-receipt {\n\ndata: [DONE]\n\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b'{"keys":[{"kty":"RSA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}',
        b"\xff\xfe\x00",
        b"<html></html>",
    ],
    ids=range(15),
)
async def test_junk_is_never_valid_and_never_a_fault(desk: Desk, junk: bytes) -> None:
    verdict, words = await desk.drop(("junk", junk), vector("image-0.png"))
    assert verdict in ("invalid", "incomplete"), words
    assert "cannot be read (" not in words  # each has a reason of its own


async def test_served_by_the_proxy_it_has_its_keys(browser: Browser) -> None:
    async with running({"proxy": {"plugins": ["signing", "image_edit", "sandbox"]}}) as url, aiohttp.ClientSession() as http:
        body = {"model": "sandbox", "messages": turn("a sun")}
        async with http.post(url / "v1/chat/completions", json=body) as response:
            answer = await response.read()
        async with http.get(url / ".well-known/darkroom/verify") as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        page = await browser.new_page()
        desk = Desk(page)
        where = f"{url}/.well-known/darkroom/verify"
        await page.goto(where)
        assert (await desk.drop(("answer.json", answer)))[0] == "valid"
        assert "keys came with this page" in await page.inner_text("#trust")
        assert not desk.errors
        assert "whose key came with this page" in " ".join(await desk.lines())
        assert {asked for asked in desk.asked if not asked.startswith("blob:")} <= {where, f"{url}/favicon.ico"}
        assert (await desk.drop(vector("key.pem")))[0] == "invalid"  # a key that is given counts, and the page's no more
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
