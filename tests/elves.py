"""Builds small ELF files in memory, which a loader could read though nothing could run them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

#: What the other two systems' files begin with.
MACH_O = bytes.fromhex("cffaedfe") + bytes(60)
PE = b"MZ" + bytes(62)

_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29
_VERNEED, _VERNEEDNUM = 0x6FFF_FFFE, 0x6FFF_FFFF


class _Strings:
    """A string table that grows."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        place = len(self.data)
        self.data += text.encode() + b"\0"
        return place


def elf(  # noqa: PLR0913 - every part of a file has a default
    *,
    needed: Iterable[str] = ("libc.so.6",),
    soname: str | None = None,
    rpath: str | None = None,
    runpath: str | None = None,
    versions: Mapping[str, Iterable[str]] | None = None,
    weak: bool = False,
    interpreter: str | None = None,
    machine: int = 62,
    bits: int = 64,
    order: str = "<",
    exports: str = "",
    address: int = 0x1000,
) -> bytes:
    """Return an ELF file; `exports` is text for the end, such as the name of an init function."""
    word = "Q" if bits == 64 else "I"
    strings = _Strings()
    tags = [(_NEEDED, strings.add(name)) for name in needed]
    for tag, text in ((_SONAME, soname), (_RPATH, rpath), (_RUNPATH, runpath)):
        tags += [(tag, strings.add(text))] if text is not None else []
    needs = _version_needs(versions or {}, strings, order, weak=weak)
    segments = 3 if interpreter else 2
    head, row = (64, 56) if bits == 64 else (52, 32)
    start = head + segments * row
    body = strings.data
    places = {_STRTAB: start, _VERNEED: start + len(body)}
    body += needs
    tags += [(_STRTAB, address + places[_STRTAB]), (_STRSZ, len(strings.data))]
    if versions:
        tags += [(_VERNEED, address + places[_VERNEED]), (_VERNEEDNUM, len(versions))]
    dynamic = b"".join(struct.pack(f"{order}{word}{word}", *tag) for tag in [*tags, (0, 0)])
    where = start + len(body)
    loader = (interpreter or "").encode() + b"\0"
    body += dynamic + loader + exports.encode() + b"\0"
    table = [(_LOAD, 0, address, start + len(body)), (_DYNAMIC, where, 0, len(dynamic))]
    if interpreter:
        table.append((_INTERP, where + len(dynamic), 0, len(loader)))
    kind = b"\x02" if bits == 64 else b"\x01"
    ident = b"\x7fELF" + kind + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes(9)
    fields = (3, machine, 1, 0, head, 0, 0, head, row, segments, 0, 0, 0)
    header = ident + struct.pack(f"{order}HHI{word}{word}{word}IHHHHHH", *fields)
    return header + b"".join(_segment(one, bits, order) for one in table) + body


def _segment(one: tuple[int, int, int, int], bits: int, order: str) -> bytes:
    kind, offset, address, size = one
    if bits == 64:
        return struct.pack(f"{order}IIQQQQQQ", kind, 4, offset, address, address, size, size, 8)
    return struct.pack(f"{order}8I", kind, offset, address, address, size, size, 4, 4)


def _version_needs(
    versions: Mapping[str, Iterable[str]], strings: _Strings, order: str, *, weak: bool
) -> bytes:
    made = b""
    for number, (library, names) in enumerate(versions.items(), 1):
        indexes = [strings.add(name) for name in names]
        size = 16 + 16 * len(indexes)
        following = size if number < len(versions) else 0
        made += struct.pack(f"{order}HHIII", 1, len(indexes), strings.add(library), 16, following)
        for place, index in enumerate(indexes, 1):
            after = 16 if place < len(indexes) else 0
            made += struct.pack(f"{order}IHHII", 0, 2 if weak else 0, 2, index, after)
    return made


def extension(name: str, **facts: object) -> bytes:
    """Return an extension module with the init function of that name."""
    return elf(exports=f"PyInit_{name}", **facts)  # type: ignore[arg-type]
