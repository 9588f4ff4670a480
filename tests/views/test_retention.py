"""The page of retention policies: a sentence each, a form, drafts, dry runs, reports."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from registryui.deletion import protection
from registryui.models import Operator, RetentionFate, RetentionPolicy, Role, Run
from registryui.retention import policies, runs
from registryui.retention.policies import Wanted
from tests.support.factories import make_manifest, make_repository, make_tag

pytestmark = pytest.mark.django_db

FORM = {
    "name": "old builds",
    "repositories": "team/*",
    "tags": "pr-* build-*",
    "keep_newest": "2",
    "keep_pushed_days": "",
    "keep_pulled_days": "90",
    "keep_tags": "v*",
    "schedule": "0 4 * * SUN",
}


def client(role: Role = Role.ADMIN) -> Client:
    found = Client()
    found.force_login(Operator.objects.get_or_create(username=f"a-{role}", role=role)[0])
    return found


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def make_policy(**fields: Any) -> RetentionPolicy:
    wanted = Wanted(**{"name": "mine", "repositories": "team/*", "keep_newest": 2, **fields})
    return policies.add(wanted, by="operator:vera")


def make_tags(count: int = 5) -> None:
    api = make_repository("team/api")
    for number in range(count):
        pushed = timezone.now() - timedelta(days=10 * number)
        make_tag(
            api,
            f"v{number}",
            make_manifest(api, f"{number}", layers=[number + 1]),
            tagged_at=pushed,
        )


def test_without_a_policy_the_page_teaches_and_the_form_stands_open() -> None:
    page = client().get("/maintenance")
    assert "No retention policies yet: nothing is deleted" in text(page)
    assert 'name="repositories"' in page.content.decode()
    page = client(Role.VIEWER).get("/maintenance")
    assert "An administrator can create one." in text(page)
    assert "<input" not in page.content.decode().split("<main", 1)[1]


def test_the_tabs_lead_to_the_four_pages_of_maintenance() -> None:
    tabs = client(Role.VIEWER).get("/maintenance").content.decode().split('<nav class="tabs"')[1]
    found = re.findall(r'href="([^"]+)"', tabs.split("</nav>")[0])
    assert found == [
        *("/maintenance", "/maintenance/gc"),
        *("/maintenance/recently-deleted", "/maintenance/protected"),
    ]


def test_a_policy_is_made_as_a_draft_and_said_as_a_sentence() -> None:
    page = client().post("/maintenance/policies", FORM, follow=True)
    said = text(page)
    assert "Created the policy old builds as a draft." in said
    assert (
        "Of the tags pr-* build-* in team/*, keep the newest 2, tags pulled in "
        "the last 90 days and tags named v*; delete the others."
    ) in said
    assert "Runs: every Sunday at 04:00" in said
    assert "Draft, does not run" in said
    row = RetentionPolicy.objects.get()
    assert (row.keep_pushed_days, row.is_active, row.made_by) == (None, False, "operator:a-admin")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"keep_newest": "", "keep_pulled_days": "", "keep_tags": ""}, "keeps nothing"),
        ({"keep_newest": "ten"}, "“ten” is not a number."),
        ({"keep_newest": "-1"}, "“-1” is not a number."),
        ({"keep_newest": "٣"}, "is not a number."),
        ({"keep_pulled_days": "9" * 400}, "is not a number."),
        ({"schedule": "daily"}, "is not a schedule"),
        ({"repositories": "<script>"}, "the repositories"),
    ],
)
def test_a_mistake_is_said_and_what_was_typed_stays(fields: dict[str, str], reason: str) -> None:
    page = client().post("/maintenance/policies", {**FORM, **fields})
    assert page.status_code == 422
    assert reason in text(page)
    assert 'value="old builds"' in page.content.decode()
    assert "<script>" not in page.content.decode()
    assert not RetentionPolicy.objects.exists()


def test_a_changed_policy_is_a_draft_again_and_says_so() -> None:
    row = policies.set_active(make_policy(), is_active=True, by="a")
    admin = client()
    page = admin.get(f"/maintenance?edit={row.pk}")
    assert "Edit mine" in text(page)
    assert 'value="2"' in page.content.decode()
    page = admin.post(f"/maintenance/policies/{row.pk}", {**FORM, "act": "change"}, follow=True)
    assert "a draft again" in text(page)
    wrong = admin.post(f"/maintenance/policies/{row.pk}", {**FORM, "act": "change", "name": ""})
    assert wrong.status_code == 422
    assert f'action="/maintenance/policies/{row.pk}"' in wrong.content.decode()


def test_switching_on_shows_the_next_runs_and_off_none() -> None:
    row = make_policy(schedule="0 4 * * SUN")
    said = text(client().post(f"/maintenance/policies/{row.pk}", {"act": "on"}, follow=True))
    assert "Enabled the policy mine." in said
    assert re.search(r"next: Sun \d+ \w+ \d{4}, 04:00 UTC(?: ; Sun .*04:00 UTC){2}", said)
    said = text(client().post(f"/maintenance/policies/{row.pk}", {"act": "off"}, follow=True))
    assert "next:" not in said


def test_removing_is_asked_about_first() -> None:
    row = policies.set_active(make_policy(), is_active=True, by="a")
    admin, asked = client(), f"/maintenance?remove={row.pk}"
    page = admin.get(asked).content.decode()
    assert "<dialog" in page
    assert 'value="remove"' in page
    assert "<dialog" not in client(Role.VIEWER).get(asked).content.decode()
    assert RetentionPolicy.objects.exists()
    admin.post(f"/maintenance/policies/{row.pk}", {"act": "remove"})
    assert not RetentionPolicy.objects.exists()


def test_a_run_is_confirmed_on_a_fresh_list() -> None:
    make_tags()
    RetentionPolicy.objects.all().delete()
    protection.add("team/api", "v3", note="", by="a")
    row = policies.set_active(make_policy(), is_active=True, by="a")
    other = policies.set_active(
        make_policy(name="other", keep_newest=None, keep_tags="v4"), is_active=True, by="a"
    )
    admin, address = client(), f"/maintenance/policies/{row.pk}"
    page = admin.post(address, {"act": "run"}, follow=True)
    said = text(page)
    assert "Run the policy “mine” now? 1 of 5 tags will be deleted" in said
    assert "2 selected tags are kept as an exception 1: protected 1: kept by another policy" in said
    assert [line.fate.tag for line in page.context["lines"]] == ["v2", "v3", "v4", "v0", "v1"]
    assert Run.objects.get().kind == Run.Kind.DRY_RUN
    asked = page.redirect_chain[-1][0]
    assert "will be deleted" not in text(client(Role.MAINTAINER).get(asked))

    policies.change(row, Wanted(name="mine", repositories="team/*", keep_newest=1), by="a")
    policies.set_active(row, is_active=True, by="a")
    page = admin.get(asked)
    assert "This list is outdated" in text(page)
    reviewed = page.context["run"].pk
    page = admin.post(address, {"act": "run", "reviewed": reviewed}, follow=True)
    assert "2 of 5 tags will be deleted" in text(page)
    reviewed = page.context["run"].pk
    # Another policy's list, none, and one that is too old confirm nothing.
    for pk, number in ((other.pk, reviewed), (row.pk, "x"), (row.pk, "")):
        admin.post(f"/maintenance/policies/{pk}", {"act": "run", "reviewed": number})
    newest = Run.objects.latest("pk")
    Run.objects.update(started_at=timezone.now() - timedelta(hours=2))
    admin.post(address, {"act": "run", "reviewed": newest.pk})
    assert not Run.objects.filter(kind=Run.Kind.RETENTION).exists()
    reviewed = Run.objects.latest("pk").pk
    page = admin.post(address, {"act": "run", "reviewed": reviewed}, follow=True)
    assert Run.objects.get(kind=Run.Kind.RETENTION).by == "operator:a-admin"


def test_a_list_without_tags_has_nothing_to_confirm() -> None:
    row = policies.set_active(make_policy(), is_active=True, by="a")
    page = client().post(f"/maintenance/policies/{row.pk}", {"act": "run"}, follow=True)
    assert "0 of 0 tags will be deleted" in text(page)
    assert 'value="run"' not in page.content.decode()


def test_an_unknown_act_and_a_policy_that_is_gone() -> None:
    row, admin = make_policy(), client()
    page = admin.post(f"/maintenance/policies/{row.pk}", {"act": "explode"}, follow=True)
    assert "This action is not supported" in text(page)
    assert admin.post("/maintenance/policies/999", {"act": "on"}).status_code == 404
    assert admin.post("/maintenance/policies/999/dry-run").status_code == 404
    assert admin.get("/maintenance/runs/999").status_code == 404
    sync = Run.objects.create(kind=Run.Kind.SYNC)
    assert admin.get(f"/maintenance/runs/{sync.pk}").status_code == 404


def test_a_draft_cannot_be_run_from_the_page() -> None:
    row = make_policy()
    page = client().post(f"/maintenance/policies/{row.pk}", {"act": "run"}, follow=True)
    assert "is a draft: enable it first." in text(page)
    assert not Run.objects.exists()


def test_a_dry_run_lists_each_tag_with_its_reason_and_changes_nothing() -> None:
    make_tags()
    row = make_policy()
    page = client(Role.MAINTAINER).post(f"/maintenance/policies/{row.pk}/dry-run", follow=True)
    said = text(page)
    assert "Dry run: 3 of 5 tags would be deleted, 12 B" in said
    assert "Would be deleted team/api: v2 pushed 20 days earlier; number 3 by push time, " in said
    assert "Kept team/api: v0 among the newest 2" in said
    assert "every 2s" not in page.content.decode()  # it is done: nothing is asked again
    assert Run.objects.get().by == "operator:a-maintainer"
    assert "3 of 5 tags would be deleted" in text(client().get("/maintenance"))


def test_the_report_is_filtered_and_paged() -> None:
    make_tags(130)
    row = make_policy(keep_newest=20)
    admin = client()
    page = admin.post(f"/maintenance/policies/{row.pk}/dry-run", follow=True)
    address = page.redirect_chain[-1][0]
    seen: list[str] = []
    after = ""
    while True:
        page = admin.get(address, {"show": "goes", "after": after})
        seen += re.findall(r"<wbr>(v\d+)<", page.content.decode())
        assert "Kept" not in re.findall(r"<tbody>.*</table>", page.content.decode(), re.S)[0]
        after = page.context["page"].next
        if not after:
            break
    assert len(seen) == len(set(seen)) == 110
    assert "All 130" in text(page)
    assert admin.get(address, {"show": "nonsense", "after": "%%%"}).status_code == 200


def test_the_report_as_csv_has_every_tag() -> None:
    make_tags()
    page = client().post(f"/maintenance/policies/{make_policy().pk}/dry-run", follow=True)
    answer = client(Role.MAINTAINER).get(page.redirect_chain[-1][0] + ".csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    body = b"".join(answer.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(body)))
    assert [(row["tag"], row["verdict"], row["code"]) for row in rows[2:4]] == [
        ("v4", "Would be deleted", "goes"),
        ("v0", "Kept", "newest"),
    ]
    assert len(rows) == 5


def test_a_run_that_goes_on_shows_how_far_it_is_and_can_be_stopped() -> None:
    row = policies.set_active(make_policy(), is_active=True, by="a")
    run = runs.begin(row, by="schedule", is_dry=False)
    Run.objects.filter(pk=run.pk).update(done=30, total=120)
    page = client().get(f"/maintenance/runs/{run.pk}")
    assert "30 of 120 tags checked" in text(page)
    assert 'rect width="25"' in page.content.decode()
    seen = page.context["token"]
    headers = {"HX-Request": "true"}
    assert (
        client().get(f"/maintenance/runs/{run.pk}?seen={seen}", headers=headers).status_code == 204
    )
    page = client(Role.MAINTAINER).post(f"/maintenance/runs/{run.pk}/stop", follow=True)
    assert "Stopping after the current tag." in text(page)
    run.refresh_from_db()
    assert run.stop_asked_by == "operator:a-maintainer"
    assert (
        client().get(f"/maintenance/runs/{run.pk}?seen={seen}", headers=headers).status_code == 200
    )


def test_the_history_says_who_ran_what_and_that_a_run_came_late() -> None:
    row = policies.set_active(make_policy(schedule="0 4 * * SUN"), is_active=True, by="a")
    due = timezone.now() - timedelta(days=2)
    run = runs.begin(row, by="schedule", is_dry=False, due=due)
    runs.carry_out(run)
    Run.objects.filter(pk=run.pk).update(result={**run.result, "goes": 7, "failed": 1})
    said = text(client(Role.VIEWER).get("/maintenance"))
    assert "scheduled" in said
    assert "7 0 B Done" in said
    assert "1 not deleted" in said
    assert "when Boathouse was not running; run once afterwards." in said


def test_a_failed_tag_says_why() -> None:
    row = policies.set_active(make_policy(), is_active=True, by="a")
    run = runs.carry_out(runs.begin(row, by="a", is_dry=False))
    for note in ("moved", "gone", "protected", "busy", "failed", "<b>500</b>"):
        RetentionFate.objects.create(
            run=run, kind="failed", repository="team/api", tag="v1", reason="goes", note=note
        )
    page = client().get(f"/maintenance/runs/{run.pk}")
    assert "not deleted: the registry did not delete it" in text(page)
    assert "<b>500" not in page.content.decode()


def test_the_fragment_of_runs_is_empty_while_nothing_changed() -> None:
    admin = client()
    token = admin.get("/maintenance").context["token"]
    headers = {"HX-Request": "true"}
    assert admin.get(f"/maintenance?seen={token}", headers=headers).status_code == 204
    fragment = admin.get("/maintenance?seen=other", headers=headers)
    assert "<html" not in fragment.content.decode()


def test_the_page_asks_as_much_for_many_policies_as_for_one(
    django_assert_max_num_queries: Any,
) -> None:
    admin = client()
    for number in range(20):
        make_policy(name=f"policy {number}")
    with django_assert_max_num_queries(16):
        admin.get("/maintenance")


@pytest.mark.parametrize("path", ["/maintenance", "/maintenance?new=1"])
def test_the_page_in_chinese(path: str) -> None:
    make_policy(keep_pulled_days=90, schedule="0 4 * * SUN")
    admin = client()
    admin.cookies["__Host-boathouse_language"] = "zh-hans"
    said = text(admin.get(path))
    assert "在 team/* 中保留最新的 2 个和最近 90 天内拉取过的；删除其他所有标签。" in said
    assert "每周日 04:00" in said
