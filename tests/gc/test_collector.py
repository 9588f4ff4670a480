"""What goes and what stays, on small stores. The real registry: tests/e2e/test_gc.py."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.utils import timezone

from portal.settings import _at_least
from registryui import doctor, hosts, runs, space, tasks
from registryui.gc import collector, mark, pushed
from registryui.gc.store_scan import ELSEWHERE
from registryui.models import (
    AuditEvent,
    Manifest,
    RegistryEvent,
    Repository,
    Run,
    Tag,
    TagTombstone,
)
from registryui.oci.digest import sha256
from registryui.refused import Refused
from registryui.registry import choose, paths
from registryui.registry.errors import RegistryError, Unreachable
from registryui.registry.storage import FileStore
from registryui.registry.storages import of_settings
from tests.support.fake_source import INDEX, encode
from tests.support.folders import other_disk
from tests.support.stores import NoCanary, Small, done, later, run_gc

pytestmark = pytest.mark.django_db


def tombstone(repository: str, digest: str, **more: Any) -> TagTombstone:
    now = timezone.now()
    return TagTombstone.objects.create(
        **{
            "repository": repository,
            "tag": "old",
            "digest": digest,
            "how": TagTombstone.How.DELETED,
            "at": now,
            "keep_until": now + timedelta(days=7),
            **more,
        }
    )


# -- what goes -------------------------------------------------------------------------------------


def test_what_no_tag_needs_goes_and_exactly_its_bytes_are_freed(small: Small) -> None:
    kept = small.image("team/app", "1", layers=(b"base" * 100, b"one"))
    gone = small.image("team/app", "2", layers=(b"base" * 100, b"two" * 50))
    small.sync()
    small.untag("team/app", "2")
    small.sync()
    before = small.size()

    plan = done(dry_run=True)
    assert plan.result["candidate_manifests"] == 1
    assert plan.result["candidate_blobs"] == 3  # manifest, config, its own layer
    assert small.size() == before

    run = done()
    assert small.size() == before - plan.result["candidate_bytes"]
    assert run.result["freed_bytes"] == plan.result["candidate_bytes"] + len(gone)  # and the link
    assert run.result["in_quarantine"] == 0
    assert small.revisions("team/app") == {kept}
    assert sha256(b"base" * 100) in small.blobs()
    assert sha256(b"two" * 50) not in small.blobs()
    assert not Manifest.objects.filter(digest=gone).exists()
    assert Manifest.objects.filter(digest=kept).exists()
    assert not list((small.root / "boathouse/quarantine").iterdir())


def test_a_digest_in_two_repositories_loses_only_the_link_of_one(small: Small) -> None:
    one = small.image("a/app", "1", layers=(b"same",))
    small.image("b/app", "1", layers=(b"same",))
    small.image("a/app", "2", layers=(b"other",))
    small.sync()
    small.untag("a/app", "1")
    small.sync()
    done()
    assert one not in small.revisions("a/app")
    assert small.revisions("b/app") == {one}
    assert {one, sha256(b"same")} <= small.blobs()


def test_a_blob_that_no_manifest_names_goes(small: Small) -> None:
    small.image("team/app", "1", layers=(b"base",))
    lonely = small.blob("team/app", b"lonely")
    small.sync()
    run = done()
    assert lonely not in small.blobs()
    assert run.result["freed_bytes"] == len(b"lonely")


# -- what stays ------------------------------------------------------------------------------------


def test_children_of_a_kept_image_index_stay_also_nested_and_by_a_layer_link_only(
    small: Small,
) -> None:
    amd = small.image("team/app", layers=(b"amd",))
    arm = small.image("team/app", layers=(b"arm",))
    inner = small.image_index("team/app", [arm])
    outer = small.image_index("team/app", [amd, inner], "1")
    # As registry 2.1 linked manifests, and unknown to the index.
    raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    layered = small.blob("team/app", raw + b" ")
    late = small.image_index("team/app", [amd, layered], "2")
    small.sync()
    before = small.blobs()
    done()
    assert small.blobs() == before
    assert small.revisions("team/app") == {amd, arm, inner, outer, late}


def test_a_child_that_only_a_layer_link_holds_keeps_its_own_layers(small: Small) -> None:
    child = small.image("team/app", layers=(b"deep",))
    small.image_index("team/app", [child], "1")
    (small.root / paths.revision_link("team/app", child)).unlink()
    small.put_file(paths.layer_link("team/app", child), child.encode())
    small.sync()
    Manifest.objects.filter(digest=child).delete()
    before = small.blobs()
    done()
    assert small.blobs() == before


def test_referrers_stay_with_their_subject_and_go_with_it(small: Small) -> None:
    image = small.image("team/app", "1", layers=(b"base",))
    subject = {"subject": small.described(image)}
    sbom = small.image("team/app", layers=(b"sbom",), **subject)
    of_sbom = small.image("team/app", layers=(b"sig",), subject=small.described(sbom))
    small.image("team/other", "1", layers=(b"base", b"x"))
    small.sync()
    done()
    assert small.revisions("team/app") == {image, sbom, of_sbom}
    small.untag("team/app", "1")
    small.sync()
    done()
    assert small.revisions("team/app") == set()


def test_a_fallback_tag_is_a_tag(small: Small) -> None:
    image = small.image("team/app", "1", layers=(b"base",))
    sbom = small.image("team/app", layers=(b"sbom",), subject=small.described(image))
    small.image_index("team/app", [sbom], image.replace(":", "-"))
    small.sync()
    before = small.blobs()
    done()
    assert small.blobs() == before


def test_what_undo_keeps_stays_with_all_that_it_needs(small: Small) -> None:
    child = small.image("team/app", layers=(b"child",))
    index = small.image_index("team/app", [child], "1")
    small.image("team/app", "2", layers=(b"other",))
    small.sync()
    small.untag("team/app", "1")
    small.sync()
    kept = tombstone("team/app", index)
    before = small.blobs()
    done()
    assert small.blobs() == before
    kept.keep_until = timezone.now() - timedelta(seconds=1)
    kept.save()
    done()
    assert small.revisions("team/app").isdisjoint({child, index})


def test_what_is_younger_than_the_grace_time_stays_with_all_that_it_needs(
    small: Small, settings: Any
) -> None:
    settings.GC_GRACE = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"young",))
    small.blob("team/app", b"lonely")
    small.sync()
    before = small.blobs()
    run = done()
    assert small.blobs() == before
    assert run.result["candidate_blobs"] == run.result["candidate_manifests"] == 0
    assert run.result["grace_bytes"] == run.result["bytes"] - run.result["kept_bytes"] > 0


@pytest.mark.parametrize("touched", ["revision", "layer", "data", "index"])
def test_each_of_the_times_keeps_it_within_the_grace_period(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch, touched: str
) -> None:
    """A mount or re-upload changes only a link; what lost its tag just now is in no file's time."""
    settings.GC_GRACE = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    other = small.image("team/app", layers=(b"other",))
    small.image("team/far", "1", layers=(b"base",))
    small.put_file(paths.layer_link("team/far", sha256(b"other")), sha256(b"other").encode())
    small.sync()
    with later(monkeypatch, hours=3):
        new = timezone.now().timestamp() - 60
        if touched == "index":
            Manifest.objects.filter(digest=other).update(untagged_at=timezone.now())
        else:
            path = {
                "revision": paths.revision_link("team/app", other),
                "layer": paths.layer_link("team/far", sha256(b"other")),
                "data": paths.blob_data(sha256(b"other")),
            }[touched]
            os.utime(small.root / path, (new, new))
        done()
    assert sha256(b"other") in small.blobs()
    assert (other in small.revisions("team/app")) == (touched in ("revision", "index"))


