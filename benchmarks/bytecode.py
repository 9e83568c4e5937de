#!/usr/bin/env python3
"""Time and size of canonical bytecode against `python -m compileall -j2` on the same sources.

Usage: bytecode.py [--tree DIR] [--python PATH ...] [--runs N] [--json FILE]

For each interpreter, both compile the same sources in two processes, in turns whose order
alternates. compileall writes a file for each; lambdaslim hands its bytecode over in memory, where a
package is made of it, and for comparison writes such files too. The Python that runs this script
drives lambdaslim; every other version is compiled across. Prints medians, their ratio, and the
bytes. Without --tree, pure-Python packages are installed at pinned versions. Without --python,
every interpreter that lambdaslim finds takes part.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lambdaslim import runtimes, scan
from lambdaslim.bytecode import Source, compile_all
from lambdaslim.interpreters import Interpreter, ask, find

# Sources that 3.9 to 3.15 compile: about 2,200 files.
PACKAGES = ("sympy==1.13.3", "mpmath==1.3.0", "networkx==3.2.1", "botocore==1.35.0")
WORKERS = 2


@dataclass(frozen=True)
class Row:
    """What one interpreter did: median seconds, bytes of all bytecode, number of files."""

    python: str
    compileall_seconds: float
    ours_seconds: float
    written_seconds: float
    compileall_bytes: int
    ours_bytes: int
    files: int


def main() -> None:
    """Measure and print."""
    ask_for = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask_for.add_argument("--tree", type=Path)
    ask_for.add_argument("--python", type=Path, action="append", default=[])
    ask_for.add_argument("--runs", type=int, default=5)
    ask_for.add_argument("--json", type=Path)
    given = ask_for.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tree = given.tree.resolve() if given.tree else installed(Path(scratch) / "tree")
        work = Path(scratch) / "work"
        rows = [measure(one, tree, work, given.runs) for one in interpreters(given.python)]
    table(rows)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def installed(directory: Path) -> Path:
    """Install the corpus; nothing of it is run."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    options = ["--ignore-requires-python", "--only-binary=:all:", "--target", str(directory)]
    subprocess.run([*pip, *options, *PACKAGES], check=True)
    return directory


def interpreters(given: list[Path]) -> Iterator[Interpreter]:
    """Yield the interpreters to measure."""
    if given:
        yield from filter(None, (ask(str(path)) for path in given))
        return
    for name in runtimes.names():
        runtime = runtimes.load(name)
        if one := find(runtime.python, runtime.magic):
            yield one


def measure(python: Interpreter, tree: Path, work: Path, runs: int) -> Row:
    """Let both take turns."""
    contestants: dict[str, Callable[[], None]] = {
        "compileall": lambda: compileall(python, work),
        "ours": lambda: ours(python, work, write=False),
        "written": lambda: ours(python, work, write=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    made = {}
    for run in range(runs):
        for name in sorted(contestants, reverse=run % 2 == 1):
            fresh_copy(tree, work)
            start = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - start)
            made[name] = [path.stat().st_size for path in work.rglob("*.pyc")]
    return Row(
        python.version,
        statistics.median(seconds["compileall"]),
        statistics.median(seconds["ours"]),
        statistics.median(seconds["written"]),
        sum(made["compileall"]),
        sum(made["written"]),
        len(made["written"]),
    )


def fresh_copy(tree: Path, work: Path) -> None:
    """Copy the sources, which also puts them into the disk's cache."""
    shutil.rmtree(work, ignore_errors=True)
    for path in tree.rglob("*.py"):
        copy = work / path.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def compileall(python: Interpreter, work: Path) -> None:
    """Compile as installers do, into files; a source that does not compile makes it return 1."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python.executable), "-m", "compileall", f"-j{WORKERS}", "-q", str(work)]
    subprocess.run(command, env=clean, capture_output=True, check=False)


def ours(python: Interpreter, work: Path, *, write: bool) -> None:
    """Scan, read, compile, and write if asked to."""
    sources = [Source(entry.path, entry.read()) for entry in scan(work).values()]
    answers = compile_all(sources, python, workers=WORKERS)
    for path, answer in answers.items():
        if write and answer.pyc is not None:
            (work / f"{path}c").write_bytes(answer.pyc)


def table(rows: list[Row]) -> None:
    """Print a Markdown table, as docs/explanation/benchmarks.md shows it."""
    head = ("Python", "compileall -j2", "lambdaslim", "ratio", "and written", "ratio")
    print(f"| {' | '.join((*head, 'compileall bytes', 'bytes', 'ratio'))} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        ratio = row.ours_seconds / row.compileall_seconds
        written_ratio = row.written_seconds / row.compileall_seconds
        size_ratio = row.ours_bytes / row.compileall_bytes
        print(
            f"| {row.python} | {row.compileall_seconds:.2f} s | {row.ours_seconds:.2f} s "
            f"| {ratio:.2f} | {row.written_seconds:.2f} s | {written_ratio:.2f} "
            f"| {row.compileall_bytes:,} | {row.ours_bytes:,} "
            f"| {size_ratio:.3f} |"
        )
    print(f"\n{rows[0].files if rows else 0:,} files")


if __name__ == "__main__":
    main()
