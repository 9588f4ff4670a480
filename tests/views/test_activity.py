"""The page of activity, its filters and its exports, and the command that says the same."""

from __future__ import annotations

import ast
import csv
import hashlib
import html
import io
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui import audit
from registryui.audit import chain
from registryui.models import AuditEvent, Operator, RegistryEvent, RegistryUser, Role, paging
from registryui.views.activity import page, words
from tests.support.commands import Command

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
ADA, VERA = "operator:ada", "operator:vera"
DIGEST = "sha256:" + "0" * 64


def client_of(role: Role, name: str = "mei") -> Client:
    client = Client()
    client.force_login(Operator.objects.create(username=name, role=role))
    return client


@pytest.fixture
def viewer() -> Client:
    return client_of(Role.VIEWER)


@pytest.fixture
def admin() -> Client:
    return client_of(Role.ADMIN, "root")


def targets(client: Client, **asked: str) -> list[str]:
    """What the page lists, in its order."""
    return [one.row.target for one in client.get("/activity", asked).context["rows"]]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five acts on five days, the last one today."""
    now = timezone.now()
    for age, act, target, by, result in (
        (4, "tag.delete", "team/app:1", ADA, "done"),
        (3, "tag.restore", "team/app:1", VERA, "done"),
        (2, "tag.delete", "other/App:2", "policy nightly", "failed"),
        (1, "user.create", "ci", ADA, "refused"),
        (0, "operator.login", "ada", "ada", "done"),  # a name alone, as a registry user's is
    ):
        with monkeypatch.context() as patch:
            patch.setattr(timezone, "now", lambda age=age: now - timedelta(days=age))
            audit.record(act, target, by=by, result=result)


# -- the list ------------------------------------------------------------------------------------
def test_the_newest_act_stands_first(viewer: Client, log: None) -> None:
    assert targets(viewer) == ["ada", "ci", "other/App:2", "team/app:1", "team/app:1"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"actor": "vera"}, ["team/app:1"]),
        ({"actor": VERA}, ["team/app:1"]),
        ({"actor": "ada"}, ["ada", "ci", "team/app:1"]),
        ({"actor": ADA}, ["ci", "team/app:1"]),
        ({"actor": "policy nightly"}, ["other/App:2"]),
        ({"act": "tag.delete"}, ["other/App:2", "team/app:1"]),
        ({"act": "tag"}, ["other/App:2", "team/app:1", "team/app:1"]),
        ({"act": "ta"}, []),
        ({"target": "APP"}, ["other/App:2", "team/app:1", "team/app:1"]),
        ({"target": "%"}, []),
        ({"target": "_"}, []),
        ({"result": "failed"}, ["other/App:2"]),
        ({"result": "nonsense", "actor": "vera"}, ["team/app:1"]),
        ({"actor": "ada", "act": "user", "result": "refused", "target": "c"}, ["ci"]),
        ({"since": "nonsense", "until": "99999-01-01", "actor": "vera"}, ["team/app:1"]),
        ({"actor": "no\0body"}, []),
    ],
)
def test_filters(viewer: Client, log: None, asked: dict[str, str], found: list[str]) -> None:
    assert targets(viewer, **asked) == found


def test_a_range_of_days_has_both_of_its_ends(viewer: Client, log: None) -> None:
    def day(age: int) -> str:
        return (timezone.localtime() - timedelta(days=age)).date().isoformat()

    assert targets(viewer, since=day(3), until=day(2)) == ["other/App:2", "team/app:1"]
    assert targets(viewer, since=day(0)) == ["ada"]
    assert targets(viewer, until=day(4)) == ["team/app:1"]
    assert targets(viewer, since=day(2), until=day(3)) == []
    form = viewer.get("/activity", {"since": day(3), "until": "0002-11-23"}).content.decode()
    assert re.findall(r'name="(since|until)" value="(.*?)"', form) == [
        ("since", day(3)),
        ("until", ""),
    ]


def test_a_clock_that_was_set_back_leaves_out_no_row(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    for age in (5, 1, 4, 2, 3):  # as they were written one after the other
        with monkeypatch.context() as patch:
            patch.setattr(timezone, "now", lambda age=age: now - timedelta(days=age))
            audit.record("tag.delete", f"a:{age}", by=ADA)
    today = timezone.localtime().date()
    asked = {"since": str(today - timedelta(days=4)), "until": str(today - timedelta(days=2))}
    assert targets(viewer, **asked) == ["a:3", "a:2", "a:4"]


def test_pages_follow_each_other_and_a_far_target_is_walked_to(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.record("tag.delete", "rare/one:1", by=ADA)
    audit.record_each("tag.delete", [f"team/app:{n}" for n in range(200)], by=ADA)
    first = viewer.get("/activity")
    assert len(first.context["rows"]) == 50
    second = viewer.get("/activity", {"after": first.context["page"].next})
    assert second.context["rows"][0].row.target == "team/app:149"
    monkeypatch.setattr(page, "FAR", 120)
    asked = {"target": "rare"}
    found = viewer.get("/activity", asked)
    assert found.context["rows"] == []
    assert "Searched 120 rows" in found.content.decode()
    again = viewer.get("/activity", {**asked, "after": found.context["page"].next})
    assert [one.row.target for one in again.context["rows"]] == ["rare/one:1"]


def test_a_page_costs_the_same_queries_for_many_rows_as_for_few(admin: Client) -> None:
    RegistryUser.objects.bulk_create(RegistryUser(name=f"u{n}") for n in range(50))

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            admin.get("/activity")
        return len(queries)

    audit.record("user.create", "u0", by=ADA)
    audit.record("operator.login", "root", by=ADA)
    few = cost()
    audit.record_each("user.create", [f"u{n}" for n in range(40)], by=ADA)
    assert cost() == few


# -- what clients push -----------------------------------------------------------------------------
def pushed(tag: str, *, age: float = 0.5, replaced: str = "", **more: str) -> None:
    """An event of a push, so many days old; applied."""
    now = timezone.now()
    fields = {"actor": "ci", "address": "10.1.2.3", "client": "docker/20.10", **more}
    RegistryEvent.objects.create(
        event_id=fields.pop("event_id", f"{tag}-{age}"),
        action="push",
        repository="team/app",
        tag=tag,
        digest=DIGEST,
        replaced=replaced,
        at=now - timedelta(days=age),
        applied_at=now,
        **fields,
    )


@pytest.fixture
def pushes(log: None) -> None:
    """Three pushes among the five acts, and some that are none of a client."""
    pushed("new", age=3.5)
    pushed("latest", age=2.5, replaced="sha256:" + "1" * 64)
    pushed("latest", age=0.5, actor="robot")
    pushed("", age=0.6)  # a child of an image index
    pushed("restored", age=0.7, actor=ADA, event_id="act-1")
    pushed("thrown", age=0.8, actor="", client="boathouse/0.1")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["ada", "latest", "ci", "other/App:2", "latest", "1", "new", "1"]),
        ({"act": "client"}, ["latest", "latest", "new"]),
        ({"act": "client.move"}, ["latest"]),
        ({"act": "client.push"}, ["latest", "new"]),
        ({"act": "tag"}, ["other/App:2", "1", "1"]),
        ({"actor": "robot"}, ["latest"]),
        ({"target": "APP:lat"}, ["latest", "latest"]),
        ({"result": "failed"}, ["other/App:2"]),
        ({"result": "done", "act": "client"}, ["latest", "latest", "new"]),
        ({"act": "client.delete"}, []),
    ],
    ids=str,
)
def test_pushes_stand_among_the_acts(
    viewer: Client, pushes: None, asked: dict[str, str], found: list[str]
) -> None:
    assert [name.removeprefix("team/app:") for name in targets(viewer, **asked)] == found
    lines = [json.loads(line) for line in said("--json", *words_of(asked)).splitlines()]
    assert [row["target"] for row in lines] == targets(viewer, **asked)[::-1]


def words_of(asked: dict[str, str]) -> list[str]:
    return [word for name, value in asked.items() for word in (f"--{name}", value)]


def test_a_push_says_who_from_where_and_what_it_replaced(admin: Client, pushes: None) -> None:
    rows = {one.row.act: one for one in admin.get("/activity").context["rows"]}
    moved = rows["client.move"]
    assert (moved.by, moved.row.address) == ("ci", "10.1.2.3")
    assert moved.target.url == "/repositories/team/app:latest"
    assert dict(moved.details)["replaced"] == "sha256:" + "1" * 64
    content = admin.get("/activity", {"act": "client.move"}).content.decode()
    assert "Change tag to another digest" in content
    assert "docker/20.10" in content
    assert 'mono break"></' not in content  # no hash is no line
    answer = admin.post("/activity/export", {"form": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))
    assert [row["act"] for row in rows if not row["id"]] == [
        *("client.push", "client.move", "client.push"),
    ]
    assert said("--limit", "3").splitlines()[3].split()[-3:] == [
        *("client.push", "team/app:latest", "done"),
    ]


def test_the_lines_of_the_log_are_verified_among_pushes(admin: Client, pushes: None) -> None:
    rows = [json.loads(line) for line in said("--json").splitlines()]
    assert {row["hash"] for row in rows if row["id"] is None} == {""}
    chain_of = [row for row in rows if row["id"] is not None]
    assert [row["previous"] for row in chain_of[1:]] == [row["hash"] for row in chain_of[:-1]]


def test_pages_go_there_and_back_over_both(viewer: Client) -> None:
    audit.record_each("tag.delete", [f"team/app:{n}" for n in range(70)], by=ADA)
    for number in range(60):
        pushed(f"p{number}", age=-1 + number / 100)  # by a clock that is ahead
    first = viewer.get("/activity").context
    second = viewer.get("/activity", {"after": first["page"].next}).context
    third = viewer.get("/activity", {"after": second["page"].next}).context
    assert [len(one["rows"]) for one in (first, second, third)] == [50, 50, 30]
    assert not third["page"].next
    back = viewer.get("/activity", {"after": third["page"].previous}).context
    assert [one.row.target for one in back["rows"]] == [one.row.target for one in second["rows"]]


# -- words and ways ------------------------------------------------------------------------------
# Who writes a row, or hands on the act for one.
RECORDING = {
    *(
        "record",
        "record_each",
        "recorded",
        "record_failure",
        "entry",
        "Entry",
        "only_administrators",
    ),
    *("_change", "_note", "_record_refusal", "_save", "_set_hash", "written"),
}


def recorded() -> set[str]:
    """Each act that the code records: written out there, or in a constant beside it."""
    found: set[str] = set()
    groups = "|".join(words.ACTS)
    for path in sorted((settings.BASE_DIR / "registryui").rglob("*.py")):
        text = path.read_text()
        if "audit" in text and path != Path(words.__file__):
            found |= set(re.findall(rf'"((?:{groups})\.[a-z_]+)"', text))
            for call in ast.walk(ast.parse(text)):
                if isinstance(call, ast.Call) and _name(call.func) in RECORDING:
                    parts = [one for given in _given(call) for one in ast.walk(given)]
                    texts = [one.value for one in parts if isinstance(one, ast.Constant)]
                    acts = [one for one in texts if isinstance(one, str)]
                    found |= {one for one in acts if re.fullmatch(r"[a-z]+\.[a-z_]+", one)}
    return found


def _name(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def _given(call: ast.Call) -> list[ast.expr]:
    named = {one.arg: one.value for one in call.keywords}
    return [*call.args, *([named["act"]] if "act" in named else [])]


def test_every_act_that_the_code_records_has_words() -> None:
    acts = recorded()
    assert {act for act in acts if not words.is_known(act)} == set()
    assert len(acts) > 60


def seen(client: Client, **asked: str) -> str:
    """What a person reads of the page, without what only the address or a form has."""
    content = client.get("/activity", asked).content.decode()
    return html.unescape(re.sub(r"<[^>]*>", " ", content))


def test_a_person_reads_words_and_no_code_for_each_act(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "SIZE", 200)
    every = {act for _group, acts in words.ACTS.values() for act in acts} | set(words.BEGINNINGS)
    log = sorted(act for act in every if not act.startswith("denial."))
    for act in log:
        audit.record(act, {"hold.on": "writes", "clock.trust": "store"}.get(act, "x"), by=ADA)
    for language in ("en", "zh-hans"):
        viewer.cookies[settings.LANGUAGE_COOKIE_NAME] = language
        text = seen(viewer)
        rows = viewer.get("/activity").context["rows"]
        assert len(rows) == len(log) - 1  # the import's beginning has its end
        for row in rows:
            assert row.words in text
            assert row.code == ""
            if language == "zh-hans":
                assert re.search("[\u4e00-\u9fff]", row.words), row.row.act
        assert [act for act in every if act in text] == []


def test_what_is_no_name_is_in_words(viewer: Client) -> None:
    for act, target in (
        ("hold.on", "writes"),
        ("store.put_back", "all"),
        ("store.collect", "store"),
    ):
        audit.record(act, target, by=ADA)
    found = [one.target.words for one in viewer.get("/activity").context["rows"]]
    assert found == ["Store", "everything in quarantine", "all writes"]


# -- beginnings ------------------------------------------------------------------------------------
def acts(client: Client, **asked: str) -> list[str]:
    return [one.row.act for one in client.get("/activity", asked).context["rows"]]


def deletion(act: str, target: str, *names: str, ended: int) -> None:
    """A beginning, and rows for the first `ended` of what it names."""
    details = {"act": act, "names": list(names)}
    audit.record("delete.begin", target, by=ADA, details=details)
    for name in names[:ended]:
        full = target if ":" in target else f"{target}:{name}"
        audit.record("tag.delete", full, by=ADA, details={"act": act})


def test_a_beginning_is_folded_into_its_end(viewer: Client) -> None:
    deletion("a", "team/app:1", "1", ended=1)
    deletion("b", "team/app", "2", "3", ended=2)
    audit.record("delete.begin", f"team/app@{DIGEST}", by=ADA, details={"act": "c", "tags": []})
    audit.record("manifest.delete_for_good", f"team/app@{DIGEST}", by=ADA, details={"act": "c"})
    for act in ("begin", "end"):
        audit.record(f"import.{act}", "hub", by=ADA)
    assert acts(viewer) == ["import.end", "manifest.delete_for_good", *["tag.delete"] * 3]
    lines = said().splitlines()[1:]
    assert not any(".begin" in line for line in lines)
    assert len(lines) == 5
    assert said("--json").count(".begin") == 4  # exports have the log as it is
    assert acts(viewer, act="delete.begin") == ["delete.begin"] * 3


def test_what_was_cut_off_stands_there(viewer: Client) -> None:
    deletion("a", "team/app:1", "1", ended=0)
    deletion("b", "team/app:1", "1", ended=1)
    audit.record("import.begin", "hub", by=ADA)
    audit.record("import.begin", "hub", by=ADA)
    audit.record("import.end", "hub", by=ADA)
    assert acts(viewer) == ["import.end", "import.begin", "tag.delete", "delete.begin"]
    assert "Start deletion" in seen(viewer)


def test_targets_lead_to_what_there_is(admin: Client) -> None:
    ci = RegistryUser.objects.create(name="ci")
    rows = {
        "team/app:1.0": ("tag.delete", "/repositories/team/app:1.0"),
        f"team/app@{DIGEST}": ("manifest.delete", f"/repositories/team/app@{DIGEST}"),
        "team/app": ("repository.delete", "/repositories/team/app"),
        "ci": ("user.rights", f"/users/{ci.pk}"),
        "root": ("operator.role", f"/operators/{Operator.objects.get().pk}"),
        "gone": ("user.remove", ""),
        "../etc/passwd": ("tag.delete", ""),
        "javascript:alert(1)": ("tag.delete", "/repositories/javascript:alert(1)"),
        "team/app@sha256:x": ("manifest.delete", ""),
    }
    for target, (act, _url) in rows.items():
        audit.record(act, target, by=ADA)
    found = {one.row.target: one.target.url for one in admin.get("/activity").context["rows"]}
    rows["javascript:alert(1)"] = ("tag.delete", "")  # no tag has a bracket
    assert found == {target: url for target, (_act, url) in rows.items()}


def test_a_viewer_gets_no_way_to_pages_that_are_not_for_viewers(viewer: Client) -> None:
    RegistryUser.objects.create(name="ci")
    audit.record("user.rights", "ci", by=ADA)
    audit.record("operator.role", "mei", by=ADA)
    assert {one.target.url for one in viewer.get("/activity").context["rows"]} == {""}
    content = viewer.get("/activity").content.decode()
    assert "/activity/export" not in content
    assert "/activity/verify" not in content


def test_what_a_policy_deleted_is_found_by_its_name_in_rows_of_before_too(viewer: Client) -> None:
    audit.record("tag.delete", "a:1", by="rule nightly")
    audit.record("tag.delete", "a:2", by="policy nightly")
    audit.record("tag.delete", "a:3", by="rule other")
    assert targets(viewer, actor="policy nightly") == ["a:2", "a:1"]


def test_each_act_and_actor_has_words_in_both_languages(viewer: Client) -> None:
    audit.record("tag.delete", "a:1", by="schedule")
    audit.record("strange.act", "a:1", by="policy nightly")
    audit.record("strange.act", "a:2", by="rule weekly")
    audit.record("operator.login", "", by="", result="failed")
    english = viewer.get("/activity").content.decode()
    policies = ("policy nightly", "policy weekly")
    for text in (
        "Delete tag",
        "schedule",
        "Other action",
        "strange.act",
        "unknown",
        "failed",
        *policies,
    ):
        assert text in english
    viewer.cookies[settings.LANGUAGE_COOKIE_NAME] = "zh-hans"
    chinese = viewer.get("/activity").content.decode()
    for text in (
        "删除标签",
        "定时任务",
        "strange.act",
        "其他操作",
        "策略 nightly",
        "策略 weekly",
        "未知",
        "失败",
    ):
        assert text in chinese


HOSTILE = "<script>alert(1)</script>\u202e\x07\"'"


def test_hostile_text_is_text(admin: Client) -> None:
    audit.record(
        "tag.delete",
        HOSTILE,
        by=HOSTILE,
        details={HOSTILE: HOSTILE, "list": [HOSTILE], "n": {"a": HOSTILE}},
    )
    content = admin.get("/activity").content.decode()
    assert "<script>alert" not in content
    assert "\u202e" not in content
    assert "\\u202e" in content
    content = admin.get("/activity", {"target": HOSTILE, "actor": HOSTILE}).content.decode()
    assert "<script>alert" not in content


# -- exports -------------------------------------------------------------------------------------
def test_json_lines_can_be_verified_by_anybody(admin: Client, log: None) -> None:
    answer = admin.post("/activity/export", {"form": "jsonl"})
    assert answer["Content-Disposition"].endswith('.jsonl"')
    rows = [json.loads(line) for line in answer.getvalue().decode().splitlines()]
    assert [row["target"] for row in rows[:-1]] == [
        "team/app:1", "team/app:1", "other/App:2", "ci", "ada",
    ]  # fmt: skip
    assert rows[-1]["act"] == "audit.export"
    previous = audit.NOTHING
    for row in rows:
        names = ("previous", "at", "actor", "address", "act", "target", "result", "details")
        text = json.dumps([row[name] for name in names], sort_keys=True, separators=(",", ":"))
        assert row["previous"] == previous
        assert hashlib.sha256(text.encode()).hexdigest() == row["hash"]
        previous = row["hash"]


def test_an_export_has_what_the_filters_let_through_and_stands_in_the_log(
    admin: Client, log: None
) -> None:
    answer = admin.post("/activity/export", {"form": "jsonl", "act": "tag", "actor": "vera"})
    rows = [json.loads(line) for line in answer.getvalue().decode().splitlines()]
    assert [row["target"] for row in rows] == ["team/app:1"]
    row = AuditEvent.objects.order_by("-id")[0]
    assert (row.act, row.actor) == ("audit.export", "operator:root")
    assert row.details == {"form": "jsonl", "act": "tag", "actor": "vera"}


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\n=1",
        " =1+1",
        "＝1",
        "|cmd",
        '=HYPERLINK("http://x")',
    ],
)
def test_no_cell_of_the_table_is_a_formula(admin: Client, text: str) -> None:
    audit.record(text, text, by=text, details={text: text})
    answer = admin.post("/activity/export", {"form": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))
    row = rows[0]
    for column in ("actor", "act", "target"):
        assert row[column] == f"'{text}"
    assert json.loads(row["details"]) == {text: text}
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


def test_an_export_is_streamed(admin: Client) -> None:
    audit.record_each("tag.delete", [f"a:{n}" for n in range(5000)], by=ADA)
    answer = admin.post("/activity/export", {"form": "csv"})
    assert answer.streaming
    assert sum(1 for _piece in answer.streaming_content) == 5002


# -- checking ------------------------------------------------------------------------------------
def test_the_check_is_asked_for_and_its_outcome_is_on_the_page(admin: Client, log: None) -> None:
    admin.post("/activity/verify")
    content = admin.get("/activity").content.decode()
    assert "The log was intact when checked" in content
    row = AuditEvent.objects.get(act="audit.verify", result="done")
    assert (row.actor, row.address) == ("operator:root", "127.0.0.1")  # the worker did it for them


def test_a_log_that_is_not_intact_says_so_on_the_page(
    admin: Client, log: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "is_guarded", lambda: False)
    admin.post("/activity/verify")
    content = admin.get("/activity").content.decode()
    assert "The audit log fails verification." in content
    assert "The database no longer rejects changes to the log." in content


# -- the command ---------------------------------------------------------------------------------
said = Command("activity").said


def test_the_command_shows_the_newest_first(log: None) -> None:
    lines = said("--limit", "2").splitlines()
    assert "operator.login" in lines[1]
    assert "user.create" in lines[2]
    assert len(lines) == 3
    assert said("--actor", "vera", "--since", "2d") == "No matching rows.\n"
    assert "tag.restore" in said("--actor", "vera", "--since", "4d")


def test_the_command_leaves_nothing_out_and_turns_no_line(log: None) -> None:
    audit.record("tag.delete", "a\u202e\n\x1b[31m", by="x")
    assert "a??" in said()
    assert "\x1b" not in said("--json")
    assert "\u202e" not in said("--json")


def test_the_command_exports_like_the_page(log: None) -> None:
    rows = [json.loads(line) for line in said("--json", "--act", "tag").splitlines()]
    assert [row["act"] for row in rows] == ["tag.delete", "tag.restore", "tag.delete"]
    table = list(csv.DictReader(io.StringIO(said("--csv"), newline="")))
    assert [row["target"] for row in table][-1] == "ada"


def test_the_command_verifies(log: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "The log is intact: 5 rows." in said("--verify")
    found = json.loads(said("--verify", "--json"))
    assert (found["complete"], found["rows"], found["flaws"]) == (
        True,
        6,
        [],
    )  # one of the first look
    monkeypatch.setattr(chain, "is_guarded", lambda: False)
    with pytest.raises(CommandError, match="fails verification"):
        said("--verify")
    row = AuditEvent.objects.latest("id")
    assert (row.act, row.result, row.actor) == ("audit.verify", "failed", "command line")


@pytest.mark.parametrize("wrong", [["--since", "soon"], ["--limit", "0"], ["--json", "--csv"]])
def test_words_that_the_command_does_not_know(wrong: list[str]) -> None:
    with pytest.raises(Exception, match=r"not a time|invalid|not allowed"):
        said(*wrong)
