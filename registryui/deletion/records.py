"""What is deleted and what came of it, as records that a page or a command can show.

Made by plan.py, execute.py and purge.py; nothing here reads or writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from registryui.refused import Refused


@dataclass(frozen=True, slots=True)
class Selection:
    """What somebody wants to delete in one repository: all that is named in any of the fields."""

    repository: str
    tags: tuple[str, ...] = ()  # by name
    pattern: str = ""  # of tag names: oci/patterns.py
    is_all: bool = False  # the repository: its tags now, its folder at the next garbage collection
    manifests: tuple[str, ...] = ()  # digests of untagged manifests


@dataclass(frozen=True, slots=True)
class Going:
    """One tag, or one untagged manifest (then `tag` is "")."""

    tag: str
    digest: str
    size: int
    refers_to: str
    pulled_at: datetime
    pulled_by: str


@dataclass(frozen=True, slots=True)
class Staying:
    """A digest that loses a name and stays."""

    digest: str
    going: tuple[str, ...]  # tags
    staying: tuple[str, ...]
    listed_by: tuple[str, ...]  # image indexes (digests) that keep it, too


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was named and does not go. Pages and commands have the words for `reason`."""

    tag: str  # a digest, if an untagged manifest was named
    reason: str  # "protected" | "missing" | "busy"
    protection: int | None = None  # its key


@dataclass(frozen=True, slots=True)
class Plan:
    selection: Selection
    going: tuple[Going, ...]  # exactly these names are untagged, and `referrer_tags`
    referrer_tags: tuple[Going, ...]  # signatures, SBOMs, fallback tags that go with their image
    referrers: tuple[str, ...]  # digests of untagged referrers (by subject) that lose their subject
    staying: tuple[Staying, ...]
    children: int  # child manifests that lose their last image index
    left_out: tuple[LeftOut, ...]
    size: int  # bytes of what goes, each tag counted alone
    freed: int  # bytes that garbage collection would free, by layer edges over the whole store
    is_complete: bool  # nothing of the repository's tags stays
    fingerprint: str  # of everything above that matters: another one if a tag moved since


@dataclass(frozen=True, slots=True)
class Result:
    tag: str
    digest: str
    state: str  # "deleted" | "restored" | "moved" | "failed" | "gone"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    act: str  # TagTombstone.act: undo of the whole
    results: tuple[Result, ...]
    keep_until: datetime


@dataclass(frozen=True, slots=True)
class Purge:
    """A digest that is made unpullable in one repository, and what else that hits."""

    repository: str
    digest: str
    tags: tuple[str, ...]  # every tag on it: the registry removes them with it
    tombstones: int  # deleted or overwritten tags on it that can no longer be restored
    children: tuple[str, ...]  # child manifests used only there: they go as well
    referrer_tags: tuple[str, ...]  # tags of signatures and the like that go as well
    listed_by: tuple[str, ...]  # image indexes that list it, and are broken by it
    elsewhere: tuple[str, ...]  # other repositories that have the digest: not touched
    left_out: tuple[LeftOut, ...]  # protected tags that need it: then it is refused
    freed: int  # bytes that the next purge frees, because nothing else uses them
    fingerprint: str
    results: tuple[Result, ...] = ()  # after the act: of each manifest, `tag` is ""


class Changed(Refused):
    """What was to be deleted is no longer what was shown; `plan` is the one made now."""

    def __init__(self, reason: str, plan: Plan | Purge) -> None:
        super().__init__(reason)
        self.plan = plan
