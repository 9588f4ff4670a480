"""Where the store is, by the BOATHOUSE_STORAGE settings.

settings ── of_settings() ─► Storage ├ the `storage:` section of the registry's configuration
                                     └ what our own reader uses (choose.py)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

FILESYSTEM = "filesystem"
_FOLDER = re.compile(r"/[^\x00-\x1f/][^\x00-\x1f]*")  # not / itself, and no double slash
# Drivers of the old registry, which CNCF Distribution never had or has removed.
_GONE = ("glance", "elliptics", "oss", "rados")


@dataclass(frozen=True, slots=True)
class Storage:
    """A place for a store. Fields that may contain credentials are not in its `repr`."""

    driver: str  # the registry's name for it
    section: dict[str, Any] = field(repr=False)  # the driver's parameters in registry.yml
    root: str  # our own: a folder, or bucket and prefix
    protocol: str = ""  # fsspec's name for it; "": it has no maintained driver
    package: str = ""  # that brings fsspec's driver
    options: dict[str, Any] = field(default_factory=dict, repr=False)  # for it


def of_settings() -> Storage:
    """The store of this instance; ValueError with a sentence for people if the settings are
    invalid."""
    scheme, bucket, prefix = parse(settings.STORAGE)
    if scheme == FILESYSTEM:
        root = str(settings.STORE_DIR)
        return Storage(FILESYSTEM, {"rootdirectory": root}, root)
    if settings.STORAGE_SECRET_FILE and not settings.STORAGE_SECRET:
        raise ValueError(
            "BOATHOUSE_STORAGE_SECRET_FILE names a file that is empty, or that this user may not "
            f"read: {settings.STORAGE_SECRET_FILE}"
        )
    make = {"s3": _s3, "gs": _gcs, "gcs": _gcs, "azure": _azure, "swift": _swift}[scheme]
    return make(bucket, prefix)


def parse(storage: str) -> tuple[str, str, str]:
    """Scheme, bucket and prefix of BOATHOUSE_STORAGE; a folder has the scheme FILESYSTEM alone.
    ValueError with a sentence for people."""
    scheme, _colon, rest = storage.partition(":")
    if storage == FILESYSTEM or _FOLDER.fullmatch(storage):
        return FILESYSTEM, "", ""
    if scheme not in ("s3", "gs", "gcs", "azure", "swift"):
        raise ValueError(_refusal(scheme))
    if not re.fullmatch(r"//[^\s/?#@\[\]]+(/[^?#]*)?", rest):
        raise ValueError(
            "BOATHOUSE_STORAGE must be like s3://bucket/prefix: key and secret have settings of "
            "their own."
        )
    bucket, _slash, prefix = rest[2:].partition("/")
    return scheme, bucket, prefix.strip("/")


def _refusal(word: str) -> str:
    shown = ascii(word[:40])
    if word in _GONE:
        return (
            f"BOATHOUSE_STORAGE is {shown}: CNCF Distribution has no such driver. Copy the images "
            "to a file system or to an S3 service."
        )
    return (
        f"BOATHOUSE_STORAGE is {shown}: it must be filesystem, the path of a folder, such as "
        "/var/lib/registry, or begin with s3://, gs://, azure:// or swift://."
    )


def _s3(bucket: str, prefix: str) -> Storage:
    """Amazon's, or a compatible service at an endpoint."""
    endpoint, region = settings.STORAGE_ENDPOINT, settings.STORAGE_REGION
    section: dict[str, Any] = {"bucket": bucket, "region": region, "v4auth": True}
    options: dict[str, Any] = {
        "client_kwargs": {"region_name": region},
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 30,
            "retries": {"max_attempts": 2, "mode": "standard"},
            "max_pool_connections": 64,
        },
    }
    if endpoint:
        # `secure` follows the endpoint's scheme; a plain one cannot encrypt at rest either.
        secure = endpoint.startswith("https:")
        section |= {"regionendpoint": endpoint, "secure": secure, "encrypt": False}
        options["endpoint_url"] = endpoint
        options["config_kwargs"]["s3"] = {"addressing_style": "path"}  # as the registry does
    if settings.STORAGE_KEY:
        section |= {"accesskey": settings.STORAGE_KEY, "secretkey": settings.STORAGE_SECRET}
        options |= {"key": settings.STORAGE_KEY, "secret": settings.STORAGE_SECRET}
    return Storage("s3", _below(section, prefix), _root(bucket, prefix), "s3", "s3fs", options)


def _gcs(bucket: str, prefix: str) -> Storage:
    """Google's; the secret is a service account's key file, not needed on their own machines."""
    keyfile = settings.STORAGE_SECRET_FILE
    section = {"bucket": bucket, **({"keyfile": keyfile} if keyfile else {})}
    options = {"token": keyfile} if keyfile else {}
    return Storage("gcs", _below(section, prefix), _root(bucket, prefix), "gcs", "gcsfs", options)


def _azure(container: str, prefix: str) -> Storage:
    """Microsoft's; the key is the name of the account."""
    name, secret = settings.STORAGE_KEY, settings.STORAGE_SECRET
    section = {"accountname": name, "accountkey": secret, "container": container}
    options = {"account_name": name, "account_key": secret}
    root = _root(container, prefix)
    return Storage("azure", _below(section, prefix), root, "abfs", "adlfs", options)


def _swift(container: str, prefix: str) -> Storage:
    """OpenStack's; fsspec has no maintained driver for it."""
    section = {
        "authurl": settings.STORAGE_ENDPOINT,
        "username": settings.STORAGE_KEY,
        "password": settings.STORAGE_SECRET,
        "container": container,
        **({"prefix": prefix} if prefix else {}),
    }
    return Storage("swift", section, _root(container, prefix))


def _below(section: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {**section, "rootdirectory": f"/{prefix}"} if prefix else section


def _root(bucket: str, prefix: str) -> str:
    return f"{bucket}/{prefix}" if prefix else bucket
