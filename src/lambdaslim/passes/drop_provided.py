"""Drop the distributions that the Lambda runtime provides, when its versions serve as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lambdaslim.distributions import Distribution, required_name
from lambdaslim.errors import UsageError
from lambdaslim.findings import Finding
from lambdaslim.passes.contract import Context
from lambdaslim.runtimes import Provided
from lambdaslim.target import Target
from lambdaslim.tree import Decision, Keep, Remove, Tree


@dataclass(frozen=True, slots=True)
class DropProvided:
    """Remove the files of distributions that the runtime ships and AWS documents.

    Distributions that only work together (Boto3 and its dependencies) are dropped all or none.

    Attributes:
        runtime: the Lambda runtime, like "python3.13".
        when: "compatible" drops a unit only if every requirement that a remaining distribution has
            on it is met by the runtime's version, the runtime's major version is the tree's (but
            for what Boto3 alone is there for), and the tree holds something else; "always" drops it
            and reports what is not met; "never" drops nothing.
        architecture: "x86_64" or "arm64", in which requirement markers are evaluated.

    Raises:
        TargetError: an unknown runtime or architecture.
        UsageError: another value of `when`.
    """

    name: ClassVar[str] = "drop-provided"
    runtime: str
    when: Literal["compatible", "always", "never"] = "compatible"
    architecture: str = "x86_64"

    def __post_init__(self) -> None:
        """Refuse unknown values."""
        Target.of(self.runtime, self.architecture)
        if self.when not in ("compatible", "always", "never"):
            raise UsageError(
                "says not when to drop", where=self.when, fix="choose compatible, always or never"
            )

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield removals, what replaces what, and the requirements that decided."""
        if self.when == "never":
            return
        target = Target.of(self.runtime, self.architecture)
        units = list(_units(target, context))
        alone = not _others(tree, context, frozenset(name for unit in units for name in unit))
        for unit in units:
            obstacles = list(_Demands(target, unit, context).unmet())
            if alone and self.when == "compatible":
                yield from _kept(unit, "nothing else is in the tree: it was vendored for itself")
            elif obstacles and self.when == "compatible":
                more = f" (and {len(obstacles) - 1} more)" if len(obstacles) > 1 else ""
                yield from _kept(unit, f"the runtime provides {obstacles[0]}{more}")
            else:
                for why in obstacles:
                    yield Finding("provided-unmet", f"{self.runtime} provides {why}")
                yield from self._dropped(unit, tree, context)

    def _dropped(self, unit: _Unit, tree: Tree, context: Context) -> Iterator[Decision]:
        for name, row in unit.items():
            yield _replacement(self.runtime, context.distributions[name], row)
        together = min(unit)
        for path in tree:
            owners = {owner.name for owner in context.distributions.owners_of(path)}
            if owners and owners <= set(unit):
                why = f"{min(owners)} is provided by {self.runtime}"
                yield Remove(path, why, unit=together)


_Unit = Mapping[str, Provided]


def _units(target: Target, context: Context) -> Iterator[_Unit]:
    """Yield, per unit, the provided distributions that the tree holds."""
    rows = [row for row in target.runtime.provided if row.unit]
    for unit in sorted({str(row.unit) for row in rows}):
        present = (r for r in rows if r.unit == unit and r.distribution in context.distributions)
        if found := {row.distribution: row for row in present}:
            yield found


