"""Deleting from the pages: the plan of what was asked for, then the act, which deletes only that.

Both are a POST to one address. The first has no fingerprint and shows the plan over the list of
the repository; the second has the plan's. If the registry changed meanwhile, the plan made now is
shown with a sentence, and nothing was done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from registryui import tasks
from registryui.deletion import bulk, execute
from registryui.deletion.execute import Outcome, Plan, Result, Selection
from registryui.models import Manifest, Role, Tag, TagTombstone
from registryui.oci.digest import check_digest, short
from registryui.oci.names import check_repository, check_tag
from registryui.refused import Refused
from registryui.views.access import Request, back_to, require_role, sent_from
from registryui.views.catalogue import tag_filter
from registryui.views.catalogue.repository import behind
from registryui.views.form import Words, read_or_default
from registryui.views.plain_text import line

from .words import plan_words

TYPED_FROM = 11  # tags: then their number is typed
MOST_UNTAGGED = 1000  # at once
FAILURES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form asked for, and its fields, which the plan's form sends again."""

    selection: Selection
    fields: tuple[tuple[str, str], ...]
    back: str


@require_role(Role.MAINTAINER, methods=("GET", "POST"))
def delete(request: Request) -> HttpResponse:
    """The plan; with its fingerprint, the act. The address alone, as from a history, asks for
    nothing."""
    if request.method != "POST":
        return redirect("repositories")
    try:
        asked = _asked(request)
        if "fingerprint" not in request.POST:
            return _plan_page(request, asked, execute.plan(asked.selection))
        return _act(request, asked)
    except Refused as error:
        messages.error(request, str(error))
        return redirect(_back(request))


def _asked(request: Request) -> Asked:
    """Raises Refused if the form names nothing."""
    post = request.POST
    repository = _repository(request)
    tags = [name for name in post.getlist("tag") if _is(check_tag, name)]
    manifests = [digest for digest in post.getlist("manifest") if _is(check_digest, digest)]
    fields = [("repository", repository)]
    fields += [("tag", name) for name in tags] + [("manifest", digest) for digest in manifests]
    is_all = "all" in post
    if is_all:
        fields.append(("all", "1"))
    if "matching" in post:
        query = read_or_default(post, q=Words(max_length=tag_filter.LONGEST))["q"]
        fields += [("q", query), ("matching", "1")]
        tags += _matching(repository, query)
    if "untagged" in post:
        fields.append(("untagged", "1"))
        manifests += _untagged(repository)
    if not (tags or manifests or is_all):
        raise Refused(_("Nothing selected that can be deleted."))
    selection = Selection(
        repository,
        tags=tuple(dict.fromkeys(tags)),
        is_all=is_all,
        manifests=tuple(dict.fromkeys(manifests)),
    )
    return Asked(selection, tuple(dict.fromkeys(fields)), _back(request))


def _repository(request: Request) -> str:
    name = request.POST.get("repository", "")
    if not _is(check_repository, name):
        raise Refused(_("Repository not found."))
    return name


def _is(check: Callable[[object], str], name: str) -> bool:
    try:
        check(name)
    except ValueError:
        return False
    return True


def _back(request: Request) -> str:
    """Where the question came from, or the list of the repository."""
    if place := sent_from(request):
        return place
    try:
        return reverse("repository", args=[_repository(request)])
    except Refused:
        return reverse("repositories")


def _matching(repository: str, query: str) -> list[str]:
    """The tags that the filter shows. A filter without a word would be all of them: Refused."""
    if not query:
        raise Refused(_("Enter a filter first: without one, all tags would be selected."))
    tags = Tag.objects.filter(
        tag_filter.condition(query), repository__name=repository, refers_to=""
    )
    return list(tags.order_by("id").values_list("name", flat=True))


def _untagged(repository: str) -> list[str]:
    """Manifests without a tag that nothing needs and that are not deleted yet.

    What refers to a manifest that is here stays: it may be the signature of a tagged image.
    """
    subject = Manifest.objects.filter(
        repository=OuterRef("repository"), digest=OuterRef("subject_digest")
    )
    deleted = TagTombstone.objects.kept(timezone.now()).filter(
        repository=repository, tag="", digest=OuterRef("digest")
    )
    found = Manifest.objects.filter(
        Q(subject_digest="") | ~Exists(subject),
        ~Exists(deleted),
        repository__name=repository,
        untagged_at__isnull=False,
        is_listed=False,
    )
    return list(found.order_by("seen_at", "id").values_list("digest", flat=True)[:MOST_UNTAGGED])


