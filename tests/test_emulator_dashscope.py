"""The stand-in for DashScope refuses by presence what the service refuses (contracts: dashscope.md)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.emulators.dashscope import ASYNC, BELOW, I2I, KEY, SYNC, T2I, DashScope
from tests.pictures import png

GOOD, SMALL = (f"data:image/png;base64,{base64.b64encode(png(size)).decode()}" for size in ((400, 400), (383, 400)))
AUTH = {"Authorization": f"Bearer {KEY}"}
PREFIX = {"image": GOOD}
WORDS = {"text": "a hat"}


@pytest.fixture
async def service() -> AsyncIterator[DashScope]:
    async with DashScope() as service:
        yield service


def conversation(*parts: object, model: str = "qwen-image-edit-plus", **parameters: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": list(parts)}]
    return {"model": model, "input": {"messages": messages}, "parameters": {"n": 1, **parameters}}


async def post(service: DashScope, body: object, path: str = SYNC, **headers: str) -> tuple[int, dict[str, Any]]:
    sent = AUTH | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{str(service.url).rstrip('/')}{BELOW}{path}", json=body, headers=sent) as answer,
    ):
        return answer.status, await answer.json()


EDIT = conversation(PREFIX, WORDS)


@pytest.mark.parametrize(
    "body",
    [
        {"model": EDIT["model"], "input": EDIT["input"]},
        {**EDIT, "parameters": {}},
        {**EDIT, "size": "1024*1024"},
        {**EDIT, "input": {**EDIT["input"], "prompt": "a hat"}},
        {**EDIT, "input": {"messages": EDIT["input"]["messages"] * 2}},
        {**EDIT, "input": {"messages": []}},
        {**EDIT, "input": {"messages": [{"role": "user", "content": "a hat"}]}},
        {**EDIT, "input": {"messages": [{"role": "system", "content": [PREFIX, WORDS]}]}},
        conversation({"type": "image", **PREFIX}, WORDS),
        conversation(PREFIX, {"type": "text", **WORDS}),
        conversation(WORDS, PREFIX),
        conversation(WORDS),
        conversation(*[PREFIX] * 4, WORDS),
        conversation({"image": SMALL}, WORDS),
        conversation({"image": GOOD.partition(",")[2]}, WORDS),
        conversation(PREFIX, WORDS, n=0),
        conversation(PREFIX, WORDS, n=7),
        conversation(PREFIX, WORDS, n=True),
        conversation(PREFIX, WORDS, size="1024x1024"),
        conversation(PREFIX, WORDS, size="511*512"),
        conversation(PREFIX, WORDS, size="2048*2049"),
        conversation(PREFIX, WORDS, seed=2**31),
        conversation(PREFIX, WORDS, seed="7"),
        conversation(PREFIX, WORDS, watermark="false"),
        conversation(PREFIX, WORDS, prompt_extend=1),
        conversation(PREFIX, WORDS, negative_prompt="x" * 501),
        conversation(PREFIX, WORDS, quality="high"),
        conversation(WORDS, model="qwen-image", size="1024*1024"),
        conversation(WORDS, model="qwen-image", n=2),
        conversation(PREFIX, WORDS, model="qwen-image"),
        conversation(WORDS, model="wan2.6-t2i"),
    ],
)
async def test_what_is_refused(service: DashScope, body: dict[str, Any]) -> None:
    status, answer = await post(service, body)
    assert status == 400
    assert answer.keys() == {"code", "message", "request_id"}
    assert service.pictures == 0


@pytest.mark.parametrize("path", [T2I, I2I, ASYNC])
async def test_jobs_are_submitted_as_such(service: DashScope, path: str) -> None:
    pictures = {"images": [GOOD]} if path == I2I else {}
    model = {T2I: "wan2.2-t2i-plus", I2I: "wan2.5-i2i-preview", ASYNC: "wan2.6-t2i"}[path]
    body: dict[str, Any] = {"model": model, "input": {"prompt": "x", **pictures}, "parameters": {"n": 1}}
    if path == ASYNC:
        body = conversation(WORDS, model=model)
    assert (await post(service, body, path))[0] == 400
    status, answer = await post(service, body, path, X_DashScope_Async="enable")
    assert (status, answer["output"]["task_status"]) == (200, "PENDING")
    if path != ASYNC:
        beside = {**body, "parameters": {"n": 1, "negative_prompt": "rain"}}
        assert (await post(service, beside, path, X_DashScope_Async="enable"))[0] == 400


async def test_what_is_elsewhere(service: DashScope) -> None:
    assert (await post(service, EDIT))[0] == 200
    assert (await post(service, EDIT, Authorization="Bearer sk-other"))[1]["code"] == "InvalidApiKey"
    assert (await post(service, {**EDIT, "model": "gone"}))[1]["code"] == "ModelNotFound"
    assert (await post(service, EDIT, X_DashScope_Async="enable"))[0] == 400
    assert (await post(service, EDIT, Content_Type="text/plain"))[0] == 400
    async with aiohttp.ClientSession(headers=AUTH) as http:
        async with http.get(service.url / "compatible-mode/v1/images/edits") as answer:
            assert answer.status == 404
        async with http.get(service.url / "api/v1/tasks/none") as answer:
            assert (await answer.json())["output"]["task_status"] == "UNKNOWN"
        async with http.get(service.url / "oss/0.png") as answer:
            assert answer.status == 403


async def test_only_what_is_pending_is_canceled() -> None:
    body = conversation(WORDS, model="wan2.6-t2i")
    async with DashScope(polls=2) as service, aiohttp.ClientSession(headers=AUTH) as http:
        states = []
        for _ in range(2):
            await post(service, body, ASYNC, X_DashScope_Async="enable")
        for _ in range(3):
            async with http.get(service.url / "api/v1/tasks/task-1") as answer:
                states.append((await answer.json())["output"]["task_status"])
        assert states == ["PENDING", "RUNNING", "SUCCEEDED"]
        for task, status in (("task-1", 400), ("task-2", 200), ("task-2", 400)):
            async with http.post(service.url / f"api/v1/tasks/{task}/cancel") as answer:
                assert answer.status == status
