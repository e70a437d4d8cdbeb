"""A strict stand-in for Black Forest Labs' API: jobs, where to ask for them, where pictures lie (contracts: bfl.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.service import (
    Cut,
    Picture,
    Raw,
    Refused,
    Seen,
    Service,
    draw,
    mistyped,
    read_any_base64,
    read_json,
)

__all__ = ["BFL", "Cut", "Ends", "Raw", "Refused", "detail"]

KEY = "bfl-test-0123456789"
_SIDES = {"width", "height"}
_KINDS: Mapping[str, tuple[type, ...]] = {
    "prompt": (str,),
    "seed": (int,),
    "safety_tolerance": (int,),
    "prompt_upsampling": (bool,),
    "steps": (int,),
    "guidance": (int, float),
}
_COMMON = {"prompt", "seed", "output_format", "safety_tolerance", "prompt_upsampling"}


@dataclass(frozen=True, kw_only=True)
class Model:
    """`step` is what sides are multiples of; without one, a model is told a ratio."""

    references: int
    step: int = 0
    more: frozenset[str] = frozenset()


MODELS = {
    "flux-2-pro": Model(references=8, step=16),
    "flux-2-pro-preview": Model(references=8, step=16),
    "flux-2-max": Model(references=8, step=16),
    "flux-2-flex": Model(references=8, step=16, more=frozenset({"steps", "guidance"})),
    "flux-2-klein-4b": Model(references=4, step=16),
    "flux-2-klein-9b": Model(references=4, step=16),
    "flux-kontext-pro": Model(references=4),
    "flux-kontext-max": Model(references=4),
    "flux-pro-1.1": Model(references=0, step=32),
    "flux-pro-1.1-ultra": Model(references=0),
}


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A job that ends in this state, without a picture."""

    state: str
    details: Mapping[str, Any] | None = None


@dataclass
class Running:
    """A job: how often it is still to be asked for, and what comes then."""

    left: int
    picture: bytes
    ends: Ends | None = None
    asked: list[Seen] = field(default_factory=list)


def detail(status: int, words: object, **headers: str) -> Refused:
    return Refused(status, {"detail": words}, **headers)


class BFL(Service):
    """The service. A job is done when it has been asked for `polls` times; with `elsewhere`, it is to be asked for there."""

    root = "v1"

    def __init__(self, *, key: str = KEY, polls: int = 2, elsewhere: str = "", bare: bool = False) -> None:
        super().__init__()
        self.polls = polls
        self.jobs: dict[str, Running] = {}
        self.downloads: list[Seen] = []
        self._key, self._elsewhere, self._bare = key, elsewhere, bare

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/delivery/"):
            self.requests.remove(seen)
            self.downloads.append(seen)
            job = self.jobs[request.path.removeprefix("/delivery/")]
            return web.Response(body=job.picture, content_type="image/png")
        if request.headers.get("x-key") != self._key or "Authorization" in request.headers:
            raise detail(403, "Not authenticated - Invalid Authentication")
        if (request.method, request.path) == ("GET", "/v1/get_result"):
            self.requests.remove(seen)
            return self._state(str(request.query.get("id")), seen)
        model = MODELS.get(request.path.removeprefix("/v1/"))
        if request.method != "POST" or model is None:
            raise detail(404, "Not Found")
        try:
            seen.body = read_json(request, raw)
        except ValueError:
            raise detail(422, [{"loc": ["body"], "msg": "JSON decode error", "type": "json_invalid"}]) from None
        files = self._check(seen, model)
        fault = self.fault(seen)
        id_ = f"job-{len(self.jobs) + 1}"
        size = (seen.body.get("width", 1024), seen.body.get("height", 1024))
        if ratio := seen.body.get("aspect_ratio"):
            wide, high = map(int, ratio.split(":"))
            size = (round(1024 * (wide / high) ** 0.5), round(1024 * (high / wide) ** 0.5))
        self.jobs[id_] = Running(self.polls, draw(f"{seen.body['prompt']}|{id_}", size, files), fault)
        seen.pictures = int(fault is None)
        link = f"{self._elsewhere or self.url.origin()}/v1/get_result" + ("" if self._bare else f"?id={id_}")
        return {"id": id_, "polling_url": link, "cost": 4.5, "input_mp": 1, "output_mp": 1}

    def _check(self, seen: Seen, model: Model) -> list[Picture]:
        """Names that a model does not know may be refused or ignored: none may come."""
        body = seen.body
        images = [f"input_image{'' if place == 1 else f'_{place}'}" for place in range(1, model.references + 1)]
        known = _COMMON | model.more | {*images} | (_SIDES if model.step else {"aspect_ratio"})
        for name in body.keys() - known:
            fault = {"loc": ["body", name], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
            raise detail(422, [fault])
        if not body.get("prompt") or body.get("output_format", "png") not in ("png", "jpeg"):
            raise detail(422, [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}])
        if wrong := mistyped(body, _KINDS):
            raise detail(422, [{"loc": ["body", wrong], "msg": "Input should be of its type", "type": "type_error"}])
        if not 1.5 <= body.get("guidance", 3) <= 10 or not 1 <= body.get("steps", 20) <= 50:
            raise detail(422, [{"loc": ["body", "guidance"], "msg": "out of range", "type": "value_error"}])
        for name in _SIDES & body.keys():
            if not isinstance(body[name], int) or body[name] % model.step or body[name] < 64:
                said = f"must be a multiple of {model.step}"
                raise detail(422, [{"loc": ["body", name], "msg": said, "type": "multiple_of"}])
        if body.get("width", 1) * body.get("height", 1) > 4 * 1024 * 1024:
            raise detail(422, [{"loc": ["body"], "msg": "at most 4 megapixels", "type": "value_error"}])
        given = [name for name in images if name in body]
        if given != images[: len(given)]:
            raise detail(422, [{"loc": ["body", "input_image"], "msg": "a number is left out", "type": "value_error"}])
        files = []
        for name in given:
            if body[name].startswith("http"):
                seen.references.append(body[name])
                continue
            try:
                picture, digest = read_any_base64(body[name])
            except ValueError:
                raise detail(422, [{"loc": ["body", name], "msg": "Invalid image", "type": "value_error"}]) from None
            seen.references.append(digest)
            files.append(picture)
        return files

    def _state(self, id_: str, seen: Seen) -> dict[str, Any]:
        job = self.jobs.get(id_)
        if job is None:
            return {"id": id_, "status": "Task not found", "result": None}
        job.asked.append(seen)
        job.left -= 1
        if job.left >= 0:
            return {"id": id_, "status": "Pending", "result": None, "progress": 0.5}
        if job.ends is not None:
            return {"id": id_, "status": job.ends.state, "result": None, "details": job.ends.details}
        result = {"sample": f"{self.url.origin()}/delivery/{id_}?sig=a%2Fb%7E", "seed": 1, "prompt": "x", "duration": 1.5}
        return {"id": id_, "status": "Ready", "result": result}


MODELS_TO_TRY = [*MODELS]


def setup(emulator: BFL) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:BFL_API_KEY", "base_url": str(emulator.url), "poll_every": 0.001}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"bfl": plugin, "image_edit": {"fetch": fetch}}, "environ": {"BFL_API_KEY": KEY}}
