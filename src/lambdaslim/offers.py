"""What passes that nobody asked for would take beyond what a pipeline took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lambdaslim.passes import Pass, PromoteBytecode, StripBytecode, StripMetadata
from lambdaslim.pipeline import Pipeline, Result
from lambdaslim.tree import Tree

# What these remove has become something else, of which others may take a part, or tells them what
# belongs to which distribution.
_MADE_OVER = {StripMetadata.name, PromoteBytecode.name, StripBytecode.name}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pass would save: bytes unzipped; those of sources where these become bytecode."""

    pass_name: str
    saved: int


def offers(pipeline: Pipeline, result: Result, passes: Iterable[Pass]) -> tuple[Offer, ...]:
    """Return what each of `passes` that `pipeline` lacks would save beyond its `result`, in order.

    Raises:
        ChangedError: a file of the tree changed since the scan.
        BytecodeError: the target's interpreter fails.
    """
    more = tuple(one for one in passes if one not in pipeline.passes)
    saved: Counter[str] = Counter()
    for change in replace(pipeline, passes=more).run(_remaining(result)).changes:
        saved[change.pass_name] += change.saved
    return tuple(Offer(one.name, saved[one.name]) for one in more)


def _remaining(result: Result) -> Tree:
    """Return the tree without what is gone for good; what stays is as it was scanned."""
    removed = (change for change in result.changes if change.new_path is None)
    gone = {change.path for change in removed if change.pass_name not in _MADE_OVER}
    return Tree(entry for path, entry in result.before.items() if path not in gone)
