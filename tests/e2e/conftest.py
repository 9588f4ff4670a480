"""One product, one cable, two client machines for all tests here; whatever starts, is ended.

Playwright keeps an event loop in the thread that uses it, and Django refuses its database there:
so the browser is a module's, and modules that use it do not use the database.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support import machines
from tests.support.browser import CHROMIUM, chromium
from tests.support.engines import BUSYBOX, DOCKER, DOCKERD, Engine, engine
from tests.support.folders import open_folder
from tests.support.machines import Machine, Network
from tests.support.parts import running_registry
from tests.support.product import Product, product
from tests.support.registries import Registry
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="session")
def cable() -> Iterator[Network | None]:
    """The way to the client machines; None where this user or computer cannot have one."""
    try:
        with machines.network() as made:
            yield made
    except machines.NotPossible:
        yield None


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short name that nginx's workers may pass."""
    with open_folder("e2e") as made:
        yield made


@pytest.fixture(scope="session")
def address(cable: Network | None) -> str:
    """The product's address: not loopback, if that can be had."""
    return cable.ours if cable else LOOPBACK


@pytest.fixture(scope="session")
def boathouse(folder: Path, address: str) -> Iterator[Product]:
    """The product, up. Shared: use repositories of your own, and break nothing."""
    with product(folder / "data", address, settings={"BOATHOUSE_METRICS": "on"}) as made:
        yield made


def _machine(cable: Network | None) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("A client machine is a network namespace with a Docker engine: needs root.")
    if cable is None:
        pytest.skip(
            "This computer does not allow network namespaces, so there is no other machine."
        )
    needs(DOCKER, DOCKERD, BUSYBOX)
    with machines.machine(cable) as made:
        yield made


@pytest.fixture(scope="session")
def first_machine(cable: Network | None, boathouse: Product) -> Iterator[Machine]:
    """A client machine that trusts the registry after the lines that `up` prints."""
    for made in _machine(cable):
        made.run(trust_lines(boathouse))
        yield made


@pytest.fixture(scope="session")
def second_machine(cable: Network | None, boathouse: Product) -> Iterator[Machine]:
    """Another one, with an empty store."""
    for made in _machine(cable):
        made.run(trust_lines(boathouse))
        yield made


@pytest.fixture
def new_machine(cable: Network | None) -> Iterator[Machine]:
    """A machine that never heard of the registry."""
    yield from _machine(cable)


@pytest.fixture(scope="session")
def docker(first_machine: Machine, boathouse: Product) -> Iterator[Engine]:
    """Docker on the first machine, logged in."""
    with engine(first_machine) as made:
        made.login(boathouse.name, *boathouse.user)
        yield made


@pytest.fixture(scope="session")
def second_docker(second_machine: Machine, boathouse: Product) -> Iterator[Engine]:
    """Docker on the second machine, logged in."""
    with engine(second_machine) as made:
        made.login(boathouse.name, *boathouse.user)
        yield made


@pytest.fixture
def certificates(tmp_path: Path, boathouse: Product) -> Path:
    """A folder as --cert-dir wants it."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(boathouse.ca.read_bytes())
    return folder


@pytest.fixture(scope="module")
def browser(boathouse: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium that trusts the product's CA."""
    needs(CHROMIUM)
    with chromium(tmp_path_factory.mktemp("chromium"), boathouse) as made:
        yield made


@pytest.fixture(scope="session")
def furnished(boathouse: Product) -> Product:
    """The product with the images of `./boathouse demo` in its index."""
    pushed = json.loads(boathouse.boathouse("demo", "--json").stdout)["references"]
    wanted = {one["repository"] for one in pushed}

    def all_are_there() -> bool:
        return wanted <= {row["repository"] for row in boathouse.listed() if row["tags"]}

    until(all_are_there, "the demo's repositories are in the index")
    boathouse.boathouse("sync")
    return boathouse


def needs(*programs: str) -> None:
    """Skips where a program is not installed."""
    for program in programs:
        if not Path(program).exists():
            pytest.skip(f"{program} is not installed: ./boathouse test does that.")


def trust_lines(boathouse: Product) -> str:
    """The commands under "Let a Docker machine trust this registry", as `up` prints them."""
    printed = boathouse.boathouse("up", "--background").stdout
    after = printed.partition("Let a Docker machine trust")[2].splitlines()[1:]
    lines = []
    for line in after:
        if not line.startswith("    "):
            break
        lines.append(line.strip())
    assert lines, printed
    return "\n".join(lines)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Registry]:
    """A registry, alone and empty, with the folder of its store."""
    # As it comes, it refuses layers that lie elsewhere; stores from other set-ups hold such.
    settings = {"validation": {"manifests": {"urls": {"allow": ["^https?://"]}}}}
    with running_registry(tmp_path / "registry", settings=settings) as url:
        yield Registry(url, tmp_path / "registry" / "store")
