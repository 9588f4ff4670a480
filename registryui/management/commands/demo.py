"""./boathouse demo: a dozen sample images, pushed through the proxy."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from registryui import tls
from registryui.demo.images import make_images
from registryui.demo.push import Pushed, push, temporary_user
from registryui.management.command import (
    BoathouseCommand,
    Options,
    Usage,
    add_json,
    given_password,
    sigterm_as_ctrl_c,
)
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError, Unreachable
from registryui.setup import health

_TOUR = (
    ("repositories/platform/api", "fifty tags, pre-releases, a signature, an SBOM"),
    ("repositories/platform/api:2.14.0", "one image for three platforms"),
    ("repositories/data/postgres:16.4", "layers and history of an image"),
    ("repositories/charts/api:2.14.0", "a Helm chart"),
    ("repositories/tools/odd-labels:latest", "labels with malicious content"),
)


class Command(BoathouseCommand):
    help = (
        "Pushes a dozen sample images. Run again, it pushes what is missing. Without --username it "
        "creates a temporary registry user and removes it at the end."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--username", default="", help="push as this registry user")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read that user's secret from stdin"
        )
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["username"]) != options["password_stdin"]:
            raise Usage("--username requires --password-stdin, and vice versa.")
        instance = health.running()
        if instance is None:
            raise CommandError("The registry is not running. Start it: ./boathouse up")
        try:
            with sigterm_as_ctrl_c(), _user(options) as (name, secret):
                pushed = self._push(instance, name, secret)
        except Unreachable as error:
            raise CommandError(
                f"The registry does not respond ({error}). Start it: ./boathouse up"
            ) from error
        except RegistryError as error:
            raise CommandError(_refused(error, options["username"])) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped; the next demo continues from here.") from None
        self._report(instance, pushed)

    def _push(self, instance: health.Running, name: str, secret: str) -> list[Pushed]:
        done = []
        ca = tls.ca_certificate()
        with RegistryClient(_proxy(instance), username=name, password=secret, ca=ca) as client:
            client.ping()
            for one in push(client, make_images()):
                done.append(one)
                if not self.as_json:
                    state = "already there" if one.was_there else "pushed"
                    reference = f"{instance.registry_name}/{one.repository}:{one.tag}"
                    self.stdout.write(f"{state:<14} {reference}")
                    self.stdout.flush()
        return done

    def _report(self, instance: health.Running, pushed: list[Pushed]) -> None:
        there = sum(one.was_there for one in pushed)
        facts = {
            "registry": instance.registry_name,
            "pushed": len(pushed) - there,
            "already_there": there,
            "references": [asdict(one) for one in pushed],
        }
        self.say(
            facts,
            f"\n{len(pushed) - there} pushed, {there} already there.",
            "Try:\n",
            *(f"  {instance.url}/{path:<38} {what}" for path, what in _TOUR),
        )


@contextmanager
def _user(options: Options) -> Iterator[tuple[str, str]]:
    """Name and secret to push with."""
    name = options["username"]
    given = (name, given_password(options)) if name else None
    with nullcontext(given) if given else temporary_user() as user:
        yield user


def _proxy(instance: health.Running) -> str:
    """Loopback where that is open and our certificate names it; else the public address."""
    is_local = instance.address in ("127.0.0.1", "::1") and tls.ca_certificate() is not None
    return f"https://localhost:{instance.port}" if is_local else instance.url


def _refused(error: RegistryError, username: str) -> str:
    if error.status == 401 and username:
        return f"The registry does not accept {username} with that secret."
    return f"The registry returned an error: {error}. Run ./boathouse doctor"
