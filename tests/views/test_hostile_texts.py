"""Texts from outside are text, on every page: markup, format strings, the syntax of templates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models, transaction
from django.test import Client

from registryui import audit
from registryui.mirror_service import failures
from registryui.mirrors import upstream
from registryui.models import (
    AuditEvent,
    CountChange,
    Delivery,
    Description,
    ManifestTombstone,
    Mirror,
    NamespaceSize,
    Operator,
    Receiver,
    RegistryEvent,
    RegistryUser,
    Repository,
    RetentionFate,
    RetentionPolicy,
    Run,
    Tag,
    TagTombstone,
)
from registryui.refused import Refused
from tests.screens import content, pages
from tests.screens.pages import View
from tests.selection import Extent
from tests.support import pushed
from tests.support.frozen import frozen, same_accidents

HOSTILE = "'\"><hostile-x onhostile=1>{{ 91*637 }}{% raw %}{# #}%s%(x)s{0}\u202e"
COMPUTED = str(91 * 637)
# Names that a grammar limits wherever they are written, and of who looks at the pages.
SAFE = {
    (Description, "repository"),
    (Repository, "name"),
    (Repository, "namespace"),
    (Repository, "newest_tag"),
    (NamespaceSize, "namespace"),
    (CountChange, "namespace"),
    (Delivery, "body"),  # JSON of ours: names, and words of the doctor
    (TagTombstone, "repository"),
    (TagTombstone, "tag"),
    (ManifestTombstone, "repository"),
    (RegistryEvent, "repository"),
    (RegistryEvent, "tag"),
    (Mirror, "name"),
    (RetentionFate, "repository"),
    (RetentionFate, "tag"),
    (Tag, "name"),
    (Operator, "password"),
    (Operator, "username"),
}
# Their grammar has no character that nobody sees, wherever they are written.
NAMES: dict[type[models.Model], tuple[str, ...]] = {
    Mirror: ("url", "user", "allow", "deny", "pins", "proxy", "networks", "made_by"),
    Receiver: ("name", "address", "shown", "language", "made_by"),
    RegistryEvent: ("action",),
    RegistryUser: ("name", "made_by"),
    RetentionFate: ("policy", "note", "reason"),
    RetentionPolicy: ("name", "made_by"),
    Run: ("by", "stop_asked_by"),
}
PRINTABLE = HOSTILE.rstrip("\u202e")
PATTERNS = ("repositories", "tags", "keep_tags", "schedule", "scope")  # refused if they are none
NEVER_CHANGED = {AuditEvent}  # a hostile one is added
ALONE = ("bdi", "textarea", "title")
ADDRESS = re.compile(r"(/|\?|#|\.|https://|$)")
EVIL = "evil/app"
TABS = ("layers", "dockerfile", "config", "labels", "used", "referrers", "history", "raw")
LABELS = [f"org.opencontainers.image.{one}" for one in ("title", "source", "url", "version")]
LABELS += ["org.opencontainers.image.base.name", "org.opencontainers.image.licenses"]
QUESTIONS = ("q", "sort", "tag", "show", "tab", "seen", "after", "state", "a", "b", "target")
OURS = re.compile(r"sha\d+:[0-9a-f]+|[0-9a-f]{32,}|[\d.: TZ+-]+|[a-z_.]+/[\w.+-]+")


def poisoned(value: Any, *, hostile: str = HOSTILE, is_foreign: bool = False) -> Any:
    """Each free text in it with the hostile one behind it; `is_foreign`: none of them is ours."""
    if isinstance(value, dict):
        return {
            key: poisoned(one, hostile=PRINTABLE if key == "policy" else hostile)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [poisoned(one, hostile=hostile) for one in value]
    is_free = isinstance(value, str) and value and (is_foreign or not OURS.fullmatch(value))
    return f"{value}{hostile}" if is_free else value


def poison() -> int:
    """Of everything in the tables; how many texts."""
    count = 0
    for model in apps.get_app_config("registryui").get_models():
        fields = [one for one in model._meta.concrete_fields if is_free(model, one)]
        for row in model._default_manager.all() if fields else ():
            before = {one.attname: getattr(row, one.attname) for one in fields}
            after = {
                name: poisoned(
                    value,
                    hostile=PRINTABLE if name in NAMES.get(model, ()) else HOSTILE,
                    is_foreign=name.endswith("_type"),
                )
                for name, value in before.items()
            }
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
        and not field.name.endswith(("_key", "digest", "refers_to"))
        and field.name not in PATTERNS
        and (model, field.name) not in SAFE
        and model not in NEVER_CHANGED
    )


def push_hostile_images() -> None:
    """Nothing in them but what a stranger may write there."""
    config = {
        "author": HOSTILE,
        "created": HOSTILE,
        "os": HOSTILE,
        "architecture": HOSTILE,
        "variant": HOSTILE,
        "history": [{"created_by": f"RUN {HOSTILE}", "comment": HOSTILE, "author": HOSTILE}],
        "config": {
            **dict.fromkeys(("User", "WorkingDir", "StopSignal"), HOSTILE),
            **{name: [HOSTILE] for name in ("Env", "Cmd", "Entrypoint", "Shell", "OnBuild")},
            **{name: {HOSTILE: {}} for name in ("ExposedPorts", "Volumes")},
            "Labels": {HOSTILE: HOSTILE, **dict.fromkeys(LABELS, f"https://a/{HOSTILE}")},
            "Healthcheck": {"Test": [HOSTILE, HOSTILE]},
        },
    }
    notes = {HOSTILE: HOSTILE, **dict.fromkeys(LABELS, HOSTILE)}
    image = pushed.image(
        EVIL, config=config, annotations=notes, tags=["image"], layer_fields={"annotations": notes}
    )
    pushed.image_index(EVIL, [(image, "a/b")], annotations=notes, tags=["index"])
    pushed.artifact(
        EVIL,
        config_type=f"application/{HOSTILE}",
        files=[(HOSTILE, 12)],
        artifactType=f"application/{HOSTILE}",
        annotations=notes,
        tags=["artifact"],
        subject={"mediaType": image.media_type, "digest": image.digest, "size": image.size},
    )


def let_mirrors_say() -> None:
    """What the service noted of what upstreams answered."""
    for path in settings.MIRRORS_DIR.glob("*/state.json"):
        said = json.loads(path.read_text())
        refusal = {"at": content.NOW.isoformat(), "what": HOSTILE, "words": HOSTILE}
        said |= {"error": HOSTILE, "refused": 1, "last_refusal": refusal}
        path.write_text(json.dumps(said))


@contextmanager
def upstreams() -> Iterator[None]:
    """They refuse with these words."""
    refused = Refused(f"The upstream does not answer: {upstream.reason(failures.Away(HOSTILE))}")
    checked = upstream.Checked(HOSTILE, 1.0, has_login=False)
    with (
        patch.object(upstream, "tags", side_effect=refused),
        patch.object(upstream, "check", return_value=checked),
    ):
        yield


class Page(HTMLParser):
    """What is on it that no template wrote, and what turns the words around it."""

    def __init__(self, body: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.texts = 0
        self.alone = 0  # how deep in elements whose direction is their own
        self.feed(body)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag.startswith("hostile") or any(name.startswith("onhostile") for name, _v in attrs):
            self.found.append(self.get_starttag_text() or tag)
        self.alone += tag in ALONE
        for name, value in attrs:
            self._look_at(value or "")
            if name in ("href", "action", "src") and not ADDRESS.match(value or ""):
                self.found.append(f"{name}={value}")

    def handle_endtag(self, tag: str) -> None:
        self.alone -= tag in ALONE

    def handle_data(self, data: str) -> None:
        self._look_at(data)
        if "\u202e" in data and not self.alone:
            self.found.append(data)

    def _look_at(self, text: str) -> None:
        self.texts += "hostile-x" in text
        if COMPUTED in text:
            self.found.append(text)


def requests(extent: Extent) -> Iterator[View]:
    """Pages as they are, with hostile questions, with hostile forms."""
    yield from (View(f"evil-{tab}", f"/repositories/{EVIL}:image?tab={tab}") for tab in TABS)
    for name in ("image", "index", "artifact"):
        yield View(f"evil-{name}", f"/repositories/{EVIL}:{name}")
    yield View("evil-address", f"/nowhere/{quote(HOSTILE)}")
    yield View("evil-login", "/login", {"username": HOSTILE, "password": "x"}, who="")
    for one in pages.FULL:
        if not (one.is_main or extent.is_all or one.name.startswith("mirror")):
            continue
        if one.fields is not None:
            fields = {name: f"{value}{HOSTILE}" for name, value in one.fields.items()}
            yield replace(one, fields=fields, given=nullcontext)
        elif one.given is nullcontext:
            yield one
            if extent.is_all or "?" in one.path:
                values = dict.fromkeys([*QUESTIONS, *parse_qs(urlsplit(one.path).query)], HOSTILE)
                path = f"{one.path.partition('?')[0]}?{urlencode(values)}"
                yield replace(one, name=f"{one.name}-asked", path=path)


def answer_to(view: View, facts: dict[str, Any]) -> Any:
    client = Client(raise_request_exception=False, headers={"user-agent": HOSTILE})
    if view.who:
        client.force_login(Operator.objects.get(username=view.who))
    path = view.path.format(**facts)
    with transaction.atomic():
        if view.fields is None:
            answer = client.get(path, follow=True)
        else:
            answer = client.post(path, view.fields, follow=True)
        transaction.set_rollback(True)
    return answer


@pytest.mark.django_db
def test_no_page_takes_a_text_from_outside_for_anything_else(
    extent: Extent, settings: Any, files: Path, subtests: pytest.Subtests
) -> None:
    settings.RUN_DIR = files / "run"
    settings.MIRRORS_DIR = files / "mirrors"
    settings.SECRET_KEY = settings.SECRET_KEY  # the fixture gives it back
    with content.fixed_surroundings(), frozen(content.NOW), same_accidents("content"):
        content.make_operators()
        facts = content.fill()
        by, target = f"operator:{HOSTILE}", f"team/app:{HOSTILE}"
        audit.record("tag.delete", target, by=by, details={HOSTILE: [HOSTILE]})
        push_hostile_images()
        let_mirrors_say()
        assert poison() > 500
        texts = 0
        for view in requests(extent):
            with subtests.test(view.name), upstreams():
                answer = answer_to(view, facts)
                assert answer.status_code < 500
                if b"<html" in (body := answer.getvalue()):
                    page = Page(body.decode())
                    texts += page.texts
                    assert not page.found, [one.replace(HOSTILE, "…") for one in page.found]
        assert texts > 500
