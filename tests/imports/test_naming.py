"""Illegal names become the nearest legal ones; legal names stay as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.imports import naming
from registryui.oci import names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("team/app", "team/app"),
        ("Team/App", "team/app"),
        ("a__b/c-d.e_f--g", "a__b/c-d.e_f--g"),
        ("a..b", "a.b"),
        ("a___b", "a_b"),
        ("_private_/-x-", "private/x"),
        ("my app+tool", "my-app-tool"),
        ("/team//app/", "team/app"),
        ("Zürich", "z-rich"),
    ],
)
def test_repositories(old: str, new: str) -> None:
    assert naming.repository(old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.0", "1.0"), ("-x", "x"), (".x", "x"), ("a b+c", "a-b-c"), ("v" * 200, "v" * 128)],
)
def test_tags(old: str, new: str) -> None:
    assert naming.tag(old) == new


@pytest.mark.parametrize("name", ["", "___", "/", "ü" * 3, "a" * 300])
def test_what_has_no_legal_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        naming.repository(name)


@given(st.text(max_size=60))
def test_whatever_comes_out_is_legal_and_stays(name: str) -> None:
    for made, check in ((naming.repository, names.check_repository), (naming.tag, names.check_tag)):
        try:
            found = made(name)
        except ValueError:
            continue
        assert check(found) == made(found) == found
