"""The mirrors of this instance: folders of MIRRORS_DIR, written by registryui/mirrors/publish.py.

    NAME/             the namespace NAME/… is a mirror: nginx refuses writes
      active          it is enabled
      upstream.json   0600: what it mirrors, with the password encrypted
      state.json      written here (state.py)

A folder is read again when its file changed; that is looked at once a second at most.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registryui.oci import patterns

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Mirror:
    """What upstream.json says."""

    name: str
    url: str  # https://host[:port][/path], without a slash at its end
    user: str = ""
    password: str = field(default="", repr=False)
    allow: tuple[str, ...] = ()  # patterns; none: every repository
    deny: tuple[str, ...] = ()  # they win
    fresh_seconds: int = 600  # for so long a tag is not checked again
    is_library: bool = False  # Docker Hub: "nginx" is "library/nginx"
    ca: str = field(default="", repr=False)  # PEM
    proxy: str = field(default="", repr=False)  # may hold a password

    def upstream_name(self, rest: str) -> str:
        """The upstream's name of the repository NAME/rest."""
        return f"library/{rest}" if self.is_library and "/" not in rest else rest

    def allows(self, rest: str) -> bool:
        """Whether the patterns let this repository be mirrored; by either of its names."""
        names = {rest, self.upstream_name(rest)}
        if _match(self.deny, names):
            return False
        return not self.allow or _match(self.allow, names)


def _match(some: Sequence[str], names: set[str]) -> bool:
    return any(patterns.matcher(one)(name) for one in some for name in names)


@dataclass(slots=True)
class _Known:
    mirror: Mirror | None
    stamp: tuple[int, ...]
    checked_at: float


class Mirrors:
    """The enabled ones, by name. Safe for several threads."""

    def __init__(self, folder: Path, key_file: Path) -> None:
        self._folder = folder
        self._key_file = key_file
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def get(self, name: str) -> Mirror | None:
        """The mirror of that name, the same object until it changes; None: there is none, or it is
        disabled."""
        if not _NAME.fullmatch(name):
            return None
        with self._lock:
            known = self._known.get(name)
            if known and time.monotonic() - known.checked_at < CHECK_SECONDS:
                return known.mirror
            stamp = self._stamp(name)
            if not stamp:
                self._known.pop(name, None)  # strangers' names are not kept
                return None
            if known is None or known.stamp != stamp:
                known = _Known(self._read(name), stamp, 0)
                self._known[name] = known
            known.checked_at = time.monotonic()
            return known.mirror

    def _stamp(self, name: str) -> tuple[int, ...]:
        """Changes with upstream.json; () without an enabled mirror."""
        try:
            (self._folder / name / "active").stat()
            found = (self._folder / name / "upstream.json").stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    def _read(self, name: str) -> Mirror | None:
        try:
            facts = json.loads((self._folder / name / "upstream.json").read_bytes())
            return self._mirror(name, facts)
        except Exception as error:  # the key, the encryption, JSON, patterns
            log.error("mirror %s: upstream.json cannot be used: %s", name, type(error).__name__)
            return None

    def _mirror(self, name: str, facts: dict[str, Any]) -> Mirror:
        made = Mirror(
            name=name,
            url=str(facts["url"]).rstrip("/"),
            user=str(facts.get("user") or ""),
            password=self._decrypted(str(facts.get("secret") or "")),
            allow=tuple(map(str, facts.get("allow") or ())),
            deny=tuple(map(str, facts.get("deny") or ())),
            fresh_seconds=int(facts.get("fresh_seconds", 600)),
            is_library=bool(facts.get("is_library")),
            ca=str(facts.get("ca") or ""),
            proxy=str(facts.get("proxy") or ""),
        )
        made.allows("check/these")  # ValueError for a pattern that is none
        return made

    def _decrypted(self, secret: str) -> str:
        if not secret:
            return ""
        from registryui.encryption import decrypt  # 8 MB: not without a password

        return decrypt(secret, self._key_file.read_text().strip())
