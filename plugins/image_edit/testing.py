"""The kit for authors of providers: a conformance suite to inherit, and the steps run by hand; no event loop, no network."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from proxy_core import ProxyError, Secret
from proxy_core.testing import loaded, plug

from .model import (
    Call,
    CallError,
    Failed,
    HostedImage,
    Job,
    Next,
    Note,
    Preview,
    Provider,
    Reply,
    Steps,
    Submitted,
    rules_of,
)
from .picture import Image, Link
from .wire import json_pieces, multipart_pieces

# A picture of one red pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)

PROMPT = "a prompt that nobody else would write: 7f3a"

_MOST_STEPS = 200  # a provider that takes more has lost its way


@dataclass
class Course:
    """What a provider did: its calls, how many of them before it said that a job runs, and what it made of the replies."""

    calls: list[Call] = field(default_factory=list)
    submitted: int | None = None
    outputs: list[Any] = field(default_factory=list)

    @property
    def pictures(self) -> list[Image | HostedImage]:
        return [output for output in self.outputs if isinstance(output, (Image, HostedImage))]


def run_steps(steps: Steps, replies: Sequence[Reply]) -> Course:
    """Answer each Call and Next with the next of `replies`, the last one again and again; as `drive` does, without I/O.

    A reply with a status of 400 or more is thrown in as CallError.
    """
    course = Course()
    answers = iter([*replies, *[replies[-1]] * _MOST_STEPS])
    reply: Reply | None = None
    for _ in range(_MOST_STEPS):
        try:
            if reply is None:
                step = next(steps)
            elif reply.status >= 400:
                step = steps.throw(CallError(reply))
            else:
                step = steps.send(reply)
        except StopIteration:
            return course
        reply = None
        if isinstance(step, (Call, Next)):
            if isinstance(step, Call):
                course.calls.append(step)
            reply = next(answers)
        elif isinstance(step, Submitted):
            course.submitted = len(course.calls)
        else:
            course.outputs.append(step)
    raise AssertionError(f"more than {_MOST_STEPS} steps: the provider does not stop")


def payload(call: Call) -> bytes:
    """The body that a call would send."""
    pieces = multipart_pieces(call.parts)[1] if call.parts else json_pieces(call.json) if call.json is not None else []
    return b"".join(
        bytes(piece) if isinstance(piece, (bytes, bytearray, memoryview)) else b"".join(map(bytes, piece.chunks()))
        for piece in pieces
    )


def _secrets(value: object) -> Iterator[str]:
    """Every Secret in a dataclass, and in those within it."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield from _secrets(getattr(value, one.name))


