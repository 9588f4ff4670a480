"""Two references (`repository:tag`, `repository@digest`) as the two sources of a comparison.

Of an image index one platform is compared, by default the same on both sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.translation import gettext as _

from registryui.models import ImageIndexEntry, Manifest, Tag
from registryui.oci import media_types
from registryui.oci.compare import Comparison, Image, compare, image
from registryui.oci.config import ImageConfig, parse_config, schema1_config
from registryui.oci.manifest import Descriptor, parse_manifest
from registryui.oci.names import Reference, parse_reference
from registryui.refused import Refused

from .blob_names import remembered

PLATFORM_LIMIT = 500  # entries of an image index that are offered
USUAL = "linux/amd64"


@dataclass(frozen=True, slots=True)
class Named:
    """What a reference names: its manifest, and of an image index the images in it."""

    reference: Reference
    manifest: Manifest
    tagged_at: datetime
    platforms: tuple[tuple[str, str], ...] = ()  # (platform or digest, digest), in its order

    def __str__(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, slots=True)
class ComparisonSource:
    """One source, read: the image that is compared and its platform ("": there is no choice)."""

    named: Named
    platform: str
    shown: Manifest
    image: Image
    is_image: bool  # False: an artifact, which has no settings


def named(text: str) -> Named:
    """What the index has for a reference. Raises Refused with a sentence that says what is wrong.

    Two queries, one of a reference by digest.
    """
    try:
        reference = parse_reference(text.strip())
    except ValueError as error:
        raise Refused(
            _("%s is not a valid reference. Enter repository:tag or repository@sha256:….")
            % f"“{text.strip()[:120]}”"
        ) from error
    if not reference.tag and not reference.digest:
        reference = Reference(reference.repository, "latest")
    if reference.digest:
        manifest = (
            Manifest.objects.select_related("repository")
            .filter(repository__name=reference.repository, digest=reference.digest)
            .first()
        )
        tagged_at = manifest.pushed_at if manifest else None
    else:
        tag = (
            Tag.objects.select_related("manifest", "repository")
            .filter(repository__name=reference.repository, name=reference.tag)
            .first()
        )
        manifest, tagged_at = (tag.manifest, tag.tagged_at) if tag else (None, None)
        if tag is not None and manifest is None:
            raise Refused(_("The tag %s has no manifest and cannot be compared.") % reference)
    if manifest is None or tagged_at is None:
        raise Refused(_("%s is not in the index.") % reference)
    return Named(reference, manifest, tagged_at, _platforms(manifest))


def _platforms(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Images of an image index that are here, without BuildKit's attestations. One query."""
    if manifest.kind != Manifest.Kind.IMAGE_INDEX:
        return ()
    entries = ImageIndexEntry.objects.filter(image_index=manifest).order_by("position")
    found: dict[str, str] = {}
    for entry in entries[:PLATFORM_LIMIT]:
        if entry.platform != "unknown/unknown":
            key = entry.platform if entry.platform and entry.platform not in found else entry.digest
            found[key] = entry.digest
    return tuple(found.items())


def choose(left: Named, right: Named, wanted: str = "", wanted_right: str = "") -> tuple[str, str]:
    """The platform of each source: the wanted one, else one that both have, else its first."""
    ours, theirs = dict(left.platforms), dict(right.platforms)
    # An image that is no index has one platform, and an index should show the same.
    only = "" if theirs else right.manifest.platform
    both = [key for key in (USUAL, *ours) if key in ours and key in theirs]
    one = _first([wanted, wanted_right, only, *both, USUAL, *ours], ours)
    only = "" if ours else left.manifest.platform
    return one, _first([wanted_right, one, only, USUAL, *theirs], theirs)


def _first(wanted: Sequence[str], there: Mapping[str, str]) -> str:
    return next((key for key in wanted if key in there), "")


def source(one: Named, platform: str) -> ComparisonSource:
    """Reads the image of that platform. Raises Refused where there is nothing to compare."""
    shown = one.manifest
    if platform:
        digest = dict(one.platforms)[platform]
        child = Manifest.objects.filter(repository=one.manifest.repository_id, digest=digest)
        if (found := child.first()) is None:
            raise Refused(
                _("The image for %(platform)s of %(name)s is not in the registry.")
                % {"platform": platform, "name": one.reference}
            )
        shown = found
    elif shown.kind == Manifest.Kind.IMAGE_INDEX:
        raise Refused(_("The image index %s contains no images.") % one.reference)
    try:
        parsed = parse_manifest(bytes(shown.raw), shown.media_type)
    except ValueError as error:
        raise Refused(_("The manifest of %s cannot be read.") % one.reference) from error
    if media_types.is_schema1(parsed.media_type):
        config = schema1_config(parsed.schema1_history)
    else:
        config = _config(shown)
    own = [parsed.config] if parsed.config else []
    return ComparisonSource(
        one,
        platform,
        shown,
        image(_as_stored(parsed.layer_blobs), config, next(iter(_as_stored(own)), None)),
        shown.kind == Manifest.Kind.IMAGE,
    )


def _as_stored(some: Sequence[Descriptor]) -> Sequence[Descriptor]:
    """The same blob is the same, whatever digest a manifest names it by."""
    stored = remembered(one.digest for one in some)
    return [replace(one, digest=stored.get(one.digest, one.digest)) for one in some]


def _config(shown: Manifest) -> ImageConfig:
    """An empty one for what has none, or none that can be read: its layers still compare."""
    if not shown.config or shown.kind != Manifest.Kind.IMAGE:
        return ImageConfig()
    try:
        return parse_config(bytes(shown.config))
    except ValueError:
        return ImageConfig()


def both(
    references: Sequence[str], platforms: Sequence[str]
) -> tuple[ComparisonSource, ComparisonSource, Comparison]:
    """Reads and compares two references; `platforms` may be "" each. Raises Refused."""
    left, right = (named(text) for text in references)
    ours, theirs = choose(left, right, *platforms)
    one, other = source(left, ours), source(right, theirs)
    return one, other, compare(one.image, other.image)
