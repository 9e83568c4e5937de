"""Finds directories that distributions installed under some names, and who mentions them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

from lambdaslim import imports, tokens
from lambdaslim.cache import code_version
from lambdaslim.hazards import BY_PYTEST
from lambdaslim.passes.contract import Context
from lambdaslim.readings import digest_of
from lambdaslim.tree import Tree

# Bytes around an "import" in which its names are looked for; real ones take fewer.
_REACH = 4_000
# Lists of modules whose names stand alone.
_LISTS = (b"__all__", b"submodules", b"fromlist")
_IN_NAMES, _QUOTES = {b".", b"/"}, {b"'", b'"'}
_READ = (".py", ".pyc", ".so", ".pth", "/entry_points.txt")
_AROUND = re.compile(r"(?:^|/)(?:[^/]+\.(?:dist|egg)-info|__pycache__)/")


class Directories:
    """Finds the directories of some names, of recorded distributions, and who mentions them."""

    def __init__(
        self, tree: Tree, context: Context, names: frozenset[str], *, top: bool = False
    ) -> None:
        """Find directories of one of `names`, at any depth or only where `top` distributions are.

        `files` has the recorded files of each.
        """
        self.tree = tree
        self.context = context
        self._glance = _Glance(names | {BY_PYTEST.removesuffix(".py")})
        self.owners_of = context.distributions.owners_of
        self.files: dict[str, tuple[str, ...]] = {}
        for directory in sorted(d for d in tree.directories if d.rpartition("/")[2] in names):
            inside = any(directory.startswith(f"{outer}/") for outer in self.files)
            owned = tuple(path for path in tree.under(directory) if self._is_recorded(path))
            deep = top and owned and directory.rpartition("/")[0] != self._root(owned[0])
            if owned and not inside and not deep:
                self.files[directory] = owned
        # What these mention counts only where other code mentions them.
        self._by_pytest = frozenset(p for p, entry in tree.items() if entry.name == BY_PYTEST)
        self._all_files = self._payload(tree)
        self._dotted: dict[str, list[str]] = {}
        for place in (*self.files, *sorted(self._by_pytest)):
            self._dotted.setdefault(self._module(place), []).append(place)
        self._asked = digest_of(self._dotted)

    def names(self, path: str) -> frozenset[str]:
        """Return the names of the distributions that own a file."""
        return frozenset(owner.name for owner in self.owners_of(path))

    def owners(self, directories: Iterable[str]) -> frozenset[str]:
        """Return the names of the distributions that own some of the found directories."""
        paths = (path for one in directories for path in self.files[one])
        return frozenset(name for path in paths for name in self.names(path))

    def _is_recorded(self, path: str) -> bool:
        """Tell whether a RECORD proves that a distribution installed the file.

        Without one, owned files are found by name, and the user's own tests may be among them.
        """
        return any(owner.recorded for owner in self.owners_of(path))

    def _root(self, path: str) -> str:
        owner = self.context.distributions.owner(path)
        return owner.root if owner else ""

    def _module(self, place: str) -> str:
        root = self._root(self.files[place][0] if place in self.files else place)
        inside = place.removeprefix(f"{root}/" if root else "")
        return inside.removesuffix(".py").replace("/", ".")

    def whole_payload(self, directory: str) -> str | None:
        """Return why a directory is all that a distribution has, if it is."""
        mine = self._payload(self.files[directory])
        for name, files in mine.items():
            if files == self._all_files[name]:
                return f"{name} holds nothing else"
        return None

    def _payload(self, paths: Iterable[str]) -> Counter[str]:
        """Count the files per distribution that are neither metadata nor caches."""
        payload = (path for path in paths if not _AROUND.search(path))
        return Counter(owner.name for path in payload for owner in self.owners_of(path))

    def needed(self, kept: Iterable[str], gone: frozenset[str] = frozenset()) -> dict[str, str]:
        """Return the directories that files outside of removed ones mention, with the reason.

        `gone` are other files that are removed.
        What a kept directory's own files mention is needed too, so this goes on until no more is.
        """
        removed = set(self.files) - set(kept)
        if not removed:
            return {}
        found: dict[str, str] = {}
        unread = [path for path in self._outside(removed) if path not in gone]
        removed |= self._by_pytest
        while unread and removed:
            new: dict[str, str] = {}
            for place, why in (pair for path in unread for pair in self._mentions(path)):
                if place in removed:
                    new.setdefault(place, why)
            removed -= set(new)
            found |= new
            unread = [path for place in new for path in self._inside(place)]
        return {place: why for place, why in found.items() if place in self.files}

    def _inside(self, place: str) -> Iterator[str]:
        """Yield the files of a directory, or a file for pytest, whose mentions count."""
        if place in self._by_pytest:
            yield place
        yield from (path for path in self.tree.under(place) if path not in self._by_pytest)

    def _outside(self, removed: set[str]) -> list[str]:
        """Return the files that stay, the user's own ones in the directories included."""
        below = {path for directory in removed for path in self.files[directory]}
        kept = {path for path in below if self.context.keep.match(path)}
        below = (below - kept) | self._by_pytest
        return [path for path in self.tree if path not in below]

    def _mentions(self, path: str) -> Iterator[tuple[str, str]]:
        if not f"/{path}".endswith(_READ) or "__pycache__" in path:
            return
        root = self._root(path)
        name = path.removeprefix(f"{root}/" if root else "")
        find = partial(self._mentioned, name)
        by = f"{_code()} {name} {self._asked} {self._glance.names}"
        for module in self.context.readings.texts("tests", self.tree[path], find, by=by):
            for place in self._dotted[module]:
                yield place, f"{path} imports or names {module}"

    def _mentioned(self, path: str, data: bytes) -> list[str]:
        if path.endswith(".py") and not self._glance(data):
            return []
        return sorted(imports.mentions(path, data, self._dotted))


