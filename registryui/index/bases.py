"""What an image is based on, and what is based on an image: by layers, not by what somebody wrote.

The base image of an image is the tagged image whose layers are all found at the bottom of it, in
their order, and of which there are most. The page of a tag shows it (`base_of`); search asks the
other way round (`standing_on`). Nothing here writes. Three queries at most, whatever the number of
images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from registryui.models import ImageFact, ImageIndexEntry, Manifest, ManifestBlob, Tag
from registryui.oci import facts
from registryui.oci.config import parse_config

CANDIDATES = 500  # copies of base images that are looked at; mirrors hold the same image often
COMPARED = 20  # of them, the highest, whose layers are read


class Asked(Exists):
    """EXISTS that is asked for each row by itself.

    PostgreSQL would rather read the other table once as a whole, into a hash, which costs as much
    as the table is large. OFFSET 0 keeps it from that and changes nothing else.
    """

    template = "EXISTS(%(subquery)s OFFSET 0)"


@dataclass(frozen=True, slots=True)
class Base:
    """A tagged image below another one."""

    repository: str
    tag: str
    digest: str  # of the image itself; the tag may name an image index that lists it
    layer_count: int
    size: int  # bytes to pull it


def longest_prefix(layers: Sequence[int], others: dict[int, Sequence[int]]) -> int | None:
    """The key of that one of `others` which is the longest true beginning of `layers`; None if
    there is none. Of two equals the first one given. Pure."""
    fitting = [
        key
        for key, other in others.items()
        if 0 < len(other) < len(layers) and list(layers[: len(other)]) == list(other)
    ]
    return max(fitting, key=lambda key: len(others[key]), default=None)


def base_of(manifest: Manifest | None) -> Base | None:
    """The base image of an image; None for anything else, and if the index has none of a tag.

    Found by the facts of the config, which anybody can write; believed only if the layers
    themselves, which the registry has checked, are the same.
    """
    if manifest is None or manifest.kind != Manifest.Kind.IMAGE or not manifest.config:
        return None
    try:
        below = facts.layers_below(parse_config(bytes(manifest.config)).diff_ids)
    except ValueError:
        return None
    if not below:
        return None
    rows = {row.pk: row for row in _candidates(manifest, below)}
    layers = _layers([manifest.pk, *rows])
    found = longest_prefix(layers[manifest.pk], {pk: layers[pk] for pk in rows})
    return _named(rows[found]) if found is not None else None


def layers_of(manifest_ids: Iterable[int]) -> dict[int, list[int]]:
    """{manifest id: blob ids of its layers from the base up}; without those that have no layers."""
    return dict(_layers(manifest_ids))


def standing_on(layers: Sequence[int]) -> QuerySet[Manifest]:
    """Manifests that have these layers (blob ids, from the base up) below layers of their own."""
    found = Manifest.objects.filter(
        edges__role=ManifestBlob.Role.LAYER,
        edges__position=len(layers) - 1,
        edges__blob__in=layers[-1:],
    )
    return found.filter(is_on(layers))


def is_on(layers: Sequence[int], manifest: str = "pk") -> Q:
    """The condition that the manifest whose id is in the column `manifest` is based on these."""
    edges = ManifestBlob.objects.filter(
        manifest=OuterRef(manifest), role=ManifestBlob.Role.LAYER
    ).order_by()
    if not layers:
        return Q(pk__in=())
    top = edges.filter(position=len(layers) - 1, blob=layers[-1])
    own = edges.filter(position=len(layers))
    if len(layers) == 1:
        return Q(Asked(top)) & Q(Asked(own))
    # The top layer alone proves nothing: the same empty layer lies in many images.
    same = Q()
    for position, blob in enumerate(layers[:-1]):
        same |= Q(position=position, blob=blob)
    below = edges.filter(same).values("manifest_id").annotate(number=Count("pk"))
    below = below.filter(number=len(layers) - 1)
    return Q(Asked(top)) & Q(Asked(own)) & Q(Asked(below))


def _candidates(manifest: Manifest, below: Sequence[int]) -> list[Manifest]:
    """Tagged images whose config states one of these stacks of layers, the highest first."""
    stated = ImageFact.objects.filter(fact__in=below).order_by()
    tags = Tag.objects.filter(refers_to="")
    listing = ImageIndexEntry.objects.filter(
        digest=OuterRef("digest"),
        image_index__repository=OuterRef("repository"),
        image_index__tags__refers_to="",
    )
    return list(
        Manifest.objects.filter(pk__in=stated.values("manifest_id")[:CANDIDATES])
        .filter(Q(Exists(tags.filter(manifest=OuterRef("pk")))) | Q(Exists(listing)))
        .exclude(pk=manifest.pk)
        .select_related("repository")
        .defer("raw", "config", "annotations")
        .order_by("-layer_count", "repository__name", "pk")[:COMPARED]
    )


def _layers(manifest_ids: Iterable[int]) -> dict[int, list[int]]:
    layers: dict[int, list[int]] = defaultdict(list)
    for manifest, blob in (
        ManifestBlob.objects.filter(manifest__in=list(manifest_ids), role=ManifestBlob.Role.LAYER)
        .order_by("manifest_id", "position")
        .values_list("manifest_id", "blob_id")
    ):
        layers[manifest].append(blob)
    return layers


def _named(row: Manifest) -> Base | None:
    """The image by the highest of its tags, its own or those of an image index that lists it."""
    listing = ImageIndexEntry.objects.filter(
        digest=row.digest, image_index__repository=row.repository_id
    )
    tag = (
        Tag.objects.filter(repository=row.repository_id, refers_to="")
        .filter(Q(manifest=row.pk) | Q(manifest__in=listing.values("image_index_id")))
        .annotate(is_own=Q(manifest=row.pk))
        .order_by("-is_own", "-version_key", "-pk")
        .first()
    )
    if tag is None:  # it went away a moment ago
        return None
    return Base(row.repository.name, tag.name, row.digest, row.layer_count, row.size)
