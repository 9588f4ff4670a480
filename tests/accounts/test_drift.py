"""What a hand did to the file is seen, never lost, and never undone unasked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live

from registryui import files
from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.accounts.drift import Difference, What
from registryui.models import LineLeftAlone, RegistryUser
from registryui.refused import Refused

from .checks import inconsistent

pytestmark = pytest.mark.django_db

PULL = rights.parse([("pull", "team/*")])
ONE, TWO = "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=", "$apr1$abcdefgh$sIQmFnT1CuEXAsyjuXjUX/"


def make(name: str, **options: Any) -> RegistryUser:
    return users.create(name, by="tests", **options).user


def by_hand(**lines: str) -> None:
    """What an editor or `htpasswd` does: another file in its place."""
    content = htpasswd.change(publish.read(), lines)
    new = live.HTPASSWD_FILE.with_suffix(".hand")
    new.write_bytes(content)
    new.replace(live.HTPASSWD_FILE)


def added(content: bytes) -> None:
    with live.HTPASSWD_FILE.open("ab") as file:
        file.write(content)


def found() -> list[tuple[str, str]]:
    return [(one.name, str(one.what)) for one in drift.find()]


@pytest.fixture(autouse=True)
def three(files: Path) -> None:
    """a and b, who are on; off, who is off."""
    for name in ("a", "b", "off"):
        make(name, may=PULL)
    users.set_active([RegistryUser.objects.get(name="off")], is_active=False, by="tests")


def row(name: str) -> RegistryUser:
    return RegistryUser.objects.get(name=name)


# -- seen ------------------------------------------------------------------------------------------
def test_nothing_is_found_where_nobody_touched_the_file(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert drift.find() == []


def test_what_a_hand_did_is_named() -> None:
    by_hand(a=ONE, b="", hand=TWO, off=ONE)
    assert drift.find() == [
        Difference("a", What.CHANGED, ONE),
        Difference("b", What.REMOVED, ""),
        Difference("hand", What.ADDED, TWO),
        Difference("off", What.ADDED, ONE),
    ]
    assert found() == found()  # looking does not forget


@pytest.mark.parametrize(
    "act",
    [
        lambda: make("other"),
        lambda: users.rotate(row("b"), by="tests"),
        lambda: users.set_active([row("b"), row("off")], is_active=False, by="tests"),
        lambda: users.remove([row("b")], by="tests"),
        lambda: publish.write([]),
        lambda: publish.catch_up(),
        lambda: publish.prepare(),
    ],
)
def test_a_change_to_another_user_forgets_no_hand(act: Callable[[], object]) -> None:
    by_hand(a=ONE, hand=TWO)
    act()
    assert found() == [("a", "changed"), ("hand", "added")]
    assert publish.lines()["hand"] == TWO
    make("again")
    assert found() == [("a", "changed"), ("hand", "added")]


def test_a_hand_right_behind_our_rename_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noted as ours is the file that was written, not the one that is there by then."""
    left = [TWO]
    monkeypatch.setattr(files, "sync_folder", lambda _: left and by_hand(hand=left.pop()))
    users.rotate(row("b"), by="tests")
    monkeypatch.undo()
    assert found() == [("hand", "added")]


def test_a_hand_right_behind_the_comparison_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand()  # the same once more: a look at it says that all is well
    news = drift._news

    def hand_is_faster(differences: list[Difference]) -> list[Difference]:
        by_hand(hand=TWO)
        return news(differences)

    monkeypatch.setattr(drift, "_news", hand_is_faster)
    assert drift.find() == []
    monkeypatch.undo()
    assert found() == [("hand", "added")]


def test_a_file_that_is_gone_is_everybody_removed() -> None:
    live.HTPASSWD_FILE.unlink()
    assert found() == [("a", "removed"), ("b", "removed")]
    assert found() == [("a", "removed"), ("b", "removed")]
    drift.restore_lines(drift.find(), by="tests")
    assert list(publish.lines()) == ["a", "b"]
    assert drift.find() == []


