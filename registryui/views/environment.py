"""The Jinja environment of the pages: its filters, its functions, its words.

`{{ size|bytes }}`, `{{ url("tag", name, tag) }}`, `{{ icon("search") }}`, `{{ _("Search") }}`,
`{% trans n=tags|length %}{{ n }} tag{% pluralize n %}{{ n }} tags{% endtrans %}`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest
from django.template import defaultfilters
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django_htmx.jinja import htmx_script
from jinja2 import Environment

from registryui import formats, schedules
from registryui.oci.digest import short

from . import filters, plain_text
from .line_breaks import LineBreaks


def environment(**options: Any) -> Environment:
    """What settings.TEMPLATES names."""
    options |= {"autoescape": True, "extensions": ["jinja2.ext.i18n", LineBreaks]}
    made = Environment(**options)  # noqa: S701 (it escapes: the line above)
    made.install_gettext_translations(translation, newstyle=True)  # type: ignore[attr-defined]
    made.policies["ext.i18n.trimmed"] = True
    made.filters |= {
        "ago": filters.ago,
        "bytes": formats.size,
        "capfirst": defaultfilters.capfirst,
        "cut": filters.cut,
        "date": defaultfilters.date,
        "highlight": filters.highlight,
        "hue": filters.hue,
        "is_known": filters.is_known,
        "initials": filters.initials,
        "more_bytes": formats.difference,
        "portal_who": filters.portal_who,
        "rest": filters.rest,
        "short": short,
        "slugify": defaultfilters.slugify,
        "linebreaksbr": defaultfilters.linebreaksbr,
        "floatformat": defaultfilters.floatformat,
        "stringformat": defaultfilters.stringformat,
        "thousands": filters.thousands,
        "took": filters.took,
        "until": filters.until,
        "urlencode": defaultfilters.urlencode,
        "visible": plain_text.visible,
        "when": schedules.when,
        "who": filters.who,
    }
    made.globals |= {
        "as_typed": filters.AS_TYPED,
        "box": filters.box,
        "comma": filters.comma,
        "flag": filters.flag,
        "gap": filters.gap,
        "get_current_language": translation.get_language,
        "htmx_script": htmx_script,
        "icon": filters.icon,
        "live": filters.live,
        "logo": filters.logo,
        "namespace_legend": filters.namespace_legend,
        "querystring": querystring,
        "repository_name": filters.repository_name,
        "static": staticfiles_storage.url,
        "typing": filters.typing,
        "url": url,
        "url_if_any": url_if_any,
    }
    return made


@lru_cache(maxsize=4096)
def url(name: str, *values: object, **query: object) -> str:
    """The address of a page; of `query`, what is not None. Raises NoReverseMatch."""
    asked = urlencode({key: value for key, value in query.items() if value is not None})
    return reverse(name, args=values) + (f"?{asked}" if asked else "")


def url_if_any(name: str, *values: object) -> str:
    """The address of a page; "" if the values do not make one."""
    try:
        return url(name, *values)
    except NoReverseMatch:
        return ""


def querystring(request: HttpRequest, **changes: object) -> str:
    """`?…` of the page that is shown, with `changes`: a value, a list of them, or None, which
    takes the name out."""
    asked = request.GET
    wanted = {**dict(asked.lists()), **changes}
    pairs = {name: value for name, value in wanted.items() if value is not None}
    return f"?{urlencode(pairs, doseq=True)}" if pairs or asked else ""
