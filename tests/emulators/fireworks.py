"""A strict stand-in for Fireworks' workflows (contracts: hosted-others.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.service import Cut, Raw, Refused, Seen, Service, draw, mistyped, read_data_url, read_json

__all__ = ["Cut", "Ends", "Filtered", "Fireworks", "Raw", "Refused", "error"]

KEY = "fw_0123456789abcdef"
BELOW = "/inference/v1/workflows/"
SDXL = "/inference/v1/image_generation/accounts/fireworks/models/stable-diffusion-xl-1024-v1-0"
_FLUX = ("flux-1-schnell-fp8", "flux-1-dev-fp8")
_KONTEXT = ("flux-kontext-pro", "flux-kontext-max")
SDXL_SIZES = ("1024x1024", "1152x896", "896x1152", "1216x832", "832x1216", "1344x768", "768x1344", "1536x640", "640x1536")
MODELS = {f"accounts/fireworks/models/{name}": name in _KONTEXT for name in (*_FLUX, *_KONTEXT)}
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("prompt", "negative_prompt", "aspect_ratio", "output_format"), (str,)),
    **dict.fromkeys(("seed", "steps", "num_inference_steps", "safety_tolerance", "width", "height"), (int,)),
    **dict.fromkeys(("guidance_scale", "cfg_scale"), (int, float)),
    **dict.fromkeys(("prompt_upsampling", "safety_check"), (bool,)),
}
RATIOS = ("1:1", "21:9", "16:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21", "4:3", "3:4")


@dataclass(frozen=True)
class Filtered:
    """200 and a picture, which the filter has blackened."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A job that ends so, without a picture."""

    status: str
    details: Any = None


@dataclass
class Job:
    left: int
    picture: bytes
    ends: Ends | None = None
    asked: list[Seen] = field(default_factory=list)


def error(status: int, message: str, **headers: str) -> Refused:
    return Refused(status, {"error": {"object": "error", "type": "invalid_request_error", "message": message}}, **headers)


class Fireworks(Service):
    """The service. A job is done when it has been asked for `polls` times."""

    root = "inference/v1"

    def __init__(self, *, polls: int = 2) -> None:
        super().__init__()
        self.polls = polls
        self.jobs: dict[str, Job] = {}
        self.downloads: list[Seen] = []

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/files/"):
            self.requests.remove(seen)
            self.downloads.append(seen)
            return web.Response(body=self.jobs[request.path.removeprefix("/files/")].picture, content_type="image/png")
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            raise error(401, "The API key you provided is invalid.")
        if (request.method, request.path) == ("POST", SDXL):
            seen.body = read_json(request, raw)
            return self._sdxl(request, seen)
        path = request.path.removeprefix(BELOW)
        model, _, verb = path.rpartition("/") if path.endswith(("/text_to_image", "/get_result")) else (path, "", "")
        if request.method != "POST" or model not in MODELS or (verb == "text_to_image") == MODELS[model]:
            raise error(404, "Path not found")
        try:
            seen.body = body = read_json(request, raw)
        except ValueError:
            raise error(400, "The body is not JSON") from None
        if verb == "get_result":
            self.requests.remove(seen)
            return self._result(str(body.get("id")), seen)
        return self._kontext(request, seen) if MODELS[model] else self._flux(request, seen)

    def _check(self, seen: Seen, known: set[str]) -> tuple[int, int]:
        body = seen.body
        for name in body.keys() - known - {"prompt", "aspect_ratio", "seed"}:
            raise error(400, f"Extra inputs are not permitted, field: '{name}'")
        if wrong := mistyped(body, KINDS):
            raise error(400, f"Input should be a valid value, field: '{wrong}'")
        if not body.get("prompt") or body.get("aspect_ratio", "1:1") not in RATIOS:
            raise error(400, "prompt or aspect_ratio")
        wide, high = map(int, body.get("aspect_ratio", "1:1").split(":"))
        return round(1024 * (wide / high) ** 0.5), round(1024 * (high / wide) ** 0.5)

    def _flux(self, request: web.Request, seen: Seen) -> web.Response:
        return self._picture(request, seen, self._check(seen, {"num_inference_steps", "guidance_scale"}))

    def _picture(self, request: web.Request, seen: Seen, size: tuple[int, int]) -> web.Response:
        kind = {"image/png": "PNG", "image/jpeg": "JPEG"}.get(request.headers.get("Accept", ""))
        if kind is None:
            raise error(406, "Accept must be image/jpeg or image/png")
        fault = self.fault(seen)
        seen.pictures = 1
        picture = draw(f"{seen.body['prompt']}|{len(self.requests)}", size, kind=kind)
        headers = {"finish-reason": "CONTENT_FILTERED" if fault else "SUCCESS", "x-request-id": f"fw-{len(self.requests)}"}
        return web.Response(body=picture, content_type=request.headers["Accept"], headers=headers)

    def _sdxl(self, request: web.Request, seen: Seen) -> web.Response:
        """What is null is as good as absent: the vendor's own client sends every field."""
        body = {name: value for name, value in seen.body.items() if value is not None}
        known = {"prompt", "negative_prompt", "width", "height", "seed", "steps", "cfg_scale", "safety_check"}
        by_client = {"model", "samples", "sampler", "clip_guidance_preset", "style_preset", "return_latents"}
        for name in body.keys() - known - by_client - {"apply_invisible_watermark", "text_prompts"}:
            raise error(400, f"Extra inputs are not permitted, field: '{name}'")
        if wrong := mistyped(body, KINDS):
            raise error(400, f"Input should be a valid value, field: '{wrong}'")
        size = body.get("width", 1024), body.get("height", 1024)
        if not body.get("prompt") or f"{size[0]}x{size[1]}" not in SDXL_SIZES or body.get("samples", 1) != 1:
            raise error(400, "prompt, width, height or samples")
        return self._picture(request, seen, size)

    def _kontext(self, request: web.Request, seen: Seen) -> object:
        size = self._check(seen, {"input_image", "output_format", "safety_tolerance", "prompt_upsampling"})
        files = []
        if url := seen.body.get("input_image"):
            try:
                picture, name = read_data_url(url)
            except ValueError as fault:
                raise error(400, str(fault)) from None
            seen.references.append(name)
            files += [picture] if picture else []
        ends = self.fault(seen)
        id_ = f"k{len(self.jobs) + 1}"
        self.jobs[id_] = Job(self.polls, draw(f"{seen.body['prompt']}|{id_}", size, files), ends)
        seen.pictures = int(ends is None)
        return {"request_id": id_}

    def _result(self, id_: str, seen: Seen) -> object:
        job = self.jobs.get(id_)
        if job is None:
            return {"id": id_, "status": "Task not found", "result": None}
        job.asked.append(seen)
        job.left -= 1
        if job.left >= 0:
            return {"id": id_, "status": "Pending", "result": None}
        if job.ends is not None:
            return {"id": id_, "status": job.ends.status, "result": None, "details": job.ends.details}
        return {"id": id_, "status": "Ready", "result": {"sample": f"{self.url.origin()}/files/{id_}"}}


MODELS_TO_TRY = [*MODELS, SDXL.partition("image_generation/")[2]]


def setup(emulator: Fireworks) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:FIREWORKS_API_KEY", "base_url": str(emulator.url), "poll_every": 0.001}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"fireworks": plugin, "image_edit": {"fetch": fetch}}, "environ": {"FIREWORKS_API_KEY": KEY}}
