"""Line breaks in templates are for readers of the template, as in JSX.

A line break and the indentation after it are dropped, except where they separate words of text,
attributes inside of a tag, or words of a text to translate: there they are one space. A space
between two elements on different lines is written `{{ " " }}`. So a page is as small as if it was
written on one line, and laying a template out anew changes nothing of it.

End tags that HTML does not need are for readers, too: browsers read the same page without `</td>`.
"""

from __future__ import annotations

import re

from jinja2.ext import Extension

_PIECE = re.compile(
    r"(?P<code>{#.*?#}|{%.*?%}|{{.*?}})"
    r"|(?P<line_break>[ \t]*\n\s*)"
    r"|(?P<tag_start><(?=[/!A-Za-z]))"
    r'|(?P<tag_end>>)|(?P<quote>")'
    r'|(?P<text>(?:(?!{[{%#]|[ \t]*\n)[^<>"])+|<)',
    re.DOTALL,
)
# The next such element or the end of the parent ends them (HTML, "Optional tags").
_OPTIONAL_END = re.compile(r"</(?:td|th|tr|thead|tbody|li|dt|dd|option)>")
_IS_TRANSLATED = re.compile(r"{%-?\s*(end)?trans\b")


class LineBreaks(Extension):
    """Drops line breaks and optional end tags before Jinja reads a template."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _OPTIONAL_END.sub("", without_line_breaks(source))


def without_line_breaks(source: str) -> str:
    """The template on one line."""
    kept: list[str] = []
    in_tag = in_quotes = in_translated = after_text = False
    pending = False  # a line break, after which nothing has been seen yet
    for piece in _PIECE.finditer(source):
        kind, said = piece.lastgroup, piece[0]
        if kind == "line_break":
            pending = True
            continue
        if pending:
            if in_quotes or in_translated:
                is_space = True
            elif in_tag:  # `{% if x %} checked{% endif %}` has its own
                is_space = not said.startswith("{%")
            else:
                is_space = after_text and kind in ("text", "quote")
            if kept and is_space:
                kept.append(" ")
            pending = False
        kept.append(said)
        after_text = kind in ("text", "quote") or (kind == "tag_end" and not in_tag)
        if kind == "code" and (mark := _IS_TRANSLATED.match(said)):
            in_translated = not mark[1]
        elif kind == "tag_start" and not in_quotes:
            in_tag = True
        elif kind == "quote" and in_tag:
            in_quotes = not in_quotes
        elif kind == "tag_end" and not in_quotes:
            in_tag = False
    return "".join(kept)
