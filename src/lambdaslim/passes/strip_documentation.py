"""Remove documentation, examples and benchmarks that distributions install."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.passes.contract import Context
from lambdaslim.passes.directories import Directories
from lambdaslim.tree import Decision, Keep, Remove, Tree

_NAMES = frozenset({"docs", "doc", "examples", "example", "benchmarks", "benchmark"})


@dataclass(frozen=True, slots=True)
class StripDocumentation:
    """Remove documentation by rule, and what a wheel dropped beside its packages by mistake.

    The mistake is a directory such as `docs` or `examples` at the top of where a distribution is
    installed. It stays when code outside of it imports or names it, or when its distribution holds
    nothing else. Inside of packages a name says nothing, `botocore.docs` is code, and only rules
    count.
    """

    name: ClassVar[str] = "strip-documentation"

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield removals, and a `Keep` per directory or rule that does not go."""
        taken: set[str] = set()
        for decision in context.prune(tree, by=self.name):
            taken.update([decision.path] if isinstance(decision, Remove) else [])
            yield decision
        found = Directories(tree, context, _NAMES, top=True)
        kept = {d: why for d in found.files if (why := found.whole_payload(d))}
        kept |= found.needed(kept)
        for directory, files in found.files.items():
            if directory in kept:
                yield Keep(directory, kept[directory])
            else:
                why = "documentation beside the packages of a distribution"
                for path in files:
                    if path not in taken:
                        yield Remove(path, why, unit=directory)
