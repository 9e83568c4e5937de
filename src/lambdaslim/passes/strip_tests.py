"""Remove the tests that distributions ship, unless something outside them needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.passes.contract import Context
from lambdaslim.passes.directories import Directories
from lambdaslim.signs import TESTS
from lambdaslim.tree import Decision, Keep, Remove, Tree


@dataclass(frozen=True, slots=True)
class StripTests:
    """Remove directories named exactly `tests` or `test` that distributions own.

    What rules name goes with them: compiled modules and scripts that only serve tests.

    A directory stays when a file outside of all removed ones imports it, names it in a string or an
    entry point, when a keep-rule names it, or when its distribution holds nothing else. Files that
    no RECORD lists are the user's and stay.
    """

    name: ClassVar[str] = "strip-tests"

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a removal per file of a removed directory, and a `Keep` per one that stays."""
        found = Directories(tree, context, TESTS)
        forbidden = {d: why for d in found.files if (why := self._forbidden(d, found, context))}
        by_rule = tuple(context.prune(tree, by=self.name))
        gone = self._gone(by_rule, tree, context)
        # Tests that stay may import what the rules are about.
        staying = found.owners(forbidden | found.needed(forbidden, gone))
        spared = frozenset(path for path in gone if staying & found.names(path))
        kept = forbidden | found.needed(forbidden, gone - spared)
        yield from _beside(by_rule, spared, found)
        yield from _tests(found, kept, context)

    def _gone(self, by_rule: Iterable[Decision], tree: Tree, context: Context) -> frozenset[str]:
        """Return what rules remove and nothing keeps: what it imports is not needed for it."""
        removed = (decision.path for decision in by_rule if isinstance(decision, Remove))
        return frozenset(
            path
            for path in removed
            if not context.keep.match(path) and not context.rule(self.name, path, tree)
        )

    def _forbidden(self, directory: str, found: Directories, context: Context) -> str | None:
        """Return why a directory stays whatever the imports are."""
        for path in found.files[directory]:
            if rule := context.rule(self.name, path, found.tree):
                return rule.why
        return found.whole_payload(directory)


def _beside(
    by_rule: Iterable[Decision], spared: frozenset[str], found: Directories
) -> Iterator[Decision]:
    """Yield what comes of the rules, for files outside of the directories."""
    below = {path for files in found.files.values() for path in files}
    for decision in by_rule:
        if decision.path in spared:
            yield Keep(str(decision.path), "tests of its distribution stay, and may import it")
        elif decision.path not in below:
            yield decision


def _tests(found: Directories, kept: Mapping[str, str], context: Context) -> Iterator[Decision]:
    hazards = context.scan(found.tree)
    named = hazards.tests if hazards else {}
    yield from (Keep(directory, why) for directory, why in kept.items())
    for directory in sorted(found.files.keys() - kept.keys()):
        for path in found.files[directory]:
            edit = Remove(path, "tests of a distribution")
            yield Keep(path, named[path]) if path in named else edit
