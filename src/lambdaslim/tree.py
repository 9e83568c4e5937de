"""Trees of files as frozen values, and the decisions that passes take about them."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

from lambdaslim.errors import ChangedError, PlanError, UnsafeNameError
from lambdaslim.findings import Finding

# Backslash and colon separate paths on Windows; control characters (C0, DEL, C1) drive terminals;
# lone surrogates stand for bytes that are no UTF-8.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\:\ud800-\udfff]")
# A zip stores the length of a name in two bytes.
_LONGEST_PATH = 65_535
_SHOWN = 300
# Without waiting, so that a FIFO in the place of the file is seen and not waited for.
_READ = os.O_RDONLY
for _flag in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"):
    _READ |= getattr(os, _flag, 0)


class Content(Protocol):
    """Bytes that can be read when they are needed."""

    def read(self) -> bytes:
        """Return all bytes; raise `ChangedError` when they are no longer those of the scan."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Content held in memory."""

    data: bytes

    def read(self) -> bytes:
        """Return the bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class DiskFile:
    """Content of a regular file, with what identified it when it was scanned.

    `inode`, `size` (bytes) and `mtime_ns` are compared around the read, so a file that was
    rewritten, or swapped for a symlink, after the scan is an error and not a surprise.
    """

    location: Path
    inode: int
    size: int
    mtime_ns: int

    def read(self) -> bytes:
        """Return the file's bytes; raise `ChangedError` if it is not the scanned file any more."""
        data = self.head(-1)
        if len(data) != self.size:
            raise self._unreadable(f"held {self.size} bytes and now {len(data)}")
        return data

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes (all for -1), with the same care but for their number."""
        with self._compared() as file:
            return file.read(size)

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, int], bytes]]:
        """Yield a function that returns the bytes from an offset up to another one.

        Raises:
            ChangedError: as `read` does, from the function or at the end of the block.
        """
        with self._compared() as file:

            def part(start: int, stop: int) -> bytes:
                file.seek(start)
                data = file.read(stop - start)
                if len(data) != stop - start:
                    raise self._unreadable(f"ends before its byte {stop:,}")
                return data

            yield part

    @contextmanager
    def _compared(self) -> Iterator[BinaryIO]:
        """Yield the open file, and compare what identifies it before and after the block."""
        try:
            descriptor = os.open(self.location, _READ)
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        try:
            self._compare(os.fstat(descriptor))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield file
            self._compare(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _compare(self, now: os.stat_result) -> None:
        if not stat.S_ISREG(now.st_mode):
            raise self._unreadable("is no regular file any more")
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (self.inode, self.size, self.mtime_ns):
            raise self._unreadable("changed after it was scanned")

    def _unreadable(self, why: str) -> ChangedError:
        return ChangedError(
            f"cannot be read: {why}",
            where=str(self.location),
            fix="leave the directory alone while lambdaslim runs, and see that it can be read",
        )


def clean_path(path: str) -> str:
    """Return `path` if a Lambda package can hold it, else raise `UnsafeNameError`.

    A path is relative, POSIX, without empty, `.` or `..` parts, backslash, colon or control
    character, and at most 65,535 bytes of UTF-8.
    """
    if not path or path.startswith("/") or path.endswith("/"):
        problem = "is not a relative path of a file"
    elif _FORBIDDEN.search(path):
        problem = "holds a backslash, a colon, a control character or bytes that are no UTF-8"
    elif any(part in ("", ".", "..") for part in path.split("/")):
        problem = "holds an empty, '.' or '..' part"
    elif len(path) * 4 > _LONGEST_PATH and len(path.encode()) > _LONGEST_PATH:
        problem = f"is longer than {_LONGEST_PATH} bytes"
    else:
        return path
    shown = path[:_SHOWN] or "''"
    raise UnsafeNameError(problem, where=shown, fix="rename the file or leave it out")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree: POSIX `path`, `size` in bytes, the owner's x bit, and its content."""

    path: str
    size: int
    executable: bool
    content: Content

    def __post_init__(self) -> None:
        """Refuse a path that no package can hold."""
        clean_path(self.path)

    @classmethod
    def of(cls, path: str, data: bytes | str = b"", *, executable: bool = False) -> Entry:
        """Make an entry from bytes in memory (text is encoded as UTF-8)."""
        raw = data.encode() if isinstance(data, str) else data
        return cls(path, len(raw), executable, Bytes(raw))

    def read(self) -> bytes:
        """Return the content; raise `ChangedError` when the file changed since the scan."""
        return self.content.read()

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes, without reading a whole file from disk."""
        content = self.content
        return content.head(size) if isinstance(content, DiskFile) else self.read()[:size]

    def moved(self, path: str) -> Entry:
        """Return the same content and mode under another path."""
        return replace(self, path=path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The directory part of the path, "" at the top."""
        return self.path.rpartition("/")[0]


