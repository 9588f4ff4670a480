"""`./boathouse notify …`: who is told what is wrong, what was pushed and deleted.

Ends with 0 if it is done, 1 with one sentence if it was refused or went wrong, 2 for words it does
not know. `test` ends with 1 if the message did not arrive.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from registryui.management import notify_facts
from registryui.management.command import (
    BY,
    BoathouseCommand,
    Options,
    Usage,
    add_act,
    add_yes,
)
from registryui.models import Delivery, Receiver
from registryui.notify import deliveries, receivers, sending
from registryui.notify.receivers import Wanted
from registryui.refused import Refused

SHOWN = 20  # deliveries
_LEVELS = {"warnings": "warn", "errors": "bad", "none": ""}


class Command(BoathouseCommand):
    help = (
        "Notifications: `notify add ops --mail ops@example.net` or `notify add chat https://…`, "
        "then `notify test chat`. Messages say what is wrong, and when it is resolved; with "
        "--pushes and --deletes also what happened to repositories."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        add = add_act(acts, "add", "add a receiver; the signing secret is shown only once")
        _name(add)
        url = add.add_mutually_exclusive_group()
        _url(url, "url", nargs="?")
        url.add_argument("--mail", metavar="ADDRESS", nargs="+", help="one or more mail addresses")
        _add_fields(add)
        add_act(acts, "list", "list all receivers")
        change = add_act(acts, "change", "change the given fields")
        _name(change)
        to = change.add_mutually_exclusive_group()
        _url(to, "--url")
        to.add_argument("--mail", metavar="ADDRESS", nargs="+", help="one or more mail addresses")
        _add_fields(change)
        for name, words in {
            "show": "show a receiver",
            "test": "send a test message now",
            "enable": "send messages again",
            "disable": "send nothing; what happens meanwhile is not sent later",
            "secret": "create another signing secret, which is shown only once",
        }.items():
            _name(add_act(acts, name, words))
        log = add_act(acts, "deliveries", "list the newest messages, and what came of them")
        _name(log)
        log.add_argument("--state", choices=list(Delivery.State.values), help="only these")
        log.add_argument("--limit", type=int, default=SHOWN, metavar="N", help="so many at most")
        again = add_act(acts, "resend", "send messages again, with the same id")
        _name(again)
        again.add_argument("id", metavar="ID", nargs="*", type=int, help="as deliveries shows it")
        again.add_argument("--failed", action="store_true", help="all that failed")
        remove = add_act(acts, "remove", "remove a receiver, with its messages")
        _name(remove)
        add_yes(remove)

    def handle(self, *args: Any, **options: Any) -> None:
        _ACTS[options["act"]](self, options)


def _name(parser: Any) -> None:
    parser.add_argument("name", metavar="NAME", help="of the receiver")


def _url(parser: Any, name: str, **options: Any) -> None:
    words = "of a webhook; - reads it from the input, for a URL with a token"
    parser.add_argument(name, metavar="URL", help=words, **options)


def _add_fields(parser: Any) -> None:
    parser.add_argument(
        "--conditions",
        choices=list(_LEVELS),
        help="what the doctor finds: warnings and errors (default), only errors, or none",
    )
    for name, words in {"pushes": "pushes of tags", "deletes": "deletes"}.items():
        parser.add_argument(
            f"--{name}", choices=("on", "off"), help=f"messages about {words} (default: off)"
        )
    parser.add_argument(
        "--repositories", metavar="PATTERNS", help="of those: 'team/* lib/*'; '' for all"
    )
    languages = [code for code, _name in settings.LANGUAGES]
    parser.add_argument("--language", choices=languages, help="of the messages (default: en)")
    parser.add_argument(
        "--insecure", action="store_true", help="allow an http:// address of another machine"
    )


# -- acts ----------------------------------------------------------------------------------------
def _list(command: Command, options: Options) -> None:
    rows = list(Receiver.objects.all())
    command.say([notify_facts.of(row) for row in rows], notify_facts.table(rows))


def _show(command: Command, options: Options) -> None:
    _tell(command, _find(options))


def _add(command: Command, options: Options) -> None:
    if not (options["url"] or options["mail"]):
        raise Usage("Enter the URL of a webhook, or --mail with an address.")
    kind = Receiver.Kind.MAIL if options["mail"] else Receiver.Kind.WEBHOOK
    row, secret = receivers.add(options["name"], _given(options, Wanted(kind)), by=BY)
    _tell(command, row, secret)


def _change(command: Command, options: Options) -> None:
    row = _find(options)
    given = Receiver.Kind.MAIL if options["mail"] else Receiver.Kind.WEBHOOK
    if (options["mail"] or options["url"]) and row.kind != given:
        raise Usage(f"{row.name} is a receiver by {row.kind}: add another one.")
    _tell(command, receivers.change(row, _given(options, receivers.wanted(row)), by=BY))


def _given(options: Options, before: Wanted) -> Wanted:
    """`before` with what the command line says otherwise."""
    changes: dict[str, Any] = {"may_be_plain": options["insecure"]}
    if options["mail"]:
        changes["address"] = " ".join(options["mail"])
    elif options["url"]:
        changes["address"] = _line() if options["url"] == "-" else options["url"]
    if options["conditions"]:
        changes["conditions"] = _LEVELS[options["conditions"]]
    for name in ("pushes", "deletes"):
        if options[name]:
            changes[f"has_{name}"] = options[name] == "on"
    given = {name: options[name] for name in ("repositories", "language")}
    return replace(before, **changes, **{k: v for k, v in given.items() if v is not None})


def _line() -> str:
    if not (text := sys.stdin.readline().strip()):
        raise Refused("The input contains no URL.")
    return text


def _test(command: Command, options: Options) -> None:
    row = _find(options)
    sent = sending.send_test(row, by=BY)
    last = sent.attempts[-1]
    status = f", HTTP status {last['status']}" if last["status"] else ""
    is_sent = sent.state == Delivery.State.SENT
    said = [f"{row.shown} took the message in {last['ms']} ms{status}."] if is_sent else []
    command.say(notify_facts.of_delivery(sent), *said)
    if not is_sent:
        raise CommandError(f"{row.shown} did not take the message: {last['error']}.")


def _enable(command: Command, options: Options) -> None:
    _tell(command, receivers.set_active(_find(options), is_active=True, by=BY))


def _disable(command: Command, options: Options) -> None:
    _tell(command, receivers.set_active(_find(options), is_active=False, by=BY))


def _secret(command: Command, options: Options) -> None:
    row = _find(options)
    _tell(command, row, receivers.renew_secret(row, by=BY))


def _deliveries(command: Command, options: Options) -> None:
    rows = _find(options).deliveries.order_by("-made_at", "-id")
    if options["state"]:
        rows = rows.filter(state=options["state"])
    found = list(rows[: max(1, options["limit"])])
    facts = [notify_facts.of_delivery(one) for one in found]
    command.say(facts, notify_facts.deliveries_table(found))


def _resend(command: Command, options: Options) -> None:
    row, ids = _find(options), options["id"]
    if bool(ids) == options["failed"]:
        raise Usage("Enter IDs of messages, or --failed for all that failed.")
    if not row.is_active:
        raise Refused(f"{row.name} is disabled: ./boathouse notify enable {row.name} comes first.")
    rows = row.deliveries.order_by("pk")
    rows = rows.filter(pk__in=ids) if ids else rows.filter(state=Delivery.State.FAILED)
    found = list(rows)
    if missing := sorted(set(ids) - {one.pk for one in found}):
        raise Refused(
            f"{row.name} has no message {missing[0]}: ./boathouse notify deliveries {row.name} "
            "lists them."
        )
    for one in found:
        deliveries.send_again(one)
    command.say(
        {"resent": [one.pk for one in found]},
        f"The worker sends {len(found)} messages again."
        if len(found) != 1
        else "The worker sends 1 message again.",
    )


def _remove(command: Command, options: Options) -> None:
    row = _find(options)
    command.confirm([f"Remove the receiver {row.name} ({row.shown})?"], word="yes", options=options)
    receivers.remove(row, by=BY)
    command.say({"removed": row.name}, f"Removed {row.name}.")


def _find(options: Options) -> Receiver:
    row = receivers.find(options["name"])
    if row is None:
        raise Refused(f"There is no receiver {options['name']}: ./boathouse notify list shows all.")
    return row


def _tell(command: Command, row: Receiver, secret: str = "") -> None:
    facts: dict[str, Any] = {"receiver": notify_facts.of(row)}
    lines = [notify_facts.block(row)]
    if secret:
        facts["secret"] = secret
        lines.append(f"\nSigning secret, shown only now:\n  {secret}")
    command.say(facts, *lines)


_ACTS: dict[str, Callable[[Command, Options], None]] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "change": _change,
    "test": _test,
    "enable": _enable,
    "disable": _disable,
    "secret": _secret,
    "deliveries": _deliveries,
    "resend": _resend,
    "remove": _remove,
}
