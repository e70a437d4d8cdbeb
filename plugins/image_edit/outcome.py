"""What came of one job: its pictures, each checked, and what is to be told beside them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from proxy_core import COST, USAGE, Exchange, Failure, InvalidReply, ProxyError, UpstreamTimeout

from .cost import cost_of, nothing
from .drive import Run, batch_of, run
from .fetch import Fetcher
from .inline import inline
from .kept import Paid
from .model import Failed, HostedImage, Job, Note, Preview, Result, Sent
from .picture import Image
from .registry import Served
from .sizing import ratio_of
from .told import counts, word

log = logging.getLogger("darkroom.image_edit")

Tell = Callable[[Preview | Image], Awaitable[None]]
_UNLIKE = 0.04  # of a ratio's logarithm: services round sides to whole steps


class Outcome:
    """What came of one job."""

    def __init__(self, made: Job, served: Served, warnings: list[str], *, max_pixels: int) -> None:
        self._job = made
        self._max_pixels = max_pixels
        self._served = served
        self._warnings = warnings
        self._images: list[tuple[int, Image]] = []
        self._failed: list[Failed] = []
        self._usage: dict[str, Any] = {}
        self._costs: list[Mapping[str, object]] = []
        self._undelivered = 0
        self._model = made.model
        self._request_id: str | None = None
        self._calls: list[Sent] = []
        self._paid: Mapping[str, object] | None = None  # what it cost, where an earlier request paid for it

    async def adopt(self, paid: Paid, tell: Tell | None = None) -> None:
        """Take what an earlier request paid for, in place of a run."""
        told = paid.told
        self._images = list(enumerate(paid.images))
        self._warnings = [*told["warnings"], "made for an earlier request, whose answer could not be signed; not made anew"]
        self._usage = dict(told["usage"] or {})
        self._model, self._request_id, self._calls = told["model"], told["request_id"], paid.calls
        self._paid = told["cost"]
        for image in paid.images if tell is not None else []:
            await image.verify()
            await tell(image)  # type: ignore[misc]  # it is not None

    async def collect(self, run_: Run, fetcher: Fetcher, *, deadline: float, tell: Tell | None = None) -> None:
        """Take every output of the run, each picture checked, within `deadline` seconds. Raises the first error if no picture
        came. `tell` is awaited with each picture as it comes, and with previews.
        """
        try:
            async with asyncio.timeout(deadline) as limit, aclosing(run(self._job, run_)) as outputs:
                async for output in outputs:
                    match output:
                        case HostedImage() | Image():
                            image = await self._keep(output, run_, fetcher)
                            if image is not None and tell is not None:
                                await tell(image)
                        case Preview():
                            if tell is not None and await self._good(output, fetcher, run_):
                                await tell(output)
                        case Failed():
                            self._failed.append(output)
                        case Note():
                            self._note(output)
        except TimeoutError:
            if not limit.expired():
                raise
            what = f"{self._served.provider.name} was not done within {deadline:g} s (plugins.image_edit.deadline)"
            self._broke_off(UpstreamTimeout(what, failure=Failure.UNKNOWN), run_)
        except ProxyError as error:
            self._broke_off(error, run_)
        finally:
            self._calls = run_.record.calls if run_.record is not None else []
        if not self._images:
            raise self._failed[0].error

    def _broke_off(self, error: ProxyError, run_: Run) -> None:
        if not self._images:
            raise error
        # What was made before is paid for, and is answered; what broke off after it is told beside it.
        log.warning("%s broke off", self._served.provider.name, exc_info=error, extra={"request_id": run_.exchange.id})
        self._failed.append(Failed(error))

    async def _good(self, preview: Preview, fetcher: Fetcher, run_: Run) -> bool:
        """Whether a preview is a picture at all; one that is none is no reason to give up the finished one."""
        try:
            await self._inline(preview.image, fetcher, run_)
        except InvalidReply:
            return False
        return True

    async def _inline(self, output: HostedImage | Image, fetcher: Fetcher, run_: Run) -> Image:
        return await inline(output, fetcher, run_.exchange, self._served.provider.name, max_pixels=self._max_pixels)

    async def _keep(self, output: HostedImage | Image, run_: Run, fetcher: Fetcher) -> Image | None:
        index = output.index if isinstance(output, HostedImage) and output.index is not None else len(self._images)
        try:
            image = await self._inline(output, fetcher, run_)
        except ProxyError as error:
            self._lost(output, run_)
            self._failed.append(Failed(error, index))
            return None
        except asyncio.CancelledError:
            self._lost(output, run_)
            raise
        self._images.append((index, image))
        return image

    def _lost(self, output: HostedImage | Image, run_: Run) -> None:
        """A picture that is paid for and did not arrive: an operator can fetch it by its link, for as long as that holds."""
        self._undelivered += 1
        if isinstance(output, HostedImage):
            provider = self._served.provider.name
            log.warning(
                "a picture of %s was not delivered; it is at %s", provider, output.url, extra={"request_id": run_.exchange.id}
            )

    def _note(self, note: Note) -> None:
        """Of what a service tells, a provider passes much on as it came: here it is cut to what can be written and signed."""
        for name, value in counts(note.usage).items():
            self._usage[name] = _added(self._usage.get(name), value)
        if isinstance(note.cost, Mapping):
            self._costs.append(note.cost)
        self._model = word(note.model) or self._model
        self._request_id = word(note.request_id) or self._request_id
        # Each of several runs has the same to tell.
        told = [found for warning in note.warnings if (found := word(warning)) is not None]
        self._warnings += [warning for warning in told if warning not in self._warnings]

    def result(self, exchange: Exchange) -> Result:
        self.account(exchange)
        failures = [word(f"{self._lack(failed)}: {failed.error}") or "" for failed in self._failed]
        images = [image for _, image in sorted(self._images, key=lambda pair: pair[0])]
        return Result(
            job=self._job,
            provider=self._served.provider.name,
            images=images,
            model=self._model,
            warnings=[*self._warnings, *failures, *self._fewer(), *_unlike(self._job, images)],
            usage=self._usage or None,
            cost=exchange[COST] if self._paid is None else self._paid,
            request_id=self._request_id,
            calls=self._calls,
            plugin=self._served.code.plugin,
            package=self._served.code.package,
            version=self._served.code.version,
        )

    def account(self, exchange: Exchange) -> None:
        """Tell other plugins what was used and what it cost, so far as it is known."""
        if self._paid is not None:
            exchange[COST] = nothing()  # it is on the earlier request's account
            return
        if self._usage:
            exchange[USAGE] = self._usage
        made: list[Image | None] = [*(image for _, image in self._images), *[None] * self._undelivered]
        runs = math.ceil(len(made) / batch_of(self._job, self._served.provider))
        price = self._served.rules.price
        exchange[COST] = cost_of(self._job, price, made, runs=runs, usage=self._usage, told=self._costs)

    def _lack(self, failed: Failed) -> str:
        return f"picture {(failed.index or 0) + 1} of {self._job.n} failed"

    def _fewer(self) -> Iterator[str]:
        """A sentence if the service made fewer pictures than were asked for, and did not say why."""
        made = len(self._images)
        if made + len(self._failed) < self._job.n:
            yield f"{self._job.n} pictures were asked for, and {made} came"


def _added(earlier: object, value: object) -> object:
    """A count, or the details of one, of several runs."""
    if isinstance(earlier, dict) and isinstance(value, dict):
        return {**earlier, **{name: _added(earlier.get(name), one) for name, one in value.items() if isinstance(one, int)}}
    return earlier + value if isinstance(earlier, int) and isinstance(value, int) else value


def _unlike(job: Job, images: list[Image]) -> Iterator[str]:
    """A sentence for each picture that has not the shape that the service was asked for."""
    asked = ratio_of(job.size or "") or ratio_of(job.aspect_ratio or "")
    for place, image in enumerate(images):
        if asked and (pixels := image.pixels) and abs(math.log(pixels[0] / pixels[1] / asked)) > _UNLIKE:
            wanted = f"size {job.size}" if job.size else f"aspect_ratio {job.aspect_ratio}"
            yield f"{wanted} was asked for, and picture {place + 1} has {pixels[0]}x{pixels[1]} pixels"
