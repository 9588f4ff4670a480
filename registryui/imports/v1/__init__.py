"""A v1 store, which docker-registry 0.x wrote, as a source of an import. See docs/install.md.

    store.py ─ what is on the disk ─► source.py ◄─ convert.py: its layers and JSON as today's
               index.py: its search database        remembered.py: layers that were converted

All of it was written by strangers, and may have been cut off by a crash: it was never synced.
"""
