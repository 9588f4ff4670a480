"""TABLES: our copy of what the registry holds, what happened to it, and who may log in here."""

from .activity import DailyActivity, RegistryEvent, Run, StoreDay
from .actors import EXPIRY, OPERATOR, POLICY, actor_name, portal_actor
from .audit import AuditEvent
from .deletion import ManifestTombstone, Protection, RetentionPolicy, TagTombstone
from .denial import Denial, LogPosition
from .description import Description
from .host import Host, Lease, Published, here
from .imports import ImportedTag
from .manifest import Blob, BlobName, ImageFact, ImageIndexEntry, Manifest, ManifestBlob
from .mirror import Mirror
from .notify import Condition, Delivery, Receiver
from .operator import Operator, Role
from .quota import Quota
from .registry_user import NEVER, Grant, LineLeftAlone, RegistryUser, Right, State, new_generation
from .repository import UNKNOWN, CountChange, NamespaceSize, Repository, Tag
from .retention import RetentionFate

__all__ = [
    "EXPIRY",
    "NEVER",
    "OPERATOR",
    "POLICY",
    "UNKNOWN",
    "AuditEvent",
    "Blob",
    "BlobName",
    "Condition",
    "CountChange",
    "DailyActivity",
    "Delivery",
    "Denial",
    "Description",
    "Grant",
    "Host",
    "ImageFact",
    "ImageIndexEntry",
    "ImportedTag",
    "Lease",
    "LineLeftAlone",
    "LogPosition",
    "Manifest",
    "ManifestBlob",
    "ManifestTombstone",
    "Mirror",
    "NamespaceSize",
    "Operator",
    "Protection",
    "Published",
    "Quota",
    "Receiver",
    "RegistryEvent",
    "RegistryUser",
    "Repository",
    "RetentionFate",
    "RetentionPolicy",
    "Right",
    "Role",
    "Run",
    "State",
    "StoreDay",
    "Tag",
    "TagTombstone",
    "actor_name",
    "here",
    "new_generation",
    "portal_actor",
]
