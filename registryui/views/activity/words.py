"""The log in words: what each act is called, by whom it was done, and where its target is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext_lazy, pgettext_lazy

from registryui.audit import folding
from registryui.audit.chain import What
from registryui.models import AuditEvent, Operator, RegistryUser, portal_actor
from registryui.oci import digest as digests
from registryui.oci import names
from registryui.views.access import Request, may_open
from registryui.views.plain_text import line, shown

from .actors import Actor, actor_words

# Group of acts, then each act: icon and words. It lists each act that the code records:
# tests/views/test_activity.py looks for them.
ACTS: dict[str, tuple[Any, dict[str, tuple[str, Any]]]] = {
    "tag": (
        gettext_lazy("Tags"),
        {
            "tag.add": ("tags", gettext_lazy("Add tag")),
            "tag.delete": ("trash-2", gettext_lazy("Delete tag")),
            "tag.expire": ("hourglass", gettext_lazy("Delete expired tag")),
            "tag.expiry": ("hourglass", gettext_lazy("Set expiry of a tag")),
            "tag.restore": ("undo-2", gettext_lazy("Restore tag")),
        },
    ),
    "manifest": (
        gettext_lazy("Manifests"),
        {
            "manifest.delete": ("trash-2", gettext_lazy("Delete untagged manifest")),
            "manifest.restore": ("undo-2", gettext_lazy("Restore untagged manifest")),
            "manifest.delete_for_good": ("flame", gettext_lazy("Delete permanently")),
        },
    ),
    "repository": (
        gettext_lazy("Repositories"),
        {"repository.describe": ("pencil", gettext_lazy("Change description or README"))},
    ),
    "client": (
        gettext_lazy("Registry clients"),
        {
            "client.push": ("upload", gettext_lazy("Push tag (client)")),
            "client.move": ("history", gettext_lazy("Change tag to another digest (client)")),
            "client.delete": ("trash-2", gettext_lazy("Delete tag (client)")),
            "client.delete_manifest": ("trash-2", gettext_lazy("Delete manifest (client)")),
            "client.delete_blob": ("trash-2", gettext_lazy("Delete blob (client)")),
        },
    ),
    "denial": (
        gettext_lazy("Refused requests"),
        {
            "denial.login": ("log-in", gettext_lazy("Refused login")),
            "denial.pull": ("download", gettext_lazy("Refused pull")),
            "denial.push": ("upload", gettext_lazy("Refused push")),
            "denial.delete": ("trash-2", gettext_lazy("Refused delete")),
            "denial.others": ("ban", gettext_lazy("Refused, too many to be told apart")),
        },
    ),
    "protection": (
        gettext_lazy("Protections"),
        {
            "protection.add": ("lock", gettext_lazy("Protect tags")),
            "protection.change": ("lock-keyhole", gettext_lazy("Make protected tags immutable")),
            "protection.lift": ("lock-open", gettext_lazy("Remove protection")),
        },
    ),
    "quota": (
        gettext_lazy("Quotas"),
        {
            "quota.set": ("gauge", gettext_lazy("Set quota")),
            "quota.remove": ("trash-2", gettext_lazy("Remove quota")),
        },
    ),
    "mirror": (
        gettext_lazy("Mirrors"),
        {
            "mirror.add": ("cloud-download", gettext_lazy("Add mirror")),
            "mirror.change": ("pencil", gettext_lazy("Change mirror")),
            "mirror.enable": ("circle-check", gettext_lazy("Enable mirror")),
            "mirror.disable": ("ban", gettext_lazy("Disable mirror")),
            "mirror.pin": ("pin", gettext_lazy("Pin tags of a mirror")),
            "mirror.unpin": ("pin", gettext_lazy("Unpin tags of a mirror")),
            "mirror.evict": ("trash-2", gettext_lazy("Evict unused images of a mirror")),
            "mirror.remove": ("trash-2", gettext_lazy("Remove mirror")),
        },
    ),
    "receiver": (
        gettext_lazy("Notifications"),
        {
            "receiver.add": ("bell", gettext_lazy("Add receiver")),
            "receiver.change": ("pencil", gettext_lazy("Change receiver")),
            "receiver.enable": ("circle-check", gettext_lazy("Enable receiver")),
            "receiver.disable": ("ban", gettext_lazy("Disable receiver")),
            "receiver.secret": ("key-round", gettext_lazy("Renew signing secret of a receiver")),
            "receiver.remove": ("trash-2", gettext_lazy("Remove receiver")),
        },
    ),
    "import": (
        gettext_lazy("Imports"),
        {
            "import.end": ("download", gettext_lazy("Import images")),
        },
    ),
    "archive": (
        gettext_lazy("Exports"),
        {
            "archive.export": ("upload", gettext_lazy("Export tags as an archive")),
            "archive.download": ("download", gettext_lazy("Download a tag as an archive")),
            "archive.settings": ("upload", gettext_lazy("Export users, policies and the log")),
        },
    ),
    "retention": (
        gettext_lazy("Retention policies"),
        {
            "retention.add": ("recycle", gettext_lazy("Add policy")),
            "retention.change": ("pencil", gettext_lazy("Change policy")),
            "retention.enable": ("circle-check", gettext_lazy("Enable policy")),
            "retention.disable": ("ban", gettext_lazy("Disable policy")),
            "retention.remove": ("trash-2", gettext_lazy("Remove policy")),
            "retention.run": ("recycle", gettext_lazy("Run policy")),
        },
    ),
    "expiry": (
        gettext_lazy("Tag expiry"),
        {"expiry.run": ("hourglass", gettext_lazy("Delete expired tags"))},
    ),
    "store": (
        gettext_lazy("Garbage collection"),
        {
            "store.collect": ("recycle", gettext_lazy("Run garbage collection")),
            "clock.trust": ("clock", gettext_lazy("Trust the clock after a jump")),
            "store.put_back": ("undo-2", gettext_lazy("Restore from quarantine")),
            "store.remove_untagged": ("trash-2", gettext_lazy("Remove untagged manifests")),
        },
    ),
    "backup": (
        gettext_lazy("Backups"),
        {"backup.run": ("archive", gettext_lazy("Run backup"))},
    ),
    "hold": (
        gettext_lazy("Write freeze"),
        {
            "hold.on": ("ban", gettext_lazy("Start write freeze")),
            "hold.off": ("circle-check", gettext_lazy("End write freeze")),
        },
    ),
    "user": (
        gettext_lazy("Registry users"),
        {
            "user.create": ("user-plus", gettext_lazy("Create registry user")),
            "user.rights": ("shield", gettext_lazy("Change rights")),
            "user.describe": ("pencil", gettext_lazy("Change note or owner")),
            "user.secret": ("key-round", gettext_lazy("Create new secret")),
            "user.password": ("key-round", gettext_lazy("Set user-chosen password")),
            "user.disable": ("ban", gettext_lazy("Disable registry user")),
            "user.enable": ("circle-check", gettext_lazy("Enable registry user")),
            "user.expire": ("hourglass", gettext_lazy("Set expiry date")),
            "user.remove": ("user-x", gettext_lazy("Remove registry user")),
            "user.adopt": ("user-plus", gettext_lazy("Import from the htpasswd file")),
        },
    ),
    "line": (
        gettext_lazy("Manual edits of the htpasswd file"),
        {
            "line.take_over": ("file-check", gettext_lazy("Accept manual edit")),
            "line.put_back": ("undo-2", gettext_lazy("Revert manual edit")),
            "line.leave": ("circle-check", gettext_lazy("Ignore manual edit")),
        },
    ),
    "file": (
        gettext_lazy("htpasswd file"),
        {
            "file.restore": ("undo-2", gettext_lazy("Restore htpasswd version")),
            "file.publish": ("refresh-cw", gettext_lazy("Publish the files")),
        },
    ),
    "operator": (
        gettext_lazy("Operators"),
        {
            "operator.login": ("log-in", pgettext_lazy("act", "Log in")),
            "operator.logout": ("log-out", pgettext_lazy("act", "Log out")),
            "operator.create": ("user-plus", gettext_lazy("Add operator")),
            "operator.role": ("shield", gettext_lazy("Change role")),
            "operator.grant": ("shield", gettext_lazy("Change grants")),
            "operator.disable": ("ban", gettext_lazy("Disable operator")),
            "operator.enable": ("circle-check", gettext_lazy("Enable operator")),
            "operator.password": ("key-round", gettext_lazy("Change password")),
            "operator.remove": ("user-x", gettext_lazy("Remove operator")),
        },
    ),
    "page": (
        gettext_lazy("Portal"),
        {
            "page.refuse": ("ban", gettext_lazy("Submit a form that the role does not allow")),
        },
    ),
    "sync": (
        gettext_lazy("Syncs"),
        {
            "sync.start": ("refresh-cw", gettext_lazy("Start sync")),
        },
    ),
    "audit": (
        gettext_lazy("Audit log"),
        {
            "audit.verify": ("shield", gettext_lazy("Check the audit log")),
            "audit.export": ("download", gettext_lazy("Export the audit log")),
            "audit.prune": ("scissors", gettext_lazy("Prune old rows")),
        },
    ),
}
# Without an end: under way, or cut off. No filter offers them.
BEGINNINGS: dict[str, tuple[str, Any]] = {
    folding.DELETE: ("trash-2", gettext_lazy("Start deletion")),
    folding.IMPORT: ("download", gettext_lazy("Start import")),
}
_WORDS = {act: words for _group, acts in ACTS.values() for act, words in acts.items()} | BEGINNINGS
RESULTS: dict[str, tuple[str, str, Any]] = {
    "done": ("ok", "circle-check", pgettext_lazy("result", "done")),
    "refused": ("warn", "ban", pgettext_lazy("result", "refused")),
    "failed": ("bad", "circle-alert", pgettext_lazy("result", "failed")),
}
_FLAWS = {
    What.CHANGED: gettext_lazy("Row %(row)d was changed."),
    What.BROKEN: gettext_lazy("Rows before row %(row)d were removed, inserted or moved."),
    What.BEGINNING: gettext_lazy("Rows before row %(row)d were removed."),
    What.END: gettext_lazy("Row %(row)d was once the newest row, and is now missing or different."),
    What.PRUNED: gettext_lazy("Row %(row)d prunes rows that are still within the retention time."),
    What.UNGUARDED: gettext_lazy("The database no longer rejects changes to the log."),
}


def act_words(act: str) -> tuple[str, str]:
    """Icon and words; an unlisted act, of another version, is just an action."""
    icon, words = _WORDS.get(act, ("circle-dot", gettext_lazy("Other action")))
    return icon, str(words)


def is_known(act: str) -> bool:
    """Whether it has words of its own."""
    return act in _WORDS


def actor(name: str, *, act: str = "") -> str:
    """Who did it, as people read it. A registry user may have the schedule's name."""
    if name and act.startswith(("client.", "denial.")):
        return actor_words(name)
    return line(portal_actor(name), 80)


