"""What the documents say of each other and of the tree is so."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from django.core.management import load_command_class

from portal import __version__

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bench", "deploy", "docs", "portal", "registryui", "static", "templates", "tests")
PATHS = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + [*ROOT.iterdir()]
TEXTS = {
    path.relative_to(ROOT): path.read_bytes().decode()
    for path in sorted(PATHS)
    if path.is_file() and path.suffix not in (".png", ".mo", ".pyc") and path.name != ".git"
}
PAGES = [path for path in TEXTS if path.suffix == ".md"]
MAP = (ROOT / "docs" / "map.md").read_text()
COMMANDS = ROOT / "registryui" / "management" / "commands"
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[page])
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (ROOT / page.parent / link).exists()] == []


def test_decisions_are_numbered_without_gaps_and_references_to_them_hold() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").iterdir())
    assert [name[:5] for name in names] == [f"{number:04}-" for number in range(1, len(names) + 1)]
    for number, name in enumerate(names, 1):
        assert TEXTS[Path("docs/decisions", name)].startswith(f"# {number}. ")
    said = re.findall(r"decisions/(\d[\w.-]*\w)", "\n".join(TEXTS.values()))
    assert len(said) > 10
    assert [
        one for one in said if one not in names and one not in {name[:4] for name in names}
    ] == []


def test_the_changelog_has_the_form_of_keep_a_changelog_and_ends_at_this_version() -> None:
    text = TEXTS[Path("CHANGELOG.md")]
    first, *released = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", one) for one in released]
    rows = [
        (int(a), int(b), int(c), day) for a, b, c, day in (one.groups() for one in found if one)
    ]
    assert len(rows) == len(released)
    assert ".".join(map(str, rows[0][:3])) == __version__
    assert all(new[:3] > old[:3] and new[3] >= old[3] for new, old in pairwise(rows))
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= KINDS


def test_the_map_is_a_page_whose_files_are_there() -> None:
    assert len(MAP.splitlines()) <= 100
    named = [name for name in re.findall(r"`([\w./*-]+)`", MAP) if "/" in name or "." in name]
    assert len(named) > 50
    paths = [str(path) for path in PATHS]
    assert [name for name in named if not fnmatch.filter(paths, f"*/{name.strip('./')}")] == []


def test_the_map_names_every_room_in_the_order_of_the_contracts() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    floor = {room: at for at, layer in enumerate(layers) for room in re.findall(r"\w+", layer)}
    table = MAP.partition("## Rooms")[2].partition("## What surprises")[0]
    rooms = re.findall(r"`registryui/(\w+)(?:/|\.py)`", table)
    assert [floor[room] for room in rooms] == sorted(floor[room] for room in rooms)
    packages = {path.parent.name for path in (ROOT / "registryui").glob("*/__init__.py")}
    assert packages - {"migrations"} <= set(rooms)


def test_commands_of_the_documents_are_words_that_the_commands_know(
    subtests: pytest.Subtests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of a code block that begins with ./boathouse, up to its comment or redirection."""
    block = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
    blocks = "".join(one for page in PAGES for one in block.findall(TEXTS[page]))
    lines = re.findall(r"^\./boathouse (.+)$", blocks.replace("\\\n", ""), re.MULTILINE)
    assert len(lines) > 80
    monkeypatch.setattr("registryui.management.command._CALLED_IN", str(tmp_path))
    (tmp_path / "office-ca.crt").touch()  # an option reads it
    for line in lines:
        name, *words = shlex.split(re.split(r" [|<>] | \|\| ", line)[0], comments=True)
        if name == "manage" or not (COMMANDS / f"{name}.py").exists():
            continue  # Django's, or of ./boathouse itself
        with subtests.test(line):
            parser = load_command_class("registryui", name).create_parser("boathouse", name)
            parser.parse_args(words)


def test_files_are_written_as_editorconfig_says() -> None:
    stray = re.compile(r"[ \t]$|\r|\t", re.MULTILINE)
    assert [str(path) for path, text in TEXTS.items() if stray.search(text)] == []
    ends = {path: text[-1:] for path, text in TEXTS.items() if path.suffix != ".html"}
    assert [str(path) for path, end in ends.items() if end not in ("", "\n")] == []
