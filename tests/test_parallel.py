"""Files are compressed in whatever order serves, and come out in theirs."""

from __future__ import annotations

import random
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdaslim import Entry, parallel
from lambdaslim.cache import Cache
from lambdaslim.compressors import Piece, compressor
from lambdaslim.deflate import DEFLATED, STORED, Packed, is_kept, pack_entry
from lambdaslim.errors import ChangedError
from lambdaslim.parallel import pack_all

MB = 1 << 20


@dataclass(frozen=True)
class Zeros:
    """Content that takes memory only while it is read."""

    size: int

    def read(self) -> bytes:
        return bytes(self.size)


def zeros(path: str, size: int) -> Entry:
    return Entry(path, size, executable=False, content=Zeros(size))


class Recording:
    """A compressor that notes the sizes that it is given, in order."""

    name = "recording"

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._lock = threading.Lock()

    def __call__(self, data: bytes) -> bytes:
        with self._lock:
            self.sizes.append(len(data))
        return b""


@given(
    st.lists(st.sampled_from([0, 1, 200_000, 300_000, MB, 3 * MB, 30 * MB]), max_size=9),
    st.integers(1, 4),
)
@settings(max_examples=30, deadline=None)
def test_what_comes_out_is_in_the_order_given(sizes: list[int], workers: int) -> None:
    entries = [zeros(f"f{number}", size) for number, size in enumerate(sizes)]
    found = list(pack_all(entries, Recording(), workers=workers))
    assert [one.path for one in found] == [entry.path for entry in entries]
    assert [one.size for one in found] == sizes


def test_every_file_is_packed_as_alone() -> None:
    entries = [Entry.of(f"a{n}.py", b"x = %d\n" % n * n * 50) for n in range(400)]
    compress = compressor()
    assert list(pack_all(entries, compress)) == [pack_entry(entry, compress) for entry in entries]


def test_the_largest_start_first() -> None:
    compress = Recording()
    sizes = [1, 5 * MB, 2 * MB, 300_000, 9 * MB, 7]
    entries = [zeros(f"f{number}", size) for number, size in enumerate(sizes)]
    list(pack_all(entries, compress, workers=1))
    assert compress.sizes[:3] == [9 * MB, 5 * MB, 2 * MB]
    assert sorted(compress.sizes) == sorted(sizes)


def test_a_file_larger_than_all_room_is_packed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "_EARLY", 100)
    monkeypatch.setattr(parallel, "_WINDOW", 100)
    entries = [zeros(f"f{number}", number * MB) for number in range(6)]
    assert [one.size for one in pack_all(entries, Recording(), workers=3)] == [
        entry.size for entry in entries
    ]


def test_a_file_larger_than_all_room_does_not_keep_others_from_starting() -> None:
    plan = parallel._Plan([[zeros("a", 900 * MB)], [zeros("b", 5)], [zeros("c", 5)]], 2)
    for number in range(3):
        step = plan.next()
        assert step
        assert step.number == number
        plan.start(step, Future())


def test_memory_is_bounded_by_what_is_at_work() -> None:
    # A tree of 800 MB whose files do not shrink: everything that waits is as large as it was.
    entries = [zeros(f"f{number:03}", 4 * MB) for number in range(200)]

    class Keeping:
        name = "keeping"

        def __call__(self, data: bytes) -> bytes:
            return data

    tracemalloc.start()
    try:
        for one in pack_all(entries, Keeping(), workers=4):
            assert one.method == STORED
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 130 * MB


class InPieces(Recording):
    """A compressor of pieces of a megabyte, each of which waits until so many threads have one."""

    def __init__(self, together: int, broken: int | None = None) -> None:
        super().__init__()
        self.barrier = threading.Barrier(together)
        self.broken = broken

    def pieces(self, data: bytes) -> list[Piece]:
        count = len(data) // MB
        parts = [memoryview(data)[number * MB :][:MB] for number in range(count)]
        return [Piece(one, n == count - 1, partial(self._piece, n)) for n, one in enumerate(parts)]

    def _piece(self, number: int) -> bytes:
        self.barrier.wait(10)
        if number == self.broken:
            raise ChangedError("changed", where="f", fix="wait")
        self(b"")
        return b"%d " % number


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_threads_share_the_pieces_of_a_large_file(workers: int) -> None:
    compress = InPieces(workers)
    (packed,) = pack_all([zeros("a", 8 * MB)], compress, workers=workers)
    assert b"".join(packed.parts) == b"0 1 2 3 4 5 6 7 "


