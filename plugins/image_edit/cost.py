"""What a job's pictures cost: as the service says, by the tokens it counted, or by the model's price list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from .model import Job
from .picture import Image
from .rules import Price, Tier

_MILLION = 1_000_000
_ABSURD = 10**9  # US dollars: no picture costs as much, and larger numbers cannot be rounded


def cost_of(
    job: Job,
    price: Price | None,
    made: Sequence[Image | None],
    *,
    runs: int,
    usage: Mapping[str, Any],
    told: Sequence[Mapping[str, object]],
) -> dict[str, object]:
    """{"amount", "currency", "per_image", "source"}, the amounts as decimal text, and null where they are not known.

    `made` are all that was paid for, None for one that did not arrive; `runs` is how many calls made them; `told` is what
    the service said each cost. `source` is `provider`, `usage` (its tokens at the listed price), `list`, or `unknown`.
    """
    if (amount := _told(told)) is not None:
        return _cost(amount, len(made), "provider")
    if price is None:
        return unknown()
    listed = {"price_date": price.date} if price.date else {}
    if price.tokens and (amount := _by_tokens(price.tokens, usage, edit=bool(job.references))) is not None:
        return {**_cost(amount, len(made), "usage"), **listed}
    if price.tiers and made and (amount := _by_list(job, price, made, runs)) is not None:
        return {**_cost(amount, len(made), "list"), **listed}
    return unknown()


def unknown() -> dict[str, object]:
    """The cost of what may have been charged, nobody can say how much. It is not 0."""
    return {"amount": None, "currency": "USD", "per_image": None, "source": "unknown"}


def nothing() -> dict[str, object]:
    """The cost of an answer for which nothing was bought."""
    return {"amount": "0", "currency": "USD", "per_image": "0", "source": "list"}


def _cost(amount: Decimal, pictures: int, source: str) -> dict[str, object]:
    each = _text(amount / pictures) if pictures else None
    return {"amount": _text(amount), "currency": "USD", "per_image": each, "source": source}


def _text(amount: Decimal) -> str:
    return f"{round(amount, 9).normalize():f}"


def _told(told: Iterable[Mapping[str, object]]) -> Decimal | None:
    amounts = [amount for one in told if one.get("currency") == "USD" and (amount := _decimal(one.get("amount"))) is not None]
    return sum(amounts, Decimal()) if amounts else None


def _decimal(value: object) -> Decimal | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < _ABSURD else None


def _by_tokens(prices: Mapping[str, str], usage: Mapping[str, Any], *, edit: bool) -> Decimal | None:
    """By OpenAI's `usage`. Tokens of pictures have a price of their own, so an edit needs them told apart."""
    details = usage.get("input_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    output, given = usage.get("output_tokens"), usage.get("input_tokens")
    text = details.get("text_tokens", None if edit else given)
    pictures = details.get("image_tokens", None if edit else 0)
    counted = {"text_input": text, "image_input": pictures, "output": output}
    if not all(isinstance(count, int) and name in prices for name, count in counted.items() if count != 0):
        return None
    return sum((Decimal(prices[name]) * count / _MILLION for name, count in counted.items() if count), Decimal())


def _by_list(job: Job, price: Price, made: Sequence[Image | None], runs: int) -> Decimal | None:
    total = Decimal()
    for image in made:
        tier = next((tier for tier in price.tiers if _applies(tier, job, image)), None)
        if tier is None:
            return None
        total += Decimal(tier.amount)
    return total + Decimal(price.reference) * max(0, len(job.references) - price.included) * runs


def _applies(tier: Tier, job: Job, image: Image | None) -> bool:
    asked = (job.resolution or job.size or "").lower()
    if tier.pixels:
        pixels = image.pixels if image is not None else None
        if pixels is None or pixels[0] * pixels[1] > tier.pixels:
            return False
    return (
        (not tier.quality or (job.quality or "") in tier.quality)
        and (not tier.resolution or asked in map(str.lower, tier.resolution))
        and (tier.edit is None or tier.edit == bool(job.references))
    )
