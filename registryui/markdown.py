"""Markdown to HTML that a page may show as it is. Operators and strangers write it: nothing that
comes out of here loads, runs, sends or looks like a part of the portal. Pure.

    CommonMark and tables, HTML in it ─► markdown-it ─► HTML ─► nh3: tags and attributes of the list
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

LIMIT = 100_000  # characters; a longer text is cut
_TAGS = {
    *("a", "b", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "ol", "p", "pre", "s", "samp"),
    *("strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}}
_GONE = {"script", "style", "template", "title", "textarea"}  # with all that is in them
_LINKS = {"http", "https", "mailto"}
_HEADING = re.compile(r"<(/?)h([1-6])>")
_TOP = 2  # a README's own title is below the page's and the panel's


@lru_cache(maxsize=32)
def html(text: str) -> str:
    """The text as HTML. Images become their words: they lie elsewhere. Links that are not absolute
    have no address here, and lose theirs."""
    clean = nh3.clean(
        _markdown().render(text[:LIMIT]),
        tags=_TAGS,
        clean_content_tags=_GONE,
        attributes=_ATTRIBUTES,
        link_rel="noopener nofollow",
        url_schemes=_LINKS,
        url_relative="deny",
    )
    return _HEADING.sub(_lower, clean)


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    made.add_render_rule("image", _image)
    return made


def _image(
    _renderer: RendererHTML, tokens: Sequence[Token], at: int, _options: Any, _environment: Any
) -> str:
    return nh3.clean_text(tokens[at].content)


def _lower(found: re.Match[str]) -> str:
    return f"<{found[1]}h{min(int(found[2]) + _TOP, 6)}>"