# -- taken over ------------------------------------------------------------------------------------
def test_taken_over_the_tables_say_what_the_file_says() -> None:
    by_hand(a=ONE, b="", hand=TWO, off=ONE)
    differences = drift.find()
    drift.take_over(differences, by="vera")
    assert drift.find() == []
    assert publish.lines() == {"a": ONE, "hand": TWO, "off": ONE}
    assert (row("a").secret_hash, row("a").is_generated) == (ONE, False)
    assert (row("b").is_active, row("off").is_active) == (False, True)
    assert (row("hand").secret_hash, row("hand").made_by) == (TWO, "vera")
    assert users.rights_of(row("hand")) == frozenset()  # a login is no right
    assert users.rights_of(row("off")) == PULL
    assert inconsistent() == []


def test_a_password_in_clear_never_reaches_the_table_and_works_on() -> None:
    by_hand(a=ONE)
    added(b"clear:{PLAIN}my pass wort \xc3\xa9\nb2:{PLAIN}\n")
    live.HTPASSWD_FILE.write_bytes(publish.read().replace(ONE.encode(), b"{PLAIN}other secret"))
    drift.take_over(drift.find(), by="tests")
    stored = str(list(RegistryUser.objects.values()))
    assert [one for one in ("PLAIN", "pass wort", "other secret") if one in stored] == []
    lines = publish.lines()
    assert "PLAIN" not in str(lines)
    assert htpasswd.verify(lines["clear"], "my pass wort é")
    assert htpasswd.verify(lines["a"], "other secret")
    assert htpasswd.verify(lines["b2"], "")
    assert inconsistent() == []


