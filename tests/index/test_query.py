"""The language of search: what each text asks for, and where a wrong one is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registryui.index.query import (
    EXAMPLES,
    LARGEST,
    LONGEST,
    MOST,
    STATES,
    Query,
    QueryError,
    Term,
    parse,
    quote,
    read,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone(timedelta(hours=8)))
REGISTRY = "localhost:8443"
HEX = "4c1b77e09a3f"


def _parse(text: str) -> Query:
    return parse(text, now=NOW, registry=REGISTRY)


def _one(text: str) -> dict[str, Any]:
    """What the only item of the text holds, but for its place."""
    (term,) = _parse(text).terms
    parts = {name: getattr(term, name) for name in Term.__slots__ if name not in ("start", "end")}
    return {
        name: part for name, part in parts.items() if part not in (None, "") and part is not False
    }


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("api", {"field": "word", "value": "api"}),
        ("  team/api ", {"field": "word", "value": "team/api"}),
        ("team/api:2.1", {"field": "reference", "value": "team/api", "second": "2.1"}),
        (":latest", {"field": "reference", "second": "latest"}),
        ("api:", {"field": "word", "value": "api"}),
        (f"{REGISTRY}/team/api:2.1", {"field": "reference", "value": "team/api", "second": "2.1"}),
        (
            f"docker pull {REGISTRY}/team/api:2.1",
            {"field": "reference", "value": "team/api", "second": "2.1"},
        ),
        (f"https://{REGISTRY}/team/api", {"field": "word", "value": "team/api"}),
        ("docker://team/api:2", {"field": "reference", "value": "team/api", "second": "2"}),
        (f"oci://{REGISTRY}/charts/api", {"field": "word", "value": "charts/api"}),
        ("FROM team/api AS build", {"field": "word", "value": "team/api"}),
        ("FROM --platform=$BUILDPLATFORM team/api", {"field": "word", "value": "team/api"}),
        ("docker pull --platform linux/arm64 team/api", {"field": "word", "value": "team/api"}),
        ("$ sudo docker run --rm -p 80:80 -e A=b api sh", {"field": "word", "value": "api"}),
        (
            f"podman run --secret x {REGISTRY}/team/api:2 sleep 1",
            {"field": "reference", "value": "team/api", "second": "2"},
        ),
        ("FROM", {"field": "word", "value": "FROM"}),
        (HEX, {"field": "word", "value": HEX, "digest": f"sha256:{HEX}"}),
        ("2024", {"field": "word", "value": "2024"}),
        ("sha256:AB", {"field": "reference", "digest": "sha256:ab"}),
        ("sha256:_", {"field": "reference", "value": "sha256", "second": "_"}),
        ("a/b@sha256:ab", {"field": "reference", "value": "a/b", "digest": "sha256:ab"}),
        ("a/b:1@sha256:ab", {"field": "reference", "value": "a/b", "digest": "sha256:ab"}),
        ("-dev", {"field": "word", "is_negated": True, "value": "dev"}),
        ("-", {"field": "word", "value": "-"}),
        (":", {"field": "word", "value": ":"}),
        ("@", {"field": "word", "value": "@"}),
        ('"two words"', {"field": "word", "value": "two words"}),
        ('"tag:1"', {"field": "word", "value": "tag:1"}),
        ("仓库", {"field": "word", "value": "仓库"}),
        ("repo:api", {"field": "repo", "value": "api"}),
        (f"repo:{REGISTRY}/a", {"field": "repo", "value": "a"}),
        ("TAG:v1", {"field": "tag", "value": "v1"}),
        ("tag：v1", {"field": "tag", "value": "v1"}),
        ("digest:4C", {"field": "digest", "digest": "sha256:4c"}),
        ("layer:sha512:4c1b77", {"field": "layer", "digest": "sha512:4c1b77"}),
        ("label:team=shop", {"field": "label", "value": "team", "second": "shop"}),
        ("label:team", {"field": "label", "value": "team"}),
        ("label:team=", {"field": "label", "value": "team", "second": None}),
        ('label:"a=b c"', {"field": "label", "value": "a", "second": "b c"}),
        ('label:a="b \\"c\\" \\\\"', {"field": "label", "value": "a", "second": 'b "c" \\'}),
        ("env:A=b=c", {"field": "env", "value": "A", "second": "b=c"}),
        ("cmd:nginx", {"field": "cmd", "value": "nginx"}),
        ("base:python:3", {"field": "base", "value": "python", "second": "3"}),
        ("platform:linux/ARM/v7", {"field": "platform", "value": "linux/arm/v7"}),
        ("platform:aarch64", {"field": "platform", "value": "arm64"}),
        ("media:helm", {"field": "media", "value": "helm"}),
        ("by:ci", {"field": "by", "value": "ci"}),
        ("size>1GB", {"field": "size", "least": 10**9 + 1}),
        ("size:>=1.5MiB", {"field": "size", "least": 3 * 2**19}),
        ("size<1k", {"field": "size", "most": 999}),
        ("size<=0", {"field": "size", "most": 0}),
        ("size＞1", {"field": "size", "least": 2}),
        ("size>999999999TB", {"field": "size", "least": LARGEST + 1}),
        ("is:Signed", {"field": "is", "value": "signed"}),
        ("pulled:never", {"field": "pulled", "value": "never"}),
        ("pushed<90d", {"field": "pushed", "since": NOW - timedelta(days=90)}),
        ("pushed:90d", {"field": "pushed", "since": NOW - timedelta(days=90)}),
        ("pushed>2w", {"field": "pushed", "until": NOW - timedelta(weeks=2)}),
        ("pushed<1y", {"field": "pushed", "since": NOW - timedelta(days=365)}),
        ("pushed<999y", {"field": "pushed", "since": datetime(1970, 1, 2, tzinfo=UTC)}),
        ("expires<7d", {"field": "expires", "until": NOW + timedelta(days=7)}),
        ("expires>2w", {"field": "expires", "since": NOW + timedelta(weeks=2)}),
        ("expires<9999y", {"field": "expires", "until": NOW + timedelta(days=36500)}),
    ],
)
def test_a_text_is_read_as_people_mean_it(text: str, parts: dict[str, Any]) -> None:
    found = _one(text)
    assert found == {name: part for name, part in parts.items() if part is not None}


def test_a_label_may_be_asked_for_with_an_empty_value() -> None:
    (term,) = _parse("label:team=").terms
    assert term.second == ""


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("pushed:2026-01-31", (1, 31), (2, 1)),
        ("pushed>2026-01-31", (2, 1), None),
        ("pushed>=2026-01-31", (1, 31), None),
        ("pushed<2026-01-31", None, (1, 31)),
        ("pulled<=2026-01-31", None, (2, 1)),
    ],
)
def test_a_day_begins_and_ends_where_the_reader_lives(
    text: str, since: tuple[int, int] | None, until: tuple[int, int] | None
) -> None:
    (term,) = _parse(text).terms
    days = [datetime(2026, *day, tzinfo=NOW.tzinfo) if day else None for day in (since, until)]
    assert [term.since, term.until] == days


@pytest.mark.parametrize(
    ("text", "wrong", "word"),
    [
        ("api tag:", "tag:", "tag:2.1"),
        ("api -size> x", "-size>", "size>1GB"),
        ('api "two', '"two', "closed"),
        ('label:"x', '"x', "closed"),
        ('""', '""', "nothing"),
        ("size:1GB", "size:1GB", "Compare"),
        ("size>much", "much", "GiB"),
        ("size>1XB", "1XB", "GiB"),
        ("pushed<soon", "soon", "2026-01-31"),
        ("expires:never", "never", "2026-01-31"),
        ("pushed<2026-02-30", "2026-02-30", "2026-01-31"),
        ("pushed<0001-01-01", "0001-01-01", "2026-01-31"),
        ("pushed:never", "never", "2026-01-31"),
        ("pulled>never", "never", "2026-01-31"),
        ("tag>1", "tag>1", "does not support"),
        ("label:=x", "=x", "missing"),
        ("base:python", "python", "repository:tag"),
        ("base:Python:3", "Python:3", "repository:tag"),
        ("base:a@sha256:12", "a@sha256:12", "repository@digest"),
        ("digest:xyz", "xyz", "hexadecimal"),
        ("layer:4c1b", "4c1b", "6"),
        ("platform:a/b/c/d", "a/b/c/d", "os/architecture"),
        ("is:nice", "nice", "multi-platform, signed, untagged, broken, protected"),
        (" ".join(["a"] * (MOST + 2)), "a a", "12"),
        ("a" * (LONGEST + 3), "aaa", "1000"),
    ],
)
def test_a_wrong_text_says_where_and_what_is_allowed(text: str, wrong: str, word: str) -> None:
    with pytest.raises(QueryError) as caught:
        _parse(text)
    assert text[caught.value.start : caught.value.end] == wrong
    assert word in caught.value.reason


def test_each_example_of_the_help_is_a_query() -> None:
    for name, text in EXAMPLES.items():
        assert _one(text)["field"] == name
    for state in STATES:
        assert _one(f"is:{state}")["value"] == state


def test_items_know_their_place() -> None:
    query = _parse('api  -tag:"a b" size>1GB')
    assert [query.source(term) for term in query.terms] == ["api", '-tag:"a b"', "size>1GB"]
    assert query.without(query.terms[1]).split() == ["api", "size>1GB"]


def test_a_qualifier_with_a_slip_is_doubted() -> None:
    assert [near for _term, near in _parse("lable:team platfrom:x team/api:1 web:2").doubts] == [
        "label",
        "platform",
    ]


hostile = st.text(
    alphabet=st.one_of(st.sampled_from(" :<>=-\"\\@/%_*'\0\ud800：labelsizeis1d"), st.characters())
)


@given(hostile)
@example('size>1e5 "\\')
@example("pushed<999999y")
@example("-" * 50)
def test_any_text_is_a_query_or_says_where_it_is_wrong(text: str) -> None:
    query, error = _parsed(text)
    if error is not None:
        assert 0 <= error.start <= error.end <= len(text)
        assert error.reason
    assert len(query.text) in (0, len(text))
    assert "\0" not in query.text
    ends = [0]
    for term in query.terms:
        assert ends[-1] <= term.start < term.end
        assert query.source(term).strip()
        ends.append(term.end)


def _parsed(text: str) -> tuple[Query, QueryError | None]:
    try:
        return _parse(text), None
    except QueryError as error:
        return Query(""), error


@given(st.sampled_from(["label", "env", "cmd", "by", "tag"]), st.text(min_size=1, max_size=200))
def test_a_quoted_value_comes_back_as_it_was(name: str, value: str) -> None:
    kept = value.replace("\0", "\ufffd")
    kept = "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in kept)
    text = f"{name}:{quote(f'k={value}' if name in ('label', 'env') else value)}"
    if len(text) > LONGEST:
        return
    (term,) = _parse(f"x {text} -y").terms[1:2]
    assert (term.second if name in ("label", "env") else term.value) == kept


@given(st.text())
def test_any_text_can_be_read_as_one_name(text: str) -> None:
    term = read(text, registry=REGISTRY)
    assert "\0" not in term.value
    assert len(term.value) <= 255
