"""Settings, URLs and commands of the Django project, and the version of Boathouse."""

__version__ = "0.5.0"
