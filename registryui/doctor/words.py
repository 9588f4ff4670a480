"""What a finding says to a person, in the language that is active when it is shown.

Advice is what to do, as a command where there is one. The values in `params` come from the machine
(paths, numbers, error texts of programs) and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import humanize
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from registryui import schedules

from .findings import Finding

Params = Mapping[str, Any]
SHOWN_PACKAGES = 6


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences about one part. `note` and `advice` may be empty."""

    title: str  # the part: "Front door"
    value: str  # the fact in a few words: "Answers in 12 ms"
    note: str  # one thing more
    advice: str  # what to do; empty when nothing is to be done


def texts(finding: Finding) -> Words:
    """The words for a finding; one that another version wrote is said by its code."""
    title = _title(finding.name)
    say = _SAY.get(finding.code)
    try:
        if say is not None:
            return Words(title, *say(finding.params))
    except (KeyError, TypeError, ValueError):
        pass  # written by another version
    return Words(title, finding.code, "", "")


def _title(name: str) -> str:
    titles = {
        "registry": _("Registry"),
        "front door": _("Proxy (nginx)"),
        "htpasswd": _("htpasswd file"),
        "certificate": _("Certificate"),
        "database": _("Database"),
        "hosts": _("Other hosts"),
        "events": _("Events"),
        "index": _("Index"),
        "store": _("Store"),
        "disk": _("Disk"),
        "clock": _("Clock"),
        "gc": _("Garbage collection"),
        "integrity": _("Integrity check"),
        "audit log": _("Audit log"),
        "packages": _("Debian packages"),
        "worker": _("Worker"),
    }
    return titles.get(name, name)


Said = tuple[str, str, str]  # value, note, advice


# -- any part ------------------------------------------------------------------------------------
def _broken(p: Params) -> Said:
    return (
        _("The check itself failed"),
        str(p["error"]),
        _("Run ./boathouse doctor on the server. If it reports the same, this is a bug."),
    )


def _late(p: Params) -> Said:
    return (
        _("No response within %(seconds)d seconds") % {"seconds": p["seconds"]},
        "",
        _("Check whether the disk or the network of the server hangs."),
    )


# -- registry ------------------------------------------------------------------------------------
def _registry_ok(p: Params) -> Said:
    return _("Responds in %(ms)d ms") % {"ms": p["ms"]}, str(p["version"]), ""


def _registry_unreachable(p: Params) -> Said:
    return (
        _("Does not respond"),
        f"{p['url']}: {p['error']}",
        _("Start it with ./boathouse up and check its output. Pushes and pulls fail until then."),
    )


def _registry_answer(p: Params) -> Said:
    return (
        _("Responds, but not as a registry"),
        f"{p['url']}: {p['error']}",
        _("Another program may use its port: run ./boathouse down, then ./boathouse up."),
    )


def _registry_unconfigured(p: Params) -> Said:
    return (
        _("Its configuration cannot be read"),
        str(p["path"]),
        _("Run ./boathouse up to write a new configuration."),
    )


def _registry_delete(p: Params) -> Said:
    return (
        _("Deletion is disabled"),
        str(p["path"]),
        _("Set storage.delete.enabled to true, or run ./boathouse up to write the configuration."),
    )


def _registry_cache(p: Params) -> Said:
    return (
        _("Keeps a cache of blob descriptors"),
        str(p["path"]),
        _(
            "Remove storage.cache.blobdescriptor, or run ./boathouse up: with this "
            "cache, a push after garbage collection skips blobs that no longer exist."
        ),
    )


def _registry_hook(p: Params) -> Said:
    return (
        _("Sends no notifications to the portal"),
        str(p["path"]),
        _("Run ./boathouse up to configure the notification endpoint of this portal."),
    )


# -- front door ----------------------------------------------------------------------------------
def _proxy_ok(p: Params) -> Said:
    return _("Responds in %(ms)d ms") % {"ms": p["ms"]}, f"nginx, {p['protocol']}", ""


def _proxy_closed(p: Params) -> Said:
    return (
        _("No response at %(address)s") % {"address": p["address"]},
        str(p["error"]),
        _("Start it with ./boathouse up and check the output of nginx."),
    )


