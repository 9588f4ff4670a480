"""As root: switches to the system user that owns the data folder.

    root: up ──► useradd boathouse, if there is none ──► the data folder is its own ──┐
    root: any other command ─────────────────────────────────────────────────────────┴─► setpriv

So no part of an instance runs as root, nginx included: whoever can write what nginx reads and logs
as root could become root. portal/manage.py calls this before Django is set up.
"""

import contextlib
import fcntl
import os
import pwd
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from registryui.refused import Refused

from .data_path import check_path

NAME = "boathouse"
SETPRIV = "/usr/bin/setpriv"  # of util-linux, which every Debian has
AS_ROOT = ("units",)  # writes below /etc


def leave_root(arguments: Sequence[str]) -> None:
    """Does not return if the data folder belongs to another user than root: the command is then
    executed again as that user.

    Raises ImproperlyConfigured if that user does not exist or cannot read our code, or if the data
    folder contains other files than ours.
    """
    command = arguments[0] if arguments else ""
    if os.geteuid() != 0 or command in AS_ROOT:
        return
    if command == "up":
        _hand_over()
    try:
        owner = Path(settings.DATA).stat().st_uid
    except OSError:  # there is none; whoever needs it says what is in its place
        return
    if owner != 0:
        user = _owner(owner)
        environment = {**os.environ, "HOME": str(settings.DATA), "USER": user.pw_name}
        own = [sys.executable, str(Path(sys.argv[0]).resolve()), *arguments]
        os.execve(SETPRIV, [*_as(user), *own], environment)  # noqa: S606


def _owner(number: int) -> pwd.struct_passwd:
    """The user with that id, who can read our code."""
    try:
        user = pwd.getpwuid(number)
    except KeyError as unknown:
        raise ImproperlyConfigured(
            f"{settings.DATA} belongs to user {number}, who does not exist on this machine: change "
            f"its owner to root (chown root: {settings.DATA}), then run ./boathouse up."
        ) from unknown
    if blocked := _blocked(user):
        raise ImproperlyConfigured(
            f"The user {user.pw_name}, to whom {settings.DATA} belongs, cannot read {blocked}: "
            "allow it (chmod -R go+rX), for example after an upgrade with a strict umask."
        )
    return user


