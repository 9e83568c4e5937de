"""Blanks docstrings of a source, as the parser of the running interpreter sees them.

This file is loaded by the compiling worker in CPython 3.8 to 3.15, so it is written for the oldest
of them, and imports nothing of lambdaslim.

A docstring that stands alone on its lines becomes as many empty lines, so every other line keeps
its number. Nothing but that statement is on these lines, and a suite from whose lines one whole
statement is missing, or is `pass`, parses to the same tree without it.
"""

from __future__ import annotations

import ast
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Union

    Documented = Union[ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef]  # noqa: UP007 - Python 3.8

# What holds statements, or what holds them in turn.
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# PEP 263: an encoding in the first two lines. Columns are those of UTF-8.
ENCODED = re.compile(rb"\A(?:[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)")
UTF_8 = {b"utf-8", b"utf8", b"utf_8"}
# Decorators of the standard library that do not look at what is documented.
INDIFFERENT = {
    "abstractmethod",
    "asynccontextmanager",
    "cache",
    "cached_property",
    "classmethod",
    "contextmanager",
    "deleter",
    "final",
    "getter",
    "lru_cache",
    "overload",
    "override",
    "property",
    "setter",
    "staticmethod",
    "wraps",
}


class Unchanged(ValueError):  # noqa: N818 - no error: the answer that a source stays as it is
    """There is nothing to blank, or it is not certain that it can be."""


def stripped(source: bytes, everywhere: bool) -> bytes:  # noqa: FBT001 - one caller
    """Return a source with empty lines in place of docstrings; raise `Unchanged` for none.

    Unless `everywhere`, docstrings stay that other code may well look at: those of classes with
    bases, and of what is decorated by more than the standard library's indifferent decorators.
    """
    encoded = ENCODED.match(source)
    if (encoded and encoded[1].lower() not in UTF_8) or source.startswith(b"\xef\xbb\xbf"):
        raise Unchanged("not plainly UTF-8")
    lines = source.split(b"\n")
    if any(b"\r" in line[:-1] for line in lines):
        raise Unchanged("lines that end in a carriage return")
    tree = ast.parse(source)
    found = 0
    for node in documented(tree):
        if everywhere or not in_sight(node):
            found += blanked(node, lines)
    if not found:
        raise Unchanged("no docstring that stands alone")
    return b"\n".join(lines)


def documented(tree: ast.Module) -> Iterator[Documented]:
    """Yield the module and all classes and functions in it, without a look into expressions."""
    unseen: list[ast.AST] = [tree]
    while unseen:
        node = unseen.pop()
        if isinstance(node, DOCUMENTED):
            yield node
        for name in BLOCKS:
            unseen += getattr(node, name, ())


def in_sight(node: Documented) -> bool:
    """Tell whether a decorator, a base or a metaclass may look at a docstring."""
    if isinstance(node, ast.Module):
        return False
    if isinstance(node, ast.ClassDef) and (node.bases or node.keywords or node.decorator_list):
        return True
    return any(last_name(one) not in INDIFFERENT for one in node.decorator_list)


def last_name(decorator: ast.expr) -> str:
    """Return the name of a decorator without what it is an attribute of."""
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    if isinstance(decorator, ast.Attribute):
        return decorator.attr
    return decorator.id if isinstance(decorator, ast.Name) else ""


def blanked(node: Documented, lines: list[bytes]) -> bool:
    """Blank the docstring of a node in `lines` if it stands alone there."""
    first = node.body[0] if node.body else None
    if not isinstance(first, ast.Expr) or not is_text(first):
        return False
    start, end = first.lineno - 1, (first.end_lineno or 0) - 1
    before, after = lines[start][: first.col_offset], lines[end][first.end_col_offset :].strip()
    above = lines[start - 1].rstrip() if start else b""
    if before.strip() or after[:1] not in (b"", b"#") or above.endswith(b"\\"):
        return False
    # A body needs a statement, and a text that comes first would be the new docstring.
    needs_one = not isinstance(node, ast.Module) and len(node.body) == 1
    wanted = needs_one or (len(node.body) > 1 and is_text(node.body[1]))
    lines[start] = before + b"pass" if wanted else b""
    lines[start + 1 : end + 1] = [b""] * (end - start)
    return True


def is_text(statement: ast.stmt) -> bool:
    """Tell whether a statement is nothing but a string."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
