"""How pages and commands format sizes and lists. Digests: oci/digest.py, `short`."""

import re
from collections.abc import Sequence

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
_TYPED = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s?([a-z]{0,3})")
_FACTORS: dict[str, int] = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _FACTORS |= {_letter: 1000**_power, f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}


def size(count: int | None) -> str:
    """Bytes as Docker prints them, in decimal units: 84.6 MB. Unknown (None) is a dash."""
    if count is None:
        return "–"
    if abs(count) < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
    # Three digits: 9.8, 84.6, 188.
    return f"{value:.1f} {unit}" if abs(value) < 99.95 else f"{value:,.0f} {unit}"


def bytes_in(text: str) -> int | None:
    """What somebody typed as a size: kB are 1000 as on the pages, KiB 1024; None if it is none."""
    match = _TYPED.fullmatch(text.strip().lower())
    if match is None or match[2] not in _FACTORS:
        return None
    whole, _point, fraction = match[1].partition(".")
    factor = _FACTORS[match[2]]
    # In whole numbers: a float would be off by one for what people compare exactly.
    return int(whole) * factor + int(int(fraction or 0) * factor // 10 ** len(fraction))


def difference(count: int) -> str:
    """A difference in bytes: +2.3 MB, −2.3 MB, 0 B."""
    return f"+{size(count)}" if count > 0 else size(count).replace("-", "−")


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, each column as wide as its widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cell(value: object, *, most: int = 1000) -> str:
    """An untrusted value in a column, safe for a terminal."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return "".join(one if one.isprintable() else "?" for one in text)[:most] or "-"
