"""Which repositories are mirrored: those below the name of a mirror.

What an upstream has is stored in them only as far as it was pulled. So what a manifest there names
and the store does not have is not damaged: it is not pulled yet.
"""

from __future__ import annotations

from .mirror import Mirror


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
