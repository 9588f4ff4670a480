"""Every page, and the states that it can be in. The braces in an address are facts of content.py.

A state that needs rows of its own has them for this one answer: render.py takes them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

from django.db import DatabaseError, OperationalError

from . import states
from .content import API, NOW
from .states import Given


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for, and by whom; `given` makes what it needs besides."""

    name: str
    path: str
    fields: Mapping[str, str | list[str]] | None = None  # of a form that is sent
    who: str = "ada"  # "": nobody signed in
    given: Given = nullcontext
    is_opened: bool = False  # with all that can be unfolded
    times: int = 1  # that the form is sent
    is_forged: bool = False  # without the form's token

    @property
    def is_main(self) -> bool:
        """Looked at in every width and theme, its HTML by all roles; a state is in two looks."""
        return self.name in MAIN


def _opened(*views: View) -> list[View]:
    return [replace(one, name=f"{one.name}-open", is_opened=True) for one in views]


# -- before anything was pushed ------------------------------------------------------------------
EMPTY = [
    View("empty-dashboard", "/"),
    View("empty-repositories", "/repositories/"),
    View("empty-repository", "/repositories/team/api"),
    View("empty-search", "/search"),
    View("empty-activity", "/activity"),
    View("empty-storage", "/storage"),
    View("empty-quotas", "/storage/quotas"),
    View("empty-users", "/users"),
    View("empty-htpasswd-history", "/users/htpasswd-history"),
    View("empty-operators", "/operators"),
    View("empty-retention", "/maintenance"),
    View("empty-recently-deleted", "/maintenance/recently-deleted"),
    View("empty-protected", "/maintenance/protected"),
    View("empty-gc", "/maintenance/gc"),
    View("empty-doctor", "/doctor"),
    View("empty-compare", "/compare"),
    View("empty-mirrors", "/mirrors"),
    View("empty-imports", "/imports"),
    View("empty-notifications", "/notifications"),
    View("empty-backups", "/maintenance/backups"),
]

# -- with content --------------------------------------------------------------------------------
_TAG = f"/repositories/{API}:2.14.0"
_ODD = "/repositories/tools/odd-labels:latest"
_TABS = (
    "layers",
    "entries",
    "dockerfile",
    "config",
    "labels",
    "used",
    "referrers",
    "history",
    "raw",
)

