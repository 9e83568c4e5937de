"""The figures that every form of the report shows, computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lambdaslim.package import Slimmed
from lambdaslim.pipeline import Change, Kept


@dataclass(frozen=True, slots=True)
class PassRow:
    """What one pass did: files removed, replaced and added, bytes saved."""

    name: str
    removed: int
    replaced: int
    added: int
    saved: int


@dataclass(frozen=True, slots=True)
class KeptRow:
    """What one pass left alone for one reason."""

    name: str
    reason: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An outcome to report: what was slimmed, from and to where, and whether it was written.

    `zipped_before` is the bytes of a zip of the unslimmed tree, None if nobody measured it.
    `companion` is where the removed sources were written, None if they were not.
    `dry_run` says that nothing was meant to be written; `refused` that a check forbade it.
    """

    command: str
    sources: tuple[str, ...]
    output: str | None
    preset: str
    slimmed: Slimmed
    zipped_before: int | None = None
    companion: str | None = None
    dry_run: bool = False
    refused: bool = False


def by_pass(changes: Iterable[Change]) -> tuple[PassRow, ...]:
    """Return a row per pass, in the order in which they ran."""
    removed: Counter[str] = Counter()
    replaced: Counter[str] = Counter()
    added: Counter[str] = Counter()
    saved: Counter[str] = Counter()
    for change in changes:
        kind = added if change.added else removed if change.new_path is None else replaced
        kind[change.pass_name] += 1
        saved[change.pass_name] += change.saved
    counts = (removed, replaced, added, saved)
    return tuple(PassRow(name, *(count[name] for count in counts)) for name in saved)


def total(rows: Sequence[PassRow]) -> PassRow:
    """Return the sum of rows, as a row."""
    return PassRow(
        "total",
        sum(row.removed for row in rows),
        sum(row.replaced for row in rows),
        sum(row.added for row in rows),
        sum(row.saved for row in rows),
    )


def by_reason(kept: Iterable[Kept]) -> tuple[KeptRow, ...]:
    """Return a row per pass and reason, in the order in which they came up."""
    rows: dict[tuple[str, str], list[str]] = {}
    for one in kept:
        rows.setdefault((one.pass_name, one.reason), []).append(one.path)
    return tuple(KeptRow(name, why, tuple(paths)) for (name, why), paths in rows.items())
