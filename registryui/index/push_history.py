"""Who set which tag when, as far as events told of it. Reads the stored events, writes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from registryui.models import RegistryEvent

from .contents import TagUpdate
from .fetch import TagProbe


def reported_updates(repository: str, probes: Sequence[TagProbe]) -> dict[str, TagUpdate]:
    """Who pushed what these tags are now."""
    rows = RegistryEvent.objects.filter(
        action="push",
        repository=repository,
        tag__in=[one.tag for one in probes],
        digest__in=[one.digest for one in probes],
    ).order_by("at")
    now = {one.tag: one.digest for one in probes}
    return {
        row.tag: TagUpdate(row.digest, row.at, row.actor)
        for row in rows
        if now[row.tag] == row.digest
    }


def reported_repositories(names: Iterable[str]) -> set[str]:
    """Those of these repositories that a push is known of."""
    pushed = RegistryEvent.objects.filter(action="push").order_by()
    return set(names) & set(pushed.values_list("repository", flat=True).distinct())


def pushes(repository: str) -> dict[str, list[TagUpdate]]:
    """All pushes of its tags, by tag, in no order."""
    found: dict[str, list[TagUpdate]] = defaultdict(list)
    rows = RegistryEvent.objects.filter(action="push", repository=repository).exclude(tag="")
    for tag, digest, at, actor in rows.values_list("tag", "digest", "at", "actor"):
        found[tag].append(TagUpdate(digest, at, actor))
    return dict(found)
