"""Lanes, aliases and words of a repository's list, without a database."""

from registryui.models import Manifest, Repository, Tag
from registryui.views.catalogue.tag_rows import Group, PlatformRow, TagRow, tag_rows

REPOSITORY = Repository(pk=1, name="team/api")


def rows_of(
    manifests: list[int | None],
    totals: dict[int, int] | None = None,
    goes_on: tuple[bool, bool] = (False, False),
) -> list[TagRow]:
    tags = [
        Tag(
            pk=number,
            repository=REPOSITORY,
            name=f"t{number}",
            manifest=Manifest(pk=key, digest=f"sha256:{key}", kind="image") if key else None,
        )
        for number, key in enumerate(manifests)
    ]
    groups = {
        key: Group(
            tuple(tag.name for tag in tags if tag.manifest_id == key)[:6],
            (totals or {}).get(key, manifests.count(key)),
        )
        for key in manifests
        if key
    }
    return tag_rows(tags, platforms={}, groups=groups, signed=(), goes_on=goes_on)


def parts(rows: list[TagRow]) -> list[tuple[int, str] | None]:
    return [(row.lane.number, row.lane.part) if row.lane else None for row in rows]


def test_tags_of_one_image_hang_on_a_line_and_neighbours_alternate() -> None:
    rows = rows_of([1, 1, 1, 2, 3, 3, 4, 4, 5, 5, None])
    assert parts(rows) == [
        *((0, "start"), (0, "on"), (0, "end"), None, (1, "start"), (1, "end")),
        *((2, "start"), (2, "end"), (0, "start"), (0, "end"), None),
    ]
    assert [row.is_follower for row in rows[:4]] == [False, True, True, False]
    assert rows[0].aliases == "t1, t2"


def test_a_group_that_does_not_stand_together_has_words_and_no_line() -> None:
    rows = rows_of([1, 2, 1])
    assert parts(rows) == [None, None, None]
    assert rows[0].aliases == "t2"
    assert rows[1].aliases == ""


def test_a_line_goes_on_over_the_edge_of_a_page() -> None:
    rows = rows_of([1, 1, 2, 3], {1: 4, 3: 2}, (True, True))
    assert parts(rows) == [(0, "on"), (0, "end"), None, (1, "start")]
    assert parts(rows_of([1, 2], {1: 2}, (True, False))) == [(0, "end"), None]
    assert parts(rows_of([1, 1], {1: 9}, (True, True))) == [(0, "on"), (0, "on")]


def test_many_aliases_are_counted() -> None:
    assert rows_of([1] * 8)[0].aliases == "t1, t2, t3, t4 and 3 more"


def test_platforms_are_told_briefly() -> None:
    manifest = Manifest(pk=1, digest="sha256:1", kind="image index")
    tag = Tag(pk=1, repository=REPOSITORY, name="1", manifest=manifest)

    def words(*names: str) -> tuple[str, int]:
        children = [PlatformRow(name, "sha256:2", 1, 1) for name in names]
        row = tag_rows([tag], platforms={1: children}, groups={}, signed=())[0]
        return row.platform_words, len(row.platforms)

    assert words("linux/amd64") == ("amd64", 0)
    assert words("linux/amd64", "windows/amd64") == ("amd64 windows/amd64", 2)
    assert words("linux/amd64", "linux/arm64", "linux/arm/v7") == ("amd64 +2", 3)
    assert words() == ("", 0)


def test_kinds_have_words() -> None:
    def kind(**fields: str) -> str:
        manifest = Manifest(pk=1, digest="sha256:1", **fields)
        tag = Tag(pk=1, repository=REPOSITORY, name="1", manifest=manifest)
        return tag_rows([tag], platforms={}, groups={}, signed=())[0].kind

    helm = "application/vnd.cncf.helm.config.v1+json"
    assert kind(kind="artifact", artifact_type=helm) == "Helm chart"
    assert kind(kind="artifact", artifact_type="application/x") == "application/x"
    assert kind(kind="cache") == "Build cache"
    assert kind(kind="image") == ""
