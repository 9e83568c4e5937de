"""What a pass is, and what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

from lambdaslim.cache import Cache
from lambdaslim.distributions import Distributions
from lambdaslim.hazards import Hazards
from lambdaslim.knowledge import KeepRule, Knowledge
from lambdaslim.patterns import Patterns
from lambdaslim.pruning import Pruning
from lambdaslim.readings import Readings
from lambdaslim.tree import Decision, Tree


@dataclass(frozen=True)
class Context:
    """What every pass of a run may know beside the tree as the passes before left it.

    Attributes:
        distributions: who owned what in the tree as it was scanned.
        knowledge: the keep-rules in force.
        hazards: whether passes look for code that needs what they would take away, see
            `lambdaslim.hazards`.
        readings: what was found in single files, by their content.
        keep: the user's keep patterns. The pipeline enforces them; a pass looks at them only if
            what stays has consequences for other files.
    """

    distributions: Distributions
    knowledge: Knowledge = field(default_factory=Knowledge.bundled)
    keep: Patterns = field(default_factory=lambda: Patterns(()))
    hazards: bool = True
    readings: Readings = field(default_factory=Readings, repr=False, compare=False)

    @property
    def cache(self) -> Cache:
        """Keeps what is costly to compute from the bytes of files, for later runs."""
        return self.readings.cache

    def scan(self, tree: Tree) -> Hazards | None:
        """Return what code of `tree` needs, None if nobody wants to know."""
        return Hazards(tree, self.distributions, self.readings) if self.hazards else None

    def prune(self, tree: Tree, *, by: str) -> Iterator[Decision]:
        """Yield what the prune-rules of the pass `by` say of `tree`: `Remove` and `Keep`."""
        rules = self.knowledge.prune
        return Pruning(tree, self.distributions, rules, self.readings, by=by).decisions()

    def rule(self, name: str, path: str, tree: Tree) -> KeepRule | None:
        """Return the keep-rule that forbids the pass `name` to touch a file of `tree`, or None."""
        for rule, prefix in self._rules:
            below = path.startswith(prefix) and name in rule.passes
            if below and rule.paths.match(path.removeprefix(prefix)) is not None:
                theirs = rule.scope == "own" or self.distributions.owner(path) is None
                text = rule.containing.encode()
                if theirs and (not text or text in tree[path].read()):
                    return rule
        return None

    @cached_property
    def _rules(self) -> tuple[tuple[KeepRule, str], ...]:
        """The rules that concern a distribution of the tree, and where that is installed.

        Its files are told by their paths and not by its RECORD, which a slimmed tree has no more.
        """
        return tuple(
            (rule, f"{one.root}/" if one.root and rule.scope == "own" else "")
            for one in self.distributions.every
            for rule in self.knowledge.keep
            if rule.concerns(one.name, one.version)
        )


class Pass(Protocol):
    """One step of a pipeline: a frozen dataclass whose fields are its options.

    A pass decides and never acts: it yields `Remove`, `Replace`, `Keep` (left alone on purpose) and
    `Finding`, each with its reason. It reads the tree and writes, deletes and prints nothing.
    """

    name: ClassVar[str]

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield the decisions about `tree`; every path of an edit is in it, at most once."""
        ...
