"""skopeo and Docker as users run them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.product import Product
from tests.support.waiting import LONGEST


def run(folder: Path, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a client that keeps everything below `folder`."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    return subprocess.run(
        command,
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def copy(
    boathouse: Product, certificates: Path, source: str, target: str
) -> subprocess.CompletedProcess[str]:
    """skopeo copy of everything below a tag, as it is; either side may be the registry."""
    sides: list[str] = []
    for side, place in (("src", source), ("dest", target)):
        if place.startswith("docker:"):
            sides += [f"--{side}-cert-dir={certificates}"]
            sides += [f"--{side}-creds={':'.join(boathouse.user)}"]
    command = ("skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests")
    return run(certificates.parent, *command, *sides, source, target)