CATALOGUE = [
    View("dashboard", "/"),
    View("dashboard-silent-worker", "/", given=states.silent_worker),
    View("dashboard-all-well", "/", given=states.all_well),
    View("repositories", "/repositories/"),
    View("repositories-filtered", "/repositories/?q=a&namespace=platform&sort=-size"),
    View("repositories-nothing", "/repositories/?q=there-is-none"),
    View("repository", f"/repositories/{API}"),
    View("repository-sorted", f"/repositories/{API}?sort=-size"),
    View("repository-chosen", f"/repositories/{API}?tag=2.14.0&tag=2.0.0"),
    View("repository-filtered", f"/repositories/{API}?q=2.14*"),
    View("repository-nothing", f"/repositories/{API}?q=there-is-none"),
    View("repository-referrer-tags", f"/repositories/{API}?show=referrer-tags"),
    View("repository-untagged", f"/repositories/{API}?show=untagged"),
    View("repository-odd", "/repositories/tools/odd-labels"),
    View("repository-described", "/repositories/tools/odd-labels?show=readme"),
    View("repository-readme", f"/repositories/{API}?show=readme"),
    View("repository-describe", f"/describe/{API}"),
    View(
        "repository-preview", f"/describe/{API}", {"text": "a", "readme": "# <b>", "act": "preview"}
    ),
    View("repository-describe-wrong", f"/describe/{API}", {"text": "a" * 501, "readme": "<b>"}),
    View("repository-problems", "/repositories/legacy/old"),
    View("repository-cache", "/repositories/tools/ci-runner"),
    View("repository-mirrored", "/repositories/hub/library/nginx"),
    View("repository-missing", "/repositories/not/there"),
    View("repository-deleted", "/repositories/gone/away"),
    *(View(f"tag-{tab}", f"{_TAG}?tab={tab}") for tab in _TABS),
    View("tag-platform", f"{_TAG}?platform=linux/arm64/v8"),
    View("tag-no-platform", f"{_TAG}?platform=plan9/mips"),
    View("tag-raw-config", f"{_TAG}?tab=raw&part=config"),
    View("tag-add", f"/repositories/{API}@{{index}}/tag"),
    View("tag-expiry", f"/repositories/{API}:2.13.2/expiry"),
    View(
        "tag-expiry-wrong", f"/repositories/{API}:2.13.2/expiry", {"way": "in", "duration": "<b>"}
    ),
    View("tag-restore", f"/repositories/{API}:latest?tab=history&restore_digest={{older}}"),
    View("tag-history-moved", f"/repositories/{API}:latest?tab=history"),
    View("tag-protected", f"/repositories/{API}:2.13.2"),
    View("tag-based", "/repositories/data/postgres:16.4"),
    View("tag-missing", f"/repositories/{API}:0.0"),
    View("tag-deleted", f"/repositories/{API}:0.9"),
    View("tag-chart", "/repositories/charts/api:2.14.0"),
    View("tag-files", "/repositories/notes:1"),
    *(View(f"tag-odd-{tab}", f"{_ODD}?tab={tab}") for tab in ("labels", "dockerfile", "config")),
    *(
        View(f"tag-{one}", f"/repositories/legacy/old:{one}")
        for one in ("old", "gone", "unreadable", "half", "nothing-in-it", "broken")
    ),
    View("manifest", f"/repositories/{API}@{{untagged}}"),
    View("manifest-missing", f"/repositories/{API}@sha256:{'0' * 64}"),
    View("base-image", "/repositories/data/postgres@{postgres}/base"),
    View("purge", f"/repositories/{API}@{{untagged}}/delete-permanently"),
    View("purge-tagged", f"/repositories/{API}@{{index}}/delete-permanently"),
    View(
        "purge-refused",
        f"/repositories/{API}@{{untagged}}/delete-permanently",
        {"fingerprint": "old", "name": API},
    ),
    View("layer", "/layers/{layer}"),
    View("compare", f"/compare?a={API}:2.14.0-rc.2&b={API}:2.14.0"),
    View("compare-one", f"/compare?a={API}:2.14.0"),
    View("compare-all", f"/compare?a={API}:2.14.0&b=data/postgres:16.4&all=1"),
    View("compare-wrong", "/compare?a=not/there:1&b=<b>"),
    View("storage", "/storage"),
    View("quotas", "/storage/quotas"),
    View("quotas-wrong", "/storage/quotas/set", {"namespace": "<b>", "bytes": "x", "tags": "5"}),
    View("quotas-removed", "/storage/quotas/remove", {"quota": "1"}),
    View("storage-own", "/storage?sort=own&top=own"),
    View("search", "/search"),
    View("search-found", "/search?q=api"),
    View("search-words", "/search?q=api+platform:arm64+-tag:dev+size>1kB"),
    View("search-wrong", "/search?q=api+is:nice+size>much"),
    View("search-nothing", "/search?q=there-is-none"),
    View("search-untagged", "/search?q=is:untagged"),
    View("search-problems", "/search?q=is:broken"),
    View("activity", "/activity"),
    View("activity-filtered", "/activity?actor=ada&act=user&result=done&since=2026-11-01"),
    View("activity-nothing", "/activity?target=there-is-none"),
]

