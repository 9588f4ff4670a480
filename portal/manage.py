"""The commands of the portal: `./boathouse` of a clone and `boathouse` of a wheel end here."""

import json
import os
import sys
from typing import NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from portal import __version__
from registryui.setup import service_user


def main() -> None:
    """Runs the command of `sys.argv`."""
    if sys.argv[1:] == ["--version"]:
        print(f"boathouse {__version__}")  # ours, not Django's
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    os.umask(0o077)  # for all files of commands; files for others get their modes one by one
    try:
        settings.INSTALLED_APPS  # noqa: B018  (the first look reads all of them)
        service_user.leave_root(sys.argv[1:])
        # Not before: root begins anew as the data folder's user, and these take long.
        from portal.commands import Commands
        from registryui import space

        space.give_back()  # before Django: no database can be opened on a full disk
        Commands(["boathouse", *sys.argv[1:]]).execute()  # the name in `usage:`
        sys.stdout.flush()
    except ImproperlyConfigured as error:
        fail(str(error))
    except BrokenPipeError:  # `./boathouse list | head`: the reader has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # the exit status of a program killed by SIGPIPE
    except Exception as error:
        words = _words(error)
        if not words:
            raise
        fail(words)


def _words(error: Exception) -> str:
    """What to do about it; "" for a bug."""
    from registryui import database_errors, space

    return space.advice(error) or database_errors.sentence(error) or _closed(error)


def _closed(error: Exception) -> str:
    """What to do if this user cannot access the data folder; "" for other errors."""
    if isinstance(error, PermissionError) and not os.access(settings.DATA, os.X_OK):
        return (
            f"This user cannot access {settings.DATA}: run ./boathouse as the user that owns it, "
            "or as root."
        )
    return ""


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Ends with one sentence for people, or as JSON."""
    if "--json" in sys.argv:
        print(json.dumps({"error": sentence}))
    else:
        print(f"boathouse: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
