"""What each role may do, in words, each with the pages and acts that it stands for.

tests/views/test_roles.py compares it with the table of access: a page that no words stand for, or
words that promise another role's page, fail there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from registryui.models import Role


@dataclass(frozen=True, slots=True)
class Duty:
    """`views` are names of addresses that this role is the lowest for, to read or to submit."""

    words: Any
    views: tuple[str, ...]


DUTIES: dict[Role, tuple[Duty, ...]] = {
    Role.VIEWER: (
        Duty(
            gettext_lazy("views repositories, tags, quotas and storage"),
            (
                *("dashboard", "repositories", "repository", "tag", "manifest", "base_image"),
                *("compare", "layer", "storage", "search", "chart", "quotas"),
            ),
        ),
        Duty(gettext_lazy("downloads tags as archives"), ("tag_archive",)),
        Duty(
            gettext_lazy("views mirrors, retention, garbage collection and deleted tags"),
            (
                *("mirrors", "mirror", "mirror_tags", "retention", "gc", "gc_run"),
                *("integrity_run", "recently_deleted", "protected"),
            ),
        ),
        Duty(
            gettext_lazy("views Activity and Health"),
            ("activity", "doctor", "parts_banner", "components"),
        ),
        Duty(gettext_lazy("changes only their own password"), ("password",)),
    ),
    Role.MAINTAINER: (
        Duty(
            gettext_lazy(
                "adds, deletes and restores tags, sets their expiry, describes repositories"
            ),
            (
                *("tag_add", "tag_expiry", "describe", "delete", "delete_run", "delete_stop"),
                *("restore", "restore_digest"),
            ),
        ),
        Duty(
            gettext_lazy("manages their own registry users within the granted rights"),
            ("users", "users_change", "users_measure", "user", "user_setup"),
        ),
        Duty(
            gettext_lazy(
                "runs dry runs of policies, estimates, integrity checks and mirror checks"
            ),
            (
                *("retention_dry_run", "retention_run", "retention_stop", "retention_csv"),
                *("gc_estimate", "gc_stop", "integrity_start", "integrity_stop", "mirror_check"),
            ),
        ),
    ),
    Role.ADMIN: (
        Duty(gettext_lazy("deletes permanently"), ("purge_manifest",)),
        Duty(
            gettext_lazy("manages protections, quotas and policies, runs garbage collection"),
            (
                *("protection_add", "protection_lift", "retention_policies", "retention_policy"),
                *("quota_set", "quota_remove"),
                *("gc_start", "gc_trust_clock", "gc_restore", "gc_purge"),
            ),
        ),
        Duty(
            gettext_lazy("manages mirrors, imports, backups and notifications"),
            (
                *("mirror_add", "mirror_change", "imports", "import_begin", "import_run"),
                *("import_stop", "archives", "archive_begin", "archive_upload", "archive_piece"),
                *("archive_import", "archive_remove", "backups", "backup_start", "backup_stop"),
                *("notifications", "receiver", "receiver_add", "receiver_change"),
            ),
        ),
        Duty(
            gettext_lazy("manages operators and all registry users"),
            (
                *("operators", "operator", "operator_add", "operator_change"),
                *("users_drift", "htpasswd_history", "htpasswd_file"),
            ),
        ),
        Duty(
            gettext_lazy("checks the health, checks and exports the audit log"),
            ("doctor_check", "activity_export", "activity_verify"),
        ),
    ),
}


def role_words(role: Role) -> str:
    """All of it in one line, beyond what the roles before it may do."""
    mark = pgettext("between clauses", "; ")
    words = mark.join(str(duty.words) for duty in DUTIES[role])
    return words if role == Role.VIEWER else _("also %(duties)s") % {"duties": words}
