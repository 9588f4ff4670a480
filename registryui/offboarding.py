"""Offboarding: what happens to the registry users of an operator who is disabled, removed or
becomes a viewer.

Registry users remain active, with secrets that the operator may know. So an answer is required. The
operator's own access ends first, so that no user is created meanwhile; after a crash in between,
the operator's page shows the remaining users, with the same question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from django.utils.translation import gettext as _

from registryui import operators
from registryui.accounts import publish, users
from registryui.models import Operator, RegistryUser, Role, State
from registryui.models.registry_user import RegistryUserQuerySet
from registryui.refused import Refused

NAMED = 12  # in a sentence


class Ask(Refused):
    """An answer for the registry users is required."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What happens to them."""

    what: Literal["disable", "hand over", "keep"]
    to: Operator | None = None  # the new owner, of "hand over"

    def __str__(self) -> str:
        """For the audit log."""
        return f"{self.what} to {self.to.username}" if self.to else self.what


@dataclass(frozen=True, slots=True)
class Handover:
    """The result for them."""

    users: Sequence[RegistryUser] = ()
    answer: Answer | None = None  # None: there were no users
    proof: publish.Proof | None = None  # if files were written


def working(operator: Operator) -> RegistryUserQuerySet:
    """The active registry users of that operator."""
    return RegistryUser.objects.in_state(State.ACTIVE).filter(owner=operator).order_by("name")


def made_for_others(operator: Operator) -> RegistryUserQuerySet:
    """Active registry users that the operator created (and saw the secret of) but does not own."""
    made = RegistryUser.objects.in_state(State.ACTIVE).filter(made_by=operator.actor[:150])
    return made.exclude(owner=operator).order_by("name")


def disable(operator: Operator, *, by: str, answer: Answer | None = None) -> Handover:
    """Disables an operator. Raises Refused; Ask: an answer is required."""

    def end(registry_users: str) -> None:
        operators.set_active(operator, is_active=False, by=by, registry_users=registry_users)
        operator.is_active = False

    return _gone(operator, end, by=by, answer=answer)


def remove(operator: Operator, *, by: str, answer: Answer | None = None) -> Handover:
    """Removes an operator, as `disable`."""
    if not working(operator).exists():
        operators.remove(operator, by=by)
        return Handover()
    handover = disable(operator, by=by, answer=answer)  # its rows lose their owner
    operators.remove(operator, by=by, registry_users=str(handover.answer or ""))
    return handover


def set_role(operator: Operator, role: Role, *, by: str, answer: Answer | None = None) -> Handover:
    """Sets the role; a viewer cannot manage registry users. As `disable`."""
    if role.rank >= Role.MAINTAINER.rank:
        operators.set_role(operator, role, by=by)
        return Handover()

    def end(registry_users: str) -> None:
        operators.set_role(operator, role, by=by, registry_users=registry_users)

    return _gone(operator, end, by=by, answer=answer)


def hand_over(operator: Operator, answer: Answer, *, by: str) -> Handover:
    """Applies the answer to the active registry users of that operator. Raises Refused."""
    if answer.what == "hand over":
        _taker(operator, answer)
    found = list(working(operator))
    if not found:
        return Handover()
    if answer.what == "disable":
        done = users.set_active(found, is_active=False, by=by)
        return Handover(done.users, answer, done.proof)
    if answer.what == "hand over":
        users.hand_over(found, answer.to, by=by)
    return Handover(found, answer)


def _gone(
    operator: Operator, end: Callable[[str], None], *, by: str, answer: Answer | None
) -> Handover:
    if answer is None and working(operator).exists():
        raise Ask(_question(operator))
    if answer is not None and answer.what == "hand over":
        _taker(operator, answer)
    end(str(answer or ""))
    return hand_over(operator, answer, by=by) if answer is not None else Handover()


def _taker(operator: Operator, answer: Answer) -> Operator:
    """The new owner; Refused for one who could not manage them."""
    to = answer.to
    if to is None or to.pk == operator.pk or not to.is_active or not to.has_role(Role.MAINTAINER):
        raise Refused(_("Choose another active maintainer or administrator as the new owner."))
    return to


def _question(operator: Operator) -> str:
    names = list(working(operator).values_list("name", flat=True))
    shown = ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
    return _("%(name)s has active registry users: %(users)s. Choose what happens to them.") % {
        "name": operator.username,
        "users": shown,
    }
