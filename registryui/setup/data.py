"""The data folder: all files of one instance, and who may read them.

    DATA/              0700  0711 if nginx runs as root, because its workers must enter; names and
                             modes of the files in it show the rights of users
      registry/        0700  the registry's store
      tls/             0700  CA, certificate, keys (0600)
      secrets/         0700  Django's key, the tokens between the parts
      config/          0711  generated: nginx.conf (0600), registry.yml (0600), pages/ for nginx
      log/             0711  access.json, boathouse.log of `up --background` (0600)
      run/             0711  locks, ports, process ids, nginx's temporary files
      run/sockets/     0700  where registry and portal listen; 2710 for nginx's group where root set
                             it up
      made/            0700  typefaces and icons, made by `up`
      static/          0711  all that nginx serves below /static/, gathered by `up`
      rights/          0711  what each registry user may do, as files that nginx tests
      mirrors/         0711  what nginx and the mirror service read of each mirror; upstream.json
                             and state.json in it: 0600
      imports/         0700  archives of images that are uploaded or unpacked
      htpasswd         0640  registry users; the group is nginx's when root set it up
      htpasswd.old     0640  replaced secrets that are still valid
      htpasswd-versions/ 0700  the file before each of its last changes
      reserve          0600  space reserved for a full disk (registryui/space.py)
      index.sqlite3 jobs.sqlite3  0600

`make` refuses before it creates anything, with one sentence that says what to do.
"""

import contextlib
import grp
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from registryui import space, write_freeze
from registryui.accounts import publish
from registryui.formats import size
from registryui.refused import Refused

from . import store
from .data_path import check_path

NGINX_USER = "www-data"


def make() -> None:
    """Creates what is missing in the data folder and corrects modes that are too open, or too
    restrictive for nginx; changes nothing else.

    Raises Refused when the place cannot be used.
    """
    check_path(settings.DATA)
    _check_place(settings.DATA)
    for folder, mode in _folders().items():
        _make_folder(folder, mode)
    _close_to_others(settings.DATA)
    _close_sockets()
    for file in [*settings.DATA.glob("*.sqlite3*"), *settings.LOG_DIR.iterdir()]:
        with contextlib.suppress(FileNotFoundError):  # it was rotated, or its database was removed
            if file.stat().st_mode & 0o077:
                file.chmod(file.stat().st_mode & 0o700)


def _folders() -> dict[Path, int]:
    """Without a store that was there before, which stays as it is."""
    own_store = {} if store.is_adopted() else {settings.STORE_DIR: 0o700}
    return {
        **own_store,
        settings.TLS_DIR: 0o700,
        settings.SECRETS_DIR: 0o700,
        settings.CONFIG_DIR: 0o711,
        settings.CONFIG_DIR / "pages": 0o711,
        settings.LOG_DIR: 0o711,
        settings.RUN_DIR: 0o711,
        settings.RUN_DIR / "nginx": 0o711,
        settings.SOCKETS_DIR: 0o710,
        write_freeze.folder(): 0o711,
        **{publish.logins_folder() / name: 0o711 for name in publish.LOGIN_FOLDERS},
        settings.DATA / "made": 0o700,
        settings.STATIC_ROOT: 0o711,
        settings.RIGHTS_DIR: 0o711,
        settings.MIRRORS_DIR: 0o711,
        settings.VERSIONS_DIR: 0o700,
        settings.IMPORTS_DIR: 0o700,
    }


def _check_place(folder: Path) -> None:
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        raise Refused(
            f"{nearest} is not a folder, but the data folder {folder} must be one or be below "
            "one: move it away or choose another BOATHOUSE_DATA."
        )
    ours = [nearest]
    if nearest == folder:
        ours += [place for place in (*_folders(), *_files()) if place.exists()]
    for place in ours:
        if not os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0)):
            raise Refused(
                f"{place} cannot be written by this user: give it to the user that runs "
                "./boathouse, run it as that user, or choose another BOATHOUSE_DATA."
            )
    for place in ours[1:]:
        if place.is_dir() != (place in _folders()):
            wanted, found = ("file", "folder") if place.is_dir() else ("folder", "file")
            raise Refused(
                f"{place} must be a {wanted} and is a {found}: move it away, or choose another "
                "BOATHOUSE_DATA."
            )
    free = space.free(nearest)
    # An existing one starts on a full disk, too, so that space can be freed.
    if free < settings.FLOOR_BYTES and not _is_set_up():
        raise Refused(
            f"Only {size(free)} are free at {folder}, and {size(settings.FLOOR_BYTES)} are needed: "
            "free some space or choose another BOATHOUSE_DATA."
        )


def _is_set_up() -> bool:
    return bool((settings.SECRETS_DIR / "django-key").exists())


def _files() -> tuple[Path, ...]:
    return (
        settings.HTPASSWD_FILE,
        settings.DATA / "index.sqlite3",
        settings.DATA / "jobs.sqlite3",
    )


def _make_folder(folder: Path, mode: int) -> None:
    missing = [place for place in (*reversed(folder.parents), folder) if not place.exists()]
    for place in missing:
        with contextlib.suppress(FileExistsError):  # a second `up` was faster
            place.mkdir()
            place.chmod(mode if place == folder else 0o711)  # DATA: _close_to_others
    found = stat.S_IMODE(folder.stat().st_mode)
    # Too open, or inaccessible for nginx: after a restore, for example.
    if (mode == 0o700 and found & 0o077) or (mode == 0o711 and found & 0o111 != 0o111):
        folder.chmod(mode)


def _close_to_others(folder: Path) -> None:
    """Others need no access if nginx runs as the same user."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == os.geteuid() != 0 and mode & 0o007:
        folder.chmod(mode & ~0o007)


def _close_sockets() -> None:
    """Only our own user and nginx's workers may enter the folder of the sockets."""
    folder = settings.SOCKETS_DIR
    is_for_group = os.geteuid() == 0 and closed_folder() is None
    if is_for_group and folder.stat().st_gid != (group := grp.getgrnam(NGINX_USER).gr_gid):
        os.chown(folder, -1, group)
    mode = 0o2710 if is_for_group else 0o700  # 2: the sockets have the group, too
    if stat.S_IMODE(folder.stat().st_mode) != mode:
        folder.chmod(mode)


def put_aside(path: Path) -> Path:
    """Renames a damaged file, so that nothing is lost; the new path."""
    return path.rename(f"{path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")


def closed_folder() -> Path | None:
    """The first folder above the htpasswd file that nginx's own user cannot enter.

    None if it can access the file. Otherwise nginx's workers run as the owner.
    """
    try:
        group = grp.getgrnam(NGINX_USER).gr_gid
    except KeyError:
        return Path(settings.DATA)  # no such user on this machine
    for folder in reversed(settings.HTPASSWD_FILE.parents):
        found = folder.stat()
        by_group = found.st_gid == group
        if not found.st_mode & (stat.S_IXGRP if by_group else stat.S_IXOTH):
            return Path(folder)
    return None
