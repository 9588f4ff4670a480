"""The same where a port is set for the registry: its writes are then known by their addresses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.support.instance import Instance, running_instance
from tests.support.parts import free_port
from tests.support.writes_under_way import (  # noqa: F401  (tests)
    renewed,
    test_a_slow_upload_is_waited_for,
    test_a_write_that_its_client_gave_up_counts_until_the_registry_is_done,
    test_only_what_is_under_way_now_is_waited_for,
    test_what_the_registry_has_not_answered_is_counted,
    user_with_push,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]


@pytest.fixture(scope="module")
def standing(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Instance]:
    with django_db_blocker.unblock(), running_instance(registry_port=free_port()) as made:
        made.remember()
        yield made


@pytest.fixture
def instance(standing: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    return renewed(standing, monkeypatch)


@pytest.fixture
def user(instance: Instance) -> tuple[str, str]:
    return user_with_push()
