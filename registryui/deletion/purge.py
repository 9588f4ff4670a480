"""Purging: a digest that nobody can pull any more, for a secret that leaked.

Manifests are deleted by digest, with every tag on them, and blobs that only they name are taken
from the repository, so that nobody who knows a layer's digest gets it either. The bytes leave the
disk when garbage collection purges next. Other repositories keep what they have: the plan names
them."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit
from registryui.chunks import chunks
from registryui.index import ingest
from registryui.index.events import OWN_ACT
from registryui.index.fetch import TagProbe, probe
from registryui.index.sync import write
from registryui.models import (
    AuditEvent,
    BlobName,
    Manifest,
    ManifestBlob,
    ManifestTombstone,
    RegistryEvent,
    Repository,
    Tag,
    TagTombstone,
)
from registryui.models.deletion import TagTombstoneQuerySet
from registryui.oci.references import references
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError
from registryui.registry.responding import require_answer

from . import locks
from .plan import repository_of
from .protection import protections
from .reachability import Around, around, freed, users_of
from .records import Changed, LeftOut, Purge, Result
from .untag import Wanted, again, in_words, untag

log = logging.getLogger(__name__)

AT_ONCE = 8  # requests to the registry
ATTEMPTS = 3  # a push of the same digest may come in between


def plan_purge(repository: str, digest: str) -> Purge:
    """What `purge_manifest` would do. Refused: the repository has no such manifest."""
    return _planned(repository_of(repository), digest)[0]


def purge_manifest(
    repository: str, digest: str, *, by: str, fingerprint: str | None = None
) -> Purge:
    """Makes the digest unpullable there, with all that is used only by it, and ends its undo.

    Refused if a protected tag needs it; Changed if the plan made now has another `fingerprint`.
    What undo keeps for other images stays complete.
    """
    require_answer()
    with locks.locked(alone=[repository]):  # nobody pushes an immutable tag there meanwhile
        return _purge_manifest(repository, digest, by, fingerprint)


def _purge_manifest(repository: str, digest: str, by: str, fingerprint: str | None) -> Purge:
    row = repository_of(repository)
    _read_anew(repository)
    planned, dead = _planned(row, digest)
    if fingerprint is not None and fingerprint != planned.fingerprint:
        raise Changed(
            _("The content has changed since this plan was shown. Review it and try again."),
            planned,
        )
    if planned.left_out:
        names = ", ".join(one.tag for one in planned.left_out)
        raise Refused(_("These tags are protected: %s. Nothing was deleted.") % names)
    act = uuid.uuid4().hex
    _begin(planned, list(dead), act, by)
    with RegistryClient(settings.REGISTRY_URL, act=act) as registry:
        order = [digest, *(one for one in dead if one != digest)]
        results = [_delete(registry, repository, one) for one in order]
        gone = {one.digest for one in results if one.state != "failed"}
        ManifestTombstone.objects.filter(repository=repository, digest__in=gone).delete()
        _untag(registry, planned, gone, act)
        blobs = _take_blobs(registry, row, [dead[one] for one in order if one in gone])
    _conclude(row, planned, results, blobs, act, by)
    return replace(planned, results=tuple(results))


def _read_anew(repository: str) -> None:
    """Looks at each tag of the repository: what was pushed a moment ago may need a blob that is
    only this digest's by what the index knows. Refused if the registry does not answer."""
    rows = Tag.objects.filter(repository__name=repository)
    known = dict(rows.values_list("name", "manifest__digest"))
    try:
        with (
            RegistryClient(settings.REGISTRY_URL) as registry,
            ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe") as pool,
        ):
            tags = sorted({*registry.tags(repository), *known})

            def probe_one(tag: str) -> TagProbe:
                expected = known.get(tag) or ""
                return again(
                    lambda: probe(registry, repository, tag, expected=expected, is_listed=False)
                )

            changed = [one for one in pool.map(probe_one, tags) if one.digest != one.expected]
            write(registry, repository, changed, pool)
    except RegistryError as error:
        raise Refused(
            _("Unexpected response from the registry: %s. Nothing was deleted.") % error
        ) from error