def test_a_tag_on_the_disk_counts_also_when_the_index_has_it_elsewhere(small: Small) -> None:
    first = small.image("team/app", "1", layers=(b"first",))
    second = small.image("team/app", "2", layers=(b"second",))
    small.sync()
    small.untag("team/app", "2")
    small.sync()
    small.tag("team/app", "again", second)  # nobody told the index
    done()
    assert small.revisions("team/app") == {first, second}


def test_a_manifest_that_the_index_does_not_know_is_indexed_and_stays(small: Small) -> None:
    small.image("team/app", "1", layers=(b"base",))
    small.sync()
    new = small.image("new/app", "1", layers=(b"new",))
    loose = small.image("team/app", layers=(b"loose",))
    before = small.blobs()
    done()
    assert small.blobs() >= before - {loose}
    assert Manifest.objects.filter(digest=new, repository__name="new/app").exists()


def test_processes_find_what_one_alone_finds(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        name = f"team/app{number}"
        small.image(name, "1", layers=(b"base", b"%d" % number))
        small.image(name, layers=(b"loose %d" % number,))
    small.sync()
    alone = done(dry_run=True).result
    monkeypatch.setattr(mark, "LARGE", 10)
    together = done(dry_run=True).result
    assert {**alone, "stages": []} == {**together, "stages": []}
    assert together["candidate_manifests"] == 60
    (small.root / paths.tag_link("team/app7", "1")).unlink()
    link = small.root / paths.layers("team/app9")
    link.rename(small.root / "elsewhere")
    link.symlink_to(small.root / "elsewhere")
    run = run_gc(dry_run=True)
    assert run.state == Run.State.FAILED
    assert "team/app9/_layers" in run.result["problem"]


# -- what cannot be understood ---------------------------------------------------------------------


def test_a_repository_with_a_broken_link_loses_nothing_and_is_named(small: Small) -> None:
    small.image("good/app", "1", layers=(b"good",))
    small.image("bad/app", "1", layers=(b"bad",))
    loose = small.image("bad/app", layers=(b"loose",))
    lonely = small.blob("bad/app", b"lonely")
    small.sync()
    (small.root / paths.tag_link("bad/app", "1")).write_bytes(b"")
    before = small.blobs()
    run = done()
    assert small.blobs() == before
    assert {loose, lonely} <= before
    assert [name for name, _why in run.result["skipped_repositories"]] == ["bad/app"]


@pytest.mark.parametrize(
    "damage", ["empty revision", "other revision", "folder for a link", "cut manifest"]
)
def test_damage_keeps_all_of_its_repository(small: Small, damage: str) -> None:
    small.image("good/app", "1", layers=(b"good",))
    image = small.image("bad/app", "1", layers=(b"bad",))
    small.image("bad/app", layers=(b"loose",))
    if damage != "cut manifest":
        small.sync()
    link = small.root / paths.revision_link("bad/app", image)
    if damage == "empty revision":
        link.write_bytes(b"")
    elif damage == "other revision":
        link.write_text(sha256(b"another"))
    elif damage == "folder for a link":
        link.unlink()
        link.mkdir()
    else:
        (small.root / paths.blob_data(image)).write_bytes(b'{"schemaVersion": 2, "lay')
        small.sync()
    before = small.blobs()
    run = done()
    assert small.blobs() == before
    assert [name for name, _why in run.result["skipped_repositories"]] == ["bad/app"]


@pytest.mark.parametrize(
    "below", ["team/app/_layers", "team/app/_manifests", "team/app/_manifests/tags"]
)
def test_a_symbolic_link_within_a_repository_stops_it(
    small: Small, tmp_path: Path, below: str
) -> None:
    """The registry follows it, and what it serves there may need anything."""
    small.image("team/app", "1", layers=(b"base",))
    small.image("other/app", "1", layers=(b"other",))
    lonely = small.blob("other/app", b"lonely")
    small.sync()
    place = small.root / paths.repository(below)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    run = run_gc()
    assert run.state == Run.State.FAILED
    assert "symbolic link" in run.result["problem"]
    assert lonely in small.blobs()


@pytest.mark.parametrize("below", ["team", "team/app"])
def test_what_lies_behind_a_symbolic_link_is_freed_as_well(
    small: Small, tmp_path_factory: pytest.TempPathFactory, below: str
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    kept = small.image("team/app", "1", layers=(b"base",))
    place = small.root / paths.repository(below)
    place.rename(disk / "elsewhere")
    place.symlink_to(disk / "elsewhere")
    loose = small.image("team/app", layers=(b"loose",))
    small.sync()
    done()
    assert small.revisions("team/app") == {kept}
    assert loose not in small.blobs()
    assert {kept, sha256(b"base")} <= small.blobs()


def test_a_second_name_of_a_repository_stops_it(small: Small) -> None:
    """What undo keeps is kept by name: under the other one it would be nobody's."""
    small.image("team/app", "1", layers=(b"base",))
    lonely = small.blob("team/app", b"lonely")
    (small.root / paths.repository("twin")).symlink_to(small.root / paths.repository("team"))
    small.sync()
    run = run_gc()
    assert run.state == Run.State.FAILED
    assert "twin is a symbolic link that is not followed" in run.result["problem"]
    assert lonely in small.blobs()


def test_nothing_of_a_repository_on_another_file_system_goes(
    small: Small, settings: SimpleNamespace
) -> None:
    settings.UPLOAD_TIME = timedelta(0)
    small.image("team/app", "1", layers=(b"base",))
    loose = small.image("team/app", layers=(b"loose",))
    small.image("other/app", "1", layers=(b"other",))
    gone = small.image("other/app", layers=(b"gone",))
    with other_disk(small.root) as disk:
        place = small.root / paths.repository("team")
        shutil.move(place, disk / "team")
        place.symlink_to(disk / "team")
        upload = disk / "team/app/_uploads/left"
        upload.mkdir(parents=True)
        (upload / "data").write_bytes(b"x")
        small.sync()
        run = done()
        assert gone not in small.blobs()
        assert {loose, sha256(b"loose")} <= small.blobs()
        assert loose in small.revisions("team/app")
        assert (upload / "data").exists()
        assert run.result["skipped_repositories"] == [["team/app", ELSEWHERE]]
        assert run.result["uploads"] == 0


def test_odd_names_loops_and_strangers_end_nothing_and_stay(small: Small) -> None:
    small.image("team/app", "1", layers=(b"base",))
    small.blob("Upper/App", b"upper")
    image = small.image("team/app", layers=(b"loose",))
    small.put_file(f"{paths.BLOBS}/sha256/zz/zz-no-digest/data", b"stranger")
    small.put_file(f"{paths.BLOBS}/README", b"stranger")
    small.put_file(f"{paths.revisions('team/app')}/sha256/no-digest/link", b"stranger")
    folder = small.root / paths.blob_data(sha256(b"folder"))
    folder.mkdir(parents=True)
    # Two image indexes that list each other cannot be made by hashing; the index can be told so.
    one = small.image_index("team/app", [image], "loop")
    two = small.image_index("team/app", [one])
    small.sync()
    raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [small.described(two)]})
    Manifest.objects.filter(digest=one).update(raw=raw)
    run = done()
    assert sha256(b"upper") in small.blobs()
    assert (small.root / paths.BLOBS / "README").exists()
    assert (small.root / paths.BLOBS / "sha256/zz/zz-no-digest/data").exists()
    assert folder.is_dir()
    assert ["Upper/App", "a name that no client can use"] in run.result["skipped_repositories"]


