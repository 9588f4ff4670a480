"""Registry users: create, change, remove. The only writer of their rows, for page and command.

Each action changes rows, writes the files, and returns the result of a login through the proxy. If
the files cannot be written, the rows are restored and Refused says why; the audit log has the
action, and then that it failed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui import audit
from registryui.failures import in_words
from registryui.models import (
    NEVER,
    UNKNOWN,
    AuditEvent,
    Operator,
    RegistryUser,
    Right,
    new_generation,
)
from registryui.refused import Refused

from . import grants, htpasswd, publish, rights

log = logging.getLogger(__name__)

LEAST_PASSWORD_BYTES = 8
COST = htpasswd.ROUNDS  # the cost of a guess, and of a first login of that user
COSTS = range(5, COST + 1)  # above, a guess costs the machine more than the attacker
LONGEST_HASH = 512
LONGEST_OVERLAP = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Done:
    """The result: the rows as they are now, and whether the proxy was verified to know."""

    users: Sequence[RegistryUser]
    proof: publish.Proof
    secret: str = ""  # just generated; shown once, not stored
    warning: str = ""  # one sentence, or ""

    @property
    def user(self) -> RegistryUser:
        """The one user that was asked for."""
        return self.users[0]


# -- make ----------------------------------------------------------------------------------------
@sensitive_variables("password", "secret")
def create(
    name: str,
    *,
    by: str,
    may: rights.Rights = frozenset(),
    note: str = "",
    expires_at: datetime = NEVER,
    owner: Operator | None = None,
    password: str = "",
    cost: int = COST,
) -> Done:
    """A new registry user, with a generated secret or the person's own `password`.

    Raises Refused for a name that exists or is invalid, a weak password, an expiry in the past, and
    for more than `by` may grant.
    """
    name = _new_name(name)
    _check_end(expires_at)
    secret = "" if password else htpasswd.new_secret()
    row = RegistryUser(
        name=name,
        note=note.strip()[:255],
        owner=owner,
        expires_at=expires_at,
        made_by=by[:150],
        is_generated=bool(secret),
        secret_hash=htpasswd.hash_secret(secret) if secret else hashed(password, name, cost=cost),
    )
    warning = _like_another(name)
    try:
        with grants.recorded("user.create", [name], by=by), transaction.atomic():
            giver = grants.locked(by)
            giver.check_new(name, owner)
            giver.check(name, may, expires_at)
            row.save(force_insert=True)
            _set_rights(row, may)
            details = {
                "rights": grants.said(may),
                "ends": _end(expires_at),
                "generated": bool(secret),
            }
            audit.record("user.create", name, by=by, details=details)
    except IntegrityError as error:
        raise Refused(
            _("A registry user named %(name)s already exists.") % {"name": name}
        ) from error
    proof = written([row], undo=lambda: forget([row]), act="user.create", by=by)
    row.refresh_from_db()
    log.info("registry user %s made by %s", name, by)
    return Done([row], proof, secret, warning)


def _new_name(name: str) -> str:
    try:
        htpasswd.check_name(name)
    except ValueError as error:
        raise Refused(
            _(
                "A name is 1 to 255 bytes long, without colons or control characters, "
                "without a leading #, and without leading or trailing spaces."
            )
        ) from error
    if not rights.can_have(name) or name == htpasswd.CANARY:
        raise Refused(_("“%(name)s” is not a valid name for a registry user.") % {"name": name})
    if name in publish.lines() and not RegistryUser.objects.filter(name=name).exists():
        raise Refused(
            _(
                "The htpasswd file already has a line for %(name)s that was not created here: "
                "accept it on the Registry users page, or choose another name."
            )
            % {"name": name}
        )
    return name


def _like_another(name: str) -> str:
    other = RegistryUser.objects.filter(name__iexact=name).exclude(name=name).first()
    if other is None:
        return ""
    return _(
        "There is also a user %(other)s: logins are case-sensitive; such names are easily confused."
    ) % {"other": other.name}


def _check_end(expires_at: datetime) -> None:
    if expires_at <= timezone.now():
        raise Refused(_("The access would expire immediately: choose a later time."))


@sensitive_variables("password")
def hashed(password: str, name: str = "", *, cost: int = COST) -> str:
    """bcrypt of a user-chosen password. Raises Refused for one that is easy to guess."""
    length = len(password.encode("utf-8", "replace"))
    if not LEAST_PASSWORD_BYTES <= length <= htpasswd.MOST_PASSWORD_BYTES:
        raise Refused(
            _("A password must be %(least)d to %(most)d bytes long; this one has %(length)d.")
            % {
                "least": LEAST_PASSWORD_BYTES,
                "most": htpasswd.MOST_PASSWORD_BYTES,
                "length": length,
            }
        )
    if not password.isprintable():
        raise Refused(_("A password must not contain control characters."))
    if name and password.casefold() == name.casefold():
        raise Refused(_("The password must not be the user name."))
    try:
        CommonPasswordValidator().validate(password)
    except ValidationError as error:
        raise Refused(" ".join(error.messages)) from error
    if cost not in COSTS:
        raise Refused(
            _("The bcrypt cost must be %(least)d to %(most)d.")
            % {"least": COSTS[0], "most": COSTS[-1]}
        )
    return htpasswd.hash_password(password, rounds=cost)


# -- change --------------------------------------------------------------------------------------
def set_rights(user: RegistryUser, may: rights.Rights, *, by: str) -> Done:
    """Replaces the rights. Raises Refused."""
    details = {"rights": grants.said(may), "before": grants.said(rights_of(user))}
    change = functools.partial(_set_rights, may=may)
    done = _change([user], change, act="user.rights", by=by, details=details)
    log.info("registry user %s: rights by %s", user.name, by)
    return done


def describe(user: RegistryUser, *, note: str, owner: Operator | None, by: str) -> RegistryUser:
    """Another note and owner. The files do not change. Raises Refused."""
    note = note.strip()[:255]
    with grants.recorded("user.describe", [user.name], by=by), transaction.atomic():
        giver = grants.locked(by)
        giver.check_own(user.name, user.owner_id)
        giver.check_new(user.name, owner)
        RegistryUser.objects.filter(pk=user.pk).update(note=note, owner=owner)
        details = {"note": note, "owner": owner.username if owner else ""}
        audit.record("user.describe", user.name, by=by, details=details)
    log.info("registry user %s described by %s", user.name, by)
    user.refresh_from_db()
    return user


def hand_over(users: Sequence[RegistryUser], owner: Operator | None, *, by: str) -> None:
    """Another owner for several, or none. Their secrets do not change: whoever knows one can still
    use it. Raises Refused."""
    names = [user.name for user in users]
    grants.only_administrators("user.describe", names, by=by)
    with transaction.atomic():
        RegistryUser.objects.filter(pk__in=[user.pk for user in users]).update(owner=owner)
        details = {"owner": owner.username if owner else ""}
        audit.record_each("user.describe", names, by=by, details=details)
    log.info("registry users %s: handed over by %s", _names(users), by)


@sensitive_variables("secret")
def rotate(user: RegistryUser, *, by: str, overlap: timedelta = timedelta(0)) -> Done:
    """A new secret; the old one is valid for the overlap. Raises Refused."""
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise Refused(
            _("The old and the new secret can both be valid for at most %(days)d days.")
            % {"days": LONGEST_OVERLAP.days}
        )
    secret = htpasswd.new_secret()
    done = _set_hash(user, htpasswd.hash_secret(secret), act="user.secret", by=by, overlap=overlap)
    log.info("registry user %s: new secret by %s", user.name, by)
    return Done(done.users, done.proof, secret)


@sensitive_variables("password")
def set_password(user: RegistryUser, password: str, *, by: str, cost: int = COST) -> Done:
    """A user-chosen password instead of the secret. Raises Refused."""
    line_hash = hashed(password, user.name, cost=cost)
    done = _set_hash(user, line_hash, act="user.password", by=by)
    log.info("registry user %s: own password by %s", user.name, by)
    return done


def _set_hash(
    user: RegistryUser, line_hash: str, *, act: str, by: str, overlap: timedelta = timedelta(0)
) -> Done:
    now = timezone.now()
    is_generated = act == "user.secret"

    def change(row: RegistryUser) -> None:
        row.old_hash = row.secret_hash if overlap else ""
        row.old_until = now + overlap if overlap else UNKNOWN
        row.secret_hash, row.secret_at, row.is_generated = line_hash, now, is_generated

    details = {"old_until": _end(now + overlap)} if overlap else {}
    return _change([user], change, act=act, by=by, details=details)


def set_active(users: Sequence[RegistryUser], *, is_active: bool, by: str) -> Done:
    """Disables or enables; a disabled user is refused at the next request. Raises Refused."""

    def change(row: RegistryUser) -> None:
        row.is_active = is_active

    done = _change(users, change, act="user.enable" if is_active else "user.disable", by=by)
    state = "on" if is_active else "off"
    log.info("registry users %s: switched %s by %s", _names(users), state, by)
    return done


def expire(users: Sequence[RegistryUser], expires_at: datetime, *, by: str) -> Done:
    """Access expires then; NEVER: it does not; a time in the past: at once. Raises Refused."""

    def change(row: RegistryUser) -> None:
        row.expires_at = expires_at

    details = {"ends": _end(expires_at)}
    done = _change(users, change, act="user.expire", by=by, details=details)
    log.info("registry users %s: end %s by %s", _names(users), expires_at.isoformat(), by)
    return done


def remove(users: Sequence[RegistryUser], *, by: str) -> publish.Proof:
    """Removes users; what they pushed is still shown with their name. Raises Refused."""

    def change(row: RegistryUser) -> None:
        row.is_active = False  # if killed before the delete, they are disabled

    done = _change(users, change, act="user.remove", by=by)
    with transaction.atomic():
        rows = RegistryUser.objects.select_for_update().filter(pk__in=[row.pk for row in users])
        if any(row.is_active for row in rows) or publish.have_line(row.name for row in rows):
            raise changed_meanwhile()  # no line without a row
        forget(rows)
    log.info("registry users %s: removed by %s", _names(users), by)
    return done.proof


def _change(
    users: Sequence[RegistryUser],
    change: Callable[[RegistryUser], None],
    *,
    act: str,
    by: str,
    details: dict[str, Any] | None = None,
) -> Done:
    """Applies `change` to the rows, then to the files; all or nothing."""
    if not users:
        raise Refused(_("Choose at least one registry user."))
    pks = {user.pk for user in users}
    names = [user.name for user in users]
    with grants.recorded(act, names, by=by), transaction.atomic():
        giver = grants.locked(by)
        # In one order, so that two changes at once cannot deadlock.
        rows = list(RegistryUser.objects.select_for_update().filter(pk__in=pks).order_by("pk"))
        if len(rows) != len(pks):
            raise changed_meanwhile()
        before = [snapshot(row) for row in rows]
        for row in rows:
            change(row)
            row.generation = new_generation()
            row.save()
        after = [snapshot(row) for row in rows]
        _check(giver, before, after)
        audit.record_each(act, [row.name for row in rows], by=by, details=details)
    proof = written(rows, undo=lambda: restore(before, after), act=act, by=by)
    now = RegistryUser.objects.in_bulk(pks)
    if len(now) != len(pks):
        raise changed_meanwhile()
    return Done([now[user.pk] for user in users], proof)


def _check(giver: grants.Giver, before: Sequence[Snapshot], after: Sequence[Snapshot]) -> None:
    """grants.Beyond, unless each of these is the giver's own user and either only loses access or
    has, afterwards, no more than the giver may grant."""
    for was, became in zip(before, after, strict=True):
        name = was.fields["name"]
        giver.check_own(name, was.fields["owner_id"])
        if not _only_loses(was, became):
            giver.check(name, became.may, became.fields["expires_at"])


def _only_loses(was: Snapshot, became: Snapshot) -> bool:
    """True if nobody can do more with the user than before; a new secret is more."""
    before, after = was.fields, became.fields
    return (
        after["secret_hash"] == before["secret_hash"]
        and after["is_active"] <= before["is_active"]
        and after["expires_at"] <= before["expires_at"]
        and not rights.beyond(became.may, was.may)
    )


def written(
    rows: Sequence[RegistryUser], *, undo: Callable[[], None], act: str, by: str
) -> publish.Proof:
    """Writes the files and verifies them at the proxy; on failure undoes, and Refused."""
    names = [row.name for row in rows]
    try:
        canary = publish.write([row.pk for row in rows], undo=undo)
    except OSError as error:
        record_failure(act, names, by=by, error=error)
        raise not_written(error) from error
    return publish.prove(canary)


def record_failure(act: str, names: Sequence[str], *, by: str, error: OSError) -> None:
    """Says in the audit log that the files could not be written, and so nothing has changed."""
    details = {"reason": error.strerror or str(error), "undone": True}
    try:
        audit.record_each(act, names, by=by, result=AuditEvent.Result.FAILED, details=details)
    except DatabaseError as another:  # the same full disk: the answer to the person matters more
        log.error("a failure is not in the audit log: %s", another)


def not_written(error: Exception) -> Refused:
    """What to say when the files cannot be written."""
    log.error("the htpasswd file was not written: %s", error)
    reason = in_words(getattr(error, "strerror", None) or error)
    return Refused(
        _(
            "Nothing was changed: the htpasswd file could not be written (%(reason)s). "
            "Free some space or restore write access, then try again."
        )
        % {"reason": reason}
    )


def changed_meanwhile() -> Refused:
    """What to say when two have changed the same rows at once."""
    return Refused(
        _("A registry user has been changed or removed in the meantime: check the list again.")
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A row and its rights at one moment."""

    pk: int
    fields: Mapping[str, Any]
    may: rights.Rights


