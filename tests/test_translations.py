"""The Chinese catalogue: whole, certain, and with every placeholder of the English text."""

import re
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

CATALOGUE = settings.BASE_DIR / "portal" / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
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


def test_the_catalogue_has_every_text_of_the_pages(tmp_path: Path) -> None:
    """Each {% translate "…" %} of a template stands in the catalogue."""
    known = CATALOGUE.read_text().replace('"\n"', "")
    for template in sorted((settings.BASE_DIR / "templates").rglob("*.html")):
        for text in re.findall(r'{%\s*translate\s+"([^"]+)"', template.read_text()):
            assert f'msgid "{text}"' in known, f"{template.name}: {text}"


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
