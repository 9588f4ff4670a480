"""What the files of requirements pin."""

from __future__ import annotations

import re

from django.conf import settings

PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Package -> version, of one file."""
    return dict(PIN.findall((settings.BASE_DIR / name).read_text()))
