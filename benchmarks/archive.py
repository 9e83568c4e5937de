#!/usr/bin/env python3
"""Time and size of the archive step against `zip -r9q` and the standard library's zipfile.

Usage: archive.py DIR [--runs N] [--json FILE]

Contestants take turns, so a slow phase of the machine hits all of them. Prints medians, the ratio
to `zip -r9q`, and the bytes; `zip` must be installed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from lambdaslim import scan, write_zip

Contestant = Callable[[Path, Path], object]


def ours(source: Path, output: Path) -> None:
    """Scan, write, read back."""
    write_zip(scan(source), output)


def zip_command(source: Path, output: Path) -> None:
    """The classic command."""
    command = shutil.which("zip") or sys.exit("zip is not installed")
    subprocess.run([command, "-r9q", str(output), "."], cwd=source, check=True)


def standard_library(source: Path, output: Path) -> None:
    """What most build scripts do."""
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))


CONTESTANTS: dict[str, Contestant] = {
    "zip -r9q": zip_command,
    "zipfile, level 9": standard_library,
    "lambdaslim": ours,
}


def measure(source: Path, runs: int) -> list[dict[str, object]]:
    """Return a row per contestant: median seconds, bytes, and both as ratios to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for run in range(runs):
            for name, contestant in CONTESTANTS.items():
                output = Path(scratch) / f"{run}-{len(name)}.zip"
                start = time.perf_counter()
                contestant(source, output)
                seconds[name].append(time.perf_counter() - start)
                sizes[name] = output.stat().st_size
                output.unlink()
    first = next(iter(CONTESTANTS))
    return [
        {
            "name": name,
            "seconds": statistics.median(seconds[name]),
            "time_ratio": statistics.median(seconds[name]) / statistics.median(seconds[first]),
            "bytes": sizes[name],
            "size_ratio": sizes[name] / sizes[first],
        }
        for name in CONTESTANTS
    ]


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    ask.add_argument("directory", type=Path)
    ask.add_argument("--runs", type=int, default=3)
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    rows = measure(given.directory.resolve(), given.runs)
    print(f"{'contestant':18} {'seconds':>8} {'ratio':>6} {'bytes':>12} {'ratio':>6}")
    for row in rows:
        print(
            f"{row['name']:18} {row['seconds']:8.2f} {row['time_ratio']:6.3f} "
            f"{row['bytes']:12,} {row['size_ratio']:6.3f}"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
