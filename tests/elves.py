"""Builds small ELF files in memory, which a loader could read though nothing could run them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

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


@dataclass
class Row:
    """One section header, and what the section holds."""

    name: str
    kind: int = 1
    flags: int = 0
    address: int = 0
    offset: int = 0
    size: int = 0
    link: int = 0
    info: int = 0
    align: int = 1
    entry_size: int = 0
    data: bytes = b""


#: What a linker leaves for debuggers; 2 is a symbol table, 3 one of names, 4 relocations, 7 a note.
DEAD = (
    Row(".comment", data=b"GCC: (GNU) 14\0" * 20),
    Row(".debug_info", data=b"what debuggers read" * 300),
    Row(".note.stapsdt", kind=7, data=b"probe" * 20),
    Row(".rela.text", kind=4, link=8, info=3, data=bytes(range(24)) * 20),
    Row(".symtab", kind=2, link=9, data=bytes(range(24)) * 50),
    Row(".strtab", kind=3, data=b"\0a_function\0another_one" * 40),
)


def linked(  # noqa: PLR0913 - every part of a file has a default
    *,
    dead: Sequence[Row] = DEAD,
    late: bytes = b"",
    appended: bytes = b"",
    machine: int = 62,
    kind: int = 3,
    alignment: int = 0x1000,
    table_first: bool = False,
    extended: bool = False,
) -> bytes:
    """Return a 64-bit file with a section table: three loaded sections, and `dead` behind them.

    Args:
        dead: the sections of no segment.
        late: what a second segment holds, in a section .late behind those, as patchelf puts it.
        appended: bytes behind all that is known.
        machine: e_machine.
        kind: e_type.
        alignment: of the segments, bytes.
        table_first: the section table comes before `dead`, not last.
        extended: the numbers of the table are in its first row.
    """
    head = 64 + 56 * (3 if late else 2)
    names, code = b"\0libc.so.6\0", b"\xc3" * 100
    dynamic = struct.pack("<6Q", 1, 1, 5, head, 0, 0)
    alive = [
        Row(".dynstr", 3, 2, head, head, data=names),
        Row(".dynamic", 6, 3, head + len(names), head + len(names), link=1, data=dynamic),
    ]
    place = head + len(names) + len(dynamic)
    alive.append(Row(".text", 1, 6, place, place, data=code))
    end = place + len(code)
    body = names + dynamic + code
    rows = [Row("", 0, align=0), *alive]
    count = len(alive) + len(dead) + bool(late) + 2
    table = head + len(body) + -(head + len(body)) % 8
    if table_first:
        body = body.ljust(table + 64 * count - head, b"\0")
    for one in dead:
        body += bytes(-(head + len(body)) % 8)
        rows.append(replace(one, offset=head + len(body)))
        body += one.data
    if late:
        body += bytes(-(head + len(body)) % alignment)
        offset = head + len(body)
        rows.append(Row(".late", 1, 2, offset + 16 * alignment, offset, data=late))
        body += late
    strings = _Strings()
    rows.append(Row(".shstrtab", 3, offset=head + len(body)))
    places = [0, *(strings.add(row.name) for row in rows[1:])]
    rows[-1].data = strings.data
    body += strings.data
    packed = bytearray()
    for row, name in zip(rows, places, strict=True):
        row.size = row.size or len(row.data)
        packed += struct.pack("<IIQQQQIIQQ", name, *astuple(row)[1:-1])
    if extended:
        struct.pack_into("<QI", packed, 32, len(rows), len(rows) - 1)
    if table_first:
        body = body[: table - head] + packed + body[table - head + len(packed) :]
    else:
        body += bytes(-(head + len(body)) % 8)
        table = head + len(body)
        body += packed
    segments = [(1, 0, 0, end), (2, alive[1].offset, alive[1].address, len(dynamic))]
    if late:
        segments.append((1, rows[-2].offset, rows[-2].address, len(late)))
    numbers = (0, 0xFFFF) if extended else (len(rows), len(rows) - 1)
    fields = (kind, machine, 1, 0, 64, table, 0, 64, 56, len(segments), 64, *numbers)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", *fields)
    for number, (what, offset, address, size) in enumerate(segments):
        align = 8 if what == _DYNAMIC else alignment
        header += struct.pack("<IIQQQQQQ", what, 4, offset, address, address, size, size, align)
        assert len(header) == 64 + 56 * (number + 1)
    return header + body + appended
