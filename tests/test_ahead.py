"""What is compressed while the passes decide, and that nothing but time depends on it."""

from __future__ import annotations

import os
import threading
import zlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from elves import linked
from lambdaslim import Entry, Tree, ahead
from lambdaslim.cache import Cache
from lambdaslim.compressors import Piece
from lambdaslim.deflate import pack_entry
from lambdaslim.parallel import pack_all
from lambdaslim.passes import StripElf
from lambdaslim.tree import DiskFile

FILLING = bytes(range(256)) * 300


@dataclass(frozen=True)
class Counting:
    """A compressor that notes what it was given."""

    given: list[bytes] = field(default_factory=list)
    name = "counting"

    def __call__(self, data: bytes) -> bytes:
        self.given.append(data)
        stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        return stream.compress(data) + stream.flush()


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def wait() -> None:
    """Wait until what was started has ended."""
    for thread in threading.enumerate():
        if thread.name.startswith("ahead"):
            thread.join(10)
            assert not thread.is_alive()


def test_the_writer_finds_native_files_as_the_pass_leaves_them(tmp_path: Path) -> None:
    library = Entry.of("lib/a.so", linked(late=FILLING))
    tree = Tree([library, Entry.of("data.bin", FILLING), Entry.of("small.so.1", b"x")])
    compress = Counting()
    with Cache(tmp_path) as cache:
        with ahead.compressing(tree, [StripElf()], compress, cache):
            wait()
        stripped = StripElf().stripped(library)
        assert compress.given == [stripped.read()]
        packed = pack_entry(stripped, compress, cache)
    assert len(compress.given) == 1
    assert packed == pack_entry(stripped, compress)


def test_without_the_pass_they_are_compressed_as_they_are(tmp_path: Path) -> None:
    compress = Counting()
    tree = Tree([Entry.of("a.so", linked(late=FILLING))])
    with Cache(tmp_path) as cache:
        with ahead.compressing(tree, [], compress, cache):
            wait()
        list(pack_all(tree.values(), compress, cache=cache))
    assert compress.given == [linked(late=FILLING)]


def test_without_a_cache_or_a_second_processor_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress = Counting()
    tree = Tree([Entry.of("a.so", FILLING)])
    with ahead.compressing(tree, [], compress, Cache(None)):
        wait()
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with Cache(tmp_path) as cache, ahead.compressing(tree, [], compress, cache):
        wait()
    assert not compress.given


def test_a_file_that_cannot_be_read_is_left_to_the_passes(tmp_path: Path) -> None:
    gone = DiskFile(tmp_path / "gone.so", 1, 100_000, 1)
    tree = Tree([Entry("a.so", 100_000, False, gone), Entry.of("b.so", FILLING * 2)])  # noqa: FBT003
    compress = Counting()
    with (
        Cache(tmp_path / "cache") as cache,
        ahead.compressing(tree, [StripElf()], compress, cache),
    ):
        wait()
    assert not compress.given


@dataclass(frozen=True)
class Noting:
    """Content that notes each time that it is read."""

    number: int
    read_by: list[int]

    def read(self) -> bytes:
        self.read_by.append(self.number)
        return FILLING[self.number :]


@dataclass(frozen=True)
class Waiting(Counting):
    """A compressor that waits for permission."""

    started: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, data: bytes) -> bytes:
        self.started.set()
        assert self.go_on.wait(10)
        return super().__call__(data)


@dataclass(frozen=True)
class InPieces(Waiting):
    """The same, in three pieces."""

    def pieces(self, data: bytes) -> list[Piece]:
        return [Piece(data, n == 2, partial(self, b"%d" % n)) for n in range(3)]


@pytest.mark.parametrize("compress", [Waiting(), InPieces()], ids=["whole", "pieces"])
def test_it_stops_after_what_it_is_at(tmp_path: Path, compress: Waiting) -> None:
    read: list[int] = []
    tree = Tree(
        Entry(f"{n}.so", len(FILLING) - n, False, Noting(n, read))  # noqa: FBT003
        for n in range(3)
    )
    with Cache(tmp_path) as cache:
        with ahead.compressing(tree, [], compress, cache):
            assert compress.started.wait(10)
        compress.go_on.set()
        wait()
    assert len(compress.given) == 1
    # To see whether it is kept, and to compress it.
    assert read == [2, 2]


def test_after_an_earlier_run_nothing_is_left_to_do(tmp_path: Path) -> None:
    compress = Counting()
    tree = Tree([Entry.of("a.so", FILLING), Entry.of("b.so", FILLING * 2)])
    with Cache(tmp_path) as cache:
        list(pack_all(tree.values(), compress, cache=cache))
        before = list(compress.given)
        changed = Tree([*tree.values(), Entry.of("c.so", FILLING * 3)])
        with ahead.compressing(changed, [], compress, cache):
            wait()
    assert compress.given == before


def test_files_that_leave_no_room_for_the_largest_are_left_to_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_ROOM", 5 * len(FILLING))
    compress = Counting()
    tree = Tree(Entry.of(f"{n}.so", FILLING * n) for n in (1, 2, 3))
    with Cache(tmp_path) as cache, ahead.compressing(tree, [], compress, cache):
        wait()
    assert compress.given == [FILLING]
