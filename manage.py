#!/usr/bin/env python3
"""Django's own command line; `./boathouse manage …` ends here."""

import os
import sys

from django.core.management import execute_from_command_line

from registryui import space

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    space.give_back()  # before Django: no database can be opened without room
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except BrokenPipeError:  # `./boathouse list | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # as a shell says of a program that SIGPIPE ended
    except Exception as error:
        if not (words := space.advice(error)):
            raise
        sys.exit(f"boathouse: {words}")
