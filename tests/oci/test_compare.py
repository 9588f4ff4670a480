"""Comparing two images: nothing is lost, nothing is told twice, and sides can be swapped."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from registryui.oci.compare import ALIGN_LIMIT, Image, Layer, compare, image
from registryui.oci.config import ImageConfig, Step
from registryui.oci.manifest import Descriptor

WORDS = st.sampled_from(["", "RUN make", "COPY . /", "RUN apt", "ADD x"])
# One digest always has one size, as in a registry.
LAYERS = st.lists(
    st.builds(
        lambda digest, words: Layer(f"sha256:{digest}", digest * 1000, words),
        st.integers(0, 9),
        WORDS,
    ),
    max_size=14,
)
NAMES = st.sampled_from(["A", "B", "C", "PATH"])
CONFIGS = st.builds(
    ImageConfig,
    env=st.lists(st.tuples(NAMES, st.sampled_from("12")).map("=".join), max_size=4).map(tuple),
    labels=st.dictionaries(NAMES, st.sampled_from("12")),
    user=st.sampled_from(["", "root", "1000"]),
    cmd=st.none() | st.lists(st.sampled_from("ab"), max_size=2).map(tuple),
    ports=st.lists(st.sampled_from(["80/tcp", "443/tcp"]), unique=True).map(tuple),
    history=st.lists(
        st.builds(Step, instruction=st.just("RUN"), arguments=st.sampled_from("abc")), max_size=8
    ).map(tuple),
)
IMAGES = st.builds(
    lambda layers, config, own: Image(tuple(layers), config, f"sha256:c{own}", own),
    LAYERS,
    CONFIGS,
    st.integers(0, 3),
)
TURNED = {"same": "same", "changed": "changed", "added": "gone", "gone": "added"}


def sizes(layers: tuple[Layer, ...]) -> int:
    return sum({one.digest: one.size for one in layers}.values())


@given(IMAGES)
def test_an_image_equals_itself(one: Image) -> None:
    found = compare(one, one)
    assert {pair.sign for pair in found.layers} <= {"same"}
    assert {line.sign for line in (*found.settings, *found.steps)} <= {"same"}
    assert (found.difference, found.download) == (0, 0)
    assert found.shared_prefix == len(one.layers)
    assert found.shared_size == sizes(one.layers)


@given(IMAGES, IMAGES)
def test_every_layer_of_both_is_shown_once_and_in_order(left: Image, right: Image) -> None:
    found = compare(left, right)
    assert tuple(pair.left for pair in found.layers if pair.left) == left.layers
    assert tuple(pair.right for pair in found.layers if pair.right) == right.layers
    for pair in found.layers:
        assert (pair.left is None) == (pair.sign == "added")
        assert (pair.right is None) == (pair.sign == "gone")
        if pair.left and pair.right:
            assert (pair.left.digest == pair.right.digest) == (pair.sign == "same")
    assert sum(pair.difference for pair in found.layers) == sum(x.size for x in right.layers) - sum(
        x.size for x in left.layers
    )


@given(IMAGES, IMAGES)
def test_the_prefix_ends_where_the_first_layer_differs(left: Image, right: Image) -> None:
    found = compare(left, right)
    common = found.shared_prefix
    assert all(pair.sign == "same" for pair in found.layers[:common])
    tops = [side.layers[common : common + 1] for side in (left, right)]
    assert not (tops[0] and tops[1] and tops[0][0].digest == tops[1][0].digest)


@given(IMAGES, IMAGES)
def test_bytes_add_up(left: Image, right: Image) -> None:
    found, back = compare(left, right), compare(right, left)
    assert found.difference == -back.difference
    assert found.shared_size == back.shared_size
    assert found.difference == found.download - back.download
    own = 0 if left.config_digest == right.config_digest else right.config_size
    assert found.download == sizes(right.layers) - found.shared_size + own


@given(IMAGES, IMAGES)
def test_settings_and_steps_turn_around_with_the_sides(left: Image, right: Image) -> None:
    found, back = compare(left, right), compare(right, left)
    assert [(x.word, x.key, x.left, x.right) for x in found.settings] == [
        (x.word, x.key, x.right, x.left) for x in back.settings
    ]
    assert [x.sign for x in found.settings] == [TURNED[x.sign] for x in back.settings]
    for config, gone in ((left.config, "added"), (right.config, "gone")):
        kept = [step.text for step in found.steps if step.sign != gone]
        assert kept == [f"RUN {step.arguments}" for step in config.history]


def descriptor(name: str, size: int, **fields: Any) -> Descriptor:
    return Descriptor("application/x", f"sha256:{name}", size, **fields)


def test_an_upgrade_as_people_read_it() -> None:
    steps = ("ADD rootfs.tar.xz /", "RUN apt-get install libpq5", "COPY ./static /srv", "COPY . /")
    history = tuple(Step(None, *step.split(" ", 1)) for step in steps)
    old = ImageConfig(env=("V=1", "OLD=x"), user="root", history=history)
    new = ImageConfig(env=("V=2", "NEW=y=z"), user="10001", history=history[:2] + history[3:])
    left = image(
        [descriptor("base", 28), descriptor("pq", 12), descriptor("st", 2), descriptor("app1", 5)],
        old,
        descriptor("c1", 1),
    )
    right = image(
        [descriptor("base", 28), descriptor("pq", 12), descriptor("app2", 6)],
        new,
        descriptor("c2", 2),
    )
    found = compare(left, right)
    assert [(pair.sign, pair.difference) for pair in found.layers] == [
        *(("same", 0), ("same", 0), ("gone", -2), ("changed", 1)),
    ]
    assert (found.shared_prefix, found.shared_size) == (2, 40)
    assert (found.download, found.difference) == (8, 0)
    assert [(one.sign, one.word, one.key, one.left, one.right) for one in found.settings] == [
        ("added", "ENV", "NEW", None, "y=z"),
        ("gone", "ENV", "OLD", "x", None),
        ("changed", "ENV", "V", "1", "2"),
        ("changed", "USER", "", "root", "10001"),
    ]
    assert [step.text for step in found.steps if step.sign == "gone"] == ["COPY ./static /srv"]


def test_a_foreign_layer_is_nothing_to_download_here() -> None:
    far = descriptor("windows", 10**9, urls=("https://example.com/layer",))
    found = compare(Image(), image([far], ImageConfig(), None))
    assert (found.download, found.difference) == (0, 0)


def test_very_many_layers_are_compared_by_their_place() -> None:
    many = tuple(Layer(f"sha256:{n}", 1, f"RUN {n}") for n in range(ALIGN_LIMIT * 20))
    found = compare(Image(many), Image((Layer("sha256:new", 1), *many[1:])))
    assert [found.count(sign) for sign in ("same", "added", "gone")] == [len(many) - 1, 1, 1]
