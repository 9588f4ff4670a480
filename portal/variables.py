"""Environment variables, read and validated at the start of every command.

An invalid value raises Django's ImproperlyConfigured with one sentence, which manage.py prints.
portal/settings.py is the only caller.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import sys
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dj_database_url
from cronsim import CronSim, CronSimError
from django.core.exceptions import ImproperlyConfigured

from registryui.oci import scopes
from registryui.registry import storages

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")  # of an image reference, and of DNS


# Names of the previous version, still accepted in this one.
RENAMED = {
    "BOATHOUSE_COLLECT_GRACE_HOURS": "BOATHOUSE_GC_GRACE_HOURS",
    "BOATHOUSE_COLLECT_SCHEDULE": "BOATHOUSE_GC_SCHEDULE",
}


def accept_old_names() -> None:
    """Copies the value of an old name to the new one, with one warning: child processes inherit the
    new name."""
    for old, new in RENAMED.items():
        value = os.environ.pop(old, None)
        if value is not None:
            os.environ.setdefault(new, value)
            sys.stderr.write(f"{old} is now called {new}; the next version ignores the old name.\n")


def text(name: str, default: str = "") -> str:
    """Its stripped value; the default if there is none."""
    return os.environ.get(name, "").strip() or default


def store(name: str) -> str:
    """`filesystem`, the path of a folder, or the URL of an object store."""
    found = _without_login(name) or storages.FILESYSTEM
    try:
        storages.parse(found)
    except ValueError as bad:
        raise ImproperlyConfigured(str(bad)) from None
    return os.path.normpath(found) if found.startswith("/") else found


def endpoint(name: str) -> str:
    """The URL of an object store's service; "" for none. An invalid one may contain a password, and
    is not printed."""
    found = _without_login(name)
    if found and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", found):
        raise ImproperlyConfigured(f"{name} must be a URL, such as https://objects.example.net.")
    return found


def _without_login(name: str) -> str:
    """A URL without user and password: pages and systemd's units show it."""
    found = text(name)
    if "@" in found.partition("://")[2].partition("/")[0]:
        raise ImproperlyConfigured(
            f"{name} must not contain a user and password: set BOATHOUSE_STORAGE_KEY and "
            "BOATHOUSE_STORAGE_SECRET instead."
        )
    return found


def program(name: str) -> str:
    """The full path of a program; "" for none. Child processes, which run in another folder,
    inherit the full path."""
    wanted = text(name)
    if not wanted:
        return ""
    if not (found := find_program(wanted)):
        raise _bad(name, wanted, "is not a program that this user can run.")
    os.environ[name] = found
    return found


def find_program(name: str) -> str:
    """The full path of a program that this user can run; "" if there is none."""
    # /usr/sbin is not in the PATH of a Debian user.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    return str(Path(found).absolute()) if found else ""


def pull_scopes(name: str) -> list[str]:
    """Repositories and namespaces, separated by commas or blanks."""
    found = text(name).replace(",", " ").split()
    for one in found:
        try:
            scopes.parse(one)
        except ValueError:
            raise _bad(
                name,
                one,
                f"must be *, a namespace of at most {scopes.MOST_PARTS} parts (team/*) or a "
                "repository.",
            ) from None
    return found


def number(
    name: str,
    default: int,
    *,
    least: int = 0,
    most: int = 10**9,
    unit: str = "",
    zero: bool = False,
) -> int:
    """An integer between `least` and `most`; with `zero` also 0, with a special meaning."""
    found = text(name)
    if not found:
        return default
    example = f"{' of ' + unit if unit else ''}, such as {default or least}"
    # int() accepts 1_000 and digits of every script.
    if not re.fullmatch(r"-?[0-9]{1,12}", found):
        raise _bad(name, found, f"must be a whole number{example}.")
    value = int(found)
    if not least <= value <= most and not (zero and value == 0):
        bounds = f"between {least} and {most}" if most < 10**9 else f"at least {least}"
        raise _bad(name, found, f"must be {bounds}{' ' + unit if unit else ''}.")
    return value


def port(name: str, default: int) -> int:
    """A TCP port; 0, the default of some, means none."""
    return number(name, default, least=1, most=65535, zero=default == 0)


def one_of(name: str, default: str, choices: Sequence[str]) -> str:
    found = text(name, default)
    if found not in choices:
        raise _bad(name, found, f"must be one of {', '.join(choices)}.")
    return found


def host(name: str, default: str) -> str:
    """A host name or address as in an image reference, without a port."""
    found = text(name, default)
    if error := _not_in_a_reference(found):
        raise _bad(name, found, error)
    return found


def registry_name(host: str, port: int) -> str:
    """The part before the first slash of an image reference."""
    is_a_host = "." in host or host == "localhost" or host.startswith("[")
    if port != 443:
        return f"{host}:{port}"
    if not is_a_host:  # by distribution's reference grammar
        raise _bad(
            "BOATHOUSE_HOST",
            host,
            "has no dot, so clients take it for a name on Docker Hub: use its full name, or "
            "another port than 443.",
        )
    return host


