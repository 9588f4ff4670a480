"""The URLs of the portal."""

from django.urls import URLPattern, URLResolver, path, re_path, register_converter

from registryui.views import converters
from registryui.views.activity.page import activity, activity_export, activity_verify
from registryui.views.backups import backup_start, backup_stop, backups
from registryui.views.catalogue.base_image import base_image
from registryui.views.catalogue.chart import chart
from registryui.views.catalogue.compare import compare
from registryui.views.catalogue.describe import describe
from registryui.views.catalogue.layer import layer
from registryui.views.catalogue.repositories import repositories
from registryui.views.catalogue.repository import repository
from registryui.views.catalogue.tag import manifest, tag
from registryui.views.catalogue.tag_add import tag_add
from registryui.views.catalogue.tag_archive import tag_archive
from registryui.views.catalogue.tag_expiry import tag_expiry
from registryui.views.catalogue.tag_history import restore_digest
from registryui.views.components import components
from registryui.views.dashboard import dashboard
from registryui.views.deletion.bulk import delete_run, delete_stop
from registryui.views.deletion.guard import guarded
from registryui.views.deletion.plan import delete
from registryui.views.deletion.protection import protected, protection_add, protection_lift
from registryui.views.deletion.purge import purge_manifest
from registryui.views.deletion.recently_deleted import recently_deleted, restore
from registryui.views.doctor import doctor, doctor_check
from registryui.views.gc.integrity import integrity_run, integrity_start, integrity_stop
from registryui.views.gc.page import (
    gc,
    gc_estimate,
    gc_purge,
    gc_restore,
    gc_run,
    gc_start,
    gc_stop,
    gc_trust_clock,
)
from registryui.views.health import healthz
from registryui.views.hooks import registry as hook
from registryui.views.imports.archives import (
    archive_begin,
    archive_import,
    archive_piece,
    archive_remove,
    archive_upload,
    archives,
)
from registryui.views.imports.list import import_begin, imports
from registryui.views.imports.run import import_run, import_stop
from registryui.views.metrics import metrics, metrics_of_registry
from registryui.views.mirrors.detail import mirror, mirror_change, mirror_check
from registryui.views.mirrors.list import mirror_add, mirrors
from registryui.views.mirrors.tags import mirror_tags
from registryui.views.notifications.detail import receiver, receiver_change
from registryui.views.notifications.list import notifications, receiver_add
from registryui.views.old_addresses import OLD_ADDRESSES, old_address
from registryui.views.operators.login import login, logout
from registryui.views.operators.page import operator, operator_add, operator_change, operators
from registryui.views.operators.password import password
from registryui.views.operators.preferences import preferences
from registryui.views.parts import parts_banner
from registryui.views.quotas import quota_remove, quota_set, quotas
from registryui.views.retention.policies import (
    retention,
    retention_dry_run,
    retention_policies,
    retention_policy,
)
from registryui.views.retention.run import retention_csv, retention_run, retention_stop
from registryui.views.search.docker import catalog, docker_search
from registryui.views.search.page import search
from registryui.views.storage import storage
from registryui.views.trust import ca, trust
from registryui.views.users.created import user_setup
from registryui.views.users.detail import user, users_measure
from registryui.views.users.htpasswd_history import htpasswd_file, htpasswd_history, users_drift
from registryui.views.users.list import users, users_change

register_converter(converters.RepositoryConverter, "repository")
register_converter(converters.TagConverter, "tag")
register_converter(converters.DigestConverter, "digest")

