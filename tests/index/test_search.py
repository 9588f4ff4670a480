"""What is found, on rows that ingest has made; the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from registryui.deletion import protection
from registryui.index import conditions, search
from registryui.index.query import QueryError
from registryui.models import NEVER, Manifest, Protection, Repository, Tag
from registryui.refused import Refused
from tests.support import pushed

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

DEBIAN = [("debian", 30_000_000)]
PYTHON = [*DEBIAN, ("python", 15_000_000)]
MB = 1_000_000


def _tags(text: str, **more: Any) -> set[str]:
    items = search.conditions(search.parse(text))
    return {str(tag) for tag in search.tags(items, **more).rows}


def _repositories(text: str) -> set[str]:
    return {row.name for row in search.repositories(search.parse(text), size=10).rows}


def _manifests(text: str) -> set[str]:
    query = search.parse(text)
    return {row.digest for row in search.manifests(query, search.conditions(query)).rows}


def _image(name: str, tag: str, layers: list[tuple[str, int]], **config: Any) -> pushed.Pushed:
    options = {key: config.pop(key) for key in ("by", "at", "architecture") if key in config}
    stated = {"config": config, "for": f"{name}:{tag}"}
    return pushed.image(
        name,
        tags=[tag],
        layers=layers,
        config=stated | {"os": "linux"} | ({"architecture": options.pop("architecture", "amd64")}),
        **options,
    )


@pytest.fixture
def store() -> dict[str, pushed.Pushed]:
    """A base, two images on it, one of them for two platforms, a chart and a signature."""
    now = timezone.now()
    base = _image("library/python", "3.13", PYTHON, at=now - timedelta(days=200), by="mirror")
    api = _image(
        "team/api",
        "2.1",
        [*PYTHON, ("api", 5 * MB)],
        Labels={"team": "Shop", "title": "Two words"},
        Env=["LANG=C.UTF-8", "DEBUG"],
        Entrypoint=["/usr/sbin/nginx", "-g", "daemon off;"],
        at=now - timedelta(days=10),
        by="ci",
    )
    children = [
        pushed.image(
            "team/web",
            layers=[*DEBIAN, (f"web-{name}", MB)],
            config={"os": "linux", "architecture": name, "config": {"Labels": {"team": "web"}}},
            at=None,
        )
        for name in ("amd64", "arm64")
    ]
    web = pushed.image_index(
        "team/web",
        [(children[0], "linux/amd64"), (children[1], "linux/arm64")],
        tags=["v1", "latest"],
        at=now - timedelta(hours=1),
        by="ci",
    )
    chart = pushed.artifact(
        "charts/api",
        config_type="application/vnd.cncf.helm.config.v1+json",
        tags=["0.1"],
        at=now - timedelta(days=400),
    )
    pushed.artifact(
        "team/api",
        config_type="application/vnd.dev.cosign.artifact.sig.v1+json",
        tags=[api.digest.replace(":", "-") + ".sig"],
        files=(("sig", 100),),
        at=now,
    )
    protection.add("team/*", "v* 2.1", note="", by="operator:ada")
    protection.add("other/*", "*", note="", by="operator:ada")
    lost = pushed.image("team/web", layers=[("lost", 7)], config={"os": "linux", "lost": True})
    pushed.dangling("team/web", "gone")
    Tag.objects.filter(name="2.1").update(
        pulled_at=now - timedelta(days=3), expires_at=now + timedelta(days=3)
    )
    Tag.objects.filter(name="0.1").update(expires_at=now + timedelta(days=30))
    return {
        "base": base,
        "api": api,
        "web": web,
        "child": children[1],
        "chart": chart,
        "lost": lost,
    }


def test_labels_are_searched_once_they_count(
    store: dict[str, pushed.Pushed], settings: Any
) -> None:
    later = timezone.now() + timedelta(days=2)
    Tag.objects.filter(name__in=["v1", "2.1"]).update(label_expires_at=later)
    Tag.objects.filter(name="0.1").update(expires_at=NEVER)
    assert _tags("is:expiring") == {API}
    settings.EXPIRE_BY_LABEL = True
    assert _tags("is:expiring") == _tags("expires<7d") == {API, WEB}
    assert _tags("expires<60h") == {WEB}  # what is set counts, and not the label
    assert _tags("-is:expiring") == EVERY - {API, WEB}


BASE, API, WEB, LATEST = "library/python:3.13", "team/api:2.1", "team/web:v1", "team/web:latest"
CHART, GONE = "charts/api:0.1", "team/web:gone"
EVERY = {BASE, API, WEB, LATEST, CHART, GONE}
INDEXES = {WEB, LATEST}


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("API", {API, CHART}),
        ("python", {BASE}),
        ("team/", {API, WEB, LATEST, GONE}),
        ("v1", {WEB}),
        ("2", {API}),
        ("team:1", {API, WEB}),
        (":latest", {LATEST}),
        ("api:", {API, CHART}),
        ("nope", set()),
        ("sig", set()),  # a referrer tag is no tag to people
        ("_", set()),
        ("%", set()),
        ("\\", set()),
        ('"', None),
        ("仓库", set()),
        ("repo:api", {API, CHART}),
        ("repo:team repo:web", {WEB, LATEST, GONE}),
        ("repo:ap", {API, CHART}),
        ("tag:late", {LATEST}),
        ("tag:V1", {WEB}),
        ("label:team=shop", {API}),
        ("label:TEAM", {API, WEB, LATEST}),
        ("label:team=web", INDEXES),
        ('label:"title=two words"', {API}),
        ("label:team=sho", set()),
        ("env:LANG=C.UTF-8", {API}),
        ("env:DEBUG", {API}),
        ("env:team", set()),
        ("cmd:nginx", {API}),
        ('cmd:"daemon off;"', {API}),
        ("base:library/python:3.13", {API}),
        ("base:no/such:1", set()),
        ("platform:arm64", INDEXES),
        ("platform:linux/amd64", {BASE, API, WEB, LATEST}),
        ("platform:linux", {BASE, API, WEB, LATEST}),
        ("platform:windows", set()),
        ("media:helm", {CHART}),
        ("media:index", INDEXES),
        ("media:application/vnd.cncf.helm.config.v1+json", {CHART}),
        ("by:mirror", {BASE}),
        ("by:ci", {API, WEB, LATEST}),
        ("by:CI", set()),
        ("size>48MB", {API}),
        ("size>=45MB size<48MB", {BASE}),
        ("size<1kB", {GONE}),
        ("pushed<30d", {API, WEB, LATEST}),
        ("pushed<1d", INDEXES),
        ("pushed>300d", {CHART}),
        ("pulled:never", {BASE, WEB, LATEST, CHART, GONE}),
        ("pulled<30d", {API}),
        ("pulled>1d", {API}),
        ("pulled>30d", set()),
        ("is:multi-platform", INDEXES),
        ("is:signed", {API}),
        ("is:broken", {GONE}),
        ("is:expiring", {API, CHART}),
        ("-is:expiring -team", {BASE}),
        ("expires<7d", {API}),
        ("expires<1h -library", set()),
        ("expires>7d", {CHART}),
        ("expires>2026-01-31 expires<2126-01-31", {API, CHART}),
        ("is:untagged", set()),
        ("is:protected", {WEB, API}),
        ("-is:protected", {BASE, LATEST, CHART, GONE}),
        ("is:protected -api", {WEB}),
        ("team/ label:team=web -tag:latest", {WEB}),
        ("-team", {BASE, CHART}),
        ("-is:broken -label:team -by:mirror", {CHART}),
        ("-size>1B", {GONE}),
        ("-is:untagged", EVERY),
        ("label:team=shop label:team=web", set()),
        ("", set()),
    ],
)
def test_each_qualifier(store: dict[str, pushed.Pushed], text: str, tags: set[str] | None) -> None:
    if tags is None:
        with pytest.raises(QueryError):
            search.parse(text)
        return
    for order in search.ORDERS:
        assert _tags(text, order=order) == tags, order


@pytest.mark.parametrize(
    "text", ["api", "label:team=web", "size>48MB", "is:signed", "is:protected", "by:ci -v1"]
)
def test_walking_finds_what_looking_up_finds(
    store: dict[str, pushed.Pushed], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way for common items, on items that are rare."""
    found = {order: _tags(text, order=order) for order in search.ORDERS}
    assert found["newest"]
    monkeypatch.setattr(search, "RARE", 0)
    monkeypatch.setattr(search, "FEW", 0)
    assert {order: _tags(text, order=order) for order in search.ORDERS} == found


