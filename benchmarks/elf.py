#!/usr/bin/env python3
"""What strip-elf takes out of real libraries, against `strip --strip-unneeded`, and what it leaves.

Usage: elf.py PATH... [--load] [--json FILE]

A PATH is a directory of installed packages, or a wheel. Files that are there twice count once. What
is loaded before and after is compared by another reader than lambdaslim's.
With --load, every library of this machine is loaded in a process of its own before and after.
GNU strip is asked if it is installed and knows the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from lambdaslim import Entry, Pipeline, Tree, passes, scan, write_dir
from lambdaslim.scanner import scan_zip

Way = Literal["zero", "close"]
WAYS: tuple[Way, ...] = ("zero", "close")
LOAD = 1
MACHINES = {62: "x86_64", 183: "aarch64"}


def libraries(path: Path) -> Tree:
    """Return the 64-bit ELF files of a directory or a wheel."""
    tree = scan_zip(path) if path.is_file() else scan(path, symlinks="follow")
    return Tree(entry for entry in tree.values() if entry.head(5) == b"\x7fELF\x02")


def segments(data: bytes) -> list[tuple[int, ...]]:
    """Return the program headers: kind, flags, offset, two addresses, two sizes, alignment."""
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return [struct.unpack_from("<IIQQQQQQ", data, table + n * size) for n in range(count)]


def compared(before: bytes, after: bytes) -> str:
    """Return what became of the loaded part.

    It is "equal", "moved" in the file only, "changed", or "misplaced", where the offset and the
    address of a segment do not agree as its alignment asks. What the header says of the section
    table, and what the program headers say of the place in the file, are no part of it.
    """
    old, new = segments(before), segments(after)
    stripped = [(*row[:2], *row[3:]) for row in old] == [(*row[:2], *row[3:]) for row in new]
    if any(row[0] == LOAD and row[7] > 1 and (row[2] - row[3]) % row[7] for row in new):
        return "misplaced"
    if not stripped:
        return "changed"
    (table,) = struct.unpack_from("<Q", before, 32)
    skipped = ((0x28, 0x30), (0x3C, 0x40), (table, table + 56 * len(old)))
    for one, other in zip(old, new, strict=True):
        a = bytearray(before[one[2] : one[2] + one[5]])
        b = bytearray(after[other[2] : other[2] + other[5]])
        for start, stop in skipped:
            first, last = (min(max(at - one[2], 0), one[5]) for at in (start, stop))
            a[first:last] = b[first:last] = bytes(last - first)
        if a != b:
            return "changed"
    return "equal" if [row[2] for row in old] == [row[2] for row in new] else "moved"


def machine_of(data: bytes) -> str | None:
    """Return the machine that a file is for."""
    return MACHINES.get(struct.unpack_from("<H", data, 18)[0])


def by_gnu(data: bytes, scratch: Path) -> bytes | None:
    """Return what GNU strip makes of a file; None if it cannot."""
    machine = machine_of(data)
    own = machine == platform.machine()
    command = shutil.which("strip") if own else shutil.which(f"{machine}-linux-gnu-strip")
    if command is None:
        return None
    source, target = scratch / "source", scratch / "target"
    source.write_bytes(data)
    done = subprocess.run(
        [command, "--strip-unneeded", "-o", str(target), str(source)],
        check=False,
        capture_output=True,
    )
    return target.read_bytes() if done.returncode == 0 else None


def measure(entry: Entry, scratch: Path) -> dict[str, object]:
    """Return the row of one library: the bytes saved in each way, and what became of the rest."""
    before = entry.read()
    row: dict[str, object] = {
        "path": entry.path,
        "machine": machine_of(before),
        "bytes": len(before),
    }
    for way in WAYS:
        after = slimmed(Tree([entry]), way)[entry.path].read()
        row[way] = len(before) - len(after)
        row[f"{way}_loaded"] = compared(before, after)
    if (gnu := by_gnu(before, scratch)) is not None:
        row["gnu"] = len(before) - len(gnu)
        row["gnu_loaded"] = compared(before, gnu)
    return row


def slimmed(tree: Tree, way: Way) -> Tree:
    """Return what the pass makes of a tree."""
    return Pipeline((passes.StripElf(holes=way),)).run(tree).after


def loads(path: Path) -> bool:
    """Tell whether a library can be loaded."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    command = [sys.executable, "-c", code, str(path)]
    return not subprocess.run(command, check=False, capture_output=True).returncode


def load_all(tree: Tree, names: Sequence[str], scratch: Path) -> Iterator[tuple[str, str]]:
    """Yield what loaded before, and what of that does not load after: a name and a way."""
    write_dir(tree, scratch / "before")
    before = [name for name in names if loads(scratch / "before" / name)]
    yield from ((name, "before") for name in before)
    for way in WAYS:
        write_dir(slimmed(tree, way), scratch / way)
        yield from ((name, way) for name in before if not loads(scratch / way / name))


def measure_all(
    paths: Sequence[Path], *, load: bool
) -> tuple[list[dict[str, object]], Counter[str]]:
    """Return a row per library, and how many loaded before and no longer do after."""
    rows: list[dict[str, object]] = []
    loaded: Counter[str] = Counter()
    seen: set[str] = set()
    for path in paths:
        tree = libraries(path)
        digests = {name: hashlib.sha256(entry.read()).hexdigest() for name, entry in tree.items()}
        fresh = [name for name in tree if digests[name] not in seen]
        seen.update(digests.values())
        with tempfile.TemporaryDirectory() as scratch:
            rows += [measure(tree[name], Path(scratch)) for name in fresh]
            own = [name for name in fresh if machine_of(tree[name].head(20)) == platform.machine()]
            if load and own:
                found = load_all(tree, own, Path(scratch))
                loaded.update(way for _, way in found)
        print(f"{path}: {len(fresh)} new of {len(tree)}", file=sys.stderr)
    return rows, loaded


def show(rows: Sequence[dict[str, object]], loaded: Counter[str]) -> None:
    """Print the table."""
    print(f"{'files':34} {'number':>6} {'bytes':>14} {'zero':>12} {'close':>12} {'GNU':>12}")
    groups = {"all": rows}
    groups |= {name: [r for r in rows if r["machine"] == name] for name in MACHINES.values()}
    groups |= {
        f"where GNU strip left it {what}": [r for r in rows if r.get("gnu_loaded") == what]
        for what in ("equal", "moved", "changed", "misplaced")
    }
    for name, group in groups.items():
        sums = [sum(int(str(r.get(k, 0))) for r in group) for k in ("bytes", *WAYS, "gnu")]
        print(f"{name:34} {len(group):6} {sums[0]:14,} {sums[1]:12,} {sums[2]:12,} {sums[3]:12,}")
    for way in WAYS:
        print(
            f"{way}: loaded part {dict(Counter(str(r[f'{way}_loaded']) for r in rows))}, "
            f"no longer loaded: {loaded[way]} of {loaded['before']}"
        )


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    ask.add_argument("paths", type=Path, nargs="+")
    ask.add_argument("--load", action="store_true")
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    rows, loaded = measure_all(given.paths, load=given.load)
    show(rows, loaded)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
