"""THE DOCTOR: looks at each part as it really is, names what is broken and says what to do.

    checks.py    examine() -> findings: the only place that asks the parts; in seconds
    findings.py  Finding, its JSON form, and the book of rounds: record, current, history
    words.py     texts(finding): the sentences, in the reader's language

The worker makes a round every minute and records it; pages show the newest one and never examine.
"""

from .checks import examine
from .findings import (
    NAMES,
    Finding,
    current,
    from_json,
    history,
    latest,
    record,
    to_json,
    worker,
    worst,
)
from .words import Words, texts

__all__ = [
    "NAMES",
    "Finding",
    "Words",
    "current",
    "examine",
    "from_json",
    "history",
    "latest",
    "record",
    "texts",
    "to_json",
    "worker",
    "worst",
]
