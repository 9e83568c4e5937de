#!/usr/bin/env python3
"""Write src/lambdaslim/runtimes/*.json from scripts/runtimes.json, the observed facts.

Usage: build_runtimes.py [--check]   (--check writes nothing and exits 1 when a file would change)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "src" / "lambdaslim" / "runtimes"

# importlib.util.MAGIC_NUMBER's first two bytes, read in each interpreter (CPython keeps the list
# in Include/internal/pycore_magic_number.h).
MAGIC = {
    "python3.8": 3413,
    "python3.9": 3425,
    "python3.10": 3439,
    "python3.11": 3495,
    "python3.12": 3531,
    "python3.13": 3571,
    "python3.14": 3627,
    "python3.15": 3666,
}
# AWS documents that the runtimes hold Boto3 with its dependencies, which only work as one unit, and
# the SnapStart hooks. Everything else is an implementation detail and belongs to no unit.
UNITS = {
    "boto3": "sdk",
    "botocore": "sdk",
    "jmespath": "sdk",
    "python-dateutil": "sdk",
    "s3transfer": "sdk",
    "six": "sdk",
    "urllib3": "sdk",
    "snapshot-restore-py": "snapstart",
}
# No source states the C library of the preview runtime; its system is that of python3.14.
ASSUMED_GLIBC = "2.34"


def provided(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per distribution, preferring the row that has a version."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["dist"].lower().replace("_", "-")
        if name not in best or row["version_observed"]:
            best[name] = {
                "distribution": name,
                "version": row["version_observed"],
                "unit": UNITS.get(name),
                "modules": sorted(row["modules"]),
                "observed": row["observed"],
                "confidence": row["confidence"],
                "source": row["source"],
            }
    return [best[name] for name in sorted(best)]


def libraries(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per shared library that the system of a runtime is known to have or lack."""
    found = {
        library: {
            "name": library,
            "present": row["present"],
            "observed": row["observed"],
            "source": row["source"],
        }
        for row in rows
        if row["runtimes"] is None or name in row["runtimes"]
        for library in row["names"]
    }
    return [found[library] for library in sorted(found)]


def runtime(name: str, facts: dict[str, Any], systems: dict[str, Any]) -> dict[str, Any]:
    """Return the data file of one runtime."""
    notes = list(facts["notes"])
    if not facts["glibc"]:
        notes.append(f"glibc {ASSUMED_GLIBC} is assumed from the same operating system")
    return {
        "magic": MAGIC[name],
        "operating_system": facts["os"],
        "glibc": facts["glibc"] or ASSUMED_GLIBC,
        "architectures": sorted(facts["architectures"], reverse=True),
        "deprecation": facts["deprecation"],
        "status": facts["status"],
        "search_path": list(dict.fromkeys(facts["sys_path"] or [])),
        "provided": provided(facts["provided"]),
        "libraries": libraries(name, systems[facts["os"]]),
        "notes": notes,
    }


def main() -> None:
    """Write the files, or compare them with --check."""
    facts = json.loads((HERE / "runtimes.json").read_text(encoding="utf-8"))
    stale = []
    for name, row in facts["runtimes"].items():
        path = OUTPUT / f"{name}.json"
        text = (
            json.dumps(runtime(name, row, facts["libraries"]), indent=1, ensure_ascii=False) + "\n"
        )
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run scripts/build_runtimes.py")


if __name__ == "__main__":
    main()
