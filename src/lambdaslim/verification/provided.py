"""What the runtime has beside the package: its SDK at the manifest's versions, and its client."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lambdaslim.archive import materialise
from lambdaslim.distributions import Distributions
from lambdaslim.errors import OutputError, SlimError, TargetError, UsageError
from lambdaslim.runtimes import Provided
from lambdaslim.target import Target
from lambdaslim.tree import Tree
from lambdaslim.vendor import vendor

Progress = Callable[[str], object]

_CLIENT = "awslambdaric"
# The first version that it has wheels for.
_OLDEST = (3, 10)


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside a package.

    Attributes:
        paths: directories, to come after the package on the path.
        modules: the top-level modules that the runtime provides, and AWS documents.
        notes: a sentence for every set of distributions that is not the runtime's own.
    """

    paths: tuple[Path, ...]
    modules: frozenset[str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Installs for a target, each set once, into a cache that later runs find.

    Attributes:
        directory: the cache.
        target: what is installed for.
        progress: called with a line before an installation.
    """

    directory: Path
    target: Target
    progress: Progress

    def installed(self, what: str, requirements: Sequence[str]) -> Path:
        """Return a directory with the requirements.

        Raises:
            SlimError: they cannot be installed.
        """
        lines = "\n".join(sorted(requirements))
        key = hashlib.sha256(lines.encode()).hexdigest()[:12]
        target = f"{self.target.runtime.name}-{self.target.architecture}"
        place = self.directory / f"{what}-{target}-{key}"
        if not place.is_dir():
            self.progress(f"installing {', '.join(requirements)}, once")
            try:
                vendor(requirements, into=place, target=self.target)
            except OutputError:
                # Another run was first: its directory serves as well.
                if not place.is_dir():
                    raise
        return place

    def client(self, given: Path | None) -> Path:
        """Return a directory with the real runtime client.

        Raises:
            TargetError: there is none for this version of Python.
            UsageError: `given` holds none.
            SlimError: it cannot be installed.
        """
        if given is not None:
            if (given / _CLIENT / "__init__.py").is_file():
                return given
            fix = f"fill it with `pip install --target DIR {_CLIENT}`"
            raise UsageError(f"holds no {_CLIENT}", where=str(given), fix=fix)
        if self.target.python < _OLDEST:
            raise TargetError(
                f"has no {_CLIENT} that could invoke a handler",
                where=self.target.runtime.name,
                fix="leave out the handler (--handler), or check it with a command (--run)",
            )
        try:
            return self.installed(_CLIENT, [_CLIENT])
        except SlimError as error:
            raise type(error)(
                f"{_CLIENT}, the runtime client, cannot be installed: {error.what}",
                where=error.where,
                fix="connect to the package index, or name a directory that holds it (--client)",
            ) from error


def beside(before: Tree, hints: Iterable[str], store: Store, scratch: Path) -> Beside:
    """Return what the runtime provides, so far as the package has or mentions it.

    Args:
        before: the package before slimming.
        hints: further texts that may mention a module, such as a command.
        store: where the runtime's distributions get installed.
        scratch: an empty directory, for copies of the package's own ones where there is no index.
    """
    owned = Distributions.read(before)
    rows = [row for row in store.target.runtime.provided if row.unit]
    needed = _needed(before, owned, rows, hints)
    found = Beside((), frozenset(name for row in rows for name in row.modules), ())
    for unit in sorted(needed):
        members = [row for row in rows if row.unit == unit]
        try:
            place = store.installed(f"provided-{unit}", [*_pins(members)])
        except SlimError as error:
            own = _own_copies(before, owned, {row.distribution for row in members})
            place = scratch / unit
            place.mkdir(parents=True)
            materialise(own, place)
            found = replace(found, notes=(*found.notes, _note(store.target, members, own, error)))
        found = replace(found, paths=(*found.paths, place))
    return found


def _needed(
    before: Tree, owned: Distributions, rows: Sequence[Provided], hints: Iterable[str]
) -> set[str]:
    """Return the units that the package has a distribution of, or whose modules it mentions."""
    needed = {str(row.unit) for row in rows if row.distribution in owned}
    names = {unit: _names(unit, rows) for row in rows if (unit := str(row.unit)) not in needed}
    for text in _texts(before, hints):
        found = {unit for unit in names if any(name in text for name in names[unit])}
        needed |= found
        for unit in found:
            del names[unit]
        if not names:
            break
    return needed


def _names(unit: str, rows: Iterable[Provided]) -> list[bytes]:
    return [name.encode() for row in rows if row.unit == unit for name in row.modules]


def _texts(tree: Tree, hints: Iterable[str]) -> Iterator[bytes]:
    yield from (hint.encode("utf-8", "replace") for hint in hints)
    for path, entry in tree.items():
        # What is cached says what its source says.
        if path.endswith((".py", ".pyc")) and "__pycache__/" not in path:
            yield entry.read()


def _pins(rows: Iterable[Provided]) -> Iterator[str]:
    for row in rows:
        yield f"{row.distribution}=={row.version}" if row.version else row.distribution


def _own_copies(before: Tree, owned: Distributions, names: set[str]) -> Tree:
    """Return the files of the package's own copies, cached bytecode and metadata included."""
    return Tree(
        entry
        for path, entry in before.items()
        if names & {owner.name for owner in owned.owners_of(path)}
    )


def _note(target: Target, rows: Sequence[Provided], own: Tree, error: SlimError) -> str:
    names = ", ".join(row.distribution for row in rows)
    instead = "the package's own copies were used" if own else "they were left out"
    what = f"what {target.runtime.name} provides ({names}) could not be installed"
    return f"{what}, so {instead}: {error.what}"
