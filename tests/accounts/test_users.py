"""Each act on registry users: what it does to rows and lines, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live
from django.db import IntegrityError
from django.utils import timezone

from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.models import NEVER, UNKNOWN, RegistryUser, Role, State, new_generation
from registryui.refused import Refused
from tests.support.factories import make_operator

from .checks import inconsistent

pytestmark = pytest.mark.django_db

PULL = rights.parse([("pull", "team/*")])
PASSWORD = "correct horse battery"


def make(name: str = "ci", **options: Any) -> RegistryUser:
    return users.create(name, by="tests", **options).user


def again(row: RegistryUser) -> RegistryUser:
    return RegistryUser.objects.get(pk=row.pk)


# -- make ------------------------------------------------------------------------------------------
def test_a_new_user_has_what_was_asked(files: Path) -> None:
    owner = make_operator("mia", Role.MAINTAINER)
    end = timezone.now() + timedelta(days=1)
    done = users.create("ci", by="vera", may=PULL, note=" for CI ", expires_at=end, owner=owner)
    row = again(done.user)
    assert (row.note, row.owner, row.expires_at, row.made_by) == ("for CI", owner, end, "vera")
    assert (row.is_active, row.is_generated, row.is_pending) == (True, True, False)
    assert users.rights_of(row) == PULL
    assert len(done.secret) == 40
    assert publish.lines() == {"ci": row.secret_hash}
    assert htpasswd.verify(row.secret_hash, done.secret)
    assert done.secret not in str(RegistryUser.objects.values())
    assert not done.proof.is_proved  # there is no proxy here: written all the same
    assert done.proof.reason
    assert inconsistent() == []


def test_the_secret_is_in_no_log(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = users.create("ci", by="tests")
    new = users.rotate(done.user, by="tests")
    users.set_password(done.user, PASSWORD, by="tests", cost=5)
    assert "ci" in caplog.text
    assert [one for one in (done.secret, new.secret, PASSWORD) if one in caplog.text] == []


def test_a_name_that_is_taken_is_refused(files: Path) -> None:
    make("ci")
    with pytest.raises(Refused, match="A registry user named ci already exists"):
        make("ci")
    assert list(publish.lines()) == ["ci"]


def test_two_who_make_the_same_user_at_once_get_one(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has looked before the first one's row was there."""
    secret = users.create("ci", by="first", may=PULL).secret
    monkeypatch.setattr(users, "_new_name", lambda name: name)
    with pytest.raises(Refused, match="already"):
        make("ci", may=rights.parse([("push", "*")]))
    assert htpasswd.verify(publish.lines()["ci"], secret)
    assert users.rights_of(RegistryUser.objects.get()) == PULL
    assert inconsistent() == []


def test_a_name_of_a_line_made_by_hand_is_refused(files: Path) -> None:
    live.HTPASSWD_FILE.write_bytes(b"hand:{SHA}x\n")
    with pytest.raises(Refused, match="accept it"):
        make("hand")
    with pytest.raises(Refused, match="is not a valid name for a registry user"):
        make(htpasswd.CANARY)
    assert publish.read() == b"hand:{SHA}x\n"


@pytest.mark.parametrize(("name", "warns"), [("CI", True), ("ci2", False), ("c-i", False)])
def test_a_name_that_differs_only_by_case_warns(files: Path, name: str, warns: bool) -> None:
    make("ci")
    done = users.create(name, by="tests")
    assert done.warning == (
        "There is also a user ci: logins are case-sensitive; such names are easily confused."
        if warns
        else ""
    )
    assert set(publish.lines()) == {"ci", name}


