"""Texts from outside are text, on every page: markup, format strings, the syntax of templates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.test import Client

from registryui import audit
from registryui.models import AuditEvent, Operator, Repository, RetentionFate, Tag
from tests.screens import content, pages
from tests.screens.pages import View
from tests.selection import Extent
from tests.support.frozen import frozen, same_accidents

HOSTILE = "'\"><hostile-x onhostile=1>{{ 91*637 }}{% raw %}{# #}%s%(x)s{0}\u202e"
COMPUTED = str(91 * 637)
# Names that a grammar limits wherever they are written, and of who looks at the pages.
SAFE = {
    (Repository, "name"),
    (Repository, "namespace"),
    (Repository, "newest_tag"),
    (RetentionFate, "repository"),
    (RetentionFate, "tag"),
    (Tag, "name"),
    (Operator, "password"),
    (Operator, "username"),
}
PATTERNS = ("repositories", "tags", "keep_tags", "schedule", "scope")  # refused if they are none
NEVER_CHANGED = {AuditEvent}  # a hostile one is added
OURS = re.compile(r"sha\d+:[0-9a-f]+|[0-9a-f]{32,}|[\d.: TZ+-]+|[a-z_.]+/[\w.+-]+")


def poisoned(value: Any) -> Any:
    """Each free text in it with the hostile one behind it."""
    if isinstance(value, dict):
        return {key: poisoned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    is_free = isinstance(value, str) and value and not OURS.fullmatch(value)
    return f"{value}{HOSTILE}" if is_free else value


def poison() -> int:
    """Of everything in the tables; how many texts."""
    count = 0
    for model in apps.get_app_config("registryui").get_models():
        fields = [one for one in model._meta.concrete_fields if is_free(model, one)]
        for row in model._default_manager.all() if fields else ():
            before = {one.attname: getattr(row, one.attname) for one in fields}
            after = {name: poisoned(value) for name, value in before.items()}
            changed = {name: value for name, value in after.items() if value != before[name]}
            if changed:
                model._default_manager.filter(pk=row.pk).update(**changed)
                count += len(changed)
    return count


def is_free(model: type[models.Model], field: models.Field[Any, Any]) -> bool:
    is_text = isinstance(field, models.CharField | models.TextField | models.JSONField)
    return (
        is_text
        and not field.choices
        and not field.primary_key
        and not field.name.endswith(("_key", "digest", "_type", "refers_to"))
        and field.name not in PATTERNS
        and (model, field.name) not in SAFE
        and model not in NEVER_CHANGED
    )


class Page(HTMLParser):
    """What is on it that no template wrote."""

    def __init__(self, body: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.texts = 0
        self.feed(body)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag.startswith("hostile") or any(name.startswith("onhostile") for name, _v in attrs):
            self.found.append(self.get_starttag_text() or tag)
        for _name, value in attrs:
            self.handle_data(value or "")

    def handle_data(self, data: str) -> None:
        self.texts += "hostile-x" in data
        if COMPUTED in data:
            self.found.append(data)


def views(extent: Extent) -> Iterator[View]:
    for one in pages.FULL:
        is_read = one.fields is None and one.who and one.given is nullcontext
        if is_read and (one.is_main or extent.is_all):
            yield one


@pytest.mark.django_db
def test_no_page_takes_a_text_from_outside_for_anything_else(
    extent: Extent, settings: Any, files: Path, subtests: pytest.Subtests
) -> None:
    settings.RUN_DIR = files / "run"
    settings.SECRET_KEY = settings.SECRET_KEY  # the fixture gives it back
    with content.fixed_surroundings(), frozen(content.NOW), same_accidents("content"):
        content.make_operators()
        facts = content.fill()
        by, target = f"operator:{HOSTILE}", f"team/app:{HOSTILE}"
        audit.record("tag.delete", target, by=by, details={HOSTILE: [HOSTILE]})
        assert poison() > 500
        texts = 0
        for view in views(extent):
            client = Client(raise_request_exception=False)
            client.force_login(Operator.objects.get(username=view.who))
            answer = client.get(view.path.format(**facts), follow=True)
            with subtests.test(view.name):
                assert answer.status_code < 500
                if b"<html" in (body := answer.getvalue()):
                    page = Page(body.decode())
                    texts += page.texts
                    assert page.found == []
        assert texts > 500
