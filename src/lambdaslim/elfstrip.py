"""Takes out of ELF files what no loader reads, and proves that the rest is what it was.

A loader reads the header, the program headers and the segments that these name. Everything else is
there for linkers, debuggers and profilers. The result keeps a section table, since tools that
inspect or patch a library find its parts by it.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate, pairwise

from lambdaslim import elf, elftable
from lambdaslim.elf import Data, Image, MalformedElfError, Segment, malformed
from lambdaslim.elftable import GONE, NOBITS, NULL, Section, SectionTable
from lambdaslim.tree import Content, DiskFile

_PROGRAM, _LIBRARY = 2, 3
_RELOCATABLE = 1
_HEADER, _SEGMENT = 64, 56
# Where the header has e_shoff (8 bytes), and e_shnum and e_shstrndx (2 bytes each).
_TABLE_AT, _COUNT_AT = 0x28, 0x3C
# No smaller page exists on either machine.
_PAGE = 4_096
_MANY_SEGMENTS = 0xFFFF
# Compared this many bytes at a time, so that no second copy of a large file is made.
_CHUNK = 1 << 16
# Bytes that are read and written at a time.
_AT_ONCE = 1 << 20
_KINDS = {
    *(elftable.SYMTAB, elftable.STRTAB, elftable.SYMTAB_SHNDX, elftable.GROUP),
    *(elftable.RELA, elftable.REL, elftable.NOTE),
}
# Sections of other kinds that only compilers, linkers, debuggers and their like read. A section of
# another name may be a program's own data, which it looks for in its own file.
_NAMES = (
    *(b".comment", b".debug", b".zdebug", b".stab", b".line", b".mdebug", b".gdb_index"),
    *(b".gnu_debug", b".gnu.build.attributes", b".gnu.attributes", b".ARM.attributes"),
    *(b".gnu.lto_", b".gnu.debuglto_", b".gnu.warning", b".gnu_object_only", b".llvm", b".note"),
    *(b".annobin", b".GCC.command.line"),
)


@dataclass(frozen=True, slots=True)
class Copy:
    """A part of a recipe: bytes of the original, from `start` up to `stop`."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Zeros:
    """A part of a recipe: `count` zero bytes."""

    count: int


Part = bytes | Copy | Zeros


