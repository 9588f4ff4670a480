"""The quarantine of an object store, which has no rename: see Quarantine in quarantine.py.

    boathouse/quarantine/BATCH/
    ├ record    JSON, written before anything is moved: where each came from
    └ N/M       object M of item N: empty if the bucket keeps versions, else its copy

With versions: a delete marker quarantines, removing the marker restores, deleting exactly that
version purges. N/M is written before the marker and removed after it. Without: the object is
copied, then deleted; restored by copying if nothing is in its place. Killed in between, an item is
in both places: removing N/M restores it, and purging it frees the copy. Nothing is ever put beside
`data` in the store: the registry lists by prefix.

The remaining hole: between checking a version and deleting it, somebody else may restore it. Only
one garbage collection runs at a time; `restore` checks again at its end.
"""

from __future__ import annotations

import errno
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from django.utils import timezone

from . import paths
from .errors import RegistryError
from .files import ODD
from .objects import AT_ONCE, ObjectFiles, modified
from .quarantine import FOLDER, MayGo, Quarantined

RECORD = "record"
FORGOTTEN = timedelta(hours=1)  # older records without items are unused


@dataclass(frozen=True, slots=True)
class _Object:
    """One key of an item."""

    rest: str  # after the path of the item; "": the item is this one key
    version: str  # "": its bucket keeps none
    size: int
    modified: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class _Thing:
    path: str
    objects: tuple[_Object, ...]

    def key(self, one: _Object) -> str:
        return f"{self.path}/{one.rest}" if one.rest else self.path


@dataclass(frozen=True, slots=True)
class _Batch:
    """A record."""

    run: str
    at: datetime
    things: tuple[_Thing, ...]


@dataclass(frozen=True, slots=True)
class _Version:
    id: str
    is_marker: bool
    is_latest: bool
    size: int
    modified: float


@dataclass(slots=True)
class _Waiting:
    """The listing of one batch: numbers of objects by the number of their item."""

    things: dict[int, set[int]] = field(default_factory=dict)
    has_record: bool = False


