"""The files of a v1 store (docker-registry 0.9.1), as they are on a disk. Nothing is changed there.

    images/<id>/            json, layer       as they were pushed; the id is no hash of them
                            ancestry          JSON list of ids: itself, its parent, …, the root
                            _checksum         JSON list, or in old stores one text; "sha256:…" is of
                                              the json, a line break and the layer
                            _inprogress       is there until the push is complete
    repositories/<namespace>/<repository>/
                            tag_<tag>         the id of its image
                            tag<tag>_json     for people; that of the tag "_x" is named like a tag
                            _private          is there if it is private

The registry quotes each part of a path, and had quoted the repository once before: the repository
`a/b/c` is in `a/b%252Fc`. Only symbolic links within the store are followed. Raises Refused with
a sentence for what cannot be read.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_plus

from django.utils.translation import gettext as _

from registryui.oci.untrusted import MANIFEST_LIMIT, quoted, read_object, text
from registryui.refused import Refused

IMAGES, REPOSITORIES = "images", "repositories"
MOST_ANCESTORS = 1000  # Docker allowed 127 layers
_SMALL = 1024 * 1024  # bytes; of a checksum, an ancestry, a tag
_ID = re.compile("[0-9a-f]{16}|[0-9a-f]{64}")
_SHA256 = re.compile("sha256:[0-9a-f]{64}")
# O_NONBLOCK: a pipe in place of a file must not block.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_V2 = "docker/registry/v2"


@dataclass(frozen=True, slots=True)
class Repository:
    """A folder of tags."""

    name: str  # as clients named it: "ubuntu" for library/ubuntu
    path: str  # below the root
    is_private: bool = False
    problem: str = ""  # why it cannot be read, a sentence


@dataclass(frozen=True, slots=True)
class Tag:
    """A file that is named like a tag."""

    name: str
    image: str = ""  # its id
    problem: str = ""  # why there is none, a sentence


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of an image without reading its layer."""

    parent: str = ""  # its id; "": none
    size: int = 0  # bytes of its layer, as they are stored
    problem: str = ""  # why it cannot be imported, a sentence


@dataclass(frozen=True, slots=True)
class Chain:
    """An image with its ancestors."""

    images: tuple[str, ...]  # ids, from the root up; with a problem, from where it is
    size: int = 0  # bytes of all layers
    problem: str = ""  # why it cannot be imported, a sentence
    has_ancestry: bool = True  # False: there is no such file, or it is broken


def find_root(folder: Path) -> Path:
    """The folder that has `images` and `repositories`: `folder` itself, or one in it. Refused: it
    is no v1 store."""
    folder = folder.absolute()
    root = Path(os.path.realpath(folder))
    try:
        found = [one for one in [root, *sorted(root.iterdir())] if _is_root(one)]
        is_v2 = (root / _V2).is_dir()
    except OSError as error:
        raise Refused(_unreadable(str(folder), error)) from error
    if found and (found[0] == root or len(found) == 1):
        return _closed(found[0])
    if found:
        names = ", ".join(one.name for one in found)[:200]
        raise Refused(
            _("%(folder)s has several v1 stores: enter one of these folders: %(names)s.")
            % {"folder": folder, "names": names}
        )
    if is_v2:
        raise Refused(
            _("%(folder)s is the store of a v2 registry, not a v1 store.") % {"folder": folder}
        )
    raise Refused(
        _(
            "%(folder)s is no v1 store: enter docker-registry's storage_path, the folder with"
            " “images” and “repositories” in it."
        )
        % {"folder": folder}
    )


def _is_root(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in (IMAGES, REPOSITORIES))


def _closed(root: Path) -> Path:
    """Refused: a part of it lies elsewhere."""
    for name in (IMAGES, REPOSITORIES):
        if not _is_within(root, os.path.realpath(root / name)):
            raise Refused(
                _(
                    "%(folder)s is a symbolic link that leaves the store. Mount that folder there"
                    " instead (mount --bind)."
                )
                % {"folder": root / name}
            )
        if not os.access(root / name, os.R_OK | os.X_OK):
            raise Refused(_unreadable(str(root / name), PermissionError(errno.EACCES, "")))
    return root