handler500 = "registryui.views.failed.failed"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", dashboard, name="dashboard"),
    path("repositories/", repositories, name="repositories"),
    path("repositories/<repository:repository>", repository, name="repository"),
    path("repositories/<repository:repository>:<tag:tag>", tag, name="tag"),
    path("repositories/<repository:repository>@<digest:digest>/tag", tag_add, name="tag_add"),
    path("repositories/<repository:repository>:<tag:tag>/archive", tag_archive, name="tag_archive"),
    path("repositories/<repository:repository>:<tag:tag>/expiry", tag_expiry, name="tag_expiry"),
    path("repositories/<repository:repository>@<digest:digest>", manifest, name="manifest"),
    path(
        "repositories/<repository:repository>@<digest:digest>/base", base_image, name="base_image"
    ),
    path("repositories/<repository:repository>@<digest:digest>/chart", chart, name="chart"),
    path(
        "repositories/<repository:repository>@<digest:digest>/delete-permanently",
        purge_manifest,
        name="purge_manifest",
    ),
    path("describe/<repository:repository>", describe, name="describe"),
    path("delete", delete, name="delete"),
    path("delete/runs/<int:pk>", delete_run, name="delete_run"),
    path("delete/runs/<int:pk>/stop", delete_stop, name="delete_stop"),
    path("maintenance/recently-deleted", recently_deleted, name="recently_deleted"),
    path("restore", restore, name="restore"),
    path("compare", compare, name="compare"),
    path("layers/<digest:digest>", layer, name="layer"),
    path("restore-digest", restore_digest, name="restore_digest"),
    path("storage", storage, name="storage"),
    path("storage/quotas", quotas, name="quotas"),
    path("storage/quotas/set", quota_set, name="quota_set"),
    path("storage/quotas/remove", quota_remove, name="quota_remove"),
    path("search", search, name="search"),
    path("maintenance/protected", protected, name="protected"),
    path("maintenance/protected/add", protection_add, name="protection_add"),
    path("maintenance/protected/lift", protection_lift, name="protection_lift"),
    path("mirrors", mirrors, name="mirrors"),
    path("mirrors/add", mirror_add, name="mirror_add"),
    path("mirrors/<int:pk>", mirror, name="mirror"),
    path("mirrors/<int:pk>/change", mirror_change, name="mirror_change"),
    path("mirrors/<int:pk>/check", mirror_check, name="mirror_check"),
    path("mirrors/<int:pk>/tags", mirror_tags, name="mirror_tags"),
    path("notifications", notifications, name="notifications"),
    path("notifications/add", receiver_add, name="receiver_add"),
    path("notifications/<int:pk>", receiver, name="receiver"),
    path("notifications/<int:pk>/change", receiver_change, name="receiver_change"),
    path("imports", imports, name="imports"),
    path("imports/begin", import_begin, name="import_begin"),
    path("imports/<int:pk>", import_run, name="import_run"),
    path("imports/<int:pk>/stop", import_stop, name="import_stop"),
    path("imports/archives", archives, name="archives"),
    path("imports/archives/begin", archive_begin, name="archive_begin"),
    path("imports/archives/upload", archive_upload, name="archive_upload"),
    path("imports/archives/<slug:id>/piece", archive_piece, name="archive_piece"),
    path("imports/archives/<slug:id>/import", archive_import, name="archive_import"),
    path("imports/archives/<slug:id>/remove", archive_remove, name="archive_remove"),
    path("activity", activity, name="activity"),
    path("activity/export", activity_export, name="activity_export"),
    path("activity/verify", activity_verify, name="activity_verify"),
    path("password", password, name="password"),
    path("users", users, name="users"),
    path("users/change", users_change, name="users_change"),
    path("users/drift", users_drift, name="users_drift"),
    path("users/measure", users_measure, name="users_measure"),
    path("users/htpasswd-history", htpasswd_history, name="htpasswd_history"),
    path("users/htpasswd-history/<int:version>", htpasswd_file, name="htpasswd_file"),
    path("users/<int:pk>", user, name="user"),
    path("users/<int:pk>/setup", user_setup, name="user_setup"),
    path("operators", operators, name="operators"),
    path("operators/add", operator_add, name="operator_add"),
    path("operators/<int:pk>", operator, name="operator"),
    path("operators/<int:pk>/change", operator_change, name="operator_change"),
    path("maintenance", retention, name="retention"),
    path("maintenance/policies", retention_policies, name="retention_policies"),
    path("maintenance/policies/<int:pk>", retention_policy, name="retention_policy"),
    path("maintenance/policies/<int:pk>/dry-run", retention_dry_run, name="retention_dry_run"),
    path("maintenance/runs/<int:pk>", retention_run, name="retention_run"),
    path("maintenance/runs/<int:pk>/stop", retention_stop, name="retention_stop"),
    path("maintenance/runs/<int:pk>.csv", retention_csv, name="retention_csv"),
    path("components", components, name="components"),
    path("doctor", doctor, name="doctor"),
    path("doctor/check", doctor_check, name="doctor_check"),
    path("doctor/banner", parts_banner, name="parts_banner"),
    path("maintenance/gc", gc, name="gc"),
    path("maintenance/gc/estimate", gc_estimate, name="gc_estimate"),
    path("maintenance/gc/start", gc_start, name="gc_start"),
    path("maintenance/gc/stop", gc_stop, name="gc_stop"),
    path("maintenance/gc/trust-clock", gc_trust_clock, name="gc_trust_clock"),
    path("maintenance/gc/restore", gc_restore, name="gc_restore"),
    path("maintenance/gc/purge", gc_purge, name="gc_purge"),
    path("maintenance/gc/<int:pk>", gc_run, name="gc_run"),
    path("maintenance/backups", backups, name="backups"),
    path("maintenance/backups/start", backup_start, name="backup_start"),
    path("maintenance/backups/stop", backup_stop, name="backup_stop"),
    path("maintenance/integrity/start", integrity_start, name="integrity_start"),
    path("maintenance/integrity/stop", integrity_stop, name="integrity_stop"),
    path("maintenance/integrity/<int:pk>", integrity_run, name="integrity_run"),
    # -- public
    path("trust", trust, name="trust"),
    path("ca.crt", ca, name="ca"),
    path("login", login, name="login"),
    path("logout", logout, name="logout"),
    path("preferences", preferences, name="preferences"),
    path("metrics", metrics, name="metrics"),
    path("metrics/registry", metrics_of_registry, name="metrics_of_registry"),
    path("healthz", healthz, name="healthz"),
    re_path(OLD_ADDRESSES, old_address, name="old_address"),
    # -- for registry users: authenticated by nginx
    path("v1/search", docker_search, name="docker_search"),
    path("v2/_catalog", catalog, name="catalog"),
    path("v2/<repository:repository>/<str:kind>/<str:reference>", guarded, name="guarded"),
    # -- for the registry on loopback: nginx answers 404 in its place
    path("hooks/registry", hook, name="hook"),
]