def snapshot(row: RegistryUser) -> Snapshot:
    """What `restore` needs."""
    fields = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return Snapshot(row.pk, fields, rights_of(row))


def restore(before: Sequence[Snapshot], after: Sequence[Snapshot]) -> None:
    """Reverts what was changed between the two, unless somebody else has changed it since."""
    with transaction.atomic():
        rows = RegistryUser.objects.select_for_update().in_bulk([one.pk for one in before])
        for was, became in zip(before, after, strict=True):
            if (row := rows.get(was.pk)) is None:
                continue
            for name, value in became.fields.items():
                if getattr(row, name) == value:
                    setattr(row, name, was.fields[name])
            row.generation = new_generation()  # catch_up checks the files again
            row.save()
            if rights_of(row) == became.may != was.may:
                _set_rights(row, was.may)


def forget(rows: Iterable[RegistryUser]) -> None:
    """Deletes rows, of users without a line here. Other hosts remove their lines."""
    doomed = list(rows)
    with transaction.atomic():
        RegistryUser.objects.filter(pk__in=[row.pk for row in doomed]).delete()
        publish.forget(row.name for row in doomed)


def _end(when: datetime) -> str:
    return "never" if when == NEVER else when.isoformat(timespec="seconds")


def _names(users: Sequence[RegistryUser]) -> str:
    return ", ".join(user.name for user in users)


