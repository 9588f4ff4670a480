"""The doctor: checks each part, reports what is broken and says what to do.

    checks.py    examine() -> findings: the only place that queries the parts; takes seconds
    findings.py  Finding, its JSON form, and the stored rounds: record, current, history
    words.py     texts(finding): the sentences, in the reader's language

The worker runs a round every minute and stores it; pages show the newest one and never examine.
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
