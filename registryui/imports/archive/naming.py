"""How the images of an archive are called: references with the host they were pulled from, which is
left out here, and Docker Hub's short forms.

    docker.io/library/alpine:3.19, alpine:3.19      alpine:3.19
    registry.example.com:5000/team/api:2            team/api:2
    localhost/api:latest (podman)                   api:latest
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

from django.utils.translation import gettext as _

from registryui.oci import names
from registryui.oci.untrusted import quoted
from registryui.refused import Refused

_HUB = ("docker.io", "index.docker.io")
_LIBRARY = "library/"


Named = TypeVar("Named", bound="_HasName")


class _HasName(Protocol):
    """A dataclass with a name."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> Name: ...


@dataclass(frozen=True, slots=True)
class Name:
    """What an image is called; "" for what is not known."""

    repository: str = ""
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else self.repository


def parse(reference: str) -> Name:
    """The repository without a host, and the tag, of a reference as Docker writes it. Neither is
    checked."""
    text = reference.partition("@")[0]
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        text = rest.removeprefix(_LIBRARY) if first in _HUB else rest
    before, colon, tag = text.rpartition(":")
    return Name(before, tag) if colon else Name(text, "")


def of_layout(annotations: dict[str, str]) -> Name:
    """The name of an entry of an OCI layout's index.json: as Docker and containerd write it, else
    the reference of the specification, which may be a tag alone."""
    if full := annotations.get("io.containerd.image.name"):
        return parse(full)
    reference = annotations.get("org.opencontainers.image.ref.name", "")
    return parse(reference) if {":", "/"} & set(reference) else Name("", reference)


def problem(name: Name) -> str:
    """Why an image cannot be imported under that name, a sentence; "" if it can."""
    if name.repository and name.tag:
        return ""
    if name.tag:
        return _("It is only called %(tag)s in the archive: give its repository.") % {
            "tag": quoted(name.tag)[1:-1]
        }
    return _("It has no name in the archive: give one, such as team/api:2.1.")


def renamed(found: Sequence[tuple[Named, str]], wanted: Name) -> list[Named]:
    """Images, each with what identifies it, under the name that the administrator gave: all of it
    for a single image, a repository alone for each tag. Refused: it does not say which."""
    images = [image for image, _id in found]
    if not wanted.tag:
        return [_with_repository(one, wanted) for one in images]
    if (count := len({id for _image, id in found})) > 1:
        raise Refused(
            _("The archive has %(count)d images: give a repository without a tag.")
            % {"count": count}
        )
    return [replace(one, name=wanted) for one in images[:1]]


def _with_repository(image: Named, wanted: Name) -> Named:
    if not wanted.repository:
        return image
    return replace(image, name=replace(image.name, repository=wanted.repository))


def wanted(text: str) -> Name:
    """The name that somebody typed: REPOSITORY or REPOSITORY:TAG. Refused: it is none."""
    try:
        found = names.parse_reference(text)
    except ValueError:
        raise Refused(
            _("“%(text)s” is not a name: enter REPOSITORY or REPOSITORY:TAG, such as team/api:2.1.")
            % {"text": quoted(text)[1:-1]}
        ) from None
    if found.digest:
        raise Refused(_("A name has no digest: enter REPOSITORY:TAG."))
    return Name(found.repository, found.tag)