def test_a_manifest_that_programs_may_read_differently_keeps_all_it_names(small: Small) -> None:
    """Go takes "Layers" for "layers"."""
    layer = small.blob("team/app", b"layer")
    config = small.blob("team/app", b"{}")
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": small.described(config),
            "layers": [],
            "Layers": [small.described(layer)],
        }
    )
    small.manifest("team/app", raw, "1")
    small.sync()
    done()
    assert layer in small.blobs()


def test_a_store_that_cannot_be_read_to_its_end_loses_nothing(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.image("team/app", "1", layers=(b"base",))
    lonely = small.blob("team/app", b"lonely")
    small.sync()
    real = FileStore.tag_links

    def broken(store: FileStore, repository: str) -> Any:
        if repository == "team/app":
            raise Unreachable("Input/output error")
        return real(store, repository)

    monkeypatch.setattr(FileStore, "tag_links", broken)
    run = run_gc()
    assert run.state == Run.State.FAILED
    assert "Input/output error" in run.result["problem"]
    assert lonely in small.blobs()


def test_an_empty_index_and_the_index_of_another_store_stop_it(small: Small) -> None:
    lonely = small.blob("team/app", b"lonely")
    small.image("team/app", "1", layers=(b"base",))
    run = run_gc()
    assert run.state == Run.State.FAILED
    assert "sync" in run.result["problem"]
    Repository.objects.create(name="else/where")
    run = run_gc()
    assert run.state == Run.State.FAILED
    assert "none of the indexed repositories" in run.result["problem"]
    assert lonely in small.blobs()


def test_a_repository_that_only_the_index_has_stops_it(small: Small) -> None:
    """Its folder may lie on a disk that is away."""
    small.image("team/app", "1", layers=(b"base",))
    small.image("far/app", "1", layers=(b"far",))
    small.sync()
    (small.root / paths.repository("far")).rename(small.root / "away")
    run = run_gc()
    assert run.state == Run.State.FAILED
    assert "far/app" in run.result["problem"]
    assert sha256(b"far") in small.blobs()


def test_a_clock_that_differs_stops_it(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "SKEW", timedelta(minutes=10))
    small.image("team/app", "1", layers=(b"base",))
    lonely = small.blob("team/app", b"lonely")
    small.sync()
    with later(monkeypatch, hours=1):
        run = run_gc()
    assert run.state == Run.State.FAILED
    assert "clock" in run.result["problem"]
    assert lonely in small.blobs()


def test_with_a_registry_that_takes_nothing_nothing_is_quarantined_and_what_is_due_still_goes(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk."""
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"loose",))
    small.sync()
    done()
    lonely = small.blob("team/app", b"lonely")

    def full(_registry: NoCanary, _repository: str, _data: bytes) -> str:
        raise RegistryError("no space left on device", status=500)

    monkeypatch.setattr(NoCanary, "upload_blob", full)
    with later(monkeypatch, hours=2):
        run = run_gc()
    assert run.state == Run.State.FAILED
    assert "no space" in run.result["problem"]
    assert (run.result["purged"], run.result["quarantined"], run.result["in_quarantine"]) == (
        4,
        0,
        0,
    )
    assert lonely in small.blobs()


# -- back again ------------------------------------------------------------------------------------


def test_a_review_restores_what_a_push_needs_again_and_the_index_has_it(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag was written on what had just been quarantined: the push had looked before."""
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    child = small.image("team/app", layers=(b"child",))
    index = small.image_index("team/app", [child])
    small.sync()
    real = collector._GcRun._quarantine

    def quarantine(work: Any, *arguments: Any) -> None:
        real(work, *arguments)
        small.tag("team/app", "late", index)

    with monkeypatch.context() as patch:
        patch.setattr(collector._GcRun, "_quarantine", quarantine)
        run = done()
    assert run.result["quarantined_manifests"] == 2
    assert run.result["restored"] == 6  # two links; two manifests, config, layer
    assert run.result["in_quarantine"] == 0
    assert {index, child} <= small.revisions("team/app")
    assert sha256(b"child") in small.blobs()
    tag = Tag.objects.select_related("manifest").get(name="late")
    assert tag.manifest is not None
    assert (tag.manifest.digest, tag.problem) == (index, "")


@pytest.mark.parametrize("how", ["stopped", "failed", "killed", "both fail"])
def test_a_run_that_ends_before_its_review_is_looked_at_again(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whatever ended it: a push had looked before its blobs were quarantined, and there is no
    schedule. Really killed: tests/e2e/test_taken_up.py."""
    settings.QUARANTINE_TIME, settings.GC_SCHEDULE = timedelta(hours=1), ""
    small.image("team/app", "1", layers=(b"base",))
    loose = small.image("team/app", layers=(b"loose",))
    small.sync()
    quarantine, mark = collector._GcRun._quarantine, collector._GcRun._stable_mark

    def cut_off(work: Any, *arguments: Any) -> None:
        quarantine(work, *arguments)
        small.tag("team/app", "late", loose)
        if how == "stopped":
            runs.ask_to_stop(work.run, by="operator:vera")
            monkeypatch.setattr(runs, "STEP", 0.0)
            work.advance()
        raise Unreachable("the disk is away")

    def review(work: Any) -> Any:
        if work.result.stage == "review" and not work.result.is_review:
            if how == "killed":
                raise KeyboardInterrupt
            if how == "both fail":
                raise Unreachable("the disk is still away")
        return mark(work)

    monkeypatch.setattr(collector._GcRun, "_quarantine", cut_off)
    monkeypatch.setattr(collector._GcRun, "_stable_mark", review)
    if how == "killed":
        with pytest.raises(KeyboardInterrupt):
            run_gc()
    else:
        assert run_gc().state == (Run.State.STOPPED if how == "stopped" else Run.State.FAILED)
    is_open = how in ("killed", "both fail")
    assert collector.wants_review(timezone.now()) is is_open
    assert (loose in small.revisions("team/app")) is not is_open
    assert (doctor.gc.check_gc().code == "gc-unreviewed") is is_open
    tasks.gc_by_schedule.call_local()
    assert not collector.wants_review(timezone.now())
    assert Run.objects.filter(kind=Run.Kind.GC).count() == 1 + is_open
    assert loose in small.revisions("team/app")
    assert Tag.objects.get(name="late").problem == ""
    assert collector.quarantined() == []


def test_a_review_that_fails_comes_again_after_some_minutes(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.image("team/app", "1", layers=(b"base",))
    small.sync()
    Run.objects.create(kind=Run.Kind.GC, state="failed", result={"reviewed": False})

    def fail(_work: Any) -> None:
        raise Unreachable("the disk is away")

    found = Run.objects.filter(kind=Run.Kind.GC)
    with monkeypatch.context() as patch:
        patch.setattr(collector._GcRun, "_stable_mark", fail)
        tasks.gc_by_schedule.call_local()
        assert found.count() == 2
        tasks.gc_by_schedule.call_local()
    assert found.count() == 2
    with later(monkeypatch, minutes=11):
        tasks.gc_by_schedule.call_local()
    assert found.count() == 3
    assert not collector.wants_review(timezone.now())


def test_what_is_renewed_between_the_mark_and_its_turn_stays(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Age and pushes are looked at again right before each thing goes: no review has to bring it
    back."""
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    again = small.image("team/app", layers=(b"pushed again",))
    told = small.image("team/app", layers=(b"told",))
    lonely = small.blob("team/app", b"uploaded again")
    gone = small.blob("team/app", b"gone")
    small.sync()
    quarantine = collector._GcRun._quarantine

    def push(work: Any, *arguments: Any) -> None:
        small.put_file(paths.revision_link("team/app", again), again.encode())
        small.put_file(paths.blob_data(lonely), b"uploaded again")
        store = choose.open_store(of_settings())
        work._watch.needed |= pushed.needed_by(store, "team/app", [again, told])
        quarantine(work, *arguments)

    monkeypatch.setattr(collector._GcRun, "_quarantine", push)
    run = done()
    assert (
        run.result["quarantined"],
        run.result["quarantined_manifests"],
        run.result["restored"],
    ) == (
        1,
        0,
        0,
    )
    assert gone not in small.blobs()
    assert {again, told} <= small.revisions("team/app")
    assert {lonely, sha256(b"told"), sha256(b"pushed again")} <= small.blobs()


def test_what_a_push_needs_comes_back_when_the_registry_tells_of_it(
    small: Small, settings: Any, django_assert_num_queries: Any
) -> None:
    """By the worker, also of a child, and in a repository whose folder is quarantined."""
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    child = small.image("team/app", layers=(b"child",))
    index = small.image_index("team/app", [child])
    small.sync()
    done()
    assert small.revisions("team/app").isdisjoint({index, child})
    row = RegistryEvent(event_id="a", action="push", repository="team/app", tag="late")
    row.digest, row.at = index, timezone.now()
    row.save()
    small.tag("team/app", "late", index)
    pushed.restore_pending()
    assert {index, child} <= small.revisions("team/app")
    assert sha256(b"child") in small.blobs()
    assert collector.quarantined() == []
    assert Manifest.objects.filter(digest__in=[index, child]).count() == 2
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(hours=2))
    with django_assert_num_queries(2):
        pushed.restore_pending()


def test_nothing_is_deleted_before_its_time_and_a_fresh_mark(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"loose",))
    small.sync()
    first = done()
    assert first.result["purged"] == 0
    assert (
        first.result["in_quarantine"]
        == first.result["quarantined"] + first.result["quarantined_manifests"]
        == 4
    )
    with later(monkeypatch, minutes=59):
        assert done().result["purged"] == 0
        assert not collector.is_due(timezone.now())
    with later(monkeypatch, hours=1, minutes=30):
        second = done()
    assert second.result["purged"] == 4
    assert second.result["freed_bytes"] == first.result["in_quarantine_bytes"]


def test_a_second_copy_that_came_meanwhile_survives_and_the_quarantined_one_goes(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"loose",))
    small.sync()
    done()
    again = small.image("team/app", "again", layers=(b"loose",))
    with later(monkeypatch, hours=2):
        run = done()
    assert run.result["in_quarantine"] == 0
    assert {again, sha256(b"loose")} <= small.blobs()


