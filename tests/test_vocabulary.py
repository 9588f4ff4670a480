"""One word for one thing: no file, function, class, field, table, command, option, address, title
or heading has a name of before. The words are those of OCI, distribution, Harbor and Quay."""

from __future__ import annotations

import ast
import re
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import load_command_class
from django.urls import get_resolver

from registryui.views.line_breaks import without_line_breaks

ROOT = settings.BASE_DIR
# What we called it (a pattern over the words of a name): what it is called. A room in front keeps a
# word to where it means that.
TABLE = {
    r"(?<!garbage )collect(s|ed|able|ing|ions?)?": "garbage collection, gc",
    r"hid(e|es|den|ing)|puts? back": "quarantine, restore",
    r"former": "tag tombstone, recently deleted",
    r"takes? off|taken off": "untag",
    r"for good": "purge",
    r"reach(es|ed)?|kept by": "reachability, reachable",
    r"young(er|est)?": "within the grace period",
    r"whole": "integrity check, complete",
    r"settl(e|es|ed|ing)": "recovery",
    r"many": "bulk",
    r"apart": "gc process",
    r"stock": "the registry's own garbage collector",
    r"told|look(s|ed|ing)?": "push history, probe",
    r"moved (at|by)|^move$": "tagged at, tag update",
    r"attach(ed|ments?)": "referrer tag",
    r"sides?": "comparison source",
    r"decisions?": "generation",
    r"(front )?doors?": "proxy",
    r"hold(s|ing)?|held": "write freeze",
    r"^(needs|anyone)$": "require_role, public",
    r"ready lines?|user ready": "setup commands",
    r"pushers?": "actors",
    r"switch(es|ed)? (off|on)": "disabled, enabled",
    r"(users?|file) versions?|versions? of the file": "htpasswd history",
    r"upkeep|cleanup": "maintenance",
    r"retention: rules?": "retention policy",
}
# A heading may use more words in their plain sense than code may. These name a thing there, too.
IN_HEADINGS = (
    r"(?<!garbage )collect(s|ed|ing|ions?)?|hid(e|es|den|ing)|puts? back|waiting to be undone"
    r"|former|takes? off|taken off|for good|whole|settl(es?|ed|ing)|stock|attachments?|pushers?"
    r"|front doors?|hold writes|ready lines|switch(es|ed)? (off|on)|versions? of the file|upkeep"
)
# Names of tests are sentences, too.
IN_TESTS = rf"{IN_HEADINGS}|doors?|(a|the|two) holds?|young|cleanup"
# Names that pages, programs and stored rows share: keys of JSON, fields of forms, ids, variables.
IN_DATA = (
    r"(?<!garbage )collect(s|ed|able|ing|ions?)?|hid(e|es|den|ing)|puts? back|former|takes? off"
    r"|taken off|for good|settl(es?|ed|ing)|stock|attach(ed|ments?)|pushers?|(front )?doors?|hold"
    r"|upkeep|cleanup|young|switch(es|ed)? (off|on)"
)
# Sentences may use still more in their plain sense. These were terms of ours, or metaphors.
IN_SENTENCES = re.compile(
    r"\b((?<!garbage[ -])(collecting|collections?)|hid(e|es|ing)?|power cuts?|waiting to be undone"
    r"|put(s|ting)? (it |them |all |(a|the) \w+ )?back|(taken?|takes|took) off|for good|former"
    r"|attachments?|switch(es|ed|ing)? (off|on)|pushers?|front doors?|upkeep|log-ins?|ready lines?"
    r"|hold(s|ing)? writes|hand edits?|(stock|own) collector"
    r")\b",
    re.IGNORECASE,
)
# Where, and the name: why it stays.
EXCEPTIONS = {
    ("registryui/metrics/exposition.py", "collect"): "the interface of prometheus-client",
    ("registryui/views/operators/password_turn.py", "too_many"): "HTTP: 429 Too Many Requests",
    ("templates/operators/login", "too_many"): "HTTP: 429 Too Many Requests",
    ("docs", "decisions"): "what everybody calls such records",
}
# A name in data, and why it stays. Acts of the audit log are in rows that are chained by hashes.
STAYS = {
    **dict.fromkeys(
        ("hold", "hold.on", "hold.off", "line.put_back", "store.collect", "store.put_back"),
        "an act of the audit log, or the folder of its gates: a write freeze survives an upgrade",
    ),
    "manifest.delete_for_good": "an act of the audit log",
    **dict.fromkeys(
        ("former_act", "former_at", "former_digest", "former_tag", "former_until", "tag_attached"),
        "an index of the database: to rename it is to build it again",
    ),
    **dict.fromkeys(("attached", "young"), "a reason in stored reports of retention"),
    **dict.fromkeys(
        ("collect", "collect_by_schedule", "put_back_collected", "review_collected"),
        "a job that 0.5 has put into the queue",
    ),
    "settle_deletes": "a job that 0.5 has put into the queue",
    "registryui.cleanup.records": "what such a job names",
    "BOATHOUSE_COLLECT_GRACE_HOURS": "the variable of 0.5, for one version",
    "BOATHOUSE_COLLECT_SCHEDULE": "the variable of 0.5, for one version",
    **dict.fromkeys(("cleanup", "collection"), "an address of 0.5"),
    "hide": "the stage of a run of 0.5",
    "as_attachment": "Django's word",
    "hidden-text": "CSS: for screen readers only",
    "pytest_collection_modifyitems": "pytest's word",
}
HEADING = re.compile(
    r"<h[12][^>]*>(.*?)</h[12]>|{% block (?:title|crumbs) %}(.*?){% endblock %}"
    r'|panel_head\("[\w-]+", (.*?)\) [%}]}'
)
TAB = re.compile(r'<nav class="tabs"(.*?)</nav>')
PROSE = re.compile(r'"""[\s\S]*?"""|^ *# .*(?:\n *# .*)*|  # .*', re.MULTILINE)
ENGLISH = re.compile(r'_\("([^"]*)"|{% (?:trans|pluralize)[^%]*%}(.*?)(?={% (?:end|plural))')