def _code() -> str:
    return code_version(__file__, str(imports.__file__), str(tokens.__file__))


class _Glance:
    """A cheap first look: may a source mention a directory of one of some names?

    Only one with a name in an import, after a dot or slash, or in a list of names can, and parsing
    all others would take most of the run. Plain searches find the names, which regular expressions
    do much slower.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = "|".join(sorted(names))
        self._words = tuple(name.encode() for name in sorted(names))

    def __call__(self, data: bytes) -> bool:
        """Tell in linear time whether the source may."""
        places = sorted(place for word in self._words for place in _places(data, word))
        if not places:
            return False
        before = {data[place - 1 : place] for place in places}
        if before & _IN_NAMES or (before & _QUOTES and self._in_a_string(data)):
            return True
        return any(_between(places, *ends) for ends in _imports(data))

    def _in_a_string(self, data: bytes) -> bool:
        """Tell whether one of the names may be one of a list's, or start a longer name."""
        return any(word in data for word in _LISTS) or any(
            word + after in data for word in self._words for after in _IN_NAMES
        )


def _places(data: bytes, word: bytes) -> Iterator[int]:
    """Yield where a word stands, and is no part of a longer one."""
    place = data.find(word)
    while place >= 0:
        end = place + len(word)
        if not (_is_word(data[place - 1 : place]) or _is_word(data[end : end + 1])):
            yield place
        place = data.find(word, end)


def _is_word(letter: bytes) -> bool:
    return letter.isalnum() or letter == b"_"


def _between(places: list[int], start: int, end: int) -> bool:
    following = bisect_left(places, start)
    return following < len(places) and places[following] < end


def _imports(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end of what may be imports."""
    for place in _places(data, b"import"):
        after = place + len(b"import")
        # A relative import names what it imports from before, in the same line.
        start = max(data.rfind(b"\n", max(place - _REACH, 0), place), place - _REACH, 0)
        line = data.find(b"\n", after, after + _REACH)
        line = line if line >= 0 else after + _REACH
        # Brackets and backslashes, wherever they are, carry a line on to the next.
        goes_on = any(data.find(one, after, line) >= 0 for one in (b"(", b"\\"))
        yield start, after + _REACH if goes_on else line