def _proxy_untrusted(p: Params) -> Said:
    return (
        _("Presents a certificate that clients reject"),
        str(p["error"]),
        _(
            "Run ./boathouse manage tls --renew, then ./boathouse up. If another program has the "
            "port, stop that one first."
        ),
    )


def _proxy_old_certificate(p: Params) -> Said:
    return (
        _("Presents an older certificate than the file"),
        _("nginx has not been reloaded since the renewal."),
        _("Run ./boathouse up to reload nginx."),
    )


def _proxy_held(p: Params) -> Said:
    until = timezone.localtime(datetime.fromisoformat(p["until"]))
    words = {"by": p["by"], "until": date_format(until, "DATETIME_FORMAT")}
    return (
        _("Write freeze: pushes and deletions are rejected")
        if p["what"] == "writes"
        else _("Write freeze: manifest pushes and deletions are rejected"),
        _("Started by %(by)s, until %(until)s at the latest.") % words,
        _("When the work is done, run ./boathouse freeze off."),
    )


def _proxy_open(p: Params) -> Said:
    return (
        _("Allows access without a password"),
        "",
        _("Stop it with ./boathouse down, then run ./boathouse up to write a new nginx.conf."),
    )


def _proxy_no_passwords(p: Params) -> Said:
    return (
        _("nginx cannot read the htpasswd file"),
        _("It returns %(status)d to a login.") % {"status": p["status"]},
        _("See the findings for the htpasswd file and the error log of nginx."),
    )


def _proxy_no_registry(p: Params) -> Said:
    return (
        _("nginx cannot reach the registry"),
        _("It returns %(status)d to a client.") % {"status": p["status"]},
        _("See the findings for the registry; ./boathouse up starts it."),
    )


def _proxy_no_portal(p: Params) -> Said:
    return (
        _("nginx cannot reach the portal"),
        _("It returns %(status)d to a browser. Pushes and pulls are not affected.")
        % {"status": p["status"]},
        _("Start it with ./boathouse up and check the output of the web process."),
    )


def _proxy_answer(p: Params) -> Said:
    return (
        _("Responds, but not as the Boathouse proxy"),
        _("It returns %(status)d to a client.") % {"status": p["status"]},
        _("Another program may use its port: run ./boathouse down, then ./boathouse up."),
    )


# -- password file -------------------------------------------------------------------------------
def _htpasswd_ok(p: Params) -> Said:
    users = int(p["users"])
    return (
        ngettext("%(users)d registry user", "%(users)d registry users", users) % {"users": users},
        _("Readable by nginx"),
        "",
    )


def _htpasswd_missing(p: Params) -> Said:
    return (
        _("Missing"),
        str(p["path"]),
        _("Run ./boathouse user publish to write it again from the database."),
    )


def _htpasswd_unreadable(p: Params) -> Said:
    return (
        _("nginx cannot read it"),
        _("The user %(user)s may not open %(blocked)s.")
        % {"user": p["user"], "blocked": p["blocked"]},
        _("Grant access: chgrp %(user)s and chmod g+r for the file, chmod o+x for its folders.")
        % {"user": p["user"]},
    )


def _htpasswd_lines(p: Params) -> Said:
    comma = pgettext("between names in a list", ", ")
    lines = comma.join(str(int(number)) for number in p["lines"])
    return (
        ngettext(
            "%(count)d line is invalid and allows no login",
            "%(count)d lines are invalid and allow no login",
            len(p["lines"]),
        )
        % {"count": len(p["lines"])},
        _("Lines: %(lines)s") % {"lines": lines},
        _("Correct or remove them in %(path)s: name, colon and a hash that nginx supports.")
        % {"path": p["path"]},
    )


def _htpasswd_empty(p: Params) -> Said:
    return (
        _("Nobody can log in"),
        _("The file contains no users."),
        _("Add a registry user: ./boathouse user add NAME --pull '*' --push '*'"),
    )


def _htpasswd_old_missing(p: Params) -> Said:
    return (
        _("The file of replaced secrets is missing"),
        _("A wrong password is reported as a missing right: %(path)s") % {"path": p["path"]},
        _("Run ./boathouse user publish to write it again from the database."),
    )


