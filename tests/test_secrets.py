"""Secrets stay masked; and the watch over the whole suite (tests/leaks.py), which looks for them everywhere, does see them."""

from __future__ import annotations

import base64
import dataclasses
import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest
from yarl import URL

from plugins.image_edit import Call
from proxy_core import ProxyError, Secret
from tests.leaks import Watch
from tests.pictures import png


@pytest.fixture
def seen(watch: Watch) -> Iterator[Watch]:
    """The watch, for tests that leak on purpose: what it then saw is forgotten."""
    watch.leaks.clear()
    yield watch
    watch.leaks.clear()


def test_it_sees_a_secret_in_a_line(seen: Watch) -> None:
    secret = Secret("a-key-that-must-not-leak")
    log = logging.getLogger("darkroom.somewhere")
    log.error("with %s", secret)
    assert not seen.leaks  # masked
    log.error("with %s", secret.reveal())
    log.error("more", extra={"header": f"Bearer {secret.reveal()}"})
    try:
        raise RuntimeError(secret.reveal())
    except RuntimeError:
        log.exception("and in what was raised")
    assert len(seen.leaks) == 3


def test_it_sees_a_secret_in_an_error(seen: Watch) -> None:
    secret = Secret("another-key-that-must-not-leak")
    ProxyError(f"refused: {secret}").body()
    assert not seen.leaks
    ProxyError(f"refused: {secret.reveal()}").body()
    assert len(seen.leaks) == 1


def test_it_sees_a_picture(seen: Watch) -> None:
    logging.getLogger("darkroom").warning("got %s", base64.b64encode(png()).decode())
    assert len(seen.leaks) == 1


@dataclasses.dataclass
class Careless:
    """What one would write without a thought."""

    headers: dict[str, str]


def test_it_sees_what_a_value_shows(seen: Watch) -> None:
    secret = Secret("a-fourth-key-that-must-not-leak")
    seen.show(Call(method="GET", url=URL("https://a.example/"), headers=secret.bearer()))
    assert Call in seen.shown
    assert not seen.leaks
    seen.show(Careless(secret.bearer()))
    assert len(seen.leaks) == 1

def test_it_sees_a_private_key(seen: Watch) -> None:
    from plugins.signing.keys import generate

    pem = generate().decode()
    Secret(pem)
    logging.getLogger("darkroom").warning("the key is %r", pem)
    assert seen.leaks


def test_a_secret_shows_itself_to_who_asks_alone() -> None:
    secret = Secret("a-third-key-that-must-not-leak")
    for text in (str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), repr({"k": secret})):
        assert "third" not in text
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError) as caught:
        secret + "x"  # type: ignore[operator]
    assert "third" not in "".join(traceback.format_exception(caught.value))
    assert secret.reveal() == "a-third-key-that-must-not-leak"
