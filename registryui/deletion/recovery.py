"""What deletes left over whose process died, or whose registry went away, in the middle.

    a row of undo whose tag the index still has   the registry is asked: either the tag never went,
                                                  or the index learns that it did
    a throw-away of ours in the registry          it is deleted, with the tags that it is on

The worker looks at once at a delete whose process died on its own host (under_way.py), each minute
at what is new, and once a day at all of it. Rows of undo that are long past their time go here as
well.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from registryui import runs
from registryui.index import client_deletes, ingest
from registryui.index.fetch import probe
from registryui.index.sync import write
from registryui.models import Manifest, Run, Tag, TagTombstone
from registryui.models.deletion import TagTombstoneQuerySet
from registryui.oci import throw_away
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError

log = logging.getLogger(__name__)

UNDER_WAY = timedelta(minutes=10)  # so old, and no delete is at it any more
RECENT = timedelta(hours=2)
KEPT = timedelta(days=30)  # rows that can be restored no more


def recover(*, is_complete: bool = False) -> int:
    """Looks at what is left over; returns at how many tags. Two queries where nothing is.

    RegistryError of one repository leaves it for the next time.
    """
    now = timezone.now()
    rows = TagTombstone.objects.filter(at__lt=now - UNDER_WAY)
    if not is_complete:
        rows = rows.filter(at__gte=now - UNDER_WAY - RECENT)
    return _recover_all(_unfinished(rows), _throw_aways())


def recover_act(act: str) -> int:
    """The same for one delete, whose process is known to be gone: what it did can be undone now."""
    count = _recover_all(_unfinished(TagTombstone.objects.filter(act=act)), ())
    dead = Run.objects.filter(kind=Run.Kind.DELETE, state=Run.State.RUNNING)
    for run in dead.filter(result__what="delete", result__act=act):
        changed = TagTombstone.objects.kept(timezone.now()).filter(act=act).count()
        runs.end(run, Run.State.FAILED, runs.DIED, changed=changed)
    return count


def _recover_all(tags: Iterable[tuple[str, str]], throw_aways: Iterable[tuple[str, str]]) -> int:
    wanted: dict[str, set[str]] = defaultdict(set)
    for repository, tag in tags:
        wanted[repository].add(tag)
    left_over: dict[str, set[str]] = defaultdict(set)
    for repository, digest in throw_aways:
        left_over[repository].add(digest)
    if not wanted and not left_over:
        return 0
    with RegistryClient(settings.REGISTRY_URL) as registry:
        for name in wanted.keys() | left_over.keys():
            try:
                _recover(registry, name, sorted(wanted[name]), sorted(left_over[name]))
            except RegistryError as error:
                log.warning("deletes of %s are not recovered: %s", name, error)
    return sum(map(len, wanted.values()))


def prune() -> int:
    """Forgets rows of undo that are long past their time, and the bytes that none wants."""
    client_deletes.prune()
    return TagTombstone.objects.filter(keep_until__lt=timezone.now() - KEPT).delete()[0]


def _unfinished(rows: TagTombstoneQuerySet) -> Sequence[tuple[str, str]]:
    """Repository and tag of rows whose tag is in the index on the very digest that it was on."""
    there = Tag.objects.filter(
        repository__name=OuterRef("repository"),
        name=OuterRef("tag"),
        manifest__digest=OuterRef("digest"),
    )
    rows = rows.kept(timezone.now()).filter(how=TagTombstone.How.DELETED)
    return list(rows.filter(Exists(there)).values_list("repository", "tag").distinct())


def _throw_aways() -> Sequence[tuple[str, str]]:
    """Repository and digest of those that the index has."""
    rows = Manifest.objects.filter(
        artifact_type=throw_away.ARTIFACT_TYPE, seen_at__lt=timezone.now() - UNDER_WAY
    )
    return list(rows.values_list("repository__name", "digest"))


def _recover(
    registry: RegistryClient, repository: str, tags: Sequence[str], left_over: Sequence[str]
) -> None:
    rows = Tag.objects.filter(repository__name=repository)
    known = dict(rows.filter(name__in=tags).values_list("name", "manifest__digest"))
    on_them = rows.filter(manifest__digest__in=left_over)
    known |= dict(on_them.values_list("name", "manifest__digest"))
    digests = set(left_over)
    for tag, digest in known.items():
        now = probe(registry, repository, tag, expected=digest or "", is_listed=False)
        if now.stored is not None and throw_away.is_one(now.stored.raw):
            digests.add(now.digest)
    for digest in digests:
        registry.delete_manifest(repository, digest)
    probes = [
        probe(registry, repository, tag, expected=digest or "", is_listed=False)
        for tag, digest in known.items()
    ]
    with ThreadPoolExecutor(2, thread_name_prefix="recover") as pool:
        write(registry, repository, probes, pool)
    for digest in digests:
        ingest.drop_manifest(repository, digest)
    there = [one for one in probes if one.digest and one.digest == one.expected]
    for one in there:  # it never went, or somebody pushed it again: nothing to restore
        TagTombstone.objects.kept(timezone.now()).filter(
            repository=repository, tag=one.tag, digest=one.digest, how=TagTombstone.How.DELETED
        ).delete()
