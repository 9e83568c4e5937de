"""What was found in single files, so that each is read once, be it in an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from functools import cache
from typing import TypeVar

from lambdaslim import docstring_sizes, docstring_uses, docstrings, imports, signs, tokens
from lambdaslim.cache import Cache, code_version
from lambdaslim.docstring_sizes import docstring_bytes
from lambdaslim.docstring_uses import DocstringUses
from lambdaslim.signs import Signs
from lambdaslim.tree import Entry

_Found = TypeVar("_Found", Signs, DocstringUses)


class Readings:
    """Remembers what reading a file gave, by its content, in a run and in a cache."""

    def __init__(self, cache: Cache | None = None) -> None:
        """Take what earlier runs have read from `cache`."""
        self.cache = cache or Cache(None)
        self._digests: dict[Entry, str] = {}
        self._signs: dict[Entry, Signs] = {}

    def texts(
        self, kind: str, entry: Entry, find: Callable[[bytes], Iterable[str]], *, by: str
    ) -> tuple[str, ...]:
        """Return the texts that `find` finds in a file's content.

        Args:
            kind: what is looked for, in a word.
            entry: the file.
            find: called with the content unless the answer is known.
            by: everything else that the answer depends on: the code (see `code_version`), the
                file's path if `find` knows it, what is looked for.

        Raises:
            ChangedError: the file changed since the scan.
        """
        if not self.cache:
            return tuple(find(entry.read()))
        data = None
        if entry not in self._digests:
            data = entry.read()
            self._digests[entry] = hashlib.sha256(data).hexdigest()
        key = f"{self._digests[entry]} {by}"
        known = self.cache.get(kind, key)
        if known is not None:
            return tuple(json.loads(known))
        found = tuple(find(entry.read() if data is None else data))
        self.cache.put(kind, key, json.dumps(found).encode())
        return found

    def signs(self, entry: Entry) -> Signs:
        """Return the signs in a source."""
        if entry not in self._signs:
            found = self.texts("signs", entry, _signs_as_texts, by=_code())
            self._signs[entry] = from_text(Signs, found[0]) if found else signs.NONE
        return self._signs[entry]

    def hands_over(self, entry: Entry) -> frozenset[str]:
        """Return the names of functions that a source gives its own place to."""
        return frozenset(self.texts("hands-over", entry, _hands_over_sorted, by=_code()))

    def defines(self, entry: Entry) -> frozenset[str]:
        """Return the names of the functions and classes that a source may define."""
        return frozenset(self.texts("defines", entry, docstring_uses.defined, by=_code()))

    def docstring_uses(self, entry: Entry) -> DocstringUses:
        """Return what a source needs docstrings for."""
        found = self.texts("docstring-uses", entry, _docstring_uses_as_texts, by=_code())
        return from_text(DocstringUses, found[0]) if found else docstring_uses.NONE

    def docstring_bytes(self, entry: Entry, *, everywhere: bool) -> int:
        """Return about as many bytes of a source as are docstrings, see `docstring_sizes`."""

        def find(data: bytes) -> Iterable[str]:
            yield str(docstring_bytes(data, everywhere=everywhere))

        by = f"{code_version(str(docstring_sizes.__file__), str(docstrings.__file__))} {everywhere}"
        return int(self.texts("docstring-bytes", entry, find, by=by)[0])

    def uses_docstrings(self, entry: Entry) -> bool:
        """Tell whether a source does more with docstrings than to have and to copy them."""
        return bool(self.texts("docstrings", entry, _docstrings_as_texts, by=_code()))

    def mentions(self, path: str, entry: Entry, modules: Collection[str]) -> frozenset[str]:
        """Return those of `modules` that a file may import, see `imports.mentions`."""

        def find(data: bytes) -> Iterable[str]:
            return sorted(imports.mentions(path, data, modules))

        by = f"{_code()} {path} {digest_of(modules)}"
        return frozenset(self.texts("mentions", entry, find, by=by))


def digest_of(names: Iterable[str]) -> str:
    """Return a digest of a set of names, for keys."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def as_text(found: Signs | DocstringUses) -> str:
    """Return a dataclass of flags, numbers and names as JSON; what is as by default is left out."""
    given = {one.name: getattr(found, one.name) for one in fields(found)}
    usual = type(found)()
    shown = {name: value for name, value in given.items() if value != getattr(usual, name)}
    return json.dumps(shown, default=sorted, sort_keys=True)


def from_text(kind: type[_Found], text: str) -> _Found:
    """Return the dataclass of this kind that `as_text` has made a text of."""
    given, usual = json.loads(text), kind()
    for name, value in given.items():
        collection = type(getattr(usual, name))
        if collection in (tuple, frozenset):
            items = (tuple(one) if isinstance(one, list) else one for one in value)
            given[name] = collection(items)
    return kind(**given)


@cache
def _code() -> str:
    modules = (signs, docstring_uses, imports, tokens)
    return code_version(*(str(module.__file__) for module in modules))


def _signs_as_texts(data: bytes) -> list[str]:
    found = signs.read_signs(data)
    return [] if found is signs.NONE else [as_text(found)]


def _docstring_uses_as_texts(data: bytes) -> list[str]:
    found = docstring_uses.docstring_uses(data)
    return [] if found == docstring_uses.NONE else [as_text(found)]


def _hands_over_sorted(data: bytes) -> list[str]:
    return sorted(signs.hands_over(data))


def _docstrings_as_texts(data: bytes) -> list[str]:
    return ["used"] if signs.uses_docstrings(data) else []
