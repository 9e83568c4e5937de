"""Puts source lines back into the tracebacks of Lambda's logs.

A package of bytecode has no sources, so its tracebacks name file, line and function only. The lines
come from the package's sources companion, which is compared with every frame first.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import decode_source

from lambdaslim.companion import Companion
from lambdaslim.errors import CompanionError

# Lambda's client ends the lines of one event with CR, and indents them with no-break spaces.
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_BLANKS = " \t\u00a0"
# For errors at import, Lambda's client writes `File "x.py" Line 3` and no function.
_FRAME = re.compile(
    r'File "(?P<file>[^"]+\.py)",? [Ll]ine (?P<line>\d{1,9})'
    r'(?:, in (?P<name>(?:[\w.]|<[^<>"]*>)+))?\s*\Z'
)
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_FIX = (
    "give the companion that was written with the package that ran, "
    "or prove that this is it (--package, --digest)"
)
# Statements and type parameters whose code has their name; the last four are new in 3.12.
_SCOPES = {
    *("FunctionDef", "AsyncFunctionDef", "ClassDef"),
    *("TypeAlias", "TypeVar", "ParamSpec", "TypeVarTuple"),
}
# A character of a string of JSON; two escapes may be one character (a surrogate pair).
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """A log with its source lines.

    Attributes:
        text: the log.
        lines: how many source lines were added.
        strangers: frames that the companion contradicts, which were left as they are.
    """

    text: str
    lines: int
    strangers: tuple[str, ...]


def restore_tracebacks(text: str, companion: Companion, *, certain: bool = False) -> Restored:
    """Put a source line below each frame of the package in a log.

    Frames are found in plain lines and in the strings of JSON, at any depth: in Lambda's own JSON
    log lines, in those of other loggers, and in what AWS's tools print. Everything else, frames of
    the runtime and of sources that the package still holds included, stays as it is, byte for byte.
    Restoring a second time changes nothing.

    Args:
        text: the log.
        companion: of the package that ran.
        certain: somebody has compared the package that ran with the companion (see
            `Companion.demand`), so a frame that fits neither is of something else, such as an
            earlier deployment.

    Raises:
        CompanionError: not `certain`, and a frame names a file that is in neither the package nor
            the companion, or a line that its function does not have: the package that ran is
            another one.
    """
    restorer = _Restorer(companion)
    added = [*restorer.insertions(text)]
    if restorer.strangers and not certain:
        where, what = next(iter(restorer.strangers.items()))
        raise CompanionError(what, where=where, fix=_FIX)
    return Restored(_inserted(text, added), restorer.lines, tuple(restorer.strangers))


# Where something is added, counted in characters of the text as it was.
_Insertion = tuple[int, str]


def _inserted(text: str, insertions: Iterable[_Insertion]) -> str:
    parts: list[str] = []
    done = 0
    for place, added in sorted(insertions):
        parts += [text[done:place], added]
        done = place
    return "".join([*parts, text[done:]])


@dataclass(frozen=True, slots=True)
class _Frame:
    """A line of a traceback: what stands before its indent, the indent, and what it names."""

    before: str
    indent: str
    path: str
    line: int
    name: str | None

    def source_line(self, source: str) -> str:
        """Return the line below it: indented by two more of the same blanks."""
        return f"{self.before}{self.indent}{(self.indent[:1] or ' ') * 2}{source}"

    def is_followed_by_source(self, following: str) -> bool:
        """Tell whether the next line is deeper indented text and no frame."""
        rest = following.removeprefix(self.before)
        text = rest.lstrip(_BLANKS)
        return len(rest) - len(text) > len(self.indent) and text[:6] not in ("", 'File "')


class _Restorer:
    """Finds what to add to the texts of one log."""

    def __init__(self, companion: Companion) -> None:
        self._companion = companion
        self._root = f"{companion.root}/"
        self._sources: dict[str, _Source] = {}
        # In a string of JSON the quotes of a frame are escaped, in a nested one several times.
        self._quoted = re.compile(rf'File \\+"{re.escape(self._root)}')
        self.lines = 0
        self.strangers: dict[str, str] = {}

    def insertions(self, text: str) -> Iterator[_Insertion]:
        """Yield what to add to a text: lines of text, with JSON among them or within them."""
        if self._root not in text:
            return
        yield from self._below_frames(text)
        for start, end in self._literals(text):
            yield from self._in_literal(text[start:end], start)

    def _below_frames(self, text: str) -> Iterator[_Insertion]:
        lines = [match for match in _LINE.finditer(text) if match[0]]
        end_before = ""
        for match, following in zip(lines, [*(one[1] for one in lines[1:]), ""], strict=True):
            line, end = match[1], match[2]
            if self._root in line and (added := self._below(line, following)) is not None:
                between = "\r" if end_before == "\r" else end or "\n"
                self.lines += 1
                yield match.end(1), between + added
            end_before = end

    def _below(self, line: str, following: str) -> str | None:
        """Return the line to add below a line, or None."""
        frame = self._frame(line)
        if frame is None or frame.is_followed_by_source(following):
            return None
        source = self._source_line(frame)
        return frame.source_line(source) if source else None

    def _frame(self, line: str) -> _Frame | None:
        start = line.find(f'File "{self._root}')
        found = _FRAME.match(line, start) if start >= 0 else None
        # What stands before the frame comes before its source too; no frames are repeated so.
        if not found or self._quoted.search(line, 0, start):
            return None
        blank = line[start - 1 : start]
        before = line[:start].rstrip(blank) if blank and blank in _BLANKS else line[:start]
        path = found["file"].removeprefix(self._root)
        return _Frame(before, line[len(before) : start], path, int(found["line"]), found["name"])

    def _literals(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where the outermost strings of JSON around escaped frames begin and end."""
        done = 0
        for found in self._quoted.finditer(text):
            if found.start() >= done:
                start, end = _quote_before(text, found.start()), _quote_after(text, found.start())
                if start is not None and end is not None:
                    done = end
                    yield start, end

    def _in_literal(self, literal: str, start: int) -> Iterator[_Insertion]:
        """Yield what to add to a string of JSON, which begins at `start` of the text."""
        try:
            value = json.loads(literal)
        except ValueError:
            return
        places = _places(literal)
        for place, added in self.insertions(value):
            escaped = json.dumps(added, ensure_ascii=literal.isascii())[1:-1]
            yield start + places[place], escaped

    def _source_line(self, frame: _Frame) -> str | None:
        """Return the source line of a frame, None where there is none to be had."""
        if frame.path in self._companion.kept or frame.path in self._companion.sourceless:
            return None
        where = f"{frame.path}:{frame.line}"
        if frame.path not in self._companion.sources:
            what = "is in a traceback, and in neither the package nor its companion"
            self.strangers.setdefault(where, what)
            return None
        if frame.path not in self._sources:
            data = self._companion.sources[frame.path].read()
            self._sources[frame.path] = _Source(_decoded(data))
        source = self._sources[frame.path]
        if not source.has(frame.line, frame.name):
            inside = f" of {frame.name}" if frame.name else ""
            what = f"is in a traceback, and in the companion it is no line of code{inside}"
            self.strangers.setdefault(where, what)
            return None
        return source.lines[frame.line - 1].strip()


