"""How templates write values, and the signs they draw: functions of text in, markup out.

environment.py lists them under the names that templates use.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.contrib.staticfiles.storage import staticfiles_storage
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, ngettext, pgettext
from django.utils.translation import gettext as _

from registryui import formats
from registryui.models import UNKNOWN, actor_name, portal_actor
from registryui.setup import icons

# Of a field whose text is no prose, such as a pattern: nothing corrects or completes it.
AS_TYPED = SafeString('autocapitalize="none" autocomplete="off" spellcheck="false"')
LEGEND = 5  # names that a line has room for
HUES = 6  # data colours of portal.css; hue-0 is "no group"
CHARGES = (  # drawn on a flag, in a field of 24 × 24
    "M0 0h24v12H0z",
    "M8 0h8v24H8z",
    "M9 0h6v9h9v6h-9v9H9v-9H0V9h9z",
    "M0 0l24 24H0z",
    "M7 7h10v10H7z",
    "M0 0h12v12h12v12H12V12H0z",
    "M0 8h24v8H0z",
    "M12 3l9 9-9 9-9-9z",
    "M0 0h6l6 6 6-6h6v6l-6 6 6 6v6h-6l-6-6-6 6H0v-6l6-6-6-6z",
    "M0 0l14 12L0 24z",
    "M12 5a7 7 0 1 1 0 14 7 7 0 0 1 0-14z",
    "M0 0h5v24H0zM9.500 0h5v24h-5zM19 0h5v24h-5z",
)
LOGO = (
    '<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><g id="mark">'
    '<path class="mark__wall" d="M6 13h20v10H6z"/>'
    '<path class="mark__door" d="M12 23v-5a4 4 0 0 1 8 0v5z"/>'
    '<path class="mark__roof" d="M16 3 30 13.500h-4.500L16 7.5 6.5 13.500H2z"/>'
    '<path class="mark__wave" d="M2.5 25.500c2.2 0 2.2-1.6 4.5-1.600s2.2 1.6 '
    "4.5 1.6 2.2-1.6 4.5-1.6 2.2 1.6 4.5 1.6 2.2-1.6 4.5-1.6 2.2 "
    "1.6 4.5 1.600M7 29.500c2.2 0 2.2-1.6 4.5-1.600s2.2 1.6 4.5 1.6 2.2"
    '-1.6 4.5-1.6 2.2 1.6 4.5 1.6"/></g></svg>'
)
LOGO_AGAIN = '<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><use href="#mark"/></svg>'


@lru_cache(maxsize=512)
def icon(name: str, css: str = "") -> SafeString:
    """An icon of setup/icons.py, hidden from screen readers: the word next to it speaks."""
    if name not in icons.NAMES:
        raise ValueError(f"{name} is no icon: setup/icons.py lists them")
    return format_html(
        '<svg class="{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f"icon {css}" if css else "icon",
        staticfiles_storage.url(icons.FILE),
        name,
    )


def box(shape: Any) -> SafeString:
    """Where a rectangle of a drawing is, from its x, y, width and height."""
    return format_html(
        'x="{}" y="{}" width="{}" height="{}"', shape.x, shape.y, shape.width, shape.height
    )


def live(address: str, *, every: int = 2, first: str = "") -> SafeString:
    """The attributes of an element that asks `address` for itself again, each `every` seconds, and
    at the htmx trigger `first`; 204 leaves it as it is."""
    return format_html(
        ' data-live hx-get="{}" hx-trigger="{}" hx-target="this" hx-swap="outerHTML"'
        ' hx-sync="this:drop"',
        address,
        f"{first}, every {every}s" if first else f"every {every}s",
    )


def typing(address: str, target: str) -> SafeString:
    """The attributes of a form that shows in the list `target` what it finds, while somebody types
    or chooses; the address goes along. Without script it has a button."""
    return format_html(
        ' action="{0}" hx-get="{0}" hx-trigger="input delay:250ms, submit"'
        ' hx-target="{1}" hx-swap="outerHTML" hx-replace-url="true" hx-sync="{1}:replace"',
        address,
        target,
    )


@lru_cache(maxsize=2048)
def flag(name: str, size: str = "") -> SafeString:
    """A signal flag made from a repository's name: its hue is the namespace's. size: "", s, l."""
    charge = CHARGES[_number(name, 1) % len(CHARGES)]
    return format_html(
        '<svg class="flag{} hue-{}" viewBox="0 0 24 24" aria-hidden="true">'
        '<path class="flag__field" d="M0 0h24v24H0z"/><path class="flag__charge" d="{}"/></svg>',
        f" flag--{size}" if size else "",
        hue(name),
        charge,
    )


def logo(*, again: bool = False) -> SafeString:
    """Boathouse's own sign; `again`: it is on the page already."""
    return mark_safe(LOGO_AGAIN if again else LOGO)  # noqa: S308 (constants)


