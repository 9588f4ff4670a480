"""When tags expire: what is set for a tag, else, if that is on, the label of its image.

Read by pages, search and retention/expiry.py, which deletes what has expired; `put` is the only
writer beside ingest.py, which drops what was set when the tag moves to another digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from registryui.models import NEVER, Repository, Tag
from registryui.models.mirrored import mirrored_names


@dataclass(frozen=True, slots=True)
class Expiry:
    """Of one tag. `at` None: it does not expire."""

    at: datetime | None
    is_set: bool  # by somebody, for this tag; else by its label, if at all
    label: int | None  # seconds that its image states; None: nothing that can be read

    @property
    def is_over(self) -> bool:
        return self.at is not None and self.at <= timezone.now()


def of(tag: Tag) -> Expiry:
    """The tag needs its manifest."""
    after = tag.manifest.expires_after if tag.manifest is not None else None
    label = None if tag.refers_to else after
    if tag.expires_at is not None:
        return Expiry(None if tag.expires_at == NEVER else tag.expires_at, True, label)
    return Expiry(tag.label_expires_at if settings.EXPIRE_BY_LABEL else None, False, label)


def within(wanted: Mapping[str, Any]) -> tuple[Q, ...]:
    """Tags whose expiry is so (`lte=…`), in parts that have a database index each."""
    found = Q(**{f"expires_at__{compare}": value for compare, value in wanted.items()})
    by_hand = found & Q(expires_at__lt=NEVER)
    if not settings.EXPIRE_BY_LABEL:
        return (by_hand,)
    told = Q(**{f"label_expires_at__{compare}": value for compare, value in wanted.items()})
    return by_hand, told & Q(expires_at__isnull=True)


def can_expire() -> QuerySet[Tag]:
    """Tags that are deleted once they have expired, if they are not protected: not referrer tags,
    which go with their image, damaged ones and those of mirrors."""
    every = Tag.objects.filter(refers_to="", problem="", manifest__isnull=False)
    mirrors = mirrored_names()
    return every.exclude(repository__namespace__in=mirrors) if mirrors else every


def due(now: datetime, every: QuerySet[Tag] | None = None) -> list[QuerySet[Tag]]:
    """Tags that have expired, the longest expired first, by each of the two columns; of `every`, if
    the caller has what `can_expire` returns."""
    every = can_expire() if every is None else every
    orders = ("expires_at", "label_expires_at")
    return [
        every.filter(part).order_by(order, "id")
        for part, order in zip(within({"lte": now}), orders, strict=False)
    ]


def put(tag: Tag, at: datetime | None) -> bool:
    """Sets it, for the digest that the tag is on; None: its label counts. False: the tag moved."""
    same = Tag.objects.filter(pk=tag.pk, manifest=tag.manifest_id)
    if not same.update(expires_at=at):
        return False
    Repository.objects.filter(pk=tag.repository_id).update(changed_at=timezone.now())
    return True
