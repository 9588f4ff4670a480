"""`./boathouse import htpasswd FILE`: the users of another htpasswd file become registry users."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from registryui import formats
from registryui.accounts import htpasswd, other_file, rights
from registryui.accounts.other_file import Line, Verdict
from registryui.management import user_arguments, user_facts
from registryui.management.command import BY, add_act, from_caller
from registryui.refused import Refused

MOST_BYTES = 64 * 1024 * 1024
_REASONS = {
    Verdict.THERE: "here already, with the same password",
    Verdict.CLASH: "a registry user of this name has another password here",
    Verdict.FOREIGN: "the htpasswd file here has such a line: ./boathouse user drift",
    Verdict.UNKNOWN_HASH: "nginx accepts no login with this hash: ./boathouse user add",
    Verdict.BAD_NAME: "not a name that a registry user can have",
    Verdict.OWN: "Boathouse's own line",
}


def add_to(acts: Any) -> None:
    """The act with its arguments."""
    one = add_act(acts, "htpasswd", "import users of another htpasswd file with their passwords")
    one.add_argument("file", type=from_caller, metavar="FILE", help="an htpasswd file, - for stdin")
    user_arguments.add_rights(one)
    one.add_argument("--dry-run", action="store_true", help="import nothing: only report")


def take(options: dict[str, Any]) -> tuple[Any, str]:
    """Does it; facts for programs, lines for people. Refused."""
    lines = other_file.plan(_content(options["file"]))
    if not lines:
        raise Refused(f"{options['file']} has no line with a user: NAME:HASH.")
    may = user_arguments.rights_in(options)
    facts: dict[str, Any] = {"dry_run": options["dry_run"]}
    proof = None
    if not options["dry_run"]:
        proof = other_file.take(lines, may, by=BY)
        facts["proof"] = user_facts.of_proof(proof) if proof else None
    facts["users"] = [_facts(one, may) for one in lines]
    said = [_table(lines, may), _summary(lines, may, dry_run=options["dry_run"])]
    if proof is not None:
        said.append(f"Proxy: {user_facts.proof_words(proof)}.")
    return facts, "\n".join(said)


def _content(name: str) -> bytes:
    if name == "-":
        content = sys.stdin.buffer.read(MOST_BYTES + 1)
    else:
        with Path(name).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise Refused(f"{name} is larger than {formats.size(MOST_BYTES)}: is it an htpasswd file?")
    return content


def _facts(one: Line, may: rights.Rights) -> dict[str, Any]:
    state = one.verdict.value if one.verdict in (Verdict.TAKEN, Verdict.THERE) else "skipped"
    return {"name": one.name, "state": state, "hash": one.kind.value, "note": _note(one, may)}


def _note(one: Line, may: rights.Rights) -> str:
    if one.verdict is not Verdict.TAKEN:
        return _REASONS[one.verdict]
    notes = []
    if may and not one.may_have_rights:
        notes.append("without rights: nginx cannot look up this name")
    if one.like:
        notes.append(f"differs from {one.like} only in case")
    if one.kind is htpasswd.Kind.PLAIN:
        notes.append("the password in clear is hashed")
    return ", ".join(notes)


def _table(lines: list[Line], may: rights.Rights) -> str:
    states = {Verdict.TAKEN: "imported", Verdict.THERE: "already there"}
    rows = [
        [
            formats.cell(one.name),
            states.get(one.verdict, "skipped"),
            one.kind.value,
            _note(one, may),
        ]
        for one in lines
    ]
    return formats.columns([["NAME", "STATE", "HASH", "NOTE"], *rows])


def _summary(lines: list[Line], may: rights.Rights, *, dry_run: bool) -> str:
    counts = Counter(one.verdict for one in lines)
    taken, there = counts[Verdict.TAKEN], counts[Verdict.THERE]
    would = "would be " if dry_run else ""
    skipped = len(lines) - taken - there
    said = f"{taken} users {would}imported, {there} already there, {skipped} skipped."
    if taken and not may:
        said += " They have no rights: ./boathouse user rights NAME --pull '*' --push '*'"
    return said
