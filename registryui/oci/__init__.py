"""The OCI specifications: digest, names, media types, manifest, config, event.

Pure: no Django, no files, no network. All input is untrusted. Any bytes give a value or ValueError,
never another exception; texts are returned without NUL and lone surrogates (a database rejects
them) and truncated.
"""
