"""Operators: people who log in to the portal. They are never registry users."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _

from .actors import OPERATOR


class Role(models.TextChoices):
    """What an operator may do; each role may also do what the ones before it may."""

    VIEWER = "viewer", _("Viewer")
    MAINTAINER = "maintainer", _("Maintainer")
    ADMIN = "admin", _("Administrator")

    @property
    def rank(self) -> int:
        """0 for the weakest role; a higher rank includes the lower ones."""
        return list(Role).index(self)


class Operator(AbstractUser):
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    # For how long at most a maintainer gives access to registry users; NULL: for ever. See Grant.
    longest_days = models.PositiveIntegerField(null=True, blank=True, default=365)

    class Meta:
        ordering = ["username"]

    @property
    def actor(self) -> str:
        """How history names this operator: the colon is in no name of a registry user."""
        return f"{OPERATOR}{self.username}"

    def has_role(self, role: Role) -> bool:
        """True if this operator may do what `role` may do."""
        return Role(self.role).rank >= role.rank
