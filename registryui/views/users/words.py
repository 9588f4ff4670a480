"""What a row of a registry user is called on the pages: its rights, its hash, what proved it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.contrib import messages
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from registryui.accounts import htpasswd, publish, rights
from registryui.accounts.htpasswd import Kind
from registryui.failures import in_words
from registryui.models import NEVER, RegistryUser, Right
from registryui.views.access import Request

SOON_DAYS = 14  # an end within them is marked
CHIPS = 3  # scopes that a row of the list shows


@dataclass(frozen=True, slots=True)
class May:
    """Actions, in words, and the scopes they hold in; `more` scopes are not shown."""

    words: str
    scopes: Sequence[str]
    more: int = 0


def may_words(pairs: rights.Rights, *, most: int | None = CHIPS) -> list[May]:
    """The rights for people: scopes with the same actions together, the widest first."""
    actions_of: dict[str, list[Right.Action]] = {}
    for action in Right.Action:
        for scope in rights.scopes(pairs, action):
            actions_of.setdefault(scope, []).append(action)
    together: dict[tuple[Right.Action, ...], list[str]] = {}
    for scope in sorted(actions_of, key=lambda one: (one != rights.EVERYWHERE, one)):
        together.setdefault(tuple(actions_of[scope]), []).append(scope)
    comma = pgettext("between names in a list", ", ")
    return [
        May(
            comma.join(str(action.label) for action in actions),
            scopes[:most],
            len(scopes[most:]) if most else 0,
        )
        for actions, scopes in together.items()
    ]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something about a user that somebody should know: a badge."""

    css: str  # ok, warn, bad or ""
    icon: str
    label: str
    reason: str


def hash_mark(row: RegistryUser) -> Mark | None:
    """What is wrong with the hash of a secret that was not made here; None: nothing."""
    kind = htpasswd.kind(row.secret_hash)
    if kind is Kind.UNKNOWN:
        return Mark(
            *("bad", "circle-alert", _("Unknown hash")),
            _("nginx does not support this hash: create a new secret."),
        )
    if not row.is_generated and not kind.is_slow:
        return Mark(
            *("warn", "triangle-alert", _("Weak hash")),
            _(
                "User-chosen passwords are quickly guessed from a %(kind)s hash: "
                "create a new secret."
            )
            % {"kind": kind.value},
        )
    if htpasswd.takes_longer_than_ours(row.secret_hash):
        return Mark(
            *("warn", "triangle-alert", _("Slow hash")),
            _(
                "This hash takes longer to check than those created here, at every "
                "request: create a new secret."
            ),
        )
    return None


def hash_words(row: RegistryUser) -> str:
    """The kind of hash, as people call it."""
    kind = htpasswd.kind(row.secret_hash)
    if row.is_generated:
        return _("%(kind)s of a generated secret") % {"kind": kind.value}
    return kind.value or _("of a type that nginx does not support")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list."""

    user: RegistryUser
    may: list[May]
    mark: Mark | None
    ends: str  # "", never, soon, tomorrow
    is_bot: bool  # a secret that a program uses


def row_of(user: RegistryUser, pairs: rights.Rights) -> Row:
    """The line of one user; asks the database for nothing."""
    return Row(user, may_words(pairs), hash_mark(user), ends_word(user), user.is_generated)


def ends_word(user: RegistryUser) -> str:
    """How near the end of an active user is: "never", "tomorrow", "soon", or "" for later."""
    if user.expires_at == NEVER:
        return "never"
    left = user.expires_at - timezone.now()
    if left <= timedelta(days=1):
        return "tomorrow"
    return "soon" if left <= timedelta(days=SOON_DAYS) else ""


def proof_words(proof: publish.Proof) -> str:
    """How it is known that nginx uses the change, or why that is not known."""
    if proof.is_proved:
        return _(
            "Written to htpasswd and verified with a login through the proxy, %(seconds)s s."
        ) % {"seconds": f"{max(proof.seconds, 0.001):.3f}".rstrip("0")}
    return _(
        "Written to htpasswd. Not verified yet, because the proxy did not respond: %(reason)s."
    ) % {"reason": in_words(proof.reason)}


def say(request: Request, sentence: str, proof: publish.Proof, warning: str = "") -> None:
    """A message: what was done, and whether nginx was seen to use it."""
    level = messages.SUCCESS if proof.is_proved else messages.WARNING
    messages.add_message(request, level, f"{sentence} {proof_words(proof)}")
    if warning:
        messages.warning(request, warning)
