"""What `./boathouse import …` prints: of a run and its report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from registryui import formats
from registryui.imports.run import Result
from registryui.models import ImportedTag, Run

PRINTED = 500  # lines of the report that `import` itself prints; `import show ID` has all
_FACTS = ("kind", "source", "dry_run", "found", "taken", "there", "skipped", "failed", "bytes")
_WORDS = {"taken": "imported", "there": "already there", "skipped": "skipped", "failed": "FAILED"}


def of(run: Run) -> dict[str, Any]:
    """A run for programs."""
    result = Result.of(run)
    return {
        "id": run.pk,
        "state": run.state,
        "by": run.by,
        "started_at": run.started_at.isoformat(timespec="seconds"),
        **{name: getattr(result, name) for name in _FACTS},
        "seconds": result.seconds,
        "problem": result.problem,
    }


def of_tag(row: ImportedTag) -> dict[str, Any]:
    """A line of the report for programs."""
    return {
        "state": row.state,
        "source": f"{row.repository}:{row.tag}",
        "target": f"{row.target}:{row.target_tag}" if row.target else "",
        "digest": row.digest,
        "bytes": row.size,
        "note": row.note,
    }


def tag_lines(rows: Iterable[ImportedTag]) -> Iterator[str]:
    """The report for people."""
    for row in rows:
        source = f"{row.repository}:{row.tag}" if row.tag else row.repository
        target = f"{row.target}:{row.target_tag}"
        arrow = f" -> {target}" if row.target and target != source else ""
        note = f"  {row.note}" if row.note else ""
        yield f"{_WORDS[row.state]:<14} {formats.cell(source)}{arrow}{note}"


def progress(run: Run) -> str:
    """How far it is."""
    result = Result.of(run)
    if result.stage == "survey":
        return f"{result.found} tags found"
    left = result.seconds_left
    rest = "" if left is None else f", {_span(left)} left"
    return f"{run.done} of {run.total} tags, {formats.size(result.bytes)}{rest}"


def summary(run: Run) -> str:
    """What it did, in a sentence."""
    result = Result.of(run)
    would = "would be " if result.dry_run else ""
    return (
        f"{result.taken} tags {would}imported ({formats.size(result.bytes)}), "
        f"{result.there} already there, {result.skipped} skipped, {result.failed} failed, "
        f"in {result.seconds:.1f} s"
    )


def table(runs: Iterable[Run]) -> str:
    """Runs for people."""
    lines = [["ID", "BEGUN", "STATE", "SOURCE", "IMPORTED", "THERE", "SKIPPED", "FAILED", "SIZE"]]
    for run in runs:
        result = Result.of(run)
        counts = (result.taken, result.there, result.skipped, result.failed)
        dry = " (dry run)" if result.dry_run else ""
        lines.append(
            [
                *(str(run.pk), run.started_at.isoformat(" ", "minutes")[:16], f"{run.state}{dry}"),
                *(formats.cell(result.source), *map(str, counts), formats.size(result.bytes)),
            ]
        )
    return formats.columns(lines)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
