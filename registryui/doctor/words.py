"""The words of findings, in the language that is active when they are shown.

An entry of `_SAY` is a finding's value, note and advice, filled in with its params, or a function.
Advice is what to do, as a command if there is one. The params come from the machine (paths,
numbers, errors of programs) and are not translated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext, ngettext_lazy, pgettext
from django.utils.translation import gettext_lazy as _

from registryui import formats, schedules
from registryui.failures import in_words
from registryui.models import portal_actor

from .findings import Finding

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Params = Mapping[str, Any]
SHOWN_PACKAGES = 6


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences about one part. `note` and `advice` may be empty."""

    title: str  # the part: "Proxy (nginx)"
    value: str  # the fact in a few words: "Responds in 12 ms"
    note: str  # one more fact
    advice: str  # what to do; "" for nothing


def texts(finding: Finding) -> Words:
    """The words for a finding; its code, if another version wrote it."""
    title = str(_TITLES.get(finding.name, finding.name))
    say, p = _SAY.get(finding.code), _in_our_words(finding.params)
    try:
        if say is not None:
            said = say(p) if callable(say) else (_filled(sentence, p) for sentence in say)
            return Words(title, *said)
    except (KeyError, TypeError, ValueError):
        pass  # written by another version
    return Words(title, finding.code, "", "")


def _in_our_words(params: Params) -> Params:
    """With errors of libraries in our words."""
    said = {name: in_words(params[name]) for name in ("error", "why") if name in params}
    return {**params, **said}


_TITLES = {
    "registry": _("Registry"),
    "proxy": _("Proxy (nginx)"),
    "htpasswd": _("htpasswd file"),
    "certificate": _("Certificate"),
    "database": _("Database"),
    "hosts": _("Other hosts"),
    "events": _("Events"),
    "index": _("Index"),
    "store": _("Store"),
    "mirrors": _("Mirror service"),
    "disk": _("Disk"),
    "clock": _("Clock"),
    "gc": _("Garbage collection"),
    "quotas": _("Quotas"),
    "retention": _("Retention policies"),
    "backup": _("Backups"),
    "integrity": _("Integrity check"),
    "audit log": _("Audit log"),
    "packages": _("Debian packages"),
    "worker": _("Worker"),
}

Said = tuple[str, str, str]  # value, note, advice
if TYPE_CHECKING:
    Sentence = str | _StrPromise | Callable[[Params], str]


def _filled(sentence: Sentence, p: Params) -> str:
    return sentence(p) if callable(sentence) else sentence % _Shown(p)


class _Shown(dict[str, Any]):
    """The params of a finding, some of them formatted, and derived ones."""

    def __getitem__(self, name: str) -> Any:
        show = _SHOW.get(name)
        return show(self.copy()) if show else super().__getitem__(name)


def _age(p: Params) -> str:
    """How long ago: "3 minutes", rounded down."""
    when = datetime.fromisoformat(p["due_at"] if "due_at" in p else p["at"])
    is_new = (timezone.now() - when).total_seconds() < 60
    return gettext("less than a minute") if is_new else timesince(when, depth=1)


def _names(p: Params) -> str:
    """The first names, and a sign that there are more."""
    comma = pgettext("between names in a list", ", ")
    return comma.join([*p["names"], *(["…"] if int(p["count"]) > len(p["names"]) else [])])


_SHOW: dict[str, Callable[[Params], Any]] = {
    "age": _age,
    "names": _names,
    "blocked": lambda p: p["blocked"] if "blocked" in p else p["path"],
    "size": lambda p: formats.size(p["bytes"]),
    "free": lambda p: formats.size(p["free"]),
    "total": lambda p: formats.size(p["total"]),
    "freed": lambda p: formats.size(p["freed"]),
    "waiting": lambda p: formats.size(p["waiting"]),
}


# -- sentences with a decision ---------------------------------------------------------------------
def _proxy_frozen(p: Params) -> Said:
    until = timezone.localtime(datetime.fromisoformat(p["until"]))
    words = {"by": portal_actor(p["by"]), "until": date_format(until, "DATETIME_FORMAT")}
    return (
        gettext("Write freeze: pushes and deletions are rejected")
        if p["what"] == "writes"
        else gettext("Write freeze: manifest pushes and deletions are rejected"),
        gettext("Started by %(by)s, until %(until)s at the latest.") % words,
        gettext("When the work is done, run ./boathouse freeze off."),
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
        gettext("Lines: %(lines)s") % {"lines": lines},
        gettext("Correct or remove them in %(path)s: name, colon and a hash that nginx supports.")
        % {"path": p["path"]},
    )


