"""Undo: a deleted or overwritten tag is restored to the digest that it had.

Its stored bytes are PUT under the tag: the same digest. What a client deleted of it, the manifest
or children that it lists, is restored first, from the bytes that the index kept.
What moved is in the tag's history like any push, under the operator's name, and the digest that was
on the tag before can be restored in the same way.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from registryui import audit, clock
from registryui.index import client_deletes
from registryui.index.contents import NESTING_LIMIT, TagUpdate
from registryui.index.events import OWN_ACT, probe_incomplete, probe_untagged
from registryui.index.fetch import TagProbe
from registryui.index.sync import write
from registryui.models import (
    UNKNOWN,
    AuditEvent,
    Manifest,
    Protection,
    RegistryEvent,
    Tag,
    TagTombstone,
)
from registryui.models.deletion import TagTombstoneQuerySet
from registryui.models.mirrored import is_mirrored
from registryui.oci import throw_away
from registryui.oci.references import references
from registryui.refused import Refused
from registryui.registry import choose, paths
from registryui.registry.client import RegistryClient
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.responding import require_answer
from registryui.registry.source import Stored

from . import guard
from .protection import protections
from .records import Result
from .untag import again

log = logging.getLogger(__name__)

BATCH = 100  # tags of one transaction
AT_ONCE = 8  # requests to the registry


class Taken(Refused):
    """Somebody pushed the tag meanwhile; it is on `digest` now."""

    def __init__(self, reason: str, digest: str) -> None:
        super().__init__(reason)
        self.digest = digest


def restorable() -> TagTombstoneQuerySet:
    """What can be restored now, newest first. Not a tag that is on that very digest again."""
    there = Tag.objects.filter(
        repository__name=OuterRef("repository"),
        name=OuterRef("tag"),
        manifest__digest=OuterRef("digest"),
    )
    rows = TagTombstone.objects.kept(clock.now()).exclude(digest="")
    return rows.filter(~Exists(there)).order_by("-at", "-id")


def restore(tombstone: TagTombstone, *, by: str, expected: str | None = None) -> None:
    """Restores the tag to its digest, with its old time and actor.

    Refused: its time is over, the registry lacks a part of it or does not answer. Taken: the tag
    is on another digest now; give `expected`, that digest, to replace it.
    """
    tombstone.refresh_from_db()
    if tombstone.restored_at is not None:
        raise Refused(_("It has already been restored."))
    if tombstone.ended_at is not None:
        raise Refused(_("It has been permanently deleted in the meantime."))
    if tombstone.keep_until <= clock.now():
        raise Refused(
            _("The restore period has ended: garbage collection may have deleted the image.")
        )
    require_answer()
    _raise(_set(tombstone.repository, [_wish(tombstone, expected or "")], by=by))


def restore_act(
    act: str, *, by: str, progress: Callable[[int, int], bool] | None = None
) -> tuple[Result, ...]:
    """Undoes a complete delete: "restored", "moved" or "failed" for each of its tags. None that was
    pushed meanwhile is replaced.

    `progress` gets (done, total) and says False to stop: what is back stays.
    """
    rows: dict[str, list[TagTombstone]] = defaultdict(list)
    for row in restorable().filter(act=act) if act else ():
        rows[row.repository].append(row)
    if rows:
        require_answer()
    results: list[Result] = []
    for repository, some in rows.items():
        for start in range(0, len(some), BATCH):
            wishes = [_wish(row, "") for row in some[start : start + BATCH]]
            done = _set(repository, wishes, by=by)
            results += [_result(wish, done[wish]) for wish in wishes]
            if progress is not None and not progress(len(results), sum(map(len, rows.values()))):
                return tuple(results)
    return tuple(results)


def restore_digest(repository: str, tag: str, digest: str, *, expected: str, by: str) -> None:
    """Sets the tag on a digest that it had before, if it is still on `expected` ("": on nothing).

    Raises Refused with what is in the way: the tag moved meanwhile, the registry lacks something
    that the image needs, it does not answer. Between our look and the PUT lie milliseconds in
    which somebody else may push; the history shows both then.
    """
    if not _kept_bytes(repository, {digest}):
        raise Refused(_("The index no longer has this image, so it cannot be restored."))
    require_answer()
    try:
        _raise(_set(repository, [_Wish(tag, digest, expected)], by=by))
    except Taken as error:
        raise Refused(
            _("The tag %s was changed after this page was loaded. Review it and try again.") % tag
        ) from error


def point(repository: str, tag: str, digest: str, *, expected: str, by: str) -> None:
    """Sets the tag on an image that the repository has, if it is still on `expected` ("": on
    nothing). Refused; Taken: it is on something else."""
    require_answer()
    _raise(_set(repository, [_Wish(tag, digest, expected, audited="tag.add")], by=by))


def bring_back(registry: RegistryClient) -> None:
    """Restores the manifests that undo keeps and that clients deleted, without a tag: else the
    registry's own garbage collector deletes their blobs. RegistryError: it does not answer."""
    kept: dict[str, set[str]] = defaultdict(set)
    rows = TagTombstone.objects.kept(timezone.now()).exclude(digest="")
    for repository, digest in rows.values_list("repository", "digest"):
        kept[repository].add(digest)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="undo") as pool:
        for repository, digests in kept.items():
            wishes = [_Wish("", digest, "", _NO_UPDATE) for digest in digests]
            setting = _Setting(registry, repository, _stored(repository, wishes), {})
            for problem in pool.map(setting.set, wishes):
                if problem is not None:
                    log.warning("%s: not brought back: %s", repository, problem)
            probe_untagged(registry, repository, setting.untagged, pool)


