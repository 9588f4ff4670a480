"""The pages of mirrors: the list, one mirror, its form, and what an upstream would have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from registryui import tasks
from registryui.mirrors import mirrors, publish, state, upstream
from registryui.mirrors.mirrors import Wanted
from registryui.mirrors.upstream import Checked, Tags
from registryui.models import AuditEvent, Manifest, Mirror, Role
from registryui.refused import Refused
from tests.support import pushed
from tests.support.factories import make_operator

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
ADA = "operator:ada"
AT = "2026-12-01T10:00:00+00:00"
FORM = {"name": "hub", "url": "docker.io"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.MIRRORS_DIR = tmp_path / "mirrors"
    settings.MIRROR_KEY_FILE = tmp_path / "mirror-key"
    settings.MIRROR_KEY_FILE.write_text("of this test\n")
    publish._written.clear()
    return tmp_path / "mirrors"


def client_of(role: Role) -> Client:
    client = Client()
    client.force_login(make_operator("ada" if role == Role.ADMIN else f"a-{role}", role))
    return client


@pytest.fixture
def admin() -> Client:
    return client_of(Role.ADMIN)


@pytest.fixture
def hub() -> Mirror:
    return mirrors.add("hub", Wanted("docker.io"), by=ADA)


def say(folder: Path, **facts: Any) -> None:
    """What the service says of hub."""
    (folder / "hub" / "state.json").write_text(json.dumps(facts))


def text_of(response: Any) -> str:
    found = re.sub(r"<[^>]+>", " ", response.content.decode())
    return " ".join(found.split())


# -- the list ------------------------------------------------------------------------------------
def test_an_empty_list_teaches(admin: Client) -> None:
    answer = admin.get("/mirrors")
    assert "No mirrors yet" in text_of(answer)
    assert "/hub/library/nginx" in text_of(answer)
    assert answer.context["form"]
    viewer = client_of(Role.VIEWER).get("/mirrors?new=1")
    assert "An administrator can add one." in text_of(viewer)
    assert not viewer.context["form"]


def test_a_preset_fills_the_form_in(admin: Client, subtests: pytest.Subtests) -> None:
    for preset, expected in {
        "hub": ("hub", "https://registry-1.docker.io"),
        "quay": ("quay", "https://quay.io"),
        "boathouse": ("", ""),
        "unknown": (None, None),
    }.items():
        with subtests.test(preset):
            form = admin.get(f"/mirrors?new=1&preset={preset}").context["form"]
            assert (form.get("name"), form.get("url")) == expected


def test_the_list_says_how_each_is(admin: Client, hub: Mirror, folder: Path) -> None:
    mirrors.set_active(mirrors.add("quay", Wanted("quay.io"), by=ADA), is_active=False, by=ADA)
    pushed.image("hub/library/nginx", tags=["1", "2"])
    limit = {"limit": 100, "remaining": 7, "window": 21600}
    say(folder, contact=AT, hits=9, misses=1, upstream_bytes=5_000_000, limit=limit)
    rows = admin.get("/mirrors").context["rows"]
    assert [(one.shown.row.name, one.shown.word, one.tags) for one in rows] == [
        ("hub", "Available", 2), ("quay", "Disabled", 0),
    ]  # fmt: skip
    assert rows[0].shown.state.hit_percent == 90
    assert (rows[0].shown.limit, rows[0].shown.is_limit_low) == (
        "7 of 100 pulls left (per 6 h)",
        True,
    )


# -- one mirror ----------------------------------------------------------------------------------
def test_a_mirror_is_added_and_shown(admin: Client) -> None:
    login = {"user": "acme", "password": "sesame opens", "allow": "library/*"}
    answer = admin.post("/mirrors/add", FORM | login | {"keep_size": "500 GB"}, follow=True)
    row = Mirror.objects.get()
    assert answer.redirect_chain == [(f"/mirrors/{row.pk}", 302)]
    assert (row.made_by, row.keep_bytes, row.is_library) == (ADA, 500 * 10**9, True)
    assert mirrors.password(row) == "sesame opens"
    page = text_of(answer)
    assert "private repositories of acme" in page
    assert "sesame" not in answer.content.decode()


def test_what_is_wrong_is_said_and_the_form_stays(
    admin: Client, subtests: pytest.Subtests, hub: Mirror
) -> None:
    table = [
        ("/mirrors/add", {"name": "A b"}, "one part of a repository name"),
        ("/mirrors/add", {"name": "x", "url": "http://quay.io"}, "not encrypted"),
        ("/mirrors/add", {"name": "x", "keep_size": "much"}, "not a size"),
        ("/mirrors/add", {"name": "x", "keep_days": "x"}, "not a number"),
        ("/mirrors/add", {"name": "x", "user": "a"}, "Enter the password"),
        (f"/mirrors/{hub.pk}/change", {"act": "change", "allow": "$"}, "Enter patterns"),
    ]
    for path, form, words in table:
        with subtests.test(words):
            typed = {**FORM, "deny": "typed/*", "password": "sesame", **form}
            typed.pop("password") if "user" in form else None
            answer = admin.post(path, typed | ({} if "user" in form else {"user": "a"}))
            assert answer.status_code == 422
            assert words in text_of(answer)
            assert "typed/*" in answer.content.decode()
            assert "sesame" not in answer.content.decode()
    assert Mirror.objects.count() == 1


def test_http_is_meant(admin: Client) -> None:
    plain = {"name": "x", "url": "http://quay.io", "may_be_plain": "1"}
    assert admin.post("/mirrors/add", plain).status_code == 302


def test_a_change_keeps_the_password_and_what_the_form_rounds(admin: Client) -> None:
    wanted = Wanted("docker.io", user="a", password="b", keep_bytes=1_234_567_890)
    row = mirrors.add("hub", wanted, by=ADA)
    form = admin.get(f"/mirrors/{row.pk}?edit=1").context["form"]
    assert form["keep_size"] == "1.2 GB"
    sent = {name: form[name] or "" for name in ("url", "user", "allow", "fresh_minutes")}
    sent |= {"act": "change", "keep_size": "1.2 GB", "deny": "x/*"}
    assert admin.post(f"/mirrors/{row.pk}/change", sent).status_code == 302
    changed = Mirror.objects.get()
    assert (changed.deny, changed.keep_bytes) == ("x/*", 1_234_567_890)
    assert changed.secret == row.secret


def test_the_state_in_words(
    admin: Client, hub: Mirror, folder: Path, subtests: pytest.Subtests
) -> None:
    table: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["Not used yet", "nothing pulled yet"]),
        ({"contact": AT, "hits": 9, "misses": 1, "stale": 3}, ["Available", "90 %", "3 without"]),
        (
            {"contact": AT, "away_since": AT, "error": "it refuses connections"},
            ["Upstream unavailable", "can still be pulled. (connection refused)"],
        ),
        ({"contact": AT, "error": "it answers 403"}, ["failed: HTTP status (403)"]),
        (
            {"refused": 2, "last_refusal": {"at": AT, "what": "a@sha256:1", "words": "<b>"}},
            ["Refused content 2", "a@sha256:1: &lt;b&gt;"],
        ),
    ]
    for facts, words in table:
        say(folder, **facts)
        page = text_of(admin.get(f"/mirrors/{hub.pk}"))
        for one in words:
            with subtests.test(one):
                assert one in page
    mirrors.set_active(hub, is_active=False, by=ADA)
    assert "The upstream is not asked." in text_of(admin.get(f"/mirrors/{hub.pk}"))


def test_the_state_comes_again_only_when_it_changed(
    admin: Client, hub: Mirror, folder: Path
) -> None:
    say(folder, contact=AT)
    token = admin.get(f"/mirrors/{hub.pk}").context["token"]
    headers = {"HX-Request": "true", "HX-Target": "state"}
    path = f"/mirrors/{hub.pk}?seen="
    assert admin.get(path + token, headers=headers).status_code == 204
    (folder / "hub" / "state.json").unlink()
    say(folder, contact=AT, hits=5)
    answer = admin.get(path + token, headers=headers)
    assert answer.status_code == 200
    assert b"<html" not in answer.content
    assert b'id="state"' in answer.content


def test_what_was_saved(admin: Client, hub: Mirror, folder: Path) -> None:
    pushed.image("hub/library/nginx", tags=["1"], layers=[("a", 1_000_000)])
    Manifest.objects.update(pull_count=10, size=1_000_000)
    say(folder, upstream_bytes=1_500_000)
    assert admin.get(f"/mirrors/{hub.pk}").context["saved"] == 8_500_000
    say(folder, upstream_bytes=10**12)
    assert admin.get(f"/mirrors/{hub.pk}").context["saved"] == 0


def test_buttons(admin: Client, hub: Mirror) -> None:
    path = f"/mirrors/{hub.pk}/change"
    for act, pin in (
        ("off", ""), ("on", ""), ("pin", "library/debian:12"), ("unpin", "library/debian:12"),
    ):  # fmt: skip
        assert admin.post(path, {"act": act, "pin": pin}).status_code == 302
    acts = AuditEvent.objects.order_by("id").values_list("act", flat=True)
    assert list(acts) == [f"mirror.{one}" for one in ("add", "disable", "enable", "pin", "unpin")]
    wrong = admin.post(path, {"act": "pin", "pin": "x"}, follow=True)
    assert "Enter REPOSITORY:TAG" in text_of(wrong)
    assert "not supported" in text_of(admin.post(path, {"act": "x"}, follow=True))
    assert admin.post("/mirrors/99/change", {"act": "on"}).status_code == 404


def test_a_viewer_is_offered_no_change(hub: Mirror) -> None:
    mirrors.pin(hub, "library/debian:12", by=ADA)
    viewer = client_of(Role.VIEWER).get(f"/mirrors/{hub.pk}?edit=1&remove=1").content.decode()
    assert "library/debian:12" in viewer
    for one in (f"/mirrors/{hub.pk}/change", f"/mirrors/{hub.pk}/check", 'role="dialog"'):
        assert one not in viewer


def test_a_check_says_what_came_of_it(
    admin: Client, hub: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = state.Limit(100, 76, 21600)
    monkeypatch.setattr(upstream, "check", lambda row: Checked("", 0.04, True, limit))
    said = text_of(admin.post(f"/mirrors/{hub.pk}/check", follow=True))
    assert (
        "answers in 40 ms. It accepts the user and password. 76 of 100 pulls left (per 6 h)."
        in said
    )
    monkeypatch.setattr(upstream, "check", lambda row: Checked("It is away.", 0.04, False))
    assert "It is away." in text_of(admin.post(f"/mirrors/{hub.pk}/check", follow=True))


# -- the end -------------------------------------------------------------------------------------
def test_removal_asks_what_to_do_with_the_tags(admin: Client, hub: Mirror) -> None:
    path = f"/mirrors/{hub.pk}"
    assert "tags are stored in it" not in text_of(admin.get(f"{path}?remove=1"))
    pushed.image("hub/library/nginx", tags=["1", "2"])
    assert "2 tags are stored in it" in text_of(admin.get(f"{path}?remove=1"))
    said = admin.post(f"{path}/change", {"act": "remove"}, follow=True)
    assert "has 2 tags" in text_of(said)
    answer = admin.post(f"{path}/change", {"act": "remove", "content": "keep"})
    assert answer["Location"] == "/mirrors"
    assert not Mirror.objects.exists()


def test_tags_are_deleted_by_the_worker(
    admin: Client, hub: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed.image("hub/library/nginx", tags=["1", "2"])
    asked: list[tuple[Any, ...]] = []
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "remove_mirror", lambda *args: asked.append(args))
        path = f"/mirrors/{hub.pk}/change"
        answer = admin.post(path, {"act": "remove", "content": "delete"}, follow=True)
    assert "2 tags are being deleted" in text_of(answer)
    assert asked == [(hub.pk, ADA, "en")]
    assert not Mirror.objects.get().is_active  # nothing new comes meanwhile

    def refuse(*_args: object, **_options: object) -> int:
        raise Refused("2 tags were not deleted.")

    monkeypatch.setattr(mirrors, "remove", refuse)
    tasks.remove_mirror.call_local(*asked[0])
    last = AuditEvent.objects.last()
    assert last is not None
    assert (last.act, last.result, last.details["reason"]) == (
        "mirror.remove", "failed", "2 tags were not deleted.",
    )  # fmt: skip
    tasks.remove_mirror.call_local(99, ADA, "en")  # gone already


# -- tags of the upstream ------------------------------------------------------------------------
def test_tags_of_the_upstream_and_which_are_here(
    admin: Client, hub: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed.image("hub/library/nginx", tags=["1.9"])
    monkeypatch.setattr(upstream, "tags", lambda row, name: Tags(("1.10", "1.9"), True))
    answer = admin.get(f"/mirrors/{hub.pk}/tags?repository=hub/library/nginx")
    assert answer.context["stored"] == {"1.9"}
    assert "/repositories/hub/library/nginx:1.9" in answer.content.decode()
    assert "hub/library/nginx:1.10" in text_of(answer)
    assert "There are more" in text_of(answer)


def test_a_list_that_cannot_be_had_is_said(
    admin: Client, hub: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> Tags:
        raise Refused("The upstream <b> has none.")

    monkeypatch.setattr(upstream, "tags", refuse)
    answer = admin.get(f"/mirrors/{hub.pk}/tags?repository=x")
    assert answer.status_code == 422
    assert "The upstream &lt;b&gt; has none." in text_of(answer)
    assert admin.get(f"/mirrors/{hub.pk}/tags").status_code == 200
    assert admin.get("/mirrors/99/tags").status_code == 404


# -- repositories --------------------------------------------------------------------------------
def test_mirrored_repositories_are_marked(admin: Client, hub: Mirror) -> None:
    pushed.image("hub/library/nginx", tags=["1"])
    pushed.image("other/nginx", tags=["1"])
    mark, way = "Mirror of docker.io", f'href="/mirrors/{hub.pk}"'
    assert text_of(admin.get("/repositories/")).count(mark) == 1
    page = admin.get("/repositories/hub/library/nginx").content.decode()
    assert mark in page
    assert way in page
    assert f"/mirrors/{hub.pk}/tags?repository=hub/library/nginx" in page
    other = admin.get("/repositories/other/nginx").content.decode()
    assert mark not in other
    viewer = client_of(Role.VIEWER).get("/repositories/hub/library/nginx").content.decode()
    assert f"/mirrors/{hub.pk}/tags" in viewer
    assert "Delete repository" not in viewer


# -- lines to copy -------------------------------------------------------------------------------
def test_each_client_has_its_lines(
    admin: Client, hub: Mirror, settings: Any, subtests: pytest.Subtests
) -> None:
    settings.REGISTRY_NAME = settings.PUBLIC_HOST = "r.example.net"
    table = {
        "docker-pull": "docker pull r.example.net/hub/library/nginx:latest",
        "docker-daemon": '"registry-mirrors": ["https://r.example.net:PORT"]',
        "containerd-hosts": 'ca = "/etc/containerd/certs.d/r.example.net/ca.crt"',
        "podman-registries": 'location = "r.example.net/hub"',
        "podman-pull": "podman pull docker.io/library/nginx:latest",
        "k3s-registries": '"^(.*)$": "hub/$1"',
        "kubernetes-config": 'config_path = "/etc/containerd/certs.d"',
        "kubernetes-hosts": "override_path = true",
        "buildkit-toml": 'mirrors = ["r.example.net/hub"]',
    }
    found = {
        f"{client.key}-{step.name}": step.text
        for client in admin.get(f"/mirrors/{hub.pk}").context["clients"]
        for step in client.steps
    }
    for name, part in table.items():
        with subtests.test(name):
            assert part in found[name]


def test_an_open_port_is_in_the_lines_of_docker(admin: Client, settings: Any) -> None:
    settings.PUBLIC_HOST = "r.example.net"
    row = mirrors.add("hub", Wanted("docker.io", open_port=5001, networks="10.0.0.0/8"), by=ADA)
    page = admin.get(f"/mirrors/{row.pk}")
    assert "https://r.example.net:5001" in page.content.decode()
    assert "/etc/docker/certs.d/r.example.net:5001/ca.crt" in page.content.decode()
    settings.TLS_CERTIFICATE = "/etc/ssl/of-a-public-authority.crt"
    page = admin.get(f"/mirrors/{row.pk}")
    for part in ("ca.crt", "ca_file", "ca ="):
        assert part not in page.content.decode()
    assert "without a login, from 10.0.0.0/8" in text_of(page)
    other = mirrors.add("quay", Wanted("quay.io"), by=ADA)
    assert "registry-mirrors" not in admin.get(f"/mirrors/{other.pk}").content.decode()