def switch(name: str, default: bool) -> bool:
    """`on` or `off`."""
    return one_of(name, "on" if default else "off", ["on", "off"]) == "on"


def public_url(name: str, host: str, port: int) -> tuple[str, int]:
    """Host and port of the address for clients: `https://HOST[:PORT]`; without the variable our
    own."""
    found = text(name)
    if not found:
        return host, port
    match = re.fullmatch(r"https://(\[[0-9a-f:.]+\]|[^/:@?#\[\]]+)(?::([0-9]{1,5}))?/?", found)
    if not match or not 1 <= int(match[2] or 443) <= 65535:
        raise _bad(name, found, "must be https:// with a host name, and a port if it is not 443.")
    if error := _not_in_a_reference(match[1]):
        raise _bad(name, found, error)
    return match[1], int(match[2] or 443)


_OWN_CHOICE = (
    "so any client could choose its own: write only those of your proxies, such as 10.0.0.7 or "
    "10.0.0.0/8."
)


def networks(name: str, if_all: str = _OWN_CHOICE) -> list[str]:
    """Addresses and networks (10.0.0.0/8) to trust, comma separated; together not all of IPv4 or of
    IPv6, which would have the consequence `if_all`."""
    found = [one for one in map(str.strip, text(name).split(",")) if one]
    parsed = []
    for one in found:
        try:
            parsed.append(ipaddress.ip_network(one))
        except ValueError:
            raise _bad(
                name, one, "must be an address or a network, such as 10.0.0.7 or 10.0.0.0/8."
            ) from None
    four = ipaddress.collapse_addresses(n for n in parsed if isinstance(n, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(n for n in parsed if isinstance(n, ipaddress.IPv6Network))
    if 0 in (*(one.prefixlen for one in four), *(one.prefixlen for one in six)):
        raise _bad(
            name,
            text(name),
            f"includes every address, {if_all}",
        )
    return found


def names(name: str) -> list[str]:
    """Host names and addresses, comma separated; a name may begin with `*.`."""
    found = [one for one in map(str.strip, text(name).split(",")) if one]
    for one in found:
        if not _address(one) and (error := _not_in_a_reference(one.removeprefix("*."))):
            raise _bad(name, one, error)
    return found


def addresses(name: str, default: Sequence[str]) -> list[str]:
    """Addresses to listen on, comma separated: `*`, addresses, IPv6 in brackets."""
    found = [one for one in map(str.strip, text(name).split(",")) if one]
    for one in found:
        if one != "*" and (not _address(one) or (":" in one) != one.startswith("[")):
            raise _bad(name, one, "must be an address of this machine, such as 0.0.0.0 or [::].")
    return found or list(default)


def time_zone(name: str, default: str) -> str:
    found = text(name, default)
    try:
        zoneinfo.ZoneInfo(found)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise _bad(name, found, "is no time zone: write one such as Europe/Berlin.") from None
    return found


def schedule(name: str, default: str) -> str:
    """Cron's five fields; "" if the variable is set and empty."""
    found = os.environ.get(name, default).strip()
    if found:
        try:
            CronSim(found, datetime.now(UTC))
        except CronSimError as error:
            words = f"is no schedule ({error}): write cron's five fields, such as {default!r}."
            raise _bad(name, found, words) from None
    return found


def database(url: str) -> dict[str, Any]:
    """Django's settings of a database. An invalid URL is not printed: it may contain a password."""
    try:
        found = dict(dj_database_url.parse(url, conn_max_age=60))
    except (ValueError, dj_database_url.ParseError):
        found = {}
    engine = str(found.get("ENGINE", ""))
    if not engine.endswith(("postgresql", "sqlite3")) or not found.get("NAME"):
        raise ImproperlyConfigured(
            "DATABASE_URL is no address of a database: write postgresql://user:password@host/name, "
            "with other characters than letters and digits as %XX."
        )
    return found


def _not_in_a_reference(found: str) -> str:
    """What is wrong with a host; "" if it is valid."""
    if found.startswith("[") and found.endswith("]") and _address(found):
        return ""
    if _address(found):
        return f"must be in brackets: [{found}]." if ":" in found else ""
    if "://" in found or "/" in found:
        return "must be a host name alone, without https:// and without a path."
    if re.search(r":[0-9]*$", found):
        return "must be a host name alone: the port belongs into BOATHOUSE_PORT."
    if not found.isascii():
        try:
            return f"must be in ASCII: {found.encode('idna').decode('ascii')}."
        except UnicodeError:
            return "is no host name."
    if _HOST_NAME.fullmatch(found.lower()) and len(found) <= 253:
        return "" if found == found.lower() else f"must be in small letters: {found.lower()}."
    return (
        "is no host name that an image reference can hold: letters, digits and hyphens, with dots "
        "between."
    )


def _address(found: str) -> bool:
    try:
        ipaddress.ip_address(found.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _bad(name: str, value: str, words: str) -> ImproperlyConfigured:
    """The sentence: the variable, its value, what it must be."""
    shown = value if len(value) <= 60 else f"{value[:60]}…"
    return ImproperlyConfigured(f"{name}={shown!r} {words}")
