"""Sibling temporaries: an output appears whole and verified, or not at all.

A file is written beside its final place under a name of ours, locked while it is written, and
renamed at the end. A leftover of a killed run is recognised by its name and by not being locked.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from lambdaslim.errors import OutputError

_BINARY = getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# What a lock that another run holds answers.
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# Bytes that are worth a flush of their own.
_FLUSHED = 4 << 20

# A name in a directory holds 255 bytes on most systems; ours adds some to the output's.
_LONGEST_SHOWN = 200


def _beside(path: Path, purpose: str) -> Path:
    """Return our sibling of an output for a purpose: partial, lock or old."""
    raw = os.fsencode(path.name)
    shown = path.name if len(raw) <= _LONGEST_SHOWN else hashlib.sha256(raw).hexdigest()
    return path.with_name(f".{shown}.lambdaslim-{purpose}")


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` inside the block into an `OutputError` about `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        missing = isinstance(error, FileNotFoundError)
        fix = "create its directory first" if missing else "choose another place or make room"
        raise OutputError(f"cannot be written: {reason}", where=str(path), fix=fix) from error


@contextmanager
def staged_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield an open file and its temporary path; it becomes `path` if the block succeeds.

    Raises:
        OutputError: `path` is a directory or cannot be written, or another run is writing it.
    """
    with output_errors(path):
        if path.is_dir():
            raise OutputError("is a directory", where=str(path), fix="name a file")
        temporary = _beside(path, "partial")
        claim = _Claim(temporary)
        try:
            claim.take(path)
            # Closing before the rename tells what a network file system only says then; the lock
            # lives on in a duplicate. Windows renames no open file, so there it ends earlier.
            with os.fdopen(claim.descriptor, "w+b") as file:
                claim.duplicate()
                file.truncate()
                yield file, temporary
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        except BaseException:
            claim.give_up()
            raise
        finally:
            claim.end()


class Flushing:
    """Writes to a file, and has it written to the disk in a thread meanwhile, not only at the end.

    Raises:
        OSError: it could not be written; raised at the latest at the end of the block.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Take an open file; whoever opened it closes it."""
        self._file = file
        self._pool = ThreadPoolExecutor(1)
        self._started: list[Future[None]] = []
        self._left = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for what was started; what came after it is left to whoever closes the file."""
        self._pool.shutdown()
        if error == (None, None, None):
            self._raise()

    def _raise(self) -> None:
        for one in self._started:
            one.result()

    def write(self, data: bytes) -> None:
        """Write, and start to flush if there is enough and nothing is being flushed."""
        self._file.write(data)
        self._left += len(data)
        if self._left >= _FLUSHED and all(one.done() for one in self._started):
            self._raise()
            self.start()

    def start(self) -> None:
        """Start to flush what was written so far; the file may be read meanwhile."""
        self._file.flush()
        self._started.append(self._pool.submit(os.fsync, self._file.fileno()))
        self._left = 0


@contextmanager
def staged_directory(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty temporary directory that becomes `path` if the block succeeds.

    Raises:
        OutputError: `path` is a file, holds files and `overwrite` is false, cannot be written, or
            another run is writing it.
    """
    with output_errors(path), _directory_lock(path):
        _recover(path)
        refuse_used(path, overwrite=overwrite)
        temporary = _beside(path, "partial")
        remove_tree(temporary)
        temporary.mkdir(mode=0o755)
        try:
            yield temporary
            _swap(temporary, path)
        except BaseException:
            remove_tree(temporary)
            raise


def recover(path: Path) -> None:
    """Put back a directory that a killed run had moved aside, or remove its leftovers.

    Raises:
        OutputError: the run is still going, or its remains cannot be moved.
    """
    with output_errors(path):
        if os.path.lexists(_beside(path, "old")):
            with _directory_lock(path):
                _recover(path)


def _discard(old: Path) -> None:
    """Remove what the new directory has replaced; what cannot be removed is moved out of the way.

    The new directory is in its place by then, so a file of another user must not be a failure.
    """
    try:
        remove_tree(old)
    except OSError:
        for number in range(1, 1000):
            aside = old.with_name(f"{old.name}-{number}")
            if not aside.exists():
                old.rename(aside)
                return


def _recover(path: Path) -> None:
    old = _beside(path, "old")
    if old.is_dir() and not path.exists():
        old.rename(path)
    _discard(old)


