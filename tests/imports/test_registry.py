"""Images of another registry are the same here: whole, once, with what refers to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registryui import runs, write_freeze
from registryui.deletion import protection
from registryui.imports import fate, registry, run
from registryui.imports.registry import RegistrySource, access
from registryui.imports.source import Found, Options, Target
from registryui.models import AuditEvent, ImportedTag, Mirror, Run
from registryui.refused import Refused
from registryui.registry.source import Stored
from tests.oci.samples import signed_schema1
from tests.support.registries import Registry, what_is_missing
from tests.support.registry_habits import habits
from tests.support.upstreams import LOGIN, WRONG, Upstream, upstream

from .conftest import same

pytestmark = pytest.mark.django_db(transaction=True)


def imported(
    hub: Upstream, options: Options | None = None, progress: runs.Progress | None = None
) -> Run:
    """An import of that registry, with its login."""
    options = options or Options()
    user, password = hub.login or ("", "")
    ca = hub.ca.read_text() if hub.ca else ""
    where = access(hub.url, user=user, password=password, ca=ca)
    with RegistrySource(where, options) as source:
        begun = run.begin("registry", source.name, options, by="operator:ada", about={})
        return run.carry_out(begun, source, options, progress=progress)


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
    assert [what_is_missing(ours, *name.split(":")) for name in names] == [""] * 4


def test_a_second_import_sends_nothing(tmp_path: Path, ours: Registry) -> None:
    with upstream(tmp_path / "hub") as hub:
        hub.registry.push_image("team/app", "1", "2", layers=[b"base"])
        imported(hub)
        hub.forget()
        done = imported(hub)
        assert states(done) == {"team/app:1": "there", "team/app:2": "there"}
        assert hub.count("GET", "/blobs/") == hub.count("GET", "/manifests/") == 0
        assert ImportedTag.objects.filter(run=done, size=0).count() == 2


def test_signatures_come_with_their_image_by_fallback_tags(tmp_path: Path, ours: Registry) -> None:
    """distribution has no referrers API: clients write an image index under sha256-HEX."""
    with upstream(tmp_path / "hub") as hub:
        digest = hub.registry.push_image("team/app", "1", "2")
        hub.registry.push_image("team/other", "1")
        signature = _signature(hub.registry, "team/app", digest)
        fallback, cosign = f"sha256-{digest[7:]}", f"sha256-{digest[7:]}.sig"
        hub.registry.push_index("team/app", [signature], fallback)
        hub.registry.push_image("team/app", cosign, layers=[b"cosign"])
        done = imported(hub, Options(patterns=("team/app:1",)))
        assert states(done) == {"team/app:1": "taken"}
        assert same(hub.registry, ours, f"team/app:{fallback}", f"team/app:{cosign}")
        assert ours.get("team/app", signature["digest"]).status == 200
        assert ours.get("team/app", "2").status == ours.get("team/other", "1").status == 404
        assert set(states(imported(hub)).values()) == {"taken", "there"}


def test_a_fallback_tag_is_merged_with_the_one_here(tmp_path: Path, ours: Registry) -> None:
    with upstream(tmp_path / "hub") as hub:
        digest = hub.registry.push_image("team/app", "1")
        assert ours.push_image("team/app", "1") == digest
        tag = f"sha256-{digest[7:]}"
        theirs = _signature(hub.registry, "team/app", digest)
        mine = _signature(ours, "team/app", digest, b"mine")
        hub.registry.push_index("team/app", [theirs], tag)
        ours.push_index("team/app", [mine], tag)
        assert states(imported(hub))[f"team/app:{tag}"] == "taken"
        listed = [one["digest"] for one in ours.get("team/app", tag).json()["manifests"]]
        assert listed == [mine["digest"], theirs["digest"]]
        assert states(imported(hub))[f"team/app:{tag}"] == "there"


def test_what_is_here_otherwise_stays_unless_it_is_to_be_replaced(
    tmp_path: Path, ours: Registry
) -> None:
    with upstream(tmp_path / "hub") as hub:
        theirs = hub.registry.push_image("team/app", "1", "2", layers=[b"theirs"])
        mine = ours.push_image("team/app", "1", "2", layers=[b"mine"])
        protection.add("team/app", "2", note="", by="operator:ada", is_immutable=True)
        done = imported(hub)
        assert states(done) == {"team/app:1": "skipped", "team/app:2": "skipped"}
        assert "replace" in done.imported.get(tag="1").note
        done = imported(hub, Options(replace=True))
        assert states(done) == {"team/app:1": "taken", "team/app:2": "skipped"}
        assert "immutable" in done.imported.get(tag="2").note
    tags = [ours.get("team/app", tag).headers["docker-content-digest"] for tag in "12"]
    assert tags == [theirs, mine]


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path, ours: Registry) -> None:
    with upstream(tmp_path / "hub") as hub:
        hub.registry.push_image("team/app", "1", layers=[b"x" * 5000])
        done = imported(hub, Options(dry_run=True, namespace="old"))
        row = done.imported.get()
        assert (row.state, row.target, row.size > 5000) == ("taken", "old/team/app", True)
        assert hub.count("GET", "/blobs/") == 0
    assert ours.catalogue() == []
    assert not AuditEvent.objects.exists()


def test_a_dry_run_counts_a_shared_layer_once(tmp_path: Path, ours: Registry) -> None:
    with upstream(tmp_path / "hub") as hub:
        for name in "abc":
            hub.registry.push_image(f"team/{name}", "1", layers=[b"x" * 5000, name.encode()])
        dry, real = (imported(hub, Options(dry_run=is_dry)) for is_dry in (True, False))
    assert dry.result["bytes"] == real.result["bytes"] > 5000


@pytest.mark.parametrize("replace", [False, True])
def test_a_tag_that_is_pushed_while_its_image_is_copied_stays(
    tmp_path: Path, ours: Registry, replace: bool
) -> None:
    class Late(RegistrySource):
        def copy(self, found: Found, target: Target) -> Stored:
            stored = super().copy(found, target)
            pushed.append(ours.push_image("team/app", "1", layers=[b"pushed meanwhile"]))
            return stored

    pushed: list[str] = []
    options = Options(replace=replace)
    with upstream(tmp_path / "hub") as hub, Late(access(hub.url), options) as source:
        theirs = hub.registry.push_image("team/app", "1")
        done = begun(source, options)
    kept = theirs if replace else pushed[0]
    assert states(done) == {"team/app:1": "taken" if replace else "skipped"}
    assert ours.get("team/app", "1").headers["docker-content-digest"] == kept


@pytest.mark.usefixtures("ours")
def test_names_of_old_registries_are_made_legal_and_clashes_said() -> None:
    class Old(EmptySource):
        def survey(self) -> Iterator[Found]:
            yield Found("Team/App", "1")
            yield Found("team/app", "1")
            yield Found("TEAM/app", "1")
            yield Found("a..b__c/_d_", "-x")
            yield Found("___", "1")
            yield Found("x", "1", problem="Its ancestry is broken.")

    done = begun(Old(), Options(namespace="old", dry_run=True))
    rows = {
        str(row): (row.state, row.target, row.target_tag, row.note) for row in done.imported.all()
    }
    assert rows.pop("team/app:1")[:3] == ("taken", "old/team/app", "1")
    assert rows.pop("a..b__c/_d_:-x")[:3] == ("taken", "old/a.b__c/d", "x")
    assert {name: row[0] for name, row in rows.items()} == dict.fromkeys(rows, "skipped")
    assert "team/app:1 has the same name" in rows["Team/App:1"][3]
    assert rows["x:1"][3] == "Its ancestry is broken."


def test_a_broken_upstream_tags_nothing_and_the_next_run_completes(
    tmp_path: Path, ours: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fate, "PAUSES", (0.0, 0.0))
    with upstream(tmp_path / "hub") as hub:
        hub.registry.push_image("team/app", "1", layers=[b"x" * 300_000])
        hub.fail(WRONG)
        done = imported(hub)
        assert done.state == Run.State.FAILED
        assert states(done) == {"team/app:1": "failed"}
        assert ours.get("team/app", "1").status == 404
        hub.fail(None)
        assert states(imported(hub)) == {"team/app:1": "taken"}
    assert what_is_missing(ours, "team/app", "1") == ""


@pytest.mark.skipif(not habits().knows_schema1, reason="registry 3 shows no schema 1")
def test_schema_1_is_listed_as_such(tmp_path: Path, ours: Registry) -> None:
    with upstream(tmp_path / "hub") as hub:
        layer = hub.registry.push_blob("old", b"layer")
        _signed, payload = signed_schema1("old", "1", [layer])
        hub.registry.put_into_store("old", "1", payload)
        row = imported(hub).imported.get()
    assert row.state == "skipped"
    assert "schema 1" in row.note


def test_nothing_is_imported_into_a_mirror_or_a_frozen_registry(
    ours: Registry, tmp_path: Path
) -> None:
    Mirror.objects.create(name="hub", url="https://registry-1.docker.io")
    with pytest.raises(Refused, match="namespace of a mirror"):
        run.begin("registry", "x", Options(namespace="hub"), by="", about={})
    with upstream(tmp_path / "hub") as hub:
        hub.registry.push_image("hub/app", "1")
        assert states(imported(hub)) == {"hub/app:1": "skipped"}
    (write_freeze.folder()).mkdir(parents=True)
    (write_freeze.folder() / "manifests").touch()
    with pytest.raises(Refused, match="frozen"):
        run.begin("registry", "x", Options(), by="", about={})


def test_a_stop_ends_it_between_pieces_and_what_was_done_is_reported(
    tmp_path: Path, ours: Registry
) -> None:
    with upstream(tmp_path / "hub") as hub:
        hub.registry.push_image("team/app", "1", layers=[b"a"])
        hub.registry.push_image("team/app", "2", layers=[b"x" * 3_000_000])
        options = Options(rate=200_000)
        done = imported(hub, options, progress=lambda run: runs.ask_to_stop(run, by="ada"))
        assert done.state == Run.State.STOPPED
        assert ours.get("team/app", "2").status == 404
        found = states(done)
        assert {name: ours.get(*name.split(":")).status for name in found} == dict.fromkeys(
            found, 200
        )
        assert imported(hub).state == Run.State.DONE
    assert what_is_missing(ours, "team/app", "2") == ""


def test_the_password_is_nowhere(tmp_path: Path, ours: Registry, caplog: Any) -> None:
    with upstream(tmp_path / "hub", auth="basic") as hub, caplog.at_level(0):
        hub.registry.push_image("team/app", "1")
        done = imported(hub)
    assert done.state == Run.State.DONE
    said = [caplog.text, str(Run.objects.values()), str(AuditEvent.objects.values())]
    assert not any(LOGIN[1] in one for one in said)


def test_referrers_of_the_api_get_fallback_tags_here(
    tmp_path: Path, ours: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No registry of Debian's has the referrers API, so its answers are made here."""
    with upstream(tmp_path / "hub") as hub:
        digest = hub.registry.push_image("team/app", "1")
        signature = _signature(hub.registry, "team/app", digest)
        of_signature = _signature(hub.registry, "team/app", signature["digest"], b"of it")
        listed = {digest: [signature], signature["digest"]: [of_signature]}
        ask = registry.upstream.answer

        def answer(asking: Any, path: str, *about: Any, **more: Any) -> Any:
            if "/referrers/" not in path:
                return ask(asking, path, *about, **more)
            found = listed.get(path.rpartition("/")[2], [])
            return 200, {}, json.dumps({"manifests": found}).encode()

        monkeypatch.setattr(registry.upstream, "answer", answer)
        assert states(imported(hub)) == {"team/app:1": "taken"}
        for subject, one in ((digest, signature), (signature["digest"], of_signature)):
            tag = ours.get("team/app", f"sha256-{subject[7:]}")
            assert [each["digest"] for each in tag.json()["manifests"]] == [one["digest"]]
            assert what_is_missing(ours, "team/app", one["digest"]) == ""
        assert states(imported(hub)) == {"team/app:1": "there"}


def _signature(
    registry: Registry, repository: str, digest: str, content: bytes = b"signature"
) -> dict[str, Any]:
    subject = registry.child(repository, digest)
    made = registry.push_image(repository, layers=[content], subject=subject)
    return registry.child(repository, made)


class EmptySource:
    """A source for surveys: its content is never asked for."""

    name = "old store"

    def survey(self) -> Iterator[Found]:
        yield from ()

    def digest(self, found: Found) -> str:
        return ""

    def copy(self, found: Found, target: Target) -> Stored:
        return Stored("sha256:" + 64 * "0", "", b"")

    def referrers(self, found: Found, digest: str) -> Iterator[Found]:
        yield from ()


def begun(source: Any, options: Options) -> Run:
    """Its import."""
    made = run.begin("test", source.name, options, by="operator:ada", about={})
    return run.carry_out(made, source, options)