@dataclass(frozen=True, slots=True)
class _Demands:
    """What the remaining distributions require of a unit."""

    target: Target
    unit: _Unit
    context: Context

    def unmet(self) -> Iterator[str]:
        """Yield one clause per requirement that the provided versions are not known to meet."""
        for name, row in self.unit.items():
            if not all(copy.recorded for copy in self.context.distributions.copies(name)):
                yield f"{name}, but no RECORD tells which files are yours"
            elif row.observed is None:
                yield f"{name}, as far as anybody infers: nobody has observed it"
        for remaining in self.context.distributions.every:
            if remaining.name not in self.unit:
                yield from self._unmet_by(remaining, remaining.requires)
                yield from self._unreadable(remaining)
        for name, row in self.unit.items():
            own = self.context.distributions[name].version
            if _differs(row.version, own) and self._alone(name):
                yield f"{name} {row.version}, another major version than {own}"

    def _alone(self, name: str) -> bool:
        """Tell whether nothing of the unit in the tree requires it, so that it is others' or yours.

        What is there for the sake of Boto3 goes with it, and the runtime's Boto3 has its own.
        """
        required = (
            one for other in self.unit for one in self.context.distributions[other].requires
        )
        return name not in {canonicalize_name(one.name) for one in required}

    def _unmet_by(self, remaining: Distribution, requires: Iterable[Requirement]) -> Iterator[str]:
        for requirement in requires:
            row = self.unit.get(canonicalize_name(requirement.name))
            if row and self._holds(requirement) and not _meets(row, requirement):
                version = row.version or "in a version that nobody recorded"
                yield f"{row.distribution} {version}, but {remaining.label} requires {requirement}"

    def _unreadable(self, remaining: Distribution) -> Iterator[str]:
        for line in remaining.malformed:
            if (name := required_name(line)) in self.unit:
                yield f"{name}, but the requirement {line!r} of {remaining.label} cannot be read"

    def _holds(self, requirement: Requirement) -> bool:
        """Tell whether a requirement counts for the target.

        Nobody records which extras were asked for. A requirement of an extra counts if the tree's
        own version meets it: had the extra been installed, it would.
        """
        environment = self.target.marker_environment()
        if not requirement.marker or requirement.marker.evaluate({**environment, "extra": ""}):
            return True
        return self._holds_in_an_extra(requirement, environment) and self._met_now(requirement)

    def _holds_in_an_extra(self, requirement: Requirement, environment: dict[str, str]) -> bool:
        names = _extras_named(requirement)
        marker = requirement.marker
        return any(marker and marker.evaluate({**environment, "extra": name}) for name in names)

    def _met_now(self, requirement: Requirement) -> bool:
        version = self.context.distributions[requirement.name].version
        return version is None or requirement.specifier.contains(version, prereleases=True)


def _differs(provided: str | None, own: str | None) -> bool:
    """Tell whether two versions are known to be of different major ones."""
    if provided is None or own is None:
        return False
    return Version(provided).major != Version(own).major


def _extras_named(requirement: Requirement) -> frozenset[str]:
    """Return the extras that a marker compares with."""
    words = str(requirement.marker).replace("'", '"').split('"')
    return frozenset(words[1::2])


def _meets(row: Provided, requirement: Requirement) -> bool:
    """Tell whether the provided version is known to satisfy a requirement.

    The runtime installs no extras, so a requirement that asks for one is not met.
    """
    if requirement.extras:
        return False
    if not requirement.specifier and not requirement.url:
        return True
    if row.version is None or requirement.url:
        return False
    return requirement.specifier.contains(row.version, prereleases=True)


def _others(tree: Tree, context: Context, provided: frozenset[str]) -> bool:
    """Tell whether the tree holds a module that is no provided distribution's."""
    return any(
        path.endswith((".py", ".pyc", ".so"))
        and not path.startswith("bin/")
        and not {owner.name for owner in context.distributions.owners_of(path)} & provided
        for path in tree
    )


def _kept(unit: _Unit, reason: str) -> Iterator[Decision]:
    return (Keep(name, reason) for name in unit)


def _replacement(runtime: str, mine: Distribution, row: Provided) -> Finding:
    provided, own = row.version or "an unrecorded version", mine.version or "an unknown version"
    message = f"{runtime} provides {row.distribution} {provided} in place of {own}"
    if row.version is None:
        return Finding("provided-unknown", message, mine.metadata)
    older = mine.version is not None and Version(row.version) < Version(mine.version)
    return Finding("provided-older" if older else "provided-replaces", message, mine.metadata)