def test_an_end_that_is_past_is_refused(files: Path) -> None:
    with pytest.raises(Refused, match="would expire immediately"):
        make(expires_at=timezone.now())
    assert not RegistryUser.objects.exists()


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("x" * 7, "8 to 72 bytes long; this one has 7"),
        ("é" * 3 + "x", "this one has 7"),
        ("é" * 37, "this one has 74"),
        ("x" * 73, "this one has 73"),
        ("password", "too common"),
        ("ci-builder", "must not be the user name"),
        ("CI-Builder", "must not be the user name"),
        ("tab\tinside", "not contain control characters"),
        ("line\ninside", "not contain control characters"),
        ("nul\0inside", "not contain control characters"),
        ("\ud800surrogate", "not contain control characters"),
    ],
)
def test_a_password_that_is_easy_or_odd_is_refused(files: Path, password: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        make("ci-builder", password=password)
    row = make("ci-builder")
    with pytest.raises(Refused, match=reason):
        users.set_password(row, password, by="tests")
    assert again(row).secret_hash == row.secret_hash


@pytest.mark.parametrize("password", ["é" * 4, "é" * 36, "all lower case no digit", "with:colon x"])
def test_a_password_of_eight_to_seventy_two_bytes_is_taken(files: Path, password: str) -> None:
    done = users.create("ci", by="tests", password=password, cost=5)
    assert done.secret == ""
    assert htpasswd.kind(publish.lines()["ci"]) == htpasswd.Kind.BCRYPT
    assert htpasswd.verify(publish.lines()["ci"], password)
    assert not again(done.user).is_generated


@pytest.mark.parametrize("cost", [4, 9, 31])
def test_a_cost_that_is_too_low_or_too_high_is_refused(files: Path, cost: int) -> None:
    with pytest.raises(Refused, match="5 to 8"):
        make(password=PASSWORD, cost=cost)


# -- change ----------------------------------------------------------------------------------------
def test_a_rotation_replaces_the_secret_at_once(files: Path) -> None:
    row = make(password=PASSWORD, cost=5)
    done = users.rotate(row, by="tests")
    row = again(row)
    assert htpasswd.verify(publish.lines()["ci"], done.secret)
    assert row.is_generated
    assert (row.old_hash, row.old_until) == ("", UNKNOWN)
    assert live.OVERLAP_FILE.read_bytes() == b""


def test_a_rotation_may_overlap_and_ends_by_itself(files: Path) -> None:
    row = make()
    old = row.secret_hash
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    assert htpasswd.parse(live.OVERLAP_FILE.read_bytes()) == {"ci": old}
    assert publish.next_ends(timedelta(hours=2)) == [again(row).old_until]
    RegistryUser.objects.update(old_until=timezone.now())
    publish.catch_up()
    assert live.OVERLAP_FILE.read_bytes() == b""
    assert inconsistent() == []
    RegistryUser.objects.update(old_until=timezone.now() - publish.REMEMBERED)
    publish.catch_up()
    assert again(row).old_hash == ""


def test_a_second_rotation_ends_the_first_ones_overlap(files: Path) -> None:
    row = make()
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    second = again(row).secret_hash
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    assert htpasswd.parse(live.OVERLAP_FILE.read_bytes()) == {"ci": second}
    users.set_password(row, PASSWORD, by="tests", cost=5)
    assert live.OVERLAP_FILE.read_bytes() == b""


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=31)])
def test_an_overlap_that_is_too_long_is_refused(files: Path, overlap: timedelta) -> None:
    row = make()
    with pytest.raises(Refused, match="at most 30 days"):
        users.rotate(row, by="tests", overlap=overlap)
    assert again(row).secret_hash == row.secret_hash


def test_off_and_on_keep_everything(files: Path) -> None:
    row = make(may=PULL)
    line = publish.lines()["ci"]
    off = users.set_active([row], is_active=False, by="tests")
    assert off.user.state == State.OFF
    assert publish.lines() == {}
    assert not (live.RIGHTS_DIR / "ci").exists()
    assert inconsistent() == []
    on = users.set_active([row], is_active=True, by="tests")
    assert on.user.state == State.ACTIVE
    assert publish.lines() == {"ci": line}
    assert (live.RIGHTS_DIR / "ci" / "pull" / "team" / "@all").exists()


def test_an_end_in_the_future_is_kept_by_the_clock(files: Path) -> None:
    row = make(may=PULL)
    users.expire([row], timezone.now() + timedelta(hours=1), by="tests")
    assert list(publish.lines()) == ["ci"]
    RegistryUser.objects.update(expires_at=timezone.now())
    assert again(row).state == State.EXPIRED
    assert publish.catch_up() == 1
    assert publish.lines() == {}
    assert inconsistent() == []
    assert publish.catch_up() == 0  # once
    users.expire([row], NEVER, by="tests")
    assert list(publish.lines()) == ["ci"]


def test_removed_is_forgotten_in_rows_lines_and_markers(files: Path) -> None:
    rows = [make(name, may=PULL) for name in ("a", "b", "c")]
    users.remove(rows[:2], by="tests")
    assert list(RegistryUser.objects.values_list("name", flat=True)) == ["c"]
    assert list(publish.lines()) == ["c"]
    assert [path.name for path in live.RIGHTS_DIR.iterdir()] == ["c"]
    assert users.create("a", by="tests").user  # the name is free again, without its rights
    assert not (live.RIGHTS_DIR / "a").exists()


