"""An act that needs the registry ends soon, with a sentence, if that does not respond."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from registryui.deletion import execute, purge, restore
from registryui.models import AuditEvent, TagTombstone
from registryui.refused import Refused
from registryui.registry import responding
from tests.support import pushed

R = "team/api"
ACTS: dict[str, Callable[[], object]] = {
    "delete": lambda: _delete(),
    "purge": lambda: purge.purge_manifest(R, _digest(), by="anna"),
    "restore": lambda: restore.restore_digest(R, "1", _digest(), expected="", by="anna"),
}


def _plan() -> execute.Plan:
    return execute.plan(execute.Selection(R, tags=("1",)))


def _delete() -> object:
    planned = _plan()
    return execute.execute(planned.selection, fingerprint=planned.fingerprint, by="anna")


def _digest() -> str:
    return _plan().going[0].digest


@pytest.mark.django_db
@pytest.mark.parametrize("act", ACTS)
def test_no_act_begins_at_a_registry_that_hangs(
    act: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts connections, as one that is stopped does, and answers nothing."""
    pushed.image(R, tags=["1"])
    monkeypatch.setattr(responding, "TIMEOUT", (0.1, 0.1))
    place = tmp_path / "registry"
    settings.REGISTRY_URL = f"unix:{place}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        with pytest.raises(Refused, match="The registry does not respond, so nothing was done"):
            ACTS[act]()
    assert not AuditEvent.objects.exists()
    assert not TagTombstone.objects.exists()


def test_the_limits_of_both_attempts_are_below_five_seconds() -> None:
    connect, answer = responding.TIMEOUT
    assert 2 * max(connect, answer) < 5
