"""What the list of a repository's tags shows, prepared from rows: values in, values out.

Tags on one digest hang on a line (a lane) where they are adjacent, and say "same image as" where
they do not. repository.py reads the rows, templates/components/repository/ show these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from registryui.index import expiry
from registryui.models import Manifest, Tag
from registryui.oci import media_types
from registryui.views.activity.actors import Actor, actor_of
from registryui.views.plain_text import line

from .media_words import media_words

LANES = 3
HUES = 6
NAMED_ALIASES = 4


@dataclass(frozen=True, slots=True)
class PlatformRow:
    """A child of an image index; `size` None: the registry does not have it."""

    name: str
    digest: str
    size: int | None
    layer_count: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """The tags on one manifest: some names, highest version first, and how many there are."""

    names: tuple[str, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A row's place on the line of its image: lane 0 to 2; part start, on or end."""

    number: int
    part: str
    hue: int

    @property
    def child_part(self) -> str:
        """The part for rows below this one: the line goes by, or it has ended."""
        return "" if self.part == "end" else "by"


@dataclass(frozen=True, slots=True)
class TagRow:
    """One line of the list."""

    id: int
    name: str
    digest: str
    kind: str  # words for what is no image, else ""
    problem: str
    is_signed: bool
    is_old_schema: bool
    rule: int | None  # the key of a protection of it
    platforms: tuple[PlatformRow, ...]
    platform_words: str
    size: int
    tagged_at: datetime
    tagged_by: Actor
    pulled_at: datetime
    aliases: str
    lane: Lane | None
    is_follower: bool  # is below another tag of its image
    expires_at: datetime | None = None

    @property
    def problem_words(self) -> str:
        return problem_words(self.problem)

    @property
    def lanes(self) -> list[Lane | None]:
        """One place for each lane; None where no line runs."""
        return [self.lane if self.lane and self.lane.number == n else None for n in range(LANES)]


def tag_rows(
    tags: Sequence[Tag],
    *,
    platforms: Mapping[int, Sequence[PlatformRow]],
    groups: Mapping[int, Group],
    signed: Iterable[str],
    rules: Mapping[str, int] | None = None,
    may_expire: bool = True,
    goes_on: tuple[bool, bool] = (False, False),
) -> list[TagRow]:
    """`platforms` by manifest id; `rules`: by names of tags, what protects them; `may_expire`: the
    repository is no mirror's; `goes_on`: a group may reach over the (upper, lower) edge.

    Tags may carry `user`, as actors.user_of annotates it.
    """
    lanes = _lanes([tag.manifest_id for tag in tags], groups, goes_on)
    signatures = set(signed)
    rows, above = [], None
    for tag, lane in zip(tags, lanes, strict=True):
        is_follower = lane is not None and above == tag.manifest_id
        above = tag.manifest_id
        rule = (rules or {}).get(tag.name)
        row = _row(tag, lane, is_follower, rule, platforms, groups, signatures)
        expires_at = expiry.of(tag).at if may_expire else None
        rows.append(replace(row, expires_at=expires_at) if expires_at else row)
    return rows


def kind_words(manifest: Manifest) -> str:
    """What it is, if it is no image."""
    if manifest.kind == Manifest.Kind.CACHE:
        return _("Build cache")
    if manifest.kind == Manifest.Kind.UNKNOWN:
        return _("Unknown content")
    if manifest.kind == Manifest.Kind.ARTIFACT:
        return media_words(manifest.artifact_type, 60) or _("Artifact")
    return ""


def problem_words(problem: str) -> str:
    """A problem in one word; the tag's own page says what it means."""
    return {
        Tag.Problem.DANGLING.value: _("No manifest"),
        Tag.Problem.UNREADABLE.value: _("Unreadable"),
        Tag.Problem.INCOMPLETE.value: _("Incomplete"),
        Tag.Problem.BROKEN.value: _("Damaged"),
    }.get(problem, "")


def _row(
    tag: Tag,
    lane: Lane | None,
    is_follower: bool,
    rule: int | None,
    platforms: Mapping[int, Sequence[PlatformRow]],
    groups: Mapping[int, Group],
    signatures: set[str],
) -> TagRow:
    manifest = tag.manifest
    children = tuple(platforms.get(manifest.pk, ())) if manifest else ()
    return TagRow(
        id=tag.pk,
        name=tag.name,
        digest=manifest.digest if manifest else "",
        kind=kind_words(manifest) if manifest else "",
        problem=tag.problem,
        is_signed=manifest is not None and manifest.digest in signatures,
        is_old_schema=manifest is not None and media_types.is_schema1(manifest.media_type),
        rule=rule,
        platforms=children if len(children) > 1 else (),
        platform_words=_platform_words([one.name for one in children], manifest),
        size=tag.size,
        tagged_at=tag.tagged_at,
        tagged_by=actor_of(tag.tagged_by, getattr(tag, "user", None)),
        pulled_at=tag.pulled_at,
        aliases=_alias_words(tag.name, groups.get(tag.manifest_id or 0)),
        lane=lane,
        is_follower=is_follower,
    )


def _platform_words(names: Sequence[str], manifest: Manifest | None) -> str:
    """`amd64 arm64` of two, `amd64 +2` of more; Linux goes without saying."""
    if not names and manifest is not None and manifest.platform:
        names = [manifest.platform]
    brief = [line(name, 60).removeprefix("linux/") for name in names if name]
    if len(brief) > 2:
        return f"{brief[0]} +{len(brief) - 1}"
    return " ".join(brief)


def _alias_words(name: str, group: Group | None) -> str:
    if group is None or group.total < 2:
        return ""
    others = [other for other in group.names if other != name][:NAMED_ALIASES]
    rest = group.total - 1 - len(others)
    words = pgettext("between names in a list", ", ").join(others)
    return _("%(names)s and %(count)d more") % {"names": words, "count": rest} if rest else words


def _lanes(
    manifests: Sequence[int | None], groups: Mapping[int, Group], goes_on: tuple[bool, bool]
) -> list[Lane | None]:
    """A lane for each group whose tags are adjacent on this page; neighbours alternate."""
    runs = [(key, len(list(run))) for key, run in groupby(manifests)]
    seen = Counter(key for key, _length in runs)
    lanes: list[Lane | None] = []
    number = 0
    for at, (key, length) in enumerate(runs):
        group = groups.get(key or 0)
        total = group.total if group else 1
        above = goes_on[0] and at == 0 and total > length
        below = goes_on[1] and at == len(runs) - 1 and total > length
        if key is None or seen[key] > 1 or (length == 1 and not above and not below):
            lanes += [None] * length
            continue
        parts = ["start" if not above else "on", *["on"] * (length - 2), "end"][:length]
        if below:
            parts[-1] = "on" if length > 1 or above else "start"
        elif length == 1:
            parts = ["end"]
        lanes += [Lane(number % LANES, part, number % HUES + 1) for part in parts]
        number += 1
    return lanes
