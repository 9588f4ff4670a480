"""As root: leaves root, and goes on as the system user that owns the data folder.

    root: up ──► useradd boathouse, if there is none ──► the data folder is its own ──┐
    root: any other command ─────────────────────────────────────────────────────────┴─► setpriv

So no part of an instance runs as root, nginx included: who may write what a root's nginx reads and
logs could become root. portal/manage.py calls this before Django is set up.
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

NAME = "boathouse"
SETPRIV = "/usr/bin/setpriv"  # of util-linux, which every Debian has
AS_ROOT = ("units",)  # writes below /etc


def leave_root(arguments: Sequence[str]) -> None:
    """Does not come back if the data folder belongs to another user than root: then the command is
    begun anew as that user.

    Raises ImproperlyConfigured if there is no such user, it cannot read our code, or the folder to
    hand over holds what is not ours.
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
    """The user of that number, who can read our code."""
    try:
        user = pwd.getpwuid(number)
    except KeyError as unknown:
        raise ImproperlyConfigured(
            f"{settings.DATA} belongs to user {number}, whom this machine does not have: give it "
            f"to root (chown root: {settings.DATA}), and ./boathouse up hands it over."
        ) from unknown
    if blocked := _blocked(user):
        raise ImproperlyConfigured(
            f"The user {user.pw_name}, to whom {settings.DATA} belongs, cannot read {blocked}: let "
            "it (chmod -R go+rX), for example after an upgrade with a strict umask."
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
        _make_and_give(data, user, is_first=owner == 0)
    except OSError as trouble:
        raise ImproperlyConfigured(
            f"{data} cannot be given to the user {NAME} ({trouble}): mend that, or choose another "
            "BOATHOUSE_DATA."
        ) from trouble
    if owner == 0:
        _say(f"{data} now belongs to the user {NAME}, as which all parts run.")


def _make_and_give(data: Path, user: pwd.struct_passwd, *, is_first: bool) -> None:
    for place in [place for place in (*reversed(data.parents), data) if not place.exists()]:
        place.mkdir()
        place.chmod(0o700 if place == data else 0o711)
    # One folder from here on, also where the setting is a link to it; nothing else is opened.
    top = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if is_first and (other := _others(top)):
            raise ImproperlyConfigured(
                f"{data} holds {other}, which is not Boathouse's, and the whole folder would go to "
                f"the user {NAME}: choose one of its own, such as BOATHOUSE_DATA={data}/boathouse."
            )
        _give(top, user)
    finally:
        os.close(top)


def _others(top: int) -> str:
    """What lies in that folder before the first `up` and has no name of ours; "" if nothing."""
    if (settings.SECRETS_DIR / "django-key").exists():
        return ""  # set up; what people put beside it goes with it
    return next((name for name in sorted(os.listdir(top)) if not _OURS.fullmatch(name)), "")


_OURS = re.compile(
    r"registry|tls|secrets|config|log|run|fonts|static|rights|guard|htpasswd.*|\.htpasswd.*|"
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
    """What of ours that user cannot read, or pass; "" if nothing. Of Python's packages the folders
    alone: they are many, and put there at once."""
    data = Path(settings.DATA)
    nearest = next(place for place in (data, *data.parents) if place.exists())
    files = (settings.TLS_CERTIFICATE, settings.TLS_KEY, settings.STORAGE_SECRET_FILE)
    packages = Path(sysconfig.get_path("purelib"))
    wanted = [
        str(packages),
        str(nearest.parent if nearest == data else nearest),  # itself it is handed over
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
    """A folder of another user that the store, or a symbolic link in it, leads to, such as one on
    another disk; "" if there is none. It is not ours to give."""
    store = Path(settings.STORE_DIR)
    below = (Path(folder, one) for folder, folders, _files in os.walk(store) for one in folders)
    for place in (store, *below):
        if place.is_symlink() and place.is_dir() and place.stat().st_uid != user.pw_uid:
            return str(place.resolve())
    return ""


def _is_up() -> bool:
    """Whether an `up` has this data folder: one of an older release may run as root."""
    try:
        # Whoever owns the folder may have put a FIFO there, on which root would wait.
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
    """Changes the owner of all below that folder, and last its own. Follows no symbolic link; what
    has further names may lie elsewhere, too, and is left if the user could have put it there.

    A huge store is given once; what root has put back beside it, such as a backup, each time.
    """
    is_ours = os.fstat(top).st_uid == user.pw_uid
    for folder, folders, files, handle in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        for name in (*files, *folders):
            with contextlib.suppress(FileNotFoundError):  # a part, or another `up`, was faster
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                may_be_linked = is_ours and stat.S_ISREG(found.st_mode) and found.st_nlink > 1
                if found.st_uid != user.pw_uid and not may_be_linked:
                    os.chown(name, user.pw_uid, user.pw_gid, dir_fd=handle, follow_symlinks=False)
                elif is_ours and (folder, name) == (".", settings.STORE_DIR.name):
                    folders[:] = [one for one in folders if one != name]
    os.fchown(top, user.pw_uid, user.pw_gid)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
