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
        "repo": _("in the name of the repository"),
        "tag": _("in the name of the tag"),
        "digest": _("the digest begins so"),
        "layer": _("has this layer; six digits are enough"),
        "label": _("has this label; without “=” with any value"),
        "env": _("sets this variable; without “=” to any value"),
        "cmd": _("this word is in its command or entrypoint"),
        "base": _("stands on this image, by its layers"),
        "platform": _("runs there; “arm64” or “linux” alone is enough"),
        "media": _("is of this kind: image index, Helm chart, signature …"),
        "by": _("who pushed it last"),
        "size": _("also >=, < and <=; kB, MB, GB, TB, or KiB, MiB …"),
        "pushed": _("younger than that; > is older; h, d, w, y or a day: pushed>2026-01-31"),
        "pulled": _("nobody pulled it; also pulled>90d and pulled<30d"),
        "is": _("also is:multi-platform, is:broken, is:protected, is:immutable, is:untagged"),
    }
    return [
        Help("api", _("in the name of a repository or a tag, in upper or lower case")),
        Help("team/api:2.1", _("both parts; a whole reference or digest can be pasted, too")),
        *(Help(example, words[name]) for name, example in EXAMPLES.items()),
        Help("api -tag:dev", _("with “-” in front: not that; all parts must be true")),
        Help('label:"title=My image"', _("between quotation marks: a value with blanks")),
    ]
