"""Remove the files that only type checkers read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.build_inputs import STUBS
from lambdaslim.distributions import Distribution
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Keep, Remove, Tree

_MARKER = "/py.typed"
_STUBS_ONLY = "-stubs"


@dataclass(frozen=True, slots=True)
class StripTyping:
    """Remove `*.pyi` and `py.typed` of distributions, and their packages of stubs (`*-stubs`).

    A stub that code of the tree reads stays. Files that no RECORD lists are the user's and stay.
    """

    name: ClassVar[str] = "strip-typing"

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a removal per file, and a `Keep` per stub that code reads."""
        hazards = context.scan(tree)
        needed = hazards.stubs if hazards else {}
        for path in tree:
            owner = context.distributions.owner(path)
            why = _reason(path, owner) if owner else None
            if why and path in needed:
                yield Keep(path, needed[path])
            elif why:
                yield Remove(path, why)


def _reason(path: str, owner: Distribution) -> str | None:
    """Return what a file is if only type checkers read it."""
    inside = path.removeprefix(f"{owner.root}/") if owner.root else path
    if inside.partition("/")[0].endswith(_STUBS_ONLY) and "/" in inside:
        return "a package of stubs, which cannot be imported"
    if inside.endswith(STUBS):
        return "a stub for type checkers"
    return "a mark for type checkers" if inside.endswith(_MARKER) else None
