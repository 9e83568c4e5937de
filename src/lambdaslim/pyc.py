"""Reads, judges and rewrites the .pyc files of CPython 3.8 to 3.15, without running any of them.

A pyc is a header of 16 bytes (PEP 552) and one code object in marshal's format, which
`lambdaslim.canonical` reads and writes.
"""

from __future__ import annotations

import _imp
import struct
from dataclasses import dataclass

from lambdaslim.canonical import MalformedError, canonical
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
            _canonical_body(pyc, magic)
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


def canonicalise(pyc: bytes, source: bytes, magic: int, filename: str) -> bytes:
    """Return the bytes that compiling `source` under the name `filename` gives here.

    That is the code in `pyc`, spelled as `lambdaslim.canonical` does, without column tables and
    known by the hash of `source` (unchecked). Ask `is_valid` first: this does not compare the
    source. Equal bytes need a pyc by the same release of CPython, and without optimisation.

    Raises:
        BytecodeError: another magic number, malformed, or holding what no compiled source holds.
    """
    header = read_header(pyc)
    if header is None or header.magic != magic:
        raise BytecodeError(f"is not a pyc of the magic number {_named(magic)}", fix=_FIX)
    # As the interpreter encodes the names of files: what is no UTF-8 is carried by surrogates.
    body = _canonical_body(pyc, magic, filename.encode("utf-8", "surrogatepass"))
    head = struct.pack("<H2sI", magic, b"\r\n", _UNCHECKED_HASH)
    return head + source_hash(source, magic) + body


def _canonical_body(pyc: bytes, magic: int, filename: bytes | None = None) -> bytes:
    try:
        return canonical(pyc[HEADER_SIZE:], _version(magic), filename)
    except MalformedError as error:
        raise BytecodeError(f"is malformed: it {error}", fix=_FIX) from error
