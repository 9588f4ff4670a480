"""The page of a repository: its tags, what is attached to its images, what no tag names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import (
    BigIntegerField,
    Count,
    Exists,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from registryui import descriptions
from registryui.deletion import protection
from registryui.mirrors import presets
from registryui.models import (
    DailyActivity,
    ImageIndexEntry,
    Manifest,
    Mirror,
    Quota,
    Repository,
    Role,
    Tag,
    TagTombstone,
)
from registryui.models.mirrored import is_mirrored
from registryui.models.paging import Page
from registryui.models.paging import page as keyset_page
from registryui.oci import media_types
from registryui.views.access import Request, may_open, require_role
from registryui.views.activity.actors import actor_of, actor_words, user_of
from registryui.views.form import Words, one_of, read_or_default
from registryui.views.kept import keep
from registryui.views.live import digits, minute, not_changed, wants_fragment
from registryui.views.plain_text import line
from registryui.views.quotas import lines

from . import access, image, readme, related, tag_filter
from .tag_rows import PlatformRow, kind_words, problem_words, tag_rows

CHOSEN_BYTES = 5000  # of an address, for the tags that are chosen on other pages
PLATFORM_LIMIT = 64  # rows below one tag; the page of the tag has all of them

# What ?sort= says, its words, and the order; each is an index of Tag read backwards or forwards.
SORTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "version": (_("Newest version first"), ("-group_key", "-version_key", "-id")),
    "pushed": (_("Most recently pushed first"), ("-tagged_at", "-id")),
    "size": (_("Largest first"), ("-size", "-id")),
    "pulled": (_("Longest since last pull first"), ("pulled_at", "id")),
}
SHOWS = ("tags", "readme", "referrer-tags", "untagged", "access")


@require_role(Role.VIEWER)
@keep()
def repository(request: Request, repository: str) -> HttpResponse:
    """The page, or for htmx the list alone; 204 while nothing changed since ?seen=."""
    show = read_or_default(request.GET, show=one_of(SHOWS, "tags"))["show"]
    if show == "access" and not may_open(request.user, "user"):
        show = "tags"
    token = _token(repository) + (access.token(repository) if show == "access" else "")
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    row: Any = (
        _repositories().annotate(user=user_of(request, "pushed_by")).filter(name=repository).first()
    )
    if row is None:
        return missing(request, repository)
    if request.htmx and request.htmx.target == "chosen":
        chosen = _chosen(request, row)
        context = {"chosen": chosen, "protected": _protecting(row, chosen)}
        return render(request, "catalogue/repository/_chosen.html", context)
    context = {
        "repository": row,
        "last_part": last_part(row),
        "pushed_by": actor_of(row.pushed_by, row.user),
        "token": token,
        "show": show,
        "counts": _counts(row),
        "pull": _pull(row),
        "push": f"docker push {_host(row)}:TAG",
        "mirror": _mirror(row),
        **_LISTS[show](request, row),
    }
    if wants_fragment(request):
        return render(request, "catalogue/repository/_live.html", context)
    context["about"] = descriptions.from_image(row)
    context["quotas"] = lines(Quota.objects.covering(row.name))
    return render(request, "catalogue/repository/page.html", context)


@dataclass(frozen=True, slots=True)
class MirrorOf:
    """The mirror that a repository is in."""

    pk: int
    host: str  # of the upstream, as in names of images


def _mirror(row: Any) -> MirrorOf | None:
    return MirrorOf(row.mirror, presets.host_of(row.upstream)) if row.mirror else None


def _counts(row: Any) -> dict[str, int]:
    """The counts beside the tabs. One query."""
    return {
        "tags": row.tag_count,
        "referrer_tags": row.referrer_tag_count,
        "untagged": _untagged_manifests(row).count(),
    }


def last_part(row: Repository) -> str:
    """The name below its namespace, as the way to the page shows it."""
    return row.name.removeprefix(f"{row.namespace}/")


def missing(request: Request, repository: str, *, reference: str = "") -> HttpResponse:
    """404 in words, with a way on; an open fragment is told to load its page anew."""
    if wants_fragment(request):
        return HttpResponse(status=200, headers={"HX-Refresh": "true"})
    is_known = Repository.objects.filter(name=repository).exists()
    context = {
        "name": repository,
        "reference": reference,
        "is_digest": ":" in reference,
        "is_known": is_known,
        "push": "" if is_known else f"docker push {settings.REGISTRY_NAME}/{repository}:TAG",
        "tombstone": _tombstone(repository, reference),
    }
    return render(request, "catalogue/repository/missing.html", context, status=404)


def _tombstone(repository: str, reference: str) -> TagTombstone | None:
    """What was deleted last under that name (of a repository: of all its names), if it can be
    restored. One query."""
    found = TagTombstone.objects.kept(timezone.now()).filter(
        repository=repository, how=TagTombstone.How.DELETED
    )
    if reference:
        name = "digest" if ":" in reference else "tag"
        found = found.filter(**{name: reference})
    return found.order_by("-at", "-id").first()


def _pull(row: Repository) -> str:
    """How to get `latest`, or the newest tag where there is no such tag; "" without a tag."""
    tags = Tag.objects.filter(repository=row, name__in=("latest", row.newest_tag), refers_to="")
    found = {
        name: (kind, artifact_type, digest)
        for name, kind, artifact_type, digest in tags.exclude(manifest=None).values_list(
            *("name", "manifest__kind", "manifest__artifact_type", "manifest__digest")
        )
    }
    name = "latest" if "latest" in found else row.newest_tag
    if name not in found:
        return ""
    kind, artifact_type, digest = found[name]
    return image.pulls(
        settings.REGISTRY_NAME,
        row.name,
        tag=name,
        digest=digest,
        kind=kind,
        words=media_types.words(artifact_type),
    )[0].command


def _host(row: Repository) -> str:
    return f"{settings.REGISTRY_NAME}/{row.name}"


def _token(name: str) -> str:
    """What an open page compares: it changes with the repository, and with the minute, so that
    "4 min ago" goes on. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT changed_at FROM registryui_repository WHERE name = %s", [name])
        found = cursor.fetchone()
    return f"{digits(found[0])}-{minute()}" if found else ""


