"""The table surface x provider, made by asking a running proxy: every cell is what really happened.

`python -m tests.matrix` writes it into docs/providers.md; test_matrix checks that it stands there.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from proxy_core import Handler, Middleware, Request, Response, hookimpl
from proxy_core.testing import plug, running
from tests.pictures import BLUE, GREEN, RED, mask, opened, png

PAGE = Path(__file__).resolve().parent.parent / "docs" / "providers.md"
BEGIN, END = "<!-- made by python -m tests.matrix -->", "<!-- end of what is made -->"

# column -> (module of its emulator, the emulator's class and how it is made, the model asked for)
PROVIDERS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "azure": ("tests.emulators.azure", "Azure", {}, "pictures"),
    "bfl": ("tests.emulators.bfl", "BFL", {}, "flux-2-pro"),
    "bytedance": ("tests.emulators.ark", "Ark", {}, "seedream-4.5"),
    "dashscope": ("tests.emulators.dashscope", "DashScope", {}, "qwen-image-2.0"),
    "fal": ("tests.emulators.fal", "Fal", {}, "fal-ai/nano-banana"),
    "fireworks": ("tests.emulators.fireworks", "Fireworks", {}, "accounts/fireworks/models/flux-kontext-pro"),
    "gemini": ("tests.emulators.gemini", "Gemini", {}, "gemini-3.1-flash-image"),
    "openai": ("tests.emulators.gpt_image", "GptImage", {}, "gpt-image-2"),
    "openai_compatible": ("tests.emulators.openai_compatible", "Compatible", {}, "house-edit"),
    "openrouter": ("tests.emulators.openrouter", "OpenRouter", {}, "google/gemini-3.1-flash-image"),
    "replicate": ("tests.emulators.replicate", "Replicate", {}, "black-forest-labs/flux-2-pro"),
    "together": ("tests.emulators.together", "Together", {}, "black-forest-labs/FLUX.2-pro"),
    "xai": ("tests.emulators.xai", "XAI", {}, "grok-imagine-image"),
    "zai": ("tests.emulators.zai", "Zai", {}, "glm-image"),
}
SURFACES = ("images/generations", "images/edits, multipart", "images/edits, JSON", "chat", "chat, streamed", "responses")
OPERATIONS = ("generate", "edit 1", "edit 3", "mask", "n = 2", "ratio 16:9")
PROMPT = "a lighthouse, as nobody else would ask for it"
PICTURES = [png((768, 432), colour) for colour in (RED, GREEN, BLUE)]
MASK = mask((768, 432))


@dataclass(kw_only=True)
class Witness:
    """Sees what leaves for an image service, as the last plugin."""

    sent: list[bytes] = field(default_factory=list, init=False)

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def see(request: Request, next: Handler) -> Response:
            if request.body.in_hand:
                chunks = [bytes(chunk) async for chunk in request.body.chunks()]
                SEEN.append(b"".join(chunks))
            return await next(request)

        return see


SEEN: list[bytes] = []  # the witness is made by the loader, out of reach


def _url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _request(surface: str, operation: str, model: str) -> tuple[str, dict[str, Any]]:
    """(path, arguments of aiohttp's post)."""
    count = {"edit 1": 1, "edit 3": 3, "mask": 1}.get(operation, 0)
    if operation in ("n = 2", "ratio 16:9"):
        count = int("edits" in surface)  # a generation where the surface has them, else an edit
    pictures = PICTURES[:count]
    fields: dict[str, Any] = {"model": model}
    if operation == "n = 2":
        fields["n"] = 2
    if operation == "ratio 16:9":
        fields["aspect_ratio"] = "16:9"
    if surface.startswith("chat"):
        parts = [{"type": "image_url", "image_url": {"url": _url(one)}} for one in pictures]
        fields["messages"] = [{"role": "user", "content": [{"type": "text", "text": PROMPT}, *parts]}]
        if operation == "mask":
            fields["mask"] = _url(MASK)
        if "streamed" in surface:
            fields["stream"] = True
        return "/v1/chat/completions", {"json": fields}
    if surface == "responses":
        parts = [{"type": "input_image", "image_url": _url(one)} for one in pictures]
        fields["input"] = [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}, *parts]}]
        if operation == "mask":
            fields["tools"] = [{"type": "image_generation", "input_image_mask": {"image_url": _url(MASK)}}]
        return "/v1/responses", {"json": fields}
    fields["prompt"] = PROMPT
    if "multipart" not in surface:
        if pictures:
            fields["images"] = [{"image_url": _url(one)} for one in pictures]
        if operation == "mask":
            fields["mask"] = {"image_url": _url(MASK)}
        return f"/v1/{surface.partition(',')[0]}", {"json": fields}
    form = aiohttp.FormData()
    for name, value in fields.items():
        form.add_field(name, str(value))
    for one in pictures:
        form.add_field("image[]" if len(pictures) > 1 else "image", one, filename="a.png", content_type="image/png")
    if operation == "mask":
        form.add_field("mask", MASK, filename="mask.png", content_type="image/png")
    if not pictures:
        form.add_field("seed", "1", filename=None)  # a form of texts alone is sent urlencoded otherwise
        form._is_multipart = True
    return "/v1/images/edits", {"data": form}


