"""Which modules a file mentions: imports, and dotted names in strings and in compiled code."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from lambdaslim.tokens import CLOSING, NAME, NEWLINE, OPENING, STRING, constants, decoded, tokens

_DOTTED_TEXT = re.compile(r"[A-Za-z_]\w*(?:[./][A-Za-z_]\w*)+")
_RELATIVE_TEXT = re.compile(r"(\.+)([A-Za-z_][\w.]*)")
_NAME_BACKWARDS = re.compile(rb"[A-Za-z0-9_./]*[A-Za-z_]")
_LONGEST_NAME = 300
_LISTS_SUBMODULES = ("__all__", "fromlist", "submodules")


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
    ("a.b", ".b", "a/b"). In bytecode names stand apart and cannot be told from strings: a module
    counts if its name and its package's are both there, or its name alone, where the file lies in
    that package. Any other file mentions a module by its dotted name or path.

    Args:
        path: POSIX path from the import root, which gives relative imports their package.
        data: the file's content.
        modules: the modules of interest.
    """
    package = package_of(path)
    if path.endswith(".py"):
        return _within(_in_source(data, package), modules)
    if path.endswith(".pyc"):
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


def _in_source(data: bytes, package: str) -> Iterator[str]:
    """Yield the modules that the statements and strings of a source may mean."""
    stream = _Tokens(data)
    for kind, text in stream:
        if kind == STRING:
            for piece in constants([text, *stream.while_strings()]):
                yield from _in_string(piece, package)
        elif text == "from":
            level, module = stream.dotted()
            if stream.take("import"):
                base = _resolve(level, module, package)
                yield base
                yield from (f"{base}.{name}".lstrip(".") for name in stream.imported())
        elif text == "import":
            yield from stream.imported()
        elif text in _LISTS_SUBMODULES:
            yield from (f"{package}.{word}" for word in stream.assigned(text))


class _Tokens:
    """The tokens of a source, taken one after the other."""

    def __init__(self, data: bytes) -> None:
        self._found = tokens(decoded(data))
        self._place = 0
        self._gathered = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Take token after token."""
        while self._place < len(self._found):
            self._place += 1
            yield self._found[self._place - 1]

    def _next(self) -> tuple[str, str]:
        return self._found[self._place] if self._place < len(self._found) else (NEWLINE, "")

    def take(self, *texts: str) -> str:
        """Take the next token if it is one of `texts`, and return it, else ""."""
        text = self._next()[1]
        if text not in texts:
            return ""
        self._place += 1
        return text

    def while_strings(self) -> Iterator[str]:
        """Take the strings that come next."""
        while self._next()[0] == STRING:
            self._place += 1
            yield self._found[self._place - 1][1]

    def _name(self) -> str:
        kind, text = self._next()
        if kind != NAME or text == "import":
            return ""
        self._place += 1
        return text

    def dotted(self) -> tuple[int, str]:
        """Take a dotted name; return the number of dots before it, and the name."""
        level = 0
        while self.take("."):
            level += 1
        name = self._name()
        while name and self.take("."):
            name += f".{self._name()}"
        return level, name

    def imported(self) -> Iterator[str]:
        """Take what follows `import`: dotted names with or without other names, or "*"."""
        self.take("(")
        while name := self.take("*") or self.dotted()[1]:
            yield name
            if self.take("as"):
                self._name()
            if not self.take(","):
                return

    def assigned(self, name: str) -> Iterator[str]:
        """Take the strings of the value that is assigned to a name, as far as its line goes.

        `__all__` is a statement's target, the others are keywords of a call.
        """
        start = self._place
        if start < self._gathered:  # inside such a value, whose strings are all known
            return
        if self.take(":"):
            while self._next()[1] not in ("=", "") and self._next()[0] != NEWLINE:
                self._place += 1
        if self.take("=", "+="):
            depth, ends = 0, "" if name == "__all__" else ","
            for kind, text in self:
                depth += (text in OPENING) - (text in CLOSING)
                if depth < 0 or (depth == 0 and (kind == NEWLINE or (text and text == ends))):
                    break
                if kind == STRING:
                    yield "".join(constants([text, *self.while_strings()]))
        # Back, since the strings may be dotted names too.
        self._gathered, self._place = self._place, start


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
