"""Spells a marshalled code object in the one way that depends on nothing but its value.

CPython's writer numbers an object, and later refers to it, if the object is the same one and has a
reference count above one when it is written (cpython#129724), so its bytes tell what else the
process has compiled or interned. Here a marshalled code object is read as bytes, never built, and
written again by these rules:

- An object that occurs twice by value is written once and referred to, as far as that is shorter or
  the program could tell (`is`). Code objects are never shared.
- A string is marked as interned if it names something, or looks like a name: just those strings
  are what the interpreter interns by itself.
- A frozenset's items are sorted by how they are spelled. Interpreters before 3.11 write them in the
  order of their hashes, and the hash of None is an address.

The format is not documented; what stands here was read in Python/marshal.c and tried in each
interpreter from 3.8 to 3.15:

- An object is a tag (one byte) and its payload. The tag's high bit says that the object takes the
  next number; a reference (tag `r`) gives such a number. Containers take theirs before their items.
- The slots of a code object differ between 3.10 and 3.11, and are the same from 3.11 to 3.15.
- Slices (tag `:`) came with marshal version 5, in 3.14. Version 6 (3.15) only adds frozendicts.
  No compiled source holds one, nor lists, sets, dicts or numbers as text: they are unknown here.

This file is also loaded in those, by the compiling worker, so it is
written for the oldest of them and imports nothing of lambdaslim.
"""

from __future__ import annotations

import struct
from itertools import repeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    _Object = tuple[int, bytes, tuple[int, ...]]
    _Layout = tuple[int, tuple[tuple[int, ...], tuple[int, ...]]]

_INT32 = struct.Struct("<i")
_REFERENCE_TO = struct.Struct("<Bi")
_NUMBERED = 0x80
_REFERENCE, _CODE, _TUPLE, _SMALL_TUPLE, _FROZENSET, _SLICE, _BYTES, _INT, _LONG = b"rc()>:sil"
# Never take a number.
_SINGLETONS = frozenset(b"NFT.")
_NUMBERED_SINGLETONS = frozenset(tag | _NUMBERED for tag in _SINGLETONS)
# Strings that are not interned: ASCII of less than 256 bytes, more ASCII, and others.
_SHORT, _LONG_ASCII, _OTHER = b"zau"
_INTERNED = {_SHORT: ord("Z"), _LONG_ASCII: ord("A"), _OTHER: ord("t")}
_SHORT_TEXTS = frozenset(tag | flag for tag in b"zZ" for flag in (0, _NUMBERED))
_LONG_TEXTS = frozenset(b"aAut")
_TEXTS = frozenset(_INTERNED)
# Tag: bytes of an integer, a long one's digit, a float and a complex number.
_NUMBERS = {_INT: 4, _LONG: 2, ord("g"): 8, ord("y"): 16}
_BYTE = [bytes([value]) for value in range(256)]
# What joins to nothing: the number of a code object's first line stands for itself.
_NO_TAG = 256
_BYTE.append(b"")
# Counts and lengths from here on take four bytes instead of one.
_MANY = 256
# Interpreters have these once.
_SMALL_INTS = {_INT32.pack(number) for number in range(-5, 257)}

# What a slot of a code object asks for, and the tags that it takes. Anything fits into 0.
_ANY, _WHOLE, _DATA, _ITEMS, _NAMES, _NAME, _FILE, _LINES = range(8)
_FITTING = {
    _WHOLE: frozenset(b"c"),
    _DATA: frozenset(b"s"),
    _ITEMS: frozenset(b"()"),
    _NAMES: frozenset(b"()"),
    _NAME: _TEXTS,
    _FILE: _TEXTS,
    _LINES: frozenset(b"s"),
}
# A code object begins with so many bytes of integers. Between its slots is the first line's number.
_LAYOUT_38 = 24, ((_DATA, _ITEMS, *[_NAMES] * 4, _FILE, _NAME), (_DATA,))
_LAYOUT_311 = 20, ((_DATA, _ITEMS, *[_NAMES] * 2, _DATA, _FILE, *[_NAME] * 2), (_LINES, _DATA))
# Forms of the entries in a table of locations (Objects/codeobject.c).
_NO_LOCATION, _NO_COLUMNS, _ONE_LINE = 15, 13, 10


class MalformedError(ValueError):
    """The bytes are no marshalled code object of a compiled source."""


def canonical(body: bytes, python: tuple[int, int], filename: bytes | None = None) -> bytes:
    """Return the canonical spelling of the marshalled code object `body`.

    Args:
        body: what `marshal.dumps` of that version gave.
        python: its (major, minor) version.
        filename: None, or a new file name (bytes of UTF-8) for every code object in it, which
            then also lose their column tables, as if compiled with `-X no_debug_ranges`.

    Raises:
        MalformedError: `body` is something else.
    """
    reader = _Reader(body, python, filename)
    try:
        (root,) = reader.read((_WHOLE,))
    except (IndexError, struct.error) as error:
        raise MalformedError("ends early") from error
    except RecursionError as error:
        raise MalformedError("is nested too deep") from error
    if reader.position != len(body):
        raise MalformedError("does not end where the file does")
    return _written(reader, root)


