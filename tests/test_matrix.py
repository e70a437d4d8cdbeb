"""The table of what works where is what a running proxy does, cell by cell."""

from __future__ import annotations

from proxy_core.loader import installed
from tests.matrix import PAGE, PROVIDERS, page


async def test_the_table_in_the_docs_is_what_happens() -> None:
    assert PAGE.read_text(encoding="utf-8") == await page(), "make it anew: python -m tests.matrix"


def test_every_provider_has_a_column() -> None:
    others = {"access_log", "image_edit", "signing"}
    assert set(PROVIDERS) | {"sandbox"} == set(installed()) - others
