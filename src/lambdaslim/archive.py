"""Writes a tree as a deterministic zip or a directory; nothing else writes files.

The zip is the plainest that exists: sorted by name, dated 1980-01-01, modes 0644 and 0755, no
directories, extra fields, comments, descriptors or ZIP64. Every reader agrees about it, and the
same files give the same bytes on every machine that has the same compressor.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lambdaslim.cache import Cache
from lambdaslim.compressors import DEFAULT, Compressor, compressor
from lambdaslim.deflate import DEFLATED, Packed
from lambdaslim.errors import OutputError
from lambdaslim.parallel import pack_all
from lambdaslim.scanner import StrPath, scan
from lambdaslim.staging import Flushing, output_errors, staged_directory, staged_file
from lambdaslim.strictzip import read_back
from lambdaslim.tree import DiskFile, Entry, Tree

# APPNOTE.TXT 4.3.7, 4.3.12, 4.3.16
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_JANUARY_1_1980 = 0x21
_UNIX = 3 << 8 | 20
_UTF8 = 1 << 11
_REGULAR = 0o100000
# These values announce a ZIP64 record, so a zip without one holds less.
_MOST_FILES = 0xFFFF
_MOST_BYTES = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Package:
    """A package as it was written, or, where `path` is None, as it would be.

    Attributes:
        path: the zip or directory.
        files: number of files.
        unzipped: bytes of all files.
        zipped: bytes of the zip; None for a directory, like the two digests of the zip.
        sha256: SHA-256 of the zip, hex.
        code_sha256: the same in base64, as Lambda's CodeSha256 reports it.
        content_digest: SHA-256 (hex) over name, mode and content of every file, which does not
            depend on how the zip is compressed.
        compressed: bytes that each file takes in the zip.
        compressor: the name of the compressor, on which the bytes of a zip depend.
    """

    path: Path | None
    files: int
    unzipped: int
    zipped: int | None
    sha256: str | None
    code_sha256: str | None
    content_digest: str
    compressed: Mapping[str, int] = field(default_factory=dict, repr=False)
    compressor: str | None = None


Accept = Callable[[Package], object]


def write_zip(  # noqa: PLR0913 - how to write, by keyword
    tree: Tree,
    path: StrPath,
    *,
    compression: str | Compressor = DEFAULT,
    workers: int | None = None,
    cache: Cache | None = None,
    accept: Accept | None = None,
) -> Package:
    """Write a tree as a zip: verified, flushed to disk, and only then in its place.

    Args:
        tree: at least one file, fewer than 65,535, each and all below 4 GiB.
        path: the zip to write; an existing file is replaced at the end.
        compression: what `compressor` takes, like "zlib" or "libdeflate:10", or a `Compressor`.
        workers: compressing threads (default: all cores); the bytes do not depend on it.
        cache: what was compressed before is taken from there.
        accept: called with the finished package before it takes its place; if it raises, nothing
            is written.

    Raises:
        OutputError: the tree is too large for a zip or holds nothing, or `path` cannot be written.
        UsageError: another compression, or one that is not installed.
        ChangedError: a file of the tree changed since the scan.
        ArchiveError: the zip, read back, is not the tree (a fault of the disk, or ours).
    """
    with staged_zip(tree, path, compression=compression, workers=workers, cache=cache) as package:
        if accept:
            accept(package)
    return replace(package, path=Path(path))


@contextmanager
def staged_zip(
    tree: Tree,
    path: StrPath,
    *,
    compression: str | Compressor = DEFAULT,
    workers: int | None = None,
    cache: Cache | None = None,
) -> Iterator[Package]:
    """Write a zip beside its place, verified; it takes its place when the block succeeds.

    Arguments and errors are those of `write_zip`; the package's `path` is still None.
    """
    final = Path(path)
    compress = _chosen(compression)
    _refuse_unzippable(tree, final)
    with staged_file(final) as (file, temporary):
        files = pack_all(tree.values(), compress, workers=workers, cache=cache)
        with Flushing(file) as writing:
            package = _stream(tree, writing.write, files, compress)
            writing.start()
            _compare(package, temporary)
        yield package


def measure_zip(
    tree: Tree,
    *,
    compression: str | Compressor = DEFAULT,
    workers: int | None = None,
    cache: Cache | None = None,
) -> Package:
    """Return the package that `write_zip` would write, without writing it; `path` is None.

    Raises:
        OutputError: the tree is too large for a zip or holds nothing.
        UsageError: as `write_zip` does.
        ChangedError: a file of the tree changed since the scan.
    """
    _refuse_unzippable(tree, None)
    compress = _chosen(compression)
    files = pack_all(tree.values(), compress, workers=workers, cache=cache)
    return _stream(tree, len, files, compress)


def _chosen(compression: str | Compressor) -> Compressor:
    return compressor(compression) if isinstance(compression, str) else compression


def measure_dir(tree: Tree) -> Package:
    """Return the package that `write_dir` would write, without writing it; `path` is None.

    Raises:
        OutputError: the tree holds nothing.
        ChangedError: a file of the tree changed since the scan.
    """
    _refuse_empty(tree, None)
    return Package(None, len(tree), tree.size, None, None, None, tree.digest())


def write_dir(
    tree: Tree, path: StrPath, *, overwrite: bool = False, accept: Accept | None = None
) -> Package:
    """Write a tree as a directory: verified, flushed to disk, and only then in its place.

    Args:
        tree: at least one file.
        path: a directory that does not exist or is empty.
        overwrite: replace an existing directory, whatever it holds.
        accept: as for `write_zip`.

    Raises:
        OutputError: the tree holds nothing, or `path` is in use or cannot be written.
        ChangedError: a file of the tree changed since the scan.
    """
    final = Path(path)
    _refuse_empty(tree, final)
    with output_errors(final):
        # A link to the directory stays one: what it leads to is replaced.
        final = final.resolve() if final.name in ("", "..") or final.is_symlink() else final
    if not final.name:
        raise OutputError("cannot be replaced", where=str(final), fix="name a new directory")
    with staged_directory(final, overwrite=overwrite) as temporary:
        _write_files(tree, temporary)
        package = measure_dir(tree)
        # Windows has no x bit to read back.
        expected = package.content_digest if os.name != "nt" else _plain(tree).digest()
        written = scan(temporary)
        if (written if os.name != "nt" else _plain(written)).digest() != expected:
            raise OutputError("was not written as planned", where=str(final), fix="check the disk")
        if accept:
            accept(package)
    return replace(package, path=final)


def materialise(tree: Tree, directory: Path, staged: Tree | None = None) -> None:
    """Make a scratch directory hold a tree: plainly, without what makes an output safe.

    Files keep the dates that they had on disk, by which their cached bytecode is judged.

    Args:
        tree: what the directory is to hold.
        directory: an existing directory that nobody else uses, empty or holding `staged`.
        staged: the tree that was put there before; only differences are written.

    Raises:
        OutputError: the directory cannot be written.
        ChangedError: a file of the tree changed since the scan.
    """
    staged = Tree() if staged is None else staged
    with output_errors(directory):
        for path in staged:
            if path not in tree:
                _place(directory, path).unlink(missing_ok=True)
        # A directory in the way of a file, or one that would be a namespace package.
        for name in sorted(staged.directories - tree.directories, reverse=True):
            shutil.rmtree(_place(directory, name), ignore_errors=True)
        for name in sorted(tree.directories - staged.directories):
            _place(directory, name).mkdir(exist_ok=True)
        for path, entry in tree.items():
            if staged.get(path) != entry:
                _put(entry, _place(directory, path))


def _put(entry: Entry, place: Path) -> None:
    # Written anew: a program that was run may have made it read-only.
    place.unlink(missing_ok=True)
    place.write_bytes(entry.read())
    place.chmod(0o755 if entry.executable else 0o644)
    if isinstance(entry.content, DiskFile):
        os.utime(place, ns=(entry.content.mtime_ns, entry.content.mtime_ns))


def zip_size(compressed: Mapping[str, int]) -> int:
    """Return the bytes of a zip whose files take these compressed bytes."""
    names = sum(2 * len(name.encode()) for name in compressed)
    headers = (_LOCAL.size + _CENTRAL.size) * len(compressed) + _END.size
    return headers + names + sum(compressed.values())


def _stream(
    tree: Tree,
    write: Callable[[bytes], object],
    files: Iterator[Packed],
    compress: Compressor,
) -> Package:
    """Write a zip through `write` and return what it is."""
    whole, content = hashlib.sha256(), hashlib.sha256()
    central: list[bytes] = []
    compressed: dict[str, int] = {}
    offset = 0
    for packed in files:
        central.append(_central_header(packed, offset))
        compressed[packed.path] = packed.compressed
        content.update(packed.digest_line())
        for piece in (_local_header(packed) + packed.path.encode(), *packed.parts):
            offset += len(piece)
            whole.update(piece)
            write(piece)
    tail = b"".join(central)
    tail += _END.pack(b"PK\5\6", 0, 0, len(central), len(central), len(tail), offset, 0)
    whole.update(tail)
    write(tail)
    size = offset + len(tail)
    if size >= _MOST_BYTES:
        raise OutputError(f"a zip of {size:,} bytes needs ZIP64", fix="leave files out")
    return Package(
        path=None,
        files=len(central),
        unzipped=tree.size,
        zipped=size,
        sha256=whole.hexdigest(),
        code_sha256=base64.b64encode(whole.digest()).decode("ascii"),
        content_digest=content.hexdigest(),
        compressed=compressed,
        compressor=compress.name,
    )


def _shared_fields(packed: Packed) -> tuple[int, ...]:
    """Return the fields that local and central headers have in common, from version to name."""
    name = packed.path.encode()
    return (
        20 if packed.method == DEFLATED else 10,
        0 if packed.path.isascii() else _UTF8,
        packed.method,
        0,
        _JANUARY_1_1980,
        packed.crc,
        packed.compressed,
        packed.size,
        len(name),
        0,
    )


def _local_header(packed: Packed) -> bytes:
    return _LOCAL.pack(b"PK\3\4", *_shared_fields(packed))


def _central_header(packed: Packed, offset: int) -> bytes:
    if offset >= _MOST_BYTES:
        raise OutputError("the zip needs ZIP64", fix="leave files out")
    mode = _REGULAR | (0o755 if packed.executable else 0o644)
    fields = (*_shared_fields(packed), 0, 0, 0, mode << 16, offset)
    return _CENTRAL.pack(b"PK\1\2", _UNIX, *fields) + packed.path.encode()


def _compare(package: Package, temporary: Path) -> None:
    """Read the zip back with the strict reader and compare what it says with what was written."""
    if read_back(temporary).content_digest != package.content_digest:
        raise OutputError("was not written as planned", where=str(temporary), fix="check the disk")


def _refuse_empty(tree: Tree, path: Path | None) -> None:
    if not tree:
        raise OutputError(
            "no file is left to write",
            where=None if path is None else str(path),
            fix="remove less: check the drop patterns and the source",
        )


def _refuse_unzippable(tree: Tree, path: Path | None) -> None:
    _refuse_empty(tree, path)
    where = None if path is None else str(path)
    if len(tree) >= _MOST_FILES:
        what = f"{len(tree):,} files need ZIP64 (a plain zip holds {_MOST_FILES - 1:,})"
        raise OutputError(what, where=where, fix="leave files out")
    for entry in tree.values():
        if entry.size >= _MOST_BYTES:
            what = f"{entry.path} is {entry.size:,} bytes, which needs ZIP64"
            raise OutputError(what, where=where, fix="leave it out")


def _write_files(tree: Tree, directory: Path) -> None:
    for name in sorted(tree.directories):
        place = _place(directory, name)
        place.mkdir(mode=0o755)
        place.chmod(0o755)
    directory.chmod(0o755)
    for entry in tree.values():
        data, place = entry.read(), _place(directory, entry.path)
        with place.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        place.chmod(0o755 if entry.executable else 0o644)


def _place(directory: Path, path: str) -> Path:
    """Return where a path of a tree is, in the bytes of UTF-8 whatever the locale's encoding."""
    return directory / os.fsdecode(path.encode())


def _plain(tree: Tree) -> Tree:
    return Tree(replace(entry, executable=False) for entry in tree.values())
