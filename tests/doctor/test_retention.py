"""The doctor on retention: from the runs of active policies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from registryui import doctor
from registryui.doctor.retention import check_retention
from registryui.models import RetentionPolicy, Run

pytestmark = pytest.mark.django_db


def make_run(policy: RetentionPolicy, state: str, *, hours: float = 0) -> None:
    at = timezone.now() - timedelta(hours=hours)
    result = {"policy_id": policy.pk, "problem": "The registry does not answer."}
    run = Run.objects.create(kind=Run.Kind.RETENTION, state=state, finished_at=at, result=result)
    Run.objects.filter(pk=run.pk).update(started_at=at)


def test_the_last_run_of_each_active_policy_counts() -> None:
    names = ("nightly", "weekly", "off")
    nightly, weekly, off = (
        RetentionPolicy.objects.create(name=name, repositories="*", is_active=name != "off")
        for name in names
    )
    assert check_retention() is None
    make_run(nightly, "failed", hours=3)
    make_run(nightly, "done", hours=2)
    make_run(off, "failed")
    assert check_retention() is None
    make_run(weekly, "failed", hours=1)
    found = check_retention()
    assert found is not None
    assert (found.name, found.state, found.params["count"]) == ("retention", "warn", 1)
    words = doctor.texts(found)
    assert words.value == "The last run of 1 policy failed"
    said = "weekly, 1 hour ago: The registry does not answer."
    assert words.note.replace("\xa0", " ") == said
    assert words.advice
