"""Expiry of tags, on a real registry: what goes, who keeps it, and that it comes back to stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from registryui.deletion import execute, protection, restore
from registryui.index.sync import sync
from registryui.models import NEVER, AuditEvent, Mirror, Run, Tag, TagTombstone
from registryui.oci.expiry import LABEL
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.retention import expiry
from tests.support import pushed
from tests.support.parts import running_registry
from tests.support.registries import Registry

pytestmark = pytest.mark.django_db

R = "team/app"
PAST = timedelta(hours=1)


@pytest.fixture
def real(tmp_path: Path, settings: Settings) -> Iterator[Registry]:
    """team/app with v0 to v3, each on an image of its own that says it expires after an hour."""
    with running_registry(tmp_path / "registry") as url:
        settings.REGISTRY_URL = url
        registry = Registry(url, tmp_path / "registry" / "store")
        for number in range(4):
            layers = [f"layer {number}".encode()]
            registry.push_image(R, f"v{number}", layers=layers, labels={LABEL: "1h"})
        with RegistryClient(url) as client:
            assert sync(client, by="test") is not None
        yield registry


def tags(registry: Registry) -> set[str]:
    return set(registry.tags(R).json()["tags"] or ())


def expire(*names: str) -> None:
    """As if their time had come."""
    Tag.objects.filter(name__in=names).update(expires_at=timezone.now() - PAST)


def test_what_expired_goes_is_audited_and_comes_back_to_stay(
    real: Registry, settings: Settings
) -> None:
    assert expiry.run_due() is None  # nothing is set, and labels do not count
    protection.add(R, "v2", note="", by="vera")
    expire("v0", "v2")
    pushed_at = timezone.now() - 2 * PAST
    Tag.objects.filter(name="v1").update(
        tagged_at=pushed_at, label_expires_at=pushed_at + timedelta(hours=1)
    )
    settings.EXPIRE_BY_LABEL = True
    done = expiry.run_due()
    assert done is not None
    assert (done.kind, done.state, done.log) == (Run.Kind.EXPIRY, Run.State.DONE, "")
    assert tags(real) == {"v2", "v3"}
    report = {fate.tag: (fate.kind, fate.reason) for fate in done.fates.all()}
    assert report == {
        "v0": ("goes", "expired"),
        "v1": ("goes", "expired"),
        "v2": ("saved", "protected"),
    }
    assert done.fates.get(tag="v1").note.startswith("label ")
    assert (done.result["goes"], done.result["saved"], done.result["failed"]) == (2, 1, 0)
    audited = AuditEvent.objects.filter(act="tag.expire").values_list("target", "actor")
    assert set(audited) == {(f"{R}:v0", "tag expiry"), (f"{R}:v1", "tag expiry")}
    last = AuditEvent.objects.order_by("id").last()
    assert last is not None
    assert (last.act, last.details["goes"]) == ("expiry.run", 2)
    assert expiry.run_due() is None  # what is left is protected

    (act,) = set(TagTombstone.objects.values_list("act", flat=True))
    assert {one.state for one in restore.restore_act(act, by="operator:vera")} == {"restored"}
    assert tags(real) == {"v0", "v1", "v2", "v3"}
    assert expiry.run_due() is None
    restored = Tag.objects.get(name="v1")
    assert (restored.tagged_at, restored.expires_at) == (pushed_at, NEVER)


def test_a_tag_that_was_pushed_or_changed_a_moment_ago_stays(
    real: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire("v0", "v1")
    plan, left = execute.plan, ["v1"]

    def meanwhile(selection: execute.Selection) -> execute.Plan:
        if left:
            real.push_image(R, left.pop(), layers=[b"another"])
        return plan(selection)

    monkeypatch.setattr(execute, "plan", meanwhile)
    done = expiry.run_due()
    assert done is not None
    assert {
        fate.tag: (fate.kind, fate.note) for fate in done.fates.all() if fate.kind != "goes"
    } == {"v1": ("failed", "moved")}
    assert "v1" in tags(real)
    assert expiry.run_due() is None  # not again within the hour
    Run.objects.filter(pk=done.pk).update(started_at=timezone.now() - 2 * PAST)
    Tag.objects.filter(name="v1").update(expires_at=None)
    assert expiry.run_due() is None


def test_while_the_registry_does_not_respond_nothing_is_begun(settings: Settings) -> None:
    settings.REGISTRY_URL = "http://127.0.0.1:9"
    pushed.image(R, tags=["v0"])
    expire("v0")
    assert expiry.run_due() is None
    assert not Run.objects.exists()


def test_who_sets_it_is_in_the_audit_log() -> None:
    image = pushed.image(R, tags=["v0"])
    at = datetime(2030, 1, 1, 12, tzinfo=UTC)
    expiry.set_expiry(R, "v0", at, by="operator:vera")
    expiry.set_expiry(R, "v0", NEVER, by="operator:vera")
    expiry.set_expiry(R, "v0", None, by="operator:vera")
    assert Tag.objects.get().expires_at is None
    rows = AuditEvent.objects.filter(act="tag.expiry", target=f"{R}:v0").order_by("id")
    assert [row.details["expires_at"] for row in rows] == [
        *("2030-01-01T12:00:00+00:00", "never", "")
    ]
    assert {row.details["digest"] for row in rows} == {image.digest}


def test_nothing_is_set_that_the_audit_log_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed.image("team/app", tags=["1"])

    def full(*_words: object, **_more: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(expiry.audit, "record", full)
    with pytest.raises(OSError, match="no space left"):
        expiry.set_expiry("team/app", "1", NEVER, by="tests")
    assert Tag.objects.get(name="1").expires_at is None


def test_what_cannot_be_set_is_refused_with_a_sentence() -> None:
    pushed.image(R, tags=["v0", f"sha256-{'0' * 64}.sig"])
    pushed.image("hub/app", tags=["v0"])
    Mirror.objects.create(name="hub", url="https://hub.example")
    soon = timezone.now() + PAST
    for repository, tag, at, reason in (
        (R, "none", soon, "There is no tag team/app:none."),
        (R, f"sha256-{'0' * 64}.sig", soon, "belongs to an image"),
        ("hub/app", "v0", soon, "Tags of mirrors do not expire"),
        (R, "v0", timezone.now(), "in the future"),
        (R, "v0", timezone.now() + timedelta(days=3651), "ten years"),
    ):
        with pytest.raises(Refused, match=reason):
            expiry.set_expiry(repository, tag, at, by="a")
    assert not Tag.objects.exclude(expires_at=None).exists()


def test_times_as_people_type_them(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    assert expiry.moment("2030-01-01T12:00") == datetime(2030, 1, 1, 12, tzinfo=UTC)
    assert expiry.moment("2030-01-01T12:00+02:00") == datetime(2030, 1, 1, 10, tzinfo=UTC)
    assert expiry.moment("2030-01-01").date() == datetime(2030, 1, 1, tzinfo=UTC).date()
    assert expiry.moment("2030-01-01") > datetime(2030, 1, 1, 23, tzinfo=UTC)
    assert timedelta(days=13) < expiry.after("2w") - timezone.now() <= timedelta(days=14)
    for text in ("", "tomorrow", "2030-02-30", "2030-13-01T12:00", "10000-01-01"):
        with pytest.raises(Refused, match="Enter a date and time"):
            expiry.moment(text)
    for text in ("", "2 weeks", "0h", "11y"):
        with pytest.raises(Refused, match="Enter a duration"):
            expiry.after(text)
