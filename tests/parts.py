"""Starting the real programs for a test: on loopback, in a folder of its own, ended with it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registryui.setup.go_runtime import GO_RUNTIME

# BOATHOUSE_TEST_REGISTRY runs every test on another registry; tests/habits.py says what differs.
REGISTRY = os.environ.get("BOATHOUSE_TEST_REGISTRY") or "/usr/bin/docker-registry"


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_registry(
    folder: Path,
    *,
    port: int | None = None,
    notifications: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """The URL of a real registry that keeps its store in `folder`/store; ended afterwards.

    `notifications`: the endpoint to notify, {"url": …, "headers": {"Authorization": ["…"]}}.
    `settings`: sections of its configuration that replace ours. Its log is `folder`/registry.log.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "registry.yml"
    # JSON is YAML.
    configuration.write_text(
        json.dumps({**_sections(folder, port, notifications), **(settings or {})})
    )
    with (folder / "registry.log").open("ab") as log:
        process = subprocess.Popen(
            [REGISTRY, "serve", str(configuration)],
            env={**_environment(), **GO_RUNTIME},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        _wait(url, process, folder / "registry.log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def running_s3(port: int, bucket: str) -> Iterator[tuple[str, str]]:
    """An S3 service at that port of loopback, with a bucket in region us-east-1, ended afterwards;
    an access key and secret for it."""
    environment = {**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5):
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        made = urllib.request.Request(f"http://127.0.0.1:{port}/{bucket}", method="PUT")
        urllib.request.urlopen(made, timeout=20).close()
        yield "AKIAIOSFODNN7EXAMPLE", "a-secret-key-of-the-tests"
    finally:
        process.kill()  # asked to end, it waits for what clients keep open
        process.wait(timeout=20)


def _environment() -> dict[str, str]:
    """Ours; the registry's S3 driver panics at AWS_CA_BUNDLE (see registryui/setup/parts.py)."""
    return {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}


def _sections(folder: Path, port: int, notifications: Mapping[str, Any] | None) -> dict[str, Any]:
    endpoint = {"name": "tests", "timeout": "2s", "threshold": 5, "backoff": "200ms"}
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        # No blob descriptor cache: after a collection it would believe in blobs that are gone.
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "store")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "tests"},
        "compatibility": {"schema1": {"enabled": True}},
        **(
            {"notifications": {"endpoints": [{**endpoint, **notifications}]}}
            if notifications
            else {}
        ),
    }


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/v2/", timeout=1):
                return
        except urllib.error.HTTPError:
            return  # it asks for a password: it runs
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.02)
    raise RuntimeError(f"the registry did not start: {log.read_text()[-2000:]}")
