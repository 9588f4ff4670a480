"""What the mirror service says of an upstream, for people: its sentences are English, because
clients print them and the state keeps them."""

from __future__ import annotations

import re

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from registryui.failures import in_words

# Phrases of mirror_service/, as patterns; what they hold follows in brackets.
_PHRASES = (
    (r"(?:its login: )?it does not answer in time", _("no response in time")),
    (r"(?:its login: )?it refuses connections", _("connection refused")),
    (r"(?:its login: )?its certificate is not trusted: (.*)", _("certificate not trusted")),
    (r"it answers (\d+)", _("HTTP status")),
    (r"its login answers (\d+)", _("HTTP status of the login")),
    (r"limits our requests for (\d+) s", _("pull limit reached; seconds to wait")),
    (r".*does not accept the mirror's user and password", _("user or password not accepted")),
    (r".*asks for a login without https", _("login without encryption")),
    (r".*has a login that gives no token", _("login without a token")),
    (r".* refuses (\S+): it does not exist there.*", _("no such repository, or not public")),
    (r".* redirects .*", _("unexpected redirect")),
    (r"the upstream sent a (?:blob|manifest) that does not have its digest", _("wrong content")),
    (r"the upstream sent only a part of a manifest", _("incomplete content")),
    (r"the upstream broke off in the middle of a blob: .*", _("incomplete content")),
)


def error_words(text: str) -> str:
    """Such a sentence in the active language; one of other kinds as it is."""
    for pattern, words in _PHRASES:
        if found := re.fullmatch(pattern, text, re.DOTALL):
            held = [one for one in found.groups() if one]
            return f"{gettext(words)} ({', '.join(held)})" if held else gettext(words)
    return in_words(text)
