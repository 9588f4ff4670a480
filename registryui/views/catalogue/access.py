"""Of a repository: which registry users may do what there, and who was refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Max, Prefetch

from registryui.accounts import rights
from registryui.models import Denial, RegistryUser, Repository, Right, Role
from registryui.views import denials
from registryui.views.access import Request
from registryui.views.live import digits
from registryui.views.users.words import May, may_words

SHOWN = 50  # users


@dataclass(frozen=True, slots=True)
class Row:
    user: RegistryUser | None  # None: who does not log in
    may: list[May]


def rows(request: Request, row: Repository) -> dict[str, Any]:
    """What the list shows. A maintainer sees their own users, and what these were refused."""
    visible = RegistryUser.objects.visible_to(request.user)
    here = Right.objects.filter(scope__in=_scopes(row.name))
    users = visible.filter(pk__in=here.values("user")).prefetch_related(
        Prefetch("rights", here, to_attr="here")
    )
    found = list(users.order_by("name")[: SHOWN + 1])
    refused = Denial.objects.filter(repository=row.name)
    if not request.user.has_role(Role.ADMIN):
        refused = refused.filter(actor__in=visible.values("name"))
    return {
        "list": "catalogue/repository/_access.html",
        "rows": [*_anonymous(row.name), *map(_row, found[:SHOWN])],
        "more": SHOWN if len(found) > SHOWN else 0,
        **denials.lines(request, refused),
    }


def token(repository: str) -> str:
    """Changes when somebody was refused there. One query."""
    newest = Denial.objects.filter(repository=repository).aggregate(at=Max("at"))["at"]
    return f"-{digits(newest)}"


def _scopes(repository: str) -> Iterator[str]:
    """All scopes that cover it."""
    parts = repository.split("/")
    yield rights.EVERYWHERE
    yield repository
    for number in range(1, len(parts)):
        yield f"{'/'.join(parts[:number])}/*"


def _row(user: Any) -> Row:
    return Row(user, may_words(frozenset((one.action, one.scope) for one in user.here), most=None))


def _anonymous(repository: str) -> Iterator[Row]:
    pairs = ((Right.Action.PULL.value, scope) for scope in settings.ANONYMOUS_PULL)
    open_to_all = frozenset(pair for pair in pairs if rights.covers(pair[1], repository))
    if open_to_all:
        yield Row(None, may_words(open_to_all, most=None))
