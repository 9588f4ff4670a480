"""Fixtures for every test."""

from collections.abc import Iterator

import pytest

from tests.parts import running_registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real, at first empty registry, shared by all tests: use names of your own."""
    with running_registry(tmp_path_factory.mktemp("registry")) as url:
        yield url
