"""Fixtures of this room."""

from tests.support.data_folder import folder  # noqa: F401
