"""Archives of images as tests write them: right ones and hostile ones, with any header."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registryui.imports import archive, run
from registryui.imports.archive import Name
from registryui.imports.source import Options
from registryui.models import Run

from .fake_source import digest_of, encode


def tar_of(
    files: Mapping[str, bytes],
    *,
    links: Mapping[str, str] | None = None,
    form: int = tarfile.USTAR_FORMAT,
) -> bytes:
    """A tar archive with these files, then these symbolic links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for name, content in files.items():
            made.addfile(_entry(name, size=len(content)), io.BytesIO(content))
        for name, target in (links or {}).items():
            made.addfile(_entry(name, type=tarfile.SYMTYPE, linkname=target))
    return buffer.getvalue()


def header(name: str, **fields: Any) -> bytes:
    """The header of a member alone; its content need not follow."""
    return _entry(name, **fields).tobuf(tarfile.GNU_FORMAT)


def _entry(name: str, **fields: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def layer(**files: bytes) -> bytes:
    """A layer, uncompressed."""
    return tar_of({name.replace("__", "/"): content for name, content in files.items()})


def saved(layers: Sequence[bytes], *names: str, diff_ids: Sequence[str] = ()) -> dict[str, bytes]:
    """The files of an archive of `docker save` before Docker 25."""
    config = encode(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Cmd": ["/bin/app"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": list(diff_ids or [digest_of(one) for one in layers]),
            },
        }
    )
    id = digest_of(config).removeprefix("sha256:")
    places = [f"{digest_of(one)[7:]}/layer.tar" for one in layers]
    entry = {"Config": f"{id}.json", "RepoTags": list(names) or None, "Layers": places}
    return {
        **dict(zip(places, layers, strict=True)),
        f"{id}.json": config,
        "manifest.json": json.dumps([entry]).encode(),
    }


def write(place: Path, content: bytes) -> Path:
    """The file with that content."""
    place.write_bytes(content)
    return place


def as_tar(folder: Path, place: Path) -> Path:
    """The files of a folder as a tar archive, as skopeo writes an OCI archive."""
    with tarfile.open(place, "w") as made:
        made.add(folder, ".")
    return place


def imported(*places: Path, name: str = "", options: Options | None = None) -> Run:
    """An import of these archives."""
    options = options or Options()
    wanted = archive.wanted(name) if name else Name()
    with archive.open_archives(places, name=wanted) as source:
        begun = run.begin("archive", source.name, options, by="command line", about={})
        return run.carry_out(begun, source, options)


def states(done: Run) -> dict[str, str]:
    """What became of each tag."""
    return {str(row): row.state for row in done.imported.all()}
