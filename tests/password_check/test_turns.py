"""Who is next, who is told to wait, and who loses a place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from registryui.password_check import turns
from registryui.password_check.turns import Turns


@dataclass
class Asked:
    address: bytes
    name: bytes = b"person"
    number: int = 0
    is_over: bool = False


def add(made: Turns[Asked], *asked: Asked) -> list[Asked]:
    return [lost for one in asked if (lost := made.add(one, 0))]


def all_of(made: Turns[Asked], now: float = 0.0) -> list[Asked]:
    found = []
    while one := made.next(now, guessers=False) or made.next(now, guessers=True):
        found.append(one)
    return found


def test_an_address_has_its_turn_behind_one_of_each_other() -> None:
    made: Turns[Asked] = Turns()
    crowd = [Asked(b"crowd", number=number) for number in range(100)]
    add(made, *crowd)
    assert made.next(0, guessers=False) is crowd[0]
    add(made, late := Asked(b"late"))
    assert all_of(made) == [crowd[1], late, *crowd[2:]]
    assert not made
    assert not made.of_same(late)


def test_a_name_has_its_turn_behind_one_of_each_other_of_its_address() -> None:
    made: Turns[Asked] = Turns()
    crowd = [Asked(b"office", b"guessed", number) for number in range(100)]
    add(made, *crowd)
    assert made.next(0, guessers=False) is crowd[0]
    add(made, late := Asked(b"office", b"late"))
    assert all_of(made)[:2] == [crowd[1], late]


def test_whose_answer_is_given_takes_no_turn() -> None:
    made: Turns[Asked] = Turns()
    add(made, *(Asked(b"gone", number=n, is_over=True) for n in range(250)), here := Asked(b"here"))
    assert all_of(made) == [here]
    assert not made


def test_who_was_wrong_too_often_waits_and_nobody_else() -> None:
    made: Turns[Asked] = Turns()
    for _ in range(turns.WRONG_AT_ONCE):
        add(made, Asked(b"guesser"))
        assert all_of(made, 100)
        made.count_wrong(b"guesser", 100)
    add(made, one := Asked(b"guesser"), other := Asked(b"other"))
    assert all_of(made, 100) == [other]
    pause = made.pause(100)
    assert pause is not None
    assert 0 < pause <= 1 / turns.WRONG_PER_SECOND
    assert all_of(made, 100.01 + 1 / turns.WRONG_PER_SECOND) == [one]


def test_an_address_that_guesses_waits_apart() -> None:
    made: Turns[Asked] = Turns()
    made.count_wrong(b"guesser", 100)
    add(made, one := Asked(b"guesser"), other := Asked(b"other"))
    assert made.next(100, guessers=False) is other
    assert made.next(100, guessers=False) is None
    assert made.next(100, guessers=True) is one
    add(made, one)
    assert made.next(101 + turns.GUESSER_SECONDS, guessers=True) is None
    assert made.next(101 + turns.GUESSER_SECONDS, guessers=False) is one


def test_who_waits_for_another_only_is_not_waited_for() -> None:
    made: Turns[Asked] = Turns()
    add(made, Asked(b"other"))
    assert made.pause(100) is None


def test_while_many_addresses_begin_to_guess_new_ones_wait_as_they_do() -> None:
    made: Turns[Asked] = Turns()
    made.count_right(b"office")
    made.count_right(b"turncoat")
    for number in range(turns.NEW_AT_ONCE):
        assert not made.is_guesser(b"new", 100)
        for _ in range(3):  # the first counts
            made.count_wrong(b"%d" % number, 100)
    made.count_wrong(b"turncoat", 100)
    assert made.is_guesser(b"new", 100)
    assert made.is_guesser(b"turncoat", 100)
    assert not made.is_guesser(b"office", 100)
    assert not made.is_guesser(b"new", 101 + 1 / turns.NEW_PER_SECOND)


def test_known_addresses_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_KNOWN", 2)
    made: Turns[Asked] = Turns()
    for address in (b"one", b"two", b"one", b"three"):
        made.count_right(address)
    assert list(made._known) == [b"one", b"three"]


def test_wrong_logins_are_forgotten() -> None:
    made: Turns[Asked] = Turns()
    for number in range(1000):
        made.count_wrong(b"%d" % number, number)
    assert len(made._free_at) <= turns.GUESSER_SECONDS + 1


def test_if_too_many_wait_the_longest_queue_loses_its_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "MOST", 6)
    monkeypatch.setattr(turns, "MOST_OF_ADDRESS", 4)
    made: Turns[Asked] = Turns()
    crowd = [Asked(b"crowd", b"guessed", number) for number in range(5)]
    assert add(made, *crowd) == [crowd[4]]
    # Another name of that address, another address: they get in.
    assert add(made, Asked(b"crowd", b"late")) == [crowd[3]]
    assert add(made, Asked(b"late"), Asked(b"later"), Asked(b"last")) == [crowd[2]]
    assert len(made) == 6
    assert len(all_of(made)) == 6


def test_who_does_not_guess_keeps_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST", 3)
    made: Turns[Asked] = Turns()
    made.count_wrong(b"guesser", 0)
    push = [Asked(b"office", number=number) for number in range(3)]
    assert add(made, *push, guess := Asked(b"guesser")) == [guess]
    assert add(made, more := Asked(b"office")) == [more]


def test_those_of_the_same_address_and_name_are_found() -> None:
    made: Turns[Asked] = Turns()
    add(made, one := Asked(b"a"), two := Asked(b"a"), Asked(b"a", b"other"), Asked(b"b"))
    assert made.of_same(one) == [one, two]
    assert made.of_same(Asked(b"nobody")) == []
