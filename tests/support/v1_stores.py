"""Stores of docker-registry 0.9, written as its sources write them: the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

EMPTY_TAR = bytes(1024)  # what Docker pushed for a step that changed no file


@dataclass(frozen=True, slots=True)
class V1Files:
    """A store in `root`."""

    root: Path

    def __post_init__(self) -> None:
        for name in ("images", "repositories"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def image(
        self, name: str, layer: bytes, *, parent: str = "", checksum: str = "list", **more: Any
    ) -> str:
        """An image; returns its id, made of `name`. `checksum`: "list", "text" (old), "tarsum"
        (older), or "" for none; `more` goes into its JSON."""
        image = hashlib.sha256(name.encode()).hexdigest()
        facts = {"id": image, **({"parent": parent} if parent else {}), "os": "linux", **more}
        raw = json.dumps(facts).encode()
        folder = self.folder(image)
        folder.mkdir()
        (folder / "json").write_bytes(raw)
        (folder / "layer").write_bytes(layer)
        above = json.loads((self.folder(parent) / "ancestry").read_text()) if parent else []
        (folder / "ancestry").write_text(json.dumps([image, *above]))
        found = f"sha256:{checksum_of(raw, layer)}"
        tarsum = f"tarsum+{found}"
        written = {"list": json.dumps([found, tarsum]), "text": found, "tarsum": tarsum}
        if checksum:
            (folder / "_checksum").write_text(written[checksum])
        return image

    def folder(self, image: str) -> Path:
        """Of an image."""
        return self.root / "images" / image

    def repository(self, name: str) -> Path:
        """The folder of a repository; made if it is not there."""
        namespace, rest = name.split("/", 1) if "/" in name else ("library", name)
        place = self.root / "repositories" / quote_plus(namespace)
        folder = place / quote_plus(quote_plus(rest))  # the second is that of the storage driver
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def tag(self, repository: str, tag: str, image: str) -> None:
        """A tag, with the JSON beside it."""
        folder = self.repository(repository)
        (folder / f"tag_{quote_plus(tag)}").write_text(image)
        (folder / f"tag{quote_plus(tag)}_json").write_text('{"last_update": 1400000000}')


def checksum_of(json: bytes, layer: bytes) -> str:
    """Of an image."""
    return hashlib.sha256(json + b"\n" + layer).hexdigest()


def tar(files: Mapping[str, bytes | None]) -> bytes:
    """A layer with these files; None: a folder. Whiteouts are files with such names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            made.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


def gz(data: bytes) -> bytes:
    """As Docker sent most layers: its own level, and a name and time that must not matter."""
    buffer = io.BytesIO()
    with gzip.GzipFile("layer.tar", "wb", 3, buffer, mtime=1_400_000_000) as file:
        file.write(data)
    return buffer.getvalue()


def xz(data: bytes) -> bytes:
    """The third way."""
    return lzma.compress(data)