ODD = {
    "name of control characters": b"a\x01b:" + ONE.encode(),
    "name with NUL": b"a\0b:" + ONE.encode(),
    "name with a space at its end": b"hand :" + ONE.encode(),
    "name too long": b"x" * 300 + b":" + ONE.encode(),
    "no hash": b"hand:",
    "hash too long": b"hand:" + b"x" * 600,
    "hash that is no text": b"hand:\xff",
    "password in clear that is no text": b"hand:{PLAIN}\xff",
    "hash with a space": b"hand:a b",
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_line_is_seen_stays_and_can_be_left_alone_or_put_away(what: str) -> None:
    line = ODD[what] + b"\n"
    added(line)
    added(b"good:" + TWO.encode() + b"\n")
    odd = next(one for one in drift.find() if one.name != "good")
    assert odd.what == What.ADDED
    with pytest.raises(Refused, match="cannot be accepted"):
        drift.take_over(drift.find(), by="tests")
    assert not RegistryUser.objects.filter(name="good").exists()  # all or nothing
    assert line in publish.read()
    drift.leave_alone([odd], by="tests")
    drift.take_over(drift.find(), by="tests")
    assert row("good").secret_hash == TWO
    assert drift.find() == []
    make("other")
    assert line in publish.read()
    assert drift.find(with_left_alone=True) == [odd]
    drift.restore_lines([odd], by="tests")
    assert line not in publish.read()
    assert drift.find(with_left_alone=True) == []
    assert not LineLeftAlone.objects.exists()


def test_an_old_name_is_taken_over_once_however_often_it_is_asked() -> None:
    by_hand(hand=TWO)
    differences = drift.find()
    drift.take_over(differences, by="tests")
    drift.take_over(differences, by="tests")
    assert RegistryUser.objects.filter(name="hand").count() == 1
    assert inconsistent() == []


def test_a_name_that_was_made_meanwhile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand(hand=TWO)
    differences = drift.find()
    RegistryUser.objects.create(name="hand", secret_hash=ONE)
    monkeypatch.setattr(drift, "_rows", lambda _names: RegistryUser.objects.none())
    with pytest.raises(Refused, match="in the meantime"):
        drift.take_over(differences, by="tests")
    assert row("hand").secret_hash == ONE


# -- restore ---------------------------------------------------------------------------------------
def test_reverted_the_file_says_what_the_tables_say() -> None:
    before = publish.lines()
    by_hand(a=ONE, b="", hand=TWO, off=ONE)
    drift.restore_lines(drift.find(), by="tests")
    assert sorted(publish.lines().items()) == sorted(before.items())
    assert drift.find() == []
    newest = htpasswd.parse(publish.versions()[0].read_bytes())
    assert (newest["a"], newest["hand"]) == (ONE, TWO)  # what the hand wrote is kept
    assert inconsistent() == []


def test_only_what_was_chosen_is_reverted() -> None:
    by_hand(a=ONE, hand=TWO)
    drift.restore_lines([one for one in drift.find() if one.name == "a"], by="tests")
    assert found() == [("hand", "added")]


# -- left alone ------------------------------------------------------------------------------------
def test_left_alone_it_is_quiet_until_it_changes() -> None:
    by_hand(a=ONE, b="", hand=TWO)
    drift.leave_alone(drift.find(), by="tests")
    assert found() == []
    assert {one.name for one in drift.find(with_left_alone=True)} == {"a", "b", "hand"}
    make("other")
    assert found() == []
    assert publish.lines()["a"] == ONE
    by_hand(hand=ONE)
    assert found() == [("hand", "added")]
    by_hand(hand=TWO, b=ONE)
    assert found() == [("b", "changed")]


def test_a_change_of_ours_ends_being_left_alone() -> None:
    by_hand(a=ONE)
    drift.leave_alone(drift.find(), by="tests")
    users.rotate(row("a"), by="tests")
    assert publish.lines()["a"] == row("a").secret_hash
    by_hand(a=ONE)
    assert found() == [("a", "changed")]  # the same hand once more is news


# -- versions --------------------------------------------------------------------------------------
def version_with(name: str) -> Path:
    """The newest version that has that user."""
    return next(p for p in publish.versions() if name in htpasswd.parse(p.read_bytes()))


def test_a_version_comes_back_and_the_tables_follow() -> None:
    secret = row("a").secret_hash
    users.rotate(row("a"), by="tests")
    users.remove([row("b")], by="tests")
    make("new", may=PULL)
    version = next(
        path
        for path in publish.versions()
        if htpasswd.parse(path.read_bytes()).get("a") == secret
        and "b" in htpasswd.parse(path.read_bytes())
    )
    told = [(one.name, str(one.what)) for one in drift.compare(version)]
    assert told == [("a", "changed"), ("b", "added"), ("new", "removed")]
    now = publish.lines()
    drift.restore(version, by="tests")
    assert publish.lines() == {"a": secret, "b": row("b").secret_hash}
    assert row("a").secret_hash == secret
    assert not row("new").is_active
    assert users.rights_of(row("b")) == frozenset()  # forgotten with the row: given again by hand
    assert drift.find() == []
    assert inconsistent() == []
    assert htpasswd.CANARY in htpasswd.parse(publish.read())
    newest = htpasswd.parse(publish.versions()[0].read_bytes())
    assert {name: newest[name] for name in now} == now  # and this can be restored as well


def test_a_version_with_an_odd_line_that_was_left_alone_comes_back() -> None:
    added(b"odd name :" + ONE.encode() + b"\n")
    drift.leave_alone(drift.find(), by="tests")
    users.rotate(row("a"), by="tests")
    version = publish.versions()[0]
    wanted = htpasswd.parse(version.read_bytes())["a"]
    drift.restore(version, by="tests")
    assert publish.lines()["a"] == wanted
    assert "odd name " in publish.lines()
    assert drift.find() == []
    assert inconsistent() == []


def test_a_version_that_cannot_be_restored_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    users.rotate(row("a"), by="tests")
    by_hand(hand=TWO)
    content, rows = publish.read(), list(RegistryUser.objects.values())

    def fails(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(Refused, match="Nothing was changed"):
            drift.restore(publish.versions()[0], by="tests")
    assert publish.read() == content
    before = {one["name"]: one.pop("generation") for one in rows}
    now = list(RegistryUser.objects.values())
    assert {one["name"]: one.pop("generation") for one in now} != before  # looked at once more
    assert now == rows
    assert found() == [("hand", "added")]
    publish.catch_up()
    assert found() == [("hand", "added")]
    with pytest.raises(Refused, match="Nothing was changed"):
        drift.restore(live.VERSIONS_DIR / "00000000000000000001", by="tests")


def test_twenty_versions_are_kept_and_none_for_our_canary_alone() -> None:
    for _ in range(publish.VERSIONS + 5):
        users.rotate(row("a"), by="tests")
    assert len(publish.versions()) == publish.VERSIONS
    before = publish.versions()
    publish.write([])
    users.set_rights(row("a"), PULL, by="tests")
    assert publish.versions() == before
    assert before == sorted(before, reverse=True)
    assert publish.version_time(before[0]) >= publish.version_time(before[-1])
