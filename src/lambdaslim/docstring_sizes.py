"""How many bytes of a source are docstrings, by how they look.

Parsing a source tells it exactly, and takes longer than compiling it; this takes hardly any time,
and serves to say what blanking docstrings would save before anybody asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from lambdaslim.docstrings import INDIFFERENT

_QUOTES = re.compile(rb"\"{3}|'{3}")
_DEFINES = re.compile(rb"[ \t]*(?:async[ \t]+)?(def|class)\b[ \t]*\w*[ \t]*(\([ \t]*\)?)?")
_DECORATOR = re.compile(rb"@(?:\w+\.)*(\w+)")
# Lines that are looked at above a docstring for the definition that it belongs to.
_MOST_LINES = 400
_PREFIX = b"rRuU"


def docstring_bytes(source: bytes, *, everywhere: bool = False) -> int:
    r"""Return about as many bytes as blanking the docstrings of a source would save.

    Args:
        source: Python.
        everywhere: also those of classes with bases and of what is decorated, see
            `docstrings.stripped`.

    >>> docstring_bytes(b"def f():\n    '''Twelve.'''\n    return 1\n")
    17
    """
    sizes = (_size(source, *place, everywhere=everywhere) for place in _texts(source))
    return sum(sizes)


def _texts(source: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each text in triple quotes."""
    opening = _QUOTES.search(source)
    while opening:
        end = source.find(opening[0], opening.end())
        if end < 0:
            return
        yield opening.start(), end + len(opening[0])
        opening = _QUOTES.search(source, end + len(opening[0]))


def _size(source: bytes, start: int, end: int, *, everywhere: bool) -> int:
    """Return the bytes of the lines of a text if it is a docstring, else 0."""
    line = source.rfind(b"\n", 0, start) + 1
    indent = source[line:start].rstrip(_PREFIX)
    if indent.strip() or not _documents(source, line, len(indent), everywhere=everywhere):
        return 0
    return end - line - source.count(b"\n", line, end)


def _documents(source: bytes, place: int, indent: int, *, everywhere: bool) -> bool:
    """Tell whether a text at a line's start is the docstring of a module, or of what is defined."""
    above = _code_above(source, place)
    first = next(above, None)
    if first is None:
        return indent == 0
    if not first.split(b"#")[0].rstrip().endswith(b":"):
        return False
    for header in chain([first], above):
        if _indent(header) < indent and (found := _DEFINES.match(header)):
            bases = found[1] == b"class" and found[2] is not None and not found[2].endswith(b")")
            return everywhere or not (bases or _in_sight(above, _indent(header)))
    return False


def _code_above(source: bytes, place: int) -> Iterator[bytes]:
    """Yield the lines above a place, from the last one on, that are neither empty nor a comment."""
    for _ in range(_MOST_LINES):
        if place == 0:
            return
        start = source.rfind(b"\n", 0, place - 1) + 1
        line = source[start : place - 1]
        if line.strip() and not line.lstrip().startswith(b"#"):
            yield line
        place = start


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip())


def _in_sight(above: Iterator[bytes], indent: int) -> bool:
    """Tell whether the lines above a definition are a decorator that may look at a docstring."""
    within = False  # the brackets of a decorator of several lines, as far as one can tell
    for line in above:
        text = line.lstrip()
        if _indent(line) == indent:
            if found := _DECORATOR.match(text):
                if found[1].decode("latin-1") not in INDIFFERENT:
                    return True
                within = False
            elif text.startswith((b")", b"]")) and not within:
                within = True
            else:
                return False
        elif not within:
            return False
    return False