@pytest.mark.parametrize("broken", [0, 5])
def test_an_error_in_a_piece_is_raised(broken: int) -> None:
    with pytest.raises(ChangedError):
        list(pack_all([zeros("a", 8 * MB)], InPieces(1, broken), workers=3))


def test_after_an_error_in_a_piece_no_others_are_begun() -> None:
    compress = InPieces(1, 0)
    with pytest.raises(ChangedError):
        list(pack_all([zeros("a", 300 * MB)], compress, workers=2))
    assert len(compress.sizes) < 200


@pytest.mark.parametrize("cached", [False, True])
def test_pieces_that_become_no_smaller_are_put_in_blocks(cached: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    noise = random.Random(9).randbytes(2 * MB)  # noqa: S311 - incompressible, not secret
    data = [bytes(2 * MB) + noise, noise + bytes(MB), noise + bytes(2 * MB) + noise[:70_000], noise]
    entries = [Entry.of(f"f{number}", one) for number, one in enumerate(data)]
    with Cache(tmp_path if cached else None) as cache:
        first, again = (list(pack_all(entries, compressor("zlib:1"), cache=cache)) for _ in "12")
        for found in (first, again):
            assert [one.method for one in found] == [DEFLATED] * 3 + [STORED]
            for one, raw in zip(found[:3], data, strict=False):
                assert zlib.decompress(b"".join(one.parts), -zlib.MAX_WBITS) == raw
                assert one.compressed < len(noise) + 100_000
        assert first == again == list(pack_all(entries, compressor("zlib:1")))
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*.sqlite3"))
    assert kept < MB


def test_pieces_that_were_made_before_are_not_made_again(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        first = list(pack_all([zeros("a", 4 * MB)], compress := InPieces(1), cache=cache))
        assert list(pack_all([zeros("a", 4 * MB)], compress, cache=cache)) == first
        assert is_kept(zeros("b", 4 * MB), compress, cache)
        assert not is_kept(zeros("b", 3 * MB), compress, cache)
    assert len(compress.sizes) == 4


class Late(Future[list[Packed]]):
    """A future that becomes done right after somebody has seen that it is not."""

    looks = 0

    def done(self) -> bool:
        self.looks += 1
        return self.looks > self.sees

    def __init__(self, sees: int) -> None:
        super().__init__()
        self.sees = sees
        self.set_result([])


@pytest.mark.parametrize("sees", range(4))
def test_a_file_that_is_done_between_two_looks_is_taken_once(sees: int) -> None:
    plan = parallel._Plan([[zeros("a", 5)], [zeros("b", 5)]], 1)
    for _ in range(2):
        step = plan.next()
        assert step
        plan.start(step, Late(sees))
        while not plan.ready():
            pass
        assert plan.take() == []
    assert plan.turn == 2
    assert plan.next() is None


def test_an_empty_and_an_incompressible_file_are_stored() -> None:
    found = list(
        pack_all([Entry.of("a"), Entry.of("b", b"ab"), Entry.of("c", b"c" * 99)], compressor())
    )
    assert [one.method for one in found] == [STORED, STORED, DEFLATED]


def test_a_writer_that_stops_early_leaves_no_work() -> None:
    """As after an interrupt, from which a library's caller may go on."""
    begun: list[int] = []

    class Slow(InPieces):
        def _piece(self, number: int) -> bytes:
            begun.append(number)
            time.sleep(0.01)
            return b"x"

    before = threading.active_count()
    packed = pack_all([zeros("a", MB), *(zeros(f"b{n}", 200 * MB) for n in range(3))], Slow(1))
    next(packed)
    packed.close()  # type: ignore[attr-defined]  # it is a generator
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    assert len(begun) < 200


@pytest.mark.parametrize("place", [0, 5, 29])
def test_an_error_in_a_thread_is_raised(place: int) -> None:
    class Broken:
        def read(self) -> bytes:
            raise ChangedError("changed", where="f", fix="wait")

    entries = [zeros(f"f{number}", MB) for number in range(30)]
    entries[place] = Entry(f"f{place}", 3, executable=False, content=Broken())
    with pytest.raises(ChangedError):
        list(pack_all(entries, Recording()))
