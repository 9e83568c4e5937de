"""Reads, judges and rewrites the .pyc files of CPython 3.8 to 3.15, without running any of them.

A pyc is a header of 16 bytes (PEP 552) and one code object in marshal's format. The format is not
documented; what stands here was read in Python/marshal.c and tried in each of those interpreters:

- An object is a tag (one byte) and its payload. The tag's high bit says that the object takes the
  next number; a reference (tag `r`) gives such a number. Containers take theirs before their items.
- The slots of a code object differ between 3.10 and 3.11, and are the same from 3.11 to 3.15.
- Slices (tag `:`) came with marshal version 5, in 3.14. Version 6 (3.15) only adds frozendicts.
  No compiled source holds one, nor lists, sets, dicts or numbers as text: they are unknown here.
- Readers refuse more than 2,000 levels.
"""

from __future__ import annotations

import _imp
import marshal
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

from lambdaslim.errors import BytecodeError

#: Bytes before the code object.
HEADER_SIZE = 16

_MAGICS = (3413, 3425, 3439, 3495, 3531, 3571, 3627, 3666)
#: Magic number (the first two bytes, little-endian) to the CPython releases that write it.
VERSIONS = {magic: (3, minor) for minor, magic in enumerate(_MAGICS, start=8)}

_TIMESTAMP, _UNCHECKED_HASH, _CHECKED_HASH = 0b00, 0b01, 0b11
_FIX = "keep the source"
_MASK32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Header:
    """What a pyc says about itself: `magic` (16 bits), `flags`, and how it knows its source.

    Either `mtime` (seconds) and `size` (bytes) of the source, both modulo 2**32, or its
    `source_hash` (8 bytes); what does not apply is None.
    """

    magic: int
    flags: int
    mtime: int | None = None
    size: int | None = None
    source_hash: bytes | None = None


def read_header(data: bytes) -> Header | None:
    r"""Return the header; None if short, without `\r\n` after the magic, or with unknown flags."""
    if len(data) < HEADER_SIZE or data[2:4] != b"\r\n":
        return None
    magic, flags, mtime, size = struct.unpack_from("<HxxIII", data)
    if flags == _TIMESTAMP:
        return Header(magic, flags, mtime=mtime, size=size)
    if flags in (_UNCHECKED_HASH, _CHECKED_HASH):
        return Header(magic, flags, source_hash=data[8:HEADER_SIZE])
    return None


def is_valid(pyc: bytes, source: bytes, magic: int, *, source_mtime: int | None) -> str | None:
    """Return None when `pyc` is the bytecode of exactly `source` for `magic`, else a short reason.

    Hashes are verified even where the interpreter would not (unchecked). The body is walked, not
    understood: whether its instructions are those of the source cannot be told.

    `magic` is the target's 16-bit number, `source_mtime` the .py file's time in whole seconds; None
    (unknown) makes every pyc that records a time invalid.
    """
    header = read_header(pyc)
    if header is None:
        return "is truncated or no pyc: it has no header" if pyc else "is empty"
    if header.magic != magic:
        return f"has the magic number {_named(header.magic)} instead of {_named(magic)}"
    try:
        stale = _stale(header, source, source_mtime)
        if stale is None:
            _Walk(pyc[HEADER_SIZE:], magic, "").run()
    except BytecodeError as error:
        return error.what
    return stale


def _named(magic: int) -> str:
    if magic in VERSIONS:
        return "{} (CPython {}.{})".format(magic, *VERSIONS[magic])
    return str(magic)


def _stale(header: Header, source: bytes, mtime: int | None) -> str | None:
    if header.source_hash is not None:
        same = header.source_hash == source_hash(source, header.magic)
        return None if same else "is stale: it records another hash than its source's"
    if header.size != len(source) & _MASK32:
        return f"is stale: it records a source of {header.size} bytes, not {len(source)}"
    if mtime is None:
        return "records its source's time, which is not known"
    if header.mtime != mtime & _MASK32:
        return f"is stale: it records a source of time {header.mtime}, not {mtime & _MASK32}"
    return None


def source_hash(source: bytes, magic: int) -> bytes:
    """Return the 8 bytes by which the interpreter with this magic number knows `source`.

    They are a SipHash keyed with the first four bytes of its pycs: SipHash-1-3 since 3.11, the
    oldest version that runs this code and so offers it; SipHash-2-4 before. A magic number that is
    none of `VERSIONS` raises `BytecodeError`.
    """
    key = int.from_bytes(struct.pack("<H2s", magic & 0xFFFF, b"\r\n"), "little")
    if _version(magic) >= (3, 11):
        return _imp.source_hash(key, source)
    return _siphash24(key, source)


