"""`./boathouse user …`: who may log in with docker, what they may do, and the files that say so.

Ends with 0 if it is done, 1 with one sentence if it was refused, 2 for words it does not know.
It needs no part of the product to run: then the files are written, and nothing proves them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from registryui import audit, formats
from registryui.accounts import drift, htpasswd, publish, users
from registryui.denials.found import denied
from registryui.management import denial_facts, user_arguments, user_facts
from registryui.management.command import (
    BY,
    BoathouseCommand,
    Options,
    Usage,
    find_operator,
    given_password,
)
from registryui.models import Denial, Operator, RegistryUser, State
from registryui.refused import Refused

Said = tuple[str, Any]  # lines for people, facts for programs


class Command(BoathouseCommand):
    help = (
        "Registry users: who may log in with docker, and what they may pull, push and delete. "
        "SCOPE is * (everything), team/* (a namespace) or team/api (a repository)."
    )

    def add_arguments(self, parser: Any) -> None:
        user_arguments.add_to(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["act"] == "remove":
            names = ", ".join(row.name for row in _find_all(options["names"]))
            question = f"Remove {names}? This cannot be undone; disabling can."
            self.confirm([question], word="yes", options=options)
        lines, facts = _ACTS[options["act"]](options)
        self.say(facts, lines)


# -- users ---------------------------------------------------------------------------------------
def _add(options: Options) -> Said:
    done = users.create(
        options["name"],
        by=BY,
        may=user_arguments.rights_in(options),
        note=options["note"],
        expires_at=options["expires"],
        owner=_operator(options["owner"]),
        password=given_password(options),
        cost=options["cost"],
    )
    return user_facts.done_lines(done), user_facts.of_done(done)


def _list(options: Options) -> Said:
    rows = RegistryUser.objects.select_related("owner").prefetch_related("rights").with_pending()
    if options["state"]:
        rows = rows.in_state(State(options["state"]))
    if options["unused"] is not None:
        rows = rows.unused(days=options["unused"])
    found = list(rows.order_by("name"))
    return user_facts.table(found), [user_facts.of(row) for row in found]


def _show(options: Options) -> Said:
    row = _find(options["name"])
    return user_facts.block(row), user_facts.of(row)


def _denials(options: Options) -> Said:
    if options["limit"] < 1:
        raise Usage("--limit must be at least 1.")
    rows = Denial.objects.all()
    if options["name"]:
        name = options["name"]
        rows = rows.filter(actor=name)
        if not rows.exists():
            _find(name)  # a mistyped name is not one that was never refused
    if options["repository"]:
        rows = rows.filter(repository=options["repository"])
    found = denied(rows, most=options["limit"])
    return denial_facts.lines(found), [denial_facts.of(one) for one in found]


def _rights(options: Options) -> Said:
    may = user_arguments.rights_in(options)
    if bool(may) == options["none"]:
        raise Usage("Give --pull, --push or --delete, or --none alone.")
    return _on_one(users.set_rights(_find(options["name"]), may, by=BY))


def _rotate(options: Options) -> Said:
    return _on_one(users.rotate(_find(options["name"]), by=BY, overlap=options["overlap"]))


@sensitive_variables("password")
def _password(options: Options) -> Said:
    row, password = _find(options["name"]), given_password(options)
    return _on_one(users.set_password(row, password, by=BY, cost=options["cost"]))


def _disable(options: Options) -> Said:
    return _on_several(users.set_active(_find_all(options["names"]), is_active=False, by=BY))


def _enable(options: Options) -> Said:
    return _on_several(users.set_active(_find_all(options["names"]), is_active=True, by=BY))


def _expire(options: Options) -> Said:
    return _on_several(users.expire(_find_all(options["names"]), options["when"], by=BY))


def _remove(options: Options) -> Said:
    rows = _find_all(options["names"])
    proof = users.remove(rows, by=BY)
    names = [row.name for row in rows]
    lines = [*(f"Removed {name}." for name in names), _proxy(proof)]
    return "\n".join(lines), {"removed": names, "proof": user_facts.of_proof(proof)}


def _note(options: Options) -> Said:
    row = _find(options["name"])
    row = users.describe(row, note=options["text"], owner=row.owner, by=BY)
    return f"{row.name}: {row.note or 'no note'}", {"user": user_facts.of(row)}


def _owner(options: Options) -> Said:
    row = _find(options["name"])
    row = users.describe(row, note=row.note, owner=_operator(options["operator"]), by=BY)
    owner = row.owner.get_username() if row.owner else "nobody"
    return f"The owner of {row.name} is {owner}.", {"user": user_facts.of(row)}


def _on_one(done: users.Done) -> Said:
    return user_facts.done_lines(done), user_facts.of_done(done)


def _on_several(done: users.Done) -> Said:
    facts = {
        "users": [user_facts.of(row) for row in done.users],
        "proof": user_facts.of_proof(done.proof),
    }
    lines = [user_facts.state_words(row) for row in done.users]
    return "\n".join([*lines, _proxy(done.proof)]), facts


def _proxy(proof: publish.Proof) -> str:
    return f"Proxy: {user_facts.proof_words(proof)}."


def _find(name: str) -> RegistryUser:
    return _find_all([name])[0]


def _find_all(names: Sequence[str]) -> list[RegistryUser]:
    """Those users, once each; Refused if one of them is not there."""
    found = {row.name: row for row in RegistryUser.objects.filter(name__in=names)}
    if missing := [name for name in names if name not in found]:
        raise Refused(
            f"There is no registry user {', '.join(missing)}: ./boathouse user list shows all."
        )
    return [found[name] for name in dict.fromkeys(names)]


def _operator(name: str) -> Operator | None:
    return find_operator(name) if name else None


# -- the file ------------------------------------------------------------------------------------
def _drift(options: Options) -> Said:
    found = drift.find()
    for option, act in _MENDS.items():
        if options[option] is not None:
            chosen = _chosen(found, options[option], is_all=options["all"])
            return _mended(chosen, act(chosen))
    if options["all"]:
        raise Usage("--all needs --accept, --revert or --ignore.")
    if not found:
        return "The htpasswd file matches the database.", []
    lines = [[one.name, str(one.what.label), htpasswd.kind(one.line_hash).value] for one in found]
    return formats.columns([["NAME", "WHAT", "HASH"], *lines]), user_facts.of_differences(found)


def _leave(chosen: Sequence[drift.Difference]) -> None:
    drift.leave_alone(chosen, by=BY)


_MENDS: dict[str, Callable[[Sequence[drift.Difference]], publish.Proof | None]] = {
    "accept": lambda chosen: drift.take_over(chosen, by=BY),
    "revert": lambda chosen: drift.restore_lines(chosen, by=BY),
    "ignore": _leave,
}


def _chosen(
    found: Sequence[drift.Difference], names: Sequence[str], *, is_all: bool
) -> Sequence[drift.Difference]:
    if bool(names) == is_all:
        raise Usage("Enter the names of lines, or --all.")
    if missing := set(names) - {one.name for one in found}:
        raise Refused(
            f"The line of {', '.join(sorted(missing))} was not edited: "
            "./boathouse user drift lists the edits."
        )
    return [one for one in found if is_all or one.name in names]


def _mended(chosen: Sequence[drift.Difference], proof: publish.Proof | None) -> Said:
    left = drift.find()
    lines = [f"{len(chosen)} lines done, {len(left)} left."]
    facts: dict[str, Any] = {
        "done": user_facts.of_differences(chosen),
        "left": user_facts.of_differences(left),
    }
    if proof is not None:
        lines.append(_proxy(proof))
        facts["proof"] = user_facts.of_proof(proof)
    return "\n".join(lines), facts


def _versions(options: Options) -> Said:
    facts = []
    for number, path in enumerate(publish.versions(), start=1):
        named = htpasswd.parse(path.read_bytes()).keys() - {htpasswd.CANARY}
        at = publish.version_time(path).isoformat(timespec="seconds")
        facts.append({"number": number, "version": path.name, "at": at, "users": len(named)})
    if not facts:
        return "The htpasswd file has not changed yet.", facts
    lines = [[str(value) for value in fact.values()] for fact in facts]
    return formats.columns([["NUMBER", "VERSION", "REPLACED", "USERS"], *lines]), facts


def _restore(options: Options) -> Said:
    version = _version(options["version"])
    facts = _effect(version)
    words = {
        "gains": "Can log in",
        "loses": "Can no longer log in",
        "changes": "Has another secret",
        "stays_out": "Remains expired",
    }
    lines = [f"{words[key]}: {', '.join(facts[key])}" for key in words if facts[key]]
    lines = lines or ["No change of who can log in."]
    if options["dry_run"]:
        return "\n".join(["Dry run:", *lines]), {**facts, "done": False}
    proof = drift.restore(version, by=BY)
    lines.append(_proxy(proof))
    return "\n".join(lines), {**facts, "done": True, "proof": user_facts.of_proof(proof)}


def _effect(version: Path) -> dict[str, Any]:
    """Who gains, loses or has another login once that version is back."""
    found = drift.compare(version)
    over = set(
        RegistryUser.objects.filter(
            name__in=[one.name for one in found], expires_at__lte=timezone.now()
        ).values_list("name", flat=True)
    )

    def named(what: drift.What) -> list[str]:
        return [one.name for one in found if one.what == what and one.name not in over]

    return {
        "version": version.name,
        "gains": named(drift.What.ADDED),
        "loses": named(drift.What.REMOVED),
        "changes": named(drift.What.CHANGED),
        "stays_out": sorted(over & {one.name for one in found if one.line_hash}),
    }


def _version(text: str) -> Path:
    found = publish.versions()
    for number, path in enumerate(found, start=1):
        if text in (str(number), path.name, path.name.lstrip("0")):
            return path
    raise Refused(f"There is no version {text}: ./boathouse user versions shows all.")


def _publish(options: Options) -> Said:
    try:
        canary = publish.write_all()
    except OSError as error:
        users.record_failure("file.publish", [""], by=BY, error=error)
        raise users.not_written(error) from error
    audit.record("file.publish", "", by=BY)
    left, proof = drift.find(), publish.prove(canary)
    count = RegistryUser.objects.in_state(State.ACTIVE).count()
    lines = [f"Published the files: {count} registry users can log in.", _proxy(proof)]
    if left:
        lines.append(
            f"{len(left)} lines belong to no user here: ./boathouse user drift lists them."
        )
    facts = {"users": count, "left": user_facts.of_differences(left)}
    return "\n".join(lines), {**facts, "proof": user_facts.of_proof(proof)}


_ACTS: dict[str, Callable[[Options], Said]] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "denials": _denials,
    "rights": _rights,
    "rotate": _rotate,
    "password": _password,
    "disable": _disable,
    "enable": _enable,
    "expire": _expire,
    "remove": _remove,
    "note": _note,
    "owner": _owner,
    "drift": _drift,
    "versions": _versions,
    "restore": _restore,
    "publish": _publish,
}
