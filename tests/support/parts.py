"""Starts the real programs for a test, on loopback, in a temporary folder; stops them with it."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registryui.setup.go_runtime import GO_RUNTIME

from .waiting import LONGEST, until

ROOT = Path(__file__).resolve().parents[2]
# BOATHOUSE_TEST_REGISTRY runs every test on another registry; registry_habits.py says what differs.
REGISTRY = os.environ.get("BOATHOUSE_TEST_REGISTRY") or "/usr/bin/docker-registry"


def free_port() -> int:
    """A free port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_registry(
    folder: Path,
    *,
    port: int | None = None,
    place: Path | None = None,
    notifications: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """The URL of a real registry with its store in `folder`/store; stopped afterwards.

    `place`: a Unix socket to listen at; the URL is then unix:PLACE.
    `notifications`: the endpoint to notify, {"url": …, "headers": {"Authorization": ["…"]}}.
    `settings`: sections of its configuration that replace ours. Its log is `folder`/registry.log.
    """
    port = port or free_port()
    url = f"unix:{place}" if place else f"http://127.0.0.1:{port}"
    http = {"net": "unix", "addr": str(place)} if place else {"addr": f"127.0.0.1:{port}"}
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "registry.yml"
    # JSON is YAML.
    configuration.write_text(
        json.dumps({**_sections(folder, http, notifications), **(settings or {})})
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
        try:
            until(lambda: _is_there(place or url, process), "the registry answers", pause=0.02)
        except RuntimeError as error:
            error.add_note((folder / "registry.log").read_text()[-2000:])
            raise
        yield url
    finally:
        process.terminate()
        process.wait(timeout=LONGEST)


@contextmanager
def running_s3(port: int, bucket: str) -> Iterator[tuple[str, str]]:
    """An S3 service at that port of loopback, with a bucket in region us-east-1, ended afterwards;
    an access key and secret for it."""
    environment = {**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.s3_service", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/", process), "moto answers")
        made = urllib.request.Request(f"http://127.0.0.1:{port}/{bucket}", method="PUT")
        urllib.request.urlopen(made, timeout=LONGEST).close()
        yield "AKIAIOSFODNN7EXAMPLE", "a-secret-key-of-the-tests"
    finally:
        process.kill()  # asked to end, it waits for what clients keep open
        process.wait(timeout=LONGEST)


def _environment() -> dict[str, str]:
    """Ours; the registry's S3 driver panics at AWS_CA_BUNDLE (see registryui/setup/parts.py)."""
    return {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}


def _sections(
    folder: Path, http: Mapping[str, str], notifications: Mapping[str, Any] | None
) -> dict[str, Any]:
    endpoint = {"name": "tests", "timeout": "2s", "threshold": 5, "backoff": "200ms"}
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        # No blob descriptor cache: after garbage collection it would still have deleted blobs.
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "store")},
            "delete": {"enabled": True},
        },
        "http": {**http, "secret": "tests"},
        "compatibility": {"schema1": {"enabled": True}},
        **(
            {"notifications": {"endpoints": [{**endpoint, **notifications}]}}
            if notifications
            else {}
        ),
    }


def _is_there(place: Path | str, process: subprocess.Popen[bytes]) -> bool:
    if isinstance(place, str):
        return _answers(f"{place}/v2/", process)
    if process.poll() is not None:
        raise RuntimeError("it did not start")
    with suppress(OSError), socket.socket(socket.AF_UNIX) as one:
        one.connect(str(place))
        return True
    return False


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether it does; RuntimeError if the process has ended."""
    try:
        with urllib.request.urlopen(url, timeout=LONGEST):
            return True
    except urllib.error.HTTPError:
        return True  # it asks for a password: it runs
    except OSError:
        if process.poll() is not None:
            raise RuntimeError("it did not start") from None
        return False
