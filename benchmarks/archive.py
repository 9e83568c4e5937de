#!/usr/bin/env python3
"""Time and size of the archive step against other programs that make zips of the same files.

Usage: archive.py [--slim PRESET] [--runs N] [--only CONTESTANT ...] [--json FILE] NAME|DIR ...

NAME is a corpus of corpora.toml, DIR any directory. With --slim, each is slimmed first by a preset,
and what is packed is the result. Contestants take turns, so a slow phase of the machine hits all of
them. Prints medians, the ratio to `zip -r9q`, and the bytes. `zip` must be installed; 7z, advzip
and ect take part where they are. advzip and ect work on the zip that `zip -r9q` made, whose time
is not counted for them. Of lambdaslim, everything counts: starting, listing, and reading back.
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
from collections.abc import Callable
from pathlib import Path

import corpora
from lambdaslim import slim

Contestant = Callable[[Path, Path], object]

OURS = """
import sys
from lambdaslim import scan, write_zip
write_zip(scan(sys.argv[1]), sys.argv[2], compression=sys.argv[3])
"""
STANDARD_LIBRARY = """
import sys, zipfile
from pathlib import Path
source = Path(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for path in sorted(source.rglob("*")):
        archive.write(path, path.relative_to(source))
"""


def ours(compression: str) -> Contestant:
    """Scan, write, read back, in a process of its own."""
    return lambda source, output: run(
        [sys.executable, "-c", OURS, str(source), str(output), compression], source
    )


def program(*command: str) -> Contestant:
    """Run a program in the directory that it packs; OUTPUT stands for the zip."""
    return lambda source, output: run(
        [str(output) if part == "OUTPUT" else part for part in command], source
    )


def run(command: list[str], directory: Path) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)


def standard_library(source: Path, output: Path) -> None:
    """What most build scripts do."""
    run([sys.executable, "-c", STANDARD_LIBRARY, str(source), str(output)], source)


#: By name; those of `AGAIN` are given the zip of the first contestant, to compress it again.
CONTESTANTS: dict[str, Contestant] = {
    "zip -r9q": program("zip", "-r9q", "OUTPUT", "."),
    "zipfile, level 9": standard_library,
    "7z -tzip -mx=9": program("7z", "a", "-tzip", "-mx=9", "-bso0", "-bsp0", "OUTPUT", "."),
    "advzip -z -4": program("advzip", "-z", "-4", "-q", "OUTPUT"),
    "ect -3 -zip": program("ect", "-3", "-zip", "OUTPUT"),
    "lambdaslim, zlib": ours("zlib"),
    "lambdaslim, libdeflate": ours("libdeflate"),
    "lambdaslim, max": ours("max"),
}
AGAIN = ("advzip -z -4", "ect -3 -zip")


def there(only: list[str]) -> dict[str, Contestant]:
    """Return the contestants that are wanted and installed."""
    if shutil.which("zip") is None:
        sys.exit("zip is not installed")
    others = {name for name in ("7z", "advzip", "ect") if shutil.which(name) is None}
    for name in sorted(others):
        print(f"{name} is not installed", file=sys.stderr)
    return {
        name: one
        for number, (name, one) in enumerate(CONTESTANTS.items())
        if name.partition(" ")[0] not in others and (not number or not only or name in only)
    }


def measure(source: Path, runs: int, contestants: dict[str, Contestant]) -> list[dict[str, object]]:
    """Return a row per contestant: median seconds, bytes, and both as ratios to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "zip.zip"
        for turn in range(runs):
            for number, (name, contestant) in enumerate(contestants.items()):
                output = Path(scratch) / f"{turn}-{number}.zip"
                if name in AGAIN:
                    shutil.copyfile(kept, output)
                start = time.perf_counter()
                contestant(source, output)
                seconds[name].append(time.perf_counter() - start)
                sizes[name] = output.stat().st_size
                output.replace(kept) if number == 0 else output.unlink()
    first = next(iter(contestants))
    return [
        {
            "corpus": source.name,
            "name": name,
            "seconds": statistics.median(seconds[name]),
            "time_ratio": statistics.median(seconds[name]) / statistics.median(seconds[first]),
            "bytes": sizes[name],
            "size_ratio": sizes[name] / sizes[first],
        }
        for name in contestants
    ]


def slimmed(tree: Path, preset: str, scratch: Path) -> Path:
    """Return the directory that slimming makes of a tree."""
    place = scratch / tree.name
    slim(
        tree,
        place,
        runtime=corpora.load().runtime,
        preset=preset,
        allow_oversize=True,
        allow=["compat-glibc", "compat-library-missing"],
    )
    return place


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("corpus", nargs="+", metavar="NAME|DIR")
    ask.add_argument("--slim", metavar="PRESET")
    ask.add_argument("--runs", type=int, default=3)
    ask.add_argument("--only", action="append", default=[], choices=[*CONTESTANTS])
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    contestants = there(given.only)
    rows: list[dict[str, object]] = []
    print(f"{'corpus':24} {'contestant':24} {'seconds':>8} {'ratio':>6} {'bytes':>12} {'ratio':>6}")
    for name in given.corpus:
        tree = Path(name) if Path(name).is_dir() else corpora.installed(name)
        with tempfile.TemporaryDirectory() as scratch:
            source = slimmed(tree, given.slim, Path(scratch)) if given.slim else tree.resolve()
            found = measure(source, given.runs, contestants)
        for row in found:
            print(
                f"{row['corpus']:24} {row['name']:24} {row['seconds']:8.2f} "
                f"{row['time_ratio']:6.3f} {row['bytes']:12,} {row['size_ratio']:6.3f}",
                flush=True,
            )
        rows += found
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
