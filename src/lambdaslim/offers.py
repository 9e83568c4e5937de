"""What passes that nobody asked for would take beyond what a pipeline took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lambdaslim.passes import (
    Pass,
    PromoteBytecode,
    StripBytecode,
    StripDocstrings,
    StripMetadata,
)
from lambdaslim.pipeline import Pipeline, Result
from lambdaslim.tree import Tree

# What these remove has become something else, of which others may take a part, or tells them what
# belongs to which distribution.
_MADE_OVER = {StripMetadata.name, PromoteBytecode.name, StripBytecode.name}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pass would save: bytes unzipped, of sources where these become bytecode.

    `estimated` tells that they were not counted, since that would take longer than it is worth.
    """

    pass_name: str
    saved: int
    estimated: bool = False


def offers(pipeline: Pipeline, result: Result, passes: Iterable[Pass]) -> tuple[Offer, ...]:
    """Return what each of `passes` that `pipeline` lacks would save beyond its `result`, in order.

    What `StripDocstrings` would save is estimated.

    Raises:
        ChangedError: a file of the tree changed since the scan.
    """
    more = tuple(one for one in passes if one not in pipeline.passes)
    counted = tuple(one for one in more if not isinstance(one, StripDocstrings))
    pruned = replace(pipeline, passes=counted).run(_remaining(result))
    saved: Counter[str] = Counter()
    for change in pruned.changes:
        saved[change.pass_name] += change.saved
    context = pipeline.context(pruned.distributions)
    return tuple(
        Offer(one.name, one.estimate(pruned.after, context), estimated=True)
        if isinstance(one, StripDocstrings)
        else Offer(one.name, saved[one.name])
        for one in more
    )


def _remaining(result: Result) -> Tree:
    """Return the tree without what is gone for good; what stays is as it was scanned."""
    removed = (change for change in result.changes if change.new_path is None)
    gone = {change.path for change in removed if change.pass_name not in _MADE_OVER}
    return Tree(entry for path, entry in result.before.items() if path not in gone)
