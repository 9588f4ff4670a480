"""Retention policies: what may be one, drafts, and what the audit log says of them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from registryui.models import AuditEvent, RetentionPolicy
from registryui.refused import Refused
from registryui.retention import policies
from registryui.retention.policies import Wanted

pytestmark = pytest.mark.django_db

NIGHTLY = Wanted("nightly", "team/*", "pr-* build-*", keep_newest=3, schedule="0 4 * * SUN")


def acts() -> list[tuple[str, str, str]]:
    return list(AuditEvent.objects.values_list("act", "target", "actor"))


def test_a_new_policy_is_a_draft_and_stands_in_the_audit_log() -> None:
    row = policies.add(replace(NIGHTLY, tags=" pr-*,build-* pr-* "), by="operator:vera")
    assert (row.tags, row.is_active, row.next_at) == ("pr-* build-*", False, None)
    assert acts() == [("retention.add", "nightly", "operator:vera")]
    assert AuditEvent.objects.get().details["keep_newest"] == 3
    assert policies.active() == policies.due(timezone.now() + timedelta(days=30)) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"keep_newest": None}, "keeps nothing"),
        ({"keep_newest": 0}, "keeps nothing"),
        ({"keep_newest": None, "keep_tags": " , "}, "keeps nothing"),
        ({"keep_newest": -1}, "from 1 to"),
        ({"keep_newest": 10**9}, "from 1 to"),
        ({"keep_pushed_days": 36501}, "from 1 to 36500"),
        ({"keep_pulled_days": 2**31}, "from 1 to 36500"),
        ({"repositories": ""}, "the repositories"),
        ({"repositories": "team/?"}, "the repositories"),
        ({"tags": "pr-[0-9]"}, "the tags to delete"),
        ({"keep_tags": "v1.0\n$"}, "the tags to keep"),
        ({"tags": "a" * 513}, "512"),
        ({"name": ""}, "policy name"),
        ({"name": "=1+1"}, "policy name"),
        ({"name": "n" * 65}, "policy name"),
        ({"schedule": "sometimes"}, "not a schedule"),
    ],
)
def test_what_cannot_be_a_policy_is_refused_and_leaves_nothing(
    fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        policies.add(replace(NIGHTLY, **fields), by="operator:vera")  # type: ignore[arg-type]
    assert not RetentionPolicy.objects.exists()
    assert acts() == []


def test_a_second_policy_of_the_same_name_is_refused() -> None:
    policies.add(NIGHTLY, by="a")
    other = policies.add(replace(NIGHTLY, name="other"), by="a")
    for _try in range(2):
        with pytest.raises(Refused, match="already"):
            policies.add(NIGHTLY, by="a")
        with pytest.raises(Refused, match="already"):
            policies.change(other, NIGHTLY, by="a")
    assert RetentionPolicy.objects.count() == 2
    assert len(acts()) == 2


def test_an_enabled_policy_has_a_next_time_and_a_disabled_one_none() -> None:
    row = policies.set_active(policies.add(NIGHTLY, by="a"), is_active=True, by="a")
    assert row.next_at is not None
    assert timezone.now() < row.next_at <= timezone.now() + timedelta(days=7)
    assert policies.active() == [row]
    row = policies.set_active(row, is_active=False, by="b")
    assert row.next_at is None
    policies.set_active(row, is_active=False, by="b")  # is off already: nothing to say
    assert [act for act, _target, _by in acts()] == [
        "retention.add",
        "retention.enable",
        "retention.disable",
    ]


def test_a_policy_that_decides_otherwise_is_a_draft_again() -> None:
    row = policies.set_active(policies.add(NIGHTLY, by="a"), is_active=True, by="a")
    row = policies.change(row, replace(NIGHTLY, schedule="0 5 * * *", name="early"), by="a")
    assert row.is_active
    assert row.next_at is not None
    assert row.next_at <= timezone.now() + timedelta(days=1)
    row = policies.change(row, replace(NIGHTLY, keep_newest=2), by="a")
    assert (row.is_active, row.next_at) == (False, None)
    last = AuditEvent.objects.order_by("id").last()
    assert last is not None
    assert (last.details["before"]["keep_newest"], last.details["keep_newest"]) == (3, 2)


def test_what_somebody_removed_cannot_be_changed() -> None:
    row = policies.add(NIGHTLY, by="a")
    stale = RetentionPolicy.objects.get()
    policies.remove(row, by="a")
    with pytest.raises(Refused, match="removed"):
        policies.change(stale, NIGHTLY, by="a")
    with pytest.raises(Refused, match="removed"):
        policies.set_active(stale, is_active=True, by="a")
    with pytest.raises(Refused, match="removed"):
        policies.remove(stale, by="a")


def test_a_run_that_is_due_is_claimed_once() -> None:
    row = policies.set_active(policies.add(NIGHTLY, by="a"), is_active=True, by="a")
    past = timezone.now() - timedelta(days=20)
    RetentionPolicy.objects.update(next_at=past)
    (mine,), (theirs,) = policies.due(timezone.now()), policies.due(timezone.now())
    assert policies.claim(mine, timezone.now())
    assert not policies.claim(theirs, timezone.now())
    row.refresh_from_db()
    assert row.next_at is not None
    assert row.next_at > timezone.now()  # three Sundays were missed: they come once
