"""THE WORDS of the OCI specifications: digest, names, media types, manifest, config, event.

Pure: no Django, no files, no network. Everything read here was written by strangers. Any bytes give
a value or ValueError, never another exception; texts come out free of NUL and lone surrogates (a
database refuses them) and cut to a length.
"""
