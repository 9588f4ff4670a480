"""The proxy: rights and hashes against the same nginx without auth; a push and a pull through.

Measured in a separate process, with its own data folder:
python -m bench.proxy FOLDER writes one JSON row a line to standard output.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.support.engines import DOCKER, DOCKERD, engine
from tests.support.machines import Machine
from tests.support.product import ROOT

from . import docker_image
from .instance import folder
from .measure import Row, timed, times

USERS = (1, 1000, 10_000)
FEW = 1000  # users, up to which a push and a pull are to take 1.1 times as long
COSTS = (5, 6, 7, 8)
REQUESTS, AT_ONCE, ROUNDS = 3000, 8, 3
LAYERS, LAYER_BYTES = len(docker_image.KILOBYTES), 500_000
CHANGES = 40
PATH = "/v2/team/api/manifests/1"


def measure() -> Iterator[Row]:
    """Needs ab of Debian's apache2-utils, which ./boathouse test installs."""
    with folder() as place:
        done = subprocess.run(  # noqa: S603  (our own command)
            [sys.executable, "-m", "bench.proxy", str(place)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    for line in done.stdout.splitlines():
        yield Row(**json.loads(line))


# -- in the process of their own -----------------------------------------------------------------
def main(place: str) -> None:
    os.environ |= {"BOATHOUSE_DATA": place, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    os.environ.pop("DATABASE_URL", None)  # SQLite in the data folder
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from registryui.registry.client import RegistryClient
    from tests.support.instance import running_instance

    from . import images

    call_command("migrate", verbosity=0)
    with running_instance() as instance:
        with RegistryClient(settings.REGISTRY_URL) as client:
            images.push(client, 1, repository="team/api", tags=("1",))
        configuration = instance.folder / "config" / "nginx.conf"
        for row in (*_rights(instance, configuration), *_changes(), *_hashes(), *_by_copying()):
            print(json.dumps(asdict(row)), flush=True)


def _rights(instance: object, configuration: Path) -> Iterator[Row]:
    """The tested user is last in the file. Each round has both, so the ratio is of one time."""
    from registryui.accounts import htpasswd, publish, rights, users
    from tests.support.instance import restart_nginx

    checked = configuration.read_text()
    open_to_all = re.sub(r"auth_basic \$realm;|auth_request /_may;", "", checked)
    made = 0
    for count in USERS:
        crowd = {
            f"user-{number:05}": htpasswd.hash_secret(htpasswd.new_secret())
            for number in range(made, count - 1)
        }
        made = max(made, count - 1)
        rows = users.adopt(crowd, by="bench", may=users.ADOPTED)
        publish.write([row.pk for row in rows])
        last = users.create(f"last-{count}", by="bench", may=rights.parse([("pull", "team/*")]))
        ratios, speeds, p50, p95 = [], [], [], []
        for _round in range(ROUNDS):
            configuration.write_text(open_to_all)
            restart_nginx(instance)  # type: ignore[arg-type]
            plain = _ab("", "")
            configuration.write_text(checked)
            restart_nginx(instance)  # type: ignore[arg-type]
            found = _ab(last.user.name, last.secret)
            ratios.append(found[0] / plain[0])
            speeds.append(found[0])
            p50.append(found[1])
            p95.append(found[2])
        ratio = statistics.median(ratios)
        yield Row(
            f"proxy with rights, {count:,} users: requests/s against none",
            f"{ratio:.2f}×",
            f"{statistics.median(speeds):.0f} requests/s, p50 / p95 "
            f"{statistics.median(p50):.0f} / {statistics.median(p95):.0f} ms; rounds "
            + ", ".join(f"{one:.2f}" for one in ratios),
            {"ratio": ratio},
        )
        if count > 1:
            mover = users.create(f"mover-{count}", by="bench", may=users.ADOPTED)
            yield from _by_docker(mover.user.name, mover.secret, count)


def _ab(name: str, secret: str, requests: int = REQUESTS) -> tuple[float, float, float]:
    """Requests a second, p50 and p95 in ms, of GETs of a manifest over keep-alive TLS."""
    from django.conf import settings

    from registryui import proxy
    from tests.support.fake_source import IMAGE

    headers = ["-H", f"Accept: {IMAGE}"]
    for header, value in (proxy.basic(name, secret) if name else {}).items():
        headers += ["-H", f"{header}: {value}"]
    done = subprocess.run(  # noqa: S603
        [
            *("/usr/bin/ab", "-q", "-k", "-c", str(AT_ONCE), "-n", str(requests), *headers),
            f"https://localhost:{settings.PORT}{PATH}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)

    def number(pattern: str) -> float:
        match = re.search(pattern, done.stdout)
        if match is None:
            raise RuntimeError(done.stdout)
        return float(match[1])

    return (
        number(r"Requests per second:\s+([\d.]+)"),
        number(r"50%\s+(\d+)"),
        number(r"95%\s+(\d+)"),
    )


def _changes() -> Iterator[Row]:
    """What a change of one user takes while the file has 10,000: files, tables and the proof."""
    from registryui.accounts import publish, users
    from registryui.models import RegistryUser

    row = RegistryUser.objects.get(name="user-05000")
    complete, files = [], []
    for number in range(CHANGES):
        is_active = bool(number % 2)
        complete.append(timed(lambda on=is_active: users.switch([row], is_active=on, by="bench")))
        files.append(timed(lambda: publish.write([row.pk])))
    yield times("publish of a change at 10,000 users: the files", files, "aim: p95 under 50 ms")
    yield times("the same with tables and a login as proof", complete)


def _hashes() -> Iterator[Row]:
    """Why generated secrets have a quick hash. With 10,000 users in the file."""
    from registryui.accounts import rights, users

    figures = []
    for cost in COSTS:
        name, password = f"person-{cost}", "correct horse battery"
        may = rights.parse([("pull", "*")])
        users.create(name, by="bench", may=may, password=password, cost=cost)
        requests = {5: 300, 6: 300, 7: 300, 8: 200}[cost]
        figures.append((cost, _ab(name, password, requests)[0]))
    yield Row(
        "bcrypt of cost 5 / 6 / 7 / 8: requests/s of a user",
        " / ".join(f"{speed:.0f}" for _cost, speed in figures),
        "a user-chosen password; 20 a second are wanted for an address",
        {f"cost_{cost}_per_second": speed for cost, speed in figures},
    )


def _by_docker(name: str, secret: str, count: int) -> Iterator[Row]:
    """An image of 20 layers by the real engine, which packs and unpacks them; directly it asks a
    registry on loopback, which it takes without TLS."""
    from django.conf import settings

    from tests.support.parts import running_registry

    absent = [program for program in (DOCKER, DOCKERD) if not Path(program).exists()]
    if absent or os.geteuid() != 0:
        yield Row(f"docker push of {LAYERS} layers", "not measured", "needs root and docker.io")
        return
    front = f"127.0.0.1:{settings.PORT}"
    pushes: dict[str, list[float]] = {"through": [], "direct": []}
    pulls: dict[str, list[float]] = {"through": [], "direct": []}
    with folder() as place, running_registry(place / "direct") as url:
        (place / "home").mkdir()
        hosts = {"through": front, "direct": url.removeprefix("http://")}
        with engine(Machine(place, os.getpid())) as docker:
            docker.login(front, name, secret)
            for number in range(ROUNDS):
                for way in sorted(hosts, reverse=bool(number % 2)):
                    image = f"{hosts[way]}/moved/docker:{number}"
                    docker_image.load(docker, image)
                    pushes[way].append(timed(lambda x=image: docker.docker("push", x)))
                    docker.docker("rmi", image)
                    pulls[way].append(timed(lambda x=image: docker.docker("pull", x)))
                    docker.docker("rmi", image)
    note = f"{LAYERS} layers, {docker_image.megabytes()} MB" + "; aim: 1.1×" * (count <= FEW)
    yield _against("docker push", count, pushes, note)
    yield _against("docker pull", count, pulls, note)


def _by_copying() -> Iterator[Row]:
    """Our own client, one blob after the other: what remains when nothing is packed."""
    from django.conf import settings

    from registryui import tls
    from registryui.accounts import users
    from registryui.registry.client import RegistryClient

    mover = users.create("mover", by="bench", may=users.ADOPTED)
    through = RegistryClient(
        f"https://localhost:{settings.PORT}",
        username=mover.user.name,
        password=mover.secret,
        ca=tls.ca_certificate(),
    )
    with through, RegistryClient(settings.REGISTRY_URL) as direct:
        pushes: dict[str, list[float]] = {"through": [], "direct": []}
        pulls: dict[str, list[float]] = {"through": [], "direct": []}
        for number in range(5):
            for way, client in (("through", through), ("direct", direct)):
                layers = [os.urandom(LAYER_BYTES) for _layer in range(LAYERS)]
                repository = f"moved/{way}-{number}"
                pushes[way].append(timed(lambda c=client, r=repository, x=layers: _push(c, r, x)))
                pulls[way].append(timed(lambda c=client, r=repository, x=layers: _pull(c, r, x)))
    note = f"{LAYERS} layers of {LAYER_BYTES // 1000} kB: the price of TLS on small layers"
    yield _against("bare copy to the registry", USERS[-1], pushes, note)
    yield _against("bare copy from the registry", USERS[-1], pulls, note)


def _against(what: str, count: int, found: dict[str, list[float]], note: str) -> Row:
    ratios = [a / b for a, b in zip(found["through"], found["direct"], strict=True)]
    ratio = statistics.median(ratios)
    ours, plain = (statistics.median(found[way]) for way in ("through", "direct"))
    return Row(
        f"{what} through the proxy (TLS, {count:,} users) against directly (none)",
        f"{ratio:.2f}×",
        f"{ours:.2f} s to {plain:.2f} s; {note}; rounds "
        + ", ".join(f"{one:.2f}" for one in ratios),
        {"ratio": ratio},
    )


def _push(client: object, repository: str, layers: list[bytes]) -> None:
    for layer in layers:
        client.upload_blob(repository, layer)  # type: ignore[attr-defined]


def _pull(client: object, repository: str, layers: list[bytes]) -> None:
    from registryui.oci.digest import sha256

    for layer in layers:
        client.blob(repository, sha256(layer), limit=LAYER_BYTES)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
