"""Expiry of single tags: set by people, or by the label of an image; the worker deletes what has
expired, as any delete: it can be restored, and does not expire again then.

    set_expiry ─► Tag.expires_at ─┐
    a push, with its label ───────┴─► run_due (each minute) ─► report: RetentionFate, Run.result

Protected tags are kept, whatever their expiry says; retention policies are not asked. A tag that
could not be deleted is tried again after PAUSE.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from itertools import islice

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from registryui import audit, clock, runs
from registryui.chunks import chunks
from registryui.deletion.protection import protections
from registryui.index import expiry
from registryui.models import EXPIRY, NEVER, RetentionFate, Run, Tag
from registryui.models.mirrored import is_mirrored
from registryui.oci.expiry import LONGEST, seconds_in
from registryui.refused import Refused
from registryui.registry.responding import NotResponding, require_answer

from .decide import Code, Fate, Known, Reason
from .work import Result, Work, delete_batch, report_row

log = logging.getLogger(__name__)

CHUNK = 5000  # tags read at once
BATCH = 200  # tags deleted under one plan
KEPT = 1000  # protected tags that a report names
PAUSE = timedelta(hours=1)
_COLUMNS = (
    *("pk", "repository__name", "name", "manifest__digest", "tagged_at", "pulled_at", "size"),
    *("expires_at", "label_expires_at"),
)


# -- setting it ------------------------------------------------------------------------------------
def set_expiry(repository: str, tag: str, at: datetime | None, *, by: str) -> Tag:
    """Sets when the tag expires, as long as it is on its digest of now; NEVER: not at all; None:
    what was set is removed, and its label counts. Raises Refused."""
    row = (
        Tag.objects.select_related("repository", "manifest")
        .defer("manifest__raw", "manifest__config", "manifest__annotations")
        .filter(repository__name=repository, name=tag)
        .first()
    )
    if row is None:
        raise Refused(_("There is no tag %s.") % f"{repository}:{tag}")
    check(row)
    now = timezone.now()
    if at not in (None, NEVER):
        if at <= now:
            raise Refused(_("Enter a time in the future. To delete the tag now, delete it."))
        if at > now + LONGEST:
            raise Refused(_("A tag can expire within ten years at most."))
    told = "never" if at == NEVER else at.isoformat(timespec="seconds") if at else ""
    digest = row.manifest.digest if row.manifest else ""
    details = {"expires_at": told, "digest": digest}
    with transaction.atomic():  # nothing is set without its row in the audit log
        if not expiry.put(row, at):
            words = _("The tag %s was pushed in the meantime. Review it and try again.")
            raise Refused(words % tag)
        audit.record("tag.expiry", f"{repository}:{tag}", by=by, details=details)
    row.expires_at = at
    return row


def check(tag: Tag) -> None:
    """Refused: nobody can set when it expires."""
    if tag.refers_to:
        raise Refused(_("This tag belongs to an image and is deleted with it."))
    if tag.manifest is None:
        raise Refused(_("This tag has no manifest: delete it instead."))
    if is_mirrored(tag.repository.name):
        raise Refused(_("Tags of mirrors do not expire: the mirror removes what is not used."))


def after(text: str) -> datetime:
    """The moment so long from now: `12h`, `3d`, `2w`. Refused for anything else."""
    seconds = seconds_in(text)
    if seconds is None:
        raise Refused(_("Enter a duration such as 12h, 3d or 2w, at most ten years."))
    return timezone.now() + timedelta(seconds=seconds)


def moment(text: str) -> datetime:
    """`2026-12-31T18:00`, by TIME_ZONE, or a day, to its end. Refused for anything else."""
    try:
        day = parse_date(text.strip())
        found = datetime.combine(day, time.max) if day else parse_datetime(text.strip())
    except ValueError:
        found = None
    if found is None or not 1970 < found.year < 9000:
        raise Refused(_("Enter a date and time such as 2026-12-31T18:00."))
    return found if timezone.is_aware(found) else timezone.make_aware(found)


# -- deleting what has expired ---------------------------------------------------------------------
def run_due() -> Run | None:
    """Deletes what has expired. None: there is nothing that can be deleted now, or another host is
    at it."""
    if clock.known().has_jumped or next(_deletable(set()), None) is None:
        return None
    try:
        require_answer()
    except NotResponding:
        return None
    run = runs.begin(Run.Kind.EXPIRY, by="schedule", result=Result())
    if run is None:
        return None
    with Work(run, Result.of(run), act="expiry.run") as work:
        _delete_all(work)
    return run


def _delete_all(work: Work) -> None:
    tried: set[int] = set()
    kept: list[Fate] = []
    while found := list(islice(_deletable(tried, kept), CHUNK)):
        work.run.total += len(found)
        by_repository: dict[str, list[int]] = defaultdict(list)
        for pk, fate in found:
            by_repository[fate.tag.repository].append(pk)
        for repository, keys in by_repository.items():
            for batch in chunks(keys, BATCH):
                work.advance(at_once=True)
                tried.update(batch)
                if not _delete(work, repository, batch):
                    work.note(f"Ended: none of {len(batch)} tags of {repository} could be deleted.")
                    work.state = Run.State.FAILED
                    return
    work.result.saved = len(kept)
    for fate in kept:
        work.add(report_row(work.run, fate, RetentionFate.Kind.SAVED))


def _delete(work: Work, repository: str, batch: Sequence[int]) -> bool:
    """False if the registry failed at every one of them. Whoever changed an expiry, or pushed the
    tag, a moment ago, is heard."""
    rows = [row for found in expiry.due(timezone.now()) for row in _rows(found, batch)]
    work.result.tags += len(batch)
    fates = [fate for _pk, fate in rows]
    is_done = not fates or delete_batch(work, repository, fates, by=EXPIRY, audited="tag.expire")
    work.advance(len(batch))
    return is_done


def _rows(found: QuerySet[Tag], batch: Sequence[int]) -> list[tuple[int, Fate]]:
    return [_fate(*row) for row in found.filter(pk__in=batch).values_list(*_COLUMNS)]


def _deletable(tried: set[int], kept: list[Fate] | None = None) -> Iterator[tuple[int, Fate]]:
    """Key and fate of what has expired and was not tried, also not within PAUSE. Protected tags go
    to `kept`, KEPT of them at most."""
    now, protected = timezone.now(), protections()
    failed = _failed_since(now - PAUSE)
    if kept is not None:
        kept.clear()
    for found in expiry.due(now):
        for row in found.values_list(*_COLUMNS).iterator(chunk_size=1000):
            pk, fate = _fate(*row)
            if pk in tried or (fate.tag.repository, fate.tag.name) in failed:
                continue
            protection = protected.of(fate.tag.repository, fate.tag.name)
            if protection is None:
                yield pk, fate
            elif kept is not None and len(kept) < KEPT:
                kept.append(Fate(fate.tag, Reason(Code.PROTECTED, note=str(protection))))


def _failed_since(since: datetime) -> set[tuple[str, str]]:
    rows = RetentionFate.objects.filter(
        run__kind=Run.Kind.EXPIRY, run__started_at__gt=since, kind=RetentionFate.Kind.FAILED
    )
    return set(rows.order_by().values_list("repository", "tag"))


def _fate(
    pk: int,
    repository: str,
    name: str,
    digest: str,
    tagged_at: datetime,
    pulled_at: datetime,
    size: int,
    expires_at: datetime | None,
    label_expires_at: datetime | None,
) -> tuple[int, Fate]:
    tag = Known(repository, name, digest, tagged_at, pulled_at, size)
    at = expires_at or label_expires_at
    note = f"{'set' if expires_at else 'label'} {at.isoformat(timespec='seconds') if at else ''}"
    return pk, Fate(tag, Reason(Code.EXPIRED, note=note))
