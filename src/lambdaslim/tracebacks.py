"""Puts source lines back into the tracebacks of Lambda's logs.

A package of bytecode has no sources, so its tracebacks name file, line and function only. The lines
come from the package's sources companion, which is compared with every frame first.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import decode_source
from typing import Any

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
# A line of a log may have braces before its JSON, but not many.
_MOST_BRACES = 8
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_FIX = "give the companion that was written with the package that ran"


def restore_tracebacks(text: str, companion: Companion) -> str:
    """Return the text of a log with a source line below each frame of the package.

    Frames are found in plain lines and in the strings of JSON, at any depth: in Lambda's own JSON
    log lines, in those of other loggers, and in what AWS's tools print. Everything else, frames of
    the runtime and of sources that the package still holds included, stays as it is. Restoring a
    second time changes nothing.

    Raises:
        CompanionError: a frame names a file that is in neither the package nor the companion, or a
            line that its function does not have: the package that ran is another one.
    """
    return _Restorer(companion).text(text)


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
    """Restores the texts of one log."""

    def __init__(self, companion: Companion) -> None:
        self._companion = companion
        self._root = f"{companion.root}/"
        self._sources: dict[str, _Source] = {}

    def text(self, text: str) -> str:
        """Restore a text: one JSON document, or lines of text and of JSON."""
        if self._root not in text:
            return text
        body = text.strip()
        document = _parsed(body) if body[:1] in ("{", "[") else None
        if document is None:
            return "".join(self._lines(text))
        head, _, tail = text.partition(body)
        return head + self._json(body, document) + tail

    def _lines(self, text: str) -> Iterator[str]:
        lines = [(match[1], match[2]) for match in _LINE.finditer(text) if match[0]]
        end_before = ""
        for (line, end), (following, _) in zip(lines, [*lines[1:], ("", "")], strict=True):
            yield (
                line + end
                if self._root not in line
                else self._line(line, end, following, "\r" if end_before == "\r" else end or "\n")
            )
            end_before = end

    def _line(self, line: str, end: str, following: str, between: str) -> str:
        """Restore a line that names the root; `between` separates it from an added one."""
        for start in _braces(line):
            body = line[start:].rstrip()
            if (document := _parsed(body)) is not None:
                tail = line[start + len(body) :]
                return line[:start] + self._json(body, document) + tail + end
        frame = self._frame(line)
        if frame is None or frame.is_followed_by_source(following):
            return line + end
        source = self._source_line(frame)
        return line + end if source is None else line + between + frame.source_line(source) + end

    def _frame(self, line: str) -> _Frame | None:
        start = line.find(f'File "{self._root}')
        found = _FRAME.match(line, start) if start >= 0 else None
        if not found:
            return None
        before = line[:start].rstrip(_BLANKS)
        path = found["file"].removeprefix(self._root)
        return _Frame(before, line[len(before) : start], path, int(found["line"]), found["name"])

    def _json(self, text: str, document: object) -> str:
        """Restore the strings of a document; its text stays if there is nothing to restore."""
        try:
            restored = self._value(document)
        except RecursionError:
            return text
        return text if restored == document else _dumped(restored, document, text)

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        return value

    def _source_line(self, frame: _Frame) -> str | None:
        """Return the source line of a frame, None if the package itself holds the source.

        Raises:
            CompanionError: the frame contradicts the companion.
        """
        if frame.path in self._companion.kept:
            return None
        where = f"{frame.path}:{frame.line}"
        if frame.path not in self._companion.sources:
            what = "is in a traceback, and in neither the package nor its companion"
            raise CompanionError(what, where=where, fix=_FIX)
        if frame.path not in self._sources:
            data = self._companion.sources[frame.path].read()
            self._sources[frame.path] = _Source(_decoded(data))
        source = self._sources[frame.path]
        if not source.has(frame.line, frame.name):
            inside = f" of {frame.name}" if frame.name else ""
            what = f"is in a traceback, and in the companion it is no line of code{inside}"
            raise CompanionError(what, where=where, fix=_FIX)
        return source.lines[frame.line - 1].strip()


def _braces(line: str) -> Iterator[int]:
    """Yield where JSON may begin."""
    place = line.find("{")
    for _ in range(_MOST_BRACES):
        if place < 0:
            return
        yield place
        place = line.find("{", place + 1)


def _parsed(text: str) -> object:
    """Return a JSON object or list, None for anything else."""
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
        return document if isinstance(document, dict | list) else None
    return None


def _dumped(document: object, original: object, text: str) -> str:
    """Return the document as JSON in the style in which `text` is the original."""
    styles: list[dict[str, Any]] = [
        {"separators": (", ", ": ")},
        {"separators": (",", ":")},
        *({"indent": indent} for indent in (1, 2, 4)),
    ]
    ascii_only = text.isascii()
    for style in styles:
        if json.dumps(original, ensure_ascii=ascii_only, **style) == text:
            return json.dumps(document, ensure_ascii=ascii_only, **style)
    tight = '":' in text and '": ' not in text
    return json.dumps(document, ensure_ascii=ascii_only, **styles[tight])


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
            return False
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
        """The lines of each function and class, by name."""
        found: dict[str, list[range]] = {}
        for node in self._nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                lines = range(first, (node.end_lineno or node.lineno) + 1)
                found.setdefault(node.name, []).append(lines)
        return found


def _own_lines(node: ast.AST) -> range:
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", None)
    compound = hasattr(node, "body") and not isinstance(node, ast.expr)
    return range(first, first + 1 if compound or last is None else last + 1)
