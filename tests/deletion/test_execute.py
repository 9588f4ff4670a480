"""Deleting on a real registry: what was named goes, all else stays, and it can be taken back."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui import tasks
from registryui.deletion import execute as deletion
from registryui.deletion import protection, recovery, untag
from registryui.deletion import restore as undo
from registryui.deletion.execute import Changed, Selection, execute, plan
from registryui.index import events
from registryui.models import AuditEvent, Manifest, RegistryEvent, Tag, TagTombstone
from registryui.oci import media_types, throw_away
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from tests.selection import Extent
from tests.support.fake_source import CONFIG, IMAGE, LAYER, descriptor, digest_of, encode
from tests.support.faulty import AWAY, way_to
from tests.support.registries import Registry
from tests.support.registry_habits import habits
from tests.support.worlds import BY, R, World, assert_complete, stays

pytestmark = pytest.mark.django_db


def states(outcome: deletion.Outcome) -> dict[str, str]:
    return {one.tag or one.digest: one.state for one in outcome.results}


def fallback(digest: str, suffix: str = "") -> str:
    return digest.replace(":", "-") + suffix


def push_artifact(real: Registry, tag: str = "", subject: str = "", nonce: bytes = b"a") -> str:
    """A referrer, or what cosign attaches by a tag."""
    config = b"{}"
    real.push_blob(R, config)
    real.push_blob(R, nonce)
    more: dict[str, Any] = {}
    if subject:
        about = real.get(R, subject)
        more["subject"] = descriptor(about.headers["content-type"], about.body)
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": "application/vnd.example.note",
            "config": descriptor("application/vnd.oci.empty.v1+json", config),
            "layers": [descriptor(LAYER, nonce)],
            **more,
        }
    )
    return real.push(R, raw, IMAGE, *([tag] if tag else []))


def restore(tag: str, **more: Any) -> None:
    undo.restore(undo.restorable().filter(tag=tag)[0], by=BY, **more)


# -- one tag ---------------------------------------------------------------------------------------


def test_a_tag_goes_alone_and_comes_back_as_it_was(here: World) -> None:
    digest = here.real.push_image(R, "1", "latest", layers=[b"a", b"b"])
    here.hear_all()
    before = Tag.objects.get(name="1")
    outcome = here.delete("1")
    assert states(outcome) == {"1": "deleted"}
    assert (here.digest("1"), here.digest("latest"), here.digest(digest)) == ("", digest, digest)
    assert (here.tags(), here.known()) == ({"latest"}, {"latest": digest})
    assert_complete(here.real, R, "latest")
    row = TagTombstone.objects.get()
    assert (row.tag, row.digest, row.how, row.by, row.act) == (
        *("1", digest, "deleted", BY, outcome.act),
    )
    assert row.tagged_at == before.tagged_at
    assert timedelta(days=6.9) < row.keep_until - timezone.now() < timedelta(days=7.1)

    (result,) = undo.restore_act(outcome.act, by=BY)
    assert result.state == "restored"
    assert (here.digest("1"), here.known()) == (digest, {"1": digest, "latest": digest})
    assert Tag.objects.get(name="1").tagged_at == before.tagged_at
    assert not undo.restorable().exists()
    here.hear_all()
    assert here.known() == {"1": digest, "latest": digest}
    assert Tag.objects.get(name="1").tagged_at == before.tagged_at


def test_history_and_the_audit_log_say_who_it_was_and_nothing_of_the_throw_away(
    here: World,
) -> None:
    digest = here.real.push_image(R, "1", "2")
    here.hear_all()
    outcome = here.delete("1")
    here.hear_all()
    undo.restore_act(outcome.act, by=BY)
    here.hear_all()
    assert here.history("1") == [("push", ""), ("delete", BY), ("push", BY)]
    assert here.history("2") == [("push", "")]
    every = RegistryEvent.objects.filter(repository=R)
    assert set(every.values_list("digest", flat=True)) == {digest}
    assert not every.filter(applied_at=None).exists()
    assert list(AuditEvent.objects.values_list("act", "target", "actor", "result")) == [
        ("delete.begin", f"{R}:1", BY, "done"),
        ("tag.delete", f"{R}:1", BY, "done"),
        ("tag.restore", f"{R}:1", BY, "done"),
    ]
    assert not Manifest.objects.filter(artifact_type=throw_away.ARTIFACT_TYPE).exists()


def test_a_dangling_tag_goes_and_leaves_nothing_to_undo(here: World) -> None:
    digest = here.real.push_image(R, "1")
    here.real.push_image(R, "2", layers=[b"other"])
    shutil.rmtree(here.real.revision(R, digest))
    here.sync()
    assert here.known()["1"] == ""
    assert states(here.delete("1")) == {"1": "deleted"}
    assert here.tags() == {"2"}
    assert set(here.known()) == {"2"}
    assert not TagTombstone.objects.exists()


# -- what hangs together ---------------------------------------------------------------------------


def test_image_indexes_that_share_children_go_one_by_one(here: World) -> None:
    real = here.real
    arm = real.push_image(R, architecture="arm64", layers=[b"shared", b"arm"])
    amd = real.push_image(R, "amd", layers=[b"shared", b"amd"])
    both = [real.child(R, arm, architecture="arm64"), real.child(R, amd, architecture="amd64")]
    first = real.push_index(R, both, "1")
    real.push_index(R, both[:1], "2")
    here.sync()
    outcome = here.delete("1", "amd")
    assert states(outcome) == {"1": "deleted", "amd": "deleted"}
    assert here.tags() == {"2"}
    assert_complete(real, R, "2")
    assert_complete(real, R, first)  # undo keeps it whole
    undo.restore_act(outcome.act, by=BY)
    assert (here.digest("1"), here.digest("amd")) == (first, amd)
    for tag in ("1", "2", "amd"):
        assert_complete(real, R, tag)


def test_signatures_and_fallback_tags_go_with_the_last_tag_and_come_back(here: World) -> None:
    real = here.real
    image = real.push_image(R, "1", "latest")
    other = real.push_image(R, "other", layers=[b"other"])
    signature = push_artifact(real, fallback(image, ".sig"), nonce=b"sig")
    push_artifact(real, fallback(other, ".sig"), nonce=b"sig of other")
    note = push_artifact(real, subject=image, nonce=b"note")
    listing = real.push_index(R, [real.child(R, note)], fallback(image))
    here.sync()
    assert states(here.delete("1")) == {"1": "deleted"}
    outcome = here.delete("latest")
    assert states(outcome) == {
        "latest": "deleted",
        fallback(image, ".sig"): "deleted",
        fallback(image): "deleted",
    }
    assert here.tags() == {"other", fallback(other, ".sig")}
    assert {one.state for one in undo.restore_act(outcome.act, by=BY)} == {"restored"}
    assert here.digest(fallback(image, ".sig")) == signature
    assert here.digest(fallback(image)) == listing
    assert_complete(real, R, fallback(image))
    assert here.digest("1") == ""  # of an earlier act
    restore("1")
    assert here.digest("1") == image


def test_a_referrer_tag_stays_if_its_image_did_not_go(here: World) -> None:
    image = here.real.push_image(R, "1")
    push_artifact(here.real, fallback(image, ".sig"))
    here.sync()
    other = here.real.push_image(R, "1", layers=[b"moved"])
    assert states(here.delete("1")) == {"1": "moved"}
    assert here.tags() == {"1", fallback(image, ".sig")}
    assert here.known()["1"] == other


def test_a_digest_of_two_repositories_goes_from_one(here: World) -> None:
    digest = here.real.push_image(R, "1")
    assert here.real.push_image("other/app", "1") == digest
    here.sync()
    here.delete("1")
    deletion.purge_manifest(R, digest, by=BY)
    assert here.digest(digest) == ""
    assert_complete(here.real, "other/app", "1")
    assert here.known("other/app") == {"1": digest}


# -- somebody else is at it ------------------------------------------------------------------------


def test_nothing_is_done_if_the_tag_moved_since(here: World) -> None:
    here.real.push_image(R, "1")
    here.sync()
    selection = Selection(R, tags=("1",))
    shown = plan(selection)
    newer = here.real.push_image(R, "1", layers=[b"newer"])
    outcome = execute(selection, fingerprint=shown.fingerprint, by=BY)  # the index does not know
    assert states(outcome) == {"1": "moved"}
    assert (here.digest("1"), here.known()) == (newer, {"1": newer})
    with pytest.raises(Changed) as caught:
        execute(selection, fingerprint=shown.fingerprint, by=BY)
    assert isinstance(caught.value.plan, deletion.Plan)
    assert caught.value.plan.going[0].digest == newer
    assert here.digest("1") == newer
    (row,) = TagTombstone.objects.all()
    assert (row.how, row.digest) == ("overwritten", shown.going[0].digest)


def test_a_tag_that_somebody_else_deleted_is_gone(here: World) -> None:
    digest = here.real.push_image(R, "1")
    here.sync()
    here.real.delete(R, digest)
    assert states(here.delete("1")) == {"1": "gone"}
    assert here.known() == {}
    (row,) = undo.restorable()
    assert (row.tag, row.digest, row.how, row.by) == ("1", digest, "deleted", "")
    undo.restore(row, by=BY)
    assert here.digest("1") == digest


def test_what_was_pushed_meanwhile_is_replaced_only_on_demand(here: World) -> None:
    old = here.real.push_image(R, "1")
    here.sync()
    outcome = here.delete("1")
    newer = here.real.push_image(R, "1", layers=[b"newer"])
    with pytest.raises(undo.Taken) as caught:
        restore("1")
    assert caught.value.digest == newer
    (result,) = undo.restore_act(outcome.act, by=BY)
    assert result.state == "moved"
    assert here.digest("1") == newer
    here.hear_all()
    restore("1", expected=newer)
    assert (here.digest("1"), here.known()) == (old, {"1": old})
    (row,) = undo.restorable()
    assert (row.digest, row.how) == (newer, "overwritten")
    undo.restore(row, by=BY, expected=old)
    assert here.digest("1") == newer


def test_a_tag_pushed_again_with_the_same_digest_waits_for_nothing(here: World) -> None:
    here.real.push_image(R, "1")
    here.hear_all()
    here.delete("1")
    here.real.push_image(R, "1")
    here.hear_all()
    assert not undo.restorable().exists()


def test_protected_tags_are_deleted_by_nobody(here: World) -> None:
    here.real.push_image(R, "1", "2")
    here.sync()
    rule = protection.add(R, "1", note="", by="test")
    outcome = here.delete("1", "2")
    assert states(outcome) == {"2": "deleted"}
    assert here.tags() == {"1"}
    selection = Selection(R, tags=("1",))
    shown = plan(selection)
    protection.lift(rule, by="test")
    with pytest.raises(Changed):
        execute(selection, fingerprint=shown.fingerprint, by=BY)
    assert here.tags() == {"1"}


# -- overwritten -----------------------------------------------------------------------------------


def test_an_overwritten_tag_can_be_restored(here: World) -> None:
    old = here.real.push_image(R, "latest")
    here.hear_all()
    newer = here.real.push_image(R, "latest", layers=[b"newer"])
    here.hear_all()
    (row,) = undo.restorable()
    assert (row.tag, row.digest, row.how, row.act) == ("latest", old, "overwritten", "")
    undo.restore(row, by=BY, expected=newer)
    assert (here.digest("latest"), here.known()) == (old, {"latest": old})


def test_each_push_of_a_quick_sequence_can_be_restored(here: World) -> None:
    pushed = [here.real.push_image(R, "latest", layers=[b"%d" % n]) for n in range(4)]
    here.hear_all()
    assert here.known() == {"latest": pushed[-1]}
    assert {row.digest for row in undo.restorable()} == set(pushed[:-1])
    for body in here.told.bodies:  # the registry repeats itself
        events.receive(body)
    assert undo.restorable().count() == 3


# -- untagged, and purged --------------------------------------------------------------------------


def test_an_untagged_manifest_is_marked_and_can_be_kept_after_all(here: World) -> None:
    digest = here.real.push_image(R)
    here.real.push_image(R, "1", layers=[b"other"])
    here.hear_all()
    outcome = here.delete(manifests=(digest,))
    assert states(outcome) == {digest: "deleted"}
    assert here.digest(digest) == digest  # until it is collected
    (row,) = undo.restorable()
    assert (row.tag, row.digest) == ("", digest)
    undo.restore(row, by=BY)
    assert not undo.restorable().exists()
    again = here.delete(manifests=(digest,))
    here.real.delete(R, digest)  # as garbage collection would
    assert [one.state for one in undo.restore_act(again.act, by=BY)] == ["restored"]
    assert_complete(here.real, R, digest)


def test_a_purged_manifest_is_unpullable_with_all_that_only_it_uses(here: World) -> None:
    real = here.real
    shared = real.push_image(R, layers=[b"shared", b"public"])
    secret = real.push_image(R, architecture="arm64", layers=[b"shared", b"secret"])
    bad = real.push_index(R, [real.child(R, shared), real.child(R, secret)], "1", "latest")
    real.push_index(R, [real.child(R, shared)], "good")
    push_artifact(real, fallback(bad, ".sig"))
    here.hear_all()
    here.delete("latest")
    selection = deletion.plan_purge(R, bad)
    assert (selection.tags, selection.children, selection.tombstones) == (("1",), (secret,), 1)
    done = deletion.purge_manifest(R, bad, by=BY, fingerprint=selection.fingerprint)
    assert {one.state for one in done.results} == {"deleted"}
    assert here.tags() == {"good"}
    assert (here.digest(bad), here.digest(secret)) == ("", "")
    assert real.ask("GET", f"/v2/{R}/blobs/{digest_of(b'secret')}").status == 404
    assert_complete(real, R, "good")
    assert here.known() == {"good": here.digest("good")}
    assert not stays(bad)
    assert not stays(secret)
    assert not undo.restorable().exists()
    with pytest.raises(Refused, match="permanently deleted"):
        undo.restore(TagTombstone.objects.get(tag="latest"), by=BY)
    here.hear_all()
    here.sync()
    assert here.known() == {"good": here.digest("good")}
    assert ("delete", BY) in here.history("1")
    assert not RegistryEvent.objects.filter(action="delete").exclude(actor=BY).exists()
    # The same image can be pushed again.
    real.push_image(R, architecture="arm64", layers=[b"shared", b"secret"])
    assert_complete(real, R, secret)


def test_a_purge_asks_anew_if_it_changed_and_refuses_what_is_protected(here: World) -> None:
    digest = here.real.push_image(R, "1")
    here.sync()
    shown = deletion.plan_purge(R, digest)
    here.real.push_image(R, "2")
    here.sync()
    with pytest.raises(Changed):
        deletion.purge_manifest(R, digest, by=BY, fingerprint=shown.fingerprint)
    protection.add(R, "2", note="", by="test")
    with pytest.raises(Refused, match="protected: 2"):
        deletion.purge_manifest(R, digest, by=BY)
    assert here.tags() == {"1", "2"}


# -- a registry that fails -------------------------------------------------------------------------


@pytest.fixture
def ten(here: World) -> World:
    """Ten tags, each with a sibling that is to stay."""
    for number in range(10):
        here.real.push_image(R, f"t{number}", f"s{number}", layers=[b"%d" % number])
    here.sync()
    return here


TEN = tuple(f"t{number}" for number in range(10))


def assert_consistent(here: World) -> None:
    """Siblings work; each tag is on its digest, or can be restored, and the index says so."""
    here.sync()
    rows = {row.tag: row.digest for row in undo.restorable()}
    for number in range(10):
        digest = here.digest(f"s{number}")
        assert_complete(here.real, R, f"s{number}")
        assert here.digest(f"t{number}") == digest or rows[f"t{number}"] == digest
        assert here.known().get(f"t{number}", "") == here.digest(f"t{number}")


def is_manifest_of(path: str, tag: str) -> bool:
    return path.endswith(f"/manifests/{tag}")


def test_a_500_for_one_tag_stops_no_other(ten: World, settings: Any) -> None:
    with way_to(ten.real.url) as way:
        settings.REGISTRY_URL = way.url
        way.fault = lambda method, path: (
            500 if method in ("PUT", "DELETE") and is_manifest_of(path, "t3") else None
        )
        outcome = ten.delete(*TEN)
    assert states(outcome) == dict.fromkeys(TEN, "deleted") | {"t3": "failed"}
    assert next(one.reason for one in outcome.results if one.tag == "t3").endswith("UNKNOWN")
    assert ten.digest("t3") == ten.digest("s3")
    assert undo.restorable().count() == 9
    assert AuditEvent.objects.get(result="failed").target == f"{R}:t3"
    assert_consistent(ten)


def test_a_500_at_the_delete_of_the_throw_away_is_tried_again(ten: World, settings: Any) -> None:
    with way_to(ten.real.url) as way:
        settings.REGISTRY_URL = way.url
        left = [2]

        def fault(method: str, path: str) -> int | None:
            if method == "DELETE" and "sha256:" in path and left[0]:
                left[0] -= 1
                return 500
            return None

        way.fault = fault
        outcome = ten.delete(*TEN)
    assert left == [0] or habits().deletes_tags
    assert set(states(outcome).values()) == {"deleted"}
    assert_consistent(ten)


def test_a_registry_that_deletes_nothing_changes_nothing(ten: World, settings: Any) -> None:
    with way_to(ten.real.url) as way:
        settings.REGISTRY_URL = way.url
        way.fault = lambda method, path: 500 if method == "DELETE" else None
        outcome = ten.delete(*TEN)
    assert set(states(outcome).values()) == {"failed"}
    assert not undo.restorable().exists()
    assert_consistent(ten)


@pytest.mark.parametrize("requests", [1, 5, 15, 25, 33, 40])
def test_a_registry_that_goes_away_in_the_middle_leaves_all_consistent(
    ten: World, settings: Any, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is cut, and what is left over is settled when the registry is back."""
    with way_to(ten.real.url) as way:
        settings.REGISTRY_URL = way.url
        way.fault = lambda method, path: AWAY if len(way.asked) > requests else None
        outcome = ten.delete(*TEN)
    assert len(outcome.results) == 10
    assert {one.state for one in outcome.results} <= {"deleted", "failed"}
    is_over = requests > 30 and habits().deletes_tags  # it needs no more than that
    assert is_over or any(one.state == "failed" for one in outcome.results)
    settings.REGISTRY_URL = ten.real.url
    monkeypatch.setattr(recovery, "UNDER_WAY", timedelta(0))
    ten.sync()
    recovery.recover(is_complete=True)
    recovery.recover(is_complete=True)
    assert_consistent(ten)
    for row in undo.restorable():
        undo.restore(row, by=BY)
    assert {ten.digest(f"t{n}") for n in range(10)} == {ten.digest(f"s{n}") for n in range(10)}


