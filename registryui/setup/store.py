"""A store that was there before: BOATHOUSE_STORAGE names its folder, and it is used in place.

`check` refuses before anything is created; `sentences` says what the administrator must know.
Nothing here writes: owners and modes of such a store are left as they are.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from registryui.models import Repository
from registryui.refused import Refused
from registryui.registry import choose, paths, storages

# What may stand beside docker/ in the folder: ours, and what a file system brings.
_BESIDE = {"docker", "boathouse", "boathouse-mirror", "boathouse-mirror.lock", "lost+found"}


def is_adopted() -> bool:
    """Whether the store is a folder on this disk that is not in the data folder."""
    is_here = settings.STORAGE.startswith("/")
    return is_here and storages.of_settings().driver == storages.FILESYSTEM


def check() -> None:
    """Refused with one sentence if the folder that BOATHOUSE_STORAGE names cannot be the store."""
    if not is_adopted():
        return
    place, data = Path(settings.STORE_DIR), Path(settings.DATA)
    if data.is_relative_to(place) or place.is_relative_to(data):
        raise Refused(
            f"BOATHOUSE_STORAGE is {place} and the data folder is {data}: neither may be in the "
            "other. Choose another BOATHOUSE_DATA, or leave BOATHOUSE_STORAGE out."
        )
    if not os.access(place, os.F_OK) or not place.is_dir():
        raise Refused(
            f"BOATHOUSE_STORAGE is {place}, and the user {_own_name()} finds no such folder: "
            "create it, mount its disk, let this user enter the folders above it, or correct the "
            "setting."
        )
    if blocked := choose.unreadable():
        raise Refused(f"The user {_own_name()} may not read {blocked}. {_owner_advice(place)}")
    if near := _root_near(place):
        raise Refused(
            f"BOATHOUSE_STORAGE must be the folder that contains {paths.ROOT}: set "
            f"BOATHOUSE_STORAGE={near} instead of {place}."
        )
    others = sorted({one.name for one in place.iterdir()} - _BESIDE)
    if others and not (place / "docker").exists():
        raise Refused(
            f"{place} contains {others[0]!r} and no store: set BOATHOUSE_STORAGE to the folder "
            f"that contains {paths.ROOT}, or to an empty one."
        )


def _root_near(place: Path) -> Path | None:
    """The folder that is the store, if `place` lies in it, or above it as Harbor's data volume."""
    if (place / paths.ROOT).is_dir():
        return None
    depth = paths.ROOT.count("/") + 1
    for parent in list(place.parents)[:depth]:
        if (parent / paths.ROOT).is_relative_to(place) and (parent / paths.ROOT).is_dir():
            return parent
    below = place / "registry"
    return below if (below / paths.ROOT).is_dir() else None


def sentences() -> list[str]:
    """What is to be said when `up` starts with a store that was there before. One query."""
    if not is_adopted():
        return []
    place = Path(settings.STORE_DIR)
    said = []
    if blocked := choose.unwritable():
        said.append(
            f"Warning: the user {_own_name()} may not write {blocked}: pulls and pages work, "
            f"pushes, deletions and garbage collection do not. {_owner_advice(place)}"
        )
    if (place / paths.REPOSITORIES).is_dir() and not Repository.objects.exists():
        schedule = settings.GC_SCHEDULE
        said.append(
            f"{place} contains images already: they are used in place, and nothing of them is "
            "rewritten. Pages show them as they are read. Stop the registry that used this folder."
        )
        if schedule and not blocked:
            said.append(
                f"Garbage collection runs on its schedule ({schedule}) and deletes what no tag "
                "needs: set BOATHOUSE_GC_SCHEDULE= (empty) until you know that you stay."
            )
    return said


def _owner_advice(place: Path) -> str:
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return "It is mounted read-only."
    found = place.stat()
    owner = f"{_name(_user, found.st_uid)}:{_name(_group, found.st_gid)}"
    now = f"chown -R {_own_name()}: {place}"
    return f"To change that: {now}; to give it back: chown -R {owner} {place}."


def _own_name() -> str:
    return _name(_user, os.geteuid())


def _user(number: int) -> str:
    return pwd.getpwuid(number).pw_name


def _group(number: int) -> str:
    return grp.getgrgid(number).gr_name


def _name(asked: Callable[[int], str], number: int) -> str:
    """The name of that id, or the id itself: containers have users that a host does not know."""
    try:
        return asked(number)
    except KeyError:
        return str(number)
