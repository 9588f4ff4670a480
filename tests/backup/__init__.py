"""Backups: with the real restic, and both databases."""
