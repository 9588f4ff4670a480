"""Why a tag was found: for each item of the query what in the tag fits it.

Names are marked in place, so only what the name does not show is said here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils.translation import gettext as _

from registryui import schedules
from registryui.index import expiry
from registryui.index.query import Query, Term
from registryui.models import ImageIndexEntry, Manifest, Tag
from registryui.oci import facts
from registryui.oci.config import ImageConfig, parse_config
from registryui.oci.digest import short
from registryui.views.catalogue.media_words import media_words
from registryui.views.catalogue.tag_rows import problem_words
from registryui.views.plain_text import line

LONGEST = 160  # characters of a value
CONFIGS = 100  # that are read for one page


@dataclass(frozen=True, slots=True)
class Reason:
    """`label` team=shop, with a part of it marked, and a few words more; or a size or a time."""

    name: str
    text: str = ""
    mark: str = ""
    note: str = ""
    size: int | None = None  # bytes
    at: datetime | None = None


def reasons(query: Query, tags: Sequence[Tag]) -> dict[int, list[Reason]]:
    """{tag id: its reasons}. Configs are read only for items that name no value: two queries."""
    asked = [term for term in query.terms if not term.is_negated]
    configs = _configs(tags) if any(_needs_config(term) for term in asked) else {}
    found: dict[int, list[Reason]] = {}
    for tag in tags:
        given = [_reason(term, tag, configs.get(tag.pk, [])) for term in asked]
        found[tag.pk] = [one for one in given if one is not None]
    return found


def _needs_config(term: Term) -> bool:
    return term.field == "cmd" or (term.field in ("label", "env") and term.second is None)


def _reason(term: Term, tag: Tag, configs: Sequence[ImageConfig]) -> Reason | None:
    if term.field in ("label", "env", "cmd"):
        return _stated(term, configs)
    make = _REASONS.get(term.field)
    return make(term, tag) if make else None


def _stated(term: Term, configs: Sequence[ImageConfig]) -> Reason:
    """The line of a config that fits; what was asked for where no config is at hand."""
    if term.second is not None:
        text = line(f"{term.value}={term.second}", LONGEST)
        return Reason(term.field, text, text)
    for config in configs:
        for key, text in _lines(term.field, config):
            if key.casefold() == term.value.casefold():
                return Reason(term.field, line(text, LONGEST), line(term.value, LONGEST))
    text = line(term.value, LONGEST)
    return Reason(term.field, text, text)


def _lines(field: str, config: ImageConfig) -> list[tuple[str, str]]:
    """What can be asked for, and the line that contains it."""
    if field == "label":
        return [(key, f"{key}={value}") for key, value in config.labels.items()]
    if field == "env":
        return [(text.partition("=")[0], text) for text in config.env]
    arguments = [*(config.entrypoint or ()), *(config.cmd or ())]
    whole = " ".join(arguments)
    return [(word, whole) for argument in arguments for word in facts.command_words(argument)]


def _digest(term: Term, tag: Tag) -> Reason | None:
    if not term.digest:
        return None
    digest = tag.manifest.digest if tag.manifest else ""
    if digest.startswith(term.digest):
        return Reason("digest", short(digest), short(term.digest))
    names = (tag.name.casefold(), tag.repository.name.casefold())
    if term.field == "word" and any(term.value.casefold() in name for name in names):
        return None  # found by its name
    text = short(term.digest)
    return Reason("digest", text, text, _("in its image index"))


def _layer(term: Term, tag: Tag) -> Reason:
    text = short(term.digest)
    return Reason("layer", text, text)


def _base(term: Term, tag: Tag) -> Reason:
    behind = f"@{short(term.digest)}" if term.digest else f":{term.second}"
    text = line(f"{term.value}{behind}", LONGEST)
    return Reason("base", text, text, _("by its layers, not by its name"))


def _platform(term: Term, tag: Tag) -> Reason:
    own = tag.manifest.platform if tag.manifest else ""
    return Reason("platform", line(own or term.value, LONGEST), term.value)


def _media(term: Term, tag: Tag) -> Reason | None:
    if tag.manifest is None:
        return None
    text = tag.manifest.artifact_type or tag.manifest.media_type
    if term.value.casefold() not in text.casefold():
        text = tag.manifest.media_type
    return Reason("media", line(text, LONGEST), term.value, media_words(text))


def _by(term: Term, tag: Tag) -> Reason:
    text = line(tag.tagged_by, LONGEST)
    return Reason("by", text, text)


def _size(term: Term, tag: Tag) -> Reason:
    return Reason("size", size=tag.size)


def _pushed(term: Term, tag: Tag) -> Reason:
    return Reason("pushed", at=tag.tagged_at)


def _pulled(term: Term, tag: Tag) -> Reason:
    return Reason("pulled", at=tag.pulled_at)


def _expires(term: Term, tag: Tag) -> Reason | None:
    at = expiry.of(tag).at
    return Reason("expires", schedules.when(at)) if at else None


def _is(term: Term, tag: Tag) -> Reason:
    notes = {
        "multi-platform": _("for several platforms"),
        "signed": _("has a signature"),
        "broken": problem_words(tag.problem),
        "protected": _("it cannot be deleted"),
        "immutable": _("it cannot be changed or deleted"),
        "expiring": _expires_words(tag) if term.value == "expiring" else "",
    }
    return Reason("is", term.value, term.value, notes.get(term.value, ""))


def _expires_words(tag: Tag) -> str:
    at = expiry.of(tag).at
    return _("expires %(when)s") % {"when": schedules.when(at)} if at else ""


_REASONS: dict[str, Callable[[Term, Tag], Reason | None]] = {
    "word": _digest,
    "reference": _digest,
    "digest": _digest,
    "layer": _layer,
    "base": _base,
    "platform": _platform,
    "media": _media,
    "by": _by,
    "size": _size,
    "pushed": _pushed,
    "pulled": _pulled,
    "expires": _expires,
    "is": _is,
}


def _configs(tags: Sequence[Tag]) -> dict[int, list[ImageConfig]]:
    """{tag id: the configs of its image, or of those that its image index lists}."""
    images = {tag.manifest_id: tag for tag in tags if tag.manifest_id is not None}
    of_digest: dict[tuple[int, str], list[int]] = defaultdict(list)
    for index, digest in (
        ImageIndexEntry.objects.filter(image_index__in=images)
        .order_by("image_index_id", "position")
        .values_list("image_index_id", "digest")[:CONFIGS]
    ):
        of_digest[images[index].repository_id, digest].append(index)
    rows = (
        Manifest.objects.filter(
            Q(pk__in=images)
            | Q(
                repository__in={repository for repository, _digest in of_digest},
                digest__in={digest for _repository, digest in of_digest},
            ),
            config__isnull=False,
        )
        .order_by("pk")
        .values_list("pk", "repository_id", "digest", "config")[:CONFIGS]
    )
    by_manifest: dict[int, list[ImageConfig]] = defaultdict(list)
    for pk, repository, digest, raw in rows:
        try:
            config = parse_config(bytes(raw or b""))
        except ValueError:
            continue
        for index in {pk, *of_digest.get((repository, digest), [])} & images.keys():
            by_manifest[index].append(config)
    return {tag.pk: by_manifest.get(tag.manifest_id or 0, []) for tag in tags}
