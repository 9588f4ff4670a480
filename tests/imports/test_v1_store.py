"""A v1 store with any names and any bytes in its small files: a report, never an exception."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as some

from registryui.imports.source import Found, Options
from registryui.imports.v1.source import V1Source
from registryui.imports.v1.store import repository_name
from tests.support.v1_stores import V1Files, tar

NAME = some.binary(min_size=1, max_size=60).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
)
CONTENT = some.one_of(
    some.binary(max_size=100),
    some.sampled_from([b"", b"null", b"[]", b'""', b"{}", b"[null]", b'["\\ud800"]', b"[" * 5000]),
)
FILES = ("json", "ancestry", "_checksum", "layer")


def surveyed(root: Path) -> list[Found]:
    """What an import finds there, all of which a database can keep."""
    with V1Source(root, Options()) as source:
        found = list(source.survey())
    for one in found:
        for text in (one.repository, one.tag, one.problem):
            assert text.encode().find(b"\0") == -1
    return found


@given(NAME, NAME, NAME, CONTENT)
@example(b"library", b"ubuntu", b"tag_14.04", b"0" * 64)
@example(b"\xff", b"%00%25", b"tag_\xed\xa0\x80", b"0" * 16)
def test_any_names(namespace: bytes, repository: bytes, file: bytes, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = V1Files(Path(place))
        names = map(os.fsdecode, (namespace, repository))
        folder = made.root.joinpath("repositories", *names)
        folder.mkdir(parents=True)
        (folder / os.fsdecode(file)).write_bytes(content)
        for one in surveyed(made.root):
            assert one.problem


@given(some.sampled_from(FILES), CONTENT, some.booleans())
def test_any_content(file: str, content: bytes, of_parent: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = V1Files(Path(place))
        parent = made.image("parent", tar({"a": b"1"}))
        top = made.image("top", tar({"b": b"1"}), parent=parent)
        made.tag("team/app", "1", top)
        (made.folder(parent if of_parent else top) / file).write_bytes(content)
        (one,) = (found for found in surveyed(made.root) if found.tag)  # its parent may be left
        assert (one.repository, one.tag) == ("team/app", "1")
        assert bool(one.problem) == (file == "json" or (file == "layer" and not content))


def test_names_as_the_registry_quoted_them() -> None:
    for path, name in {
        "library/ubuntu": "ubuntu",
        "library/a%252Fb": "library/a/b",
        "team/app": "team/app",
        "team/deep%252Fdown%252Fapp": "team/deep/down/app",
        "team/once%2Fonly": "team/once/only",
        "te%2Bam/a%252Bb": "te+am/a+b",
        "%252E%252E/x": "%2E%2E/x",
    }.items():
        assert repository_name(path) == name
