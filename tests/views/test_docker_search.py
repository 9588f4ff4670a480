"""`docker search`: each registry user finds what he may pull, in the shape that clients read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from registryui.accounts import rights
from registryui.models import RegistryUser, Repository, Right
from tests.support.factories import make_manifest, make_repository, make_tag

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
NAMES = ("team/api", "team/deep/er/api", "team", "teams/api", "team_/x", "other/x", "single")


def make_user(name: str = "ci", *may: tuple[str, str], **fields: Any) -> RegistryUser:
    user = RegistryUser.objects.create(name=name, secret_hash="{SSHA}x", **fields)
    Right.objects.bulk_create(
        Right(user=user, action=action, scope=scope) for action, scope in rights.parse(may)
    )
    return user


def search(name: str = "ci", **query: Any) -> dict[str, Any]:
    """What nginx gets for a user whom it has verified."""
    header = name.encode().decode("latin-1")  # as WSGI shows bytes
    answer = Client().get("/v1/search", query, headers={"X-Boathouse-User": header})
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer["Cache-Control"] == "no-store"
    found: dict[str, Any] = json.loads(answer.content)
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [row["name"] for row in found["results"]]


# -- who -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("headers", [{}, {"X-Boathouse-User": ""}, {"X-Boathouse-User": "\xff"}])
def test_nobody_is_answered_without_the_proxys_word(headers: dict[str, str]) -> None:
    make_user("ci", ("pull", "*"))
    make_repository("team/api")
    for sent in (headers, {**headers, "Authorization": "Basic Y2k6eA=="}):
        answer = Client().get("/v1/search?q=api", headers=sent)
        assert answer.status_code == 401
        assert json.loads(answer.content) == {"error": "authentication required"}


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_a_search_only_reads(method: str) -> None:
    answer = getattr(Client(), method)("/v1/search", headers={"X-Boathouse-User": "ci"})
    assert answer.status_code == 405


SCOPES = ["*", "team/*", "team/api", "team/deep/*", "team/deep/er/*", "team", "single", "te/*"]


@pytest.mark.parametrize("scope", SCOPES)
def test_each_user_finds_what_he_may_pull(scope: str) -> None:
    """The database says what rights.may says, and so what nginx says."""
    for name in NAMES:
        make_repository(name)
    may = rights.parse([("pull", scope)])
    make_user("ci", *may)
    expected = {name for name in NAMES if rights.may(may, "pull", name)}
    assert set(names(search())) == expected


class Names(TestCase):
    part = st.from_regex(r"[ab](?:[._-][ab])?", fullmatch=True)
    repository = st.lists(part, min_size=1, max_size=3).map("/".join)
    scope = st.one_of(st.just("*"), repository, repository.map("{}/*".format))

    @settings(deadline=None)  # the machine may be busy
    @given(
        st.sets(repository, max_size=8),
        st.sets(st.tuples(st.sampled_from(["pull", "push", "delete"]), scope), max_size=5),
    )
    def test_allowed_is_may_for_any_scopes(
        self, found: set[str], pairs: set[tuple[str, str]]
    ) -> None:
        for name in found:
            make_repository(name)
        may = rights.parse(pairs)
        make_user("ci", *may)
        for action in Right.Action:
            allowed = set(rights.allowed("ci", action).values_list("name", flat=True))
            assert allowed == {name for name in found if rights.may(may, action, name)}


def test_the_sum_of_many_scopes_counts_and_other_rights_do_not() -> None:
    for name in NAMES:
        make_repository(name)
    many = [("pull", f"some/where{number}/*") for number in range(2000)]
    make_user("ci", ("pull", "single"), ("pull", "other/*"), ("push", "*"), ("delete", "*"), *many)
    make_user("another", ("pull", "*"))
    assert sorted(names(search())) == ["other/x", "single"]
    assert search("nobody")["num_results"] == 0


def test_whoever_is_disabled_or_expired_finds_nothing() -> None:
    make_repository("team/api")
    make_user("off", ("pull", "*"), is_active=False)
    make_user("expired", ("pull", "*"), expires_at=timezone.now())
    assert names(search("off")) == names(search("expired")) == []


def test_a_name_of_any_letters_is_read_as_the_file_has_it() -> None:
    make_repository("team/api")
    make_user("äöü 名", ("pull", "*"))
    make_user("CI", ("pull", "*"))
    assert names(search("äöü 名")) == ["team/api"]
    assert names(search("ci")) == []  # case counts


# -- what ------------------------------------------------------------------------------------------
@pytest.fixture
def everybody() -> RegistryUser:
    return make_user("ci", ("pull", "*"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api", {"team/api", "teams/api", "team/deep/er/api"}),
        ("API", {"team/api", "teams/api", "team/deep/er/api"}),
        ("team/", {"team/api", "team/deep/er/api"}),
        ("team/api:1.0", {"team/api"}),
        ("library/single", {"single"}),
        ("library/", set()),
        ("_", {"team_/x"}),
        ("%", set()),
        ("/", set(NAMES) - {"team", "single"}),
        ("", set(NAMES)),
        ("  ", set(NAMES)),
        ("nothing", set()),
        ("sha256:" + "0" * 64, set()),
    ],
)
def test_a_term_is_looked_for_in_names(
    everybody: RegistryUser, text: str, expected: set[str]
) -> None:
    for name in NAMES:
        make_repository(name)
    found = search(q=text)
    assert set(names(found)) == expected
    assert (found["query"], found["num_results"]) == (text, len(expected))


def test_the_name_itself_comes_first_then_beginnings_then_the_most_pulled(
    everybody: RegistryUser,
) -> None:
    pushed = datetime(2026, 11, 1, tzinfo=UTC)
    for name, pulls, day in (
        ("api", 0, 1),
        ("api-old", 1, 1),
        ("apis/x", 2, 1),
        ("team/api", 9, 1),
        ("b/api", 0, 2),
        ("c/api", 0, 3),
        ("a/api", 0, 2),
    ):
        make_repository(name, pull_count=pulls, pushed_at=pushed.replace(day=day))
    order = ["api", "apis/x", "api-old", "team/api", "c/api", "a/api", "b/api"]
    assert names(search(q="api")) == order


@pytest.mark.parametrize(
    ("asked", "size", "page"),
    [
        ({}, 25, 1),
        ({"n": "10"}, 10, 1),
        ({"n": "10", "page": "2"}, 10, 2),
        ({"n": "0"}, 1, 1),
        ({"n": "101"}, 100, 1),
        ({"n": "9" * 500}, 100, 1),
        ({"n": "-1", "page": "-1"}, 25, 1),
        ({"n": "x", "page": "x"}, 25, 1),
        ({"n": "٣", "page": "²"}, 25, 1),
        ({"page": "9"}, 25, 9),
        ({"page": "9" * 500}, 25, 1_000_000),
    ],
)
def test_pages_have_their_bounds(
    everybody: RegistryUser, asked: dict[str, str], size: int, page: int
) -> None:
    Repository.objects.bulk_create(Repository(name=f"r{number:03}") for number in range(120))
    found = search(**asked)
    expected = [f"r{number:03}" for number in range(120)][(page - 1) * size : page * size]
    assert names(found) == expected
    assert (found["page_size"], found["page"]) == (size, page)
    assert (found["num_results"], found["num_pages"]) == (120, -(-120 // size))


def test_a_result_has_what_clients_read(everybody: RegistryUser) -> None:
    row = make_repository("team/api")
    make_tag(row, "2.0", make_manifest(row))
    make_tag(row, "2.1", row.manifests.get(), tagged_at=datetime(2026, 11, 23, 12, tzinfo=UTC))
    make_repository("team/empty")
    [api, empty] = search(q="team")["results"]
    assert api == {
        "name": "team/api",
        "description": "newest 2.1, 2 tags, pushed 2026-11-23",
        "star_count": 0,
        "is_official": False,
        "is_automated": False,
        "is_trusted": False,
    }
    assert empty["description"] == "no tags"
    make_repository("team/unknown", tag_count=1)  # of a registry that told of no push
    assert search(q="team/unknown")["results"][0]["description"] == "1 tag"


@pytest.mark.parametrize(
    "text", ['"}],"x":["', "</script>", "\\", "\x00", "a" * 9000, "é\u202e名", "{{ x }}", "%s"]
)
def test_no_text_breaks_the_answer(everybody: RegistryUser, text: str) -> None:
    make_repository('hostile"\\<script>', newest_tag='"\\\n\u202e', tag_count=1)
    assert search(q=text)["query"] == text
    found = search(q="hostile")
    assert names(found) == ['hostile"\\<script>']


def test_bytes_that_are_no_text_do_not_break_it(everybody: RegistryUser) -> None:
    answer = Client().get("/v1/search?q=%ff%fe&n=%ff", headers={"X-Boathouse-User": "ci"})
    assert json.loads(answer.content)["num_results"] == 0


def test_the_number_of_queries_does_not_grow(everybody: RegistryUser) -> None:
    counts = []
    for size in (3, 300):
        Repository.objects.all().delete()
        Right.objects.all().delete()
        Right.objects.bulk_create(
            Right(user=everybody, action="pull", scope=f"team{number}/*") for number in range(size)
        )
        Repository.objects.bulk_create(Repository(name=f"team{n}/r") for n in range(size))
        with CaptureQueriesContext(connection) as queries:
            assert search(q="r", n=100)["num_results"] == size
        counts.append(len(queries))
    assert counts == [2, 2]


# -- the catalogue of those who may not pull everything --------------------------------------------
def ask_catalog(name: str, path: str = "/v2/_catalog") -> Any:
    return Client().get(path, headers={"X-Boathouse-User": name} if name else {})


def test_the_catalogue_lists_what_one_may_pull() -> None:
    for name in NAMES:
        make_repository(name)
    make_user("ci", ("pull", "team/*"), ("pull", "single"), ("push", "*"))
    make_user("pusher", ("push", "*"), ("delete", "*"))
    make_user("off", ("pull", "team/*"), is_active=False)
    answer = ask_catalog("ci")
    assert answer.json() == {"repositories": ["single", "team/api", "team/deep/er/api"]}
    assert not answer.has_header("Link")
    for nobody in ("pusher", "off", "stranger"):
        refused = ask_catalog(nobody)
        assert refused.status_code == 403
        assert refused.json()["errors"][0]["message"] == (
            f"{nobody} may not pull anything, so not list repositories"
        )
    refused = ask_catalog("")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "UNAUTHORIZED")


def test_the_catalogue_pages_as_the_registry_does() -> None:
    names = [f"team/r{number:03}" for number in range(250)]
    Repository.objects.bulk_create(Repository(name=name) for name in [*names, "other/x"])
    make_user("ci", ("pull", "team/*"))
    for size, pages in (("", 3), ("?n=7", 36), ("?n=1000", 1), ("?n=x", 3)):
        path, seen, count = f"/v2/_catalog{size}", list[str](), 0
        while path:
            answer = ask_catalog("ci", path)
            seen += answer.json()["repositories"]
            count += 1
            path = answer.get("Link", "").partition(">")[0].removeprefix("<")
        assert (seen, count) == (names, pages), size
    assert ask_catalog("ci", "/v2/_catalog?last=zz").json() == {"repositories": []}
    assert ask_catalog("ci", "/v2/_catalog?last=%00%ff&n=1").status_code == 200
