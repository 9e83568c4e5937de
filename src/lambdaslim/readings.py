"""What was found in single files, so that each is read once, be it in an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from lambdaslim import imports, signs, tokens
from lambdaslim.cache import Cache, code_version
from lambdaslim.signs import Signs
from lambdaslim.tree import Entry


class Readings:
    """Remembers what reading a file gave, by its content, in a run and in a cache."""

    def __init__(self, cache: Cache | None = None) -> None:
        """Take what earlier runs have read from `cache`."""
        self._cache = cache or Cache(None)
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
        if not self._cache:
            return tuple(find(entry.read()))
        data = None
        if entry not in self._digests:
            data = entry.read()
            self._digests[entry] = hashlib.sha256(data).hexdigest()
        key = f"{self._digests[entry]} {by}"
        known = self._cache.get(kind, key)
        if known is not None:
            return tuple(json.loads(known))
        found = tuple(find(entry.read() if data is None else data))
        self._cache.put(kind, key, json.dumps(found).encode())
        return found

    def signs(self, entry: Entry) -> Signs:
        """Return the signs in a source."""
        if entry not in self._signs:
            found = self.texts("signs", entry, _signs_as_texts, by=_code())
            self._signs[entry] = signs.from_text(found[0]) if found else signs.NONE
        return self._signs[entry]

    def hands_over(self, entry: Entry) -> frozenset[str]:
        """Return the names of functions that a source gives its own place to."""
        return frozenset(self.texts("hands-over", entry, _hands_over_sorted, by=_code()))

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


def _code() -> str:
    return code_version(*(str(Path(str(module.__file__))) for module in (signs, imports, tokens)))


def _signs_as_texts(data: bytes) -> list[str]:
    found = signs.read_signs(data)
    return [] if found is signs.NONE else [signs.as_text(found)]


def _hands_over_sorted(data: bytes) -> list[str]:
    return sorted(signs.hands_over(data))


def _docstrings_as_texts(data: bytes) -> list[str]:
    return ["used"] if signs.uses_docstrings(data) else []
