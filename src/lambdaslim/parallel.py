"""Compresses the files of a tree, in parallel, in order, and independently of the workers."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial

from lambdaslim.cache import Cache
from lambdaslim.compressors import Compressor
from lambdaslim.deflate import Job, Packed, Run, pack_entry
from lambdaslim.tree import Entry

# Small files are handed to a thread together: switching would cost more than compressing one.
_BATCH = 256 * 1024
_MOST_IN_BATCH = 256
# Bytes from which a file is large, and starts before its turn.
_LARGE = 1 << 20
# Bytes of large files, and of others, that may be at work or wait for their turn.
_EARLY, _WINDOW = 72 << 20, 36 << 20


def pack_all(
    entries: Iterable[Entry],
    compress: Compressor,
    *,
    workers: int | None = None,
    cache: Cache | None = None,
) -> Iterator[Packed]:
    """Yield every entry compressed, in the order given, by `workers` threads (default: all cores).

    The largest files start first, so that none is left to one thread at the end; what comes out
    does not depend on that. Memory is bounded by the largest files at work, and by some 100 MB
    of what waits for its turn.
    """
    plan = _Plan(tuple(_batches(entries)), max(1, workers or os.cpu_count() or 1))
    pool = ThreadPoolExecutor(plan.workers)
    abandoned = threading.Event()
    run = partial(_together, pool, plan.workers - 1, abandoned)
    pack = partial(_pack_batch, compress=compress, cache=cache, run=run)
    try:
        while plan.turn < len(plan.batches):
            while step := plan.next():
                batch = plan.batches[step.number]
                plan.start(step, pool.submit(pack, batch))
            if plan.ready():
                yield from plan.take()
    finally:
        # Without waiting: an interrupt may have come while this thread held a lock of the pool.
        abandoned.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _pack_batch(
    batch: Sequence[Entry], compress: Compressor, cache: Cache | None, run: Run
) -> list[Packed]:
    return [pack_entry(entry, compress, cache, run) for entry in batch]


def _together(
    pool: ThreadPoolExecutor, others: int, abandoned: threading.Event, jobs: Sequence[Job]
) -> Iterable[bytes]:
    """Call jobs in this thread of a pool, and in up to `others` more as soon as these are free.

    Once it is `abandoned`, nobody wants the outcome, and no more jobs are begun.
    """
    if abandoned.is_set():
        raise CancelledError
    if len(jobs) == 1:
        return [jobs[0]()]
    made: list[bytes] = [b""] * len(jobs)
    left = deque(enumerate(jobs))

    def help_out() -> None:
        while not abandoned.is_set():
            try:
                number, job = left.popleft()
            except IndexError:
                return
            try:
                made[number] = job()
            except BaseException:
                left.clear()  # the others need not go on
                raise
        raise CancelledError

    helpers = [pool.submit(help_out) for _ in range(min(others, len(jobs) - 1))]
    help_out()
    for helper in helpers:
        # One that has not started has nothing to do any more.
        if not helper.cancel():
            helper.result()
    return made


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (size + entry.size > _BATCH or len(batch) == _MOST_IN_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Step:
    """A batch, the bytes that it takes, and from which of the two rooms."""

    number: int
    takes: int
    early: bool


class _Plan:
    """Decides which batch starts next, and holds what is not yet taken.

    Large batches start from the largest on, as many as `_EARLY` bytes are room for. All others
    start in order, as many as `_WINDOW` is room for. A batch takes its bytes until it is done, then
    those of its result. The batch whose turn it is may always start, and takes none if there is
    not room enough for it.
    """

    def __init__(self, batches: Sequence[Sequence[Entry]], workers: int) -> None:
        self.batches = batches
        self.workers = workers
        self.turn = 0
        self._sizes = [sum(entry.size for entry in batch) for batch in batches]
        large = (number for number, size in enumerate(self._sizes) if size >= _LARGE)
        self._large = sorted(large, key=lambda number: -self._sizes[number])
        self._next = 0
        self._started: dict[int, _Step] = {}
        self._futures: dict[int, Future[list[Packed]]] = {}
        self._running: dict[Future[list[Packed]], int] = {}
        # Bytes taken of the room for early batches and of that for others.
        self._taken = {True: 0, False: 0}

    def next(self) -> _Step | None:
        """Return the batch to start now, None if that has to wait."""
        # One more than can run, so that no worker waits for this thread.
        if len(self._running) > self.workers:
            return None
        for number in self._large:
            if self._taken[True] + self._sizes[number] <= _EARLY:
                return _Step(number, self._sizes[number], early=True)
        while self._next < self.turn or self._next in self._started:
            self._next += 1
        if self._next == len(self.batches):
            return None
        size, room = self._sizes[self._next], _WINDOW - self._taken[False]
        if size > room and self._next != self.turn:
            return None
        # One that is larger than all room does not keep others from starting.
        return _Step(self._next, size if size <= room else 0, early=False)

    def start(self, step: _Step, future: Future[list[Packed]]) -> None:
        """Note that a batch has been started."""
        if self._sizes[step.number] >= _LARGE:
            self._large.remove(step.number)
        self._futures[step.number] = future
        self._running[future] = step.number
        self._started[step.number] = step
        self._taken[step.early] += step.takes

    def ready(self) -> bool:
        """Tell whether the batch whose turn it is is done; if not, wait until some batch is."""
        if not self._is_done():
            wait(self._running, return_when=FIRST_COMPLETED)
        for future in [one for one in self._running if one.done()]:
            self._finish(self._running.pop(future), future)
        return self._is_done()

    def _is_done(self) -> bool:
        # Not whether the future is done, which may have come to pass since it was last looked at.
        future = self._futures.get(self.turn)
        return future is not None and future not in self._running

    def _finish(self, number: int, future: Future[list[Packed]]) -> None:
        step = self._started[number]
        size = 0 if future.exception() else sum(one.compressed for one in future.result())
        self._taken[step.early] += size - step.takes
        self._started[number] = replace(step, takes=size)

    def take(self) -> list[Packed]:
        """Return the result of the batch whose turn it is, or raise what it raised."""
        step = self._started.pop(self.turn)
        self._taken[step.early] -= step.takes
        self.turn += 1
        return self._futures.pop(step.number).result()
