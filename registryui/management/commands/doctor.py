"""`./boathouse doctor`: check every system now."""

import sys
from typing import Any

from registryui import doctor
from registryui.management.command import BoathouseCommand, add_json


class Command(BoathouseCommand):
    help = (
        "Check every system: registry, proxy, htpasswd file, certificate, events, index, store, "
        "disk, worker. The exit status is 1 if one is critical."
    )

    def add_arguments(self, parser: Any) -> None:
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        findings = doctor.examine(is_thorough=True)
        self.say(_facts(findings), _as_table(findings))
        if doctor.worst(findings) == "bad":
            sys.exit(1)


def _facts(findings: list[doctor.Finding]) -> dict[str, Any]:
    rows = []
    for row, finding in zip(doctor.to_json(findings), findings, strict=True):
        words = doctor.texts(finding)
        rows.append({**row, "value": words.value, "note": words.note, "advice": words.advice})
    return {"state": doctor.worst(findings), "findings": rows}


def _as_table(findings: list[doctor.Finding]) -> str:
    said = [(finding.state, doctor.texts(finding)) for finding in findings]
    width = max(len(words.title) for _, words in said)
    lines = []
    for state, words in said:
        lines.append(f"{state:<4}  {words.title:<{width}}  {words.value}")
        # What is fine needs one line; what is not needs the rest.
        if words.note:
            lines[-1] += f" ({words.note})" if state == "ok" else ""
        if state != "ok":
            lines += [f"{'':<{width + 8}}{text}" for text in (words.note, words.advice) if text]
    return "\n".join(lines)
