"""Two tags or digests beside each other: what an upgrade changes, and what it downloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from registryui.index import comparison
from registryui.models import Role, Tag
from registryui.oci.compare import Comparison, LayerPair, Setting, Step
from registryui.oci.digest import short
from registryui.oci.names import version_key
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import Words, read_or_default
from registryui.views.plain_text import Shown, line, shown

from . import image

LONGEST = 600  # characters of a reference: repository, tag and digest
OFFERED = 40  # tags in the lists below the fields
SIGNS = {"same": "", "changed": "~", "added": "+", "gone": "−"}


@dataclass(frozen=True, slots=True)
class LayerRow:
    pair: LayerPair
    sign: str
    word: str
    made_by: Shown


@dataclass(frozen=True, slots=True)
class SettingRow:
    setting: Setting
    sign: str
    word: str
    key: Shown
    left: Shown | None
    right: Shown | None


@dataclass(frozen=True, slots=True)
class StepRow:
    step: Step
    mark: str
    word: str
    text: Shown


@require_role(Role.VIEWER)
def compare(request: Request) -> HttpResponse:
    """?a= and ?b= are references; &platform=, &platform_b= of image indexes; &all= shows what is
    the same, too. ?repository= with two &tag= is how a list of tags asks."""
    if "repository" in request.GET or "swap" in request.GET:
        return redirect(f"{reverse('compare')}?{_asked(request.GET).urlencode()}")
    fields = {name: Words(max_length=LONGEST) for name in ("a", "b", "platform", "platform_b")}
    left, right, *platforms = read_or_default(request.GET, **fields).values()
    context: dict[str, Any] = {
        "a": left,
        "b": right,
        "offered": _offered(left, right),
        "shows_all": "all" in request.GET,
        "repository": left.partition("@")[0].partition(":")[0],
    }
    status = 200
    if left and right:
        try:
            context |= _compared(left, right, platforms, shows_all="all" in request.GET)
        except Refused as error:
            context["error"], status = line(str(error), 2 * LONGEST), 404
    return render(request, "catalogue/compare/page.html", context, status=status)


def _asked(asked: QueryDict) -> QueryDict:
    """The address to share of what a form asks: ticked tags, the older first, or sides swapped."""
    found = QueryDict(mutable=True)
    if "swap" in asked:
        for name, other in (("a", "b"), ("platform", "platform_b")):
            found[name], found[other] = asked.get(other, ""), asked.get(name, "")
    else:
        repository = asked.get("repository", "")
        tags = sorted(asked.getlist("tag")[:2], key=version_key)
        for name, tag in zip(("a", "b"), tags, strict=False):
            found[name] = f"{repository}:{tag}"
    if "all" in asked:
        found["all"] = "1"
    for name in [name for name in found if not found[name]]:
        del found[name]
    return found


def _offered(*references: str) -> list[str]:
    """Newest tags of the repositories that are compared, to choose from. One query each."""
    names = dict.fromkeys(one.partition("@")[0].partition(":")[0] for one in references if one)
    return [
        f"{name}:{tag}"
        for name in names
        for tag in Tag.objects.filter(repository__name=name, refers_to="")
        .order_by("-tagged_at", "-id")
        .values_list("name", flat=True)[:OFFERED]
    ]


def _compared(left: str, right: str, platforms: list[str], *, shows_all: bool) -> dict[str, Any]:
    """Raises Refused."""
    one, other, found = comparison.both((left, right), platforms)
    settings = _setting_rows(found, shows_all=shows_all)
    steps = [
        StepRow(step, SIGNS[step.sign], _words(step.sign), shown(step.text))
        for step in found.steps
        if shows_all or step.sign != "same"
    ]
    return {
        "left": one,
        "right": other,
        "left_label": _label(one, other),
        "right_label": _label(other, one),
        "found": found,
        "layers": [
            LayerRow(pair, SIGNS[pair.sign], _words(pair.sign), _made_by(pair))
            for pair in found.layers[: image.ENTRY_LIMIT]
        ],
        "layers_left": max(len(found.layers) - image.ENTRY_LIMIT, 0),
        "counts": {sign: found.count(sign) for sign in ("changed", "added", "gone")},
        "settings": settings[: image.ENTRY_LIMIT],
        "settings_left": max(len(settings) - image.ENTRY_LIMIT, 0),
        "steps": steps[: image.ENTRY_LIMIT],
        "steps_left": max(len(steps) - image.ENTRY_LIMIT, 0),
        "steps_changed": sum(step.sign != "same" for step in found.steps),
        "notices": _notices(one, other, platforms),
    }


def _setting_rows(found: Comparison, *, shows_all: bool) -> list[SettingRow]:
    return [
        SettingRow(
            one,
            SIGNS[one.sign],
            _words(one.sign),
            shown(one.key, image.NAME_LENGTH),
            None if one.left is None else shown(one.left),
            None if one.right is None else shown(one.right),
        )
        for one in found.settings
        if shows_all or one.sign != "same"
    ]


def _made_by(pair: LayerPair) -> Shown:
    layer = pair.right or pair.left
    return shown(layer.made_by or layer.digest) if layer else Shown("")


def _label(source: comparison.ComparisonSource, other: comparison.ComparisonSource) -> str:
    """A column's head: the tag alone, if that tells the sides apart."""
    own, their = source.named.reference, other.named.reference
    name = own.tag if own.tag and not own.digest else short(own.digest)
    if own.repository != their.repository:
        name = f"{own.repository}:{name}" if own.tag else f"{own.repository}@{name}"
    elif (own.tag, own.digest) == (their.tag, their.digest) and source.platform:
        name = source.platform
    return line(name, 120)


def _words(sign: str) -> str:
    return {
        "same": _("the same"),
        "changed": _("changed"),
        "added": _("added"),
        "gone": _("removed"),
    }[sign]


def _notices(
    one: comparison.ComparisonSource, other: comparison.ComparisonSource, asked: Sequence[str]
) -> list[str]:
    """What the reader would otherwise not know about what is compared."""
    found = [
        _("%(name)s has no image for %(platform)s; showing %(shown)s.")
        % {
            "name": source.named,
            "platform": line(wanted, 100),
            "shown": line(source.platform or source.shown.platform or source.shown.media_type, 100),
        }
        for source, wanted in zip((one, other), asked, strict=True)
        if wanted and wanted not in (source.platform, source.shown.platform)
    ]
    if one.shown.digest == other.shown.digest:
        found.append(_("Both are the same image, with the same digest."))
    elif _platform(one) != _platform(other):
        found.append(
            _("The images are for different platforms: %(left)s and %(right)s.")
            % {"left": _platform(one) or "?", "right": _platform(other) or "?"}
        )
    if not (one.is_image and other.is_image):
        found.append(
            _("Only images have settings and build steps; for other content, blobs are compared.")
        )
    return found


def _platform(source: comparison.ComparisonSource) -> str:
    return line(source.shown.platform, 100)