def _as(user: pwd.struct_passwd) -> list[str]:
    """The words before a command that runs as that user, which may then open our ports."""
    ports = (settings.PORT, settings.HTTP_PORT, settings.ANONYMOUS_PORT, settings.PROXY_PORT)
    low = "+net_bind_service" if any(0 < port < 1024 for port in ports) else "-all"
    return [
        *(SETPRIV, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"),
        *(f"--inh-caps={low}", f"--ambient-caps={low}", "--no-new-privs", "--"),
    ]


def _hand_over() -> None:
    """Gives the data folder to the system user, unless it is another user's, or in use."""
    data = Path(settings.DATA)
    owner = data.stat().st_uid if data.exists() else 0
    if _is_up() or (data.exists() and not data.is_dir()):
        return
    try:
        user = _user()
    except (OSError, subprocess.CalledProcessError) as error:
        _say(f"Warning: it runs as root, because there can be no user {NAME} ({error}).")
        return
    if owner not in (0, user.pw_uid):
        return
    if owner == 0 and (blocked := _blocked(user)):
        _say(f"Warning: it runs as root, because the user {NAME} cannot read {blocked}.")
        return
    if owner == 0 and (elsewhere := _elsewhere(user)):
        _say(f"Warning: it runs as root, because {elsewhere} does not belong to the user {NAME}.")
        return
    try:
        check_path(data)
        _make_and_give(data, user, is_first=owner == 0)
    except Refused as bad:
        raise ImproperlyConfigured(str(bad)) from bad
    except OSError as trouble:
        raise ImproperlyConfigured(
            f"{data} cannot be owned by the user {NAME} ({trouble}): correct that, or choose "
            "another BOATHOUSE_DATA."
        ) from trouble
    if owner == 0:
        _say(f"{data} now belongs to the user {NAME}, as which all processes run.")


def _make_and_give(data: Path, user: pwd.struct_passwd, *, is_first: bool) -> None:
    for place in [place for place in (*reversed(data.parents), data) if not place.exists()]:
        place.mkdir()
        place.chmod(0o700 if place == data else 0o711)
    # The same folder from here on, even if the setting is a symbolic link that changes.
    top = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if is_first and (other := _others(top)):
            raise ImproperlyConfigured(
                f"{data} contains {other}, which is not Boathouse's, and the user {NAME} would own "
                f"all of it: choose a separate folder, such as BOATHOUSE_DATA={data}/boathouse."
            )
        _give(top, user)
    finally:
        os.close(top)


def _others(top: int) -> str:
    """The first name in that folder that is not ours, before the first `up`; "" if none."""
    if (settings.SECRETS_DIR / "django-key").exists():
        return ""  # set up; files that people added change their owner, too
    return next((name for name in sorted(os.listdir(top)) if not _OURS.fullmatch(name)), "")


_OURS = re.compile(
    r"registry|tls|secrets|config|log|run|made|fonts|static|rights|guard|imports|"
    r"htpasswd.*|\.htpasswd.*|"
    r"(?:index|jobs)\.sqlite3.*|\.?reserve|audit-newest|host-id|\.new-.*|lost\+found"
)


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        subprocess.run(  # noqa: S603
            [
                *("/usr/sbin/useradd", "--system", "--user-group", "--no-create-home"),
                *("--home-dir", str(settings.DATA), "--shell", "/usr/sbin/nologin", NAME),
            ],
            check=True,
            stdout=sys.stderr,
        )
        return pwd.getpwnam(NAME)


def _blocked(user: pwd.struct_passwd) -> str:
    """The first of our files that user cannot read, or folders it cannot access; "" if none. Of
    Python's packages only the folders: they are many, and installed at once."""
    data = Path(settings.DATA)
    nearest = next(place for place in (data, *data.parents) if place.exists())
    files = (settings.TLS_CERTIFICATE, settings.TLS_KEY, settings.STORAGE_SECRET_FILE)
    packages = Path(sysconfig.get_path("purelib"))
    wanted = [
        str(packages),
        str(nearest.parent if nearest == data else nearest),  # the folder itself changes its owner
        *(str(one) for one in (settings.BASE_DIR / name for name in _CODE) if one.exists()),
        *map(str, packages.glob("[!_.]*")),
        *(str(Path(one).expanduser()) for one in files if one),
    ]
    done = subprocess.run(  # noqa: S603
        [*_as(user), sys.executable, "-I", "-c", _PROBE, *wanted],
        cwd="/",
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() if done.returncode == 0 else sys.executable


_CODE = ("manage.py", "deploy", "portal", "registryui", "static", "templates")
_PROBE = """
import os, sys
def blocked(path):
    if not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
        return path
    is_open = os.path.isdir(path) and os.path.dirname(path) != packages
    inside = os.scandir(path) if is_open else ()
    found = (blocked(one.path) for one in inside if one.name != "__pycache__")
    return next(filter(None, found), "")
packages, top, *others = sys.argv[1:]
print(next(filter(None, map(blocked, others)), "" if os.access(top, os.X_OK) else top))
"""


def _elsewhere(user: pwd.struct_passwd) -> str:
    """A folder of another user that the store, or a symbolic link in it, points to, such as one on
    another disk; "" if there is none. Its owner is not changed."""
    store = Path(settings.STORE_DIR)
    below = (Path(folder, one) for folder, folders, _files in os.walk(store) for one in folders)
    for place in (store, *below):
        if place.is_symlink() and place.is_dir() and place.stat().st_uid != user.pw_uid:
            return str(place.resolve())
    return ""


def _is_up() -> bool:
    """Whether an `up` runs on this data folder: one of an older release may run as root."""
    try:
        # The folder's owner may have created a FIFO there, which would block root.
        lock = os.open(settings.RUN_DIR / "up.lock", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _give(top: int, user: pwd.struct_passwd) -> None:
    """Changes the owner of all below that folder, and of the folder last. Follows no symbolic link;
    a file with hard links may also be elsewhere, and is skipped if the user could have created it.

    A huge store only once; what root restored beside it, such as a backup, each time.
    """
    is_ours = os.fstat(top).st_uid == user.pw_uid
    for folder, folders, files, handle in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        for name in (*files, *folders):
            with contextlib.suppress(FileNotFoundError):  # a process, or another `up`, was faster
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                may_be_linked = is_ours and stat.S_ISREG(found.st_mode) and found.st_nlink > 1
                if found.st_uid != user.pw_uid and not may_be_linked:
                    os.chown(name, user.pw_uid, user.pw_gid, dir_fd=handle, follow_symlinks=False)
                elif is_ours and (folder, name) == (".", settings.STORE_DIR.name):
                    folders[:] = [one for one in folders if one != name]
    os.fchown(top, user.pw_uid, user.pw_gid)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