@dataclass(frozen=True, slots=True)
class Stripped:
    """Content that is made from another when it is read, so that no copy has to be held."""

    original: Content
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(map(_length, self.parts))

    def read(self) -> bytes:
        """Return the bytes; raise `ChangedError` when the original changed since the scan."""
        if isinstance(self.original, DiskFile):
            # The original is never whole in memory beside what is made of it.
            with self.original.opened() as part:
                return _whole(Followed(self.parts, part))
        return follow(self.parts, self.original.read())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What can be made of a file.

    Attributes:
        parts: the recipe for the smaller file; empty if it cannot become smaller.
        left: why it was left alone though it could become smaller, if it was.
        holes: bytes between segments that hold nothing and stay, since no segment is moved.
    """

    parts: tuple[Part, ...] = ()
    left: str | None = None
    holes: int = 0


#: Returns the bytes of a file from an offset up to another one.
Read = Callable[[int, int], bytes | memoryview]


def follow(parts: Iterable[Part], data: bytes) -> bytes:
    """Return what a recipe makes of the bytes of a file."""
    return _whole(Followed(parts, reading(data)))


def reading(data: bytes) -> Read:
    """Return what gives parts of bytes in memory, without copying them."""
    view = memoryview(data)
    return lambda start, stop: view[start:stop]


def _whole(made: Followed) -> bytes:
    whole = BytesIO()
    # Room for all of it at once, so that it is never copied.
    whole.seek(max(len(made) - 1, 0))
    whole.write(bytes(min(len(made), 1)))
    whole.seek(0)
    for start in range(0, len(made), _AT_ONCE):
        whole.write(made[start : start + _AT_ONCE])
    return whole.getvalue()


class Followed:
    """What a recipe makes of the bytes of a file, made as far as somebody looks."""

    def __init__(self, parts: Iterable[Part], original: Read) -> None:
        """Take a recipe, and what gives parts of the original."""
        self._parts = tuple(parts)
        self._ends = [*accumulate(map(_length, self._parts))]
        self._original = original

    def __len__(self) -> int:
        """Return how many bytes it has."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, part: slice) -> bytes:
        """Return a part of it, in which each byte follows the one before."""
        start, stop, _ = part.indices(len(self))
        return b"".join(self._between(start, stop))

    def _between(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        number = bisect_right(self._ends, start)
        while start < stop:
            one, end = self._parts[number], self._ends[number]
            skipped, count = start - (end - _length(one)), min(stop, end) - start
            if isinstance(one, Copy):
                yield self._original(one.start + skipped, one.start + skipped + count)
            else:
                yield bytes(count) if isinstance(one, Zeros) else one[skipped : skipped + count]
            start, number = start + count, number + 1


def _length(part: Part) -> int:
    if isinstance(part, Copy):
        return part.stop - part.start
    return part.count if isinstance(part, Zeros) else len(part)


def strip(data: bytes, *, close: bool = False) -> Outcome:
    """Return how an ELF file gets rid of what no loader reads, and the proof held.

    Args:
        data: the bytes of a whole file that begins with `elf.MAGIC`.
        close: also move segments to the front of the file where there is nothing between them.
            What they are in memory stays the same.
    """
    try:
        image = Image(data)
        if (why := _foreign(image)) is not None:
            return Outcome(left=why)
        return _strip(data, image, close=close)
    except MalformedElfError as error:
        return Outcome(left=f"a malformed ELF file: it {error.what.partition(', so it')[0]}")


def _foreign(image: Image) -> str | None:
    """Return why a file is none that Lambda loads, if it is none."""
    ours = image.bits == 64 and image.order == "<"  # noqa: PLR2004 - the class
    if not ours or image.machine not in (elf.X86_64, elf.AARCH64):
        return "an ELF file for another machine, which programs may read as data"
    if image.kind == _RELOCATABLE:
        return "an object file, which linkers read"
    return None if image.kind in (_PROGRAM, _LIBRARY) else "an ELF file of a kind that is no code"


def _strip(data: bytes, image: Image, *, close: bool) -> Outcome:
    table = elftable.read_table(image)
    if not table.sections:
        return Outcome()
    layout = _Layout(image, table)
    tight = layout.places(close=True)
    places = tight if close else layout.places(close=False)
    holes = places[-1] - tight[-1]
    if not layout.dead and places == [start for start, _ in layout.pieces]:
        return Outcome(holes=holes)
    if (why := layout.unknown()) is not None:
        return Outcome(left=why, holes=layout.pieces[-1][0] - tight[-1])
    parts = tuple(layout.recipe(places))
    made = Followed(parts, reading(data))
    if len(made) > len(data) or (len(made) == len(data) and _same(data, 0, made, 0, len(data))):
        return Outcome(holes=holes)
    if (what := difference(data, made, moved=close)) is not None:
        return Outcome(left=f"without its dead sections its {what} would differ", holes=holes)
    return Outcome(parts, holes=holes)


class _Layout:
    """Which bytes of a file stay, in pieces without gaps, and what lies between them.

    Attributes:
        dead: the numbers of the sections that no loader reads.
        pieces: the ranges (first byte, behind the last) that stay, in order.
    """

    def __init__(self, image: Image, table: SectionTable) -> None:
        """Sort the sections; raise `MalformedElfError` for segments that are not in the file."""
        self.image = image
        self.table = table
        loaded = [one for one in image.segments if one.kind == elf.PT_LOAD]
        if not loaded or len(image.segments) >= _MANY_SEGMENTS:
            raise malformed("has nothing to load")
        if image.table_end != image.table + len(image.segments) * _SEGMENT:
            raise malformed("has program headers of another size")
        if any(one.size and one.end > len(image.data) for one in image.segments):
            raise malformed("ends before its last segment")
        needed = [(0, _HEADER), (image.table, image.table_end)]
        needed += [(one.offset, one.end) for one in image.segments if one.size]
        self.pieces = _merged(needed)
        sections = enumerate(table.sections)
        self.dead = {n for n, one in sections if n != table.names and self._is_dead(one)}
        alive = (one for n, one in enumerate(table.sections) if self._stays(n) and one.stored)
        self.pieces = _merged([*self.pieces, *((one.offset, one.end) for one in alive)])

    def _is_dead(self, section: Section) -> bool:
        inside = (a < section.end and section.offset < b for a, b in self.pieces)
        dead = section.kind != NULL and not section.allocated
        return dead and not (section.stored and any(inside))

    def _stays(self, number: int) -> bool:
        return number not in self.dead and number != self.table.names

    def unknown(self) -> str | None:
        """Return why something outside the pieces may be read after all, if it may."""
        if any(_borrows(one) for one in self.image.segments):
            return "a segment without bytes of its own begins inside a page of the file"
        sections = self.table.sections
        for one in (sections[number] for number in sorted(self.dead)):
            if one.size and one.kind not in _KINDS and not one.name.startswith(_NAMES):
                name = one.name.decode("utf-8", "backslashreplace")
                return f"its section {name} is not loaded, and may be data of its own"
        if any(one.executable and one.kind == NOBITS for one in sections):
            return "a file of debugging information"
        claimed = [*self.pieces, (self.table.offset, self.table.end)]
        claimed = _merged([*claimed, *((one.offset, one.end) for one in sections if one.stored)])
        if self.image.data[claimed[-1][1] :].strip(b"\0"):
            return "something is appended to it"
        for (_, start), (stop, _) in pairwise(claimed):
            if self._holds_something(start, stop):
                return f"nothing tells what its bytes from {start:,} on are"
        return None

    def _holds_something(self, start: int, stop: int) -> bool:
        data, aligned = self.image.data, -(-start // 8) * 8
        if not data[start:stop].strip(b"\0"):
            return False
        return any(data[start:aligned]) or not elftable.is_old_table(data[aligned:stop], len(data))

    def places(self, *, close: bool) -> list[int]:
        """Return where each piece begins in the new file."""
        if not close:
            return [start for start, _ in self.pieces]
        found: list[int] = []
        end = 0
        for start, stop in self.pieces:
            step = self._step(start, stop)
            place = start - (start - end) // step * step if step else start
            found.append(place)
            end = place + stop - start
        return found

    def _step(self, start: int, stop: int) -> int:
        """Return of what a piece's way to the front must be a multiple; 0 if it must not move.

        The header, the program headers and the segment of the lowest address do not: from where
        they lie in the file, kernels compute where they are in memory.
        """
        loads = [one for one in self.image.segments if one.kind == elf.PT_LOAD]
        lowest = min(loads, key=lambda one: one.address)
        if any(start <= fixed < stop for fixed in (0, self.image.table, lowest.offset)):
            return 0
        inside = [one.alignment for one in self.image.segments if start <= one.offset < stop]
        step = max([_PAGE, *inside])
        if step & (step - 1):
            raise malformed("has a segment with an alignment that is no power of two")
        return step

    def recipe(self, places: Sequence[int]) -> Iterator[Part]:
        """Yield the parts of the new file, whose pieces begin at `places`."""
        end = places[-1] + self.pieces[-1][1] - self.pieces[-1][0]
        last = max((n for n in range(len(self.table.sections)) if self._stays(n)), default=0)
        kept = [self._moved(n, places) for n in range(last + 1)]
        tail, offset = elftable.write_table(kept, end)
        patches = self._patches(places, offset, len(kept) + 1)
        at = 0
        for (start, stop), place in zip(self.pieces, places, strict=True):
            if place > at:
                yield Zeros(place - at)
            yield from _patched(start, stop, patches)
            at = place + stop - start
        yield tail

    def _moved(self, number: int, places: Sequence[int]) -> Section:
        section = self.table.sections[number]
        if not self._stays(number) or section.kind == NULL:
            return GONE
        values = {field: getattr(section, field) for field in Section.__slots__}
        return Section(**{**values, "offset": self._new(section.offset, places)})

    def _new(self, offset: int, places: Sequence[int]) -> int:
        """Return where the byte at an offset is in the new file."""
        at = max(n for n, (start, _) in enumerate(self.pieces) if not n or start <= offset)
        return offset - self.pieces[at][0] + places[at]

    def _patches(self, places: Sequence[int], table: int, count: int) -> dict[int, bytes]:
        """Return what is written over the original, by its offset there: numbers of 2 to 8 bytes.

        These are the place of the section table, and that of each segment that has moved.
        """
        made = {_TABLE_AT: struct.pack("<Q", table)}
        made[_COUNT_AT] = struct.pack("<HH", count, count - 1)
        for number, one in enumerate(self.image.segments):
            # A segment without bytes in the file has no place there.
            if one.size and (place := self._new(one.offset, places)) != one.offset:
                made[self.image.table + number * _SEGMENT + 8] = struct.pack("<Q", place)
        return made


def _borrows(segment: Segment) -> bool:
    """Tell whether loaders map a page of the file for a segment that has no bytes in it.

    They zero it, which kills the process where the file has become too short to have the page.
    """
    return segment.kind == elf.PT_LOAD and not segment.size and bool(segment.address % _PAGE)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(stop, made[-1][1]))
        else:
            made.append((start, stop))
    return made


def _patched(start: int, stop: int, patches: dict[int, bytes]) -> Iterator[Part]:
    for place in sorted(patches):
        if start <= place < stop:
            if place > start:
                yield Copy(start, place)
            yield patches[place]
            start = place + len(patches[place])
    yield Copy(start, stop)


def difference(before: Data, after: Data, *, moved: bool) -> str | None:
    """Return what a loader would find different in a stripped file; None if it is nothing.

    Both are read anew, so that a mistake of the one who stripped it does not hide itself. With
    `moved`, segments may lie elsewhere in the file; the same bytes must get the same addresses.

    Raises:
        MalformedElfError: one of them is no valid ELF file.
    """
    old, new = Image(before), Image(after)
    if before[:_TABLE_AT] != after[:_TABLE_AT] or before[0x30:0x3A] != after[0x30:0x3A]:
        return "header"
    if not _same_headers(old, new, moved=moved):
        return "program headers"
    # What was compared above may lie in a segment, and differ in places of the file alone.
    compared = _merged([(0, _HEADER), (old.table, old.table_end)])
    for one, other in zip(old.segments, new.segments, strict=True):
        for start, stop in _outside(one.offset, one.end, compared):
            place = start - one.offset + other.offset
            if not _same(before, start, after, place, stop - start):
                return "loaded bytes"
    if elf.read(before) != elf.read(after):
        return "dynamic part"
    return None if _sections_fit(old, new) else "sections"


def _same_headers(old: Image, new: Image, *, moved: bool) -> bool:
    if len(old.segments) != len(new.segments):
        return False
    ways = [
        one.offset - other.offset for one, other in zip(old.segments, new.segments, strict=True)
    ]
    # A loader maps whole pages at whole alignments.
    steps = [max(_PAGE, one.alignment) for one in old.segments]
    fits = all(way >= 0 and not way % step for way, step in zip(ways, steps, strict=True))
    rows = all(_row_of(old, number) == _row_of(new, number) for number in range(len(ways)))
    return rows and (fits if moved else not any(ways))


def _row_of(image: Image, number: int) -> bytes:
    """Return a program header without the place in the file (bytes 8 to 15)."""
    start = image.table + number * _SEGMENT
    return image.data[start : start + 8] + image.data[start + 16 : start + _SEGMENT]


def _outside(start: int, stop: int, others: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for first, behind in others:
        if start < first < stop:
            yield start, first
        if first < stop and behind > start:
            start = max(start, behind)
    if start < stop:
        yield start, stop


def _same(before: Data, start: int, after: Data, place: int, size: int) -> bool:
    if start + size > len(before) or place + size > len(after):
        return False
    return all(
        before[start + at : min(start + at + _CHUNK, start + size)]
        == after[place + at : min(place + at + _CHUNK, place + size)]
        for at in range(0, size, _CHUNK)
    )


def _sections_fit(old: Image, new: Image) -> bool:
    """Tell whether every loaded section has its number, name, address and bytes."""
    before, after = elftable.read_table(old).sections, elftable.read_table(new).sections
    for number, one in enumerate(before):
        if one.allocated:
            other = after[number] if number < len(after) else GONE
            if (one.name, one.kind, one.flags, one.address, one.size) != (
                *(other.name, other.kind, other.flags, other.address, other.size),
            ):
                return False
            if not _same(old.data, one.offset, new.data, other.offset, one.stored):
                return False
    return True
