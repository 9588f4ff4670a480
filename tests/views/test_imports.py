"""The pages of imports: the list that teaches, the form, a run with its report."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from registryui import tasks
from registryui.imports import asked
from registryui.imports.run import Result
from registryui.models import ImportedTag, Role, Run
from tests.support.factories import make_operator

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
FORM = {
    "url": "https://old.example.net", "user": "mover", "password": "pass word", "act": "import",
    "patterns": "team/* base:1", "namespace": "old", "rate": "20 MB",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _key(tmp_path: Path, settings: Any) -> None:
    settings.MIRROR_KEY_FILE = tmp_path / "mirror-key"
    settings.MIRROR_KEY_FILE.write_text("of this test\n")
    settings.RUN_DIR = tmp_path / "run"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, str]]:
    """What the worker is asked to do."""
    found: list[tuple[int, str, str]] = []
    monkeypatch.setattr(tasks, "import_registry", lambda *about: found.append(about))
    return found


def run_of(state: Run.State, **result: Any) -> Run:
    facts = Result(kind="registry", source="registry old.example.net", **result).facts()
    return Run.objects.create(
        kind=Run.Kind.IMPORT, state=state, by="operator:ada", result=facts, done=1, total=2,
        heartbeat_at=timezone.now(),
    )  # fmt: skip


def text_of(response: Any) -> str:
    found = re.sub(r"<[^>]+>", " ", response.content.decode())
    return " ".join(found.split())


def test_an_empty_list_teaches_the_four_ways(admin: Client) -> None:
    said = text_of(admin.get("/imports"))
    for way in ("registry", "archive", "v1", "htpasswd"):
        assert f"./boathouse import {way} " in said


def test_the_form_begins_an_import_and_hands_the_password_on_encrypted(
    admin: Client, told: list[tuple[int, str, str]]
) -> None:
    answer = admin.post("/imports/begin", FORM)
    run = Run.objects.get(kind=Run.Kind.IMPORT)
    assert answer["Location"] == f"/imports/{run.pk}"
    (pk, secrets, _language) = told[0]
    assert pk == run.pk
    assert "pass word" not in secrets + str(run.result)
    assert Result.of(run).about["patterns"] == ["team/*", "base:1"]
    assert Result.of(run).about["rate"] == 20_000_000


def test_the_worker_uses_the_password(
    admin: Client, told: list[tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.post("/imports/begin", FORM)
    used = []

    class Source:
        def __init__(self, *about: Any) -> None:
            used.extend(about)

        def __enter__(self) -> Source:
            return self

        def __exit__(self, *_error: object) -> None: ...

    monkeypatch.setattr(asked, "RegistrySource", Source)
    monkeypatch.setattr(asked.importing, "carry_out", lambda *about: None)
    asked.carry_out(Run.objects.get(kind=Run.Kind.IMPORT), told[0][1])
    where, options = used
    assert (where.password, where.user, options.namespace) == ("pass word", "mover", "old")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": ""}, "Enter the address of a registry"),
        ({"url": "http://old.example.net"}, "http:// is not encrypted"),
        ({"password": ""}, "both the user and the password"),
        ({"namespace": "Old"}, "not a namespace"),
        ({"rate": "fast"}, "not a size"),
        ({"ca": "nothing"}, "PEM"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_is_kept(
    admin: Client, told: list[Any], changes: dict[str, str], words: str
) -> None:
    answer = admin.post("/imports/begin", {**FORM, **changes})
    assert answer.status_code == 422
    assert words in text_of(answer)
    assert "team/* base:1" in answer.content.decode()
    assert "pass word" not in answer.content.decode()
    assert not Run.objects.exists()
    assert told == []


def test_one_at_a_time(admin: Client, told: list[Any]) -> None:
    run_of(Run.State.RUNNING)
    answer = admin.post("/imports/begin", FORM)
    assert "Another import is in progress" in text_of(answer)
    assert told == []


def test_a_run_shows_its_progress_and_can_be_stopped(admin: Client) -> None:
    run = run_of(
        Run.State.RUNNING, stage="copy", found=2, taken=1, bytes=5_000_000, seconds_left=90.0
    )
    page = admin.get(f"/imports/{run.pk}")
    assert "1 of 2 tags, 5.0 MB sent" in text_of(page)
    assert "left" in text_of(page)
    token = page.context["token"]
    again = admin.get(f"/imports/{run.pk}?seen={token}", headers={"HX-Request": "true"})
    assert again.status_code == 204
    admin.post(f"/imports/{run.pk}/stop")
    run.refresh_from_db()
    assert run.stop_asked_by == "operator:ada"
    assert "stopping at the next safe point" in text_of(admin.get(f"/imports/{run.pk}"))


def test_the_report_can_be_filtered_and_shows_names_of_strangers_as_text(admin: Client) -> None:
    run = run_of(Run.State.FAILED, taken=1, skipped=1, found=2)
    ImportedTag.objects.create(
        run=run, state="taken", repository="Team/App", tag="1", target="team/app", target_tag="1"
    )
    ImportedTag.objects.create(
        run=run, state="skipped", repository="<b>x", tag="2", note="Why <b>."
    )
    page = admin.get(f"/imports/{run.pk}")
    assert "Team/App:1" in text_of(page)
    assert b"<b>x" not in page.content
    page = admin.get(f"/imports/{run.pk}?show=skipped")
    assert "Why &lt;b&gt;." in page.content.decode()
    assert "Team/App:1" not in text_of(page)


def test_an_import_can_be_started_again_from_its_page(admin: Client) -> None:
    about = {"url": "https://old.example.net", "user": "mover", "patterns": ["a", "b:1"]}
    run = run_of(Run.State.STOPPED, about=about)
    assert f"/imports?again={run.pk}" in admin.get(f"/imports/{run.pk}").content.decode()
    form = admin.get(f"/imports?again={run.pk}").context["form"]
    assert (form["url"], form["user"], form["patterns"]) == (about["url"], "mover", "a b:1")


def test_one_of_another_kind_does_not_fill_in_the_form(admin: Client) -> None:
    run = run_of(Run.State.DONE, about={"folder": "/srv/v1", "patterns": []})
    Run.objects.filter(pk=run.pk).update(result={**run.result, "kind": "v1"})
    assert admin.get(f"/imports?again={run.pk}").context["form"] is None


def test_a_line_without_a_tag_here_is_no_link(admin: Client) -> None:
    run = run_of(Run.State.DONE, taken=1, found=1)
    ImportedTag.objects.create(
        run=run, state="taken", repository="old/app", target="team/app", target_tag=""
    )
    assert "team/app old/app" in text_of(admin.get(f"/imports/{run.pk}"))


def test_a_run_whose_process_ended_is_said_to_be_silent(admin: Client) -> None:
    run = run_of(Run.State.RUNNING)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    assert "has not responded" in text_of(admin.get(f"/imports/{run.pk}"))


def test_other_runs_are_no_imports(admin: Client) -> None:
    run = Run.objects.create(kind=Run.Kind.GC, state=Run.State.DONE)
    assert admin.get(f"/imports/{run.pk}").status_code == 404
    assert admin.post(f"/imports/{run.pk}/stop").status_code == 404