def test_digests_and_layers_are_found_by_their_beginning(store: dict[str, pushed.Pushed]) -> None:
    api, web, child = (store[name].digest for name in ("api", "web", "child"))
    for text in (api, api[:15], api[7:20].upper(), f"digest:{api[7:20]}", f"team@{api[:20]}"):
        assert _tags(text) == {API}, text
        assert api in _manifests(text), text
    assert _tags(f"digest:{web[7:20]}") == INDEXES
    assert _tags(f"digest:{child[7:30]}") == INDEXES  # listed by the image index
    assert _tags(f"web@{api}") == set() == _manifests(f"web@{api}")
    layer = pushed.layer("python", 0)["digest"]
    assert _tags(f"layer:{layer}") == {BASE, API} == _tags(f"layer:{layer[7:15]}")
    assert _tags("layer:000000000000") == set()
    assert _manifests("api") == set()


def test_what_has_no_tag_is_found_apart(store: dict[str, pushed.Pushed]) -> None:
    lost = store["lost"].digest
    assert _manifests("is:untagged") == {lost}
    assert _manifests("is:untagged repo:web platform:arm64") == set()
    assert _manifests("is:untagged web platform:linux size<1kB -label:team") == {lost}
    assert _manifests("is:untagged tag:v1") == set()