def test_several_at_once_are_one_write(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [make(name) for name in ("a", "b", "c")]
    writes, write = [], publish.write
    monkeypatch.setattr(
        publish, "write", lambda pks, **how: writes.append(pks) or write(pks, **how)
    )
    done = users.set_active([rows[2], rows[0]], is_active=False, by="tests")
    assert [row.name for row in done.users] == ["c", "a"]
    assert len(writes) == 1
    assert list(publish.lines()) == ["b"]


def test_nobody_chosen_and_somebody_gone_is_refused(files: Path) -> None:
    with pytest.raises(Refused, match="at least one"):
        users.set_active([], is_active=False, by="tests")
    a, b = make("a"), make("b")
    users.remove([a], by="tests")
    for act in (
        lambda: users.set_active([a, b], is_active=False, by="tests"),
        lambda: users.rotate(a, by="tests"),
        lambda: users.remove([b, a], by="tests"),
    ):
        with pytest.raises(Refused, match="in the meantime"):
            act()
    assert list(publish.lines()) == ["b"]


def test_a_name_that_is_no_folder_cannot_have_rights(files: Path) -> None:
    live.HTPASSWD_FILE.write_bytes(b"a/b:{SHA}x\n")
    drift.take_over(drift.find(), by="tests")
    row = RegistryUser.objects.get()
    with pytest.raises(Refused, match="cannot have rights"):
        users.set_rights(row, PULL, by="tests")
    users.set_rights(row, frozenset(), by="tests")
    assert publish.lines() == {"a/b": "{SHA}x"}
    assert list(live.RIGHTS_DIR.iterdir()) == []


def test_describing_leaves_the_files_alone(files: Path) -> None:
    row, before = make(), publish.read()
    owner = make_operator("mia", Role.MAINTAINER)
    assert users.describe(row, note="x" * 300, owner=owner, by="tests").note == "x" * 255
    assert publish.read() == before


# -- two at once -----------------------------------------------------------------------------------
def between(monkeypatch: pytest.MonkeyPatch, name: str, what: Callable[[], object]) -> None:
    """Has `what` happen once, right before publish.NAME is called the first time from now on."""
    real, left = getattr(publish, name), [what]

    def call(*arguments: Any, **options: Any) -> Any:
        if left:
            left.pop()()
        return real(*arguments, **options)

    monkeypatch.setattr(publish, name, call)


def test_a_row_that_is_changed_while_it_is_written_stays_pending(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the other one's change would be believed to be in the files if he dies now."""
    for field, value in {"is_active": False, "secret_hash": "{SHA}y"}.items():
        row = make(f"user-{field}", may=PULL)
        RegistryUser.objects.filter(pk=row.pk).update(generation=new_generation())
        other = {field: value, "generation": new_generation()}
        between(monkeypatch, "_replace", lambda o=other: RegistryUser.objects.update(**o))
        publish.write([row.pk])
        assert again(row).is_pending
        publish.catch_up()
        assert inconsistent() == []
        monkeypatch.undo()
        publish.catch_up()


def test_rights_that_are_changed_while_they_are_written_stay_pending(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make(may=PULL)

    def take_rights() -> None:
        row.rights.all().delete()
        RegistryUser.objects.update(generation=new_generation())

    between(monkeypatch, "_replace", take_rights)
    publish.write([row.pk])
    assert again(row).is_pending
    assert publish.catch_up() == 1
    assert not (live.RIGHTS_DIR / "ci").exists()


def test_undoing_a_failed_change_keeps_what_another_one_changed(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rotates, another disables, and the disk is full for the first: off stays off."""
    row = make(may=PULL)

    def fails(*_arguments: object) -> None:
        RegistryUser.objects.update(is_active=False, used_with="docker")
        row.rights.all().delete()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_replace", fails)
        with pytest.raises(Refused, match="Nothing was changed"):
            users.rotate(row, by="tests", overlap=timedelta(hours=1))
    now = again(row)
    assert (now.secret_hash, now.old_hash) == (row.secret_hash, "")
    assert (now.is_active, now.used_with, now.is_pending) == (False, "docker", True)
    assert users.rights_of(now) == frozenset()
    publish.catch_up()
    assert publish.lines() == {}


def test_who_is_enabled_while_he_is_removed_stays(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line without a row would be nobody's, and nobody could switch it off."""
    row = make(may=PULL)
    real, left = publish.prove, [True]

    def enabled(canary: str) -> publish.Proof:
        if left:
            left.pop()
            users.set_active([row], is_active=True, by="another")
        return real(canary)

    monkeypatch.setattr(publish, "prove", enabled)
    with pytest.raises(Refused, match="in the meantime"):
        users.remove([row], by="tests")
    assert list(publish.lines()) == ["ci"]
    assert inconsistent() == []


def test_who_is_removed_while_he_is_changed_is_said_to_be_gone(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make()
    between(monkeypatch, "write", lambda: users.remove([again(row)], by="another"))
    with pytest.raises(Refused, match="in the meantime"):
        users.set_rights(row, PULL, by="tests")
    assert publish.lines() == {}
    assert list(live.RIGHTS_DIR.iterdir()) == []


def test_a_database_that_fails_after_the_write_leaves_it_to_be_caught_up(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make()

    def fails(*_arguments: object) -> None:
        raise IntegrityError("made up")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_note", fails)
        with pytest.raises(IntegrityError):
            users.set_active([row], is_active=False, by="tests")
    assert again(row).is_pending
    assert drift.find() == []  # half done is no hand's work
    assert publish.catch_up() == 1
    assert publish.lines() == {}
    assert inconsistent() == []


def test_markers_that_a_crash_left_count_for_nobody(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of rights without a row: the next user of that name does not get them."""
    stray = live.RIGHTS_DIR / "ci" / "push"
    stray.mkdir(parents=True)
    (stray / "@all").touch()
    seen = []
    replace = publish._replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            publish,
            "_replace",
            lambda *how: seen.append((stray / "@all").exists()) or replace(*how),
        )
        make(may=PULL)
    assert seen == [False]  # gone before the line was there
    assert inconsistent() == []


def test_preparing_mends_markers_and_keeps_files_that_are_no_markers(files: Path) -> None:
    make(may=PULL)
    (live.RIGHTS_DIR / "ci" / "pull" / "team" / "@all").unlink()
    (live.RIGHTS_DIR / "ci").chmod(0o700)
    stray = live.RIGHTS_DIR / "stranger" / "push" / "@all"
    stray.parent.mkdir(parents=True)
    stray.touch()
    (live.RIGHTS_DIR / "README").touch()
    (live.HTPASSWD_FILE.parent / ".new-abcdefgh").touch()
    publish.prepare()
    assert inconsistent() == []
    assert sorted(path.name for path in live.RIGHTS_DIR.iterdir()) == ["@open", "README", "ci"]
    assert (live.RIGHTS_DIR / "ci").stat().st_mode & 0o011 == 0o011
    assert not list(live.HTPASSWD_FILE.parent.glob(".new-*"))


# -- who sees whom ---------------------------------------------------------------------------------
def test_who_sees_which_users(files: Path) -> None:
    mia, max_ = make_operator("mia", Role.MAINTAINER), make_operator("max", Role.MAINTAINER)
    vera, ada = make_operator("vera", Role.VIEWER), make_operator("ada", Role.ADMIN)
    for name, owner in {"m": mia, "x": max_, "v": vera, "nobody": None}.items():
        make(name, owner=owner)
    visible = RegistryUser.objects.visible_to

    def names(operator: Any) -> list[str]:
        return list(visible(operator).values_list("name", flat=True))

    assert names(ada) == ["m", "nobody", "v", "x"]
    assert names(mia) == ["m"]
    assert names(vera) == []
    mia.delete()
    assert RegistryUser.objects.get(name="m").owner is None


def test_lists_by_text_state_and_use(files: Path) -> None:
    now = timezone.now()
    make("on", note="the Cluster", may=PULL)
    make("ending", expires_at=now + timedelta(days=3))
    users.set_active([make("off")], is_active=False, by="tests")
    users.expire(
        [
            make("gone"),
        ],
        now,
        by="tests",
    )
    users.set_active(
        [users.expire([make("both")], now, by="tests").user], is_active=False, by="tests"
    )
    RegistryUser.objects.filter(name="ending").update(made_at=now - timedelta(days=100))
    found = RegistryUser.objects

    def names(rows: Any) -> list[str]:
        return [row.name for row in rows]

    assert names(found.in_state(State.ACTIVE)) == ["ending", "on"]
    assert names(found.in_state(State.OFF)) == ["both", "off"]
    assert names(found.in_state(State.EXPIRED)) == ["gone"]
    assert names(found.ending(days=7)) == ["ending"]
    assert names(found.ending(days=2)) == []
    assert names(found.unused(days=90)) == ["ending"]
    assert names(found.matching("CLUSTER")) == ["on"]
    assert names(found.matching("team/")) == ["on"]
    assert {row.state for row in found.in_state(State.OFF)} == {State.OFF}
