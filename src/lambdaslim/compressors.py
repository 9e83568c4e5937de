"""Compressors: from raw bytes to a raw deflate stream, each with a name that tells its bytes.

Any of them makes zips that every reader reads; they differ in bytes and in seconds.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Final, NamedTuple, Protocol

from lambdaslim.blocks import cuts
from lambdaslim.errors import UsageError
from lambdaslim.streams import opened

#: What `compressor` takes, for help texts.
SPECS: Final = "zlib, zlib:0 to zlib:9, libdeflate, libdeflate:1 to libdeflate:12, max or ultra"
DEFAULT: Final = "zlib"

# The package whose C code does it, by family; what is not here is zlib.
_PACKAGES = {"libdeflate": "deflate", "zopfli": "zopfli"}
_ALIASES = {"libdeflate": "libdeflate:10", "max": "libdeflate:12"}
_LEVELS = {"zlib": range(10), "libdeflate": range(1, 13)}
# zlib's documentation calls 9 the best; on most real files 8, its default, gives fewer bytes.
_MEMORY = 8
# On native code level 9 takes a fifth to a half longer than 8, for one byte in 3,000 or fewer.
_BEST, _NATIVE = 9, 8
_ELF = b"\x7fELF"
# How far back a deflate stream refers (RFC 1951).
_REACH = 1 << 15
# The bytes of a piece. With zlib, what follows a piece may refer to it, so that cutting costs next
# to nothing; with others it may not, which costs one byte in some thousands.
_PIECE, _LARGE_PIECE = 2 << 20, 8 << 20
# What a block of stored bytes holds, and begins with: whether it is the last one of the stream, how
# many they are, and the same with all bits turned.
_BLOCK, _HEAD = 0xFFFF, struct.Struct("<BHH")
_ITERATIONS = 15
# A zlib stream is a deflate stream between a header and an Adler-32.
_ZLIB_HEAD, _ZLIB_TAIL = 2, 4


class Compressor(Protocol):
    """Compresses bytes into a raw deflate stream.

    It is called from several threads at once, gives the same bytes for the same data, and should
    release the GIL. `name` tells everything that these bytes depend on: the library, its version,
    the level. One whose work on a large file several threads can share also has a method `pieces`,
    which returns the `Piece`s of some data, in order, at least one.
    """

    @property
    def name(self) -> str:
        """What makes the bytes, like "libdeflate of deflate 0.9.0 level 10 in 8 MiB pieces"."""

    def __call__(self, data: bytes) -> bytes:
        """Return `data` as a raw deflate stream (RFC 1951)."""


class Piece(NamedTuple):
    """A part of some data, whether it is the last one, and what makes its part of the stream.

    The parts of the stream, in order, are the stream. `make` may be called in any thread; where it
    returns b"", the piece is stored.
    """

    data: bytes | memoryview
    last: bool
    make: Callable[[], bytes]

    def part(self, made: bytes) -> bytes:
        """Return its part of the stream: what was made of it, or else its bytes in blocks."""
        return made or b"".join(self._blocks())

    def size(self, made: bytes) -> int:
        """Return how many bytes `part` has."""
        size = len(self.data)
        return len(made) or size + -(-size // _BLOCK) * _HEAD.size

    def _blocks(self) -> Iterator[bytes | memoryview]:
        """Yield blocks of stored bytes (RFC 1951, 3.2.4), which begin at whole bytes."""
        for start in range(0, len(self.data), _BLOCK):
            block = self.data[start : start + _BLOCK]
            final = self.last and start + _BLOCK >= len(self.data)
            yield _HEAD.pack(final, len(block), len(block) ^ _BLOCK)
            yield block


def pieces(data: bytes, compress: Compressor) -> Sequence[Piece]:
    """Return data in the pieces in which a compressor takes it: in one, if it cannot divide it."""
    divide: Callable[[bytes], Sequence[Piece]] | None = getattr(compress, "pieces", None)
    if divide is None:
        return [Piece(data, last=True, make=partial(compress, data))]
    return divide(data)


@dataclass(frozen=True, slots=True)
class _Zlib:
    """zlib, in pieces, whose boundaries depend on nothing but the data; `native` is for ELF."""

    level: int
    native: int

    @property
    def name(self) -> str:
        # What runs, which need not be what Python was built with; zlib-ng calls itself by its name.
        level = (
            str(self.level) if self.level == self.native else f"{self.level} (ELF {self.native})"
        )
        title = f"zlib {zlib.ZLIB_RUNTIME_VERSION} level {level} in {_PIECE >> 20} MiB pieces"
        return f"{title}, blocks by zeros" if self.level else title

    def __call__(self, data: bytes) -> bytes:
        return b"".join(one.make() for one in self.pieces(data))

    def pieces(self, data: bytes) -> Sequence[Piece]:
        level = self.native if data.startswith(_ELF) else self.level
        return [
            Piece(mine, last, partial(_zlib, data, start, start + len(mine), level, last=last))
            for start, mine, last in _cut(data, _PIECE)
        ]


def _zlib(data: bytes, start: int, end: int, level: int, *, last: bool) -> bytes:
    """Compress a piece of data, which may refer to what is before it, up to a whole byte."""
    view = memoryview(data)
    before = view[max(start - _REACH, 0) : start]
    stream = zlib.compressobj(
        level, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY, zlib.Z_DEFAULT_STRATEGY, before
    )
    # A flush ends the piece with a whole byte, so that another can follow.
    finish = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
    parts: list[bytes] = []
    # Level 0 has no codes that could suit.
    for cut in cuts(data, start, end) if level else ():
        parts += stream.compress(view[start:cut]), stream.flush(zlib.Z_BLOCK)
        start = cut
    parts += stream.compress(view[start:end]), stream.flush(finish)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A function that makes whole streams only, in pieces of which each is a stream, opened."""

    title: str
    function: Callable[[memoryview], bytes]

    @property
    def name(self) -> str:
        return f"{self.title} in {_LARGE_PIECE >> 20} MiB pieces"

    def __call__(self, data: bytes) -> bytes:
        return b"".join(one.part(one.make()) for one in self.pieces(data))

    def pieces(self, data: bytes) -> Sequence[Piece]:
        return [
            Piece(mine, last, partial(self._made, mine, last=last))
            for _, mine, last in _cut(data, _LARGE_PIECE)
        ]

    def _made(self, piece: memoryview, *, last: bool) -> bytes:
        stream = self.function(piece)
        # Where the end is not found, which takes data made for it, the piece is stored.
        return stream if last else opened(stream, piece) or b""


