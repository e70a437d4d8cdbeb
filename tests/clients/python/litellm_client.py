"""LiteLLM as a client, unmodified: python litellm_client.py BASE_URL CONTENT_URL FOLDER."""

from __future__ import annotations

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or the import asks the internet for a list of prices

import litellm
from common import BASE_URL, CONTENT_URL, MASK, MODEL, PICTURES, run, turn

WAY: dict[str, Any] = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": "not-needed"}
LISTED: dict[str, Any] = {**WAY, "api_base": CONTENT_URL}
litellm.suppress_debug_info = True  # it prints beside every error


def images(answer: Any) -> dict[str, Any]:
    return {"images": [item.b64_json for item in answer.data]}


def generate() -> dict[str, Any]:
    return images(litellm.image_generation(prompt="a red sun over the sea", size="256x256", **WAY))


def generate_two() -> dict[str, Any]:
    return images(litellm.image_generation(prompt="a red sun over the sea", size="256x256", n=2, **WAY))


def edit() -> dict[str, Any]:
    return images(litellm.image_edit(image=PICTURES[0].read_bytes(), prompt="make it grayscale", **WAY))


def edit_three() -> dict[str, Any]:
    return images(litellm.image_edit(image=[path.read_bytes() for path in PICTURES], prompt="side by side", **WAY))


def chat() -> dict[str, Any]:
    message = litellm.completion(messages=turn("make it grayscale", PICTURES[:1]), **WAY).choices[0].message
    return {"images": [image["image_url"]["url"] for image in message.images], "content": message.content}


def chat_three() -> dict[str, Any]:
    message = litellm.completion(messages=turn("side by side", PICTURES), **WAY).choices[0].message
    return {"images": [image["image_url"]["url"] for image in message.images]}


def chat_two() -> dict[str, Any]:
    message = litellm.completion(messages=turn("make it grayscale", PICTURES[:1]), n=2, **WAY).choices[0].message
    return {"images": [image["image_url"]["url"] for image in message.images]}


def stream() -> dict[str, Any]:
    chunks = list(litellm.completion(messages=turn("make it grayscale", PICTURES[:1]), stream=True, **WAY))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    found = [image for delta in deltas for image in getattr(delta, "images", None) or []]
    return {"images": [image["image_url"]["url"] for image in found], "finish": chunks[-1].choices[0].finish_reason}


def chat_content() -> dict[str, Any]:
    answer = litellm.completion(messages=turn("make it grayscale", PICTURES[:1]), **LISTED)
    return {"content": answer.choices[0].message.content}


def unknown_model() -> dict[str, Any]:
    return images(litellm.image_generation(prompt="x", **{**WAY, "model": "openai/no-such-model"}))


def unknown_model_chat() -> dict[str, Any]:
    return {"answer": str(litellm.completion(messages=turn("x", []), **{**WAY, "model": "openai/no-such-model"}))}


def bad_mask() -> dict[str, Any]:
    image, mask = PICTURES[0].read_bytes(), MASK.read_bytes()
    return images(litellm.image_edit(image=image, mask=mask, prompt="make it grayscale", **WAY))


run(
    generate, generate_two, edit, edit_three, chat, chat_three, chat_two, stream, chat_content, unknown_model,
    unknown_model_chat, bad_mask,
)  # fmt: skip