def repository_name(name: str, query: str = "") -> SafeString:
    """`<span>team/</span>api`: the last part stands out; what matches `query` is marked."""
    head, slash, tail = name.rpartition("/")
    if "/" in query:  # it may span both parts
        return highlight(name, query)
    if query:
        return format_html(
            "<span>{}</span>{}", highlight(head + slash, query), highlight(tail, query)
        )
    return format_html("<span>{}</span>{}", head + slash, tail)


def namespace_legend(namespaces: Sequence[str]) -> SafeString:
    """What the colours of a drawing mean: one swatch for each hue, with all that fly it."""
    by_hue: dict[int, list[str]] = {}
    for namespace in namespaces[:LEGEND]:
        by_hue.setdefault(hue(namespace), []).append(namespace)
    return format_html(
        '<span class="legend only-wide">{}</span>',
        format_html_join(
            "",
            '<span><i class="swatch hue-{}"></i>{}</span>',
            ((number, ", ".join(names)) for number, names in by_hue.items()),
        ),
    )


def hue(name: str) -> int:
    """1–6, the same for all repositories of a namespace; "" (nobody known) is 0, grey."""
    return 1 + _number(name.split("/")[0], 0) % HUES if name else 0


def who(actor: str) -> str:
    """Who pushed, as people read it: an operator is said to be one."""
    return actor_name(actor)


def portal_who(actor: str) -> str:
    """Who acted in the portal: no registry user."""
    return portal_actor(actor)


def initials(name: str) -> str:
    """At most two letters for the circle beside a name: `ci-platform` -> CP, `jana` -> JA."""
    words = [word for word in re.split(r"[\W_]+", name) if word]
    letters = words[0][:2] if len(words) == 1 else "".join(word[0] for word in words[:2])
    return letters.upper() or "?"


def ago(when: datetime | None, unknown: str = "unknown") -> SafeString:
    """`<time>2 h ago</time>` with the exact UTC time on hover. None and 1970 are "unknown", or
    "never" when asked so."""
    if when is None or when == UNKNOWN:
        return format_html(
            '<span class="soft">{}</span>', _("never") if unknown == "never" else _("unknown")
        )
    exact = when.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        exact.strftime("%Y-%m-%dT%H:%M:%SZ"),
        exact.strftime("%Y-%m-%d %H:%M:%S UTC"),
        age_in_words((timezone.now() - when).total_seconds()),
    )


