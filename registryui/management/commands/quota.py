"""`./boathouse quota …`: how much the repositories of a namespace may hold.

Ends with 0 if it is done, 1 with one sentence if it was refused, 2 for words it does not know.
"""

from typing import Any

from registryui import formats
from registryui.management.command import BY, BoathouseCommand, Options, add_act
from registryui.models import Quota
from registryui.quotas import quotas, usage
from registryui.refused import Refused

NO_LIMIT = "none"


class Command(BoathouseCommand):
    help = (
        "Limits the bytes and tags of a namespace: team is the repository team and everything "
        "below team/. Pushes are refused when a limit is reached; pulls and deletes are not."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        set_ = add_act(acts, "set", "set or change the quota of a namespace")
        set_.add_argument("namespace", metavar="NAMESPACE")
        set_.add_argument(
            "--bytes",
            metavar="SIZE",
            help="of distinct blobs that tagged images need, such as 50GB; none: no limit",
        )
        set_.add_argument("--tags", metavar="N", help="number of tags; none: no limit")
        add_act(acts, "list", "list all quotas, the fullest first")
        for name, words in {"show": "show one quota", "remove": "remove a quota"}.items():
            add_act(acts, name, words).add_argument("namespace", metavar="NAMESPACE")

    def handle(self, *args: Any, **options: Any) -> None:
        lines, facts = _ACTS[options["act"]](options)
        self.say(facts, lines)


def _set(options: Options) -> tuple[str, Any]:
    row = quotas.find(options["namespace"])
    limit_bytes, limit_tags = (row.limit_bytes, row.limit_tags) if row else (None, None)
    if options["bytes"] is not None:
        limit_bytes = quotas.bytes_in("" if options["bytes"] == NO_LIMIT else options["bytes"])
    if options["tags"] is not None:
        limit_tags = quotas.tags_in("" if options["tags"] == NO_LIMIT else options["tags"])
    if limit_bytes is None and limit_tags is None:
        raise Refused("Add --bytes SIZE, --tags N, or both; ./boathouse quota remove removes it.")
    row = quotas.set_limits(
        options["namespace"], limit_bytes=limit_bytes, limit_tags=limit_tags, by=BY
    )
    return f"{row}: {_said(row)}", quotas.facts(row)


def _list(_options: Options) -> tuple[str, Any]:
    rows = sorted(Quota.objects.all(), key=lambda row: -row.share)
    if not rows:
        return "No quotas.", []
    lines = [["NAMESPACE", "BYTES", "LIMIT", "TAGS", "LIMIT", "USED", "PUSHES"], *map(_cells, rows)]
    return formats.columns(lines), [quotas.facts(row) for row in rows]


def _show(options: Options) -> tuple[str, Any]:
    row = _found(options)
    usage.measure(row)
    return f"{row}: {_said(row)}", quotas.facts(row)


def _remove(options: Options) -> tuple[str, Any]:
    row = _found(options)
    facts = quotas.facts(row)
    quotas.remove(row, by=BY)
    return f"Removed the quota of {row}.", facts


def _found(options: Options) -> Quota:
    row = quotas.find(options["namespace"])
    if row is None:
        name = options["namespace"]
        raise Refused(f"There is no quota of {name}: ./boathouse quota list shows all.")
    return row


def _said(row: Quota) -> str:
    used = [f"{formats.size(row.used_bytes)}{_of(formats.size, row.limit_bytes)}"]
    used.append(f"{row.used_tags:,}{_of('{:,}'.format, row.limit_tags)} tags")
    pushes = "pushes are refused" if row.is_full else "pushes are accepted"
    return f"{' and '.join(used)} used; {pushes}."


def _of(form: Any, limit: int | None) -> str:
    return "" if limit is None else f" of {form(limit)}"


def _cells(row: Quota) -> list[str]:
    return [
        row.namespace,
        formats.size(row.used_bytes),
        formats.size(row.limit_bytes),
        f"{row.used_tags:,}",
        "–" if row.limit_tags is None else f"{row.limit_tags:,}",
        f"{row.share:.0%}",
        "refused" if row.is_full else "accepted",
    ]


_ACTS = {"set": _set, "list": _list, "show": _show, "remove": _remove}
