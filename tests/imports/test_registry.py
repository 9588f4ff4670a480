"""Images of another registry are the same here: whole, once, with what refers to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from registryui.imports import run
from registryui.imports.registry import RegistrySource, access
from registryui.imports.source import Options
from registryui.models import ImportedTag, Run
from tests.support.registries import Registry, whole
from tests.support.upstreams import Upstream, upstream

from .conftest import same

pytestmark = pytest.mark.django_db(transaction=True)


def imported(hub: Upstream, options: Options | None = None) -> Run:
    """An import of that registry, with its login."""
    options = options or Options()
    user, password = hub.login or ("", "")
    ca = hub.ca.read_text() if hub.ca else ""
    where = access(hub.url, user=user, password=password, ca=ca)
    with RegistrySource(where, options) as source:
        begun = run.begin("registry", source.name, options, by="operator:ada", about={})
        return run.carry_out(begun, source, options)


def states(done: Run) -> dict[str, str]:
    """What became of each tag, by its name at the source."""
    return {str(row): row.state for row in done.imported.all()}


@pytest.mark.parametrize("auth", ["", "basic", "token"])
def test_all_tags_of_a_registry_are_here(tmp_path: Path, ours: Registry, auth: str) -> None:
    with upstream(tmp_path / "hub", auth=auth, is_tls=auth == "token") as hub:
        one = hub.registry.push_image("team/app", "1", "latest", layers=[b"base", b"app"])
        arm = hub.registry.push_image("team/app", layers=[b"arm"], architecture="arm64")
        children = [hub.registry.child("team/app", each) for each in (one, arm)]
        hub.registry.push_index("team/app", children, "multi")
        hub.registry.push_image("tools/base", "9", layers=[b"base"])
        done = imported(hub)
        assert done.state == Run.State.DONE, done.log
        assert set(states(done).values()) == {"taken"}
        names = ("team/app:1", "team/app:latest", "team/app:multi", "tools/base:9")
        assert same(hub.registry, ours, *names)
    assert [whole(ours, *name.split(":")) for name in names] == [""] * 4


def test_a_second_import_sends_nothing(tmp_path: Path, ours: Registry) -> None:
    with upstream(tmp_path / "hub") as hub:
        hub.registry.push_image("team/app", "1", "2", layers=[b"base"])
        imported(hub)
        hub.forget()
        done = imported(hub)
        assert states(done) == {"team/app:1": "there", "team/app:2": "there"}
        assert hub.count("GET", "/blobs/") == hub.count("GET", "/manifests/") == 0
        assert ImportedTag.objects.filter(run=done, size=0).count() == 2
