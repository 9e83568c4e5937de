"""Compresses one file: in pieces, each of which may come from a cache, or stores it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from lambdaslim import blocks, compressors, streams
from lambdaslim.cache import Cache, code_version
from lambdaslim.compressors import Compressor, Piece, pieces
from lambdaslim.tree import Entry, digest_line

STORED, DEFLATED = 0, 8

_KIND = "deflate"
# What the bytes that are made depend on beside what a compressor's name tells.
_CODE = tuple(str(module.__file__) for module in (compressors, streams, blocks))

# Bytes from which looking into a cache is cheaper than compressing.
_WORTH = 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """One file ready for a zip: what to write, in parts, how it is stored, and what it was."""

    path: str
    executable: bool
    method: int
    parts: tuple[bytes, ...]
    size: int
    crc: int
    sha256: str

    @property
    def compressed(self) -> int:
        """How many bytes it takes in the zip, its headers not counted."""
        return sum(map(len, self.parts))

    def digest_line(self) -> bytes:
        """Return the file's line of the package's content digest."""
        return digest_line(self.path, self.sha256, executable=self.executable)


Job = Callable[[], bytes]
#: Calls every job, and returns or yields what they made in their order.
Run = Callable[[Sequence[Job]], Iterable[bytes]]


def one_by_one(jobs: Sequence[Job]) -> Iterator[bytes]:
    """Call every job here, in order."""
    return (job() for job in jobs)


def pack_entry(
    entry: Entry, compress: Compressor, cache: Cache | None = None, run: Run = one_by_one
) -> Packed:
    """Read and compress one file; it is stored if that is not larger.

    What a compressor of the same name has made of the same bytes before is taken from `cache`. The
    pieces of a large file, if the compressor makes such, are made by `run`.
    """
    data = entry.read()
    digest = hashlib.sha256(data).hexdigest()
    cut = pieces(data, compress)
    made = list(run(_jobs(cut, digest, compress, cache if len(data) >= _WORTH else None)))
    method = STORED
    parts: tuple[bytes, ...] = (data,)
    if any(made) and sum(map(Piece.size, cut, made)) < len(data):
        method, parts = DEFLATED, tuple(map(Piece.part, cut, made))
    crc = zlib.crc32(data)
    return Packed(entry.path, entry.executable, method, parts, len(data), crc, digest)


def is_kept(entry: Entry, compress: Compressor, cache: Cache) -> bool:
    """Tell whether `cache` has what a compressor makes of a file, by its beginning."""
    digest = hashlib.sha256(entry.read()).hexdigest()
    return cache.get(_KIND, _key(digest, compress, 0)) is not None


def _key(digest: str, compress: Compressor, number: int) -> str:
    return f"{digest} {compress.name} {number} {code_version(*_CODE)}"


def _jobs(
    parts: Sequence[Piece], digest: str, compress: Compressor, cache: Cache | None
) -> Sequence[Job]:
    """Return what makes the part of the stream of each piece, b"" if it would be no shorter."""
    jobs = [partial(_shorter, one) for one in parts]
    if not cache:
        return jobs
    keep = partial(cache.once, _KIND)
    return [partial(keep, _key(digest, compress, n), job) for n, job in enumerate(jobs)]


def _shorter(piece: Piece) -> bytes:
    made = piece.make()
    return made if len(made) < len(piece.data) else b""
