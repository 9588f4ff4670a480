"""What is found broken, marked and unmarked, on small stores. The real registry: tests/e2e/."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registryui import runs
from registryui.integrity import check as integrity
from registryui.integrity import completeness
from registryui.models import Manifest, Run, Tag
from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.fake_source import LAYER, descriptor, digest_of, encode
from tests.support.stores import Small

pytestmark = pytest.mark.django_db


def check(**options: Any) -> Run:
    run = integrity.check(by="test", **options)
    assert run is not None
    run.refresh_from_db()
    return run


def checked(**options: Any) -> dict[str, Any]:
    """The result of a run that came to its end."""
    run = check(**options)
    assert run.state == Run.State.DONE, (run.result, run.log)
    result: dict[str, Any] = run.result
    return result


def marked() -> set[str]:
    tags = Tag.objects.filter(problem=Tag.Problem.BROKEN).select_related("repository")
    return {str(tag) for tag in tags}


def damaged(small: Small, digest: str) -> None:
    """Other bytes, as many as before."""
    place = small.root / paths.blob_data(digest)
    place.write_bytes(b"?" * place.stat().st_size)


def away(small: Small, path: str) -> None:
    (small.root / path).unlink()


BASE, CODE = b"base" * 50, b"code"
CONFIG = encode({"os": "linux", "architecture": "amd64", "n": [len(BASE), len(CODE)]})
IMAGE = {"layers": (BASE, CODE)}

DAMAGES: dict[str, Callable[[Small, str], object]] = {
    "layer-missing": lambda small, _image: away(small, paths.blob_data(digest_of(CODE))),
    "layer-unlinked": lambda small, _image: away(small, paths.layer_link("a", digest_of(CODE))),
    "layer-size": lambda small, _image: (small.root / paths.blob_data(digest_of(CODE))).write_bytes(
        b"cod"
    ),
    "config-missing": lambda small, _image: away(small, paths.blob_data(digest_of(CONFIG))),
    "config-unlinked": lambda small, _image: away(small, paths.layer_link("a", digest_of(CONFIG))),
    "manifest-missing": lambda small, image: away(small, paths.blob_data(image)),
    "manifest-unlinked": lambda small, image: away(small, paths.revision_link("a", image)),
    "manifest-damaged": damaged,
    "tag-damaged": lambda small, _image: small.put_file(paths.tag_link("a", "1"), b""),
}


@pytest.mark.parametrize("why", DAMAGES)
def test_each_damage_is_found_named_and_marked_and_nothing_else(small: Small, why: str) -> None:
    image = small.image("a", "1", "same", **IMAGE)
    small.image("a", "2", layers=(BASE, b"other"))
    small.image("b", "1", layers=(BASE, CODE, b"more"))
    small.sync()
    assert checked()["broken"] == 0
    if why == "layer-missing":
        small.blob("b", CODE)
    if why == "manifest-missing":  # else it is written back: tests/e2e/test_half_written.py
        Manifest.objects.filter(digest=image).update(raw=b"")
    DAMAGES[why](small, image)

    run = check()

    names = {"a:1"} if why == "tag-damaged" else {"a:1", "a:same"}
    if why in ("layer-missing", "layer-size"):
        names.add("b:1")
    assert {f"{name}:{tag}" for name, tag, *_rest in run.result["problems"]} == names
    assert {row[2] for row in run.result["problems"]} == {why}
    assert run.result["broken"] == run.result["marked"] == len(names)
    assert marked() == names
    assert all(f"{name}: " in run.log for name in names)


def test_what_is_complete_again_is_unmarked(small: Small) -> None:
    small.image("a", "1", **IMAGE)
    small.sync()
    place = small.root / paths.blob_data(digest_of(CODE))
    place.unlink()
    assert checked()["marked"] == 1
    assert (checked()["marked"], checked()["broken"]) == (0, 1)
    place.write_bytes(CODE)
    result = checked()
    assert (result["broken"], result["unmarked"]) == (0, 1)
    assert marked() == set()


def test_a_sync_keeps_the_mark_and_a_push_of_the_tag_takes_it(small: Small) -> None:
    image = small.image("a", "1", "2", **IMAGE)
    small.sync()
    place = small.root / paths.blob_data(digest_of(CODE))
    place.unlink()
    assert checked()["marked"] == 2
    small.sync()
    assert marked() == {"a:1", "a:2"}
    place.write_bytes(CODE)
    time.sleep(0.02)
    small.tag("a", "1", image)  # by a push, before which the registry looks at each layer
    small.sync()
    assert marked() == {"a:2"}


def test_a_tag_that_moved_meanwhile_is_not_marked(small: Small) -> None:
    small.image("a", "1", **IMAGE)
    small.sync()
    away(small, paths.blob_data(digest_of(CODE)))
    from registryui.index import ingest

    assert ingest.set_broken("a", {"1": "sha256:" + "0" * 64}, {}) == ([], [])
    assert marked() == set()


def test_children_nested_and_in_a_loop_are_followed(small: Small) -> None:
    amd = small.image("a", layers=(BASE, b"amd"))
    arm = small.image("a", layers=(BASE, b"arm"))
    inner = small.image_index("a", [arm])
    small.image_index("a", [amd, inner], "outer")
    small.image_index("a", [amd], "amd")
    small.sync()
    assert checked()["broken"] == 0
    away(small, paths.blob_data(digest_of(b"arm")))
    (found,) = checked()["problems"]
    assert found[1:] == ["outer", "layer-missing", digest_of(b"arm")]
    away(small, paths.revision_link("a", inner))
    (found,) = checked()["problems"]
    assert found[1:] == ["outer", "child-unlinked", inner]


def test_a_child_that_only_a_layer_link_holds_is_there(small: Small) -> None:
    """As registry 2.1 linked manifests; the registry finds them still."""
    child = small.image("a", layers=(BASE,))
    small.image_index("a", [child], "1")
    away(small, paths.revision_link("a", child))
    small.put_file(paths.layer_link("a", child), child.encode())
    small.sync()
    assert checked()["broken"] == 0


def test_what_need_not_be_here_is_not_missed(small: Small) -> None:
    layer = {**descriptor(LAYER, b"elsewhere"), "urls": ["https://example.com/layer"]}
    config = descriptor("application/vnd.oci.image.config.v1+json", b"{}")
    small.blob("a", b"{}")
    raw = {"schemaVersion": 2, "config": config, "layers": [layer]}
    small.manifest("a", encode(raw), "foreign")
    cached = {**descriptor("application/vnd.buildkit.cacheconfig.v0", b"cache")}
    small.blob("a", b"cache")
    small.image_index("a", [], "empty")
    small.manifest(
        "a", encode({"schemaVersion": 2, "manifests": [cached], "layers": None}), "cache"
    )
    small.sync()
    assert checked()["broken"] == 0
    away(small, paths.blob_data(digest_of(b"cache")))
    assert [row[1] for row in checked()["problems"]] == ["cache"]


def test_what_comes_while_it_looks_is_looked_at_again(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blobs are listed first: a push after that must not look broken."""
    small.image("a", "1", layers=(BASE,))
    small.sync()
    real = completeness.Sizes

    def listed(store: Any) -> Any:
        made = real(store)
        small.image("a", "2", layers=(b"new",))
        return made

    monkeypatch.setattr(completeness, "Sizes", listed)
    result = checked()
    assert (result["tags"], result["broken"]) == (2, 0)


