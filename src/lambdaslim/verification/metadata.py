"""Every distribution that `importlib.metadata` found before answers the same after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambdaslim.verification.proof import Outcome
from lambdaslim.verification.side import Side
from lambdaslim.verification.values import Failure

_SHOWN = 5


@dataclass
class MetadataProof:
    """Compares names, versions, requirements, and what `packages_distributions()` says.

    Attributes:
        before: the side that says what has to be found.
        removed: paths that were left out on purpose. A distribution all of whose modules are among
            them need not be found.
    """

    before: Side
    removed: frozenset[str]
    kinds: tuple[str, ...] = ("distribution",)

    def compare(self, after: Side) -> Outcome:
        """Ask on both sides."""
        rows = list(self._rows(after))
        failures = (row.failure() for row in rows)
        return Outcome(tuple(one for one in failures if one), {"distribution": len(rows)})

    def still_fails(self, after: Side, failures: Sequence[Failure]) -> bool:
        """Ask again."""
        names = {failure.subject for failure in failures}
        return any(row.failure() for row in self._rows(after) if row.name in names)

    def _rows(self, after: Side) -> Iterator[_Row]:
        """Yield the package's distributions but for those that were left out altogether."""
        for key, was in sorted(self.before.survey.distributions.items()):
            if was["where"] == "tree" and not self._left_out(was["packages"]):
                yield _Row(was, after.survey.distributions.get(key), self._packages)

    @property
    def _packages(self) -> frozenset[str]:
        """The top-level names that are import packages.

        RECORD makes names of `bin` and `include` too; and of modules that are one file, whose names
        are missed only where RECORD stayed and names a source that has become bytecode.
        """
        return frozenset(
            name.partition(".")[0] for name in self.before.survey.modules if "." in name
        )

    def _left_out(self, packages: Sequence[str]) -> bool:
        modules = self.before.survey.modules
        names = [name for name in modules if name.partition(".")[0] in packages]
        return bool(names) and all(self.removed.issuperset(modules[name]) for name in names)


@dataclass(frozen=True)
class _Row:
    """What a distribution answered before, and what it answers after, None if nothing."""

    was: Mapping[str, Any]
    now: Mapping[str, Any] | None
    importable: frozenset[str]

    @property
    def name(self) -> str:
        return str(self.was["name"])

    def failure(self) -> Failure | None:
        if self.now is None:
            return self._failed(f"version {self.was['version']}", "is not found")
        if self.now["where"] == "beside":  # the runtime's, in its own version
            return None
        for what in ("name", "version", "requires"):
            if self.was[what] != self.now[what]:
                return self._failed(_shown(what, self.was[what]), _shown(what, self.now[what]))
        lost = (set(self.was["packages"]) - set(self.now["packages"])) & self.importable
        if lost:
            before = f"packages_distributions() knows {listed(self.was['packages'])}"
            return self._failed(before, f"it lacks {listed(lost)}")
        return None

    def _failed(self, before: str, after: str) -> Failure:
        return Failure("distribution", self.name, before, after)


def _shown(what: str, value: object) -> str:
    return f"{what} {listed(value) if isinstance(value, list) else value}"


def listed(names: Iterable[str]) -> str:
    """Return names in order, the first few of many."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN:,} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more if ordered else "nothing"
