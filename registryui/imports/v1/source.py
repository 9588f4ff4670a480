"""A v1 store as the source of an import: each tag becomes an image of schema 2.

Layers are converted once although many tags share them, two at a time, and go straight into the
registry: nothing is stored on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from registryui import formats
from registryui.imports.source import Found, Options, Target
from registryui.oci import media_types
from registryui.oci.digest import sha256
from registryui.refused import Refused
from registryui.registry.source import Stored

from . import convert, index
from .convert import Conversion, Layer
from .remembered import Remembered
from .store import IMAGES, Repository, Tag, V1Store, find_root

AT_ONCE = 2  # layers: each takes a processor


class V1Source:
    """See source.Source. To be used in a `with`."""

    def __init__(self, folder: Path, options: Options, *, index_file: Path | None = None) -> None:
        """Refused with a sentence: it is no v1 store, or that file no search database."""
        root = find_root(folder)
        self.name = f"v1 store {root}"
        self._store = V1Store(root)
        self._options = options
        self._indexed = index.names(index_file) if index_file else None
        self._notices: dict[str, tuple[str, ...]] = {}  # of a repository, for each of its tags
        self._remembered = Remembered(settings.IMPORTS_DIR / "v1-layers.jsonl")
        self._lock = threading.Lock()
        self._converting: dict[str, Future[Layer]] = {}  # by image
        language = translation.get_language()
        self._pool = ThreadPoolExecutor(AT_ONCE, "layer", translation.activate, (language,))

    def __enter__(self) -> V1Source:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    # -- tags --------------------------------------------------------------------------------------
    def survey(self) -> Iterator[Found]:
        """See Source. Also what belongs to no tag."""
        repositories = self._store.repositories()
        used: set[str] = set()
        for one in repositories:
            if self._options.may_have(one.name):
                self._notices[one.name] = tuple(self._about(one))
                yield from self._tags(one, used)
        for name in sorted((self._indexed or frozenset()) - {one.name for one in repositories}):
            problem = _("The search database names this repository, but the store has none.")
            yield Found(name, "", problem=problem)
        if not self._options.patterns:
            yield from self._unused(used)

    def _about(self, one: Repository) -> Iterator[str]:
        if one.is_private:
            yield _("The repository was private: check who may pull it here.")
        if self._indexed is not None and one.name not in self._indexed:
            yield _("The search database does not name the repository.")

    def _tags(self, repository: Repository, used: set[str]) -> Iterator[Found]:
        try:
            if repository.problem:
                raise Refused(repository.problem)
            for tag in self._store.tags(repository):
                yield self._found(repository, tag, used)
        except Refused as error:
            yield Found(repository.name, "", problem=str(error))

    def _found(self, repository: Repository, tag: Tag, used: set[str]) -> Found:
        if tag.problem:
            return Found(repository.name, tag.name, problem=tag.problem)
        chain = self._store.chain(tag.image)
        used.update(chain.images)
        return Found(
            repository.name, tag.name, problem=chain.problem, size=chain.size, key=tag.image
        )

    def _unused(self, used: set[str]) -> Iterator[Found]:
        """Deleting a repository or tag left its images."""
        left = [one for one in self._store.ids() if one not in used]
        if left:
            size = formats.size(sum(self._store.image(one).size for one in left))
            words = _("Images that belong to no tag are not imported: %(count)d (%(size)s).")
            yield Found(IMAGES, "", problem=words % {"count": len(left), "size": size})

    # -- one tag -----------------------------------------------------------------------------------
    def digest(self, found: Found) -> str:
        """See Source. Known if all its layers were converted before."""
        images = self._store.chain(found.key).images
        layers = [self._remembered.get(self._key(one)) for one in images]
        if not images or None in layers:
            return ""
        return self._manifest(images, [one for one in layers if one])[1].digest

    def copy(self, found: Found, target: Target) -> Stored:
        """See Source. Refused: a layer is damaged, or its checksum is wrong."""
        chain = self._store.chain(found.key)
        if chain.problem:
            raise Refused(chain.problem)
        for sentence in self._notices.get(found.repository, ()):
            target.notice(sentence)
        if not chain.has_ancestry:
            target.notice(_("Its ancestry file is missing or broken: its images name the parents."))
        if unproved := [one for one in chain.images if not self._store.checksums(one)]:
            words = _("%d of its layers have no sha256 checksum: they were only checked as tars.")
            target.notice(words % len(unproved))
        if self._options.dry_run:
            return self._expected(chain.images, target)
        waiting = [self._layer(one, target) for one in chain.images]
        layers = [self._placed(*pair, target) for pair in zip(chain.images, waiting, strict=True)]
        config, stored = self._manifest(chain.images, layers)
        digest = sha256(config)
        with target.alone(digest):
            if not target.has_blob(digest, len(config)):
                target.upload([config], digest=digest, size=len(config))
        return stored

    def referrers(self, found: Found, digest: str) -> Iterator[Found]:
        """See Source. There were none."""
        return iter(())

    def _manifest(self, images: tuple[str, ...], layers: list[Layer]) -> tuple[bytes, Stored]:
        """Config and manifest."""
        config = convert.config((self._store.json(one)[1] for one in images), layers)
        return config, convert.manifest(config, layers)

    def _expected(self, images: tuple[str, ...], target: Target) -> Stored:
        """Counts what would be sent; layers that were not converted by the size in the store."""
        for one in images:
            layer = self._remembered.get(self._key(one))
            if layer is None:
                layer = Layer("", sha256(one.encode()), self._store.image(one).size)
            if layer.digest:
                with target.alone(layer.digest):  # counted once
                    target.has_blob(layer.digest, layer.size)
        return Stored("", media_types.DOCKER_MANIFEST, b"")

    # -- one layer ---------------------------------------------------------------------------------
    def _layer(self, image: str, target: Target) -> Future[Layer]:
        """Its layer, once it is in some repository. Of a conversion that failed for a moment there
        is another attempt."""
        with self._lock:
            known = self._converting.get(image)
            if known is None or _may_be_tried_again(known):
                known = self._converting[image] = self._pool.submit(self._convert, image, target)
            return known

    def _placed(self, image: str, waiting: Future[Layer], target: Target) -> Layer:
        """The layer, once it is in the repository of `target`."""
        layer = waiting.result()
        if layer.digest:
            with target.alone(layer.digest):
                if not target.has_blob(layer.digest):  # it could not be mounted
                    self._pool.submit(self._upload, image, target).result()
        return layer

    def _convert(self, image: str, target: Target) -> Layer:
        key = self._key(image)
        if (layer := self._remembered.get(key)) and (
            not layer.digest or target.has_blob(layer.digest)
        ):
            return layer
        layer = self._upload(image, target)
        self._remembered.add(key, layer)
        return layer

    def _upload(self, image: str, target: Target) -> Layer:
        checksums = self._store.checksums(image)
        raw, _found = self._store.json(image)
        try:
            with self._store.layer(image) as file:
                conversion = Conversion(file, raw, checksums)
                if conversion.is_empty():
                    return Layer()
                if not checksums:
                    self._check_tar(image)
                stored = target.upload(conversion.compressed())
                return Layer(conversion.diff_id, stored.digest, stored.size)
        except (Refused, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            words = _("The layer of image %(image)s: %(reason)s")
            raise Refused(words % {"image": image[:12], "reason": reason}) from error

    def _check_tar(self, image: str) -> None:
        with self._store.layer(image) as file:
            convert.check_tar(file)

    def _key(self, image: str) -> str:
        """Of the content of a layer: its id is no hash."""
        checksums = self._store.checksums(image)
        return f"{image} {min(checksums) if checksums else self._store.stamp(image)}"


def _may_be_tried_again(layer: Future[Layer]) -> bool:
    """Whether it failed for another reason than its content."""
    if not layer.done() or layer.cancelled():
        return False
    return layer.exception() is not None and not isinstance(layer.exception(), Refused)
