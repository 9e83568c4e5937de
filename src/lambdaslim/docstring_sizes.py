"""How many bytes of a source are docstrings, by how they look.

Parsing a source tells it exactly, and takes longer than compiling it; this takes hardly any time,
and serves to say what blanking docstrings would save before anybody asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import NamedTuple

from lambdaslim.docstrings import INDIFFERENT

_QUOTES = re.compile(rb"\"{3}|'{3}")
_DEFINES = re.compile(rb"[ \t]*(?:async[ \t]+)?(def|class)\b[ \t]*\w*[ \t]*(\([ \t]*\)?)?")
_DECORATOR = re.compile(rb"@(?:\w+\.)*(\w+)")
# Lines that are looked at above a docstring for the definition that it belongs to.
_MOST_LINES = 400
# Looks at lines for each line of a source, in all; real ones take fewer than two.
_LOOKS = 20
Steps = Iterator[None]


class _Text(NamedTuple):
    """Where a text is: the start of its first line, its own, and its end."""

    line: int
    start: int
    end: int


# Bytes of indentation that are looked at before a text.
_DEEPEST = 400
_CLOSING = (b")", b"]")
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
    steps = repeat(None, _LOOKS * source.count(b"\n"))
    sizes = (_size(source, text, steps, everywhere=everywhere) for text in _texts(source))
    return sum(sizes)


def _texts(source: bytes) -> Iterator[_Text]:
    """Yield each text in triple quotes that may start a line."""
    opening, last = _QUOTES.search(source), 0
    while opening:
        start = opening.start()
        # No further back than any indentation goes, and not into another text.
        first = max(last, start - _DEEPEST)
        line = source.rfind(b"\n", first, start) + 1
        end = source.find(opening[0], opening.end())
        if end < 0:
            return
        last = end + len(opening[0])
        if line or first == 0:
            yield _Text(line, start, last)
        opening = _QUOTES.search(source, last)


def _size(source: bytes, text: _Text, steps: Steps, *, everywhere: bool) -> int:
    """Return the bytes of the lines of a text if it is a docstring, else 0."""
    line, start, end = text
    before = source[line:start].rstrip(_PREFIX)
    if before.strip() or not _documents(source, line, len(before), steps, everywhere=everywhere):
        return 0
    return end - line - source.count(b"\n", line, end)


def _documents(source: bytes, place: int, indent: int, steps: Steps, *, everywhere: bool) -> bool:
    """Tell whether a text at a line's start is the docstring of a module, or of what is defined."""
    above = _code_above(source, place, steps)
    first = next(above, None)
    if first is None:
        return indent == 0
    if not indent or not first.split(b"#")[0].rstrip().endswith(b":"):
        return False
    for header in chain([first], above):
        if _indent(header) >= indent:
            continue
        if found := _DEFINES.match(header):
            bases = found[1] == b"class" and found[2] is not None and not found[2].endswith(b")")
            return everywhere or not (bases or _in_sight(above, _indent(header)))
        if not header.lstrip().startswith(_CLOSING):
            return False
    return False


def _code_above(source: bytes, place: int, steps: Steps) -> Iterator[bytes]:
    """Yield the lines above a place, from the last one on, that are neither empty nor a comment."""
    for _ in islice(steps, _MOST_LINES):
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
            elif text.startswith(_CLOSING) and not within:
                within = True
            else:
                return False
        elif not within:
            return False
    return False
