"""Reads what ELF files say of themselves: for which machine, and what they need to be loaded.

Only what the dynamic loader reads is read: the header, the program headers and the dynamic part.
Section tables may be missing. Every count and length is bounded, so that a hostile file costs no
more than a large one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lambdaslim.errors import SlimError

#: Values of `ElfFacts.machine`.
X86_64, AARCH64 = 62, 183

MAGIC = b"\x7fELF"
PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_NULL, _NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 0, 1, 5, 10, 14, 15, 29
_VERNEED, _VERNEEDNUM = 0x6FFF_FFFE, 0x6FFF_FFFF
_WEAK = 0x2
# The largest real files have some hundred of each; a linker writes no name of this length.
_MOST_ENTRIES = 4_096
_LONGEST_NAME = 4_096


class Data(Protocol):
    """The bytes of a file, or what gives parts of them: `bytes` is one."""

    def __len__(self) -> int:
        """Return how many they are."""

    def __getitem__(self, part: slice, /) -> bytes:
        """Return a part of them."""


class MalformedElfError(SlimError):
    """A file that begins like an ELF file and breaks the format."""


@dataclass(frozen=True, slots=True)
class VersionNeed:
    """Versions of symbols that a library must define, like `libc.so.6` and `GLIBC_2.34`.

    Weak needs are left out: the loader goes on without them.
    """

    library: str
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """What an ELF file says of itself.

    Attributes:
        bits: 32 or 64.
        little_endian: the byte order.
        machine: e_machine, such as `X86_64`.
        kind: e_type; 3 is a shared object.
        interpreter: the path of the loader that a program asks for, None for libraries.
        needed: names of the libraries that it must be loaded with, in order.
        soname: the name by which other files need it.
        search: the directories of its RPATH and RUNPATH, as written (`$ORIGIN` is kept).
        versions: the versions of symbols that it needs, per library.
    """

    bits: int
    little_endian: bool
    machine: int
    kind: int
    interpreter: str | None = None
    needed: tuple[str, ...] = ()
    soname: str | None = None
    search: tuple[str, ...] = ()
    versions: tuple[VersionNeed, ...] = ()


def read(data: Data) -> ElfFacts | None:
    """Return the facts of the bytes of a whole file; None if it is no ELF file.

    Raises:
        MalformedElfError: it begins like one, and is truncated or contradicts itself.
    """
    if data[:4] != MAGIC:
        return None
    image = Image(data)
    dynamic = _Dynamic(image)
    return ElfFacts(
        bits=image.bits,
        little_endian=image.order == "<",
        machine=image.machine,
        kind=image.kind,
        interpreter=_interpreter(image),
        needed=tuple(dynamic.names(_NEEDED)),
        soname=next(dynamic.names(_SONAME), None),
        search=tuple(part for tag in (_RPATH, _RUNPATH) for part in dynamic.paths(tag)),
        versions=tuple(dynamic.versions()),
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header: what part of the file (bytes) goes where in memory.

    `alignment` (bytes) is what offset and address have in common: one minus the other is a
    multiple of it.
    """

    kind: int
    offset: int
    address: int
    size: int
    alignment: int = 1

    @property
    def end(self) -> int:
        """The offset behind its last byte in the file."""
        return self.offset + self.size


