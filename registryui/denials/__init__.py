"""DENIALS: whom nginx refused a login, a pull, a push or a delete, and why.

    access.json ── access_log.py ──► lines.py ──► count.py ──► Denial, LogPosition
                   unread bytes      refusals     one transaction

The worker does this every other second; pages and `./boathouse user denials` read the rows by
found.py. nginx decides the reason where it refuses; nothing is guessed later. What a flood costs is
bounded: rows of a day (tally.py), bytes that are read at once (access_log.py), transactions (one
each time).
"""
