"""What each item of a query means for the tables: a condition on tags, one on manifests, and how
few rows are found by a database index. Called by search.py.

What a manifest says of itself is also said of an image index that lists it: who looks for a label
looks for the tag that brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import F, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce
from django.db.models.lookups import (
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    LessThan,
    LessThanOrEqual,
)

from registryui.models import (
    NEVER,
    UNKNOWN,
    Blob,
    BlobName,
    ImageFact,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Protection,
    Repository,
    Tag,
)
from registryui.models.patterns import matching, names_in
from registryui.oci import facts, media_types
from registryui.oci.digest import is_canonical

from . import expiry
from .bases import Asked, is_on, layers_of
from .query import REFERENCE, WORD, Term

LAYERS = 20  # blobs whose digests begin alike
TYPES = 300  # media types that are looked through for a part of one
PLATFORMS = 20  # images of one image index that count as base images
PROTECTIONS = 50  # with more of them, a row costs too much for the long walk
REPOSITORIES = 200  # more are not taken apart into their tags
TRIGRAM = 3  # characters; a shorter text has no trigram
_NOTHING = Q(pk__in=())
Probe = Callable[[int], "list[int] | None"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One item. probe(n): ids of all tags that may fit if they are at most n, None if more."""

    term: Term
    tag: Q
    manifest: Q
    rank: int = 9  # the lower, the sooner it is tried as the rare one
    probe: Probe | None = None
    column: str = ""  # of tags, if `within` compares just this one
    is_plain: bool = False  # asks only names and columns of the tag: many rows in a short time
    within: Q = field(default_factory=Q)  # the same as `tag`, for an index of that column


def condition(term: Term) -> Condition:
    """The item as conditions; some ask the database first which rows are meant."""
    made = _MAKERS[term.field](term)
    if term.is_negated:
        return Condition(term, ~made.tag, ~made.manifest, is_plain=made.is_plain)
    return made


# -- names ---------------------------------------------------------------------------------------


def _word(term: Term) -> Condition:
    """In the name of the tag or of its repository, or the beginning of the digest."""
    tag = Q(name__icontains=term.value) | Q(repository__name__icontains=term.value)
    manifest = Q(repository__name__icontains=term.value)
    if not term.digest:
        probe = _named(term.value, or_repository=True)
        return Condition(term, tag, manifest, 3, probe, is_plain=True)
    by_digest = _by_digest(term)
    by_name = _named(term.value, or_repository=True)
    return Condition(
        term, tag | by_digest.tag, manifest | by_digest.manifest, 0, _either(by_name, by_digest)
    )


def _reference(term: Term) -> Condition:
    """`repository:tag`, `:tag`, `repository@digest`, `digest`; all parts must fit."""
    tag, manifest = Q(), Q()
    rank, probe = 9, None
    if term.value:
        tag &= Q(repository__name__icontains=term.value)
        manifest &= Q(repository__name__icontains=term.value)
    if term.second:
        tag &= Q(name__icontains=term.second)
        manifest = _NOTHING
        rank, probe = 4, _named(term.second)
    if term.digest:
        by_digest = _by_digest(term)
        tag, manifest = tag & by_digest.tag, manifest & by_digest.manifest
        rank, probe = 0, by_digest.probe
    return Condition(term, tag, manifest, rank, probe, is_plain=not term.digest)


def _repository(term: Term) -> Condition:
    """In the name of the repository. Few repositories are found by search.py itself."""
    named = Q(repository__name__icontains=term.value)
    return Condition(term, named, named, is_plain=True)


def _tag(term: Term) -> Condition:
    named = Q(name__icontains=term.value)
    return Condition(term, named, _NOTHING, 4, _named(term.value), is_plain=True)


def names_like(table: str, text: str, *, most: int) -> Q | None:
    """A condition by the trigram index of `table` ("tag", "repository"), which may leave out rows
    beyond `most`; None for a text that is too short for it.

    PostgreSQL finds its index by the comparison itself. SQLite's FTS5 gets the text as one phrase:
    between quotation marks nothing has a meaning but the quotation mark, which is doubled.
    """
    if len(text) < TRIGRAM:
        return None
    if connection.vendor == "postgresql":
        return Q(name__icontains=text)
    phrase = '"' + text.replace('"', '""') + '"'
    names = f"registryui_{table}_names"
    # The name of the table is one of two words of ours.
    sql = f"SELECT rowid FROM {names} WHERE {names} MATCH %s LIMIT %s"  # noqa: S608
    found = RawSQL(sql, [phrase, most])  # noqa: S611
    return Q(pk__in=found)


