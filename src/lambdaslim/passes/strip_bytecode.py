"""Remove cached bytecode that the target cannot use, or that a package makes stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.distributions import source_of
from lambdaslim.passes.contract import Context
from lambdaslim.pyc import read_header
from lambdaslim.target import parse_python
from lambdaslim.tree import Decision, Entry, Remove, Tree

_TAG = re.compile(r"\.([^/.]+)(?:\.opt-[^/.]+)?\.pyc$")


@dataclass(frozen=True, slots=True)
class StripBytecode:
    """Remove `__pycache__` files: other interpreters' ones, stale ones, and ones without a source.

    A cache that records the date of its source is stale in every package, whose files are all of
    one date. One that records a hash is not.

    Attributes:
        python: the target's version ("3.13"); its own caches by hash stay where their source is.
            None removes every cache.

    Legacy bytecode (a `.pyc` outside `__pycache__`) is importable and never touched.

    Raises:
        TargetError: a malformed version.
    """

    name: ClassVar[str] = "strip-bytecode"
    python: str | None = None

    def __post_init__(self) -> None:
        """Refuse a malformed version."""
        if self.python is not None:
            parse_python(self.python)

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:  # noqa: ARG002 - contract
        """Yield a removal per unusable cache."""
        own = None if self.python is None else "cpython-{}{}".format(*parse_python(self.python))
        for path in tree:
            if "__pycache__" in path.split("/")[:-1] and path.endswith((".pyc", ".pyo")):
                tag = _TAG.search(path)
                if own is None or tag is None or tag[1] != own:
                    yield Remove(path, "bytecode that the target does not read")
                elif source_of(path) not in tree:
                    yield Remove(path, "cached bytecode without its source is not importable")
                elif not _is_by_hash(tree[path]):
                    yield Remove(path, "cached bytecode by date, which no package preserves")


def _is_by_hash(entry: Entry) -> bool:
    header = read_header(entry.read())
    return header is not None and header.source_hash is not None
