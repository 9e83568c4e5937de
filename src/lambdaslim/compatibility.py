"""Does this tree fit this runtime: its native files, what they need, and what is installed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from lambdaslim import native, tags
from lambdaslim.dependencies import Installed, vendor_again
from lambdaslim.distributions import Distribution, Distributions
from lambdaslim.findings import Finding
from lambdaslim.knowledge import Knowledge
from lambdaslim.native import Native
from lambdaslim.passes.promote_bytecode import foreign_bytecode
from lambdaslim.target import Target
from lambdaslim.tree import Tree

_LIBRARY = "Put the library into the package's directory lib, or drop what needs it"
_DROP = "Drop it (--drop) if nothing loads it"
# What else helps than to install the distribution again.
_ADVICE = {
    "compat-library-missing": _LIBRARY,
    "compat-library-unknown": _LIBRARY,
    "compat-foreign": _DROP,
    "compat-spare": _DROP,
}
_NAMED = 3

#: Codes decided by what is known of a runtime's system and not by the files alone. The system may
#: be newer by now, or another one (an image of one's own), so the command writes such a package,
#: and exits 1.
OF_THE_SYSTEM = ("compat-glibc", "compat-library-missing")


def check_compatibility(
    tree: Tree,
    target: Target,
    *,
    layers: Sequence[Tree] = (),
    distributions: Distributions | None = None,
    scanned: Tree | None = None,
) -> tuple[Finding, ...]:
    """Return what stands against running a tree on a target; nothing means that it fits.

    Findings are one per code and distribution. Nothing is run, and every native file is read once.

    Args:
        tree: the package's files, slimmed or not.
        target: the runtime and architecture.
        layers: the files of each layer of the function, which may hold what the package needs.
        distributions: who owns what (read from the tree by default). Give those of the scanned
            tree with a slimmed one: they know the wheels' tags.
        scanned: the tree before slimming (default: the same), which tells empty distributions.

    Raises:
        ChangedError: a file of the tree changed since the scan.
    """
    known = Distributions.read(tree) if distributions is None else distributions
    found = _aggregated(_Natives(tree, target, tuple(layers), known).faults(), target)
    installed = Installed(tree, target, known, layers, scanned or tree)
    bytecode = foreign_bytecode(tree, target.runtime)
    return (*found, *bytecode, *installed.findings(Knowledge.bundled()))


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong with one file: a code, and a clause without its subject."""

    code: str
    path: str
    what: str
    owner: Distribution | None


def _aggregated(faults: Iterator[_Fault], target: Target) -> Iterator[Finding]:
    """Yield one finding per code and distribution, in the order in which they came up."""
    grouped: dict[tuple[str, str | None], list[_Fault]] = {}
    for fault in faults:
        owner = fault.owner.metadata if fault.owner else None
        grouped.setdefault((fault.code, owner), []).append(fault)
    return (_finding(several, target) for several in grouped.values())


def _finding(faults: Sequence[_Fault], target: Target) -> Finding:
    first = faults[0]
    subject = first.owner.label if first.owner else "a file of your own"
    clauses = tuple(dict.fromkeys(fault.what for fault in faults))
    if first.code == "compat-glibc":  # the newest says it all
        clauses = (max(clauses),)
    listed = "; ".join(clauses[:_NAMED]) + ("; ..." if clauses[_NAMED:] else "")
    others = len({fault.path for fault in faults}) - 1
    more = f" and {others:,} more file{'s' if others > 1 else ''}" if others else ""
    advice = _advice(first, target)
    return Finding(first.code, f"{subject} {listed}: {first.path}{more}. {advice}.", first.path)


def _advice(fault: _Fault, target: Target) -> str:
    again = _ADVICE.get(fault.code) or vendor_again(fault.owner, target)
    if fault.code == "compat-glibc":
        return f"{again} (it takes an older version if need be), or choose a newer runtime"
    return again


