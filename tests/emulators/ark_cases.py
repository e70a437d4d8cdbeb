"""What each Ark image model takes and refuses, row by row, for the emulator's own tests; and how they ask it."""

import base64
import io
import json
import struct
from typing import Any

import aiohttp
from PIL import Image
from yarl import URL

from tests.emulators.ark import Ark

KEY = "ark-test-key"
T3, EDIT, V4, V45 = "seedream-3-0-t2i-250415", "seededit-3-0-i2i-250628", "seedream-4-0-250828", "seedream-4-5-251128"
LITE, PRO = "seedream-5-0-260128", "dola-seedream-5-0-pro-260628"
FLASH, V55 = "seedream-5-0-flash-260915", "seedream-5-5-261028"


def picture(width: int = 64, height: int = 64, kind: str = "png", color: str = "red", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), color).save(out, format=kind)
    return out.getvalue()


def uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def heic(width: int, height: int) -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", width, height)


async def generate(http: aiohttp.ClientSession, ark: Ark, model: str = V4, /, **fields: object) -> tuple[int, Any]:
    body = {"model": model, "prompt": "a lighthouse", **fields}
    # From a file: aiohttp warns of megabytes in one piece.
    data, headers = io.BytesIO(json.dumps(body).encode()), {"Content-Type": "application/json"}
    async with http.post(ark.url / "images/generations", data=data, headers=headers) as response:
        return response.status, await response.json()


async def fetch(ark: Ark, url: str, **headers: str) -> tuple[int, bytes]:
    """As a proxy must: the link unchanged, and no credentials."""
    async with aiohttp.ClientSession() as http, http.get(URL(url, encoded=True), headers=headers) as response:
        return response.status, await response.read()


RED = uri(picture())
LINK = "https://example.com/in.png?a=%2F"
AS = {kind: uri(picture(kind=kind), kind) for kind in ("jpeg", "webp", "bmp", "tiff", "gif", "avif")}

