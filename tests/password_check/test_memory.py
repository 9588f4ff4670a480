"""Which logins are remembered, for how long, and that nothing of a secret is."""

from __future__ import annotations

import pickle
from itertools import product

import pytest

from registryui.password_check import memory
from registryui.password_check.memory import Memory
from registryui.password_check.users import Login

PERSON = Login(b"person", b"correct horse", (b"$2y$08$abc", b"{SSHA}def"))


def test_only_the_very_same_login_is_remembered() -> None:
    made = Memory()
    made.add(PERSON)
    assert PERSON in made
    parts = ((b"person", b"perso"), (b"correct horse", b"ncorrect horse"), (PERSON.hashes, ()))
    for name, secret, hashes in list(product(*parts))[1:]:
        assert Login(name, secret, hashes) not in made
    assert Login(b"person", b"correct horse", PERSON.hashes[::-1]) not in made
    assert PERSON not in Memory()


def test_a_login_is_forgotten_some_minutes_after_its_last_use() -> None:
    now = 0.0
    made = Memory(clock=lambda: now)
    made.add(PERSON)
    for _ in range(3):
        now += memory.SECONDS
        assert PERSON in made
    now += memory.SECONDS + 1
    assert PERSON not in made
    assert not len(made)


def test_so_many_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 3)
    made = Memory()
    logins = [Login(b"%d" % number, b"secret", ()) for number in range(4)]
    for one in logins[:3]:
        made.add(one)
    assert logins[0] in made  # used again
    made.add(logins[3])
    assert [one in made for one in logins] == [True, False, True, True]


def test_nothing_of_a_secret_is_kept_or_shown() -> None:
    made = Memory()
    made.add(PERSON)
    assert PERSON.secret not in pickle.dumps(vars(made) | {"_clock": None})
    assert "horse" not in repr(PERSON)
