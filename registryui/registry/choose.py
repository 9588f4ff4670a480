"""What the index is built from, by the settings and what this user may read.

BOATHOUSE_SOURCE   http ──────────────────────────► HTTP
                   auto ─┬─ store cannot be read ─► HTTP, and the doctor says how to fix it
                         └─ else ─────────────────► store
                   store ─ cannot be read ────────► Unreachable, with the same sentence
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.utils.translation import gettext as _

from ..refused import Refused
from . import paths
from .client import RegistryClient
from .errors import Unreachable
from .files import LocalFiles, Problems
from .quarantine import FOLDER as QUARANTINE
from .quarantine import LocalQuarantine, Quarantine
from .storage import FileStore
from .storages import FILESYSTEM, Storage, of_settings
from .store_writer import LocalWriter, ObjectWriter, StoreWriter

Kind = Literal["http", "store"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The source, and why: a code of the doctor's words, and their facts."""

    kind: Kind
    code: str  # "" if the store can be read
    params: Mapping[str, Any] = field(default_factory=dict)


def choose(wish: str = "") -> Choice:
    """The source. `wish`: "http", "store" or "auto" instead of the setting."""
    wish = wish or settings.SOURCE
    if wish == "http":
        return Choice("http", "store-unwanted")
    if wish not in ("auto", "store"):
        return Choice("http", "store-setting", {"error": f"BOATHOUSE_SOURCE is {wish[:40]!a}"})
    code, params = _obstacle()
    return Choice("store" if wish == "store" or not code else "http", code, params)


def open_source(wish: str = "") -> RegistryClient | FileStore:
    """The result of `choose`, opened; to be used in a `with`.

    Unreachable: the store is required and cannot be read.
    """
    choice = choose(wish)
    if choice.kind == "http":
        return RegistryClient(settings.REGISTRY_URL)
    if choice.code:
        facts = ", ".join(str(value) for value in choice.params.values())
        raise Unreachable(f"the store cannot be read directly: {choice.code} ({facts})")
    return open_store(of_settings())


def open_store(storage: Storage) -> FileStore:
    """A reader of that store."""
    problems = Problems()
    if storage.driver == FILESYSTEM:
        return FileStore(LocalFiles(storage.root, problems), problems)
    from .objects import ObjectFiles  # imported only where it is used

    files = ObjectFiles(storage.protocol, storage.root, storage.options, problems)
    return FileStore(files, problems)


def open_quarantine() -> Quarantine:
    """The quarantine of this store. Refused with a sentence: it cannot be written from here."""
    storage = of_settings()
    if storage.driver != FILESYSTEM:
        if not storage.protocol or choose("store").code:
            raise Refused(_("Garbage collection is not available for this type of store."))
        return open_object_quarantine(storage)
    root = storage.root
    if blocked := _unwritable(root):
        raise Refused(
            _("The user that runs the portal cannot write to %(path)s.") % {"path": blocked}
        )
    if len({place.stat().st_dev for place in _folders(root)}) > 1:
        raise Refused(
            _(
                "The folders of the store are on different file systems, but garbage "
                "collection moves files between them."
            )
        )
    return LocalQuarantine(root)


def open_writer() -> StoreWriter:
    """What writes into this store past the registry. Refused as above."""
    open_quarantine()
    storage = of_settings()
    if storage.driver == FILESYSTEM:
        return LocalWriter(LocalFiles(storage.root, Problems()))
    from .objects import ObjectFiles  # imported only where it is used

    files = ObjectFiles(storage.protocol, storage.root, storage.options, Problems())
    return ObjectWriter(files)


def unreadable() -> str:
    """The first folder of a store on this disk that this user may not read; "" if there is none."""
    storage = of_settings()
    return _unreadable(storage.root) if storage.driver == FILESYSTEM else ""


def unwritable() -> str:
    """The first folder of a store on this disk that this user may not write; "" if there is none,
    or none yet."""
    storage = of_settings()
    is_here = storage.driver == FILESYSTEM and Path(storage.root).is_dir()
    return _unwritable(storage.root) if is_here else ""


def open_object_quarantine(storage: Storage) -> Quarantine:
    """That of an object store."""
    from .objects import ObjectFiles  # imported only where it is used
    from .quarantine_objects import ObjectQuarantine

    problems = Problems()
    return ObjectQuarantine(ObjectFiles(storage.protocol, storage.root, storage.options, problems))


def _folders(root: str) -> list[Path]:
    """The existing folders that garbage collection writes to."""
    store = (paths.ROOT, paths.REPOSITORIES, paths.BLOBS)
    places = [Path(root, below) for below in ("", *store, "boathouse", QUARANTINE)]
    algorithms = _inside(Path(root, paths.BLOBS))
    links = [*algorithms, *(place for one in algorithms for place in _inside(one))]
    places += [place for place in links if place.is_symlink()]
    return [place for place in places if place.is_dir()]


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # missing or unreadable, which is reported elsewhere
        return []


def _unwritable(root: str) -> str:
    """The first folder of a store that this user may not write; "" if there is none."""
    if not Path(root).is_dir():
        return root
    may = (place for place in _folders(root) if not os.access(place, os.R_OK | os.W_OK | os.X_OK))
    return str(next(may, ""))


def _obstacle() -> tuple[str, dict[str, Any]]:
    """Why the store cannot be read directly; ("", {}) if it can. Fast, and without the network."""
    try:
        storage = of_settings()
    except ValueError as error:
        return "store-setting", {"error": str(error)}
    if storage.driver == FILESYSTEM:
        blocked = _unreadable(storage.root)
        return ("store-unreadable", {"path": blocked}) if blocked else ("", {})
    if not storage.protocol:
        return "store-no-driver", {"driver": storage.driver}
    from .objects import is_installed

    if not is_installed(storage.protocol):
        return "store-not-installed", {"driver": storage.driver, "package": storage.package}
    return "", {}


def _unreadable(root: str) -> str:
    """The first folder of a store that this user may not read; "" if there is none."""
    inside = (f"{root}/docker", f"{root}/docker/registry", f"{root}/{paths.ROOT}")
    for folder in (root, *inside, f"{root}/{paths.REPOSITORIES}", f"{root}/{paths.BLOBS}"):
        if not os.access(folder, os.R_OK | os.X_OK) and (folder == root or os.path.lexists(folder)):
            return folder
    return ""
