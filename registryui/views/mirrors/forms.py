"""The form of a mirror: what it shows, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.http import QueryDict
from django.views.decorators.debug import sensitive_variables

from registryui import formats
from registryui.mirrors import mirrors, presets
from registryui.mirrors.mirrors import Wanted
from registryui.models import Mirror
from registryui.views.form import Number, Size, read, text


def blank(preset: str) -> Mapping[str, Any]:
    """The fields for a new mirror, of that preset if there is one."""
    found = presets.preset(preset)
    fields: dict[str, Any] = {"fresh_minutes": 10}
    if found is not None:
        fields |= {"name": found.name if found.url else "", "url": found.url}
    return fields


def filled(row: Mirror) -> Mapping[str, Any]:
    """The fields of a mirror, without its password."""
    size = formats.size(row.keep_bytes) if row.keep_bytes else ""
    return {**mirrors.facts(row), "keep_size": size, "ca": row.ca}


@sensitive_variables("asked")
def wanted(post: QueryDict, before: Mirror | None = None) -> Wanted:
    """What the form asks for; a password field that was left empty keeps the stored one. Raises
    Refused for what is no number or size."""
    asked = read(
        post,
        **{one: text() for one in ("url", "user", "allow", "deny", "ca", "proxy", "networks")},
        **{one: Number() for one in ("fresh_minutes", "keep_days", "open_port")},
        keep_size=Size(required=False),
        password=text(strip=False),
        may_be_plain=text(),
    )
    found = Wanted(
        **{name: asked[name] for name in ("url", "user", "allow", "deny", "ca", "proxy")},
        **{name: asked[name] for name in ("networks", "keep_days", "open_port")},
        password=asked["password"] or None,
        keep_bytes=asked["keep_size"],
        may_be_plain=asked["may_be_plain"] == "1",
        fresh_minutes=10 if asked["fresh_minutes"] is None else asked["fresh_minutes"],
    )
    if before is None:
        return found
    if before.keep_bytes and post.get("keep_size") == formats.size(before.keep_bytes):
        found = replace(found, keep_bytes=before.keep_bytes)  # it was rounded for the form
    is_same = found.url == before.url
    return replace(
        found,
        is_library=before.is_library if is_same else None,
        may_be_plain=found.may_be_plain or is_same,
    )
