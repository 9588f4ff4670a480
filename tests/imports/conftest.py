"""A registry of our own to import into, real and empty, and how its content is compared."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.parts import running_registry
from tests.support.registries import Registry


@pytest.fixture(autouse=True)
def _nothing_is_finalised_in_a_deep_parse() -> Iterator[None]:
    """A finalizer that Python calls near its recursion limit fails, and so does the test."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def ours(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    """What imports write to."""
    with running_registry(tmp_path / "ours") as url:
        settings.REGISTRY_URL = url
        settings.RUN_DIR = tmp_path / "run"
        yield Registry(url, tmp_path / "ours" / "store")


def same(source: Registry, target: Registry, *names: str) -> bool:
    """Whether these `repository:tag` are the same bytes in both, with all of their content."""
    for name in names:
        repository, _colon, tag = name.partition(":")
        if source.get(repository, tag).body != target.get(repository, tag).body:
            return False
    return True
