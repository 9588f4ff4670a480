"""A page's room renders its own templates, what is in components/, and the base: nothing of another
room's. import-linter cannot read that."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template

from registryui.views.access import _roles

VIEWS = settings.BASE_DIR / "registryui" / "views"
TEMPLATES = settings.BASE_DIR / "templates"
INCLUDED = re.compile(r'{%\s*(?:include|extends|import|from)\s+"([^"]+)"')


def rendered(path: Path) -> Iterator[str]:
    """Names of templates in a file of Python; of an f-string what stands before its first value."""
    tree = ast.parse(path.read_text())
    in_fstrings = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr([ast.Constant(str(first)), *_, ast.Constant(str(last))]):
                if last.endswith(".html"):
                    yield first
            case ast.Constant(str(name)) if id(node) not in in_fstrings:
                if re.fullmatch(r"[\w/-]+\.html", name):
                    yield name


def is_foreign(name: str, room: str) -> bool:
    """Is it neither of that room, nor of components/, nor the base (no folder)?"""
    return "/" in name and name.split("/")[0] not in (room, "components")


def test_a_room_renders_its_own_templates_only(subtests: pytest.Subtests) -> None:
    count = 0
    for path in sorted(VIEWS.rglob("*.py")):
        room = path.relative_to(VIEWS).parts[0].removesuffix(".py")
        for name in rendered(path):
            count += 1
            with subtests.test(f"{path.name}: {name}"):
                assert not is_foreign(name, room)
    assert count > 40


def test_a_template_includes_those_of_its_room_only(subtests: pytest.Subtests) -> None:
    for path in sorted(TEMPLATES.rglob("*.html")):
        room, *rest = path.relative_to(TEMPLATES).parts
        for name in INCLUDED.findall(path.read_text()):
            with subtests.test(f"{path.relative_to(TEMPLATES)}: {name}"):
                assert get_template(name)
                assert not is_foreign(name, room if rest else "")


def test_every_folder_of_templates_is_a_room_of_views() -> None:
    rooms = {path.relative_to(VIEWS).parts[0].removesuffix(".py") for path in VIEWS.rglob("*.py")}
    assert {path.name for path in TEMPLATES.iterdir() if path.is_dir()} <= rooms | {"components"}


def test_a_link_is_offered_by_the_name_of_its_page(subtests: pytest.Subtests) -> None:
    """`may.delete` asks for the page of that name; of a name that no page has it says no."""
    for path in sorted(TEMPLATES.rglob("*.html")):
        for name in sorted(set(re.findall(r"\bmay\.(\w+)", path.read_text()))):
            with subtests.test(f"{path.relative_to(TEMPLATES)}: may.{name}"):
                assert name in _roles()
