"""Taking tags off in the registry, and only these: no table, no rule, only what it then has.

    registry 3   DELETE …/manifests/TAG
    registry 2.8 knows DELETE by digest alone, with every tag on it: so a throw-away that nothing
                 else has is set on the tags, and then deleted. One for a batch: 2.8 reads all tags
                 of the repository at each delete.

In each way somebody may push the tag between our look and our act, some milliseconds. Then that
push is untagged as well; its notification comes, and events.py notes it for undo.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from django.utils.translation import gettext as _

from registryui import space
from registryui.index.fetch import TagProbe, probe
from registryui.oci import media_types, throw_away
from registryui.oci.digest import sha256
from registryui.registry.client import RegistryClient
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, Unreachable

One = TypeVar("One")

PAUSES = (0.05, 0.3, 1.0)  # seconds, before another attempt


@dataclass(frozen=True, slots=True)
class Wanted:
    tag: str
    digest: str  # that it is on; "": it dangles, or cannot be read


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of one tag."""

    tag: str
    state: str  # "deleted" | "moved" | "gone" | "failed"
    reason: str = ""
    probe: TagProbe | None = None  # what the registry has now; None: nothing changed, or not known
    may_be_off: bool = False  # failed, and the tag may not be on its digest any more


def untag(
    registry: RegistryClient,
    repository: str,
    wanted: Sequence[Wanted],
    *,
    act: str,
    pool: Executor,
) -> list[Taken]:
    """Untags these, if each is still on its digest. Raises nothing of the registry: each
    tag has its own state."""
    doing = _Untagging(registry, repository, throw_away.make(f"{act} {time.time_ns()}"))
    tried = list(pool.map(doing.begin, wanted))
    problem = doing.finish([one for one, done in zip(wanted, tried, strict=True) if done is None])
    return list(
        pool.map(
            lambda pair: pair[1] or doing.result(pair[0], problem),
            zip(wanted, tried, strict=True),
        )
    )


class _Untagging:
    def __init__(self, registry: RegistryClient, repository: str, raw: bytes) -> None:
        self._registry, self._repository = registry, repository
        self._raw, self._digest = raw, sha256(raw)
        self._is_set = False  # the throw-away, on any tag
        self._reasons: dict[str, str] = {}
        self._is_away = False  # no answer: nothing more is begun

    def begin(self, one: Wanted) -> Taken | None:
        """Untags it, or sets the throw-away on it. A Taken: it ends there."""
        if self._is_away:
            return Taken(one.tag, "failed", _("The registry does not respond."))
        try:
            now = self._resolve(one.tag)
            is_ours = now not in ("", one.digest) and self._is_throw_away(now)
        except RegistryError as error:
            self._is_away = isinstance(error, Unreachable)
            return Taken(one.tag, "failed", in_words(error))
        if now != one.digest and not is_ours:
            state = "moved" if now else "gone"
            return Taken(one.tag, state, probe=self._probe(one))
        try:
            if not self._registry.delete_tag(self._repository, one.tag):
                self._is_set = True
                self._set(one.tag)
        except NotFound:
            return Taken(one.tag, "gone", probe=self._probe(one))
        except RegistryError as error:
            if not error.temporary:
                return Taken(one.tag, "failed", in_words(error))
            self._reasons[one.tag] = in_words(error)  # done or not: `result` looks
            self._is_away = isinstance(error, Unreachable)
        return None

    def finish(self, wanted: Sequence[Wanted]) -> str:
        """Deletes the throw-away with the tags that it is on; "" or what went wrong.

        2.8 reads every link of the repository for it, and one that a push is just writing makes it
        stop half way, with tags left that lead nowhere: set on them again, it can be deleted
        again.
        """
        if not self._is_set or not wanted:
            return ""
        problem = ""
        for pause in (*PAUSES, 0):
            try:
                self._registry.delete_manifest(self._repository, self._digest)
                return ""
            except RegistryError as error:
                problem = in_words(error)
                if not error.temporary or not pause:
                    break
            time.sleep(pause)
            self._set_again(wanted)
        return problem

    def result(self, one: Wanted, problem: str) -> Taken:
        """What the registry has for the tag now."""
        reason = self._reasons.get(one.tag) or problem
        try:
            now = self._ask(one)
        except RegistryError as error:
            return Taken(one.tag, "failed", reason or in_words(error), may_be_off=True)
        if not now.digest:
            return Taken(one.tag, "deleted", probe=now)
        if now.digest == one.digest:
            return Taken(one.tag, "failed" if reason else "moved", reason)
        if now.digest == self._digest:
            return Taken(one.tag, "failed", reason, probe=now, may_be_off=True)
        return Taken(one.tag, "moved", probe=now)

    def _set(self, tag: str) -> None:
        self._registry.put_manifest(self._repository, tag, self._raw, media_types.OCI_INDEX)

    def _set_again(self, wanted: Sequence[Wanted]) -> None:
        """On those tags that lead to nothing, or to the throw-away still."""
        for one in wanted:
            try:
                if self._resolve(one.tag) in ("", self._digest):
                    self._set(one.tag)
            except RegistryError:
                return  # the next attempt, or `result`, says so

    def _resolve(self, tag: str) -> str:
        """The digest, "" for none that can be read."""
        try:
            return again(lambda: self._registry.resolve(self._repository, tag)) or ""
        except BadAnswer:
            return ""

    def _is_throw_away(self, digest: str) -> bool:
        """Whether a delete that was cut off in the middle left the tag there: go on with it."""
        stored = self._registry.manifest(self._repository, digest)
        return stored is not None and throw_away.is_one(stored.raw)

    def _probe(self, one: Wanted) -> TagProbe | None:
        """What somebody else made of the tag; None: it could not be asked."""
        try:
            return self._ask(one)
        except RegistryError:
            return None

    def _ask(self, one: Wanted) -> TagProbe:
        return again(
            lambda: probe(
                self._registry, self._repository, one.tag, expected=one.digest, is_listed=False
            )
        )


def again(ask: Callable[[], One], *, also: Collection[int] = ()) -> One:
    """Asks up to three times, where the registry answers with a 5xx, or a status in `also`: 2.8
    does so while a push rewrites the link that is read."""
    for pause in PAUSES[:2]:
        try:
            return ask()
        except RegistryError as error:
            is_passing = error.temporary or error.status in also
            if not is_passing or isinstance(error, Unreachable):
                raise
        time.sleep(pause)
    return ask()


def in_words(error: RegistryError) -> str:
    """For the person who wanted it."""
    if error.code == "UNSUPPORTED":
        return _("Deletion is disabled in the registry (storage.delete.enabled).")
    if isinstance(error, Unreachable):
        return _("The registry does not respond.")
    if error.status >= 500 and space.is_full():
        return _("The disk is full: run ./boathouse gc --purge-now, then try again.")
    return _("The registry returned: %s") % (error.code or error.status)
