"""What people type above a list of tags, as a condition: `2.13.*`, `!rc`, `rc !arm`."""

from __future__ import annotations

from django.db.models import F, Q, Value
from django.db.models.lookups import Lookup

LONGEST = 200  # characters
TERM_LIMIT = 8


class Like(Lookup):
    """`name LIKE pattern`, upper and lower case alike on every database.

    A LIKE and no regular expression: it cannot be made slow by what somebody types.
    """

    lookup_name = "like"

    def as_sql(self, compiler, connection):  # type: ignore[no-untyped-def]  # Django's own shape
        name, name_params = self.process_lhs(compiler, connection)
        pattern, params = self.process_rhs(compiler, connection)
        return f"UPPER({name}) LIKE UPPER({pattern}) ESCAPE '\\'", [*name_params, *params]

    def as_sqlite(self, compiler, connection):  # type: ignore[no-untyped-def]  # Django's own shape
        """Its LIKE takes the letters of a tag, which are ASCII, in any case anyway."""
        sql, params = self.as_sql(compiler, connection)  # type: ignore[no-untyped-call]
        return sql.replace("UPPER", ""), params


def condition(text: str) -> Q:
    """All terms must hold. `*` and `?` stand for any text and any character of the whole name;
    without them a term is a part of the name; `!` turns a term around. "" holds for every tag.
    """
    found = Q()
    for term in _terms(text):
        is_turned, word = term.startswith("!"), term.removeprefix("!")
        if word:
            one = Q(Like(F("name"), Value(_pattern(word))))
            found &= ~one if is_turned else one
    return found


def _terms(text: str) -> list[str]:
    return text[:LONGEST].split()[:TERM_LIMIT]


def _pattern(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if "*" in word or "?" in word:
        return escaped.replace("*", "%").replace("?", "_")
    return f"%{escaped}%"