def _htpasswd_old_unreadable(p: Params) -> Said:
    _value, note, advice = _htpasswd_unreadable(p)
    return _("nginx cannot read the file of replaced secrets"), note, advice


def _htpasswd_pending(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "The files differ from the database for %(count)d registry user",
        "The files differ from the database for %(count)d registry users",
        count,
    )
    return (
        value % {"count": count},
        _names(p),
        _("Check the disk and the owner of the files, then run ./boathouse user publish."),
    )


def _htpasswd_lost(p: Params) -> Said:
    return (
        _("All lines have been removed"),
        _("Nobody can log in: %(names)s") % {"names": _names(p)},
        _("Run ./boathouse user publish to write them again from the database."),
    )


def _htpasswd_drift(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "%(count)d line was edited by hand", "%(count)d lines were edited by hand", count
    )
    return (
        value % {"count": count},
        _names(p),
        _("./boathouse user drift lists the changes: accept, revert or ignore them."),
    )


def _passwords_down(p: Params) -> Said:
    return (
        _("User-chosen passwords cannot be checked"),
        _("Component passwords: %(trouble)s. Affected users: %(names)s")
        % {"trouble": p["trouble"], "names": _names(p)},
        _(
            "Restart Boathouse. With systemd, regenerate the units first: ./boathouse "
            "manage units /etc/systemd/system"
        ),
    )


def _htpasswd_slow(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "%(count)d password is slow to check", "%(count)d passwords are slow to check", count
    )
    return (
        value % {"count": count},
        _names(p),
        _(
            "Their logins share one slow queue. Create new secrets for these users: "
            "./boathouse user rotate NAME"
        ),
    )


def _rights_missing(p: Params) -> Said:
    return (
        _("The rights files are missing"),
        _("Nobody can pull or push: %(path)s") % {"path": p["blocked"]},
        _("Run ./boathouse user publish to write them again from the database."),
    )


def _rights_unreadable(p: Params) -> Said:
    _value, note, _advice = _htpasswd_unreadable(p)
    return (
        _("nginx cannot read the rights files"),
        note,
        _("Run ./boathouse user publish to give nginx access to the folder."),
    )


def _rights_lost(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "The rights files of %(count)d registry user are missing",
        "The rights files of %(count)d registry users are missing",
        count,
    )
    return (
        value % {"count": count},
        _names(p),
        _("Run ./boathouse user publish to write them again from the database."),
    )


def _names(p: Params) -> str:
    """The first names, and a sign that there are more."""
    comma = pgettext("between names in a list", ", ")
    return comma.join([*p["names"], *(["…"] if int(p["count"]) > len(p["names"]) else [])])


# -- certificate ---------------------------------------------------------------------------------
def _certificate_ok(p: Params) -> Said:
    days = int(p["days"])
    until = date_format(date.fromisoformat(p["until"]), _("j M Y"))
    note = _("valid until %(date)s") % {"date": until}
    if p.get("any_name"):
        note += "; " + _(
            "the authority can sign any name: ./boathouse manage tls --new-authority creates one "
            "that is limited to this registry, which every client must then trust"
        )
    return _days_left(days), note, ""


def _certificate_ends(p: Params) -> Said:
    return _days_left(int(p["days"])), _("It should have been renewed already."), _renewal(p)


def _certificate_expired(p: Params) -> Said:
    days = int(p["days"])
    value = ngettext("Expired %(days)d day ago", "Expired %(days)d days ago", days)
    return value % {"days": days}, _("All clients reject it."), _renewal(p)


def _certificate_unreadable(p: Params) -> Said:
    return (
        _("Cannot be read"),
        str(p["error"]),
        _("Restore the file, or run ./boathouse up to create what is missing."),
    )


def _certificate_wrong(p: Params) -> Said:
    return _("Does not match"), str(p["error"]), _renewal(p)


def _certificate_authority(p: Params) -> Said:
    days = int(p["days"])
    value = ngettext(
        "The authority expires in %(days)d day", "The authority expires in %(days)d days", days
    )
    return (
        value % {"days": days},
        _("It is never replaced automatically, because every client must trust the new one."),
        _(
            "Choose a date, run ./boathouse manage tls --new-authority and ./boathouse "
            "up, and send everybody the link to “Trust this registry”."
        ),
    )


