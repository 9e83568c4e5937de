"""Spells a code object in memory as `canonical` spells its marshalled bytes, and sooner.

The rules are those of `canonical.py`, which reads bytes one object at a time. Where the compiler's
code object is at hand, a name that has occurred before costs no step of Python. The two are written
apart, and the tests compare what they write in every interpreter.

This file is only loaded in those, by the compiling worker, so it is written for 3.8 and imports
nothing of lambdaslim.
"""

from __future__ import annotations

import marshal
import struct
import sys
from itertools import chain, count
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Names = tuple[str, ...]
    _Next = Callable[[], bytes]

_INT32 = struct.Struct("<i")
# A tag, and the number of an object or the length of bytes.
_TAGGED = struct.Struct("<Bi")
_REFERENCE = ord("r")
_FIRST_REFERENCES = [_TAGGED.pack(_REFERENCE, number) for number in range(10_000)]
_NUMBERED = 0x80
_BYTES = ord("s") | _NUMBERED
_LONGEST_SHORT = _MOST_SMALL = 255
_SMALL_TUPLES = [bytes((ord(")") | _NUMBERED, size)) for size in range(_MOST_SMALL + 1)]
_EMPTY_TUPLE = b")\0"
# By type, since 1 and True are equal.
_SINGLE: dict[type, dict[object, bytes]] = {
    type(None): {None: b"N"},
    bool: {True: b"T", False: b"F"},
    type(...): {...: b"."},
}
# No two values of different ones of these types are equal, so a tuple of them is its own key.
_DISTINCT = frozenset({str, int, bytes, type(None), type(...)})
_NESTED = _DISTINCT | {tuple}
# Interpreters have these once, so they take no number.
_SMALL_INTS = {value: b"i" + _INT32.pack(value) for value in range(-5, 257)}
_IS_NEW = sys.version_info >= (3, 11)
_INTEGERS = struct.Struct("<5i" if _IS_NEW else "<6i")
# Flags of code objects: it is a function's, which may take any number of arguments.
_OPTIMIZED, _VARIABLE, _KEYWORDS = 0x01, 0x04, 0x08
# Kinds of locals (Include/internal/pycore_code.h).
_POSITIONAL, _KEYWORD, _MANY, _LOCAL, _CELL, _FREE = 0x02, 0x04, 0x08, 0x20, 0x40, 0x80
_MARKS_ARGUMENTS = sys.version_info >= (3, 14)
# What the compiler itself makes a cell of in classes and modules.
_OF_CLASSES = frozenset({"__class__", "__classdict__", "__conditional_annotations__"})
# marshal's version 2 has no references and one way to write each of the values it is used for.
_PLAIN = 2
# Bytes before a string or bytes object in it: a tag and a length.
_HEAD = 5
# What to write for strings that look like names, by string: the same in every source.
_known_names: dict[str, bytes] = {}
_MOST_KNOWN = 100_000


class UnknownCodeError(ValueError):
    """A code object that is not put together as those of the known versions."""


def spelled(code: CodeType) -> bytes:
    """Return the canonical spelling of a code object of the running interpreter.

    Raises:
        UnknownCodeError: it holds something that is not known here; `canonical` may still spell it.
    """
    writer = _Writer(code)
    try:
        return writer.code(code)
    finally:
        # The writer holds methods of its own; the process that compiles looks for no such cycles.
        writer.writers.clear()


