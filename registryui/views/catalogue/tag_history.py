"""Which digest a tag had when, and by whom: the recorded pushes and deletes, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from registryui.deletion import restore
from registryui.index.events import OWN_ACT
from registryui.models import Manifest, RegistryEvent, Repository, Role, TagTombstone, portal_actor
from registryui.models.paging import Page
from registryui.models.paging import page as keyset_page
from registryui.oci.digest import short
from registryui.refused import Refused
from registryui.tasks import apply_events
from registryui.views.access import Request, back_to, may_open, require_role
from registryui.views.activity.actors import Actor, actor_of, user_of
from registryui.views.environment import url_if_any
from registryui.views.form import Words, read_or_default
from registryui.views.plain_text import line


@dataclass(frozen=True, slots=True)
class Happening:
    """One line. `size` None: the index no longer has that manifest."""

    words: str
    icon: str
    digest: str
    size: int | None
    at: datetime
    by: Actor
    address: str
    client: str
    is_now: bool  # what the tag names now
    may_return: bool  # an earlier digest that this operator may restore
    tombstone: TagTombstone | None  # until undo ends, its image stays


@dataclass(frozen=True, slots=True)
class History:
    rows: tuple[Happening, ...]
    page: Page[RegistryEvent]
    since: datetime | None  # when recording began; None: nothing recorded yet


def history(request: Request, repository: Repository, *, tag: str, digest: str) -> History:
    """Pushes and deletes of a tag, or of a digest where `tag` is "". `digest` is the one of now.

    Two queries; three where nothing is found.
    """
    events = RegistryEvent.objects.filter(
        repository=repository.name, action__in=("push", "delete")
    ).annotate(
        stored_size=Subquery(_manifests(repository).values("size")[:1]),
        user=user_of(request, "actor"),
        since=Subquery(_first_push().values("at")[:1]),
    )
    events = events.filter(tag=tag) if tag else events.filter(digest=digest)
    page: Page[Any] = keyset_page(events, ("-at", "-id"), after=request.GET.get("after", ""))
    tombstones = _tombstones(repository, tag)
    may_act = bool(tag) and may_open(request.user, "restore_digest")
    rows, current = [], digest if tag and not page.previous else ""
    for event in page.rows:
        is_now = event.action == "push" and event.digest == current != ""
        if is_now:
            current = ""  # only the newest of its pushes is what the tag is on now
        rows.append(
            Happening(
                *_words(event),
                event.digest,
                event.stored_size,
                event.at,
                _who(event),
                line(event.address, 64),
                line(event.client, 120),
                is_now,
                may_act and event.stored_size is not None and event.digest != digest,
                # Only where it lost the name last: one entry has one button.
                tombstones.pop(event.digest, None) if event.digest != digest else None,
            )
        )
    since = page.rows[0].since if page.rows else _first_push().values_list("at", flat=True).first()
    return History(tuple(rows), page, since)


def _who(event: Any) -> Actor:
    if event.event_id.startswith(OWN_ACT):
        return Actor(line(portal_actor(event.actor), 80))
    return actor_of(event.actor, event.user)


def _tombstones(repository: Repository, tag: str) -> dict[str, TagTombstone]:
    """What waits to be undone under that name, by digest. One query."""
    if not tag:
        return {}
    rows = TagTombstone.objects.kept(timezone.now()).filter(repository=repository.name, tag=tag)
    return {row.digest: row for row in rows.order_by("at", "id")}


def _manifests(repository: Repository) -> QuerySet[Manifest]:
    """The manifest that an event of the repository names, if the index has it."""
    return Manifest.objects.filter(repository=repository.pk, digest=OuterRef("digest"))


def _first_push() -> QuerySet[RegistryEvent]:
    return RegistryEvent.objects.filter(action="push").order_by("at")


def _words(event: RegistryEvent) -> tuple[str, str]:
    """The word and the icon."""
    if event.action == "delete":
        return pgettext("what happened", "Deleted"), "trash-2"
    if event.event_id.startswith(OWN_ACT):
        return pgettext("what happened", "Restored"), "undo-2"
    return pgettext("what happened", "Pushed"), "upload"


@require_role(Role.MAINTAINER, methods=("POST",))
def restore_digest(request: Request) -> HttpResponse:
    """Sets the tag on the digest that the form names, if it is still where the page showed it."""
    fields = {name: Words() for name in ("repository", "tag", "digest", "expected")}
    asked = read_or_default(request.POST, **fields)
    try:
        restore.restore_digest(**asked, by=request.user.actor)
    except Refused as error:
        messages.error(request, str(error))
    else:
        apply_events()
        messages.success(
            request,
            _("Restored %(name)s to %(digest)s. To undo this, use the History again.")
            % {
                "name": f"{asked['repository']}:{asked['tag']}",
                "digest": short(asked["digest"]),
            },
        )
    names = (asked["repository"], asked["tag"])
    if not url_if_any("tag", *names):
        return redirect("repositories")
    return back_to(request, "tag", *names, tab="history")
