"""The report for people: plain text, as wide as it needs to be."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence

from lambdaslim import limits
from lambdaslim.companion import removed_sources
from lambdaslim.errors import printable
from lambdaslim.findings import Finding, Severity
from lambdaslim.offers import Offer
from lambdaslim.proving import Diagnosis
from lambdaslim.report.facts import KeptRow, Outcome, by_pass, by_reason, total
from lambdaslim.verification import Verification

_MOST_ROWS = 20
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)
_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.INFO: "36"}


def to_text(outcome: Outcome, *, colour: bool = False) -> str:
    """Return the whole report: per pass, before and after, what was kept, findings, digests."""
    parts = (
        _title(outcome),
        _passes(outcome),
        _sizes(outcome),
        _offers(outcome.slimmed.offers),
        _kept(by_reason(outcome.slimmed.result.kept)),
        verification_text(outcome.slimmed.verification),
        diagnosis_text(outcome.slimmed.diagnosis, healed=_healed(outcome)),
        findings_text(outcome.slimmed.findings, colour=colour),
        _written(outcome),
    )
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def findings_text(findings: Iterable[Finding], *, colour: bool = False) -> Iterator[str]:
    """Yield one line per finding, the gravest first."""
    ordered = sorted(findings, key=lambda finding: _ORDER.index(finding.severity))
    if ordered:
        yield "findings"
    for finding in ordered:
        label = f"{finding.severity.value} {finding.code}"
        if colour:
            label = f"\x1b[{_COLOURS[finding.severity]}m{label}\x1b[0m"
        yield f"  {label}: {printable(finding.message)}"


def _healed(outcome: Outcome) -> bool:
    proof = outcome.slimmed.verification
    return proof is not None and not proof.failures


def verification_text(found: Verification | None) -> Iterator[str]:
    """Yield a line of counts, a line per failure and a line per note, nothing for None."""
    if found is None:
        return
    counts = ", ".join(f"{kind} {count:,}" for kind, count in found.checked.items())
    broken = f"{len(found.failures):,} broken" if found.failures else "nothing broken"
    yield f"verified with Python {found.python}: {broken} (compared: {counts})"
    for failure in found.failures[:_MOST_ROWS]:
        yield f"  broken: {printable(str(failure))}"
    if len(found.failures) > _MOST_ROWS:
        yield f"  ... and {len(found.failures) - _MOST_ROWS:,} more (--json lists all)"
    yield from (f"  note: {printable(note)}" for note in found.notes)


def diagnosis_text(found: Diagnosis | None, *, healed: bool = False) -> Iterator[str]:
    """Yield what has to be kept, or was kept by healing, as lines of a configuration."""
    if found is None:
        return
    if found.keep:
        done = "these lines mend it" if found.mended else "these lines mend a part of it"
        if healed:
            done = "healed: it failed, and passes with these lines"
        least = "" if found.minimal else "; fewer may do"
        yield f"diagnosis: {done} ({found.calls:,} packages were tried{least})"
        yield "  [tool.lambdaslim]"
        yield "  keep = ["
        yield from (f"      {json.dumps(line)}," for line in found.keep)
        yield "  ]"
        yield f"  or: {' '.join(f'--keep {shlex.quote(line)}' for line in found.keep)}"
    if found.why is not None:
        yield f"diagnosis: {printable(found.why)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield aligned lines: the first column to the left, the others to the right."""
    grid = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in grid) for column in range(len(head))]
    for first, *others in grid:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"{first:<{widths[0]}}", *cells]).rstrip()


def _title(outcome: Outcome) -> Iterator[str]:
    target = outcome.slimmed.target
    sources = ", ".join(printable(source) for source in outcome.sources)
    yield (
        f"lambdaslim {outcome.command}: {sources} for {target.runtime.name} on "
        f"{target.architecture}, preset {outcome.preset}"
    )


def _passes(outcome: Outcome) -> Iterator[str]:
    rows = by_pass(outcome.slimmed.result.changes)
    lines = [(r.name, r.removed, r.replaced, r.added, r.saved) for r in (*rows, total(rows))]
    head = ["pass", "removed", "replaced", "added", "bytes saved"]
    columns = [0, 1, 2, 3, 4] if total(rows).added else [0, 1, 2, 4]
    cells = [[line[0], *(f"{number:,}" for number in line[1:])] for line in lines]
    return table([head[c] for c in columns], [[line[c] for c in columns] for line in cells])


def _sizes(outcome: Outcome) -> Iterator[str]:
    slimmed = outcome.slimmed
    before, after, left = slimmed.result.before, slimmed.result.after, slimmed.headroom
    rows = [
        ("files", f"{len(before):,}", f"{len(after):,}", "", ""),
        _size("unzipped bytes", before.size, after.size, left.unzipped, limits.UNZIPPED),
    ]
    if slimmed.package.zipped is not None:
        known = outcome.zipped_before
        rows.append(
            _size("zipped bytes", known, slimmed.package.zipped, left.zipped, limits.ZIPPED)
        )
    yield from table(("", "before", "after", "headroom", "limit"), rows)
    if slimmed.layers:
        total = sum(layer.size for layer in slimmed.layers)
        yield f"layers take {total:,} bytes of the unzipped limit"


def _size(
    name: str, before: int | None, after: int, left: int | None, limit: int
) -> tuple[str, ...]:
    shown = "(--compare)" if before is None else f"{before:,}"
    return name, shown, f"{after:,}", "" if left is None else f"{left:,}", f"{limit:,}"


def _offers(offered: Sequence[Offer]) -> Iterator[str]:
    """Yield what the preset `small` would save, per pass, if it would save anything."""
    rows = [(one.pass_name, one.saved) for one in offered if one.saved]
    if rows:
        rows.append(("total", sum(saved for _, saved in rows)))
        head = ("with --preset small", "about bytes saved")
        yield from table(head, [(name, f"{saved:,}") for name, saved in rows])


def _kept(rows: Sequence[KeptRow]) -> Iterator[str]:
    if rows:
        yield "kept on purpose"
    for row in rows[:_MOST_ROWS]:
        more = f" and {len(row.paths) - 1:,} more" if len(row.paths) > 1 else ""
        yield f"  {row.name}: {printable(row.paths[0])}{more}: {printable(row.reason)}"
    if len(rows) > _MOST_ROWS:
        yield f"  ... and {len(rows) - _MOST_ROWS:,} more reasons (--json lists all)"


def _written(outcome: Outcome) -> Iterator[str]:
    package = outcome.slimmed.package
    if outcome.refused:
        yield "nothing was written: a check failed"
        return
    if outcome.dry_run:
        yield "nothing was written: dry run"
    else:
        yield f"wrote {printable(str(package.path))}"
        if outcome.companion is not None:
            count = len(removed_sources(outcome.slimmed.result))
            what = f"{count:,} removed sources, for `lambdaslim traceback`"
            yield f"wrote {printable(outcome.companion)} ({what})"
    if package.sha256:
        yield f"compressor      {package.compressor}"
        yield f"sha256          {package.sha256}"
        yield f"CodeSha256      {package.code_sha256}"
    yield f"content digest  {package.content_digest}"
