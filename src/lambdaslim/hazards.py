"""What code of a tree needs that passes would take away, found by reading its sources.

A rule of `lambdaslim.knowledge` holds for a distribution that somebody has met. This scan is for
all others, and for the user's own code. It looks for code that reads sources (its own, those of
what it is given, or files that it names or lists), that needs docstrings, stubs, or parts of the
metadata, and says which files must stay for it. It looks at tokens and not at a syntax tree, so the
answer is the same whatever Python looks.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from posixpath import dirname, normpath

from lambdaslim.build_inputs import STUBS, BuildInputs
from lambdaslim.distributions import Distribution, Distributions, normalised
from lambdaslim.docstring_uses import NONE as NO_USES
from lambdaslim.docstring_uses import DocstringUses
from lambdaslim.readings import Readings
from lambdaslim.signs import ANY, NONE, OWN, TESTS, Signs
from lambdaslim.tree import Tree

_GROUP = re.compile(r"(?m)^\s*\[\s*([^]\s]+)\s*\]")

#: The name of files that only pytest loads by itself, and only when it runs tests.
BY_PYTEST = "conftest.py"

#: Paths that must stay, with the reason.
Needs = Mapping[str, str]


class Hazards:
    """What the code of a tree needs, as paths with the reason.

    What no distribution owns is the user's own code. A module in which a sign was found stays as a
    source itself if something else has to stay for it, so that slimming twice finds the same.
    """

    def __init__(
        self, tree: Tree, distributions: Distributions, readings: Readings | None = None
    ) -> None:
        """Prepare to look at `tree` as it is now: code that is gone needs nothing.

        Each source is read once, as far as `readings` is shared between the passes of a run.
        """
        self._tree = tree
        self._readings = readings or Readings()
        self._distributions = distributions
        self._hands: dict[str, frozenset[str]] = {}
        self._defined: dict[str, frozenset[str]] = {}
        self._names: dict[str, Mapping[str, tuple[str, ...]]] = {}
        self._conftests: dict[str, bool] = {}

    @cached_property
    def _signs(self) -> Mapping[str, Signs]:
        """The signs of every source that shows any."""
        read = (path for path in self._sources if not self._only_for_pytest(path))
        found = ((path, self._readings.signs(self._tree[path])) for path in read)
        return {path: signs for path, signs in found if signs is not NONE}

    def _only_for_pytest(self, path: str) -> bool:
        """Tell whether a source is a conftest.py that no code nearby speaks of."""
        if self._tree[path].name != BY_PYTEST:
            return False
        group = self._group(path)
        if group not in self._conftests:
            near = (self._tree[one] for one in self._groups[group])
            others = (one for one in near if one.name != BY_PYTEST)
            self._conftests[group] = any(b"conftest" in one.read() for one in others)
        return not self._conftests[group]

    @cached_property
    def _sources(self) -> tuple[str, ...]:
        return tuple(path for path in self._tree if path.endswith((".py", ".pth")))

    @cached_property
    def _groups(self) -> Mapping[str, tuple[str, ...]]:
        """The sources that belong together, by the metadata of their distribution."""
        found: dict[str, list[str]] = {}
        for path in self._sources:
            found.setdefault(self._group(path), []).append(path)
        return {key: tuple(paths) for key, paths in found.items()}

    def _group(self, path: str) -> str:
        """Return what names the group of a source: its distribution's, or the user's own.

        Without any metadata nobody knows what is the user's; then it is the same top directory.
        """
        owner = self._owner(path)
        if owner is not None:
            return owner.metadata
        return "" if self._distributions or "/" not in path else path.partition("/")[0]

    def _owner(self, path: str) -> Distribution | None:
        return self._distributions.owner(path)

    def _near(self, path: str) -> tuple[str, ...]:
        """Return the sources that belong together with one: its distribution's, or the user's."""
        return self._groups[self._group(path)]

    def _all_near(self, reasons: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Yield all sources near some paths, with the first reason that their group has."""
        groups: dict[str, str] = {}
        for path, reason in reasons:
            groups.setdefault(self._group(path), reason)
        for group, reason in groups.items():
            yield from ((path, reason) for path in self._groups[group])

    @cached_property
    def sources(self) -> Needs:
        """The sources that must stay sources, since code reads them."""
        needs: dict[str, str] = {}
        finders = (
            self._read_by_others,
            self._named,
            self._listed,
            self._by_module,
            self._given_to_readers,
            self._build_inputs.readers.items,
        )
        for find in finders:
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
        documented = (path for path, signs in self._signs.items() if signs.documents_attributes)
        why = "{} has docstrings of attributes read (use_attribute_docstrings)"
        yield from self._all_near((path, why.format(path)) for path in documented)

    def _read_by_others(self) -> Iterator[tuple[str, str]]:
        """Yield the user's own sources if the user's code reads sources: nobody knows which."""
        yield from self._all_near(
            (path, f"{path} calls {signs.reads_source[0]}")
            for path, signs in self._signs.items()
            if signs.reads_source and self._owner(path) is None
        )

    def _given_to_readers(self) -> Iterator[tuple[str, str]]:
        """Yield the user's modules that import what reads the sources of what it is given.

        That is a distribution with such code, or one that requires one.
        """
        own = self._groups.get("", ()) if self._distributions else ()
        readers: dict[str, str] = {}
        for path, signs in self._signs.items():
            if signs.reads_given and (owner := self._owner(path)):
                readers[owner.name] = owner.name
        for one in self._distributions.every:
            for requirement in one.requires if readers else ():
                if (name := normalised(requirement.name)) in readers.values():
                    readers.setdefault(one.name, name)
        modules = {
            path.partition("/")[0].removesuffix(".py"): readers[one.name]
            for one in self._distributions.every
            for path in one.files
            if one.name in readers and path.endswith(".py")
        }
        for path in own if modules else ():
            for module in sorted(self._readings.mentions(path, self._tree[path], modules)):
                yield path, f"{modules[module]} reads the sources of what it is given"

    def _named(self) -> Iterator[tuple[str, str]]:
        """Yield the sources that code of the same distribution names and may open."""
        for path, signs in self._signs.items():
            for name in sorted(signs.file_names):
                found = [one for one in self._matching(name, path) if one != path]
                yield from ((one, f"{path} names {name}") for one in found)
                if found:
                    yield path, f"it names {name}"

    def _matching(self, name: str, path: str) -> Iterator[str]:
        """Yield the sources near `path` that end in a glob of parts, or lie at "../x.py"."""
        if name.startswith("."):
            place = normpath(f"{dirname(path)}/{name}")
            yield from [place] if place in self._tree else []
            return
        last = name.rpartition("/")[2]
        stems = self._by_name(path)
        names = fnmatch.filter(stems, last) if "*" in last else [last] if last in stems else []
        for one in sorted(one for stem in names for one in stems[stem]):
            if fnmatch.fnmatchcase(f"/{one}", f"*/{name}"):
                yield one

    def _by_name(self, path: str) -> Mapping[str, tuple[str, ...]]:
        group = self._group(path)
        if group not in self._names:
            found: dict[str, list[str]] = {}
            for one in self._groups[group]:
                found.setdefault(one.rpartition("/")[2], []).append(one)
            self._names[group] = {name: tuple(paths) for name, paths in found.items()}
        return self._names[group]

    def _listed(self) -> Iterator[tuple[str, str]]:
        """Yield the sources below code that composes names of sources beside itself."""
        readers = {
            path: signs
            for path, signs in self._signs.items()
            if signs.composes and signs.reads_files
        }
        # The user's code starts in the directory of the package, and need not know its own place.
        own = [path for path in readers if self._owner(path) is None]
        yield from self._all_near((path, f"{path} looks for sources") for path in own)
        for path, signs in readers.items():
            if signs.anchored:
                yield from self._below(path, f"{path} looks for sources beside itself")
                yield from self._aside(path, signs)
        for reader, signs in readers.items():
            for path in self._near(reader):
                handed = self._handed(path) & signs.defines if path != reader else frozenset()
                if handed:
                    why = f"{path} gives its place to {min(handed)}, which reads sources"
                    yield from self._below(path, why)
                    yield reader, why

    def _handed(self, path: str) -> frozenset[str]:
        if path not in self._hands:
            self._hands[path] = self._readings.hands_over(self._tree[path])
        return self._hands[path]

    def _aside(self, path: str, signs: Signs) -> Iterator[tuple[str, str]]:
        """Yield the sources in directories that a module names and may climb to."""
        top = dirname(path)
        for _ in range(signs.climbs - 1):
            top = dirname(top)
            for place in sorted(f"{top}/{name}" for name in signs.places if top):
                if place in self._tree.directories:
                    why = f"{path} looks for sources, and names {place}"
                    yield from self._below(path, why, place)

    def _below(self, path: str, reason: str, place: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield the sources near `path` that lie below its directory, or another one."""
        top = dirname(path) if place is None else place
        near = self._near(path)
        yield from ((one, reason) for one in near if one.startswith(f"{top}/") or not top)

    @cached_property
    def docstrings(self) -> frozenset[str]:
        """The sources whose docstrings must stay, since code does something with docstrings.

        That is all of a distribution in which some code does, the user's own code if it does, and
        every module that imports such code, which may be given its functions.
        """
        using = [path for path in self._sources if self._readings.uses_docstrings(self._tree[path])]
        needs = {path for path, _ in self._all_near((path, "") for path in using)}
        modules = {self._module(path) for path in using}
        # A package mostly offers what its modules define.
        modules |= {name.rpartition(".")[0] for name in modules if "." in name}
        for path in self._sources:
            if path not in needs and self._readings.mentions(path, self._tree[path], modules):
                needs.add(path)
        return frozenset(needs)

    @cached_property
    def documented(self) -> Needs:
        """The sources of which no docstring may go, as code would fail without it, or show it.

        Docstrings that decorators, bases and metaclasses may look at are not meant here: whoever
        takes docstrings away leaves these alone in every source.
        """
        needs: dict[str, str] = {}
        given: dict[str, str] = {}
        demanding: dict[str, str] = {}
        for path, uses in self._docstring_uses.items():
            names = set(uses.names) | {name for _, name in self._minded(path, uses) if name}
            if uses.own:
                needs.setdefault(path, "it uses its own docstring")
            for one in self._definers(path, names):
                needs.setdefault(one, f"{path} uses docstrings of it")
            if uses.given or any(not name for _, name in self._minded(path, uses)):
                given[path] = f"{path} uses docstrings of what it is given"
            if uses.demands:
                demanding[self._module(path)] = f"{path} demands docstrings"
        for one, why in self._all_near(given.items()):
            needs.setdefault(one, why)
        takers = {self._module(path): why for path, why in given.items()} | demanding
        # A function that demands docstrings is often offered by its package.
        takers |= {one.rpartition(".")[0]: why for one, why in demanding.items() if "." in one}
        return dict(self._importers(takers, needs)) | needs

    @cached_property
    def _docstring_uses(self) -> Mapping[str, DocstringUses]:
        found = ((path, self._readings.docstring_uses(self._tree[path])) for path in self._sources)
        return {path: uses for path, uses in found if uses != NO_USES}

    def _minded(self, path: str, uses: DocstringUses) -> set[tuple[str, str]]:
        """Return what is handed to functions that no source nearby shows to expect None."""
        if not uses.handed:
            return set()
        known = (self._docstring_uses.get(one, NO_USES) for one in self._near(path))
        asking = {name for one in known for name in one.asking}
        return {(function, name) for function, name in uses.handed if function not in asking}

    def _definers(self, path: str, names: Iterable[str]) -> Iterator[str]:
        """Yield the sources that define a function or class of one of the names, nearby if any."""
        wanted = frozenset(names)
        for place in (self._near(path), self._sources) if wanted else ():
            found = [one for one in place if not wanted.isdisjoint(self._defines(one))]
            if found:
                yield from found
                return

    def _defines(self, path: str) -> frozenset[str]:
        if path not in self._defined:
            self._defined[path] = self._readings.defines(self._tree[path])
        return self._defined[path]

    def _importers(
        self, modules: Mapping[str, str], but: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield other sources that import one of some modules, or its package, with the reason."""
        last = {name.rpartition(".")[2].encode() for name in modules}
        word = re.compile(rb"\b(?:" + b"|".join(map(re.escape, sorted(last))) + rb")\b")
        for path in self._sources if last else ():
            data = b"" if path in but else self._tree[path].read()
            # A plain search tells most sources apart, and takes a fraction of the time.
            if any(name in data for name in last) and word.search(data):
                for module in sorted(self._readings.mentions(path, self._tree[path], modules)):
                    yield path, modules[module]

    def _module(self, path: str) -> str:
        owner = self._owner(path)
        root = f"{owner.root}/" if owner and owner.root else ""
        name = path.removeprefix(root).removesuffix(".py").removesuffix("/__init__")
        return name.replace("/", ".")

    @cached_property
    def tests(self) -> Needs:
        """The files below directories of tests that code outside of them names."""
        needs: dict[str, str] = {}
        # Not all signs: nobody asks what the tests themselves need, and they are many.
        outside = (path for path in self._sources if not TESTS & set(path.split("/")))
        for path in outside:
            signs = self._readings.signs(self._tree[path])
            if signs.anchored:
                for parts in sorted(signs.below_tests):
                    why = f"{path} names {'/'.join(parts)}"
                    needs |= dict.fromkeys(self._at(path, "/".join(parts)), why)
        return needs

    def _at(self, path: str, below: str) -> Iterator[str]:
        """Yield the files at a path that starts at the directory of a module, or one above."""
        while path:
            path = dirname(path)
            place = f"{path}/{below}" if path else below
            start = place.partition("*")[0].rpartition("/")[0]
            for one in self._tree.under(start) if "*" in place else ():
                if fnmatch.fnmatchcase(one, place):
                    yield one
            if place in self._tree:
                yield place
            yield from self._tree.under(place)

    @cached_property
    def _build_inputs(self) -> BuildInputs:
        def group(path: str) -> str | None:
            owner = self._owner(path)
            return owner.metadata if owner else None

        return BuildInputs(self._tree, self._signs, group)

    @cached_property
    def stubs(self) -> Needs:
        """The `.pyi` files that code reads at run time, by lazy_loader or itself."""
        needs = self._build_inputs.needs
        return {path: why for path, why in needs.items() if path.endswith(STUBS)}

    @cached_property
    def native_sources(self) -> Needs:
        """The sources of compiled modules, headers and static libraries that code reads."""
        needs = self._build_inputs.needs
        return {path: why for path, why in needs.items() if not path.endswith(STUBS)}

    def metadata(self, distribution: Distribution) -> str | None:
        """Return why a distribution's metadata must stay, or None if no code asks for it."""
        for path, signs in self._signs.items():
            owner = self._owner(path)
            own = OWN in signs.looks_up and owner is not None and owner.name == distribution.name
            named = {normalised(name.partition("[")[0]) for name in signs.looks_up}
            if own or ANY in signs.looks_up or distribution.name in named:
                return f"{path} looks up metadata"
            groups = signs.entry_points & self._entry_points(distribution)
            if groups or (ANY in signs.entry_points and self._entry_points(distribution)):
                return f"{path} looks up entry points"
        return None

    def _entry_points(self, distribution: Distribution) -> frozenset[str]:
        """Return the groups of entry points that a distribution declares."""
        path = f"{distribution.metadata}/entry_points.txt"
        text = self._tree[path].read().decode("utf-8", "replace") if path in self._tree else ""
        return frozenset(_GROUP.findall(text))

    @cached_property
    def metadata_parts(self) -> Needs:
        """The files of metadata that few programs read, and these do."""
        needs: dict[str, str] = {}
        for path, signs in self._signs.items():
            owner = self._owner(path)
            anybody = ANY in signs.looks_up or ANY in signs.entry_points
            concerned = (owner,) if owner and not anybody else self._distributions.every
            for part in sorted(signs.metadata_parts):
                found = (f"{one.metadata}/{part}" for one in concerned)
                why = f"{path} reads {part}"
                needs |= {one: why for one in found if one in self._tree}
        return needs
