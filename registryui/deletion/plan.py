"""The plan of a delete: exactly what goes, what stays and why, and what it frees. Only reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from django.db.models import Q
from django.utils.translation import gettext as _

from registryui.chunks import chunks
from registryui.models import UNKNOWN, Repository, Tag
from registryui.oci import patterns
from registryui.refused import Refused

from .protection import Protections, protections
from .reachability import Around, around, freed
from .records import Going, LeftOut, Plan, Selection, Staying


def plan(selection: Selection) -> Plan:
    """What deleting it would do. Refused: there is no such repository, or no such pattern.

    Some twenty queries, whatever the number of tags; see graph.py for what counts as kept, and as
    freed.
    """
    repository = repository_of(selection.repository)
    rules = protections()
    tags, left_out = _meant(repository, selection, rules)
    digests = {_digest(tag) for tag in tags} - {""}
    hanging = {tag.name for tag in tags if tag.refers_to and tag.name not in selection.tags}
    found = around(
        repository,
        digests | {tag.refers_to for tag in tags if tag.name in hanging} | set(selection.manifests),
        is_protected=lambda name: rules.of(repository.name, name) is not None,
    )
    # Of a complete repository, referrer tags count as tags only if their image does not exist.
    tags = [one for one in tags if one.name not in hanging or one.refers_to not in found.keys]
    names = {tag.name for tag in tags}
    reachable = found.reachable(going=names)
    referrer_tags = _referrer_tags(repository, found, reachable, names)
    loose, unfit = _untagged(selection.manifests, found, reachable)
    dead = [key for digest, key in found.keys.items() if digest not in reachable]
    going = (*map(_going, tags), *loose)
    taken = names | {one.tag for one in referrer_tags}
    parts = Plan(
        selection=selection,
        going=going,
        referrer_tags=tuple(referrer_tags),
        referrers=_referrers(found, reachable),
        staying=_staying(going, taken, found, reachable),
        children=_children(going, found, reachable),
        left_out=(*left_out, *unfit),
        size=sum(one.size for one in (*going, *referrer_tags)),
        freed=freed(dead) if dead else 0,
        is_complete=repository.tags.count() == len(taken),
        fingerprint="",
    )
    return replace(parts, fingerprint=_fingerprint(parts))


def repository_of(name: str) -> Repository:
    row = Repository.objects.filter(name=name).first()
    if row is None:
        raise Refused(_("There is no repository %s.") % name)
    return row


def _meant(
    repository: Repository, selection: Selection, rules: Protections
) -> tuple[list[Tag], list[LeftOut]]:
    """The tags that the selection means, the highest version first, and what of it cannot go."""
    rows = (
        repository.tags.select_related("manifest")
        .only(
            *("name", "size", "refers_to", "pulled_at", "tagged_at", "tagged_by", "repository_id"),
            *("manifest__digest", "manifest__media_type", "manifest__size", "manifest__pulled_by"),
        )
        .order_by("-version_key", "-id")
    )
    found = [tag for some in _asked(selection) for tag in rows.filter(some)]
    matches = _matcher(selection.pattern)
    named = set(selection.tags)
    left_out = [
        LeftOut(name, "missing") for name in selection.tags if name not in {t.name for t in found}
    ]
    tags = []
    for tag in found:
        if not (selection.is_all or tag.name in named or (not tag.refers_to and matches(tag.name))):
            continue
        if rule := rules.of(repository.name, tag.name):
            left_out.append(LeftOut(tag.name, "protected", rule.pk))
        else:
            tags.append(tag)
    return tags, left_out


def _asked(selection: Selection) -> Iterator[Q]:
    """Conditions of the rows to read: all, where names are not enough."""
    if selection.is_all or selection.pattern:
        yield Q()
    else:
        yield from (Q(name__in=some) for some in chunks(list(dict.fromkeys(selection.tags))))


def _matcher(pattern: str) -> Callable[[str], bool]:
    if not pattern.strip():
        return lambda name: False
    try:
        return patterns.matcher(pattern)
    except ValueError as error:
        raise Refused(
            _("Not a valid tag pattern: use letters, digits and . _ -, and * for any text.")
        ) from error


def _digest(tag: Tag) -> str:
    return tag.manifest.digest if tag.manifest else ""


def _going(tag: Tag) -> Going:
    pulled_by = tag.manifest.pulled_by if tag.manifest else ""
    return Going(tag.name, _digest(tag), tag.size, tag.refers_to, tag.pulled_at, pulled_by)


def _referrer_tags(
    repository: Repository, found: Around, reachable: set[str], names: set[str]
) -> list[Going]:
    """Referrer tags of deleted images that are not named themselves."""
    lost = [
        one.tag
        for one in found.referrer_tags
        if one.image in found.keys and one.image not in reachable and one.tag not in names
    ]
    rows = repository.tags.select_related("manifest").defer("manifest__raw", "manifest__config")
    return [_going(tag) for some in chunks(lost) for tag in rows.filter(name__in=some)]


def _untagged(
    digests: Sequence[str], found: Around, reachable: set[str]
) -> tuple[list[Going], list[LeftOut]]:
    """The untagged manifests that were named; "busy" is what something keeps."""
    going, left_out = [], []
    for digest in dict.fromkeys(digests):
        if digest not in found.keys:
            left_out.append(LeftOut(digest, "missing"))
        elif digest in reachable:
            left_out.append(LeftOut(digest, "busy"))
        elif not found.tags[digest]:
            going.append(Going("", digest, found.sizes[digest], "", UNKNOWN, ""))
    return going, left_out


def _referrers(found: Around, reachable: set[str]) -> tuple[str, ...]:
    """Untagged ones whose subject dies, and they with it."""
    return tuple(
        sorted(
            digest
            for digest, subject in found.subjects.items()
            if digest not in reachable
            and subject in found.keys
            and subject not in reachable
            and not found.tags[digest]
        )
    )


def _staying(
    going: Sequence[Going], taken: Collection[str], found: Around, reachable: set[str]
) -> tuple[Staying, ...]:
    """Digests that lose a tag and are kept: by other tags, by image indexes, or (both empty) as
    referrers of an image that stays."""
    losing: dict[str, list[str]] = {}
    for one in going:
        if one.tag and one.digest in reachable:
            losing.setdefault(one.digest, []).append(one.tag)
    kept = reachable | found.outside
    return tuple(
        Staying(
            digest,
            tuple(names),
            tuple(name for name in found.tags[digest] if name not in taken),
            tuple(sorted(found.listed_by[digest] & kept)),
        )
        for digest, names in losing.items()
    )


def _children(going: Sequence[Going], found: Around, reachable: set[str]) -> int:
    named = {one.digest for one in going}
    return sum(
        1
        for digest in found.keys
        if digest not in reachable
        and digest not in named
        and found.listed_by[digest]
        and found.subjects[digest] not in found.keys
    )


def _fingerprint(of: Plan) -> str:
    """Of the names that go and stay and their digests, not of sizes and times, which change by
    themselves."""
    text = json.dumps(
        [
            of.selection.repository,
            of.selection.is_all,
            sorted((one.tag, one.digest) for one in (*of.going, *of.referrer_tags)),
            of.referrers,
            sorted((one.digest, sorted(one.staying), one.listed_by) for one in of.staying),
            sorted((one.tag, one.reason) for one in of.left_out),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()
