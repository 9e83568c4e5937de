"""What all tables of rules share: how they are read, and how a wrong row is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from lambdaslim.errors import DataError

#: The tables that a file may hold.
TABLES = frozenset({"keep", "binary", "prune", "choice"})


def rows(text: str, name: str, table: str) -> list[tuple[Mapping[str, Any], str]]:
    """Return the rows of a table, each with where it stands, for errors.

    Raises:
        DataError: the text is no TOML, or holds another table.
    """
    import tomllib  # noqa: PLC0415 - only needed when rules are read

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise malformed(name, str(error)) from error
    if unknown := set(document) - TABLES:
        raise malformed(name, f"unknown table {min(unknown)!r}")
    found = document.get(table, [])
    return [(row, f"{name}, [[{table}]] {n}") for n, row in enumerate(found, 1)]


def check_row(
    row: Mapping[str, Any], known: Mapping[str, type], optional: frozenset[str], where: str
) -> None:
    """Refuse a row with a missing or unknown key, or a value of another type.

    Args:
        row: as TOML has it.
        known: every key and the type of its value.
        optional: the keys that may be missing.
        where: the file and the number of the row.

    Raises:
        DataError: the row does not fit.
    """
    needed = set(known) - optional
    if wrong := sorted((needed - set(row)) | (set(row) - set(known))):
        raise malformed(where, f"missing or unknown key {wrong[0]!r}")
    for key, value in row.items():
        if not isinstance(value, known[key]):
            raise malformed(where, f"{key} is no {known[key].__name__}")
        if isinstance(value, list) and not all(isinstance(one, str) for one in value):
            raise malformed(where, f"{key} holds something else than strings")
    name = row["distribution"]
    if name not in ("*", canonicalize_name(name)):
        raise malformed(where, f"{name!r} is not normalised")
    if not row["evidence"].startswith("https://"):
        raise malformed(where, "the evidence is no link")


def concerns(rule: str, versions: SpecifierSet, distribution: str, version: str | None) -> bool:
    """Tell whether a rule for a name ("*" is any) holds for a distribution.

    It does whatever an unknown version is.
    """
    if rule not in ("*", distribution):
        return False
    return version is None or versions.contains(version, prereleases=True)


def malformed(where: str, why: str) -> DataError:
    """Return the error of a row, to be raised."""
    return DataError(
        f"does not fit the schema of rules: {why}", where=where, fix="see CONTRIBUTING.md"
    )