def _repositories() -> QuerySet[Repository]:
    """Repositories with `referrer_tag_count`, `pulls` of 30 days, the `description` that somebody
    wrote, and of a mirrored one the id of its `mirror` and its `upstream`."""
    mirrors = Mirror.objects.filter(name=OuterRef("namespace"))
    referrer_tags = (
        Tag.objects.filter(repository=OuterRef("pk"), refers_to__gt="")
        .order_by()
        .values("repository")
        .annotate(number=Count("pk"))
        .values("number")
    )
    pulls = (
        DailyActivity.objects.filter(
            repository=OuterRef("pk"), day__gt=timezone.now().date() - timedelta(days=30)
        )
        .order_by()
        .values("repository")
        .annotate(number=Sum("pulls"))
        .values("number")
    )
    return Repository.objects.described().annotate(
        referrer_tag_count=Coalesce(
            Subquery(referrer_tags), Value(0), output_field=BigIntegerField()
        ),
        pulls=Coalesce(Subquery(pulls), Value(0), output_field=BigIntegerField()),
        mirror=Subquery(mirrors.values("pk")),
        upstream=Subquery(mirrors.values("url")),
    )


# -- tags ----------------------------------------------------------------------------------------


def _tags(request: Request, row: Repository) -> dict[str, Any]:
    fields = {"q": Words(max_length=tag_filter.LONGEST), "sort": one_of(SORTS, "version")}
    query, sort = read_or_default(request.GET, **fields).values()
    wanted = Tag.objects.filter(tag_filter.condition(query), repository=row, refers_to="")
    page = keyset_page(
        wanted.select_related("manifest")
        .defer("manifest__raw", "manifest__config", "manifest__annotations")
        .annotate(user=user_of(request, "tagged_by")),
        SORTS[sort][1],
        after=request.GET.get("after", ""),
    )
    chosen = _chosen(request, row)
    edges = (bool(page.previous), bool(page.next))
    manifests = [tag.manifest for tag in page.rows if tag.manifest is not None]
    protections = protection.protections()
    rows = tag_rows(
        page.rows,
        platforms=_platforms(row, manifests),
        groups=related.tag_groups([manifest.pk for manifest in manifests]),
        signed=related.signed(row, {manifest.digest for manifest in manifests}),
        rules={
            one.name: rule.pk for one in page.rows if (rule := protections.of(row.name, one.name))
        },
        may_expire=getattr(row, "mirror", None) is None,
        goes_on=edges if sort == "version" and not query else (False, False),
    )
    return {
        "list": "components/repository/_tags.html",
        "page": page,
        "rows": rows,
        "query": query,
        "sort": sort,
        "sorts": [(key, words) for key, (words, _order) in SORTS.items()],
        "total": wanted.count() if query else row.tag_count,
        "has_lanes": any(one.lane for one in rows),
        "chosen": chosen,
        "elsewhere": chosen.without({one.name for one in rows}),
        "is_full": chosen.length + sum(_length(one.name) for one in rows) > CHOSEN_BYTES,
        "is_sparse": any(p.size is None for one in rows for p in one.platforms)
        and is_mirrored(row.name),
    }


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tags whose boxes are ticked, on whatever page of the list."""

    tags: tuple[tuple[str, int | None, int], ...] = ()  # name, id of its manifest, bytes

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _manifest, _size in self.tags)

    @property
    def images(self) -> int:
        return len({manifest for _name, manifest, _size in self.tags if manifest is not None})

    @property
    def size(self) -> int:
        """Bytes of its images, each once."""
        return sum({manifest: size for _name, manifest, size in self.tags}.values())

    @property
    def length(self) -> int:
        """Characters that an address needs to name them."""
        return sum(_length(name) for name in self.names)

    def without(self, names: Set[str]) -> Chosen:
        """Those that are not among `names`."""
        return Chosen(tuple(one for one in self.tags if one[0] not in names))


def _chosen(request: Request, row: Repository) -> Chosen:
    """What ?tag= names of the repository's tags. One query, if it names any."""
    names = set(request.GET.getlist("tag")[:CHOSEN_BYTES])
    if not names:
        return Chosen()
    tags = Tag.objects.filter(repository=row, refers_to="", name__in=names).order_by("id")
    return Chosen(tuple(tags.values_list("name", "manifest", "size")))


