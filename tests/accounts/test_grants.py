"""A maintainer hands on at most what an administrator granted, whichever way is tried."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as live
from django.utils import timezone

from registryui import operators
from registryui.accounts import drift, grants, htpasswd, publish, rights, users
from registryui.models import NEVER, AuditEvent, Operator, RegistryUser, Role
from registryui.refused import Refused
from tests.support.factories import make_maintainer, make_operator

from .checks import inconsistent

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

MO = "operator:mo"
GRANT = (("pull", "team/*"), ("push", "team/*"))
INSIDE = rights.parse([("pull", "team/*"), ("push", "team/api")])
OUTSIDE = {
    "everything": rights.parse([("pull", "*")]),
    "another action": rights.parse([("delete", "team/api")]),
    "the repository beside": rights.parse([("pull", "team")]),
    "one of many": rights.parse([("pull", "team/api"), ("push", "team2/*")]),
}
PASSWORD = "correct horse battery"


def later(days: float) -> timedelta:
    return timedelta(days=days)


@pytest.fixture
def mo(files: Path) -> Operator:
    return make_maintainer("mo", *GRANT, longest_days=90)


def make(name: str, owner: Operator | None, may: rights.Rights = INSIDE, *, days: float = 30):  # type: ignore[no-untyped-def]
    """A user that an administrator made."""
    ends = NEVER if days == float("inf") else timezone.now() + later(days)
    return users.create(name, by="tests", may=may, owner=owner, expires_at=ends).user


def state() -> list[object]:
    """All that a refused act must leave as it was."""
    rows = RegistryUser.objects.order_by("name")
    return [
        [(row.name, users.snapshot(row).fields, users.rights_of(row)) for row in rows],
        publish.read(),
        live.OVERLAP_FILE.read_bytes() if live.OVERLAP_FILE.exists() else b"",
        sorted(str(path) for path in live.RIGHTS_DIR.rglob("*")),
    ]


def refused(act: str, names: list[str], do: Callable[[], object]) -> None:
    """The act is refused, in the audit log for each of the names, and has changed nothing."""
    before, last = state(), AuditEvent.objects.count()
    with pytest.raises(grants.Beyond):
        do()
    assert state() == before
    rows = AuditEvent.objects.order_by("id")[last:]
    assert [(row.act, row.target, row.actor, row.result) for row in rows] == [
        (act, name, MO, "refused") for name in names
    ]


# Every way by which somebody could do more with a user afterwards.
WAYS: dict[str, tuple[str, Callable[[RegistryUser], object]]] = {
    "new secret": ("user.secret", lambda row: users.rotate(row, by=MO)),
    "new secret beside the old": (
        "user.secret",
        lambda row: users.rotate(row, by=MO, overlap=timedelta(hours=1)),
    ),
    "own password": ("user.password", lambda row: users.set_password(row, PASSWORD, by=MO, cost=5)),
    "switch on": ("user.enable", lambda row: users.set_active([row], is_active=True, by=MO)),
    "later end": (
        "user.expire",
        lambda row: users.expire([row], timezone.now() + later(60), by=MO),
    ),
    "another right": (
        "user.rights",
        lambda row: users.set_rights(
            row, users.rights_of(row) | INSIDE | {("push", "team/b")}, by=MO
        ),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_ends_at_the_grant(subtests: pytest.Subtests, mo: Operator, way: str) -> None:
    act, do = WAYS[way]

    def off(row: RegistryUser) -> RegistryUser:
        return (
            users.set_active([row], is_active=False, by="tests").user if way == "switch on" else row
        )

    do(off(make("inside", mo)))
    for number, (kind, may) in enumerate(OUTSIDE.items()):
        with subtests.test(kind):
            row = off(make(f"outside-{number}", mo, may))
            refused(act, [row.name], lambda row=row: do(row))  # type: ignore[misc]
    if way != "later end":  # 60 days are inside
        for kind, days in {"too long": 91.0, "for ever": float("inf")}.items():
            with subtests.test(kind):
                row = off(make(kind, mo, days=days))
                refused(act, [row.name], lambda row=row: do(row))  # type: ignore[misc]
    for kind, owner in {"nobody's": None, "another's": make_maintainer("max", *GRANT)}.items():
        with subtests.test(kind):
            row = off(make(kind, owner))
            refused(act, [row.name], lambda row=row: do(row))  # type: ignore[misc]
    assert inconsistent() == []


def test_making_ends_at_the_grant(subtests: pytest.Subtests, mo: Operator) -> None:
    soon = timezone.now() + later(90)

    def create(name: str, **options: object) -> object:
        given = {"may": INSIDE, "owner": mo, "expires_at": soon, **options}
        return users.create(name, by=MO, **given)  # type: ignore[arg-type]

    create("inside")
    create("no-right", may=frozenset())
    outside: dict[str, dict[str, object]] = {
        **{kind: {"may": may} for kind, may in OUTSIDE.items()},
        "too long": {"expires_at": timezone.now() + later(91)},
        "for ever": {"expires_at": NEVER},
        "nobody's": {"owner": None},
        "another's": {"owner": make_operator("ada", Role.ADMIN)},
    }
    for kind, options in outside.items():
        with subtests.test(kind):
            refused("user.create", [kind], lambda kind=kind, o=options: create(kind, **o))  # type: ignore[misc]
    assert set(publish.lines()) == {"inside", "no-right"}


def test_ends_and_rights_end_at_the_grant(mo: Operator) -> None:
    row = make("ci", mo)
    users.expire([row], timezone.now() + later(89), by=MO)
    refused("user.expire", ["ci"], lambda: users.expire([row], NEVER, by=MO))
    refused("user.expire", ["ci"], lambda: users.expire([row], timezone.now() + later(91), by=MO))
    for may in OUTSIDE.values():
        refused("user.rights", ["ci"], lambda may=may: users.set_rights(row, may, by=MO))  # type: ignore[misc]


def test_one_outside_refuses_all_that_were_chosen(mo: Operator) -> None:
    rows = [make("inside", mo), make("outside", mo, OUTSIDE["everything"])]
    users.set_active(rows, is_active=False, by=MO)
    names = ["inside", "outside"]
    refused("user.enable", names, lambda: users.set_active(rows, is_active=True, by=MO))
    users.set_active(rows[:1], is_active=True, by=MO)


def test_whoever_has_more_can_be_limited_and_ended(mo: Operator) -> None:
    """A maintainer who sees a leak need not wait for an administrator."""
    row = make("ci", mo, rights.parse([("pull", "*"), ("push", "*")]), days=float("inf"))
    users.set_rights(row, rights.parse([("pull", "*"), ("push", "other/*")]), by=MO)
    users.expire([row], timezone.now() + later(400), by=MO)
    row = users.describe(row, note="leaked", owner=mo, by=MO)
    refused(
        "user.rights",
        ["ci"],
        lambda: users.set_rights(row, rights.parse([("pull", "*"), ("push", "*")]), by=MO),
    )
    refused("user.expire", ["ci"], lambda: users.expire([row], NEVER, by=MO))
    users.set_active([row], is_active=False, by=MO)
    users.remove([row], by=MO)
    assert not RegistryUser.objects.exists()


def test_an_end_of_their_own_choice_opens_the_way_again(mo: Operator) -> None:
    row = make("ci", mo, days=float("inf"))
    with pytest.raises(Refused, match="Choose an earlier expiry date for ci first"):
        users.rotate(row, by=MO)
    users.expire([row], timezone.now() + later(90), by=MO)
    assert users.rotate(row, by=MO).secret


def test_nobody_takes_over_another_ones_user(mo: Operator) -> None:
    row, own = make("ci", None), make("own", mo)
    for owner in (mo, None):
        act = "user.describe"
        refused(act, ["ci"], lambda o=owner: users.describe(row, note="", owner=o, by=MO))  # type: ignore[misc]
    refused("user.describe", ["own"], lambda: users.describe(own, note="", owner=None, by=MO))
    refused("user.describe", ["ci"], lambda: users.hand_over([row], mo, by=MO))
    refused("user.remove", ["ci"], lambda: users.remove([row], by=MO))
    refused("user.disable", ["ci"], lambda: users.set_active([row], is_active=False, by=MO))


@pytest.mark.django_db(transaction=True)
def test_the_file_is_for_administrators(mo: Operator) -> None:
    """A line that a maintainer wrote, or an old version of the file, would be a secret as well."""
    make("ci", mo)
    make("ci2", mo)
    live.HTPASSWD_FILE.write_bytes(publish.read() + b"hand:{SHA}x\n")
    [one] = drift.find()
    version = publish.versions()[0]
    for act, names, do in (
        (drift.TAKE_OVER, ["hand"], lambda: drift.take_over([one], by=MO)),
        (drift.REVERT, ["hand"], lambda: drift.restore_lines([one], by=MO)),
        (drift.LEAVE, ["hand"], lambda: drift.leave_alone([one], by=MO)),
        (drift.RESTORE, [version.name], lambda: drift.restore(version, by=MO)),
    ):
        refused(act, names, do)
    with pytest.raises(grants.Beyond):
        users.adopt({"hand": htpasswd.hash_secret("x")}, by=MO, may=INSIDE)
    assert drift.take_over([one], by="operator:" + make_operator("ada", Role.ADMIN).username)


@pytest.mark.parametrize("becomes", ["off", "viewer", "removed", "narrower"])
def test_what_an_administrator_takes_counts_at_once(mo: Operator, becomes: str) -> None:
    row = make("ci", mo)
    if becomes == "off":
        operators.set_active(mo, is_active=False, by="tests")
    elif becomes == "viewer":
        operators.set_role(mo, Role.VIEWER, by="tests")
    elif becomes == "removed":
        operators.remove(mo, by="tests")
    else:
        operators.set_grant(mo, rights.parse([("pull", "team/*")]), longest_days=90, by="tests")
    row.refresh_from_db()
    refused("user.secret", ["ci"], lambda: users.rotate(row, by=MO))
    assert publish.lines().keys() == {"ci"}  # and what works, works on


def test_an_administrator_and_the_command_line_give_everything(files: Path) -> None:
    make_operator("ada", Role.ADMIN)
    for name, by in (("one", "operator:ada"), ("two", "command line"), ("three", "set-up")):
        row = users.create(name, by=by, may=OUTSIDE["everything"]).user
        users.rotate(row, by=by)


def test_a_grant_is_replaced_as_one_and_is_in_the_log(mo: Operator) -> None:
    operators.set_grant(mo, OUTSIDE["everything"], longest_days=None, by="operator:ada")
    mo.refresh_from_db()
    assert grants.of(mo) == grants.Giver(mo.pk, False, OUTSIDE["everything"], None)
    row = AuditEvent.objects.get(act="operator.grant")
    assert (row.target, row.actor) == ("mo", "operator:ada")
    assert row.details == {
        "rights": ["pull *"],
        "before": ["pull team/*", "push team/*"],
        "longest_days": None,
    }
    for days in (0, -1, 36501):
        with pytest.raises(Refused, match="1 to 36500 days"):
            operators.set_grant(mo, INSIDE, longest_days=days, by="tests")


def test_beyond_knows_what_each_scope_holds(subtests: pytest.Subtests) -> None:
    given = rights.parse([("pull", "team/*"), ("push", "team/api"), ("delete", "*")])
    inside = [
        *(("pull", "team/*"), ("pull", "team/a/*"), ("pull", "team/a/b"), ("push", "team/api")),
        *(("delete", "*"), ("delete", "team/*"), ("delete", "x")),
    ]
    outside = [
        *(("pull", "*"), ("pull", "team"), ("pull", "teams/*"), ("pull", "teams/a")),
        *(("push", "team/*"), ("push", "team/api/*"), ("push", "team/api2"), ("push", "*")),
    ]
    for pair, is_inside in [*((one, True) for one in inside), *((one, False) for one in outside)]:
        with subtests.test(pair):
            wanted = rights.parse([pair])
            assert rights.beyond(wanted, given) == (frozenset() if is_inside else wanted)
