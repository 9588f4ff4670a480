"""The pages of a tag and of a manifest: what is in it, how to get it, what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui.deletion import protection
from registryui.models import (
    DailyActivity,
    Manifest,
    Repository,
    Role,
    Tag,
)
from registryui.models.mirrored import is_mirrored
from registryui.oci import media_types
from registryui.oci.digest import short
from registryui.views.access import Request, may_open, require_role
from registryui.views.activity.actors import Actor, actor_of, user_of
from registryui.views.bar_chart import Chart, daily_chart
from registryui.views.form import one_of, read_or_default
from registryui.views.kept import keep
from registryui.views.plain_text import line

from . import chart, image, related, tag_expiry, tag_history
from .media_words import media_words
from .repository import last_part, missing
from .tag_rows import kind_words, problem_words

CHART_DAYS = 14
IMAGE = Manifest.Kind.IMAGE
IMAGE_INDEX = Manifest.Kind.IMAGE_INDEX


@require_role(Role.VIEWER)
@keep()
def tag(request: Request, repository: str, tag: str) -> HttpResponse:
    """What a tag names now."""
    row = (
        Tag.objects.select_related("repository", "manifest")
        .annotate(user=user_of(request, "tagged_by"))
        .filter(repository__name=repository, name=tag)
        .first()
    )
    if row is None:
        return missing(request, repository, reference=tag)
    return _answer(
        request, Subject(row.repository, row.manifest, row, actor_of(row.tagged_by, row.user))
    )


@require_role(Role.VIEWER)
@keep()
def manifest(request: Request, repository: str, digest: str) -> HttpResponse:
    """The same page for a digest, whether a tag names it or not."""
    row = (
        Manifest.objects.select_related("repository")
        .annotate(user=user_of(request, "pushed_by"))
        .filter(repository__name=repository, digest=digest)
        .first()
    )
    if row is None:
        return missing(request, repository, reference=digest)
    return _answer(request, Subject(row.repository, row, None, actor_of(row.pushed_by, row.user)))


@dataclass(frozen=True, slots=True)
class Subject:
    """What the page is about: a tag with its manifest (None: it dangles), or a manifest alone."""

    repository: Repository
    manifest: Manifest | None
    tag: Tag | None
    pushed_by: Actor

    @property
    def digest(self) -> str:
        return self.manifest.digest if self.manifest else ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The image that the page shows: of an image index the one of a platform."""

    manifest: Manifest | None
    read: image.Read
    choices: tuple[image.Choice, ...] = ()
    choice: image.Choice | None = None
    is_by_name: bool = False  # the address names the platform
    attestations: tuple[image.Referrer, ...] = ()
    notices: tuple[image.Notice, ...] = ()
    is_sparse: bool = False  # what it lacks is not pulled yet
    listed: tuple[image.Entry, ...] = ()


def _answer(request: Request, subject: Subject) -> HttpResponse:
    chosen = _choose(subject, request.GET.get("platform", ""))
    if request.GET.get("tab") == "raw" and "download" in request.GET:
        return _download(subject, chosen, request.GET.get("part", ""))
    return render(request, "catalogue/tag/page.html", _context(request, subject, chosen))


def _choose(subject: Subject, wanted: str) -> Chosen:
    """The image to show, with its manifest and config parsed."""
    top, name = subject.manifest, subject.repository.name
    if top is None:
        return Chosen(None, image.Read(None, None))
    if top.kind != IMAGE_INDEX:
        return Chosen(top, _read(top, name))
    listed = related.entries(top)
    choices = image.choices(listed)
    absent = sum(not one.is_present for one in choices)
    is_sparse = absent > 0 and is_mirrored(name)
    choice = image.choose(choices, wanted, is_sparse=is_sparse)
    child = (
        Manifest.objects.filter(repository=top.repository_id, digest=choice.digest).first()
        if choice and choice.is_present
        else None
    )
    shown = child or top
    return Chosen(
        manifest=shown,
        read=_read(shown, name),
        choices=tuple(choices),
        choice=choice,
        is_by_name=choice is not None and wanted in (choice.key, choice.digest),
        attestations=tuple(_attestations(listed, choice)),
        notices=tuple(image.platform_notice(wanted, choice, absent, is_sparse=is_sparse)),
        is_sparse=is_sparse,
        listed=tuple(listed),
    )