def _named(text: str, *, or_repository: bool = False) -> Probe | None:
    if len(text) < TRIGRAM:
        return None

    def probe(most: int) -> list[int] | None:
        named = names_like("tag", text, most=most + 1) or Q()
        if not or_repository:
            return few(Tag.objects.filter(named), most)
        repositories = names_like("repository", text, most=REPOSITORIES + 1) or Q()
        found = Repository.objects.filter(repositories).order_by()
        counts = dict(found.values_list("pk", "tag_count")[: REPOSITORIES + 1])
        if len(counts) > REPOSITORIES or sum(counts.values()) > most:
            return None
        return few(Tag.objects.filter(named | Q(repository__in=counts)), most)

    return probe


def few(queryset: QuerySet[Any], most: int) -> list[int] | None:
    """The ids if they are at most `most`."""
    ids = list(queryset.order_by().values_list("pk", flat=True)[: most + 1])
    return ids if len(ids) <= most else None


def _either(first: Probe | None, second: Condition) -> Probe | None:
    """Rows that either finds; None if one of them cannot tell."""
    if first is None or second.probe is None:
        return None
    by_second = second.probe

    def probe(most: int) -> list[int] | None:
        ids, others = by_second(most), first(most)
        return None if ids is None or others is None else [*ids, *others]

    return probe


# -- manifests -----------------------------------------------------------------------------------


def _of_manifests(
    term: Term,
    says: Callable[[str], Q],
    rows: QuerySet[Any, tuple[int, str]],
    *,
    rank: int,
    is_of_children: bool = True,
) -> Condition:
    """What a manifest says. says(column): the condition that the manifest whose id is in that
    column says it. rows: id and digest of all that say it, by a database index.

    With `is_of_children` an image index says what one of its manifests says.
    """

    def also_listed(column: str) -> Q:
        if not is_of_children:
            return says(column)
        child = Manifest.objects.filter(
            says("pk"), digest=OuterRef("digest"), repository=OuterRef(OuterRef("repository_id"))
        )
        listing = ImageIndexEntry.objects.filter(Asked(child), image_index=OuterRef(column))
        return says(column) | Q(Asked(listing))

    def probe(most: int) -> list[int] | None:
        found = list(rows.order_by()[: most + 1])
        if len(found) > most:
            return None
        ids = [pk for pk, _digest in found]
        if is_of_children:
            digests = {digest for _pk, digest in found}
            listing = ImageIndexEntry.objects.filter(digest__in=digests).order_by()
            ids += listing.values_list("image_index_id", flat=True)[: most + 1]
            if len(ids) - len(found) > most:
                return None
        return few(Tag.objects.filter(manifest__in=ids), most)

    return Condition(term, also_listed("manifest_id"), also_listed("pk"), rank, probe)


def _that(**columns: Any) -> Callable[[str], Q]:
    """`says` for columns of the manifest itself."""
    return lambda column: Q(Asked(Manifest.objects.filter(pk=OuterRef(column), **columns)))


_NAMED = ("pk", "digest")


def _by_digest(term: Term) -> Condition:
    # "g" sorts after every hex digit: a range is read from the index, LIKE is not.
    within = {"digest__gte": term.digest, "digest__lt": f"{term.digest}g"}
    rows = Manifest.objects.filter(**within).values_list(*_NAMED)
    return _of_manifests(term, _that(**within), rows, rank=0)


def _layer(term: Term) -> Condition:
    within = {"digest__gte": term.digest, "digest__lt": f"{term.digest}g"}
    blobs = Blob.objects.filter(**within)
    ids = list(blobs.order_by("digest").values_list("pk", flat=True)[:LAYERS])
    if not is_canonical(term.digest):
        names = BlobName.objects.filter(**within).order_by("digest")
        ids += names.values_list("blob_id", flat=True)[:LAYERS]
    edges = ManifestBlob.objects.filter(role=ManifestBlob.Role.LAYER).order_by()

    def says(column: str) -> Q:
        # As a sum, so that SQLite asks the few edges of the manifest, not the many of the layer.
        own = edges.alias(number=F("blob_id") + 0).filter(number__in=ids)
        return Q(Asked(own.filter(manifest=OuterRef(column))))

    rows = edges.filter(blob__in=ids).values_list("manifest_id", "manifest__digest")
    return _of_manifests(term, says, rows, rank=1)


