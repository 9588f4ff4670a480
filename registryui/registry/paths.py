"""The layout of a store (distribution, registry/storage/paths.go). Pure; the only place that joins
these.

    docker/registry/v2/
    ├ repositories/NAME/                NAME has slashes; no part of it begins with "_"
    │ ├ _layers/sha256/HEX/link         this repository may serve this blob
    │ ├ _manifests/
    │ │ ├ revisions/sha256/HEX/link     … and this manifest; the folder stays after a delete
    │ │ └ tags/TAG/
    │ │   ├ current/link                the tag's digest
    │ │   └ index/sha256/HEX/link       its earlier digests
    │ └ _uploads/ID/                    data, startedat, hashstates/: an upload under way, or left
    └ blobs/sha256/HE/HEX/data          the content, once for all repositories; HE: first two of HEX

A link is a file whose content is a digest, without a line break: that of its path, except for blobs
that were uploaded by another algorithm than sha256. Such a blob is stored under its
sha256, and has two links, _layers/sha512/HEX/link and _layers/sha256/HEX/link, with the sha256 in
both; the registry serves it by either name as long as both are there. Paths here are relative to
the registry's root directory, with "/" between the parts and none at either end.
"""

from dataclasses import dataclass
from typing import Literal

ROOT = "docker/registry/v2"
REPOSITORIES = f"{ROOT}/repositories"
BLOBS = f"{ROOT}/blobs"

LINK = "link"  # in the folder of a revision or layer
CURRENT = "current/link"  # in the folder of a tag
DATA = "data"  # in the folder of a blob or upload
# The folders of a repository, beside repositories below it. For the registry, a folder with the
# first is a repository; one with only empty image indexes has the second.
MARKERS = ("_layers", "_manifests")
UPLOADS = "_uploads"


def repository(name: str) -> str:
    """The folder of a repository."""
    return f"{REPOSITORIES}/{name}"


def tags(name: str) -> str:
    """The folder with one folder for each tag."""
    return f"{REPOSITORIES}/{name}/_manifests/tags"


def tag(name: str, tag: str) -> str:
    """The folder of a tag."""
    return f"{tags(name)}/{tag}"


def tag_link(name: str, tag: str) -> str:
    """The link of a tag."""
    return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}/{CURRENT}"


def tag_index_link(name: str, tag: str, digest: str) -> str:
    """The link that lists a digest among those which a tag has had."""
    return f"{tags(name)}/{tag}/index/{digest.replace(':', '/', 1)}/{LINK}"


def revisions(name: str) -> str:
    """The folder with one folder for each algorithm, and in it one for each manifest."""
    return f"{REPOSITORIES}/{name}/_manifests/revisions"


def revision_link(name: str, digest: str) -> str:
    """The link by which the repository has a manifest."""
    return f"{revisions(name)}/{digest.replace(':', '/', 1)}/{LINK}"


def layers(name: str) -> str:
    """The folder with one folder for each algorithm, and in it one for each blob."""
    return f"{REPOSITORIES}/{name}/_layers"


def layer_link(name: str, digest: str) -> str:
    """The link by which the repository has a blob; also a manifest, if registry 2.1 wrote it."""
    return f"{layers(name)}/{digest.replace(':', '/', 1)}/{LINK}"


def uploads(name: str) -> str:
    """The folder with one folder for each upload."""
    return f"{REPOSITORIES}/{name}/{UPLOADS}"


def blob_data(digest: str) -> str:
    """The content of a blob."""
    algorithm, _, hexadecimal = digest.partition(":")
    return f"{BLOBS}/{algorithm}/{hexadecimal[:2]}/{hexadecimal}/{DATA}"


@dataclass(frozen=True, slots=True)
class Place:
    """What a path of a store is."""

    kind: Literal["blob", "revision", "layer", "tag", "upload", "repository"]
    repository: str = ""  # "" of a blob
    digest: str = ""  # of a blob, revision or layer
    upload: str = ""


def place_of(path: str) -> Place | None:
    """What `path` is: data of a blob, a link of a revision or layer, the folder of a tag,
    upload or repository (or one of its folders that begin with "_"). None: nothing of these."""
    above, _, rest = path.partition(f"{BLOBS}/")
    parts = rest.split("/")
    if not above and len(parts) == 4 and parts[3] == DATA:
        return Place("blob", digest=f"{parts[0]}:{parts[2]}")
    above, _, rest = path.partition(f"{REPOSITORIES}/")
    if above or not rest:
        return None
    parts = rest.split("/")
    at = next((place for place, part in enumerate(parts) if part.startswith("_")), len(parts))
    name, inside = "/".join(parts[:at]), parts[at:]
    if not name:
        return None
    match inside:
        case [] | ["_layers" | "_manifests" | "_uploads"]:
            return Place("repository", name)
        case ["_uploads", upload]:
            return Place("upload", name, upload=upload)
        case ["_manifests", "revisions", algorithm, hexadecimal, "link"]:
            return Place("revision", name, f"{algorithm}:{hexadecimal}")
        case ["_layers", algorithm, hexadecimal, "link"]:
            return Place("layer", name, f"{algorithm}:{hexadecimal}")
        case ["_manifests", "tags", _tag]:
            return Place("tag", name)
    return None
