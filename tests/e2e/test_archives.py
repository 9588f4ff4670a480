"""Archives in and out with the programs that write and open them: Docker, podman, skopeo, a
browser."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.archives import layer, saved, tar_of, write
from tests.support.browser import too_wide, violations, visit
from tests.support.clients import run
from tests.support.curl import curl
from tests.support.engines import Engine
from tests.support.machines import podman_storage
from tests.support.portal import TOKEN, Visitor
from tests.support.product import ROOT, Product
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

MARK = "carried by hand"
BIG = 40_000_000  # bytes: more than nginx takes for a piece, or in memory


def imported(boathouse: Product, place: Path, *words: str) -> dict[str, str]:
    """What became of each tag. A file comes from stdin: tests run as root, Boathouse does not."""
    is_folder = place.is_dir()
    line = [str(ROOT / "boathouse"), "import", "archive", str(place) if is_folder else "-"]
    with (Path(os.devnull) if is_folder else place).open("rb") as file:
        done = subprocess.run(
            [*line, *words, "--json"],
            env=boathouse.environment,
            stdin=file,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    facts = json.loads(done.stdout)
    return {one["target"] or one["source"]: one["state"] for one in facts["tags"]}


def exported(boathouse: Product, place: Path, *words: str) -> None:
    """The archive or the settings, over stdout."""
    with place.open("wb") as file:
        done = subprocess.run(
            [str(ROOT / "boathouse"), "export", *words],
            env=boathouse.environment,
            stdout=file,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
def shared(folder: Path) -> Path:
    """A folder that the user of Boathouse may read and write."""
    made = folder / "shared"
    made.mkdir(exist_ok=True)
    made.chmod(0o777)
    return made


@pytest.fixture(scope="module")
def carried(docker: Engine) -> Engine:
    """Docker with an image that was never pushed."""
    docker.make_image("carried/app:1", f"echo {MARK} > /said")
    return docker


def test_what_docker_saves_is_imported_and_runs(
    carried: Engine, second_docker: Engine, boathouse: Product
) -> None:
    place = carried.machine.folder / "saved.tar"
    carried.docker("save", "--output", str(place), "carried/app:1", "base:latest")
    assert imported(boathouse, place, "--to", "saved") == {
        "saved/base:latest": "taken",
        "saved/carried/app:1": "taken",
    }
    reference = f"{boathouse.name}/saved/carried/app:1"
    second_docker.docker("pull", reference)
    said = second_docker.docker("run", "--rm", "--network=none", reference, "cat", "/said")
    assert said.stdout.strip() == MARK
    packed = write(carried.machine.folder / "saved.tar.gz", gzip.compress(place.read_bytes(), 1))
    assert set(imported(boathouse, packed, "--to", "saved").values()) == {"there"}


def test_an_image_that_docker_pushed_is_the_same_as_the_saved_one(
    carried: Engine, boathouse: Product
) -> None:
    reference = f"{boathouse.name}/both/app:1"
    carried.docker("tag", "carried/app:1", reference)
    digest = carried.push(reference)
    place = carried.machine.folder / "both.tar"
    carried.docker("save", "--output", str(place), reference)
    assert imported(boathouse, place) == {"both/app:1": "there"}
    row = until(lambda: boathouse.tag("both/app", "1"), "the index knows it")
    assert row is not None
    assert row["digest"] == digest


@pytest.mark.usefixtures("long_proof")
def test_docker_loads_what_was_exported(
    carried: Engine, second_docker: Engine, boathouse: Product
) -> None:
    reference = f"{boathouse.name}/out/app:1"
    carried.docker("tag", "carried/app:1", reference)
    carried.push(reference)
    until(lambda: boathouse.tag("out/app", "1"), "the index knows it")
    place = second_docker.machine.folder / "out.tar"
    exported(boathouse, place, "-", "out/*")
    loaded = second_docker.docker("load", "--input", str(place)).stdout
    assert reference in loaded
    said = second_docker.docker("run", "--rm", "--network=none", reference, "cat", "/said")
    assert said.stdout.strip() == MARK


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir", "docker-dir"])
def test_what_podman_saves_is_imported(
    form: str, carried: Engine, boathouse: Product, folder: Path, shared: Path, tmp_path: Path
) -> None:
    home = tmp_path
    (home / "storage.conf").write_text(podman_storage(folder))
    source = carried.machine.folder / "for-podman.tar"
    carried.docker("save", "--output", str(source), "carried/app:1")
    podman = ("podman", "--cgroup-manager=cgroupfs")
    assert run(home, *podman, "load", "--input", str(source)).returncode == 0
    place = shared / form
    words = (*podman, "save", "--format", form, "--output", str(place), "carried/app:1")
    done = run(home, *words)
    assert done.returncode == 0, done.stderr
    subprocess.run(["chmod", "-R", "a+rX", place], check=True)
    if form == "docker-dir":  # a folder of skopeo's own, which no other program reads
        refused = boathouse.boathouse("import", "archive", str(place), check=False)
        assert "skopeo copy dir:… oci-archive:…" in refused.stderr
        return
    name = f"podman/{form}"
    found = imported(boathouse, place, "--to", name)
    assert found == {f"{name}/carried/app:1": "taken"}


def test_skopeo_reads_and_writes_the_archives(
    boathouse: Product, carried: Engine, tmp_path: Path
) -> None:
    saved_by_docker = carried.machine.folder / "skopeo.tar"
    carried.docker("save", "--output", str(saved_by_docker), "carried/app:1")
    skopeo = ("skopeo", "--insecure-policy", "copy")
    made = tmp_path / "made.tar"
    done = run(tmp_path, *skopeo, f"docker-archive:{saved_by_docker}", f"oci-archive:{made}:x/y:7")
    assert done.returncode == 0, done.stderr
    assert imported(boathouse, made) == {"x/y:7": "taken"}
    until(lambda: boathouse.tag("x/y", "7"), "the index knows it")
    out, copied = tmp_path / "out.tar", tmp_path / "copied.tar"
    exported(boathouse, out, "-", "x/y:7")
    done = run(tmp_path, *skopeo, f"oci-archive:{out}:x/y:7", f"oci-archive:{copied}:x/y:7")
    assert done.returncode == 0, done.stderr
    assert imported(boathouse, copied) == {"x/y:7": "there"}


def test_an_archive_comes_in_over_a_pipe(boathouse: Product, tmp_path: Path) -> None:
    place = write(tmp_path / "saved.tar", tar_of(saved([layer(a=b"a")], "piped/app:1")))
    line = f"cat {place} | {ROOT}/boathouse import archive - --json"
    done = subprocess.run(
        ["sh", "-c", line], env=boathouse.environment, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["tags"][0]["state"] == "taken"


def test_what_this_user_cannot_read_or_write_is_said_with_the_way_around(
    boathouse: Product, tmp_path: Path
) -> None:
    place = write(tmp_path / "saved.tar", tar_of(saved([layer(a=b"a")], "piped/app:2")))
    tmp_path.chmod(0o700)
    if os.geteuid() != 0:
        pytest.skip("This user is the one that runs Boathouse.")
    done = boathouse.boathouse("import", "archive", str(place), check=False)
    assert "./boathouse import archive - < FILE" in done.stderr
    done = boathouse.boathouse("export", str(tmp_path / "out.tar"), check=False)
    assert "./boathouse export - … > FILE" in done.stderr
    assert list(tmp_path.iterdir()) == [place]


def test_settings_leave_as_json_that_only_its_owner_reads(boathouse: Product, shared: Path) -> None:
    place = shared / "settings.json"
    boathouse.boathouse("export", "settings", str(place))
    assert place.stat().st_mode & 0o777 == 0o600
    found = json.loads(place.read_text())
    user = next(one for one in found["users"] if one["name"] == boathouse.user[0])
    line = f"{user['name']}:{user['hash']}\n"
    assert line in (boathouse.data / "htpasswd").read_text()
    assert user["rights"]["pull"] == ["*"]
    assert boathouse.user[1] not in place.read_text()
    assert found["history"][0]["act"]


# -- in a browser ----------------------------------------------------------------------------------
def _big(tmp_path: Path, name: str) -> Path:
    content = layer(etc__noise=os.urandom(BIG))
    return write(tmp_path / "big.tar", tar_of(saved([content], name)))


@pytest.mark.usefixtures("long_proof")
def test_a_browser_sends_an_archive_in_pieces(
    boathouse: Product, browser: Browser, tmp_path: Path
) -> None:
    place = _big(tmp_path, "browser/app:1")
    with visit(browser, boathouse) as made:
        made.login()
        made.open("/imports/archives")
        assert violations(made.page) == []
        assert too_wide(made.page, 1280, 390) == []
        made.page.set_input_files("input[type=file]", place)
        made.page.click("form[data-upload] button")
        made.page.wait_for_url(re.compile("/imports/[0-9]+$"))
        expect(made.page.locator("#run")).to_contain_text("browser/app:1", timeout=120_000)
        assert made.complaints == []
    assert until(lambda: boathouse.tag("browser/app", "1"), "the index knows it")
    assert list((boathouse.data / "imports").iterdir()) == []


def test_an_upload_goes_on_after_the_connection_was_lost(
    boathouse: Product, browser: Browser, tmp_path: Path
) -> None:
    place = _big(tmp_path, "browser/again:1")
    with visit(browser, boathouse) as made:
        made.login()
        made.open("/imports/archives")
        sent: list[str] = []

        def second_is_lost(route: Any) -> None:
            sent.append(route.request.url)
            if len(sent) == 2:
                route.abort("connectionreset")
            else:
                route.continue_()

        made.page.route("**/piece?offset=*", second_is_lost)
        made.page.set_input_files("input[type=file]", place)
        made.page.click("form[data-upload] button")
        made.page.wait_for_url(re.compile("/imports/[0-9]+$"))
        offsets = [int(one.rpartition("=")[2]) for one in sent]
        assert offsets[1] == offsets[2] > 0
    assert until(lambda: boathouse.tag("browser/again", "1"), "the index knows it")


@pytest.mark.usefixtures("long_proof")
def test_a_form_without_a_script_sends_it_at_once(boathouse: Product, tmp_path: Path) -> None:
    place = _big(tmp_path, "form/app:1")
    visitor = Visitor(boathouse)
    visitor.login()
    token = TOKEN.search(visitor.get("/imports/archives").text)
    assert token
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    url = f"{boathouse.facts['url']}/imports/archives/upload"
    done = curl(
        boathouse,
        *("--silent", "--include", "--cookie", cookie, "--referer", url),
        *("--form", f"csrfmiddlewaretoken={token[1]}", "--form", "namespace=whole"),
        *("--form", f"archive=@{place}", url),
    )
    assert re.search(r"(?im)^location: /imports/[0-9]+", done.stdout), done.stdout + done.stderr
    assert until(lambda: boathouse.tag("whole/form/app", "1"), "the index knows it")


def test_a_tag_is_downloaded_as_an_archive(
    boathouse: Product, browser: Browser, tmp_path: Path
) -> None:
    place = _big(tmp_path, "load/app:1")
    imported(boathouse, place)
    until(lambda: boathouse.tag("load/app", "1"), "the index knows it")
    got = tmp_path / "got.tar"
    with visit(browser, boathouse, accept_downloads=True) as made:
        made.login()
        made.open("/repositories/load/app:1")
        with made.page.expect_download() as begun:
            made.page.click("form[action$='/archive'] button")
        begun.value.save_as(got)
        assert begun.value.suggested_filename == "load-app-1.tar"
    written = tmp_path / "written.tar"
    exported(boathouse, written, "-", "load/app:1")
    assert got.read_bytes() == written.read_bytes()
