"""What becomes of one tag: is it here, copied, tagged, and what refers to it. Done by several
threads at once, which write nothing into the database.

    here with this digest ─► there
    here with another     ─► skipped, unless it may be replaced and is not immutable
    else copy ─► tag ─► taken; then its referrers
"""

from __future__ import annotations

import logging
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

from django.db import connection
from django.utils.translation import gettext as _

from registryui.deletion.guard import locked_for_push
from registryui.deletion.protection import Protections
from registryui.failures import in_words
from registryui.models import ImportedTag
from registryui.oci import names
from registryui.refused import Refused
from registryui.registry.errors import RegistryError
from registryui.registry.source import Stored
from registryui.runs import Stopped

from . import copy
from .source import Options, Source
from .target import PAUSES, Job, Registry

log = logging.getLogger(__name__)

State = ImportedTag.State


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a tag."""

    state: State
    note: str = ""
    digest: str = ""
    is_temporary: bool = False  # it failed, and may be taken in a moment


@dataclass(slots=True)
class Asking:
    """What the threads do. `rules` are read anew by the run."""

    source: Source
    registry: Registry
    options: Options
    rules: Protections = field(default_factory=lambda: Protections(()))

    def fate(self, job: Job) -> Fate:
        """Copies a tag if it is to be; Stopped."""
        for pause in (*PAUSES[1:], None):
            try:
                return self._fate(job)
            except Refused as error:
                return Fate(State.SKIPPED, str(error))
            except RegistryError as error:
                if pause is None or not error.temporary:
                    words = in_words(str(error))
                    return Fate(State.FAILED, words, is_temporary=error.temporary)
                job.expected, job.there, job.sent = 0, 0, 0
                self.registry.pace.wait(pause)
            except Stopped:
                raise
            except Exception as error:  # a stranger's content: the others are still to be taken
                log.exception("import of %s:%s", job.repository, job.tag)
                return Fate(State.FAILED, f"{type(error).__name__}: {error}")
        raise AssertionError

    def _fate(self, job: Job) -> Fate:
        self.registry.pace.wait()
        here = self.registry.reads.resolve(job.repository, job.tag) or ""
        digest = self.source.digest(job.found) if here else ""
        if here and digest:
            if here == digest:
                self._refer(job, digest)
                return Fate(State.THERE, digest=digest)
            if kept := self._kept(job):
                return Fate(State.SKIPPED, kept, here)
        target = self.registry.target(job)
        stored = self.source.copy(job.found, target)
        if here and names.is_fallback(job.tag) and (known := target.manifest(job.tag)):
            stored = copy.merged(known, stored)
        if here and here == stored.digest:  # a dry run may not know it
            self._refer(job, stored.digest)
            return Fate(State.THERE, digest=here)
        kept = self._tag(job, stored, here)
        if kept:
            return Fate(State.SKIPPED, kept, here)
        with suppress(Stopped):  # it is tagged; the next run takes what refers to it
            self._refer(job, stored.digest)
        return Fate(State.TAKEN, digest=stored.digest)

    def _kept(self, job: Job) -> str:
        """Why a tag that has another digest here is not moved; "": it may be."""
        if self.rules.immutable(job.repository, job.tag):
            return _("Another image has this tag here, and the tag is immutable.")
        if not self.options.replace and not names.is_fallback(job.tag):  # those are merged
            return _("Another image has this tag here: import it with “replace” to move the tag.")
        return ""

    def _tag(self, job: Job, stored: Stored, here: str) -> str:
        """Tags it, or says why not. Copying takes long, so without “replace” the tag is asked for
        again. An immutable one is not set meanwhile by anybody else; of another one, a push in the
        milliseconds before ours is replaced, because a registry knows no condition, and can be
        restored."""
        is_fixed = self.rules.immutable(job.repository, job.tag) is not None
        try:
            with locked_for_push(job.repository, [job.tag]) if is_fixed else nullcontext():
                if is_fixed or not self.options.replace:
                    here = self.registry.reads.resolve(job.repository, job.tag) or ""
                if here and here != stored.digest and (kept := self._kept(job)):
                    return kept
                if not self.options.dry_run:
                    self.registry.put_tag(job, stored)
        finally:
            if is_fixed:
                connection.close()  # of this thread
        return ""

    def _refer(self, job: Job, digest: str) -> None:
        """Signatures and attestations of that image."""
        for one in self.source.referrers(job.found, digest):
            below = Job(one, job.repository, one.tag)
            try:
                own = self.source.digest(one)
                if own and self._is_here(below, own):
                    continue
                target = self.registry.target(below)
                stored = self.source.copy(one, target)
                if names.is_fallback(one.tag) and (known := target.manifest(one.tag)):
                    stored = copy.merged(known, stored)
                if not (self.options.dry_run or self._is_here(below, stored.digest)):
                    self.registry.put_tag(below, stored)
            except Refused as error:
                job.notices.append(f"{one.tag or one.key}: {error}")
            finally:
                job.sent += below.sent
                job.notices += below.notices

    def _is_here(self, job: Job, digest: str) -> bool:
        return self.registry.reads.resolve(job.repository, job.tag or digest) == digest
