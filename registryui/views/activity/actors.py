"""Who pushed: the name as people read it, and the way to the registry user where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import BigIntegerField, OuterRef, Subquery, Value
from django.db.models.expressions import Combinable
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from registryui.models import RegistryUser, actor_name
from registryui.views.access import Request, may_open
from registryui.views.plain_text import line


@dataclass(frozen=True, slots=True)
class Actor:
    words: str  # "": nobody known
    url: str = ""  # "": no such registry user, or not one for this operator's eyes

    @property
    def html(self) -> SafeString:
        """The name, as a link where it leads somewhere."""
        name = format_html("<bdi>{}</bdi>", self.words)
        return format_html('<a href="{}">{}</a>', self.url, name) if self.url else name


NOBODY = Actor("")


def user_of(request: Request, column: str) -> Combinable:
    """For annotate(): the id of the registry user that `column` names, NULL where there is none
    that this operator may see. So a list of names needs no query of its own."""
    if not may_open(request.user, "user"):
        return Value(None, BigIntegerField(null=True))
    visible = RegistryUser.objects.visible_to(request.user)
    return Subquery(visible.filter(name=OuterRef(column)).values("pk")[:1])


def actor_of(name: str, user: int | None) -> Actor:
    """Out of a column that names who pushed, and what `user_of` found for it."""
    if not name:
        return NOBODY
    return Actor(actor_words(name), reverse("user", args=[user]) if user else "")


def actor_words(actor: str) -> str:
    """The name on one line."""
    return line(actor_name(actor), 80)
