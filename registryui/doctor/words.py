"""What a finding says to a person, in the language that is active when it is shown.

A line of `_SAY` is a finding's value, note and advice, filled in with its params; a function where
a sentence needs a decision. Advice is what to do, as a command where there is one. The params come
from the machine (paths, numbers, error texts of programs) and stay as they are.
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

from .findings import Finding

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

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
    """With what libraries say of a failure in our words."""
    said = {name: in_words(params[name]) for name in ("error", "why") if name in params}
    return {**params, **said}


_TITLES = {
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

Said = tuple[str, str, str]  # value, note, advice
if TYPE_CHECKING:
    Sentence = str | _StrPromise | Callable[[Params], str]


def _filled(sentence: Sentence, p: Params) -> str:
    return sentence(p) if callable(sentence) else sentence % _Shown(p)


class _Shown(dict[str, Any]):
    """The params of a finding, some of them as people read them, and what follows from them."""

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
    words = {"by": p["by"], "until": date_format(until, "DATETIME_FORMAT")}
    return (
        gettext("Holds pushes and deletes")
        if p["what"] == "writes"
        else gettext("Holds pushes of manifests, and deletes"),
        gettext("%(by)s asked for it, until %(until)s at the latest.") % words,
        gettext("When the work is done: ./boathouse freeze off."),
    )


def _htpasswd_lines(p: Params) -> Said:
    comma = pgettext("between names in a list", ", ")
    lines = comma.join(str(int(number)) for number in p["lines"])
    return (
        ngettext("%(count)d line lets nobody in", "%(count)d lines let nobody in", len(p["lines"]))
        % {"count": len(p["lines"])},
        gettext("Lines: %(lines)s") % {"lines": lines},
        gettext(
            "Mend or remove them in %(path)s: a line is a name, a colon and a hash that nginx "
            "knows."
        )
        % {"path": p["path"]},
    )


def _no_rights(p: Params) -> str:
    return gettext("Nobody may pull or push: %(path)s") % {"path": p["blocked"]}


def _certificate_ok(p: Params) -> Said:
    days = int(p["days"])
    until = date_format(date.fromisoformat(p["until"]), gettext("j M Y"))
    note = gettext("until %(date)s") % {"date": until}
    if p.get("any_name"):
        note += "; " + gettext(
            "the authority can sign any name: ./boathouse manage tls --new-authority makes one "
            "that is limited to this registry, which every client must then trust"
        )
    return _DAYS_LEFT % {"days": days}, note, ""


def _renewal(p: Params) -> str:
    if p.get("own"):
        return gettext("Get a new certificate from where this one came, then run ./boathouse up.")
    return gettext("Run ./boathouse manage tls --renew, then ./boathouse up, which reloads nginx.")


def _events_why(p: Params) -> str:
    minutes = {"minutes": int(p["seconds"]) // 60}
    return str(p["error"]) or gettext("The oldest one for %(minutes)d minutes.") % minutes


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
        "Make the disk bigger, or move the data folder to a bigger one; when it is full, "
        "pushes fail."
    )
    return " ".join(filter(None, (_would_free(p), bigger)))


def _make_room(p: Params) -> str:
    way_out = gettext(
        "Pushes are refused until there is room: remove other files or make the disk bigger, or "
        "delete tags and run ./boathouse gc --purge-now."
    )
    return " ".join(filter(None, (_would_free(p), way_out)))


def _would_free(p: Params) -> str:
    """What the page of collecting can do about it; "" if nothing, or if nobody looked."""
    if p.get("uncounted"):
        return gettext("See what collecting would free: ./boathouse gc --dry-run.")
    waiting, more = int(p.get("waiting", 0)), int(p.get("collectable", 0))
    words = []
    if waiting:
        words.append(
            gettext(
                "%(size)s wait hidden by collecting: “Purge now” on its page frees them at once."
            )
            % {"size": formats.size(waiting)}
        )
    if more:
        words.append(gettext("Collecting would free %(size)s more.") % {"size": formats.size(more)})
    return " ".join(words)


def _entries_left(p: Params) -> str:
    return gettext("%(count)s file entries left") % {"count": f"{p['entries']:,}"}


def _clock_jumped(p: Params) -> Said:
    shown, believed = (datetime.fromisoformat(p[name]) for name in ("shown", "believed"))
    return (
        gettext("The clock of this machine jumped"),
        gettext("It shows %(shown)s; by the machine's own counting it is %(believed)s.")
        % {"shown": schedules.when(shown), "believed": schedules.when(believed)},
        gettext(
            "Garbage collection, purges, retention and the end of undo are paused. Set the clock; "
            "if it is right: ./boathouse gc --trust-clock"
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
        return gettext("there is no schedule: only by hand")
    when = datetime.fromisoformat(p["next"])
    return gettext("next: %(time)s") % {"time": schedules.when(when)}


def _wait_for_database(p: Params) -> str:
    if p.get("path"):  # SQLite: busy for too long, or its disk fails
        return gettext(
            "Look at the disk that it is on, and whether another program holds the file."
        )
    return gettext(
        "Start PostgreSQL, or mend DATABASE_URL. Logins, pushes and pulls go on meanwhile; the "
        "pages and the worker come back by themselves."
    )


def _said_of(p: Params) -> str:
    return ": ".join(filter(None, (str(p.get("path", "")), str(p["error"]))))


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
        gettext("A change of registry users has not reached every host"),
        gettext("%(names)s, last heard of %(seconds)d s ago: %(count)d registry users")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"], "count": p["count"]},
        gettext(
            "Until then it may let in who was switched off. Run ./boathouse doctor there; if the "
            "host is gone for good, run ./boathouse manage hosts --forget with its name."
        ),
    )


def _hosts_silent(p: Params) -> Said:
    return (
        gettext("A host is silent"),
        gettext("%(names)s, last heard of %(seconds)d s ago")
        % {"names": ", ".join(p["names"]), "seconds": p["seconds"]},
        gettext(
            "Start it with ./boathouse up; if it is gone for good, run ./boathouse manage hosts "
            "--forget with its name."
        ),
    )


# -- the table -------------------------------------------------------------------------------------
_FREE = _("%(free)s free of %(total)s")
_EVERY = ngettext_lazy("every %(every)d minute", "every %(every)d minutes", "every")
_DAYS_LEFT = ngettext_lazy("%(days)d day left", "%(days)d days left", "days")
_OVER_HTTP = _("Read over HTTP, through the registry")
_CLOSED = (
    _("The user %(user)s may not open %(blocked)s."),
    _(
        "Give that user the right: chgrp %(user)s and chmod g+r for the file, chmod o+x for a "
        "folder above it."
    ),
)

_SAY: dict[str, tuple[Sentence, Sentence, Sentence] | Callable[[Params], Said]] = {
    # -- any part --
    "broken": (
        _("The check itself failed"),
        "%(error)s",
        _("Run ./boathouse doctor on the server; if it says the same, this is a bug."),
    ),
    "late": (
        _("No answer in %(seconds)d seconds"),
        "",
        _("Look whether the disk or the network of the server hangs."),
    ),
    # -- registry --
    "registry-ok": (_("Answers in %(ms)d ms"), "%(version)s", ""),
    "registry-unreachable": (
        _("Does not answer"),
        "%(url)s: %(error)s",
        _("Start it with ./boathouse up, and read what it says; pushes and pulls stand still."),
    ),
    "registry-answer": (
        _("Answers, but not as a registry"),
        "%(url)s: %(error)s",
        _("Another program may have its port: run ./boathouse down, then ./boathouse up."),
    ),
    "registry-unconfigured": (
        _("Its configuration cannot be read"),
        "%(path)s",
        _("Run ./boathouse up: it writes the configuration anew."),
    ),
    "registry-delete": (
        _("Deleting is switched off"),
        "%(path)s",
        _("Set storage.delete.enabled to true, or run ./boathouse up, which writes it anew."),
    ),
    "registry-cache": (
        _("Keeps a cache of blob descriptors"),
        "%(path)s",
        _(
            "Take storage.cache.blobdescriptor out, or run ./boathouse up: with this cache a push "
            "after a collection leaves out blobs that are gone."
        ),
    ),
    "registry-hook": (
        _("Does not tell the portal what happens"),
        "%(path)s",
        _("Run ./boathouse up: it writes the notification address of this portal."),
    ),
    "registry-open": (
        _("Answers every program of this machine"),
        _(
            "It listens on port %(port)d of loopback, because BOATHOUSE_REGISTRY_PORT is set: any "
            "local user can read, push and delete all images there without a password."
        ),
        _(
            "Unless something needs that port, remove the setting and run ./boathouse down, then "
            "./boathouse up: the registry then listens on sockets that only nginx and its own "
            "user reach."
        ),
    ),
    # -- front door --
    "proxy-ok": (_("Answers in %(ms)d ms"), "nginx, %(protocol)s", ""),
    "proxy-closed": (
        _("Nothing answers at %(address)s"),
        "%(error)s",
        _("Start it with ./boathouse up, and read what nginx says."),
    ),
    "proxy-untrusted": (
        _("Shows a certificate that clients refuse"),
        "%(error)s",
        _(
            "Run ./boathouse manage tls --renew, then ./boathouse up. If another program has the "
            "port, stop that one first."
        ),
    ),
    "proxy-old-certificate": (
        _("Shows an older certificate than the file"),
        _("nginx was not reloaded since the renewal."),
        _("Run ./boathouse up: it reloads nginx."),
    ),
    "proxy-held": _proxy_frozen,
    "proxy-open": (
        _("Lets everybody in without a password"),
        "",
        _("Stop it with ./boathouse down, then run ./boathouse up, which writes nginx.conf anew."),
    ),
    "proxy-no-passwords": (
        _("nginx cannot read the password file"),
        _("It answers %(status)d to a login."),
        _("See what is said of the password file, and nginx's error log."),
    ),
    "proxy-no-registry": (
        _("nginx does not reach the registry"),
        _("It answers %(status)d to a client."),
        _("See what is said of the registry; ./boathouse up starts it."),
    ),
    "proxy-no-portal": (
        _("nginx does not reach the portal"),
        _("It answers %(status)d to a browser. Pushes and pulls go on."),
        _("Start it with ./boathouse up, and read what the web process says."),
    ),
    "proxy-answer": (
        _("Answers, but not as a front door"),
        _("It answers %(status)d to a client."),
        _("Another program may have its port: run ./boathouse down, then ./boathouse up."),
    ),
    # -- password file --
    "htpasswd-ok": (
        ngettext_lazy("%(users)d registry user", "%(users)d registry users", "users"),
        _("Readable for nginx"),
        "",
    ),
    "htpasswd-missing": (
        _("Is missing"),
        "%(path)s",
        _("Run ./boathouse user publish: it is written again from the tables."),
    ),
    "htpasswd-unreadable": (_("nginx cannot read it"), *_CLOSED),
    "htpasswd-lines": _htpasswd_lines,
    "htpasswd-empty": (
        _("Nobody may log in"),
        _("The file holds no user."),
        _("Add a registry user: ./boathouse user add NAME --pull '*' --push '*'"),
    ),
    "htpasswd-old-missing": (
        _("The file of replaced secrets is missing"),
        _("A wrong password is answered as if a right lacked: %(path)s"),
        _("Run ./boathouse user publish: it is written again from the tables."),
    ),
    "htpasswd-old-unreadable": (_("nginx cannot read the file of replaced secrets"), *_CLOSED),
    "htpasswd-pending": (
        ngettext_lazy(
            "The files contradict the tables for %(count)d registry user",
            "The files contradict the tables for %(count)d registry users",
            "count",
        ),
        "%(names)s",
        _("Look at the disk and at who owns the files, then run ./boathouse user publish."),
    ),
    "htpasswd-lost": (
        _("Has lost all its lines"),
        _("Nobody may log in: %(names)s"),
        _("Run ./boathouse user publish: they are written again from the tables."),
    ),
    "htpasswd-drift": (
        ngettext_lazy(
            "%(count)d line was edited by hand", "%(count)d lines were edited by hand", "count"
        ),
        "%(names)s",
        _("./boathouse user drift shows what was done: take it over, put it back or let it be."),
    ),
    "passwords-down": (
        _("Passwords that people chose cannot be checked"),
        _("The part passwords: %(trouble)s. Who cannot log in: %(names)s"),
        _(
            "Restart Boathouse. With systemd, write the units again first: ./boathouse manage "
            "units /etc/systemd/system"
        ),
    ),
    "htpasswd-slow": (
        ngettext_lazy(
            "%(count)d password takes long to check",
            "%(count)d passwords take long to check",
            "count",
        ),
        "%(names)s",
        _(
            "Their logins share one slow queue. Give these users a new secret: ./boathouse user "
            "rotate NAME"
        ),
    ),
    "rights-missing": (
        _("The rights are missing"),
        _no_rights,
        _("Run ./boathouse user publish: they are written again from the tables."),
    ),
    "rights-unreadable": (
        _("nginx cannot see the rights"),
        _CLOSED[0],
        _("Run ./boathouse user publish: it opens the folder to nginx."),
    ),
    "rights-lost": (
        ngettext_lazy(
            "The rights of %(count)d registry user are missing",
            "The rights of %(count)d registry users are missing",
            "count",
        ),
        "%(names)s",
        _("Run ./boathouse user publish: they are written again from the tables."),
    ),
    # -- certificate --
    "certificate-ok": _certificate_ok,
    "certificate-ends": (_DAYS_LEFT, _("It should have been renewed by now."), _renewal),
    "certificate-expired": (
        ngettext_lazy("Expired %(days)d day ago", "Expired %(days)d days ago", "days"),
        _("Every client refuses it."),
        _renewal,
    ),
    "certificate-unreadable": (
        _("Cannot be read"),
        "%(error)s",
        _("Put the file back, or run ./boathouse up, which makes what is missing."),
    ),
    "certificate-wrong": (_("Does not fit"), "%(error)s", _renewal),
    "certificate-authority": (
        ngettext_lazy(
            "The authority ends in %(days)d day", "The authority ends in %(days)d days", "days"
        ),
        _("It is never replaced by itself, because every client has to trust the new one."),
        _(
            "Choose a day, run ./boathouse manage tls --new-authority and ./boathouse up, and "
            "send everybody to the page that says how to trust it."
        ),
    ),
    "certificate-key": (
        _("Its key can be read by others"),
        "%(path)s",
        _("Run chmod 600 %(path)s; if strangers have accounts on this server, renew it too."),
    ),
    # -- events --
    "events-ok": (_("Last one %(age)s ago"), _("None is waiting"), ""),
    "events-none": (_("None yet"), _("The first push sends one."), ""),
    "events-late": (
        ngettext_lazy("%(count)d is waiting", "%(count)d are waiting", "count"),
        _events_why,
        _("See what is said of the registry and the worker; they are applied when both answer."),
    ),
    "events-silent": (
        ngettext_lazy(
            "%(changes)d change came without an event",
            "%(changes)d changes came without an event",
            "changes",
        ),
        _("The sync found them; the registry did not tell."),
        _(
            "Run ./boathouse up, which writes the notification address anew, and look for "
            "“notifications” in the registry's log."
        ),
    ),
    # -- index --
    "index-ok": (_("Read %(age)s ago"), _EVERY, ""),
    "index-running": (
        _("Is being read now"),
        ngettext_lazy("%(done)d tag read so far", "%(done)d tags read so far", "done"),
        "",
    ),
    "index-never": (_("Not read yet"), _EVERY, _("Run ./boathouse sync, or wait for the worker.")),
    "index-old": (
        _("Read %(age)s ago"),
        _EVERY,
        _("Look whether the worker runs; ./boathouse sync reads the registry now."),
    ),
    "index-failed": (
        _("The last run failed"),
        "%(error)s",
        _("See what is said of the registry; ./boathouse sync tries again and shows every error."),
    ),
    # -- store --
    "store-ok": (_("Read directly, answers in %(ms)d ms"), "%(place)s", ""),
    "store-unwanted": (_OVER_HTTP, _("As BOATHOUSE_SOURCE says."), ""),
    "store-setting": (
        _OVER_HTTP,
        "%(error)s",
        _("Correct that setting, for every command of this instance, and run ./boathouse up."),
    ),
    "store-unreadable": (
        _OVER_HTTP,
        _("The user %(user)s may not read %(blocked)s."),
        _(
            "Run the registry and the portal as one user, or give this user the right to read the "
            "store; that is many times faster, and shows untagged images and push times. "
            "BOATHOUSE_SOURCE=http says that it is meant so."
        ),
    ),
    "store-no-driver": (
        _OVER_HTTP,
        _("There is no driver to read %(driver)s directly."),
        _("It takes longer and shows less; BOATHOUSE_SOURCE=http says that it is meant so."),
    ),
    "store-not-installed": (
        _OVER_HTTP,
        _("The driver to read %(driver)s directly is not installed."),
        _("Install it: .venv/bin/python -m pip install %(package)s"),
    ),
    "store-silent": (
        _("Does not answer"),
        "%(error)s",
        _(
            "Look at the service, the key and the network; until then set BOATHOUSE_SOURCE=http if "
            "the registry still reaches it."
        ),
    ),
    "store-unwritten": (
        _("The registry cannot write it"),
        "%(error)s",
        _(
            "Pushes fail, pulls go on. Look whether the disk is full or mounted read-only; give "
            "the store (registry/ in the data folder) to the user that runs the registry, or its "
            "key the right to write to the bucket."
        ),
    ),
    "store-unwritable": (
        _("Cannot be written"),
        _("The user %(user)s may not write %(path)s."),
        _(
            "If the registry runs as this user, pushes fail; collecting is not possible in any "
            "case. Look whether it is mounted read-only, or give it to this user. ./boathouse "
            "doctor, typed on the server, tries whether the registry can write."
        ),
    ),
    "store-links": (
        _("Has symbolic links that are not followed"),
        _(
            "%(count)d of them, the first is %(path)s: it leads to what has another name already, "
            "or in a circle, or lies within a repository. The registry follows it: what it serves "
            "there is not on the pages, and garbage collection deletes nothing."
        ),
        _(
            "Remove the link, or move what it leads to into the store. A link that stands for a "
            "whole repository or namespace may lead to a folder of its own on another disk."
        ),
    ),
    "store-elsewhere": (
        _("Parts of it lie on another file system"),
        _(
            "%(count)d symbolic links lead there, the first is %(path)s. Pulls work. Pushes of new "
            "layers fail, because the registry moves each upload to the other blobs, and garbage "
            "collection deletes nothing there."
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
        _("There is room, but not for more files: move the data folder to another file system."),
    ),
    "disk-readonly": (
        _("Cannot be written"),
        "%(path)s",
        _("Look whether it is mounted read-only, or belongs to another user."),
    ),
    # -- collection --
    "gc-ok": (_("Last one %(age)s ago"), _("%(freed)s freed, %(waiting)s wait hidden"), ""),
    "gc-running": (_("Is running"), _("for %(age)s"), ""),
    "gc-none": (_("None yet"), _next_gc, ""),
    "gc-never": (
        ngettext_lazy("Never in %(days)d day", "Never in %(days)d days", "days"),
        _next_gc,
        _(
            "What is deleted stays on the disk until then: run ./boathouse gc, or set "
            "BOATHOUSE_GC_SCHEDULE and look whether the worker runs at that time."
        ),
    ),
    "gc-canary": (
        _("The registry does not see what is hidden"),
        "%(error)s",
        _(
            "Nothing is collected before that is mended. Take storage.cache.blobdescriptor out of "
            "the registry's configuration and restart it; ./boathouse up does both."
        ),
    ),
    "gc-failed": (
        _("The last one failed %(age)s ago"),
        "%(error)s",
        _("./boathouse gc goes on where it ended, and shows every error."),
    ),
    "gc-overdue": (
        _("%(size)s wait hidden for too long"),
        _("due %(age)s ago"),
        _("Run ./boathouse gc: it frees what is due. Look whether the worker runs."),
    ),
    "gc-unreviewed": (
        _("The last one was ended before its review"),
        _("%(age)s ago"),
        _(
            "The worker does it within a minute: images that were pushed meanwhile may be "
            "incomplete until then. Look whether the worker runs."
        ),
    ),
    "gc-skipped": (
        ngettext_lazy(
            "The last one skipped %(count)d repository",
            "The last one skipped %(count)d repositories",
            "count",
        ),
        "%(name)s: %(why)s",
        _(
            "Nothing of a skipped repository is freed. ./boathouse integrity repairs half-written "
            "files and names the tags; the run's report names the others."
        ),
    ),
    "clock-jumped": _clock_jumped,
    "integrity-broken": (
        ngettext_lazy("%(count)d tag is broken", "%(count)d tags are broken", "count"),
        _("as of the check %(age)s ago"),
        _("Push these images again, or delete their tags: search for is:broken."),
    ),
    "packages-security": _packages_security,
    "audit-log-changed": (
        _("The audit log is not as it was written"),
        _("as of the check %(age)s ago"),
        _("Open Activity: it names the rows. docs/operate.md says what it can mean."),
    ),
    # -- database --
    "database-ok": (_("Answers in %(ms)d ms"), "PostgreSQL %(version)s", ""),
    "database-away": (_("Does not answer"), _said_of, _wait_for_database),
    "database-damaged": (
        _("Is damaged"),
        _said_of,
        _(
            "Pushes and pulls go on; nothing can be changed. Run ./boathouse down, put the file or "
            "database aside, bring a backup back, and run ./boathouse up: docs/operate.md, “When "
            "files are lost or broken”, has the commands, and says what comes back without one."
        ),
    ),
    "database-closed": (
        _("Cannot be opened"),
        _said_of,
        _("Give it, and the folder that it is in, to the user who runs Boathouse."),
    ),
    "database-empty": (
        _("Has no tables"),
        _said_of,
        _(
            "Run ./boathouse down, bring a backup back if there is one, and run ./boathouse up: it "
            "makes the tables and takes over the registry users from their files."
        ),
    ),
    # -- hosts --
    "hosts-ok": _hosts_ok,
    "hosts-late": _hosts_late,
    "hosts-silent": _hosts_silent,
    # -- worker --
    "worker-ok": (_("Is at work"), _("Last round %(age)s ago"), ""),
    "worker-never": (
        _("Has not made a round yet"),
        "",
        _("If this stays for a minute, start it with ./boathouse up and read what it says."),
    ),
    "worker-silent": (
        _("Does not answer"),
        _("Last round %(age)s ago; what is said of the other parts is as old."),
        _("Start it with ./boathouse up, and read what it says. Pushes and pulls go on."),
    ),
}
