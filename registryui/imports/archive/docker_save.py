"""Images of `docker save` before Docker 25, and of `podman save`: archives with a manifest.json.

    manifest.json    [{"Config": "ID.json", "RepoTags": ["a/b:2.1"], "Layers": ["X/layer.tar"]}]
    ID.json          the config, whose digest is the image's id
    X/layer.tar      a layer as a tar archive, mostly uncompressed, or a link to one

Such an archive has no manifest. The config is kept; layers are compressed here, always in the same
way, so a second import gives the same digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from registryui.imports.gzip_layers import gzipped
from registryui.imports.source import Descriptor, Found, Target
from registryui.oci import media_types
from registryui.oci.digest import is_digest, sha256
from registryui.oci.manifest import parse_manifest
from registryui.oci.untrusted import MANIFEST_LIMIT, quoted, read_object, texts
from registryui.refused import Refused
from registryui.registry.source import Stored

from .box import PIECE, Box, missing, read
from .compression import unpacked
from .naming import Name, parse, problem, renamed

MANIFEST = "manifest.json"
LIST_LIMIT = 16 * 1024 * 1024  # bytes of manifest.json
CONFIG_LIMIT = MANIFEST_LIMIT
AT_ONCE = 2  # layers that are compressed
_GZIP_START = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class _Image:
    """An entry of manifest.json, once for each of its names."""

    config: str  # a name in the archive, as those of the layers
    layers: tuple[str, ...]
    name: Name


class DockerSave:
    """What a Source has, of an archive of `docker save`."""

    def __init__(self, box: Box, wanted: Name) -> None:
        """`wanted`: what the administrator calls it."""
        self._box = box
        images = renamed([(one, one.config) for one in _images(box)], wanted)
        self._images = {str(i): one for i, one in enumerate(images)}
        self._done: dict[str, Descriptor] = {}  # layers of this run, by their diff id

    def survey(self) -> Iterator[Found]:
        """See Source."""
        order = sorted(
            self._images.items(), key=lambda one: (one[1].name.repository, one[1].name.tag)
        )
        for key, image in order:
            size = sum(self._box.size(one) or 0 for one in image.layers)
            name = image.name
            yield Found(name.repository, name.tag, problem=problem(name), size=size, key=key)

    def digest(self, found: Found) -> str:
        """ "": it is known once the layers are compressed."""
        return ""

    def copy(self, found: Found, target: Target) -> Stored:
        """See Source. Refused: a layer is missing, or is another one than the config says."""
        image = self._images[found.key]
        config = read(self._box, image.config, limit=CONFIG_LIMIT)
        if config is None:
            raise missing(image.config)
        if here := _same_image(sha256(config), target.manifest(found.tag)):
            return here
        diff_ids = _diff_ids(config, image)
        absent = next((one for one in image.layers if self._box.size(one) is None), "")
        if absent:
            raise missing(absent)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            pairs = zip(image.layers, diff_ids, strict=True)
            layers = list(pool.map(lambda pair: self._layer(pair[0], pair[1], target), pairs))
        digest = sha256(config)
        with target.alone(digest):  # another name of the image may be on its way
            if not target.has_blob(digest, len(config)):
                target.upload([config], digest=digest, size=len(config))
        raw = _manifest(Descriptor(digest, len(config)), layers)
        return Stored(sha256(raw), media_types.DOCKER_MANIFEST, raw)

    def referrers(self, found: Found, digest: str) -> Iterator[Found]:
        """None: such an archive has no manifests, so nothing refers to one."""
        return iter(())

    def _layer(self, name: str, diff_id: str, target: Target) -> Descriptor:
        with target.alone(diff_id):
            done = self._done.get(diff_id)
            if done and target.has_blob(done.digest, done.size):
                return done
            with self._box.open(name) as file:
                found = target.upload(_compressed(file, diff_id, name))
            self._done[diff_id] = found
            return found


def _compressed(file: BinaryIO, diff_id: str, name: str) -> Iterator[bytes]:
    """The layer as it is stored. Refused, at its end, if its content is not what the config says:
    then the upload is given up."""
    seen = hashlib.sha256()
    head = file.peek(2)[:2]  # type: ignore[attr-defined]  # Box gives buffered readers
    if head == _GZIP_START:
        yield from _checked_gzip(file, seen)
    else:
        yield from gzipped(_seen(_pieces(file), seen))
    if f"sha256:{seen.hexdigest()}" != diff_id:
        raise Refused(
            _(
                "%(name)s in the archive is not the layer that the config of its image names: the "
                "archive is damaged."
            )
            % {"name": quoted(name)}
        )


class _Copied:
    """A file that keeps what was read since it was last asked."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._read = file, b""

    def read(self, most: int) -> bytes:
        """See BinaryIO."""
        self._read = self._file.read(most)
        return self._read

    def taken(self) -> bytes:
        """What was read."""
        found, self._read = self._read, b""
        return found


