"""A strict stand-in for DashScope's image APIs, the tasks behind them, and their storage (contracts: dashscope.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.service import Cut, Picture, Raw, Refused, Seen, Service, draw, read_data_url, read_json

__all__ = ["Cut", "DashScope", "Ends", "Raw", "Refused", "Said", "refusal"]

KEY = "sk-dashscope-0123456789"
BELOW = "/api/v1/services/aigc/"
SYNC, ASYNC = "multimodal-generation/generation", "image-generation/generation"
T2I, I2I = "text2image/image-synthesis", "image2image/image-synthesis"
LISTED = ("1664*928", "1472*1104", "1328*1328", "1104*1472", "928*1664")


@dataclass(frozen=True, kw_only=True)
class Model:
    path: str = SYNC
    references: tuple[int, int] = (0, 0)  # at least and at most
    n: int = 6
    listed: bool = False


_EDIT = Model(references=(1, 3))
_BOTH = Model(references=(0, 3))
MODELS = {
    "qwen-image": Model(n=1, listed=True),
    "qwen-image-plus": Model(n=1, listed=True),
    "qwen-image-max": Model(n=1, listed=True),
    "qwen-image-2.0": _BOTH,
    "qwen-image-2.0-pro": _BOTH,
    "qwen-image-2.1-pro": Model(references=(0, 10)),
    "qwen-image-3.0": _BOTH,
    "qwen-image-3.0-pro": _BOTH,
    "qwen-image-edit": Model(references=(1, 3), n=1),
    "qwen-image-edit-plus": _EDIT,
    "qwen-image-edit-max": _EDIT,
    "wan2.2-t2i-flash": Model(path=T2I, n=4),
    "wan2.2-t2i-plus": Model(path=T2I, n=4),
    "wan2.5-i2i-preview": Model(path=I2I, references=(1, 3), n=4),
    "wan2.6-t2i": Model(path=ASYNC, n=4),
    "wan2.6-image": Model(path=ASYNC, references=(0, 3), n=4),
}


@dataclass(frozen=True, kw_only=True)
class Said:
    """An error with status 200."""

    code: str
    message: str = "no"


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A task that ends so; with `of`, it succeeds, and so many of its pictures fail."""

    status: str = "FAILED"
    code: str = "InternalError"
    of: int = 0


@dataclass
class Task:
    left: int
    links: list[str]
    path: str
    ends: Ends | None = None
    canceled: bool = False
    asked: list[Seen] = field(default_factory=list)


def refusal(status: int, code: str, message: str = "no", **headers: str) -> Refused:
    return Refused(status, {"code": code, "message": message, "request_id": "r-0"}, **headers)


