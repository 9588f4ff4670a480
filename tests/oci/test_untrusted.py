"""What is asked of many texts at once is what is asked of each alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from registryui.oci import untrusted
from registryui.oci.manifest import parse_manifest
from registryui.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from registryui.oci.untrusted import moment, read_object, text, text_map, texts

ODD = ["", "PATH=/bin", "é", "a\0b", "\ud800", "\U0001f600", "x" * 30]
DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize("odd", [*ODD, 1, None, ["PATH"], {"a": "b"}])
@pytest.mark.parametrize("limit", [10, 65_536])
def test_texts_and_maps_are_cleaned_like_single_texts(odd: object, limit: int) -> None:
    value = ["plain", odd, "also plain"]
    assert texts(value, limit=limit) == tuple(
        text(one, limit=limit) for one in value if isinstance(one, str)
    )
    labels = {"plain": "plain", "odd": odd, str(odd): "also plain"}
    assert text_map(labels, limit=limit) == {
        text(key): text(one, limit=limit) for key, one in labels.items() if isinstance(one, str)
    }


def test_lists_and_names_have_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(text_map({"k" * 2000: "v"})) == ["k" * 1024]
    monkeypatch.setattr(untrusted, "LIST_LIMIT", 2)
    assert texts(["a", "b", "c"]) == ("a", "b")
    assert text_map({"a": "1", "b": "2", "c": "3"}) == {"a": "1", "b": "2"}


def test_what_is_given_back_is_ones_own() -> None:
    given = {"a": "b"}
    text_map(given)["c"] = "d"
    assert given == {"a": "b"}


@pytest.mark.parametrize("around", ["", " ", "\r\n\t"])
def test_white_space_around_an_object_is_json(around: str) -> None:
    assert read_object(f'{around}{{"a": 1}}{around}'.encode()) == {"a": 1}
    with pytest.raises(ValueError, match="not JSON"):
        read_object(f'{{"a": 1}}{around}x'.encode())
    with pytest.raises(ValueError, match="NaN is not JSON"):
        read_object(f'{around}{{"a": NaN}}'.encode())


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1234567Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5+02:30", datetime(2026, 1, 2, 0, 34, 5, 500000, tzinfo=UTC)),
        ("2026-01-01T00:00:00-00:30", datetime(2026, 1, 1, 0, 30, tzinfo=UTC)),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-01T00:00:00+99:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("0001-01-01T00:00:00Z", None),
    ],
)
def test_times_are_utc(told: str, found: datetime | None) -> None:
    assert moment(told) == found
    assert found is None or moment(told).tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "wrong",
    [{"size": True}, {"size": -1}, {"size": 1.0}, {"digest": "sha256:x"}, {"digest": None}],
)
def test_a_descriptor_is_checked_though_an_equal_one_was_read_before(
    wrong: dict[str, object],
) -> None:
    """True equals 1, also as the key of a cache."""
    layer = {"mediaType": OCI_LAYER, "digest": DIGEST, "size": 1}
    whole = {"config": {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 1}, "layers": [layer]}
    assert parse_manifest(json.dumps(whole).encode(), OCI_MANIFEST).layers[0].size == 1
    with pytest.raises(ValueError, match="not a"):
        parse_manifest(json.dumps(whole | {"layers": [layer | wrong]}).encode(), OCI_MANIFEST)
