"""A strict stand-in for fal's queue and the place where results lie (contracts: hosted-others.md)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.service import Cut, Picture, Raw, Refused, Seen, Service, draw, read_data_url, read_json

__all__ = ["Black", "Cut", "Ends", "Fal", "Raw", "Refused", "detail"]

KEY = "fal-id:fal-secret-0123456789"


@dataclass(frozen=True, kw_only=True)
class Path:
    """One endpoint. `pictures` is the input's name, needed where there is one."""

    pictures: str = ""
    several: bool = True
    most: int = 0
    ratios: bool = False
    sizes: bool = False
    formats: bool = True
    seed: bool = True


_FLUX = Path(sizes=True)
_KONTEXT = Path(ratios=True)
_KONTEXT_EDIT = Path(pictures="image_url", several=False, most=1, ratios=True)
_SEEDREAM = Path(sizes=True, formats=False)
_SEEDREAM_EDIT = Path(pictures="image_urls", most=10, sizes=True, formats=False)
PATHS = {
    "fal-ai/flux/schnell": _FLUX,
    "fal-ai/flux/dev": _FLUX,
    "fal-ai/flux-pro/kontext/text-to-image": _KONTEXT,
    "fal-ai/flux-pro/kontext": _KONTEXT_EDIT,
    "fal-ai/flux-pro/kontext/max/text-to-image": _KONTEXT,
    "fal-ai/flux-pro/kontext/max": _KONTEXT_EDIT,
    "fal-ai/nano-banana": Path(ratios=True, seed=False),
    "fal-ai/nano-banana/edit": Path(pictures="image_urls", most=3, ratios=True, seed=False),
    "fal-ai/bytedance/seedream/v4/text-to-image": _SEEDREAM,
    "fal-ai/bytedance/seedream/v4/edit": _SEEDREAM_EDIT,
    "fal-ai/bytedance/seedream/v4.5/text-to-image": _SEEDREAM,
    "fal-ai/bytedance/seedream/v4.5/edit": _SEEDREAM_EDIT,
}


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A job whose response is this error."""

    status: int = 500
    body: Any = field(default_factory=lambda: {"detail": "it fell over"})


@dataclass(frozen=True, kw_only=True)
class Black:
    """Pictures of which those were made black."""

    which: tuple[bool, ...] = (True,)


@dataclass
class Queued:
    left: int
    response: dict[str, Any]
    ends: Ends | None = None
    canceled: bool = False
    asked: list[Seen] = field(default_factory=list)


def detail(status: int, words: object, **headers: str) -> Refused:
    return Refused(status, {"detail": words}, **headers)


class Fal(Service):
    """The service. A request is done when it has been asked for `polls` times; with `inline`, pictures are data URLs."""

    def __init__(self, *, key: str = KEY, polls: int = 2, inline: bool = False) -> None:
        super().__init__()
        self.polls = polls
        self.queue: dict[str, Queued] = {}
        self.downloads: list[Seen] = []
        self._key, self._inline = key, inline
        self._files: dict[str, bytes] = {}

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/files/"):
            self.requests.remove(seen)
            self.downloads.append(seen)
            return web.Response(body=self._files[request.path_qs], content_type="image/png")
        if request.headers.get("Authorization") != f"Key {self._key}":
            raise detail(401, "Authentication is required to access this application")
        path = request.path.removeprefix("/")
        if "/requests/" in path:
            self.requests.remove(seen)
            return self._asked(request, path, seen)
        if request.method != "POST" or path not in PATHS:
            raise detail(404, f"Application {path!r} not found")
        try:
            seen.body = read_json(request, raw)
        except ValueError:
            raise detail(422, "not JSON") from None
        files = self._check(seen, PATHS[path])
        fault = self.fault(seen)
        black = fault.which if isinstance(fault, Black) else ()
        count, id_ = seen.body.get("num_images", 1), f"q{len(self.queue) + 1}"
        size = _size(seen.body)
        images = [{"url": self._put(draw(f"{seen.body['prompt']}|{id_}|{n}", size, files))} for n in range(count)]
        response = {"images": images, "seed": 1, "has_nsfw_concepts": list(black) or [False] * count, "prompt": "x"}
        self.queue[id_] = Queued(self.polls, response, fault if isinstance(fault, Ends) else None)
        seen.pictures = count if fault is None else 0
        elsewhere = f"https://elsewhere.example/requests/{id_}"  # nobody should follow it
        links = {"response_url": elsewhere, "status_url": f"{elsewhere}/status", "cancel_url": f"{elsewhere}/cancel"}
        return {"request_id": id_, "status": "IN_QUEUE", "queue_position": 0, **links}

    def _check(self, seen: Seen, path: Path) -> list[Picture]:
        """Names that an endpoint does not know may be ignored by the service: none may come."""
        body = seen.body
        known = {"prompt", "num_images", path.pictures} - {""}
        known |= {"seed"} if path.seed else set()
        known |= {"output_format"} if path.formats else set()
        known |= {"aspect_ratio"} if path.ratios else set()
        known |= {"image_size"} if path.sizes else set()
        for name in body.keys() - known:
            raise detail(422, [{"loc": ["body", name], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}])
        if not body.get("prompt") or not 1 <= body.get("num_images", 1) <= 4:
            raise detail(422, [{"loc": ["body", "num_images"], "msg": "1 to 4", "type": "value_error"}])
        if body.get("output_format", "png") not in ("png", "jpeg"):
            raise detail(422, [{"loc": ["body", "output_format"], "msg": "jpeg or png", "type": "literal_error"}])
        if not path.pictures:
            return []
        given = body.get(path.pictures)
        if given is None or isinstance(given, list) != path.several:
            raise detail(422, [{"loc": ["body", path.pictures], "msg": "Field required", "type": "missing"}])
        urls = given if isinstance(given, list) else [given]
        if not 1 <= len(urls) <= path.most:
            raise detail(422, [{"loc": ["body", path.pictures], "msg": "too many", "type": "too_long"}])
        files = []
        for url in urls:
            try:
                picture, name = read_data_url(url)
            except ValueError:
                fault = {"loc": ["body", path.pictures], "msg": "Failed to load the image", "type": "image_load_error"}
                raise detail(422, [fault]) from None
            seen.references.append(name)
            files += [picture] if picture else []
        return files

    def _put(self, picture: bytes) -> str:
        if self._inline:
            return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        path = f"/files/{len(self._files)}.png?x=a%2Fb%7E"
        self._files[path] = picture
        return f"{self.url.origin()}{path}"

    def _asked(self, request: web.Request, path: str, seen: Seen) -> object:
        app, _, rest = path.partition("/requests/")
        id_, _, verb = rest.partition("/")
        job = self.queue.get(id_)
        if app.count("/") != 1 or job is None:
            raise detail(404, "not found")
        if (request.method, verb) == ("PUT", "cancel"):
            job.canceled = True
            return web.json_response({"status": "CANCELLATION_REQUESTED"}, status=202)
        if verb == "status":
            job.asked.append(seen)
            job.left -= 1
            return {"status": "COMPLETED" if job.left < 0 else "IN_PROGRESS", "request_id": id_, "logs": None, "metrics": {}}
        if job.left >= 0:
            raise detail(400, "Request is still in progress")
        if job.ends is not None:
            raise Refused(job.ends.status, job.ends.body)
        return job.response


def _size(body: Any) -> tuple[int, int]:
    if size := body.get("image_size"):
        return size["width"], size["height"]
    wide, high = map(int, body.get("aspect_ratio", "1:1").split(":"))
    return round(1024 * (wide / high) ** 0.5), round(1024 * (high / wide) ** 0.5)


def setup(emulator: Fal) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:FAL_KEY", "base_url": str(emulator.url), "poll_every": 0.001}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"fal": plugin, "image_edit": {"fetch": fetch}}, "environ": {"FAL_KEY": KEY}}
