"""As root: switches to the system user that owns the data folder.

    root: up ──► useradd boathouse, if there is none ──► the data folder is its own ──┐
    root: any other command ─────────────────────────────────────────────────────────┴─► setpriv

So no part of an instance runs as root, nginx included: whoever can write what nginx reads and logs
as root could become root. portal/manage.py calls this before Django is set up.
"""

import fcntl
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

NAME = "boathouse"
SETPRIV = "/usr/bin/setpriv"  # of util-linux, which every Debian has
AS_ROOT = ("units",)  # writes below /etc


def leave_root(arguments: Sequence[str]) -> None:
    """Does not return if the data folder belongs to another user than root: the command is then
    executed again as that user."""
    command = arguments[0] if arguments else ""
    if os.geteuid() != 0 or command in AS_ROOT:
        return
    if command == "up":
        _hand_over()
    try:
        owner = Path(settings.DATA).stat().st_uid
    except FileNotFoundError:
        return
    if owner != 0:
        user = pwd.getpwuid(owner)
        environment = {**os.environ, "HOME": str(settings.DATA), "USER": user.pw_name}
        own = [sys.executable, str(Path(sys.argv[0]).resolve()), *arguments]
        os.execve(SETPRIV, [*_as(user), *own], environment)  # noqa: S606


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
    if _is_up():
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
    for place in [place for place in (*reversed(data.parents), data) if not place.exists()]:
        place.mkdir()
        place.chmod(0o711)
    # Includes what root restored into it, such as a backup. A huge store only once.
    store = Path(settings.STORE_DIR)
    is_given = owner == user.pw_uid and store.is_dir() and store.stat().st_uid == user.pw_uid
    _give(data, user, but=store if is_given else None)
    if owner == 0:
        _say(f"{data} now belongs to the user {NAME}, as which all parts run.")


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
    """The first of our files that user cannot read, or folders it cannot access; "" if none."""
    data = Path(settings.DATA)
    nearest = next(place for place in (data, *data.parents) if place.exists())
    files = (settings.TLS_CERTIFICATE, settings.TLS_KEY, settings.STORAGE_SECRET_FILE)
    wanted = [
        str(nearest.parent if nearest == data else nearest),  # the folder itself changes its owner
        *(str(one) for one in (settings.BASE_DIR / name for name in _CODE) if one.exists()),
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
    if not os.access(path, os.R_OK):
        return path
    inside = os.scandir(path) if os.path.isdir(path) else ()
    found = (blocked(one.path) for one in inside if one.name != "__pycache__")
    return next(filter(None, found), "")
top, *others = sys.argv[1:]
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
        with (settings.RUN_DIR / "up.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _give(top: Path, user: pwd.struct_passwd, *, but: Path | None) -> None:
    """Changes the owner of all below `top`, and last of `top`. Follows no symbolic link; a file
    with hard links may also be elsewhere, and is skipped if the user could have created it.
    """
    is_ours = top.stat().st_uid == user.pw_uid
    for folder, folders, files, handle in os.fwalk(top, topdown=True, follow_symlinks=False):
        if but is not None and Path(folder) == but.parent and but.name in folders:
            folders.remove(but.name)
        for name in (*files, *folders):
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            may_be_linked = is_ours and stat.S_ISREG(found.st_mode) and found.st_nlink > 1
            if found.st_uid != user.pw_uid and not may_be_linked:
                os.chown(name, user.pw_uid, user.pw_gid, dir_fd=handle, follow_symlinks=False)
    os.chown(top, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