def _checked_gzip(file: BinaryIO, seen: Any) -> Iterator[bytes]:
    """The file as it is, which is compressed; `seen` gets its content."""
    copied = _Copied(file)
    for piece in unpacked(copied, "gzip"):
        seen.update(piece)
        if packed := copied.taken():
            yield packed
    if packed := copied.taken():
        yield packed


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _seen(pieces: Iterable[bytes], seen: Any) -> Iterator[bytes]:
    for piece in pieces:
        seen.update(piece)
        yield piece


def _manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """As Docker writes it when it pushes."""
    described = [_descriptor(media_types.DOCKER_LAYER, one) for one in layers]
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_types.DOCKER_MANIFEST,
            "config": _descriptor(media_types.DOCKER_CONFIG, config),
            "layers": described,
        },
        indent=3,
    ).encode()


def _descriptor(media_type: str, one: Descriptor) -> dict[str, Any]:
    return {"mediaType": media_type, "size": one.size, "digest": one.digest}


def _same_image(config: str, here: Stored | None) -> Stored | None:
    """What has the tag already, if it is that image: a config names the content of its layers,
    however they are compressed."""
    try:
        found = parse_manifest(here.raw, here.media_type) if here else None
    except ValueError:
        return None
    is_same = found and found.config and found.config.digest == config
    return here if is_same else None


def _diff_ids(config: bytes, image: _Image) -> tuple[str, ...]:
    """The digests of the layers before compression. Refused: they do not fit the archive."""
    try:
        rootfs = read_object(config, limit=CONFIG_LIMIT).get("rootfs")
        found = texts(rootfs.get("diff_ids") if isinstance(rootfs, dict) else None)
        if len(found) != len(image.layers) or not all(map(is_digest, found)):
            raise ValueError(f"{len(found)} layers, and the archive has {len(image.layers)}")
    except ValueError as error:
        raise _unreadable(image.config, error) from error
    return found


def _images(box: Box) -> Iterator[_Image]:
    raw = read(box, MANIFEST, limit=LIST_LIMIT)
    try:
        # As an object, which is what `read_object` checks.
        entries = read_object(b'{"images":%b}' % (raw or b"null"), limit=LIST_LIMIT + 16)["images"]
        if not isinstance(entries, list):
            raise ValueError(f"not a list: {quoted(entries)}")
        for entry in entries:
            yield from _of_entry(entry)
    except ValueError as error:
        raise _unreadable(MANIFEST, error) from error


def _of_entry(entry: object) -> Iterator[_Image]:
    """An image for each of its names; one without a name if it has none."""
    if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
        raise ValueError(f"not an image: {quoted(entry)}")
    layers = entry.get("Layers")
    if not isinstance(layers, list | None) or any(not isinstance(one, str) for one in layers or ()):
        raise ValueError(f"not a list of layers: {quoted(layers)}")
    for name in texts(entry.get("RepoTags"), limit=512) or ("",):
        yield _Image(entry["Config"], tuple(layers or ()), parse(name))


def _unreadable(name: str, error: ValueError) -> Refused:
    return Refused(
        _("%(name)s in the archive cannot be read: %(reason)s")
        % {"name": quoted(name), "reason": error}
    )
