"""`./boathouse manage units FOLDER`: systemd units for this instance, made from deploy/systemd."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from registryui import files, sockets
from registryui.management.command import BoathouseCommand, path_from_caller
from registryui.setup import configuration, parts, store

TEMPLATES = settings.BASE_DIR / "deploy" / "systemd"
SECRET_ENVIRONMENT = Path("/etc/boathouse/environment")


class Command(BoathouseCommand):
    help = (
        "Write systemd units for this instance (its data folder, host and ports) into FOLDER. Run "
        "./boathouse up once before, as the user that the units name."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "folder", type=path_from_caller, metavar="FOLDER", help="e.g. /etc/systemd/system"
        )
        parser.add_argument("--user", default="boathouse", help="runs all parts (%(default)s)")
        parser.add_argument("--group", default="", help="its group (default: the same name)")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        try:
            units = render(user=options["user"], group=options["group"] or options["user"])
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in units.items():
                files.write(folder / name, text, mode=0o644)
        except ValueError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{folder} cannot be written: {error.strerror}.") from error
        self.stdout.write("\n".join(str(folder / name) for name in units))
        if secret := [f"{name}=…" for name in settings.SECRET_VARIABLES if os.environ.get(name)]:
            self.stdout.write(
                f"Write {' and '.join(secret)} into {SECRET_ENVIRONMENT} (mode 0600, a line each): "
                "units can be read by everybody, so they hold no secret."
            )
        self.stdout.write(
            f"Next: chown -R {options['user']} {_writable()}; systemctl daemon-reload; "
            "systemctl enable --now boathouse.target"
        )


def render(*, user: str, group: str) -> dict[str, str]:
    """File name to text of each unit. Refused if a program lacks, ValueError for an odd path."""
    values = {
        "user": user,
        "group": group,
        "base": _plain(settings.BASE_DIR),
        "data": _plain(settings.DATA),
        "writable": _writable(),
        "backup_folder": _backup_folder(),
        "protect_home": _protect_home(),
        "environment": "\n".join(f"Environment={_quoted(line)}" for line in _environment()),
        "secret_environment": str(SECRET_ENVIRONMENT),
        "registry": _command(parts.registry_command()),
        "passwords": _command(parts.passwords_command()),
        "mirror": _command(parts.mirror_command()),
        "nginx": _command(parts.nginx_command()),
        "web": _command(parts.web_command()),
        "worker": _command(parts.worker_command()),
    }
    made = {
        path.name: Template(path.read_text()).substitute(values)
        for path in sorted(TEMPLATES.glob("boathouse-*.service"))
        if path.name != _REGISTRY
    }
    registry = Template((TEMPLATES / _REGISTRY).read_text())
    for name in sockets.registries(settings.REGISTRY_PORT):
        socket = (f"{key}={value}" for key, value in parts.registry_socket(name).items())
        made[f"boathouse-{name}.service"] = registry.substitute(
            values,
            name=name,
            description=_DESCRIPTIONS[name],
            socket="\n".join(f"Environment={_quoted(line)}" for line in socket),
        )
    target = Template((TEMPLATES / "boathouse.target").read_text())
    made["boathouse.target"] = target.substitute(services=" ".join(made))
    return made


_REGISTRY = "boathouse-registry.service"
_DESCRIPTIONS = {
    "registry": "the registry",
    "manifests": "the registry, for pushes and deletes of manifests",
    "blobs": "the registry, for uploads and deletes of blobs",
}


def _environment() -> list[str]:
    """The settings of this instance but those that hold a secret."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("BOATHOUSE_")}
    chosen = {name: ours[name] for name in ours.keys() - set(settings.SECRET_VARIABLES)}
    chosen |= {
        "BOATHOUSE_DATA": str(settings.DATA),
        "BOATHOUSE_HOST": settings.HOST,
        "BOATHOUSE_PORT": str(settings.PORT),
        "BOATHOUSE_REGISTRY_PORT": str(settings.REGISTRY_PORT),
        "BOATHOUSE_HOOK_PORT": str(settings.HOOK_PORT),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }
    return [f"{name}={value}" for name, value in sorted(chosen.items())]


def _writable() -> str:
    """The data folder, and a store that is elsewhere on this disk."""
    folders = [settings.DATA, *([settings.STORE_DIR] if store.is_adopted() else [])]
    return " ".join(_plain(Path(one)) for one in folders)


def _backup_folder() -> str:
    """The line by which the worker may write backups; "" if they go to a bucket, or nowhere. The
    folder may be a share that is mounted later."""
    folder = settings.BACKUP_TO
    if not folder or "://" in folder:
        return ""
    return f"ReadWritePaths=-{_plain(Path(folder).expanduser().absolute())}"


def _protect_home() -> str:
    """How much of /home and /root may be hidden: not what we run from or write to."""
    registry = Path(configuration.registry_program())
    ours = [
        path.resolve() for path in (settings.BASE_DIR, settings.DATA, settings.STORE_DIR, registry)
    ]
    if _backup_folder():
        ours.append(Path(settings.BACKUP_TO).expanduser().absolute())
    homes = (Path("/home"), Path("/root"), Path("/run/user"))
    return (
        "read-only" if any(path.is_relative_to(home) for path in ours for home in homes) else "yes"
    )


def _command(words: Iterable[str]) -> str:
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def _quoted(word: str) -> str:
    """One word as systemd reads it: % begins a specifier, quotes and spaces end a word."""
    if not word.isprintable():
        raise ValueError(f"{word!r} cannot be used in a systemd unit.")
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./$*-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _plain(path: Path) -> str:
    """A path where systemd takes no quotes around one."""
    if re.search(r"[\s\"'\\]", str(path)) or not str(path).isprintable():
        raise ValueError(f"The path {str(path)!r} cannot be used in a systemd unit: rename it.")
    return str(path).replace("%", "%%")
