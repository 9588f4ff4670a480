"""What libraries say of the usual failures is said in words of ours, by real failures."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, override

from registryui.doctor import words
from registryui.doctor.findings import Finding
from registryui.failures import _USUAL, in_words
from registryui.models import Role, Run
from registryui.registry.client import RegistryClient
from tests.support.factories import make_operator

PROBLEM = "GET http://127.0.0.1:5000/v2/: ReadTimeoutError: The read operation timed out"


def listening() -> socket.socket:
    """Answers nothing, and takes connections."""
    return socket.create_server(("127.0.0.1", 0))


def url_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def late_registry() -> None:
    with listening() as server, closing(RegistryClient(url_of(server), timeout=(0.1, 0.1))) as one:
        one.ping()


def late_registry_with_a_login() -> None:
    with listening() as server:
        url, login = url_of(server), {"username": "a", "password": "b"}
        with closing(RegistryClient(url, **login, timeout=(0.1, 0.1))) as one:
            one.ping()


def late_read() -> None:
    with listening() as server:
        connection = HTTPConnection(*server.getsockname(), timeout=0.1)
        with closing(connection):
            connection.request("GET", "/")
            connection.getresponse()


def late_handshake() -> None:
    with listening() as server, socket.create_connection(server.getsockname(), 0.1) as plain:
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def refused_registry() -> None:
    with listening() as server:
        url = url_of(server)
    with closing(RegistryClient(url, timeout=(1, 1))) as one:
        one.ping()


def cut_off() -> None:
    with listening() as server:
        connection = HTTPConnection(*server.getsockname(), timeout=9)
        with closing(connection):
            connection.request("GET", "/")
            server.accept()[0].close()
            connection.getresponse()


def no_such_name() -> None:
    with closing(RegistryClient("http://registry.invalid", timeout=(1, 1))) as one:
        one.ping()


def full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")


def missing_file() -> None:
    Path("/nowhere/at/all").read_bytes()


def denied() -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/srv/htpasswd")


@pytest.mark.parametrize(
    ("fails", "name"),
    [
        (late_registry, "late"),
        (late_registry_with_a_login, "late"),
        (late_read, "late"),
        (late_handshake, "late"),
        (refused_registry, "refused"),
        (cut_off, "cut"),
        (no_such_name, "name"),
        (full_disk, "space"),
        (missing_file, "missing"),
        (denied, "closed"),
    ],
)
def test_the_usual_failures_are_said_in_the_language_of_the_reader(
    fails: Callable[[], None], name: str
) -> None:
    with pytest.raises(Exception) as failed:  # noqa: PT011  (each its own, on purpose)
        fails()
    said = str(failed.value)
    english, ours = in_words(said), _USUAL[name]
    assert ours in english
    with override("zh-hans"):
        theirs = gettext(ours)
        assert in_words(said) == english.replace(ours, theirs) != english
    for left in ("Error", "Errno", "timed out", "Timeout", "_ssl"):
        assert left not in english


def test_an_address_and_a_path_stay() -> None:
    assert (
        in_words("GET http://r/v2/: TimeoutError: timed out")
        == "GET http://r/v2/: no response in time"
    )
    assert in_words("[Errno 13] Permission denied: '/srv/x'") == "permission denied: '/srv/x'"
    assert in_words("unauthorized: timed outside") == "unauthorized: timed outside"
    assert in_words("") == ""


@pytest.mark.parametrize("code", ["store-silent", "broken", "index-failed", "gc-failed"])
def test_the_doctor_says_it_in_the_language_of_the_reader(code: str) -> None:
    at = "2026-01-01T00:00:00+00:00"
    finding = Finding("store", "bad", code, {"error": PROBLEM, "at": at})
    with override("zh-hans"):
        note = words.texts(finding).note
    assert note == "GET http://127.0.0.1:5000/v2/: 未在规定时间内响应"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "page"),
    [
        (Run.Kind.INTEGRITY, "integrity_run"),
        (Run.Kind.GC, "gc_run"),
        (Run.Kind.DELETE, "delete_run"),
    ],
)
def test_pages_of_runs_say_it_in_the_language_of_the_reader(kind: Run.Kind, page: str) -> None:
    result = {"problem": PROBLEM, "changed": 0, "failed": 0}
    run = Run.objects.create(
        kind=kind, state=Run.State.FAILED, result=result, heartbeat_at=timezone.now()
    )
    client = Client()
    client.force_login(make_operator(role=Role.ADMIN))
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "zh-hans"
    content = client.get(reverse(page, args=[run.pk])).content.decode()
    assert "未在规定时间内响应" in content
    assert "timed out" not in content
