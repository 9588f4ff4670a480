"""Registry users: who may log in with docker, and what they may do. Never portal operators.

Only accounts/ writes here. A row is what was decided; the files that nginx reads are its print-out
(accounts/publish.py), and the table Published tells how far that has come on each host.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .host import Published, here
from .operator import Operator, Role
from .repository import UNKNOWN

# Sortable times are never NULL: keyset paging needs an order. This one means "has no end".
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


def new_generation() -> int:
    """A number that no row has had before: not even one of the same name that was removed."""
    return secrets.randbits(63) or 1


class State(models.TextChoices):
    ACTIVE = "active", _("Active")
    OFF = "off", _("Disabled")
    EXPIRED = "expired", _("Expired")


class RegistryUserQuerySet(models.QuerySet["RegistryUser"]):
    def visible_to(self, operator: Operator) -> RegistryUserQuerySet:
        """Those an operator manages: none (viewer), their own (maintainer), all (administrator)."""
        if operator.has_role(Role.ADMIN):
            return self.all()
        return self.filter(owner=operator) if operator.has_role(Role.MAINTAINER) else self.none()

    def matching(self, text: str) -> RegistryUserQuerySet:
        """Users with the text in their name, note or a scope, in any case and place."""
        found = Q(name__icontains=text) | Q(note__icontains=text)
        by_scope = Right.objects.filter(scope__icontains=text).values("user")
        return self.filter(found | Q(pk__in=by_scope))

    def in_state(self, state: State, *, now: datetime | None = None) -> RegistryUserQuerySet:
        """Users that are active, disabled or expired; one that is both counts as disabled."""
        now = now or timezone.now()
        if state == State.OFF:
            return self.filter(is_active=False)
        on = self.filter(is_active=True)
        if state == State.EXPIRED:
            return on.filter(expires_at__lte=now)
        return on.filter(expires_at__gt=now)

    def with_pending(self) -> RegistryUserQuerySet:
        """The same users; `is_pending` of each needs no query of its own."""
        return self.annotate(pending_here=~Exists(_as_decided(here())))

    def pending(self, *, host: str) -> RegistryUserQuerySet:
        """Users of whom the files of that host do not say yet what was decided."""
        return self.filter(~Exists(_as_decided(host)))

    def lines(self, *, host: str) -> dict[str, str | None]:
        """By name, what that host has published; "": no line, None: not yet what was decided."""
        line = Subquery(_as_decided(host).values("line_hash"))
        return dict(self.annotate(line_there=line).values_list("name", "line_there"))

    def unused(self, *, days: int) -> RegistryUserQuerySet:
        """Users that are as old as that and did not push or pull in those days."""
        since = timezone.now() - timedelta(days=days)
        return self.filter(used_at__lt=since, made_at__lt=since)

    def ending(self, *, days: int) -> RegistryUserQuerySet:
        """Active users whose access ends within those days."""
        until = timezone.now() + timedelta(days=days)
        return self.in_state(State.ACTIVE).filter(expires_at__lte=until)


def _as_decided(host: str) -> models.QuerySet[Published]:
    return Published.objects.filter(
        host=host, name=OuterRef("name"), generation=OuterRef("generation")
    )


class RegistryUser(models.Model):
    name = models.CharField(max_length=255, unique=True)  # as in the file: case counts
    note = models.CharField(max_length=255, blank=True)
    owner = models.ForeignKey(
        Operator, models.SET_NULL, related_name="registry_users", null=True, blank=True
    )
    is_active = models.BooleanField(default=True)
    expires_at = models.DateTimeField(default=NEVER)
    # Hashes as the file has them; the secret itself is nowhere.
    secret_hash = models.CharField(max_length=512)
    is_generated = models.BooleanField(default=False)  # random and ours: a quick hash is enough
    secret_at = models.DateTimeField(default=timezone.now)  # when that secret was set
    old_hash = models.CharField(max_length=512, blank=True)  # after a rotation: works as well …
    old_until = models.DateTimeField(default=UNKNOWN)  # … until then
    # Another one with each change of what the files must say; see Published.
    generation = models.BigIntegerField(default=new_generation)
    made_at = models.DateTimeField(auto_now_add=True)
    made_by = models.CharField(max_length=150, blank=True)  # survives the operator
    used_at = models.DateTimeField(default=UNKNOWN)  # last push or pull; before, a login
    used_from = models.CharField(max_length=64, blank=True)  # its address
    used_with = models.CharField(max_length=255, blank=True)  # its User-Agent, cut

    objects = RegistryUserQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [
            # the list of users, one for each column that sorts it (name has its own)
            models.Index(fields=["used_at", "id"], name="user_used"),
            models.Index(fields=["expires_at", "id"], name="user_expires"),
            models.Index(fields=["made_at", "id"], name="user_made"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> State:
        """Whether the user may log in now, and if not, why."""
        if not self.is_active:
            return State.OFF
        return State.EXPIRED if self.expires_at <= timezone.now() else State.ACTIVE

    @property
    def is_pending(self) -> bool:
        """The files of this host do not say yet what this row says. A query, but for
        `with_pending`."""
        known = self.__dict__.get("pending_here")
        if known is not None:
            return bool(known)
        return RegistryUser.objects.pending(host=here()).filter(pk=self.pk).exists()

    @property
    def wanted(self) -> str:
        """The hash that the file must hold for this user now; "": it must hold none."""
        return self.secret_hash if self.state == State.ACTIVE else ""

    @property
    def wanted_old(self) -> str:
        """The hash of the secret before the last one, while it works as well; else ""."""
        return self.old_hash if self.wanted and self.old_until > timezone.now() else ""


class Right(models.Model):
    """One action within one scope; what a user may do is the sum of theirs (accounts/rights.py)."""

    class Action(models.TextChoices):
        PULL = "pull", _("pull")
        PUSH = "push", _("push")
        DELETE = "delete", _("delete")

    user = models.ForeignKey(RegistryUser, models.CASCADE, related_name="rights")
    action = models.CharField(max_length=8, choices=Action.choices)
    scope = models.CharField(max_length=257)  # "*", "team/*" or "team/api"

    class Meta:
        ordering = ["action", "scope"]
        constraints = [
            models.UniqueConstraint(fields=["user", "action", "scope"], name="right_once")
        ]


class Grant(models.Model):
    """A right that a maintainer may give to registry users (accounts/grants.py). Others' count for
    nothing: an administrator gives everything, a viewer nothing."""

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="grants")
    action = models.CharField(max_length=8, choices=Right.Action.choices)
    scope = models.CharField(max_length=257)

    class Meta:
        ordering = ["action", "scope"]
        constraints = [
            models.UniqueConstraint(fields=["operator", "action", "scope"], name="grant_once")
        ]


class LineLeftAlone(models.Model):
    """A line of the htpasswd file that differs from the tables, and an operator said: let it be."""

    name = models.CharField(max_length=255, unique=True)
    line_hash = models.CharField(max_length=512, blank=True)  # "": there is no line for that name
