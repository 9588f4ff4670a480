"""Add, change, remove mirrors: the only writer of their rows, for page and command.

Each change is in the audit log, without the password, and in this host's files (publish.py) before
it returns.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_variables

from registryui import audit, encryption
from registryui.deletion import execute
from registryui.failures import in_words
from registryui.models import AuditEvent, Mirror, Repository
from registryui.models.patterns import repositories_in
from registryui.oci import names, patterns
from registryui.refused import Refused

from . import publish
from .presets import DOCKER_HUB, without_alias

log = logging.getLogger(__name__)

LONGEST_NAME = 64
MOST_MINUTES = 7 * 24 * 60
MOST_DAYS = 3650
MOST_BYTES = 10**15
MOST_PINS = 100
MOST_CA = 64 * 1024  # characters
KEEP, DELETE = "keep", "delete"  # what a removal does with the mirror's repositories


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form or a command asks for, as it was typed. `password` None: the one that is stored;
    `may_be_plain`: HTTP without TLS to another machine is meant."""

    url: str
    user: str = ""
    password: str | None = None
    allow: str = ""
    deny: str = ""
    fresh_minutes: int = 10
    keep_days: int | None = None
    keep_bytes: int | None = None
    ca: str = ""
    proxy: str = ""
    is_library: bool | None = None  # None: for Docker Hub
    open_port: int | None = None
    networks: str = ""
    may_be_plain: bool = False

    def __repr__(self) -> str:
        return f"Wanted({self.url})"  # no password in a log


_PLAIN = tuple(  # fields that the row has as well, under the same names
    one.name for one in fields(Wanted) if one.name not in ("password", "may_be_plain", "url", "ca")
)


# -- reading -------------------------------------------------------------------------------------
def facts(row: Mirror) -> dict[str, Any]:
    """For programs and the audit log; never the password."""
    return {
        "name": row.name,
        "url": row.url,
        **{name: getattr(row, name) for name in _PLAIN},
        "has_password": bool(row.secret),
        "has_ca": bool(row.ca),
        "pins": pins(row),
        "is_active": row.is_active,
    }


def wanted(row: Mirror) -> Wanted:
    """What was asked for when the row became as it is; the password stays."""
    return Wanted(
        row.url,
        ca=row.ca,
        may_be_plain=row.url.startswith("http:"),
        **{name: getattr(row, name) for name in _PLAIN},
    )


def pins(row: Mirror) -> list[str]:
    """Its pinned tags, REPOSITORY:TAG as patterns, in the order they were pinned."""
    return row.pins.split()


def repositories(row: Mirror) -> QuerySet[Repository]:
    """Those in its namespace, by name."""
    return _in_namespace(row.name).order_by("name")


@sensitive_variables()
def password(row: Mirror) -> str:
    """In clear, for a request to the upstream; "" if there is none. Raises Refused if it was
    encrypted with another key."""
    if not row.secret:
        return ""
    try:
        return encryption.decrypt(row.secret, key())
    except ValueError as error:
        raise Refused(
            _(
                "The password of the mirror %(name)s cannot be decrypted: secrets/mirror-key is "
                "not the one with which it was saved. Enter the password again."
            )
            % {"name": row.name}
        ) from error


# -- writing -------------------------------------------------------------------------------------
@sensitive_variables("wanted")
def add(name: str, wanted: Wanted, *, by: str) -> Mirror:
    """A new mirror, enabled. Raises Refused for what cannot be one."""
    row = Mirror(name=_new_name(name), made_by=by[:255])
    _fill(row, wanted)
    _save(row, "mirror.add", by)
    _publish()
    return row


@sensitive_variables("wanted")
def change(row: Mirror, wanted: Wanted, *, by: str) -> Mirror:
    """Another upstream or other limits; its repositories stay. Raises Refused."""
    with transaction.atomic():
        row = _locked(row)
        before = facts(row)
        _fill(row, wanted)
        _save(row, "mirror.change", by, before=before)
    _publish()
    return row


def set_active(row: Mirror, *, is_active: bool, by: str) -> Mirror:
    """Whether the upstream is asked. A disabled mirror serves what is here. Raises Refused."""
    with transaction.atomic():
        row = _locked(row)
        if row.is_active != is_active:
            row.is_active = is_active
            _save(row, "mirror.enable" if is_active else "mirror.disable", by)
    _publish()
    return row


