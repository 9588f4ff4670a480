"""Requests by result, counted from nginx's access log.

A scrape reads what was written since the last one, of whatever process, so nothing runs between
scrapes and nothing is lost while the portal is down. DATA/run/requests.json has the sums and where
to continue; without it they begin with the current file, and Prometheus sees a restarted counter.

Of a flood that nginx refuses, the log has one request in sixteen.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from django.conf import settings

from registryui import locks
from registryui.setup import rotation

MOST_BYTES = 32 * 2**20  # for one scrape, some 100,000 requests; the next one continues
BLOCK = 2**20  # at once in memory; a line has at most some 6 kB
PATIENCE = 5.0  # seconds, while another scrape counts
# Values of clients are escaped: none contains a quote that ends it.
_LINE = re.compile(rb'"method":"[A-Z_-]*","uri":"(/v[12]/)?(?:[^"\\\n]|\\.)*","status":([0-9]{3}),')


@dataclass(slots=True)
class _State:
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    inode: int = 0  # of the file to continue with; 0: none yet
    offset: int = 0


def counted() -> Counter[tuple[str, str]]:
    """("registry" or "portal", status) to the number of requests. OSError: it cannot be kept."""
    with state_file().open("a+b") as file:
        locks.take(file.fileno(), seconds=PATIENCE)
        state = _load(file)
        before = (state.inode, state.offset)
        _follow(state, rotation.files("access.json"))
        if (state.inode, state.offset) != before:
            _store(file, state)
        return state.counts


def state_file() -> Path:
    """The sums, and where to continue."""
    return Path(settings.RUN_DIR / "requests.json")


def _load(file: IO[bytes]) -> _State:
    file.seek(0)
    with suppress(ValueError, TypeError, KeyError):  # a process was killed while it wrote
        found = json.loads(file.read())
        counts = Counter({(to, code): int(count) for to, code, count in found["counts"]})
        return _State(counts, int(found["inode"]), int(found["offset"]))
    return _State()


def _store(file: IO[bytes], state: _State) -> None:
    counts = [[*key, count] for key, count in sorted(state.counts.items())]
    file.truncate(0)
    file.write(
        json.dumps({"inode": state.inode, "offset": state.offset, "counts": counts}).encode()
    )


def _follow(state: _State, logs: Sequence[Path]) -> None:
    """Counts to the end of the newest of these logs, oldest first, or until MOST_BYTES.

    The remaining hole: lines that nginx writes to a renamed log after it has created a new one.
    """
    left = MOST_BYTES
    for inode, log in _from(state.inode, logs):
        if inode != state.inode:
            state.inode, state.offset = inode, 0
        with suppress(FileNotFoundError), log.open("rb") as file:
            if state.offset > log.stat().st_size:  # emptied by hand
                state.offset = 0
            while left > 0 and (read := _count_block(state, file)):
                left -= read
        if left <= 0:
            return


def _from(inode: int, logs: Sequence[Path]) -> list[tuple[int, Path]]:
    """The logs to read, with their inodes: from that one on; only the newest if it is gone."""
    found = []
    for log in logs:
        with suppress(FileNotFoundError):  # rotated or removed in this moment
            found.append((log.stat().st_ino, log))
    known = [one for one, _log in found]
    return found[known.index(inode) :] if inode in known else found[-1:]


def _count_block(state: _State, file: IO[bytes]) -> int:
    """Counts the complete lines of the next block; their bytes, 0 at the end."""
    file.seek(state.offset)
    block = file.read(BLOCK)
    end = block.rfind(b"\n") + 1
    for api, code in _LINE.findall(block, 0, end):
        state.counts["registry" if api else "portal", code.decode()] += 1
    state.offset += end
    return end