class V1Store:
    """A v1 store in `root`. Its methods may be called by several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._images: dict[str, Image] = {}

    # -- repositories and tags ---------------------------------------------------------------------
    def repositories(self) -> list[Repository]:
        """All, also those without a tag, by name."""
        found = []
        for namespace in self._folders(REPOSITORIES):
            path = f"{REPOSITORIES}/{namespace}"
            try:
                found += [self._repository(namespace, one) for one in self._folders(path)]
            except Refused as error:
                name = text(unquote_plus(namespace))
                found.append(Repository(name, path, problem=str(error)))
        return sorted(found, key=lambda one: (one.name, one.path))

    def _repository(self, namespace: str, entry: str) -> Repository:
        name = repository_name(f"{namespace}/{entry}")
        path = f"{REPOSITORIES}/{namespace}/{entry}"
        try:
            self._place(path)
        except Refused as error:
            return Repository(name, path, problem=str(error))
        return Repository(name, path, is_private=self._has(f"{path}/_private"))

    def tags(self, repository: Repository) -> Iterator[Tag]:
        """Its tags, by the names of their files. Refused: it cannot be read."""
        names = {one for one in self._names(repository.path) if one.startswith("tag_")}
        for name in sorted(names):
            tag = text(unquote_plus(name.removeprefix("tag_")))
            try:
                content = self._read(f"{repository.path}/{name}", _SMALL).strip()
            except Refused as error:
                yield Tag(tag, problem=str(error))
                continue
            found = content.decode("ascii", "replace")
            if _ID.fullmatch(found):
                yield Tag(tag, found)
            elif not _is_tag_json(name, content, names):
                yield Tag(tag, problem=_("The file of the tag is empty or names no image."))

    # -- images ------------------------------------------------------------------------------------
    def ids(self) -> Iterator[str]:
        """All images that are there, in no order."""
        return (one for one in self._names(IMAGES) if _ID.fullmatch(one))

    def chain(self, top: str) -> Chain:
        """That image with its ancestors, as their JSON names them: so Docker linked them, too."""
        ids: list[str] = []
        size, one, problem = 0, top, ""
        while one and not problem:
            image = self.image(one)
            if one in ids:
                problem = _("Its ancestors form a circle: %s.") % one[:12]
            elif len(ids) == MOST_ANCESTORS:
                problem = _("It has more than %d ancestors.") % MOST_ANCESTORS
            else:
                problem = image.problem
                ids.append(one)
                size += image.size
                one = image.parent
        listed = self._ancestry(top)
        if not problem and listed is not None and listed != ids:
            words = _("The ancestry of image %s names other ancestors than the images do.")
            problem = words % top[:12]
        return Chain(tuple(reversed(ids)), size, problem, has_ancestry=listed is not None)

    def image(self, image: str) -> Image:
        """What is known of it."""
        if image not in self._images:
            try:
                self._images[image] = self._read_image(image)
            except Refused as error:
                self._images[image] = Image(problem=str(error))
        return self._images[image]

    def _read_image(self, image: str) -> Image:
        short, folder = image[:12], f"{IMAGES}/{image}"
        if not self._has(folder):
            raise Refused(_("Image %s is missing.") % short)
        if self._has(f"{folder}/_inprogress"):
            raise Refused(_("The push of image %s was never completed.") % short)
        _raw, found = self.json(image)
        if found.get("id") != image:
            raise Refused(_("The JSON of image %s is of another image.") % short)
        parent = found.get("parent") or ""
        if parent and not (isinstance(parent, str) and _ID.fullmatch(parent)):
            words = _("The JSON of image %(image)s names no valid parent: %(parent)s.")
            raise Refused(words % {"image": short, "parent": quoted(parent)})
        with self.layer(image) as file:
            size = os.fstat(file.fileno()).st_size
        if not size:  # the registry of then answered 416
            raise Refused(_("The layer of image %s is empty.") % short)
        return Image(parent, size)

    def json(self, image: str) -> tuple[bytes, dict[str, Any]]:
        """Its JSON, as it was pushed, and parsed."""
        raw = self._read(f"{IMAGES}/{image}/json", MANIFEST_LIMIT)
        try:
            return raw, read_object(raw)
        except ValueError as error:
            words = _("The JSON of image %(image)s is damaged: %(error)s.")
            raise Refused(words % {"image": image[:12], "error": error}) from error

    def checksums(self, image: str) -> frozenset[str]:
        """The sha256 checksums that it may have. Empty: none is known, or only one of the tar's
        entries, which old Dockers sent."""
        try:
            raw = self._read(f"{IMAGES}/{image}/_checksum", _SMALL)
        except Refused:
            return frozenset()
        try:
            found = _json(raw)
        except ValueError:  # the oldest stores: the text itself
            found = raw.decode("ascii", "replace").strip()
        listed = found if isinstance(found, list) else [found]
        return frozenset(one for one in listed if isinstance(one, str) and _SHA256.fullmatch(one))

    def layer(self, image: str) -> BinaryIO:
        """The bytes of its layer, as they are stored; unbuffered."""
        return os.fdopen(self._open(f"{IMAGES}/{image}/layer"), "rb", buffering=0)

    def stamp(self, image: str) -> str:
        """Changes when its layer is replaced by another one."""
        with self.layer(image) as file:
            status = os.fstat(file.fileno())
        return f"{status.st_size}-{status.st_mtime_ns}"

    def _ancestry(self, image: str) -> list[str] | None:
        """The ids in that file; None: there is none, or it is broken."""
        try:
            found = _json(self._read(f"{IMAGES}/{image}/ancestry", _SMALL))
        except (Refused, ValueError):
            return None
        if not isinstance(found, list) or not found:
            return None
        if not all(isinstance(one, str) and _ID.fullmatch(one) for one in found):
            return None
        return found

    # -- files -------------------------------------------------------------------------------------
    def _read(self, path: str, limit: int) -> bytes:
        with os.fdopen(self._open(path), "rb") as file:
            try:
                content = file.read(limit + 1)
            except OSError as error:
                raise Refused(_unreadable(path, error)) from error
        if len(content) > limit:
            raise Refused(_("%s is too large.") % _shown(path))
        return content

    def _open(self, path: str) -> int:
        """A handle of that file."""
        place = self._place(path)
        try:
            handle = os.open(place, _FLAGS)
        except OSError as error:
            raise Refused(_unreadable(path, error)) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Refused(_("%s is no file.") % _shown(path))
        return handle

    def _place(self, path: str) -> str:
        """`path` on this disk, without symbolic links. Refused: it is not in the store."""
        place = os.path.realpath(self.root / path)
        if not _is_within(self.root, place):
            words = _("%s is behind a symbolic link that leaves the store.")
            raise Refused(words % _shown(path))
        return place

    def _has(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    def _names(self, path: str) -> list[str]:
        """What is in that folder."""
        try:
            with os.scandir(self._place(path)) as entries:
                return [one.name for one in entries]
        except OSError as error:
            raise Refused(_unreadable(path, error)) from error

    def _folders(self, path: str) -> list[str]:
        """The folders in it, and symbolic links. [] if it is none itself."""
        try:
            with os.scandir(self._place(path)) as entries:
                return sorted(x.name for x in entries if x.is_symlink() or x.is_dir())
        except NotADirectoryError:
            return []
        except OSError as error:
            raise Refused(_unreadable(path, error)) from error


def repository_name(path: str) -> str:
    """The repository in `<namespace>/<repository>`, as a path or the index has it."""
    namespace, _slash, rest = path.partition("/")
    namespace, rest = unquote_plus(namespace), unquote_plus(unquote_plus(rest))
    is_implied = namespace == "library" and "/" not in rest
    return text(rest if is_implied else f"{namespace}/{rest}")


def _json(raw: bytes) -> Any:
    """What is written there; ValueError."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _is_tag_json(name: str, content: bytes, names: set[str]) -> bool:
    """Whether the file `tag_x_json` is not of the tag `x_json`, but of `_x`."""
    if not name.endswith("_json"):
        return False
    return content.startswith(b"{") or f"tag__{name[len('tag_') : -len('_json')]}" in names


def _is_within(root: Path, place: str) -> bool:
    return place == str(root) or place.startswith(f"{str(root).rstrip('/')}/")


def _unreadable(path: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return _("%s is missing.") % _shown(path)
    words = _("%(path)s cannot be read: %(error)s.")
    return words % {"path": _shown(path), "error": os.strerror(error.errno or 0)}


def _shown(path: str) -> str:
    """For a terminal: without control characters and halves of characters."""
    return repr(path[-200:])[1:-1]
