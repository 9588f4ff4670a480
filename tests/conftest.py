"""Fixtures for every test."""

import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.db import connection
from django.template.backends.jinja2 import Template
from django.test import TransactionTestCase
from django.test.signals import template_rendered
from django.utils import translation
from hypothesis import HealthCheck

from registryui.views import kept
from tests.selection import Extent

from .support.deletion_pages import emptied, world  # noqa: F401  (fixtures)
from .support.fixtures import here, small  # noqa: F401
from .support.instance import standing  # noqa: F401
from .support.notifications import sink  # noqa: F401
from .support.parts import running_registry


def pytest_configure(config: pytest.Config) -> None:
    """A machine may be busy: no example ends because of its time."""
    hypothesis.settings.register_profile(
        "boathouse",
        deadline=None,
        max_examples=Extent(config.getoption("all"))(25, 100),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("boathouse")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real, at first empty registry, shared by all tests: use names of your own."""
    with running_registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def _an_answer_has_its_context() -> Iterator[None]:
    """`response.context` is what the view gave its template; Django tells it of its own engine's
    only."""
    render = Template.render

    def told(template: Template, context: dict[str, Any] | None = None, request: Any = None) -> str:
        context = {} if context is None else context
        template_rendered.send(sender=template, template=template, context=context)
        return render(template, context, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Template, "render", told)
        yield


@pytest.fixture(autouse=True)
def _each_test_begins_in_english() -> Iterator[None]:
    """A page in another language leaves it on for the thread."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _nothing_of_the_worker_goes_on() -> Iterator[None]:
    """Its endless threads would change files and rows of later tests."""
    yield
    from registryui import tasks

    left = {one.name for one in threading.enumerate()} & {"follow", *tasks.WATCHES}
    assert not left, f"threads of the worker: {left}"


@pytest.fixture(autouse=True)
def _each_page_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries of a page are counted, not of one that was kept; test_kept.py keeps some."""
    monkeypatch.setattr(kept, "_pages", kept._Pages())
    monkeypatch.setattr(kept, "MOST_BYTES", 0)


@pytest.fixture(autouse=True)
def _gc_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process does not see a test's tables; that it is one, e2e tests see."""
    from registryui.gc import process

    monkeypatch.setattr(process, "run_gc", process.here)
    monkeypatch.setattr(process, "step_back", lambda **options: None)


@pytest.fixture
def files(tmp_path: Path, settings: object) -> Path:
    """A folder for the files of registry users, with an empty one for rights; no nginx reads it."""
    for name, place in {
        "HTPASSWD_FILE": "htpasswd",
        "OVERLAP_FILE": "htpasswd.old",
        "RIGHTS_DIR": "rights",
        "VERSIONS_DIR": "htpasswd-versions",
        "TLS_DIR": "tls",
    }.items():
        setattr(settings, name, tmp_path / place)
    (tmp_path / "rights").mkdir()
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def _the_audit_log_can_be_emptied() -> Iterator[None]:
    """Tests with transaction=True empty all tables at their end, which the log's triggers refuse:
    they are off for that moment. The note of the newest row goes with the rows."""
    guard = import_module("registryui.migrations.0011_audit")
    empty = TransactionTestCase._fixture_teardown

    def teardown(case: TransactionTestCase) -> None:
        with connection.schema_editor() as editor:
            guard.take_away(None, editor)
        try:
            empty(case)
        finally:
            with connection.schema_editor() as editor:
                guard.make(None, editor)
            Path(settings.AUDIT_NOTE_FILE).unlink(missing_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", teardown)
        yield
