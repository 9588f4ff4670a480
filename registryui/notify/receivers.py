"""Add, change, remove receivers: the only writer of their rows, for page and command.

Each change is in the audit log, without the URL of a webhook, which may contain a token.
"""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui import audit, encryption
from registryui.mirrors.mirrors import key
from registryui.models import Receiver
from registryui.models.patterns import repositories_in
from registryui.oci import names
from registryui.refused import Refused

from . import events, webhook

log = logging.getLogger(__name__)

Kind = Receiver.Kind
LONGEST_NAME = 64
LONGEST_URL = 2000
MOST = 20  # receivers: each may have a thread of the worker
MOST_ADDRESSES = 20
LEVELS = ("", "warn", "bad")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form or a command asks for, as it was typed. `address`: the URL or mail addresses; ""
    keeps the stored one. `may_be_plain`: HTTP without TLS is meant."""

    kind: str
    address: str = ""
    conditions: str = "warn"
    has_pushes: bool = False
    has_deletes: bool = False
    repositories: str = ""
    language: str = ""  # "": the active one
    may_be_plain: bool = False

    def __repr__(self) -> str:
        return f"Wanted({self.kind})"  # no token in a log


_PLAIN = ("conditions", "has_pushes", "has_deletes", "repositories", "language")


# -- reading -------------------------------------------------------------------------------------
def facts(row: Receiver) -> dict[str, Any]:
    """For programs and the audit log; never the URL of a webhook, nor its secret."""
    return {
        "name": row.name,
        "kind": row.kind,
        "address": row.shown,
        **{name: getattr(row, name) for name in _PLAIN},
        "is_active": row.is_active,
    }


def wanted(row: Receiver) -> Wanted:
    """What was asked for when the row became as it is; the address stays."""
    return Wanted(row.kind, **{name: getattr(row, name) for name in _PLAIN})


def find(name: str) -> Receiver | None:
    """The receiver of that name."""
    return Receiver.objects.filter(name=name).first()


@sensitive_variables()
def url_and_secret(row: Receiver) -> tuple[str, str]:
    """Of a webhook, in clear. Raises Refused if they were encrypted with another key."""
    try:
        return encryption.decrypt(row.address, key()), encryption.decrypt(row.secret, key())
    except ValueError as error:
        raise Refused(
            _(
                "The URL of the receiver %(name)s cannot be decrypted: secrets/mirror-key is not "
                "the one with which it was saved. Remove the receiver and add it again."
            )
            % {"name": row.name}
        ) from error


# -- writing -------------------------------------------------------------------------------------
@sensitive_variables("wanted", "secret")
def add(name: str, wanted: Wanted, *, by: str) -> tuple[Receiver, str]:
    """A new receiver, enabled, and its signing secret, "" for mail: it is not readable later.
    Raises Refused."""
    if Receiver.objects.count() >= MOST:
        raise Refused(
            _("There can be at most %(most)d receivers: remove one first.") % {"most": MOST}
        )
    row = Receiver(name=_new_name(name), kind=wanted.kind, made_by=by[:255])
    secret = webhook.new_secret() if row.kind == Kind.WEBHOOK else ""
    row.secret = encryption.encrypt(secret, key()) if secret else ""
    row.audit_row = events.newest_row()
    _fill(row, wanted)
    _save(row, "receiver.add", by)
    return row, secret


@sensitive_variables("wanted")
def change(row: Receiver, wanted: Wanted, *, by: str) -> Receiver:
    """Another address, or other messages. Raises Refused."""
    with transaction.atomic():
        row = _locked(row)
        if wanted.has_deletes and not row.has_deletes:
            row.audit_row = events.newest_row()
        _fill(row, wanted)
        _save(row, "receiver.change", by)
    return row


def set_active(row: Receiver, *, is_active: bool, by: str) -> Receiver:
    """Whether it is sent anything. What happens while it is disabled is not sent later. Raises
    Refused."""
    with transaction.atomic():
        row = _locked(row)
        if row.is_active != is_active:
            row.is_active, row.is_gone = is_active, False
            row.audit_row = events.newest_row()
            _save(row, "receiver.enable" if is_active else "receiver.disable", by)
    return row


@transaction.atomic
def disable_gone(row: Receiver) -> None:
    """Disables a webhook that answered 410 Gone; nothing if somebody has disabled or removed it."""
    found = Receiver.objects.select_for_update().filter(pk=row.pk, is_active=True).first()
    if found is not None:
        found.is_active, found.is_gone = False, True
        _save(found, "receiver.disable", "schedule", reason="410 Gone")


@sensitive_variables("secret")
def renew_secret(row: Receiver, *, by: str) -> str:
    """Another signing secret, from now on; it is not readable later. Raises Refused."""
    with transaction.atomic():
        row = _locked(row)
        if row.kind != Kind.WEBHOOK:
            raise Refused(_("Only messages to webhooks are signed."))
        secret = webhook.new_secret()
        row.secret = encryption.encrypt(secret, key())
        _save(row, "receiver.secret", by)
    return secret


def remove(row: Receiver, *, by: str) -> None:
    """Removes it with its deliveries. Raises Refused."""
    with transaction.atomic():
        row = _locked(row)
        audit.record("receiver.remove", row.name, by=by, details=facts(row))
        row.delete()
    log.info("receiver.remove %s by %s", row.name, by)


# -- what may be a receiver ----------------------------------------------------------------------
def _new_name(text: str) -> str:
    name = text.strip()
    if len(name) > LONGEST_NAME or not names.is_part(name):
        raise Refused(
            _(
                "A receiver's name has up to %(most)d lower-case letters, digits and . _ -, "
                "starting with a letter or digit."
            )
            % {"most": LONGEST_NAME}
        )
    return name


@sensitive_variables()
def _fill(row: Receiver, wanted: Wanted) -> None:
    """Sets all fields of the row, checked. Raises Refused."""
    if row.kind not in Kind.values or (row.kind == Kind.MAIL and not settings.SMTP_HOST):
        raise Refused(
            _("Mail needs a mail server: set BOATHOUSE_SMTP_HOST and run ./boathouse up.")
        )
    if wanted.address.strip() or not row.address:
        fill = _fill_url if row.kind == Kind.WEBHOOK else _fill_addresses
        fill(row, wanted)
    if wanted.conditions not in LEVELS:
        raise Refused(_("Choose for which conditions messages are sent."))
    if not (wanted.conditions or wanted.has_pushes or wanted.has_deletes):
        raise Refused(_("Choose at least one kind of message: conditions, pushes or deletes."))
    row.conditions = wanted.conditions
    row.has_pushes, row.has_deletes = wanted.has_pushes, wanted.has_deletes
    row.repositories = repositories_in(wanted.repositories)
    codes = [code for code, _name in settings.LANGUAGES]
    language = wanted.language or get_language() or settings.LANGUAGE_CODE
    row.language = language if language in codes else settings.LANGUAGE_CODE


@sensitive_variables()
def _fill_url(row: Receiver, wanted: Wanted) -> None:
    text = wanted.address.strip()
    parts = _split(text)
    host = (parts.hostname or "") if parts else ""
    if not parts or not host or parts.scheme not in ("https", "http") or parts.fragment:
        raise Refused(_("Enter the URL of a webhook, such as https://hooks.example.net/boathouse."))
    if parts.username is not None:
        raise Refused(
            _("Enter the URL without a user name or password: receivers check the signature.")
        )
    if parts.scheme == "http" and not (wanted.may_be_plain or _is_loopback(host)):
        raise Refused(
            _(
                "http:// is not encrypted: messages could be read in transit. Use https://, or "
                "confirm that the connection may be unencrypted."
            )
        )
    if _is_refused(host):
        raise Refused(
            _(
                "A webhook cannot lead to this machine. If a program here is to be the receiver, "
                "set BOATHOUSE_NOTIFY_LOOPBACK=on and run ./boathouse up."
            )
        )
    netloc = parts.netloc.rpartition("@")[2]
    row.address = encryption.encrypt(text, key())
    row.shown = f"{parts.scheme}://{netloc}/" + (
        "…" if parts.path.strip("/") or parts.query else ""
    )


def _split(text: str) -> SplitResult | None:
    """The parts of a URL; None for what is none."""
    try:
        parts = urlsplit(text)
        _port = parts.port  # raises for one that is no number
    except ValueError:
        return None
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return parts if is_plain and len(text) <= LONGEST_URL and len(parts.netloc) <= 300 else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_refused(host: str) -> bool:
    """Whether that is known without asking for a name; names are checked when a message is sent."""
    try:
        return not webhook.is_allowed(host)
    except ValueError:
        return host == "localhost" and not settings.NOTIFY_LOOPBACK


def _fill_addresses(row: Receiver, wanted: Wanted) -> None:
    found = list(dict.fromkeys(wanted.address.replace(",", " ").split()))
    try:
        if not 0 < len(found) <= MOST_ADDRESSES:
            raise ValidationError("")
        for one in found:
            validate_email(one)
    except ValidationError as error:
        raise Refused(
            _("Enter up to %(most)d mail addresses, separated by spaces: ops@example.net.")
            % {"most": MOST_ADDRESSES}
        ) from error
    row.address = " ".join(found)
    row.shown = row.address if len(row.address) <= 500 else f"{row.address[:500]}…"


# -- rows ----------------------------------------------------------------------------------------
def _locked(row: Receiver) -> Receiver:
    found = Receiver.objects.select_for_update().filter(pk=row.pk).first()
    if found is None:
        raise Refused(_("This receiver has been removed in the meantime."))
    return found


def _save(row: Receiver, act: str, by: str, **details: str) -> None:
    try:
        with transaction.atomic():
            row.save()
            audit.record(act, row.name, by=by, details={**facts(row), **details})
    except IntegrityError as error:
        raise Refused(_("A receiver with this name already exists.")) from error
    log.info("%s %s by %s", act, row.name, by)