DELETION = [
    View("delete", "/delete", {"repository": API, "tag": ["2.14.0", "2.12.0", "2.13.2", "never"]}),
    View("delete-one", "/delete", {"repository": "notes", "tag": "1"}),
    View("delete-many", "/delete", {"repository": API, "q": "2", "matching": "1"}),
    View("delete-repository", "/delete", {"repository": "shop/web", "all": "1"}),
    View("delete-untagged", "/delete", {"repository": API, "manifest": "{untagged}"}),
    View("delete-protected", "/delete", {"repository": "library/debian", "tag": "12"}),
    View("delete-nothing", "/delete", {"repository": API, "untagged": "1"}),
    View(
        "delete-changed",
        "/delete",
        {"repository": "notes", "tag": "1", "fingerprint": "old"},
    ),
    View("delete-run", "/delete/runs/{deleted}"),
    View("delete-run-running", "/delete/runs/{next_run}", given=states.deleting),
    View("recently-deleted", "/maintenance/recently-deleted"),
    View("recently-deleted-filtered", "/maintenance/recently-deleted?how=overwritten&q=api"),
    View("recently-deleted-nothing", "/maintenance/recently-deleted?q=there-is-none"),
    View("restore-conflict", "/restore", {"tombstone": "{taken}"}, given=states.pushed_again),
    View(
        "restore-conflict-again",
        "/restore",
        {"tombstone": "{taken}", "expected": "x"},
        given=states.pushed_again,
    ),
    View("protected", "/maintenance/protected"),
    View("protected-one", "/maintenance/protected?rule=1"),
    View("protected-filled", "/maintenance/protected?repositories=a/b&tags=1.0"),
    View("protected-wrong", "/maintenance/protected/add", {"repositories": "<b>", "tags": "*"}),
    View("protected-lifted", "/maintenance/protected/lift", {"protection": "1"}),
]

MAINTENANCE = [
    View("retention", "/maintenance"),
    View("retention-new", "/maintenance?new=1"),
    View("retention-edit", "/maintenance?edit={draft}"),
    View("retention-ask-run", "/maintenance/runs/{asked}?confirm=1"),
    View("retention-ask-remove", "/maintenance?remove={draft}"),
    View("retention-wrong", "/maintenance/policies", {"name": "new <b>", "repositories": "*"}),
    View("retention-dry-run", "/maintenance/runs/{dry}"),
    View("retention-dry-run-goes", "/maintenance/runs/{dry}?show=goes"),
    View("retention-run", "/maintenance/runs/{failed}"),
    View("retention-run-running", "/maintenance/runs/{next_run}", given=states.retention_running),
    View("retention-csv", "/maintenance/runs/{dry}.csv"),
    View("gc", "/maintenance/gc"),
    View("gc-running", "/maintenance/gc", given=states.gc_running),
    View("gc-failed", "/maintenance/gc", given=states.gc_failed),
    View("gc-stopped", "/maintenance/gc", given=states.gc_stopped),
    View("gc-silent", "/maintenance/gc", given=states.gc_silent),
    View("gc-nothing", "/maintenance/gc", given=states.gc_nothing),
    View("gc-clock", "/maintenance/gc", given=states.clock_jumped),
    View("gc-check-running", "/maintenance/gc", given=states.check_running),
    View("gc-waiting", f"/maintenance/gc?was={{gc}}&asked={int(NOW.timestamp())}"),
    View("gc-late", f"/maintenance/gc?was={{gc}}&asked={int(NOW.timestamp()) - 30}"),
    View("gc-purge", "/maintenance/gc/purge"),
    View("gc-report", "/maintenance/gc/{gc}"),
    View("gc-report-running", "/maintenance/gc/{next_run}", given=states.gc_running),
    View("gc-report-failed", "/maintenance/gc/{next_run}", given=states.gc_failed),
    View("integrity", "/maintenance/integrity/{check}"),
    View("integrity-running", "/maintenance/integrity/{next_run}", given=states.check_running),
    View("integrity-failed", "/maintenance/integrity/{next_run}", given=states.check_failed),
    View("doctor", "/doctor"),
    View("doctor-down", "/doctor", given=states.registry_down),
    View("repositories-down", "/repositories/", given=states.registry_down),
    View("doctor-well", "/doctor", given=states.all_well),
    View("doctor-never", "/doctor", given=states.never_examined),
    View("doctor-silent", "/doctor", given=states.silent_worker),
    View("doctor-waiting", f"/doctor?seen={{round}}&asked={int(NOW.timestamp())}"),
]

