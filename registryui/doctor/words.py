"""What a finding says to a person, in the language that is active when it is shown.

Advice is what to do, as a command where there is one. The values in `params` come from the machine
(paths, numbers, error texts of programs) and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from registryui import formats, schedules

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
        "front door": _("Front door"),
        "htpasswd": _("Password file"),
        "certificate": _("Certificate"),
        "database": _("Database"),
        "hosts": _("Other hosts"),
        "events": _("Events"),
        "index": _("Index"),
        "store": _("Store"),
        "disk": _("Disk"),
        "clock": _("Clock"),
        "gc": _("Collection"),
        "integrity": _("Integrity"),
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
        _("Run ./boathouse doctor on the server; if it says the same, this is a bug."),
    )


def _late(p: Params) -> Said:
    return (
        _("No answer in %(seconds)d seconds") % {"seconds": p["seconds"]},
        "",
        _("Look whether the disk or the network of the server hangs."),
    )


# -- registry ------------------------------------------------------------------------------------
def _registry_ok(p: Params) -> Said:
    return _("Answers in %(ms)d ms") % {"ms": p["ms"]}, str(p["version"]), ""


def _registry_unreachable(p: Params) -> Said:
    return (
        _("Does not answer"),
        f"{p['url']}: {p['error']}",
        _("Start it with ./boathouse up, and read what it says; pushes and pulls stand still."),
    )


def _registry_answer(p: Params) -> Said:
    return (
        _("Answers, but not as a registry"),
        f"{p['url']}: {p['error']}",
        _("Another program may have its port: run ./boathouse down, then ./boathouse up."),
    )


def _registry_unconfigured(p: Params) -> Said:
    return (
        _("Its configuration cannot be read"),
        str(p["path"]),
        _("Run ./boathouse up: it writes the configuration anew."),
    )


def _registry_delete(p: Params) -> Said:
    return (
        _("Deleting is switched off"),
        str(p["path"]),
        _("Set storage.delete.enabled to true, or run ./boathouse up, which writes it anew."),
    )


def _registry_cache(p: Params) -> Said:
    return (
        _("Keeps a cache of blob descriptors"),
        str(p["path"]),
        _(
            "Take storage.cache.blobdescriptor out, or run ./boathouse up: with this cache a push "
            "after a collection leaves out blobs that are gone."
        ),
    )


def _registry_hook(p: Params) -> Said:
    return (
        _("Does not tell the portal what happens"),
        str(p["path"]),
        _("Run ./boathouse up: it writes the notification address of this portal."),
    )


# -- front door ----------------------------------------------------------------------------------
def _proxy_ok(p: Params) -> Said:
    return _("Answers in %(ms)d ms") % {"ms": p["ms"]}, f"nginx, {p['protocol']}", ""


def _proxy_closed(p: Params) -> Said:
    return (
        _("Nothing answers at %(address)s") % {"address": p["address"]},
        str(p["error"]),
        _("Start it with ./boathouse up, and read what nginx says."),
    )


def _proxy_untrusted(p: Params) -> Said:
    return (
        _("Shows a certificate that clients refuse"),
        str(p["error"]),
        _(
            "Run ./boathouse manage tls --renew, then ./boathouse up. If another program has the "
            "port, stop that one first."
        ),
    )


def _proxy_old_certificate(p: Params) -> Said:
    return (
        _("Shows an older certificate than the file"),
        _("nginx was not reloaded since the renewal."),
        _("Run ./boathouse up: it reloads nginx."),
    )


def _proxy_held(p: Params) -> Said:
    until = timezone.localtime(datetime.fromisoformat(p["until"]))
    words = {"by": p["by"], "until": date_format(until, "DATETIME_FORMAT")}
    return (
        _("Holds pushes and deletes")
        if p["what"] == "writes"
        else _("Holds pushes of manifests, and deletes"),
        _("%(by)s asked for it, until %(until)s at the latest.") % words,
        _("When the work is done: ./boathouse freeze off."),
    )


def _proxy_open(p: Params) -> Said:
    return (
        _("Lets everybody in without a password"),
        "",
        _("Stop it with ./boathouse down, then run ./boathouse up, which writes nginx.conf anew."),
    )


def _proxy_no_passwords(p: Params) -> Said:
    return (
        _("nginx cannot read the password file"),
        _("It answers %(status)d to a login.") % {"status": p["status"]},
        _("See what is said of the password file, and nginx's error log."),
    )


def _proxy_no_registry(p: Params) -> Said:
    return (
        _("nginx does not reach the registry"),
        _("It answers %(status)d to a client.") % {"status": p["status"]},
        _("See what is said of the registry; ./boathouse up starts it."),
    )


def _proxy_no_portal(p: Params) -> Said:
    return (
        _("nginx does not reach the portal"),
        _("It answers %(status)d to a browser. Pushes and pulls go on.") % {"status": p["status"]},
        _("Start it with ./boathouse up, and read what the web process says."),
    )


def _proxy_answer(p: Params) -> Said:
    return (
        _("Answers, but not as a front door"),
        _("It answers %(status)d to a client.") % {"status": p["status"]},
        _("Another program may have its port: run ./boathouse down, then ./boathouse up."),
    )


# -- password file -------------------------------------------------------------------------------
def _htpasswd_ok(p: Params) -> Said:
    users = int(p["users"])
    return (
        ngettext("%(users)d registry user", "%(users)d registry users", users) % {"users": users},
        _("Readable for nginx"),
        "",
    )


def _htpasswd_missing(p: Params) -> Said:
    return (
        _("Is missing"),
        str(p["path"]),
        _("Run ./boathouse user publish: it is written again from the tables."),
    )


def _htpasswd_unreadable(p: Params) -> Said:
    return (
        _("nginx cannot read it"),
        _("The user %(user)s may not open %(blocked)s.")
        % {"user": p["user"], "blocked": p["blocked"]},
        _(
            "Give that user the right: chgrp %(user)s and chmod g+r for the file, chmod o+x for a "
            "folder above it."
        )
        % {"user": p["user"]},
    )


def _htpasswd_lines(p: Params) -> Said:
    comma = pgettext("between names in a list", ", ")
    lines = comma.join(str(int(number)) for number in p["lines"])
    return (
        ngettext("%(count)d line lets nobody in", "%(count)d lines let nobody in", len(p["lines"]))
        % {"count": len(p["lines"])},
        _("Lines: %(lines)s") % {"lines": lines},
        _("Mend or remove them in %(path)s: a line is a name, a colon and a hash that nginx knows.")
        % {"path": p["path"]},
    )


def _htpasswd_empty(p: Params) -> Said:
    return (
        _("Nobody may log in"),
        _("The file holds no user."),
        _("Add a registry user: ./boathouse user add NAME --pull '*' --push '*'"),
    )


def _htpasswd_old_missing(p: Params) -> Said:
    return (
        _("The file of replaced secrets is missing"),
        _("A wrong password is answered as if a right lacked: %(path)s") % {"path": p["path"]},
        _("Run ./boathouse user publish: it is written again from the tables."),
    )


def _htpasswd_old_unreadable(p: Params) -> Said:
    _value, note, advice = _htpasswd_unreadable(p)
    return _("nginx cannot read the file of replaced secrets"), note, advice


def _htpasswd_pending(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "The files contradict the tables for %(count)d registry user",
        "The files contradict the tables for %(count)d registry users",
        count,
    )
    return (
        value % {"count": count},
        _names(p),
        _("Look at the disk and at who owns the files, then run ./boathouse user publish."),
    )


def _htpasswd_lost(p: Params) -> Said:
    return (
        _("Has lost all its lines"),
        _("Nobody may log in: %(names)s") % {"names": _names(p)},
        _("Run ./boathouse user publish: they are written again from the tables."),
    )


def _htpasswd_drift(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "%(count)d line was edited by hand", "%(count)d lines were edited by hand", count
    )
    return (
        value % {"count": count},
        _names(p),
        _("./boathouse user drift shows what was done: take it over, put it back or let it be."),
    )


def _passwords_down(p: Params) -> Said:
    return (
        _("Passwords that people chose cannot be checked"),
        _("The part passwords: %(trouble)s. Who cannot log in: %(names)s")
        % {"trouble": p["trouble"], "names": _names(p)},
        _(
            "Restart Boathouse. With systemd, write the units again first: ./boathouse manage "
            "units /etc/systemd/system"
        ),
    )


def _htpasswd_slow(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "%(count)d password takes long to check", "%(count)d passwords take long to check", count
    )
    return (
        value % {"count": count},
        _names(p),
        _(
            "Their logins share one slow queue. Give these users a new secret: ./boathouse user "
            "rotate NAME"
        ),
    )


def _rights_missing(p: Params) -> Said:
    return (
        _("The rights are missing"),
        _("Nobody may pull or push: %(path)s") % {"path": p["blocked"]},
        _("Run ./boathouse user publish: they are written again from the tables."),
    )


def _rights_unreadable(p: Params) -> Said:
    _value, note, _advice = _htpasswd_unreadable(p)
    return (
        _("nginx cannot see the rights"),
        note,
        _("Run ./boathouse user publish: it opens the folder to nginx."),
    )


def _rights_lost(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "The rights of %(count)d registry user are missing",
        "The rights of %(count)d registry users are missing",
        count,
    )
    return (
        value % {"count": count},
        _names(p),
        _("Run ./boathouse user publish: they are written again from the tables."),
    )


def _names(p: Params) -> str:
    """The first names, and a sign that there are more."""
    comma = pgettext("between names in a list", ", ")
    return comma.join([*p["names"], *(["…"] if int(p["count"]) > len(p["names"]) else [])])


# -- certificate ---------------------------------------------------------------------------------
def _certificate_ok(p: Params) -> Said:
    days = int(p["days"])
    until = date_format(date.fromisoformat(p["until"]), _("j M Y"))
    note = _("until %(date)s") % {"date": until}
    if p.get("any_name"):
        note += "; " + _(
            "the authority can sign any name: ./boathouse manage tls --new-authority makes one "
            "that is limited to this registry, which every client must then trust"
        )
    return _days_left(days), note, ""


def _certificate_ends(p: Params) -> Said:
    return _days_left(int(p["days"])), _("It should have been renewed by now."), _renewal(p)


def _certificate_expired(p: Params) -> Said:
    days = int(p["days"])
    value = ngettext("Expired %(days)d day ago", "Expired %(days)d days ago", days)
    return value % {"days": days}, _("Every client refuses it."), _renewal(p)


def _certificate_unreadable(p: Params) -> Said:
    return (
        _("Cannot be read"),
        str(p["error"]),
        _("Put the file back, or run ./boathouse up, which makes what is missing."),
    )


def _certificate_wrong(p: Params) -> Said:
    return _("Does not fit"), str(p["error"]), _renewal(p)


def _certificate_authority(p: Params) -> Said:
    days = int(p["days"])
    value = ngettext(
        "The authority ends in %(days)d day", "The authority ends in %(days)d days", days
    )
    return (
        value % {"days": days},
        _("It is never replaced by itself, because every client has to trust the new one."),
        _(
            "Choose a day, run ./boathouse manage tls --new-authority and ./boathouse up, and "
            "send everybody to the page that says how to trust it."
        ),
    )


def _certificate_key(p: Params) -> Said:
    return (
        _("Its key can be read by others"),
        str(p["path"]),
        _("Run chmod 600 %(path)s; if strangers have accounts on this server, renew it too.")
        % {"path": p["path"]},
    )


def _days_left(days: int) -> str:
    return ngettext("%(days)d day left", "%(days)d days left", days) % {"days": days}


def _renewal(p: Params) -> str:
    if p.get("own"):
        return _("Get a new certificate from where this one came, then run ./boathouse up.")
    return _("Run ./boathouse manage tls --renew, then ./boathouse up, which reloads nginx.")


# -- events --------------------------------------------------------------------------------------
def _events_ok(p: Params) -> Said:
    return _ago(_("Last one %(age)s ago"), p["at"]), _("None is waiting"), ""


def _events_none(p: Params) -> Said:
    return _("None yet"), _("The first push sends one."), ""


def _events_late(p: Params) -> Said:
    count = int(p["count"])
    return (
        ngettext("%(count)d is waiting", "%(count)d are waiting", count) % {"count": count},
        str(p["error"])
        or _("The oldest one for %(minutes)d minutes.") % {"minutes": int(p["seconds"]) // 60},
        _("See what is said of the registry and the worker; they are applied when both answer."),
    )


def _events_silent(p: Params) -> Said:
    changes = int(p["changes"])
    value = ngettext(
        "%(changes)d change came without an event",
        "%(changes)d changes came without an event",
        changes,
    )
    return (
        value % {"changes": changes},
        _("The sync found them; the registry did not tell."),
        _(
            "Run ./boathouse up, which writes the notification address anew, and look for "
            "“notifications” in the registry's log."
        ),
    )


# -- index ---------------------------------------------------------------------------------------
def _index_ok(p: Params) -> Said:
    return _ago(_("Read %(age)s ago"), p["at"]), _every(p), ""


def _index_running(p: Params) -> Said:
    done = int(p["done"])
    value = ngettext("%(done)d tag read so far", "%(done)d tags read so far", done)
    return _("Is being read now"), value % {"done": done}, ""


def _index_never(p: Params) -> Said:
    return (
        _("Not read yet"),
        _every(p),
        _("Run ./boathouse sync, or wait for the worker."),
    )


def _index_old(p: Params) -> Said:
    return (
        _ago(_("Read %(age)s ago"), p["at"]),
        _every(p),
        _("Look whether the worker runs; ./boathouse sync reads the registry now."),
    )


def _index_failed(p: Params) -> Said:
    return (
        _("The last run failed"),
        str(p["error"]),
        _("See what is said of the registry; ./boathouse sync tries again and shows every error."),
    )


def _every(p: Params) -> str:
    every = int(p["every"])
    return ngettext("every %(every)d minute", "every %(every)d minutes", every) % {"every": every}


# -- store ---------------------------------------------------------------------------------------
def _store_ok(p: Params) -> Said:
    return _("Read directly, answers in %(ms)d ms") % {"ms": p["ms"]}, str(p["place"]), ""


def _store_unwanted(p: Params) -> Said:
    return _over_http(), _("As BOATHOUSE_SOURCE says."), ""


def _store_setting(p: Params) -> Said:
    return (
        _over_http(),
        str(p["error"]),
        _("Correct that setting, for every command of this instance, and run ./boathouse up."),
    )


def _store_unreadable(p: Params) -> Said:
    return (
        _over_http(),
        _("The user %(user)s may not read %(blocked)s.")
        % {"user": p["user"], "blocked": p["path"]},
        _(
            "Run the registry and the portal as one user, or give this user the right to read the "
            "store; that is many times faster, and shows untagged images and push times. "
            "BOATHOUSE_SOURCE=http says that it is meant so."
        ),
    )


def _store_no_driver(p: Params) -> Said:
    return (
        _over_http(),
        _("There is no driver to read %(driver)s directly.") % {"driver": p["driver"]},
        _("It takes longer and shows less; BOATHOUSE_SOURCE=http says that it is meant so."),
    )


def _store_not_installed(p: Params) -> Said:
    return (
        _over_http(),
        _("The driver to read %(driver)s directly is not installed.") % {"driver": p["driver"]},
        _("Install it: .venv/bin/python -m pip install %(package)s") % {"package": p["package"]},
    )


def _store_silent(p: Params) -> Said:
    return (
        _("Does not answer"),
        str(p["error"]),
        _(
            "Look at the service, the key and the network; until then set BOATHOUSE_SOURCE=http if "
            "the registry still reaches it."
        ),
    )


def _store_unwritten(p: Params) -> Said:
    return (
        _("The registry cannot write it"),
        str(p["error"]),
        _(
            "Pushes fail, pulls go on. Look whether the disk is full or mounted read-only; give "
            "the store (registry/ in the data folder) to the user that runs the registry, or its "
            "key the right to write to the bucket."
        ),
    )


def _store_unwritable(p: Params) -> Said:
    return (
        _("Cannot be written"),
        _("The user %(user)s may not write %(path)s.") % {"user": p["user"], "path": p["path"]},
        _(
            "If the registry runs as this user, pushes fail; collecting is not possible in any "
            "case. Look whether it is mounted read-only, or give it to this user. ./boathouse "
            "doctor, typed on the server, tries whether the registry can write."
        ),
    )


def _store_links(p: Params) -> Said:
    return (
        _("Has symbolic links that are not followed"),
        _(
            "%(count)d of them, the first is %(path)s: it leads to what has another name already, "
            "or in a circle, or lies within a repository. The registry follows it: what it serves "
            "there is not on the pages, and garbage collection deletes nothing."
        )
        % {"count": p["count"], "path": p["path"]},
        _(
            "Remove the link, or move what it leads to into the store. A link that stands for a "
            "whole repository or namespace may lead to a folder of its own on another disk."
        ),
    )


def _store_elsewhere(p: Params) -> Said:
    return (
        _("Parts of it lie on another file system"),
        _(
            "%(count)d symbolic links lead there, the first is %(path)s. Pulls work. Pushes of new "
            "layers fail, because the registry moves each upload to the other blobs, and garbage "
            "collection deletes nothing there."
        )
        % {"count": p["count"], "path": p["path"]},
        _("To push there again, move it back, or move the whole store to the larger disk."),
    )


def _over_http() -> str:
    return _("Read over HTTP, through the registry")


# -- disk ----------------------------------------------------------------------------------------
def _disk_ok(p: Params) -> Said:
    return _free(p), _full_in(p), ""


def _disk_low(p: Params) -> Said:
    bigger = _(
        "Make the disk bigger, or move the data folder to a bigger one; when it is full, "
        "pushes fail."
    )
    return _free(p), _full_in(p) or str(p["path"]), " ".join(filter(None, (_would_free(p), bigger)))


def _disk_full(p: Params) -> Said:
    way_out = _(
        "Pushes are refused until there is room: remove other files or make the disk bigger, or "
        "delete tags and run ./boathouse gc --purge-now."
    )
    return _free(p), str(p["path"]), " ".join(filter(None, (_would_free(p), way_out)))


def _would_free(p: Params) -> str:
    """What the page of collecting can do about it; "" if nothing, or if nobody looked."""
    if p.get("uncounted"):
        return _("See what collecting would free: ./boathouse gc --dry-run.")
    waiting, more = int(p.get("waiting", 0)), int(p.get("collectable", 0))
    words = []
    if waiting:
        words.append(
            _("%(size)s wait hidden by collecting: “Purge now” on its page frees them at once.")
            % {"size": formats.size(waiting)}
        )
    if more:
        words.append(_("Collecting would free %(size)s more.") % {"size": formats.size(more)})
    return " ".join(words)


def _disk_entries(p: Params) -> Said:
    return (
        _("%(count)s file entries left") % {"count": f"{p['entries']:,}"},
        str(p["path"]),
        _("There is room, but not for more files: move the data folder to another file system."),
    )


def _disk_readonly(p: Params) -> Said:
    return (
        _("Cannot be written"),
        str(p["path"]),
        _("Look whether it is mounted read-only, or belongs to another user."),
    )


def _free(p: Params) -> str:
    sizes = {"free": formats.size(p["free"]), "total": formats.size(p["total"])}
    return _("%(free)s free of %(total)s") % sizes


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
    freed, waiting = (formats.size(p[name]) for name in ("freed", "waiting"))
    note = _("%(freed)s freed, %(waiting)s wait hidden") % {"freed": freed, "waiting": waiting}
    return _ago(_("Last one %(age)s ago"), p["at"]), note, ""


def _gc_running(p: Params) -> Said:
    return _("Is running"), _ago(_("for %(age)s"), p["at"]), ""


def _gc_none(p: Params) -> Said:
    return _("None yet"), _next_gc(p), ""


def _gc_never(p: Params) -> Said:
    days = int(p["days"])
    value = ngettext("Never in %(days)d day", "Never in %(days)d days", days) % {"days": days}
    return (
        value,
        _next_gc(p),
        _(
            "What is deleted stays on the disk until then: run ./boathouse gc, or set "
            "BOATHOUSE_GC_SCHEDULE and look whether the worker runs at that time."
        ),
    )


def _gc_canary(p: Params) -> Said:
    return (
        _("The registry does not see what is hidden"),
        str(p["error"]),
        _(
            "Nothing is collected before that is mended. Take storage.cache.blobdescriptor out of "
            "the registry's configuration and restart it; ./boathouse up does both."
        ),
    )


def _gc_failed(p: Params) -> Said:
    return (
        _ago(_("The last one failed %(age)s ago"), p["at"]),
        str(p["error"]),
        _("./boathouse gc goes on where it ended, and shows every error."),
    )


def _gc_overdue(p: Params) -> Said:
    return (
        _("%(size)s wait hidden for too long") % {"size": formats.size(p["bytes"])},
        _ago(_("due %(age)s ago"), p["due_at"]),
        _("Run ./boathouse gc: it frees what is due. Look whether the worker runs."),
    )


def _gc_unreviewed(p: Params) -> Said:
    return (
        _("The last one was ended before its review"),
        _ago(_("%(age)s ago"), p["at"]),
        _(
            "The worker does it within a minute: images that were pushed meanwhile may be "
            "incomplete until then. Look whether the worker runs."
        ),
    )


def _gc_skipped(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext(
        "The last one skipped %(count)d repository",
        "The last one skipped %(count)d repositories",
        count,
    )
    return (
        value % {"count": count},
        f"{p['name']}: {p['why']}",
        _(
            "Nothing of a skipped repository is freed. ./boathouse integrity repairs half-written "
            "files and names the tags; the run's report names the others."
        ),
    )


def _clock_jumped(p: Params) -> Said:
    shown, believed = (datetime.fromisoformat(p[name]) for name in ("shown", "believed"))
    return (
        _("The clock of this machine jumped"),
        _("It shows %(shown)s; by the machine's own counting it is %(believed)s.")
        % {"shown": schedules.when(shown), "believed": schedules.when(believed)},
        _(
            "Garbage collection, purges, retention and the end of undo are paused. Set the clock; "
            "if it is right: ./boathouse gc --trust-clock"
        ),
    )


def _integrity_broken(p: Params) -> Said:
    count = int(p["count"])
    value = ngettext("%(count)d tag is broken", "%(count)d tags are broken", count)
    return (
        value % {"count": count},
        _ago(_("as of the check %(age)s ago"), p["at"]),
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
        _("The audit log is not as it was written"),
        _ago(_("as of the check %(age)s ago"), p["at"]),
        _("Open Activity: it names the rows. docs/operate.md says what it can mean."),
    )


def _next_gc(p: Params) -> str:
    if not p["next"]:
        return _("there is no schedule: only by hand")
    when = datetime.fromisoformat(p["next"])
    return _("next: %(time)s") % {"time": schedules.when(when)}


# -- database ------------------------------------------------------------------------------------
def _database_ok(p: Params) -> Said:
    return _("Answers in %(ms)d ms") % {"ms": p["ms"]}, f"PostgreSQL {p['version']}", ""


def _database_away(p: Params) -> Said:
    if p.get("path"):  # SQLite: busy for too long, or its disk fails
        return (
            _("Does not answer"),
            _said_of(p),
            _("Look at the disk that it is on, and whether another program holds the file."),
        )
    return (
        _("Does not answer"),
        _said_of(p),
        _(
            "Start PostgreSQL, or mend DATABASE_URL. Logins, pushes and pulls go on meanwhile; the "
            "pages and the worker come back by themselves."
        ),
    )


def _database_damaged(p: Params) -> Said:
    return (
        _("Is damaged"),
        _said_of(p),
        _(
            "Pushes and pulls go on; nothing can be changed. Run ./boathouse down, put the file or "
            "database aside, bring a backup back, and run ./boathouse up: docs/operate.md, “When "
            "files are lost or broken”, has the commands, and says what comes back without one."
        ),
    )


def _database_closed(p: Params) -> Said:
    return (
        _("Cannot be opened"),
        _said_of(p),
        _("Give it, and the folder that it is in, to the user who runs Boathouse."),
    )


def _database_empty(p: Params) -> Said:
    return (
        _("Has no tables"),
        _said_of(p),
        _(
            "Run ./boathouse down, bring a backup back if there is one, and run ./boathouse up: it "
            "makes the tables and takes over the registry users from their files."
        ),
    )


def _said_of(p: Params) -> str:
    return ": ".join(filter(None, (str(p.get("path", "")), str(p["error"]))))


# -- hosts ---------------------------------------------------------------------------------------
def _hosts_ok(p: Params) -> Said:
    count = int(p["count_hosts"])
    value = ngettext(
        "%(count)d other host publishes what is decided here",
        "%(count)d other hosts publish what is decided here",
        count,
    )
    return value % {"count": count}, ", ".join(p["names"]), ""


def _hosts_late(p: Params) -> Said:
    return (
        _("A change of registry users has not reached every host"),
        _("%(names)s, last heard of %(seconds)d s ago: %(count)d registry users")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"], "count": p["count"]},
        _(
            "Until then it may let in who was switched off. Run ./boathouse doctor there; if the "
            "host is gone for good, run ./boathouse manage hosts --forget with its name."
        ),
    )


def _hosts_silent(p: Params) -> Said:
    return (
        _("A host is silent"),
        _("%(names)s, last heard of %(seconds)d s ago")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"]},
        _(
            "Start it with ./boathouse up; if it is gone for good, run ./boathouse manage hosts "
            "--forget with its name."
        ),
    )


# -- worker --------------------------------------------------------------------------------------
def _worker_ok(p: Params) -> Said:
    return _("Is at work"), _ago(_("Last round %(age)s ago"), p["at"]), ""


def _worker_never(p: Params) -> Said:
    return (
        _("Has not made a round yet"),
        "",
        _("If this stays for a minute, start it with ./boathouse up and read what it says."),
    )


def _worker_silent(p: Params) -> Said:
    return (
        _("Does not answer"),
        _ago(_("Last round %(age)s ago; what is said of the other parts is as old."), p["at"]),
        _("Start it with ./boathouse up, and read what it says. Pushes and pulls go on."),
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