def _planned(repository: Repository, digest: str) -> tuple[Purge, dict[str, int]]:
    """The plan, and the manifests that go: digest to id."""
    rules = protections()
    found = around(
        repository,
        [digest],
        is_protected=lambda name: rules.of(repository.name, name) is not None,
        with_undo=True,
    )
    if digest not in found.keys:
        raise Refused(_("The repository %s has no such manifest.") % repository.name)
    names = found.tags[digest]
    reachable = found.reachable(going=set(names), forced={digest})
    dead = {one: key for one, key in found.keys.items() if one not in reachable}
    referrer_tags = tuple(
        one.tag for one in found.referrer_tags if one.image in dead and one.tag not in names
    )
    planned = Purge(
        repository=repository.name,
        digest=digest,
        tags=tuple(names),
        tombstones=_undone(repository.name, list(dead)).count(),
        children=tuple(sorted(dead.keys() - {digest} - _digests_of(found, referrer_tags))),
        referrer_tags=referrer_tags,
        listed_by=tuple(sorted(found.listed_by[digest] - dead.keys())),
        elsewhere=_elsewhere(repository, digest),
        left_out=tuple(
            LeftOut(name, "protected", rule.pk)
            for name in _tags_with(repository.name, digest)
            if (rule := rules.of(repository.name, name))
        ),
        freed=freed(list(dead.values()), with_undo=True),
        fingerprint="",
    )
    return replace(planned, fingerprint=_fingerprint(planned)), dead


def _tags_with(repository: str, digest: str) -> list[str]:
    """The tags on that manifest, and on image indexes that it is a part of."""
    digests = users_of(repository, {digest})
    rows = Tag.objects.filter(repository__name=repository, manifest__digest__in=digests)
    return list(rows.order_by("-version_key", "-id").values_list("name", flat=True))


def _undone(repository: str, digests: Sequence[str]) -> TagTombstoneQuerySet:
    rows = TagTombstone.objects.kept(timezone.now())
    return rows.filter(repository=repository, digest__in=digests)


def _digests_of(found: Around, referrer_tags: Sequence[str]) -> set[str]:
    return {one.digest for one in found.referrer_tags if one.tag in referrer_tags}


def _elsewhere(repository: Repository, digest: str) -> tuple[str, ...]:
    others = Manifest.objects.filter(digest=digest).exclude(repository=repository)
    return tuple(others.order_by("repository__name").values_list("repository__name", flat=True))


def _fingerprint(of: Purge) -> str:
    names = [sorted(of.tags), of.children, sorted(of.referrer_tags), of.listed_by, of.elsewhere]
    text = json.dumps([of.repository, of.digest, names, [one.tag for one in of.left_out]])
    return hashlib.sha256(text.encode()).hexdigest()


@transaction.atomic
def _begin(planned: Purge, dead: Sequence[str], act: str, by: str) -> None:
    """Ends undo, and tells history who it was, before the registry tells of it without a name."""
    now = timezone.now()
    _undone(planned.repository, dead).update(ended_at=now)
    for number, tag in enumerate(["", *planned.tags, *planned.referrer_tags]):
        RegistryEvent.objects.create(
            event_id=f"{OWN_ACT}{act}" if not number else f"{OWN_ACT}{uuid.uuid4().hex}",
            action="delete",
            repository=planned.repository,
            tag=tag,
            digest="" if tag in planned.referrer_tags else planned.digest,
            at=now,
            actor=by[:255],
            client="boathouse",
            applied_at=now,
        )
    audit.record(
        "delete.begin",
        f"{planned.repository}@{planned.digest}",
        by=by,
        details={"act": act, "permanently": True, "tags": list(planned.tags)},
    )


def _delete(registry: RegistryClient, repository: str, digest: str) -> Result:
    """Deletes a manifest until the registry has it no more."""
    try:
        was_there = False
        for _attempt in range(ATTEMPTS):
            was_there |= again(lambda: registry.delete_manifest(repository, digest))
            if again(lambda: registry.resolve(repository, digest)) is None:
                return Result("", digest, "deleted" if was_there else "gone")
    except RegistryError as error:
        return Result("", digest, "failed", in_words(error))
    return Result("", digest, "failed", _("It is being pushed again and again."))


