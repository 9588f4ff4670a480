"""What is here: the registry's store, and the registry's own answers.

Manifests are answered by the registry, so that its events count the pull and teach the index.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shutil
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from threading import Lock

from registryui.oci.digest import is_digest, sha256
from registryui.oci.references import references
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.registry import paths
from registryui.registry.errors import RegistryError, TooLarge
from registryui.registry.files import Files, LocalFiles, Problems
from registryui.registry.store_writer import LocalWriter, ObjectWriter, StoreWriter
from registryui.unix_http import connection_to

from .configuration import Configuration
from .failures import Failure

log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0  # of the registry
FILESYSTEM = "filesystem"  # registry/storages.py, which needs Django
MOST_IMAGES = 2000  # whose blobs are remembered
_GATES = ("full", "blobs", "manifests")  # files of space.py and write_freeze.py
MOST_REVISIONS = 5000  # of a repository that are looked at


class Content:
    """The store and registry of this instance. Safe for several threads."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._files, self._writer = _opened(configuration)
        self._spool = _own_spool(Path(configuration.spool)) if self._writer else None
        self._layers: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = Lock()

    def close(self) -> None:
        """Removes unfinished downloads."""
        if self._spool:
            shutil.rmtree(self._spool.folder, ignore_errors=True)

    # -- reading -----------------------------------------------------------------------------------
    def tag(self, repository: str, tag: str) -> str | None:
        """The digest of a tag; None: it is not here."""
        content = self._files.read([paths.tag_link(repository, tag)], limit=1000)[0]
        if not isinstance(content, bytes):
            return None
        digest = content.decode("ascii", "replace").strip()
        return digest if is_digest(digest) else None

    def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether the registry would serve it."""
        return self._has(paths.revision_link(repository, digest), digest)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the registry would serve it."""
        return self._has(paths.layer_link(repository, digest), digest)

    def _has(self, link: str, digest: str) -> bool:
        told = self._files.read([link], limit=1000)[0]
        if not isinstance(told, bytes):
            return False
        target = told.decode("ascii", "replace").strip()
        if not is_digest(target):
            return False
        found = self._files.read([paths.blob_data(target)], limit=0)[0]
        return isinstance(found, bytes | TooLarge)

    def written_at(self, repository: str, tag: str) -> float:
        """When the link of a tag was written, in seconds since 1970; 0: not known."""
        folder = paths.tag(repository, tag)
        try:
            links = self._files.leaves(folder, "link")
            return next((one.modified for one in links if one.name == "current"), 0.0)
        except RegistryError:
            return 0.0

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], *, user: str = ""
    ) -> tuple[HTTPResponse, HTTPConnection]:
        """The registry's answer; its events name the user. Failure: it does not answer."""
        connection = connection_to(self._configuration.registry, timeout=ANSWER_SECONDS)
        sent = dict(headers)
        if user:
            # The registry checks nobody: nginx did. It only takes the name from here.
            sent["Authorization"] = "Basic " + b64encode(f"{user}:".encode()).decode()
        try:
            connection.request(method, path, headers=sent)
            return connection.getresponse(), connection
        except (OSError, HTTPException) as error:
            connection.close()
            words = "the registry is starting or down; try again soon"
            raise Failure(503, "UNAVAILABLE", words, retry_after=5) from error

    def layers_with(self, repository: str, digest: str) -> Iterator[tuple[str, ...]]:
        """Of each image of the repository with that layer: all its blobs, the config first."""
        try:
            folder = f"{paths.revisions(repository)}/sha256"
            found = [one.name for one in self._files.leaves(folder, "link") if one.size > 0]
        except RegistryError:
            return
        for hexadecimal in found[:MOST_REVISIONS]:
            blobs = self._blobs(f"sha256:{hexadecimal}")
            if digest in blobs[1:]:
                yield blobs

    def _blobs(self, digest: str) -> tuple[str, ...]:
        """Config and layers of an image; () of all else."""
        with self._lock:
            if digest in self._layers:
                self._layers.move_to_end(digest)
                return self._layers[digest]
        raw = self._files.read([paths.blob_data(digest)], limit=MANIFEST_LIMIT)[0]
        if not isinstance(raw, bytes):
            return ()
        blobs = _config_and_layers(raw)
        with self._lock:
            self._layers[digest] = blobs
            while len(self._layers) > MOST_IMAGES:
                self._layers.popitem(last=False)
        return blobs

    # -- writing -----------------------------------------------------------------------------------
    def may_store(self, size: int = 0) -> bool:
        """Whether so many bytes may be written: no write freeze, and space left."""
        gates = Path(self._configuration.gates)
        if not self._spool or any((gates / name).exists() for name in _GATES):
            return False
        try:
            found = os.statvfs(self._spool.folder)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize - size >= self._configuration.floor_bytes

    def spooled(self) -> Path:
        """The name of a new file for a download. OSError: nothing can be stored."""
        if not self._spool:
            raise OSError("the store cannot be written")
        return self._spool.folder / secrets.token_hex(8)

    def put_blob(self, repository: str, digest: str, canonical: str, spooled: Path) -> None:
        """A verified blob, whose sha256 is `canonical`. RegistryError or OSError."""
        writer = self._wanted_writer()
        writer.put_blob(spooled, canonical)
        for one in {canonical, digest}:
            writer.put_link(paths.layer_link(repository, one), canonical)

    def put_manifest(self, repository: str, raw: bytes, *, tag: str = "") -> str:
        """A verified manifest, and its tag; its digest. RegistryError or OSError."""
        writer, digest = self._wanted_writer(), sha256(raw)
        if not self.has_manifest(repository, digest):
            spooled = self.spooled()
            try:
                spooled.write_bytes(raw)
                writer.put_blob(spooled, digest)
            finally:
                spooled.unlink(missing_ok=True)
            writer.put_link(paths.revision_link(repository, digest), digest)
        if tag:
            writer.put_link(paths.tag_index_link(repository, tag, digest), digest)
            writer.put_link(paths.tag_link(repository, tag), digest)
        return digest

    def _wanted_writer(self) -> StoreWriter:
        if not self._writer:
            raise OSError("the store cannot be written")
        return self._writer


