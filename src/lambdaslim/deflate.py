"""Compresses the files of a tree, in parallel, in order, and independently of the workers."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from lambdaslim.compressors import Compressor
from lambdaslim.tree import Entry, digest_line

STORED, DEFLATED = 0, 8

# Small files are handed to a thread together: switching would cost more than compressing one.
_BATCH = 256 * 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """One file ready for a zip: what to write, how it is stored, and what it was."""

    path: str
    executable: bool
    method: int
    payload: bytes
    size: int
    crc: int
    sha256: str

    def digest_line(self) -> bytes:
        """Return the file's line of the package's content digest."""
        return digest_line(self.path, self.sha256, executable=self.executable)


def pack_entry(entry: Entry, compress: Compressor) -> Packed:
    """Read and compress one file; it is stored if that is not larger."""
    data = entry.read()
    payload = compress(data)
    method = DEFLATED
    if len(payload) >= len(data):
        method, payload = STORED, data
    digest = hashlib.sha256(data).hexdigest()
    crc = zlib.crc32(data)
    return Packed(entry.path, entry.executable, method, payload, len(data), crc, digest)


def pack_all(
    entries: Iterable[Entry], compress: Compressor, *, workers: int | None = None
) -> Iterator[Packed]:
    """Yield every entry compressed, in the order given, by `workers` threads (default: all cores).

    Only a few batches are under way at a time, so memory is bounded by the largest files.
    """
    count = max(1, workers or os.cpu_count() or 1)
    pending: deque[Future[list[Packed]]] = deque()
    pool = ThreadPoolExecutor(count)
    try:
        for batch in _batches(entries):
            pending.append(pool.submit(_pack_batch, batch, compress))
            if len(pending) > 2 * count:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        # Without waiting: an interrupt may have come while this thread held a lock of the pool.
        pool.shutdown(wait=False, cancel_futures=True)


def _pack_batch(batch: list[Entry], compress: Compressor) -> list[Packed]:
    return [pack_entry(entry, compress) for entry in batch]


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.size
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