MIRRORS = [
    View("mirrors", "/mirrors"),
    View("mirrors-new", "/mirrors?new=1&preset=hub"),
    View("mirrors-wrong", "/mirrors/add", {"name": "<b>", "url": "http://quay.io"}),
    View("mirror", "/mirrors/{hub}"),
    View("mirror-away", "/mirrors/{quay}"),
    View("mirror-disabled", "/mirrors/{k8s}"),
    View("mirror-unused", "/mirrors/{other}"),
    View("mirror-edit", "/mirrors/{hub}?edit=1"),
    View("mirror-ask-remove", "/mirrors/{hub}?remove=1"),
    View("mirror-pin-wrong", "/mirrors/{hub}/change", {"act": "pin", "pin": "<b>"}),
    View("mirror-tags", "/mirrors/{hub}/tags?repository=library/nginx", given=states.upstream_tags),
    View(
        "mirror-tags-refused",
        "/mirrors/{quay}/tags?repository=not/there",
        given=states.no_upstream_tags,
    ),
    View("mirror-checked", "/mirrors/{hub}/check", {"ok": "1"}, given=states.upstream_checked),
]

NOTIFICATIONS = [
    View("notifications", "/notifications"),
    View("notifications-new", "/notifications?new=1"),
    View("notifications-wrong", "/notifications/add", {"name": "<b>", "kind": "webhook"}),
    View("receiver", "/notifications/{chat}"),
    View("receiver-mail", "/notifications/{ops}"),
    View("receiver-disabled", "/notifications/{quiet}"),
    View("receiver-edit", "/notifications/{ops}?edit=1"),
    View("receiver-ask-remove", "/notifications/{chat}?remove=1"),
]

IMPORTS = [
    View("imports", "/imports"),
    View("imports-again", "/imports?again={import}"),
    View("imports-wrong", "/imports/begin", {"url": "http://quay.io", "user": "<b>"}),
    View("archives", "/imports/archives"),
    View("archives-wrong", "/imports/archives/upload", {"name": "<b>"}),
    View("import", "/imports/{import}"),
    View("import-skipped", "/imports/{import}?show=skipped"),
    View("import-dry", "/imports/{import_dry}"),
    View("import-failed", "/imports/{import_failed}"),
    View("import-running", "/imports/{import_running}"),
    View("backups", "/maintenance/backups"),
]

