"""The files of an archive that a stranger wrote: found by name, never unpacked, refused if odd."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.imports.archive import box, check_beginning, compression, tar
from registryui.refused import Refused
from tests.support.archives import header, tar_of, write

LONG = "a/" * 80 + "x"  # more than a header of 1988 holds
WRITERS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def _read(content: bytes, tmp_path: Path, name: str) -> bytes | None:
    with write(tmp_path / "archive.tar", content).open("rb") as file:
        return box.read(box.TarBox(file.fileno()), name, limit=1_000_000)


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_is_found_by_its_name_whoever_wrote_the_archive(form: str, tmp_path: Path) -> None:
    files = {"index.json": b"{}", "./blobs/sha256/a": b"x" * 1000, "empty": b"", "last": b"y"}
    if form != "ustar":
        files[LONG] = b"long"
    content = tar_of(files, form=WRITERS[form])
    for name, data in files.items():
        assert _read(content, tmp_path, name.removeprefix("./")) == data


def test_the_tar_of_this_machine_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "blobs" / LONG).mkdir(parents=True)
    (folder / "blobs" / LONG / "one").write_bytes(b"one")
    (folder / "two").symlink_to("blobs/" + LONG + "/one")
    (folder / "three").hardlink_to(folder / "blobs" / LONG / "one")
    for form in ("gnu", "pax"):
        made = tmp_path / "made.tar"
        subprocess.run(["tar", f"--format={form}", "-cf", made, "-C", folder, "."], check=True)
        for name in (f"blobs/{LONG}/one", "two", "three"):
            assert _read(made.read_bytes(), tmp_path, name) == b"one"


def test_a_link_leads_to_a_file_of_the_archive_as_docker_writes_it(tmp_path: Path) -> None:
    content = tar_of({"a/layer.tar": b"same"}, links={"b/layer.tar": "../a/layer.tar"})
    assert _read(content, tmp_path, "b/layer.tar") == b"same"


def _with_sum(head: bytes) -> bytes:
    total = sum(head[:148]) + 8 * 32 + sum(head[156:])
    return head[:148] + b"%06o\0 " % total + head[156:]


HOSTILE = {
    "the name of a parent": (header("../../etc/passwd", size=0), "outside of it"),
    "a full path": (header("/etc/passwd", size=0), "outside of it"),
    "a way up in the middle": (header("a/../../b", size=0), "outside of it"),
    "a link to a full path": (
        header("a", type=tarfile.SYMTYPE, linkname="/etc/shadow"),
        "outside of it",
    ),
    "a link to a parent": (
        header("a/b", type=tarfile.SYMTYPE, linkname="../../secret"),
        "outside of it",
    ),
    "a hard link to a parent": (
        header("a/b", type=tarfile.LNKTYPE, linkname="../secret"),
        "outside of it",
    ),
    "a device": (header("null", type=tarfile.CHRTYPE), "neither a file nor a link"),
    "a pipe": (header("pipe", type=tarfile.FIFOTYPE), "neither a file nor a link"),
    "a sparse file of GNU": (header("bomb", type=b"S", size=0), "neither a file nor a link"),
    "more than is there": (header("index.json", size=2**40), "cut off"),
    "more than a disk holds": (header("index.json", size=2**60), "damaged"),
    "a size below zero": (
        _with_sum(header("x", size=1)[:124] + b"\xff" * 12 + header("x", size=1)[136:]),
        "damaged",
    ),
    "a name of gigabytes": (header("x", type=b"L", size=2**33), "no name is so long"),
    "keywords of gigabytes": (header("x", type=b"x", size=2**33), "no name is so long"),
    "keywords that are cut off": (header("x", type=b"x", size=1000), "cut off"),
    "no numbers": (
        _with_sum(header("x")[:124] + b"zzzzzzzzzzz\0" + header("x")[136:]),
        "damaged",
    ),
    "noise": (b"\x17" * 2048, "damaged"),
    "half a header": (header("x", size=0) + b"abc", "cut off"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    content, words = HOSTILE[what]
    with pytest.raises(Refused, match=words) as refused:
        _read(content, tmp_path, "index.json")
    said = str(refused.value)
    assert "\n" not in said
    assert said.endswith(".")
    assert [one.name for one in tmp_path.iterdir()] == ["archive.tar"]


def test_a_sparse_file_of_pax_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "sparse"
    with place.open("wb") as file:
        file.truncate(50_000_000)
        file.seek(20_000_000)
        file.write(b"x")
    made = tmp_path / "archive.tar"
    subprocess.run(
        ["tar", "--sparse", "--format=pax", "-cf", str(made), "-C", str(tmp_path), "sparse"],
        check=True,
    )
    assert made.stat().st_size < 1_000_000
    with pytest.raises(Refused, match="neither a file nor a link"):
        _read(made.read_bytes(), tmp_path, "sparse")


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    content = tar_of({}, links={"index.json": "b", "b": "index.json"})
    with pytest.raises(Refused, match="never ends"):
        _read(content, tmp_path, "index.json")


def test_more_headers_than_any_archive_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar, "MOST_HEADERS", 100)
    assert _read(tar_of({str(n): b"" for n in range(100)}), tmp_path, "99") == b""
    with pytest.raises(Refused, match="more than 100 files"):
        _read(tar_of({str(n): b"" for n in range(101)}), tmp_path, "99")


@given(st.binary(max_size=4096), st.integers(0, 5000), st.binary(max_size=8))
def test_no_bytes_raise_anything_else(content: bytes, place: int, change: bytes) -> None:
    right = tar_of({"index.json": b"{}", LONG: b"x" * 600}, form=tarfile.PAX_FORMAT)
    changed = right[:place] + change + right[place + len(change) :]
    for data in (content, changed):
        handle = os.memfd_create("archive")
        try:
            os.write(handle, data)
            for member in tar.members(handle, len(data)).values():
                assert member.offset + member.size <= len(data)
                assert not member.name.startswith(("/", ".."))
        except Refused:
            pass
        finally:
            os.close(handle)


def test_a_folder_is_not_left_by_a_link(tmp_path: Path) -> None:
    inside, secret = tmp_path / "layout", write(tmp_path / "secret", b"secret")
    inside.mkdir()
    (inside / "index.json").symlink_to(secret)
    (inside / "blobs").symlink_to(tmp_path)
    opened = box.FolderBox(inside)
    for name in ("index.json", "blobs/secret", "../secret"):
        with pytest.raises(Refused, match="outside of it"):
            opened.size(name)
    assert opened.size("missing") is None


# -- compressed ones -------------------------------------------------------------------------------
PACKERS: dict[str, Any] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("how", PACKERS)
def test_a_compressed_archive_is_unpacked(how: str) -> None:
    content = os.urandom(3_000_000) + bytes(3_000_000)
    packed = PACKERS[how](content[:100]) + PACKERS[how](content[100:]) + bytes(512)
    assert compression.kind(packed) == how
    pieces = list(compression.unpacked(io.BytesIO(packed), how))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= compression.PIECE


@pytest.mark.parametrize("how", PACKERS)
def test_a_damaged_compressed_archive_is_refused(how: str) -> None:
    packed = PACKERS[how](os.urandom(2_000_000))
    middle = len(packed) // 2
    with pytest.raises(Refused, match="cut off"):
        list(compression.unpacked(io.BytesIO(packed[:middle]), how))
    broken = packed[:middle] + bytes(300) + packed[middle + 300 :]
    with pytest.raises(Refused, match="damaged"):
        list(compression.unpacked(io.BytesIO(broken), how))


def test_what_no_package_here_unpacks_is_refused_with_the_command() -> None:
    with pytest.raises(Refused, match="zstd -dc"):
        check_beginning(b"\x28\xb5\x2f\xfd" + bytes(508))
    with pytest.raises(Refused, match="zip file"):
        check_beginning(b"PK\x03\x04" + bytes(508))
    for other in (b"", b"hello\n", b"\x7fELF" + bytes(600)):
        with pytest.raises(Refused, match="not an archive of images"):
            check_beginning(other)
    check_beginning(header("oci-layout", size=30))


def test_a_bomb_is_stopped_by_the_floor_of_free_space(tmp_path: Path, settings: Any) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    free = os.statvfs(tmp_path)
    settings.FLOOR_BYTES = free.f_bavail * free.f_frsize - 10_000_000
    place = tmp_path / "archive.tar"
    with pytest.raises(Refused, match="must stay free"):
        compression.spool(compression.unpacked(io.BytesIO(bomb), "gzip"), place)
    assert place.stat().st_size < 50_000_000


def test_an_xz_file_may_not_ask_for_gigabytes_of_memory() -> None:
    # A file of a few bytes whose dictionary would have 1.5 GB.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**20}]
    packed = bytearray(lzma.compress(b"x" * 100, filters=filters))
    place = packed.index(bytes([0x21, 0x01])) + 2  # the size of the dictionary in the header
    packed[place] = 39
    start = 12
    length = (packed[start] + 1) * 4
    packed[start + length - 4 : start + length] = zlib.crc32(
        packed[start : start + length - 4]
    ).to_bytes(4, "little")
    with pytest.raises(Refused, match="damaged"):
        list(compression.unpacked(io.BytesIO(bytes(packed)), "xz"))