def _version(magic: int) -> tuple[int, int]:
    if magic in VERSIONS:
        return VERSIONS[magic]
    raise BytecodeError(f"{magic} is the magic number of no known CPython", fix=_FIX)


def _siphash24(key: int, data: bytes, mask: int = 0xFFFF_FFFF_FFFF_FFFF) -> bytes:
    """Return SipHash-2-4 of `data` (8 bytes) under a key of 128 bits, whose upper half is 0."""
    # The last word is what is left of the data, zeros, and the length's lowest byte.
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    words = struct.unpack(f"<{len(padded) // 8}Q", padded)
    v0, v1, v2, v3 = struct.unpack(">4Q", b"somepseudorandomlygeneratedbytes")
    v0, v2 = v0 ^ key, v2 ^ key
    for block in (words, (0, 0)):  # two words of zeros are the four rounds at the end
        for word in block:
            v3 ^= word
            for _ in (1, 2):
                v0 = v0 + v1 & mask
                v1 = (v1 << 13 & mask | v1 >> 51) ^ v0
                v2 = v2 + v3 & mask
                v3 = (v3 << 16 & mask | v3 >> 48) ^ v2
                v0 = (v0 << 32 | v0 >> 32) + v3 & mask  # rotated by half, then added to
                v3 = (v3 << 21 & mask | v3 >> 43) ^ v0
                v2 = v2 + v1 & mask
                v1 = (v1 << 17 & mask | v1 >> 47) ^ v2
                v2 = v2 << 32 & mask | v2 >> 32
            v0 ^= word
        v2 ^= 0xFF
    return int(v0 ^ v1 ^ v2 ^ 0xFF ^ v3).to_bytes(8, "little")


def relocate(pyc: bytes, source: bytes, magic: int, filename: str) -> bytes:
    """Return the same bytecode under another file name, known by the hash of `source`.

    Every code object in it gets `filename`; the header says "unchecked hash". Equal strings in
    other places (a constant, a name) stay. Ask `is_valid` first: this does not compare the source.

    Raises:
        BytecodeError: another magic number, malformed, or holding what no compiled source holds.
    """
    header = read_header(pyc)
    if header is None or header.magic != magic:
        raise BytecodeError(f"is not a pyc of the magic number {_named(magic)}", fix=_FIX)
    parts = [struct.pack("<H2sI", magic, b"\r\n", _UNCHECKED_HASH), source_hash(source, magic)]
    body, position = pyc[HEADER_SIZE:], 0
    for start, end, new in _Walk(body, magic, filename).run():
        parts += body[position:start], new
        position = end
    return b"".join((*parts, body[position:]))


# What an object is, and what a slot asks for: 0 is any object, or one that no slot asks for.
_BYTES, _TEXT, _TUPLE, _CODE, _KIND = 1, 2, 3, 4, 7
_FILENAME = _TEXT | 8
_LINE = 16  # four bytes that are no object: the number of the first line

# A code object begins with so many four-byte integers; then come its slots.
_LAYOUT_38 = 6, (_BYTES, *[_TUPLE] * 5, _FILENAME, _TEXT, _LINE, _BYTES)
_LAYOUT_311 = 5, (_BYTES, *[_TUPLE] * 3, _BYTES, _FILENAME, _TEXT, _TEXT, _LINE, _BYTES, _BYTES)

_NUMBERED = 0x80
_REFERENCE, _CODE_TAG, _INTEGER, _SLICE = b"rcl:"
_SINGLETONS = b"NFT."  # never take a number
_LENGTHS = {1: struct.Struct("<B"), 4: struct.Struct("<i")}
_DEEPEST = 2000
_ITEMS = -1
# Tag: kind, bytes of its length, bytes in each unit of that (in all, if it has none) or _ITEMS.
_SHAPES = {
    **dict.fromkeys(_SINGLETONS, (0, 0, 0)),
    **{tag: (0, 0, size) for tag, size in zip(b"igy", (4, 8, 16), strict=True)},
    ord("l"): (0, 4, 2),
    ord("s"): (_BYTES, 4, 1),
    **dict.fromkeys(b"tuaA", (_TEXT, 4, 1)),
    **dict.fromkeys(b"zZ", (_TEXT, 1, 1)),
    ord(")"): (_TUPLE, 1, _ITEMS),
    ord("("): (_TUPLE, 4, _ITEMS),
    ord(">"): (0, 4, _ITEMS),
    ord(":"): (0, 0, _ITEMS),
    ord("c"): (_CODE, 0, _ITEMS),
}