@pytest.mark.parametrize(
    ("text", "repositories"),
    [
        ("API", {"team/api", "charts/api"}),
        ("a", {"team/api", "charts/api", "library/python", "team/web"} - {"library/python"}),
        ("team -web", {"team/api"}),
        ("repo:team/", {"team/api", "team/web"}),
        ("api:2", set()),
        ("tag:2", set()),
        ("api size>1", set()),
        ("zzz", set()),
    ],
)
def test_repositories_are_found_by_any_part(
    store: dict[str, pushed.Pushed], text: str, repositories: set[str]
) -> None:
    wanted = repositories if text != "a" else {name for name in _names() if "a" in name}
    assert _repositories(text) == wanted


def _names() -> set[str]:
    return set(Repository.objects.values_list("name", flat=True))


def test_a_base_may_have_several_platforms(store: dict[str, pushed.Pushed]) -> None:
    arm = pushed.image(
        "library/go", layers=[("go-arm", 5)], config={"architecture": "arm64"}, at=None
    )
    amd = pushed.image(
        "library/go", layers=[("go-amd", 5)], config={"architecture": "amd64"}, at=None
    )
    pushed.image_index("library/go", [(arm, "linux/arm64"), (amd, "linux/amd64")], tags=["1"])
    pushed.image("x/arm", tags=["1"], layers=[("go-arm", 5), ("x", 1)])
    pushed.image("x/amd", tags=["1"], layers=[("go-amd", 5), ("x", 1)])
    assert _tags("base:library/go:1") == {"x/arm:1", "x/amd:1"}


def test_orders_and_pages() -> None:
    for number in range(60):
        pushed.image(
            f"team/r{number % 3}",
            tags=[f"ver{number:02}"],
            layers=[(str(number), number)],
            config={"n": number},
            at=pushed.AT + timedelta(minutes=number % 7),
        )
    for rare in (search.RARE, 0):
        for order, column in search.ORDERS.items():
            items = search.conditions(search.parse("tag:ver"))
            seen, after = list[int](), ""
            while True:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(search, "RARE", rare)
                    patch.setattr(search, "FAR", 17)
                    found = search.tags(items, order=order, after=after, size=25)
                seen += [tag.pk for tag in found.rows]
                assert len(seen) <= 60
                if not found.next:
                    break
                after = found.next
            keys = (column, "-pk" if column.startswith("-") else "pk")
            assert seen == list(Tag.objects.order_by(*keys).values_list("pk", flat=True)), order


def test_few_hits_are_counted_and_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        pushed.image("team/api", tags=[f"ver{number}"], config={"n": number})
    items = search.conditions(search.parse("tag:ver"))
    assert search.tags(items, size=5).count == 30
    monkeypatch.setattr(search, "RARE", 3)
    found = search.tags(items, size=5)
    assert (found.count, len(found.rows), found.walked) == (None, 5, 0)
    monkeypatch.setattr(search, "FAR", 10)
    found = search.tags(search.conditions(search.parse("tag:ver -tag:ver2")), size=25)
    assert found.walked == 10
    assert found.next


MANY = (
    "api label:team=shop env:LANG cmd:nginx base:library/python:3.13 platform:arm64 media:helm"
    " by:ci layer:4c1b77 is:signed size>1 pushed<9d"
)


@pytest.mark.parametrize("rare", [search.RARE, 0])
@pytest.mark.parametrize(
    "text", ["api", "label:team=shop -v1 size>1B", "team/api:2.1", "is:protected", MANY]
)
def test_ten_queries_are_enough(
    store: dict[str, pushed.Pushed], text: str, rare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "RARE", rare)
    with CaptureQueriesContext(connection) as queries:
        _tags(text)
    assert len(queries) <= 10 + 5 * (text == MANY)