def full(root: Path) -> tuple[V1Files, dict[str, str]]:
    """A store with everything that is known to be odd, and what should become of each tag (with
    those names that stand for no tag): "taken", or words of the reason."""
    made = V1Files(root)
    base = made.image("base", tar({"bin/a": b"base"}), created="2014-05-01T10:00:00.123456789Z")
    step = made.image("step", gz(EMPTY_TAR), parent=base, container_config={"Cmd": ["ENV A=b"]})
    top = made.image("top", gz(tar({"app": b"app" * 5000})), parent=step, checksum="text")
    packed = made.image("packed", xz(tar({"app": b"xz" * 5000})), parent=base, checksum="")
    old = made.image("old", tar({"old": b"tarsum only"}), checksum="tarsum")
    fate = {}

    def tag(repository: str, name: str, image: str, *, becomes: str = "taken") -> None:
        made.tag(repository, name, image)
        fate[f"{repository}:{name}"] = becomes

    tag("ubuntu", "14.04", base)  # library/ubuntu
    tag("team/app", "latest", top)
    tag("team/app", "_x", top)  # its JSON is named tag_x_json
    tag("team/app", "x_json", base)  # and this is a tag
    tag("team/app", "y_json", packed)
    tag("team/deep/down/app", "1", packed)  # quoted twice
    tag("Team/App__Old..", "1", old)  # "team/app__old"
    tag("team/app", "1+1", base)
    tag("private/app", "1", top)
    (made.repository("private/app") / "_private").touch()

    def broken(name: str, words: str, *, layer: bytes = b"x", parent: str = "") -> Path:
        image = made.image(name, layer, parent=parent or base)
        tag("broken/app", name, image, becomes=words)
        return made.folder(image)

    (broken("unfinished", "was never completed") / "_inprogress").write_text("true")
    (broken("no-json", "/json is missing") / "json").unlink()
    (broken("empty-json", "JSON of image") / "json").write_bytes(b"")
    (broken("deep-json", "nested too deeply") / "json").write_bytes(b"[" * 100_000)
    (broken("list-json", "not a JSON object") / "json").write_bytes(b"[1]")
    (broken("large-json", "/json is too large") / "json").write_bytes(b" " * 5_000_000)
    (broken("no-layer", "/layer is missing") / "layer").unlink()
    (broken("empty-layer", "is empty") / "layer").write_bytes(b"")
    (broken("folder", "/layer is no file") / "layer").unlink()
    (made.folder(_id("folder")) / "layer").mkdir()
    (broken("link", "leaves the store") / "layer").unlink()
    (made.folder(_id("link")) / "layer").symlink_to("/etc/passwd")
    (broken("changed", "checksum is wrong", layer=tar({"a": b"1"})) / "layer").write_bytes(
        tar({"a": b"2"})
    )
    (broken("cut", "ends too early", layer=gz(tar({"a": b"1"}))) / "_checksum").unlink()
    cut = made.folder(_id("cut")) / "layer"
    cut.write_bytes(cut.read_bytes()[:-20])
    (broken("no-tar", "no complete tar", layer=b"no tar" * 100) / "_checksum").write_text("")
    (broken("zeros", "begins with zeros", layer=bytes(4096) + b"x")).joinpath("json").exists()
    _cycle(made)
    tag("broken/app", "cycle", _id("cycle-a"), becomes="form a circle")
    lost = made.image("lost", EMPTY_TAR)
    orphan = made.image("orphan", tar({"a": b"1"}), parent=lost)
    tag("broken/app", "orphan", orphan, becomes="is missing")
    for file in made.folder(lost).iterdir():
        file.unlink()
    made.folder(lost).rmdir()
    other = made.image("other-ancestry", tar({"a": b"1"}), parent=base)
    (made.folder(other) / "ancestry").write_text(json.dumps([other]))
    tag("broken/app", "other-ancestry", other, becomes="names other ancestors")
    none = made.image("no-ancestry", tar({"b": b"1"}), parent=base)
    (made.folder(none) / "ancestry").write_text("")
    tag("team/app", "no-ancestry", none)
    tag("broken/app", "absent", _id("absent"), becomes="is missing")
    tag("broken/app", "half", "", becomes="empty or names no image")
    tag("broken/app", "odd", "../../../../etc/passwd", becomes="empty or names no image")
    made.image("left", tar({"left": b"behind"}))
    fate["images:"] = "belong to no tag are not imported: 1 "
    (made.root / "repositories" / "away").symlink_to("/etc")
    fate["away:"] = "leaves the store"
    (made.root / "repositories" / "file").write_text("no namespace")
    made.repository("team/no-tags")
    return made, fate


def _cycle(made: V1Files) -> None:
    first = made.image("cycle-a", EMPTY_TAR)
    second = made.image("cycle-b", EMPTY_TAR, parent=first)
    facts = {"id": first, "parent": second}
    (made.folder(first) / "json").write_text(json.dumps(facts))


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
