"""Deleting: a plan that says exactly what goes, and the act that untags only that.

A delete removes names. The manifest stays in the registry, untagged, until undo's time is over and
garbage collection takes it; so each delete can be taken back with the same digest (restore.py).
Only `purge_manifest` makes a digest unpullable at once.

    plan.py     what a delete would do     records.py       Selection, Plan, Outcome …
    untag.py    how the registry does it   reachability.py  what keeps what
    purge.py    purge_manifest             recovery.py      what a killed delete left over
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from registryui import audit
from registryui.index import client_deletes, ingest, tombstones
from registryui.index.events import OWN_ACT
from registryui.index.fetch import TagProbe, probe
from registryui.index.sync import write
from registryui.models import AuditEvent, RegistryEvent, Tag, TagTombstone
from registryui.models.mirrored import is_mirrored
from registryui.oci import throw_away
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError
from registryui.registry.responding import require_answer
from registryui.under_way import under_way

from . import untag
from .plan import plan, repository_of
from .purge import plan_purge, purge_manifest
from .reachability import around
from .records import Changed, Going, LeftOut, Outcome, Plan, Purge, Result, Selection, Staying

__all__ = [
    "Changed",
    "Going",
    "LeftOut",
    "Outcome",
    "Plan",
    "Purge",
    "Result",
    "Selection",
    "Staying",
    "execute",
    "plan",
    "plan_purge",
    "purge_manifest",
]

log = logging.getLogger(__name__)

BATCH = 100  # tags whose rows are written together, and that share a throw-away
AT_ONCE = 8  # requests to the registry
NAMED = 1000  # tags that one row of the audit log names


def execute(
    selection: Selection,
    *,
    fingerprint: str,
    by: str,
    act: str = "",
    audited: str = "tag.delete",
    progress: Callable[[int, int], bool] | None = None,
) -> Outcome:
    """Deletes what the plan with this fingerprint named, and nothing else.

    Changed (a Refused) if the plan made now has another one; Refused if the registry does not
    respond. `act`: its id, else a new one. `audited`: what the audit log calls it for each tag.
    `progress` gets (done, total) and says False to stop: what was done stays done, and can be
    undone.

    The rows of undo are written before the registry is touched, so a process that dies in the
    middle loses none; `recover_act` (recovery.py) finds out at once what came of them. Images go
    before their referrer tags: a referrer tag stays if its image did.
    """
    planned = plan(selection)
    if planned.fingerprint != fingerprint:
        raise Changed(
            _("The content has changed since this plan was shown. Review it and try again."),
            planned,
        )
    act, total = act or uuid.uuid4().hex, len(planned.going) + len(planned.referrer_tags)
    if not total:
        return Outcome(act, (), tombstones.kept_until(timezone.now()))
    require_answer()
    audit.record(
        "delete.begin", _target(planned), by=by, details={"act": act, **_intention(planned)}
    )
    results: list[Result] = []
    with (
        under_way(f"delete-{act}"),
        RegistryClient(settings.REGISTRY_URL, act=act, pool=AT_ONCE) as registry,
        ThreadPoolExecutor(
            AT_ONCE,
            thread_name_prefix="delete",
            initializer=translation.activate,  # reasons, in the language of who asked
            initargs=(translation.get_language() or settings.LANGUAGE_CODE,),
        ) as pool,
    ):
        doing = _Doing(planned.selection.repository, act, by, audited, registry, pool)
        for is_referrer, some in ((False, planned.going), (True, planned.referrer_tags)):
            wanted = _with_their_image(planned, some, results) if is_referrer else some
            queue = iter(wanted)
            while batch := list(islice(queue, BATCH)):
                done = doing.delete(batch)
                results += done
                if progress is not None and not progress(len(results), total):
                    return Outcome(act, tuple(results), tombstones.kept_until(timezone.now()))
                if all(one.state == "failed" for one in done):  # the next hundred would, too
                    reason = done[-1].reason
                    results += [Result(one.tag, one.digest, "failed", reason) for one in queue]
    return Outcome(act, tuple(results), tombstones.kept_until(timezone.now()))


def _target(planned: Plan) -> str:
    """How the audit log names what is deleted."""
    name = planned.selection.repository
    if len(planned.going) != 1:
        return name
    return _name(name, planned.going[0].tag, planned.going[0].digest)


def _name(repository: str, tag: str, digest: str) -> str:
    return f"{repository}:{tag}" if tag else f"{repository}@{digest}"


def _intention(planned: Plan) -> dict[str, object]:
    every = (*planned.going, *planned.referrer_tags)
    names = [one.tag or one.digest for one in every[:NAMED]]
    return {"names": names, "count": len(every), "repository": planned.selection.is_all}


def _with_their_image(
    planned: Plan, referrer_tags: Sequence[Going], results: Sequence[Result]
) -> Sequence[Going]:
    """Those of the referrer tags whose image went."""
    stayed = {one.digest for one in results if one.state not in ("deleted", "gone")} - {""}
    if not referrer_tags or not stayed:
        return referrer_tags
    repository = repository_of(planned.selection.repository)
    kept = around(repository, stayed).keys
    return [one for one in referrer_tags if one.refers_to not in kept]


@dataclass(frozen=True, slots=True)
class _Doing:
    """One act under way."""

    repository: str
    act: str
    by: str
    audited: str
    registry: RegistryClient
    pool: ThreadPoolExecutor

    def delete(self, batch: Sequence[Going]) -> list[Result]:
        """Notes these for undo, untags them, writes down what came of it."""
        self._note(batch)
        tags = [untag.Wanted(one.tag, one.digest) for one in batch if one.tag]
        taken = {
            one.tag: one
            for one in untag.untag(
                self.registry, self.repository, tags, act=self.act, pool=self.pool
            )
        }
        self._write(list(taken.values()))
        results = [
            Result(one.tag, one.digest, taken[one.tag].state, taken[one.tag].reason)
            if one.tag
            else Result("", one.digest, "deleted")
            for one in batch
        ]
        self._conclude(results, {one.tag for one in taken.values() if one.may_be_off})
        return results

    @transaction.atomic
    def _note(self, batch: Sequence[Going]) -> None:
        at = timezone.now()
        until = tombstones.kept_until(at)
        rows = Tag.objects.filter(
            repository__name=self.repository, name__in=[one.tag for one in batch]
        )
        known = {
            tag.name: tag
            for tag in rows.select_related("manifest", "repository").defer(
                "manifest__raw", "manifest__config", "manifest__annotations"
            )
        }
        noted = []
        for one in batch:
            tag = known.get(one.tag)
            if not one.digest or _is_left_over(tag):  # there is nothing to restore it to
                continue
            row = tombstones.row(tag) if tag is not None else None
            if row is None or row.digest != one.digest:
                row = TagTombstone(repository=self.repository, tag=one.tag, digest=one.digest)
                row.size, row.refers_to = one.size, one.refers_to
            row.how, row.act, row.at, row.by = TagTombstone.How.DELETED, self.act, at, self.by[:255]
            row.keep_until = until
            noted.append(row)
        TagTombstone.objects.bulk_create(noted)

    def _write(self, taken: Sequence[untag.Taken]) -> None:
        """Brings the index up to what the registry has now."""
        probes = [one.probe for one in taken if one.probe is not None]
        try:
            for _attempt in range(3):
                if probes:
                    changes = write(self.registry, self.repository, probes, self.pool)
                    probes = self._probe_again(changes.skipped)
        except RegistryError:  # of a tag that somebody else set: the next sync brings it
            ingest.save(self.repository, [one for one in probes if one.is_gone], [])

    def _probe_again(self, tags: Collection[str]) -> list[TagProbe]:
        """At tags of which the index learned something else meanwhile: a sync that saw our
        throw-away, a push."""
        rows = Tag.objects.filter(repository__name=self.repository, name__in=tags)
        known = dict(rows.values_list("name", "manifest__digest")) if tags else {}
        return [
            probe(
                self.registry,
                self.repository,
                tag,
                expected=known.get(tag) or "",
                is_listed=False,
            )
            for tag in tags
        ]

    @transaction.atomic
    def _conclude(self, results: Sequence[Result], unsure: Collection[str]) -> None:
        """Own events, so that history says who it was; audit; and what did not go needs no undo,
        but for the tags of which we do not know."""
        at = timezone.now()
        deleted = [one for one in results if one.state == "deleted"]
        RegistryEvent.objects.bulk_create(
            RegistryEvent(
                event_id=f"{OWN_ACT}{uuid.uuid4().hex}",
                action="delete",
                repository=self.repository,
                tag=one.tag,
                digest=one.digest,
                at=at,
                actor=self.by[:255],
                client="boathouse",
                applied_at=at,
            )
            for one in deleted
        )
        loose = [one.digest for one in deleted if not one.tag]
        if loose and is_mirrored(self.repository):
            ingest.let_go(self.repository, loose)
        stayed = [one for one in results if one.state != "deleted" and one.tag not in unsure]
        rows = TagTombstone.objects.filter(act=self.act, repository=self.repository)
        rows = rows.filter(tag__in=[one.tag for one in stayed if one.tag])
        before_us = list(rows.filter(tag__in=[one.tag for one in stayed if one.state == "gone"]))
        rows.delete()
        for one in results:
            audit.record(
                self.audited if one.tag else "manifest.delete",
                _name(self.repository, one.tag, one.digest),
                by=self.by,
                result=_AUDITED[one.state],
                details={"act": self.act, "digest": one.digest, **_why(one)},
            )
        for row in before_us:
            row.pk = None
        # A client was quicker, and that can be undone, too.
        client_deletes.note(self.repository, before_us)
        log.info("%s: %d of %d deleted by %s", self.repository, len(deleted), len(results), self.by)


def _is_left_over(tag: Tag | None) -> bool:
    """Whether a delete was cut off here: its row of undo has the digest from before."""
    manifest = tag.manifest if tag is not None else None
    return manifest is not None and manifest.artifact_type == throw_away.ARTIFACT_TYPE


_AUDITED = {
    "deleted": AuditEvent.Result.DONE,
    "moved": AuditEvent.Result.REFUSED,
    "gone": AuditEvent.Result.REFUSED,
    "failed": AuditEvent.Result.FAILED,
}


def _why(one: Result) -> dict[str, str]:
    return {"reason": one.reason or one.state} if one.state != "deleted" else {}
