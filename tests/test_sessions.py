"""What the table of sessions is good for, to whoever reads it: nothing."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from portal.sessions import SessionStore

pytestmark = pytest.mark.django_db


def test_a_row_has_neither_the_key_nor_the_content() -> None:
    session = SessionStore()
    session["secret"] = "geheim"
    session.save()
    row = Session.objects.get()
    key = session.session_key
    assert key
    assert key not in (row.session_key, row.session_data)
    assert "geheim" not in str(row.get_decoded())
    assert SessionStore(key)["secret"] == "geheim"
    assert SessionStore(row.session_key).get("secret") is None


def test_a_session_is_changed_renamed_and_deleted() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()
    first = session.session_key
    session["a"] = 2
    session.save()
    assert Session.objects.count() == 1
    assert SessionStore(first)["a"] == 2
    session.cycle_key()
    session.save()
    assert session.session_key != first
    assert SessionStore(first).get("a") is None
    assert SessionStore(session.session_key)["a"] == 2
    assert session.exists(session.session_key)
    session.flush()
    assert not Session.objects.exists()


def test_one_that_has_expired_or_was_written_before_is_none() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert SessionStore(session.session_key).get("a") is None
    SessionStore.clear_expired()
    assert not Session.objects.exists()
    soon = timezone.now() + timedelta(hours=1)
    Session.objects.create(session_key="a" * 32, session_data="eyJhIjoxfQ:1", expire_date=soon)
    assert SessionStore("a" * 32).get("a") is None


def test_use_makes_none_last_longer_than_12_hours() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()
    began = timezone.now()
    for hours in (6, 11):
        with mock.patch.object(timezone, "now", return_value=began + timedelta(hours=hours)):
            again = SessionStore(session.session_key)
            again["a"] += 1
            again.save()
    assert Session.objects.get().expire_date <= began + timedelta(hours=12)
    with mock.patch.object(timezone, "now", return_value=began + timedelta(hours=13)):
        assert SessionStore(session.session_key).get("a") is None


def test_the_content_is_bound_to_its_key() -> None:
    """A row cannot be given the content of another one."""
    one, other = SessionStore(), SessionStore()
    for session, value in ((one, 1), (other, 2)):
        session["a"] = value
        session.save()
    content = Session.objects.get(session_key=one.create_model_instance({}).session_key)
    Session.objects.exclude(pk=content.pk).update(session_data=content.session_data)
    assert SessionStore(one.session_key)["a"] == 1
    assert SessionStore(other.session_key).get("a") is None
