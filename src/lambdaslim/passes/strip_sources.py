"""Remove what only compilers and linkers read: sources of compiled modules, headers, archives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.build_inputs import is_native, may_be_native
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Keep, Remove, Tree


@dataclass(frozen=True, slots=True)
class StripSources:
    """Remove C, C++, CUDA, Cython and Fortran sources of distributions, and what links to them.

    That is by suffix, and for suffixes that other files have too (`.a`, `.lib`, `.la`, `.pc`) by
    content. A file stays that code of the tree names or looks for, and all stay if the tree holds
    a compiler. Files that no RECORD lists are the user's and stay. Python sources are never meant.
    """

    name: ClassVar[str] = "strip-sources"

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a removal per file, and a `Keep` per one that code needs."""
        hazards = context.scan(tree)
        needed = hazards.native_sources if hazards else {}
        for path in tree:
            owned = may_be_native(path) and context.distributions.owner(path) is not None
            if owned and path in needed:
                yield Keep(path, needed[path])
            elif owned and is_native(tree[path]):
                yield Remove(path, "only compilers and linkers read it")