def _fact(term: Term) -> Condition:
    if term.field == "cmd":
        fact = facts.command(term.value)
    else:
        fact = (facts.label if term.field == "label" else facts.env)(term.value, term.second)
    stated = ImageFact.objects.filter(fact=fact)
    return _of_manifests(
        term,
        lambda column: Q(Asked(stated.filter(manifest=OuterRef(column)))),
        stated.values_list("manifest_id", "manifest__digest"),
        rank=6 if term.second is None else 2,
    )


def _base(term: Term) -> Condition:
    """Images with all layers of that image below their own; of an image index those of any of
    its images."""
    here = Manifest.objects.filter(repository__name=term.value)
    named = {"digest": term.digest} if term.digest else {"tags__name": term.second}
    wanted = here.filter(**named).values("pk")
    listed = ImageIndexEntry.objects.filter(image_index__in=wanted).values("digest")
    ids = here.filter(Q(pk__in=wanted) | Q(digest__in=listed)).values_list("pk", flat=True)
    stacks = {tuple(layers) for layers in layers_of(ids[:PLATFORMS]).values()}

    def says(column: str) -> Q:
        fits = Q(pk__in=())
        for layers in stacks:
            fits |= is_on(layers, column)
        return fits

    tops = Q(pk__in=())
    for layers in stacks:
        tops |= Q(position=len(layers) - 1, blob=layers[-1])
    edges = ManifestBlob.objects.filter(tops, role=ManifestBlob.Role.LAYER)
    return _of_manifests(term, says, edges.values_list("manifest_id", "manifest__digest"), rank=5)


# What Go names (GOOS); an architecture is looked for under each of them.
_SYSTEMS = (
    *("linux", "windows", "darwin", "freebsd", "openbsd", "netbsd", "dragonfly", "illumos"),
    *("solaris", "aix", "android", "ios", "js", "plan9", "wasip1", "wasip2", "zos"),
)


def _platform(term: Term) -> Condition:
    parts = term.value.split("/")
    if len(parts) > 1:
        names = ("os", "architecture", "variant")
        columns: dict[str, Any] = dict(zip(names, parts, strict=False))
    elif parts[0] in _SYSTEMS:
        columns = {"os": parts[0]}
    else:
        columns = {"os__in": ("", *_SYSTEMS), "architecture": parts[0]}
    rows = Manifest.objects.filter(**columns).values_list(*_NAMED)
    return _of_manifests(term, _that(**columns), rows, rank=7)


def _media(term: Term) -> Condition:
    """A part of the media type or of the words that the pages have for it (`helm`, `signature`)."""
    found = {*_values("media_type"), *_values("artifact_type")}
    # The type itself too: it may come after the TYPES that were looked through.
    types = [*sorted(one for one in found if _is_meant(term, one))[:TYPES], term.value]

    def says(column: str) -> Q:
        return _that(media_type__in=types)(column) | _that(artifact_type__in=types)(column)

    by_type = Manifest.objects.filter(media_type__in=types).values_list(*_NAMED)
    by_artifact = Manifest.objects.filter(artifact_type__in=types, artifact_type__gt="")
    rows = by_type.union(by_artifact.values_list(*_NAMED), all=True)
    return _of_manifests(term, says, rows, rank=7, is_of_children=False)


def _is_meant(term: Term, media_type: str) -> bool:
    text = term.value.lower()
    return text in media_type.lower() or text in media_types.words(media_type).lower()


