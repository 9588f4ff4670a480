"""Half-written files of a full disk and a power failure in the store of a real registry: found,
repaired, and pulled again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from django.utils import timezone

from registryui import tasks
from registryui.gc import collector
from registryui.index import events
from registryui.integrity import check, repair
from registryui.models import Manifest, RegistryEvent, Run, Tag
from registryui.registry import paths
from tests.support.fake_source import IMAGE, digest_of
from tests.support.gc_runs import index, run_gc, use
from tests.support.parts import running_registry
from tests.support.pushing import Client, Image, image, what_is_missing
from tests.support.registries import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.django_db, pytest.mark.one_database]

T = "1"


@dataclass(frozen=True, slots=True)
class Pushed:
    """An image that was pushed to a repository of its own as tag "1"."""

    registry: Registry
    name: str
    image: Image

    @property
    def digest(self) -> str:
        return digest_of(self.image.raw)

    @property
    def config(self) -> str:
        return digest_of(self.image.config)

    @property
    def layer(self) -> str:
        return digest_of(self.image.layers[0])

    def file(self, path: str) -> Path:
        return self.registry.store / path

    @property
    def tag_index(self) -> Path:
        return self.file(paths.tag(self.name, T)) / f"index/{self.digest.replace(':', '/')}/link"

    def missing(self) -> str:
        return what_is_missing(self.registry, self.name, T)

    def push(self) -> bool:
        return Client(self.registry).push(self.name, T, self.image)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


Damage = Callable[[Pushed], None]


def damage(path: Callable[[Pushed], str], how: Callable[[Path], object]) -> Damage:
    def done(one: Pushed) -> None:
        how(one.file(path(one)))

    return done


def manifest_data(one: Pushed) -> str:
    return paths.blob_data(one.digest)


def config_data(one: Pushed) -> str:
    return paths.blob_data(one.config)


def layer_data(one: Pushed) -> str:
    return paths.blob_data(one.layer)


def revision(one: Pushed) -> str:
    return paths.revision_link(one.name, one.digest)


def layer_link(one: Pushed) -> str:
    return paths.layer_link(one.name, one.layer)


def tag_link(one: Pushed) -> str:
    return paths.tag_link(one.name, T)


def a_push_that_failed(one: Pushed) -> None:
    """The data of a manifest is there, empty, and nobody has ever known the manifest."""
    empty(one.file(manifest_data(one)))
    shutil.rmtree(one.file(revision(one)).parent)
    shutil.rmtree(one.file(paths.tag(one.name, T)))
    Manifest.objects.filter(digest=one.digest).delete()
    Tag.objects.filter(repository__name=one.name).delete()


def an_empty_link_after_a_sync(one: Pushed) -> None:
    empty(one.file(tag_link(one)))
    index(one.registry)
    assert Tag.objects.get(repository__name=one.name).manifest is None


def a_layer_link_without_data(one: Pushed) -> None:
    empty(one.file(layer_link(one)))
    one.file(layer_data(one)).unlink()


def a_folder_without_its_link(one: Pushed) -> None:
    shutil.rmtree(one.file(tag_link(one)).parent)


# What is damaged; what repairing does; and what makes the tag whole: that alone, or a push.
SHAPES: dict[str, tuple[Damage, Literal["written back", "put aside", ""], str]] = {
    "manifest, empty": (damage(manifest_data, empty), "written back", "repair"),
    "manifest, cut": (damage(manifest_data, cut), "written back", "repair"),
    "manifest, not there": (damage(manifest_data, Path.unlink), "written back", "repair"),
    "manifest of a failed push": (a_push_that_failed, "put aside", "push"),
    "config, empty": (damage(config_data, empty), "put aside", "push"),
    "config, cut": (damage(config_data, cut), "put aside", "push"),
    "layer, empty": (damage(layer_data, empty), "put aside", "push"),
    "layer, cut": (damage(layer_data, cut), "put aside", "push"),
    "layer, not there": (damage(layer_data, Path.unlink), "", "push"),
    "link of the manifest, empty": (damage(revision, empty), "written back", "repair"),
    "link of the manifest, cut": (damage(revision, cut), "written back", "repair"),
    "link of a layer, empty": (damage(layer_link, empty), "written back", "repair"),
    "link of a layer, cut": (damage(layer_link, cut), "written back", "repair"),
    "link of a layer without data": (a_layer_link_without_data, "put aside", "push"),
    "link of the tag, empty": (damage(tag_link, empty), "written back", "repair"),
    "link of the tag, cut": (damage(tag_link, cut), "written back", "repair"),
    "link of the tag, not there": (a_folder_without_its_link, "written back", "repair"),
    "link of the tag, a sync later": (an_empty_link_after_a_sync, "written back", "repair"),
    "index link of the tag, empty": (lambda one: empty(one.tag_index), "", "nothing"),
    "index link of the tag, cut": (lambda one: cut(one.tag_index), "", "nothing"),
    "tag on a manifest without a link": (
        lambda one: shutil.rmtree(one.file(revision(one)).parent),
        "",
        "push",
    ),
}


@pytest.fixture
def served(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry, whose files are old enough at once."""
    monkeypatch.setattr(repair, "GRACE", timedelta(0))
    with running_registry(tmp_path / "registry") as url:
        use(settings, tmp_path / "registry/store", url)
        settings.QUARANTINE_TIME = timedelta(hours=1)
        yield Registry(url, tmp_path / "registry/store")


