"""Quotas of namespaces: how many bytes and tags the repositories of one may hold.

quotas.py  set, remove, list: the only writer of limits, for page and command
usage.py   what is used: counted after each push, and each second if something changed
marks.py   the files by which nginx refuses pushes, with what a client is told
refusal.py what the portal refuses of manifests: nginx cannot tell new ones from known ones
"""
