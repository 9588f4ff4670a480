"""The commands by their names."""

import difflib

from django.core.management import BaseCommand, ManagementUtility, get_commands

from portal.manage import fail

WORKER = "run_huey"


class Commands(ManagementUtility):
    """Django's, with our words for one that does not exist, and the worker.

    huey is no installed app: Django would import it, and psycopg with it, at the start of each
    command: a fifth of its time.
    """

    def fetch_command(self, subcommand: str) -> BaseCommand:
        """The command of that name."""
        if subcommand == WORKER:
            from huey.contrib.djhuey.management.commands import run_huey

            return run_huey.Command()  # type: ignore[no-any-return]
        if subcommand not in get_commands():
            near = difflib.get_close_matches(subcommand, get_commands(), 1)
            hint = f"; did you mean {near[0]}?" if near else ". boathouse help lists all."
            fail(f"There is no command {subcommand}{hint}", 2)
        return super().fetch_command(subcommand)