def remove_tree(path: Path) -> None:
    """Remove a directory without recursion (it may be 1,500 levels deep), following no link."""
    if path.is_symlink():
        path.unlink()
    if not os.path.lexists(path):
        return
    directories = [path]
    for directory in directories:
        # A read-only directory does not let go of its files.
        directory.chmod(stat.S_IRWXU)
        with os.scandir(directory) as children:
            for child in children:
                if child.is_dir(follow_symlinks=False):
                    directories.append(Path(child.path))
                else:
                    _unlink(Path(child.path))
    for directory in reversed(directories):
        directory.rmdir()


def _unlink(path: Path) -> None:
    if os.name == "nt":  # which keeps a read-only file
        path.chmod(stat.S_IWRITE)
    path.unlink()


def refuse_used(path: Path, *, overwrite: bool = False) -> None:
    """Raise `OutputError` if `path` is a file, or holds files that may not be replaced."""
    if path.exists() and not path.is_dir():
        raise OutputError("is not a directory", where=str(path), fix="name a directory")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise OutputError(
            "holds files already", where=str(path), fix="empty it, or name a new directory"
        )


def _swap(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
    else:
        old = _beside(path, "old")
        path.rename(old)
        try:
            temporary.rename(path)
        except BaseException:
            old.rename(path)
            raise
        _discard(old)
    _sync_directory(path.parent)


@contextmanager
def _directory_lock(path: Path) -> Iterator[None]:
    claim = _Claim(_beside(path, "lock"))
    try:
        claim.take(path)
        yield
    finally:
        claim.give_up()
        claim.end()


class _Claim:
    """Our hold on a temporary file: created, locked, and removed if it comes to nothing.

    A signal may raise between any two steps, so each step is noted before the next can begin, and
    what was created is found by its name if not even its descriptor was noted.
    """

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._open: list[int] = []
        self._ours = False
        self._others = False

    @property
    def descriptor(self) -> int:
        return self._open[0]

    def take(self, path: Path) -> None:
        """Open and lock the file; the one that we lock must be the one of that name.

        Between open and lock, the run that held the lock may have renamed the file into place.
        """
        while not self._ours:
            self._open.append(_opened(self._temporary, os.O_CREAT))
            try:
                _lock(self.descriptor)
            except OSError as error:
                if error.errno not in _BUSY:
                    raise
                self._others = True
                what, fix = "is being written by another run", "wait for that run to end"
                raise OutputError(what, where=str(path), fix=fix) from error
            self._ours = _is_ours(self.descriptor, self._temporary)
            if not self._ours:
                os.close(self._open.pop())

    def duplicate(self) -> None:
        """Hold the lock by another descriptor, since the first one gets closed."""
        if os.name != "nt":
            self._open.append(os.dup(self.descriptor))
        del self._open[0]

    def give_up(self) -> None:
        """Remove the file, unless another run has it."""
        if self._others:
            return
        if not self._ours:
            with suppress(OSError):
                # A second descriptor would not get the lock that a first may have.
                if not self._open:
                    self._open.append(_opened(self._temporary))
                _lock(self._open[-1])
                self._ours = _is_ours(self._open[-1], self._temporary)
        # Unlinked while it is locked, so that nobody locks a file that is about to go; Windows
        # unlinks no open file.
        if os.name == "nt":
            self.end()
        if self._ours:
            with suppress(OSError):
                self._temporary.unlink()

    def end(self) -> None:
        """Let go of the lock."""
        while self._open:
            with suppress(OSError):
                os.close(self._open.pop())


def _opened(temporary: Path, more: int = 0) -> int:
    return os.open(temporary, os.O_RDWR | more | _BINARY | _NO_FOLLOW, 0o666)


def _is_ours(descriptor: int, temporary: Path) -> bool:
    """Tell whether a locked file is the one of that name, and of no other name.

    A file that has a second name is somebody else's: its name is taken back, its content left.
    """
    status = os.fstat(descriptor)
    with suppress(FileNotFoundError):
        if not os.path.samestat(status, temporary.lstat()):
            return False
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            return True
        temporary.unlink()
    return False


if sys.platform == "win32":
    import msvcrt

    # A lock on Windows keeps others from reading the range, so it lies past every real byte.
    _FAR = 0x7FFF_FFF0

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

    def _sync_directory(directory: Path) -> None:
        """Windows has no handle of a directory to flush."""
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _sync_directory(directory: Path) -> None:
        # The rename has happened, so what a file system cannot flush is no failure any more.
        with suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
