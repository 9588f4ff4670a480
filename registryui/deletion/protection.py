"""Which tags nobody can delete: rules of patterns, made and lifted by administrators.

Deleting and retention ask `protections().of(…)`; only `add` and `lift` write. A protection forbids
deleting; an immutable one also that a push, or an undo, moves the tag to another digest. Clients
are stopped at the proxy: guard_files.py, guard.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils.translation import gettext as _

from registryui import audit
from registryui.failures import in_words
from registryui.models import Protection, Repository, Tag
from registryui.models.patterns import ANY, matching
from registryui.oci import names, patterns
from registryui.refused import Refused

from . import guard_files

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
        return next((row for is_meant, row in self._of_all(repository) if is_meant(tag)), None)

    def immutable(self, repository: str, tag: str) -> Protection | None:
        """The oldest one by which this tag stays on its digest; None: it may move. A referrer tag
        (`sha256-….sig`) may always: each further signature moves it."""
        if names.referrer_subject(tag):
            return None
        rules = self._of_all(repository)
        return next((row for is_meant, row in rules if row.is_immutable and is_meant(tag)), None)

    def _of_all(self, repository: str) -> list[_Rule]:
        rules = self._in.get(repository)
        if rules is None:
            rules = [(tags, row) for names, tags, row in self._rows if names(repository)]
            self._in[repository] = rules
        return rules


def protections() -> Protections:
    """Those of now, by one query. Ask again after a while: an administrator may add one."""
    return Protections(Protection.objects.order_by("id"))


def add(
    repositories: str, tags: str, *, note: str, by: str, is_immutable: bool = False
) -> Protection:
    """From now on nobody deletes `tags` in `repositories` (patterns, oci/patterns.py), nor moves
    them if they are immutable. One that is there already becomes immutable, and never less.

    Raises Refused for text that is no pattern, and for what is protected so already; and if nginx
    cannot be told, which the worker then tries again each minute.
    """
    row = Protection(
        repositories=_checked(repositories),
        tags=_checked(tags),
        is_immutable=is_immutable,
        note=note.strip()[:255],
        by=by[:255],
    )
    same = Protection.objects.filter(repositories=row.repositories, tags=row.tags).first()
    if same is not None:
        row = _strengthened(same, row, by=by)
    else:
        _insert(row, by=by)
    log.info("protection of %s added by %s", row, by)
    _tell_nginx()
    return row


def _insert(row: Protection, *, by: str) -> None:
    if _patterns_in(row) + sum(map(_patterns_in, Protection.objects.all())) > MOST_PATTERNS:
        raise Refused(
            _(
                "All protections together can have at most %(most)d patterns: remove "
                "one, or combine several with an asterisk."
            )
            % {"most": MOST_PATTERNS}
        )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            audit.record("protection.add", str(row), by=by, details=_details(row))
    except IntegrityError as error:
        raise Refused(_("This protection already exists.")) from error


def _strengthened(row: Protection, asked: Protection, *, by: str) -> Protection:
    """`row`, immutable now; Refused unless `asked` is more than it was."""
    if row.is_immutable and not asked.is_immutable:
        raise Refused(
            _(
                "These tags are already immutable, so they cannot be deleted either. To allow "
                "pushes to change them, remove that protection first."
            )
        )
    if row.is_immutable == asked.is_immutable:
        raise Refused(_("This protection already exists."))
    row.is_immutable, row.note = True, asked.note or row.note
    with transaction.atomic():
        kept = Protection.objects.filter(pk=row.pk)
        if not kept.update(is_immutable=True, note=row.note):
            raise Refused(_("This protection has already been removed."))
        audit.record("protection.change", str(row), by=by, details=_details(row))
    return row


def lift(protection: Protection, *, by: str) -> None:
    """Takes a protection away; what another one protects stays protected. Raises Refused."""
    with transaction.atomic():
        gone, _each = Protection.objects.filter(pk=protection.pk).delete()
        if not gone:
            raise Refused(_("This protection has already been removed."))
        audit.record("protection.lift", str(protection), by=by, details=_details(protection))
    log.info("protection of %s lifted by %s", protection, by)
    _tell_nginx()


def _tell_nginx() -> None:
    try:
        guard_files.write()
    except OSError as error:
        raise Refused(
            _("Saved, but nginx is not updated yet (%(error)s). The worker retries every minute.")
            % {"error": in_words(error)}
        ) from error


def _details(row: Protection) -> dict[str, str | bool]:
    return {"note": row.note, **({"immutable": True} if row.is_immutable else {})}


def count(protection: Protection) -> int:
    """How many tags of the index it protects now, referrer tags left out; may read all of them."""
    inside = matching("name", protection.repositories)
    if ANY in patterns.parse(protection.tags):
        found = Repository.objects.filter(inside).aggregate(count=Sum("tag_count"))
        return int(found["count"] or 0)
    tags = Tag.objects.filter(matching("name", protection.tags), refers_to="")
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
                "Enter one or more patterns, separated by spaces, at most %(most)d "
                "characters: letters, digits and . _ / -, and * for any text."
            )
            % {"most": patterns.LIMIT}
        ) from error