_MACHINES = ("docker", "containerd", "podman", "debian", "rhel", "macos", "windows", "kubernetes")
_NEW_USER = {"name": "new-one", "preset": "push", "end": "183", "secret": "generated"}
PEOPLE = [
    View("users", "/users"),
    View("users-no-drift", "/users", given=states.adopted_file),
    View("users-filtered", "/users?q=team&sort=-used"),
    View("users-nothing", "/users?q=there-is-none&state=off"),
    View("users-wrong", "/users", {**_NEW_USER, "name": "<b>", "preset": "custom", "pull": "a b"}),
    View("users-ask-remove", "/users/change", {"act": "remove", "user": ["{user}", "{anna}"]}),
    View("users-none-chosen", "/users/change", {"act": "off"}),
    View("user", "/users/{user}"),
    View("user-weak", "/users/{weak}"),
    View("user-own-password", "/users/{anna}"),
    View("user-ask-remove", "/users/{user}?remove=1"),
    View("user-wrong", "/users/{user}", {"act": "rights", "pull": "a b", "push": "", "delete": ""}),
    View("user-setup", "/users", _NEW_USER),
    View("user-new-secret", "/users/{user}", {"act": "secret", "overlap": "0"}),
    View("htpasswd-history", "/users/htpasswd-history"),
    View("htpasswd-file", "/users/htpasswd-history/{version}"),
    View("operators", "/operators"),
    View("operators-wrong", "/operators/add", {"name": "a b", "role": "viewer"}),
    View("operator", "/operators/{mo}"),
    View("operator-self", "/operators/{ada}"),
    View("operator-disabled", "/operators/{nils}"),
    *(
        View(f"operator-ask-{ask}", f"/operators/{{mo}}?ask={ask}")
        for ask in ("off", "remove", "viewer")
    ),
    View("operator-new", "/operators/add", {"name": "new-one", "role": "maintainer"}),
    View("operator-password", "/operators/{vera}/change", {"act": "password"}),
    View("password", "/password"),
    View("password-wrong", "/password", {"old_password": "x", "new_password1": "y"}),
    View("login", "/login", who=""),
    View("login-next", "/search?q=a", who=""),
    View("login-wrong", "/login", {"username": "<b>vera", "password": "x"}, who=""),
    View("login-locked", "/login", {"username": "vera", "password": "x"}, who="", times=5),
    View(
        "login-too-many",
        "/login",
        {"username": "vera", "password": "x"},
        who="",
        given=states.no_turn,
    ),
    *(View(f"trust-{one}", f"/trust?machine={one}", who="") for one in _MACHINES),
    View("trust-own-certificate", "/trust", given=states.own_certificate),
    View("trust", "/trust"),
]

ERRORS = [
    View("error-403", "/operators", who="vera"),
    View("error-403-form", "/login", {"username": "a"}, who="", is_forged=True),
    View("error-404", "/nowhere"),
    View("error-404-nobody", "/nowhere", who=""),
    View("error-500", "/repositories/", given=states.failing(ValueError("x"))),
    View("error-500-database", "/repositories/", given=states.failing(DatabaseError("x"))),
    View("error-503", "/repositories/", given=states.failing(OperationalError("x"))),
]

COMPONENTS = [
    View("components", "/components", given=states.for_developers),
    View("components-dialog", "/components?dialog=1", given=states.for_developers),
]

_FULL = [
    *CATALOGUE, *DELETION, *MAINTENANCE, *MIRRORS, *NOTIFICATIONS, *IMPORTS, *PEOPLE, *ERRORS,
    *COMPONENTS,
]  # fmt: skip
_UNFOLDED = (
    *("dashboard", "repository", "tag-layers", "tag-odd-labels", "search", "search-found"),
    *("activity", "user", "user-setup", "users", "retention-edit", "gc", "doctor", "compare"),
    *("mirror", "mirrors-new", "doctor-down", "receiver"),
)
FULL = [*_FULL, *_opened(*(one for one in _FULL if one.name in _UNFOLDED))]

_TRUNK = """
dashboard dashboard-open repositories repository repository-chosen
repository-readme repository-describe repository-referrer-tags repository-untagged
tag-layers tag-entries tag-dockerfile tag-config
tag-labels tag-used tag-referrers tag-history tag-raw tag-restore tag-based tag-odd-labels
manifest purge layer compare
storage search search-found search-wrong activity delete delete-run recently-deleted
restore-conflict protected retention retention-edit retention-ask-run retention-dry-run
retention-run gc gc-running gc-purge gc-report integrity doctor doctor-down repositories-down
users users-ask-remove user
user-ask-remove user-setup htpasswd-history htpasswd-file operators operator operator-ask-remove
mirrors mirror mirror-away mirror-edit mirror-ask-remove mirror-tags empty-mirrors
password login login-locked trust-docker error-403 error-404 error-500 empty-dashboard
empty-repositories empty-retention components
"""
MAIN = frozenset(_TRUNK.split())
assert {one.name for one in (*EMPTY, *FULL)} >= MAIN