def _read(row: Manifest, repository: str) -> image.Read:
    config = bytes(row.config) if row.config else None
    is_sparse = config is None and row.kind == IMAGE and is_mirrored(repository)
    return image.read(bytes(row.raw), row.media_type, config, is_sparse=is_sparse)


def _attestations(
    listed: Sequence[image.Entry], choice: image.Choice | None
) -> list[image.Referrer]:
    """BuildKit's attestations of the chosen image."""
    return [
        image.attestation(entry.digest, entry.size)
        for entry in listed
        if choice and entry.attests == choice.digest
    ]


# -- what the template gets ----------------------------------------------------------------------


def _protection(subject: Subject) -> dict[str, Any]:
    """The rule by which the tag cannot be deleted, and whether it stays on its digest, too."""
    if subject.tag is None:
        return {}
    rules, key = protection.protections(), (subject.repository.name, subject.tag.name)
    immutable = rules.immutable(*key)
    return {
        "protection": immutable or rules.of(*key),
        "is_immutable": immutable is not None,
        "may_move": immutable is None or subject.manifest is None,
    }


def _context(request: Request, subject: Subject, chosen: Chosen) -> dict[str, Any]:
    top, shown, config = subject.manifest, chosen.manifest, chosen.read.config
    usage = related.blobs(shown)
    digests = list(dict.fromkeys(one.digest for one in (top, shown) if one is not None))
    referrers = related.referrers(subject.repository, digests) if digests else []
    referrers += chosen.attestations
    tabs = _tabs(chosen, referrers)
    tab = read_or_default(request.GET, tab=one_of((one.key for one in tabs), tabs[0].key))["tab"]
    restorable = _restorable(request, subject)
    return {
        "repository": subject.repository,
        "last_part": last_part(subject.repository),
        "tag": subject.tag,
        "top": top,
        "shown": shown,
        "is_index": top is not None and top.kind == IMAGE_INDEX,
        "kind": kind_words(top) if top else "",
        "problem_words": problem_words(subject.tag.problem) if subject.tag else "",
        "is_signed": any(one.is_signature for one in referrers),
        **_protection(subject),
        **tag_expiry.shown(request, subject.tag),
        "is_old_schema": shown is not None and media_types.is_schema1(shown.media_type),
        "aliases": related.aliases(top, subject.tag),
        "choices": chosen.choices,
        "is_sparse": chosen.is_sparse,
        "choice": chosen.choice,
        "notices": _notices(subject, chosen, len(_absent(chosen, usage))),
        "pulls": _pulls(subject, chosen),
        "config": config,
        "built": image.believable(config.created) if config else None,
        "pushed_at": subject.tag.tagged_at if subject.tag else shown.pushed_at if shown else None,
        "pushed_by": subject.pushed_by,
        "pulled_by": line(top.pulled_by, 80) if top else "",
        "platform": line(shown.platform, 100) if shown and not chosen.choices else "",
        "subject_digest": shown.subject_digest if shown else "",
        "port_count": len(config.ports) if config else 0,
        "has_sizes": shown is not None and not media_types.is_schema1(shown.media_type),
        "runs_as": image.runs_as(config) if config else "",
        "ports": image.ports_of(config) if config else "",
        "only_here": usage.only_here,
        "top_layer": usage.top_digest,
        "media_words": media_words(shown.media_type) if shown else "",
        "chart": _chart(subject.repository),
        "tabs": tabs,
        "tab": tab,
        "tab_template": f"catalogue/tag/_{tab}.html",
        "referrers": referrers,
        "earlier": restorable,
        "behind": restorable is not None,
        "may_delete": _may_delete(request, subject),
        **_tab_context(request, tab, subject, chosen, usage),
    }


