"""The registry's own garbage collector, for a store that cannot be reached from here.

It believes that nobody writes from its first read to its last delete, so all writes are frozen at
the proxy, and it is never told `--delete-untagged`, which destroys children of image indexes.
Without that it keeps every manifest that has lost its tags. `delete_untagged` takes those away
before, by digest, while writes are frozen: what nothing keeps (see graph.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit, write_freeze
from registryui.chunks import chunks
from registryui.deletion import restore
from registryui.graph import closure
from registryui.index import ingest, sync
from registryui.index.progress import Result
from registryui.models import ImageIndexEntry, Manifest, Repository, Run, TagTombstone
from registryui.models.mirrored import PULLED_ALONE, is_mirrored
from registryui.oci.digest import is_canonical
from registryui.oci.references import references
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.registry.errors import NotFound, RegistryError

from .mark import named_otherwise


@dataclass(frozen=True, slots=True)
class Step:
    """A command to type, and what it is for."""

    words: str
    command: str


@dataclass(frozen=True, slots=True)
class Removed:
    """What `delete_untagged` did, or would do."""

    manifests: list[tuple[str, str]]  # repository, digest
    skipped: list[tuple[str, str]]  # repository, why: nothing of it went


def steps(registry_program: str) -> list[Step]:
    """All commands in their order; the proxy stays shut from the first to the last but one."""
    configuration = shlex.quote(str(Path(settings.CONFIG_DIR) / "registry.yml"))
    program = shlex.quote(registry_program)
    return [
        Step(
            _("Start a write freeze that lasts long enough: pushes and deletions are rejected."),
            "./boathouse freeze on --minutes 240",
        ),
        Step(
            _("Delete unreachable manifests; --dry-run only lists them."),
            "./boathouse gc --registry-gc --remove-untagged",
        ),
        Step(
            _(
                "Run the registry's own garbage collector to free the blobs. Never add "
                "--delete-untagged: it damages images."
            ),
            f"env -u AWS_CA_BUNDLE {program} garbage-collect {configuration}",
        ),
        Step(_("Check that every tag is complete."), "./boathouse integrity --source http"),
        Step(
            _("Check that the write freeze was active all the time."), "./boathouse freeze status"
        ),
        Step(_("End the write freeze."), "./boathouse freeze off"),
    ]


def delete_untagged(
    *, by: str, dry_run: bool = False, progress: Callable[[int], None] | None = None
) -> Removed:
    """Deletes from the registry the manifests that nothing needs, by digest, which is only safe
    while nobody can set a tag. Reads the registry first, so that the index has every tag.

    Refused: writes are not frozen, or some that began before are still in progress; the registry
    could not be read.
    """
    if not dry_run:
        _check_frozen()
    with RegistryClient(settings.REGISTRY_URL) as client:
        run = sync.sync(client, by=by)
        if run is None or run.state != Run.State.DONE or Result.of(run).errors:
            raise Refused(_("The registry could not be read completely: ./boathouse sync"))
        _check_digests()
        if not dry_run:
            restore.bring_back(client)
        removed = Removed([], [])
        before = timezone.now() - settings.GC_GRACE
        for repository in Repository.objects.order_by("name"):
            try:
                gone = list(_removed(client, repository, before, dry_run=dry_run))
            except (_NotKnown, RegistryError) as error:
                removed.skipped.append((repository.name, str(error)))
                continue
            removed.manifests.extend((repository.name, digest) for digest in gone)
            if gone and not dry_run:
                ingest.drop_manifests(repository.name, gone)
            if progress is not None:
                progress(len(removed.manifests))
    if not dry_run:
        details = {"manifests": len(removed.manifests), "skipped": len(removed.skipped)}
        audit.record("store.remove_untagged", "store", by=by, details=details)
    return removed


class _NotKnown(Exception):
    """The index does not know something that may keep others: nothing of the repository goes."""


def _check_digests() -> None:
    """Refused if a manifest names a digest that is no sha256: the registry's own gc takes what
    manifests name for what blobs are stored by, and would delete the blob. Reads all manifests."""
    rows = Manifest.objects.order_by().values_list("repository__name", "raw")
    for name, raw in rows.iterator(chunk_size=500):
        if not all(map(is_canonical, references(bytes(raw)).digests)):
            raise Refused(
                _(
                    "Do not run the registry's own garbage collector: images in %(repository)s "
                    "reference content by digests other than sha256, which it would delete."
                )
                % {"repository": name}
            )


def _check_frozen() -> None:
    is_frozen = any(
        one.what == "writes" for one in write_freeze.freezes()
    ) and write_freeze.is_frozen("writes")
    if not is_frozen:
        raise Refused(_("Start a write freeze first: ./boathouse freeze on --minutes 240"))
    if write_freeze.in_flight("writes"):
        raise Refused(_("Earlier writes are still in progress: ./boathouse freeze status"))


def _removed(
    client: RegistryClient, repository: Repository, before: datetime, *, dry_run: bool
) -> Iterator[str]:
    """Deletes what nothing needs, image indexes before what they list; its digests."""
    loose = repository.manifests.filter(
        untagged_at__lt=before, seen_at__lt=before, pushed_at__lt=before
    )
    may_go = list(loose.order_by("is_listed", "id").values_list("digest", flat=True))
    kept = _kept(client, repository, set(may_go))
    for digest in may_go:
        if digest in kept:
            continue
        if not dry_run:
            _check_frozen()
            client.delete_manifest(repository.name, digest)
        yield digest


def _kept(client: RegistryClient, repository: Repository, may_go: set[str]) -> set[str]:
    """Digests that tags need, by the registry's own word now, or undo, or what is within the grace
    period; and all that these need."""
    known = set(repository.manifests.values_list("digest", flat=True))
    try:
        tags = client.tags(repository.name)
    except NotFound:
        tags = []
    undoable = TagTombstone.objects.kept(timezone.now()).filter(repository=repository.name)
    restorable = set(undoable.values_list("digest", flat=True))
    roots = {client.resolve(repository.name, tag) or "" for tag in tags} - {""}
    for digest in restorable - known:
        if client.resolve(repository.name, digest):
            roots.add(digest)
    if unknown := roots - known:
        raise _NotKnown(_("the index does not contain %(digest)s") % {"digest": min(unknown)})
    if is_mirrored(repository.name):
        alone = repository.manifests.filter(PULLED_ALONE)
        roots |= set(alone.values_list("digest", flat=True))
    return closure(roots | restorable | (known - may_go), partial(_named_by, repository))


def _named_by(repository: Repository, digests: set[str]) -> set[str]:
    """What these image indexes list, and what refers to any of these."""
    found: set[str] = set()
    for some in chunks(sorted(digests)):
        known = repository.manifests.filter(digest__in=some)
        if known.filter(kind=Manifest.Kind.UNKNOWN).exists():
            raise _NotKnown(_("it contains a manifest that cannot be read"))
        entries = ImageIndexEntry.objects.filter(image_index__in=known)
        found |= set(entries.values_list("digest", flat=True))
        referrers = repository.manifests.filter(subject_digest__in=some)
        found |= set(referrers.values_list("digest", flat=True))
    return found | _referrers_by_other_names(repository, digests)


def _referrers_by_other_names(repository: Repository, digests: Collection[str]) -> set[str]:
    """What refers to any of these by a digest that is no sha256: no manifest has it in its row."""
    referrers = repository.manifests.exclude(subject_digest="")
    others = referrers.exclude(subject_digest__startswith="sha256:")
    subjects = dict(others.values_list("digest", "subject_digest"))
    named = named_otherwise(repository.name, set(subjects.values()))
    return {digest for digest, subject in subjects.items() if named.get(subject) in digests}


def is_needed_here() -> bool:
    """Whether this is the only way: the store cannot be reached from here."""
    from registryui.registry.choose import choose, open_quarantine

    if choose("auto").kind != "store":
        return True
    try:
        open_quarantine()
    except Refused:
        return True
    return False