def words(name: str) -> str:
    """Of a name: its words in small letters, joined by spaces."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return " ".join(re.findall(r"[a-z0-9]+", apart.lower()))


def old_word(name: str, where: str = "") -> str:
    """What the table calls it now; "" if the name has no word of before."""
    for pattern, new in TABLE.items():
        *room, pattern = pattern.split(": ")
        if all(one in where for one in room) and re.search(rf"\b({pattern})\b", words(name)):
            return new
    return ""


def python_names(path: Path) -> Iterator[str]:
    """Modules, functions and their parameters, classes and their fields, constants, aliases."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield name
        if isinstance(node, ast.Module | ast.ClassDef):
            for one in node.body:
                for target in getattr(one, "targets", [getattr(one, "target", one)]):
                    if not isinstance(target, ast.stmt):
                        yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def names_in_data() -> Iterator[tuple[str, str]]:
    """Variables, keywords and strings that look like a name; attributes of templates."""
    for path in code():
        where = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(value=str(name)) if re.fullmatch(r"[\w./-]{2,60}", name):
                    yield where, name
                case ast.Name(id=name, ctx=ast.Store()) | ast.keyword(arg=str(name)):
                    yield where, name
    attribute = re.compile(r"""\b(?:id|name|class|href|action|data-\w+)="([^"{]*)""")
    for path in templates():
        for value in attribute.findall(path.read_text()):
            yield from ((str(path.relative_to(ROOT)), name) for name in value.split())


def options(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings or [action.dest]
        if isinstance(action, _SubParsersAction):
            for act, below in action.choices.items():
                yield act
                yield from options(below)


def code() -> list[Path]:
    found = [*(ROOT / "registryui").rglob("*.py"), *(ROOT / "portal").rglob("*.py")]
    return sorted(one for one in found if "migrations" not in one.parts)


def templates() -> list[Path]:
    return sorted((ROOT / "templates").rglob("*.html"))


def names() -> Iterator[tuple[str, str]]:
    """Where, and a name."""
    for path in code():
        for name in python_names(path):
            yield str(path.relative_to(ROOT)), name
    for path in [*templates(), *(ROOT / "deploy").rglob("*"), *(ROOT / "docs").rglob("*.md")]:
        yield str(path.parent.relative_to(ROOT)), path.stem
        yield str(path.parent.parent.relative_to(ROOT)), path.parent.name
    for model in apps.get_app_config("registryui").get_models():
        yield model.__name__, model.__name__
        yield model.__name__, str(model._meta.verbose_name)
        yield from ((model.__name__, field.name) for field in model._meta.get_fields())
    for path in (ROOT / "registryui" / "management" / "commands").glob("[a-z]*.py"):
        parser = load_command_class("registryui", path.stem).create_parser("boathouse", path.stem)
        yield from ((path.name, option) for option in options(parser))
    for name in re.findall(r"BOATHOUSE_\w+", (ROOT / "portal" / "settings.py").read_text()):
        yield "settings.py", name
    for pattern in get_resolver().url_patterns:
        if pattern.name != "old_address":
            yield "portal/urls.py", pattern.name
            yield "portal/urls.py", str(pattern.pattern)


def headings() -> Iterator[tuple[str, str]]:
    """A template or document, and the English of a title, heading, breadcrumb or tab."""
    for path in templates():
        text = without_line_breaks(path.read_text())
        for found in [*HEADING.findall(text), *((tabs, "") for tabs in TAB.findall(text))]:
            for english in ENGLISH.findall("".join(found)):
                yield str(path.relative_to(ROOT)), "".join(english)
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        if path.name != "CHANGELOG.md":  # what was released is history
            for heading in re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE):
                yield str(path.relative_to(ROOT)), heading


