"""Text from outside, made fit to be read: cut to a length, nothing in it unseen.

Whoever pushes writes labels, history and media types. Templates escape them; this room takes care
of what escaping leaves: characters that nobody sees, that turn the line around, or that cannot be
sent as UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import ngettext, pgettext

VALUE_LIMIT = 2_000  # characters of one label, variable or command
NAME_LIMIT = 255

# Control characters but tab and line feed; marks that change the direction of text; spaces of no
# width; invisible tag characters; halves of surrogate pairs, which cannot be sent as UTF-8.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as a page shows it; `is_cut` if there was more of it."""

    text: str
    is_cut: bool = False

    def __str__(self) -> str:
        return self.text


def shown(text: str, limit: int = VALUE_LIMIT) -> Shown:
    """The first `limit` characters, with unseen ones spelled as in JSON: `\\u202e`."""
    is_cut = len(text) > limit
    return Shown(_UNSEEN.sub(_spell, text[:limit].replace("\r\n", "\n")), is_cut)


def visible(text: str) -> str:
    """All of it: for lines that are cut already."""
    return shown(text, len(text)).text


def line(text: str, limit: int = NAME_LIMIT) -> str:
    """The same on one line, with an ellipsis for what was cut: names, actors, media types."""
    one = shown(" ".join(text[: limit * 4].split()), limit)
    return one.text + ("…" if one.is_cut or len(text) > limit * 4 else "")


def named(names: Sequence[str], *, most: int = 5) -> str:
    """`ci, bot and 3 more`: what a message is about, on one line."""
    first = pgettext("between names in a list", ", ").join(line(one, 80) for one in names[:most])
    more = len(names) - most
    if more <= 0:
        return first
    words = ngettext("%(names)s and %(n)d more", "%(names)s and %(n)d more", more)
    return words % {"names": first, "n": more}


def _spell(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
