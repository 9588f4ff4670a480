"""The ways of `./boathouse import …`: the arguments of each kind of source, and how to open it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registryui import formats
from registryui.imports import archive
from registryui.imports.registry import RegistrySource, access
from registryui.imports.source import Options, Source
from registryui.imports.v1.source import V1Source
from registryui.management.command import Usage, from_caller, given_password
from registryui.management.mirror_arguments import certificate

Words = dict[str, Any]  # of the command line


@dataclass(frozen=True, slots=True)
class Way:
    """One kind of source. `about`: what begins the same import again, without a secret."""

    help: str
    add_arguments: Callable[[Any], None]
    open: Callable[[Words, Options], AbstractContextManager[Source]]
    about: Callable[[Words], dict[str, Any]]


def _registry_arguments(parser: Any) -> None:
    parser.add_argument("url", metavar="URL", help="https://registry.example.net:5000")
    add_patterns(parser)
    parser.add_argument("--user", default="", metavar="NAME", help="the user there")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read that user's password from stdin"
    )
    parser.add_argument(
        "--ca", type=certificate, default="", metavar="FILE", help="PEM file of a CA to trust"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="allow an http:// address of another machine"
    )


def _open_registry(words: Words, options: Options) -> RegistrySource:
    if bool(words["user"]) != words["password_stdin"]:
        raise Usage("--user requires --password-stdin, and vice versa.")
    where = access(
        words["url"],
        user=words["user"],
        password=given_password(words),
        ca=words["ca"],
        may_be_plain=words["insecure"],
    )
    return RegistrySource(where, options)


def _about_registry(words: Words) -> dict[str, Any]:
    return {"url": words["url"], "user": words["user"], **asdict(options_of(words))}


def _v1_arguments(parser: Any) -> None:
    parser.add_argument(
        "folder", type=from_caller, metavar="FOLDER", help="docker-registry's storage_path"
    )
    add_patterns(parser)
    parser.add_argument(
        "--index",
        type=from_caller,
        default="",
        metavar="SQLITE",
        help="its search database, to compare",
    )


def _open_v1(words: Words, options: Options) -> V1Source:
    index = Path(words["index"]) if words["index"] else None
    return V1Source(Path(words["folder"]), options, index_file=index)


def _about_v1(words: Words) -> dict[str, Any]:
    return {"folder": words["folder"], "index": words["index"], **asdict(options_of(words))}


def _archive_arguments(parser: Any) -> None:
    parser.add_argument(
        "files",
        type=from_caller,
        nargs="+",
        metavar="FILE",
        help="an archive of docker save, podman save or skopeo, an OCI folder, or - for stdin; "
        "gzip, xz and bzip2 are unpacked",
    )
    parser.add_argument(
        "--name",
        default="",
        metavar="REPOSITORY[:TAG]",
        help="what the archive's image is called here; without a tag, the repository of its tags",
    )


def _open_archive(words: Words, options: Options) -> AbstractContextManager[Source]:
    name = archive.wanted(words["name"]) if words["name"] else archive.Name()
    return archive.open_archives([Path(one) for one in words["files"]], name=name)


def _about_archive(words: Words) -> dict[str, Any]:
    return {"files": words["files"], "name": words["name"], **asdict(options_of(words))}


def add_patterns(parser: Any) -> None:
    """PATTERN…, of what a source has."""
    parser.add_argument(
        "patterns",
        nargs="*",
        metavar="PATTERN",
        help="repositories or REPOSITORY:TAG, * is any text (default: all)",
    )


def add_common(parser: Any) -> None:
    """What every way has."""
    parser.add_argument(
        "--to", default="", metavar="NAMESPACE", help="below this namespace (default: same names)"
    )
    parser.add_argument("--dry-run", action="store_true", help="import nothing: only report")
    parser.add_argument(
        "--replace", action="store_true", help="move tags that are on another image here"
    )
    parser.add_argument(
        "--rate", default="", metavar="SIZE", help="at most so many bytes per second, such as 20MB"
    )


def options_of(words: Words) -> Options:
    """What the administrator asked for."""
    rate = formats.bytes_in(words["rate"]) if words["rate"] else 0
    if rate is None:
        raise Usage(f"“{words['rate']}” is not a size: enter 20MB.")
    return Options(
        patterns=tuple(words.get("patterns", ())),
        namespace=words["to"].strip("/"),
        rate=rate,
        replace=words["replace"],
        dry_run=words["dry_run"],
    )


WAYS: dict[str, Way] = {
    "registry": Way(
        "import images of another registry",
        _registry_arguments,
        _open_registry,
        _about_registry,
    ),
    "v1": Way("import a store of docker-registry 0.x", _v1_arguments, _open_v1, _about_v1),
    "archive": Way(
        "import images of archives: docker save, podman save, skopeo, OCI folders",
        _archive_arguments,
        _open_archive,
        _about_archive,
    ),
}
