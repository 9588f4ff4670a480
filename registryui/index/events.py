"""The fast path: notifications of the registry.

An event is a hint. It is stored, then the registry is asked about the tag it names, so neither
repeats nor the order of arrival matter. Only what cannot be asked is taken from the event itself:
who pushed, when, and that somebody pulled. What got lost is found by the next sync.

Into a mirrored repository nobody pushes: there the registry is asked when something was pulled that
the index does not know.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from registryui.models import (
    DailyActivity,
    ImageIndexEntry,
    ManifestBlob,
    RegistryEvent,
    Repository,
    Run,
    StoreDay,
    Tag,
    TagTombstone,
)
from registryui.models.activity import OWN_ACT as OWN_ACT
from registryui.models.activity import OWN_CLIENT
from registryui.models.mirrored import Mirrors
from registryui.oci import media_types, throw_away
from registryui.oci.event import Event, parse_events
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, TooLarge
from registryui.registry.source import Source, Stored

from . import client_deletes, counts, ingest, tombstones
from .blob_names import remembered
from .fetch import Known, TagProbe, complete, has_blob, probe
from .sync import AT_ONCE, fill, is_absent, is_store, known_elsewhere, known_here, write

log = logging.getLogger(__name__)

BATCH = 5000  # events of a round: the more, the more of one repository are written together
TOGETHER = 1000  # events of one repository whose images are in memory at once
PAUSES = (0.03, 0.06, 0.12, 0.24, 0.48)  # seconds between looks at a tag that is being written
MISSED = timedelta(seconds=5)  # an event waits no longer for the job that applies it
RECENT = timedelta(seconds=10)
IMPORTS = 3  # the newest ones, whose pushes may still be told
ATTEMPTS = 20  # with a registry that does not answer; then the sync is left to it
LONGEST_WAIT = 60  # seconds between two attempts; the first waits are 1, 2, 4 …
PULLS_KEPT = timedelta(days=30)
_one_at_a_time = threading.Lock()


def receive(body: bytes) -> int:
    """Stores the events of one notification; returns how many are new and of use.

    Raises ValueError if the body is no notification.
    """
    rows = [_row(event) for event in parse_events(body) if _is_of_use(event)]
    _name_importers(rows)
    ids = [row.event_id for row in rows] + [_act_of(row) for row in rows]
    known = set(RegistryEvent.objects.filter(event_id__in=ids).values_list("event_id", flat=True))
    known |= _deletes_of_ours(rows)
    fresh = {row.event_id: row for row in rows if not {row.event_id, _act_of(row)} & known}
    RegistryEvent.objects.bulk_create(fresh.values(), ignore_conflicts=True)
    return len(fresh)


def _is_of_use(event: Event) -> bool:
    if event.action == "pull":  # a HEAD counts as a pull for the registry; not for people
        is_manifest = media_types.is_manifest(event.media_type)
        return event.method == "GET" and is_manifest and not event.client.startswith(OWN_CLIENT)
    if event.action == "push":
        return media_types.is_manifest(event.media_type)
    return event.action == "delete"


def _act_of(row: RegistryEvent) -> str:
    """Id of our own event of the same act. It is random, so no client can name it."""
    return f"{OWN_ACT}{row.client.rpartition(' act/')[2][:32]}"


def _name_importers(rows: Sequence[RegistryEvent]) -> None:
    """Pushes of an import are by the one who began it. Its act is as random as those above, and
    nginx hands nobody's request to that client's address without a name. No query without one."""
    acts = {act for row in rows if not row.actor and (act := _act_of(row)) != OWN_ACT}
    if not acts:
        return
    newest = Run.objects.filter(kind=Run.Kind.IMPORT).order_by("-started_at")[:IMPORTS]
    by = {
        f"{OWN_ACT}{result.get('act')}": who for result, who in newest.values_list("result", "by")
    }
    for row in rows:
        if not row.actor:
            row.actor = by.get(_act_of(row), "")[:255]


def _deletes_of_ours(rows: Sequence[RegistryEvent]) -> set[str]:
    """Those acts of these events that are deletes of the portal: deletion/execute.py writes what
    came of them, and their throw-aways are nobody's history. No query without such an event."""
    acts = {act.removeprefix(OWN_ACT) for row in rows if (act := _act_of(row)) != OWN_ACT}
    if not acts:
        return set()
    ours = TagTombstone.objects.filter(act__in=acts).values_list("act", flat=True)
    return {f"{OWN_ACT}{act}" for act in ours}