def _no_rights(p: Params) -> str:
    return gettext("Nobody can pull or push: %(path)s") % {"path": p["blocked"]}


def _certificate_ok(p: Params) -> Said:
    days = int(p["days"])
    until = date_format(date.fromisoformat(p["until"]), gettext("j M Y"))
    note = gettext("valid until %(date)s") % {"date": until}
    if p.get("any_name"):
        note += "; " + gettext(
            "the authority can sign any name: ./boathouse manage tls --new-authority creates one "
            "that is limited to this registry, which every client must then trust"
        )
    return _DAYS_LEFT % {"days": days}, note, ""


def _renewal(p: Params) -> str:
    if p.get("own"):
        return gettext("Get a new certificate from its issuer, then run ./boathouse up.")
    return gettext("Run ./boathouse manage tls --renew, then ./boathouse up to reload nginx.")


def _events_why(p: Params) -> str:
    minutes = {"minutes": int(p["seconds"]) // 60}
    return (
        str(p["error"]) or gettext("The oldest has been pending for %(minutes)d minutes.") % minutes
    )


def _full_in(p: Params) -> str:
    if "days" not in p:
        return ""
    days = int(p["days"])
    if days > 365:
        return gettext("full in more than a year")
    return ngettext("full in about %(days)d day", "full in about %(days)d days", days) % {
        "days": days
    }


def _full_in_or_where(p: Params) -> str:
    return _full_in(p) or str(p["path"])


def _make_bigger(p: Params) -> str:
    bigger = gettext(
        "Extend the disk, or move the data folder to a larger one. On a full disk, pushes fail."
    )
    return " ".join(filter(None, (_would_free(p), bigger)))


def _make_room(p: Params) -> str:
    way_out = gettext(
        "Pushes are rejected until there is free space: remove other files, extend the disk, or "
        "delete tags and run ./boathouse gc --purge-now."
    )
    return " ".join(filter(None, (_would_free(p), way_out)))


def _would_free(p: Params) -> str:
    """What garbage collection could free; "" if nothing, or unknown."""
    if p.get("uncounted"):
        return gettext("To see what garbage collection would free, run ./boathouse gc --dry-run.")
    waiting, more = int(p.get("waiting", 0)), int(p.get("reclaimable", 0))
    words = []
    if waiting:
        words.append(
            gettext(
                "%(size)s in quarantine: “Purge now” on the Garbage collection page frees them."
            )
            % {"size": formats.size(waiting)}
        )
    if more:
        words.append(
            gettext("Garbage collection would free another %(size)s.")
            % {"size": formats.size(more)}
        )
    return " ".join(words)


def _entries_left(p: Params) -> str:
    return gettext("%(count)s inodes left") % {"count": f"{p['entries']:,}"}


def _clock_jumped(p: Params) -> Said:
    shown, believed = (datetime.fromisoformat(p[name]) for name in ("shown", "believed"))
    return (
        gettext("The clock of this machine has jumped"),
        gettext("It shows %(shown)s; by the monotonic clock it is %(believed)s.")
        % {"shown": schedules.when(shown), "believed": schedules.when(believed)},
        gettext(
            "Garbage collection, purges, retention and restore periods are paused. Correct the "
            "clock, or trust it if it is right: ./boathouse gc --trust-clock"
        ),
    )


def _packages_security(p: Params) -> Said:
    names = [str(name) for name in p["names"]]
    value = ngettext("%(count)d security update", "%(count)d security updates", len(names))
    more = "" if len(names) <= SHOWN_PACKAGES else " …"
    return (
        value % {"count": len(names)},
        ", ".join(names[:SHOWN_PACKAGES]) + more,
        gettext("As root, run apt-get update && apt-get upgrade, then ./boathouse down and up."),
    )


def _next_gc(p: Params) -> str:
    if not p["next"]:
        return gettext("no schedule, manual only")
    when = datetime.fromisoformat(p["next"])
    return gettext("next: %(time)s") % {"time": schedules.when(when)}


def _wait_for_database(p: Params) -> str:
    if p.get("path"):  # SQLite: busy for too long, or a disk failure
        return gettext("Check its disk, and whether another program locks the file.")
    return gettext(
        "Start PostgreSQL, or correct DATABASE_URL. Logins, pushes and pulls are not affected; "
        "the portal and the worker recover automatically."
    )


def _said_of(p: Params) -> str:
    return ": ".join(filter(None, (str(p.get("path", "")), str(p["error"]))))


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
        gettext("A change to registry users has not reached all hosts"),
        gettext("%(names)s, last seen %(seconds)d s ago: %(count)d registry users")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"], "count": p["count"]},
        gettext(
            "Until then it may still accept disabled users. Run ./boathouse doctor there. If the "
            "host has been removed permanently, run ./boathouse manage hosts --forget with its "
            "name."
        ),
    )


