"""Every row of the index in words that do not depend on keys or on the time: to compare two."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models

from registryui.models import (
    Blob,
    ImageFact,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
)

TABLES = (Repository, Tag, Manifest, ImageIndexEntry, Blob, ManifestBlob, ImageFact)
WRITTEN = {"changed_at", "seen_at", "untagged_at"}  # when it was written: only whether it is set


def all_rows() -> dict[str, list[tuple[Any, ...]]]:
    """Table to its rows, each with all its columns, sorted."""
    names = {
        model: {
            row.pk: str(row)
            for row in model._default_manager.select_related(
                *(["repository"] if model in (Tag, Manifest) else [])
            )
        }
        for model in (Repository, Manifest, Blob)
    }
    return {
        model.__name__: sorted(_row(one, names) for one in model._default_manager.all())
        for model in TABLES
    }


def _row(one: models.Model, names: dict[Any, dict[int, str]]) -> tuple[Any, ...]:
    found = []
    for column in one._meta.concrete_fields:
        value = getattr(one, column.attname)
        if column.name == "id":
            continue
        if column.related_model in names and value is not None:
            value = names[column.related_model][value]
        elif column.name in WRITTEN:
            value = value is not None
        elif isinstance(value, memoryview):
            value = bytes(value)
        elif isinstance(value, datetime):
            value = value.isoformat()
        found.append(f"{column.name}={value!r}")
    return tuple(found)
