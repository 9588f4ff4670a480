"""What `./boathouse tag`, `repository` and `manifest` print of plans and outcomes: facts for
programs, lines for people."""

from collections.abc import Iterable, Sequence
from typing import Any

from registryui import formats
from registryui.deletion.execute import Going, Outcome, Plan, Purge, Result
from registryui.formats import size
from registryui.models import UNKNOWN, TagTombstone
from registryui.oci.digest import short

SHOWN = 20  # lines of one kind; --json has all
_LEFT_OUT = {
    "protected": "is protected: kept",
    "missing": "does not exist",
    "busy": "is required by a tag or an image index: kept",
}


# -- facts -----------------------------------------------------------------------------------------
def of_plan(plan: Plan) -> dict[str, Any]:
    """Sizes are bytes, times ISO 8601 or null."""
    return {
        "repository": plan.selection.repository,
        "going": [_going(one) for one in plan.going],
        "referrer_tags": [_going(one) for one in plan.referrer_tags],
        "referrers": list(plan.referrers),
        "staying": [
            {
                "digest": one.digest,
                "going": list(one.going),
                "staying": list(one.staying),
                "listed_by": list(one.listed_by),
            }
            for one in plan.staying
        ],
        "children": plan.children,
        "left_out": [{"tag": one.tag, "reason": one.reason} for one in plan.left_out],
        "size": plan.size,
        "freed": plan.freed,
        "complete": plan.is_complete,
        "fingerprint": plan.fingerprint,
    }


def _going(one: Going) -> dict[str, Any]:
    pulled = None if one.pulled_at == UNKNOWN else one.pulled_at.isoformat(timespec="seconds")
    return {"tag": one.tag, "digest": one.digest, "size": one.size, "pulled": pulled}


def of_outcome(outcome: Outcome) -> dict[str, Any]:
    """`act` undoes all of it."""
    return {
        "act": outcome.act,
        "keep_until": outcome.keep_until.isoformat(timespec="seconds"),
        "results": [of_result(one) for one in outcome.results],
    }


def of_result(one: Result) -> dict[str, str]:
    """What came of one name."""
    return {"tag": one.tag, "digest": one.digest, "state": one.state, "reason": one.reason}


def result_line(one: Result) -> str:
    """The same for people."""
    return f"{one.tag or one.digest}: {one.state}. {one.reason}".rstrip(". ")


def of_purge(one: Purge) -> dict[str, Any]:
    """The plan, and after the act its results."""
    return {
        "repository": one.repository,
        "digest": one.digest,
        "tags": list(one.tags),
        "undo_ended": one.tombstones,
        "children": list(one.children),
        "referrer_tags": list(one.referrer_tags),
        "listed_by": list(one.listed_by),
        "elsewhere": list(one.elsewhere),
        "left_out": [{"tag": left.tag, "reason": left.reason} for left in one.left_out],
        "freed": one.freed,
        "fingerprint": one.fingerprint,
        "results": [of_result(result) for result in one.results],
    }


def of_tombstone(row: TagTombstone) -> dict[str, Any]:
    """Something that can be restored."""
    return {
        "repository": row.repository,
        "tag": row.tag,
        "digest": row.digest,
        "size": row.size,
        "how": row.how,
        "act": row.act,
        "at": row.at.isoformat(timespec="seconds"),
        "by": row.by,
        "address": row.address,
        "keep_until": row.keep_until.isoformat(timespec="seconds"),
    }


# -- lines -----------------------------------------------------------------------------------------
def plan_lines(plan: Plan) -> list[str]:
    """What would be deleted and what is kept."""
    name = plan.selection.repository
    lines = _cut(
        [
            f"goes    {reference(name, one.tag, one.digest)}  {short(one.digest)}  {size(one.size)}"
            for one in plan.going
        ]
    )
    lines += _cut([f"delete  {name}:{one.tag} (referrer tag)" for one in plan.referrer_tags])
    for one in plan.staying:
        kept = ", ".join(one.staying[:5]) or ", ".join(one.listed_by[:3]) or "another image"
        lines.append(f"stays   {short(one.digest)}, for {kept}")
    lines += _cut(
        [f"skip    {one.tag} {_LEFT_OUT.get(one.reason, one.reason)}" for one in plan.left_out]
    )
    if plan.children:
        lines.append(f"platform images that lose their last image index: {plan.children}")
    if plan.referrers:
        lines.append(f"referrers that lose their subject: {len(plan.referrers)}")
    lines.append(
        f"{len(plan.going) + len(plan.referrer_tags)} of {size(plan.size)} in total; garbage "
        f"collection would free {size(plan.freed)}"
    )
    return lines


def outcome_lines(repository: str, outcome: Outcome) -> list[str]:
    """What came of it; each that was not deleted has a line."""
    done = [one for one in outcome.results if one.state == "deleted"]
    lines = [
        f"{reference(repository, one.tag, one.digest)}: {one.state}. {one.reason}".rstrip(". ")
        for one in outcome.results
        if one.state != "deleted"
    ]
    lines.append(f"{len(done)} deleted from {repository}.")
    if done:
        until = outcome.keep_until.strftime("%Y-%m-%d %H:%M %Z")
        lines.append(f"To restore, until {until}: ./boathouse tag restore --act {outcome.act}")
    return lines


def purge_lines(one: Purge) -> list[str]:
    """What a permanent deletion affects."""
    every = [
        (f"the tags {', '.join(one.tags)}", one.tags),
        (f"{len(one.children)} manifests that only it uses", one.children),
        (f"referrer tags: {', '.join(one.referrer_tags)}", one.referrer_tags),
        (f"undo of {one.tombstones} tags on it ends", one.tombstones),
        (f"INCOMPLETE afterwards: the image indexes {', '.join(one.listed_by)}", one.listed_by),
        (f"NOT deleted: the same digest in {', '.join(one.elsewhere)}", one.elsewhere),
    ]
    return [
        f"permanently delete {one.repository}@{one.digest}",
        *(f"  {words}" for words, is_so in every if is_so),
        *(f"  {left.tag} {_LEFT_OUT[left.reason]}" for left in one.left_out),
        f"  the next purge frees {size(one.freed)}",
    ]


def tombstone_table(rows: Iterable[TagTombstone]) -> str:
    """One line for each that can be restored."""
    lines = [
        [
            reference(row.repository, row.tag, row.digest),
            short(row.digest) if row.tag else "",
            row.how,
            row.at.strftime("%Y-%m-%d %H:%M"),
            " ".join((row.who, row.address)).strip(),
            f"until {row.keep_until.strftime('%Y-%m-%d %H:%M')}",
        ]
        for row in rows
    ]
    return formats.columns(lines) if lines else "No recently deleted tags."


def reference(repository: str, tag: str, digest: str) -> str:
    """As people write it."""
    return f"{repository}:{tag}" if tag else f"{repository}@{digest}"


def _cut(lines: Sequence[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"… and {more} more"] if more > 0 else [])]
