"""What `./boathouse mirror …` prints of mirrors: facts for programs, lines for people.

Never a password.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings

from registryui import formats
from registryui.mirrors import mirrors, presets, state
from registryui.mirrors.upstream import Checked
from registryui.models import Mirror


# -- facts ---------------------------------------------------------------------------------------
def of(row: Mirror) -> dict[str, Any]:
    """One mirror; times are ISO 8601 or null."""
    found = state.read(row.name)
    refusal = found.last_refusal
    return {
        **mirrors.facts(row),
        "repositories": mirrors.repositories(row).filter(tag_count__gt=0).count(),
        "tags": mirrors.tag_count(row),
        "state": state_word(row, found),
        "contact": _time(found.contact),
        "away_since": _time(found.away_since),
        "error": found.error,
        "limit": _limit(found.limit),
        **{name: getattr(found, name) for name in _COUNTS},
        "last_refusal": refusal
        and {"at": _time(refusal.at), "what": refusal.what, "words": refusal.words},
        "made_by": row.made_by,
        "made_at": _time(row.made_at),
    }


_COUNTS = ("hits", "misses", "stale", "upstream_requests", "upstream_bytes", "refused")


def state_word(row: Mirror, found: state.State) -> str:
    """One word: disabled, away, unused, ok."""
    if not row.is_active:
        return "disabled"
    if found.is_away:
        return "away"
    return "ok" if found.contact else "unused"


def of_check(row: Mirror, found: Checked) -> dict[str, Any]:
    """What a check found."""
    return {
        "name": row.name,
        "url": row.url,
        "ok": found.is_ok,
        "error": found.error,
        "login": found.has_login,
        "ms": round(found.seconds * 1000),
        "limit": _limit(found.limit),
    }


def _limit(found: state.Limit | None) -> dict[str, int] | None:
    if found is None:
        return None
    return {"limit": found.limit, "remaining": found.remaining, "window": found.window}


def _time(when: datetime | None) -> str | None:
    return when.isoformat(timespec="seconds") if when else None


# -- lines ---------------------------------------------------------------------------------------
def table(rows: Sequence[Mirror]) -> str:
    """One line a mirror."""
    if not rows:
        known = ", ".join(one.name for one in presets.PRESETS if one.url)
        return f"No mirrors: ./boathouse mirror add hub adds Docker Hub. Presets: {known}."
    lines = [["NAME", "UPSTREAM", "STATE", "TAGS", "HITS", "MISSES", "LAST CONTACT"]]
    for row in rows:
        fact = of(row)
        lines.append(
            [
                *(row.name, row.url, fact["state"]),
                *(f"{fact[name]:,}" for name in ("tags", "hits", "misses")),
                fact["contact"] or "never",
            ]
        )
    return formats.columns(lines)


def block(row: Mirror) -> str:
    """Everything about one mirror, a line for each fact."""
    fact = of(row)
    keep = [f"{row.keep_days} days since the last pull"] if row.keep_days else []
    keep += [f"at most {formats.size(row.keep_bytes)}"] if row.keep_bytes else []
    lines = [
        ["Mirror", row.name],
        ["Upstream", row.url],
        ["State", _state_words(fact)],
        ["Login", f"{row.user}, with a password" if row.user else "none"],
        ["Allowed", row.allow or "everything"],
        ["Denied", row.deny or "-"],
        ["Tags are checked", f"at most every {row.fresh_minutes} minutes"],
        ["Kept", "; ".join(keep) or "everything that was pulled"],
        ["Pinned", ", ".join(fact["pins"]) or "-"],
        ["Repositories", f"{fact['repositories']:,}"],
        ["Tags", f"{fact['tags']:,}"],
        ["Served from here", f"{fact['hits']:,} of {fact['hits'] + fact['misses']:,} requests"],
        ["From the upstream", f"{formats.size(fact['upstream_bytes'])}"],
        ["Pull limit", limit_words(fact["limit"])],
        ["Pull", f"docker pull {settings.REGISTRY_NAME}/{row.name}/{_example(row)}"],
    ]
    if row.open_port:
        lines.append(["Without a login", f"port {row.open_port}, from {row.networks}"])
    if row.user:
        lines.append(
            ["Private images", f"who may pull from {row.name}/* pulls those of {row.user}"]
        )
    if refusal := fact["last_refusal"]:
        words = f"{refusal['at'] or ''} {refusal['what']}: {refusal['words']}"
        lines.append(["Last refusal", formats.cell(words.strip())])
    return formats.columns(lines)


def check_lines(row: Mirror, found: Checked) -> str:
    """What a check found, in lines."""
    lines = [
        ["Upstream", row.url],
        ["Reachable", f"in {found.seconds * 1000:.0f} ms" if found.is_ok else "no"],
        ["Login", "accepted" if found.has_login else "none" if not row.user else "not accepted"],
        ["Pull limit", limit_words(_limit(found.limit))],
    ]
    return formats.columns(lines if found.is_ok else lines[:1])


def limit_words(found: dict[str, int] | None) -> str:
    """What is left of the upstream's limit."""
    if found is None:
        return "none known"
    hours = f" in {found['window'] / 3600:g} hours" if found["window"] else ""
    return f"{found['remaining']:,} of {found['limit']:,} pulls left{hours}"


def _state_words(fact: dict[str, Any]) -> str:
    if fact["state"] == "away":
        because = f": {fact['error']}" if fact["error"] else ""
        return formats.cell(f"upstream unavailable since {fact['away_since']}{because}")
    words = {
        "disabled": "disabled: only what is stored here can be pulled",
        "unused": "enabled, not used yet",
    }
    return words.get(fact["state"], f"last contact {fact['contact']}")


def _example(row: Mirror) -> str:
    found = presets.of_url(row.url)
    return found.example if found else "REPOSITORY:TAG"
