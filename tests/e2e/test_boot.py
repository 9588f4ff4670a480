"""After a reboot, and after a power failure, everything is back without anybody: with the lines of
docs/install.md as they stand there, under a systemd that is the first process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import booted as booting
from tests.support.booted import HOME, Booted
from tests.support.machines import NotPossible
from tests.support.product import ROOT
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.root]

PARTS = ("registry", "manifests", "blobs", "passwords", "mirror", "nginx", "web", "worker")
NAME = "registry.example.net"


@pytest.fixture(scope="module")
def booted() -> Iterator[Booted]:
    try:
        with booting.machine() as made:
            made.run(f"echo 127.0.0.1 {NAME} >>/etc/hosts")
            yield made
    except NotPossible as reason:
        pytest.skip(str(reason))


def lines() -> str:
    """What docs/install.md tells to type."""
    section = Path(ROOT, "docs", "install.md").read_text().partition("\n## At boot, with systemd\n")
    found = re.search(r"```\n(.*?)```", section[2], re.DOTALL)
    assert found
    return found[1]


def trouble(booted: Booted) -> str:
    """ "" if all parts run and answer, through nginx, too."""
    units = " ".join(f"boathouse-{part}.service" for part in PARTS)
    states = booted.run(f"systemctl is-active {units}", check=False).stdout.split()
    if states != ["active"] * len(PARTS):
        return f"{dict(zip(PARTS, states, strict=False))}"
    for path, wanted in {"/v2/": "401", "/healthz": "200"}.items():
        asked = f"curl -sS --cacert /srv/boathouse/tls/ca.crt https://{NAME}:8443{path}"
        said = booted.run(f"{asked} -o /dev/null -w '%{{http_code}}' 2>&1", check=False).stdout
        if said.strip() != wanted:
            return f"{path} answers {said}"
    return ""


def is_well(booted: Booted) -> bool:
    return not trouble(booted)


def test_the_documented_lines_bring_everything_back(booted: Booted) -> None:
    """The units are enabled by one line, and come back from a reboot and from a power failure."""
    booted.run(f"cd {HOME}\n{lines()}")
    assert booted.run("systemctl is-enabled boathouse.target").stdout.strip() == "enabled"
    until(lambda: is_well(booted), "all parts are healthy", pause=0.3)

    for act in (booted.reboot, booted.cut_power, booted.cut_power):
        before = booted.first
        act()
        assert booted.first != before
        until(lambda: is_well(booted), f"all parts are back after {act.__name__}", pause=0.3)
    doctor = f"cd {HOME} && BOATHOUSE_DATA=/srv/boathouse BOATHOUSE_HOST={NAME} ./boathouse doctor"
    said = booted.run(f"runuser -u boathouse -- sh -c '{doctor}'", check=False).stdout
    bad = [line for line in said.splitlines() if line.startswith("bad") and "Disk" not in line]
    assert bad == []


def test_one_command_stops_all_parts_and_one_starts_them(booted: Booted) -> None:
    booted.run("systemctl stop boathouse.target")  # the parts end one after the other
    asked = "systemctl is-active " + " ".join(f"boathouse-{part}" for part in PARTS)
    until(
        lambda: booted.run(asked, check=False).stdout.split() == ["inactive"] * len(PARTS),
        "all parts have ended",
        pause=0.3,
    )
    booted.run("systemctl start boathouse.target")
    until(lambda: is_well(booted), "all parts are healthy", pause=0.3)
