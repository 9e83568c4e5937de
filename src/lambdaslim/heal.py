"""Finds the fewest edits that have to be undone for a package to work again.

The search knows nothing about packages: it asks a function whether a tree still fails. Every answer
may take seconds, so what counts is the number of questions. docs/explanation/healing.md tells how
they are chosen.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from lambdaslim.errors import UnhealableError
from lambdaslim.keeplines import keep_lines
from lambdaslim.patterns import Patterns
from lambdaslim.pipeline import Result
from lambdaslim.tree import Tree
from lambdaslim.undo import Undoing

# From this many edits on, it is found out first whether only few of them matter.
_MANY = 16
_SAMPLES = 3
_SAMPLE = 8
# Where most edits matter, this many parts are looked into; where more matter, it stays whole.
_FEW_PARTS = 2
# An item of the search, by the first path of its edits; they are undone together.
_Items = frozenset[str]


@dataclass(frozen=True, slots=True)
class Healing:
    """The edits whose undoing mends a failure.

    Attributes:
        undone: files by their path before the run, whose edits have to be undone. The metadata of a
            distribution, and what a pass says belongs together, is undone as a whole.
        keep: anchored gitignore lines ("/cv2/config*.py") for the pipeline's `keep`. They match
            `undone` and, if that takes no more than 12 lines, nothing else that was edited.
        by_pass: the number of undone edits per pass.
        calls: how often the predicate was asked.
        minimal: whether each of them is known to be needed, if undoing more never does harm. False
            when the questions ran out, or when so many are needed that a directory is named whole.
    """

    undone: frozenset[str]
    keep: tuple[str, ...]
    by_pass: Mapping[str, int]
    calls: int
    minimal: bool


def heal(
    result: Result,
    still_fails: Callable[[Tree], bool],
    *,
    suspects: Sequence[str] = (),
    most_calls: int = 120,
    spend: Callable[[], bool] | None = None,
) -> Healing:
    """Return the smallest set of edits that is found whose undoing mends a failure.

    Args:
        result: what a pipeline made of a tree. Its `after` fails; that is not tried again.
        still_fails: tells whether a tree fails as `result.after` does. It has been asked about the
            tree that the answer stands for, and has said no.
        suspects: paths (files or directories, as before the run) or names of distributions that are
            tried first.
        most_calls: how often `still_fails` may be called.
        spend: asked before each call; as soon as it says False, nothing more is tried.

    Raises:
        UnhealableError: undoing everything does not mend it, or nothing could be tried.
    """
    search = _Search(result, still_fails, _Budget(most_calls, spend or _always))
    try:
        search.begin(search.named(suspects))
        search.narrow(search.groups(suspects))
    except _SpentError:
        search.minimal = False
    if search.mending is None:
        fix = "allow more calls or more time"
        raise UnhealableError("nothing that was tried mends it", fix=fix)
    undone = search.closed(search.mending)
    edits = search.undoing.edits
    spared = edits.keys() - undone
    return Healing(
        undone=undone,
        keep=tuple(_any_version(line, result, spared) for line in keep_lines(undone, spared)),
        by_pass=Counter(change.pass_name for path in undone for change in edits[path]),
        calls=search.budget.calls,
        minimal=search.minimal,
    )


class _SpentError(Exception):
    """No more questions are allowed."""


@dataclass(slots=True)
class _Budget:
    most: int
    more: Callable[[], bool]
    calls: int = 0

    def take(self) -> None:
        if self.calls >= self.most or not self.more():
            raise _SpentError
        self.calls += 1


class _Search:
    """The state of one search: `mending` is the smallest set so far that was seen to mend."""

    def __init__(
        self, result: Result, still_fails: Callable[[Tree], bool], budget: _Budget
    ) -> None:
        self.result = result
        self.still_fails = still_fails
        self.budget = budget
        self.undoing = Undoing(result)
        self.mending: _Items | None = None
        self.minimal = True
        self._items = _items(self.undoing)
        self._answers: dict[frozenset[str], bool] = {}
        # The same questions for the same result.
        self._random = Random(0)  # noqa: S311 - no secret depends on it

    def closed(self, items: Iterable[str]) -> frozenset[str]:
        """Return the paths of items, and those that have to be undone with them."""
        return self.undoing.closed(path for item in items for path in self._items[item])

    def begin(self, suspected: _Items) -> None:
        """Find out whether anything mends the failure; raise `UnhealableError` if nothing does."""
        everything = frozenset(self._items)
        own = frozenset(item for item in everything if not self._follows(item))
        if not any(some and self.mends(some) for some in (suspected, own, everything)):
            raise self._unhealable()

    def _follows(self, item: str) -> bool:
        """Tell whether an edit is only the consequence of another one."""
        return self.undoing.edits[item][0].follows is not None

    def _unhealable(self) -> UnhealableError:
        added_by = ", ".join(self.undoing.added_by)
        if added_by:
            self.budget.take()
            if not self.still_fails(self.result.before):
                what = f"what mends it is to leave out the files that {added_by} added"
                return UnhealableError(what, fix="skip that pass")
        what = "it fails in the same way with every edit undone"
        return UnhealableError(what, fix="mend the packages, or run it as it was meant to be run")

    def named(self, suspects: Sequence[str]) -> _Items:
        """Return the items that suspects name."""
        known = self.result.distributions
        places = tuple(f"{one.strip('/')}/" for one in suspects)
        names = {known[one].name for one in suspects if one in known}
        return frozenset(
            item
            for item in self._items
            if f"{item}/".startswith(places) or names & {one.name for one in known.owners_of(item)}
        )

    def groups(self, suspects: Sequence[str]) -> list[_Items]:
        """Return what may be needed by pass and distribution: suspects first, then the cheapest."""
        found: dict[tuple[str, str], set[str]] = {}
        for item in sorted(self.mending or ()):
            owner = self.result.distributions.owner(item)
            pass_name = self.undoing.edits[item][0].pass_name
            found.setdefault((pass_name, owner.name if owner else ""), set()).add(item)
        first = self.named(suspects)
        groups = self._cheapest_first(frozenset(items) for items in found.values())
        return sorted(groups, key=first.isdisjoint)

    def _cheapest_first(self, parts: Iterable[_Items]) -> list[_Items]:
        """Sort by the bytes that undoing gives back, so that of two ways the lighter is found."""
        return sorted(parts, key=lambda items: (sum(map(self._saved, items)), min(items)))

    def _saved(self, item: str) -> int:
        edits = self.undoing.edits
        return sum(change.saved for path in self._items[item] for change in edits[path])

    def mends(self, items: Iterable[str]) -> bool:
        """Ask whether undoing these items, and no others, mends the failure."""
        asked = frozenset(items)
        paths = self.closed(asked)
        if paths not in self._answers:
            self.budget.take()
            self._answers[paths] = not self.still_fails(self.undoing.tree(paths))
        if self._answers[paths]:
            self.mending = asked
        return self._answers[paths]

    def narrow(self, groups: Sequence[_Items]) -> None:
        """Cut `mending` down to what is needed: first to groups, then within each."""
        needed, _ = self._needed(groups, frozenset(), len(groups))
        for items in needed:
            self._reduce(items)

    def _needed(
        self, parts: Sequence[_Items], others: _Items, most: int
    ) -> tuple[list[_Items], bool]:
        """Return the parts without which it fails, and whether these were all.

        All parts with `others` mend, `others` alone do not. No more than `most` are looked for;
        `mending` holds the found ones and what may be needed beside them.
        """
        found: list[_Items] = []
        while len(found) < most:
            # The shortest beginning that mends ends with a part that is needed.
            length = bisect_left(
                range(len(parts)),
                x=True,
                lo=1,
                key=lambda n: self.mends(others.union(*parts[:n])),
            )
            found.append(parts[length - 1])
            others |= parts[length - 1]
            parts = parts[: length - 1]
            if not parts or self.mends(others):
                return found, True
        return found, False

    def _reduce(self, items: _Items) -> None:
        """Cut one part of `mending` down: to single edits, or by directories if many matter."""
        if len(items) == 1:
            return
        others = (self.mending or items) - items
        some, amount = self._sampled(items, others) if len(items) >= _MANY else (items, "few")
        parts = [frozenset({item}) for item in some] if amount == "few" else _by_directory(some)
        if amount == "many" and len(parts) == len(some):
            self.minimal = False
            return
        most = _FEW_PARTS if amount == "many" else len(parts)
        needed, whole = self._needed(self._cheapest_first(parts), others, most)
        self.minimal &= whole
        for part in needed if whole else ():
            self._reduce(part)

    def _sampled(self, items: _Items, others: _Items) -> tuple[_Items, Literal["few", "", "many"]]:
        """Return the items without some that are not needed, and how many of them are.

        If few are needed, a random half may hold all of them. If many are, even a small random
        sample holds one of them.
        """
        shuffled = sorted(items)
        self._random.shuffle(shuffled)
        middle = len(shuffled) // 2
        for half in (shuffled[:middle], shuffled[middle:]):
            if self.mends(others.union(half)):
                return frozenset(half), "few"
        for _ in range(_SAMPLES):
            fewer = items.difference(self._random.sample(shuffled, len(items) // _SAMPLE))
            if self.mends(others | fewer):
                return fewer, ""
        return items, "many"


def _always() -> bool:
    return True


def _items(undoing: Undoing) -> dict[str, tuple[str, ...]]:
    """Return the paths to be undone together, by the first of them.

    The metadata of a distribution is one thing: with one file of it back, importlib.metadata finds
    the distribution, and states no version. A program may run on that, and be wrong.
    """
    found: dict[object, list[str]] = {}
    for path, changes in undoing.edits.items():
        unit = next(((one.pass_name, one.unit) for one in changes if one.unit is not None), None)
        owner = undoing.result.distributions.owner(path)
        metadata = owner.metadata if owner and path.startswith(f"{owner.metadata}/") else None
        found.setdefault(unit or metadata or path, []).append(path)
    return {min(paths): tuple(paths) for paths in found.values()}


def _any_version(line: str, result: Result, spared: Collection[str]) -> str:
    """Return the line of a metadata directory without the version, which the next update changes.

    Any other line, and one that would match what is to be spared, stays as it is.
    """
    for one in result.distributions.every:
        head, dash, tail = one.metadata.rpartition(f"-{one.version}.")
        if dash and line == f"/{one.metadata}/":
            looser = Patterns([f"/{head}-*.{tail}/"])
            return line if any(map(looser.match, spared)) else looser.lines[0]
    return line


def _by_directory(items: _Items) -> list[_Items]:
    """Return two or more items by what lies directly in the directory that has all of them."""
    above = posixpath.commonpath(items)
    start = len(above) + 1 if above else 0
    found: dict[str, set[str]] = {}
    for item in items:
        found.setdefault(item[start:].partition("/")[0], set()).add(item)
    return [frozenset(inside) for inside in found.values()]
