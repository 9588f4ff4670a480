"""Which tags nobody can delete: rules of patterns, made and lifted by administrators.

Deleting and retention ask `protections().of(…)`; only `add` and `lift` write. A protection forbids
deleting, not pushing: a push may still set a protected tag on another digest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils.translation import gettext as _

from registryui import audit
from registryui.models import Protection, Repository, Tag
from registryui.models.patterns import ANY, matching
from registryui.oci import patterns
from registryui.refused import Refused

log = logging.getLogger(__name__)

# Patterns in all protections together: a search for protected tags asks each tag about each one.
# SQLite takes no condition that is deeper than 1,000.
MOST_PATTERNS = 500

_Rule = tuple[Callable[[str], bool], Protection]  # of tags


class Protections:
    """All protections of one moment, made for asking about many tags."""

    def __init__(self, rows: Iterable[Protection]) -> None:
        self._rows = [
            (patterns.matcher(row.repositories), patterns.matcher(row.tags), row) for row in rows
        ]
        self._in: dict[str, list[_Rule]] = {}  # repository -> what may protect a tag in it

    def of(self, repository: str, tag: str) -> Protection | None:
        """The oldest one that protects this tag; None: it may be deleted."""
        rules = self._in.get(repository)
        if rules is None:
            rules = [(tags, row) for names, tags, row in self._rows if names(repository)]
            self._in[repository] = rules
        return next((row for is_meant, row in rules if is_meant(tag)), None)


def protections() -> Protections:
    """Those of now, by one query. Ask again after a while: an administrator may add one."""
    return Protections(Protection.objects.order_by("id"))


def add(repositories: str, tags: str, *, note: str, by: str) -> Protection:
    """From now on nobody deletes `tags` in `repositories` (patterns, oci/patterns.py).

    Raises Refused for text that is no pattern, and for the same protection a second time.
    """
    row = Protection(
        repositories=_checked(repositories),
        tags=_checked(tags),
        note=note.strip()[:255],
        by=by[:255],
    )
    if _patterns_in(row) + sum(map(_patterns_in, Protection.objects.all())) > MOST_PATTERNS:
        raise Refused(
            _(
                "All protections together have at most %(most)d patterns: lift one, or let a star "
                "say the same in one pattern."
            )
            % {"most": MOST_PATTERNS}
        )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            audit.record("protection.add", str(row), by=by, details={"note": row.note})
    except IntegrityError as error:
        raise Refused(_("There is such a protection already.")) from error
    log.info("protection of %s added by %s", row, by)
    return row


def lift(protection: Protection, *, by: str) -> None:
    """Takes a protection away; what another one protects stays protected. Raises Refused."""
    with transaction.atomic():
        gone, _each = Protection.objects.filter(pk=protection.pk).delete()
        if not gone:
            raise Refused(_("This protection has been lifted already."))
        audit.record("protection.lift", str(protection), by=by, details={"note": protection.note})
    log.info("protection of %s lifted by %s", protection, by)


def count(protection: Protection) -> int:
    """How many tags of the index it protects now, attachments left out; may read all of them."""
    inside = matching("name", protection.repositories)
    if ANY in patterns.parse(protection.tags):
        found = Repository.objects.filter(inside).aggregate(count=Sum("tag_count"))
        return int(found["count"] or 0)
    tags = Tag.objects.filter(matching("name", protection.tags), attached_to="")
    return tags.filter(matching("repository__name", protection.repositories)).count()


def _patterns_in(row: Protection) -> int:
    return len(patterns.parse(row.repositories)) + len(patterns.parse(row.tags))


def _checked(text: str) -> str:
    """The patterns in one spelling, so that the same ones are stored once."""
    try:
        return " ".join(patterns.parse(text))
    except ValueError as error:
        raise Refused(
            _(
                "Write one or more patterns with spaces between them, %(most)d characters at most: "
                "letters, digits and . _ / - may stand in one, and * for any text."
            )
            % {"most": patterns.LIMIT}
        ) from error
