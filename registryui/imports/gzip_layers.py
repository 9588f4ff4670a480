"""Compresses layers that a source has uncompressed (`docker save` before Docker 25, v1 stores).

The same layer gives the same bytes, and so the same digest, each time: level and header are fixed,
the header has no time and no name. Only another version of zlib may give others.
"""

import zlib
from collections.abc import Iterable, Iterator

LEVEL = 6
_GZIP = 31  # window bits that mean: with gzip's header and checksum


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content of those pieces, compressed. Takes memory for one piece."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