def _certificate_key(p: Params) -> Said:
    return (
        _("Its key is readable by other users"),
        str(p["path"]),
        _("Run chmod 600 %(path)s. If others can log in to this server, renew it too.")
        % {"path": p["path"]},
    )


def _days_left(days: int) -> str:
    return ngettext("%(days)d day left", "%(days)d days left", days) % {"days": days}


def _renewal(p: Params) -> str:
    if p.get("own"):
        return _("Get a new certificate from its issuer, then run ./boathouse up.")
    return _("Run ./boathouse manage tls --renew, then ./boathouse up to reload nginx.")


# -- events --------------------------------------------------------------------------------------
def _events_ok(p: Params) -> Said:
    return _ago(_("Last event %(age)s ago"), p["at"]), _("No pending events"), ""


def _events_none(p: Params) -> Said:
    return _("None yet"), _("The first push sends an event."), ""


def _events_late(p: Params) -> Said:
    count = int(p["count"])
    return (
        ngettext("%(count)d event pending", "%(count)d events pending", count) % {"count": count},
        str(p["error"])
        or _("The oldest has been pending for %(minutes)d minutes.")
        % {"minutes": int(p["seconds"]) // 60},
        _("See the findings for registry and worker. Events are applied when both respond."),
    )


def _events_silent(p: Params) -> Said:
    changes = int(p["changes"])
    value = ngettext(
        "%(changes)d change without an event",
        "%(changes)d changes without an event",
        changes,
    )
    return (
        value % {"changes": changes},
        _("Found by the sync; the registry sent no notification."),
        _(
            "Run ./boathouse up to configure the notification endpoint again, and "
            "search the log of the registry for “notifications”."
        ),
    )


# -- index ---------------------------------------------------------------------------------------
def _index_ok(p: Params) -> Said:
    return _ago(_("Synced %(age)s ago"), p["at"]), _every(p), ""


def _index_running(p: Params) -> Said:
    done = int(p["done"])
    value = ngettext("%(done)d tag read so far", "%(done)d tags read so far", done)
    return _("Sync in progress"), value % {"done": done}, ""


def _index_never(p: Params) -> Said:
    return (
        _("Not synced yet"),
        _every(p),
        _("Run ./boathouse sync, or wait for the worker."),
    )


def _index_old(p: Params) -> Said:
    return (
        _ago(_("Synced %(age)s ago"), p["at"]),
        _every(p),
        _("Check whether the worker is running. ./boathouse sync reads the registry now."),
    )


def _index_failed(p: Params) -> Said:
    return (
        _("The last sync failed"),
        str(p["error"]),
        _("See the findings for the registry. ./boathouse sync tries again and shows all errors."),
    )


def _every(p: Params) -> str:
    every = int(p["every"])
    return ngettext("every %(every)d minute", "every %(every)d minutes", every) % {"every": every}


# -- store ---------------------------------------------------------------------------------------
def _store_ok(p: Params) -> Said:
    return _("Read directly, responds in %(ms)d ms") % {"ms": p["ms"]}, str(p["place"]), ""


def _store_unwanted(p: Params) -> Said:
    return _over_http(), _("Configured by BOATHOUSE_SOURCE."), ""


def _store_setting(p: Params) -> Said:
    return (
        _over_http(),
        str(p["error"]),
        _("Correct this setting for all commands of this instance, then run ./boathouse up."),
    )


def _store_unreadable(p: Params) -> Said:
    return (
        _over_http(),
        _("The user %(user)s may not read %(blocked)s.")
        % {"user": p["user"], "blocked": p["path"]},
        _(
            "Run the registry and the portal as the same user, or give this user read "
            "access to the store: this is many times faster, and shows untagged images "
            "and push times. If this is intended, set BOATHOUSE_SOURCE=http."
        ),
    )


def _store_no_driver(p: Params) -> Said:
    return (
        _over_http(),
        _("There is no driver to read %(driver)s directly.") % {"driver": p["driver"]},
        _("This is slower and shows less. If it is intended, set BOATHOUSE_SOURCE=http."),
    )


def _store_not_installed(p: Params) -> Said:
    return (
        _over_http(),
        _("The driver to read %(driver)s directly is not installed.") % {"driver": p["driver"]},
        _("Install it: .venv/bin/python -m pip install %(package)s") % {"package": p["package"]},
    )


def _store_silent(p: Params) -> Said:
    return (
        _("Does not respond"),
        str(p["error"]),
        _(
            "Check the service, the key and the network. If the registry can still "
            "reach it, set BOATHOUSE_SOURCE=http until then."
        ),
    )


def _store_unwritten(p: Params) -> Said:
    return (
        _("The registry cannot write it"),
        str(p["error"]),
        _(
            "Pushes fail, pulls are not affected. Check whether the disk is full or mounted "
            "read-only. Give the user that runs the registry write access to the store (registry/ "
            "in the data folder), or its key write access to the bucket."
        ),
    )


def _store_unwritable(p: Params) -> Said:
    return (
        _("Read-only"),
        _("The user %(user)s may not write %(path)s.") % {"user": p["user"], "path": p["path"]},
        _(
            "If the registry runs as this user, pushes fail; garbage collection is not possible in "
            "any case. Check whether it is mounted read-only, or change its owner to this user. On "
            "the server, ./boathouse doctor tests whether the registry can write."
        ),
    )


def _store_links(p: Params) -> Said:
    return (
        _("Contains symbolic links that are not followed"),
        _(
            "%(count)d in total, the first is %(path)s: it points to content that "
            "already has another name, forms a loop, or lies inside a repository. The "
            "registry follows it: what it serves there is not shown in the portal, and "
            "garbage collection deletes nothing."
        )
        % {"count": p["count"], "path": p["path"]},
        _(
            "Remove the link, or move its target into the store. A link in place of a "
            "whole repository or namespace may point to its own folder on another disk."
        ),
    )


def _store_elsewhere(p: Params) -> Said:
    return (
        _("Partly on another file system"),
        _(
            "%(count)d symbolic links point there, the first is %(path)s. Pulls work. "
            "Pushes of new layers fail, because the registry moves each upload next to "
            "the other blobs, and garbage collection deletes nothing there."
        )
        % {"count": p["count"], "path": p["path"]},
        _("To push there again, move it back, or move the whole store to the larger disk."),
    )


def _over_http() -> str:
    return _("Read over HTTP through the registry")


# -- disk ----------------------------------------------------------------------------------------
def _disk_ok(p: Params) -> Said:
    return _free(p), _full_in(p), ""


def _disk_low(p: Params) -> Said:
    bigger = _(
        "Extend the disk, or move the data folder to a larger one. On a full disk, pushes fail."
    )
    return _free(p), _full_in(p) or str(p["path"]), " ".join(filter(None, (_would_free(p), bigger)))


def _disk_full(p: Params) -> Said:
    way_out = _(
        "Pushes are rejected until there is free space: remove other files, extend the "
        "disk, or delete tags and run ./boathouse gc --purge-now."
    )
    return _free(p), str(p["path"]), " ".join(filter(None, (_would_free(p), way_out)))


def _would_free(p: Params) -> str:
    """What the page of collecting can do about it; "" if nothing, or if nobody looked."""
    if p.get("uncounted"):
        return _("To see what garbage collection would free, run ./boathouse gc --dry-run.")
    waiting, more = int(p.get("waiting", 0)), int(p.get("collectable", 0))
    words = []
    if waiting:
        words.append(
            _("%(size)s in quarantine: “Purge now” on the Garbage collection page frees them.")
            % {"size": humanize.naturalsize(waiting)}
        )
    if more:
        words.append(
            _("Garbage collection would free another %(size)s.")
            % {"size": humanize.naturalsize(more)}
        )
    return " ".join(words)


def _disk_entries(p: Params) -> Said:
    return (
        _("%(count)s inodes left") % {"count": humanize.intcomma(p["entries"])},
        str(p["path"]),
        _("There is free space, but no free inodes: move the data folder to another file system."),
    )


def _disk_readonly(p: Params) -> Said:
    return (
        _("Read-only"),
        str(p["path"]),
        _("Check whether it is mounted read-only or belongs to another user."),
    )


def _free(p: Params) -> str:
    sizes = {"free": humanize.naturalsize(p["free"]), "total": humanize.naturalsize(p["total"])}
    return _("%(free)s of %(total)s free") % sizes


def _full_in(p: Params) -> str:
    if "days" not in p:
        return ""
    days = int(p["days"])
    if days > 365:
        return _("full in more than a year")
    return ngettext("full in about %(days)d day", "full in about %(days)d days", days) % {
        "days": days
    }


# -- collection ----------------------------------------------------------------------------------
def _gc_ok(p: Params) -> Said:
    freed, waiting = (humanize.naturalsize(p[name]) for name in ("freed", "waiting"))
    note = _("%(freed)s freed, %(waiting)s in quarantine") % {"freed": freed, "waiting": waiting}
    return _ago(_("Last run %(age)s ago"), p["at"]), note, ""


def _gc_running(p: Params) -> Said:
    return _("Running"), _ago(_("for %(age)s"), p["at"]), ""


def _gc_none(p: Params) -> Said:
    return _("None yet"), _next_gc(p), ""


def _gc_never(p: Params) -> Said:
    days = int(p["days"])
    value = ngettext("No run in %(days)d day", "No run in %(days)d days", days) % {"days": days}
    return (
        value,
        _next_gc(p),
        _(
            "Deleted images stay on disk until it runs: run ./boathouse gc, or set "
            "BOATHOUSE_GC_SCHEDULE and check whether the worker is running."
        ),
    )


def _gc_canary(p: Params) -> Said:
    return (
        _("The registry does not notice quarantined content"),
        str(p["error"]),
        _(
            "Garbage collection does not run until this is fixed. Remove "
            "storage.cache.blobdescriptor from the configuration of the registry and "
            "restart it; ./boathouse up does both."
        ),
    )


def _gc_failed(p: Params) -> Said:
    return (
        _ago(_("The last run failed %(age)s ago"), p["at"]),
        str(p["error"]),
        _("./boathouse gc continues where it ended, and shows all errors."),
    )


def _gc_overdue(p: Params) -> Said:
    return (
        _("%(size)s in quarantine are overdue") % {"size": humanize.naturalsize(p["bytes"])},
        _ago(_("due %(age)s ago"), p["due_at"]),
        _("Run ./boathouse gc to free what is due, and check whether the worker is running."),
    )


def _gc_unreviewed(p: Params) -> Said:
    return (
        _("The last run was interrupted before its review"),
        _ago(_("%(age)s ago"), p["at"]),
        _(
            "The worker completes the review within a minute; until then, images pushed in the "
            "meantime may be incomplete. Check whether the worker is running."
        ),
    )


def _gc_skipped(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "The last run skipped %(count)d repository",
        "The last run skipped %(count)d repositories",
        count,
    )
    return (
        value % {"count": count},
        f"{p['name']}: {p['why']}",
        _(
            "Skipped repositories free no space. ./boathouse integrity repairs half-written files "
            "and lists the tags; the report of the run lists the others."
        ),
    )


def _clock_jumped(p: Params) -> Said:
    shown, believed = (datetime.fromisoformat(p[name]) for name in ("shown", "believed"))
    return (
        _("The clock of this machine has jumped"),
        _("It shows %(shown)s; by the monotonic clock it is %(believed)s.")
        % {"shown": schedules.when(shown), "believed": schedules.when(believed)},
        _(
            "Garbage collection, purges, retention and restore periods are paused. Correct the "
            "clock, or trust it if it is right: ./boathouse gc --trust-clock"
        ),
    )


def _integrity_broken(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext("%(count)d incomplete tag", "%(count)d incomplete tags", count)
    return (
        value % {"count": count},
        _ago(_("as of %(age)s ago"), p["at"]),
        _("Push these images again, or delete their tags: search for is:broken."),
    )


def _packages_security(p: Params) -> Said:
    names = [str(name) for name in p["names"]]
    value = ngettext("%(count)d security update", "%(count)d security updates", len(names))
    more = "" if len(names) <= SHOWN_PACKAGES else " …"
    return (
        value % {"count": len(names)},
        ", ".join(names[:SHOWN_PACKAGES]) + more,
        _("As root, run apt-get update && apt-get upgrade, then ./boathouse down and up."),
    )


def _audit_log_changed(p: Params) -> Said:
    return (
        _("The audit log fails verification"),
        _ago(_("as of %(age)s ago"), p["at"]),
        _("Open Activity: it lists the rows. docs/operate.md explains possible causes."),
    )


def _next_gc(p: Params) -> str:
    if not p["next"]:
        return _("no schedule, manual only")
    when = datetime.fromisoformat(p["next"])
    return _("next: %(time)s") % {"time": schedules.when(when)}


# -- database ------------------------------------------------------------------------------------
def _database_ok(p: Params) -> Said:
    return _("Responds in %(ms)d ms") % {"ms": p["ms"]}, f"PostgreSQL {p['version']}", ""


def _database_away(p: Params) -> Said:
    if p.get("path"):  # SQLite: busy for too long, or its disk fails
        return (
            _("Does not respond"),
            _said_of(p),
            _("Check its disk, and whether another program locks the file."),
        )
    return (
        _("Does not respond"),
        _said_of(p),
        _(
            "Start PostgreSQL, or correct DATABASE_URL. Logins, pushes and pulls are "
            "not affected; the portal and the worker recover automatically."
        ),
    )


def _database_damaged(p: Params) -> Said:
    return (
        _("Damaged"),
        _said_of(p),
        _(
            "Pushes and pulls are not affected; nothing can be changed. Run "
            "./boathouse down, move the file or database away, restore a backup, and "
            "run ./boathouse up: docs/operate.md, “When files are lost or damaged”, "
            "lists the commands, and what is restored without a backup."
        ),
    )


def _database_closed(p: Params) -> Said:
    return (
        _("Cannot be opened"),
        _said_of(p),
        _("Change the owner of the file and its folder to the user that runs Boathouse."),
    )


def _database_empty(p: Params) -> Said:
    return (
        _("Has no tables"),
        _said_of(p),
        _(
            "Run ./boathouse down, restore a backup if there is one, and run ./boathouse up: it "
            "creates the tables and imports the registry users from their files."
        ),
    )


def _said_of(p: Params) -> str:
    return ": ".join(filter(None, (str(p.get("path", "")), str(p["error"]))))


# -- hosts ---------------------------------------------------------------------------------------
def _hosts_ok(p: Params) -> Said:
    count = int(p["count_hosts"])
    value = ngettext(
        "%(count)d other host publishes the changes made here",
        "%(count)d other hosts publish the changes made here",
        count,
    )
    return value % {"count": count}, ", ".join(p["names"]), ""


def _hosts_late(p: Params) -> Said:
    return (
        _("A change to registry users has not reached all hosts"),
        _("%(names)s, last seen %(seconds)d s ago: %(count)d registry users")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"], "count": p["count"]},
        _(
            "Until then it may still accept disabled users. Run ./boathouse doctor "
            "there. If the host has been removed permanently, run ./boathouse manage "
            "hosts --forget with its name."
        ),
    )


def _hosts_silent(p: Params) -> Said:
    return (
        _("A host does not report"),
        _("%(names)s, last seen %(seconds)d s ago")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"]},
        _(
            "Start it with ./boathouse up. If it has been removed permanently, run "
            "./boathouse manage hosts --forget with its name."
        ),
    )


# -- worker --------------------------------------------------------------------------------------
def _worker_ok(p: Params) -> Said:
    return _("Running"), _ago(_("Last check %(age)s ago"), p["at"]), ""


def _worker_never(p: Params) -> Said:
    return (
        _("No check completed yet"),
        "",
        _("If this lasts longer than a minute, start it with ./boathouse up and check its output."),
    )


def _worker_silent(p: Params) -> Said:
    return (
        _("Does not respond"),
        _ago(
            _("Last check %(age)s ago; the findings for the other components are as old."), p["at"]
        ),
        _("Start it with ./boathouse up and check its output. Pushes and pulls are not affected."),
    )


def _ago(sentence: str, at: str) -> str:
    """`sentence` with %(age)s filled in: "3 minutes", rounded down."""
    when = datetime.fromisoformat(at)
    is_new = (timezone.now() - when).total_seconds() < 60
    return sentence % {"age": _("less than a minute") if is_new else timesince(when, depth=1)}


_SAY: dict[str, Callable[[Params], Said]] = {
    "broken": _broken,
    "late": _late,
    "registry-ok": _registry_ok,
    "registry-unreachable": _registry_unreachable,
    "registry-answer": _registry_answer,
    "registry-unconfigured": _registry_unconfigured,
    "registry-delete": _registry_delete,
    "registry-cache": _registry_cache,
    "registry-hook": _registry_hook,
    "proxy-ok": _proxy_ok,
    "proxy-closed": _proxy_closed,
    "proxy-untrusted": _proxy_untrusted,
    "proxy-old-certificate": _proxy_old_certificate,
    "proxy-held": _proxy_held,
    "proxy-open": _proxy_open,
    "proxy-no-passwords": _proxy_no_passwords,
    "proxy-no-registry": _proxy_no_registry,
    "proxy-no-portal": _proxy_no_portal,
    "proxy-answer": _proxy_answer,
    "htpasswd-ok": _htpasswd_ok,
    "htpasswd-missing": _htpasswd_missing,
    "htpasswd-unreadable": _htpasswd_unreadable,
    "htpasswd-lines": _htpasswd_lines,
    "htpasswd-old-missing": _htpasswd_old_missing,
    "htpasswd-old-unreadable": _htpasswd_old_unreadable,
    "htpasswd-pending": _htpasswd_pending,
    "htpasswd-lost": _htpasswd_lost,
    "htpasswd-drift": _htpasswd_drift,
    "htpasswd-slow": _htpasswd_slow,
    "passwords-down": _passwords_down,
    "rights-missing": _rights_missing,
    "rights-unreadable": _rights_unreadable,
    "rights-lost": _rights_lost,
    "htpasswd-empty": _htpasswd_empty,
    "certificate-ok": _certificate_ok,
    "certificate-ends": _certificate_ends,
    "certificate-expired": _certificate_expired,
    "certificate-unreadable": _certificate_unreadable,
    "certificate-wrong": _certificate_wrong,
    "certificate-authority": _certificate_authority,
    "certificate-key": _certificate_key,
    "events-ok": _events_ok,
    "events-none": _events_none,
    "events-late": _events_late,
    "events-silent": _events_silent,
    "index-ok": _index_ok,
    "index-running": _index_running,
    "index-never": _index_never,
    "index-old": _index_old,
    "index-failed": _index_failed,
    "store-ok": _store_ok,
    "store-unwanted": _store_unwanted,
    "store-setting": _store_setting,
    "store-unreadable": _store_unreadable,
    "store-no-driver": _store_no_driver,
    "store-not-installed": _store_not_installed,
    "store-silent": _store_silent,
    "store-unwritten": _store_unwritten,
    "store-unwritable": _store_unwritable,
    "store-links": _store_links,
    "store-elsewhere": _store_elsewhere,
    "disk-ok": _disk_ok,
    "disk-soon": _disk_low,
    "disk-low": _disk_low,
    "disk-full": _disk_full,
    "disk-entries": _disk_entries,
    "disk-readonly": _disk_readonly,
    "gc-ok": _gc_ok,
    "gc-running": _gc_running,
    "gc-none": _gc_none,
    "gc-never": _gc_never,
    "gc-canary": _gc_canary,
    "gc-failed": _gc_failed,
    "gc-overdue": _gc_overdue,
    "gc-unreviewed": _gc_unreviewed,
    "gc-skipped": _gc_skipped,
    "clock-jumped": _clock_jumped,
    "integrity-broken": _integrity_broken,
    "audit-log-changed": _audit_log_changed,
    "packages-security": _packages_security,
    "database-ok": _database_ok,
    "database-away": _database_away,
    "database-damaged": _database_damaged,
    "database-closed": _database_closed,
    "database-empty": _database_empty,
    "hosts-ok": _hosts_ok,
    "hosts-late": _hosts_late,
    "hosts-silent": _hosts_silent,
    "worker-ok": _worker_ok,
    "worker-never": _worker_never,
    "worker-silent": _worker_silent,
}
