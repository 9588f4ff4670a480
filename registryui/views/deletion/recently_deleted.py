"""Recently deleted: deleted and overwritten tags, newest first, and their restore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.contrib import messages
from django.db.models import Count, Exists, OuterRef, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from registryui import tasks
from registryui.deletion import bulk
from registryui.deletion import restore as restoring
from registryui.deletion.execute import Result
from registryui.models import Manifest, Repository, Role, Tag, TagTombstone
from registryui.models.deletion import TagTombstoneQuerySet
from registryui.models.paging import page
from registryui.oci.digest import short
from registryui.refused import Refused
from registryui.views.access import Request, require_role, sent_from
from registryui.views.activity.actors import actor_words
from registryui.views.catalogue import image
from registryui.views.form import Number, Words, one_of, read_or_default
from registryui.views.live import wants_fragment
from registryui.views.plain_text import line

from .plan import failed_words, name_of

HOWS = ("deleted", "overwritten")


@dataclass(frozen=True, slots=True)
class Row:
    tombstone: TagTombstone
    words: str  # what a referrer tag is, else ""
    by: str
    has_repository: bool
    is_known: bool  # its manifest has a page


@dataclass(frozen=True, slots=True)
class Group:
    """Adjacent rows of one act; `count`: of the whole act, 1 for a single row."""

    rows: tuple[Row, ...]
    count: int

    @property
    def first(self) -> Row:
        return self.rows[0]


@require_role(Role.VIEWER)
def recently_deleted(request: Request) -> HttpResponse:
    """The page, or for htmx its list. ?q= is a part of the repository's name or of the tag."""
    query, how = read_or_default(request.GET, q=Words(), how=one_of(HOWS)).values()
    found = _found(query, how)
    shown = page(
        found.annotate(
            has_repository=Exists(Repository.objects.filter(name=OuterRef("repository"))),
            is_known=Exists(
                Manifest.objects.filter(
                    repository__name=OuterRef("repository"), digest=OuterRef("digest")
                )
            ),
        ),
        ["-at"],
        after=request.GET.get("after", ""),
    )
    context = {
        "page": shown,
        "groups": _groups(shown.rows),
        "query": query,
        "how": how,
        "hows": [
            ("", _("All")),
            ("deleted", _("Deleted")),
            ("overwritten", _("Overwritten")),
        ],
        "tab": "deleted",
    }
    template = "_list" if wants_fragment(request) else "page"
    return render(request, f"deletion/recently_deleted/{template}.html", context)


def _found(query: str, how: str) -> TagTombstoneQuerySet:
    """All of what waits that has every word in its name: `api 2.13`, `team/api:2.13`."""
    found = restoring.restorable()
    if how:
        found = found.filter(how=how)
    for word in query.replace(":", " ").split()[:8]:
        found = found.filter(Q(repository__icontains=word) | Q(tag__icontains=word))
    return found


def _groups(rows: Sequence[Any]) -> list[Group]:
    """One query: how many tags each act has that can still be restored."""
    acts = {row.act for row in rows if row.act}
    counts = (
        dict(
            restoring.restorable()
            .filter(act__in=acts)
            .order_by()
            .values_list("act")
            .annotate(number=Count("pk"))
        )
        if acts
        else {}
    )
    found = []
    for act, group in groupby(rows, key=lambda row: row.act or row.pk):
        found.append(Group(tuple(_row(one) for one in group), counts.get(act, 1)))
    return found


def _row(row: Any) -> Row:
    words = ""
    if row.refers_to:
        words = image.referrer_words(row.tag) or _("Referrer tag")
    return Row(row, words, line(row.who, 80), row.has_repository, row.is_known)


# -- restoring -----------------------------------------------------------------------------------


@require_role(Role.MAINTAINER, methods=("POST",))
def restore(request: Request) -> HttpResponse:
    """Restores one tag (by its tombstone), or all that an act deleted (`act`).

    Asks first where somebody pushed the tag meanwhile; `expected` is the answer.
    """
    back = sent_from(request) or reverse("recently_deleted")
    try:
        if act := read_or_default(request.POST, act=Words(max_length=32))["act"]:
            return _restore_act(request, act, back)
        return _restore_one(request, back)
    except Refused as error:
        messages.error(request, str(error))
        return redirect(back)


def _restore_one(request: Request, back: str) -> HttpResponse:
    asked = read_or_default(request.POST, tombstone=Number(), expected=Words())
    if asked["tombstone"] is None:
        raise Refused(_("Nothing selected that can be restored."))
    row = get_object_or_404(TagTombstone, pk=asked["tombstone"])
    expected = asked["expected"] or None
    try:
        restoring.restore(row, by=request.user.actor, expected=expected)
    except restoring.Taken as taken:
        return _ask(request, row, taken.digest, back, is_again=expected is not None)
    messages.success(request, _("Restored %(name)s to %(digest)s.") % _facts(row))
    return redirect(back)


def _facts(row: TagTombstone) -> dict[str, str]:
    digest = short(row.digest)
    name = f"{row.repository}:{row.tag}" if row.tag else f"{row.repository}@{digest}"
    return {"name": name, "digest": digest}


def _ask(
    request: Request, row: TagTombstone, digest: str, back: str, *, is_again: bool
) -> HttpResponse:
    """The question before a tag that somebody pushed meanwhile is set on the old digest."""
    manifests = Manifest.objects.filter(repository__name=row.repository)
    tag = Tag.objects.filter(repository__name=row.repository, name=row.tag).first()
    context = {
        "tombstone": row,
        "by": line(row.who, 80),
        "now": digest,
        "now_manifest": manifests.filter(digest=digest).only("digest", "size").first(),
        "now_tag": tag,
        "now_by": actor_words(tag.tagged_by) if tag else "",
        "is_known": manifests.filter(digest=row.digest).exists(),
        "is_again": is_again,
        "back": back,
        "behind": True,
        "tab": "deleted",
    }
    template = "deletion/recently_deleted/conflict.html"
    return render(request, template, context, status=409 if is_again else 200)


def _restore_act(request: Request, act: str, back: str) -> HttpResponse:
    rows = restoring.restorable().filter(act=act)
    total = rows.count()
    if not total:
        raise Refused(_("Nothing is left to restore: check the list."))
    first = rows[0]
    if total > bulk.BULK:
        run = bulk.begin("restore", first.repository, total=total, by=request.user.actor, act=act)
        tasks.restore_bulk(run.pk, get_language() or "en")
        return redirect("delete_run", run.pk)
    results = restoring.restore_act(act, by=request.user.actor)
    _say(request, first.repository, results)
    return redirect(back)


def _say(request: Request, repository: str, results: Sequence[Result]) -> None:
    """An act is of one repository."""
    done = [one for one in results if one.state == "restored"]
    if len(done) == 1:
        words = _("Restored %(name)s.") % {"name": name_of(repository, done[0])}
        messages.success(request, words)
    elif done:
        words = _("Restored %(count)d tags of %(repository)s.")
        messages.success(request, words % {"count": len(done), "repository": repository})
    left = [one for one in results if one.state != "restored"]
    if failed := failed_words(repository, left):
        messages.warning(request, failed)
