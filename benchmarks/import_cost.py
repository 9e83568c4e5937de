#!/usr/bin/env python3
"""What `import lambdaslim` costs over a bare interpreter, in milliseconds.

Usage: import_cost.py [--runs N]

Both are started in turn in fresh processes; prints the medians and their difference.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

STATEMENTS = {"bare": "pass", "import lambdaslim": "import lambdaslim"}


def seconds(statement: str) -> float:
    """Return the wall time of a fresh interpreter that runs one statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    ask.add_argument("--runs", type=int, default=7)
    runs = ask.parse_args().runs
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(runs + 1):
        for name, statement in STATEMENTS.items():
            taken[name].append(seconds(statement))
    # The first round fills the disk cache.
    medians = {name: 1000 * statistics.median(times[1:]) for name, times in taken.items()}
    for name, median in medians.items():
        print(f"{name:20} {median:6.1f} ms")
    print(f"{'difference':20} {medians['import lambdaslim'] - medians['bare']:6.1f} ms")


if __name__ == "__main__":
    main()
