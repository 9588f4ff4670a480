"""Patterns of names (oci/patterns.py) as a condition that the database asks.

Tag.objects.filter(matching("name", "v* stable"), matching("repository__name", "team/*"))
"""

from __future__ import annotations

from typing import Any

from django.db.models import CharField, Q
from django.db.models.lookups import Lookup
from django.utils.translation import gettext as _

from registryui.oci import patterns
from registryui.refused import Refused

ANY = "*"


def matching(column: str, text: str) -> Q:
    """That one of the patterns in `text` matches that column; ValueError as patterns.parse."""
    found = patterns.parse(text)
    if ANY in found:
        return Q()
    whole = Q(**{f"{column}__in": [one for one in found if ANY not in one]})
    for one in found:
        if ANY in one:
            whole |= Q(**{f"{column}__glob": one})
    return whole


def names_in(text: str) -> tuple[str, ...] | None:
    """The patterns, if all of them are plain names that an index finds; else None."""
    found = patterns.parse(text)
    return None if any(ANY in one for one in found) else found


def repositories_in(text: str) -> str:
    """Patterns of repository names as they are stored; "" for none. Raises Refused."""
    if not text.strip(" ,\t\r\n"):
        return ""
    try:
        return " ".join(patterns.parse(text))
    except ValueError as error:
        raise Refused(
            _(
                "Enter patterns of repository names, separated by spaces, at most %(most)d "
                "characters: letters, digits and . _ / -, and * for any text."
            )
            % {"most": patterns.LIMIT}
        ) from error


@CharField.register_lookup
class Glob(Lookup):
    """A pattern compared by the database: `*` is any text, all else is itself, case counts. Only
    for what patterns.parse let through: SQLite's GLOB would read ? and [ as well."""

    lookup_name = "glob"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, values = self.process_lhs(compiler, connection)
        return f"{left} GLOB %s", (*values, self.rhs)

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, values = self.process_lhs(compiler, connection)
        like = str(self.rhs).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return f"{left} LIKE %s", (*values, like.replace(ANY, "%"))
