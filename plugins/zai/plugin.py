"""The provider: one JSON call that makes one picture from words, and a link to it (contracts: zai.md)."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Ended,
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

from .errors import failed, refused
from .models import MODELS


@dataclass(frozen=True, kw_only=True)
class Zai:
    """GLM-Image and CogView, by Z.ai (Zhipu)."""

    api_key: Secret
    """The key of your account; one of Z.ai is not good in China, nor the other way round."""
    base_url: URL = URL("https://api.z.ai/api/paas/v4")
    """Where the API is. In China it is `https://open.bigmodel.cn/api/paas/v4`."""
    asynchronous: bool = False
    """Whether pictures are made as tasks that are asked for, in place of calls that stay open until they are done."""
    poll_every: float = 1.0
    """Seconds before a task is asked for first; then a little longer each time, up to five times as long."""
    watermark: bool = True
    """Whether pictures bear the service's mark. Without it they are made only for accounts that have signed its waiver."""

    name = "zai"
    models = MODELS
    batch = 1  # there is no `n`
    takes_links = True  # there are no references at all

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
        payload: dict[str, object] = {"model": job.model, "prompt": job.prompt, "size": job.size, "quality": job.quality}
        if not self.watermark:
            payload["watermark_enabled"] = False
        try:
            reply = yield Call(
                method="POST",
                url=self.base_url / ("async/images/generations" if self.asynchronous else "images/generations"),
                headers=self.api_key.bearer(),
                json={name: value for name, value in payload.items() if value is not None},
            )
        except CallError as error:
            raise refused(error.reply, self.name) from None
        if failed(reply):
            raise refused(reply, self.name)
        if self.asynchronous:
            reply = yield from self._done(reply.json["id"])
        yield Note(request_id=request_id_of(reply) or _request_id(reply))
        for item in reply.json["image_result" if self.asynchronous else "data"]:
            yield HostedImage(item["url"])

    def _done(self, task: str) -> Generator[Call | Submitted | Ended, Reply, Reply]:
        """The last answer of a task."""
        yield Submitted(task)
        asked = Call(method="GET", url=self.base_url / "async-result" / task, headers=self.api_key.bearer())
        running = ("PROCESSING", "PENDING")
        reply = yield from poll(
            asked,
            lambda reply: reply.json.get("task_status") in running,
            first=self.poll_every,
            factor=1.3,
            most=5 * self.poll_every,
        )
        yield Ended()
        if reply.json.get("task_status") != "SUCCESS":
            raise refused(reply, self.name, ran=True)
        return reply


def _request_id(reply: Reply) -> str | None:
    told = reply.json.get("request_id") or reply.json.get("id")
    return told if isinstance(told, str) else None
