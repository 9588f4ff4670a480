"""What setup/configuration.py tells this process: config/mirror.json, with secrets of a store."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Configuration:
    """Paths are absolute."""

    socket: str  # where we listen
    registry: str  # unix:/PATH or host:port
    mirrors: str  # MIRRORS_DIR
    key: str  # the file with the key of the passwords
    gates: str  # nothing is stored while a file is in it: write_freeze.py, space.py
    spool: str  # a folder for unfinished downloads, on the store's file system
    floor_bytes: int  # what a download leaves free
    driver: str  # of the registry: filesystem, s3 …
    root: str  # of the store: a folder, or bucket and prefix
    protocol: str = ""  # fsspec's name of the object service; "": there is none
    options: dict[str, Any] = field(default_factory=dict, repr=False)  # for it


def read(path: Path) -> Configuration:
    """OSError, ValueError or KeyError if the file cannot be used."""
    facts = json.loads(path.read_bytes())
    return Configuration(**{one.name: facts[one.name] for one in fields(Configuration)})
