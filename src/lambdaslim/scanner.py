"""The only directory walker: directories, and zips to be weighed, become trees."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from pathlib import Path

from lambdaslim.errors import OverlayError, ScanError, UsageError
from lambdaslim.tree import Bytes, DiskFile, Entry, Tree, clean_path

StrPath = str | os.PathLike[str]


class Symlinks(StrEnum):
    """What a scan does with symbolic links: refuse all, or take the content they lead to.

    `INSIDE` takes the content of links that stay in the tree and refuses others; `FOLLOW` takes
    all. A dangling link and a loop are errors in every case.
    """

    REFUSE = "refuse"
    INSIDE = "inside"
    FOLLOW = "follow"


# Windows has neither flag, and lists directories by name.
_LIST = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_LIST_BELOW = _LIST | getattr(os, "O_NOFOLLOW", 0)


def scan(*directories: StrPath, symlinks: Symlinks | str = Symlinks.REFUSE) -> Tree:
    """Return the files of one or several directories, overlaid into one tree.

    Nothing is read but names and modes; contents are read later, and only if they are still those
    of the scan. Empty directories leave no trace: a package holds files.

    Args:
        directories: one or more existing directories. A path may appear in several of them if its
            contents are the same.
        symlinks: "refuse" (default), "inside" or "follow", see `Symlinks`.

    Raises:
        ScanError: a directory that is missing, empty, unreadable or no directory; a symlink that
            is refused, dangling or a loop; a device, socket or FIFO.
        UnsafeNameError: a name that a package cannot hold.
        OverlayError: two directories with different contents for one path.
        UsageError: an unknown policy on symlinks.
    """
    if not directories:
        raise ScanError("no source directory was given", fix="name at least one directory")
    policy = _policy(symlinks)
    if not all(map(os.fspath, directories)):
        raise ScanError(
            "an empty path is no directory", fix="name it; '.' is the working directory"
        )
    trees = [_scan_one(Path(directory), policy) for directory in directories]
    return reduce(_overlay, trees)


def _policy(name: Symlinks | str) -> Symlinks:
    if name not in tuple(Symlinks):
        fix = f"choose one of {', '.join(Symlinks)}"
        raise UsageError("is no policy on symlinks", where=str(name), fix=fix)
    return Symlinks(name)


def scan_zip(path: StrPath) -> Tree:
    """Return the files of a zip made by any tool, to be weighed or checked (never extracted).

    Raises:
        ScanError: no such file, no zip, or one without files.
        UnsafeNameError: a name that a package cannot hold.
    """
    if not Path(path).is_file():
        problem = "is neither a file nor a directory" if Path(path).exists() else "No such file"
        raise ScanError(problem, where=str(path), fix="give a zip or a directory")
    with _zip_errors(path), zipfile.ZipFile(path) as archive:
        # An empty name has no last character for is_dir() to look at.
        members = [m for m in archive.infolist() if not m.filename or not m.is_dir()]
        # Opening the zip once for each of these would take minutes for a large one.
        metadata = {m.filename: archive.read(m) for m in members if "-info/" in m.filename}
    if not members:
        raise ScanError("holds no files", where=str(path), fix="give a package with files in it")
    for name, count in Counter(member.filename for member in members).items():
        if count > 1:
            raise ScanError(f"is there {count} times in {path}", where=name, fix="build it again")
    return Tree(
        Entry(
            member.filename,
            member.file_size,
            bool(member.external_attr >> 16 & stat.S_IXUSR),
            Bytes(metadata[member.filename])
            if member.filename in metadata
            else _ZipMember(Path(path), member.filename),
        )
        for member in members
    )


def test_zip(path: StrPath) -> None:
    """Read every file of a zip; raise `ScanError` if one is damaged."""
    with _zip_errors(path), zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ScanError(f"is damaged in {path}", where=damaged, fix="build the zip again")


# What zipfile raises for damaged, encrypted or exotic zips.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
    EOFError,
    struct.error,
    IndexError,
    ValueError,
    lzma.LZMAError,
)


@contextmanager
def _zip_errors(path: StrPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScanError(
            f"cannot be read: {error.strerror or error}", where=str(path), fix="make it readable"
        ) from error
    except _ZIP_ERRORS as error:
        raise ScanError(
            f"cannot be read as a zip: {error}", where=str(path), fix="give a complete zip file"
        ) from error


@dataclass(frozen=True, slots=True)
class _ZipMember:
    """Content of a member of a zip."""

    archive: Path
    name: str

    def read(self) -> bytes:
        with _zip_errors(self.archive), zipfile.ZipFile(self.archive) as archive:
            return archive.read(self.name)


def _scan_one(directory: Path, symlinks: Symlinks) -> Tree:
    try:
        # The root itself may be a link; it is resolved once, here.
        root = directory.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScanError(
            f"cannot be scanned: {reason}", where=str(directory), fix="give an existing directory"
        ) from error
    if not root.is_dir():
        raise ScanError("is not a directory", where=str(directory), fix="give a directory")
    tree = Tree(_Walk(root, symlinks).entries())
    if not tree:
        raise ScanError("holds no files", where=str(directory), fix="install packages into it")
    return tree


def _overlay(below: Tree, above: Tree) -> Tree:
    shared = [path for path in above if path in below]
    for path in shared:
        # Caches tell who made them, so they differ between installs of the same source.
        if "__pycache__" in path.split("/"):
            continue
        if below[path].read() != above[path].read():
            first, second = _origin(below[path]), _origin(above[path])
            raise _clash(path, f"has different contents in {first} and {second}")
    for tree, other in ((below, above), (above, below)):
        for path in sorted(set(tree) & other.directories):
            raise _clash(path, f"is a file in {_origin(tree[path])} and a directory elsewhere")
    executable = {path for path in shared if below[path].executable}
    return Tree(
        replace(entry, executable=entry.executable or path in executable)
        for path, entry in {**below, **above}.items()
    )


def _origin(entry: Entry) -> str:
    return str(entry.content.location if isinstance(entry.content, DiskFile) else entry.path)


def _clash(path: str, why: str) -> OverlayError:
    return OverlayError(why, where=path, fix="remove it from all sources but one")


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory to be listed: where it is, its path in the tree, the real directories above."""

    location: Path
    path: str
    inode: int
    above: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Walk:
    """One walk below `root`, without recursion, so that depth is bounded by the system only."""

    root: Path
    symlinks: Symlinks

    def entries(self) -> Iterator[Entry]:
        """Yield an entry per regular file; raise `ScanError` at the first thing that is not one."""
        status = self.root.stat()
        pending = [_Directory(self.root, "", status.st_ino, frozenset({_identity(status)}))]
        while pending:
            directory = pending.pop()
            for name in self._names(directory):
                shown = _portable(name)
                path = clean_path(f"{directory.path}/{shown}" if directory.path else shown)
                found = self._visit(directory, directory.location / name, path)
                if isinstance(found, _Directory):
                    pending.append(found)
                else:
                    yield found

    def _names(self, directory: _Directory) -> list[str]:
        """List a directory, which must still be the one seen in its parent (no swapped link)."""
        try:
            if os.scandir not in os.supports_fd:
                return sorted(child.name for child in directory.location.iterdir())
            # The root may be a link; nothing below it may have become one.
            flags = _LIST_BELOW if directory.path else _LIST
            descriptor = os.open(directory.location, flags)
            try:
                if os.fstat(descriptor).st_ino != directory.inode:
                    raise self._refused(directory.location, "was replaced during the scan")
                return sorted(os.listdir(descriptor))  # noqa: PTH208 - a Path has no descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refused(directory.location, error.strerror or str(error)) from error

    def _visit(self, parent: _Directory, location: Path, path: str) -> Entry | _Directory:
        try:
            status = os.lstat(location)
            link = location
            if stat.S_ISLNK(status.st_mode):
                location = self._target(link)
                status = os.lstat(location)
        except OSError as error:
            raise self._refused(location, error.strerror or str(error)) from error
        if stat.S_ISDIR(status.st_mode):
            if _identity(status) in parent.above:
                raise self._refused(link, "is a symlink to a directory above it")
            above = parent.above | {_identity(status)}
            return _Directory(location, path, status.st_ino, above)
        if not stat.S_ISREG(status.st_mode):
            raise self._refused(link, "is neither a file nor a directory")
        content = DiskFile(location, status.st_ino, status.st_size, status.st_mtime_ns)
        return Entry(path, status.st_size, bool(status.st_mode & stat.S_IXUSR), content)

    def _target(self, link: Path) -> Path:
        """Return what a link leads to, if the policy allows it."""
        try:
            target = link.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise self._refused(link, "is a dangling symlink or a loop") from error
        inside = target.is_relative_to(self.root)
        where = "inside" if inside else "outside"
        if self.symlinks is Symlinks.FOLLOW or (inside and self.symlinks is Symlinks.INSIDE):
            return target
        hint = "inside or follow" if inside else "follow"
        raise ScanError(
            f"is a symlink to {target}, {where} the tree",
            where=str(link),
            fix=f"replace it by a copy, or allow it: symlinks {hint} (option --symlinks)",
        )

    @staticmethod
    def _refused(location: Path, why: str) -> ScanError:
        return ScanError(why, where=str(location), fix="remove it or make it readable")


def _portable(name: str) -> str:
    """Return a name as UTF-8, whatever the locale's encoding; bad bytes become surrogates."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
