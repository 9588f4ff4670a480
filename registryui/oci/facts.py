"""Searchable facts of an image, as numbers: its labels, environment, command, layers.

A fact is the first 8 bytes of a sha256 as a signed number, which a table finds by its index without
reading a config. Case-insensitive. Called by index/, to write and to search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

from .config import ImageConfig

LIMIT = 1000  # facts of one image: a config of 4 MiB could state a hundred thousand
_LAYERS = 200  # Docker allows 127
_SHORT = 256  # characters of cached texts
_WORDS_OF = 4096  # characters of one argument that are split into words: a script has many


def facts(config: ImageConfig) -> frozenset[int]:
    """All facts of the config, at most LIMIT numbers; deterministic."""
    return frozenset(_hash(text) for text in islice(_texts(config), LIMIT))


def label(key: str, value: str | None = None) -> int:
    """The fact that a label exists, or that it has this value."""
    return _hash(_pair("label", key, value))


def env(name: str, value: str | None = None) -> int:
    """The fact that an environment variable is set, or that it has this value."""
    return _hash(_pair("env", name, value))


def command(word: str) -> int:
    """The fact that the entrypoint or the command has this word, program or argument."""
    return _hash(f"cmd\0{word}")


def layers(diff_ids: Iterable[str]) -> int:
    """The fact that an image has exactly these layers, from the base up."""
    return _hash("layers\0" + " ".join(diff_ids))


def layers_below(diff_ids: Sequence[str]) -> list[int]:
    """The facts of all images that may be the base of these layers, from one layer up to all but
    one."""
    hashed = hashlib.sha256(b"layers\0")
    found = []
    for position, diff_id in enumerate(diff_ids[:-1][:_LAYERS]):
        hashed.update(((" " if position else "") + diff_id).casefold().encode("utf-8", "replace"))
        found.append(_number(hashed.copy().digest()))
    return found


def command_words(argument: str) -> list[str]:
    """The argument itself, its words, and of each the name behind the last slash."""
    words = [argument, *argument[:_WORDS_OF].split()]
    return [*words, *(name for word in words if (name := word.rpartition("/")[2]) != word)]


def _texts(config: ImageConfig) -> Iterator[str]:
    if config.diff_ids:
        yield "layers\0" + " ".join(config.diff_ids)
    for key, value in config.labels.items():
        yield _pair("label", key, None)
        yield _pair("label", key, value)
    for line in config.env:
        name, equals, value = line.partition("=")
        yield _pair("env", name, None)
        if equals:
            yield _pair("env", name, value)
    for argument in (*(config.entrypoint or ()), *(config.cmd or ())):
        for word in command_words(argument):
            if word:
                yield f"cmd\0{word}"


def _pair(kind: str, key: str, value: str | None) -> str:
    return f"{kind}\0{key}" if value is None else f"{kind}\0{key}={value}"


def _hash(text: str) -> int:
    return _hash_short(text) if len(text) <= _SHORT else _hash_any(text)


def _hash_any(text: str) -> int:
    folded = text.casefold().encode("utf-8", "replace")
    return _number(hashlib.sha256(folded).digest())


# Most facts are shared by many images: their base's environment, a label's key.
_hash_short = lru_cache(maxsize=16_384)(_hash_any)


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], signed=True)
