"""Two hosts over one database and one store: two data folders, two proxies, two workers.

As docs/install.md sets up a second host: secrets and CA are copied, the store is the same.
"""

from __future__ import annotations

import re
import shutil
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import LOOPBACK

from . import postgres
from .fake_source import digest_of
from .folders import open_folder
from .parts import free_port, running_s3
from .product import Answer, Connection, Product, product
from .registries import Registry
from .waiting import LONGEST, until

SECRETS = (
    *("secrets/django-key", "secrets/hook-token", "secrets/registry-key"),
    "secrets/mirror-key",
)
AUTHORITY = ("tls/ca.crt", "tls/ca.key")
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass
class Hosts:
    """Two hosts."""

    cluster: postgres.Cluster
    first: Product
    second: Product


@dataclass(frozen=True, slots=True)
class Proxied(Registry):
    """The registry behind a proxy, as one registry user sees it."""

    product: Product | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        assert self.product
        path = re.sub(r"^https?://[^/]+", "", path)
        return self.product.ask(
            path, method=method, body=body, headers={**self.headers, **(headers or {})}
        )


@dataclass(frozen=True, slots=True)
class KeepAlive(Proxied):
    """The same over one connection that stays open, as clients have it; for one thread."""

    connection: Connection | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        assert self.connection
        self.connection.request(method, path, body, {**self.headers, **(headers or {})})
        answer = self.connection.getresponse()
        names = {name.lower(): text for name, text in answer.getheaders()}
        return Answer(answer.status, names, answer.read())


@contextmanager
def kept_open(one: Proxied) -> Iterator[KeepAlive]:
    """That door with a connection of its own."""
    assert one.product
    made = Connection(one.product.host, one.product.port, timeout=LONGEST)
    made.address = one.product.address
    made.context = ssl.create_default_context(cafile=str(one.product.ca))
    with closing(made):
        yield KeepAlive(one.url, one.store, one.headers, one.product, made)


def proxied(host: Product, name: str, secret: str) -> Proxied:
    """The registry as that user reaches it through that host."""
    login = b64encode(f"{name}:{secret}".encode()).decode()
    return Proxied("", host.data, {"Authorization": f"Basic {login}"}, host)


def status(host: Product, name: str, secret: str) -> int:
    """The answer to a login at that proxy."""
    return proxied(host, name, secret).ask("GET", "/v2/").status


@contextmanager
def s3_storage(folder: Path) -> Iterator[dict[str, str]]:
    """Settings of a host whose images are in a bucket; the service and the bucket end with it.
    `folder` is for the file with the secret."""
    port, secret_file = free_port(), folder / "s3"
    with running_s3(port, "images") as (key, secret):
        secret_file.write_text(secret)
        yield {
            "BOATHOUSE_STORAGE": "s3://images/registry",
            "BOATHOUSE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}",
            "BOATHOUSE_STORAGE_REGION": "us-east-1",
            "BOATHOUSE_STORAGE_KEY": key,
            "BOATHOUSE_STORAGE_SECRET_FILE": str(secret_file),
        }


@contextmanager
def two_hosts(storage: Mapping[str, str] | None = None) -> Iterator[Hosts]:
    """Both of them up, over one folder, or over the object store that these settings name."""
    if not postgres.is_installed():
        pytest.skip("PostgreSQL is not installed: ./boathouse test does that.")
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("hosts"))
        for name in ("one", "two"):
            (folder / name).mkdir(mode=0o711)
            if storage is None:
                (folder / "store").mkdir(exist_ok=True)
                (folder / name / "registry").symlink_to(folder / "store")
        cluster = stack.enter_context(postgres.running_cluster())
        settings = {"DATABASE_URL": cluster.create("boathouse"), **(storage or {})}
        first = stack.enter_context(product(folder / "one", LOOPBACK, settings=settings))
        for shared in (*SECRETS, *AUTHORITY):
            place = folder / "two" / shared
            place.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copy2(folder / "one" / shared, place)
        second = stack.enter_context(product(folder / "two", LOOPBACK, settings=settings))
        second.facts = {**second.facts, **{one: first.facts[one] for one in ("user", "operator")}}
        yield Hosts(cluster, first, second)


def push_through_each(hosts: Hosts) -> None:
    """A user made on one host pushes through the other; both list it and let him pull it."""
    for here, there in ((hosts.first, hosts.second), (hosts.second, hosts.first)):
        name = f"from-{here.port}"
        login = here.add_user(name, pull=["team/*"], push=["team/*"])
        until(lambda n=login, t=there: status(t, *n) == 200, "the other lets him in")
        digest = proxied(there, *login).push_image(f"team/{name}", "1.0")
        for host in (here, there):
            row = until(lambda h=host, n=name: h.tag(f"team/{n}", "1.0"), "the tag is listed")
            assert row is not None
            assert (row["digest"], row["by"]) == (digest, name)
        assert proxied(here, *login).get(f"team/{name}", "1.0").status == 200
        assert proxied(there, *login).get("other/x", "1.0").status == 403


def upload_through_both(hosts: Hosts) -> None:
    """A blob whose first half goes through one host and whose second through the other."""
    first, second = (proxied(one, *hosts.first.user) for one in (hosts.first, hosts.second))
    begun = first.ask("POST", "/v2/team/halves/blobs/uploads/")
    half = first.ask("PATCH", begun.headers["location"], b"half ", OCTETS)
    assert half.status == 202
    place = half.headers["location"]
    done = second.ask("PUT", f"{place}&digest={digest_of(b'half and half')}", b"and half", OCTETS)
    assert done.status == 201
    assert first.ask("GET", done.headers["location"]).body == b"half and half"