def age_in_words(seconds: float) -> str:
    """A rounded age: "12 s ago" … "3 y ago". The near future counts as now: clocks differ."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if seconds < 2:
        return _("just now")
    if minutes < 1:
        return _("%(number)d s ago") % {"number": int(seconds)}
    if hours < 1:
        return _("%(number)d min ago") % {"number": minutes}
    if days < 1:
        return _("%(number)d h ago") % {"number": hours}
    if days < 14:
        return _("%(number)d d ago") % {"number": days}
    if days < 60:
        return _("%(number)d w ago") % {"number": days // 7}
    if days < 730:
        return _("%(number)d mo ago") % {"number": days // 30}
    return _("%(number)d y ago") % {"number": days // 365}


def until(when: datetime) -> SafeString:
    """`<time>in 6 days</time>` with the exact UTC time on hover; what is past is "2 h ago"."""
    exact = when.astimezone(UTC)
    left = (when - timezone.now()).total_seconds()
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        exact.strftime("%Y-%m-%dT%H:%M:%SZ"),
        exact.strftime("%Y-%m-%d %H:%M:%S UTC"),
        time_left_in_words(left) if left > 0 else age_in_words(-left),
    )


def time_left_in_words(seconds: float) -> str:
    """A rounded time to come: "in 5 minutes" … "in 3 years"."""
    minutes, hours, days = round(seconds / 60), round(seconds / 3600), round(seconds / 86400)
    if minutes < 60:
        return ngettext("in %(n)d minute", "in %(n)d minutes", minutes) % {"n": minutes}
    if hours < 24:
        return ngettext("in %(n)d hour", "in %(n)d hours", hours) % {"n": hours}
    if days < 60:
        return ngettext("in %(n)d day", "in %(n)d days", days) % {"n": days}
    if days < 730:
        months = round(days / 30.44)
        return ngettext("in %(n)d month", "in %(n)d months", months) % {"n": months}
    years = round(days / 365.25)
    return ngettext("in %(n)d year", "in %(n)d years", years) % {"n": years}


def rest(total: int, part: int) -> str:
    """`total` without `part`, rounded so that what `bytes` shows of the three adds up."""
    unit = 1000 ** max((len(str(total)) - 1) // 3, 0)
    step = max(unit // 10 if total / unit < 99.95 else unit, 1)
    return formats.size((round(total / step) - round(part / step)) * step)


def is_known(when: datetime | None) -> bool:
    """Whether a time is one: what was never recorded is None, or 1970."""
    return when not in (None, UNKNOWN)


def took(seconds: float | None) -> str:
    """A duration as a clock shows it: 0.4 s, 12 s, 3 min 12 s, 2 h 5 min. None is a dash."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return _("%(s)s s") % {"s": f"{seconds:.1f}"}
    whole = round(seconds)
    if whole < 60:
        return _("%(s)s s") % {"s": whole}
    if whole < 3600:
        return _("%(m)d min %(s)d s") % {"m": whole // 60, "s": whole % 60}
    return _("%(h)d h %(m)d min") % {"h": whole // 3600, "m": whole % 3600 // 60}


def thousands(number: int) -> str:
    """12345 -> 12,345 in every language; columns of figures must line up."""
    return f"{number:,}"


def comma() -> str:
    """The separator of two facts on a line, in the language of the page."""
    return pgettext("between facts", ", ")


def gap() -> str:
    """The separator of two sentences, in the language of the page: nothing in Chinese."""
    return "" if (get_language() or "").startswith("zh") else " "


def cut(text: str, length: int) -> str:
    """At most `length` characters: text of a pushed image has no limit of its own."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def highlight(text: str, query: str | Sequence[str]) -> SafeString:
    """`text` with each place where `query`, or one of several, occurs (in any case) in <mark>; all
    are escaped."""
    queries = [query] if isinstance(query, str) else query
    wanted = "|".join(re.escape(one) for one in sorted(queries, key=len, reverse=True) if one)
    if not wanted:
        return escape(text)
    # With the group in the pattern, every second part is a hit.
    parts = re.split(f"({wanted})", text, flags=re.IGNORECASE)
    marked = (
        format_html("<mark>{}</mark>", part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )
    return mark_safe("".join(marked))  # noqa: S308 (every part is escaped)


def _number(text: str, place: int) -> int:
    """0–255, always the same for a text: a choice of colour, no secret."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).digest()[place]
