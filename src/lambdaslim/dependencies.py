"""What installed distributions lack: requirements, contents, compiled modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lambdaslim.distributions import Distribution, Distributions
from lambdaslim.findings import Finding
from lambdaslim.knowledge import Knowledge
from lambdaslim.target import Target
from lambdaslim.tree import Tree

# No release of CPython has had more.
_LAST_PATCH = 99


@dataclass(frozen=True)
class Installed:
    """What is installed in a package, beside its layers and on its runtime.

    `distributions` are those of the package as it was scanned. What was left out of it on purpose
    since then counts as installed, but its own requirements do not count. `scanned` is that tree.
    """

    tree: Tree
    target: Target
    distributions: Distributions
    layers: Sequence[Tree]
    scanned: Tree

    def findings(self, knowledge: Knowledge) -> Iterator[Finding]:
        """Yield what is lacking, per distribution."""
        for one in self._remaining:
            yield from self._unmet(one)
        yield from self._placeholders()
        yield from self._fallbacks(knowledge)

    @cached_property
    def _remaining(self) -> tuple[Distribution, ...]:
        """The distributions of which a file is left."""
        owners = (self.distributions.owners_of(path) for path in self.tree)
        left = {one.metadata for several in owners for one in several}
        return tuple(one for one in self.distributions.every if one.metadata in left)

    @cached_property
    def _beside(self) -> dict[str, str | None]:
        """The versions of what the runtime and the layers have."""
        found = {row.distribution: row.version for row in self.target.runtime.provided}
        for layer in self.layers:
            found |= {name: one.version for name, one in Distributions.read(layer).items()}
        return found

    def _demands(self, one: Distribution) -> Iterator[Requirement]:
        """Yield the requirements that count on the target, without those of extras."""
        environment = {**self.target.marker_environment(), "extra": ""}
        for requirement in one.requires:
            if _holds(requirement, environment):
                yield requirement

    def _unmet(self, one: Distribution) -> Iterator[Finding]:
        missing, unmet = [], []
        for requirement in self._demands(one):
            name = canonicalize_name(requirement.name)
            if name not in self.distributions and name not in self._beside:
                missing.append(str(requirement))
            elif version := self._wrong_version(name, requirement):
                unmet.append(f"{requirement}, and {name} is {version}")
        if missing:
            message = (
                f"{one.label} requires {_first(missing)}, which is neither in the package nor in "
                "the runtime. Install it too, unless you left it out on purpose."
            )
            yield Finding("compat-requirement-missing", message, one.metadata)
        if unmet:
            message = f"{one.label} requires {_first(unmet)}. Install both in one step."
            yield Finding("compat-requirement-unmet", message, one.metadata)

    def _wrong_version(self, name: str, requirement: Requirement) -> str | None:
        """Return the version that is there if it does not satisfy; unknown ones do."""
        mine = self.distributions.get(name)
        version = mine.version if mine else self._beside[name]
        if version is None or requirement.specifier.contains(version, prereleases=True):
            return None
        return version

    def _placeholders(self) -> Iterator[Finding]:
        """Yield distributions that hold nothing, though others require them.

        Some are empty on purpose: names for what they require, and namespaces. So the version has
        to be the first that a name is reserved with, or one that does not satisfy.
        """
        for one in self.distributions.every:
            if one.recorded and not one.requires and self._is_empty(one):
                demands = self._demands_on(one)
                by = next((who for who, it in demands if _reserves(one, it)), None)
                if by is not None:
                    message = (
                        f"{one.label} is empty, and {by.label} requires it: it only reserves the "
                        f"name, and no wheel was found. {vendor_again(one, self.target)}."
                    )
                    yield Finding("compat-placeholder", message, one.metadata)

    def _is_empty(self, one: Distribution) -> bool:
        inside = f"{one.metadata}/"
        own = (path for path in one.files if not path.startswith(inside))
        return not any(path in self.scanned and self.scanned[path].size for path in own)

    def _demands_on(self, wanted: Distribution) -> Iterator[tuple[Distribution, Requirement]]:
        for one in self._remaining:
            for requirement in self._demands(one):
                if canonicalize_name(requirement.name) == wanted.name:
                    yield one, requirement

    def _fallbacks(self, knowledge: Knowledge) -> Iterator[Finding]:
        for one in self._remaining:
            for rule in knowledge.binary:
                if not rule.concerns(one.name, one.version):
                    continue
                prefix = f"{one.root}/" if one.root else ""
                inside = (path for path in self.tree.under(one.root) if path.endswith(".so"))
                if not any(rule.paths.match(path.removeprefix(prefix)) for path in inside):
                    message = (
                        f"{one.label} is its pure Python wheel: {rule.reason}. "
                        f"{vendor_again(one, self.target)}"
                    )
                    yield Finding("compat-fallback", message, one.metadata)


def _holds(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    """Tell whether a requirement counts on every patch release: Lambda's is not known."""
    if requirement.marker is None:
        return True
    oldest = environment["python_full_version"]
    newest = f"{environment['python_version']}.{_LAST_PATCH}"
    try:
        return all(
            requirement.marker.evaluate({**environment, "python_full_version": version})
            for version in (oldest, newest)
        )
    except ValueError:  # a marker that compares what cannot be compared
        return False


def _reserves(one: Distribution, demand: Requirement) -> bool:
    version = Version(one.version or "0")
    return version.release[:2] == (0, 0) or not demand.specifier.contains(version, prereleases=True)


def _first(clauses: Sequence[str]) -> str:
    return clauses[0] + (f" (and {len(clauses) - 1} more)" if len(clauses) > 1 else "")


def vendor_again(one: Distribution | None, target: Target) -> str:
    """Return the clause that tells how to get a distribution for a target."""
    what = f'"{one.name}"' if one else "REQUIREMENT"
    return (
        f"Install what fits: lambdaslim vendor {what} --runtime {target.runtime.name} "
        f"--arch {target.architecture} --into DIR"
    )