@dataclass(frozen=True)
class _Natives:
    """The native files of a tree, judged for a target."""

    tree: Tree
    target: Target
    layers: tuple[Tree, ...]
    distributions: Distributions

    @cached_property
    def _found(self) -> tuple[Native, ...]:
        return tuple(native.find(self.tree))

    @cached_property
    def _fitting(self) -> tuple[Native, ...]:
        """Those that the runtime can load, if it has what they need."""
        return tuple(one for one in self._found if self._fits(one))

    def _fits(self, one: Native) -> bool:
        wrong = one.foreign(self.target) or one.other_python(self.target)
        return one.system == "Linux" and one.problem is None and not wrong

    @cached_property
    def _modules(self) -> frozenset[str | None]:
        return frozenset(one.module for one in self._fitting)

    @cached_property
    def _needed(self) -> frozenset[str]:
        """Names of libraries that a file of the tree needs, and that no fitting file has."""
        needed = {name for one in self._found for name in one.needed}
        return frozenset(needed.difference(*(one.names for one in self._fitting)))

    @cached_property
    def _names(self) -> frozenset[str]:
        """Every name by which a library of the tree or of a layer can be found.

        The loader looks in few directories. But what one extension module has loaded, the next one
        finds by name, so a file anywhere counts.
        """
        trees = (self.tree, *self.layers)
        files = {posixpath.basename(path) for tree in trees for path in tree}
        return frozenset(files.union(*(one.names for one in self._fitting)))

    @cached_property
    def _system(self) -> dict[str, bool]:
        return {one.name: one.present for one in self.target.runtime.libraries}

    @cached_property
    def _owners_that_fit(self) -> frozenset[str]:
        owners = (self._owner(one) for one in self._fitting)
        return frozenset(owner.metadata for owner in owners if owner)

    def _owner(self, one: Native) -> Distribution | None:
        return self.distributions.owner(one.path)

    def faults(self) -> Iterator[_Fault]:
        """Yield what is wrong, file by file, and then what only the wheels' tags tell."""
        accused: set[str] = set()
        for one in self._found:
            owner = self._owner(one)
            for code, what in self._of(one):
                accused |= {owner.metadata} if owner else set()
                yield _Fault(code, one.path, what, owner)
        for distribution in self.distributions.every:
            if distribution.tags and distribution.metadata not in accused:
                yield from self._by_tags(distribution)

    def _of(self, one: Native) -> Iterator[tuple[str, str]]:
        """Yield codes and clauses about a file."""
        if one.problem is not None:
            yield "compat-malformed", one.problem
        elif foreign := one.foreign(self.target):
            if code := self._weighed(one, foreign[0]):
                yield code, f"is {foreign[1]}"
        elif other := one.other_python(self.target):
            yield self._replaced(one) or "compat-python", f"is {other}"
        elif one.facts:
            yield from self._lacking(one)

    def _weighed(self, one: Native, code: str) -> str | None:
        """Return how a file of another system or machine counts: only what gets loaded can fail.

        Wheels for every system ship libraries of all of them and choose at run time.
        """
        owner = self._owner(one)
        known = tuple(tags.parse(owner.tags)) if owner else ()
        meant = any(tag.fits_platform(self.target) for tag in known)
        if one.module is not None:
            return self._replaced(one) or ("compat-foreign" if meant else code)
        if one.names & self._needed or (known and not meant):
            return code
        fits = owner is not None and owner.metadata in self._owners_that_fit
        return None if known or fits else "compat-foreign"

    def _replaced(self, one: Native) -> str | None:
        """Return a code that is no error if something else is imported in place of a module."""
        if one.module in self._modules:
            return "compat-spare"
        sources = (f"{one.module}{suffix}" for suffix in (".py", ".pyc", "/__init__.py"))
        return "compat-fallback" if any(path in self.tree for path in sources) else None

    def _lacking(self, one: Native) -> Iterator[tuple[str, str]]:
        name, mine = self.target.runtime.name, self.target.runtime.glibc
        if (needs := one.glibc()) > mine:
            what = "is made for glibc {}.{}, and {} has {}.{}"
            yield "compat-glibc", what.format(*needs, name, *mine)
        for library in one.needed:
            if library in self._names or self._system.get(library):
                continue
            if library in self._system:
                yield "compat-library-missing", f"needs {library}, which {name} lacks"
            else:
                what = f"needs {library}, which is not in the package and may not be in {name}"
                yield "compat-library-unknown", what

    def _by_tags(self, one: Distribution) -> Iterator[_Fault]:
        """Yield what no file shows: a stable ABI that is too new, programs of other systems."""
        known = tuple(tags.parse(one.tags))
        own = [found for found in self._fitting if self._owner(found) == one]
        modules = [found.path for found in own if found.module is not None]
        if modules and not any(tag.fits_python(self.target) for tag in known):
            yield from (
                _Fault("compat-python", p, f"is tagged {one.tags[0]}", one) for p in modules
            )
        files = (path for path in one.files if path in self.tree)
        rest = [path for path in files if not path.startswith(f"{one.metadata}/")]
        if not own and rest and not any(tag.fits_platform(self.target) for tag in known):
            yield _Fault("compat-foreign", rest[0], f"is tagged {one.tags[0]}", one)
