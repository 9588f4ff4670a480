"""The classes of portal.css and those of pages are the same ones."""

import ast
import re
from collections.abc import Iterable, Iterator

from django.conf import settings

CODE = re.compile(r"{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL)
# What a template or a format string of Python writes into an attribute, or hands to a macro or a
# filter that does.
ATTRIBUTE = re.compile(r'\bclass="((?:{%.*?%}|{{.*?}}|[^"])*)"', re.DOTALL)
HANDED = re.compile(
    r'\bcss="([^"]*)"|\bicon\([^,()]+, ?["\']([\w -]+)["\']|\bth\(.*?, "([\w -]+)"\)'
)
LITERAL = re.compile(r'"([\w -]*)"|\'([\w -]*)\'')
COMPARED = re.compile(r'[=!]= ?(?:"[^"]*"|\'[^\']*\')|\bin \([^)]*\)|\[[^]]*\]')
CLASS = re.compile(r"[a-z][\w-]*")


def in_styles() -> set[str]:
    """The classes that selectors of portal.css name."""
    styles = (settings.BASE_DIR / "static" / "portal" / "portal.css").read_text()
    styles = re.sub(r"/\*.*?\*/", "", styles, flags=re.DOTALL)
    selectors = re.findall(r"[^{};]+(?={)", styles)
    return set(re.findall(r"\.([a-zA-Z][\w-]*)", " ".join(selectors)))


def in_templates() -> Iterator[str]:
    """Classes; of one whose end is a value, the start and *, or the start with its hyphen."""
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        source = path.read_text()
        for attribute in ATTRIBUTE.findall(source):
            yield from _written(attribute)
        for groups in HANDED.findall(source):
            yield from " ".join(groups).split()


def _written(attribute: str) -> Iterator[str]:
    for code in CODE.findall(attribute):
        for groups in LITERAL.findall(COMPARED.sub("", code)):
            yield from "".join(groups).split()
    yield from re.sub(r"{{.*?}}", "*", re.sub(r"{%.*?%}", " ", attribute)).split()


def said_by_templates() -> Iterator[str]:
    """Words that could be handed over as the end of a class: `"warn"` of badge--warn."""
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        for groups in LITERAL.findall(path.read_text()):
            yield from "".join(groups).split()


def ends_of(name: str, starts: Iterable[str]) -> list[str]:
    return [name.removeprefix(start) for start in starts if name.startswith(start)]


def in_python() -> Iterator[str]:
    """Every text that could be classes, such as the `css` of a state; and what filters.py draws."""
    for path in (settings.BASE_DIR / "registryui").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for attribute in re.findall(r'class="([^"]*)"', node.value):
                    yield from attribute.replace("{}", "*").split()
                if re.fullmatch(r"[a-z][\w-]*( [a-z][\w-]*)*", node.value.strip()):
                    yield from node.value.split()


def in_scripts() -> set[str]:
    scripts = (settings.BASE_DIR / "static" / "portal").glob("*.js")
    return {name for path in scripts for name in re.findall(r"[\w-]+", path.read_text())}


def test_every_class_of_the_styles_is_on_a_page() -> None:
    used = {*in_templates(), *in_python(), *in_scripts()}
    starts = {name.partition("*")[0] for name in used if name.endswith(("*", "-"))} - {""}
    ends = {*in_python(), *said_by_templates()}
    unused = {
        name
        for name in in_styles() - used
        if not any(end.isdigit() or end in ends for end in ends_of(name, starts))
    }
    assert unused == set()


def test_every_class_of_a_page_is_in_the_styles() -> None:
    known = in_styles() | in_scripts()
    names = {name for name in in_templates() if CLASS.fullmatch(name) and name[-1] != "-"}
    assert len(names) > 200
    assert names - known == set()
