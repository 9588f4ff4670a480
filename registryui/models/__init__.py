"""TABLES: our copy of what the registry holds, what happened to it, and who may log in here."""

from .activity import DailyActivity, RegistryEvent, Run
from .manifest import Blob, ImageFact, ImageIndexEntry, Manifest, ManifestBlob
from .operator import Operator, Role
from .registry_user import NEVER, LineLeftAlone, RegistryUser, Right, State
from .repository import UNKNOWN, Repository, Tag

__all__ = [
    "NEVER",
    "UNKNOWN",
    "Blob",
    "DailyActivity",
    "ImageFact",
    "ImageIndexEntry",
    "LineLeftAlone",
    "Manifest",
    "ManifestBlob",
    "Operator",
    "RegistryEvent",
    "RegistryUser",
    "Repository",
    "Right",
    "Role",
    "Run",
    "State",
    "Tag",
]
