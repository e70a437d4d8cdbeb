"""Every hosted image becomes an image in hand, and every image is checked to be one."""

from __future__ import annotations

from proxy_core import Exchange, Failure, InvalidReply, Overloaded, TooLarge, UpstreamError

from .fetch import Fetcher
from .model import HostedImage
from .picture import Image


async def inline(
    output: HostedImage | Image, fetcher: Fetcher, exchange: Exchange, provider: str, *, max_pixels: int
) -> Image:
    """A verified Image. Raises UpstreamError: the link is refused or fails, or the bytes are no image."""
    if isinstance(output, HostedImage):
        if not isinstance(output.url, str):
            raise InvalidReply(f"{provider} answered with something in place of a link")
        try:
            fetched = await fetcher.fetch(output.url, take=exchange.memory.take)
        except (Overloaded, TooLarge) as error:
            # The picture is made and paid for: a client that asked again would buy it twice.
            raise UpstreamError(error.message, failure=Failure.UNKNOWN, status=error.status, code=error.code) from error
        image = Image(*fetched.chunks)
        image.host = fetched.host
        source = f"what {fetched.host} sent (as {fetched.content_type or 'nothing in particular'})"
    else:
        image, source = output, f"what {provider} sent"
    if not image.size:
        raise InvalidReply(f"{source} is empty", code="invalid_image")
    if image.broken:
        raise InvalidReply(f"{source} is broken: it is not valid base64", code="invalid_image")
    if not image.media_type:
        raise InvalidReply(f"{source} is not an image", code="invalid_image")
    try:
        await image.verify()
        image.bound(max_pixels)
    except ValueError as error:
        raise InvalidReply(f"{source} is broken: {error}", code="invalid_image") from None
    return image
