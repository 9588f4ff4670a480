"""TABLES: our copy of what the registry holds, what happened to it, and who may log in here."""

from .activity import DailyActivity, RegistryEvent, Run, StoreDay
from .manifest import Blob, ImageIndexEntry, Manifest, ManifestBlob
from .operator import Operator, Role, actor_name
from .registry_user import NEVER, LineLeftAlone, RegistryUser, Right, State
from .repository import UNKNOWN, NamespaceSize, Repository, Tag

__all__ = [
    "NEVER",
    "UNKNOWN",
    "Blob",
    "DailyActivity",
    "ImageIndexEntry",
    "LineLeftAlone",
    "Manifest",
    "ManifestBlob",
    "NamespaceSize",
    "Operator",
    "RegistryEvent",
    "RegistryUser",
    "Repository",
    "Right",
    "Role",
    "Run",
    "State",
    "StoreDay",
    "Tag",
    "actor_name",
]
