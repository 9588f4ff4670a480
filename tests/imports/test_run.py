"""What a run does beside copying: it waits, ends, and says who it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registryui import space, write_freeze
from registryui.audit import pushes
from registryui.imports import run
from registryui.imports.registry import Access, RegistrySource
from registryui.imports.source import Options
from registryui.index import events
from registryui.models import RegistryEvent, Run
from registryui.refused import Refused
from tests.support.registries import Registry
from tests.support.upstreams import Upstream, upstream

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Upstream]:
    with upstream(tmp_path / "hub") as one:
        one.registry.push_image("team/app", "1")
        yield one


def begun(hub: Upstream, by: str = "operator:ada") -> Run:
    return run.begin("registry", "registry hub", Options(), by=by, about={})


def carried_out(hub: Upstream, made: Run, **more: Any) -> Run:
    with RegistrySource(Access(hub.url), Options()) as source:
        return run.carry_out(made, source, Options(), **more)


def test_it_waits_for_the_end_of_a_write_freeze(hub: Upstream, ours: Registry) -> None:
    made = begun(hub)
    gates = [write_freeze.folder() / gate for gate in ("blobs", "manifests")]
    write_freeze.folder().mkdir(parents=True)
    for gate in gates:
        gate.touch()
    seen = []

    def beats(_run: Run) -> None:
        seen.append(len(ours.catalogue()))
        if len(seen) == 4:
            for gate in gates:
                gate.unlink()

    done = carried_out(hub, made, progress=beats)
    assert done.state == Run.State.DONE
    assert seen[:4] == [0, 0, 0, 0]
    assert ours.get("team/app", "1").status == 200


def test_a_full_disk_refuses_it_and_ends_it(
    hub: Upstream, ours: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begun(hub)
    monkeypatch.setattr(space, "warning", lambda: "Only 3 MB are free.")
    done = carried_out(hub, made)
    assert (done.state, done.result["problem"]) == (Run.State.FAILED, "Only 3 MB are free.")
    with pytest.raises(Refused, match="Only 3 MB"):
        begun(hub)


def test_only_one_runs_and_a_killed_one_is_closed_at_once(
    hub: Upstream, ours: Registry, settings: Any
) -> None:
    first = begun(hub)
    with pytest.raises(Refused, match="in progress"):
        begun(hub)
    folder = Path(settings.RUN_DIR) / "under-way"
    folder.mkdir(parents=True)
    (folder / f"import-{first.pk}").touch()  # as a process that was killed leaves it: not locked
    assert carried_out(hub, begun(hub)).state == Run.State.DONE
    first.refresh_from_db()
    assert first.state == Run.State.FAILED


def test_pushes_of_an_import_are_by_who_began_it(hub: Upstream, ours: Registry) -> None:
    done = begun(hub)
    agent = f"boathouse/0.1 act/{done.result['act']}"
    for number, client in enumerate((agent, "boathouse/0.1 act/" + 32 * "0", "boathouse/0.1")):
        events.receive(json.dumps({"events": [_push(f"e{number}", client)]}).encode())
    actors = dict(RegistryEvent.objects.values_list("event_id", "actor"))
    assert actors == {"e0": "operator:ada", "e1": "", "e2": ""}
    assert [row.event_id for row in pushes.asked(actor="operator:ada")] == ["e0"]


def test_a_client_that_names_the_act_keeps_its_own_name(hub: Upstream, ours: Registry) -> None:
    agent = f"boathouse/0.1 act/{begun(hub).result['act']}"
    sent = _push("e", agent) | {"actor": {"name": "mallory"}}
    events.receive(json.dumps({"events": [sent]}).encode())
    assert RegistryEvent.objects.get().actor == "mallory"


def _push(id: str, agent: str) -> dict[str, Any]:
    return {
        "id": id,
        "timestamp": "2026-12-01T10:00:00Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": f"sha256:{64 * '0'}",
            "repository": "team/app",
            "tag": "1",
        },
        "request": {"addr": "", "method": "PUT", "useragent": agent},
        "actor": {},
    }


def test_only_the_newest_reports_are_kept(
    hub: Upstream, ours: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "REPORTS", 2)
    done = [carried_out(hub, begun(hub)) for _number in range(4)]
    assert [one.imported.count() for one in done] == [0, 0, 1, 1]