def without_columns(table: bytes) -> bytes:
    """Return a table of locations (3.11 on) with its lines and without its columns.

    Each entry begins with a byte whose high bit is set: four bits say which form it has, three how
    many instructions it is for. The form without columns is followed by the step in lines.
    """
    made = bytearray()
    starts = [position for position, byte in enumerate(table) if byte & 0x80]
    for start in starts:
        form, count = table[start] >> 3 & 15, table[start] & 7
        if form == _NO_LOCATION:
            made.append(table[start])
        else:
            made.append(0x80 | _NO_COLUMNS << 3 | count)
            made += _step(form, table, start + 1)
    return bytes(made)


def _step(form: int, table: bytes, position: int) -> bytes:
    """Return the step in lines of an entry, as a signed number in groups of six bits."""
    if form >= _NO_COLUMNS:
        end = position
        while table[end] & 0x40:
            end += 1
        return table[position : end + 1]
    # One line forms carry a step of 0 to 2 in their name, short forms have none.
    return bytes([max(0, form - _ONE_LINE) << 1])


class _Reader:
    """Reads every object into a table, in which equal ones are one.

    An object is known by its place in the `table`: its tag, its bytes after the tag, and the places
    of what it contains. `interned` are the places of strings that are names, `single` of what takes
    no number because the interpreter has only one of it, or because it is never shared.

    This runs for every object of every source, so the loops are long and calls are few.
    """

    def __init__(self, body: bytes, python: tuple[int, int], filename: bytes | None) -> None:
        self.body = body
        layout: _Layout = _LAYOUT_311 if python >= (3, 11) else _LAYOUT_38
        self.integers, self.slots = layout
        self.has_slices = python >= (3, 14)
        self.filename = filename
        self.position = 0
        self.numbered: list[int | None] = []
        self.table: list[_Object] = []
        self.texts: dict[bytes, int] = {}
        self.places: dict[_Object, int] = {}
        self.interned: set[int] = set()
        self.single: set[int] = set()

    def read(self, slots: Iterable[int]) -> list[int]:
        """Read an object for each slot; return their places in the table."""
        body, numbered, texts, table = self.body, self.numbered, self.texts, self.table
        position = self.position
        places: list[int] = []
        for slot in slots:
            tag = body[position]
            # References and short strings are nine objects of ten, so they are read right here.
            if tag == _REFERENCE:
                (number,) = _INT32.unpack_from(body, position + 1)
                position += 5
                found = numbered[number] if 0 <= number < len(numbered) else None
                if found is None:
                    raise MalformedError("refers to what is not there")
                place = found
            elif tag in _SHORT_TEXTS:
                start = position + 1
                position = start + 1 + body[start]
                tail = body[start:position]
                place = texts[tail] if tail in texts else self._new_text(_SHORT, tail)
                if tag & _NUMBERED:
                    numbered.append(place)
            else:
                self.position = position
                if tag < _NUMBERED or tag in _NUMBERED_SINGLETONS:
                    place = self._object(tag & ~_NUMBERED)
                else:  # its number comes before those of the objects in it
                    number = len(numbered)
                    numbered.append(None)
                    place = numbered[number] = self._object(tag & ~_NUMBERED)
                position = self.position
            if slot:
                if table[place][0] not in _FITTING[slot]:
                    raise MalformedError("holds an object in a wrong place")
                if slot >= _NAMES:
                    place = self._fitted(place, slot)
            places.append(place)
        self.position = position
        return places

    def _fitted(self, place: int, slot: int) -> int:
        """Return what goes into a slot of a code object for what was read there."""
        if slot == _NAME:
            self.interned.add(place)
        elif slot == _NAMES:
            names = self.table[place][2]
            if any([self.table[name][0] not in _TEXTS for name in names]):  # noqa: C419 - faster
                raise MalformedError("holds a name that is no string")
            self.interned.update(names)
        elif slot == _FILE:
            if self.filename is not None:
                place = self._text_place(self.filename)
            self.interned.add(place)
        elif slot == _LINES and self.filename is not None:
            table = without_columns(self.table[place][1][4:])
            place = self._place(_BYTES, _INT32.pack(len(table)) + table)
        return place

    def _object(self, tag: int) -> int:
        # The commonest first.
        if tag == _BYTES:
            return self._place(_BYTES, self._taken(4 + self._length()))
        if tag == _SMALL_TUPLE:
            return self._tuple(self._taken(1)[0])
        if tag in _NUMBERS:
            return self._number(tag)
        if tag in _SINGLETONS:
            return self._single(tag, self._taken(0))
        if tag == _CODE:
            return self._code()
        return self._rarer(tag)

    def _rarer(self, tag: int) -> int:
        if tag in _LONG_TEXTS:
            return self._text_place(self._taken(4 + self._length())[4:])
        if tag == _TUPLE:
            count = self._length()
            self._taken(4)
            return self._tuple(count)
        if tag == _FROZENSET:
            return self._frozenset(self._length())
        if tag == _SLICE and self.has_slices:
            self._taken(0)
            return self._place(_SLICE, b"", tuple(self.read((_ANY,) * 3)))
        raise MalformedError(f"holds the unknown tag {tag:#04x}")

    def _length(self) -> int:
        length: int = _INT32.unpack_from(self.body, self.position + 1)[0]
        if length < 0:
            raise MalformedError("holds a negative length")
        return length

    def _taken(self, size: int) -> bytes:
        """Skip a tag and return the bytes after it; they must all be there."""
        start = self.position + 1
        self.position = start + size
        if self.position > len(self.body):
            raise MalformedError("ends early")
        return self.body[start : self.position]

    def _place(self, tag: int, tail: bytes, items: tuple[int, ...] = ()) -> int:
        """Return the place of an object, a new one unless an equal one is there."""
        one = (tag, tail, items)
        if one in self.places:
            return self.places[one]
        place = self.places[one] = len(self.table)
        self.table.append(one)
        return place

    def _new(self, one: _Object) -> int:
        self.table.append(one)
        return len(self.table) - 1

    def _single(self, tag: int, tail: bytes) -> int:
        place = self._place(tag, tail)
        self.single.add(place)
        return place

    def _text_place(self, text: bytes) -> int:
        """Return the place of a string, whose tag follows from what is in it."""
        if not text.isascii():
            tag, tail = _OTHER, _INT32.pack(len(text)) + text
        elif len(text) < _MANY:
            tag, tail = _SHORT, _BYTE[len(text)] + text
        else:
            tag, tail = _LONG_ASCII, _INT32.pack(len(text)) + text
        return self.texts[tail] if tail in self.texts else self._new_text(tag, tail)

    def _new_text(self, tag: int, tail: bytes) -> int:
        # A string is one object, whether interned or not, so the tag is no part of the key.
        place = self.texts[tail] = self._new((tag, tail, ()))
        name = tail[1:] if tag == _SHORT else tail[4:]
        if tag != _OTHER and (not name or name.replace(b"_", b"a").isalnum()):
            self.interned.add(place)
        return place

    def _number(self, tag: int) -> int:
        size = _NUMBERS[tag]
        if tag == _LONG:  # the sign of the length is that of the number
            (digits,) = _INT32.unpack_from(self.body, self.position + 1)
            size = 4 + 2 * abs(digits)
        tail = self._taken(size)
        small = tag == _INT and tail in _SMALL_INTS
        return self._single(tag, tail) if small else self._place(tag, tail)

    def _tuple(self, count: int) -> int:
        if not count:
            return self._single(_SMALL_TUPLE, b"\0")
        items = tuple(self.read(repeat(_ANY, count)))
        if count < _MANY:
            return self._place(_SMALL_TUPLE, _BYTE[count], items)
        return self._place(_TUPLE, _INT32.pack(count), items)

    def _frozenset(self, count: int) -> int:
        self._taken(4)
        items = sorted(self.read(repeat(_ANY, count)), key=self._spelled)
        return self._place(_FROZENSET, _INT32.pack(count), tuple(items))

    def _spelled(self, place: int) -> bytes:
        """Return an object's bytes without any reference."""
        tag, tail, items = self.table[place]
        return _BYTE[tag] + tail + b"".join(map(self._spelled, items))

    def _code(self) -> int:
        integers = self._taken(self.integers)
        before, after = self.slots
        items = self.read(before)
        self.position -= 1  # the line is no object: it has no tag
        items.append(self._single(_NO_TAG, self._taken(4)))
        items += self.read(after)
        # Never looked up: two functions of one value are still two code objects.
        place = self._new((_CODE, integers, tuple(items)))
        self.single.add(place)
        return place


def _written(reader: _Reader, root: int) -> bytes:
    """Return the bytes of an object, each of those in it where it first occurs."""
    interned, single = reader.interned, reader.single
    references: list[bytes | None] = [None] * len(reader.table)
    parts: list[bytes] = []
    add, count = parts.append, 0
    waiting = [iter((root,))]
    while waiting:
        for place in waiting[-1]:
            reference = references[place]
            if reference is not None:
                add(reference)
                continue
            tag, tail, items = reader.table[place]
            shared = place not in single
            if place in interned:
                tag = _INTERNED[tag]
                shared = len(tail) >= _REFERENCE_TO.size  # else it is no longer than a reference
            if shared:
                references[place] = _REFERENCE_TO.pack(_REFERENCE, count)
                count += 1
                tag |= _NUMBERED
            add(_BYTE[tag])
            add(tail)
            if items:
                waiting.append(iter(items))
                break
        else:
            waiting.pop()
    return b"".join(parts)
