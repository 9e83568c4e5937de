"""Compressors: from raw bytes to a raw deflate stream, each with a name that tells its bytes.

Any of them makes zips that every reader reads; they differ in bytes and in seconds.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Final, NamedTuple, Protocol

from lambdaslim.errors import UsageError

#: What `compressor` takes, for help texts.
SPECS: Final = "zlib, zlib:0 to zlib:9, libdeflate, libdeflate:1 to libdeflate:12, max or ultra"
DEFAULT: Final = "zlib"

# The package whose C code does it, by family; what is not here is zlib.
_PACKAGES = {"libdeflate": "deflate", "zopfli": "zopfli"}
_ALIASES = {"libdeflate": "libdeflate:10", "max": "libdeflate:12"}
_LEVELS = {"zlib": range(10), "libdeflate": range(1, 13)}
# zlib's documentation calls 9 the best; on most real files 8, its default, gives fewer bytes.
_MEMORY = 8
# On native code level 9 takes a fifth to a third longer than 8, for one byte in 1,000 to 5,000.
_BEST, _NATIVE = 9, 8
_ELF = b"\x7fELF"
# How far back a deflate stream refers (RFC 1951), and the bytes of a piece. What follows a piece
# may refer to it, so that cutting costs next to nothing.
_REACH, _PIECE = 1 << 15, 2 << 20
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
        """What makes the bytes, like "zlib 1.3.1 level 9 in 2 MiB pieces"."""

    def __call__(self, data: bytes) -> bytes:
        """Return `data` as a raw deflate stream (RFC 1951)."""


class Piece(NamedTuple):
    """A part of some data, whether it is the last one, and what makes its part of the stream.

    The parts of the stream, in order, are the stream. `make` may be called in any thread.
    """

    data: bytes | memoryview
    last: bool
    make: Callable[[], bytes]


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
        return f"zlib {zlib.ZLIB_RUNTIME_VERSION} level {level} in {_PIECE >> 20} MiB pieces"

    def __call__(self, data: bytes) -> bytes:
        return b"".join(one.make() for one in self.pieces(data))

    def pieces(self, data: bytes) -> Sequence[Piece]:
        view = memoryview(data)
        level = self.native if data.startswith(_ELF) else self.level
        return [_piece(view, at, level) for at in range(0, len(data) or 1, _PIECE)]


def _piece(data: memoryview, start: int, level: int) -> Piece:
    mine, before = data[start : start + _PIECE], data[max(start - _REACH, 0) : start]
    last = start + _PIECE >= len(data)

    def make() -> bytes:
        stream = zlib.compressobj(
            level, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY, zlib.Z_DEFAULT_STRATEGY, before
        )
        # A flush ends the piece with a whole byte, so that another can follow.
        end = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
        return stream.compress(mine) + stream.flush(end)

    return Piece(mine, last, make)


@dataclass(frozen=True, slots=True)
class _Named:
    """A function with the name of what it does."""

    name: str
    function: Callable[[bytes], bytes]

    def __call__(self, data: bytes) -> bytes:
        return self.function(data)


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
        raise UsageError("is no compression", where=spec, fix=f"choose {SPECS}")
    return _Zlib(int(level), int(level)) if family == "zlib" else _libdeflate(int(level))


def _libdeflate(level: int) -> Compressor:
    deflate = _imported("libdeflate", "deflate")

    def compress(data: bytes) -> bytes:
        # Each call makes a compressor of its own, so threads do not meet.
        return bytes(deflate.deflate_compress(data, level))

    # libdeflate does not tell its version; that of the package pins it.
    return _Named(f"libdeflate of deflate {deflate.__version__} level {level}", compress)


def _zopfli() -> Compressor:
    zopfli = _imported("zopfli", "zopfli.zopfli")
    version = _imported("zopfli", "zopfli").__version__

    def compress(data: bytes) -> bytes:
        stream: bytes = zopfli.compress(data, numiterations=_ITERATIONS)
        return stream[_ZLIB_HEAD:-_ZLIB_TAIL]

    return _Named(f"zopfli {version} iterations {_ITERATIONS}", compress)


def _imported(family: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"needs the package {_PACKAGES[family]}, which cannot be imported: {error}",
            where=family,
            fix="pip install 'lambdaslim[max]', or choose zlib",
        ) from error