def test_a_process_that_dies_before_the_end_loses_nothing(
    ten: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def die(*args: object) -> str:
            raise KeyboardInterrupt

        patch.setattr(untag._Untagging, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            ten.delete(*TEN)
    if not habits().deletes_tags:
        raw = ten.real.get(R, "t0").body
        assert throw_away.is_one(raw)
    before = undo.restorable().count()
    assert before in (0, 10)  # the index still has the tags, so nothing waits
    assert recovery.recover() == 0  # it may be under way
    # Its process is gone: test_delete.py (e2e) kills one, and the worker takes it up by its name.
    act = TagTombstone.objects.values_list("act", flat=True)[0]
    tasks.take_up.call_local(f"delete-{act}")
    assert {one for one in ten.tags() if one.startswith("t")} == set()
    assert undo.restorable().count() == 10
    assert_consistent(ten)
    assert recovery.recover() == 0


@pytest.mark.parametrize("is_known", [False, True], ids=["not synced", "synced"])
def test_what_a_dead_delete_left_can_be_deleted_again_and_restored(
    ten: World, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """At once, without the worker; whether or not a sync has seen the throw-away meanwhile."""
    with monkeypatch.context() as patch:

        def die(*args: object) -> str:
            raise KeyboardInterrupt

        patch.setattr(untag._Untagging, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            ten.delete(*TEN)
    if is_known:
        ten.sync()
    again = ten.delete(*TEN) if set(TEN) & set(ten.known()) else None
    assert again is None or set(states(again).values()) <= {"deleted", "gone"}
    assert ten.tags() == {f"s{number}" for number in range(10)}
    assert_consistent(ten)
    for number in range(10):
        restore(f"t{number}")
        assert ten.digest(f"t{number}") == ten.digest(f"s{number}")
    assert not undo.restorable().exists()


def test_an_undo_takes_the_place_of_a_throw_away(ten: World) -> None:
    if habits().deletes_tags:
        pytest.skip("This registry deletes by tag: there are no throw-aways.")
    outcome = ten.delete("t0")
    ten.real.push(R, throw_away.make("left over"), media_types.OCI_INDEX, "t0")
    (result,) = undo.restore_act(outcome.act, by=BY)
    assert result.state == "restored"
    assert ten.digest("t0") == ten.digest("s0")


def test_undo_says_what_the_registry_lacks(ten: World, settings: Any) -> None:
    outcome = ten.delete("t0")
    row = undo.restorable().get()
    settings.REGISTRY_URL = "http://127.0.0.1:9"
    with pytest.raises(Refused, match="does not respond, so nothing was done"):
        undo.restore(row, by=BY)
    settings.REGISTRY_URL = ten.real.url
    ten.real.blob(json.loads(ten.real.get(R, "s0").body)["layers"][0]["digest"]).unlink()
    (result,) = undo.restore_act(outcome.act, by=BY)
    assert (result.state, "lacks part" in result.reason) == ("failed", True)
    TagTombstone.objects.update(keep_until=timezone.now())
    with pytest.raises(Refused, match="restore period has ended"):
        undo.restore(row, by=BY)


# -- many ------------------------------------------------------------------------------------------


def push_many(real: Registry, count: int) -> None:
    """Tags t0 …, each an image of its own on one layer; every tenth has a sibling s0, s10 … on the
    same digest."""
    layer, config = b"layer", encode({"os": "linux", "architecture": "amd64"})
    for blob in (layer, config):
        real.push_blob(R, blob)
    with RegistryClient(real.url) as client:
        for number in range(count):
            raw = encode(
                {
                    "schemaVersion": 2,
                    "mediaType": IMAGE,
                    "config": descriptor(CONFIG, config),
                    "layers": [descriptor(LAYER, layer)],
                    "annotations": {"number": str(number)},
                }
            )
            for tag in (f"t{number}", *([f"s{number}"] if number % 10 == 0 else [])):
                client.put_manifest(R, tag, raw, IMAGE)


@pytest.mark.one_database
def test_a_thousand_tags_go_at_once_and_come_back(
    here: World, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, batch = extent((60, 20), (1000, deletion.BATCH))
    monkeypatch.setattr(deletion, "BATCH", batch)
    monkeypatch.setattr(undo, "BATCH", batch)
    push_many(here.real, count)
    here.sync()
    seen: list[tuple[int, int]] = []
    selection = Selection(R, pattern="t*")
    shown = plan(selection)
    assert len(shown.going) == count
    outcome = execute(
        selection,
        fingerprint=shown.fingerprint,
        by=BY,
        progress=lambda done, total: seen.append((done, total)) is None,
    )
    assert set(states(outcome).values()) == {"deleted"}
    assert seen[-1] == (count, count)
    assert len(seen) == count // deletion.BATCH
    assert here.tags() == {f"s{number}" for number in range(0, count, 10)}
    assert here.known().keys() == here.tags()
    assert undo.restorable().count() == count
    results = undo.restore_act(outcome.act, by=BY)
    assert {one.state for one in results} == {"restored"}
    assert len(here.tags()) == count + count // 10
    known = here.known()
    assert all(known[f"t{n}"] == known[f"s{n}"] for n in range(0, count, 10))


def test_a_delete_can_be_stopped(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "BATCH", 20)
    push_many(here.real, deletion.BATCH * 2)
    here.sync()
    selection = Selection(R, pattern="t*")
    outcome = execute(
        selection,
        fingerprint=plan(selection).fingerprint,
        by=BY,
        progress=lambda done, total: False,
    )
    assert len(outcome.results) == deletion.BATCH
    assert len(here.tags()) == deletion.BATCH + deletion.BATCH * 2 // 10
    assert undo.restorable().count() == deletion.BATCH


def test_rows_long_past_their_time_go(ten: World) -> None:
    ten.delete("t0", "t1")
    now = timezone.now()
    TagTombstone.objects.filter(tag="t0").update(keep_until=now - recovery.KEPT - timedelta(days=1))
    TagTombstone.objects.filter(tag="t1").update(keep_until=now - recovery.KEPT + timedelta(days=1))
    assert recovery.prune() == 1
    assert TagTombstone.objects.get().tag == "t1"
