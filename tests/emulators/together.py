"""A strict stand-in for Together's images API (contracts: hosted-others.md)."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from tests.emulators.service import Cut, Raw, Refused, Seen, Service, draw, mistyped, read_data_url, read_json

__all__ = ["Cut", "Raw", "Refused", "Together", "error"]

KEY = "together-0123456789"
_FLUX = "black-forest-labs/FLUX."
MODELS = {
    f"{_FLUX}1-schnell": "",
    f"{_FLUX}1.1-pro": "",
    f"{_FLUX}1-kontext-pro": "image_url",
    f"{_FLUX}1-kontext-max": "image_url",
    f"{_FLUX}2-pro": "reference_images",
    f"{_FLUX}2-flex": "reference_images",
    f"{_FLUX}2-dev": "reference_images",
}
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "prompt", "negative_prompt", "response_format", "output_format"), (str,)),
    **dict.fromkeys(("n", "width", "height", "steps", "seed"), (int,)),
    "guidance_scale": (int, float),
    "disable_safety_checker": (bool,),
    "image_loras": (list,),
}


def error(status: int, message: str, code: str | None = None, **headers: str) -> Refused:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return Refused(status, body, **headers)


class Together(Service):
    """The service."""

    root = "v1"

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            raise error(401, "Invalid API key provided", "invalid_api_key")
        if (request.method, request.path) != ("POST", "/v1/images/generations"):
            raise error(404, "no such path")
        try:
            seen.body = body = read_json(request, raw)
        except ValueError:
            raise error(400, "The body is not JSON") from None
        field = MODELS.get(str(body.get("model")))
        if field is None:
            raise error(404, f"Unable to access model {body.get('model')}", "model_not_available")
        for name in body.keys() - KINDS.keys() - {field}:
            raise error(400, f"{name} is not permitted")
        if wrong := mistyped(body, KINDS):
            raise error(400, f"{wrong} has a wrong type")
        kind = body.get("output_format", "jpeg")
        if kind not in ("jpeg", "png"):
            raise error(422, "output_format: Input should be 'jpeg' or 'png'")
        if body.get("response_format", "url") not in ("base64", "url"):
            raise error(422, "response_format: Input should be 'base64' or 'url'")
        if not body.get("prompt") or not 1 <= body.get("n", 1) <= 4:
            raise error(400, "prompt or n")
        size = body.get("width", 1024), body.get("height", 1024)
        if any(not isinstance(side, int) or side % 16 or not 64 <= side <= 2048 for side in size):
            raise error(400, "width and height")
        urls = body.get(field, []) if field else []
        files = []
        for url in [urls] if isinstance(urls, str) else urls:
            try:
                picture, name = read_data_url(url)
            except ValueError as fault:
                raise error(400, str(fault)) from None
            seen.references.append(name)
            files += [picture] if picture else []
        if isinstance(urls, str) != (field == "image_url") and urls != []:
            raise error(400, f"{field} has a wrong type")
        self.fault(seen)
        seen.pictures = body.get("n", 1)
        data = []
        for n in range(seen.pictures):
            made = draw(f"{body['prompt']}|{n}|{len(self.requests)}", size, files, kind=kind.upper())
            if body.get("response_format", "url") == "url":
                data.append({"index": n, "type": "url", "url": f"{self.url.origin()}/files/{len(self.requests)}-{n}.{kind}"})
            else:
                data.append({"index": n, "type": "b64_json", "b64_json": base64.b64encode(made).decode()})
        return {"id": f"t-{len(self.requests)}", "model": body["model"], "object": "list", "data": data[::-1]}


MODELS_TO_TRY = [*MODELS]


def setup(emulator: Together) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:TOGETHER_API_KEY", "base_url": str(emulator.url)}
    image_edit = {"fetch": {"allow_hosts": [], "retries": [0, 0, 0]}}
    return {"plugins": {"together": plugin, "image_edit": image_edit}, "environ": {"TOGETHER_API_KEY": KEY}}
