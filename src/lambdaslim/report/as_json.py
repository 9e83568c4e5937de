"""The report for programs: JSON whose shape only changes with its version."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lambdaslim import limits
from lambdaslim.findings import Finding
from lambdaslim.pipeline import Change
from lambdaslim.report.facts import Outcome, by_pass, by_reason
from lambdaslim.verification import Verification

#: Grows when a key is renamed, removed or changes its meaning; new keys do not change it.
VERSION = 1


def to_json(outcome: Outcome) -> str:
    """Return the whole report, every change included, as one JSON object; sizes are bytes."""
    slimmed = outcome.slimmed
    result, package = slimmed.result, slimmed.package
    return dumps(
        {
            "version": VERSION,
            "command": outcome.command,
            "sources": list(outcome.sources),
            "runtime": slimmed.target.runtime.name,
            "architecture": slimmed.target.architecture,
            "preset": outcome.preset,
            "written": package.path is not None,
            "output": None if package.path is None else str(package.path),
            "sources_companion": outcome.companion,
            "before": _size(len(result.before), result.before.size, outcome.zipped_before),
            "after": _size(package.files, package.unzipped, package.zipped),
            "layers": [_size(len(layer), layer.size, None) for layer in slimmed.layers],
            "limits": {"unzipped": limits.UNZIPPED, "zipped": limits.ZIPPED},
            "headroom": asdict(slimmed.headroom),
            "compressor": package.compressor,
            "sha256": package.sha256,
            "code_sha256": package.code_sha256,
            "content_digest": package.content_digest,
            "passes": [
                {
                    "pass": row.name,
                    "removed": row.removed,
                    "replaced": row.replaced,
                    "added": row.added,
                    "saved": row.saved,
                }
                for row in by_pass(result.changes)
            ],
            "offers": [
                {"pass": one.pass_name, "saved": one.saved, "estimated": one.estimated}
                for one in slimmed.offers
            ],
            "changes": [_change(change) for change in result.changes],
            "kept": [
                {"pass": row.name, "reason": row.reason, "paths": list(row.paths)}
                for row in by_reason(result.kept)
            ],
            "verification": verification_json(slimmed.verification),
            "diagnosis": None if slimmed.diagnosis is None else asdict(slimmed.diagnosis),
            "findings": findings_json(slimmed.findings),
        }
    )


def _change(change: Change) -> dict[str, str | int | None]:
    return {
        "pass": change.pass_name,
        "path": change.path,
        "new_path": change.new_path,
        "reason": change.reason,
        "before": change.before,
        "after": change.after,
    }


def findings_json(findings: Iterable[Finding]) -> list[dict[str, str | None]]:
    """Return findings as plain objects."""
    return [
        {"code": f.code, "severity": f.severity.value, "message": f.message, "path": f.path}
        for f in findings
    ]


def verification_json(found: Verification | None) -> dict[str, Any] | None:
    """Return a verification as a plain object, None if there was none."""
    if found is None:
        return None
    return {
        "python": found.python,
        "checked": dict(found.checked),
        "failures": [asdict(failure) for failure in found.failures],
        "notes": list(found.notes),
    }


def dumps(document: dict[str, Any]) -> str:
    """Return JSON text with a final newline; non-ASCII is escaped, whatever the locale."""
    return json.dumps(document, indent=1) + "\n"


def _size(files: int, unzipped: int, zipped: int | None) -> dict[str, int | None]:
    return {"files": files, "unzipped": unzipped, "zipped": zipped}