def _protecting(row: Repository, chosen: Chosen) -> list[int]:
    """For each tag of these that cannot be deleted, the key of the rule. One query."""
    rules = protection.protections()
    return [rule.pk for name in chosen.names if (rule := rules.of(row.name, name))]


def _length(name: str) -> int:
    return len(f"&tag={name}")


def _platforms(row: Repository, manifests: Sequence[Manifest]) -> dict[int, list[PlatformRow]]:
    """The images in each image index, by its id; build attestations are left out. One query."""
    wanted = {one.pk for one in manifests if one.kind == Manifest.Kind.IMAGE_INDEX}
    if not wanted:
        return {}
    child = Manifest.objects.filter(repository=row, digest=OuterRef("digest"))
    entries = (
        ImageIndexEntry.objects.filter(image_index__in=wanted, position__lt=PLATFORM_LIMIT)
        .annotate(
            child_size=Subquery(child.values("size")[:1]),
            child_layers=Subquery(child.values("layer_count")[:1]),
        )
        .order_by("image_index", "position")
    )
    found: dict[int, list[PlatformRow]] = defaultdict(list)
    for entry in entries:
        if not image.is_attestation(entry.platform, entry.annotations):
            found[entry.image_index_id].append(
                PlatformRow(
                    line(entry.platform, 60), entry.digest, entry.child_size, entry.child_layers
                )
            )
    return found


# -- referrer tags -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReferrerTagRow:
    tag: Tag
    words: str
    by: str
    problem_words: str


def _referrer_tags(request: Request, row: Repository) -> dict[str, Any]:
    page: Page[Tag] = keyset_page(
        Tag.objects.filter(repository=row, refers_to__gt="")
        .select_related("manifest")
        .defer("manifest__raw", "manifest__config", "manifest__annotations"),
        ("refers_to", "group_key", "version_key", "id"),
        after=request.GET.get("after", ""),
    )
    rows = [
        ReferrerTagRow(
            tag,
            image.referrer_words(tag.name),
            actor_words(tag.tagged_by),
            problem_words(tag.problem),
        )
        for tag in page.rows
    ]
    return {"list": "catalogue/repository/_referrer_tags.html", "page": page, "rows": rows}


# -- untagged ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UntaggedRow:
    manifest: Manifest
    words: str
    platform: str
    by: str
    kept_until: datetime | None  # by undo
    is_deleted: bool  # asked for already: it waits for its time to end


def _untagged(request: Request, row: Repository) -> dict[str, Any]:
    kept = TagTombstone.objects.kept(timezone.now()).filter(
        repository=row.name, digest=OuterRef("digest")
    )
    page: Page[Any] = keyset_page(
        _untagged_manifests(row)
        .defer("raw", "config", "annotations")
        .annotate(
            kept_until=Subquery(kept.order_by("-keep_until").values("keep_until")[:1]),
            is_deleted=Exists(kept.filter(tag="")),
        ),
        ("-seen_at", "-id"),
        after=request.GET.get("after", ""),
    )
    rows = [
        UntaggedRow(
            one,
            kind_words(one),
            line(one.platform, 60),
            actor_words(one.pushed_by),
            one.kept_until,
            one.is_deleted,
        )
        for one in page.rows
    ]
    return {"list": "catalogue/repository/_untagged.html", "page": page, "rows": rows}


def _untagged_manifests(row: Repository) -> QuerySet[Manifest]:
    """Manifests without a tag; children of image indexes are left out, theirs is the index's."""
    return Manifest.objects.filter(repository=row, untagged_at__isnull=False, is_listed=False)


_LISTS = {
    "tags": _tags,
    "readme": readme.shown,
    "referrer-tags": _referrer_tags,
    "untagged": _untagged,
    "access": access.rows,
}


def behind(request: Request, name: str) -> dict[str, Any]:
    """The page behind a question about a repository: its tags, as the page shows them first.

    {} if the index does not have it.
    """
    row: Any = (
        _repositories().annotate(user=user_of(request, "pushed_by")).filter(name=name).first()
    )
    if row is None:
        return {}
    return {
        "repository": row,
        "last_part": last_part(row),
        "show": "tags",
        "counts": _counts(row),
        **_tags(request, row),
    }
