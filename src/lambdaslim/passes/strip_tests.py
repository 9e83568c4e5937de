"""Remove the tests that distributions ship, unless something outside them needs them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from lambdaslim import imports, tokens
from lambdaslim.cache import code_version
from lambdaslim.passes.contract import Context
from lambdaslim.readings import digest_of
from lambdaslim.tree import Decision, Keep, Remove, Tree

_NAMES = frozenset({"tests", "test"})
# A cheap first look: only a source with one of the names in an import or after a dot or slash can
# mention a test directory, and parsing all others would take most of the run.
_WORD = re.compile(rb"\btests?\b")
_NAMED = re.compile(rb"[./]tests?\b|__all__|\bsubmodules\b|\bfromlist\b")
_IMPORT = re.compile(rb"\bimport\b")
# Bytes after an "import" in which its names are looked for; real ones take fewer.
_REACH = 4_000
_READ = (".py", ".pyc", ".so", ".pth", "/entry_points.txt")
_AROUND = re.compile(r"(?:^|/)(?:[^/]+\.(?:dist|egg)-info|__pycache__)/")
# pytest loads these by itself, and only when it runs tests.
_PYTEST_ONLY = "conftest.py"


@dataclass(frozen=True, slots=True)
class StripTests:
    """Remove directories named exactly `tests` or `test` that distributions own.

    A directory stays when a file outside of all removed ones imports it, names it in a string or an
    entry point, when a keep-rule names it, or when its distribution holds nothing else. Files that
    no RECORD lists are the user's and stay.
    """

    name: ClassVar[str] = "strip-tests"

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a removal per file of a removed directory, and a `Keep` per one that stays."""
        found = _Search(tree, context)
        kept = {d: why for d in found.directories if (why := self._forbidden(d, found, context))}
        kept |= found.needed(kept)
        hazards = context.scan(tree)
        named = hazards.tests if hazards else {}
        for directory, files in found.directories.items():
            if directory in kept:
                yield Keep(directory, kept[directory])
            else:
                for path in files:
                    edit = Remove(path, "tests of a distribution")
                    yield Keep(path, named[path]) if path in named else edit

    def _forbidden(self, directory: str, found: _Search, context: Context) -> str | None:
        """Return why a directory stays whatever the imports are."""
        for path in found.directories[directory]:
            if rule := context.rule(self.name, path, found.tree):
                return rule.why
        return found.whole_payload(directory)


class _Search:
    """Finds the test directories of a tree and who mentions them."""

    def __init__(self, tree: Tree, context: Context) -> None:
        self.tree = tree
        self.context = context
        self.owners_of = context.distributions.owners_of
        self.directories: dict[str, tuple[str, ...]] = {}
        for directory in sorted(d for d in tree.directories if d.rpartition("/")[2] in _NAMES):
            inside = any(directory.startswith(f"{outer}/") for outer in self.directories)
            owned = tuple(path for path in tree.under(directory) if self._is_recorded(path))
            if owned and not inside:
                self.directories[directory] = owned
        self._all_files = self._payload(tree)
        self._dotted: dict[str, list[str]] = {}
        for directory in self.directories:
            self._dotted.setdefault(self._module(directory), []).append(directory)
        self._asked = digest_of(self._dotted)

    def _is_recorded(self, path: str) -> bool:
        """Tell whether a RECORD proves that a distribution installed the file.

        Without one, owned files are found by name, and the user's own tests may be among them.
        """
        return any(owner.recorded for owner in self.owners_of(path))

    def _root(self, path: str) -> str:
        owner = self.context.distributions.owner(path)
        return owner.root if owner else ""

    def _module(self, directory: str) -> str:
        root = self._root(self.directories[directory][0])
        return directory.removeprefix(f"{root}/" if root else "").replace("/", ".")

    def whole_payload(self, directory: str) -> str | None:
        """Return why a directory is all that a distribution has, if it is."""
        mine = self._payload(self.directories[directory])
        for name, files in mine.items():
            if files == self._all_files[name]:
                return f"{name} holds nothing else"
        return None

    def _payload(self, paths: Iterable[str]) -> Counter[str]:
        """Count the files per distribution that are neither metadata nor caches."""
        payload = (path for path in paths if not _AROUND.search(path))
        return Counter(owner.name for path in payload for owner in self.owners_of(path))

    def needed(self, kept: Iterable[str]) -> dict[str, str]:
        """Return the directories that files outside of removed ones mention, with the reason.

        What a kept directory's own files mention is needed too, so this goes on until no more is.
        """
        removed = set(self.directories) - set(kept)
        found: dict[str, str] = {}
        unread = self._outside(removed)
        while unread and removed:
            new: dict[str, str] = {}
            for directory, why in (pair for path in unread for pair in self._mentions(path)):
                if directory in removed:
                    new.setdefault(directory, why)
            removed -= set(new)
            found |= new
            unread = [path for d in new for path in self.tree.under(d)]
        return found

    def _outside(self, removed: set[str]) -> list[str]:
        """Return the files that stay, the user's own ones in the directories included."""
        below = {path for directory in removed for path in self.directories[directory]}
        kept = {path for path in below if self.context.keep.match(path)}
        return [path for path in self.tree if path not in below or path in kept]

    def _mentions(self, path: str) -> Iterator[tuple[str, str]]:
        if not f"/{path}".endswith(_READ) or f"/{path}".endswith(f"/{_PYTEST_ONLY}"):
            return
        if "__pycache__" in path:
            return
        root = self._root(path)
        name = path.removeprefix(f"{root}/" if root else "")
        find = partial(_mentioned, name, modules=self._dotted)
        by = f"{_code()} {name} {self._asked}"
        for module in self.context.readings.texts("tests", self.tree[path], find, by=by):
            for directory in self._dotted[module]:
                yield directory, f"{path} imports or names {module}"


def _code() -> str:
    return code_version(__file__, str(imports.__file__), str(tokens.__file__))


def _mentioned(path: str, data: bytes, *, modules: Collection[str]) -> list[str]:
    if path.endswith(".py") and not _may_name_tests(data):
        return []
    return sorted(imports.mentions(path, data, modules))


def _may_name_tests(data: bytes) -> bool:
    """Tell at a glance, in linear time, whether a source may mention a test directory."""
    if not _WORD.search(data):
        return False
    if _NAMED.search(data):
        return True
    end = 0
    for found in _IMPORT.finditer(data):
        # A relative import names what it imports from before, in the same line.
        start = max(data.rfind(b"\n", 0, found.start()), found.start() - _REACH, end)
        line = data.find(b"\n", found.end())
        bracket = data[found.end() : found.end() + 2].lstrip().startswith((b"(", b"\\"))
        end = found.end() + _REACH if bracket or line < 0 else line
        if _WORD.search(data, max(start, 0), end):
            return True
    return False