def _answered(surface: str, text: str) -> tuple[list[bytes], list[str]]:
    """(pictures, warnings) of an answer with status 200."""
    if "streamed" in surface:
        chunks = [orjson.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        images = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("images", [])]
        return [_bytes(one["image_url"]["url"]) for one in images], chunks[-1].get("warnings", [])
    value = orjson.loads(text)
    if surface == "responses":
        return [base64.b64decode(one["result"]) for one in value["output"]], value["warnings"]
    if surface.startswith("chat"):
        images = value["choices"][0]["message"]["images"]
        return [_bytes(one["image_url"]["url"]) for one in images], value["warnings"]
    return [base64.b64decode(one["b64_json"]) for one in value["data"]], value["warnings"]


def _bytes(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


@dataclass
class Cell:
    """What became of one request: `how` is yes, changed or refused."""

    how: str
    why: str = ""


async def ask(http: aiohttp.ClientSession, base: str, surface: str, operation: str, model: str) -> Cell:
    """Send one request, and check all that can be: status, pictures, what left for the service."""
    path, request = _request(surface, operation, model)
    SEEN.clear()
    async with http.post(f"{base}{path}", **request) as response:
        text = await response.text()
    where = f"{model}, {surface}, {operation}"
    if response.status != 200:
        error = orjson.loads(text)["error"]
        assert response.status == 400, f"{where}: {response.status} {text[:300]}"
        assert error["message"], where
        assert not SEEN, f"{where}: it was refused after the service had been asked"
        why = error["message"].replace(model, "the model")
        return Cell("refused", f"400 {error['code']}, `{error['param']}`: {why}")
    pictures, warnings = _answered(surface, text)
    assert len(pictures) == (2 if operation == "n = 2" else 1), where
    assert all(min(opened(picture).size) > 0 for picture in pictures), where
    left = b"".join(SEEN)
    assert PROMPT.encode() in left, where
    for picture in PICTURES[: {"edit 1": 1, "edit 3": 3, "mask": 1}.get(operation, 0)]:
        assert picture in left or base64.b64encode(picture) in left, f"{where}: a reference was lost"
    if operation == "mask":
        assert MASK in left or base64.b64encode(MASK) in left, f"{where}: the mask was lost"
    return Cell("changed" if warnings else "yes", "; ".join(warnings))


@asynccontextmanager
async def provided(name: str) -> AsyncIterator[tuple[str, str]]:
    """(base URL of a proxy in front of the provider's emulator, model)."""
    module, cls, made, model = PROVIDERS[name]
    emulators: Any = importlib.import_module(module)
    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(getattr(emulators, cls)(**made))
        setup: Mapping[str, Any] = emulators.setup(emulator)
        plugin = next(plugin for plugin in setup["plugins"] if plugin != "image_edit")
        plugins = ["image_edit", plugin, "witness"]
        config = {"proxy": {"plugins": plugins}, "plugins": setup["plugins"]}
        url = await stack.enter_async_context(running(config, plug(witness=Witness), environ=setup.get("environ", {})))
        yield str(url).rstrip("/"), model


async def column(name: str) -> dict[tuple[str, str], Cell]:
    """Every cell of one provider."""
    async with provided(name) as (base, model), aiohttp.ClientSession() as http:
        return {
            (surface, operation): await ask(http, base, surface, operation, model)
            for surface in SURFACES
            for operation in OPERATIONS
        }


def table(columns: Mapping[str, Mapping[tuple[str, str], Cell]]) -> str:
    """Markdown: a mark for each cell, and what the numbers say below."""
    notes: dict[str, int] = {}
    lines = [f"| surface | operation | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for surface in SURFACES:
        for operation in OPERATIONS:
            cells = []
            for cell_of in columns.values():
                cell = cell_of[surface, operation]
                mark = {"yes": "yes", "changed": "yes", "refused": "no"}[cell.how]
                cells.append(f"{mark} ({notes.setdefault(cell.why, len(notes) + 1)})" if cell.why else mark)
            lines.append(f"| {surface} | {operation} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {why}" for why, number in notes.items())])


async def page() -> str:
    """docs/providers.md with the table made anew."""
    made = table({f"{name}: {PROVIDERS[name][3]}": await column(name) for name in PROVIDERS})
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(asyncio.run(page()), encoding="utf-8")