# -- rights --------------------------------------------------------------------------------------
def rights_of(user: RegistryUser) -> rights.Rights:
    """What the user may do, as (action, scope)."""
    return frozenset((one.action, one.scope) for one in user.rights.all())


def _set_rights(row: RegistryUser, may: rights.Rights) -> None:
    if may and not rights.can_have(row.name):
        raise Refused(
            _("“%(name)s” cannot have rights: nginx cannot look up a name that contains /.")
            % {"name": row.name}
        )
    row.rights.all().delete()
    Right.objects.bulk_create(Right(user=row, action=one, scope=scope) for one, scope in may)


# -- adopt ---------------------------------------------------------------------------------------
# The rights of everybody in a file before rights existed; delete must be granted explicitly.
ADOPTED = rights.parse([(Right.Action.PULL, "*"), (Right.Action.PUSH, "*")])


@transaction.atomic
def adopt(
    lines: Mapping[str, str], *, by: str, may: rights.Rights = frozenset()
) -> list[RegistryUser]:
    """Rows for lines that were added manually: name to hash, as the file has them.

    The lines are kept, so nobody needs a new password; one in clear ({PLAIN}) is hashed, because
    the table must not contain it. A line that cannot be a row (a name with control characters) is
    left out. The files have to be written afterwards (`publish.write`). Raises
    Refused for anybody but an administrator.
    """
    if not grants.locked(by).is_unlimited:
        raise grants.Beyond(_("Only an administrator can do this."), reason="not an administrator")
    rows = [
        RegistryUser(name=name, secret_hash=line_hash, made_by=by[:150])
        for name, line_hash in ((name, safe_hash(line_hash)) for name, line_hash in lines.items())
        if can_adopt(name, line_hash)
    ]
    RegistryUser.objects.bulk_create(rows, batch_size=500)
    granted = [
        Right(user=row, action=action, scope=scope)
        for row in rows
        if rights.can_have(row.name)
        for action, scope in may
    ]
    Right.objects.bulk_create(granted, batch_size=500)
    names = [row.name for row in rows]
    audit.record_each("user.adopt", names, by=by, details={"rights": grants.said(may)})
    log.info("registry users: %d adopted by %s", len(rows), by)
    return rows


def can_adopt(name: str, line_hash: str) -> bool:
    """True if that line can be a row; a password in clear is hashed first (safe_hash)."""
    is_clear = _is_clear(line_hash)
    try:
        htpasswd.change(b"", {name: "x" if is_clear else line_hash})
    except ValueError:
        return False
    return is_clear or 0 < len(line_hash) <= LONGEST_HASH


def _is_clear(line_hash: str) -> bool:
    return htpasswd.kind(line_hash) == htpasswd.Kind.PLAIN and "\ufffd" not in line_hash


def safe_hash(line_hash: str) -> str:
    """The hash as a row may contain it: a password in clear is hashed, if it is text."""
    if not _is_clear(line_hash):
        return line_hash
    return htpasswd.hash_clear(line_hash.removeprefix("{PLAIN}"), rounds=COST)
