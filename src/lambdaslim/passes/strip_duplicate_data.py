"""Remove what the tree has twice, where one of the two is provably never used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim import elf
from lambdaslim.distributions import Distribution, normalised
from lambdaslim.elf import MalformedElfError
from lambdaslim.passes.contract import Context
from lambdaslim.pruning import recorded
from lambdaslim.tree import Decision, Entry, Keep, Remove, Tree

_LIBRARY = re.compile(r"/(?P<stem>lib[^/]+?)\.so(?:\.\d+)*$")
# What loads libraries, but for calls with a name that is written there: those are looked for.
_LOADS = re.compile(
    rb"(?:CDLL|LoadLibrary|load_library|dlopen)"
    rb"(?!\(\s*[bru]?(?:'[^'\n{]*'|\"[^\"\n{]*\")\s*[,)])"
    rb"|cdll(?!\.LoadLibrary)"
)


@dataclass(frozen=True, slots=True)
class StripDuplicateData:
    """Remove copies: of a library under names that nobody asks for, and of data by rule.

    A wheel cannot hold symbolic links, so `libx.so`, `libx.so.2` and `libx.so.2.1` in it are three
    whole files. Programs are linked against the name that the library says it has (its soname);
    the other names stay if any file of the tree holds them, or if the distribution, one that
    requires it, or the user's code loads libraries, by names that it may put together.

    Attributes:
        rules: whether prune-rules hold; without them, only copies of libraries go.
    """

    name: ClassVar[str] = "strip-duplicate-data"
    rules: bool = True

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield removals, and a `Keep` per copy or rule that does not go."""
        taken: set[str] = set()
        for decision in context.prune(tree, by=self.name) if self.rules else ():
            taken.update([decision.path] if isinstance(decision, Remove) else [])
            yield decision
        spare = [(copy, kept) for copy, kept in _copies(tree, context) if copy.path not in taken]
        named = _named(tree, [copy for copy, _ in spare])
        for copy, kept in spare:
            if copy.name in named:
                yield Keep(copy.path, f"a copy of {kept}, but {named[copy.name]} holds its name")
            else:
                yield Remove(copy.path, f"a copy of {kept}, the name that the library goes by")


def _copies(tree: Tree, context: Context) -> Iterator[tuple[Entry, str]]:
    """Yield each library that is a copy of one beside it, and that one's path."""
    for one in context.distributions.every:
        files = [tree[path] for path in recorded(tree, one, context.distributions)]
        alike: dict[tuple[str, str, int], list[Entry]] = {}
        for entry in files:
            if match := _LIBRARY.search(f"/{entry.path}"):
                alike.setdefault((entry.parent, match["stem"], entry.size), []).append(entry)
        groups = [group for group in alike.values() if len(group) > 1]
        if groups and not any(map(_loads, _concerned(one, tree, context))):
            for group in groups:
                yield from _same(group)


def _concerned(one: Distribution, tree: Tree, context: Context) -> Iterator[Entry]:
    """Yield the files of a distribution, of those that require it, and of the user."""
    for path, entry in tree.items():
        owners = context.distributions.owners_of(path)
        if not owners or any(owner == one or _requires(owner, one) for owner in owners):
            yield entry


def _requires(one: Distribution, other: Distribution) -> bool:
    return any(normalised(each.name) == other.name for each in one.requires)


def _loads(entry: Entry) -> bool:
    """Tell whether a source, or bytecode, loads libraries by names that it may put together."""
    # What is cached for a source tells less than the source.
    code = entry.path.endswith((".py", ".pyc")) and "__pycache__/" not in entry.path
    return code and _LOADS.search(entry.read()) is not None


def _same(group: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Yield the copies of the file that has the library's own name, by content."""
    contents = [entry.read() for entry in group]
    for entry, data in zip(group, contents, strict=True):
        if entry.name == _soname(data):
            digest = hashlib.sha256(data).digest()
            for other, content in zip(group, contents, strict=True):
                if other is not entry and hashlib.sha256(content).digest() == digest:
                    yield other, entry.path


def _soname(data: bytes) -> str | None:
    try:
        facts = elf.read(data)
    except MalformedElfError:
        return None
    return facts.soname if facts else None


def _named(tree: Tree, copies: Sequence[Entry]) -> dict[str, str]:
    """Return which of the copies' names some file holds as a whole name, and which file."""
    names = {
        entry.name: re.compile(rb"(?<![\w.-])" + re.escape(entry.name.encode()) + rb"(?![\w.-])")
        for entry in copies
    }
    found: dict[str, str] = {}
    for path, entry in tree.items() if names else ():
        if "-info/" in path:
            continue
        data = entry.read()
        for name, whole in names.items():
            if name not in found and name.encode() in data and whole.search(data):
                found[name] = path
    return found