class _Walk:
    """One pass over a marshalled code object; it collects what a new file name changes.

    No object's number ever changes: a renamed string keeps its own, and a reference that would
    now give the wrong one of the two names becomes a string without a number.
    """

    def __init__(self, body: bytes, magic: int, filename: str) -> None:
        self.body = body
        self.version = _version(magic)
        name = marshal.dumps(sys.intern(filename), 4)
        self.filename = bytes([name[0] & ~_NUMBERED]) + name[1:]
        self.position = 0
        self.kinds = bytearray()  # of every object with a number
        self.renamed: dict[int, bytes] = {}  # a renamed string's number: what it was
        self.edits: list[tuple[int, int, bytes]] = []  # start, end, new bytes

    def run(self) -> list[tuple[int, int, bytes]]:
        """Return the edits in order of position; raise `BytecodeError` if malformed."""
        frames: list[Iterator[int]] = [iter((_CODE,))]
        try:
            while frames:
                items = next(filter(None, map(self._read, frames[-1])), None)
                if items is None:
                    frames.pop()
                elif len(frames) < _DEEPEST:
                    frames.append(items)
                else:
                    raise _malformed(f"is nested more than {_DEEPEST} deep")
        except (IndexError, struct.error) as error:
            raise _malformed("ends early") from error
        if self.position != len(self.body):
            raise _malformed("does not end where the file does")
        return self.edits

    def _read(self, slot: int) -> Iterator[int] | None:
        """Read what is in a slot; return the slots of its items if it has some."""
        if slot == _LINE:
            self.position += 4
            return None
        tag = self.body[self.position] & ~_NUMBERED
        if tag != _REFERENCE:
            return self._object(tag, slot)
        self._refer(slot)
        return None

    def _object(self, tag: int, slot: int) -> Iterator[int] | None:
        if tag not in _SHAPES or (tag == _SLICE and self.version < (3, 14)):
            raise _malformed(f"holds the unknown tag {tag:#04x}")
        start = self.position
        kind, width, unit = _SHAPES[tag]
        if slot and kind != slot & _KIND:
            raise _malformed(f"holds the tag {tag:#04x} in a wrong place")
        if self.body[start] & _NUMBERED and tag not in _SINGLETONS:
            self.kinds.append(kind)
        if unit == _ITEMS:
            return self._open(tag, width)
        self.position += 1 + width + (self._length(tag, width) if width else 1) * unit
        if slot == _FILENAME:
            self._rename(start)
        return None

    def _open(self, tag: int, width: int) -> Iterator[int] | None:
        if tag == _CODE_TAG:
            integers, slots = _LAYOUT_311 if self.version >= (3, 11) else _LAYOUT_38
            self.position += 1 + 4 * integers
            return iter(slots)
        count = 3 if tag == _SLICE else self._length(tag, width)
        self.position += 1 + width
        return repeat(0, count) if count else None

    def _length(self, tag: int, width: int) -> int:
        length: int = _LENGTHS[width].unpack_from(self.body, self.position + 1)[0]
        if length < 0 and tag != _INTEGER:  # whose sign is there
            raise _malformed("holds a negative length")
        return abs(length)

    def _rename(self, start: int) -> None:
        tag = self.body[start]
        old = bytes([tag & ~_NUMBERED]) + self.body[start + 1 : self.position]
        if tag & _NUMBERED:
            self.renamed[len(self.kinds) - 1] = old
        new = bytes([self.filename[0] | tag & _NUMBERED]) + self.filename[1:]
        self.edits.append((start, self.position, new))

    def _refer(self, slot: int) -> None:
        start = self.position
        (number,) = _LENGTHS[4].unpack_from(self.body, start + 1)
        self.position += 5
        if not 0 <= number < len(self.kinds) or (slot and self.kinds[number] != slot & _KIND):
            raise _malformed("refers to what is not there")
        if (slot == _FILENAME) != (number in self.renamed):
            self.edits.append((start, start + 5, self.renamed.get(number, self.filename)))


def _malformed(how: str) -> BytecodeError:
    return BytecodeError(f"is malformed: it {how}", fix=_FIX)