class ProviderConformance:
    """Inherit it, and name the plugin, its config, and the replies of one good run.

    `plugin` is the class; `config` its table, with secrets as plain strings; `replies` are what the service says, in order;
    `model` is the model to ask for, by default the first; `name` the plugin's name, by default the class's in lower case;
    `provider_name` is which of its providers is meant, where it brings several.
    """

    plugin: ClassVar[type[Any]]
    config: ClassVar[Mapping[str, Any]] = {}
    replies: ClassVar[Sequence[Reply]]
    model: ClassVar[str] = ""
    name: ClassVar[str] = ""
    provider_name: ClassVar[str] = ""

    def provider(self) -> Provider:
        """Built as the host builds it, and found through its hook."""
        name = self.name or self.plugin.__name__.lower()
        table = {"proxy": {"plugins": ["image_edit", name]}, "plugins": {name: dict(self.config)}}
        ready = loaded(table, plug(**{name: self.plugin}))
        found = [provider for group in ready.plugins.hook.image_edit_providers() for provider in group]
        assert found, "the hook image_edit_providers returned nothing"
        names = [provider.name for provider in found]
        assert not self.provider_name or self.provider_name in names, f"there is no {self.provider_name} among {names}"
        provider: Provider = found[names.index(self.provider_name) if self.provider_name else 0]
        return provider

    def job(self, **more: Any) -> Job:
        provider = self.provider()
        like = self.model or min(provider.models)
        known = provider.models
        sent = (known[like].model or like) if isinstance(known, Mapping) else like
        references = (Image(PNG),) if self.most_references() else ()
        return Job(**{"name": like, "model": sent, "like": like, "prompt": PROMPT, "references": references, **more})

    def most_references(self) -> int:
        """How many the model takes; one that takes none is asked without any."""
        provider = self.provider()
        return rules_of(provider, self.model or min(provider.models)).references

    def course(self, **more: Any) -> Course:
        return run_steps(self.provider().edit(self.job(**more)), self.replies)

    def secrets(self) -> list[str]:
        return list(_secrets(self.provider()))

    def test_it_says_who_it_is(self) -> None:
        provider = self.provider()
        assert provider.name
        assert provider.models
        assert provider.batch >= 1
        assert all(isinstance(model, str) and model for model in provider.models)

    def test_calls_go_to_its_origins(self) -> None:
        origins = {origin.origin() for origin in self.provider().origins}
        calls = self.course().calls
        assert calls, "it called nobody"
        for call in calls:
            assert call.url.origin() in origins, f"{call.url.origin()} is not among its origins: the call would be refused"

    def test_bodies_can_be_written_again_and_again(self) -> None:
        for call in self.course().calls:
            assert payload(call) is not None
            if not call.parts:
                assert payload(call) == payload(call)

    def test_the_prompt_is_sent(self) -> None:
        assert any(PROMPT.encode() in payload(call) for call in self.course().calls)

    def test_the_reference_is_sent(self) -> None:
        if not self.most_references():
            return
        forms = (PNG, base64.b64encode(PNG))
        assert any(form in payload(call) for call in self.course().calls for form in forms), "the picture is lost"

    def test_several_references_are_sent(self) -> None:
        if self.most_references() < 2:
            return
        pictures = [Image(PNG + bytes([n])) for n in range(2)]  # what follows the end of a PNG does no harm
        bodies = b"".join(payload(call) for call in self.course(references=tuple(pictures)).calls)
        for picture in pictures:
            raw = b"".join(map(bytes, picture.chunks()))
            assert raw in bodies or base64.b64encode(raw) in bodies, "one of the pictures is lost"

    def test_a_link_is_sent_if_it_takes_links(self) -> None:
        link = Link("https://pictures.example/a.png?sig=a%2Fb")
        if self.provider().takes_links and self.most_references():
            assert any(link.url.encode() in payload(call) for call in self.course(references=(link,)).calls)

    def test_secrets_are_in_headers_only(self) -> None:
        for secret in self.secrets():
            for call in self.course().calls:
                assert secret not in str(call.url), "a URL is logged here and there: a key does not belong in it"
                assert secret.encode() not in payload(call)

    def test_pictures_come_back(self) -> None:
        assert self.course().pictures

    def test_outputs_are_of_known_kinds(self) -> None:
        for output in self.course().outputs:
            assert isinstance(output, (Image, HostedImage, Preview, Failed, Note)), f"{output!r} is no output"

    def test_the_same_job_makes_the_same_calls(self) -> None:
        first, second = self.course().calls, self.course().calls
        assert [(call.method, call.url) for call in first] == [(call.method, call.url) for call in second]
        assert [payload(call) for call in first if not call.parts] == [payload(call) for call in second if not call.parts]

    def test_previews_only_for_who_streams(self) -> None:
        assert not [output for output in self.course().outputs if isinstance(output, Preview)]

    def test_streamed_or_not_the_pictures_are_the_same(self) -> None:
        assert len(self.course(stream=True).pictures) == len(self.course().pictures)

    def test_only_a_get_is_repeated_unasked(self) -> None:
        course = self.course()
        for call in course.calls[: course.submitted]:  # where a job runs, asking for it makes nothing
            assert not (call.again and call.method == "POST"), "a POST that is repeated may be charged twice"

    def test_a_bad_answer_at_any_step_is_an_error_not_a_crash(self) -> None:
        for replies in self._spoilt([b"", b"<html>", b"[]", b"{}", b'"text"', b"null"], status=200):
            self._ends(replies)

    def test_a_refusal_at_any_step_is_an_error_not_a_crash(self) -> None:
        for status in (404, 429, 500):
            for replies in self._spoilt([b'{"error": {"message": "no", "code": "x"}}', b""], status=status):
                self._ends(replies)

    def test_it_can_be_closed_at_any_step(self) -> None:
        for count in range(len(self.replies) + 1):
            steps = self.provider().edit(self.job())
            answers = iter(self.replies[:count])
            try:
                step = next(steps)
                while True:
                    step = steps.send(next(answers)) if isinstance(step, (Call, Next)) else next(steps)
            except StopIteration:
                pass
            steps.close()  # a generator that yields while it is closed raises RuntimeError here

    def _spoilt(self, bodies: Sequence[bytes], *, status: int) -> Iterator[list[Reply]]:
        for place in range(len(self.replies)):
            for body in bodies:
                yield [*self.replies[:place], Reply(status=status, body=body)]

    def _ends(self, replies: Sequence[Reply]) -> None:
        """In what `drive` makes an error of: its own classes, or what a provider trips over."""
        try:
            course = run_steps(self.provider().edit(self.job()), replies)
        except (ProxyError, CallError, LookupError, TypeError, ValueError, AttributeError):
            return
        pictures = [output for output in course.outputs if isinstance(output, (Image, HostedImage))]
        assert not pictures, f"it made pictures of {bytes(replies[-1].body)!r} with status {replies[-1].status}"
