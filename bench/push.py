"""From the end of a push to the row in the index: of the Docker engine, and of our own client."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.support import machines
from tests.support.engines import BUSYBOX, DOCKER, DOCKERD, PUSHED, Engine, engine
from tests.support.machines import Machine
from tests.support.product import Product

from . import images, instance
from .measure import Row, p, times

OURS = 60
DOCKERS = 40
AIM = "aim: p95 under 1 s"


def measure() -> Iterator[Row]:
    """One new image a push; the clock starts at Docker's "digest:" line, or our PUT's answer."""
    with ExitStack() as stack:
        try:
            cable = stack.enter_context(machines.network())
        except machines.NotPossible as reason:
            yield _not_measured(str(reason))
            one = stack.enter_context(instance.running())
        else:
            one = stack.enter_context(instance.running(cable.ours))
            yield from _docker(one, cable)
        yield _own_client(one)


def _docker(one: Product, cable: machines.Network) -> Iterator[Row]:
    absent = [program for program in (DOCKER, DOCKERD, BUSYBOX) if not Path(program).exists()]
    if absent:
        yield _not_measured(f"not installed: {', '.join(absent)}; ./boathouse test installs them")
        return
    with machines.machine(cable) as computer:
        _trust(computer, one)
        with engine(computer) as docker:
            docker.login(one.name, *one.user)
            waits = [_docker_push(docker, one, number) for number in range(DOCKERS)]
    yield _row("Docker's `digest:` line → row in the index", waits)


def _trust(computer: Machine, one: Product) -> None:
    """What the page "trust" tells a Docker machine to do."""
    place = f"/etc/docker/certs.d/{one.name}"
    computer.run(["sh", "-ec", f"mkdir -p {place} && cat > {place}/ca.crt"], stdin=_text(one.ca))


def _text(file: Path) -> str:
    return file.read_text()


def _docker_push(docker: Engine, one: Product, number: int) -> float:
    tag = f"docker-{number}"
    reference = f"{one.name}/bench/docker:{tag}"
    _import(docker, reference, f"layer {number}".encode())
    command = docker.machine.command([DOCKER, "push", reference])
    with subprocess.Popen(  # noqa: S603  (our own command)
        command,
        env=docker.machine.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None  # noqa: S101  (for the types)
        printed = []
        for line in process.stdout:
            if PUSHED.search(line):
                return instance.wait_for(one, tag)
            printed.append(line)
    raise RuntimeError(f"docker push printed no digest: {''.join(printed)}")


def _import(docker: Engine, reference: str, content: bytes) -> None:
    """An image of one small layer, without a container."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tree:
        entry = tarfile.TarInfo("layer")
        entry.size = len(content)
        tree.addfile(entry, io.BytesIO(content))
    subprocess.run(  # noqa: S603  (our own command)
        docker.machine.command([DOCKER, "import", "-", reference]),
        env=docker.machine.environment,
        input=buffer.getvalue(),
        capture_output=True,
        check=True,
    )


def _own_client(one: Product) -> Row:
    waits = []
    with instance.client(one) as client:
        for number in range(OURS):
            tag = f"v{number}"
            images.push(client, number, repository="bench/app", tags=(tag,))
            waits.append(instance.wait_for(one, tag))
    return _row("answer to our own client's PUT → row in the index", waits)


def _row(what: str, waits: list[float]) -> Row:
    return times(f"push: {what}, {len(waits)}×", waits, f"{AIM}; slowest {p(waits, 100):.2f} s")


def _not_measured(reason: str) -> Row:
    return Row("push: Docker's `digest:` line → row in the index", "not measured", reason)
