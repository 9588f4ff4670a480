"""Import of images: from another registry, an archive, a v1 store. See docs/install.md.

    source.py     what every source gives, and what it is given
      registry.py   another registry
    run.py        the run: survey, several tags at once, the report
      fate.py       what becomes of one tag
    copy.py       a manifest with all that it names, from a source that has manifests
    target.py     our registry over HTTP
    naming.py     legal names for old ones
    asked.py      an import that a page asked for, handed to the worker

Nothing is tagged before all of its content is stored and verified.
"""
