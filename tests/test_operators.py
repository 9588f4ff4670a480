"""Operators: nobody can lock everybody out."""

import pytest

from registryui import operators
from registryui.models import Operator, Role
from registryui.refused import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Operator:
    return operators.add("root", role=Role.ADMIN, by="test")[0]


def test_a_generated_password_opens_the_proxy_and_is_not_kept_in_clear(admin: Operator) -> None:
    made, password = operators.add("vera", role=Role.VIEWER, by=admin.username)
    assert made.check_password(password)
    assert len(password) >= 20
    assert password not in made.password


def test_the_last_active_administrator_stays_one(admin: Operator) -> None:
    operators.add("vera", role=Role.VIEWER, by="test")
    for change in (
        lambda: operators.set_role(admin, Role.VIEWER, by="command line"),
        lambda: operators.set_active(admin, is_active=False, by="command line"),
        lambda: operators.remove(admin, by="command line"),
    ):
        with pytest.raises(Refused):
            change()
    admin.refresh_from_db()
    assert admin.is_active
    assert admin.role == Role.ADMIN


def test_with_a_second_administrator_the_first_may_go(admin: Operator) -> None:
    operators.add("second", role=Role.ADMIN, by="test")
    operators.remove(admin, by="second")
    assert [one.username for one in Operator.objects.all()] == ["second"]


def test_a_name_is_taken_once(admin: Operator) -> None:
    with pytest.raises(Refused):
        operators.add("root", role=Role.VIEWER, by="test")


def test_a_weak_password_is_refused(admin: Operator) -> None:
    with pytest.raises(Refused):
        operators.add("vera", role=Role.VIEWER, by="test", password="password")
    assert not Operator.objects.filter(username="vera").exists()