_NO_UPDATE = TagUpdate("", UNKNOWN, "")


@dataclass(frozen=True, slots=True)
class _Wish:
    """A tag that is to be set on a digest."""

    tag: str  # "": an untagged manifest, which only has to be there
    digest: str
    expected: str  # what it may be on now; "": on nothing
    update: TagUpdate | None = None  # what it was; None: it moves now, by who wishes it
    media_type: str = ""
    audited: str = "tag.restore"
    act: str = field(default_factory=lambda: uuid.uuid4().hex)  # by which its event is ours

    @property
    def reference(self) -> str:
        return self.tag or self.digest


def _wish(tombstone: TagTombstone, expected: str) -> _Wish:
    was = (tombstone.digest, tombstone.tagged_at, tombstone.tagged_by)
    update = TagUpdate(*was, is_restored=True)
    return _Wish(tombstone.tag, tombstone.digest, expected, update, tombstone.media_type)


def _raise(done: dict[_Wish, Refused | None]) -> None:
    for problem in done.values():
        if problem is not None:
            raise problem


def _result(wish: _Wish, problem: Refused | None) -> Result:
    if problem is None:
        return Result(wish.tag, wish.digest, "restored")
    return Result(
        wish.tag, wish.digest, "moved" if isinstance(problem, Taken) else "failed", str(problem)
    )


def _set(repository: str, wishes: Sequence[_Wish], *, by: str) -> dict[_Wish, Refused | None]:
    """Sets these tags of one repository; says of each what was in the way. Nobody else pushes those
    that are immutable meanwhile."""
    rules = protections()
    immutable = {one.tag: rule for one in wishes if (rule := rules.immutable(repository, one.tag))}
    with guard.locked_for_push(repository, immutable):
        return _set_now(repository, wishes, immutable, by=by)


def _set_now(
    repository: str, wishes: Sequence[_Wish], immutable: Mapping[str, Protection], *, by: str
) -> dict[_Wish, Refused | None]:
    """The same, with the rules by which some of the tags are immutable.

    Own events are written before the PUT: the registry's, which do not know the operator, may come
    before its answer, and are left out because these are there.
    """
    at = timezone.now()
    RegistryEvent.objects.bulk_create(_event(repository, one, at, by) for one in wishes)
    with (
        RegistryClient(settings.REGISTRY_URL, pool=AT_ONCE) as registry,
        ThreadPoolExecutor(
            min(AT_ONCE, len(wishes)),
            thread_name_prefix="undo",
            initializer=translation.activate,  # reasons, in the language of who asked
            initargs=(translation.get_language() or settings.LANGUAGE_CODE,),
        ) as pool,
    ):
        setting = _Setting(registry, repository, _stored(repository, wishes), immutable)
        done = dict(zip(wishes, pool.map(setting.set, wishes), strict=True))
        probes = [look for wish in wishes if (look := setting.probes.get(wish.tag))]
        updates = {one.tag: one.update or TagUpdate(one.digest, at, by) for one in wishes}
        try:
            write(registry, repository, _expecting(repository, probes), pool, updates=updates)
            probe_untagged(registry, repository, setting.untagged, pool)
            back = {one.digest for one in wishes if done[one] is None}
            probe_incomplete(registry, repository, back | setting.untagged, pool)
        except RegistryError as error:  # it is set; the next sync brings it
            log.warning("%s: put back, and not read: %s", repository, error)
    _conclude(repository, wishes, done, setting, by)
    return done


