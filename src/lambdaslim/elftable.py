"""The section table of an ELF file: what linkers and debuggers read and no loader does.

Only 64-bit little-endian files are understood, which are all that Lambda can load.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lambdaslim.elf import Image, malformed

#: Values of `Section.kind`.
NULL, PROGBITS, SYMTAB, STRTAB, RELA, NOTE, NOBITS, REL = 0, 1, 2, 3, 4, 7, 8, 9
GROUP, SYMTAB_SHNDX = 17, 18
_ALLOC, _EXECUTABLE, _INFO_LINK = 0x2, 0x4, 0x40
_ROW = struct.Struct("<IIQQQQIIQQ")
ROW_SIZE = _ROW.size
# A number from here on has another meaning in the header, and row 0 has the real one.
_RESERVED, _IN_ROW_0 = 0xFF00, 0xFFFF
_LONGEST_NAME = 4_096
_NAMES = b".shstrtab"


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the table; `offset`, `size` and `align` are bytes, `link` and `info` numbers."""

    name: bytes
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    @property
    def allocated(self) -> bool:
        """Whether it is in memory when the program runs (SHF_ALLOC)."""
        return bool(self.flags & _ALLOC)

    @property
    def executable(self) -> bool:
        """Whether it holds machine code."""
        return bool(self.flags & _EXECUTABLE)

    @property
    def stored(self) -> int:
        """How many bytes it has in the file."""
        return 0 if self.kind in (NULL, NOBITS) else self.size

    @property
    def end(self) -> int:
        """The offset behind its last byte in the file."""
        return self.offset + self.stored

    @property
    def info_is_number(self) -> bool:
        """Whether `info` is the number of a section, as that of relocations is."""
        return self.kind in (REL, RELA) or bool(self.flags & _INFO_LINK)


#: What stands for a section that is gone, so that the others keep their numbers.
GONE = Section(b"", NULL, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class SectionTable:
    """The sections of a file by their numbers, and where their headers lie (bytes)."""

    sections: tuple[Section, ...] = ()
    offset: int = 0
    names: int = 0

    @property
    def end(self) -> int:
        """The offset behind the headers."""
        return self.offset + len(self.sections) * ROW_SIZE


def read_table(image: Image) -> SectionTable:
    """Return the section table of a file, an empty one if it has none.

    Raises:
        MalformedElfError: rows, names or sections that are not in the file.
    """
    offset, row_size, count, names = image.section_table
    if not offset:
        return SectionTable()
    if row_size != ROW_SIZE:
        raise malformed("has section headers of another size")
    first = image.unpack(_ROW.format[1:], offset)
    count = count or first[5]
    names = first[6] if names == _IN_ROW_0 else names
    # Checked before anything is read, so that a huge number costs nothing.
    if count >= _RESERVED or offset + count * ROW_SIZE > len(image.data):
        raise malformed("has more section headers than fit")
    rows = [*_ROW.iter_unpack(image.data[offset : offset + count * ROW_SIZE])]
    if names >= count:
        raise malformed("has no section with the names of the others")
    sections = tuple(_named(image, rows, rows[names]))
    if any(one.end > len(image.data) for one in sections):
        raise malformed("ends before its last section")
    return SectionTable(sections, offset, names)


def _named(
    image: Image, rows: Iterable[tuple[int, ...]], strings: tuple[int, ...]
) -> Iterator[Section]:
    start, size = strings[4], strings[5]
    for row in rows:
        place = start + row[0]
        limit = min(start + size, place + _LONGEST_NAME, len(image.data))
        name, end, _ = image.data[place:limit].partition(b"\0")
        if row[1] != NULL and not end:
            raise malformed("has a section with a name without an end")
        yield Section(name if row[1] != NULL else b"", *row[1:])


def write_table(sections: Sequence[Section], place: int) -> tuple[bytes, int]:
    """Return the names and headers of sections, to be put at an offset, and where the headers are.

    A section of names is added behind the last one; links to sections that are `GONE` become 0.
    """
    named = [one for one in sections if one is not GONE]
    strings = _strings([*(one.name for one in named), _NAMES])
    table = -(-(place + len(strings)) // 8) * 8
    own = replace(GONE, name=_NAMES, kind=STRTAB, offset=place, size=len(strings), align=1)
    rows = [GONE, *(_relinked(one, sections) for one in sections[1:]), own]
    packed = b"".join(_row(one, strings) for one in rows)
    return strings.ljust(table - place, b"\0") + packed, table


def _strings(names: Iterable[bytes]) -> bytes:
    """Return a table of names; one that ends another (".text" of ".rela.text") is stored once."""
    made = b"\0"
    for name in sorted(set(names), key=lambda name: (-len(name), name)):
        if name + b"\0" not in made:
            made += name + b"\0"
    return made


def _relinked(section: Section, sections: Sequence[Section]) -> Section:
    def known(number: int) -> int:
        return number if number < len(sections) and sections[number] is not GONE else 0

    info = known(section.info) if section.info_is_number else section.info
    return replace(section, link=known(section.link), info=info)


def _row(section: Section, strings: bytes) -> bytes:
    name = strings.index(section.name + b"\0")
    _, kind, *others = (getattr(section, field) for field in Section.__slots__)
    return _ROW.pack(name, kind, *others)


def is_old_table(data: bytes, size: int) -> bool:
    """Tell whether bytes of a file are section headers that nothing refers to any more.

    patchelf writes a new table at another place, and leaves the old one where it was.

    Args:
        data: the bytes from an offset that is a multiple of 8 on.
        size: bytes of the file; sections of a real table are inside.
    """
    rows = [_ROW.unpack_from(data, place) for place in range(0, len(data) - ROW_SIZE + 1, ROW_SIZE)]
    # The offset (4) and the size (5) of a random row would be anything up to 2**64.
    plausible = (row[1] == NOBITS or row[4] + row[5] <= size for row in rows)
    whole = not any(data[len(rows) * ROW_SIZE :])
    return len(rows) > 1 and not any(rows[0]) and whole and all(plausible)
