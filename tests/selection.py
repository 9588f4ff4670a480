"""Which tests run, on which database, in which order and in which process. A plugin of pytest.

                        SQLite                        --postgresql
    (the short run)     all but the long proofs       `both_databases`: what may differ there
    --all               all                           all that touch the database

A test is a long proof if a fixture in LONG or LONG_CASES is among its own. With `extent` it has a
short form (not in LONG_CASES), which is proved each time; with `short_form` it is the short form of
all that its file proves. With `long_proof` it is one by itself: another test proves it in short.
`one_database`: never on PostgreSQL, because it needs SQLite's words, or is long and asks a database
for nothing special.

pytest-xdist 3.8 spreads files over its processes (`loadfile`), in the order of pytest; its
groups, which would keep files together, write an item's id, and pytest 9.2 lets nobody do that. So
`Spread` below keeps the files together that share a product.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pytest
from xdist.scheduler import LoadFileScheduling

from .support import postgres

T = TypeVar("T")

CACHE = "boathouse/together"
_failed: set[str] = set()  # its rows fail one by one

# Fixtures that cost more than a short run has, and cases of them, beside which others run.
LONG = {
    "hosts",  # two products over one PostgreSQL
    "booted",  # a machine that boots four times
    "folder_of_before",  # two versions of the product prepare a folder
    "second",  # an instance that is stopped, moved, damaged and started again
    *("small[versions]", "place[plain]"),  # the other kind of bucket is proved each time
}
LONG_CASES = {
    "bucket[versions]",  # moto takes ever longer with each version that it keeps
    "both[s3]",  # a real registry on S3 is read by test_collect_s3.py each time
    "loaded[postgresql]",  # a minute of a crowd; on SQLite some seconds each time
    # The same way with another upstream, fault, format or look: one of each is proved each time.
    *("kind[basic]", "kind[tls]", "kind[token]", "how[429]", "how[500]", "how[dead]"),
    *("form[docker-dir]", "form[oci-dir]", "protocol[off]", "width[390]"),
    "long_proof",
}
# Fixtures that take long: files with them begin first, in this order.
FIRST = ("docker", "boathouse", "hosts", "bucket", "quick", "filled", "served", "instance", "real")
# Files that share a product: one with Docker machines, one with browsers only.
TOGETHER = ("docker", "boathouse")


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


@pytest.fixture(scope="session")
def short_form() -> None:
    """The test runs each time, though others with its fixtures are for --all."""


@pytest.fixture(scope="session")
def long_proof() -> None:
    """The test is for --all; each time, others show in short what it shows."""


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
    fixtures: dict[Path, set[str]] = defaultdict(set)
    for item in chosen:
        fixtures[item.path] |= _fixtures(item)
    items[:] = sorted(chosen, key=lambda item: _place(fixtures[item.path]))  # stable
    if "PYTEST_XDIST_WORKER" in os.environ and hasattr(config, "cache"):
        together = {
            str(file.relative_to(config.rootpath)): next(one for one in TOGETHER if one in names)
            for file, names in fixtures.items()
            if names & {*TOGETHER}
        }
        config.cache.set(CACHE, together)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Names a test that failed at once: with --all its report comes an hour later."""
    is_new = report.failed and report.nodeid not in _failed
    if is_new and "PYTEST_XDIST_WORKER" not in os.environ:
        _failed.add(report.nodeid)
        print(f"\nFAILED {report.nodeid}", file=sys.__stderr__, flush=True)


def _is_chosen(item: pytest.Item, config: pytest.Config) -> bool:
    is_all = config.getoption("all")
    if config.getoption("postgresql"):
        if item.get_closest_marker("django_db") is None or item.get_closest_marker("one_database"):
            return False
        if not is_all and item.get_closest_marker("both_databases") is None:
            return False
    if is_all or "short_form" in _fixtures(item):
        return True
    return not _fixtures(item) & (LONG_CASES if "extent" in _fixtures(item) else LONG | LONG_CASES)


def _fixtures(item: pytest.Item) -> set[str]:
    """Names of its fixtures, and with its parameter in brackets where one has such."""
    names = set(getattr(item, "fixturenames", ()))
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return names | {f"{name}[{value}]" for name, value in parameters.items()}


def _place(fixtures: set[str]) -> int:
    return next((place for place, name in enumerate(FIRST) if name in fixtures), len(FIRST))


# -- several processes -------------------------------------------------------------------------
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return Spread(config, log) if config.getoption("dist") == "loadfile" else None


class Spread(LoadFileScheduling):
    """By file, but those that share the product are one piece of work."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return self._together.get(file, file)

    @cached_property
    def _together(self) -> dict[str, str]:
        """File to the product that it shares; the processes have noted it when they collected.
        Without pytest's cache each file is a piece of its own, which takes longer."""
        return dict(self.config.cache.get(CACHE, {})) if hasattr(self.config, "cache") else {}
