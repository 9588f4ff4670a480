"""Mirrors: other registries in a namespace of this one."""
