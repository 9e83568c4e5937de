"""Which modules a file mentions: imports, and dotted names in strings and in compiled code."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator

_DOTTED_TEXT = re.compile(r"[A-Za-z_]\w*(?:[./][A-Za-z_]\w*)+")
_NAME_BACKWARDS = re.compile(rb"[A-Za-z0-9_./]*[A-Za-z_]")
_RELATIVE_TEXT = re.compile(r"(\.+)([A-Za-z_][\w.]*)")
_LONGEST_NAME = 300


def package_of(path: str) -> str:
    """Return the dotted package that relative imports in a module start from.

    >>> package_of("a/b/c.py"), package_of("a/b/__init__.py")
    ('a.b', 'a.b')
    """
    return path.rpartition("/")[0].replace("/", ".")


def mentioned(path: str, data: bytes, words: frozenset[str]) -> frozenset[str]:
    """Return the dotted names with a part in `words` that a file may import.

    In a Python source these are the targets of `import` and `from ... import` at any depth of the
    code (`from a import b` mentions `a.b`), and strings that look like a dotted name or a path
    ("a.b", "a/b"). In other files (compiled code, entry points, and sources that do not parse)
    names cannot be told from strings, so every dotted text counts, and in Python code every single
    word as if it were imported relatively: that errs on the side of mentioning.

    Args:
        path: POSIX path from the import root, which gives relative imports their package.
        data: the file's content.
        words: the name parts of interest ("tests").
    """
    names: Iterable[str] = ()
    if path.endswith(".py"):
        try:
            names = _in_source(data, package_of(path))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            names = _in_bytes(data, package_of(path), words)
    else:
        names = _in_bytes(data, package_of(path) if path.endswith(".pyc") else None, words)
    return frozenset(name for name in names if not words.isdisjoint(name.split(".")))


def _in_source(data: bytes, package: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ast.parse(data)
    return [name for node in ast.walk(module) for name in _in_node(node, package)]


def _in_node(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _resolve(node.level, node.module, package)
        yield base
        yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _in_string(node.value, package)


def _in_string(text: str, package: str) -> Iterator[str]:
    """Yield the module that a string may be: "a.b", "a/b", or ".b", relative to the package.

    The constant part of an f-string, f"{__package__}.b", is such a relative name too.
    """
    if match := _RELATIVE_TEXT.fullmatch(text):
        yield _resolve(len(match[1]), match[2], package)
    if _DOTTED_TEXT.fullmatch(text.strip("/")):
        yield text.strip("/").replace("/", ".")


def _resolve(level: int, module: str | None, package: str) -> str:
    """Return the absolute name of a relative one; too many dots resolve to the top."""
    if not level:
        return module or ""
    parts = package.split(".")
    above = parts[: max(len(parts) - level + 1, 0)]
    return ".".join(filter(None, [*above, module]))


def _in_bytes(data: bytes, package: str | None, words: Iterable[str]) -> Iterator[str]:
    """Yield the dotted texts up to one of `words`, found by plain searches.

    A regular expression that starts with a name would visit every byte of a 30 MB library. What
    follows the word is not looked at: in bytecode it may be the tag of the next object.
    """
    parts = package.split(".") if package else []
    for word in words:
        for separator in (b".", b"/"):
            yield from _containing(data, separator + word.encode())
        if package is not None and word.encode() in data:
            yield from (".".join([*parts[:depth], word]) for depth in range(len(parts) + 1))


def _containing(data: bytes, end: bytes) -> Iterator[str]:
    place = data.find(end)
    while place >= 0:
        start = _NAME_BACKWARDS.match(data[max(place - _LONGEST_NAME, 0) : place][::-1])
        if start:
            yield (start[0][::-1] + end).decode("ascii").replace("/", ".")
        place = data.find(end, place + 1)
