"""A strict stand-in for DashScope's image APIs, the tasks behind them, and their storage (contracts: dashscope.md)."""

from __future__ import annotations

import re
from collections import deque
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
KINDS = ("png", "jpeg", "bmp", "tiff", "webp", "gif")
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
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "request_id": "r-0", **self.more}


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A task that ends so; with `of`, it succeeds, and so many of its pictures fail."""

    status: str = "FAILED"
    code: str = "InternalError"
    of: int = 0


@dataclass
class Task:
    """It is pending, and can be canceled, for the first half of the times that it is asked for."""

    polls: int
    links: list[str]
    path: str
    ends: Ends | None = None
    canceled: bool = False
    asked: list[Seen] = field(default_factory=list)
    unwelcome: int = 0  # cancels that came when it was no longer pending

    @property
    def status(self) -> str:
        if self.canceled:
            return "CANCELED"
        if len(self.asked) > self.polls:
            return self.ends.status if self.ends and not self.ends.of else "SUCCEEDED"
        return "PENDING" if 2 * len(self.asked) <= self.polls else "RUNNING"


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
        self._poll_faults: deque[Refused | Said | str] = deque()

    def script_polls(self, *faults: Refused | Said | str) -> None:
        """An error, or the word for a state, for each of the next times that a task is asked for."""
        self._poll_faults.extend(faults)

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/oss/"):
            self.requests.remove(seen)
            self.downloads.append(seen)
            if (picture := self._files.get(request.raw_path)) is None:
                return web.Response(status=403, text="<Error/>", content_type="text/xml")
            return web.Response(body=picture, content_type="image/png")
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
            return fault.body
        links = [self._put(draw(f"{prompt}|{len(self._files)}", size, files)) for _ in range(n)]
        seen.pictures = n
        if path == SYNC:
            return {"output": self._output(links), "usage": {"image_count": n}, "request_id": f"r-{len(self.requests)}"}
        id_ = f"task-{len(self.tasks) + 1}"
        self.tasks[id_] = Task(self.polls, links, path, ends=fault)
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
            picture, name = _reference(url)
            seen.references.append(name)
            files += [picture] if picture else []
        _settings({**settings, "negative_prompt": settings.get("negative_prompt", given.get("negative_prompt", " "))})
        if not _whole(settings.get("n"), 1, model.n):
            raise refusal(400, "InvalidParameter", f"n must be sent, and be at most {model.n}")
        size: str = settings.get("size", "1328*1328")
        if size not in LISTED if model.listed else not re.fullmatch(r"[1-9][0-9]{1,3}\*[1-9][0-9]{1,3}", size):
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
            if task.status != "PENDING":
                task.unwelcome += 1
                raise refusal(400, "UnsupportedOperation", f"the task is {task.status}")
            task.canceled = True
            return {"request_id": "r-9"}
        if request.method != "GET" or task is None:
            return {"output": {"task_id": id_, "task_status": "UNKNOWN"}, "request_id": "r-9"}
        fault = self._poll_faults.popleft() if self._poll_faults else None
        if isinstance(fault, Refused):
            raise fault
        if isinstance(fault, Said):
            return fault.body
        if fault is not None:
            return {"output": {"task_id": id_, "task_status": fault}, "request_id": "r-9"}
        task.asked.append(seen)
        output: dict[str, Any] = {"task_id": id_, "task_status": task.status}
        if task.status in ("PENDING", "RUNNING"):
            return {"output": output, "request_id": "r-9"}
        if task.status != "SUCCEEDED":
            told = {"code": task.ends.code, "message": "it went wrong"} if task.ends else {}
            return {"output": {**output, **told}, "request_id": "r-9"}
        if task.path == ASYNC:
            return {"output": {**output, **self._output(task.links)}, "request_id": "r-9"}
        bad = task.ends.of if task.ends else 0
        failed = [{"code": "DataInspectionFailed", "message": "inappropriate"} for _ in range(bad)]
        return {"output": {**output, "results": [*failed, *({"url": link} for link in task.links[bad:])]}, "request_id": "r-9"}


def _conversation(given: Mapping[str, Any]) -> tuple[str, list[str]]:
    """One turn of parts that are objects of one key, pictures first."""
    match given:
        case {"messages": [{"role": "user", "content": [*pictures, {"text": str(text), **more}], **beside}], **others} if not (
            more or beside or others
        ):
            if text and all(isinstance(part, dict) and part.keys() == {"image"} for part in pictures):
                return text, [part["image"] for part in pictures]
    raise refusal(400, "InvalidParameter", "messages")


def _plain(given: Mapping[str, Any]) -> tuple[str, list[str]]:
    if given.keys() - {"prompt", "images", "negative_prompt"} or not given.get("prompt"):
        raise refusal(400, "InvalidParameter", "input")
    return given["prompt"], given.get("images", [])


def _reference(url: object) -> tuple[Picture | None, str]:
    """A picture of at most 10 MB whose sides are 384 to 3072, or a link that is fetched elsewhere."""
    try:
        picture, name = read_data_url(str(url), KINDS)
    except ValueError as error:
        raise refusal(400, "InvalidURL", str(error)) from None
    if picture is not None and not all(384 <= side <= 3072 for side in picture.size):
        raise refusal(400, "InvalidParameter", f"a picture of {picture.width}x{picture.height}")
    if len(str(url)) * 3 // 4 > 10 * 1024 * 1024 + 64:
        raise refusal(400, "InvalidParameter", "a picture of more than 10 MB")
    return picture, name


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _settings(given: Mapping[str, Any]) -> None:
    for name in ("prompt_extend", "watermark"):
        if not isinstance(given.get(name, False), bool):
            raise refusal(400, "InvalidParameter", f"{name} must be a boolean")
    if not _whole(given.get("seed", 0), 0, 2**31 - 1):
        raise refusal(400, "InvalidParameter", "seed must be an integer of 0 to 2147483647")
    if not isinstance(given["negative_prompt"], str) or len(given["negative_prompt"]) > 500:
        raise refusal(400, "InvalidParameter", "negative_prompt may have 500 characters")


MODELS_TO_TRY = [*MODELS]


def setup(emulator: DashScope) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:DASHSCOPE_API_KEY", "base_url": str(emulator.url), "poll_every": 0.001}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"dashscope": plugin, "image_edit": {"fetch": fetch}}, "environ": {"DASHSCOPE_API_KEY": KEY}}
