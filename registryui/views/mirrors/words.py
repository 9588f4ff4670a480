"""A mirror as pages show it: its state in a word and in a sentence, its figures."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registryui.mirrors import presets, state
from registryui.mirrors.state import State
from registryui.mirrors.words import error_words
from registryui.models import Mirror
from registryui.views.filters import thousands
from registryui.views.plain_text import line


@dataclass(frozen=True, slots=True)
class Shown:
    """One mirror. `css`, `icon`: of its badge; `trouble`: a sentence, "" if there is none."""

    row: Mirror
    state: State
    host: str  # the host in an image's name at the upstream
    word: str
    css: str
    icon: str
    trouble: str
    limit: str  # what is left of the upstream's limit; "": it has none, or is not known
    is_limit_low: bool
    refusal: str  # the last one, on one line; "": none


def shown(row: Mirror) -> Shown:
    """Reads what the service on this host says of it."""
    found = state.read(row.name)
    word, css, icon = _badge(row, found)
    refusal = found.last_refusal
    limit = found.limit
    return Shown(
        row,
        found,
        presets.host_of(row.url),
        word,
        css,
        icon,
        _trouble(row, found),
        limit_words(limit) if limit else "",
        limit is not None and limit.remaining * 10 < limit.limit,
        line(f"{refusal.what}: {error_words(refusal.words)}", 300) if refusal else "",
    )


def _badge(row: Mirror, found: State) -> tuple[str, str, str]:
    if not row.is_active:
        return _("Disabled"), "bad", "ban"
    if found.is_away:
        return _("Upstream unavailable"), "warn", "triangle-alert"
    if found.contact:
        return _("Available"), "ok", "circle-check"
    return _("Not used yet"), "", "circle"


def _trouble(row: Mirror, found: State) -> str:
    if not row.is_active:
        return _("The upstream is not asked. What is stored here can still be pulled.")
    reason = line(error_words(found.error), 300) if found.error else ""
    if found.is_away:
        words = _("The upstream does not answer. What is stored here can still be pulled.")
        return f"{words} ({reason})" if reason else words
    if reason:
        return _("The last request to the upstream failed: %(reason)s.") % {"reason": reason}
    return ""


def limit_words(limit: state.Limit) -> str:
    """`76 of 100 pulls left (per 6 h)`."""
    numbers = {"left": thousands(limit.remaining), "limit": thousands(limit.limit)}
    if limit.window:
        numbers["hours"] = f"{limit.window / 3600:.2g}"
        return _("%(left)s of %(limit)s pulls left (per %(hours)s h)") % numbers
    return _("%(left)s of %(limit)s pulls left") % numbers


def keep_words(row: Mirror, size: str) -> str:
    """How long and how much stays here."""
    if row.keep_days and row.keep_bytes:
        return ngettext(
            "Tags pulled within %(days)d day, at most %(size)s",
            "Tags pulled within %(days)d days, at most %(size)s",
            row.keep_days,
        ) % {"days": row.keep_days, "size": size}
    if row.keep_days:
        return ngettext(
            "Tags pulled within %(days)d day", "Tags pulled within %(days)d days", row.keep_days
        ) % {"days": row.keep_days}
    if row.keep_bytes:
        return _("At most %(size)s") % {"size": size}
    return _("Everything that was pulled")
