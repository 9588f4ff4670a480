"""Deleting with the whole product: what Docker and skopeo can pull before, after, after undo."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from registryui.registry import paths
from tests.selection import Extent
from tests.support.clients import copy, run
from tests.support.engines import Engine
from tests.support.fake_source import IMAGE
from tests.support.layouts import Layout
from tests.support.product import ROOT, Product
from tests.support.registries import Registry
from tests.support.waiting import LONGEST, until

pytestmark = pytest.mark.e2e

MOST_KILLS = 20  # of one delete, until one comes before its end


def say(boathouse: Product, *words: str) -> Any:
    """What a command prints with --json."""
    return json.loads(boathouse.boathouse(*words, "--json").stdout)


def wait_for(boathouse: Product, repository: str, *tags: str) -> None:
    until(
        lambda: set(tags) <= {row["tag"] for row in boathouse.listed(repository)},
        "the index knows the tags",
    )


@pytest.mark.root
def test_a_deleted_tag_is_gone_for_docker_and_its_sibling_works(
    boathouse: Product, docker: Engine, second_docker: Engine
) -> None:
    one, two = (f"{boathouse.name}/delete/app:{tag}" for tag in ("1", "2"))
    docker.make_image("delete-app", "echo hello > /root/x")
    for reference in (one, two):
        docker.docker("tag", "delete-app", reference)
    digest = docker.push(one)
    assert docker.push(two) == digest
    wait_for(boathouse, "delete/app", "1", "2")

    (done,) = say(boathouse, "tag", "delete", "delete/app:1")

    assert [one["state"] for one in done["results"]] == ["deleted"]
    gone = second_docker.docker("pull", one, check=False)
    assert gone.returncode != 0
    assert "manifest unknown" in gone.stdout + gone.stderr
    assert digest in second_docker.docker("pull", two).stdout
    boathouse.boathouse("tag", "restore", "delete/app:1")
    assert digest in second_docker.docker("pull", one).stdout
    row = boathouse.tag("delete/app", "1")
    assert row is not None
    assert (row["digest"], row["by"]) == (digest, boathouse.user[0])


def test_an_image_index_goes_and_another_one_with_the_same_child_stays_complete(
    boathouse: Product, certificates: Path, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    amd, arm = (layout.image(one, {"bin/app": one.encode()}) for one in ("amd64", "arm64"))
    layout.tag("both", layout.image_index([amd, arm]))
    layout.tag("one", layout.image_index([amd]))
    layout.tag("arm", arm)
    reference = f"docker://{boathouse.name}/delete/multi"
    for tag in ("both", "one", "arm"):
        done = copy(boathouse, certificates, f"oci:{layout.folder}:{tag}", f"{reference}:{tag}")
        assert done.returncode == 0, done.stderr
    wait_for(boathouse, "delete/multi", "both", "one", "arm")

    (outcome,) = say(boathouse, "tag", "delete", "delete/multi:both", "delete/multi:arm")

    def pull(tag: str) -> int:
        target = f"oci:{tmp_path / f'{tag}-{time.time_ns()}'}:x"
        return copy(boathouse, certificates, f"{reference}:{tag}", target).returncode

    assert [pull(tag) == 0 for tag in ("both", "one", "arm")] == [False, True, False]
    boathouse.boathouse("tag", "restore", "--act", outcome["act"])
    assert [pull(tag) == 0 for tag in ("both", "one", "arm")] == [True, True, True]


def test_what_skopeo_deletes_is_undone_and_activity_says_who_it_was(
    boathouse: Product, certificates: Path, tmp_path: Path
) -> None:
    name = "delete/skopeo"
    layout = Layout(tmp_path / "layout")
    for tag, content in (("old", b"old"), ("new", b"new")):
        layout.tag(tag, layout.image("amd64", {"bin/app": content}))
    for tag in ("old", "new"):  # the second push overwrites the first
        reference = f"docker://{boathouse.name}/{name}:latest"
        done = copy(boathouse, certificates, f"oci:{layout.folder}:{tag}", reference)
        assert done.returncode == 0, done.stderr
    boathouse.tag_again(name, "latest", "1.0")
    wait_for(boathouse, name, "latest", "1.0")
    digest = boathouse.tag(name, "1.0")["digest"]  # type: ignore[index]
    user, secret = boathouse.add_user("deleter", pull=[name], delete=[name])
    words = ("--cert-dir", str(certificates), "--creds", f"{user}:{secret}")
    reference = f"docker://{boathouse.name}/{name}:1.0"
    done = run(tmp_path, "skopeo", "--insecure-policy", "delete", *words, reference)
    assert done.returncode == 0, done.stderr
    until(lambda: not boathouse.listed(name), "the index knows that the tags are gone")

    def acts() -> list[dict[str, Any]]:
        printed = boathouse.boathouse("activity", "--act", "client", "--target", name, "--json")
        return [json.loads(line) for line in printed.stdout.splitlines()]

    until(lambda: len(acts()) == 6, "activity tells of three pushes and of what was deleted")
    assert [(row["act"], row["actor"], row["target"]) for row in acts()[:3]] == [
        ("client.push", boathouse.user[0], f"{name}:latest"),
        ("client.move", boathouse.user[0], f"{name}:latest"),
        ("client.push", boathouse.user[0], f"{name}:1.0"),
    ]
    assert {(row["act"], row["actor"], row["target"]) for row in acts()[3:]} == {
        ("client.delete_manifest", user, f"{name}@{digest}"),
        ("client.delete", user, f"{name}:latest"),
        ("client.delete", user, f"{name}:1.0"),
    }
    assert {row["address"] for row in acts()} == {boathouse.address}
    assert {row["details"]["digest"] for row in acts()[1:]} == {digest}
    waiting = say(boathouse, "tag", "deleted", name)
    found = {(row["tag"], row["how"], row["by"], row["address"]) for row in waiting}
    assert found == {
        ("latest", "overwritten", boathouse.user[0], ""),
        ("latest", "deleted", user, boathouse.address),
        ("1.0", "deleted", user, boathouse.address),
    }
    (act,) = {row["act"] for row in waiting if row["how"] == "deleted"}
    boathouse.boathouse("tag", "restore", "--act", act)
    for tag in ("latest", "1.0"):
        source = f"docker://{boathouse.name}/{name}:{tag}"
        done = copy(boathouse, certificates, source, f"oci:{tmp_path / tag}:x")
        assert done.returncode == 0, done.stderr
        assert boathouse.tag(name, tag)["digest"] == digest  # type: ignore[index]


def test_a_delete_that_is_killed_at_any_moment_can_be_finished_and_undone(
    boathouse: Product, certificates: Path, tmp_path: Path, extent: Extent
) -> None:
    layout = Layout(tmp_path / "layout")
    reference = f"docker://{boathouse.name}/delete/killed:sibling"
    tags = [f"t{number}" for number in range(12)]
    layout.tag("x", layout.image("amd64", {"bin/app": b"killed"}))
    done = copy(boathouse, certificates, f"oci:{layout.folder}:x", reference)
    assert done.returncode == 0, done.stderr
    boathouse.tag_again("delete/killed", "sibling", *tags)
    wait_for(boathouse, "delete/killed", *tags, "sibling")
    digest = boathouse.tag("delete/killed", "sibling")["digest"]  # type: ignore[index]
    wanted = [f"delete/killed:{tag}" for tag in tags]
    for pause in extent((0.02,), (0.0, 0.02, 0.05, 0.1, 0.2)):
        process = subprocess.Popen(
            [str(ROOT / "boathouse"), "tag", "delete", *wanted, "--yes"],
            env=boathouse.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_until_it_writes(process, boathouse.data / "index.sqlite3-wal")
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=LONGEST)
        assert boathouse.tag("delete/killed", "sibling") is not None
        boathouse.boathouse("tag", "delete", *wanted, "--yes", check=False)  # the rest of it
        boathouse.boathouse("sync")
        assert {row["tag"] for row in boathouse.listed("delete/killed")} == {"sibling"}
        waiting = {row["tag"]: row for row in say(boathouse, "tag", "deleted", "delete/killed")}
        assert {tag: row["digest"] for tag, row in waiting.items()} == dict.fromkeys(tags, digest)
        boathouse.boathouse("tag", "restore", f"delete/killed:{tags[0]}")
        for act in {waiting[tag]["act"] for tag in tags[1:]}:
            boathouse.boathouse("tag", "restore", "--act", act)
        restored = {row["tag"]: row["digest"] for row in boathouse.listed("delete/killed")}
        assert restored == dict.fromkeys((*tags, "sibling"), digest)


def test_a_delete_of_many_that_is_killed_half_way_offers_undo_at_once(boathouse: Product) -> None:
    name, names = "delete/many", {f"t{number:03}" for number in range(200)}
    served = Registry(boathouse.registry_url, boathouse.data / "registry")
    digest = served.push_image(name, "kept")
    raw = served.get(name, "kept").body
    for tag in sorted(names):
        assert served.put(name, tag, raw, IMAGE).status == 201
    wait_for(boathouse, name, *names)
    tags = served.store / paths.tags(name)

    def links_elsewhere() -> list[Path]:
        """Of the tags that a delete has untagged, and that are still there."""
        return [link for link in tags.glob("t*/current/link") if _text(link) not in ("", digest)]

    for _ in range(MOST_KILLS):
        process = subprocess.Popen(
            [str(ROOT / "boathouse"), "tag", "delete", name, "--pattern", "t*", "--yes"],
            env=boathouse.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(
            lambda process=process: (
                process.poll() is not None or (len([*tags.iterdir()]) <= 101 and links_elsewhere())
            ),
            "it is at the other half",
            pause=0.001,
        )
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=LONGEST)
        if [*tags.glob("t*")]:
            break
        act = say(boathouse, "tag", "deleted", name)[0]["act"]  # it was over: once more
        boathouse.boathouse("tag", "restore", "--act", act)
    else:
        raise AssertionError("it was never killed in time")

    def is_recovered() -> bool:
        there = {one.name for one in tags.glob("t*")}
        waiting = {row["tag"] for row in say(boathouse, "tag", "deleted", name)}
        return not links_elsewhere() and waiting == names - there

    # "At once" is less than the ten minutes after which any unfinished delete is looked at.
    until(is_recovered, "all that went can be put back")
    act = say(boathouse, "tag", "deleted", name)[0]["act"]
    boathouse.boathouse("tag", "restore", "--act", act)
    restored = {row["tag"]: row["digest"] for row in boathouse.listed(name)}
    assert restored == dict.fromkeys((*names, "kept"), digest)


def _text(link: Path) -> str:
    try:
        return link.read_text()
    except FileNotFoundError:
        return ""


def _wait_until_it_writes(process: subprocess.Popen[bytes], log: Path) -> None:
    """Or until it is over."""
    size = log.stat().st_size if log.exists() else 0
    until(
        lambda: process.poll() is not None or (log.exists() and log.stat().st_size != size),
        "the delete begins",
        pause=0.005,
    )
