"""A Boathouse of its own for a benchmark: temporary data folder, free ports, gone at the end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A loopback port that nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Product:
    data: Path
    environment: dict[str, str]
    facts: dict[str, Any]  # what `up --json` printed

    def run(self, *words: str) -> str:
        """The output of one `./boathouse` command for this instance."""
        command = [str(ROOT / "boathouse"), *words]
        done = subprocess.run(  # noqa: S603  (our own command, no text from outside)
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout


@contextmanager
def product(**settings: str) -> Iterator[Product]:
    """Starts one, yields it, stops it and removes its folder."""
    data = Path(tempfile.mkdtemp(prefix="boathouse-bench-"))
    data.chmod(0o755)  # nginx's workers must reach the htpasswd file
    environment = os.environ | {
        "BOATHOUSE_DATA": str(data / "var"),
        "BOATHOUSE_PORT": str(free_port()),
        "BOATHOUSE_BIND": "127.0.0.1",
        "BOATHOUSE_HOST": "localhost",
        **settings,
    }
    one = Product(data / "var", environment, {})
    try:
        facts = json.loads(one.run("up", "--background", "--json"))
        yield Product(one.data, environment, facts)
    finally:
        subprocess.run(  # noqa: S603
            [str(ROOT / "boathouse"), "down"], env=environment, check=False, stdout=sys.stderr
        )
        shutil.rmtree(data, ignore_errors=True)
