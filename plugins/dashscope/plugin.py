"""The provider: one call, or a job that is asked for, by the model's table (contracts: dashscope.md)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Ended,
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
    check_poll_every,
    hookimpl,
    poll,
    request_id_of,
)

from .errors import body_of, named, refused
from .models import MODELS, Model

_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"})
# What may be over when a task is asked for again.
_PASSING = ("Throttling", "InternalError", "ServiceUnavailable", "GatewayTimeout")


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
        check_poll_every(self.poll_every)

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
        if _refuses(reply):
            raise refused(reply.json, reply, self.name)
        if model.job:
            reply = yield from self._done(reply.json["output"]["task_id"])
        yield Note(request_id=request_id_of(named(reply)))
        yield from _outputs(reply, self.name)

    def _done(self, task: str) -> Generator[Call | Submitted | Ended, Reply, Reply]:
        """The last answer of a task."""
        tasks, key = self.base_url / "api/v1/tasks" / task, self.api_key.bearer()
        yield Submitted(task, cancel=Call(method="POST", url=tasks / "cancel", headers=key))  # while it is pending
        asked = Call(method="GET", url=tasks, headers=key)
        try:
            reply = yield from poll(asked, _pending, first=self.poll_every, factor=1.3, most=4 * self.poll_every)
        except CallError as error:
            raise refused(body_of(error.reply), error.reply, self.name, Failure.UNKNOWN) from None
        if _refuses(reply):
            raise refused(reply.json, reply, self.name, Failure.UNKNOWN)
        yield Ended()
        if _status(reply) != "SUCCEEDED":
            output = reply.json.get("output") or {}
            raise refused({"message": f"the task ended as {_status(reply)}", **output}, reply, self.name, Failure.UNKNOWN)
        return reply


def _refuses(reply: Reply) -> bool:
    """Whether an answer with status 200 is an error, whatever empty `output` it has beside it."""
    output = reply.json.get("output") or {}
    return bool(reply.json.get("code")) and not any(output.get(name) for name in ("choices", "results", "task_id"))


def _pending(reply: Reply) -> bool:
    """Whether a task may yet end. A state that nobody knows is no end: what runs is paid for."""
    if _refuses(reply):
        return str(reply.json["code"]).startswith(_PASSING)
    return _status(reply) not in _ENDED


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
        yield HostedImage(item["url"]) if item.get("url") else Failed(refused(item, reply, provider, Failure.UNKNOWN))
    for choice in output.get("choices") or ():
        content: list[Mapping[str, Any]] = choice["message"]["content"]
        for part in content:
            if part.get("image"):
                yield HostedImage(part["image"])
