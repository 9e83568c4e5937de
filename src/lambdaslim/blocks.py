"""Where zlib should begin a new block: where what follows is of another kind.

Each block of a deflate stream has codes of its own. zlib ends one when a buffer is full, wherever
that is; code, tables and texts of a library then share codes that suit none of them. Here the
bytes that are zero tell the kinds apart: counting them costs next to nothing, and machine code,
relocations, tables of numbers and texts hold very different shares of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log2

# Bytes that are looked at together.
_UNIT = 4096
# Bits that telling zeros from others must save; a block's own codes take about three times that.
# The sums over eight corpora hardly differ between 200 and 400.
_WORTH = 300.0


def cuts(data: bytes, start: int, end: int) -> Iterator[int]:
    """Yield the places in `data[start:end]` at which a new block is worth its codes, in order."""
    size = zeros = 0
    for at in range(start, end, _UNIT):
        more = min(_UNIT, end - at)
        found = data.count(0, at, at + more)
        apart = _told_apart(zeros, size) + _told_apart(found, more)
        if _told_apart(zeros + found, size + more) - apart > _WORTH:
            yield at
            size = zeros = 0
        size += more
        zeros += found


def _told_apart(some: int, of: int) -> float:
    """Return the bits that tell for each of so many things whether it is one of some of them."""
    if not 0 < some < of:
        return 0.0
    share = some / of
    return -of * (share * log2(share) + (1 - share) * log2(1 - share))