def _cut(data: bytes, size: int) -> Iterator[tuple[int, memoryview, bool]]:
    """Yield the beginning of each piece, the piece, and whether it is the last one."""
    view = memoryview(data)
    for start in range(0, len(data) or 1, size):
        yield start, view[start : start + size], start + size >= len(data)


def compressor(spec: str = DEFAULT) -> Compressor:
    """Return the compressor of a short text.

    Args:
        spec: "zlib", which is level 9, and 8 for native code, or "zlib:0" to "zlib:9" for all
            files; "libdeflate", which is level 10, or "libdeflate:1" to "libdeflate:12"; "max",
            which is libdeflate's level 12; or "ultra", which is zopfli. All but zlib need the extra
            `max`.

    Raises:
        UsageError: another text, or one that needs the extra where it is not installed.
    """
    if not isinstance(spec, str):
        raise UsageError("is no compression", where=repr(spec), fix=f"choose {SPECS}")
    if spec == "ultra":
        return _zopfli()
    if spec == "zlib":
        return _Zlib(_BEST, _NATIVE)
    family, _, level = _ALIASES.get(spec, spec).partition(":")
    levels = _LEVELS.get(family, range(0))
    # Not int(): "+1", "1_0" and " 1" are other ways to write a number.
    if level not in map(str, levels):
        raise UsageError("is no compression", where=spec or repr(spec), fix=f"choose {SPECS}")
    return _Zlib(int(level), int(level)) if family == "zlib" else _libdeflate(int(level))


def _libdeflate(level: int) -> Compressor:
    deflate = _imported("libdeflate", "deflate")

    def compress(data: memoryview) -> bytes:
        # Each call makes a compressor of its own, so threads do not meet.
        return bytes(deflate.deflate_compress(data, level))

    # libdeflate does not tell its version; that of the package pins it.
    return _Whole(f"libdeflate of deflate {deflate.__version__} level {level}", compress)


def _zopfli() -> Compressor:
    zopfli = _imported("zopfli", "zopfli.zopfli")
    version = _imported("zopfli", "zopfli").__version__

    def compress(data: memoryview) -> bytes:
        stream: bytes = zopfli.compress(bytes(data), numiterations=_ITERATIONS)
        return stream[_ZLIB_HEAD:-_ZLIB_TAIL]

    return _Whole(f"zopfli {version} iterations {_ITERATIONS}", compress)


def _imported(family: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"needs the package {_PACKAGES[family]}, which cannot be imported: {error}",
            where=family,
            fix="pip install 'lambdaslim[max]', or choose zlib",
        ) from error