def _values(column: str) -> Iterator[str]:
    """The different values of an indexed column of manifests, without "" and without reading every
    row: from each one the index leads to the next."""
    table = Manifest._meta.db_table
    # The names are words of ours.
    above = f"SELECT {column} FROM {table} WHERE {column}"  # noqa: S608
    least = f"AND {column} > '' ORDER BY {column} LIMIT 1"
    sql = (
        f"WITH RECURSIVE found(value) AS (SELECT ({above} > '' {least}) UNION ALL"  # noqa: S608
        f" SELECT ({above} > found.value {least}) FROM found WHERE found.value IS NOT NULL)"
        " SELECT value FROM found WHERE value IS NOT NULL LIMIT %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [TYPES])
        yield from (value for (value,) in cursor.fetchall())


# -- sizes, times, people ------------------------------------------------------------------------


def _by(term: Term) -> Condition:
    return _of_column(term, "tagged_by", {"exact": term.value}, of_manifest="pushed_by", rank=5)


def _size(term: Term) -> Condition:
    wanted = {"gte": term.least} if term.least is not None else {"lte": term.most}
    return _of_column(term, "size", wanted, of_manifest="size", rank=8)


def _pushed(term: Term) -> Condition:
    return _of_column(term, "tagged_at", _times(term), of_manifest="pushed_at", rank=8)


def _pulled(term: Term) -> Condition:
    wanted = {"exact": UNKNOWN} if term.value == "never" else _times(term)
    return _of_column(term, "pulled_at", wanted, of_manifest="pulled_at", rank=8)


def _expires(term: Term) -> Condition:
    wanted = {"gte": term.since} if term.since else {}
    return _of_expiry(term, {**wanted, "lt": term.until or NEVER})


def _expiring(term: Term) -> Condition:
    return _of_expiry(term, {"lt": NEVER})


def _of_expiry(term: Term, wanted: dict[str, Any]) -> Condition:
    """By what is set for the tag, else by its label."""
    parts = expiry.within(wanted)

    def probe(most: int) -> list[int] | None:
        found = [few(Tag.objects.filter(part), most) for part in parts]
        ids = [pk for some in found for pk in some or ()]
        return None if None in found or len(ids) > most else ids

    return Condition(term, _one_of(parts), _NOTHING, 4, probe, is_plain=True)


def _times(term: Term) -> dict[str, Any]:
    """In that time, and known at all."""
    wanted: dict[str, Any] = {"gte": term.since} if term.since else {"gt": UNKNOWN}
    return {**wanted, "lt": term.until} if term.until else wanted


_COMPARE: dict[str, Callable[..., Any]] = {
    "exact": Exact,
    "gt": GreaterThan,
    "gte": GreaterThanOrEqual,
    "lt": LessThan,
    "lte": LessThanOrEqual,
}


def _of_column(
    term: Term, column: str, wanted: dict[str, Any], *, of_manifest: str, rank: int
) -> Condition:
    """A column of tags compared with values, and the one that manifests have for it."""
    within = Q(**{f"{column}__{compare}": value for compare, value in wanted.items()})
    # For a walk in another order no index shall be tempted to sort all rows within.
    of_tag: Any = Tag._meta.get_field(column)
    plain = Coalesce(F(column), F(column), output_field=of_tag)
    tag = Q(*(_COMPARE[compare](plain, value) for compare, value in wanted.items()))
    manifest = Q(**{f"{of_manifest}__{compare}": value for compare, value in wanted.items()})

    def probe(most: int) -> list[int] | None:
        return few(Tag.objects.filter(within), most)

    return Condition(term, tag, manifest, rank, probe, column, True, within)


# -- states --------------------------------------------------------------------------------------


def _state(term: Term) -> Condition:
    return _STATES[term.value](term)


def _multi_platform(term: Term) -> Condition:
    """Image indexes with at least two different platforms; what BuildKit adds has "unknown"."""
    real = ImageIndexEntry.objects.exclude(os__in=("", "unknown"))
    another = real.filter(image_index=OuterRef("image_index")).exclude(
        os=OuterRef("os"), architecture=OuterRef("architecture"), variant=OuterRef("variant")
    )
    several = real.filter(Asked(another))
    rows = Manifest.objects.filter(kind=Manifest.Kind.IMAGE_INDEX).values_list(*_NAMED)
    return _of_manifests(
        term,
        lambda column: Q(Asked(several.filter(image_index=OuterRef(column)))),
        rows,
        rank=7,
        is_of_children=False,
    )


def _signed(term: Term) -> Condition:
    """With a signature in the same repository, by subject or by cosign's tag."""
    by_tag = Tag.objects.exclude(refers_to="").filter(name__endswith=".sig")
    by_subject = Manifest.objects.exclude(subject_digest="").filter(
        artifact_type__in=media_types.SIGNATURES
    )

    def signed(digest: str) -> Q:
        here = {"repository": OuterRef("repository_id")}
        return Q(Asked(by_tag.filter(refers_to=OuterRef(digest), **here))) | Q(
            Asked(by_subject.filter(subject_digest=OuterRef(digest), **here))
        )

    def probe(most: int) -> list[int] | None:
        digests: set[str] = set()
        for rows in (
            by_tag.order_by().values_list("refers_to", flat=True),
            by_subject.order_by().values_list("subject_digest", flat=True),
        ):
            digests |= set(rows[: most + 1])
            if len(digests) > most:
                return None
        return few(Tag.objects.filter(manifest__digest__in=digests), most)

    return Condition(term, signed("manifest__digest"), signed("digest"), 7, probe)


def _untagged(term: Term) -> Condition:
    """Without a tag, and in no image index: what the page of a repository lists so."""
    listed = ImageIndexEntry.objects.filter(
        digest=OuterRef("digest"), image_index__repository=OuterRef("repository")
    )
    return Condition(term, _NOTHING, Q(untagged_at__isnull=False) & ~Q(Asked(listed)))


def _broken(term: Term) -> Condition:
    of_tag: Any = Tag._meta.get_field("problem")
    problem = Coalesce(F("problem"), F("problem"), output_field=of_tag)
    return Condition(
        term,
        Q(GreaterThan(problem, "")),
        _NOTHING,
        4,
        lambda most: few(Tag.objects.exclude(problem=""), most),
        is_plain=True,
    )


def _protected(term: Term) -> Condition:
    """Tags that a protection names; deletion/protection.py says the same of one tag in hand."""
    return _named_by(list(Protection.objects.order_by("id")), term)


def _immutable(term: Term) -> Condition:
    return _named_by(list(Protection.objects.filter(is_immutable=True).order_by("id")), term)


def _named_by(rules: Sequence[Protection], term: Term) -> Condition:
    if not rules:
        return Condition(term, _NOTHING, _NOTHING)
    asked = _one_of(
        [
            matching("repository__name", rule.repositories) & matching("name", rule.tags)
            for rule in rules
        ]
    )
    return Condition(
        term,
        asked or Q(pk__gt=0),  # all of them; an empty condition cannot be turned around
        _NOTHING,
        4,
        lambda most: _few_protected(rules, most),
        is_plain=len(rules) <= PROTECTIONS,
    )


def _few_protected(rules: Sequence[Protection], most: int) -> list[int] | None:
    """Tags that they may name, by the index of names, or as all tags of few repositories."""
    named = {name for rule in rules for name in names_in(rule.tags) or ()}
    found = few(Tag.objects.filter(name__in=named), most) if named else []
    others = [matching("name", rule.repositories) for rule in rules if not names_in(rule.tags)]
    if found is None or not others:
        return found
    inside = Repository.objects.filter(_one_of(others)).order_by()
    counts = dict(inside.values_list("pk", "tag_count")[: REPOSITORIES + 1])
    if len(counts) > REPOSITORIES or sum(counts.values()) > most:
        return None
    below = few(Tag.objects.filter(repository__in=counts), most)
    return None if below is None else [*found, *below]


def _one_of(conditions: Sequence[Q]) -> Q:
    """Any of them. One that is empty is true of every row, and would vanish in an OR."""
    either = Q()
    for one in conditions:
        if not one:
            return Q()
        either |= one
    return either


_STATES: dict[str, Callable[[Term], Condition]] = {
    "multi-platform": _multi_platform,
    "signed": _signed,
    "untagged": _untagged,
    "broken": _broken,
    "protected": _protected,
    "immutable": _immutable,
    "expiring": _expiring,
}
_MAKERS: dict[str, Callable[[Term], Condition]] = {
    WORD: _word,
    REFERENCE: _reference,
    "repo": _repository,
    "tag": _tag,
    "digest": _by_digest,
    "layer": _layer,
    "label": _fact,
    "env": _fact,
    "cmd": _fact,
    "base": _base,
    "platform": _platform,
    "media": _media,
    "by": _by,
    "size": _size,
    "pushed": _pushed,
    "pulled": _pulled,
    "expires": _expires,
    "is": _state,
}
