"""The table of rights with real clients: user × action × repository → answer and message.

Docker pushes and pulls, skopeo deletes, podman logs in, curl asks for what no client asks for; then
the same with the portal frozen: it has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.clients import run
from tests.support.curl import curl
from tests.support.engines import Engine
from tests.support.machines import podman_storage
from tests.support.product import Product, stopped

pytestmark = [pytest.mark.e2e, pytest.mark.root]

TEAM, OTHER = "rights-team/api", "rights-other/x"
USERS: dict[str, Mapping[str, list[str]]] = {
    "r-none": {},
    "r-puller": {"pull": ["rights-team/*"]},
    "r-pusher": {"push": ["rights-team/*"]},
    "r-ci": {"pull": ["rights-team/*"], "push": ["rights-team/*"]},
    "r-one": {"pull": [OTHER], "push": [OTHER], "delete": [OTHER]},
    "r-all": {"pull": ["*"], "push": ["*"], "delete": ["*"]},
}


def holds(user: str, action: str, repository: str) -> bool:
    """What the table says."""
    scopes = USERS[user].get(action, [])
    return any(one in ("*", repository) or repository.startswith(one[:-1]) for one in scopes)


@pytest.fixture(scope="module")
def secrets(boathouse: Product) -> dict[str, str]:
    return dict(boathouse.add_user(name, **may) for name, may in USERS.items())


@pytest.fixture
def client(docker: Engine, boathouse: Product) -> Iterator[Engine]:
    """Docker, whose login the test may change; both repositories have an image."""
    for repository in (TEAM, OTHER):
        docker.docker("tag", "base", f"{boathouse.name}/{repository}:there")
        docker.push(f"{boathouse.name}/{repository}:there")
    yield docker
    docker.login(boathouse.name, *boathouse.user)


def pushes_and_pulls(client: Engine, boathouse: Product, user: str, secret: str) -> list[str]:
    """What Docker was told otherwise than the table says."""
    assert "Login Succeeded" in client.login(boathouse.name, user, secret)
    wrong = []
    for repository in (TEAM, OTHER):
        reference = f"{boathouse.name}/{repository}:{user}"
        client.docker("tag", "base", reference)
        pushed = client.docker("push", reference, check=False)
        wrong += mistakes(user, "push", repository, pushed.returncode, pushed.stderr)
        there = f"{boathouse.name}/{repository}:there"
        client.docker("rmi", there, check=False)
        pulled = client.docker("pull", there, check=False)
        if user == "r-pusher" and holds(user, "push", repository):
            # It may ask for the digest (HEAD), and Docker has that manifest from other pulls.
            code, said = reads(boathouse, user, secret, repository)
        else:
            code, said = pulled.returncode, pulled.stderr
        wrong += mistakes(user, "pull", repository, code, said)
    return wrong


def mistakes(user: str, action: str, repository: str, code: int, said: str) -> list[str]:
    """[] if the client ended as the table says, and was told why not."""
    if holds(user, action, repository):
        is_right = code == 0
    else:
        is_right = code != 0 and f"{user} may not {action} {repository}" in said
    return [] if is_right else [f"{user}: {action} {repository}: {said}"]


def reads(boathouse: Product, user: str, secret: str, repository: str) -> tuple[int, str]:
    """curl's exit code and words for the manifest."""
    done = curl(
        boathouse,
        *("--fail-with-body", "--user", f"{user}:{secret}"),
        f"{boathouse.facts['url']}/v2/{repository}/manifests/there",
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("user", USERS)
def test_docker_may_push_and_pull_what_the_table_says(
    client: Engine, boathouse: Product, secrets: dict[str, str], user: str
) -> None:
    assert pushes_and_pulls(client, boathouse, user, secrets[user]) == []


def test_the_same_holds_while_the_portal_stands_still(
    client: Engine, boathouse: Product, secrets: dict[str, str]
) -> None:
    pids = boathouse.pids()
    with stopped([pids["web"], pids["worker"]]):
        for user in ("r-none", "r-puller", "r-ci"):
            assert pushes_and_pulls(client, boathouse, user, secrets[user]) == []


@pytest.mark.parametrize("user", USERS)
def test_skopeo_deletes_only_with_the_right_to(
    client: Engine,
    boathouse: Product,
    secrets: dict[str, str],
    certificates: Path,
    tmp_path: Path,
    user: str,
) -> None:
    wrong = []
    for repository in (TEAM, OTHER):
        reference = f"docker://{boathouse.name}/{repository}:there"
        login = ["--cert-dir", str(certificates), "--creds", f"{user}:{secrets[user]}"]
        done = run(tmp_path, "skopeo", "delete", *login, reference)
        # It asks for the manifest's digest first, so it needs both.
        may = holds(user, "pull", repository) and holds(user, "delete", repository)
        if (done.returncode == 0) != may:
            wrong.append(f"{repository}: {done.stderr}")
        if not may:
            action = "delete" if holds(user, "pull", repository) else "pull"
            assert f"may not {action} {repository}" in done.stderr
    assert wrong == []


def test_podman_logs_in_without_any_right_and_not_with_a_wrong_secret(
    boathouse: Product, secrets: dict[str, str], certificates: Path, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "storage.conf").write_text(podman_storage(folder))

    def login(secret: str) -> int:
        command = ("podman", "--cgroup-manager=cgroupfs", "login", f"--cert-dir={certificates}")
        who = ("--username", "r-none", "--password-stdin", boathouse.name)
        return run(tmp_path, *command, *who, stdin=secret).returncode

    assert login(secrets["r-none"]) == 0
    assert login("wrong") != 0


def test_docker_mounts_only_from_where_it_may_pull(
    client: Engine, boathouse: Product, secrets: dict[str, str]
) -> None:
    """Else it uploads the layer itself: no push fails for it, and nothing is read."""
    client.make_image("mounted", "echo mounted >/root/mounted")
    for repository in (TEAM, OTHER):
        client.docker("tag", "mounted", f"{boathouse.name}/{repository}:mounted")
        client.push(f"{boathouse.name}/{repository}:mounted")
    client.login(boathouse.name, "r-ci", secrets["r-ci"])
    client.docker("tag", "mounted", f"{boathouse.name}/rights-team/new:mounted")
    client.push(f"{boathouse.name}/rights-team/new:mounted")


def test_who_pushed_is_the_verified_name(
    client: Engine, boathouse: Product, secrets: dict[str, str]
) -> None:
    client.login(boathouse.name, "r-ci", secrets["r-ci"])
    reference = f"{boathouse.name}/{TEAM}:named"
    client.docker("tag", "base", reference)
    client.push(reference)
    forged = {"Authorization": "Basic YWRtaW46d3Jvbmc="}  # admin:wrong
    answer = boathouse.ask(f"/v2/{TEAM}/manifests/forged", method="PUT", body=b"{}", headers=forged)
    assert answer.status == 401
    boathouse.boathouse("sync")
    row = boathouse.tag(TEAM, "named")
    assert row is not None
    assert row["by"] == "r-ci"
    assert boathouse.tag(TEAM, "forged") is None
