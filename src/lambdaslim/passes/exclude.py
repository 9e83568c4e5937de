"""Remove what the user's own patterns name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from lambdaslim.findings import Finding
from lambdaslim.passes.contract import Context
from lambdaslim.patterns import Patterns
from lambdaslim.tree import Decision, Remove, Tree


@dataclass(frozen=True)
class Exclude:
    """Remove the files that gitignore patterns match.

    Attributes:
        patterns: gitignore lines over paths from the tree's top. The last line that matches
            decides, and a `!` line brings a file back even from below a matched directory.
        must_match: whether a line that matches nothing is a finding (it is, unless a preset lists
            things that may or may not be there).

    Raises:
        PatternError: a malformed pattern.
    """

    name: ClassVar[str] = "exclude"
    patterns: tuple[str, ...]
    must_match: bool = True
    _compiled: Patterns = field(init=False, repr=False, compare=False)

    def __init__(self, patterns: Iterable[str], *, must_match: bool = True) -> None:
        """Check and store the patterns."""
        object.__setattr__(self, "_compiled", Patterns(patterns))
        object.__setattr__(self, "patterns", self._compiled.lines)
        object.__setattr__(self, "must_match", must_match)

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:  # noqa: ARG002 - contract
        """Yield a removal per matched file, and a finding per line that matched none."""
        for path in tree:
            if line := self._compiled.match(path):
                yield Remove(path, f"matches {line!r}")
        if self.must_match:
            for line in self._compiled.unused(tree):
                yield Finding("pattern-unused", f"the drop pattern {line!r} matches nothing")
