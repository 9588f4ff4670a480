"""MIRRORS: a process that fetches what mirrored repositories lack. No Django, no tables.

    nginx ── a manifest by tag; what the registry does not have ──► service ──► upstream
                                                                       │
                        the registry's store ◄── registry/store_writer.py

    service.py        HTTP on a Unix socket: requests of nginx, answers in the registry's words
    manifests.py      by tag: how fresh they are; by digest
    downloads.py      blobs: one download for all clients
    filling.py        the other blobs of an image of which a layer was pulled
    content.py        what is here: the store, and the registry's answers
    upstream.py       the registry that is mirrored: logins, redirects, limits, whether it is away
    mirrors.py        the files of registryui/mirrors/publish.py, in MIRRORS_DIR
    state.py          counters and errors, which the portal reads

It has a process of its own because mirrors must outlive the portal, and downloads take long.
"""
