"""The provider: one call, or a job that is asked for, by the model's table (contracts: dashscope.md)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Failed,
    Failure,
    HostedImage,
    Job,
    Note,
    Provider,
    Reply,
    Secret,
    Steps,
    Submitted,
    check_base_url,
    hookimpl,
    poll,
)

from .errors import body_of, refused
from .models import MODELS, Model

_RUNNING = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


@dataclass(frozen=True, kw_only=True)
class DashScope:
    """Qwen-Image and Wan, by Alibaba's Model Studio."""

    api_key: Secret
    """The key of your workspace, which is good in its region alone."""
    base_url: URL = URL("https://dashscope-intl.aliyuncs.com")
    """The region's: Singapore's unless given; `https://dashscope.aliyuncs.com` in China, `https://dashscope-us.aliyuncs.com`."""
    poll_every: float = 2.0
    """Seconds before one of Wan's jobs is asked for first; then a little longer each time, up to four times as long."""

    name = "dashscope"
    models = MODELS
    batch = 6
    takes_links = True

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        if not 0 < self.poll_every <= 60:
            raise ValueError("poll_every: must be more than 0 and at most 60 seconds")

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        model = self.models[job.like]
        headers = {**self.api_key.bearer(), **({"X-DashScope-Async": "enable"} if model.job else {})}
        try:
            reply = yield Call(
                method="POST",
                url=self.base_url / "api/v1/services/aigc" / model.path,
                headers=headers,
                json={"model": job.model, **_payload(job, model)},
            )
        except CallError as error:
            raise refused(body_of(error.reply), error.reply, self.name) from None
        if reply.json.get("code") and not reply.json.get("output"):
            raise refused(reply.json, reply, self.name)
        if model.job:
            reply = yield from self._done(reply.json["output"]["task_id"])
        yield Note(request_id=reply.json.get("request_id"))
        yield from _outputs(reply, self.name)

    def _done(self, task: str) -> Generator[Call | Submitted, Reply, Reply]:
        """The last answer of a task."""
        tasks, key = self.base_url / "api/v1/tasks" / task, self.api_key.bearer()
        yield Submitted(task, cancel=Call(method="POST", url=tasks / "cancel", headers=key))  # while it is pending
        asked = Call(method="GET", url=tasks, headers=key)
        reply = yield from poll(
            asked, lambda reply: _status(reply) in _RUNNING, first=self.poll_every, factor=1.3, most=4 * self.poll_every
        )
        if _status(reply) != "SUCCEEDED":
            output = reply.json.get("output") or {}
            raise refused({"message": f"the task ended as {_status(reply)}", **output}, reply, self.name, Failure.UNKNOWN)
        return reply


def _status(reply: Reply) -> str:
    return str(reply.json["output"]["task_status"])


def _payload(job: Job, model: Model) -> dict[str, object]:
    pictures = [reference.url for reference in job.references]
    settings = {
        "n": job.n,  # always: some make four if they are not told
        "size": job.size.replace("x", "*") if job.size else None,
        "seed": job.seed,
        **job.extra,
    }
    if model.messages:
        content = [*({"image": url} for url in pictures), {"text": job.prompt}]
        asked: dict[str, object] = {"messages": [{"role": "user", "content": content}]}
    else:
        asked = {"prompt": job.prompt}
        if pictures:
            asked["images"] = pictures
        if (negative := settings.pop("negative_prompt", None)) is not None:
            asked["negative_prompt"] = negative
    return {"input": asked, "parameters": {name: value for name, value in settings.items() if value is not None}}


def _outputs(reply: Reply, provider: str) -> Iterator[HostedImage | Failed]:
    """Of several choices, of one with several parts, or of a task's results."""
    output = reply.json["output"]
    for item in output.get("results") or ():
        yield HostedImage(item["url"]) if item.get("url") else Failed(refused(item, reply, provider, Failure.NOT_BILLED))
    for choice in output.get("choices") or ():
        content: list[Mapping[str, Any]] = choice["message"]["content"]
        for part in content:
            if part.get("image"):
                yield HostedImage(part["image"])
