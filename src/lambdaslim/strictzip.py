"""The strict reader that judges every zip lambdaslim wrote, before anybody deploys it.

It shares no code with the writer, so one misunderstanding cannot hide in both. Other readers
forgive (prefixes, gaps, headers that disagree, duplicates), each in its own way; this one accepts
the single layout that all of them read alike, and nothing else. `RULES` is that layout.

One freedom remains, and no reader can take it away: a deflate stream may spell the same content
in several ways (its padding bits, a match at another distance). Every other byte is pinned.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from lambdaslim.errors import ArchiveError, UnsafeNameError
from lambdaslim.tree import clean_path, digest_line

#: Every rule by the name that errors show.
RULES: Final[Mapping[str, str]] = {
    "file": "a zip is a regular file that can be read",
    "end": "the last 22 bytes are the end record",
    "zip64": "no field holds a ZIP64 sentinel",
    "disk": "everything is on disk 0",
    "count": "the end record counts the members of the central directory",
    "directory": "the central directory ends where the end record starts",
    "signature": "each header starts with its signature",
    "extra": "there are no extra fields and no comments",
    "method": "members are stored (0) or deflated (8)",
    "version": "the version needed is 10 or 20, and 20 when deflated",
    "creator": "members are made by version 20 on Unix (3)",
    "timestamp": "members are dated 1980-01-01 00:00:00",
    "attributes": "external attributes are 0100644 or 0100755 << 16, internal ones 0",
    "flags": "only bit 11 (UTF-8) may be set, and it is if and only if the name is not ASCII",
    "name": "names are clean relative paths of files in UTF-8",
    "order": "names ascend strictly by their UTF-8 bytes, so none comes twice",
    "clash": "no file is also a directory of another",
    "layout": "members fill the space before the central directory, without gap or overlap",
    "agreement": "local and central header agree on every field",
    "stored": "a stored member has equal sizes",
    "deflate": "a deflate stream is valid, complete and ends at its compressed size",
    "size": "the content has the declared size",
    "crc": "the content has the declared CRC-32",
}

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED, _UTF8 = 0, 8, 1 << 11
_VERSION_1, _VERSION_2 = 10, 20
_MADE_BY = 3 << 8 | _VERSION_2
_JANUARY_1_1980 = 1 << 5 | 1
_PLAIN, _EXECUTABLE = (stat.S_IFREG | 0o644) << 16, (stat.S_IFREG | 0o755) << 16
_ZIP64_SHORT, _ZIP64_LONG = 0xFFFF, 0xFFFFFFFF
_THREADS = 4
_PART = 1 << 22  # bytes of members that a thread is given
_PIECE = 1 << 18  # bytes of a member held in memory, on either side of the decompressor


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the zip: bytes unzipped and compressed, and the SHA-256 (hex) of its content."""

    path: str
    executable: bool
    size: int
    compressed: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a zip holds: its members in file order, and the same digest as `Tree.digest`."""

    members: tuple[Member, ...]
    content_digest: str


class _Central(NamedTuple):
    signature: bytes
    made_by: int
    # From here to `extra_length` a local header has the same fields in the same order.
    version: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    compressed: int
    size: int
    name_length: int
    extra_length: int
    comment_length: int
    disk: int
    internal: int
    external: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in which file the reader stands, so that an error can say it."""

    file: str
    offset: int
    member: str = ""

    def require(self, rule: str, met: object, found: str) -> None:
        """Raise `ArchiveError` unless `rule` is met; `found` tells what is there instead."""
        if not met:
            raise self.broken(rule, found)

    def broken(self, rule: str, found: str) -> ArchiveError:
        member = f", member {self.member}" if self.member else ""
        return ArchiveError(
            f"offset {self.offset}{member}: breaks rule '{rule}' ({RULES[rule]}): {found}",
            where=self.file,
            fix="do not deploy this zip, build it again",
        )


class _Record(NamedTuple):
    header: _Central
    name: bytes
    path: str
    place: _Place  # of the local header


def read_back(path: str | os.PathLike[str]) -> ReadBack:
    """Read the zip at `path` and raise `ArchiveError` unless it keeps every one of `RULES`.

    Memory does not depend on the sizes of members, and nothing is inflated beyond its declared
    size, so a zip from elsewhere may be judged too.
    """
    location = Path(path)
    top = _Place(str(location), 0)
    try:
        # Asked before opening, because opening a FIFO would wait for its writer.
        top.require("file", stat.S_ISREG(location.stat().st_mode), "it is no regular file")
        with location.open("rb") as file:
            records = _read_records(file, top.file)
        return _checked(records, location)
    except OSError as error:
        raise top.broken("file", error.strerror or str(error)) from error


