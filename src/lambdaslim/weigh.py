"""Weight per distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lambdaslim.distributions import Distributions
from lambdaslim.tree import Tree

#: The name under which files that no distribution owns are counted.
OWN_FILES = "(your own files)"


@dataclass(frozen=True, slots=True)
class Weight:
    """What a distribution weighs: bytes, unzipped unless others were asked for, and files."""

    name: str
    size: int
    files: int


def weigh(
    tree: Tree,
    distributions: Distributions | None = None,
    compressed: Mapping[str, int] | None = None,
) -> tuple[Weight, ...]:
    """Return the weight of each distribution, heaviest first; the sizes sum to the tree's.

    Args:
        tree: what to weigh.
        distributions: who owns what, read from the tree itself if not given. Give those of the
            scanned tree to weigh one whose RECORDs are gone: bytecode counts with its source.
        compressed: the bytes of each file that count, instead of its unzipped ones.
    """
    known = Distributions.read(tree) if distributions is None else distributions
    sizes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path, entry in tree.items():
        owner = known.owner(path)
        name = owner.name if owner else OWN_FILES
        sizes[name] += entry.size if compressed is None else compressed[path]
        files[name] += 1
    ranked = sorted(sizes, key=lambda name: (-sizes[name], name))
    return tuple(Weight(name, sizes[name], files[name]) for name in ranked)
