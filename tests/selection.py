"""Which tests run, on which database, in which order and in which process. A plugin of pytest.

                        SQLite                        --postgresql
    (the short run)     all but the long proofs       `both_databases`: what may differ there
    --all               all                           all that touch the database

A test is a long proof if a fixture in LONG is among its own, and it does not take `extent`: with
that it has a short form, which is proved each time. `one_database`: never on PostgreSQL, because it
needs SQLite's words, or is long and asks a database for nothing special.

pytest-xdist 3.8 spreads files over its processes (`loadfile`), in the order of collection; its
groups, which would keep files together, write an item's id, and pytest 9.2 lets nobody do that. So
`Spread` below keeps the files together that share a product.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from . import postgres

T = TypeVar("T")

# Fixtures, with a parameter in brackets, that cost more than a short run has.
LONG: dict[str, str] = {}
# Fixtures of real programs, the slowest first: tests with them begin early.
SLOW: list[str] = []


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a long proof is asked for."""

    is_all: bool

    def __call__(self, short: T, long: T) -> T:
        """The first in the short run, the second with --all."""
        return long if self.is_all else short


@pytest.fixture(scope="session")
def extent(pytestconfig: pytest.Config) -> Extent:
    """Gives a long proof its short form: `kills = extent(30, 1000)`."""
    return Extent(pytestconfig.getoption("all"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the long proofs as well")
    parser.addoption(
        "--postgresql",
        action="store_true",
        help="run the tests that touch the database, on a PostgreSQL started for them",
    )


# A wrapper, because pytest-django reads the settings in this hook.
@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    is_worker = "PYTEST_XDIST_WORKER" in os.environ  # its parent has started the cluster
    if early_config.known_args_namespace.postgresql and not is_worker:
        stack = contextlib.ExitStack()
        early_config.add_cleanup(stack.close)
        os.environ["DATABASE_URL"] = stack.enter_context(postgres.running_cluster()).url()
    return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if _is_chosen(item, config)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    places = {item.path: 0 for item in chosen}
    for item in chosen:
        places[item.path] = max(places[item.path], _slowness(item))
    items[:] = sorted(chosen, key=lambda item: -places[item.path])  # stable


def _is_chosen(item: pytest.Item, config: pytest.Config) -> bool:
    is_all = config.getoption("all")
    if config.getoption("postgresql"):
        if item.get_closest_marker("django_db") is None or item.get_closest_marker("one_database"):
            return False
        if not is_all and item.get_closest_marker("both_databases") is None:
            return False
    return is_all or "extent" in _fixtures(item) or not _fixtures(item) & LONG.keys()


def _fixtures(item: pytest.Item) -> set[str]:
    """Names of its fixtures, and with its parameter in brackets where one has such."""
    names = set(getattr(item, "fixturenames", ()))
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return names | {f"{name}[{value}]" for name, value in parameters.items()}


def _slowness(item: pytest.Item) -> int:
    places = [len(SLOW) - SLOW.index(name) for name in _fixtures(item) if name in SLOW]
    return max(places, default=0)
