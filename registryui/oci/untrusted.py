"""Reading JSON that strangers wrote. Called by the other modules of this room and by registry/.

JSON is taken as the registry itself takes it (Go's encoding/json): UTF-8 only, no NaN, the last of
duplicate keys wins, a missing value and null are the same.
"""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

MANIFEST_LIMIT = 4 * 1024 * 1024  # bytes; the registry's own limit for a manifest
TEXT_LIMIT = 65_536  # characters of one label or history line; buildpacks write labels of 50 kB
_KEY_LIMIT = 1024  # characters of a label's name
LIST_LIMIT = 10_000  # items of one list: layers, entries, steps
# 281 TB. Ten thousand layers of it still add up to less than a database's 64 bits.
SIZE_LIMIT = 2**48

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:[.,]([0-9]{1,32}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def quoted(value: object) -> str:
    """`value` for an error message: short, and harmless in a log or a terminal."""
    if isinstance(value, str | bytes):
        return ascii(value[:80])
    if value is None or isinstance(value, int | float):
        return ascii(value)[:80]
    return (
        f"<{type(value).__name__}>"  # printing a nested list can exhaust the stack, as reading can
    )


def read_object(raw: bytes, *, limit: int = MANIFEST_LIMIT) -> dict[str, Any]:
    """The JSON object in `raw`; ValueError for anything else, or more than `limit` bytes."""
    if len(raw) > limit:
        raise ValueError(f"{len(raw)} bytes, more than the {limit} allowed")
    try:
        found = _decoded(raw.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"nested too deeply: {quoted(raw)}") from None
    except ValueError as error:  # also UnicodeDecodeError, and integers of thousands of digits
        raise ValueError(f"not JSON ({quoted(str(error))}): {quoted(raw)}") from None
    if not isinstance(found, dict):
        raise ValueError(f"not a JSON object: {quoted(raw)}")
    return found


def _decoded(raw: str) -> Any:
    """What json.loads says of it, without its search for white space around: there is none."""
    try:
        found, end = _DECODER.raw_decode(raw)
    except json.JSONDecodeError:
        end = -1
    return found if end == len(raw) else _DECODER.decode(raw)


def text(value: object, *, limit: int = TEXT_LIMIT) -> str:
    """`value` without NUL and lone surrogates, cut to `limit` characters; "" if it is no text."""
    if not isinstance(value, str):
        return ""
    if len(value) > limit:
        value = value[:limit]
    if value.isascii() and "\0" not in value:  # nearly always, and quicker than the expression
        return value
    # Go replaces lone surrogates in the same way when it decodes JSON.
    return _UNSTORABLE.sub("\ufffd", value)


def _are_plain(values: Iterable[object], limit: int) -> bool:
    """Whether all are texts that `text` leaves as they are, asked of all at once: a config has
    dozens. False where only each by itself can tell."""
    try:
        joined = "".join(values)  # type: ignore[arg-type]
    except TypeError:
        return False
    return len(joined) <= limit and joined.isascii() and "\0" not in joined


def texts(value: object, *, limit: int = TEXT_LIMIT) -> tuple[str, ...]:
    """The texts in the list `value`, others left out; () if it is no list."""
    if not isinstance(value, list):
        return ()
    if len(value) <= LIST_LIMIT and _are_plain(value, limit):
        return tuple(value)
    return tuple(text(item, limit=limit) for item in value[:LIST_LIMIT] if isinstance(item, str))


def text_map(value: object, *, limit: int = TEXT_LIMIT) -> dict[str, str]:
    """The pairs of texts in the object `value`, others left out; {} if it is no object."""
    if not isinstance(value, dict):
        return {}
    if not value:
        return {}
    is_short = len(value) <= LIST_LIMIT and max(map(len, value)) <= _KEY_LIMIT
    if is_short and _are_plain(value, limit) and _are_plain(value.values(), limit):
        return value.copy()
    pairs = list(value.items())[:LIST_LIMIT]
    return {
        text(key, limit=_KEY_LIMIT): text(v, limit=limit) for key, v in pairs if isinstance(v, str)
    }


def keys(value: object) -> tuple[str, ...]:
    """The sorted keys of the object `value`: how Docker writes a set. () if it is no object."""
    if not isinstance(value, dict):
        return ()
    return tuple(sorted(text(key, limit=_KEY_LIMIT) for key in list(value)[:LIST_LIMIT]))


def items(found: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects under `key`, [] if missing; ValueError if it is anything else."""
    value = found.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not _all_objects(value):
        raise ValueError(f"{key} is not a list of objects: {quoted(value)}")
    if len(value) > LIST_LIMIT:
        raise ValueError(f"{key} has {len(value)} items, more than the {LIST_LIMIT} allowed")
    return value


def size(value: object) -> int:
    """`value` in bytes, 0 if missing; ValueError if it cannot be the size of a blob."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SIZE_LIMIT:
        raise ValueError(f"not a size: {quoted(value)}")
    return value


def moment(value: object) -> datetime | None:
    """The RFC 3339 time `value` in UTC, to the microsecond; None if it is none that can be kept.

    Go's zero time, `0001-01-01T00:00:00Z`, stands for "not set": None.
    """
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    zone = UTC
    try:
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(-offset if sign == "-" else offset)
        found = datetime(
            *(int(year), int(month), int(day), int(hour), int(minute), int(second)),
            microsecond=int(fraction[:6].ljust(6, "0")) if fraction else 0,
            tzinfo=zone,
        ).astimezone(UTC)
    except (ValueError, OverflowError):  # 30 February, an offset of 99 hours, the year 0
        return None
    return found if found.year > 1 else None


def _all_objects(value: Iterable[object]) -> bool:
    return set(map(type, value)) <= {dict}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)  # json.loads would make one each time
