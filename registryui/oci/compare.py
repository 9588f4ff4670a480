"""What differs between two images: layers, settings, steps, bytes.

compare(left, right) stands for the way from the left one to the right one: what is only left is
"gone", what is only right "added". Every line of either side is in the result, in its order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from .config import ImageConfig, dockerfile, pair_layers
from .manifest import Descriptor

Sign = Literal["same", "changed", "added", "gone"]

ALIGN_LIMIT = 300  # lines of a side; longer ones are compared by their place (real: 127 layers)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer and the command that made it ("" if the history does not say)."""

    digest: str
    size: int  # bytes, compressed; 0 for a foreign layer, which no registry holds
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """One side."""

    layers: tuple[Layer, ...] = ()  # from the base up
    config: ImageConfig = field(default_factory=ImageConfig)
    config_digest: str = ""
    config_size: int = 0


@dataclass(frozen=True, slots=True)
class LayerPair:
    """A line of the list of layers. "changed": the same command made another layer."""

    sign: Sign
    left: Layer | None
    right: Layer | None

    @property
    def difference(self) -> int:
        """Bytes that the right side has more."""
        return (self.right.size if self.right else 0) - (self.left.size if self.left else 0)


@dataclass(frozen=True, slots=True)
class Setting:
    """A Dockerfile's word, its key (of ENV and LABEL, else ""), and both values; None: not set."""

    sign: Sign
    word: str
    key: str
    left: str | None
    right: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the Dockerfile that the history tells; never "changed"."""

    sign: Sign
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    layers: tuple[LayerPair, ...]
    settings: tuple[Setting, ...]
    steps: tuple[Step, ...]
    shared_prefix: int  # layers that both begin with
    shared_size: int  # bytes of the distinct layers that both have, in any place
    download: int  # bytes that somebody who has the left image fetches for the right one
    difference: int  # bytes that the right image (config and distinct layers) has more

    def count(self, sign: Sign) -> int:
        """Lines of the list of layers with that sign."""
        return sum(pair.sign == sign for pair in self.layers)

    @property
    def changed_settings(self) -> int:
        return sum(one.sign != "same" for one in self.settings)


def image(layers: Sequence[Descriptor], config: ImageConfig, own: Descriptor | None) -> Image:
    """A side, out of what manifest and config say; `own` describes the config."""
    made_by = {
        at: " ".join(f"{step.instruction} {step.arguments or step.comment}".split())
        for at, step in pair_layers(config, len(layers))
        if at is not None
    }
    return Image(
        tuple(
            Layer(one.digest, 0 if one.urls else one.size, made_by.get(at, ""))
            for at, one in enumerate(layers)
        ),
        config,
        own.digest if own else "",
        own.size if own else 0,
    )


def compare(left: Image, right: Image) -> Comparison:
    """What the right image has that the left one has not, and the other way round."""
    has, wanted = _blobs(left), _blobs(right)
    theirs = {one.digest for one in right.layers}
    return Comparison(
        layers=tuple(_layers(left.layers, right.layers)),
        settings=tuple(_settings(left.config, right.config)),
        steps=tuple(_steps(_lines(left.config), _lines(right.config))),
        shared_prefix=_prefix(left.layers, right.layers),
        shared_size=sum({x.digest: x.size for x in left.layers if x.digest in theirs}.values()),
        download=sum(size for digest, size in wanted.items() if digest not in has),
        difference=sum(wanted.values()) - sum(has.values()),
    )


def _blobs(image: Image) -> dict[str, int]:
    found = {one.digest: one.size for one in image.layers}
    return found | ({image.config_digest: image.config_size} if image.config_digest else {})


# -- layers --------------------------------------------------------------------------------------
def _prefix(left: Sequence[Layer], right: Sequence[Layer]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one.digest != other.digest:
            break
        count += 1
    return count


def _layers(left: Sequence[Layer], right: Sequence[Layer]) -> Iterable[LayerPair]:
    """What both begin with, then the rest: the same layer first, else the same command."""
    common = _prefix(left, right)
    yield from (
        LayerPair("same", *pair) for pair in zip(left[:common], right[:common], strict=True)
    )
    left, right = left[common:], right[common:]
    both = {one.digest for one in left} & {one.digest for one in right}

    def key(one: Layer) -> str:
        return one.digest if one.digest in both else one.made_by or one.digest

    for ours, theirs in _aligned([key(one) for one in left], [key(one) for one in right]):
        one = left[ours] if ours is not None else None
        other = right[theirs] if theirs is not None else None
        if one and other:
            yield LayerPair("same" if one.digest == other.digest else "changed", one, other)
        else:
            yield LayerPair("gone" if one else "added", one, other)


def _aligned(left: Sequence[str], right: Sequence[str]) -> Iterable[tuple[int | None, int | None]]:
    """Places of equal texts beside each other, every other place alone, both in order."""
    if len(left) > ALIGN_LIMIT or len(right) > ALIGN_LIMIT:  # aligning takes the square of it
        yield from _by_place(left, right)
        return
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(range(i1, i2), range(j1, j2), strict=True)
        else:
            yield from ((at, None) for at in range(i1, i2))
            yield from ((None, at) for at in range(j1, j2))


def _by_place(left: Sequence[str], right: Sequence[str]) -> Iterable[tuple[int | None, int | None]]:
    for at in range(max(len(left), len(right))):
        if at < len(left) and at < len(right) and left[at] == right[at]:
            yield at, at
            continue
        if at < len(left):
            yield at, None
        if at < len(right):
            yield None, at


# -- settings ------------------------------------------------------------------------------------
def _settings(left: ImageConfig, right: ImageConfig) -> Iterable[Setting]:
    """Those that one of the two has, in the order of a Dockerfile; ENV and LABEL by name."""
    ours, theirs = dict(_values(left)), dict(_values(right))
    for word, key in sorted(ours.keys() | theirs.keys(), key=_place):
        one, other = ours.get((word, key)), theirs.get((word, key))
        yield Setting(_sign(one, other), word, key, one, other)


def _sign(one: str | None, other: str | None) -> Sign:
    if one == other:
        return "same"
    if one is None:
        return "added"
    return "gone" if other is None else "changed"


_WORDS = (
    *("PLATFORM", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD", "EXPOSE", "VOLUME"),
    *("STOPSIGNAL", "HEALTHCHECK", "LABEL"),
)


def _place(name: tuple[str, str]) -> tuple[int, str]:
    return _WORDS.index(name[0]), name[1]


def _values(config: ImageConfig) -> Iterable[tuple[tuple[str, str], str]]:
    """(word, key) with its value, for each setting that the config has."""
    platform = "/".join(x for x in (config.os, config.architecture, config.variant) if x)
    single = {
        "PLATFORM": platform,
        "USER": config.user,
        "WORKDIR": config.working_dir,
        "ENTRYPOINT": _command(config.entrypoint),
        "CMD": _command(config.cmd),
        "EXPOSE": "\n".join(sorted(config.ports)),
        "VOLUME": "\n".join(sorted(config.volumes)),
        "STOPSIGNAL": config.stop_signal,
        "HEALTHCHECK": _command(config.healthcheck),
    }
    yield from (((word, ""), value) for word, value in single.items() if value)
    for variable in config.env:  # of two with one name the later counts
        name, _equals, value = variable.partition("=")
        yield ("ENV", name), value
    yield from ((("LABEL", name), value) for name, value in config.labels.items())


def _command(words: Sequence[str] | None) -> str:
    """In the exec form, which keeps its arguments apart."""
    return json.dumps(list(words), ensure_ascii=False) if words else ""


# -- steps ---------------------------------------------------------------------------------------
def _lines(config: ImageConfig) -> list[str]:
    return dockerfile(config).splitlines()


def _steps(left: Sequence[str], right: Sequence[str]) -> Iterable[Step]:
    for ours, theirs in _aligned(left, right):
        if ours is None:
            yield Step("added", right[theirs or 0])
        else:
            yield Step("gone" if theirs is None else "same", left[ours])
