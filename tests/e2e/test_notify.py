"""Notifications of the real product: from a push to a receiver that checks the signature."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.product import ROOT, Product
from tests.support.receivers import Hook, hook
from tests.support.registries import Registry
from tests.support.waiting import until

pytestmark = pytest.mark.e2e
NAME = "notify/app"


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as made:
        yield made


def say(boathouse: Product, *words: str) -> Any:
    return json.loads(boathouse.boathouse("notify", *words, "--json").stdout)


def checked(secret: str, headers: dict[str, str], body: str, folder: Path) -> str:
    """What the lines of docs/operate.md print."""
    page = (ROOT / "docs" / "operate.md").read_text()
    (lines,) = re.findall(r"```\n(key=\$\(.*?)```", page, re.DOTALL)
    (folder / "body").write_bytes(body.encode())
    values = {name.replace("-", "_"): text for name, text in headers.items()}
    done = subprocess.run(
        ["sh", "-c", lines],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "secret": secret, **values},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_push_and_a_delete_reach_a_webhook_that_checks_the_signature(
    boathouse: Product, receiver: Hook, tmp_path: Path
) -> None:
    options = ("--conditions", "none", "--pushes", "on", "--deletes", "on")
    made = say(boathouse, "add", "e2e", receiver.url, *options, "--repositories", "notify/*")
    try:
        assert say(boathouse, "test", "e2e")["state"] == "sent"
        receiver.received.clear()
        registry = Registry(boathouse.registry_url, boathouse.data / "registry")
        digest = registry.push_image(NAME, "1")
        registry.push_image("other/app", "1")
        until(lambda: receiver.received, "the push was sent")
        boathouse.boathouse("tag", "delete", f"{NAME}:1", "--yes")
        until(lambda: len(receiver.received) == 2, "the delete was sent")
        events = [json.loads(body) for _headers, body in receiver.received]
        assert [(one["type"], one["subject"]) for one in events] == [
            ("boathouse.tag.pushed", f"{NAME}:1"), ("boathouse.tag.deleted", f"{NAME}:1"),
        ]  # fmt: skip
        assert [one["data"]["digest"] for one in events] == [digest, digest]
        for headers, body in receiver.received:
            printed = checked(made["secret"], headers, body, tmp_path)
            assert headers["webhook-signature"] == f"v1,{printed}"
        found = say(boathouse, "deliveries", "e2e", "--state", "sent")
        assert [one["kind"] for one in found] == ["delete", "push", "test"]
    finally:
        say(boathouse, "remove", "e2e", "--yes")
