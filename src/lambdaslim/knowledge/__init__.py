"""What is known of single distributions, as data: one TOML file per subject, checked on load.

A row names the distribution and versions it holds for, the paths that it keeps from passes or lets
them take, and why, with evidence. Code never asks for a distribution by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from lambdaslim.errors import SlimError
from lambdaslim.knowledge.prune import ChoiceRule, PruneRule, parse_choice, parse_prune
from lambdaslim.knowledge.schema import check_row, concerns, malformed, rows
from lambdaslim.patterns import Patterns

_BINARY: dict[str, type] = {
    "distribution": str,
    "versions": str,
    "paths": list,
    "reason": str,
    "evidence": str,
    "checked": list,
}
_KEEP = _BINARY | {"passes": list, "check": str, "scope": str, "containing": str}
_OPTIONAL = frozenset({"scope", "containing"})


@dataclass(frozen=True)
class KeepRule:
    """Files of a distribution that some passes must leave alone.

    Attributes:
        distribution: normalised name (PEP 503).
        versions: the versions the rule holds for ("" is all).
        paths: gitignore patterns, relative to the directory the distribution is installed in.
        passes: names of the passes it restrains.
        reason: one clause, shown in reports.
        evidence: a link to where the need is seen.
        checked: versions the rule was tried with.
        check: statements that fail, with one of those versions, where the rule does not hold.
        scope: "own" for files of the distribution; "user" for files of the user's own code, which
            the distribution reads: `paths` then start at the top of the tree.
        containing: a text that is in the files, "" for any.
    """

    distribution: str
    versions: SpecifierSet
    paths: Patterns
    passes: tuple[str, ...]
    reason: str
    evidence: str
    checked: tuple[str, ...]
    check: str = ""
    scope: Literal["own", "user"] = "own"
    containing: str = ""

    @property
    def why(self) -> str:
        """The reason, and whose rule it is, for reports."""
        return f"{self.reason} (keep-rule for {self.distribution})"

    def concerns(self, distribution: str, version: str | None) -> bool:
        """Tell whether the rule holds for a distribution (whatever an unknown version is)."""
        return concerns(self.distribution, self.versions, distribution, version)


@dataclass(frozen=True)
class BinaryRule:
    """A distribution that is published with compiled modules, and also as a slower pure wheel.

    An installer that finds no wheel for the target takes the pure one without a word.

    Attributes:
        distribution: normalised name (PEP 503).
        versions: the versions the rule holds for ("" is all).
        paths: gitignore patterns of the compiled modules, relative to the directory the
            distribution is installed in; the full wheel has a file that one of them matches.
        reason: one clause, what is lost without them.
        evidence: a link to where both kinds are seen.
        checked: versions whose wheels of both kinds were looked into.
    """

    distribution: str
    versions: SpecifierSet
    paths: Patterns
    reason: str
    evidence: str
    checked: tuple[str, ...]

    def concerns(self, distribution: str, version: str | None) -> bool:
        """Tell whether the rule holds for a distribution (whatever an unknown version is)."""
        return concerns(self.distribution, self.versions, distribution, version)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All rules in force."""

    keep: tuple[KeepRule, ...] = ()
    binary: tuple[BinaryRule, ...] = ()
    prune: tuple[PruneRule, ...] = ()
    choice: tuple[ChoiceRule, ...] = ()

    @staticmethod
    def bundled() -> Knowledge:
        """Return the rules that ship with lambdaslim; raise `DataError` if one is malformed."""
        return _bundled()


@cache
def _bundled() -> Knowledge:
    texts = {
        item.name: item.read_text(encoding="utf-8")
        for item in files(__name__).iterdir()
        if item.name.endswith(".toml")
    }
    return Knowledge(
        keep=tuple(rule for name in sorted(texts) for rule in parse(texts[name], name)),
        binary=tuple(rule for name in sorted(texts) for rule in parse_binary(texts[name], name)),
        prune=tuple(rule for name in sorted(texts) for rule in parse_prune(texts[name], name)),
        choice=tuple(rule for name in sorted(texts) for rule in parse_choice(texts[name], name)),
    )


def parse(text: str, name: str) -> tuple[KeepRule, ...]:
    """Return the keep-rules of a TOML text; raise `DataError` that names the file and the row."""
    return tuple(_rule(row, where) for row, where in rows(text, name, "keep"))


def parse_binary(text: str, name: str) -> tuple[BinaryRule, ...]:
    """Return the binary-rules of a TOML text; raise `DataError` that names the file and the row."""
    return tuple(_binary(row, where) for row, where in rows(text, name, "binary"))


def _binary(row: Mapping[str, Any], where: str) -> BinaryRule:
    check_row(row, _BINARY, frozenset(), where)
    return BinaryRule(**_common(row, where))


def _rule(row: Mapping[str, Any], where: str) -> KeepRule:
    check_row(row, _KEEP, _OPTIONAL, where)
    if not row["passes"]:
        raise malformed(where, "passes is empty")
    if row.get("scope", "own") not in ("own", "user"):
        raise malformed(where, "scope is neither own nor user")
    if not row["check"]:
        raise malformed(where, "check is empty: no rule without what shows its need")
    return KeepRule(
        **_common(row, where),
        passes=tuple(row["passes"]),
        check=row["check"],
        scope=row.get("scope", "own"),
        containing=row.get("containing", ""),
    )


def _common(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what both kinds of rules state."""
    if not row["paths"]:
        raise malformed(where, "paths is empty")
    try:
        return {
            "distribution": row["distribution"],
            "versions": SpecifierSet(row["versions"]),
            "paths": Patterns(row["paths"]),
            "reason": row["reason"],
            "evidence": row["evidence"],
            "checked": tuple(row["checked"]),
        }
    except (InvalidSpecifier, SlimError) as error:
        raise malformed(where, str(error)) from error
