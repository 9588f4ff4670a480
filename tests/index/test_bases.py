"""Base images, on rows that ingest has made."""

import pytest

from registryui.index import bases
from registryui.models import Manifest
from tests.support import pushed

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

DEBIAN = [("debian", 28)]
PYTHON = [*DEBIAN, ("python", 15)]
APP = [*PYTHON, ("app", 3)]


def _image(repository: str, layers: list[tuple[str, int]], **fields: object) -> pushed.Pushed:
    diff_ids = [f"sha256:{name}" for name, _size in layers]
    config = {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "for": repository}
    return pushed.image(repository, layers=layers, config=config, **fields)


def _base(image: pushed.Pushed) -> str:
    base = bases.base_of(image.row)
    return f"{base.repository}:{base.tag}" if base else ""


def _standing(image: pushed.Pushed) -> set[str]:
    layers = bases.layers_of([image.row.pk]).get(image.row.pk, [])
    found = bases.standing_on(layers).values_list("repository__name", flat=True)
    return set(found)


def test_the_base_is_the_tagged_image_with_most_of_the_layers() -> None:
    debian = _image("debian", DEBIAN, tags=["12"])
    python = _image("python", PYTHON, tags=["3.13", "3"])
    app = _image("app", APP, tags=["1"])
    assert _base(app) == "python:3.13"
    assert _base(python) == "debian:12"
    assert _base(debian) == ""
    assert _standing(python) == {"app"}
    assert _standing(debian) == {"python", "app"}
    found = bases.base_of(app.row)
    assert found == bases.Base("python", "3.13", python.digest, 2, python.row.size)


def test_an_image_without_a_tag_is_no_base() -> None:
    _image("debian", DEBIAN, tags=["12"])
    _image("python", PYTHON)
    assert _base(_image("app", APP, tags=["1"])) == "debian:12"


def test_a_base_may_be_listed_by_a_tagged_image_index() -> None:
    python = _image("python", PYTHON)
    pushed.image_index("python", [(python, "linux/amd64")], tags=["3.13"])
    assert _base(_image("app", APP)) == "python:3.13"


def test_the_same_layers_make_no_base_of_each_other() -> None:
    _image("copy", APP, tags=["1"])
    assert _base(_image("app", APP, tags=["1"])) == ""


def test_a_layer_at_the_same_place_over_others_is_no_base() -> None:
    """Empty layers are the same blob everywhere."""
    base = _image("base", [("x", 1), ("empty", 0)], tags=["1"])
    _image("other", [("y", 1), ("empty", 0), ("z", 1)], tags=["1"])
    assert _standing(base) == set()
    _image("mine", [("x", 1), ("empty", 0), ("z", 1)], tags=["1"])
    assert _standing(base) == {"mine"}


def test_a_config_that_lies_about_its_layers_is_not_believed() -> None:
    _image("debian", DEBIAN, tags=["12"])
    lie = {"rootfs": {"diff_ids": ["sha256:debian", "sha256:more"]}}
    layers = [("anything", 5), ("else", 5)]
    assert _base(pushed.image("liar", layers=layers, config=lie, tags=["1"])) == ""


@pytest.mark.parametrize("config", [b"", b"[]", b"{", b'{"rootfs": {"diff_ids": [1, null]}}'])
def test_a_config_that_cannot_be_read_has_no_base(config: bytes) -> None:
    assert bases.base_of(pushed.image("odd", config=config, tags=["1"]).row) is None


def test_nothing_and_other_kinds_have_no_base() -> None:
    assert bases.base_of(None) is None
    assert bases.base_of(pushed.artifact("chart", tags=["1"]).row) is None
    assert not bases.standing_on([]).exists()


@pytest.mark.parametrize("copies", [1, 30])
def test_three_queries_are_enough(copies: int, django_assert_max_num_queries: object) -> None:
    for number in range(copies):
        _image(f"python{number:02}", PYTHON, tags=["3.13"])
    app = Manifest.objects.get(pk=_image("app", APP, tags=["1"]).row.pk)
    with django_assert_max_num_queries(3):  # type: ignore[operator]
        found = bases.base_of(app)
    assert found is not None
    assert found.repository == "python00"


def test_the_longest_prefix() -> None:
    others = {1: [1], 2: [1, 2], 3: [1, 3], 4: [1, 2, 3], 5: [], 6: [1, 2]}
    assert bases.longest_prefix([1, 2, 3], others) == 2
    assert bases.longest_prefix([9], others) is None