# -- deep ------------------------------------------------------------------------------------------
def test_only_a_deep_look_reads_each_blob_once(small: Small) -> None:
    small.image("a", "1", **IMAGE)
    small.image("b", "1", layers=(BASE, b"more"))
    small.blob("a", b"nobody needs it" * 99)
    small.sync()
    assert checked()["read_bytes"] == 0
    configs = len(CONFIG)  # the same one in both
    assert checked(deep=True)["read_bytes"] == len(BASE) + len(CODE) + len(b"more") + configs


def test_a_damage_that_a_deep_look_found_is_not_forgotten_by_a_quick_one(small: Small) -> None:
    small.image("a", "1", **IMAGE)
    small.sync()
    damaged(small, digest_of(CODE))
    assert checked()["broken"] == 0
    result = checked(deep=True)
    assert (result["broken"], result["damaged"]) == (1, [digest_of(CODE)])
    assert result["problems"] == [["a", "1", "layer-damaged", digest_of(CODE)]]
    for _ in range(2):
        result = checked()
        assert (result["broken"], result["read_bytes"]) == (1, len(CODE))
    assert marked() == {"a:1"}
    (small.root / paths.blob_data(digest_of(CODE))).write_bytes(CODE)
    assert checked()["unmarked"] == 1
    assert checked()["read_bytes"] == 0


