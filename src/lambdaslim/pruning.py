"""Applies prune-rules to a tree: which files of which distribution may go, and what spares them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from lambdaslim import native
from lambdaslim.distributions import Distribution, Distributions
from lambdaslim.knowledge.prune import PruneRule
from lambdaslim.readings import Readings
from lambdaslim.tree import Decision, Keep, Remove, Tree
from lambdaslim.usage import Usage

_NATIVE = (".so", ".pyd")


def recorded(tree: Tree, one: Distribution, distributions: Distributions) -> Iterator[str]:
    """Yield the files of a distribution that a RECORD proves to be its own and nobody else's."""
    if one.recorded:
        for path in one.files:
            if path in tree and distributions.owners_of(path) == (one,):
                yield path


@dataclass(frozen=True, slots=True)
class _Case:
    """A rule, the distribution that it concerns, and the files that may go."""

    rule: PruneRule
    distribution: Distribution
    paths: tuple[str, ...]

    @property
    def unit(self) -> str:
        return f"{self.distribution.metadata}: {self.rule.paths.lines[0]}"


class Pruning:
    """What the rules of one pass say about a tree."""

    def __init__(
        self,
        tree: Tree,
        distributions: Distributions,
        rules: Iterable[PruneRule],
        readings: Readings,
        *,
        by: str,
    ) -> None:
        """Find the files that those of `rules` are about that the pass `by` goes by."""
        self._tree = tree
        self._distributions = distributions
        self._readings = readings
        self._rules = tuple(rules)
        self._cases = tuple(self._found([rule for rule in self._rules if rule.by == by]))

    def _found(self, rules: Sequence[PruneRule]) -> Iterator[_Case]:
        taken: set[str] = set()
        for one in self._distributions.every:
            mine = [rule for rule in rules if rule.concerns(one.name, one.version)]
            files = list(recorded(self._tree, one, self._distributions)) if mine else []
            skip = len(one.root) + 1 if one.root else 0
            for rule in mine:
                paths = [path for path in files if rule.paths.match(path[skip:]) is not None]
                new = tuple(path for path in paths if path not in taken)
                taken.update(new)
                if new:
                    yield _Case(rule, one, new)

    def decisions(self) -> Iterator[Decision]:
        """Yield a removal per file that goes, and a `Keep` per rule that does not hold."""
        for case in self._cases:
            rule, name = case.rule, case.distribution.name
            if why := self._spared(case):
                yield Keep(case.paths[0], f"{rule.reason}, but {why} (prune-rule for {name})")
            else:
                for path in case.paths:
                    yield Remove(path, rule.why(name), unit=case.unit)

    def _spared(self, case: _Case) -> str | None:
        """Return why the files of a case stay, None if they go."""
        rule = case.rule
        for name in rule.unless_installed:
            if name in self._distributions:
                return f"{name} is installed"
        if missing := [path for path in rule.instead if not self._there(case, path)]:
            return f"{missing[0]} is not there"
        if rule.when == "unused" and self._usage.unseen is not None:
            return self._usage.unseen
        return self._named(case) or self._needed(case)

    def _there(self, case: _Case, path: str) -> bool:
        root = case.distribution.root
        return (f"{root}/{path}" if root else path) in self._tree

    @cached_property
    def _usage(self) -> Usage:
        return Usage(self._tree, self._distributions, self._readings)

    @cached_property
    def _mentions(self) -> dict[str, tuple[str, ...]]:
        """Who names what any of the rules asks for, found in one look for all passes."""
        asked: dict[str, frozenset[str]] = {}
        for rule, one in product(self._rules, self._distributions.every):
            if rule.concerns(one.name, one.version):
                same = frozenset((one.name, *rule.along))
                asked |= {name: asked.get(name, same) & same for name in rule.unless_named}
        return dict(self._usage.mentions(asked))

    def _named(self, case: _Case) -> str | None:
        same = {case.distribution.name, *case.rule.along}
        for name in case.rule.unless_named:
            for path in self._mentions[name]:
                if same.isdisjoint(one.name for one in self._distributions.owners_of(path)):
                    return f"{path} names {name}"
        return None

    def _needed(self, case: _Case) -> str | None:
        """Return which native file that stays is linked against one of those that would go."""
        going = frozenset(case.paths)
        names = {name for one in self._native if one.path in going for name in one.names}
        for one in self._native if names else ():
            both = names.intersection(one.needed) if one.path not in going else ()
            # Another file may have the name too, and then it serves.
            if lost := [name for name in sorted(both) if not self._served(name, going)]:
                return f"{one.path} needs {lost[0]}"
        return None

    def _served(self, name: str, going: frozenset[str]) -> bool:
        return any(name in one.names for one in self._native if one.path not in going)

    @cached_property
    def _native(self) -> tuple[native.Native, ...]:
        """The native files of the tree, if any of the cases is about one."""
        paths = (path for case in self._cases for path in case.paths)
        if not any(path.endswith(_NATIVE) or ".so." in path for path in paths):
            return ()
        return tuple(native.find(self._tree))
