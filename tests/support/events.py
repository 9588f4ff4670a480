"""Notifications made by hand."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from registryui.index import events
from tests.support.fake_source import IMAGE

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def event(
    action: str,
    repository: str,
    digest: str = "",
    tag: str = "",
    *,
    at: datetime = NOON,
    method: str = "",
    media_type: str = IMAGE,
    client: str = "docker/20.10",
    actor: str = "ci",
) -> dict[str, Any]:
    target = {"repository": repository, "digest": digest, "mediaType": media_type}
    return {
        "id": str(uuid.uuid4()),
        "timestamp": at.isoformat(),
        "action": action,
        "target": target | ({"tag": tag} if tag else {}),
        "request": {
            "addr": "10.1.2.3",
            "method": method or {"push": "PUT", "pull": "GET", "delete": "DELETE"}[action],
            "useragent": client,
        },
        "actor": {"name": actor},
    }


def receive(*some: dict[str, Any]) -> int:
    return events.receive(json.dumps({"events": some}).encode())
