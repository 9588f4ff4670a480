"""Dry runs over the index: what they write down, what they ask, and that they change nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from registryui import runs
from registryui.deletion import protection
from registryui.models import UNKNOWN, RetentionFate, RetentionPolicy, Run, Tag
from registryui.oci import throw_away
from registryui.refused import Refused
from registryui.retention import policies, words
from registryui.retention import runs as retention_runs
from registryui.retention.policies import Wanted
from tests.support.factories import make_image_index, make_manifest, make_repository, make_tag

pytestmark = pytest.mark.django_db


def old(days: float) -> Any:
    return timezone.now() - timedelta(days=days)


def make_policy(name: str = "mine", *, is_active: bool = False, **fields: Any) -> RetentionPolicy:
    wanted = Wanted(**{"name": name, "repositories": "*", "tags": "*", **fields})
    row = policies.add(wanted, by="operator:vera")
    return policies.set_active(row, is_active=is_active, by="operator:vera")


def dry_run(policy: RetentionPolicy) -> Run:
    return retention_runs.carry_out(retention_runs.begin(policy, by="operator:vera", is_dry=True))


def kinds(run: Run) -> dict[str, str]:
    return {f"{fate.repository}:{fate.tag}": fate.kind for fate in run.fates.order_by("id")}


def test_each_tag_of_the_policies_repositories_has_a_fate_and_nothing_changes() -> None:
    api, web, shop = (make_repository(name) for name in ("team/api", "team/web", "shop/cart"))
    for days in range(4):
        image = make_manifest(api, f"{days}", layers=[1000 + days])
        make_tag(api, f"1.{days}", image, tagged_at=old(40 - days))
    make_tag(web, "pr-1", make_manifest(web, layers=[7]), tagged_at=UNKNOWN)
    make_tag(shop, "1.0", make_manifest(shop, layers=[9]), tagged_at=old(400))
    before = list(Tag.objects.order_by("pk").values())
    run = dry_run(make_policy(repositories="team/*", keep_newest=1, keep_tags="1.1"))
    assert kinds(run) == {
        "team/api:1.0": "goes",
        "team/api:1.1": "saved",
        "team/api:1.2": "goes",
        "team/api:1.3": "stays",
        "team/web:pr-1": "saved",
    }
    counts = {name: run.result[name] for name in ("tags", "goes", "saved", "size", "freed")}
    assert counts == {"tags": 5, "goes": 2, "saved": 2, "size": 2002, "freed": 2002}
    assert (run.state, run.done, run.total) == (Run.State.DONE, 5, 5)
    assert list(Tag.objects.order_by("pk").values()) == before


def test_protections_and_other_active_policies_keep() -> None:
    api = make_repository()
    for name in ("v1", "v2", "pr-1", "pr-2"):
        make_tag(api, name, make_manifest(api, name), tagged_at=old(90))
    protection.add("team/*", "v1", note="", by="operator:vera")
    make_policy("releases", is_active=True, keep_tags="v*")
    make_policy("draft", keep_tags="pr-1")  # keeps nothing before it is enabled
    run = dry_run(make_policy(keep_pushed_days=30))
    assert kinds(run) == {
        "team/api:pr-1": "goes",
        "team/api:pr-2": "goes",
        "team/api:v1": "saved",
        "team/api:v2": "saved",
    }
    said = {
        fate.tag: words.because(fate, run.result["policy"], run.started_at)
        for fate in run.fates.all()
    }
    assert said["v1"] == "protected: team/*:v1"
    assert said["v2"] == "kept by the policy “releases”: kept by name: v*"
    assert said["pr-1"] == "pushed 90 days earlier; no pull recorded"


def test_bytes_are_freed_only_if_nothing_that_stays_has_them() -> None:
    """Layer 1 is in an image that stays; 2 and 4 go; 8 is a child's of an image index that stays;
    16 belongs to a child that goes with its index; 32 is on an image that keeps another tag."""
    api, web = make_repository("team/api"), make_repository("team/web")
    make_tag(api, "keep", make_manifest(api, "keep", layers=[1]), tagged_at=old(1))
    make_tag(api, "old", make_manifest(api, "old", layers=[1, 2, 4]), tagged_at=old(90))
    make_tag(web, "old", make_manifest(web, "old", layers=[2]), tagged_at=old(90))
    child = make_manifest(api, "child", layers=[8])
    make_tag(api, "child", child, tagged_at=old(90))
    make_tag(api, "index", make_image_index(api, "index", [child]), tagged_at=old(1))
    other = make_manifest(api, "other child", layers=[16])
    make_tag(api, "other", make_image_index(api, "other", [other]), tagged_at=old(90))
    both = make_manifest(api, "both", layers=[32])
    make_tag(api, "both-old", both, tagged_at=old(90))
    make_tag(api, "both-new", both, tagged_at=old(1))
    run = dry_run(make_policy(keep_pushed_days=30))
    gone = {name for name, kind in kinds(run).items() if kind == "goes"}
    assert gone == {
        *("team/api:old", "team/web:old", "team/api:child", "team/api:other"),
        "team/api:both-old",
    }
    assert run.result["freed"] == 2 + 4 + 16
    assert run.fates.get(tag="both-old").beside == "both-new"


def test_referrer_tags_are_no_rows_of_their_own() -> None:
    api = make_repository()
    image = make_manifest(api)
    make_tag(api, "1.0", image, tagged_at=old(90))
    make_tag(api, "sha256-aa.sig", make_manifest(api, "sig"), refers_to=image.digest)
    assert kinds(dry_run(make_policy(keep_pushed_days=1))) == {"team/api:1.0": "goes"}


def test_a_throw_away_that_a_dead_delete_left_takes_no_place() -> None:
    """It is the newest push, and ours: with it among the newest, a good one would go."""
    api = make_repository()
    for number in range(3):
        make_tag(api, f"v{number}", make_manifest(api, f"{number}"), tagged_at=old(number + 1))
    kind = throw_away.ARTIFACT_TYPE
    make_tag(api, "v9", make_manifest(api, "9", artifact_type=kind), tagged_at=old(0))
    found = kinds(dry_run(make_policy(keep_newest=2)))
    assert found == {
        "team/api:v0": "stays",
        "team/api:v1": "stays",
        "team/api:v2": "goes",
        "team/api:v9": "saved",
    }


def test_a_policy_for_no_repository_says_that_nothing_goes() -> None:
    make_tag(make_repository(), "1.0", tagged_at=old(90))
    run = dry_run(make_policy(repositories="team", keep_pushed_days=1))
    assert (run.state, run.result["tags"], run.fates.count()) == (Run.State.DONE, 0, 0)


def test_a_dry_run_asks_once_for_many_repositories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries grow with chunks of tags, not with repositories or tags."""
    for number in range(30):
        repository = make_repository(f"team/r{number:02}")
        for tag in range(3):
            make_tag(
                repository,
                f"v{tag}",
                tagged_at=old(tag),
                manifest=make_manifest(repository, f"{tag}"),
            )
    policy = make_policy(keep_newest=1)

    def asked() -> int:
        run = retention_runs.begin(policy, by="a", is_dry=True)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            retention_runs.carry_out(run)
        assert run.result["goes"] == 60
        return len(queries)

    asked()  # the next ones drop what this one wrote
    few = asked()
    monkeypatch.setattr(retention_runs, "CHUNK", 9)  # three repositories at once: nine chunks more
    assert asked() == few + 9
    assert few < 30