class DashScope(Service):
    """The service. A task is done when it has been asked for `polls` times; `choices` spreads pictures over several."""

    def __init__(self, *, key: str = KEY, polls: int = 2, choices: bool = False) -> None:
        super().__init__()
        self.polls, self.tasks = polls, dict[str, Task]()
        self.downloads: list[Seen] = []
        self._key, self._choices = key, choices
        self._files: dict[str, bytes] = {}

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/oss/"):
            self.requests.remove(seen)
            self.downloads.append(seen)
            return web.Response(body=self._files[request.path_qs], content_type="image/png")
        if request.headers.get("Authorization") != f"Bearer {self._key}":
            raise refusal(401, "InvalidApiKey", "Invalid API-key provided.")
        if request.path.startswith("/api/v1/tasks/"):
            self.requests.remove(seen)
            return self._task(request, seen)
        if request.method != "POST" or not request.path.startswith(BELOW):
            raise Refused(404, {"error": "not found"})
        path = request.path.removeprefix(BELOW)
        try:
            seen.body = read_json(request, raw)
        except ValueError:
            raise refusal(400, "InvalidParameter", "Required body invalid, please check the request body format.") from None
        model = MODELS.get(str(seen.body.get("model")))
        if model is None:
            raise refusal(404, "ModelNotFound", "Model not exist.")
        if model.path != path or (request.headers.get("X-DashScope-Async") == "enable") != (path != SYNC):
            raise refusal(400, "InvalidParameter", "url error, please check url!")
        prompt, files, size, n = self._check(seen, model, path)
        fault = self.fault(seen)
        if isinstance(fault, Said):
            return {"code": fault.code, "message": fault.message, "request_id": "r-0"}
        links = [self._put(draw(f"{prompt}|{len(self._files)}", size, files)) for _ in range(n)]
        seen.pictures = n
        if path == SYNC:
            return {"output": self._output(links), "usage": {"image_count": n}, "request_id": f"r-{len(self.requests)}"}
        id_ = f"task-{len(self.tasks) + 1}"
        self.tasks[id_] = Task(self.polls, links, path, fault)
        return {"output": {"task_id": id_, "task_status": "PENDING"}, "request_id": f"r-{len(self.requests)}"}

    def _check(self, seen: Seen, model: Model, path: str) -> tuple[str, list[Picture], tuple[int, int], int]:
        body = seen.body
        if body.keys() != {"model", "input", "parameters"} or not body["parameters"]:
            raise refusal(400, "BadRequest.EmptyParameters", "parameters must not be empty")
        given, settings = body["input"], body["parameters"]
        known = {"n", "size", "seed", "prompt_extend", "watermark", "is_async"}  # the last from the vendor's own SDK
        known |= {"negative_prompt"} if path in (SYNC, ASYNC) else set()
        for name in settings.keys() - known:
            raise refusal(400, "InvalidParameter", f"{name} is not supported")
        prompt, urls = _conversation(given) if path in (SYNC, ASYNC) else _plain(given)
        if not model.references[0] <= len(urls) <= model.references[1]:
            raise refusal(400, "InvalidParameter", f"num_images_per_prompt: {len(urls)} pictures")
        files = []
        for url in urls:
            try:
                picture, name = read_data_url(url, ("png", "jpeg", "bmp", "tiff", "webp", "gif"))
            except ValueError as error:
                raise refusal(400, "InvalidURL", str(error)) from None
            seen.references.append(name)
            files += [picture] if picture else []
        if "n" not in settings or not 1 <= settings["n"] <= model.n:
            raise refusal(400, "InvalidParameter", f"n must be sent, and be at most {model.n}")
        size: str = settings.get("size", "1328*1328")
        if size not in LISTED if model.listed else "*" not in size:
            raise refusal(400, "InvalidParameter", f"size: {size}")
        width, height = map(int, size.split("*"))
        if not 512 * 512 <= width * height <= 2048 * 2048:
            raise refusal(400, "InvalidParameter", f"size: {size}")
        return prompt, files, (width, height), settings["n"]

    def _put(self, picture: bytes) -> str:
        path = f"/oss/{len(self._files)}.png?Expires=1&Signature=a%2Fb%7E%2b"
        self._files[path] = picture
        return f"{self.url.origin()}{path}"

    def _output(self, links: list[str]) -> dict[str, Any]:
        groups = [[link] for link in links] if self._choices else [links]
        return {
            "choices": [
                {"finish_reason": "stop", "message": {"role": "assistant", "content": [{"image": link} for link in group]}}
                for group in groups
            ]
        }

    def _task(self, request: web.Request, seen: Seen) -> dict[str, Any]:
        id_, _, verb = request.path.removeprefix("/api/v1/tasks/").partition("/")
        task = self.tasks.get(id_)
        if (request.method, verb) == ("POST", "cancel") and task is not None:
            task.canceled = True
            return {"request_id": "r-9"}
        if request.method != "GET" or task is None:
            return {"output": {"task_id": id_, "task_status": "UNKNOWN"}, "request_id": "r-9"}
        task.asked.append(seen)
        task.left -= 1
        output: dict[str, Any] = {"task_id": id_}
        if task.left >= 0:
            return {"output": {**output, "task_status": "RUNNING"}, "request_id": "r-9"}
        if task.ends is not None and not task.ends.of:
            ended = {"task_status": task.ends.status, "code": task.ends.code, "message": "it went wrong"}
            return {"output": {**output, **ended}, "request_id": "r-9"}
        output["task_status"] = "SUCCEEDED"
        if task.path == ASYNC:
            return {"output": {**output, **self._output(task.links)}, "request_id": "r-9"}
        bad = task.ends.of if task.ends else 0
        failed = [{"code": "DataInspectionFailed", "message": "inappropriate"} for _ in range(bad)]
        return {"output": {**output, "results": [*failed, *({"url": link} for link in task.links[bad:])]}, "request_id": "r-9"}


def _conversation(given: Mapping[str, Any]) -> tuple[str, list[str]]:
    """One turn of parts that are objects of one key, pictures first."""
    (turn,) = given["messages"] if given.keys() == {"messages"} else [{}]
    parts = turn.get("content") if turn.get("role") == "user" else None
    if not isinstance(parts, list) or not all(len(part) == 1 for part in parts) or "text" not in parts[-1]:
        raise refusal(400, "InvalidParameter", "messages")
    urls = [part.get("image", "") for part in parts[:-1]]
    return parts[-1]["text"], urls


def _plain(given: Mapping[str, Any]) -> tuple[str, list[str]]:
    if given.keys() - {"prompt", "images", "negative_prompt"} or not given.get("prompt"):
        raise refusal(400, "InvalidParameter", "input")
    return given["prompt"], given.get("images", [])


MODELS_TO_TRY = [*MODELS]


def setup(emulator: DashScope) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:DASHSCOPE_API_KEY", "base_url": str(emulator.url), "poll_every": 0.001}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"dashscope": plugin, "image_edit": {"fetch": fetch}}, "environ": {"DASHSCOPE_API_KEY": KEY}}
