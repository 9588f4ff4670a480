"""`pytest --postgresql`: the tests that touch the database, on PostgreSQL. A plugin of pytest.

Chosen are tests with `django_db`, but for those with `one_database`; all others would do the very
same again. One cluster for the whole run; pytest-django makes a database for each process of
pytest-xdist.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

import pytest

from . import postgres


def pytest_addoption(parser: pytest.Parser) -> None:
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
    if not config.getoption("postgresql"):
        return
    left_out = [item for item in items if not _touches_database(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _touches_database(item)]


def _touches_database(item: pytest.Item) -> bool:
    is_plain = item.get_closest_marker("one_database") is not None
    return item.get_closest_marker("django_db") is not None and not is_plain
