"""Prune-rules and choices: files of distributions that most packages, or yours, can do without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from lambdaslim.errors import SlimError
from lambdaslim.knowledge.schema import check_row, concerns, malformed, rows
from lambdaslim.patterns import Patterns

_COMMON: dict[str, type] = {
    "distribution": str,
    "versions": str,
    "reason": str,
    "evidence": str,
    "checked": list,
    "check": str,
    "along": list,
}
_PRUNE: dict[str, type] = _COMMON | {
    "paths": list,
    "by": str,
    "when": str,
    "unless_named": list,
    "unless_installed": list,
    "instead": list,
}
_CHOICE: dict[str, type] = _COMMON | {
    "option": str,
    "key": str,
    "always": list,
    "calls": list,
    "keyword": str,
    "lists": list,
    "modules": list,
}
_OPTIONAL = frozenset(
    {"check", "by", "when", "unless_named", "unless_installed", "instead"}
    | {"always", "calls", "keyword", "lists", "modules", "along"}
)
_PASSES = ("strip-tests", "prune-data", "strip-documentation", "strip-duplicate-data")


@dataclass(frozen=True)
class PruneRule:
    """Files of a distribution that may go, and on what condition.

    Attributes:
        distribution: normalised name (PEP 503), "*" for any.
        versions: the versions the rule holds for ("" is all).
        paths: gitignore patterns, relative to the directory the distribution is installed in.
        reason: one clause, shown in reports.
        evidence: a link to where it is seen that they may go.
        checked: versions the rule was tried with.
        check: statements that still work, with those versions, without the files.
        by: the name of the pass that takes them.
        when: "always"; or "unused": only if code of the user is in the tree to be looked at.
        unless_named: dotted names; where other code names one of them, the files stay.
        unless_installed: distributions beside which the files stay.
        instead: paths that have to be in the tree, since they serve in place of the files.
        along: other distributions whose code names them without need.
    """

    distribution: str
    versions: SpecifierSet
    paths: Patterns
    reason: str
    evidence: str
    checked: tuple[str, ...]
    check: str
    by: str
    when: str
    unless_named: tuple[str, ...]
    unless_installed: tuple[str, ...]
    instead: tuple[str, ...]
    along: tuple[str, ...]

    def why(self, distribution: str) -> str:
        """The reason, and whose files they are, for reports."""
        return f"{self.reason} (prune-rule for {distribution})"

    def concerns(self, distribution: str, version: str | None) -> bool:
        """Tell whether the rule holds for a distribution (whatever an unknown version is)."""
        return concerns(self.distribution, self.versions, distribution, version)


@dataclass(frozen=True)
class ChoiceRule:
    """Data that a distribution has once per service or locale, of which few programs need all.

    Attributes:
        distribution: normalised name (PEP 503), "*" for any.
        versions: the versions the rule holds for ("" is all).
        option: the option of the user that chooses, "services" or "locales".
        key: a regular expression that matches the files at stake, relative to the directory the
            distribution is installed in; its group "key" is the name of the service or locale.
        reason: one clause, shown in reports.
        evidence: a link to where it is seen how the data is looked up.
        checked: versions the rule was tried with.
        check: statements that still work, with those versions, with nothing chosen but `always`.
        always: patterns (fnmatch) of the names that stay whatever is chosen.
        calls: names of functions that are given the name of what they use; () if code does not
            tell.
        keyword: the name of that argument; it is the first one where it has no name.
        lists: names of functions that tell which services there are; code that has one needs all.
        modules: such calls are looked for only in files that name one of these; () is any file.
        along: other distributions of the same makers, whose code names services without need.
    """

    distribution: str
    versions: SpecifierSet
    option: str
    key: re.Pattern[str]
    reason: str
    evidence: str
    checked: tuple[str, ...]
    check: str
    always: frozenset[str]
    calls: frozenset[str]
    keyword: str
    lists: tuple[str, ...]
    modules: tuple[str, ...]
    along: tuple[str, ...]

    def concerns(self, distribution: str, version: str | None) -> bool:
        """Tell whether the rule holds for a distribution (whatever an unknown version is)."""
        return concerns(self.distribution, self.versions, distribution, version)


def parse_prune(text: str, name: str) -> tuple[PruneRule, ...]:
    """Return the prune-rules of a TOML text; raise `DataError` that names the file and the row."""
    return tuple(_prune(row, where) for row, where in rows(text, name, "prune"))


def parse_choice(text: str, name: str) -> tuple[ChoiceRule, ...]:
    """Return the choices of a TOML text; raise `DataError` that names the file and the row."""
    return tuple(_choice(row, where) for row, where in rows(text, name, "choice"))


def _prune(row: Mapping[str, Any], where: str) -> PruneRule:
    check_row(row, _PRUNE, _OPTIONAL, where)
    if not row["paths"]:
        raise malformed(where, "paths is empty")
    by, when = row.get("by", "prune-data"), row.get("when", "always")
    if by not in _PASSES:
        raise malformed(where, f"by is none of {', '.join(_PASSES)}")
    if when not in ("always", "unused"):
        raise malformed(where, "when is neither always nor unused")
    if when == "unused" and not row.get("unless_named"):
        raise malformed(where, "unless_named is missing: nothing would show a use")
    try:
        return PruneRule(
            distribution=row["distribution"],
            versions=SpecifierSet(row["versions"]),
            paths=Patterns(row["paths"]),
            reason=row["reason"],
            evidence=row["evidence"],
            checked=tuple(row["checked"]),
            check=row.get("check", ""),
            by=by,
            when=when,
            unless_named=tuple(row.get("unless_named", ())),
            unless_installed=tuple(row.get("unless_installed", ())),
            instead=tuple(row.get("instead", ())),
            along=tuple(row.get("along", ())),
        )
    except (InvalidSpecifier, SlimError) as error:
        raise malformed(where, str(error)) from error


def _choice(row: Mapping[str, Any], where: str) -> ChoiceRule:
    check_row(row, _CHOICE, _OPTIONAL, where)
    if row["option"] not in ("services", "locales"):
        raise malformed(where, "option is neither services nor locales")
    try:
        key = re.compile(row["key"])
        if "key" not in key.groupindex:
            raise malformed(where, "key has no group of that name")
        return ChoiceRule(
            distribution=row["distribution"],
            versions=SpecifierSet(row["versions"]),
            option=row["option"],
            key=key,
            reason=row["reason"],
            evidence=row["evidence"],
            checked=tuple(row["checked"]),
            check=row.get("check", ""),
            always=frozenset(row.get("always", ())),
            calls=frozenset(row.get("calls", ())),
            keyword=row.get("keyword", ""),
            lists=tuple(row.get("lists", ())),
            modules=tuple(row.get("modules", ())),
            along=tuple(row.get("along", ())),
        )
    except (InvalidSpecifier, re.error) as error:
        raise malformed(where, str(error)) from error
