"""Opens the end of a finished deflate stream, so that another can follow it in the same stream.

A deflate stream (RFC 1951) is blocks of bits one after the other. The first bit of each tells
whether it is the last; where a block begins is written nowhere. Libraries that make whole streams
only mark their last block, so what several threads make of the parts of a file does not join,
unless that mark is found and cleared. What is found is proved by inflating.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Final

# How far back a match reaches.
_REACH = 1 << 15
# Compressed bytes in which the last block is looked for at most, and those looked at in one step.
# libdeflate puts some 300,000 bytes of data in a block, zopfli up to a million.
_FURTHEST, _STEP = 1 << 20, 1 << 13
# An empty block of stored bytes, whose first three bits and whose filling are all 0. They are in
# the byte in which the stream ends if that has room for three bits, else in it and in one more.
_ALIGNED: Final = (b"\0\0\xff\xff", b"\0\0\0\xff\xff")
# An empty block, the last one.
_END = b"\x03\x00"
# Only data that was made for it holds more than one or two places that look like the last block.
_MOST_PROOFS = 16

# How a last block with fixed codes begins (3.2.6): bit by bit 1, 1, 0.
_FIXED = 0b011
# How one of stored bytes goes on: with its size, twice.
_STORED_HEAD, _STORED_MOST = 4, 0xFFFF
# Codes for lengths beyond the first 257, and for distances beyond the first one (3.2.7).
_CODES = range(30)


def _heads(distances: range, *, many: bool) -> re.Pattern[bytes]:
    """Return what the beginning of a last block with codes of its own matches (3.2.7).

    After 1, 0, 1 come five bits that tell how many codes for lengths it has, five for distances,
    and four for these lengths of codes themselves: `many` are 12 and more.
    """
    firsts = bytes(0b101 | lengths << 3 for lengths in _CODES)
    seconds = bytes(byte for byte in range(256) if byte & 31 in distances)
    thirds = bytes(byte for byte in range(256) if byte & 1 or not many)
    of = (b"[%s]" % re.escape(one) for one in (firsts, seconds, thirds))
    return re.compile(b"%s(?=%s%s)" % tuple(of), re.DOTALL)


# Large blocks have codes for many distances, which makes them six times faster to find.
_HEADS: Final = (_heads(_CODES[20:], many=True), _heads(_CODES, many=False))
# What follows is the lengths of those codes less 4, in 3 bits each. They are complete if this sum,
# in units of their longest, 7 bits, is reached.
_CODES_AT, _COMPLETE = 13, 1 << 7
_HEAD_SIZE = (_CODES_AT + 4 + 19 * 3 + 7) // 8
# What a code of each length takes of that, and four of them, by the 12 bits of their lengths.
_TAKES = (0, *(_COMPLETE >> length for length in range(1, 8)))
_SUMS: Final = tuple(a + b + c + d for d in _TAKES for c in _TAKES for b in _TAKES for a in _TAKES)
# The lengths of all codes take less, so that wrong ones show in so many bytes.
_CODES_MOST = 320
# For a block of which it does not matter yet what it makes.
_ANYTHING = bytes(_REACH)


def opened(stream: bytes, data: bytes | memoryview) -> bytes | None:
    """Return a stream that another can follow, from the next whole byte on.

    Args:
        stream: a raw deflate stream, finished.
        data: what it inflates to.

    Returns:
        The stream whose last block is no longer marked as the last, with an empty block behind it,
        which ends with a whole byte. None if the last block was not found.
    """
    for bit in islice(_candidates(stream, data), _MOST_PROOFS):
        if made := _proved(_cleared(stream, bit), data):
            return made
    return None


def _candidates(stream: bytes, data: bytes | memoryview) -> Iterator[int]:
    """Yield the bits at which the last block seems to begin, those found sooner first."""
    yield from _fixed(stream, data, 1 << 7)
    yield from _stored(stream)
    # Most last blocks are short of 128 KiB; one of a long repetition is tiny.
    yield from _dynamic(stream, data, 0, 1 << 13)
    yield from _dynamic(stream, data, 1 << 13, 1 << 17)
    yield from _fixed(stream, data, 1 << 12)
    yield from _dynamic(stream, data, 1 << 17, _FURTHEST)
    yield from _fixed(stream, data, 1 << 14)


def _cleared(stream: bytes, bit: int) -> bytes:
    """Return a stream in which one bit is 0: the mark of the block that begins there."""
    at = bit // 8
    return b"%s%c%s" % (stream[:at], stream[at] & ~(1 << bit % 8), stream[at + 1 :])


def _bits(some: bytes) -> int:
    """Return some bytes as a number whose lowest bit is the first one."""
    return int.from_bytes(some, "little")


def _moved(some: bytes, bit: int) -> bytes:
    """Return the bits of some bytes from one on, moved to the beginning of a byte."""
    rest = some[bit // 8 :]
    return (_bits(rest) >> bit % 8).to_bytes(len(rest), "little")


def _proved(stream: bytes, data: bytes | memoryview) -> bytes | None:
    """Return an unmarked stream, made to end with a whole byte, if it makes the data."""
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        if reader.decompress(stream, len(data) + 1) != bytes(data):
            return None
    except zlib.error:
        return None
    for aligned in _ALIGNED:
        end = reader.copy()
        try:
            more = end.decompress(aligned + _END)
        except zlib.error:
            continue
        if end.eof and not more and not end.unused_data:
            return stream + aligned
    return None


def _inflated(stream: bytes, most: int, before: bytes | memoryview = b"") -> bytes | None:
    """Return what a whole stream makes after some data; None if it is none, or makes more."""
    reader = zlib.decompressobj(-zlib.MAX_WBITS, before)
    try:
        made = reader.decompress(stream, most + 1)
    except zlib.error:
        return None
    # What was moved to the beginning of a byte may end a byte earlier.
    return made if reader.eof and not reader.unused_data.strip(b"\0") else None


def _ends(stream: bytes, data: bytes | memoryview, bit: int) -> bool:
    """Tell whether a block that begins at a bit ends the stream and makes the end of the data."""
    if not _is_head(_moved(stream[: bit // 8 + _CODES_MOST], bit)):
        return False
    block = _moved(stream, bit)
    # How much it makes tells what was before it.
    made = _inflated(block, len(data), _ANYTHING)
    if made is None:
        return False
    size = len(data) - len(made)
    before = data[max(size - _REACH, 0) : size]
    return _inflated(block, len(made), before) == bytes(data[size:])


def _is_head(some: bytes) -> bool:
    """Tell whether a block can begin with some bytes."""
    try:
        zlib.decompressobj(-zlib.MAX_WBITS, _ANYTHING).decompress(some)
    except zlib.error:
        return False
    return True


def _fixed(stream: bytes, data: bytes | memoryview, reach: int) -> Iterator[int]:
    """Yield the first bit of so many bytes at which the last block may begin with fixed codes.

    Bits within such a block can look like the beginning of another one that makes the rest.
    """
    first = max(len(stream) - reach, 0)
    end = stream[first:]
    for at in range(len(end) * 8):
        mark_and_kind = _bits(end[at // 8 : at // 8 + 2]) >> at % 8 & 7
        if mark_and_kind == _FIXED and _ends(stream, data, first * 8 + at):
            yield first * 8 + at
            return


def _stored(stream: bytes) -> Iterator[int]:
    """Yield the bits at which the last block may begin if it is one of stored bytes."""
    first = max(len(stream) - _STORED_MOST - _STORED_HEAD, 0)
    end = stream[first:]
    # Their size stands there twice, the second time with all bits turned.
    turned = (_bits(end) ^ _bits(end) >> 16).to_bytes(len(end), "little")
    for found in re.finditer(b"\xff(?=\xff)", turned):
        at = found.start()
        # Behind the mark come only zeros, two of them and up to a whole byte.
        before = stream[max(first + at - 2, 0) : first + at]
        if _bits(end[at : at + 2]) == len(end) - at - _STORED_HEAD and any(before):
            yield (first + at - len(before)) * 8 + _bits(before).bit_length() - 1


def _dynamic(stream: bytes, data: bytes | memoryview, nearest: int, furthest: int) -> Iterator[int]:
    """Yield the bits at which the last block may begin if it has codes of its own.

    They are looked for in some of the last bytes of the stream, the last ones first.
    """
    least = max(len(stream) - furthest, 0)
    for head in _HEADS:
        for end in range(len(stream) - nearest, least, -_STEP):
            first = max(end - _STEP, least)
            for bit in _complete(stream[first : end + _HEAD_SIZE], head):
                if _ends(stream, data, first * 8 + bit):
                    yield first * 8 + bit


def _complete(window: bytes, head: re.Pattern[bytes]) -> Iterator[int]:
    """Yield the bits of some bytes at which a head is followed by lengths of complete codes."""
    for shift in range(8):
        moved = _moved(window, shift)
        for found in head.finditer(moved):
            start = found.start()
            codes = _bits(moved[start : start + _HEAD_SIZE]) >> _CODES_AT
            lengths = codes >> 4 & (1 << ((codes & 15) + 4) * 3) - 1
            if _sum(lengths) == _COMPLETE:
                yield start * 8 + shift


def _sum(lengths: int) -> int:
    """Add up what codes of such lengths take of all that there can be."""
    # Spelled out, since it runs for most bytes of the stream that are looked at.
    return (
        _SUMS[lengths & 0xFFF]
        + _SUMS[lengths >> 12 & 0xFFF]
        + _SUMS[lengths >> 24 & 0xFFF]
        + _SUMS[lengths >> 36 & 0xFFF]
        + _SUMS[lengths >> 48]
    )
