"""Backups: everything that an instance needs, encrypted by restic, and back again.

    back_up ─► files, database, links ── state/ ─────────────► a snapshot tagged `state`
           └─► contents of new blobs ── a stream of tar ─────► snapshots tagged `blobs`

A chain is a first stream with all blobs, and later ones with only what is new: blobs never change.
A state names the streams that it needs, so each can be restored by itself.

    targets.py    where to: a folder, or a bucket
    restic.py     the program: its words, its errors
    listing.py    the store's links, and the sizes of the blobs they need
    blobs.py      streams of tar, and what is already in them
    state.py      files, database, facts: what is in a state
    backups.py    a backup, their list, verify, prune
    restoring.py  an empty data folder from a snapshot
    rehearsal.py  the same aside, started and compared

Why: docs/decisions/0015-backups.md.
"""