def _may_delete(request: Request, subject: Subject) -> bool:
    """A tag, or a manifest that no tag and no image index names."""
    if not may_open(request.user, "delete"):
        return False
    manifest = subject.manifest
    return subject.tag is not None or (
        manifest is not None and manifest.untagged_at is not None and not manifest.is_listed
    )


def _restorable(request: Request, subject: Subject) -> Manifest | None:
    """The manifest that ?restore_digest= asks to put the tag on, if this operator may do it."""
    digest = request.GET.get("restore_digest", "")
    if not digest or subject.tag is None or digest == subject.digest:
        return None
    if not may_open(request.user, "restore_digest"):
        return None
    found = Manifest.objects.filter(repository=subject.repository, digest=digest[:255])
    return found.only("digest", "size", "pushed_at").first()


def _absent(chosen: Chosen, usage: related.Blobs) -> set[str]:
    """Config and layers of the image that a mirror has not pulled yet."""
    manifest = chosen.read.manifest
    if manifest is None or not usage.absent:
        return set()
    every = (*((manifest.config,) if manifest.config else ()), *manifest.layer_blobs)
    return {one.digest for one in every if one.size and not one.urls} & usage.absent


def _notices(subject: Subject, chosen: Chosen, absent: int) -> list[image.Notice]:
    found: list[image.Notice | None] = [image.absent_notice(absent)] if absent else []
    if subject.tag is not None:
        found.append(image.problem_notice(subject.tag.problem))
    found += chosen.notices
    found += chosen.read.trouble
    found.append(image.encrypted_notice(chosen.read.manifest))
    if chosen.manifest is not None and media_types.is_schema1(chosen.manifest.media_type):
        found.append(image.schema1_notice())
    return [one for one in found if one is not None]


def _pulls(subject: Subject, chosen: Chosen) -> list[image.Pull]:
    top = subject.manifest
    if top is None:
        return []
    return image.pulls(
        settings.REGISTRY_NAME,
        subject.repository.name,
        tag=subject.tag.name if subject.tag else "",
        digest=top.digest,
        platform=chosen.choice.key if chosen.choice and chosen.is_by_name else "",
        image=chosen.choice.digest if chosen.choice and chosen.is_by_name else "",
        kind=top.kind,
        words=media_types.words(top.artifact_type),
    )


def _chart(repository: Repository) -> Chart:
    """Pulls of the whole repository: of single tags only their number is known."""
    today = timezone.now().date()
    rows = DailyActivity.objects.filter(
        repository=repository, day__gt=today - timedelta(days=CHART_DAYS)
    )
    return daily_chart(dict(rows.values_list("day", "pulls")), today=today, days=CHART_DAYS)


# -- tabs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tab:
    key: str
    label: str
    count: int | None = None


def _tabs(chosen: Chosen, referrers: Sequence[image.Referrer]) -> list[Tab]:
    """The tabs that this kind of content has."""
    shown, read = chosen.manifest, chosen.read
    history = Tab("history", _("History"))
    if shown is None:
        return [history]
    found = []
    if shown.kind == IMAGE:
        found += [Tab("layers", _("Layers"), len(read.manifest.layers) if read.manifest else None)]
    elif shown.kind == IMAGE_INDEX:
        found += [Tab("entries", _("Manifests"))]
    elif read.manifest is not None and read.manifest.kind != "unknown":
        found += [Tab("helm", _("Chart"))] if chart.is_chart(shown) else []
        found += [Tab("layers", _("Content"), len(read.manifest.layer_blobs))]
    if read.config is not None:
        found += [Tab("dockerfile", "Dockerfile"), Tab("config", _("Config"))]
    listing = chosen.listed and shown.kind != IMAGE_INDEX
    return [
        *found,
        Tab("labels", _("Labels")),
        Tab("used", _("Used by")),
        Tab("referrers", _("Referrers"), _counted(referrers, related.REFERRER_LIMIT)),
        *(
            [Tab("entries", _("Manifests"), _counted(chosen.listed, image.ENTRY_LIMIT - 1))]
            if listing
            else []
        ),
        history,
        Tab("raw", _("Raw")),
    ]


