"""Keeps what was computed from files, for the next run: addressed by content, bounded, disposable.

A result that depends on nothing but some bytes and on the code that reads them is put under a key
that names both, so it is never stale, and a run without a cache gives the same package. Whatever is
wrong with a cache (damaged, read-only, of another user, no room) costs time and never a run.

It is one SQLite file: thousands of small results cost less there than as files of their own, its
locks let several runs share it, and a run that is killed leaves it whole.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import sqlite3

#: Bytes that a cache may take; what was not used for longest gives way.
LIMIT: Final = 1 << 30

_DIRECTORY = "results"
# The number grows with the layout of the file.
_NAME = "results-1.sqlite3"
# In one step, so that no other run finds half of it.
_SCHEMA = """
begin immediate;
create table if not exists items (
    key blob primary key, place integer, size integer, used integer, digest blob
) without rowid;
create table if not exists contents (place integer primary key, content blob);
commit;
"""
# Nothing here has to survive a crash of the machine: what that leaves is told by its digest.
_PRAGMAS = ("page_size=8192", "journal_mode=truncate", "synchronous=off", "trusted_schema=off")
# Seconds to wait for another run, which holds the file for as long as one flush takes.
_PATIENCE = 5.0
# Bytes, and results, that wait for a common flush.
_FLUSH, _MOST_PENDING = 4 << 20, 2_000
# The part of the limit that eviction leaves, so that it is rare, and that one result may take.
_LEAVES, _LARGEST = 0.8, 0.25
# Writing runs after which using a result again is worth a note.
_STALE = 2
# SQLite's codes: held by another run; a damaged database, or no database.
_BUSY, _DAMAGED = (5, 6), (11, 26)


class Cache:
    """Results of earlier runs by kind and key, in a directory; safe for threads and other runs.

    Attributes:
        problem: why there is no cache, or none any more; None if all is well.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place, Cache(place) as cache:
    ...     cache.put("upper", "a 1", b"A")
    ...     cache.get("upper", "a 1"), cache.get("upper", "b 1")
    (b'A', None)
    """

    def __init__(self, directory: str | os.PathLike[str] | None, *, limit: int = LIMIT) -> None:
        """Open the cache in a directory, which is made if need be; None keeps nothing.

        Args:
            directory: where it lies. What others may write to is not trusted.
            limit: bytes that its file may take.
        """
        self.problem: str | None = None
        self._limit = limit
        self._lock = threading.RLock()
        self._pending: dict[bytes, bytes] = {}
        self._waiting = 0
        self._touched: list[bytes] = []
        self._making: dict[bytes, threading.Lock] = {}
        self._run = 0
        self._file: Path | None = None
        self._connection: sqlite3.Connection | None = None
        if directory is not None:
            with self._guarded():
                self._open(Path(directory) / _DIRECTORY)

    def __bool__(self) -> bool:
        """Tell whether results are kept; whoever is told no need not compute a key."""
        return self._connection is not None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write what is pending, and let go of the file."""
        self.close()

    def get(self, kind: str, key: str) -> bytes | None:
        """Return what was put under a key, None if nothing is there or it is damaged."""
        if not self:
            return None
        name, row = _name(kind, key), None
        with self._lock, self._guarded():
            if name in self._pending:
                return self._pending[name]
            if self._connection:
                row = self._connection.execute(_FIND, (name,)).fetchone()
                if row and row[0] is None:
                    with self._connection.blobopen("contents", "content", row[3]) as blob:
                        row = (blob.read(), *row[1:])
        if row is None:
            return None
        data, digest, used, _ = row
        if not isinstance(data, bytes) or _digest(name, data) != digest:
            return None
        if used < self._run - _STALE:
            self._touched.append(name)
        return data

    def put(self, kind: str, key: str, data: bytes) -> None:
        """Keep data under a key, which must name everything that the data depends on.

        Args:
            kind: what sort of result it is, like "bytecode".
            key: digests and versions; the text is hashed and not kept.
            data: what a reader can judge by itself: text, numbers, or bytes that it never runs.
        """
        if not self or len(data) > self._limit * _LARGEST:
            return
        with self._lock:
            self._pending[_name(kind, key)] = data
            self._waiting += len(data)
            if self._waiting > _FLUSH or len(self._pending) > _MOST_PENDING:
                self._flush()

    def once(self, kind: str, key: str, make: Callable[[], bytes]) -> bytes:
        """Return what is under a key, or else what `make` returns, which is put there.

        Threads that ask for the same at once wait for the first one.
        """
        if not self:
            return make()
        name = _name(kind, key)
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        try:
            with making:
                known = self.get(kind, key)
                if known is None:
                    known = make()
                    self.put(kind, key, known)
                return known
        finally:
            with self._lock:
                self._making.pop(name, None)

    def close(self) -> None:
        """Write what is pending, and let go of the file; afterwards nothing is found or kept."""
        with self._lock:
            self._flush()
            self._let_go()

    def _open(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _demand_own(directory)
        self._file = file = directory / _NAME
        if file.exists() and file.stat().st_size > 2 * self._limit:
            file.unlink()  # of a time with a higher limit: it would never shrink
        self._connect()
        if self._connection is None:  # it was damaged, and is gone
            self._connect()

    def _connect(self) -> None:
        import sqlite3  # noqa: PLC0415 - some builds of Python lack it, and do without a cache

        assert self._file is not None  # noqa: S101 - set by `_open`
        # Made here, so that nobody else may read or write it, whatever the umask.
        with suppress(FileExistsError):
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _demand_own(self._file)
        with self._guarded():
            self._connection = sqlite3.connect(
                self._file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            for pragma in _PRAGMAS:
                self._connection.execute(f"pragma {pragma}")
            if not self._connection.execute("select 1 from sqlite_master").fetchone():
                self._connection.executescript(_SCHEMA)
            self._run = self._number("user_version") + 1
            self.problem = None

    def _number(self, pragma: str) -> int:
        assert self._connection is not None  # noqa: S101 - asked with an open file
        return int(self._connection.execute(f"pragma {pragma}").fetchone()[0])

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Do without the cache from now on if anything is wrong with it; remove a damaged one."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a cache is no reason to fail
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _BUSY:  # only this result, or this flush, is lost
                return
            self.problem = str(error) or type(error).__name__
            self._let_go()
            if code in _DAMAGED and self._file:
                with suppress(OSError):
                    self._file.unlink()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with suppress(Exception):
                connection.close()

    def _flush(self) -> None:
        """Write what is pending in one transaction."""
        pending, self._pending, self._waiting = self._pending, {}, 0
        touched, self._touched = self._touched, []
        connection = self._connection
        if connection is None or not (pending or touched):
            return
        with self._guarded():
            connection.execute("begin immediate")
            try:
                connection.execute(f"pragma user_version={self._run}")
                self._make_room(connection, sum(map(len, pending.values())))
                connection.executemany(_TOUCH, ((self._run, name) for name in touched))
                for name, data in pending.items():
                    self._insert(connection, name, data)
            except BaseException:
                with suppress(Exception):
                    connection.execute("rollback")
                raise
            connection.execute("commit")

    def _insert(self, connection: sqlite3.Connection, name: bytes, data: bytes) -> None:
        # There only if it was damaged, or another run has put it there meanwhile.
        connection.execute(_FORGET_CONTENT, (name,))
        # Room first, then the bytes: SQLite would copy what it is given, twice.
        place = connection.execute(_ROOM, (len(data),)).lastrowid
        assert place is not None  # noqa: S101 - the row was just inserted
        with connection.blobopen("contents", "content", place) as blob:
            blob.write(data)
        row = (name, place, len(data), self._run, _digest(name, data))
        connection.execute("insert or replace into items values (?, ?, ?, ?, ?)", row)

    def _make_room(self, connection: sqlite3.Connection, size: int) -> None:
        """Forget what was not used for longest, if `size` more bytes would be too many."""
        pages = self._number("page_count") - self._number("freelist_count")
        full = pages * self._number("page_size") + size
        if full <= self._limit:
            return
        surplus = full - int(self._limit * _LEAVES)
        gone: list[tuple[bytes]] = []
        for name, taken in connection.execute("select key, size from items order by used"):
            if surplus <= 0:
                break
            surplus -= taken
            gone.append((name,))
        connection.executemany(_FORGET_CONTENT, gone)
        connection.executemany("delete from items where key = ?", gone)


# A large content is read by itself, for the same reason as below.
_FIND = """
select case when size <= 65536 then content end, digest, used, place
from items natural join contents where key = ?
"""
_ROOM = "insert into contents (content) values (zeroblob(?))"
_TOUCH = "update items set used = ? where key = ?"
_FORGET_CONTENT = "delete from contents where place = (select place from items where key = ?)"


def _name(kind: str, key: str) -> bytes:
    return hashlib.sha256(f"{kind}\0{key}".encode()).digest()


def _digest(name: bytes, data: bytes) -> bytes:
    """Return what proves that data belongs to a key and is undamaged."""
    return hashlib.sha256(name + hashlib.sha256(data).digest()).digest()


def _demand_own(path: Path) -> None:
    """Raise `PermissionError` for what somebody else owns or may write to."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise PermissionError(f"{path} is a symlink")
    if os.name == "nt":  # whose access lists say more than these bits
        return
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} belongs to another user, or others may write to it")


@lru_cache
def code_version(*files: str) -> str:
    """Return a digest of source files (paths) whose code makes the results, to put into keys.

    >>> len(code_version(__file__))
    64
    """
    whole = hashlib.sha256()
    for file in files:
        whole.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return whole.hexdigest()