def test_a_repository_is_never_cut_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of half a repository the newest would be wrong."""
    monkeypatch.setattr(retention_runs, "CHUNK", 2)
    for name in ("a/a", "b/b"):
        repository = make_repository(name)
        for tag in range(5):
            make_tag(repository, f"v{tag}", make_manifest(repository, f"{tag}"), tagged_at=old(tag))
    assert dry_run(make_policy(keep_newest=2)).result["goes"] == 6


@pytest.fixture
def many() -> RetentionPolicy:
    api = make_repository()
    for number in range(20):
        make_tag(api, f"v{number}", make_manifest(api, f"{number}"), tagged_at=old(number))
    return make_policy(keep_newest=2)


def test_a_dry_run_is_stopped_between_two_chunks(
    many: RetentionPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tag(make_repository("z/z"), "v1", tagged_at=old(9))
    monkeypatch.setattr(retention_runs, "CHUNK", 1)
    monkeypatch.setattr(runs, "STEP", 0)
    run = retention_runs.begin(many, by="a", is_dry=True)
    runs.ask_to_stop(run, by="operator:vera")
    run = retention_runs.carry_out(run)
    assert (run.state, run.done, run.fates.count()) == (Run.State.STOPPED, 20, 20)
    assert "operator:vera" in run.log


def test_two_dry_runs_at_once_are_refused_and_the_real_run_is_not_in_their_way(
    many: RetentionPolicy,
) -> None:
    retention_runs.begin(many, by="a", is_dry=True)
    with pytest.raises(Refused, match="Another dry run"):
        retention_runs.begin(many, by="b", is_dry=True)
    policies.set_active(many, is_active=True, by="a")
    many.refresh_from_db()
    assert retention_runs.begin(many, by="b", is_dry=False).kind == Run.Kind.RETENTION


def test_a_draft_does_not_run(many: RetentionPolicy) -> None:
    with pytest.raises(Refused, match="draft"):
        retention_runs.begin(many, by="a", is_dry=False)
    assert not Run.objects.exists()


def test_the_newest_dry_run_of_a_policy_takes_the_place_of_the_older(many: RetentionPolicy) -> None:
    other = dry_run(make_policy("other", keep_newest=1))
    first, second = dry_run(many), dry_run(many)
    assert set(Run.objects.values_list("pk", flat=True)) == {other.pk, second.pk}
    assert not RetentionFate.objects.filter(run_id=first.pk).exists()
    Run.objects.update(finished_at=old(8))
    retention_runs.prune()
    assert not Run.objects.exists()


def test_a_failure_is_in_the_run_and_leaves_the_proxy_open(
    many: RetentionPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_all: object) -> None:
        raise OSError("the disk\nis full")

    monkeypatch.setattr(retention_runs, "_tags_of", fail)
    run = retention_runs.begin(many, by="a", is_dry=True)
    with pytest.raises(OSError, match="full"):
        retention_runs.carry_out(run)
    run.refresh_from_db()
    assert (run.state, run.log) == (Run.State.FAILED, "OSError: the disk is full")
    monkeypatch.undo()
    assert dry_run(many).state == Run.State.DONE


def test_a_run_whose_worker_was_dead_for_too_long_is_not_taken_up(many: RetentionPolicy) -> None:
    run = retention_runs.begin(many, by="a", is_dry=True)
    Run.objects.update(heartbeat_at=timezone.now() - runs.STALE * 2)
    again = retention_runs.begin(many, by="b", is_dry=True)
    run.refresh_from_db()
    assert retention_runs.carry_out(run).state == Run.State.FAILED
    assert not run.fates.exists()
    assert retention_runs.carry_out(again).state == Run.State.DONE


def test_reasons_are_said_in_chinese(many: RetentionPolicy) -> None:
    run = dry_run(many)
    with translation.override("zh-hans"):
        for fate in run.fates.all():
            said = words.because(fate, run.result["policy"], run.started_at)
            assert "天" in said or "个" in said
            assert "day" not in said
        assert words.sentence(run.result["policy"]) == "在 * 中保留最新的 2 个；删除其他所有标签。"
