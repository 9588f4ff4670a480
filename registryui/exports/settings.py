"""What the portal knows beside the images, as JSON: registry users, policies, protections, quotas,
mirrors, descriptions of repositories, the audit log. For whoever leaves, or looks after several
registries.

With the hashes of registry users, which htpasswd has, too; without any password.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from registryui.accounts import rights, users
from registryui.audit import export
from registryui.mirrors import mirrors
from registryui.models import (
    NEVER,
    AuditEvent,
    Description,
    Mirror,
    Protection,
    Quota,
    RegistryUser,
    RetentionPolicy,
    Right,
)
from registryui.retention import policies

FORMAT = 1


def lines() -> Iterator[str]:
    """One JSON object, a row a line, without all of it in memory."""
    head = {
        "format": FORMAT,
        "registry": settings.REGISTRY_NAME,
        "exported_at": _time(timezone.now()),
    }
    yield json.dumps(head)[:-1]
    lists: dict[str, Iterable[str]] = {
        "users": map(_user, RegistryUser.objects.order_by("name").prefetch_related("rights")),
        "policies": _dumped(policies.facts(row) for row in RetentionPolicy.objects.order_by("id")),
        "protections": _dumped(map(_protection, Protection.objects.order_by("id"))),
        "quotas": _dumped(map(_quota, Quota.objects.all())),
        "mirrors": _dumped(mirrors.facts(row) for row in Mirror.objects.order_by("name")),
        "descriptions": _dumped(map(_description, Description.objects.order_by("repository"))),
        "history": export.json_lines(AuditEvent.objects.order_by("id")),
    }
    for name, rows in lists.items():
        yield f', "{name}": ['
        for number, row in enumerate(rows):
            yield f"{',' if number else ''}\n  {row.rstrip()}"
        yield "]"
    yield "}\n"


def _dumped(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row, default=str) for row in rows)


def _user(row: RegistryUser) -> str:
    may = users.rights_of(row)
    found = {
        "name": row.name,
        "hash": row.secret_hash,
        "is_active": row.is_active,
        "expires_at": _time(row.expires_at),
        "rights": {action: rights.scopes(may, action) for action in Right.Action.values},
        "note": row.note,
        "owner": row.owner.username if row.owner else None,
        "made_at": _time(row.made_at),
    }
    return json.dumps(found)


def _protection(row: Protection) -> dict[str, Any]:
    return {
        "repositories": row.repositories,
        "tags": row.tags,
        "is_immutable": row.is_immutable,
        "note": row.note,
    }


def _description(row: Description) -> dict[str, Any]:
    return {
        "repository": row.repository,
        "description": row.text,
        "readme": row.readme,
        "changed_at": _time(row.changed_at),
        "changed_by": row.changed_by,
    }


def _quota(row: Quota) -> dict[str, Any]:
    return {
        "namespace": row.namespace,
        "limit_bytes": row.limit_bytes,
        "limit_tags": row.limit_tags,
    }


def _time(when: datetime) -> str | None:
    return None if when == NEVER else when.isoformat(timespec="seconds")
