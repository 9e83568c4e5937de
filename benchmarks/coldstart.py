#!/usr/bin/env python3
"""Import time in fresh processes: bytecode in the place of sources against sources alone.

Usage: coldstart.py [--runs N] [--json FILE]

/var/task is read-only, so Lambda compiles sources without bytecode at every cold start; `python -B`
without caches does the same here. The packages are installed at pinned versions for the running
Python. Both trees differ in the bytecode only, and take turns whose order alternates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from lambdaslim import Pipeline, passes, scan, write_dir

PYTHON = "{}.{}".format(*sys.version_info[:2])
CLIENT = 'boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")'
# What is imported, what it is called, and what it needs.
WORKLOADS = (
    ("pandas", "import pandas", ("pandas==2.2.3", "numpy==2.2.6")),
    (
        "sqlalchemy + fastapi",
        "import sqlalchemy.orm, fastapi",
        ("sqlalchemy==2.0.38", "fastapi==0.115.12"),
    ),
    ("boto3 client", f"import boto3; {CLIENT}", ("boto3==1.37.0",)),
)
PROBE = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter()
exec(sys.argv[2])
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Row:
    """Median seconds of a workload."""

    name: str
    sources: float
    bytecode: float


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("--runs", type=int, default=9)
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            measure(name, code, trees(Path(scratch) / str(number), requirements), given.runs)
            for number, (name, code, requirements) in enumerate(WORKLOADS)
        ]
    print(f"| Python {PYTHON} | sources only | bytecode | ratio |")
    print("| --- | ---: | ---: | ---: |")
    for row in rows:
        ratio = row.bytecode / row.sources
        print(f"| {row.name} | {row.sources:.3f} s | {row.bytecode:.3f} s | {ratio:.2f} |")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def trees(directory: Path, requirements: tuple[str, ...]) -> dict[str, Path]:
    """Install, and return a directory of sources and one of bytecode."""
    vendored = directory / "vendored"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    options = ["--only-binary=:all:", "--target", str(vendored)]
    subprocess.run([*pip, *options, *requirements], check=True)
    tree = scan(vendored)
    strip = passes.StripBytecode()
    plain = Pipeline((strip,)).run(tree)
    promoted = Pipeline((passes.PromoteBytecode(PYTHON), strip)).run(tree)
    write_dir(plain.after, directory / "sources")
    write_dir(promoted.after, directory / "bytecode")
    return {name: directory / name for name in ("sources", "bytecode")}


def measure(name: str, code: str, places: dict[str, Path], runs: int) -> Row:
    """Let both take turns; the first turn only warms the disk's cache."""
    seconds: dict[str, list[float]] = {kind: [] for kind in places}
    for run in range(runs + 1):
        for kind in sorted(places, reverse=run % 2 == 1):
            taken = once(places[kind], code)
            if run:
                seconds[kind].append(taken)
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    return Row(name, medians["sources"], medians["bytecode"])


def once(place: Path, code: str) -> float:
    """Return the seconds that the statements take in a fresh process."""
    command = [sys.executable, "-I", "-S", "-B", "-c", PROBE, str(place), code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