def _row(event: Event) -> RegistryEvent:
    return RegistryEvent(
        event_id=event.id[:64],
        action=event.action[:16],
        repository=event.repository,
        tag=event.tag,
        digest=event.digest,
        media_type=event.media_type[:255],
        at=event.at,
        actor=event.actor[:255],
        address=event.address[:64],
        client=event.client[:255],
    )


def apply_pending(
    source: Source,
    *,
    then: Callable[[Sequence[RegistryEvent]], None] = lambda events: None,
    later: Callable[[float], object] = lambda seconds: None,
    absent: Callable[[str], object] = lambda repository: None,
) -> int:
    """Applies every stored event whose time has come, oldest first; returns how many. Waits for a
    run under way.

    `then` gets the events of each repository once they are applied. `later` is told in how many
    seconds to come again, if the registry did not answer for some; it stops none of the others.
    `absent` is told of mirrored repositories that did not have all of what was pulled yet: see
    sync.fill.
    """
    applied, last = 0, 0
    waits: list[float] = []
    mirrors = Mirrors()
    with _one_at_a_time, ThreadPoolExecutor(AT_ONCE, thread_name_prefix="events") as pool:
        while batch := _due(last):
            last = batch[-1].pk
            by_repository: dict[str, list[RegistryEvent]] = defaultdict(list)
            for event in batch:
                by_repository[event.repository].append(event)
            done: dict[str, list[RegistryEvent]] = {}
            for repository, events in by_repository.items():
                try:
                    for start in range(0, len(events), TOGETHER):
                        _apply(source, repository, events[start : start + TOGETHER], pool)
                except RegistryError as error:
                    waits.append(_postpone(repository, events, error))
                else:
                    done[repository] = events
            learned: dict[str, list[RegistryEvent]] = {}
            for repository, pulls in _conclude(done, mirrors).items():
                try:
                    is_absent = _learn(source, repository, pulls, pool, mirrors)
                except RegistryError as error:
                    waits.append(_postpone(repository, pulls, error))
                    done[repository] = [one for one in done[repository] if one not in pulls]
                else:
                    learned[repository] = pulls
                    if is_absent:
                        absent(repository)
            if learned:
                _conclude(learned)
            counts.fold()
            for events in done.values():
                applied += len(events)
                then(events)
    if waits:
        later(min(waits))
    return applied


def _due(last: int) -> list[RegistryEvent]:
    """The next events after this one that are to be applied now."""
    rows = RegistryEvent.objects.filter(applied_at=None, id__gt=last, retry_at__lte=timezone.now())
    return list(rows.order_by("id")[:BATCH])


def were_missed() -> bool:
    """True if events wait that nobody was asked to apply: a job that got lost with its host."""
    since = timezone.now() - MISSED
    return RegistryEvent.objects.filter(applied_at=None, attempts=0, received_at__lt=since).exists()


def _apply(
    source: Source, repository: str, events: Sequence[RegistryEvent], pool: Executor
) -> None:
    """Looks at everything that these events of one repository name, and writes it down."""
    updates = _updates(events)
    _note_replaced(repository, events)
    # Before the tags: so all that one DELETE untagged are restored together.
    if deletes := {one.digest for one in events if one.action == "delete" and one.digest}:
        _check_deleted(source, repository, deletes, pool)
        _check_blobs(source, repository, deletes, pool)
    tags = {event.tag for event in events if event.tag and event.action != "pull"}
    seen: dict[str, str] = {}
    for pause in (*PAUSES, None):
        if tags:
            tags = _probe_tags(
                source, repository, tags, updates, pool, is_last=pause is None, seen=seen
            )
        if tags and pause is not None:
            time.sleep(pause)
    pushes = [event for event in events if event.action == "push" and event.digest]
    passed = [one for one in pushes if one.tag and seen.get(one.tag) != one.digest]
    untagged = [one for one in pushes if not one.tag]
    probe_untagged(source, repository, {one.digest for one in [*untagged, *passed]}, pool)
    if passed:
        _keep_unseen(source, repository, passed)
        tombstones.note_passed(repository, passed, events)