def test_restore_brings_one_or_all_and_the_index_with_them(small: Small, settings: Any) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    loose = small.image("team/app", layers=(b"loose",))
    small.sync()
    done()
    before = small.blobs()
    one = next(one for one in collector.quarantined() if one.path.endswith("data"))
    assert collector.restore(one.id, by="operator:vera") == 1
    assert len(small.blobs()) == len(before) + 1
    with pytest.raises(Refused, match="has the ID"):
        collector.restore("no/1", by="operator:vera")
    assert collector.restore("all", by="operator:vera") == 3
    assert Manifest.objects.filter(digest=loose).exists()
    assert collector.quarantined() == []
    acts = AuditEvent.objects.filter(act="store.put_back", actor="operator:vera")
    assert acts.count() == 2


# -- leftovers -------------------------------------------------------------------------------------


def upload(small: Small, repository: str, name: str, size: int) -> Path:
    folder = f"{paths.uploads(repository)}/{name}"
    small.put_file(f"{folder}/data", b"x" * size)
    small.put_file(f"{folder}/hashstates/sha256/0", b"state")
    small.put_file(f"{folder}/startedat", b"2020-01-01T00:00:00Z")
    return small.root / folder


def test_stale_uploads_leave_through_the_quarantine(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.UPLOAD_TIME = timedelta(hours=24)
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    stale, fresh = upload(small, "team/app", "a", 700), upload(small, "team/app", "b", 5)
    small.sync()
    with later(monkeypatch, hours=30):
        now = timezone.now().timestamp()
        os.utime(fresh / "data", (now, now))
        assert done(dry_run=True).result["upload_bytes"] == 700
        run = done()
    assert run.result["uploads"] == 1
    assert fresh.exists()
    assert not stale.exists()
    assert any(one.path.endswith("/a") for one in collector.quarantined())
    with later(monkeypatch, hours=32):
        done()
    assert not [one for one in collector.quarantined() if one.path.endswith("/a")]


def test_purging_now_on_a_low_disk_takes_uploads_that_stand_still(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that failed for want of space is what fills the disk, and nginx lets nobody go on."""
    settings.UPLOAD_TIME = timedelta(hours=24)
    small.image("team/app", "1", layers=(b"base",))
    stale, fresh = upload(small, "team/app", "a", 700), upload(small, "team/app", "b", 5)
    small.sync()

    def purge() -> Run:
        with later(monkeypatch, hours=0.2):
            now = timezone.now().timestamp()
            os.utime(fresh / "data", (now, now))
            return done(
                purge_now=True, freeze=lambda: nullcontext(SimpleNamespace(check=lambda: None))
            )

    purge()
    assert stale.exists()
    monkeypatch.setattr(space, "is_low", lambda: True)
    assert purge().result["upload_bytes"] == 700
    assert fresh.exists()
    assert not stale.exists()
    assert not [one for one in collector.quarantined() if one.path.endswith("/a")]


def test_a_repository_with_nothing_in_it_leaves_the_store_and_those_below_it_stay(
    small: Small,
) -> None:
    small.image("team", "1", layers=(b"team",))
    small.image("team/app", "1", layers=(b"app",))
    small.image("lone/app", "1", layers=(b"lone",))
    small.sync()
    for name in ("team", "lone/app"):
        small.untag(name, "1")
    small.sync()
    done()
    second = done()  # when its manifests are purged
    assert second.result["empty_repositories"] == 2
    assert not (small.root / paths.repository("lone/app")).exists()
    assert not (small.root / paths.layers("team")).exists()
    assert set(Repository.objects.values_list("name", flat=True)) == {"team/app"}
    assert (small.root / paths.tag_link("team/app", "1")).exists()
    assert collector.quarantined() != []
    done()
    assert collector.quarantined() == []


def test_a_push_into_a_repository_that_was_just_quarantined_is_not_lost(
    small: Small, settings: Any
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    small.image("lone/app", "1", layers=(b"lone",))
    small.sync()
    small.untag("lone/app", "1")
    small.sync()
    settings.QUARANTINE_TIME = timedelta(0)
    done()
    settings.QUARANTINE_TIME = timedelta(hours=1)
    assert done().result["empty_repositories"] == 1
    layer = paths.layer_link("lone/app", sha256(b"lone"))
    assert not (small.root / layer).exists()
    small.image("lone/app", "2", layers=(b"another",))
    done()
    assert (small.root / layer).exists()
    assert (small.root / paths.tag_link("lone/app", "2")).exists()


# -- runs ------------------------------------------------------------------------------------------


def test_one_run_at_a_time_and_a_stop_is_safe(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"loose",))
    small.sync()
    other = runs.begin(Run.Kind.GC, by="test")
    assert other is not None
    assert collector.run_gc(by="test") is None
    runs.end(other, Run.State.DONE)

    monkeypatch.setattr(runs, "STEP", 0.0)
    stages = []

    def stop(run: Run) -> None:
        stages.append(run.result["stage"])
        if run.result["stage"] == "quarantine":
            runs.ask_to_stop(run, by="operator:vera")

    run = run_gc(progress=stop)
    assert run.state == Run.State.STOPPED
    assert run.result["reviewed"]
    assert not collector.wants_review(timezone.now())
    done()
    assert sha256(b"loose") not in small.blobs()
    assert sha256(b"base") in small.blobs()


def test_all_keys_are_always_there_and_a_run_is_in_the_audit_log(small: Small) -> None:
    small.image("team/app", "1", layers=(b"base",))
    failed = run_gc()
    small.sync()
    for run in (failed, done(), done(dry_run=True)):
        assert run.result.keys() == collector.Result().facts().keys()
    rows = AuditEvent.objects.filter(act="store.collect").values_list("result", flat=True)
    assert list(rows) == ["failed", "done"]  # a dry run is none


def test_purge_now_is_refused_without_something_that_freezes_writes(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "FREEZE", None)
    with pytest.raises(Refused, match="frozen"):
        collector.run_gc(by="test", purge_now=True)
    assert not Run.objects.filter(kind=Run.Kind.GC).exists()


def test_purge_now_marks_and_deletes_while_writes_are_frozen(small: Small, settings: Any) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"loose",))
    small.sync()
    said: list[str] = []

    @contextmanager
    def freeze() -> Any:
        said.append("on")
        yield SimpleNamespace(check=lambda: said.append("asked"))
        said.append("off")

    run = done(purge_now=True, freeze=freeze)
    assert said == ["on", *["asked"] * 4, "off"]
    assert run.result["purged"] == 4
    assert run.result["freeze_seconds"] > 0
    assert run.result["in_quarantine"] == 0


def test_purge_now_ends_at_once_when_the_freeze_does(small: Small, settings: Any) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"loose",))
    small.sync()
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:  # this process was asleep, and writes are accepted again
            raise Refused("the freeze ended")

    @contextmanager
    def freeze() -> Any:
        yield SimpleNamespace(check=check)

    run = collector.run_gc(by="test", purge_now=True, freeze=freeze)
    assert run is not None
    assert (run.state, run.result["problem"]) == (Run.State.FAILED, "the freeze ended")
    assert (run.result["purged"], run.result["in_quarantine"]) == (2, 2)


def test_the_schedule_runs_it_on_one_host_and_again_when_something_is_due(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=2)
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/app", layers=(b"loose",))
    small.sync()
    found = Run.objects.filter(kind=Run.Kind.GC, by="schedule")
    settings.GC_SCHEDULE = ""
    tasks.gc_by_schedule.call_local()
    settings.GC_SCHEDULE = "* * * * *"
    with monkeypatch.context() as patch:
        patch.setattr(hosts, "leads", lambda: False)
        tasks.gc_by_schedule.call_local()
    assert not found.exists()
    tasks.gc_by_schedule.call_local()
    assert found.get().result["quarantined_manifests"] == 1
    settings.GC_SCHEDULE = "0 2 29 2 *"
    with later(monkeypatch, hours=1):
        tasks.gc_by_schedule.call_local()
    assert found.count() == 1
    with later(monkeypatch, hours=3):
        tasks.gc_by_schedule.call_local()
    assert found.count() == 2
    assert collector.quarantined() == []


def test_floors_hold_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOATHOUSE_QUARANTINE_HOURS", "0")
    with pytest.raises(ImproperlyConfigured, match="between 1 and"):
        _at_least("BOATHOUSE_QUARANTINE_HOURS", 24, 1)
    monkeypatch.setenv("BOATHOUSE_QUARANTINE_HOURS", "48")
    assert _at_least("BOATHOUSE_QUARANTINE_HOURS", 24, 1) == timedelta(hours=48)


# -- the command -----------------------------------------------------------------------------------


def test_the_command_counts_runs_restores_and_says_why_not(
    small: Small, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "FREEZE", None)
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    with pytest.raises(CommandError, match="sync"):
        call_command("gc", stdout=StringIO())
    small.image("team/app", layers=(b"loose",))
    small.sync()

    def said(*arguments: str) -> dict[str, Any]:
        out = StringIO()
        call_command("gc", "--json", *arguments, stdout=out)
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    assert said("--dry-run")["candidate_manifests"] == 1
    assert said()["quarantined_manifests"] == 1
    assert said("--restore", "all") == {"restored": 4}
    for wrong in (["--restore", "no/1"], ["--purge-now", "--yes"], ["--stop"]):
        with pytest.raises(CommandError):
            call_command("gc", *wrong, stdout=StringIO())
    out = StringIO()
    call_command("gc", stdout=out)
    assert "quarantined: 1 manifests, 3 blobs" in out.getvalue()


@pytest.mark.parametrize(
    ("schedule", "is_now"),
    [
        ("0 2 * * 0", True),
        ("0 3 * * 0", False),
        ("* * * * *", True),
        ("", False),
        ("no", False),
        ("1#2/3 * * * *", False),
    ],
)
def test_the_schedule_names_its_minutes(settings: Any, schedule: str, is_now: bool) -> None:
    settings.GC_SCHEDULE = schedule
    sunday = datetime(2026, 11, 22, 2, 0, 30, tzinfo=timezone.get_default_timezone())
    assert collector.is_scheduled(sunday) == is_now
