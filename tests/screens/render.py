"""Asks the portal for every page, in this process, and writes its HTML so that it can be compared:
a tag or a text a line, attributes in their order of names, tokens blanked. Of icons only the class
is kept: how they are drawn, the pictures show."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.test import Client
from django.test.runner import DiscoverRunner
from django.utils import translation

from registryui.models import Operator, Run
from registryui.setup import fonts, icons
from registryui.views.context import THEME_COOKIE
from tests.support.frozen import frozen, same_accidents

from . import content, pages
from .pages import View

ENGLISH, CHINESE = "en", "zh-hans"
LOOKS = ((ENGLISH, "light"), (ENGLISH, "dark"), (CHINESE, "light"))
WRITTEN_BY_FORMS = ("HTPASSWD_FILE", "OVERLAP_FILE", "RIGHTS_DIR", "VERSIONS_DIR")


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as a browser gets it, by language and theme."""

    view: View
    bodies: dict[tuple[str, str], bytes]
    policy: str  # Content-Security-Policy


def render_all(folder: Path, *, only: str = "") -> list[Shown]:
    """All pages whose name has what this expression finds; their HTML is in the folder."""
    is_asked = re.compile(only).search
    settings.STATICFILES_DIRS = [*settings.STATICFILES_DIRS, settings.DATA / "made"]
    fonts.make()
    icons.make()
    folder.mkdir(parents=True, exist_ok=True)
    databases = DiscoverRunner(verbosity=0, interactive=False)
    before = databases.setup_databases()
    try:
        with content.fixed_surroundings(), frozen(content.NOW):
            with same_accidents("content"):
                content.make_operators()
            empty = [_shown(folder, one, {}) for one in pages.EMPTY if is_asked(one.name)]
            with same_accidents("content"):
                facts = content.fill()
            facts["next_run"] = Run.objects.latest("pk").pk + 1
            full = [_shown(folder, one, facts) for one in pages.FULL if is_asked(one.name)]
            return empty + full
    finally:
        translation.deactivate()
        databases.teardown_databases(before)


def _shown(folder: Path, view: View, facts: Mapping[str, Any]) -> Shown:
    answers = {look: _answer(view, facts, view.who, *look) for look in LOOKS}
    first = answers[ENGLISH, "light"]
    texts = {"": first, "zh": answers[CHINESE, "light"]}
    if not view.is_opened and view.fields is None and view.given is nullcontext and view.who:
        headers = {"HX-Request": "true"}
        texts["fragment"] = _answer(view, facts, view.who, *LOOKS[0], headers=headers)
        if view.is_main and view.who == "ada":
            texts |= {who: _answer(view, facts, who, *LOOKS[0]) for who in ("mo", "vera")}
    for kind, answer in {} if view.is_opened else texts.items():
        name = f"{view.name}.{kind}.html" if kind else f"{view.name}.html"
        (folder / name).write_text(f"status {answer[0]}\n{normalised(answer[1].decode())}\n")
    is_page = b"<html" in first[1]
    bodies = {look: answer[1] for look, answer in answers.items()} if is_page else {}
    return Shown(view, bodies, first[2])


def _answer(
    view: View,
    facts: Mapping[str, Any],
    who: str,
    language: str,
    theme: str,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes, str]:
    """Status, body and policy. Whatever it changed is as before."""
    client = Client(
        SERVER_NAME="localhost",
        raise_request_exception=False,
        enforce_csrf_checks=view.is_forged,
        headers=dict(headers or {}),
    )
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    client.cookies[THEME_COOKIE] = theme
    path = view.path.format(**facts)
    with same_accidents(view.name), _unchanged(view.fields is not None), transaction.atomic():
        if who:
            client.force_login(Operator.objects.get(username=who))
        with view.given() or nullcontext():
            if view.fields is None:
                answer: Any = client.get(path, follow=True)
            else:
                for _time in range(view.times):
                    answer = client.post(path, _filled(view.fields, facts), follow=True)
        transaction.set_rollback(True)
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    body = body.replace(str(settings.DATA).encode(), b"/srv/boathouse")
    return answer.status_code, body, answer.headers.get("Content-Security-Policy", "")


def _filled(fields: Mapping[str, str | list[str]], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [one.format(**facts) for one in value]
        if isinstance(value, list)
        else value.format(**facts)
        for name, value in fields.items()
    }


@contextmanager
def _unchanged(is_form: bool) -> Iterator[None]:
    """The files that a form may write are as before."""
    if not is_form:
        yield
        return
    places = [Path(getattr(settings, name)) for name in WRITTEN_BY_FORMS]
    aside = settings.DATA / "aside"
    there = [place for place in places if place.exists()]
    for place in there:
        _copy(place, aside / place.name)
    try:
        yield
    finally:
        for place in places:
            _remove(place)
        for place in there:
            _copy(aside / place.name, place)
        shutil.rmtree(aside, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


# -- HTML as it can be compared ------------------------------------------------------------------
def normalised(text: str) -> str:
    """The same text for HTML that means the same; what is no HTML stays as it is."""
    if not text.lstrip().startswith("<"):
        return text
    parser = _Normaliser()
    parser.feed(text)
    parser.close()
    return "\n".join(parser.lines)


VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)


class _Normaliser(HTMLParser):
    """Whitespace counts in these elements only."""

    KEPT = ("pre", "textarea", "script", "style")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self.kept = 0
        self.drawn = 0  # how deep in a drawing that has no words
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._end_text()
        values = dict(attrs)
        if self.drawn:
            self.drawn += tag not in VOID
            return
        if tag == "svg" and values.get("aria-hidden") == "true":
            self.drawn, values = 1, {"class": values.get("class")}
        if values.get("name") == "csrfmiddlewaretoken":
            values["value"] = "…"
        if classes := values.get("class"):
            values["class"] = " ".join(sorted(classes.split()))
        said = [name if value is None else f"{name}={value!r}" for name, value in values.items()]
        self.lines.append(f"<{' '.join([tag, *sorted(said)])}>")
        self.kept += tag in self.KEPT

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.drawn or tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self._end_text()
        if self.drawn:
            self.drawn -= 1
        if self.drawn:
            return
        self.lines.append(f"</{tag}>")
        self.kept -= tag in self.KEPT

    def handle_decl(self, decl: str) -> None:
        self.lines.append(f"<!{decl}>")

    def handle_data(self, data: str) -> None:
        self.text += data

    def close(self) -> None:
        super().close()
        self._end_text()

    def _end_text(self) -> None:
        text = self.text if self.kept else " ".join(self.text.split())
        if text:
            self.lines.append(text)
        self.text = ""