def _read_records(file: BinaryIO, name: str) -> list[_Record]:
    directory, count, end = _read_end(file, name)
    records = _read_directory(file, _Place(name, directory), count, end)
    _check_sequence(records, _Place(name, directory))
    return records


def _checked(records: list[_Record], location: Path) -> ReadBack:
    """Check the members against their records, some in each of a few threads."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS))
    try:
        several = pool.map(partial(_read_members, location, stop), _parts(records))
        # In order, so that the first fault of the file is the one that is raised.
        members = tuple(chain.from_iterable(several))
    finally:
        # After a fault or an interrupt what is left may be gigabytes; but Windows removes no file
        # that a thread has open.
        stop.set()
        pool.shutdown(wait=os.name == "nt", cancel_futures=True)
    whole = hashlib.sha256()
    for one in members:
        whole.update(digest_line(one.path, one.sha256, executable=one.executable))
    return ReadBack(members, whole.hexdigest())


def _parts(records: list[_Record]) -> Iterator[list[_Record]]:
    """Yield the records in runs that hold about as many bytes each."""
    part: list[_Record] = []
    size = 0
    for record in records:
        part.append(record)
        size += record.header.size
        if size >= _PART:
            yield part
            part, size = [], 0
    yield part


def _read_members(location: Path, stop: threading.Event, records: list[_Record]) -> list[Member]:
    with location.open("rb") as file:
        return [_read_member(file, record, stop) for record in records]


def _read_member(file: BinaryIO, record: _Record, stop: threading.Event) -> Member:
    _check_local(file, record)
    content = _hash_content(file, record, stop)
    header, executable = record.header, record.header.external == _EXECUTABLE
    return Member(record.path, executable, header.size, header.compressed, content.hexdigest())


def _read_end(file: BinaryIO, name: str) -> tuple[int, int, int]:
    """Return where the central directory starts, its number of records, and where it ends."""
    end = file.seek(0, os.SEEK_END) - _END.size
    place = _Place(name, max(0, end))
    place.require("end", end >= 0, f"the file has only {end + _END.size} bytes")
    file.seek(end)
    fields = _END.unpack(_exactly(file, _END.size, place))
    signature, disk, directory_disk, here, count, size, directory, comment = fields
    place.require("end", signature == b"PK\5\6", f"they start with {signature!r}")
    place.require("extra", not comment, f"a comment of {comment} bytes")
    zip64 = _ZIP64_SHORT in fields[1:5] or _ZIP64_LONG in fields[5:7]
    place.require("zip64", not zip64, "the end record does")
    place.require("disk", disk == directory_disk == 0, f"{disk} and {directory_disk}")
    place.require("count", here == count, f"{here} here and {count} in all")
    place.require("directory", directory + size == end, f"{size} bytes from {directory}")
    return directory, count, end


def _read_directory(file: BinaryIO, start: _Place, count: int, end: int) -> list[_Record]:
    """Return the records of the central directory, each of them checked by itself."""
    records: list[_Record] = []
    offset = file.seek(start.offset)
    while offset < end:
        place = _Place(start.file, offset)
        place.require("count", len(records) < count, f"{count}, and more records follow")
        place.require("directory", offset + _CENTRAL.size <= end, "a record is cut off")
        header = _Central(*_CENTRAL.unpack(_exactly(file, _CENTRAL.size, place)))
        place.require("signature", header.signature == b"PK\1\2", f"{header.signature!r}")
        offset += _CENTRAL.size + header.name_length
        place.require("directory", offset <= end, "a name is cut off")
        name = _exactly(file, header.name_length, place)
        place = _Place(start.file, place.offset, _shown(name))
        path = _decoded(name, place)
        _check_central(header, name.isascii(), place)
        records.append(_Record(header, name, path, _Place(start.file, header.offset, place.member)))
    start.require("count", len(records) == count, f"{count}, and there are {len(records)}")
    return records


def _check_central(header: _Central, ascii_name: bool, place: _Place) -> None:  # noqa: FBT001
    """Check every field that can be judged without the rest of the zip."""
    version, flags = header.version, header.flags
    deflated, stored = header.method == _DEFLATED, header.method == _STORED
    versioned = version == _VERSION_2 or (version == _VERSION_1 and stored)
    zip64 = _ZIP64_LONG in (header.compressed, header.size, header.offset)
    dated = (header.date, header.time) == (_JANUARY_1_1980, 0)
    moded = header.external in {_PLAIN, _EXECUTABLE} and not header.internal
    extra = header.extra_length + header.comment_length
    place.require("zip64", not zip64 and header.disk != _ZIP64_SHORT, "the central header does")
    place.require("disk", not header.disk, f"it is on {header.disk}")
    place.require("extra", not extra, f"{extra} bytes of them in the central header")
    place.require("flags", flags == (0 if ascii_name else _UTF8), f"they are {flags:#06x}")
    place.require("method", deflated or stored, f"method {header.method}")
    place.require("version", versioned, f"it is {version}")
    place.require("creator", header.made_by == _MADE_BY, f"it is {header.made_by:#06x}")
    place.require("timestamp", dated, f"date {header.date:#06x}, time {header.time:#06x}")
    place.require("attributes", moded, f"{header.external:#010x} and {header.internal:#06x}")


def _decoded(name: bytes, place: _Place) -> str:
    try:
        return clean_path(name.decode())
    except UnicodeDecodeError as error:
        raise place.broken("name", f"it is no UTF-8 at byte {error.start}") from error
    except UnsafeNameError as error:
        raise place.broken("name", f"it {error.what}") from error


def _check_sequence(records: list[_Record], directory: _Place) -> None:
    """Check what concerns several members: their order, their names, the space they fill."""
    last, position = b"", 0
    # The earlier names that this one starts with. In ascending order, a name that is no prefix
    # of this one is no prefix of a later one either, so the work is linear in the bytes of names.
    prefixes: list[bytes] = []
    for header, name, _, place in records:
        place.require("order", name > last, f"it follows {_shown(last)}")
        while prefixes and not name.startswith(prefixes[-1]):
            prefixes.pop()
        for prefix in prefixes:
            place.require("clash", name[len(prefix)] != ord("/"), f"{_shown(prefix)} is a file")
        prefixes.append(name)
        place.require("layout", header.offset == position, f"it should be at {position}")
        last, position = name, position + _LOCAL.size + len(name) + header.compressed
    directory.require("layout", directory.offset == position, f"members end at {position}")


def _check_local(file: BinaryIO, record: _Record) -> None:
    """Check that a local header repeats the central one, and leave `file` at the content."""
    header, place = record.header, record.place
    file.seek(header.offset)
    signature, *local = _LOCAL.unpack(_exactly(file, _LOCAL.size, place))
    place.require("signature", signature == b"PK\3\4", f"{signature!r}")
    shared = zip(_Central._fields[2:12], local, header[2:12], strict=True)
    for field, here, central in shared:
        place.require("agreement", here == central, f"{field} is {here} and {central}")
    name = _exactly(file, header.name_length, place)
    place.require("agreement", name == record.name, f"the local name is {_shown(name)}")


def _hash_content(file: BinaryIO, record: _Record, stop: threading.Event) -> hashlib._Hash:
    """Read a member's content, check its size and CRC, and return its SHA-256."""
    header, place = record.header, record.place
    pieces = _pieces(file, header.compressed, place)
    if header.method == _DEFLATED:
        pieces = _inflated(pieces, header.size, place)
    else:
        place.require("stored", header.size == header.compressed, "they differ")
    content = hashlib.sha256()
    size = crc = 0
    for piece in pieces:
        place.require("file", not stop.is_set(), "nobody waits for it any more")
        content.update(piece)
        crc = zlib.crc32(piece, crc)
        size += len(piece)
    place.require("size", size == header.size, f"{size} bytes, declared {header.size}")
    place.require("crc", crc == header.crc, f"{crc:#010x}, declared {header.crc:#010x}")
    return content


