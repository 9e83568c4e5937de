#!/usr/bin/env python3
"""Bytes and seconds of work of the compressors, file by file, on the same files.

Usage: compressors.py [--sample BYTES] [--json FILE] NAME|DIR ...

NAME is a corpus of corpora.toml, DIR any directory; bytecode caches are left out. Each file is
compressed by itself, as in a zip, and counts as stored where that is smaller; headers are not
counted. Seconds are those of the one thread at work, so they hold on a busy machine too. zopfli
takes minutes per 10 MB, so it, and the others once more, work on a sample: whole files, chosen by
the digest of their paths, until they are --sample bytes together (default 4 MB; 0 leaves it out).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import deflate
import zopfli.zopfli

import corpora
from lambdaslim import Entry, scan
from lambdaslim.compressors import compressor

Compress = Callable[[bytes], bytes]


def iterated(iterations: int) -> Compress:
    """Return zopfli with a number of iterations; a zlib stream has six bytes more."""
    return lambda data: zopfli.zopfli.compress(data, numiterations=iterations)[2:-4]


def plain(data: bytes) -> bytes:
    """Return what zlib makes at level 9 with blocks of its own choice, in one piece."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


QUICK: dict[str, Compress] = {
    "zlib 9": compressor("zlib:9"),
    "zlib 9, its own blocks": plain,
    "zlib, the default": compressor("zlib"),
    "zlib 6": compressor("zlib:6"),
    "libdeflate 10": compressor("libdeflate:10"),
    "libdeflate 10, one piece": lambda data: bytes(deflate.deflate_compress(data, 10)),
    "libdeflate 12": compressor("libdeflate:12"),
}
SLOW: dict[str, Compress] = {"zopfli 5": iterated(5), "zopfli 15": iterated(15)}


@dataclass(frozen=True)
class Row:
    """What one compressor made of some files; ratios are to the first compressor's."""

    corpus: str
    compressor: str
    files: int
    raw: int
    bytes: int
    seconds: float
    size_ratio: float
    time_ratio: float


def rows(corpus: str, entries: list[Entry], compressors: dict[str, Compress]) -> list[Row]:
    """Return a row per compressor; for every file they take turns."""
    sizes = dict.fromkeys(compressors, 0)
    seconds = dict.fromkeys(compressors, 0.0)
    for entry in entries:
        data = entry.read()
        for name, compress in compressors.items():
            start = time.thread_time()
            payload = compress(data)
            seconds[name] += time.thread_time() - start
            sizes[name] += min(len(payload), len(data))
    first = next(iter(compressors))
    raw = sum(entry.size for entry in entries)
    return [
        Row(
            corpus,
            name,
            len(entries),
            raw,
            sizes[name],
            seconds[name],
            sizes[name] / sizes[first],
            seconds[name] / seconds[first],
        )
        for name in compressors
    ]


def sample(entries: Iterable[Entry], most: int) -> list[Entry]:
    """Return some of the files, the same on every machine, of at most this many bytes."""
    chosen: list[Entry] = []
    for entry in sorted(entries, key=lambda one: hashlib.sha256(one.path.encode()).digest()):
        if sum(one.size for one in chosen) + entry.size <= most:
            chosen.append(entry)
    return chosen


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("corpus", nargs="+", metavar="NAME|DIR")
    ask.add_argument("--sample", type=int, default=4_000_000)
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    found: list[Row] = []
    print(f"{'corpus':26} {'compressor':24} {'bytes':>12} {'ratio':>7} {'seconds':>8} {'ratio':>7}")
    for name in given.corpus:
        tree = Path(name) if Path(name).is_dir() else corpora.installed(name)
        entries = [one for one in scan(tree).values() if not one.path.endswith(".pyc")]
        more = rows(tree.name, entries, QUICK)
        if given.sample:
            more += rows(f"{tree.name}, sample", sample(entries, given.sample), QUICK | SLOW)
        for row in more:
            print(
                f"{row.corpus:26} {row.compressor:24} {row.bytes:12,} {row.size_ratio:7.4f} "
                f"{row.seconds:8.2f} {row.time_ratio:7.2f}"
            )
        found += more
    if given.json:
        document = [asdict(row) for row in found]
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
