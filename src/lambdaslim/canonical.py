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

    _Layout = tuple[int, tuple[tuple[int, ...], tuple[int, ...]]]

_INT32 = struct.Struct("<i")
_REFERENCE_TO = struct.Struct("<Bi")
_NUMBERED = 0x80
_REFERENCE, _CODE, _TUPLE, _SMALL_TUPLE, _FROZENSET, _SLICE, _BYTES, _INT, _LONG = b"rc()>:sil"
# Never take a number.
_SINGLETONS = frozenset(b"NFT.")
_NUMBERED_SINGLETONS = frozenset(tag | _NUMBERED for tag in _SINGLETONS)
# Their length takes one byte, or four.
_SHORT_TEXTS = frozenset(b"zZ" + bytes([ord("z") | _NUMBERED, ord("Z") | _NUMBERED]))
_LONG_TEXTS = frozenset(b"aAut")
_INTERNED = {ord("z"): ord("Z"), ord("a"): ord("A"), ord("u"): ord("t")}
# Tag: bytes of an integer, a long one's digit, a float and a complex number.
_NUMBERS = {_INT: 4, _LONG: 2, ord("g"): 8, ord("y"): 16}
_BYTE = [bytes([value]) for value in range(256)]
# Lengths from here on take four bytes instead of one.
_SHORT = 256
# Interpreters have these once.
_SMALL_INTS = {b"i" + _INT32.pack(number) for number in range(-5, 257)}

