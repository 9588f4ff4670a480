"""What a garbage collection did, as its Run keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from registryui import runs

_BEFORE = {"hide": "quarantine"}  # what runs of 0.5 call a stage


@dataclass(slots=True)
class Stage:
    """A stage that has ended, and how long it took."""

    name: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.name = _BEFORE.get(self.name, self.name)


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of a GC."""

    dry_run: bool = False
    stage: str = ""  # that it is at, or ended in
    stages: list[Stage] = field(default_factory=list)
    repositories: int = 0  # of the whole store, as the first mark of the run saw it
    manifests: int = 0  # in repositories: the same one in two counts twice
    blobs: int = 0  # in the store: layers, configs and manifests
    manifest_blobs: int | None = None  # of those: a manifest of two repositories is one blob
    bytes: int = 0
    kept_blobs: int = 0
    kept_manifest_blobs: int | None = None
    kept_bytes: int = 0
    candidate_manifests: int = 0
    candidate_blobs: int = 0
    candidate_manifest_blobs: int | None = None
    candidate_bytes: int = 0
    grace_bytes: int = 0  # unreachable, but within the grace period
    quarantined: int = 0  # blobs, by this run
    quarantined_manifests: int = 0
    quarantined_bytes: int = 0
    restored: int = 0  # items restored by a review
    purged: int = 0
    freed_bytes: int = 0
    in_quarantine: int | None = None  # at its end; None: that was not counted
    in_quarantine_bytes: int = 0
    due_at: str = ""  # when the first of them may be purged, iso; "": nothing waits
    uploads: int = 0  # quarantined leftovers (in a dry run: candidates)
    upload_bytes: int = 0
    empty_repositories: int = 0
    skipped_repositories: list[tuple[str, str]] = field(default_factory=list)  # of which nothing
    # went: name, why
    freeze_seconds: float = 0.0  # how long manifest writes were frozen
    is_review: bool = False  # only a review, after a run that ended before its own
    # False: something in quarantine may be needed by a push; True: not, after a full mark; None: it
    # neither quarantined nor marked.
    reviewed: bool | None = None
    repaired: list[str] = field(default_factory=list)  # half-written files made good, a line each

    def __post_init__(self) -> None:
        self.stage = _BEFORE.get(self.stage, self.stage)

    @property
    def due(self) -> datetime | None:
        """`due_at` as a time."""
        try:
            found = datetime.fromisoformat(self.due_at)
        except ValueError:
            return None
        return found if found.tzinfo else None

    @property
    def quarantined_things(self) -> int:
        """Blobs and manifests, by this run."""
        return self.quarantined + self.quarantined_manifests
