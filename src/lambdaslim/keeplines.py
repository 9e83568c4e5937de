"""Finds few gitignore lines that match some paths and spare others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise, takewhile

#: More lines than these are nobody's configuration: then fewer lines match slightly more.
MOST_LINES = 12
# What `Patterns` accepts; a longer path is matched by a directory above it.
_LONGEST_LINE = 1_000
_SHORTEST_START = 3
# How much a line may match: less the deeper it starts, and then by its kind.
_Rank = tuple[int, int]
# Lines like "/**/*.py" are wider than the first of these, and none is wider than the second.
_NARROW: _Rank = (0, 2)
_WIDE: _Rank = (0, 5)
_SPECIAL = re.compile(r"([\\*?\[\]])|( +$)")


def keep_lines(
    wanted: Collection[str], spared: Collection[str], most: int = MOST_LINES
) -> tuple[str, ...]:
    """Return anchored lines ("/cv2/config*.py") that match all of `wanted`, in order.

    None of them matches a path of `spared`, unless that would take more than `most` lines (or one
    that is too long): then those are taken that match the fewest of `spared`. Other paths, those
    that no list names, may be matched too.

    >>> keep_lines(["cv2/config.py", "cv2/config-3.py"], ["cv2/__init__.py"])
    ('/cv2/config*.py',)
    """
    cover = _Cover(frozenset(wanted), frozenset(spared))
    lines = cover.exact(_NARROW)
    if len(lines) > most:
        lines = cover.at_most(most, cover.exact(_WIDE))
    return tuple(sorted(lines))


class _Cover:
    """The lines that could match some of the wanted paths, and how much else they match."""

    def __init__(self, wanted: frozenset[str], spared: frozenset[str]) -> None:
        self.wanted = wanted
        self.starts = _shared_starts(wanted)
        self.matched: dict[str, set[str]] = {}
        self.rank: dict[str, _Rank] = {}
        for path in sorted(wanted):
            for rank, line in self._lines(path):
                self.matched.setdefault(line, set()).add(path)
                self.rank[line] = rank
        also = (line for path in spared for line in {line for _, line in self._lines(path)})
        self.strays = Counter(line for line in also if line in self.matched)

    def exact(self, widest: _Rank) -> list[str]:
        """Return lines without strays: those that match the most, and of equals the narrowest."""
        sound = [s for s in self.matched if not self.strays[s] and self.rank[s] <= widest]
        sound.sort(key=lambda line: (-len(self.matched[line]), self.rank[line], line))
        left = set(self.wanted)
        chosen: list[str] = []
        for line in sound:
            if left & self.matched[line]:
                left -= self.matched[line]
                chosen.append(line)
        # Only paths that are too long for a line are left.
        chosen += {self._narrowest(path) for path in left}
        return self._without_idle(chosen)

    def at_most(self, most: int, lines: list[str]) -> list[str]:
        """Put wider lines in the place of several, until there are few enough."""
        while len(lines) > most:
            replaced: dict[str, list[str]] = {}
            for line in lines:
                for wider in {wider for _, wider in self._lines(min(self.matched[line]))}:
                    if self.matched[line] <= self.matched[wider]:
                        replaced.setdefault(wider, []).append(line)
            fewer = {wider: len(those) - 1 for wider, those in replaced.items() if len(those) > 1}
            best = min(fewer, key=lambda w: (self.strays[w] / fewer[w], self.rank[w], w))
            lines = [best, *(line for line in lines if line not in replaced[best])]
        return lines

    def _narrowest(self, path: str) -> str:
        return min(self._lines(path), key=lambda pair: (self.strays[pair[1]], *pair))[1]

    def _without_idle(self, lines: list[str]) -> list[str]:
        """Leave out the lines whose paths others match as well."""
        often = Counter(path for line in lines for path in self.matched[line])
        busy: list[str] = []
        for line in reversed(lines):
            if all(often[path] > 1 for path in self.matched[line]):
                often.subtract(self.matched[line])
            else:
                busy.append(line)
        return busy

    def _lines(self, path: str) -> Iterator[tuple[_Rank, str]]:
        """Yield every line in question that matches a path, with its rank."""
        literal = f"/{_escaped(path)}"
        found = [((-path.count("/") - 1, 0), literal), *self._wider(path)]
        return ((rank, line) for rank, line in found if len(line) <= _LONGEST_LINE)

    def _wider(self, path: str) -> Iterator[tuple[_Rank, str]]:
        parts = path.split("/")
        for depth, first in enumerate(parts):
            above = "".join(f"/{_escaped(part)}" for part in parts[:depth])
            for start in self.starts.get("/".join(parts[:depth]), ()):
                if first.startswith(start):
                    begun = f"{above}/{_escaped(start)}*"
                    yield from (((-depth, 1), f"{begun}{s}") for s in _suffix(first, start))
                    yield (-depth, 2), begun
            yield from (((-depth, 3), f"{above}/*{s}") for s in _suffix(first))
            anywhere = {s for part in parts[depth:] for s in _suffix(part)}
            yield from (((-depth, 4), f"{above}/**/*{s}") for s in anywhere)
            yield (-depth, 5), f"{above}/" if depth else "/*"


def _shared_starts(paths: Iterable[str]) -> dict[str, set[str]]:
    """Return, per directory, the first characters that several names in it share."""
    names: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        for depth, name in enumerate(parts):
            names.setdefault("/".join(parts[:depth]), set()).add(name)
    return {
        directory: {
            start
            for pair in pairwise(sorted(inside))
            if len(start := _shared_start(*pair).rstrip()) >= _SHORTEST_START
        }
        for directory, inside in names.items()
    }


def _shared_start(one: str, other: str) -> str:
    pairs = zip(one, other, strict=False)
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _suffix(name: str, start: str = "") -> Iterator[str]:
    """Yield the suffix of a name as part of a line, if there is one after `start`."""
    _, dot, last = name.removeprefix(start).rpartition(".")
    if dot:
        yield _escaped(f".{last}")


def _escaped(text: str) -> str:
    """Return a line's part that matches this text and nothing else."""
    return _SPECIAL.sub(lambda m: f"\\{m[1]}" if m[1] else m[2].replace(" ", "\\ "), text)