def sentences() -> Iterator[tuple[str, str]]:
    """Comments and docstrings of Python, comments of templates; documents and deploy/ whole."""
    for folder in ("bench", "portal", "registryui", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            if path == Path(__file__) or "migrations" in path.parts:
                continue
            for one in PROSE.findall(path.read_text()):
                yield str(path.relative_to(ROOT)), one
    for path in templates():
        for one in re.findall(r"{#.*?#}", path.read_text(), re.DOTALL):
            yield str(path.relative_to(ROOT)), one
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*")]:
        if path.is_file() and path.name != "CHANGELOG.md":
            yield str(path.relative_to(ROOT)), path.read_text()


def old(found: Iterator[tuple[str, str]]) -> dict[tuple[str, str], str]:
    return {(where, name): new for where, name in found if (new := old_word(name, where))}


def test_the_table_finds_a_word_in_every_form_of_a_name() -> None:
    for name in ("take_off", "--for-good", "COLLECT_GRACE", "FormerTag", "_is_settled", "Upkeep"):
        assert old_word(name)
    assert old_word("retention_rules", "registryui/retention/runs.py")
    for name in ("collector", "anyone_else", "whole_number"[6:], "rules", "holder", "remove"):
        assert not old_word(name)


def test_nothing_is_named_by_a_word_of_before(subtests: pytest.Subtests) -> None:
    for key, new in (found := old(names())).items():
        with subtests.test(": ".join(key)):
            assert key in EXCEPTIONS, f"it is called: {new}"
    assert found.keys() >= EXCEPTIONS.keys()  # an exception that nobody needs any more goes


def test_no_test_is_named_by_a_word_of_before() -> None:
    pattern = re.compile(rf"\b({IN_TESTS})\b")
    found = [
        (str(path.relative_to(ROOT)), name)
        for folder in ("tests", "bench")
        for path in (ROOT / folder).rglob("*.py")
        for name in python_names(path)
    ]
    assert len(found) > 10_000
    assert [one for one in found if pattern.search(words(one[1])) and one[1] not in STAYS] == []


def test_no_key_variable_or_field_of_a_form_is_a_word_of_before() -> None:
    pattern = re.compile(rf"\b({IN_DATA})\b")
    hits = {one for one in names_in_data() if pattern.search(words(one[1]))}
    assert sorted(one for one in hits if one[1] not in STAYS) == []
    needed = {name for _where, name in hits} | {"pytest_collection_modifyitems"}
    assert needed >= STAYS.keys()  # an exception that nobody needs any more goes


def test_retention_speaks_of_policies() -> None:
    """Also in keys of its JSON and in variables of its templates, which no name shows."""
    texts = {
        str(one): one.read_text() for one in (*code(), *templates()) if "retention" in str(one)
    }
    assert len(texts) > 15
    assert [one for one, text in texts.items() if re.search(r"(?i)(\b|_)rules?(\b|_)", text)] == []


def test_no_heading_has_a_word_of_before() -> None:
    found = list(headings())
    assert len(found) > 300
    pattern = re.compile(rf"\b({IN_HEADINGS})\b")
    assert [one for one in found if pattern.search(words(one[1]))] == []


def test_no_sentence_has_a_word_of_before() -> None:
    found = [(where, re.sub(r"[\s#]+", " ", text)) for where, text in sentences()]
    assert len(found) > 5000
    assert IN_SENTENCES.search("What is hidden can be put back.")
    hits = [(where, IN_SENTENCES.search(text)) for where, text in found]
    assert [(where, hit[0], hit.string[:90]) for where, hit in hits if hit] == []
