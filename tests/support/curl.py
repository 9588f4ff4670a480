"""curl, as an administrator runs it."""

from __future__ import annotations

import subprocess

from tests.support.product import Product
from tests.support.waiting import LONGEST


def curl(boathouse: Product, *arguments: str) -> subprocess.CompletedProcess[str]:
    """curl with the CA of the instance and nothing of this computer's own."""
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--cacert", str(boathouse.ca), *arguments],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
