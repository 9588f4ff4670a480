"""An import into a running product: by the command and by the page, as people see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import clients, mirrors
from tests.support.hosts import proxied
from tests.support.portal import TOKEN, Visitor
from tests.support.product import ROOT, Product
from tests.support.upstreams import LOGIN, Upstream, upstream
from tests.support.waiting import LONGEST, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Upstream]:
    with upstream(tmp_path / "hub", auth="token") as one:
        yield one


def test_the_command_imports_what_skopeo_pushed_with_its_signature(
    boathouse: Product, hub: Upstream, tmp_path: Path
) -> None:
    digest = _push_by_skopeo(hub, tmp_path)
    signature = hub.registry.push_image(
        "taken/app", layers=[b"signature"], subject=hub.registry.child("taken/app", digest)
    )
    fallback = f"sha256-{digest[7:]}"
    hub.registry.push_index("taken/app", [hub.registry.child("taken/app", signature)], fallback)
    words = ("import", "registry", hub.url, "taken/app:1", "--json", "--user", LOGIN[0])
    done = mirrors.command(boathouse, *words, "--password-stdin", stdin=LOGIN[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["taken"] == 1
    there = proxied(boathouse, *boathouse.user)
    assert there.get("taken/app", "1").headers["docker-content-digest"] == digest
    assert there.get("taken/app", fallback).json()["manifests"][0]["digest"] == signature
    until(lambda: "1" in _tags(boathouse, "taken/app"), "the tag is in the index")
    visitor = Visitor(boathouse)
    visitor.login()
    pushed = visitor.get("/activity?act=client.push&target=taken/app").text
    assert "command line" in pushed


def test_the_page_imports_and_shows_each_tag(boathouse: Product, hub: Upstream) -> None:
    hub.registry.push_image("paged", "1", "2")
    visitor = Visitor(boathouse)
    visitor.login()
    form = TOKEN.search(visitor.get("/imports?new=1").text)
    assert form
    begun = visitor.send(
        "/imports/begin",
        csrfmiddlewaretoken=form[1],
        url=hub.url,
        user=LOGIN[0],
        password=LOGIN[1],
        namespace="from-page",
        act="import",
    )
    assert begun.status == 302, begun.text[:2000]

    def shown() -> str:
        return visitor.get(begun.location).text

    until(lambda: "took" in shown(), "the import has ended")
    assert "from-page/paged" in shown()
    there = proxied(boathouse, *boathouse.user)
    assert there.get("from-page/paged", "2").status == 200
    kept = [*boathouse.data.glob("*.sqlite3*"), *boathouse.data.glob("log/*")]
    assert len(kept) > 3
    assert [one.name for one in kept if LOGIN[1].encode() in one.read_bytes()] == []


def test_ctrl_c_ends_it_and_the_next_one_goes_on(boathouse: Product, hub: Upstream) -> None:
    hub.registry.push_image("slow/app", "1", layers=[os.urandom(2_000_000)])
    words = ("import", "registry", hub.url, "slow/app", "--user", LOGIN[0], "--password-stdin")
    slow = subprocess.Popen(
        [str(ROOT / "boathouse"), *words, "--rate", "200 kB"],
        env=boathouse.environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert slow.stdin
    slow.stdin.write(LOGIN[1])
    slow.stdin.close()
    until(lambda: hub.count("GET", "/blobs/"), "a blob is on its way")
    slow.send_signal(signal.SIGINT)
    assert slow.wait(timeout=LONGEST) == 1
    assert slow.stderr
    assert "Run it again to continue" in slow.stderr.read()
    there = proxied(boathouse, *boathouse.user)
    assert there.get("slow/app", "1").status == 404
    done = mirrors.command(boathouse, *words, stdin=LOGIN[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert there.get("slow/app", "1").status == 200


def _tags(product: Product, repository: str) -> list[str]:
    found: Any = json.loads(product.boathouse("list", repository, "--json", check=False).stdout)
    return [one["tag"] for one in found] if isinstance(found, list) else []


def _push_by_skopeo(hub: Upstream, folder: Path) -> str:
    """An image that skopeo made of a folder; its digest."""
    layout = f"oci:{folder}/layout:1"
    hub.registry.push_image("seed/app", "1", layers=[b"layer" * 1000])
    plain = hub.registry.url.removeprefix("http://")
    steps = (
        (f"docker://{plain}/seed/app:1", layout, "--src-tls-verify=false"),
        (layout, f"docker://{plain}/taken/app:1", "--dest-tls-verify=false"),
    )
    for source, target, option in steps:
        done = clients.run(folder, "skopeo", "--insecure-policy", "copy", option, source, target)
        assert done.returncode == 0, done.stderr
    return str(hub.registry.get("taken/app", "1").headers["docker-content-digest"])
