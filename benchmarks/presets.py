#!/usr/bin/env python3
"""What the presets make of directories of installed packages: bytes unzipped and zipped.

Usage: presets.py DIR [DIR ...] [--runtime NAME] [--arch ARCH] [--json FILE]

Nothing is proved here: `classic` in particular may make packages that do not work, which size.py
finds out. Limits and findings are ignored; only sizes matter.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from lambdaslim import findings, presets, slim

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes that a directory takes before and after a preset."""

    directory: str
    preset: str
    unzipped_before: int
    unzipped: int
    zipped: int


def main() -> None:
    """Slim each directory with each preset, and print a table."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    ask.add_argument("--runtime", default=RUNTIME)
    ask.add_argument("--arch", default="x86_64")
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    print("| directory | preset | unzipped before | unzipped | zipped |")
    print("| --- | --- | ---: | ---: | ---: |")
    rows = []
    for directory in given.directories:
        for preset in presets.NAMES:
            row = measure(directory, preset, given.runtime, given.arch)
            sizes = f"{row.unzipped_before:,} | {row.unzipped:,} | {row.zipped:,}"
            print(f"| {row.directory} | {preset} | {sizes} |", flush=True)
            rows.append(row)
    if given.json:
        text = json.dumps([asdict(row) for row in rows], indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")


def measure(directory: Path, preset: str, runtime: str, architecture: str) -> Row:
    """Slim a directory into a zip that is thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        slimmed = slim(
            directory,
            Path(scratch) / "package.zip",
            runtime=runtime,
            architecture=architecture,
            preset=preset,
            upload="s3",
            allow_oversize=True,
            allow=tuple(findings.KINDS),
        )
    before = sum(entry.size for entry in slimmed.result.before.values())
    package = slimmed.package
    return Row(directory.name, preset, before, package.unzipped, package.zipped or 0)


if __name__ == "__main__":
    main()