class _Writer:
    """Writes objects in order; what occurs again is a reference to the first.

    A table gives for a value what to write where it stands next: where it is missing that is its
    bytes, and from then on a reference to them. So what has occurred costs no step of Python.
    """

    def __init__(self, root: CodeType) -> None:
        self.locals: dict[int, _Names] = {}
        #: The reference to the object that takes the next number.
        self.next: _Next = chain(_FIRST_REFERENCES, _more_references()).__next__
        self.text = _Texts(self.next, self._named(root)).__getitem__
        self.data = _Bytes(self.next).__getitem__
        # References to tuples and other values by what tells them from all others.
        self.others: dict[object, bytes] = {}
        self.writers: dict[type, Callable[..., bytes]] = {
            str: self.text,
            CodeType: self.code,
            tuple: self.tuple,
            int: _Integers(self.next).__getitem__,
            float: self.other,
            complex: self.other,
            bytes: self.data,
            frozenset: self.other,
            slice: self.other,
            **{kind: table.__getitem__ for kind, table in _SINGLE.items()},
        }

    def _named(self, root: CodeType) -> set[str]:
        """Return the names in the code objects: interned wherever they occur as strings."""
        found: set[str] = set()
        waiting = [root]
        while waiting:
            code = waiting.pop()
            self.locals[id(code)] = local = _local_names(code)
            found.update(code.co_names, local, (code.co_name, code.co_filename))
            if _IS_NEW:
                found.add(code.co_qualname)
            waiting += [each for each in code.co_consts if type(each) is CodeType]
        return found

    def all(self, items: tuple[object, ...]) -> bytes:
        writers = self.writers
        try:
            return b"".join([writers[type(item)](item) for item in items])
        except KeyError as error:
            raise UnknownCodeError(f"holds a {error}") from None

    def names(self, items: _Names) -> bytes:
        """Write a tuple of strings."""
        if not items:
            return _EMPTY_TUPLE
        reference = self.others.get(items)
        if reference:
            return reference
        self.others[items] = self.next()
        return _tuple_head(items) + b"".join(map(self.text, items))

    def tuple(self, items: tuple[object, ...]) -> bytes:
        if not items:
            return _EMPTY_TUPLE
        types = set(map(type, items))
        if CodeType in types:  # never equal to another
            self.next()
        else:
            key = items if types <= _DISTINCT or _is_distinct(items, types) else _unshared(items)
            reference = self.others.get(key)
            if reference:
                return reference
            self.others[key] = self.next()
        return _tuple_head(items) + self.all(items)

    def other(self, value: object) -> bytes:
        """Write a value of a rarer type."""
        key = _unshared(value)
        if key in self.others:
            return self.others[key]
        self.others[key] = self.next()
        head, items = _parts(value)
        return _flagged(head) + self.all(items)

    def code(self, code: CodeType) -> bytes:
        return (self._new if _IS_NEW else self._old)(code)

    def _new(self, code: CodeType) -> bytes:
        """Write the slots of 3.11 on, in order, since numbers are given in order."""
        local = self.locals[id(code)]
        data, text = self.data, self.text
        return b"".join(
            (
                b"c",
                _INTEGERS.pack(
                    code.co_argcount,
                    code.co_posonlyargcount,
                    code.co_kwonlyargcount,
                    code.co_stacksize,
                    code.co_flags,
                ),
                data(code.co_code),
                self.tuple(code.co_consts),
                self.names(code.co_names),
                self.names(local),
                data(_kinds(code, local)),
                text(code.co_filename),
                text(code.co_name),
                text(code.co_qualname),
                _INT32.pack(code.co_firstlineno),
                data(code.co_linetable),
                data(code.co_exceptiontable),
            )
        )

    def _old(self, code: CodeType) -> bytes:
        """Write the slots up to 3.10."""
        return b"".join(
            (
                b"c",
                _INTEGERS.pack(
                    code.co_argcount,
                    code.co_posonlyargcount,
                    code.co_kwonlyargcount,
                    code.co_nlocals,
                    code.co_stacksize,
                    code.co_flags,
                ),
                self.data(code.co_code),
                self.tuple(code.co_consts),
                self.names(code.co_names),
                self.names(code.co_varnames),
                self.names(code.co_freevars),
                self.names(code.co_cellvars),
                self.text(code.co_filename),
                self.text(code.co_name),
                _INT32.pack(code.co_firstlineno),
                self.data(_lines(code)),
            )
        )


class _Texts(dict):  # type: ignore[type-arg] # 3.8 has no dict[str, bytes]
    """The table of strings."""

    def __init__(self, following: _Next, names: set[str]) -> None:
        super().__init__()
        self.next = following
        self.names = names

    def __missing__(self, text: str) -> bytes:
        data = _known_names[text] if text in _known_names else self._written(text)
        # An interned string below this size is no longer than a reference.
        self[text] = data if data[0] < _NUMBERED else self.next()
        return data

    def _written(self, text: str) -> bytes:
        looks = text.isascii() and (not text or text.replace("_", "a").isalnum())
        data = _text(text)
        if looks or text in self.names:
            # Z, A and t are z, a and u of interned strings.
            data = (b"t" if data[:1] == b"u" else data[:1].upper()) + data[1:]
            if len(data) > _TAGGED.size:
                data = _flagged(data)
        else:
            data = _flagged(data)
        if looks and len(_known_names) < _MOST_KNOWN:
            _known_names[text] = data
        return data


class _Bytes(dict):  # type: ignore[type-arg] # as above
    """The table of bytes."""

    def __init__(self, following: _Next) -> None:
        super().__init__()
        self.next = following

    def __missing__(self, value: bytes) -> bytes:
        self[value] = self.next()
        return _TAGGED.pack(_BYTES, len(value)) + value


class _Integers(dict):  # type: ignore[type-arg] # as above
    """The table of integers."""

    def __init__(self, following: _Next) -> None:
        super().__init__(_SMALL_INTS)
        self.next = following

    def __missing__(self, value: int) -> bytes:
        self[value] = self.next()
        return _flagged(marshal.dumps(value, _PLAIN))


def _more_references() -> Iterator[bytes]:
    for number in count(len(_FIRST_REFERENCES)):
        yield _TAGGED.pack(_REFERENCE, number)


def _flagged(data: bytes) -> bytes:
    return bytes((data[0] | _NUMBERED,)) + data[1:]


def _text(text: str) -> bytes:
    """Return a string as one that is not interned."""
    data = text.encode("utf-8", "surrogatepass")
    if not text.isascii():
        return b"u" + _INT32.pack(len(data)) + data
    if len(data) <= _LONGEST_SHORT:
        return bytes((ord("z"), len(data))) + data
    return b"a" + _INT32.pack(len(data)) + data