def _untag(registry: RegistryClient, planned: Purge, gone: set[str], act: str) -> None:
    """Untags the rest: referrer tags of a manifest that stays for another reason, and tags that a
    push in the middle left leading nowhere."""
    rows = Tag.objects.filter(
        repository__name=planned.repository, name__in=[*planned.tags, *planned.referrer_tags]
    )
    known = {name: digest or "" for name, digest in rows.values_list("name", "manifest__digest")}
    try:
        listed = set(registry.tags(planned.repository))
    except RegistryError:
        return
    wanted = [
        Wanted(name, "" if digest in gone else digest)
        for name, digest in known.items()
        if name in listed and (digest in gone or name in planned.referrer_tags)
    ]
    with ThreadPoolExecutor(2, thread_name_prefix="delete") as pool:
        untag(registry, planned.repository, wanted, act=act, pool=pool)
    probes = [TagProbe(name, digest, "", is_gone=True) for name, digest in known.items()]
    ingest.save(planned.repository, probes, [])


def _take_blobs(registry: RegistryClient, repository: Repository, dead: Sequence[int]) -> list[str]:
    """Takes the blobs that only these manifests name from the repository; returns their digests.

    Any other manifest of the repository counts, kept or not: undo may want it. The hole that is
    left: a push under way now, that found such a blob in the repository and sets its tag after we
    looked, has a layer missing until it is pushed again. That is the price of a secret's layer
    that nobody can fetch.
    """
    wanted: dict[int, str] = {}
    for some in chunks(dead):
        edges = ManifestBlob.objects.filter(manifest__in=some).order_by()
        wanted.update(edges.values_list("blob_id", "blob__digest"))
    for blobs in chunks(list(wanted)):
        others = ManifestBlob.objects.filter(repository=repository, blob__in=blobs)
        for blob in others.exclude(manifest__in=dead).values_list("blob_id", flat=True).distinct():
            wanted.pop(blob, None)
    taken = []
    names: list[str] = []  # links of their own
    buried = _buried_blobs(repository.name)
    for blobs in chunks(list(wanted)):
        others_of = BlobName.objects.filter(blob__in=blobs).values_list("digest", "blob")
        for digest, blob in others_of:
            if digest in buried:
                wanted.pop(blob, None)
        names += [digest for digest, blob in others_of if blob in wanted]
    wanted = {blob: digest for blob, digest in wanted.items() if digest not in buried}
    for digest in (*wanted.values(), *names):
        try:
            if again(partial(registry.delete_blob, repository.name, digest)):
                taken.append(digest)
        except RegistryError as error:
            log.warning("%s: blob %s stays until it is collected: %s", repository, digest, error)
    return taken


def _buried_blobs(repository: str) -> set[str]:
    """What manifests name that clients deleted, and that undo may restore."""
    raws = ManifestTombstone.objects.filter(repository=repository).values_list("raw", flat=True)
    return {digest for raw in raws for digest in references(bytes(raw)).digests}


@transaction.atomic
def _conclude(
    repository: Repository,
    planned: Purge,
    results: Sequence[Result],
    blobs: Sequence[str],
    act: str,
    by: str,
) -> None:
    failed = [one for one in results if one.state == "failed"]
    for one in results:
        if one.state != "failed":
            ingest.drop_manifest(repository.name, one.digest)
    gone = [one.digest for one in results if one.state != "failed"]
    ManifestTombstone.objects.filter(repository=repository.name, digest__in=gone).delete()
    audit.record(
        "manifest.delete_for_good",
        f"{repository.name}@{planned.digest}",
        by=by,
        result=AuditEvent.Result.FAILED if failed else AuditEvent.Result.DONE,
        details={
            "act": act,
            "tags": list(planned.tags),
            "referrer_tags": list(planned.referrer_tags),
            "manifests": [one.digest for one in results if one.state != "failed"],
            "blobs": list(blobs),
            "undo_ended": planned.tombstones,
            "failed": {one.digest: one.reason for one in failed},
        },
    )
    log.info("%s@%s deleted for good by %s", repository.name, planned.digest, by)