def pushed(served: Registry, name: str, number: int) -> Pushed:
    layer = random.Random(number).randbytes(300)
    one = Pushed(served, name, image(number, layer))
    assert one.push()
    return one


def checked() -> dict[str, Any]:
    run = check.check(by="test", source="store")
    assert run is not None
    assert run.state == Run.State.DONE, (run.result, run.log)
    return dict(run.result)


def test_every_half_written_shape_is_found_and_made_good(
    served: Registry, subtests: pytest.Subtests
) -> None:
    for number, (shape, (make, done, healer)) in enumerate(SHAPES.items()):
        with subtests.test(shape):
            one = pushed(served, f"shape/n{number}", number)
            index(served)
            make(one)
            assert (one.missing() == "") == (healer == "nothing")
            if "data" not in shape and done and shape.startswith(("manifest", "config", "layer")):
                assert shape.endswith("not there") or one.push()  # 201, and it does not help
                assert one.missing() != ""
            result = checked()
            lines = [line for line in result["repaired"] if done and done in line]
            assert len(lines) == len(result["repaired"]) == bool(done), result["repaired"]
            if done and shape != "manifest of a failed push":
                assert f"{one.name}:{T}" in lines[0]
            if healer == "push":
                broken = [problem[:2] for problem in result["problems"]]
                assert shape == "manifest of a failed push" or [one.name, T] in broken
                assert one.push()
            assert one.missing() == ""
            after = checked()
            assert (after["repaired"], after["broken"]) == ([], 0)
            index(served)
            assert Tag.objects.get(repository__name=one.name, name=T).problem == ""
            assert run_gc()["skipped_repositories"] == []
            assert one.missing() == ""


def test_a_tag_that_was_never_set_leaves_and_gc_frees_its_repository_again(
    served: Registry,
) -> None:
    one = pushed(served, "team/app", 1)
    link = served.store / paths.tag_link("team/app", "never")
    link.parent.mkdir(parents=True)
    empty(link)
    index(served)
    assert served.get("team/app", "never").status >= 400
    assert "never" in served.tags("team/app").json()["tags"]
    result = run_gc()
    assert result["skipped_repositories"] == []
    assert "team/app:never" in result["repaired"][0]
    assert served.tags("team/app").json()["tags"] == [T]
    assert one.missing() == ""
    assert Client(served).push("team/app", "never", one.image)
    assert what_is_missing(served, "team/app", "never") == ""
    assert collector.restore("all", by="test") == 0  # what is damaged stays where it is


def test_nothing_that_a_push_may_be_writing_is_touched(
    served: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pushed(served, "team/app", 1)
    index(served)
    for file in (one.file(layer_data(one)), one.file(revision(one)), one.file(tag_link(one))):
        empty(file)
    monkeypatch.setattr(repair, "GRACE", timedelta(minutes=5))
    assert checked()["repaired"] == []
    assert one.file(layer_data(one)).read_bytes() == b""


def test_a_push_onto_a_poisoned_manifest_is_made_good_at_once(
    served: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data is there and empty: 201, and every pull fails. The worker hears of the push."""
    one = pushed(served, "team/app", 1)
    index(served)
    empty(one.file(manifest_data(one)))
    other = Pushed(served, "other/app", one.image)
    assert other.push()
    assert other.missing() != ""
    row = RegistryEvent(event_id="a", action="push", repository="other/app", tag=T)
    row.digest, row.media_type, row.at = one.digest, IMAGE, timezone.now()
    row.save()
    monkeypatch.setattr(events, "PAUSES", ())
    monkeypatch.setattr(tasks, "_apply_again", lambda seconds: None)
    monkeypatch.setattr("django.conf.settings.SOURCE", "http")
    tasks.apply_events.call_local()
    tasks.apply_events.call_local()
    assert other.missing() == one.missing() == ""


def test_uploads_that_were_cut_off_leave(served: Registry, settings: Any) -> None:
    settings.QUARANTINE_TIME = timedelta(0)
    one = pushed(served, "team/app", 1)
    index(served)
    folder = served.store / paths.uploads("team/app")
    for name, files in {"a": (), "b": ("startedat",), "c": ("startedat", "data")}.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            empty(folder / name / file)
    assert run_gc()["uploads"] == 3
    assert run_gc()["in_quarantine"] == 0
    assert [*folder.glob("*")] == []
    assert one.missing() == ""