def _hosts_silent(p: Params) -> Said:
    return (
        gettext("A host does not report"),
        gettext("%(names)s, last seen %(seconds)d s ago")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"]},
        gettext(
            "Start it with ./boathouse up. If it has been removed permanently, run ./boathouse "
            "manage hosts --forget with its name."
        ),
    )


# -- the table -------------------------------------------------------------------------------------
_FREE = _("%(free)s of %(total)s free")
_EVERY = ngettext_lazy("every %(every)d minute", "every %(every)d minutes", "every")
_DAYS_LEFT = ngettext_lazy("%(days)d day left", "%(days)d days left", "days")
_OVER_HTTP = _("Read over HTTP through the registry")
_CLOSED = (
    _("The user %(user)s may not open %(blocked)s."),
    _("Grant access: chgrp %(user)s and chmod g+r for the file, chmod o+x for its folders."),
)

_SAY: dict[str, tuple[Sentence, Sentence, Sentence] | Callable[[Params], Said]] = {
    # -- any part --
    "broken": (
        _("The check itself failed"),
        "%(error)s",
        _("Run ./boathouse doctor on the server. If it reports the same, this is a bug."),
    ),
    "late": (
        _("No response within %(seconds)d seconds"),
        "",
        _("Check whether the disk or the network of the server hangs."),
    ),
    # -- registry --
    "registry-ok": (_("Responds in %(ms)d ms"), "%(version)s", ""),
    "registry-unreachable": (
        _("Does not respond"),
        "%(url)s: %(error)s",
        _("Run ./boathouse restart; ./boathouse logs says why. Pushes and pulls fail until then."),
    ),
    "registry-answer": (
        _("Responds, but not as a registry"),
        "%(url)s: %(error)s",
        _("Another program may use its port: run ./boathouse down, then ./boathouse up."),
    ),
    "registry-unconfigured": (
        _("Its configuration cannot be read"),
        "%(path)s",
        _("Run ./boathouse up to write a new configuration."),
    ),
    "registry-delete": (
        _("Deletion is disabled"),
        "%(path)s",
        _("Set storage.delete.enabled to true, or run ./boathouse up to write the configuration."),
    ),
    "registry-cache": (
        _("Keeps a cache of blob descriptors"),
        "%(path)s",
        _(
            "Remove storage.cache.blobdescriptor, or run ./boathouse up: with this cache, a push "
            "after garbage collection skips blobs that no longer exist."
        ),
    ),
    "registry-hook": (
        _("Sends no notifications to the portal"),
        "%(path)s",
        _("Run ./boathouse up to configure the notification endpoint of this portal."),
    ),
    "registry-open": (
        _("Open to every process on this host"),
        _(
            "It listens on loopback port %(port)d because BOATHOUSE_REGISTRY_PORT is set: any "
            "local user can pull, push and delete all images there without a password."
        ),
        _(
            "Unless something needs that port, remove the setting and run ./boathouse down, then "
            "./boathouse up. The registry then listens on sockets that only nginx and its own "
            "user can reach."
        ),
    ),
    # -- proxy --
    "proxy-ok": (_("Responds in %(ms)d ms"), "nginx, %(protocol)s", ""),
    "proxy-closed": (
        _("No response at %(address)s"),
        "%(error)s",
        _("Run ./boathouse restart nginx; ./boathouse logs nginx says why."),
    ),
    "proxy-untrusted": (
        _("Presents a certificate that clients reject"),
        "%(error)s",
        _(
            "Run ./boathouse manage tls --renew, then ./boathouse up. If another program has the "
            "port, stop that one first."
        ),
    ),
    "proxy-old-certificate": (
        _("Presents an older certificate than the file"),
        _("nginx has not been reloaded since the renewal."),
        _("Run ./boathouse up to reload nginx."),
    ),
    "proxy-frozen": _proxy_frozen,
    "proxy-open": (
        _("Allows access without a password"),
        "",
        _("Stop it with ./boathouse down, then run ./boathouse up to write a new nginx.conf."),
    ),
    "proxy-no-passwords": (
        _("nginx cannot read the htpasswd file"),
        _("It returns %(status)d to a login."),
        _("See the findings for the htpasswd file and the error log of nginx."),
    ),
    "proxy-no-registry": (
        _("nginx cannot reach the registry"),
        _("It returns %(status)d to a client."),
        _("See the findings for the registry; ./boathouse restart registry helps if it hangs."),
    ),
    "proxy-no-portal": (
        _("nginx cannot reach the portal"),
        _("It returns %(status)d to a browser. Pushes and pulls are not affected."),
        _("Run ./boathouse restart web; ./boathouse logs web says why."),
    ),
    "proxy-answer": (
        _("Responds, but not as the Boathouse proxy"),
        _("It returns %(status)d to a client."),
        _("Another program may use its port: run ./boathouse down, then ./boathouse up."),
    ),
    # -- htpasswd --
    "htpasswd-ok": (
        ngettext_lazy("%(users)d registry user", "%(users)d registry users", "users"),
        _("Readable by nginx"),
        "",
    ),
    "htpasswd-missing": (
        _("Missing"),
        "%(path)s",
        _("Run ./boathouse user publish to write it again from the database."),
    ),
    "htpasswd-unreadable": (_("nginx cannot read it"), *_CLOSED),
    "htpasswd-lines": _htpasswd_lines,
    "htpasswd-empty": (
        _("Nobody can log in"),
        _("The file contains no users."),
        _("Add a registry user: ./boathouse user add NAME --pull '*' --push '*'"),
    ),
    "htpasswd-old-missing": (
        _("The file of replaced secrets is missing"),
        _("A wrong password is reported as a missing right: %(path)s"),
        _("Run ./boathouse user publish to write it again from the database."),
    ),
    "htpasswd-old-unreadable": (_("nginx cannot read the file of replaced secrets"), *_CLOSED),
    "htpasswd-pending": (
        ngettext_lazy(
            "The files differ from the database for %(count)d registry user",
            "The files differ from the database for %(count)d registry users",
            "count",
        ),
        "%(names)s",
        _("Check the disk and the owner of the files, then run ./boathouse user publish."),
    ),
    "htpasswd-lost": (
        _("All lines have been removed"),
        _("Nobody can log in: %(names)s"),
        _("Run ./boathouse user publish to write them again from the database."),
    ),
    "htpasswd-drift": (
        ngettext_lazy(
            "%(count)d line was edited by hand", "%(count)d lines were edited by hand", "count"
        ),
        "%(names)s",
        _("./boathouse user drift lists the changes: accept, revert or ignore them."),
    ),
    "passwords-down": (
        _("User-chosen passwords cannot be checked"),
        _("Component passwords: %(trouble)s. Affected users: %(names)s"),
        _(
            "Restart Boathouse. With systemd, regenerate the units first: ./boathouse "
            "manage units /etc/systemd/system"
        ),
    ),
    "mirrors-ok": (
        ngettext_lazy(
            "%(count)d mirror can fetch new content",
            "%(count)d mirrors can fetch new content",
            "count",
        ),
        "",
        "",
    ),
    "mirrors-down": (
        _("Mirrors cannot fetch new content"),
        _("Component mirror: %(trouble)s. What was pulled before is served."),
        _(
            "Restart Boathouse. With systemd, regenerate the units first: ./boathouse "
            "manage units /etc/systemd/system"
        ),
    ),
    "mirrors-away": (
        _("Upstreams that do not answer: %(names)s"),
        _("%(name)s: %(error)s. What was pulled before is served."),
        _("Check the network and the upstream: ./boathouse mirror check %(name)s"),
    ),
    "htpasswd-slow": (
        ngettext_lazy(
            "%(count)d password is slow to check",
            "%(count)d passwords are slow to check",
            "count",
        ),
        "%(names)s",
        _(
            "Their first logins delay those of others. Create new secrets for these users: "
            "./boathouse user rotate NAME"
        ),
    ),
    "rights-missing": (
        _("The rights files are missing"),
        _no_rights,
        _("Run ./boathouse user publish to write them again from the database."),
    ),
    "rights-unreadable": (
        _("nginx cannot read the rights files"),
        _CLOSED[0],
        _("Run ./boathouse user publish to give nginx access to the folder."),
    ),
    "rights-lost": (
        ngettext_lazy(
            "The rights files of %(count)d registry user are missing",
            "The rights files of %(count)d registry users are missing",
            "count",
        ),
        "%(names)s",
        _("Run ./boathouse user publish to write them again from the database."),
    ),
    # -- certificate --
    "certificate-ok": _certificate_ok,
    "certificate-ends": (_DAYS_LEFT, _("It should have been renewed already."), _renewal),
    "certificate-expired": (
        ngettext_lazy("Expired %(days)d day ago", "Expired %(days)d days ago", "days"),
        _("All clients reject it."),
        _renewal,
    ),
    "certificate-unreadable": (
        _("Cannot be read"),
        "%(error)s",
        _("Restore the file, or run ./boathouse up to create what is missing."),
    ),
    "certificate-wrong": (_("Does not match"), "%(error)s", _renewal),
    "certificate-authority": (
        ngettext_lazy(
            "The authority expires in %(days)d day",
            "The authority expires in %(days)d days",
            "days",
        ),
        _("It is never replaced automatically, because every client must trust the new one."),
        _(
            "Choose a date, run ./boathouse manage tls --new-authority and ./boathouse "
            "up, and send everybody the link to “Trust this registry”."
        ),
    ),
    "certificate-key": (
        _("Its key is readable by other users"),
        "%(path)s",
        _("Run chmod 600 %(path)s. If others can log in to this server, renew it too."),
    ),
    # -- events --
    "events-ok": (_("Last event %(age)s ago"), _("No pending events"), ""),
    "events-none": (_("None yet"), _("The first push sends an event."), ""),
    "events-late": (
        ngettext_lazy("%(count)d event pending", "%(count)d events pending", "count"),
        _events_why,
        _("See the findings for registry and worker. Events are applied when both respond."),
    ),
    "events-silent": (
        ngettext_lazy(
            "%(changes)d change without an event",
            "%(changes)d changes without an event",
            "changes",
        ),
        _("Found by the sync; the registry sent no notification."),
        _(
            "Run ./boathouse up to configure the notification endpoint again, and "
            "search the log of the registry for “notifications”."
        ),
    ),
    # -- index --
    "index-ok": (_("Synced %(age)s ago"), _EVERY, ""),
    "index-running": (
        _("Sync in progress"),
        ngettext_lazy("%(done)d tag read so far", "%(done)d tags read so far", "done"),
        "",
    ),
    "index-never": (
        _("Not synced yet"),
        _EVERY,
        _("Run ./boathouse sync, or wait for the worker."),
    ),
    "index-old": (
        _("Synced %(age)s ago"),
        _EVERY,
        _("Check whether the worker is running. ./boathouse sync reads the registry now."),
    ),
    "index-failed": (
        _("The last sync failed"),
        "%(error)s",
        _("See the findings for the registry. ./boathouse sync tries again and shows all errors."),
    ),
    # -- store --
    "store-ok": (_("Read directly, responds in %(ms)d ms"), "%(place)s", ""),
    "store-unwanted": (_OVER_HTTP, _("Configured by BOATHOUSE_SOURCE."), ""),
    "store-setting": (
        _OVER_HTTP,
        "%(error)s",
        _("Correct this setting for all commands of this instance, then run ./boathouse up."),
    ),
    "store-unreadable": (
        _OVER_HTTP,
        _("The user %(user)s may not read %(blocked)s."),
        _(
            "Run the registry and the portal as the same user, or give this user read "
            "access to the store: this is many times faster, and shows untagged images "
            "and push times. If this is intended, set BOATHOUSE_SOURCE=http."
        ),
    ),
    "store-no-driver": (
        _OVER_HTTP,
        _("There is no driver to read %(driver)s directly."),
        _("This is slower and shows less. If it is intended, set BOATHOUSE_SOURCE=http."),
    ),
    "store-not-installed": (
        _OVER_HTTP,
        _("The driver to read %(driver)s directly is not installed."),
        _("Install it: .venv/bin/python -m pip install %(package)s"),
    ),
    "store-silent": (
        _("Does not respond"),
        "%(error)s",
        _(
            "Check the service, the key and the network. If the registry can still "
            "reach it, set BOATHOUSE_SOURCE=http until then."
        ),
    ),
    "store-unwritten": (
        _("The registry cannot write it"),
        "%(error)s",
        _(
            "Pushes fail, pulls are not affected. Check whether the disk is full or mounted "
            "read-only. Give the user that runs the registry write access to the store "
            "(%(place)s), or its key write access to the bucket."
        ),
    ),
    "store-unwritable": (
        _("Read-only"),
        _("The user %(user)s may not write %(path)s."),
        _(
            "If the registry runs as this user, pushes fail; garbage collection is not possible in "
            "any case. Check whether it is mounted read-only, or change its owner to this user. On "
            "the server, ./boathouse doctor tests whether the registry can write."
        ),
    ),
    "store-links": (
        _("Contains symbolic links that are not followed"),
        _(
            "%(count)d in total, the first is %(path)s: it points to content that already has "
            "another name, forms a loop, or lies inside a repository. The registry follows it: "
            "what it serves there is not shown in the portal, and garbage collection deletes "
            "nothing."
        ),
        _(
            "Remove the link, or move its target into the store. A link in place of a "
            "whole repository or namespace may point to its own folder on another disk."
        ),
    ),
    "store-elsewhere": (
        _("Partly on another file system"),
        _(
            "%(count)d symbolic links point there, the first is %(path)s. Pulls work. Pushes of "
            "new layers fail, because the registry moves each upload next to the other blobs, "
            "and garbage collection deletes nothing there."
        ),
        _("To push there again, move it back, or move the whole store to the larger disk."),
    ),
    # -- disk --
    "disk-ok": (_FREE, _full_in, ""),
    "disk-soon": (_FREE, _full_in_or_where, _make_bigger),
    "disk-low": (_FREE, _full_in_or_where, _make_bigger),
    "disk-full": (_FREE, "%(path)s", _make_room),
    "disk-entries": (
        _entries_left,
        "%(path)s",
        _("There is free space, but no free inodes: move the data folder to another file system."),
    ),
    "disk-readonly": (
        _("Read-only"),
        "%(path)s",
        _("Check whether it is mounted read-only or belongs to another user."),
    ),
    # -- garbage collection --
    "gc-ok": (_("Last run %(age)s ago"), _("%(freed)s freed, %(waiting)s in quarantine"), ""),
    "gc-running": (_("Running"), _("for %(age)s"), ""),
    "gc-none": (_("None yet"), _next_gc, ""),
    "gc-never": (
        ngettext_lazy("No run in %(days)d day", "No run in %(days)d days", "days"),
        _next_gc,
        _(
            "Deleted images stay on disk until it runs: run ./boathouse gc, or set "
            "BOATHOUSE_GC_SCHEDULE and check whether the worker is running."
        ),
    ),
    "gc-canary": (
        _("The registry does not notice quarantined content"),
        "%(error)s",
        _(
            "Garbage collection does not run until this is fixed. Remove "
            "storage.cache.blobdescriptor from the configuration of the registry and "
            "restart it; ./boathouse up does both."
        ),
    ),
    "gc-failed": (
        _("The last run failed %(age)s ago"),
        "%(error)s",
        _("./boathouse gc continues where it ended, and shows all errors."),
    ),
    "gc-overdue": (
        _("%(size)s in quarantine are overdue"),
        _("due %(age)s ago"),
        _("Run ./boathouse gc to free what is due, and check whether the worker is running."),
    ),
    "gc-unreviewed": (
        _("The last run was interrupted before its review"),
        _("%(age)s ago"),
        _(
            "The worker completes the review within a minute; until then, images pushed in the "
            "meantime may be incomplete. Check whether the worker is running."
        ),
    ),
    "gc-skipped": (
        ngettext_lazy(
            "The last run skipped %(count)d repository",
            "The last run skipped %(count)d repositories",
            "count",
        ),
        "%(name)s: %(why)s",
        _(
            "Skipped repositories free no space. ./boathouse integrity repairs half-written files "
            "and lists the tags; the report of the run lists the others."
        ),
    ),
    "quotas-full": (
        ngettext_lazy(
            "%(count)d quota is used up: pushes are refused",
            "%(count)d quotas are used up: pushes are refused",
            "count",
        ),
        "%(names)s",
        _("Delete tags there, or raise it: ./boathouse quota set %(name)s --bytes SIZE --tags N."),
    ),
    "quotas-near": (
        ngettext_lazy(
            "%(count)d quota is nearly used up", "%(count)d quotas are nearly used up", "count"
        ),
        _("%(names)s; the fullest is used by %(percent)d%%"),
        _("Delete tags there, or raise it: ./boathouse quota set %(name)s --bytes SIZE --tags N."),
    ),
    "retention-failed": (
        ngettext_lazy(
            "The last run of %(count)d policy failed",
            "The last run of %(count)d policies failed",
            "count",
        ),
        _("%(name)s, %(age)s ago: %(error)s"),
        _("Open the policy's last report under Retention and GC, then run it again."),
    ),
    # -- backups --
    "backup-ok": (_("Last backup %(age)s ago"), "%(size)s", ""),
    "backup-none": (
        _("No backup yet"),
        _next_gc,
        _("Run ./boathouse backup, or wait for the schedule, and keep its password elsewhere."),
    ),
    "backup-late": (
        _("Last backup %(age)s ago"),
        _next_gc,
        _("Run ./boathouse backup, and check whether the worker is running."),
    ),
    "backup-failed": (
        _("The last backup failed %(age)s ago"),
        "%(error)s",
        _("Fix the cause, then run ./boathouse backup. Earlier snapshots are intact."),
    ),
    "backup-missing": (
        ngettext_lazy(
            "The last backup lacks %(count)d blob", "The last backup lacks %(count)d blobs", "count"
        ),
        _("%(age)s ago"),
        _("The store lacks them, too. ./boathouse integrity lists the incomplete tags."),
    ),
    "backup-no-program": (
        _("restic is not installed"),
        "",
        _("As root, run apt-get install restic."),
    ),
    "clock-jumped": _clock_jumped,
    "integrity-broken": (
        ngettext_lazy("%(count)d incomplete tag", "%(count)d incomplete tags", "count"),
        _("as of %(age)s ago"),
        _("Push these images again, or delete their tags: search for is:broken."),
    ),
    "packages-security": _packages_security,
    "audit-log-changed": (
        _("The audit log fails verification"),
        _("as of %(age)s ago"),
        _("Open Activity: it lists the rows. docs/operate.md explains possible causes."),
    ),
    # -- database --
    "database-ok": (_("Responds in %(ms)d ms"), "PostgreSQL %(version)s", ""),
    "database-away": (_("Does not respond"), _said_of, _wait_for_database),
    "database-damaged": (
        _("Damaged"),
        _said_of,
        _(
            "Pushes and pulls are not affected; nothing can be changed. Run "
            "./boathouse down, move the file or database away, restore a backup, and "
            "run ./boathouse up: docs/operate.md, “When files are lost or damaged”, "
            "lists the commands, and what is restored without a backup."
        ),
    ),
    "database-closed": (
        _("Cannot be opened"),
        _said_of,
        _("Change the owner of the file and its folder to the user that runs Boathouse."),
    ),
    "database-empty": (
        _("Has no tables"),
        _said_of,
        _(
            "Run ./boathouse down, restore a backup if there is one, and run ./boathouse up: it "
            "creates the tables and imports the registry users from their files."
        ),
    ),
    # -- hosts --
    "hosts-ok": _hosts_ok,
    "hosts-late": _hosts_late,
    "hosts-silent": _hosts_silent,
    # -- worker --
    "worker-ok": (_("Running"), _("Last check %(age)s ago"), ""),
    "worker-never": (
        _("No check completed yet"),
        "",
        _("If this lasts longer than a minute, run ./boathouse restart worker."),
    ),
    "worker-silent": (
        _("Does not respond"),
        _("Last check %(age)s ago; the findings for the other components are as old."),
        _(
            "Run ./boathouse restart worker; ./boathouse logs worker says why. Pushes and pulls "
            "continue."
        ),
    ),
}