def _set_on(
    source: Source, repository: str, pulls: Sequence[RegistryEvent], pool: Executor
) -> dict[str, ingest.TagUpdate]:
    """By tag, those of these pulls by digest that a tag is on now: some clients ask for a tag's
    digest, which is no pull, and then pull that. One query; a request for each tag, unless image
    indexes list all that was pulled."""
    at = {one.digest: one.at for one in pulls}
    listing = ImageIndexEntry.objects.filter(
        digest__in=at, image_index__repository__name=repository
    )
    if not at.keys() - set(listing.values_list("digest", flat=True)):
        return {}
    tags = sorted(_listed(source, repository))
    digests = pool.map(lambda tag: _resolved(source, repository, tag), tags)
    return {
        tag: ingest.TagUpdate(digest, at[digest], "")
        for tag, digest in zip(tags, digests, strict=True)
        if digest in at
    }


def _resolved(source: Source, repository: str, tag: str) -> str:
    try:
        return source.resolve(repository, tag) or ""
    except (NotFound, BadAnswer, TooLarge):
        return ""


@transaction.atomic
def _conclude(
    done: Mapping[str, Sequence[RegistryEvent]], mirrors: Mirrors | None = None
) -> dict[str, list[RegistryEvent]]:
    """Counts the events of a batch that were applied, by repository, and marks them. Killed before
    that, they are looked at again, which does no harm; each is counted once.

    Leaves out, and returns, pulls from mirrored repositories of what the index does not know. None:
    it was looked for.
    """
    wanted = [event.pk for events in done.values() for event in events]
    # Another host may have been at the same events.
    rows = RegistryEvent.objects.select_for_update().filter(pk__in=wanted, applied_at=None)
    ours = set(rows.values_list("pk", flat=True))
    counted = {name: [one for one in events if one.pk in ours] for name, events in done.items()}
    unknown = _count(counted, mirrors)
    ours -= {event.pk for pulls in unknown.values() for event in pulls}
    RegistryEvent.objects.filter(pk__in=ours).update(applied_at=timezone.now(), error="")
    client_deletes.tell(event for events in counted.values() for event in events)
    return unknown


def _learn(
    source: Source,
    repository: str,
    pulls: Sequence[RegistryEvent],
    pool: Executor,
    mirrors: Mirrors,
) -> bool:
    """Looks at what these pulls from a mirrored repository name; True if some of it was not pulled
    yet."""
    tags = {one.tag for one in pulls if one.tag}
    newest = {
        one.tag: ingest.TagUpdate(one.digest, one.at, "") for one in sorted(pulls, key=_by_time)
    }
    newest |= _set_on(source, repository, [one for one in pulls if not one.tag], pool)
    tags |= newest.keys() - {""}
    _probe_all(source, repository, tags, {one.digest for one in pulls}, newest, pool, mirrors)
    return is_absent(repository)


