"""Which repositories are mirrored: those below the name of a mirror.

What an upstream has is stored in them only as far as it was pulled. So what a manifest there names
and the store does not have is not damaged: it is not pulled yet.

Clients that pull by digest alone never fetch a tag. So there an untagged manifest that was pulled
since it lost its tag, or that never had one, is kept like a tagged one, until mirrors/keeping.py
lets it go: that moves `untagged_at` (ingest.let_go).
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import F, Q

from .mirror import Mirror

# Manifests that are kept without a tag, in mirrored repositories. An image index keeps what it
# lists, so that goes with it.
PULLED_ALONE = Q(untagged_at__isnull=False, is_listed=False) & (
    Q(seen_at__gte=F("untagged_at")) | Q(pulled_at__gte=F("untagged_at"))
)


def is_pulled_alone(
    untagged_at: datetime | None, seen_at: datetime, pulled_at: datetime, *, is_listed: bool
) -> bool:
    """The same of columns."""
    return untagged_at is not None and not is_listed and max(seen_at, pulled_at) >= untagged_at


def mirrored_names() -> frozenset[str]:
    """The names of all mirrors, also disabled ones. One query."""
    return frozenset(Mirror.objects.order_by().values_list("name", flat=True))


def is_mirrored(repository: str) -> bool:
    """Whether it is below the name of a mirror. One query; none for a name of one part."""
    return Mirrors().have(repository)


class Mirrors:
    """The names of all mirrors, read once, and only if a repository may be below one."""

    def __init__(self) -> None:
        self._names: frozenset[str] | None = None

    def have(self, repository: str) -> bool:
        """Whether the repository is mirrored."""
        name, slash, _rest = repository.partition("/")
        if not slash:
            return False
        if self._names is None:
            self._names = mirrored_names()
        return name in self._names
