"""An htpasswd file that was there before us is taken over: nobody needs a new password."""

from __future__ import annotations

import pytest
from django.conf import settings as live

from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.models import RegistryUser
from registryui.registry.client import RegistryClient
from registryui.setup import first
from tests.accounts.checks import inconsistent
from tests.accounts.hashes import OF_EACH_KIND, PASSWORD
from tests.support.instance import running_instance
from tests.support.proxy_client import ask, push

pytestmark = pytest.mark.django_db(transaction=True)


def test_up_adopts_users_with_every_kind_of_hash_and_all_can_log_in_as_before() -> None:
    users_of_file = {f"user {n} é": line_hash for n, line_hash in enumerate(OF_EACH_KIND)}
    others = b"# made in 2015\n\nnobody\n\xff:latin-1\nwith space :{SHA}x\nempty:\n"
    theirs = others + "".join(f"{a}:{b}:note\r\n" for a, b in users_of_file.items()).encode()
    with running_instance():
        with RegistryClient(live.REGISTRY_URL) as client:
            push(client, "team/api")
        live.HTPASSWD_FILE.write_bytes(theirs)
        first.prepare_files()
        assert {row.name for row in RegistryUser.objects.all()} == set(users_of_file)
        for name, line_hash in users_of_file.items():
            row = RegistryUser.objects.get(name=name)
            assert users.rights_of(row) == {("pull", "*"), ("push", "*")}
            assert ask("GET", "/v2/team/api/manifests/1", (name, PASSWORD)).status == 200, line_hash
            assert ask("POST", "/v2/team/api/blobs/uploads/", (name, PASSWORD)).status == 202
            gone = f"/v2/team/api/manifests/sha256:{'0' * 64}"
            assert ask("DELETE", gone, (name, PASSWORD)).status == 403  # is asked for by name
            if not line_hash.startswith("{PLAIN}"):
                assert row.secret_hash == line_hash
        # Every byte is as it was, but for the password in clear; our canary comes last.
        kept = htpasswd.change(publish.read(), {htpasswd.CANARY: ""})
        clear = next(name for name, one in users_of_file.items() if one.startswith("{PLAIN}"))
        hashed = RegistryUser.objects.get(name=clear).secret_hash
        assert htpasswd.kind(hashed) == htpasswd.Kind.BCRYPT
        assert kept == theirs.replace(b"{PLAIN}correct horse", hashed.encode())
        assert {one.name for one in drift.find()} == {"with space ", "empty"}
        assert inconsistent() == []


def test_a_second_up_adopts_nothing_and_gives_no_rights() -> None:
    with running_instance():
        row = users.create("ci", by="tests", may=rights.parse([("pull", "team/*")])).user
        with live.HTPASSWD_FILE.open("ab") as file:
            file.write(b"hand:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n")
        first.prepare_files()
        assert list(RegistryUser.objects.all()) == [row]
        assert first.registry_user() == first.Account("ci", "")
        assert ask("GET", "/v2/", ("hand", PASSWORD)).status == 200
        assert ask("GET", "/v2/team/api/tags/list", ("hand", PASSWORD)).status == 403


def test_a_file_that_was_lost_is_written_again() -> None:
    with running_instance():
        done = users.create("ci", by="tests", may=rights.parse([("pull", "*")]))
        live.HTPASSWD_FILE.unlink()
        first.prepare_files()
        assert first.registry_user() == first.Account("ci", "")
        assert ask("GET", "/v2/_catalog", ("ci", done.secret)).status == 200