def _inflated(pieces: Iterator[bytes], size: int, place: _Place) -> Iterator[bytes]:
    """Yield the content of a deflate stream, and stop at the first byte beyond `size`."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in pieces:
        place.require("deflate", not stream.eof, "it ends before its compressed size")
        tail, full = piece, True
        # A full answer may leave more behind, in the tail or inside zlib; a shorter one cannot.
        while full and not stream.eof:
            limit = min(_PIECE, size + 1)  # never 0, which would mean no limit
            try:
                inflated = stream.decompress(tail, limit)
            except zlib.error as error:
                raise place.broken("deflate", str(error)) from error
            size -= len(inflated)
            place.require("size", size >= 0, "there is more of it")
            yield inflated
            tail, full = stream.unconsumed_tail, len(inflated) == limit
    place.require("deflate", stream.eof, "it is cut off")
    place.require("deflate", not stream.unused_data, "it ends before its compressed size")


def _pieces(file: BinaryIO, size: int, place: _Place) -> Iterator[bytes]:
    while size:
        piece = _exactly(file, min(size, _PIECE), place)
        size -= len(piece)
        yield piece


def _exactly(file: BinaryIO, size: int, place: _Place) -> bytes:
    data = file.read(size)
    # Every offset was compared with the file's length, so it can only have shrunk meanwhile.
    place.require("file", len(data) == size, f"it ends {size - len(data)} bytes too early")
    return data


def _shown(name: bytes) -> str:
    return name[:200].decode(errors="backslashreplace")
