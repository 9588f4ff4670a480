"""Whether the files say what the tables say."""

from __future__ import annotations

from django.conf import settings

from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.models import RegistryUser


def inconsistent() -> list[str]:
    """Users whose line, second secret or markers are not as their row says, but for a hand's."""
    lines, old = publish.lines(), htpasswd.parse(settings.OVERLAP_FILE.read_bytes())
    hands = {one.name for one in drift.find(with_left_alone=True)}
    wrong = []
    for row in RegistryUser.objects.prefetch_related("rights"):
        folder = settings.RIGHTS_DIR / row.name
        found = {str(path.relative_to(folder)) for path in folder.rglob("@*") if path.is_file()}
        said = (lines.get(row.name, ""), old.get(row.name, ""), found)
        wanted = set(rights.markers(users.rights_of(row))) if row.wanted else set()
        if row.name not in hands and (
            said != (row.wanted, row.wanted_old, wanted) or row.is_pending
        ):
            wrong.append(f"{row.name}: {said}")
    return wrong


def temporary_files() -> list[str]:
    """What a write has left lying about."""
    folders = (settings.HTPASSWD_FILE.parent, settings.VERSIONS_DIR)
    return [path.name for folder in folders if folder.is_dir() for path in folder.glob(".new-*")]