def _quote_before(text: str, place: int) -> int | None:
    """Return where the string begins that `place` is in: its line's last quote not escaped."""
    while (place := text.rfind('"', text.rfind("\n", 0, place) + 1, place)) >= 0:
        if not _is_escaped(text, place):
            return place
    return None


def _quote_after(text: str, place: int) -> int | None:
    """Return where the string that `place` is in ends, its quote included."""
    line_end = text.find("\n", place)
    line_end = len(text) if line_end < 0 else line_end
    while (place := text.find('"', place, line_end)) >= 0:
        if not _is_escaped(text, place):
            return place + 1
        place += 1
    return None


def _is_escaped(text: str, place: int) -> bool:
    start = place
    while start and text[start - 1] == "\\":
        start -= 1
    return (place - start) % 2 == 1


def _places(literal: str) -> list[int]:
    """Return where each character of a string of JSON, and its end, stands in its literal."""
    places = [match.start() for match in _CHARACTER.finditer(literal, 1, len(literal) - 1)]
    return [*places, len(literal) - 1]


def _decoded(data: bytes) -> str:
    try:
        return decode_source(data)
    except (SyntaxError, UnicodeError):
        return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


class _Source:
    """A source: its lines, and which of them are code of which function."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Not splitlines(), which also splits at characters that end no line of Python.
        self.lines = text.split("\n")

    def has(self, line: int, name: str | None) -> bool:
        """Tell whether a frame in a function of this name may be at this line."""
        if not 0 < line <= len(self.lines) or not self.lines[line - 1].strip():
            # The code of an empty module is at its first line.
            return line == 1 and not self._text.strip()
        if self._tree is None:  # a grammar that this Python does not know
            return True
        if line not in self._code:
            return False
        # <module>, <lambda> and the like, and what the compiler adds by itself, are no statements.
        last = (name or "<module>").rpartition(".")[2]
        if last.startswith("<") or (last.startswith("__") and last.endswith("__")):
            return True
        return any(line in scope for scope in self._scopes.get(last, ()))

    @cached_property
    def _tree(self) -> ast.Module | None:
        with warnings.catch_warnings(), suppress(*_UNREADABLE):
            warnings.simplefilter("ignore")
            return ast.parse(self._text)
        return None

    @cached_property
    def _nodes(self) -> list[ast.AST]:
        nodes = ast.walk(self._tree) if self._tree else iter(())
        return [node for node in nodes if hasattr(node, "lineno")]

    @cached_property
    def _code(self) -> set[int]:
        """The lines of statements; of compound ones only their heads, apart from what is inside."""
        return {line for node in self._nodes for line in _own_lines(node)}

    @cached_property
    def _scopes(self) -> dict[str, list[range]]:
        """The lines of everything that is run as a function under a name."""
        found: dict[str, list[range]] = {}
        for node in self._nodes:
            if type(node).__name__ in _SCOPES:
                name = getattr(node, "name", "")
                decorators = getattr(node, "decorator_list", [])
                first = min(one.lineno for one in [node, *decorators])
                lines = range(first, (getattr(node, "end_lineno", None) or first) + 1)
                found.setdefault(getattr(name, "id", name), []).append(lines)
        return found


def _own_lines(node: ast.AST) -> range:
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", None)
    compound = hasattr(node, "body") and not isinstance(node, ast.expr)
    return range(first, first + 1 if compound or last is None else last + 1)
