"""Which modules a file mentions: imports, and dotted names in strings and in compiled code."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

_DOTTED_TEXT = re.compile(r"[A-Za-z_]\w*(?:[./][A-Za-z_]\w*)+")
_RELATIVE_TEXT = re.compile(r"(\.+)([A-Za-z_][\w.]*)")
_NAME_BACKWARDS = re.compile(rb"[A-Za-z0-9_./]*[A-Za-z_]")
_LONGEST_NAME = 300


def package_of(path: str) -> str:
    """Return the dotted package that relative imports in a module start from.

    >>> package_of("a/b/c.py"), package_of("a/b/__init__.py")
    ('a.b', 'a.b')
    """
    return path.rpartition("/")[0].replace("/", ".")


def mentions(path: str, data: bytes, modules: Collection[str]) -> frozenset[str]:
    """Return those of `modules` (dotted names) that a file may import.

    In a Python source these are the targets of `import` and `from ... import` at any depth of the
    code (`from a import b` mentions `a.b`), and strings that look like a dotted name or a path
    ("a.b", ".b", "a/b"). In bytecode, and in a source that does not parse, names stand apart and
    cannot be told from strings: a module counts if its name and its package's are both there, or
    its name alone, where the file lies in that package. Any other file mentions a module by its
    dotted name or path.

    Args:
        path: POSIX path from the import root, which gives relative imports their package.
        data: the file's content.
        modules: the modules of interest.
    """
    package = package_of(path)
    if path.endswith(".py"):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            return _within(_in_source(data, package), modules)
    if path.endswith((".py", ".pyc")):
        return frozenset(module for module in modules if _may_import(data, package, module))
    return _within(_in_text(data, {module.rpartition(".")[2] for module in modules}), modules)


def _within(names: Iterable[str], modules: Collection[str]) -> frozenset[str]:
    """Return the modules that the names are, or lie in."""
    wanted = frozenset(modules)
    prefixes = (
        ".".join(name.split(".")[:n]) for name in names for n in range(1, name.count(".") + 2)
    )
    return wanted.intersection(prefixes)


def _may_import(data: bytes, package: str, module: str) -> bool:
    parent, _, name = module.rpartition(".")
    if name.encode() not in data:
        return False
    inside = f"{package}.".startswith(f"{parent}.")
    return inside or parent.rpartition(".")[2].encode() in data


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
    elif _lists_submodules(node):
        words = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
        yield from (f"{package}.{word}" for word in words if isinstance(word, str))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _in_string(node.value, package)


def _lists_submodules(node: ast.AST) -> bool:
    """Tell whether a node lists names that `import *` or a lazy loader imports as submodules."""
    if isinstance(node, ast.keyword):
        return node.arg in ("fromlist", "submodules")
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)


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


def _in_text(data: bytes, words: Iterable[str]) -> Iterator[str]:
    """Yield the dotted texts that reach to one of `words`, found by plain searches.

    A regular expression that starts with a name would visit every byte of a 30 MB library.
    """
    for word in words:
        for end in (f".{word}".encode(), f"/{word}".encode()):
            place = data.find(end)
            while place >= 0:
                start = _NAME_BACKWARDS.match(data[max(place - _LONGEST_NAME, 0) : place][::-1])
                if start:
                    yield (start[0][::-1] + end).decode("ascii").replace("/", ".")
                place = data.find(end, place + 1)