# Each row: models, what the request says beyond model and prompt, and the error's code, or "" if there is none.
# A row for several models asserts the same of each.
BAD, GONE = "InvalidParameter", "MissingParameter"
AUTO: dict[str, object] = {"sequential_image_generation": "auto"}
EVERY, MODERN, CLOSED = (T3, V4, V45, LITE, PRO, FLASH, V55), (V4, V45, LITE, PRO, FLASH, V55), (PRO, FLASH, V55)
TABLE: list[tuple[tuple[str, ...], dict[str, object], str]] = [
    # who is asked
    (EVERY, {}, ""), (("doubao-seedream-4-0-250828", "doubao-seedream-4-5-251128", "seedream-5-0-lite-260128"), {}, ""),
    (("doubao-seedream-5-0-lite-260128", "doubao-seedream-5-0-260128", "doubao-seedream-5-0-pro-260628"), {}, ""),
    (("seedream-5-0-pro-260628", "dola-seedream-5-5-261028", "doubao-seedream-5-5-261028"), {}, ""),
    (("ep-1-a", "ep-1-b", "ep-20260624213657-7zc5n", "ep-20260624042612-7dxcv", "ep-20260803211347-hq9k8"), {}, ""),
    (("ep-unknown",), {}, "InvalidEndpoint.NotFound"),
    (("seedream-4", "dall-e-3", "dola-seedream-4-0-250828", "seedance-1-0-pro", ""), {}, "ModelNotOpen"),
    ((V4,), {"model": None}, GONE), ((V4,), {"model": 4}, BAD),
    # the prompt
    (EVERY, {"prompt": None}, GONE), ((V4,), {"prompt": ""}, GONE), ((V4,), {"prompt": ["a"]}, BAD),
    # references: shape and number
    ((EDIT,), {}, GONE), ((EDIT, *MODERN), {"image": RED}, ""), ((EDIT, *MODERN), {"image": LINK}, ""),
    ((T3,), {"image": RED}, BAD), ((EDIT,), {"image": [RED]}, BAD), ((EDIT,), {"image": [RED, RED]}, BAD),
    (MODERN, {"image": [RED]}, ""), (MODERN, {"image": [LINK] * 10}, ""), ((V45, LITE), {"image": [LINK] * 14}, ""),
    ((V4, *CLOSED), {"image": [LINK] * 11}, BAD), ((V45, LITE), {"image": [LINK] * 15}, BAD),
    (MODERN, {"image": {"url": RED}}, BAD), (MODERN, {"image": [{"url": RED}]}, BAD), (MODERN, {"image": []}, BAD),
    ((EDIT,), {"image": {"url": RED}}, BAD), ((V4,), {"image": 1}, BAD), ((V4,), {"image": [RED, None]}, BAD),
    (MODERN, {"images": [RED]}, BAD), (MODERN, {"image": None}, ""),
    # references: how they are written
    ((V4,), {"image": RED.replace("png", "PNG", 1)}, BAD), ((V4,), {"image": RED.partition(",")[2]}, BAD),
    ((V4,), {"image": RED.replace(";base64", "")}, BAD), ((V4,), {"image": "ftp://example.com/a.png"}, BAD),
    ((V4,), {"image": "/pictures/a.png"}, BAD), ((V4,), {"image": RED[:-3]}, BAD), ((V4,), {"image": RED + "\n"}, BAD),
    ((V4,), {"image": RED[:60] + " " + RED[60:]}, BAD), ((V4,), {"image": "http:///a"}, BAD),
    ((V4,), {"image": ""}, BAD),
    # references: what they are
    ((EDIT, *MODERN), {"image": AS["jpeg"]}, ""),
    (MODERN, {"image": AS["webp"]}, ""), (MODERN, {"image": AS["bmp"]}, ""),
    (MODERN, {"image": AS["tiff"]}, ""), (MODERN, {"image": AS["gif"]}, ""),
    ((EDIT,), {"image": AS["webp"]}, BAD), ((EDIT,), {"image": uri(picture(kind="webp"))}, BAD),
    ((PRO, V55), {"image": uri(heic(64, 64), "heic")}, ""), ((PRO, V55), {"image": uri(heic(64, 14), "heic")}, BAD),
    ((EDIT, V4, V45, LITE, FLASH), {"image": uri(heic(64, 64), "heic")}, BAD),
    ((PRO,), {"image": uri(heic(64, 64)[:30], "heic")}, BAD),
    ((V4,), {"image": uri(b"<svg/>", "svg+xml")}, BAD), ((V4,), {"image": AS["avif"]}, BAD),
    ((V4,), {"image": uri(b"")}, BAD), ((V4,), {"image": uri(b"not an image")}, BAD),
    ((V4,), {"image": uri(picture()[:-30])}, BAD), ((V4,), {"image": [RED, uri(b"not an image")]}, BAD),
    ((V4, EDIT), {"image": uri(picture(14, 64))}, BAD), ((V4, EDIT), {"image": uri(picture(15, 15))}, ""),
    ((V4,), {"image": uri(picture(15, 240))}, ""), ((V4,), {"image": uri(picture(241, 15))}, BAD),
    ((EDIT,), {"image": uri(picture(60, 20))}, ""), ((EDIT,), {"image": uri(picture(20, 61))}, BAD),
    ((V4,), {"image": uri(picture(6000, 6000, mode="1", color="white"))}, ""),
    ((V4,), {"image": uri(picture(6001, 6000, mode="1", color="white"))}, BAD),
    ((V4,), {"image": uri(picture(10_000, 10_000, mode="1", color="white"))}, BAD),
    # groups
    ((V4, V45, LITE), {"sequential_image_generation": "disabled"}, ""), ((V4, V45, LITE), AUTO, ""),
    (CLOSED, {"sequential_image_generation": "disabled"}, BAD), (CLOSED, AUTO, BAD),
    (CLOSED, {"sequential_image_generation": None}, ""), ((T3,), {"sequential_image_generation": "auto"}, ""),
    ((V4,), {"sequential_image_generation": True}, BAD), ((V4,), {"sequential_image_generation": "on"}, BAD),
    ((V4, V45, LITE), {**AUTO, "sequential_image_generation_options": {"max_images": 15}}, ""),
    ((V4, V45, LITE), {**AUTO, "sequential_image_generation_options": {"max_images": 16}}, BAD),
    ((V4,), {**AUTO, "sequential_image_generation_options": {"max_images": 0}}, BAD),
    ((V4,), {**AUTO, "sequential_image_generation_options": {"max_images": "2"}}, BAD),
    ((V4,), {**AUTO, "sequential_image_generation_options": {"max_images": None}}, ""),
    ((V4,), {**AUTO, "sequential_image_generation_options": {"n": 2}}, BAD),
    (CLOSED, {"sequential_image_generation_options": {"max_images": 1}}, BAD),
    ((V45,), {**AUTO, "image": [LINK] * 13, "sequential_image_generation_options": {"max_images": 2}}, ""),
    ((V45,), {**AUTO, "image": [LINK] * 14, "sequential_image_generation_options": {"max_images": 2}}, BAD),
    # other fields that depend on the model
    (CLOSED, {"stream": True}, BAD), (CLOSED, {"stream": False}, ""), (CLOSED, {"stream": 0}, BAD),
    ((V4, V45, LITE), {"stream": "true"}, BAD), ((T3,), {"stream": True}, ""),
    ((LITE, *CLOSED), {"output_format": "png"}, ""), ((LITE, *CLOSED), {"output_format": "jpeg"}, ""),
    ((LITE, *CLOSED), {"output_format": "webp"}, BAD), ((V4, V45, T3), {"output_format": "png"}, ""),
    ((LITE, V4), {"tools": [{"type": "web_search"}]}, ""), ((LITE,), {"tools": [{"type": "image"}]}, BAD),
    ((LITE,), {"tools": {"type": "web_search"}}, BAD), (CLOSED, {"tools": [{"type": "web_search"}]}, BAD),
    ((T3,), {"guidance_scale": 2.5}, ""), ((T3,), {"guidance_scale": 11}, BAD), ((T3,), {"guidance_scale": True}, BAD),
    ((V4, V45, LITE), {"guidance_scale": 2.5}, ""), (CLOSED, {"guidance_scale": 2.5}, BAD),
    ((T3, V4, V45), {"seed": -1}, ""), ((T3,), {"seed": 2**31}, BAD), ((T3,), {"seed": 1.5}, BAD),
    ((T3,), {"seed": -2}, BAD), (CLOSED, {"seed": 1}, BAD), (CLOSED, {"seed": None}, ""),
    (CLOSED, {"background": "transparent", "output_format": "png"}, ""), (CLOSED, {"background": "opaque"}, ""),
    (CLOSED, {"background": "transparent", "output_format": "jpeg"}, BAD), ((V55,), {"background": "transparent"}, ""),
    ((PRO,), {"background": "transparent"}, BAD), ((PRO,), {"background": "white"}, BAD),
    ((T3, V4, V45, LITE), {"background": "auto"}, BAD), ((T3, V4, V45, LITE), {"layer_decomposition": True}, BAD),
    (CLOSED, {"layer_decomposition": True, "image": RED}, ""), (CLOSED, {"layer_decomposition": True}, BAD),
    (CLOSED, {"layer_decomposition": True, "image": [RED, RED]}, BAD), ((PRO,), {"layer_decomposition": 1}, BAD),
    ((PRO,), {"layer_decomposition": True, "image": RED, "background": "auto"}, BAD),
    ((V4,), {"optimize_prompt_options": {"mode": "fast"}}, ""), ((V4,), {"optimize_prompt": True}, ""),
    ((V45, LITE, PRO), {"optimize_prompt_options": {"mode": "fast"}}, BAD),
    ((V45, LITE), {"optimize_prompt_options": {"mode": "standard", "thinking": "auto"}}, ""),
    ((V4,), {"optimize_prompt_options": {"thinking": "high"}}, BAD), ((V4,), {"optimize_prompt_options": "fast"}, BAD),
    # fields of every model, and names that are none
    (EVERY, {"response_format": "b64_json"}, ""), (EVERY, {"response_format": "url"}, ""),
    (EVERY, {"response_format": "png"}, BAD), (EVERY, {"watermark": False}, ""), ((V4,), {"watermark": "false"}, BAD),
    (EVERY, {"n": 1}, ""), (EVERY, {"n": 4}, ""), (EVERY, {"quality": "high"}, BAD), (EVERY, {"user": None}, BAD),
    ((V4, PRO), {"style": "vivid"}, BAD), ((V4, PRO), {"partial_images": 1}, BAD), ((V4, PRO), {"mask": RED}, BAD),
    ((V4, PRO), {"output_compression": 90}, BAD), ((V4, PRO), {"negative_prompt": "fog"}, BAD),
    # sizes
    ((V4,), {"size": "1K"}, ""), (MODERN, {"size": "2K"}, ""), ((V4, V45, LITE), {"size": "4K"}, ""),
    ((LITE,), {"size": "3K"}, ""), (CLOSED, {"size": "1K"}, ""), (CLOSED, {"size": "1.5K"}, ""),
    ((V45, LITE, T3), {"size": "1K"}, BAD), ((V4, V45), {"size": "3K"}, BAD), (CLOSED, {"size": "3K"}, BAD),
    (CLOSED, {"size": "4K"}, BAD), ((V4, V45, LITE), {"size": "1.5K"}, BAD), ((T3,), {"size": "2K"}, BAD),
    ((EDIT,), {"image": RED, "size": "adaptive"}, ""), (EVERY, {"size": "adaptive"}, BAD),
    ((EDIT,), {"image": RED, "size": "1024x1024"}, BAD), ((EDIT,), {"image": RED, "size": "2K"}, BAD),
    (EVERY, {"size": "1:1"}, BAD), (EVERY, {"size": "16:9"}, BAD), (EVERY, {"size": "auto"}, BAD),
    (EVERY, {"size": "2k"}, BAD), (EVERY, {"size": "2048*2048"}, BAD), (EVERY, {"size": "2048X2048"}, BAD),
    (EVERY, {"size": " 2048x2048"}, BAD), (EVERY, {"size": "2K 2048x2048"}, BAD), (EVERY, {"size": 2048}, BAD),
    (EVERY, {"size": "0x2048"}, BAD), (EVERY, {"size": None}, ""),
    ((T3, V4, *CLOSED), {"size": "1024x1024"}, ""), ((V45, LITE), {"size": "1024x1024"}, BAD),
    ((T3,), {"size": "512x2048"}, ""), ((T3,), {"size": "511x2048"}, BAD), ((T3,), {"size": "512x2049"}, BAD),
    ((V4,), {"size": "960x960"}, ""), ((V4,), {"size": "959x960"}, BAD), ((V4,), {"size": "4096x4096"}, ""),
    ((V4, V45, LITE), {"size": "4097x4096"}, BAD), ((V45, LITE), {"size": "2560x1440"}, ""),
    ((V45, LITE), {"size": "2559x1440"}, BAD), ((V4, V45, LITE), {"size": "7680x480"}, ""),
    ((V4, V45, LITE), {"size": "7696x480"}, BAD), ((V4, V45, LITE), {"size": "2049x1801"}, ""),
    (CLOSED, {"size": "2848x1600"}, ""), (CLOSED, {"size": "1000x1000"}, BAD), (CLOSED, {"size": "912x1008"}, BAD),
    (CLOSED, {"size": "2160x2144"}, BAD), (CLOSED, {"size": "960x960"}, ""), (CLOSED, {"size": "3920x240"}, BAD),
]