def test_it_reads_no_faster_than_it_may() -> None:
    pace = completeness.Pace(1000)
    began = time.monotonic()
    for _ in range(5):
        pace.spend(100)
    assert time.monotonic() - began > 0.45
    pace = completeness.Pace(1)
    threading.Timer(0.1, pace.is_over.set).start()
    with pytest.raises(completeness.Over):
        pace.spend(1000)


# -- the run ---------------------------------------------------------------------------------------
def test_it_can_be_stopped_and_there_is_one_at_a_time(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.image("a", "1", **IMAGE)
    small.sync()
    other = runs.begin(Run.Kind.INTEGRITY, by="else")
    assert other is not None
    assert integrity.check(by="test") is None
    runs.end(other, Run.State.DONE)
    monkeypatch.setattr(runs, "STEP", 0.01)

    def stop(run: Run) -> None:
        runs.ask_to_stop(run, by="operator:vera")

    run = check(deep=True, limit=1, progress=stop)
    assert run.state == Run.State.STOPPED
    assert run.stop_asked_by == "operator:vera"


def test_a_store_that_does_not_answer_marks_nothing(small: Small, settings: Any) -> None:
    small.image("a", "1", **IMAGE)
    small.sync()
    settings.SOURCE, settings.STORE_DIR = "store", small.root / "no-such"
    run = check()
    assert run.state == Run.State.FAILED
    assert "no-such" in run.result["problem"]
    assert marked() == set()
    assert set(run.result) == set(integrity.Result().facts())


def test_sizes_take_16_bytes_a_blob_and_know_each(tmp_path: Path) -> None:
    small = Small(tmp_path)
    digests = {small.blob("", bytes([number])): 1 for number in range(200)}
    small.put_file(f"{paths.BLOBS}/sha512/aa/{'a' * 128}/data", b"1234")
    sizes = completeness.Sizes(open_store(Storage(FILESYSTEM, {}, str(tmp_path))))
    assert len(sizes) == 201
    assert all(sizes.of(digest) == 1 for digest in digests)
    assert sizes.of(f"sha512:{'a' * 128}") == 4
    assert sizes.of(sha256(b"not there")) is None


def test_the_eldest_manifests_are_forgotten(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completeness, "KNOWN", 3)
    for number in range(10):
        for name in ("a", "b"):
            small.image(name, str(number), layers=(bytes([number]),))
    small.sync()
    result = checked()
    assert (result["tags"], result["broken"]) == (20, 0)
    assert 10 < result["manifests"] <= 20


@pytest.mark.parametrize(
    ("schedule", "is_now"),
    [("0 4 * * 6", True), ("1 4 * * 6", False), ("", False), ("no schedule", False)],
)
def test_the_schedule(settings: Any, schedule: str, is_now: bool) -> None:
    settings.INTEGRITY_SCHEDULE = schedule
    assert integrity.is_scheduled(datetime(2026, 11, 28, 4, 0, 31, tzinfo=UTC)) == is_now


def test_the_command_says_what_is_broken_and_ends_with_1(small: Small) -> None:
    small.image("a", "1", **IMAGE)
    small.sync()
    out = io.StringIO()
    call_command("integrity", stdout=out)
    assert "1 repositories, 1 tags in" in out.getvalue()
    assert "none incomplete" in out.getvalue()
    away(small, paths.blob_data(digest_of(CODE)))
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("integrity", "--deep", stdout=out)
    assert ended.value.code == 1
    assert f"a:1: layer {digest_of(CODE)} is missing\n" in out.getvalue()
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("integrity", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["state"], told["broken"], told["marked"]) == ("done", 1, 0)
    with pytest.raises(CommandError, match="No check is in progress"):
        call_command("integrity", "--stop")