def probe_mirrored(source: Source, repository: str, tags: set[str], digests: set[str]) -> None:
    """Probes these in a mirrored repository, and again what was absent. RegistryError: no
    answer."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="events") as pool:
        _probe_all(source, repository, tags, digests, {}, pool, Mirrors())
        fill(source, repository, pool)


def _probe_all(
    source: Source,
    repository: str,
    tags: set[str],
    digests: set[str],
    newest: dict[str, ingest.TagUpdate],
    pool: Executor,
    mirrors: Mirrors,
) -> None:
    seen: dict[str, str] = {}
    for _attempt in PAUSES:  # a sync may be quicker
        tags = tags and _probe_tags(
            source, repository, tags, newest, pool, is_last=True, seen=seen, mirrors=mirrors
        )
    probe_untagged(source, repository, digests - set(seen.values()), pool, mirrors=mirrors)


def _note_replaced(repository: str, events: Sequence[RegistryEvent]) -> None:
    """Writes to each push which digest it took its tag from, as far as the index or an earlier push
    knows. One query for pushes of tags, one or two more where any tag moved."""
    pushes = sorted((one for one in events if one.action == "push" and one.tag), key=_by_time)
    if not pushes:
        return
    rows = Tag.objects.filter(repository__name=repository, name__in={one.tag for one in pushes})
    now, known_since = {}, {}
    for name, digest, tagged_at in rows.values_list("name", "manifest__digest", "tagged_at"):
        now[name], known_since[name] = digest or "", tagged_at
    # A sync, or this very batch before it was killed, was quicker: then undo knows what was there.
    late = [name for name, tagged_at in known_since.items() if tagged_at >= pushes[0].at]
    if late:
        left = TagTombstone.objects.filter(
            repository=repository,
            tag__in=late,
            how=TagTombstone.How.OVERWRITTEN,
            at__gte=pushes[0].at,
        )
        now |= dict.fromkeys(late, "")
        now |= dict(left.order_by("-at").values_list("tag", "digest"))
    moved = []
    for event in sorted(events, key=_by_time):
        if event.action == "delete" and event.tag:
            now[event.tag] = ""
        elif event.action == "delete":
            now = {tag: "" if digest == event.digest else digest for tag, digest in now.items()}
        elif event.action == "push" and event.tag:
            before, now[event.tag] = now.get(event.tag, ""), event.digest
            if before not in ("", event.digest):
                event.replaced = before
                moved.append(event)
    RegistryEvent.objects.bulk_update(moved, ["replaced"], batch_size=200)


def _by_time(event: RegistryEvent) -> datetime:
    return event.at


def _updates(events: Iterable[RegistryEvent]) -> dict[str, ingest.TagUpdate]:
    """The newest push of each tag."""
    updates: dict[str, ingest.TagUpdate] = {}
    for event in sorted(events, key=lambda one: one.at):
        if event.action == "push" and event.tag:
            updates[event.tag] = ingest.TagUpdate(event.digest, event.at, event.actor)
    return updates


def _probe_tags(
    source: Source,
    repository: str,
    tags: Iterable[str],
    updates: dict[str, ingest.TagUpdate],
    pool: Executor,
    *,
    is_last: bool,
    seen: dict[str, str],
    mirrors: Mirrors | None = None,
) -> set[str]:
    """Returns the tags to look at again: those that changed in the index while we looked, and
    those that the registry has not finished writing. Raises its error only if this `is_last`.

    Fills `seen` with the digests that were looked at."""
    rows = Tag.objects.filter(repository__name=repository, name__in=tags)
    known = {
        name: (digest or "", problem)
        for name, digest, problem in rows.values_list("name", "manifest__digest", "problem")
    }
    futures = {tag: pool.submit(_probe, source, repository, tag, known.get(tag)) for tag in tags}
    probes = []
    again: set[str] = set()
    listed: set[str] | None = None
    for tag, future in futures.items():
        try:
            one = future.result()
        except RegistryError as error:
            if is_last or error.temporary:
                raise
            again.add(tag)
            continue
        if not is_last and _is_behind(one, updates.get(tag)):
            again.add(tag)
            continue
        seen[tag] = one.digest
        if one.problem not in ("", Tag.Problem.DANGLING) and not one.digest and tag in updates:
            seen[tag] = updates[tag].digest  # it is there and cannot be read: nobody overwrote it
        if not one.digest and one.problem == Tag.Problem.DANGLING:
            if listed is None:
                listed = _listed(source, repository)
            if one.tag not in listed:  # deleted, not dangling
                one = replace(one, is_gone=True)
                if one.tag not in known:
                    continue
        probes.append(one)
    if probes:
        again |= set(
            write(source, repository, probes, pool, updates=updates, mirrors=mirrors).skipped
        )
    return again


def _probe(source: Source, repository: str, tag: str, known: tuple[str, str] | None) -> TagProbe:
    """At a tag, of which the index has this digest and problem; a problem may have healed."""
    digest, problem = known or ("", "")
    return probe(source, repository, tag, expected=digest, again=bool(problem))


def _is_behind(one: TagProbe, update: ingest.TagUpdate | None) -> bool:
    """True if a push that was just told of is not to be seen yet.

    Registry 2.8 sends the event before the tag's link is written: for some milliseconds the tag
    is absent, or still the old one, or the answer is a 500 (seen in 3 of 90 pushes).
    """
    if update is None or one.digest == update.digest or one.digest not in ("", one.expected):
        return False
    return timezone.now() - update.at < RECENT


def _listed(source: Source, repository: str) -> set[str]:
    try:
        return set(source.tags(repository))
    except NotFound:
        return set()


def probe_untagged(
    source: Source,
    repository: str,
    digests: set[str],
    pool: Executor,
    *,
    mirrors: Mirrors | None = None,
) -> None:
    """Manifests that were pushed and that no tag brought along: no list of the registry has
    them. Tags that lacked one are looked at again."""
    stored = []
    for digest in (digests - known_here(repository, digests)) if digests else ():
        try:
            one = source.manifest(repository, digest)
        except (NotFound, BadAnswer, TooLarge):
            continue
        if one is not None:
            stored.append(one)
    if stored:
        known = Known(lambda some: known_here(repository, some), known_elsewhere)
        is_mirrored = (mirrors or Mirrors()).have(repository)
        manifests = complete(
            source, repository, stored, known=known, pool=pool, is_mirrored=is_mirrored
        )
        ingest.save(repository, [], manifests)
        probe_incomplete(source, repository, {one.digest for one in stored}, pool)


def probe_incomplete(source: Source, repository: str, digests: set[str], pool: Executor) -> None:
    """Looks again at tags that lacked something, on image indexes that list these manifests. One
    query where there are none."""
    listing = ImageIndexEntry.objects.filter(
        digest__in=digests, image_index__repository__name=repository
    )
    above = set(listing.order_by().values_list("image_index__digest", flat=True))
    if not above:
        return
    tags = Tag.objects.filter(
        repository__name=repository, manifest__digest__in=above, problem=Tag.Problem.INCOMPLETE
    )
    known = tags.values_list("name", "manifest__digest", "problem")
    futures = [
        pool.submit(_probe, source, repository, tag, (digest or "", problem))
        for tag, digest, problem in known
    ]
    if futures:
        write(source, repository, [future.result() for future in futures], pool)
    probe_incomplete(source, repository, above - digests, pool)


def _check_deleted(source: Source, repository: str, digests: set[str], pool: Executor) -> None:
    """Forgets manifests that were deleted by digest. An event of a blob finds no row: no harm."""
    known = sorted(known_here(repository, digests))
    now = pool.map(lambda digest: source.resolve(repository, digest), known)
    away = [digest for digest, there in zip(known, now, strict=True) if there is None]
    ingest.drop_manifests(repository, away, with_undo=True)


def _check_blobs(source: Source, repository: str, digests: set[str], pool: Executor) -> None:
    """Tags whose layers or configs were deleted are broken. Two queries where there are none."""
    stored = remembered(digests)
    blobs = ManifestBlob.objects.filter(
        repository__name=repository, blob__digest__in={*digests, *stored.values()}
    )
    needed = set(blobs.order_by().values_list("blob__digest", flat=True))
    order = sorted(one for one in digests if stored.get(one, one) in needed)
    there = pool.map(lambda digest: has_blob(source, repository, digest), order)
    lost = {
        stored.get(digest, digest)
        for digest, is_there in zip(order, there, strict=True)
        if not is_there
    }
    if lost:
        ingest.lose_blobs(repository, lost)


def _keep_unseen(source: Source, repository: str, pushes: Sequence[RegistryEvent]) -> None:
    """Keeps the bytes of what was pushed and deleted before anybody looked. Only a store has them
    still, as a blob without a link."""
    media_types_of = {one.digest: one.media_type for one in pushes}
    unseen = media_types_of.keys() - known_here(repository, media_types_of)
    unseen -= client_deletes.stored(repository, unseen).keys()
    if not unseen or not is_store(source):
        return
    order = sorted(unseen)
    contents = source.read_blobs(order, limit=MANIFEST_LIMIT, repository=repository)
    found = [
        Stored(digest, media_types_of[digest], content)
        for digest, content in zip(order, contents, strict=True)
        if isinstance(content, bytes) and not throw_away.is_one(content)
    ]
    client_deletes.keep(repository, [(one, client_deletes.size_of(one)) for one in found])


def _postpone(repository: str, events: Sequence[RegistryEvent], error: RegistryError) -> float:
    """Leaves them for another attempt; returns the seconds until the first of them."""
    log.warning("events %s: %s", repository, error)
    now = timezone.now()
    waits = []
    for event in events:
        wait = min(2.0**event.attempts, LONGEST_WAIT)
        event.attempts += 1
        event.error = str(error)[:255]
        event.retry_at = now + timedelta(seconds=wait)
        event.applied_at = now if event.attempts >= ATTEMPTS else None
        waits.append(wait)
    RegistryEvent.objects.bulk_update(events, ["attempts", "error", "retry_at", "applied_at"])
    return min(waits)


# -- what only events know: pulls and pushes a day -----------------------------------------------


def _count(
    done: Mapping[str, Sequence[RegistryEvent]], mirrors: Mirrors | None
) -> dict[str, list[RegistryEvent]]:
    """Returns what `_conclude` does."""
    rows = {row.name: row for row in Repository.objects.filter(name__in=done.keys())}
    days: dict[tuple[int, date], list[int]] = defaultdict(lambda: [0, 0])
    unknown: dict[str, list[RegistryEvent]] = {}
    for name, repository in rows.items():
        for event in done[name]:
            if event.action == "push" and event.tag:
                days[repository.pk, event.at.date()][1] += 1
        counted, unknown[name] = _pulls_of_tags(repository, done[name], mirrors)
        for event in counted:
            days[repository.pk, event.at.date()][0] += 1
    for name in done.keys() - rows.keys():
        pulls = [event for event in done[name] if event.action == "pull"]
        unknown[name] = pulls if pulls and mirrors and mirrors.have(name) else []
    _add_to_days(days)
    return {name: pulls for name, pulls in unknown.items() if pulls}


def _add_to_days(days: Mapping[tuple[int, date], Sequence[int]]) -> None:
    """Adds (pulls, pushes) to each day of a repository, and to the day of the whole store: one
    UPDATE for each pair of numbers."""
    DailyActivity.objects.bulk_create(
        (DailyActivity(repository_id=key, day=day) for key, day in days), ignore_conflicts=True
    )
    present = DailyActivity.objects.filter(
        repository__in={key for key, _day in days}, day__in={day for _key, day in days}
    )
    rows: dict[tuple[int, int], list[int]] = defaultdict(list)
    for pk, repository, day in present.values_list("pk", "repository_id", "day"):
        if (repository, day) in days:
            pulls, pushes = days[repository, day]
            rows[pulls, pushes].append(pk)
    for (pulls, pushes), pks in rows.items():
        DailyActivity.objects.filter(pk__in=pks).update(
            pulls=F("pulls") + pulls, pushes=F("pushes") + pushes
        )
    whole: dict[date, list[int]] = defaultdict(lambda: [0, 0])
    for (_repository, day), (pulls, pushes) in days.items():
        whole[day][0] += pulls
        whole[day][1] += pushes
    for day, (pulls, pushes) in whole.items():
        StoreDay.objects.get_or_create(day=day)
        StoreDay.objects.filter(day=day).update(
            pulls=F("pulls") + pulls, pushes=F("pushes") + pushes
        )


def _pulls_of_tags(
    repository: Repository, events: Sequence[RegistryEvent], mirrors: Mirrors | None
) -> tuple[list[RegistryEvent], list[RegistryEvent]]:
    """Writes pulls to their manifests; returns those that count for the repository, and those of
    which nothing is written, because it is mirrored and what was pulled is not in the index.

    A client that pulls an image index fetches the index and then one child: one pull, not two.
    """
    pulls: dict[str, list[RegistryEvent]] = defaultdict(list)
    for event in events:
        if event.action == "pull":
            pulls[event.digest].append(event)
    if not pulls:
        return [], []
    children = set(
        ImageIndexEntry.objects.filter(
            image_index__repository=repository, digest__in=pulls.keys()
        ).values_list("digest", flat=True)
    )
    named = set(
        repository.tags.filter(manifest__digest__in=pulls.keys()).values_list(
            "name", "manifest__digest"
        )
    )
    tagged = {digest for _name, digest in named}
    counted: list[RegistryEvent] = []
    unknown: list[RegistryEvent] = []
    for digest, of_digest in pulls.items():
        elsewhere = [one for one in of_digest if one.tag and (one.tag, digest) not in named]
        if elsewhere and mirrors and mirrors.have(repository.name):
            unknown += elsewhere
            of_digest = [one for one in of_digest if one not in elsewhere]
            if not of_digest:
                continue
        newest = max(of_digest, key=lambda one: one.at)
        rows = repository.manifests.filter(digest=digest)
        is_known = rows.update(pull_count=F("pull_count") + len(of_digest))
        if not is_known and mirrors and mirrors.have(repository.name):
            unknown += of_digest
            continue
        rows.filter(pulled_at__lt=newest.at).update(pulled_at=newest.at, pulled_by=newest.actor)
        repository.tags.filter(manifest__digest=digest, pulled_at__lt=newest.at).update(
            pulled_at=newest.at
        )
        if digest in tagged or digest not in children:
            counted += of_digest
    if counted:
        newest_at = max(repository.pulled_at, *(event.at for event in counted))
        Repository.objects.filter(pk=repository.pk).update(
            pull_count=F("pull_count") + len(counted),
            pulled_at=newest_at,
            changed_at=timezone.now(),
        )
    return counted, unknown


def prune() -> int:
    """Removes pulls past their time, which are counted already; pushes are a tag's history."""
    old = RegistryEvent.objects.filter(
        action="pull", at__lt=timezone.now() - PULLS_KEPT, applied_at__isnull=False
    )
    return old.delete()[0]
