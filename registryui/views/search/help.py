"""The qualifiers of search in words, each with an example that is a link."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from registryui.index.query import EXAMPLES


@dataclass(frozen=True, slots=True)
class Help:
    example: str
    words: str


def help_lines() -> list[Help]:
    """Words first, then every qualifier, then how they go together."""
    words = {
        "repo": _("in the repository name"),
        "tag": _("in the tag name"),
        "digest": _("the digest starts with this"),
        "layer": _("contains this layer; six digits are enough"),
        "label": _("has this label; without “=”, any value"),
        "env": _("sets this variable; without “=”, to any value"),
        "cmd": _("the command or entrypoint contains this word"),
        "base": _("is based on this image, by its layers"),
        "platform": _("supports this platform; “arm64” or “linux” alone is enough"),
        "media": _("is of this type: image index, Helm chart, signature …"),
        "by": _("who pushed it last"),
        "size": _("also >=, < and <=; kB, MB, GB, TB, or KiB, MiB …"),
        "pushed": _(
            "pushed within this time; > is longer ago; h, d, w, y or a date: pushed>2026-01-31"
        ),
        "pulled": _("never pulled; also pulled>90d and pulled<30d"),
        "expires": _("expires within this time; also expires>30d and expires<2026-12-31"),
        "is": _(
            "also is:multi-platform, is:broken, is:protected, is:immutable, is:expiring and"
            " is:untagged"
        ),
    }
    return [
        Help("api", _("in a repository or tag name, case-insensitive")),
        Help("team/api:2.1", _("both parts; you can also paste a complete reference or digest")),
        *(Help(example, words[name]) for name, example in EXAMPLES.items()),
        Help("api -tag:dev", _("with a leading “-”: excludes; all conditions must match")),
        Help('label:"title=My image"', _("in quotation marks: a value with spaces")),
    ]
