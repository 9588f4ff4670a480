"""Settings, addresses and commands of the Django project. The version of Boathouse stands here."""

__version__ = "0.5.0"