def _counted(rows: Sequence[object], most: int) -> int | None:
    """Their number; None if there may be more of them than were read."""
    return len(rows) if len(rows) <= most else None


def _tab_context(
    request: Request, tab: str, subject: Subject, chosen: Chosen, usage: related.Blobs
) -> dict[str, Any]:
    """What only one of the tabs needs."""
    read, config = chosen.read, chosen.read.config
    if tab == "layers":
        users = related.used_by(chosen.manifest, usage, top_digest=subject.digest)
        has_base = chosen.manifest is not None and chosen.manifest.kind == IMAGE and bool(config)
        return {
            "layers": image.layers(
                read,
                related.users_by_name(usage, read.manifest),
                absent=_absent(chosen, usage),
            ),
            "users": users,
            "has_base": has_base,
        }
    if tab == "helm" and chosen.manifest is not None:
        return {"chart_facts": chart.facts(chosen.manifest)}
    if tab == "entries":
        return _entries(request, subject, chosen)
    if tab == "dockerfile" and config is not None:
        return {"dockerfile": image.dockerfile_of(config)}
    if tab == "config" and config is not None:
        return {"facts": image.config_facts(config), "author": line(config.author)}
    if tab == "labels":
        top = subject.manifest
        outer = top.annotations if top is not None and top is not chosen.manifest else {}
        return {"labels": image.labels(read, outer)}
    if tab == "used":
        return {"users": related.used_by(chosen.manifest, usage, top_digest=subject.digest)}
    if tab == "referrers":
        return _referrers(request, subject, chosen)
    if tab == "history":
        name = subject.tag.name if subject.tag else ""
        history = tag_history.history(request, subject.repository, tag=name, digest=subject.digest)
        return {"history": history, "page": history.page}
    if tab == "raw":
        return {"raw": image.raw(_parts(subject, chosen), request.GET.get("part", ""))}
    return {}


def _entries(request: Request, subject: Subject, chosen: Chosen) -> dict[str, Any]:
    """Lines of the page's image index, or of one that it lists itself and that is chosen."""
    shown, top = chosen.manifest, subject.manifest
    listing = shown if shown is not None and shown.kind == IMAGE_INDEX else top
    if listing is None:
        return {"listed": []}
    page = related.entry_page(listing, request.GET.get("after", ""))
    return {"listed": [related.entry(row) for row in page.rows], "page": page}


def _referrers(request: Request, subject: Subject, chosen: Chosen) -> dict[str, Any]:
    digests = [one.digest for one in (subject.manifest, chosen.manifest) if one is not None]
    after = request.GET.get("after", "")
    found, page = related.referrer_page(subject.repository, list(dict.fromkeys(digests)), after)
    attestations = [] if page.previous else list(chosen.attestations)
    return {"referrers": found + attestations, "page": page}


def _parts(subject: Subject, chosen: Chosen) -> list[image.Part]:
    """What is stored: the image's manifest, its config, and the image index that lists it."""
    shown, top = chosen.manifest, subject.manifest
    found = []
    if shown is not None:
        label = _("Image index") if shown.kind == IMAGE_INDEX else _("Manifest")
        found.append(image.Part("manifest", label, shown.digest, bytes(shown.raw)))
        if shown.config:
            digest = _config_digest(chosen.read)
            found.append(image.Part("config", _("Config"), digest, bytes(shown.config)))
    if top is not None and top is not shown:
        found.append(image.Part("index", _("Image index"), top.digest, bytes(top.raw)))
    return found


def _config_digest(read: image.Read) -> str:
    config = read.manifest.config if read.manifest else None
    return config.digest if config else ""


def _download(subject: Subject, chosen: Chosen, wanted: str) -> HttpResponse:
    """The stored bytes, exactly; as a file, because a browser must not make sense of them."""
    parts = _parts(subject, chosen)
    if not parts:
        raise Http404
    part = next((one for one in parts if one.key == wanted), parts[0])
    name = f"{part.key}-{short(part.digest)}.json"
    return HttpResponse(
        part.data,
        content_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        },
    )
