"""The Chinese catalogue: whole, certain, and with every placeholder of the English text."""

import re
import subprocess
from pathlib import Path

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po
from django.conf import settings

from registryui.views.line_breaks import LineBreaks

CATALOGUE = settings.BASE_DIR / "portal" / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
JINJA = {
    "extensions": f"{LineBreaks.__module__}.{LineBreaks.__name__}",
    "newstyle_gettext": "true",
    "trimmed": "true",
    "silent": "false",
}
OF_DJANGO = {
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
}
PLACEHOLDER = re.compile(r"%\([a-z_]+\)[sd]|<[^>]+>")


def test_every_text_is_translated_and_none_is_a_guess(tmp_path: Path) -> None:
    said = subprocess.run(
        ["msgfmt", "--check-format", "--statistics", "-o", str(tmp_path / "out.mo"), CATALOGUE],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    assert re.fullmatch(r"\d+ translated messages\.", said.stderr.strip())


def test_the_catalogue_has_the_texts_of_templates_and_code_and_no_others() -> None:
    found: dict[tuple[str | None, str], str] = {}
    for folder in ("templates", "registryui", "portal"):
        for file, line, message, _comments, context in extract_from_dir(
            settings.BASE_DIR / folder,
            [("**.py", "python"), ("**.html", "jinja2")],
            {"**.html": JINJA},
            keywords={**DEFAULT_KEYWORDS, **OF_DJANGO},
        ):
            text = message if isinstance(message, str) else message[0]
            found[context, text] = f"{folder}/{file}:{line}"
    with CATALOGUE.open("rb") as file:
        known = {(one.context, _first(one.id)) for one in read_po(file) if one.id}
    assert len(found) > 1500
    assert {where for text, where in found.items() if text not in known} == set()
    assert {text for _context, text in known - found.keys()} == set()


def _first(message: str | tuple[str, ...]) -> str:
    """The singular of a text in two forms."""
    return message if isinstance(message, str) else message[0]


def entries() -> list[tuple[str, str]]:
    pattern = re.compile(
        r'^msgid "(.+)"\n(?:msgid_plural "(.*)"\n)?msgstr(?:\[0\])? "(.*)"$', re.MULTILINE
    )
    found = pattern.findall(CATALOGUE.read_text().replace('"\n"', ""))
    return [(plural or single, chinese) for single, plural, chinese in found]


def test_there_is_something_to_compare() -> None:
    assert len(entries()) > 400


def test_placeholders_and_markup_are_the_same(subtests: pytest.Subtests) -> None:
    for english, chinese in entries():
        with subtests.test(english):
            assert sorted(PLACEHOLDER.findall(chinese)) == sorted(PLACEHOLDER.findall(english))
