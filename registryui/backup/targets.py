"""Where backups are: a folder, or a bucket. Both are repositories of restic."""

from __future__ import annotations

import hashlib
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from registryui.refused import Refused

AMAZON = "https://s3.amazonaws.com"
CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """A repository, existing or not."""

    text: str  # as it was typed
    repository: str  # restic's name for it
    folder: Path | None = None  # None: a bucket
    endpoint: str = ""  # of the bucket
    environment: dict[str, str] = field(default_factory=dict, repr=False)  # with credentials

    @property
    def key(self) -> str:
        """A name for files about it."""
        return hashlib.sha256(self.repository.encode()).hexdigest()[:16]


def parse(text: str) -> Target:
    """The target that somebody typed: a path, or s3://BUCKET/PREFIX. Refused: it is neither, or
    lies in the data folder."""
    if text.startswith("s3://"):
        return _bucket(text)
    if "://" in text or not text:
        raise Refused(
            _("“%(text)s” is no place for backups: give a folder, or s3://BUCKET/PREFIX.")
            % {"text": text[:100]}
        )
    folder = Path(text).expanduser().absolute()
    place = folder.resolve()
    data = Path(settings.DATA).resolve()
    if place == data or data in place.parents:
        raise Refused(
            _(
                "%(folder)s lies in the data folder: a backup must be elsewhere, best on another "
                "machine."
            )
            % {"folder": folder}
        )
    return Target(text, str(folder), folder)


def _bucket(text: str) -> Target:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]*[a-z0-9](/[^\s?#]*)?", text):
        raise Refused(
            _(
                "“%(text)s” is no bucket: write s3://BUCKET/PREFIX; key and secret have settings "
                "of their own."
            )
            % {"text": text[:100]}
        )
    endpoint = (settings.BACKUP_ENDPOINT or settings.STORAGE_ENDPOINT or AMAZON).rstrip("/")
    environment = {"AWS_DEFAULT_REGION": settings.BACKUP_REGION or settings.STORAGE_REGION}
    key, secret = settings.BACKUP_KEY, settings.BACKUP_SECRET
    if not key:
        key, secret = settings.STORAGE_KEY, settings.STORAGE_SECRET
    if key:
        environment |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    place = text.removeprefix("s3://").rstrip("/")
    return Target(text, f"s3:{endpoint}/{place}", None, endpoint, environment)


def closed(target: Target) -> Refused:
    """The sentence for a folder of another user."""
    return Refused(
        _("This user may not read or write %(target)s: give it to the user that runs ./boathouse.")
        % {"target": target.text}
    )


def check_reachable(target: Target) -> None:
    """Refused if nobody answers there: restic itself tries again for a quarter of an hour."""
    if target.folder is not None:
        try:
            nearest = next(one for one in (target.folder, *target.folder.parents) if one.exists())
            is_folder = nearest.is_dir()
        except PermissionError as error:
            raise closed(target) from error
        if not is_folder:
            raise Refused(_("%(path)s is no folder: choose another one.") % {"path": nearest})
        return
    parts = urlsplit(target.endpoint)
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise Refused(
            _("%(target)s cannot be reached (%(error)s): check the network and the endpoint.")
            % {"target": target.text, "error": error.strerror or error}
        ) from error
