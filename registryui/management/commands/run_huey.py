"""The worker: huey's own command. It is here because huey is no installed app: Django would import
it, and psycopg with it, at the start of each command: a fifth of its time."""

from huey.contrib.djhuey.management.commands.run_huey import Command

__all__ = ["Command"]
