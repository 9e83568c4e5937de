"""Remove what only compilers and linkers read: sources of compiled modules, headers, archives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.build_inputs import is_native, may_be_native
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Keep, Remove, Tree

# The module of an entry point: "name = module:object [extra]".
_MODULE = re.compile(r"(?m)^[^#\[=\n]*=[ \t]*([\w.]+)")


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
        places = _named_by_entry_points(tree, context)
        for path in tree:
            owned = may_be_native(path) and context.distributions.owner(path) is not None
            if owned and path in needed:
                yield Keep(path, needed[path])
            elif owned and path.rpartition("/")[0] in places:
                yield Keep(
                    path, "an entry point names its directory, which is a namespace package by it"
                )
            elif owned and is_native(tree[path]):
                yield Remove(path, "only compilers and linkers read it")


def _named_by_entry_points(tree: Tree, context: Context) -> frozenset[str]:
    """Return the namespace packages that entry points name: they must not become empty."""
    places: set[str] = set()
    for one in context.distributions.every:
        path = f"{one.metadata}/entry_points.txt"
        text = tree[path].read().decode("utf-8", "replace") if path in tree else ""
        root = f"{one.root}/" if one.root else ""
        places.update(f"{root}{name.replace('.', '/')}" for name in _MODULE.findall(text))
    return frozenset(p for p in tree.directories & places if f"{p}/__init__.py" not in tree)
