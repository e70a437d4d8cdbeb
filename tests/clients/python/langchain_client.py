"""LangChain's ChatOpenAI, unmodified: python langchain_client.py BASE_URL CONTENT_URL FOLDER."""

from __future__ import annotations

import base64
from typing import Any

from common import BASE_URL, CONTENT_URL, MODEL, PICTURES, run, turn
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI


def model(base_url: str = CONTENT_URL, name: str = MODEL, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=base_url, api_key="not-needed", **more)


def read(content: Any) -> dict[str, Any]:
    parts = content if isinstance(content, list) else []
    return {"images": [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"], "content": content}


def generate() -> dict[str, Any]:
    return read(model(extra_body={"size": "256x256"}).invoke("a red sun over the sea").content)


def generate_two() -> dict[str, Any]:
    return read(model(n=2, extra_body={"size": "256x256"}).invoke("a red sun over the sea").content)


def chat() -> dict[str, Any]:
    return read(model().invoke(turn("make it grayscale", PICTURES[:1])).content)


def chat_three() -> dict[str, Any]:
    return read(model().invoke(turn("side by side", PICTURES)).content)


def chat_blocks() -> dict[str, Any]:
    picture = base64.b64encode(PICTURES[0].read_bytes()).decode()
    blocks: list[Any] = [
        {"type": "text", "text": "make it grayscale"},
        {"type": "image", "base64": picture, "mime_type": "image/png"},
    ]
    return read(model().invoke([HumanMessage(content_blocks=blocks)]).content)


def stream() -> dict[str, Any]:
    whole: Any = None
    for chunk in model().stream(turn("make it grayscale", PICTURES[:1])):
        whole = chunk if whole is None else whole + chunk
    return {**read(whole.content), "finish": whole.response_metadata["finish_reason"]}


def chat_objects() -> dict[str, Any]:
    message = model(BASE_URL).invoke(turn("make it grayscale", PICTURES[:1]))
    return {**read(message.content), "additional": sorted(message.additional_kwargs)}


def unknown_model() -> dict[str, Any]:
    return read(model(name="no-such-model").invoke("x").content)


def bad_mask() -> dict[str, Any]:
    mask = "data:image/png;base64,AAAA"
    return read(model(extra_body={"mask": mask}).invoke(turn("make it grayscale", PICTURES[:1])).content)


run(generate, generate_two, chat, chat_three, chat_blocks, stream, chat_objects, unknown_model, bad_mask)