def _tuple_head(items: tuple[object, ...]) -> bytes:
    """Return the head of a tuple that takes a number."""
    size = len(items)
    if size <= _MOST_SMALL:
        return _SMALL_TUPLES[size]
    return bytes((ord("(") | _NUMBERED,)) + _INT32.pack(size)


def _is_distinct(items: tuple[object, ...], types: set[type]) -> bool:
    """Tell whether a tuple, and the tuples in it, hold only what is told apart by `==`."""
    return types <= _NESTED and all(
        [type(item) is not tuple or _is_distinct(item, set(map(type, item))) for item in items]  # noqa: C419 - faster
    )


def _parts(value: object) -> tuple[bytes, tuple[object, ...]]:
    """Return the head of an object without a number, and in order what it contains."""
    if type(value) is tuple:
        head = _tuple_head(value)
        return bytes((head[0] & ~_NUMBERED,)) + head[1:], value
    if type(value) is frozenset:
        return b">" + _INT32.pack(len(value)), tuple(sorted(value, key=_unshared))
    if type(value) is slice:
        return b":", (value.start, value.stop, value.step)
    if isinstance(value, (int, float, complex, bytes)):
        return marshal.dumps(value, _PLAIN), ()
    raise UnknownCodeError(f"holds a {type(value)}")


def _unshared(value: object) -> bytes:
    """Return a value's bytes without any reference: equal for equal values of equal types."""
    if type(value) is str:
        return _text(value)
    if type(value) in _SINGLE:
        return _SINGLE[type(value)][value]
    head, items = _parts(value)
    return head + b"".join(map(_unshared, items))


def _local_names(code: CodeType) -> _Names:
    """Return the names of what lies in a frame, in the order of the frame."""
    names = code.co_varnames
    cells = code.co_cellvars
    if cells:
        names += tuple([name for name in cells if name not in names])
    return names + code.co_freevars


# The kinds of the locals of functions, by what they depend on.
_known_kinds: dict[tuple[object, ...], bytes] = {}


def _kinds(code: CodeType, names: _Names) -> bytes:
    """Return what kind of local each name is (3.11 on), which code objects do not tell."""
    cells = code.co_cellvars
    if not names:
        return b""
    if code.co_flags & _OPTIMIZED:
        key = (
            code.co_nlocals,
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags & (_VARIABLE | _KEYWORDS),
            len(names),
            len(code.co_freevars),
            tuple(map(names.index, cells)) if cells else (),
        )
        if key not in _known_kinds:
            _known_kinds[key] = _of_function(code, names)
        return _known_kinds[key]
    if code.co_nlocals or not _OF_CLASSES.issuperset(cells):
        # Comprehensions that 3.12 on compiles into a module or class, whose names it may hide.
        return _asked_kinds(code, names)
    return bytes((_CELL,)) * len(cells) + bytes((_FREE,)) * len(code.co_freevars)


def _of_function(code: CodeType, names: _Names) -> bytes:
    """Return the kinds as the compiler gives them (compute_localsplus_info)."""
    kinds = bytearray((_LOCAL,)) * code.co_nlocals
    if _MARKS_ARGUMENTS:
        for place, kind in enumerate(_argument_kinds(code)):
            kinds[place] |= kind
    kinds += bytes(len(names) - code.co_nlocals - len(code.co_freevars))
    for name in code.co_cellvars:
        kinds[names.index(name)] |= _CELL
    return bytes(kinds) + bytes((_FREE,)) * len(code.co_freevars)


def _argument_kinds(code: CodeType) -> Iterator[int]:
    """Yield what 3.14 on notes of each argument."""
    for place in range(code.co_argcount):
        yield _POSITIONAL if place < code.co_posonlyargcount else _POSITIONAL | _KEYWORD
    for _ in range(code.co_kwonlyargcount):
        yield _KEYWORD
    if code.co_flags & _VARIABLE:
        yield _MANY | _POSITIONAL
    if code.co_flags & _KEYWORDS:
        yield _MANY | _KEYWORD


def _asked_kinds(code: CodeType, names: _Names) -> bytes:
    """Let marshal write the code object, and take the kinds from there.

    After them come three strings, the first line's number, and two bytes objects.
    """
    try:
        data = marshal.dumps(code, _PLAIN)
    except ValueError:  # from 3.14 on it may hold slices, which need a newer version
        raise UnknownCodeError("hides its locals") from None
    texts = (code.co_filename, code.co_name, code.co_qualname)
    sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    sizes += [len(code.co_linetable), len(code.co_exceptiontable)]
    end = len(data) - sum(sizes) - len(sizes) * _HEAD - _INT32.size
    start = end - len(names)
    if data[start - _HEAD : start] != b"s" + _INT32.pack(len(names)):
        raise UnknownCodeError("has a slot that is not known")
    return data[start:end]


def _lines(code: CodeType) -> bytes:
    """Return the table of lines before 3.11."""
    table: bytes = getattr(code, "co_linetable" if sys.version_info >= (3, 10) else "co_lnotab")
    return table
