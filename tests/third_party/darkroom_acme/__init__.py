"""Image edits by Acme: submit a task, poll it, link to the result."""

from __future__ import annotations

from dataclasses import dataclass

from yarl import URL

from plugins.image_edit import Call, HostedImage, InvalidReply, Job, Provider, Secret, Steps, Submitted, hookimpl


@dataclass(frozen=True, kw_only=True)
class Acme:
    """The fields are the keys of ``[plugins.acme]`` in config.toml."""

    api_key: Secret
    base_url: URL = URL("https://api.acme.example/v2")
    poll_every: float = 1.5

    name = "acme"
    models = frozenset({"acme-edit-2"})
    batch = 4
    takes_links = False

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> list[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        task = yield self._call(
            "POST",
            "edits",
            {"engine": job.model, "instruction": job.prompt, "inputs": [image.data_url for image in job.images]},
        )
        yield Submitted(task.json["id"])
        while True:
            reply = yield self._call("GET", f"edits/{task.json['id']}", wait=self.poll_every)
            match reply.json["state"]:
                case "done":
                    yield from map(HostedImage, reply.json["links"])
                    return
                case "failed":
                    raise InvalidReply(reply.json["reason"])

    def _call(self, method: str, path: str, json: object = None, wait: float = 0) -> Call:
        return Call(method=method, url=self.base_url / path, headers=self.api_key.bearer(), json=json, wait=wait)