@dataclass(frozen=True, slots=True)
class _Spool:
    folder: Path
    lock: int  # a handle, held while this process lives


def _opened(configuration: Configuration) -> tuple[Files, StoreWriter | None]:
    """The store. Without a writer nothing is stored: clients get all from the upstream."""
    if configuration.driver == FILESYSTEM:
        files = LocalFiles(configuration.root, Problems())
        return files, LocalWriter(files)
    try:
        from registryui.registry.objects import ObjectFiles  # fsspec: only where it is used

        options = configuration.options
        objects = ObjectFiles(configuration.protocol, configuration.root, options, Problems())
    except (ImportError, ValueError) as error:
        log.warning("nothing can be stored on %s: %s", configuration.driver, error)
        return LocalFiles("/nonexistent", Problems()), None
    return objects, ObjectWriter(objects)


def _own_spool(folder: Path) -> _Spool | None:
    """A folder of this process, which holds its lock; those of processes that ended are removed.
    Hosts may share a store. None if it cannot be made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as starting:  # a new folder has none yet
            fcntl.flock(starting, fcntl.LOCK_EX)
            for left in folder.iterdir():
                _remove_left(left)
            own = folder / secrets.token_hex(8)
            own.mkdir(mode=0o700)
            handle = os.open(own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("nothing can be stored: %s", error)
        return None
    return _Spool(own, handle)


def _remove_left(left: Path) -> None:
    try:
        handle = os.open(left / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        with suppress(OSError):
            left.rmdir()  # killed before it had a lock
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(handle)


def _config_and_layers(raw: bytes) -> tuple[str, ...]:
    found = references(raw)
    if found.manifests or found.others or not found.blobs:
        return ()
    try:
        config = json.loads(raw).get("config") or {}
        first = config.get("digest")
    except (ValueError, RecursionError, AttributeError):
        return ()
    if first != found.blobs[0]:
        return ()
    return tuple(dict.fromkeys(found.blobs))
