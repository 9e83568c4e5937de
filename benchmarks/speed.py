#!/usr/bin/env python3
"""Time and memory of `lambdaslim pack` against the classic recipe, and how they grow.

Usage: speed.py [--corpus NAME|DIR ...] [--runs N] [--options OPTIONS] [--growth] [--json FILE]

For each corpus (a name of corpora.toml, or a directory of installed packages with their bytecode)
four contestants take turns: the recipe (copy, delete by name, move bytecode, `zip -r9q`), `pack`
with an empty cache, `pack` with a full one, and `pack` after one source has changed. With --growth,
generated trees of 1,000, 10,000 and 100,000 small files are slimmed without writing (no plain zip
holds 100,000 files) and, up to 60,000, packed. Every run is a process of its own; printed are
medians of its seconds, the seconds of all its processors' work, its peak memory, and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import corpora

RECIPE = Path(__file__).resolve().parent.parent / "tests" / "classic_recipe.sh"
PACK = ("--allow-oversize", "--upload=s3", "--allow=compat-glibc")
DRY, PACKED = (1_000, 10_000, 100_000), (1_000, 10_000, 60_000)
# Files of one generated distribution, and the lines of one of its sources.
_FILES, _LINES = 100, 20


@dataclass(frozen=True)
class Run:
    """What one process, with its children, took: seconds, seconds of work, peak bytes."""

    seconds: float
    work: float
    memory: int


@dataclass(frozen=True)
class Row:
    """The medians of one contestant."""

    subject: str
    contestant: str
    seconds: float
    work: float
    memory: int
    ratio: float


def run(command: list[str], cache: Path | None = None, codes: Container[int] = (0,)) -> Run:
    """Run a command to its end and return what it took; it may end with one of `codes`."""
    environment = {**corpora.clean_environment(), "LAMBDASLIM_CACHE": str(cache or os.devnull)}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = code = os.waitstatus_to_exitcode(status)
    if code not in codes:
        sys.exit(f"{shlex.join(command)} ended with {code}")
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def lambdaslim(*arguments: str) -> list[str]:
    """Return a command line of ours."""
    return [sys.executable, "-m", "lambdaslim", *arguments]


def recipe(tree: Path, scratch: Path) -> Run:
    """Copy, delete, move bytecode, zip: in one shell, as people run it."""
    copy, output = scratch / "recipe", scratch / "recipe.zip"
    tag = "cpython-" + corpora.load().python.replace(".", "")
    steps = [
        ["cp", "-a", str(tree), str(copy)],
        ["sh", str(RECIPE), str(copy), tag],
        ["sh", "-c", f"cd {shlex.quote(str(copy))} && zip -r9q {shlex.quote(str(output))} ."],
    ]
    took = run(["sh", "-ec", "\n".join(map(shlex.join, steps))])
    shutil.rmtree(copy)
    output.unlink()
    return took


def against_recipe(subject: str, tree: Path, runs: int, options: list[str]) -> list[Row]:
    """Measure one corpus; the first contestant is what the others are compared with."""
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        mine = scratch / "tree"
        shutil.copytree(tree, mine, symlinks=True)
        source = max(mine.rglob("*.py"), key=lambda path: path.stat().st_size)
        package = scratch / "out.zip"
        command = lambdaslim("pack", str(mine), "-o", str(package), *PACK)
        command += [f"--runtime={corpora.load().runtime}", *options]
        full, empty = scratch / "full", scratch / "empty"

        def pack(cache: Path) -> Run:
            package.unlink(missing_ok=True)
            # 1 is the code of a finding that is allowed, and of a crash.
            took = run(command, cache, (0, 1))
            if not zipfile.is_zipfile(package):
                sys.exit(f"{shlex.join(command)} wrote nothing")
            return took

        def cold() -> Run:
            shutil.rmtree(empty, ignore_errors=True)
            return pack(empty)

        def changed() -> Run:
            with source.open("a", encoding="utf-8") as file:
                file.write(f"# {time.perf_counter_ns()}\n")
            return pack(full)

        pack(full)
        contestants: dict[str, Callable[[], Run]] = {
            "the recipe": lambda: recipe(tree, scratch),
            "pack, empty cache": cold,
            "pack, nothing changed": lambda: pack(full),
            "pack, one file changed": changed,
        }
        return in_turns(subject, contestants, runs)


def in_turns(subject: str, contestants: Mapping[str, Callable[[], Run]], runs: int) -> list[Row]:
    """Let contestants take turns; return a row for each."""
    found: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, contestant in contestants.items():
            found[name].append(contestant())
    first = _median(found[next(iter(contestants))])
    rows = []
    for name, several in found.items():
        middle = _median(several)
        ratio = middle.seconds / first.seconds
        rows.append(Row(subject, name, middle.seconds, middle.work, middle.memory, ratio))
    return rows


def _median(several: list[Run]) -> Run:
    seconds = statistics.median(one.seconds for one in several)
    work = statistics.median(one.work for one in several)
    return Run(seconds, work, max(one.memory for one in several))


def generated(place: Path, files: int) -> Path:
    """Fill a directory with distributions of small sources that differ."""
    for number in range(files // _FILES):
        package = place / f"pkg{number}"
        metadata = place / f"pkg{number}-1.0.dist-info"
        package.mkdir(parents=True)
        metadata.mkdir()
        names = [f"pkg{number}/m{n}.py" for n in range(_FILES - 2)]
        for name in names:
            lines = (f"value_{line} = {number}, {line}, {len(name)}\n" for line in range(_LINES))
            (place / name).write_text("".join(lines), encoding="utf-8")
        head = f"Metadata-Version: 2.1\nName: pkg{number}\nVersion: 1.0\n"
        (metadata / "METADATA").write_text(head, encoding="utf-8")
        rows = "".join(f"{name},,\n" for name in names)
        (metadata / "RECORD").write_text(rows, encoding="utf-8")
    return place


def growth(runs: int) -> list[Row]:
    """Measure trees of more and more files; ratios are to a tenth of the files, where known."""
    rows: list[Row] = []
    for kind, sizes in (("slimmed, not written", DRY), ("packed", PACKED)):
        for size in sizes:
            with tempfile.TemporaryDirectory() as place:
                tree = generated(Path(place) / "tree", size)
                runtime = f"--runtime={corpora.load().runtime}"
                if kind == "packed":
                    command = lambdaslim("pack", str(tree), "-o", f"{place}/o.zip", runtime, *PACK)
                else:
                    command = lambdaslim("slim", str(tree), "--to", f"{place}/o", runtime)
                    command += ["--dry-run", "--allow-oversize"]
                (row,) = in_turns(f"{size:,} files", {kind: lambda: run(command)}, runs)  # noqa: B023 - called at once
            before = next(
                (r for r in rows if r.contestant == kind and r.subject == f"{size // 10:,} files"),
                None,
            )
            rows.append(
                Row(**{**asdict(row), "ratio": row.seconds / before.seconds if before else 1.0})
            )
    return rows


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("--corpus", action="append", default=[])
    ask.add_argument("--runs", type=int, default=3)
    ask.add_argument("--options", default="", help="of pack, like '--preset small'")
    ask.add_argument("--growth", action="store_true")
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    rows: list[Row] = []
    for name in given.corpus:
        tree = Path(name) if Path(name).is_dir() else corpora.installed(name)
        rows += against_recipe(tree.name, tree.resolve(), given.runs, shlex.split(given.options))
    if given.growth:
        rows += growth(given.runs)
    print(
        f"{'subject':24} {'contestant':24} {'seconds':>8} {'work':>8} {'peak MB':>8} {'ratio':>6}"
    )
    for row in rows:
        print(
            f"{row.subject:24} {row.contestant:24} {row.seconds:8.2f} {row.work:8.2f} "
            f"{row.memory / 1e6:8.0f} {row.ratio:6.3f}"
        )
    if given.json:
        document = [asdict(row) for row in rows]
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