def _plan_page(
    request: Request, asked: Asked, plan: Plan, *, error: str = "", typed: str = ""
) -> HttpResponse:
    number = len(plan.going)
    context: dict[str, Any] = {
        **behind(request, plan.selection.repository),
        "plan": plan,
        "words": plan_words(plan),
        "fields": asked.fields,
        "back": asked.back,
        "error": error,
        "typed": typed,
        "number": number,
        "must_type": number >= TYPED_FROM,
        "purgeable": plan.going[0].digest if number == 1 else "",
        "is_job": number > bulk.BULK,
        "until": timezone.now() + timedelta(days=settings.UNDO_DAYS),
        "behind": True,
    }
    return render(request, "deletion/page.html", context, status=409 if error else 200)


def _act(request: Request, asked: Asked) -> HttpResponse:
    post = request.POST
    plan = execute.plan(asked.selection)
    if post["fingerprint"] != plan.fingerprint:
        return _plan_page(request, asked, plan, error=_moved_words())
    typed = read_or_default(post, number=Words(max_length=20))["number"]
    if len(plan.going) >= TYPED_FROM and typed != str(len(plan.going)):
        error = _(
            "The number does not match the number of tags to be deleted. Nothing was deleted."
        )
        return _plan_page(request, asked, plan, error=error, typed=typed)
    if len(plan.going) > bulk.BULK:
        return _begin(request, asked, plan)
    try:
        outcome = execute.execute(
            asked.selection, fingerprint=plan.fingerprint, by=request.user.actor
        )
    except execute.Changed as error:
        if isinstance(error.plan, Plan):
            return _plan_page(request, asked, error.plan, error=str(error))
        raise
    _say(request, asked.selection.repository, outcome)
    return _place_after(request, asked.selection)


def _moved_words() -> str:
    return _("The content has changed since this page was loaded. Nothing was deleted.")


def _begin(request: Request, asked: Asked, plan: Plan) -> HttpResponse:
    """A job does the work: its page shows how far it is."""
    run = bulk.begin(
        *("delete", asked.selection.repository),
        total=len(plan.going) + len(plan.referrer_tags),
        by=request.user.actor,
    )
    tasks.delete_bulk(run.pk, asked.selection, plan.fingerprint, get_language() or "en")
    return redirect("delete_run", run.pk)


def _say(request: Request, repository: str, outcome: Outcome) -> None:
    """What happened; the message has the button that undoes it."""
    done = [one for one in outcome.results if one.state == "deleted"]
    if done:
        messages.success(request, _done_words(repository, done, outcome), extra_tags=outcome.act)
    left = [one for one in outcome.results if one.state != "deleted"]
    if failed := failed_words(repository, left):
        messages.warning(request, failed)


def name_of(repository: str, one: Result) -> str:
    """`team/api:1.0`, or with a short digest for what has no tag."""
    return f"{repository}:{one.tag}" if one.tag else f"{repository}@{short(one.digest)}"


def _done_words(repository: str, done: Sequence[Result], outcome: Outcome) -> str:
    """`Deleted team/api:1.0 …` or the number of tags, and how long undo has."""
    days = max(round((outcome.keep_until - timezone.now()).total_seconds() / 86400), 1)
    if len(done) == 1:
        return ngettext(
            "Deleted %(name)s. It can be restored for %(days)d day.",
            "Deleted %(name)s. It can be restored for %(days)d days.",
            days,
        ) % {"name": name_of(repository, done[0]), "days": days}
    return ngettext(
        "Deleted %(count)d tags of %(repository)s. They can be restored for %(days)d day.",
        "Deleted %(count)d tags of %(repository)s. They can be restored for %(days)d days.",
        days,
    ) % {"count": len(done), "repository": repository, "days": days}


def failed_words(repository: str, failed: Sequence[Result]) -> str:
    """Which were not done and why; "" if all were."""
    if not failed:
        return ""
    shown = "; ".join(
        f"{name_of(repository, one)}: {_reason(one)}" for one in failed[:FAILURES_SHOWN]
    )
    more = len(failed) - FAILURES_SHOWN
    if more > 0:
        shown += "; " + ngettext("and %(n)d more", "and %(n)d more", more) % {"n": more}
    return _("Not done: %s") % shown


def _reason(one: Result) -> str:
    words = {
        "moved": _("it was pushed in the meantime"),
        "gone": _("it no longer existed"),
    }
    return words.get(one.state) or line(one.reason, 200) or _("it failed")


def _place_after(request: Request, selection: Selection) -> HttpResponse:
    """The page that is left: the list of the repository, or of what has no tag there."""
    if selection.is_all:
        return redirect("repository", selection.repository)
    is_untagged = selection.manifests and not selection.tags
    otherwise = {"show": "untagged"} if is_untagged else {}
    return back_to(request, "repository", selection.repository, without=["tag"], **otherwise)
