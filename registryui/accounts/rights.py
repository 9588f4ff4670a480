"""What a registry user may do: decided here only, and written as files that nginx tests.

A right is an action within a scope; a user may do the sum of theirs.

    *          every repository, future ones included
    team/*     everything below team, at any depth; not a repository called `team`
    team/api   that repository

nginx tests the same by files (deploy/nginx.conf.template): whether one of these exists.

    DATA/rights/USER/ACTION/@all             ACTION everywhere
    DATA/rights/USER/ACTION/team/@all        … below team/
    DATA/rights/USER/ACTION/team/api/@one    … in team/api

No part of a repository's name begins with "@", so a marker is never mistaken for one.
"""

import contextlib
from collections.abc import Iterable, Iterator

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Left, Length
from django.utils.translation import gettext as _

from registryui.models import RegistryUser, Repository, Right, State
from registryui.oci import scopes as grammar

EVERYWHERE, MOST_PARTS = grammar.EVERYWHERE, grammar.MOST_PARTS

Rights = frozenset[tuple[str, str]]  # (action, scope)


def parse_scope(text: str) -> str:
    """The scope in its one form; ValueError, with a sentence for a person, if it has none."""
    try:
        return grammar.parse(text)
    except grammar.TooDeep as error:
        raise ValueError(
            _("“%(scope)s” is too deep: a namespace can have at most %(parts)d parts.")
            % {"scope": text.strip()[:100], "parts": MOST_PARTS}
        ) from error
    except ValueError as error:
        raise ValueError(
            _("“%(scope)s” is not a valid scope: enter *, a namespace (team/*) or a repository.")
            % {"scope": text.strip()[:100]}
        ) from error


def parse(pairs: Iterable[tuple[str, str]]) -> Rights:
    """Rights from (action, scope) as typed; ValueError as `parse_scope`."""
    return frozenset((Right.Action(action).value, parse_scope(scope)) for action, scope in pairs)


def covers(scope: str, repository: str) -> bool:
    """True if the repository is within that scope."""
    if scope == EVERYWHERE:
        return True
    return repository.startswith(scope[:-1]) if scope.endswith("/*") else repository == scope


def may(rights: Iterable[tuple[str, str]], action: str, repository: str) -> bool:
    """True if these rights allow the action in the repository."""
    return any(one == action and covers(scope, repository) for one, scope in rights)


def allowed(name: str, action: str) -> QuerySet[Repository]:
    """The repositories where the user of that name may do that now; none for no active user.

    The same as `may`, in the database: one query for any number of scopes.
    """
    there = _now(name, action).annotate(
        head=Left("scope", Length("scope") - 1), beginning=Left(OuterRef("name"), Length("head"))
    )
    covers = (
        Q(scope=EVERYWHERE)
        | Q(scope=OuterRef("name"))
        | Q(scope__endswith="/*", beginning=F("head"))
    )
    return Repository.objects.filter(Exists(there.filter(covers)))


def has_any(name: str, action: str) -> bool:
    """True if the user of that name may do that anywhere now."""
    return _now(name, action).exists()


def _now(name: str, action: str) -> QuerySet[Right]:
    active = RegistryUser.objects.in_state(State.ACTIVE).filter(name=name)
    return Right.objects.filter(user__in=active, action=action)


def scopes(rights: Iterable[tuple[str, str]], action: str) -> list[str]:
    """The scopes of an action, the widest first, without those that another one covers."""
    found = {scope for one, scope in rights if one == action}
    return sorted(
        (scope for scope in found if not any(_within(scope, other) for other in found - {scope})),
        key=lambda scope: (scope != EVERYWHERE, scope),
    )


def beyond(wanted: Rights, given: Rights) -> Rights:
    """What of the first the second does not cover, each with its action."""
    return frozenset(
        (action, scope)
        for action, scope in wanted - given
        if not any(one == action and _within(scope, other) for one, other in given)
    )


def _within(scope: str, other: str) -> bool:
    return covers(other, scope.removesuffix("*") + "x" if scope.endswith("/*") else scope) and (
        scope != EVERYWHERE
    )


def markers(rights: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The paths of the markers, below the user's folder."""
    for action, scope in rights:
        if scope == EVERYWHERE:
            yield f"{action}/@all"
        elif scope.endswith("/*"):
            yield f"{action}/{scope[:-1]}@all"
        else:
            yield f"{action}/{scope}/@one"


def from_markers(paths: Iterable[str]) -> Rights:
    """The rights of these markers; other paths are left out."""
    found = set()
    for path in paths:
        action, _slash, rest = path.partition("/")
        place, _slash, marker = rest.rpartition("/")
        scope = EVERYWHERE if not place else f"{place}/*" if marker == "@all" else place
        with contextlib.suppress(ValueError):
            found |= {one for one in parse([(action, scope)]) if path in markers([one])}
    return frozenset(found)


def can_have(name: str) -> bool:
    """True if the user of that name can have rights: it must be a valid folder name, and not one of
    ours. Only a manual line can have another."""
    return "/" not in name and not name.startswith("@") and name not in (".", "..")