class _Setting:
    """The registry's side of it, from several threads."""

    def __init__(
        self,
        registry: RegistryClient,
        repository: str,
        stored: Mapping[str, Stored],
        immutable: Mapping[str, Protection],
    ) -> None:
        self._registry, self._repository, self._stored = registry, repository, stored
        self._immutable = immutable  # tag to the rule
        self._is_mirrored = is_mirrored(repository)  # threads have no connection to the database
        self.probes: dict[str, TagProbe] = {}  # what each tag is on now
        self.untagged: set[str] = set()  # digests that were restored by themselves
        self.unsure: set[_Wish] = set()  # no answer: it may have been done

    def set(self, wish: _Wish) -> Refused | None:
        try:
            return self._set(wish)
        except RegistryError as error:
            if error.status in (400, 404) and self._is_mirrored:
                return self._link(wish)
            if error.status in (400, 404):
                return Refused(
                    _("The registry lacks part of this image; push it again: %s.")
                    % (error.code or error.status)
                )
            return Refused(
                _("Unexpected response from the registry: %s. Check the tag again in a moment.")
                % error
            )

    def _link(self, wish: _Wish) -> Refused | None:
        """Sets a tag of a mirrored repository of whose image only a part was pulled: the registry
        takes no such manifest, so its link is written past it."""
        stored = self._registry.manifest(self._repository, wish.digest)
        try:
            if stored is None or not wish.tag:
                raise NotFound(wish.digest)
            writer = choose.open_writer()
            for path in (
                paths.tag_index_link(self._repository, wish.tag, wish.digest),
                paths.tag_link(self._repository, wish.tag),
            ):
                writer.put_link(path, wish.digest)
        except (Refused, RegistryError) as error:
            log.warning("%s:%s: not restored: %s", self._repository, wish.tag, error)
            return Refused(_("Not all of this image was pulled: pull it through the mirror again."))
        self.probes[wish.tag] = TagProbe(wish.tag, "", wish.digest, stored)
        return None

    def _set(self, wish: _Wish) -> Refused | None:
        now = again(lambda: self._registry.resolve(self._repository, wish.reference)) or ""
        stored = self._of(wish.digest)
        if stored is None:
            return Refused(_("The registry no longer has this image, so it cannot be restored."))
        rule = self._immutable.get(wish.tag)
        if rule is not None and now not in ("", wish.digest) and not self._is_throw_away(now):
            return Refused(
                _("The protection %(rule)s makes the tag %(tag)s immutable: it was not changed.")
                % {"tag": wish.tag, "rule": rule}
            )
        if not self._may_set(wish, now):
            return Taken(
                _("The tag %s now points to another image that was pushed in the meantime.")
                % wish.tag,
                now,
            )
        self._complete(wish, stored, depth=NESTING_LIMIT)
        if now != wish.digest:
            self._put(wish, wish.reference, stored)
        if wish.tag:
            self.probes[wish.tag] = TagProbe(wish.tag, "", wish.digest, stored)
        else:
            self.untagged.add(wish.digest)
        return None

    def _of(self, digest: str) -> Stored | None:
        """The manifest's bytes, which the registry may lack."""
        return self._stored.get(digest) or self._registry.manifest(self._repository, digest)

    def _complete(self, wish: _Wish, stored: Stored, *, depth: int) -> None:
        """Restores what it lists and the registry lacks. What nobody has the bytes of is for the
        registry to miss."""
        for digest in references(stored.raw).manifests if depth else ():
            if again(partial(self._registry.resolve, self._repository, digest)) is not None:
                continue
            child = self._of(digest)
            if child is not None:
                self._complete(wish, child, depth=depth - 1)
                self._put(wish, digest, child)
                self.untagged.add(digest)

    def _may_set(self, wish: _Wish, now: str) -> bool:
        """What a page showed must still be so; a tag is restored if it does not exist, or may be
        replaced."""
        if wish.update is None:
            return now == wish.expected
        return now in ("", wish.digest, wish.expected) or self._is_throw_away(now)

    def _put(self, wish: _Wish, reference: str, stored: Stored) -> None:
        """An image index may be set while its child is: 2.8 empties the child's link for a moment,
        and says then that it lacks it. So a 400 is asked again, too."""
        put = partial(
            self._registry.put_manifest,
            *(self._repository, reference, stored.raw, stored.media_type),
            act=wish.act,
        )
        try:
            again(put, also=(400, 404))
        except RegistryError as error:
            if error.temporary:
                self.unsure.add(wish)
            raise

    def _is_throw_away(self, digest: str) -> bool:
        """Whether only a delete that was cut off in the middle holds the tag."""
        stored = self._registry.manifest(self._repository, digest)
        return stored is not None and throw_away.is_one(stored.raw)


