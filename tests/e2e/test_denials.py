"""Refused by the whole product: skopeo is told no, the pages and the command why, in seconds."""

from __future__ import annotations

import json
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.clients import run
from tests.support.layouts import Layout
from tests.support.portal import Visitor
from tests.support.product import Product
from tests.support.waiting import until

pytestmark = pytest.mark.e2e
R = "denied/app"
ELSEWHERE = "127.0.0.77"  # its wrong passwords slow down nobody else's
Skopeo = Callable[..., CompletedProcess[str]]
Login = tuple[str, str]


@pytest.fixture(scope="module")
def users(boathouse: Product) -> dict[str, Login]:
    may = {"pull": [R, f"{R}/*"], "push": [R]}
    named = ("denied-ci", "denied-off", "denied-late")
    return {name: boathouse.add_user(name, **may) for name in named}


@pytest.fixture
def skopeo(boathouse: Product, certificates: Path, tmp_path: Path) -> Skopeo:
    """Pushes an image to that reference, or does with it what else is said."""
    layout = Layout(tmp_path / "layout")
    layout.tag("x", layout.image("amd64", {"bin/app": b"app"}))

    def do(login: Login, target: str = f"{R}:1", act: str = "copy") -> CompletedProcess[str]:
        side = "dest-" if act == "copy" else ""
        access = (f"--{side}cert-dir={certificates}", f"--{side}creds={':'.join(login)}")
        source = [f"oci:{layout.folder}:x"] if act == "copy" else []
        place = f"docker://{boathouse.name}/{target}"
        retries = () if act == "delete" else ("--retry-times=0",)
        command = ("skopeo", "--insecure-policy", act, *retries)
        return run(certificates.parent, *command, *access, *source, place)

    return do


@pytest.fixture
def protected(boathouse: Product) -> Iterator[None]:
    boathouse.boathouse("protect", "add", f"{R}:v*", "--immutable")
    yield
    for row in json.loads(boathouse.boathouse("protect", "list", "--json").stdout):
        boathouse.boathouse("protect", "lift", str(row["number"]))


@pytest.fixture
def guesses(boathouse: Product) -> Iterator[None]:
    """Many wrong passwords at once, whose answers nobody waits for."""
    header = b64encode(b"denied-ci:guess").decode()
    request = f"GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {header}\r\n\r\n"
    context = ssl.create_default_context(cafile=str(boathouse.ca))
    with ExitStack() as stack:
        for _number in range(60):
            place = (boathouse.address, boathouse.port)
            plain = stack.enter_context(
                socket.create_connection(place, source_address=(ELSEWHERE, 0))
            )
            line = context.wrap_socket(plain, server_hostname=boathouse.host)
            stack.enter_context(line)
            line.sendall(request.encode())
        yield


def test_a_refused_client_is_told_no_and_the_administrator_why(
    boathouse: Product, users: dict[str, Login], skopeo: Skopeo, protected: None, guesses: None
) -> None:
    ci, off, late = users.values()
    assert skopeo(ci, f"{R}:v1").returncode == 0
    boathouse.boathouse("user", "disable", "denied-off")
    boathouse.boathouse("user", "expire", "denied-late", "now")

    refused = {
        "wrong-password": skopeo(("denied-ci", "wrong"), act="inspect"),
        "disabled": skopeo(off, act="inspect"),
        "expired": skopeo(late),
        "no-right": skopeo(ci, f"{R}/below:1"),
    }
    kind = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
    index = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % kind["Content-Type"].encode()
    login = {"Authorization": "Basic " + b64encode(":".join(ci).encode()).decode()}
    place = f"/v2/{R}/manifests/v1"
    told = boathouse.ask(place, method="PUT", body=index, headers={**kind, **login})
    assert (told.status, "x-boathouse-refused" in told.headers) == (403, False)
    boathouse.boathouse("freeze", "on", "--minutes", "5")
    try:
        refused["frozen"] = skopeo(ci)
    finally:
        boathouse.boathouse("freeze", "off")
    assert [reason for reason, done in refused.items() if done.returncode == 0] == []

    wanted = {*refused, "protected", "rate-limited"}
    until(lambda: wanted <= reasons(boathouse), "the command says all reasons")
    [missing] = [one for one in rows(boathouse, "denied-ci") if one["reason"] == "no-right"]
    assert (missing["action"], missing["repository"]) == ("push", f"{R}/below")
    assert "skopeo" in missing["client"]
    said = boathouse.boathouse("user", "denials", "denied-ci").stdout
    assert f"--push '{R}/below'" in said
    [limited] = [one for one in rows(boathouse) if one["reason"] == "rate-limited"]
    assert (limited["user"], limited["address"]) == ("denied-ci", ELSEWHERE)

    visitor = Visitor(boathouse)
    visitor.login()
    access = visitor.get(f"/repositories/{R}?show=access").text
    for words in ("denied-ci", "denied-off", "denied-late", "write freeze", "protected tag"):
        assert words in access
    log = visitor.get("/activity?act=denial.push&actor=denied-ci").text
    assert f"{R}/below" in log
    page = visitor.get(f"/users/{_pk(access, 'denied-ci')}").text
    assert f"Give denied-ci the right to push to {R}/below, if this is intended." in page


def _pk(page: str, name: str) -> str:
    """The id in the link to that user."""
    return page.partition(f"<bdi>{name}</bdi>")[0].rpartition('href="/users/')[2].partition('"')[0]


def rows(boathouse: Product, *names: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        boathouse.boathouse("user", "denials", *names, "--limit", "500", "--json").stdout
    )
    return found


def reasons(boathouse: Product) -> set[object]:
    """Of our own users."""
    return {one["reason"] for one in rows(boathouse) if str(one["user"]).startswith("denied-")}
