"""Sentences of the mirror service, in the language of who reads them."""

import pytest
from django.utils import translation

from registryui.mirror_service import upstream
from registryui.mirrors.words import error_words

SAID = {
    "it refuses connections": "connection refused",
    "its log-in: it refuses connections": "connection refused",
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