def flaw_words(what: str, row: int) -> str:
    """What is wrong with the log, as a sentence."""
    return str(_FLAWS.get(what, what)) % {"row": row} if what in _FLAWS else what


def details(row: AuditEvent) -> list[tuple[str, str]]:
    """The details as name and value, without characters that nobody sees."""
    found = row.details if isinstance(row.details, dict) else {"": row.details}
    return [(line(str(name), 60), _value(value)) for name, value in found.items()]


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, (str, int)) for one in value):
        text = ", ".join(str(one) for one in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return str(shown(text))


def targets(request: Request, rows: Sequence[AuditEvent]) -> dict[int, Actor]:
    """By row: the target on one line, and the way to it where there is one. Two queries at most."""
    ways = _ways_to_people(request, rows)
    return {
        row.pk: Actor(_target_words(row), ways.get(row.pk, "") or _way(request, row))
        for row in rows
    }


_PARTS: dict[tuple[str, str], Any] = {
    ("store", "store"): gettext_lazy("Store"),
    ("store", "all"): gettext_lazy("everything in quarantine"),
    ("clock", "store"): gettext_lazy("Store"),
    ("hold", "writes"): gettext_lazy("all writes"),
    ("hold", "manifests"): gettext_lazy("writes of manifests"),
}


def _target_words(row: AuditEvent) -> str:
    """The target on one line; what is no name of anything, in words."""
    part = _PARTS.get((row.act.partition(".")[0], row.target))
    return str(part) if part else line(row.target, 200)


def _ways_to_people(request: Request, rows: Iterable[AuditEvent]) -> dict[int, str]:
    """By row, the page of the registry user or operator that is its target."""
    found: dict[int, str] = {}
    visible = RegistryUser.objects.visible_to(request.user)
    for page, groups, people, column in (
        ("user", ("user", "line"), visible, "name"),
        ("operator", ("operator",), Operator.objects.all(), "username"),
    ):
        meant = [row for row in rows if row.act.partition(".")[0] in groups and row.target]
        if not meant or not may_open(request.user, page):
            continue
        wanted = {f"{column}__in": {row.target for row in meant}}
        pks = dict(people.filter(**wanted).values_list(column, "pk"))
        found |= {
            row.pk: reverse(page, args=[pks[row.target]]) for row in meant if row.target in pks
        }
    return found


_PAGES = {
    "import": "imports",
    "mirror": "mirrors",
    "protection": "protected",
    "receiver": "notifications",
    "retention": "retention",
    "store": "gc",
    "hold": "gc",
    "file": "htpasswd_history",
}


def _way(request: Request, row: AuditEvent) -> str:
    """The page of a repository, tag or manifest; that of the group of acts; "" for none."""
    group = row.act.partition(".")[0]
    if group in ("tag", "manifest", "repository", "delete", "client", "denial"):
        return _way_into_registry(row.target)
    page = _PAGES.get(group, "")
    return reverse(page) if page and may_open(request.user, page) else ""


def _way_into_registry(target: str) -> str:
    """Of `repository`, `repository:tag` or `repository@digest`; "" for anything else."""
    repository, at, digest = target.partition("@")
    repository, colon, tag = repository.partition(":")
    try:
        names.check_repository(repository)
        if at:
            found = [repository, digest] if digests.is_digest(digest) else []
            return reverse("manifest", args=found) if found else ""
        if colon:
            return reverse("tag", args=[repository, names.check_tag(tag)])
        return reverse("repository", args=[repository])
    except ValueError:
        return ""