def _stored(repository: str, wishes: Sequence[_Wish]) -> dict[str, Stored]:
    """The bytes of these manifests and of all that they list, as far as the index has them."""
    found: dict[str, Stored] = {}
    level = {one.digest for one in wishes}
    while level:
        some = _kept_bytes(repository, level)
        found |= some
        level = {child for one in some.values() for child in references(one.raw).manifests}
        level -= found.keys()
    return found


def _kept_bytes(repository: str, digests: Collection[str]) -> dict[str, Stored]:
    """The bytes that the index has of these manifests, or kept of them when they were deleted."""
    rows = Manifest.objects.filter(repository__name=repository, digest__in=digests)
    return client_deletes.stored(repository, digests) | {
        digest: Stored(digest, media_type, bytes(raw))
        for digest, media_type, raw in rows.values_list("digest", "media_type", "raw")
    }


def _expecting(repository: str, probes: Sequence[TagProbe]) -> list[TagProbe]:
    """The same, each with what the index has now."""
    rows = Tag.objects.filter(repository__name=repository, name__in=[one.tag for one in probes])
    known = dict(rows.values_list("name", "manifest__digest"))
    return [replace(one, expected=known.get(one.tag) or "") for one in probes]


def _event(repository: str, wish: _Wish, at: datetime, by: str) -> RegistryEvent:
    """Ours. A tag that gets back what it was is no push of today: it is applied already."""
    return RegistryEvent(
        event_id=f"{OWN_ACT}{wish.act}",
        action="push",
        repository=repository,
        tag=wish.tag,
        digest=wish.digest,
        media_type=wish.media_type,
        at=at,
        actor=by[:255],
        client="boathouse",
        applied_at=at if wish.update else None,
    )


@transaction.atomic
def _conclude(
    repository: str,
    wishes: Sequence[_Wish],
    done: Mapping[_Wish, Refused | None],
    setting: _Setting,
    by: str,
) -> None:
    """What became nothing leaves history; undo and the audit log learn the rest."""
    failed = [one for one in wishes if done[one] is not None]
    nothing = [f"{OWN_ACT}{one.act}" for one in failed if one not in setting.unsure]
    RegistryEvent.objects.filter(event_id__in=nothing).delete()
    # No answer: it may have been done, so the worker looks.
    hints = [f"{OWN_ACT}{one.act}" for one in setting.unsure]
    RegistryEvent.objects.filter(event_id__in=hints).update(applied_at=None)
    now = timezone.now()
    children = TagTombstone.objects.filter(
        repository=repository, tag="", digest__in=setting.untagged
    )
    children.kept(now).update(restored_at=now, restored_by=by[:255])
    for one in wishes:
        problem = done[one]
        if isinstance(problem, Taken):  # a question, no act
            continue
        if problem is None:
            rows = TagTombstone.objects.filter(
                repository=repository, tag=one.tag, digest=one.digest
            )
            rows.kept(clock.now()).update(restored_at=now, restored_by=by[:255])
        audit.record(
            one.audited if one.tag else "manifest.restore",
            f"{repository}:{one.tag}" if one.tag else f"{repository}@{one.digest}",
            by=by,
            result=AuditEvent.Result.FAILED if problem else AuditEvent.Result.DONE,
            details={"digest": one.digest, **({"reason": str(problem)} if problem else {})},
        )
    log.info("%s: %d of %d put back by %s", repository, len(wishes) - len(failed), len(wishes), by)