def pin(row: Mirror, text: str, *, by: str) -> Mirror:
    """Tags stay here and are kept fresh: REPOSITORY:TAG, as patterns. Raises Refused."""
    found = checked_pin(row, text)
    with transaction.atomic():
        row = _locked(row)
        some = pins(row)
        if found in some:
            raise Refused(_("%(what)s is pinned already.") % {"what": found})
        if len(some) >= MOST_PINS:
            raise Refused(
                _("A mirror can have at most %(most)d pins: combine some with an asterisk.")
                % {"most": MOST_PINS}
            )
        row.pins = "\n".join([*some, found])
        _save(row, "mirror.pin", by, details={"pin": found})
    _publish()
    return row


def unpin(row: Mirror, text: str, *, by: str) -> Mirror:
    """The tags can be evicted again. Raises Refused."""
    with transaction.atomic():
        row = _locked(row)
        some, gone = pins(row), text.strip().removeprefix(f"{row.name}/")
        if gone not in some:
            raise Refused(_("%(what)s is not pinned.") % {"what": gone[:300]})
        row.pins = "\n".join(one for one in some if one != gone)
        _save(row, "mirror.unpin", by, details={"pin": gone})
    _publish()
    return row


def remove(row: Mirror, *, by: str, content: str = "") -> int:
    """Removes it; how many tags were deleted with it. What is in its namespace is kept as ordinary
    repositories (KEEP), or its tags are deleted first (DELETE), as far as they are not protected;
    each can be restored for a time.

    Raises Refused if there are tags and `content` is "", and if some could not be deleted: then
    the mirror stays, disabled.
    """
    deleted = _delete_content(row, by=by) if content == DELETE else 0
    with transaction.atomic():
        row = _locked(row)
        count = tag_count(row)
        if count and content != KEEP:
            raise _has_content(row, count, was_deleted=content == DELETE)
        details = {**facts(row), "tags_deleted": deleted, "tags_kept": count}
        audit.record("mirror.remove", row.name, by=by, details=details)
        row.delete()
    log.info("mirror %s removed by %s", row.name, by)
    _publish()
    return deleted


def tag_count(row: Mirror) -> int:
    """How many tags are in its namespace."""
    return sum(repositories(row).values_list("tag_count", flat=True))


def _delete_content(row: Mirror, *, by: str) -> int:
    """Deletes the tags of all its repositories, from now on without new ones."""
    set_active(row, is_active=False, by=by)
    count = 0
    for name in repositories(row).filter(tag_count__gt=0).values_list("name", flat=True):
        plan = execute.plan(execute.Selection(name, is_all=True))
        outcome = execute.execute(plan.selection, fingerprint=plan.fingerprint, by=by)
        count += sum(one.state == "deleted" for one in outcome.results)
    return count


def _has_content(row: Mirror, count: int, *, was_deleted: bool) -> Refused:
    facts = {"count": count, "name": row.name}
    if was_deleted:
        said = ngettext(
            "%(count)d tag in %(name)s was not deleted, because it is protected or the registry "
            "refused. The mirror was not removed and is disabled.",
            "%(count)d tags in %(name)s were not deleted, because they are protected or the "
            "registry refused. The mirror was not removed and is disabled.",
            count,
        )
    else:
        said = ngettext(
            "The mirror %(name)s has %(count)d tag. Choose whether to delete it or to keep it in "
            "an ordinary repository.",
            "The mirror %(name)s has %(count)d tags. Choose whether to delete them or to keep them "
            "as ordinary repositories.",
            count,
        )
    return Refused(said % facts)


# -- what may be a mirror ------------------------------------------------------------------------
def _new_name(text: str) -> str:
    name = text.strip()
    if len(name) > LONGEST_NAME or not names.is_part(name):
        raise Refused(
            _(
                "A mirror's name is one part of a repository name: up to %(most)d lower-case "
                "letters, digits and . _ -, starting with a letter or digit."
            )
            % {"most": LONGEST_NAME}
        )
    other = _in_namespace(name).filter(tag_count__gt=0).order_by("name").first()
    if other is not None and not Mirror.objects.filter(name=name).exists():
        raise Refused(
            _(
                "The namespace %(name)s has repositories, such as %(other)s. Choose another name, "
                "or delete them first."
            )
            % {"name": name, "other": other.name}
        )
    return name