class Image:
    """The bytes of an ELF file with its header and program headers.

    Raises:
        MalformedElfError: they are truncated, or of an unknown class or byte order.
    """

    def __init__(self, data: Data) -> None:
        """Read both."""
        self.data = data
        kinds = {b"\x01": 32, b"\x02": 64}
        orders = {b"\x01": "<", b"\x02": ">"}
        if data[4:5] not in kinds or data[5:6] not in orders:
            raise malformed("is of an unknown class or byte order")
        self.bits = kinds[data[4:5]]
        self.order = orders[data[5:6]]
        word = "Q" if self.bits == 64 else "I"  # noqa: PLR2004 - the class
        header = self.unpack(f"HHI{word}{word}{word}IHHHHHH", 16)
        self.kind, self.machine = header[0], header[1]
        self.table, self._entry_size, self._entries = header[4], header[8], header[9]
        #: Where the section headers are, the bytes of one, how many, and which has the names.
        self.section_table = (header[5], header[10], header[11], header[12])
        self.segments = tuple(self._segments())

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        """Return the integers at an offset; `layout` is that of `struct`, without byte order."""
        form = struct.Struct(f"{self.order}{layout}")
        try:
            return form.unpack(self.data[offset : offset + form.size])
        except struct.error as error:
            raise malformed(f"ends before its byte {offset:,}") from error

    def _segments(self) -> Iterator[Segment]:
        wide = self.bits == 64  # noqa: PLR2004 - the class
        layout = "IIQQQQQQ" if wide else "IIIIIIII"
        if self._entries and self._entry_size < struct.calcsize(f"={layout}"):
            raise malformed("has program headers that are too short")
        # Both classes have the same fields, in another order.
        kind, offset, address, size = (0, 2, 3, 5) if wide else (0, 1, 2, 4)
        for number in range(self._entries):
            row = self.unpack(layout, self.table + number * self._entry_size)
            yield Segment(row[kind], row[offset], row[address], row[size], row[7])

    @property
    def table_end(self) -> int:
        """The offset behind the program headers, which begin at `table`."""
        return self.table + self._entries * self._entry_size

    def offset(self, address: int) -> int:
        """Return where in the file the byte is that is loaded at an address."""
        for one in self.segments:
            if one.kind == PT_LOAD and one.address <= address < one.address + one.size:
                return one.offset + address - one.address
        raise malformed(f"has no segment for the address {address:#x}")

    def text(self, offset: int, end: int | None = None) -> str:
        """Return the text at an offset, up to a zero byte before `end`."""
        limit = min(len(self.data) if end is None else end, offset + _LONGEST_NAME)
        name, end_of_it, _ = self.data[offset:limit].partition(b"\0")
        if not end_of_it:
            raise malformed(f"has a name without an end at its byte {offset:,}")
        return name.decode("utf-8", "backslashreplace")


def malformed(why: str) -> MalformedElfError:
    """Return the error for a file that breaks the format."""
    return MalformedElfError(f"{why}, so it is no valid ELF file", fix="install it again")


def _interpreter(image: Image) -> str | None:
    found = (one for one in image.segments if one.kind == _PT_INTERP)
    return next((image.text(one.offset, one.offset + one.size) for one in found), None)


class _Dynamic:
    """The entries of the dynamic part of a file: tags and values. Static files have none."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._entries = tuple(self._read())
        self._strings: int | None = None

    def _read(self) -> Iterator[tuple[int, int]]:
        word = "Q" if self._image.bits == 64 else "I"  # noqa: PLR2004 - the class
        width = struct.calcsize(f"={word}{word}")
        found = (one for one in self._image.segments if one.kind == _PT_DYNAMIC)
        if (segment := next(found, None)) is None:
            return
        for number in range(min(segment.size // width, _MOST_ENTRIES)):
            tag, value = self._image.unpack(f"{word}{word}", segment.offset + number * width)
            if tag == _NULL:
                return
            yield tag, value
        raise malformed("has a dynamic part without an end")

    def _values(self, tag: int) -> Iterator[int]:
        return (value for one, value in self._entries if one == tag)

    def _name(self, index: int) -> str:
        if self._strings is None:
            if (address := next(self._values(_STRTAB), None)) is None:
                raise malformed("has names and no table of them")
            self._strings = self._image.offset(address)
        size = next(self._values(_STRSZ), len(self._image.data))
        return self._image.text(self._strings + index, self._strings + size)

    def names(self, tag: int) -> Iterator[str]:
        """Yield the names under a tag, in order."""
        return map(self._name, self._values(tag))

    def paths(self, tag: int) -> Iterator[str]:
        """Yield the directories of the search paths under a tag."""
        return (part for text in self.names(tag) for part in text.split(":") if part)

    def versions(self) -> Iterator[VersionNeed]:
        """Yield the versions that are needed of each library."""
        if (address := next(self._values(_VERNEED), None)) is None:
            return
        count = next(self._values(_VERNEEDNUM), 0)
        place = self._image.offset(address)
        left = _MOST_ENTRIES
        for _ in range(min(count, _MOST_ENTRIES)):
            _, number, name, first, following = self._image.unpack("HHIII", place)
            number = min(number, left)
            left -= number
            yield VersionNeed(self._name(name), tuple(self._of(place + first, number)))
            if not following:
                return
            place += following

    def _of(self, place: int, count: int) -> Iterator[str]:
        for _ in range(count):
            _, flags, _, name, following = self._image.unpack("IHHII", place)
            if not flags & _WEAK:
                yield self._name(name)
            if not following:
                return
            place += following
