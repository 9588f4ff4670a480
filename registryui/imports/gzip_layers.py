"""Compresses layers that a source has uncompressed (`docker save` before Docker 25, v1 stores).

The same layer gives the same bytes, and so the same digest, each time: level and header are fixed,
the header has no time and no name. Another level, or another library than zlib, writes other bytes:
ISA-L is three times as fast, and chooses by the processor what it writes.
"""

import zlib
from collections.abc import Iterable, Iterator

_LEVEL = 6
WINDOW = 16 + zlib.MAX_WBITS  # with gzip's header and checksum


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content of those pieces, compressed. Takes memory for one piece."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, WINDOW)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