class Tree(Mapping[str, Entry]):
    """An immutable mapping of path to `Entry`, sorted by path; directories are implied.

    Sorting is by code point, which for valid text is the order of the UTF-8 bytes.
    """

    __slots__ = ("_directories", "_entries", "_paths", "size")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Sort the entries; raise `PlanError` for two of one path or a file that is a directory."""
        ordered = sorted(entries, key=lambda entry: entry.path)
        self._entries = {entry.path: entry for entry in ordered}
        self._paths = tuple(self._entries)
        self._directories = frozenset(_implied(self._paths))
        #: Total bytes of all files.
        self.size = sum(entry.size for entry in ordered)
        if len(self._entries) != len(ordered):
            twice = next(a.path for a, b in pairwise(ordered) if a.path == b.path)
            raise PlanError("two files have this path", where=twice, fix="give one another name")
        for directory in self.directories:
            if directory in self._entries:
                raise PlanError(
                    "is a file and also a directory", where=directory, fix="rename one of them"
                )

    def __getitem__(self, path: str) -> Entry:
        """Return the entry at `path`."""
        return self._entries[path]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the paths in order."""
        return iter(self._paths)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._paths)

    def __contains__(self, path: object) -> bool:
        """Tell whether a file has this path."""
        return path in self._entries

    def __repr__(self) -> str:
        """Show the number of files and bytes, not 10,000 entries."""
        return f"<Tree of {len(self):,} files, {self.size:,} bytes>"

    @property
    def directories(self) -> frozenset[str]:
        """Every directory that some file implies, without the top."""
        return self._directories

    def under(self, directory: str) -> tuple[str, ...]:
        """Return the paths below `directory` ("" is the top), in order."""
        if not directory:
            return self._paths
        # "0" is the character after "/", so this is the range of all "directory/..." paths.
        first = bisect_left(self._paths, directory + "/")
        return self._paths[first : bisect_left(self._paths, directory + "0")]

    def digest(self) -> str:
        """Return a SHA-256 (hex) over the name, mode and content of every file, in order.

        It does not depend on a compressor, so it tells equal packages built with different zlibs.
        """
        whole = hashlib.sha256()
        for entry in self._entries.values():
            content = hashlib.sha256(entry.read()).hexdigest()
            whole.update(digest_line(entry.path, content, executable=entry.executable))
        return whole.hexdigest()


def _implied(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def digest_line(path: str, sha256: str, *, executable: bool) -> bytes:
    """Return one file's line of the content digest: mode, SHA-256 (hex) of the content, path."""
    return f"{'0755' if executable else '0644'} {sha256} {path}\n".encode()


@dataclass(frozen=True, slots=True)
class Remove:
    """A pass's decision to leave a file out, and why.

    With `follows`, the removal only makes sense together with the same pass's edit of that path,
    and is given up with it when a keep pattern or rule forbids that one. Removals by one pass with
    the same `unit` only make sense together: whoever undoes one undoes all.
    """

    path: str
    reason: str
    follows: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    """A pass's decision to put `entry`, which may have another path, in place of a file."""

    path: str
    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Add:
    """A pass's decision to put a file where there is none."""

    entry: Entry
    reason: str

    @property
    def path(self) -> str:
        """Where the file goes."""
        return self.entry.path


@dataclass(frozen=True, slots=True)
class Keep:
    """A pass's decision to leave alone what it would otherwise have removed, and why."""

    path: str
    reason: str


Edit = Remove | Replace | Add
Decision = Remove | Replace | Add | Keep | Finding