class ObjectQuarantine:
    """The quarantine beside the store that `files` reads. One for each run: whether the bucket has
    versions is asked once."""

    def __init__(self, files: ObjectFiles) -> None:
        self._files = files
        self._problems: list[str] = []
        self._batches: dict[str, _Batch] = {}

    def __repr__(self) -> str:
        return f"ObjectQuarantine({self._files!r})"

    # -- Quarantine ------------------------------------------------------------------------------
    def add(
        self, wanted: Sequence[str], *, run: str, may_go: MayGo = lambda path: True
    ) -> list[Quarantined]:
        """See Quarantine."""
        places = [path for path in wanted if paths.place_of(path)]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="quarantine") as pool:
            things = [one for one in pool.map(self._thing, places) if one.objects]
            if not things:
                return []
            now = timezone.now()
            id = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
            batch = _Batch(run, now, tuple(things))
            self._write(f"{id}/{RECORD}", json.dumps(_to_json(batch)).encode())
            self._batches[id] = batch

            def take(number: int) -> int | None:
                return self._add(f"{id}/{number}") if may_go(things[number].path) else None

            sizes = list(pool.map(take, range(len(things))))
        return [
            Quarantined(f"{id}/{number}", thing.path, size, now, run)
            for number, (thing, size) in enumerate(zip(things, sizes, strict=True))
            if size is not None
        ]

    def contents(self) -> Iterator[Quarantined]:
        """See Quarantine."""
        self._problems = []
        for id, waiting in sorted(self._waiting().items()):
            batch = self._batch(id) if waiting.has_record else None
            if batch is None:
                self._problems.append(f"{FOLDER}/{id}: has no record that can be read")
                continue
            for number, objects in sorted(waiting.things.items()):
                if number >= len(batch.things):
                    self._problems.append(f"{FOLDER}/{id}/{number}: is in no record")
                    continue
                thing = batch.things[number]
                size = sum(one.size for at, one in enumerate(thing.objects) if at in objects)
                yield Quarantined(f"{id}/{number}", thing.path, size, batch.at, batch.run)

    def restore(self, one: Quarantined) -> bool:
        """See Quarantine."""
        is_back = False
        for thing, number, found in self._still(one.id):
            key = thing.key(found)
            if found.version:
                is_back |= self._undelete(key, found.version)
            else:
                is_back |= self._copy_back(key, f"{one.id}/{number}")
            self._clean(f"{one.id}/{number}")
        return is_back

    def purge(self, one: Quarantined) -> int:
        """See Quarantine. Of an upload also the parts that no listing shows."""
        freed = 0
        for thing, number, found in self._still(one.id):
            if found.version:
                freed += self._purge_version(thing.key(found), found)
            else:
                freed += found.size
            self._clean(f"{one.id}/{number}")
        place = paths.place_of(one.path)
        if place is not None and place.kind == "upload":
            self._abort_parts(one.path)
        return freed

    def age(self, path: str) -> datetime | None:
        """See Quarantine: LastModified."""
        place = paths.place_of(path)
        if place is None or place.kind in ("upload", "repository", "tag"):
            times = [modified(info) for _rest, info in self._files.found(path)]
        else:
            info = self._info(path)
            times = [modified(info)] if info else []
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def written_at(self, one: Quarantined) -> datetime | None:
        """See Quarantine. The registry continues in a moved folder with new keys."""
        times = [found.modified for _thing, _number, found in self._still(one.id)]
        times += [modified(info) for _rest, info in self._files.found(one.path)]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def tidy(self) -> None:
        """See Quarantine. A new record may belong to a batch in progress."""
        for id, waiting in self._waiting().items():
            batch = self._batch(id) if waiting.has_record and not waiting.things else None
            if batch is not None and timezone.now() - batch.at > FORGOTTEN:
                self._clean(f"{id}/{RECORD}")

    def problems(self) -> list[str]:
        """See Quarantine; those that the last `contents` found."""
        return list(self._problems)

    # -- one item --------------------------------------------------------------------------------
    def _thing(self, path: str) -> _Thing:
        """What is at that path now."""
        place = paths.place_of(path)
        is_folder = place is not None and place.kind in ("upload", "repository", "tag")
        if self._keeps_versions:
            prefix = f"{path}/" if is_folder else path
            objects = [
                _Object(
                    key.removeprefix(path).strip("/"), version.id, version.size, version.modified
                )
                for key, versions in self._versions(prefix).items()
                for version in versions
                if version.is_latest and not version.is_marker and (is_folder or key == path)
            ]
        elif is_folder:
            objects = [
                _Object(rest, "", int(info["size"]), modified(info))
                for rest, info in self._files.found(path)
            ]
        else:
            info = self._info(path)
            objects = [_Object("", "", int(info["size"]), modified(info))] if info else []
        return _Thing(path, tuple(sorted(objects, key=lambda one: one.rest)))

    def _add(self, id: str) -> int | None:
        """Quarantines what the record has under that id; its bytes, None if it no longer exists."""
        batch, _, number = id.rpartition("/")
        thing = self._batches[batch].things[int(number)]
        quarantined = [
            one.size for at, one in enumerate(thing.objects) if self._take(thing, one, f"{id}/{at}")
        ]
        return sum(quarantined) if quarantined else None

    def _take(self, thing: _Thing, one: _Object, place: str) -> bool:
        key = thing.key(one)
        if not one.version:
            return self._move_away(key, place)
        self._write(place, b"")
        with self._asked(key):
            made = self._s3("delete_object", Key=self._key(key))
        versions = self._versions(key).get(key, [])
        below = next((version for version in versions if not version.is_marker), None)
        if below is not None and below.id == one.version:
            return True
        # It was written between our check and our marker: that is newer than what may be moved.
        self._delete_version(key, str(made["VersionId"]))
        self._clean(place)
        return False

    def _move_away(self, key: str, place: str) -> bool:
        try:
            self._files.system.cp_file(self._full(key), self._full(f"{FOLDER}/{place}"))
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._files.unreachable(key, error) from None
        self._remove(key)
        return True

    def _copy_back(self, key: str, place: str) -> bool:
        if self._info(key) is not None:
            return False
        with self._asked(key):
            self._files.system.cp_file(self._full(f"{FOLDER}/{place}"), self._full(key))
        return True

    def _undelete(self, key: str, version: str) -> bool:
        """Removes the markers above it, or the quarantined version if there is a newer one."""
        versions = self._versions(key).get(key, [])
        if version not in {one.id for one in versions}:
            return False
        if not versions[0].is_marker:
            if versions[0].id != version:  # else it was never moved
                self._delete_version(key, version)
            return False
        while versions and versions[0].is_marker:
            self._delete_version(key, versions[0].id)
            versions = self._versions(key).get(key, [])
        return bool(versions)

    def _purge_version(self, key: str, one: _Object) -> int:
        versions = self._versions(key).get(key, [])
        if one.version not in {version.id for version in versions}:
            return 0
        if versions[0].id == one.version:  # it is not quarantined
            return 0
        self._delete_version(key, one.version)
        if all(version.is_marker or version.id == one.version for version in versions):
            # This exposes no older version.
            for version in versions:
                if version.is_marker:
                    self._delete_version(key, version.id)
        return one.size

    def _abort_parts(self, path: str) -> None:
        """Removes the parts of an upload, which a bucket would keep for ever."""
        if self._files.protocol != "s3":
            return
        with self._asked(path):
            found = self._s3("list_multipart_uploads", Prefix=self._key(f"{path}/"))
            for one in found.get("Uploads") or []:
                self._s3("abort_multipart_upload", Key=one["Key"], UploadId=one["UploadId"])

    # -- the folder of the quarantine --------------------------------------------------------------
    def _waiting(self) -> dict[str, _Waiting]:
        found: dict[str, _Waiting] = {}
        for rest, _info in self._files.found(FOLDER):
            batch, _, place = rest.partition("/")
            waiting = found.setdefault(batch, _Waiting())
            number, _, at = place.partition("/")
            if place == RECORD:
                waiting.has_record = True
            elif number.isdecimal() and at.isdecimal():
                waiting.things.setdefault(int(number), set()).add(int(at))
            else:
                self._problems.append(f"{FOLDER}/{batch}/{place[:40]!a}: is in no record")
        return found

    def _still(self, id: str) -> list[tuple[_Thing, int, _Object]]:
        """The objects of that item that are still in here; [] if there are none."""
        batch_id, _, number = id.rpartition("/")
        batch = self._batch(batch_id)
        if batch is None or not number.isdecimal() or int(number) >= len(batch.things):
            return []
        thing = batch.things[int(number)]
        here = {rest for rest, _info in self._files.found(f"{FOLDER}/{id}")}
        return [(thing, at, one) for at, one in enumerate(thing.objects) if str(at) in here]

    def _batch(self, id: str) -> _Batch | None:
        if id not in self._batches:
            content = self._files.read([f"{FOLDER}/{id}/{RECORD}"], limit=2**30)[0]
            if isinstance(content, RegistryError):
                raise content
            try:
                self._batches[id] = _from_json(json.loads(content or b""))
            except (ValueError, KeyError, TypeError):
                return None
        return self._batches[id]

    def _write(self, place: str, content: bytes) -> None:
        with self._asked(place):
            self._files.system.pipe_file(self._full(f"{FOLDER}/{place}"), content)

    def _clean(self, place: str) -> None:
        """Deletes an object of ours, with all its versions."""
        path = f"{FOLDER}/{place}"
        if not self._keeps_versions:
            self._remove(path)
            return
        for version in self._versions(path).get(path, []):
            self._delete_version(path, version.id)

    # -- the service -------------------------------------------------------------------------------
    @cached_property
    def _keeps_versions(self) -> bool:
        """Whether the bucket keeps deleted versions. Not if suspended: a marker would replace a
        version called "null"."""
        if self._files.protocol != "s3":
            return False
        try:
            return bool(self._s3("get_bucket_versioning").get("Status") == "Enabled")
        except OSError as error:
            if error.errno == errno.ENOSYS:  # a service without versions
                return False
            raise self._files.unreachable("", error) from None
        except Exception as error:
            raise self._files.unreachable("", error) from None

    def _versions(self, prefix: str) -> dict[str, list[_Version]]:
        """All versions of all keys with that prefix, newest first."""
        start = self._key("")
        found: dict[str, list[_Version]] = {}
        marks: dict[str, str] = {}
        while True:
            with self._asked(prefix):
                page = self._s3("list_object_versions", Prefix=self._key(prefix), **marks)
            for kind in ("Versions", "DeleteMarkers"):
                for one in page.get(kind) or []:
                    version = _Version(
                        str(one["VersionId"]),
                        is_marker=kind == "DeleteMarkers",
                        is_latest=bool(one["IsLatest"]),
                        size=int(one.get("Size", 0)),
                        modified=modified(one),
                    )
                    found.setdefault(str(one["Key"]).removeprefix(start), []).append(version)
            if not page.get("IsTruncated"):
                break
            marks = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }
        return {key: _newest_first(versions) for key, versions in found.items()}

    def _delete_version(self, key: str, version: str) -> None:
        with self._asked(key):
            self._s3("delete_object", Key=self._key(key), VersionId=version)

    def _info(self, path: str) -> Mapping[str, Any] | None:
        """The facts of a key; None if it does not exist, or is no file."""
        try:
            info: Mapping[str, Any] = self._files.system.info(self._full(path))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._files.unreachable(path, error) from None
        return info if info.get("type") == "file" and int(info.get("size", ODD)) >= 0 else None

    def _remove(self, path: str) -> None:
        try:
            self._files.system.rm_file(self._full(path))
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._files.unreachable(path, error) from None

    def _s3(self, call: str, **arguments: Any) -> Mapping[str, Any]:
        bucket = self._files.root.lstrip("/").partition("/")[0]
        answer: Mapping[str, Any] = self._files.system.call_s3(call, Bucket=bucket, **arguments)
        return answer

    def _key(self, path: str) -> str:
        """The key of a path in its bucket."""
        prefix = self._files.root.lstrip("/").partition("/")[2]
        return f"{prefix}/{path}" if prefix else path

    def _full(self, path: str) -> str:
        return f"{self._files.root}/{path}"

    @contextmanager
    def _asked(self, path: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each driver has its own
            raise self._files.unreachable(path, error) from None


def _newest_first(versions: list[_Version]) -> list[_Version]:
    """Some services have times of one second: the latest version comes first, and otherwise their
    own order, newest first, is kept within each kind."""
    return sorted(versions, key=lambda one: (one.is_latest, one.modified), reverse=True)


def _to_json(batch: _Batch) -> dict[str, Any]:
    things = [
        [
            one.path,
            [[each.rest, each.version, each.size, each.modified] for each in one.objects],
        ]
        for one in batch.things
    ]
    return {"run": batch.run, "at": batch.at.isoformat(), "things": things}


def _from_json(record: Mapping[str, Any]) -> _Batch:
    """ValueError, KeyError, TypeError: this is no record, or it has a path that no store has."""
    things = []
    for path, objects in record["things"]:
        if paths.place_of(str(path)) is None:
            raise ValueError(path)
        made = tuple(_Object(str(a), str(b), int(c), float(d)) for a, b, c, d in objects)
        things.append(_Thing(str(path), made))
    return _Batch(str(record["run"]), datetime.fromisoformat(record["at"]), tuple(things))