hostile = st.text(alphabet=st.sampled_from("a%_\\'\"*^${}[]().:;-+<>=/ \0é字AND OR NOT NEAR"))


@hypothesis_settings(max_examples=60)
@given(hostile)
def test_no_text_is_a_pattern_or_breaks_a_query(store: dict[str, pushed.Pushed], text: str) -> None:
    try:
        query = search.parse(text)
    except QueryError:
        return
    items = search.conditions(query)
    found = {str(tag) for tag in search.tags(items).rows}
    search.repositories(query, size=5)
    search.manifests(query, items)
    words = [term.value.lower() for term in query.terms if term.field == "word"]
    if len(words) == len(query.terms) and not any(term.is_negated for term in query.terms):
        plain = {
            str(tag)
            for tag in Tag.objects.filter(refers_to="")
            if all(word in tag.name.lower() or word in tag.repository.name for word in words)
        }
        assert found == (plain if words else set())


def test_media_types_are_found_whatever_their_number() -> None:
    for number in range(5):
        pushed.artifact("a/b", config_type=f"application/x{number}", tags=[f"t{number}"])
    assert list(conditions._values("artifact_type")) == [f"application/x{n}" for n in range(5)]
    assert _tags("media:x3") == {"a/b:t3"}
    assert Manifest.objects.filter(artifact_type="application/x3").count() == 1


NAMES = st.text(alphabet="ab._*", min_size=1, max_size=5)


@hypothesis_settings(max_examples=60)
@given(st.dictionaries(st.tuples(NAMES, NAMES), st.booleans(), max_size=4))
def test_protected_tags_are_those_that_the_protections_name(
    store: dict[str, pushed.Pushed], rules: dict[tuple[str, str], bool]
) -> None:
    """The database compares as oci/patterns.py does: all of a name, and in its case."""
    Protection.objects.all().delete()
    _named_like_patterns()
    Protection.objects.bulk_create(
        Protection(repositories=names, tags=tags, is_immutable=fixed)
        for (names, tags), fixed in rules.items()
    )
    now = protection.protections()
    every = Tag.objects.filter(refers_to="").select_related("repository")
    expected = {str(tag) for tag in every if now.of(tag.repository.name, tag.name)}
    assert _tags("is:protected", size=200) == expected
    assert _tags("-is:protected", size=200) == {str(tag) for tag in every} - expected
    fixed = {str(tag) for tag in every if now.immutable(tag.repository.name, tag.name)}
    assert _tags("is:immutable", size=200) == fixed
    for row in Protection.objects.all():
        alone = protection.Protections([row])
        assert protection.count(row) == sum(
            alone.of(tag.repository.name, tag.name) is not None for tag in every
        )


def _named_like_patterns() -> None:
    if Tag.objects.filter(name="a_b").exists():
        return
    for name in ("a", "b", "ab", "a_b", "a.b"):
        row = Repository.objects.create(name=name, tag_count=6)
        for tag in ("a", "A", "ab", "a_b", "a.b", "bab"):
            Tag.objects.create(repository=row, name=tag)


def test_as_many_protections_as_there_may_be_are_one_query(store: dict[str, pushed.Pushed]) -> None:
    many = protection.MOST_PATTERNS // 2 - 4
    Protection.objects.bulk_create(
        Protection(repositories=f"no{n}/*", tags=f"*never{n}*") for n in range(many)
    )
    with pytest.raises(Refused, match="at most"):
        protection.add("x", "a b c d e f g h i j k l m", note="", by="operator:ada")
    for text in ("is:protected", "-is:protected -api", "is:protected api"):
        with CaptureQueriesContext(connection) as queries:
            _tags(text)
        assert len(queries) <= 10
    assert _tags("is:protected") == {WEB, API}


def test_an_evil_pattern_takes_no_time(store: dict[str, pushed.Pushed]) -> None:
    row = Repository.objects.create(name="a" * 200, tag_count=1)
    Tag.objects.create(repository=row, name="a" * 128)
    Protection.objects.create(repositories="a*" * 60 + "b", tags="*")
    Protection.objects.create(repositories="*", tags="*a" * 120 + "*b")
    began = time.monotonic()
    assert "a" * 200 + ":" + "a" * 128 not in _tags("is:protected")
    assert time.monotonic() - began < 2
