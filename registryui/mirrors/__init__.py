"""Mirrors: other registries' content in a namespace of ours, fetched when it is first pulled.

mirrors.py   adds, changes and removes them: the only writer of the table
publish.py   the files that nginx and the mirror service read, on each host
state.py     what the service says: last contact, hits, the upstream's limit
upstream.py  asks an upstream now: is it reachable, which tags does it have
presets.py   Docker Hub, GHCR, Quay …
"""