@sensitive_variables()
def _fill(row: Mirror, wanted: Wanted) -> None:
    """Sets all fields of the row, checked. Raises Refused."""
    url = checked_url(wanted.url, may_be_plain=wanted.may_be_plain)
    ca, proxy = checked_ca(wanted.ca), _proxy(wanted.proxy)
    is_elsewhere = row.url != url or ca not in ("", row.ca) or proxy not in ("", row.proxy)
    row.secret = _secret(row, wanted, is_elsewhere=is_elsewhere)
    row.url, row.user = url, wanted.user.strip()
    row.allow, row.deny = repositories_in(wanted.allow), repositories_in(wanted.deny)
    row.fresh_minutes = _number(wanted.fresh_minutes, 0, MOST_MINUTES) or 0
    row.keep_days = _number(wanted.keep_days, 1, MOST_DAYS)
    row.keep_bytes = _number(wanted.keep_bytes, 1_000_000, MOST_BYTES)
    row.ca, row.proxy = ca, proxy
    row.is_library = url == DOCKER_HUB if wanted.is_library is None else wanted.is_library
    row.open_port, row.networks = _open_port(row, wanted.open_port, wanted.networks)


def checked_url(text: str, *, may_be_plain: bool) -> str:
    """The upstream as scheme, host and port. Raises Refused."""
    text = text.strip()
    parts = _split(text if "://" in text else f"https://{text}")
    host = without_alias((parts.hostname or "") if parts else "") if parts else ""
    path = parts.path.rstrip("/") if parts else ""
    if not parts or not host or parts.scheme not in ("https", "http") or path not in ("", "/v2"):
        raise Refused(
            _(
                "Enter the address of a registry, without a path: https://quay.io or "
                "https://registry.example.net:5000."
            )
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise Refused(
            _("Enter the address without a user name or password; there are fields for them.")
        )
    if parts.scheme == "http" and not may_be_plain and not _is_loopback(host):
        raise Refused(
            _(
                "http:// is not encrypted: passwords and images could be read and changed in "
                "transit. Use https://, or confirm that the connection may be unencrypted."
            )
        )
    netloc = f"[{host}]" if ":" in host else host
    if parts.port and parts.port != (443 if parts.scheme == "https" else 80):
        netloc += f":{parts.port}"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if netloc == settings.REGISTRY_NAME or _is_ours(host, port):
        raise Refused(_("This is the address of this registry: enter that of another one."))
    return f"{parts.scheme}://{netloc}"


def _is_ours(host: str, port: int) -> bool:
    """Whether a port of this instance has that address, by any of its names."""
    if _is_loopback(host) and port in (settings.REGISTRY_PORT, settings.HOOK_PORT):
        return True
    names = (settings.HOST, settings.PUBLIC_HOST, *settings.NAMES)
    return host in names and port in (settings.PORT, settings.ANONYMOUS_PORT, settings.PROXY_PORT)


def _split(text: str) -> SplitResult | None:
    """The parts of an address; None for what is none."""
    try:
        parts = urlsplit(text)
        _port = parts.port  # raises for one that is no number
    except ValueError:
        return None
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= 500
    return parts if is_plain else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@sensitive_variables()
def _secret(row: Mirror, wanted: Wanted, *, is_elsewhere: bool) -> str:
    """The encrypted password that the row should have; "" for none. `is_elsewhere`: other servers
    than before would get it. Raises Refused."""
    user = wanted.user.strip()
    if ":" in user or not user.isprintable() or len(user) > 255:
        raise Refused(_("The user name at the upstream cannot have a colon."))
    if not user:
        if wanted.password:
            raise Refused(_("Enter the user name that belongs to the password."))
        return ""
    if wanted.password:
        if not wanted.password.isprintable():
            raise Refused(_("A password must not contain control characters."))
        return encryption.encrypt(wanted.password, key())
    # A stored password goes to nobody else: else another address would reveal it, as would a proxy
    # with a CA of its own.
    if not row.secret or is_elsewhere or row.user != user:
        raise Refused(
            _(
                "Enter the password. It is used only for the address, user, CA and proxy it was "
                "entered for."
            )
        )
    return row.secret


def key() -> str:
    """What passwords at upstreams are encrypted with. Raises Refused."""
    try:
        return str(settings.MIRROR_KEY_FILE.read_text().strip())
    except OSError as error:
        raise Refused(
            _("The key for passwords cannot be read (%(error)s). ./boathouse up creates it.")
            % {"error": in_words(error)}
        ) from error


def checked_pin(row: Mirror, text: str) -> str:
    """REPOSITORY:TAG, as patterns, without the mirror's name. Raises Refused."""
    repository, colon, tag = text.strip().removeprefix(f"{row.name}/").partition(":")
    try:
        pair = (*patterns.parse(repository), *patterns.parse(tag)) if colon else ()
    except ValueError:
        pair = ()
    if len(pair) != 2:
        raise Refused(
            _(
                "Enter REPOSITORY:TAG as the upstream calls them, such as library/debian:12; "
                "an asterisk is any text."
            )
        )
    return ":".join(pair)


def _number(value: int | None, least: int, most: int) -> int | None:
    if value is None or (value == 0 and least):
        return None
    if not least <= value <= most:
        raise Refused(
            _("Enter a number from %(least)d to %(most)d.") % {"least": least, "most": most}
        )
    return value


def checked_ca(text: str) -> str:
    """A CA certificate as PEM text; "" for none. Raises Refused."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        return ""
    try:
        if len(text) > MOST_CA:
            raise ValueError("too long")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError) as error:
        raise Refused(
            _(
                "The CA certificate must be PEM text: from -----BEGIN CERTIFICATE----- to "
                "-----END CERTIFICATE-----."
            )
        ) from error
    return text + "\n"


def _proxy(text: str) -> str:
    text = text.strip().rstrip("/")
    if not text:
        return ""
    parts = _split(text)
    if not parts or parts.scheme not in ("http", "https") or not parts.hostname or parts.path:
        raise Refused(
            _("Enter the address of an HTTP proxy, such as http://proxy.example.net:3128.")
        )
    if parts.username is not None:
        raise Refused(_("A proxy with a password is not supported."))
    return text


def _open_port(row: Mirror, port: int | None, networks: str) -> tuple[int | None, str]:
    found = _networks(networks)
    if not port:
        if found:
            raise Refused(_("Enter the port that these networks may use."))
        return None, ""
    if not 1 <= port <= 65535:
        raise Refused(_("Enter a number from %(least)d to %(most)d.") % {"least": 1, "most": 65535})
    if not found:
        raise Refused(
            _(
                "Enter the networks that may use the port without a login, such as 10.0.0.0/8 "
                "192.168.7.0/24."
            )
        )
    used = (
        *(settings.PORT, settings.HTTP_PORT, settings.ANONYMOUS_PORT, settings.PROXY_PORT),
        *(settings.HOOK_PORT, settings.REGISTRY_PORT),
    )
    if port in used or Mirror.objects.filter(open_port=port).exclude(pk=row.pk).exists():
        raise Refused(_("Port %(port)d is in use by this registry.") % {"port": port})
    return port, " ".join(found)


def _networks(text: str) -> list[str]:
    """Networks in one spelling, each once; never every address."""
    found = []
    for one in text.replace(",", " ").split():
        try:
            network = ipaddress.ip_network(one)
        except ValueError:
            network = None
        if network is None or network.prefixlen == 0:
            raise Refused(
                _("“%(text)s” is not a network: enter an address or a network such as 10.0.0.0/8.")
                % {"text": one[:60]}
            )
        found.append(str(network))
    return list(dict.fromkeys(found))


# -- rows and files ------------------------------------------------------------------------------
def _in_namespace(name: str) -> QuerySet[Repository]:
    return Repository.objects.filter(Q(namespace=name) | Q(name=name))


def _locked(row: Mirror) -> Mirror:
    found = Mirror.objects.select_for_update().filter(pk=row.pk).first()
    if found is None:
        raise Refused(_("This mirror has been removed in the meantime."))
    return found


def _save(
    row: Mirror,
    act: str,
    by: str,
    *,
    before: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    said = details or facts(row) | ({"before": before} if before else {})
    try:
        with transaction.atomic():
            row.save()
            audit.record(act, row.name, by=by, details=said)
    except IntegrityError as error:
        raise Refused(_("A mirror with this name or port already exists.")) from error
    log.info("%s %s by %s", act, row.name, by)


def _publish() -> None:
    try:
        publish.write()
    except OSError as error:
        raise Refused(
            _("Saved, but nginx is not updated yet (%(error)s). The worker retries every minute.")
            % {"error": in_words(error)}
        ) from error


def find(name: str) -> Mirror | None:
    """The mirror of that name."""
    return Mirror.objects.filter(name=name).first()


def record_failure(row: Mirror, reason: str, *, by: str) -> None:
    """Says in the audit log that a removal was begun, and why the mirror is still there."""
    audit.record(
        *("mirror.remove", row.name),
        by=by,
        result=AuditEvent.Result.FAILED,
        details={"reason": reason},
    )
