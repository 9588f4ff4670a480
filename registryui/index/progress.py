"""What a sync has done so far: its counts, its lines, how far it is. One for each run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from registryui import audit, runs
from registryui.registry.errors import RegistryError

from . import ingest

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of a SYNC."""

    repositories: int = 0
    tags: int = 0  # that were looked at
    added: int = 0
    moved: int = 0
    removed: int = 0
    manifests: int = 0  # that were new
    problems: int = 0
    errors: int = 0  # of what could not be looked at
    unfollowed: list[str] = field(default_factory=list)  # links of a store that are not followed
    elsewhere: list[str] = field(default_factory=list)  # and that lead to another file system


@dataclass(slots=True)
class State(runs.Work[Result]):
    """One run while it goes on."""

    changes: ingest.Changes = field(default_factory=ingest.Changes)
    broken: RegistryError | None = None  # why the list of repositories has no end

    def failed(self, what: str, error: RegistryError) -> None:
        """Something could not be looked at: nothing is concluded from that."""
        self.result.errors += 1
        self.note(f"{what}: {error}")
        log.warning("sync %s: %s", what, error)

    def finish(self) -> audit.Entry | None:
        """Counts what was changed; of syncs only their start is in the audit log."""
        self.result.tags = self.run.done
        for name in ("added", "moved", "removed", "manifests", "problems"):
            setattr(self.result, name, getattr(self.changes, name))
        return None
