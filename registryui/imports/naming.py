"""Names that are legal today for those of old stores and of other programs: pure."""

from __future__ import annotations

import re

from registryui.oci import names

_TAG_LIMIT = 128


def repository(name: str) -> str:
    """`name` itself if it is legal, else the nearest name that is: lower case, a hyphen for each
    other character. ValueError if nothing is left, or it is too long."""
    parts = [_part(part) for part in name.strip("/").split("/")]
    return names.check_repository("/".join(part for part in parts if part))


def tag(name: str) -> str:
    """The same of a tag. ValueError if nothing is left."""
    if names.is_tag(name):
        return name
    found = re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip(".-")[:_TAG_LIMIT]
    return names.check_tag(found)


def _part(part: str) -> str:
    if names.is_part(part):
        return part
    text = re.sub(r"[^a-z0-9._-]", "-", part.lower()).strip("._-")
    return re.sub(r"[._-]{2,}", _separator, text)


def _separator(found: re.Match[str]) -> str:
    """Two underscores and any number of hyphens are legal; of other runs the first character is."""
    run = found[0]
    return run if run == "__" or not run.strip("-") else run[0]