# What a slot of a code object asks for, and the tags that it takes. Anything fits into 0.
_ANY, _WHOLE, _DATA, _ITEMS, _NAMES, _NAME, _FILE, _LINES, _LINE = range(9)
_FITTING = {
    _WHOLE: b"c",
    _DATA: b"s",
    _ITEMS: b"()",
    _NAMES: b"()",
    _NAME: b"zau",
    _FILE: b"zau",
    _LINES: b"s",
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
    return _Writer(reader).write(root)


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

    `heads` holds what an object begins with, by its place in the table, and `items` the places of
    what it contains. `interned` are the places of strings that are names, `single` of what takes no
    number because the interpreter has only one of it, or because it is never shared.
    """

    def __init__(self, body: bytes, python: tuple[int, int], filename: bytes | None) -> None:
        self.body = body
        layout: _Layout = _LAYOUT_311 if python >= (3, 11) else _LAYOUT_38
        self.integers, self.slots = layout
        self.has_slices = python >= (3, 14)
        self.filename = filename
        self.position = 0
        self.numbered: list[int | None] = []
        self.heads: list[bytes] = []
        self.items: list[tuple[int, ...]] = []
        self.places: dict[object, int] = {}
        self.texts: dict[bytes, int] = {}
        self.interned: set[int] = set()
        self.single: set[int] = set()

    def read(self, slots: Iterable[int]) -> list[int]:
        """Read an object for each slot; return their places in the table."""
        body, numbered, texts = self.body, self.numbered, self.texts
        position = self.position
        places: list[int] = []
        for slot in slots:
            tag = body[position]
            # References and short strings are nine objects of ten, so they are read right here.
            if tag == _REFERENCE:
                (number,) = _INT32.unpack_from(body, position + 1)
                position += 5
                place = numbered[number] if 0 <= number < len(numbered) else None
                if place is None:
                    raise MalformedError("refers to what is not there")
            elif tag in _SHORT_TEXTS:
                start = position + 2
                position = start + body[position + 1]
                text = body[start:position]
                place = texts[text] if text in texts else self._new_text(text)
                if tag & _NUMBERED:
                    numbered.append(place)
            else:
                self.position = position
                place = self._numbered(tag)
                position = self.position
            places.append(self._fitted(place, slot) if slot else place)
        self.position = position
        return places

    def _numbered(self, tag: int) -> int:
        """Read an object that may take a number, before those of the objects in it."""
        if tag < _NUMBERED or tag in _NUMBERED_SINGLETONS:
            return self._object(tag & ~_NUMBERED)
        number = len(self.numbered)
        self.numbered.append(None)
        place = self.numbered[number] = self._object(tag & ~_NUMBERED)
        return place

    def _object(self, tag: int) -> int:
        # The commonest first.
        if tag == _BYTES:
            return self._bytes()
        if tag == _SMALL_TUPLE:
            return self._tuple(self._taken(2)[1])
        if tag in _SINGLETONS:
            return self._single(self._taken(1))
        if tag == _CODE:
            return self._code()
        return self._number(tag) if tag in _NUMBERS else self._rarer(tag)

    def _number(self, tag: int) -> int:
        if tag == _LONG:  # the sign of the length is that of the number
            (digits,) = _INT32.unpack_from(self.body, self.position + 1)
            return self._place(b"l" + self._taken(5 + 2 * abs(digits))[1:])
        head = _BYTE[tag] + self._taken(1 + _NUMBERS[tag])[1:]
        return self._single(head) if head in _SMALL_INTS else self._place(head)

    def _rarer(self, tag: int) -> int:
        if tag in _LONG_TEXTS:
            return self._text_place(self._taken(5 + self._length())[5:])
        if tag == _TUPLE:
            count = self._length()
            self._taken(5)
            return self._tuple(count)
        if tag == _FROZENSET:
            return self._frozenset(self._length())
        if tag == _SLICE and self.has_slices:
            self._taken(1)
            items = tuple(self.read((_ANY,) * 3))
            return self._place(b":", items, (b":", items))
        raise MalformedError(f"holds the unknown tag {tag:#04x}")

    def _fitted(self, place: int, slot: int) -> int:
        """Return what goes into a slot of a code object for what was read there."""
        if self.heads[place][0] not in _FITTING[slot]:
            raise MalformedError("holds an object in a wrong place")
        if slot == _NAME:
            self.interned.add(place)
        elif slot == _NAMES:
            names = self.items[place]
            if not all(self.heads[name][0] in _FITTING[_NAME] for name in names):
                raise MalformedError("holds a name that is no string")
            self.interned.update(names)
        elif slot == _FILE:
            if self.filename is not None:
                place = self._text_place(self.filename)
            self.interned.add(place)
        elif slot == _LINES and self.filename is not None:
            table = without_columns(self.heads[place][5:])
            place = self._place(b"s" + _INT32.pack(len(table)) + table)
        return place

    def _length(self) -> int:
        length: int = _INT32.unpack_from(self.body, self.position + 1)[0]
        if length < 0:
            raise MalformedError("holds a negative length")
        return length

    def _taken(self, size: int) -> bytes:
        """Return the next bytes; they must all be there."""
        start = self.position
        self.position += size
        if self.position > len(self.body):
            raise MalformedError("ends early")
        return self.body[start : self.position]

    def _place(self, head: bytes, items: tuple[int, ...] = (), key: object = None) -> int:
        """Return the place of an object, a new one unless an equal one is there."""
        key = key or head
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = len(self.heads)
            self.heads.append(head)
            self.items.append(items)
        return place

    def _single(self, head: bytes, items: tuple[int, ...] = (), key: object = None) -> int:
        place = self._place(head, items, key)
        self.single.add(place)
        return place

    def _bytes(self) -> int:
        data = self._taken(5 + self._length())
        return self._place(data if data[0] == _BYTES else b"s" + data[1:])

    def _text_place(self, text: bytes) -> int:
        return self.texts[text] if text in self.texts else self._new_text(text)

    def _new_text(self, text: bytes) -> int:
        ascii_only = text.isascii()
        head = _head(b"z", b"a", len(text)) if ascii_only else b"u" + _INT32.pack(len(text))
        # Found by its text alone: a string is one object, whether interned or not.
        place = self.texts[text] = self._place(head + text)
        if ascii_only and (not text or text.replace(b"_", b"a").isalnum()):
            self.interned.add(place)
        return place

    def _tuple(self, count: int) -> int:
        items = tuple(self.read(repeat(_ANY, count)))
        if not items:
            return self._single(b")\0")
        head = _head(b")", b"(", count)
        return self._place(head, items, (head, items))

    def _frozenset(self, count: int) -> int:
        self._taken(5)
        items = tuple(sorted(self.read(repeat(_ANY, count)), key=self._spelled))
        head = b">" + _INT32.pack(count)
        return self._place(head, items, (head, items))

    def _spelled(self, place: int) -> bytes:
        """Return an object's bytes without any reference."""
        return self.heads[place] + b"".join(map(self._spelled, self.items[place]))

    def _code(self) -> int:
        head = b"c" + self._taken(1 + self.integers)[1:]
        before, after = self.slots
        items = self.read(before)
        line = self._taken(4)  # no object
        items.append(self._single(line, (), (_LINE, line)))
        items += self.read(after)
        # A key of its own: two functions of one value are still two code objects.
        return self._single(head, tuple(items), (_CODE, len(self.heads)))


def _head(short: bytes, long: bytes, length: int) -> bytes:
    """Return tag and length, of one byte where that is enough."""
    return short + bytes([length]) if length < _SHORT else long + _INT32.pack(length)


class _Writer:
    """Writes the objects of a table, each where it first occurs."""

    def __init__(self, table: _Reader) -> None:
        self.heads = table.heads
        self.items = table.items
        self.interned = table.interned
        self.single = table.single
        self.references: list[bytes | None] = [None] * len(table.heads)
        self.count = 0
        self.parts: list[bytes] = []

    def write(self, root: int) -> bytes:
        """Return the bytes of an object with all that it contains."""
        self._object(root)
        return b"".join(self.parts)

    def _object(self, place: int) -> None:
        """Append an object that was not written before."""
        head = self.heads[place]
        tag = head[0]
        shared = place not in self.single
        if place in self.interned:
            tag = _INTERNED[tag]
            shared = len(head) > _REFERENCE_TO.size
        if shared:
            self.references[place] = _REFERENCE_TO.pack(_REFERENCE, self.count)
            self.count += 1
            tag |= _NUMBERED
        references, add = self.references, self.parts.append
        add(_BYTE[tag])
        add(head[1:])
        for item in self.items[place]:
            reference = references[item]
            if reference is None:
                self._object(item)
            else:
                add(reference)
