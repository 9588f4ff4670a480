"""What a typed text asks for, and what is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.index import search
from tests.factories import make_manifest, make_repository, make_tag

HEX = "4c1b77e09a3f"


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("", "", "", ""),
        ("api", "api", "api", ""),
        ("  team/api ", "team/api", "team/api", ""),
        ("team/api:2.1", "team/api", "2.1", ""),
        (":latest", "", "latest", ""),
        ("api:", "api", "", ""),
        ("localhost:8443/team/api:2.1", "team/api", "2.1", ""),
        ("docker pull localhost:8443/team/api:2.1", "team/api", "2.1", ""),
        ("https://localhost:8443/team/api", "team/api", "team/api", ""),
        (HEX, HEX, HEX, f"sha256:{HEX}"),
        ("2024", "2024", "2024", ""),
        ("sha256:AB", "", "", "sha256:ab"),
        ("team/api@sha256:ab", "team/api", "", "sha256:ab"),
        ("team/api:1@sha256:ab", "team/api", "", "sha256:ab"),
    ],
)
def test_a_text_is_read_as_people_mean_it(
    text: str, repository: str, tag: str, digest: str
) -> None:
    query = search.read(text)
    assert (query.repository, query.tag, query.digest) == (repository, tag, digest)


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    query = search.read(text)
    assert len(query.text) <= search.LONGEST
    assert "\0" not in query.text


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "repositories", "tags"),
    [
        ("API", {"team/api", "api_x"}, {"team/web:api"}),
        ("_", {"api_x"}, set()),
        ("%", set(), set()),
        ("\\", set(), set()),
        ("team/", {"team/api", "team/web"}, set()),
        ("team:1", set(), {"team/api:1.0", "team/web:1.0"}),
        (":1.0", set(), {"team/api:1.0", "team/web:1.0"}),
        ("api:", set(), set()),
        ("nope", set(), set()),
        ("sig", set(), set()),  # an attachment is no tag to people
    ],
)
def test_names_are_found_by_any_part(text: str, repositories: set[str], tags: set[str]) -> None:
    api, web, _ = (make_repository(name) for name in ("team/api", "team/web", "api_x"))
    make_tag(api, "1.0")
    make_tag(web, "1.0")
    make_tag(web, "api")
    make_tag(api, "x.sig", attached_to="sha256:00")
    query = search.read(text)
    assert {row.name for row in search.repositories(query)} == repositories
    assert {str(tag) for tag in search.tags(query)} == tags


@pytest.mark.django_db
def test_digests_are_found_by_their_beginning() -> None:
    one = make_manifest(make_repository("team/api"))
    two = make_manifest(make_repository("team/web"))
    assert list(search.manifests(search.read(one.digest[:20]))) == [one]
    assert list(search.manifests(search.read("sha256:"))) == sorted(
        [one, two], key=lambda row: row.digest
    )
    assert list(search.manifests(search.read("web@sha256:"))) == [two]
    assert list(search.manifests(search.read("sha256:_"))) == []
    assert list(search.manifests(search.read("api"))) == []
