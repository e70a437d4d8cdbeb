"""A strict stand-in for Z.ai's images API and the storage behind it (contracts: zai.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.emulators.service import Cut, Raw, Refused, Seen, Service, draw, read_json

__all__ = ["Cut", "Raw", "Refused", "Zai", "refusal"]

KEY = "0123456789abcdef.zai-test"
_SIZES = {
    "glm-image": "1280x1280 1568x1056 1056x1568 1472x1088 1088x1472 1728x960 960x1728",
    "cogview-4-250304": "1024x1024 768x1344 864x1152 1344x768 1152x864 1440x720 720x1440",
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """Sides are multiples of `step` between two bounds, their product is at most `area`."""

    listed: str
    step: int
    sides: tuple[int, int]
    area: int
    quality: tuple[str, ...]
    default: str


_COGVIEW = Model(
    listed=_SIZES["cogview-4-250304"], step=16, sides=(512, 2048), area=1 << 21, quality=("hd", "standard"), default="1024x1024"
)
MODELS = {
    "glm-image": Model(
        listed=_SIZES["glm-image"], step=32, sides=(1024, 2048), area=1 << 22, quality=("hd",), default="1280x1280"
    ),
    "cogview-4-250304": _COGVIEW,
    "cogview-4": _COGVIEW,
    "cogview-3-flash": _COGVIEW,
}


def refusal(status: int, code: int, message: str, **headers: str) -> Refused:
    return Refused(status, {"error": {"code": str(code), "message": message}}, **headers)


class Zai(Service):
    """The service. A result's link answers 404 for the first `lag` times."""

    root = "api/paas/v4"

    def __init__(self, *, key: str = KEY, lag: int = 0, polls: int = 2) -> None:
        super().__init__()
        self._polls = polls
        self._tasks: dict[str, tuple[int, dict[str, Any]]] = {}
        self.lag = lag
        self._key = key
        self._files: dict[str, tuple[bytes, int]] = {}
        self.downloads: list[Seen] = []

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/storage/"):
            self.requests.remove(seen)
            self.downloads.append(seen)
            return self._stored(seen)
        if request.headers.get("Authorization") != f"Bearer {self._key}":
            raise Refused(401, {"code": 1000, "msg": "Authentication failed", "success": False})
        if request.method == "GET" and (id_ := request.path.rpartition("/async-result/")[2]) in self._tasks:
            self.requests.remove(seen)
            return self._task(id_)
        later = request.path == "/api/paas/v4/async/images/generations"
        if request.method != "POST" or not (later or request.path == "/api/paas/v4/images/generations"):
            raise Refused(404, {"timestamp": 1, "status": 404, "error": "Not Found", "path": request.path})
        try:
            seen.body = read_json(request, raw)
        except ValueError:
            raise refusal(400, 1210, "Incorrect API calling parameters") from None
        size = self._check(seen.body)
        fault = self.fault(seen)
        if later and fault is not None:
            self._tasks["failed"] = (self._polls, {"task_status": "FAIL", **fault})
            return {"id": "failed", "task_status": "PROCESSING"}
        assert fault is None
        seen.pictures = 1
        picture = draw(f"{seen.body['prompt']}|{len(self.requests)}", size)
        data = [{"url": f"{self.url.origin()}{self._put(picture)}"}]
        if later:
            id_ = f"task-{len(self._tasks) + 1}"
            self._tasks[id_] = (self._polls, {"task_status": "SUCCESS", "image_result": data, "request_id": "r"})
            return {"id": id_, "model": seen.body["model"], "request_id": "r", "task_status": "PROCESSING"}
        filtered = [{"role": "assistant", "level": 3}]
        return {"created": 1, "id": "2026", "request_id": f"zai-{len(self.requests)}", "data": data, "content_filter": filtered}

    def _check(self, body: Mapping[str, Any]) -> tuple[int, int]:
        """Fields that the reference does not have may be refused or ignored by the service: none may come."""
        model = MODELS.get(str(body.get("model")))
        if model is None:
            raise refusal(400, 1211, "Unknown Model, please check the model code.")
        for name in body.keys() - {"model", "prompt", "size", "quality", "watermark_enabled", "user_id", "request_id"}:
            raise refusal(400, 1214, f"{name}: invalid parameter")
        if not body.get("prompt"):
            raise refusal(400, 1213, "The prompt parameter was not received normally.")
        if body.get("quality", "hd") not in model.quality:
            raise refusal(400, 1214, "quality: invalid parameter")
        size: str = body.get("size", model.default)
        width, height = map(int, size.split("x"))
        custom = all(model.sides[0] <= side <= model.sides[1] and side % model.step == 0 for side in (width, height))
        if size not in model.listed.split() and not (custom and width * height <= model.area):
            raise refusal(400, 1214, f"size: {size} is not supported")
        return width, height

    def _task(self, id_: str) -> dict[str, Any]:
        left, done = self._tasks[id_]
        self._tasks[id_] = (left - 1, done)
        return {"id": id_, "task_status": "PROCESSING"} if left > 0 else {"id": id_, **done}

    def _put(self, picture: bytes) -> str:
        path = f"/storage/{len(self._files)}.png?ufileattname=a%2Fb%7E_%E5%9B%BE.png"
        self._files[path] = (picture, self.lag)
        return path

    def _stored(self, seen: Seen) -> web.Response:
        picture, lag = self._files[seen.path]
        if lag:
            self._files[seen.path] = (picture, lag - 1)
            return web.json_response({"RetCode": -30010, "ErrMsg": "file not exist"}, status=404)
        return web.Response(body=picture, content_type="application/octet-stream")


MODELS_TO_TRY = [*MODELS]


def setup(emulator: Zai) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:ZAI_API_KEY", "base_url": str(emulator.url)}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"zai": plugin, "image_edit": {"fetch": fetch}}, "environ": {"ZAI_API_KEY": KEY}}
