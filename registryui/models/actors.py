"""Who acted: as history stores it, and in words."""

from __future__ import annotations

from django.utils.translation import gettext, gettext_lazy

OPERATOR = "operator:"  # begins what history says of an operator; see Operator.actor
POLICY = "policy "  # of a retention policy
EXPIRY = "tag expiry"
POLICY_OF_BEFORE = "rule "  # of one in rows of 0.5 and before, which nobody can change
# One word each, which a registry user's name can be, too.
_OWN = {
    "": gettext_lazy("unknown"),
    "demo": gettext_lazy("demo"),
    "schedule": gettext_lazy("schedule"),
    "set-up": gettext_lazy("setup"),
    "start": gettext_lazy("startup"),
}


def actor_name(actor: str) -> str:
    """Who did it, as people read it: a registry user's name, "vera (operator)", "command line"."""
    if actor == "command line":
        return gettext("command line")
    if actor == EXPIRY:
        return gettext("tag expiry")
    if actor.startswith(OPERATOR):
        return gettext("%s (operator)") % actor.removeprefix(OPERATOR)
    for prefix in (POLICY, POLICY_OF_BEFORE):
        if actor.startswith(prefix):
            return gettext("policy %(name)s") % {"name": actor.removeprefix(prefix)}
    return actor


def portal_actor(actor: str) -> str:
    """The same where no registry user acts: a word of ours is not one's name."""
    return str(_OWN[actor]) if actor in _OWN else actor_name(actor)
