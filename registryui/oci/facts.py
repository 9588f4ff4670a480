"""Searchable facts of an image, as numbers: its labels, environment, command, layers.

A fact is the first 8 bytes of a sha256 as a signed number, which a table finds by its index without
reading a config. Case-insensitive. Called by index/, to write and to search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice

from .config import ImageConfig

LIMIT = 1000  # facts of one image: a config of 4 MiB could state a hundred thousand
_LAYERS = 200  # Docker allows 127
_SHORT = 256  # characters of cached texts
_SHORT_LIST = 4096  # the same of a cached list
_WORDS_OF = 4096  # characters of one argument that are split into words: a script has many


def facts(config: ImageConfig) -> frozenset[int]:
    """All facts of the config, at most LIMIT numbers; deterministic."""
    return frozenset(islice(chain.from_iterable(_facts(config)), LIMIT))


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


def _facts(config: ImageConfig) -> Iterator[tuple[int, ...]]:
    if config.diff_ids:
        yield (layers(config.diff_ids),)
    for key, value in config.labels.items():
        is_short = len(key) + len(value) <= _SHORT
        yield _of_short_label(key, value) if is_short else _of_label(key, value)
    yield (_of_short_env if _are_short(config.env) else _of_env)(config.env)
    arguments = (*(config.entrypoint or ()), *(config.cmd or ()))
    yield (_of_short_arguments if _are_short(arguments) else _of_arguments)(arguments)


def _of_label(key: str, value: str) -> tuple[int, ...]:
    return label(key), label(key, value)


def _of_env(lines: tuple[str, ...]) -> tuple[int, ...]:
    found: list[int] = []
    for line in lines[:LIMIT]:
        name, equals, value = line.partition("=")
        found += [env(name), env(name, value)] if equals else [env(name)]
    return tuple(found)


def _of_arguments(arguments: tuple[str, ...]) -> tuple[int, ...]:
    words = (word for argument in arguments for word in command_words(argument))
    return tuple(command(word) for word in islice(filter(None, words), LIMIT))


# The images of a repository state almost the same: environment, command and most labels.
_of_short_label = lru_cache(maxsize=4096)(_of_label)
_of_short_env, _of_short_arguments = (
    lru_cache(maxsize=256)(one) for one in (_of_env, _of_arguments)
)


def _are_short(texts: tuple[str, ...]) -> bool:
    return sum(map(len, texts)) <= _SHORT_LIST


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
