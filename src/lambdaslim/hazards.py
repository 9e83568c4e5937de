"""What code of a tree needs that passes would take away, found by reading its sources.

A rule of `lambdaslim.knowledge` holds for a distribution that somebody has met. This scan is for
all others, and for the user's own code. It looks for code that reads sources (its own, those of
what it is given, or files that it names or lists), that needs docstrings, stubs, or parts of the
metadata, and says which files must stay for it. It looks at tokens and not at a syntax tree, so the
answer is the same whatever Python looks.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from functools import cached_property
from posixpath import dirname

from lambdaslim.distributions import Distribution, Distributions
from lambdaslim.imports import mentions
from lambdaslim.signs import NONE, Signs, hands_over, read_signs, uses_docstrings
from lambdaslim.tree import Tree

Needs = Mapping[str, str]


class Hazards:
    """What the code of a tree needs, as paths with the reason.

    What no distribution owns is the user's own code. A module in which a sign was found stays as a
    source itself if something else has to stay for it, so that slimming twice finds the same.
    """

    def __init__(self, tree: Tree, distributions: Distributions) -> None:
        """Prepare to look at `tree` as it is now: code that is gone needs nothing."""
        self._tree = tree
        self._distributions = distributions
        self._hands: dict[str, frozenset[str]] = {}
        self._names: dict[tuple[str, ...], Mapping[str, tuple[str, ...]]] = {}

    @cached_property
    def _signs(self) -> Mapping[str, Signs]:
        """The signs of every source that shows any."""
        found = ((path, read_signs(self._tree[path].read())) for path in self._sources)
        return {path: signs for path, signs in found if signs != NONE}

    @cached_property
    def _sources(self) -> tuple[str, ...]:
        return tuple(path for path in self._tree if path.endswith(".py"))

    @cached_property
    def _groups(self) -> Mapping[Distribution | None, tuple[str, ...]]:
        """The sources of each distribution, and under None the user's own ones."""
        found: dict[str, list[str]] = {}
        owners: dict[str, Distribution | None] = {"": None}
        for path in self._sources:
            owner = self._owner(path)
            key = owner.metadata if owner else ""
            owners[key] = owner
            found.setdefault(key, []).append(path)
        return {owners[key]: tuple(paths) for key, paths in found.items()}

    def _owner(self, path: str) -> Distribution | None:
        return self._distributions.owner(path)

    def _near(self, path: str) -> tuple[str, ...]:
        """Return the sources that belong together with one: its distribution's, or the user's.

        Without any metadata nobody knows what is the user's; then it is the same top directory.
        """
        group = self._groups[self._owner(path)]
        if self._distributions:
            return group
        top = path.partition("/")[0] if "/" in path else ""
        return tuple(one for one in group if (one.partition("/")[0] if "/" in one else "") == top)

    @cached_property
    def sources(self) -> Needs:
        """The sources that must stay sources, since code reads them."""
        needs: dict[str, str] = {}
        for find in (self._read_by_others, self._named, self._listed, self._by_module):
            for path, reason in find():
                needs.setdefault(path, reason)
        return needs

    def _by_module(self) -> Iterator[tuple[str, str]]:
        """Yield modules that read their own source, or have it read."""
        for path, signs in self._signs.items():
            if signs.reads_source:
                yield path, f"it calls {signs.reads_source[0]}"
            if signs.caches_compiled:
                yield path, "it caches compiled functions (cache=True), which needs their source"
            if signs.documents_attributes:
                why = f"{path} has docstrings of attributes read (use_attribute_docstrings)"
                yield from ((one, why) for one in self._near(path))

    def _read_by_others(self) -> Iterator[tuple[str, str]]:
        """Yield the user's own sources if the user's code reads sources: nobody knows which."""
        for path, signs in self._signs.items():
            if signs.reads_source and self._owner(path) is None:
                why = f"{path} calls {signs.reads_source[0]}"
                yield from ((one, why) for one in self._near(path))

    def _named(self) -> Iterator[tuple[str, str]]:
        """Yield the sources that code of the same distribution names and may open."""
        for path, signs in self._signs.items():
            if not (signs.reads_files and signs.file_names):
                continue
            for name in sorted(signs.file_names):
                found = [one for one in self._matching(name, path) if one != path]
                why = f"{path} names {name} and opens files"
                yield from ((one, why) for one in found)
                if found:
                    yield path, f"it names {name} and opens files"

    def _matching(self, name: str, path: str) -> Iterator[str]:
        """Yield the sources near `path` that end in a glob of parts."""
        last = name.rpartition("/")[2]
        stems = self._by_name(path)
        names = fnmatch.filter(stems, last) if "*" in last else [last] if last in stems else []
        for one in sorted(one for stem in names for one in stems[stem]):
            if fnmatch.fnmatchcase(f"/{one}", f"*/{name}"):
                yield one

    def _by_name(self, path: str) -> Mapping[str, tuple[str, ...]]:
        near = self._near(path)
        if near not in self._names:
            found: dict[str, list[str]] = {}
            for one in near:
                found.setdefault(one.rpartition("/")[2], []).append(one)
            self._names[near] = {name: tuple(paths) for name, paths in found.items()}
        return self._names[near]

    def _listed(self) -> Iterator[tuple[str, str]]:
        """Yield the sources below code that composes names of sources beside itself."""
        readers = {
            path: signs
            for path, signs in self._signs.items()
            if signs.composes and signs.reads_files
        }
        for path, signs in readers.items():
            if signs.anchored:
                yield from self._below(path, f"{path} looks for sources beside itself")
        for path, function in self._handing_over(readers):
            why = f"{path} gives its place to {function}, which reads sources"
            yield from self._below(path, why)

    def _handing_over(self, readers: Mapping[str, Signs]) -> Iterator[tuple[str, str]]:
        """Yield modules that give their place to a function of a reader near them."""
        for path, signs in readers.items():
            for one in self._near(path):
                handed = self._handed(one) & signs.defines if one != path else None
                if handed:
                    yield path, min(handed)
                    yield one, min(handed)

    def _handed(self, path: str) -> frozenset[str]:
        if path not in self._hands:
            self._hands[path] = hands_over(self._tree[path].read())
        return self._hands[path]

    def _below(self, path: str, reason: str) -> Iterator[tuple[str, str]]:
        top = dirname(path)
        near = self._near(path)
        yield from ((one, reason) for one in near if one.startswith(f"{top}/") or not top)

    @cached_property
    def docstrings(self) -> frozenset[str]:
        """The sources whose docstrings must stay, since code does something with docstrings.

        That is all of a distribution in which some code does, the user's own code if it does, and
        every module that imports such code, which may be given its functions.
        """
        using = [path for path in self._sources if uses_docstrings(self._tree[path].read())]
        needs = {one for path in using for one in self._near(path)}
        modules = {self._module(path) for path in using}
        for path in self._sources:
            if path not in needs and mentions(path, self._tree[path].read(), modules):
                needs.add(path)
        return frozenset(needs)

    def _module(self, path: str) -> str:
        owner = self._owner(path)
        root = f"{owner.root}/" if owner and owner.root else ""
        name = path.removeprefix(root).removesuffix(".py").removesuffix("/__init__")
        return name.replace("/", ".")
