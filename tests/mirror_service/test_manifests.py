"""Manifests by tag and digest: fetched once, verified, fresh, and there without an upstream."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from registryui.mirror_service import manifests
from registryui.mirror_service import upstream as upstreams
from tests.support.fake_source import digest_of
from tests.support.waiting import until

from .conftest import World

TAG = "/v2/hub/team/app/manifests/1"


def test_a_tag_is_fetched_once_for_all_clients_and_served_by_the_registry(world: World) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    answers = world.at_once(TAG, 10)
    assert {one.status for one in answers} == {200}
    assert {digest_of(one.body) for one in answers} == {digest}
    assert world.upstream.gets() == {"GET /v2/team/app/manifests/1": 1}
    assert world.registry.get("hub/team/app", "1").headers["docker-content-digest"] == digest
    assert world.registry.tags("hub/team/app").json()["tags"] == ["1"]
    again = world.ask(f"/v2/hub/team/app/manifests/{digest}")
    assert (again.status, digest_of(again.body)) == (200, digest)
    assert sum(world.upstream.asked.values()) == 1
    head = world.ask(TAG, method="HEAD")
    assert head.headers["content-length"] == str(len(answers[0].body))
    assert (head.body, head.headers["age"]) == (b"", "0")


def test_an_image_index_is_stored_without_its_images(world: World) -> None:
    images = [world.upstream.push_image("app", str(n), b"layer %d" % n) for n in range(2)]
    index = world.upstream.push_index("app", "all", *images)
    assert world.ask("/v2/hub/app/manifests/all").headers["docker-content-digest"] == index
    assert world.registry.get("hub/app", images[0]).status == 404
    answers = world.at_once(f"/v2/hub/app/manifests/{images[0]}", 10)
    assert {digest_of(one.body) for one in answers} == {images[0]}
    assert world.upstream.gets(images[0]).total() == 1
    assert world.registry.get("hub/app", images[0]).status == 200


def test_a_tag_is_checked_by_head_and_follows_its_upstream(world: World) -> None:
    first = world.upstream.push_image("team/app", "1", b"layer")
    world.mirror(fresh_seconds=0)
    assert world.ask(TAG).headers["docker-content-digest"] == first
    assert world.ask(TAG).headers["docker-content-digest"] == first
    assert world.upstream.asked == {
        "GET /v2/team/app/manifests/1": 1,
        "HEAD /v2/team/app/manifests/1": 1,
    }
    second = world.upstream.push_image("team/app", "1", b"another layer")
    assert world.ask(TAG).headers["docker-content-digest"] == second
    assert world.registry.get("hub/team/app", "1").headers["docker-content-digest"] == second
    assert world.registry.get("hub/team/app", first).status == 200
    state = world.state()
    assert (state["misses"], state["hits"], state["stale"]) == (2, 1, 0)
    assert state["upstream_requests"] == 4


def test_a_library_of_docker_hub_has_a_short_name(world: World) -> None:
    digest = world.upstream.push_image("library/nginx", "1", b"layer")
    world.mirror(is_library=True)
    for path in ("nginx", "library/nginx"):
        answer = world.ask(f"/v2/hub/{path}/manifests/1")
        assert answer.headers["docker-content-digest"] == digest


@pytest.mark.parametrize("status", [429, 500, 503, 401, 403, 404])
def test_a_tag_that_is_here_outlives_an_upstream_that_refuses(world: World, status: int) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    world.mirror(fresh_seconds=0)
    world.ask(TAG)
    world.upstream.status = status
    for _number in range(3):
        answer = world.ask(TAG)
        assert (answer.status, digest_of(answer.body)) == (200, digest)
        assert answer.headers["warning"].startswith("111 ")
        assert int(answer.headers["age"]) < 60
    assert world.state()["error"]


@pytest.mark.parametrize(
    ("status", "wanted", "code"),
    [
        (404, 404, "MANIFEST_UNKNOWN"),
        (401, 403, "DENIED"),  # 401 would be a wrong password here
        (403, 403, "DENIED"),
        (429, 429, "TOOMANYREQUESTS"),
        (500, 503, "UNAVAILABLE"),
        (418, 502, "DIGEST_INVALID"),
    ],
)
def test_what_is_not_here_says_why(world: World, status: int, wanted: int, code: str) -> None:
    world.upstream.status = status
    world.upstream.headers = {"Retry-After": "7"}
    answer = world.ask(TAG)
    error = answer.json()["errors"][0]
    assert (answer.status, error["code"]) == (wanted, code)
    assert world.upstream.url in error["message"]
    if wanted == 429:
        assert answer.headers["retry-after"] == "7"
        assert world.ask(TAG).status == 429
        assert world.upstream.asked.total() == 1


def test_an_upstream_that_hangs_delays_no_tag_that_is_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    world.mirror(fresh_seconds=0)
    world.ask(TAG)
    monkeypatch.setattr(upstreams, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(upstreams, "FIRST_PROBE_SECONDS", 0.2)
    world.upstream.hangs.set()
    began = time.monotonic()
    answer = world.ask(TAG)
    assert time.monotonic() - began >= manifests.PATIENCE
    assert (answer.headers["warning"][:3], digest_of(answer.body)) == ("110", digest)
    until(lambda: world.state()["away_since"], "the service knows that the upstream is away")
    asked = world.upstream.asked.copy()
    for _number in range(50):
        assert world.ask(TAG).headers["warning"].startswith("111 ")
    assert world.ask("/v2/hub/other/manifests/1").status == 503
    assert world.upstream.gets("/v2/team").total() == 1
    assert set(world.upstream.asked - asked) <= {"GET /v2/"}
    second = world.upstream.push_image("team/app", "1", b"new")
    world.upstream.hangs.clear()
    world.upstream.released.set()
    until(lambda: not world.state()["away_since"], "the service knows that it is back")
    assert world.ask(TAG).headers["docker-content-digest"] == second


def test_errors_of_one_path_do_not_close_the_others(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"layer")
    world.upstream.status = 500
    for _number in range(upstreams.MOST_ERRORS - 1):
        assert world.ask("/v2/hub/broken/manifests/1").status == 503
    world.upstream.status = 0
    assert world.ask(TAG).status == 200
    world.upstream.status = 500
    for _number in range(upstreams.MOST_ERRORS):
        assert world.state()["away_since"] is None
        assert world.ask("/v2/hub/broken/manifests/1").status == 503
    assert world.state()["away_since"]
    asked = world.upstream.gets("broken").total()
    assert world.ask("/v2/hub/broken/manifests/1").status == 503
    assert world.upstream.gets("broken").total() == asked


def test_a_restart_without_an_upstream_changes_nothing(world: World) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    world.ask(TAG)
    world.mirror(url="http://127.0.0.1:1")
    hits = world.state()["hits"]
    with world.serving():
        answer = world.ask(TAG)
        assert (answer.status, digest_of(answer.body)) == (200, digest)
        assert answer.headers["warning"].startswith("111 ")
        assert "age" in answer.headers
        missing = world.ask("/v2/hub/team/other/manifests/1")
        assert missing.status == 503
        assert "it refuses connections" in missing.json()["errors"][0]["message"]
        state = world.state()
        assert (state["hits"], state["stale"]) == (hits + 1, 1)
        assert state["away_since"]


def test_wrong_bytes_are_refused(world: World) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    world.upstream.is_wrong = True
    for reference in ("1", digest):
        answer = world.ask(f"/v2/hub/team/app/manifests/{reference}")
        assert answer.status == 502
    assert world.blobs() == set()
    state = world.state()
    assert state["refused"] == 2
    assert state["last_refusal"]["what"] == f"hub/team/app@{digest}"
    assert "digest" in state["last_refusal"]["words"]


def test_patterns_allow_and_deny(world: World) -> None:
    for name in ("library/a", "library/secret", "other/a"):
        world.upstream.push_image(name, "1", b"layer")
    world.mirror(allow=["library/*"], deny=["*/secret"])
    answers = {
        name: world.ask(f"/v2/hub/{name}/manifests/1")
        for name in ("library/a", "library/secret", "other/a")
    }
    assert [one.status for one in answers.values()] == [200, 403, 403]
    error = answers["other/a"].json()["errors"][0]
    assert error["message"] == "the mirror hub does not allow other/a"
    assert world.upstream.asked.total() == 1


def test_a_mirror_that_is_disabled_or_unknown_answers_404(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"layer")
    (world.folder / "mirrors/hub/active").unlink()
    world.service._mirrors._known.clear()
    paths = [TAG, "/v2/none/a/manifests/1", "/v2/hub/manifests/1", "/v2/../a/manifests/1", "/x"]
    assert {world.ask(path).status for path in paths} == {404}
    assert not world.upstream.asked


def test_a_changed_file_counts_within_a_second(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"layer")
    assert world.ask(TAG).status == 200
    place = world.folder / "mirrors/hub/upstream.json"
    place.write_text(place.read_text().replace('"fresh_seconds"', '"deny": ["team/*"], "x"'))
    until(lambda: world.ask(TAG).status == 403, "the new patterns count")


def test_the_registrys_events_name_the_user_and_no_login_reaches_the_upstream(
    world: World,
) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    login = {"Authorization": "Basic c2VjcmV0", "Cookie": "a=b", "X-Boathouse-User": "ci"}
    assert world.ask(TAG, headers={**login, "X-Real-IP": "10.1.2.3"}).status == 200
    [(_line, headers)] = world.upstream.heard
    assert not {"authorization", "cookie", "x-boathouse-user", "x-real-ip"} & headers.keys()
    until(lambda: world.sink.events("pull"), "the registry notifies")
    [event] = world.sink.events("pull", "hub/team/app")
    assert (event["target"]["tag"], event["target"]["digest"]) == ("1", digest)
    assert event["actor"]["name"] == "ci"
    assert event["request"]["addr"] == "10.1.2.3"


def test_a_first_head_teaches_the_index_by_the_event_of_a_get(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"layer")
    assert world.ask(TAG, method="HEAD").status == 200

    def methods() -> list[str]:
        return [one["request"]["method"] for one in world.sink.events("pull")]

    until(lambda: "GET" in methods(), "the registry notifies of a GET")


@pytest.mark.parametrize("gate", ["full", "blobs", "manifests"])
def test_nothing_is_stored_while_it_may_not_be(world: World, gate: str) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    (world.folder / "hold" / gate).touch()
    for _number in range(2):
        answer = world.ask(TAG)
        assert (answer.status, digest_of(answer.body)) == (200, digest)
        assert answer.headers["docker-content-digest"] == digest
    assert world.blobs() == set()
    (world.folder / "hold" / gate).unlink()
    assert world.ask(TAG).status == 200
    assert world.blobs() == {digest}


def test_a_client_that_accepts_no_image_costs_no_request(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"layer")
    for _number in range(3):
        answer = world.ask(TAG, headers={"Accept": "text/html"})
        assert (answer.status, answer.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    assert world.upstream.asked.total() == 1
    assert world.ask(TAG).status == 200


def test_content_that_was_deleted_is_fetched_again(world: World) -> None:
    digest = world.upstream.push_image("team/app", "1", b"layer")
    world.ask(TAG)
    world.registry.blob(digest).unlink()
    assert digest_of(world.ask(TAG).body) == digest
    assert world.registry.blob(digest).exists()


def test_docker_hubs_limit_is_told(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"layer")
    world.upstream.headers = {
        "ratelimit-limit": "100;w=21600",
        "ratelimit-remaining": "76;w=21600",
    }
    world.ask(TAG)
    assert world.state()["limit"] == {"limit": 100, "remaining": 76, "window": 21600}


def test_the_counters_are_written_without_being_asked(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"layer")
    world.service.states.start()
    world.ask(TAG)
    place: Path = world.folder / "mirrors/hub/state.json"
    until(lambda: place.exists() and b'"misses": 1' in place.read_bytes(), "it is written")
