"""Set and remove quotas: the only writer of limits, for page and command. Each change is in the
audit log, and nginx knows it when a function returns."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from registryui import audit, formats
from registryui.failures import in_words
from registryui.models import Mirror, Quota
from registryui.oci import names, scopes
from registryui.refused import Refused

from . import marks, usage

log = logging.getLogger(__name__)

MOST_BYTES = 10**18
MOST_TAGS = 10**9
NEARLY_FULL = 0.8  # of a limit: from here on pages and the doctor warn
LONGEST = 255


def find(namespace: str) -> Quota | None:
    """The quota of that namespace, which may be written `team/*`."""
    return Quota.objects.filter(namespace=_bare(namespace)).first()


def facts(row: Quota) -> dict[str, Any]:
    """For programs."""
    return {
        "namespace": row.namespace,
        **_limits(row),
        "used_bytes": row.used_bytes,
        "used_tags": row.used_tags,
        "used_percent": int(row.share * 100),
        "is_full": row.is_full,
        "is_estimate": row.is_estimate,
        "counted_at": row.counted_at.isoformat(timespec="seconds"),
    }


def set_limits(
    namespace: str, *, limit_bytes: int | None, limit_tags: int | None, by: str
) -> Quota:
    """The quota of a namespace with these limits (None: no limit), counted and in effect; a new
    one, or in place of the one that was. Raises Refused."""
    name = _checked(namespace)
    if limit_bytes is None and limit_tags is None:
        raise Refused(_("Enter a number of bytes, of tags, or both."))
    with transaction.atomic():
        row = Quota.objects.select_for_update().filter(namespace=name).first()
        before = _limits(row) if row else None
        row = row or Quota(namespace=name)
        row.limit_bytes, row.limit_tags, row.by = limit_bytes, limit_tags, by[:255]
        row.save()
        details = _limits(row) | ({"before": before} if before else {})
        audit.record("quota.set", row.namespace, by=by, details=details)
    log.info("quota of %s set by %s: %s", name, by, _limits(row))
    usage.measure(row, is_complete=True)
    _tell_nginx()
    return row


def remove(row: Quota, *, by: str) -> None:
    """Pushes there are accepted from now on, as far as no other quota is used up. Raises
    Refused."""
    with transaction.atomic():
        gone, _each = Quota.objects.filter(pk=row.pk).delete()
        if not gone:
            raise Refused(_("This quota has already been removed."))
        audit.record("quota.remove", row.namespace, by=by, details=_limits(row))
    log.info("quota of %s removed by %s", row.namespace, by)
    _tell_nginx()


def bytes_in(text: str) -> int | None:
    """A limit as it is typed: 50GB; "" is None. Raises Refused."""
    if not text.strip():
        return None
    found = formats.bytes_in(text)
    if found is None or not 0 < found <= MOST_BYTES:
        raise Refused(
            _("“%(text)s” is not a size: enter a number with a unit, such as 50GB.")
            % {"text": text.strip()[:40]}
        )
    return found


def tags_in(text: str) -> int | None:
    """The same of tags: 1000."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 11 and 0 < int(text) <= MOST_TAGS):
        raise Refused(
            _("“%(text)s” is not a number of tags: enter one such as 1000.") % {"text": text[:40]}
        )
    return int(text)


def _limits(row: Quota) -> dict[str, int | None]:
    return {"limit_bytes": row.limit_bytes, "limit_tags": row.limit_tags}


def _bare(namespace: str) -> str:
    return namespace.strip().removesuffix("*").removesuffix("/")


def _checked(namespace: str) -> str:
    name = _bare(namespace)
    try:
        scopes.parse(f"{names.check_repository(name)}/*")
    except scopes.TooDeep as error:
        raise Refused(
            _("“%(name)s” is too deep: a namespace can have at most %(parts)d parts.")
            % {"name": name[:100], "parts": scopes.MOST_PARTS}
        ) from error
    except ValueError as error:
        raise Refused(
            _("“%(name)s” is not a namespace: enter the first parts of repository names, as team.")
            % {"name": namespace.strip()[:100]}
        ) from error
    if Mirror.objects.filter(name=name.partition("/")[0]).exists():
        raise Refused(
            _("%(name)s belongs to a mirror, which clients do not push to: limit its size there.")
            % {"name": name}
        )
    return name


def _tell_nginx() -> None:
    try:
        marks.write()
    except OSError as error:
        raise Refused(
            _("Saved, but nginx is not updated yet (%(error)s). The worker retries every minute.")
            % {"error": in_words(error)}
        ) from error
