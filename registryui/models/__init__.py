"""TABLES: our copy of what the registry holds, what happened to it, and who may log in here."""

from .activity import DailyActivity, RegistryEvent, Run
from .manifest import Blob, ImageIndexEntry, Manifest, ManifestBlob
from .operator import Operator, Role
from .repository import UNKNOWN, Repository, Tag

__all__ = [
    "UNKNOWN",
    "Blob",
    "DailyActivity",
    "ImageIndexEntry",
    "Manifest",
    "ManifestBlob",
    "Operator",
    "RegistryEvent",
    "Repository",
    "Role",
    "Run",
    "Tag",
]
