"""./boathouse demo: a dozen sample images, pushed through the proxy."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui import tls
from registryui.demo.images import make_images
from registryui.demo.push import Pushed, push, temporary_user
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError, Unreachable
from registryui.setup import health

_LOOK_AT = (
    ("repositories/platform/api", "fifty tags, pre-releases, a signature, an SBOM"),
    ("repositories/platform/api:2.14.0", "one image for three platforms"),
    ("repositories/data/postgres:16.4", "layers and history of an image"),
    ("repositories/charts/api:2.14.0", "a Helm chart"),
    ("repositories/tools/odd-labels:latest", "labels with malicious content"),
)


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)
    help = (
        "Pushes a dozen sample images. Run again, it pushes what is missing. Without --username it "
        "creates a temporary registry user and removes it at the end."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="", help="push as this registry user")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read that user's secret from stdin"
        )
        parser.add_argument("--json", action="store_true", help="print the result for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["username"]) != options["password_stdin"]:
            raise CommandError("--username requires --password-stdin, and vice versa.")
        instance = health.running()
        if instance is None:
            raise CommandError("The registry is not running. Start it: ./boathouse up")
        try:
            with _sigterm_as_ctrl_c(), _user(options) as (name, secret):
                pushed = self._push(instance, name, secret, options)
        except Unreachable as error:
            raise CommandError(
                f"The registry does not respond ({error}). Start it: ./boathouse up"
            ) from error
        except RegistryError as error:
            raise CommandError(_refused(error, options["username"])) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped; the next demo continues from here.") from None
        self._end(instance, pushed, options)

    def _push(
        self, instance: health.Running, name: str, secret: str, options: dict[str, Any]
    ) -> list[Pushed]:
        done = []
        ca = tls.ca_certificate()
        with RegistryClient(_proxy(instance), username=name, password=secret, ca=ca) as client:
            client.ping()
            for one in push(client, make_images()):
                done.append(one)
                if not options["json"]:
                    state = "already there" if one.was_there else "pushed"
                    reference = f"{instance.registry_name}/{one.repository}:{one.tag}"
                    self.stdout.write(f"{state:<14} {reference}")
                    self.stdout.flush()
        return done

    def _end(self, instance: health.Running, pushed: list[Pushed], options: dict[str, Any]) -> None:
        there = sum(one.was_there for one in pushed)
        if options["json"]:
            facts = {
                "registry": instance.registry_name,
                "pushed": len(pushed) - there,
                "already_there": there,
                "references": [asdict(one) for one in pushed],
            }
            self.stdout.write(json.dumps(facts))
            return
        self.stdout.write(f"\n{len(pushed) - there} pushed, {there} already there.")
        self.stdout.write("Try:\n")
        for path, what in _LOOK_AT:
            self.stdout.write(f"  {instance.url}/{path:<38} {what}")


@contextmanager
def _user(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and secret to push with."""
    name = options["username"]
    given = (name, sys.stdin.readline().rstrip("\r\n")) if name else None
    with nullcontext(given) if given else temporary_user() as user:
        yield user


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Within it a SIGTERM, too, removes the temporary user."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _proxy(instance: health.Running) -> str:
    """Loopback where that is open and our certificate names it; else the public address."""
    is_local = instance.address in ("127.0.0.1", "::1") and tls.ca_certificate() is not None
    return f"https://localhost:{instance.port}" if is_local else instance.url


def _refused(error: RegistryError, username: str) -> str:
    if error.status == 401 and username:
        return f"The registry does not accept {username} with that secret."
    return f"The registry returned an error: {error}. Run ./boathouse doctor"
