"""Sentences of the mirror service, in the language of who reads them."""

import re
from pathlib import Path

import pytest
from django.utils import translation

from registryui import mirror_service
from registryui.mirror_service import upstream
from registryui.mirrors.words import _PHRASES, error_words

SAID = {
    "it refuses connections": "connection refused",
    "its login: it refuses connections": "connection refused",
    "its login answers 500": "HTTP status of the login (500)",
    "https://a has a login that gives no token": "login without a token",
    "it does not answer in time": "no response in time",
    "its certificate is not trusted: certificate has expired": (
        "certificate not trusted (certificate has expired)"
    ),
    "it answers 502": "HTTP status (502)",
    "limits our requests for 60 s": "pull limit reached; seconds to wait (60)",
    "https://a does not accept the mirror's user and password": "user or password not accepted",
    "No route to host": "no route to host",
    "the upstream sent a blob that does not have its digest": "wrong content",
    "the upstream broke off in the middle of a blob: it ended early": "incomplete content",
    "something new": "something new",
}


@pytest.mark.parametrize("said", SAID)
def test_a_sentence_of_the_service(said: str) -> None:
    assert error_words(said) == SAID[said]


def test_the_service_says_what_is_known_here(subtests: pytest.Subtests) -> None:
    errors = (TimeoutError(), ConnectionRefusedError(111, "x"))
    for error in errors:
        with subtests.test(repr(error)), translation.override("zh-hans"):
            assert not error_words(upstream._words(error)).isascii()


def test_each_phrase_is_one_of_the_service(subtests: pytest.Subtests) -> None:
    """A word that is changed there alone would leave a sentence in English."""
    files = Path(mirror_service.__file__).parent.glob("*.py")
    service = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in files))
    for pattern, _words in _PHRASES:
        with subtests.test(pattern):
            for part in re.split(r"\(\?:|\([^)]*\)|[a-z]+\|[a-z]+\)|\\S\+|\.\*|\)\?", pattern):
                assert part.strip() in service
