"""Import of images: from another registry, an archive, a v1 store. See docs/install.md.

    a source (registry.py, archive.py, v1/)  ──►  run.py  ──►  target.py: our registry over HTTP

Nothing is tagged before all of its content is stored and verified.
"""
