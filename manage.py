#!/usr/bin/env python3
"""Django's own command line; `./boathouse manage …` ends here."""

import json
import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def check_settings() -> None:
    """Ends with one sentence if an environment variable cannot be what it is."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  (the first look reads all of them)
    except ImproperlyConfigured as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error)}))
        else:
            print(f"boathouse: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    os.umask(0o077)  # whatever a command writes; files that others need are opened one by one
    check_settings()
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except BrokenPipeError:  # `./boathouse list | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # as a shell says of a program that SIGPIPE ended
