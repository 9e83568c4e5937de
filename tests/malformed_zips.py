"""Zips made by hand: good ones, and one for each way in which a zip can be wrong.

The maker below knows the format only from `struct`, so that it shares no misunderstanding with
the writer or the reader of lambdaslim.
"""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

EXECUTABLE, PLAIN = 0o100755 << 16, 0o100644 << 16
STORED, DEFLATED = 0, 8


@dataclass(frozen=True)
class Part:
    """A member to write; the fields after `method` are ways to write it wrongly.

    `both`, `local` and `central` override header fields by name; `raw` replaces the bytes between
    the headers; `after` follows them.
    """

    name: str | bytes
    data: bytes = b""
    executable: bool = False
    method: int = DEFLATED
    raw: bytes | None = None
    both: Mapping[str, int] = field(default_factory=dict)
    local: Mapping[str, int] = field(default_factory=dict)
    central: Mapping[str, int] = field(default_factory=dict)
    local_name: bytes | None = None
    local_extra: bytes = b""
    central_extra: bytes = b""
    comment: bytes = b""
    local_signature: bytes = b"PK\3\4"
    central_signature: bytes = b"PK\1\2"
    after: bytes = b""

    @property
    def raw_name(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    @property
    def compressed(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return deflated(self.data) if self.method == DEFLATED else self.data

    def fields(self) -> dict[str, int]:
        return {
            "made_by": 3 << 8 | 20,
            "version": 20,
            "flags": 0 if self.raw_name.isascii() else 0x800,
            "method": self.method,
            "time": 0,
            "date": 0x21,
            "crc": zlib.crc32(self.data),
            "compressed": len(self.compressed),
            "size": len(self.data),
            "disk": 0,
            "internal": 0,
            "external": EXECUTABLE if self.executable else PLAIN,
            **self.both,
        }


def deflated(data: bytes, level: int = 9) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def local_header(part: Part) -> bytes:
    values = {**part.fields(), **part.local}
    name = part.raw_name if part.local_name is None else part.local_name
    common = [values[key] for key in ("version", "flags", "method", "time", "date")]
    sizes = [values[key] for key in ("crc", "compressed", "size")]
    lengths = [values.get("name_length", len(name)), len(part.local_extra)]
    header = struct.pack("<5H3L2H", *common, *sizes, *lengths)
    return part.local_signature + header + name + part.local_extra


def central_header(part: Part, offset: int) -> bytes:
    values = {"offset": offset, **part.fields(), **part.central}
    common = [values[key] for key in ("made_by", "version", "flags", "method", "time", "date")]
    sizes = [values[key] for key in ("crc", "compressed", "size")]
    lengths = [values.get("name_length", len(part.raw_name)), len(part.central_extra)]
    places = [values[key] for key in ("disk", "internal", "external", "offset")]
    header = struct.pack("<6H3L5H2L", *common, *sizes, *lengths, len(part.comment), *places)
    return part.central_signature + header + part.raw_name + part.central_extra + part.comment


def zip_of(  # noqa: PLR0913 - each argument is one way to break a zip
    *parts: Part,
    prefix: bytes = b"",
    before_directory: bytes = b"",
    before_end: bytes = b"",
    comment: bytes = b"",
    tail: bytes = b"",
    end: Mapping[str, int] | None = None,
) -> bytes:
    """Write a zip; without any of the named arguments a well-formed one."""
    body, directory = prefix, b""
    for part in parts:
        directory += central_header(part, len(body))
        body += local_header(part) + part.compressed + part.after
    body += before_directory
    values = {
        "disk": 0,
        "directory_disk": 0,
        "here": len(parts),
        "count": len(parts),
        "directory_size": len(directory),
        "directory": len(body),
        "comment_length": len(comment),
        **(end or {}),
    }
    return (
        body
        + directory
        + before_end
        + struct.pack("<4s4H2LH", b"PK\5\6", *values.values())
        + comment
        + tail
    )


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - the same bytes in every run


def expected(parts: tuple[Part, ...]) -> list[tuple[str, bool, int, int, str]]:
    """Return what a reader must report: path, executable, size, compressed size, SHA-256."""
    return [
        (
            part.raw_name.decode(),
            part.executable,
            len(part.data),
            len(part.compressed),
            hashlib.sha256(part.data).hexdigest(),
        )
        for part in parts
    ]


TEXT = b"import this\n" * 9
A = Part("a.py", TEXT)
RAW = deflated(TEXT)
B = Part("b.bin", b"\x00\x01\xfe\xff", method=STORED)

WELL_FORMED: dict[str, tuple[Part, ...]] = {
    "deflated": (A,),
    "stored": (B,),
    "both-methods": (A, B),
    "version-10": (Part("a", b"old", method=STORED, both={"version": 10}),),
    "empty-stored": (Part("pkg/__init__.py", method=STORED),),
    "empty-deflated": (Part("pkg/__init__.py"),),
    "executable": (Part("bin/run", b"#!/bin/sh\n", executable=True), Part("data", b"plain")),
    "names-latin": (Part("pkg/ä.txt", b"a umlaut"), Part("pkg/ñandú.txt", b"bird")),
    "names-wide": (Part("日本語/ファイル", b"file"), Part("\N{SNAKE}.py", b"snake")),
    "names-odd": (Part("a b.txt", b"space"), Part("a#'$&;*.txt", b"shell"), Part("~", b"home")),
    "names-prefixes": (Part("a", b"1"), Part("a-b", b"2"), Part("a.py", b"3"), Part("ab/c", b"4")),
    "nested": (Part("/".join("abcdefghij") + "/x.py", b"deep"), Part("a0", b"flat")),
    "long-name": (Part("/".join(["directory" * 3] * 20), b"far"),),
    "crc-all-ones": (Part("ff", b"\xff\xff\xff\xff", method=STORED),),
    "stored-blocks": (Part("a", TEXT, raw=deflated(TEXT, 0)),),
    "zip-in-zip": (Part("inner.zip", zip_of(A, B), method=STORED), Part("z", zip_of(A))),
    "megabyte-deflated": (Part("text", TEXT * 9709),),
    "megabyte-stored": (Part("noise", noise(1 << 20), method=STORED),),
    "megabyte-noise": (Part("noise", noise((1 << 20) + 1)),),
    "many": tuple(Part(f"pkg/m{n:04}.py", f"n = {n}\n".encode()) for n in range(2000)),
}
# Small enough to try every byte and every length.
SMALL = ("deflated", "stored", "both-methods", "executable", "names-latin", "names-prefixes")


@dataclass(frozen=True)
class Malformed:
    """A broken zip and the rule of `strictzip.RULES` that it breaks."""

    rule: str
    make: Callable[[], bytes]


def one(**changes: Any) -> bytes:  # noqa: ANN401 - fields of Part
    """Return a zip of `a.py`, with the changes, and `b.bin`."""
    return zip_of(Part(**{"name": "a.py", "data": TEXT, **changes}), B)


def swapped_members() -> bytes:
    """Return a zip whose directory is sorted while its members are not."""
    first, second = (
        central_header(A, len(local_header(B)) + len(B.compressed)),
        central_header(B, 0),
    )
    body = local_header(B) + B.compressed + local_header(A) + A.compressed
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(first + second), len(body), 0)
    return body + first + second + end


def overlapping() -> bytes:
    """Return a zip of two members that share one local header and content."""
    twice = (A, Part("b.py", TEXT, central={"offset": 0}))
    body = local_header(A) + A.compressed
    directory = b"".join(central_header(part, 0) for part in twice)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(directory), len(body), 0)
    return body + directory + end


def local_extra_counted() -> bytes:
    """Return a zip that takes its local extra field from the compressed size, to fit the layout."""
    extra = b"UT\5\0\1\0\0\0\0"
    return zip_of(
        Part("a.py", TEXT, raw=RAW, local_extra=extra, both={"compressed": len(extra + RAW)})
    )


def zip64_end() -> bytes:
    """Return a zip with the ZIP64 end record and locator in front of the ordinary end record."""
    good = zip_of(A)
    size = len(central_header(A, 0))
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, len(good) - 22 - size
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(good) - 22, 1)
    return good[:-22] + record + locator + good[-22:]


def bad(rule: str, *parts: Part, **arguments: Any) -> Malformed:  # noqa: ANN401 - of zip_of
    return Malformed(rule, lambda: zip_of(*parts, **arguments))


def bad_part(rule: str, **changes: Any) -> Malformed:  # noqa: ANN401 - as for one
    return Malformed(rule, lambda: one(**changes))


DESCRIPTOR = struct.pack("<4s3L", b"PK\7\x08", zlib.crc32(TEXT), len(RAW), len(TEXT))
UNFINISHED = zlib.compressobj(9, zlib.DEFLATED, -15)
SYNCED = UNFINISHED.compress(TEXT) + UNFINISHED.flush(zlib.Z_SYNC_FLUSH)

MALFORMED: dict[str, Malformed] = {
    # the file as a whole
    "empty-file": Malformed("end", lambda: b""),
    "not-a-zip": Malformed("end", lambda: noise(5000)),
    "gzip": Malformed("end", lambda: b"\x1f\x8b\x08" + bytes(50)),
    "text": Malformed("end", lambda: TEXT),
    "cut-by-one": Malformed("end", lambda: zip_of(A, B)[:-1]),
    "cut-in-half": Malformed("end", lambda: zip_of(A, B)[:90]),
    "end-record-missing": Malformed("end", lambda: zip_of(A, B)[:-22]),
    "first-byte-missing": Malformed("directory", lambda: zip_of(A, B)[1:]),
    "trailing-byte": bad("end", A, tail=b"\n"),
    "trailing-zip": Malformed("directory", lambda: zip_of(A) + zip_of(B)),
    "prefix": bad("layout", A, prefix=b"#!/usr/bin/env python3\n"),
    "prefix-not-counted": Malformed("directory", lambda: b"#!/bin/sh\n" + zip_of(A)),
    # the end record
    "archive-comment": bad("end", A, comment=b"hello"),
    "archive-comment-claimed": bad("extra", A, end={"comment_length": 5}),
    "archive-comment-like-end": bad("directory", A, comment=zip_of()),
    "disk-1": bad("disk", A, end={"disk": 1}),
    "directory-on-disk-1": bad("disk", A, end={"directory_disk": 1}),
    "counts-differ": bad("count", A, B, end={"here": 1}),
    "count-too-low": bad("count", A, B, end={"here": 1, "count": 1}),
    "count-too-high": bad("count", A, B, end={"here": 3, "count": 3}),
    "count-zero": bad("count", A, end={"here": 0, "count": 0}),
    "count-sentinel": bad("zip64", A, end={"here": 0xFFFF, "count": 0xFFFF}),
    "directory-sentinel": bad("zip64", A, end={"directory": 0xFFFFFFFF}),
    "directory-size-sentinel": bad("zip64", A, end={"directory_size": 0xFFFFFFFF}),
    "directory-too-early": bad("directory", A, end={"directory": 0}),
    "directory-too-short": bad("directory", A, B, end={"directory_size": 50}),
    "directory-far-away": bad("directory", A, end={"directory": 1 << 30}),
    "gap-before-end": bad("directory", A, before_end=b"PK\5\5\0\0"),
    "zip64-end-record": Malformed("directory", zip64_end),
    # where members lie
    "gap-before-directory": bad("layout", A, before_directory=bytes(8)),
    "gap-between-members": bad_part("layout", after=b"?"),
    "hidden-member": bad("layout", A, before_directory=local_header(B) + B.compressed),
    "members-share-content": Malformed("layout", overlapping),
    "members-unsorted-directory-sorted": Malformed("layout", swapped_members),
    "offset-wrong": bad("layout", A, Part("c", b"c", central={"offset": 1})),
    "offset-far-away": bad("layout", A, Part("c", b"c", central={"offset": 1 << 31})),
    "compressed-size-far": bad_part("layout", both={"compressed": 1 << 31}),
    # the central header
    "central-signature": bad_part("signature", central_signature=b"PK\1\3"),
    "central-name-too-long": bad("directory", Part("a", b"", central={"name_length": 9999})),
    "central-record-cut": bad(
        "directory", A, before_end=bytes(9), end={"here": 2, "count": 2, "directory_size": 59}
    ),
    "central-extra": bad_part("extra", central_extra=b"UT\5\0\1\0\0\0\0"),
    "member-comment": bad_part("extra", comment=b"hi"),
    "member-on-disk-1": bad_part("disk", central={"disk": 1}),
    "member-on-disk-sentinel": bad_part("zip64", central={"disk": 0xFFFF}),
    "size-sentinel": bad_part("zip64", both={"size": 0xFFFFFFFF}),
    "compressed-sentinel": bad_part("zip64", both={"compressed": 0xFFFFFFFF}),
    "offset-sentinel": bad_part("zip64", central={"offset": 0xFFFFFFFF}),
    "encrypted": bad_part("flags", both={"flags": 0x0001}),
    "descriptor": bad_part("flags", both={"flags": 0x0008}, after=DESCRIPTOR),
    "deflate-option-bits": bad_part("flags", both={"flags": 0x0002}),
    "patched-data": bad_part("flags", both={"flags": 0x0020}),
    "strong-encryption": bad_part("flags", both={"flags": 0x0041}),
    "masked-headers": bad_part("flags", both={"flags": 0x2000}),
    "utf8-flag-on-ascii": bad_part("flags", both={"flags": 0x0800}),
    "utf8-flag-missing": bad("flags", Part("ä", b"", both={"flags": 0})),
    "method-deflate64": bad_part("method", method=9),
    "method-bzip2": bad_part("method", method=12),
    "method-lzma": bad_part("method", method=14),
    "method-zstandard": bad_part("method", method=93),
    "version-45": bad_part("version", both={"version": 45}),
    "version-0": bad_part("version", both={"version": 0}),
    "version-10-deflated": bad_part("version", both={"version": 10}),
    "made-on-dos": bad_part("creator", both={"made_by": 20}),
    "made-on-macos": bad_part("creator", both={"made_by": 19 << 8 | 20}),
    "made-by-63": bad_part("creator", both={"made_by": 3 << 8 | 63}),
    "dated-today": bad_part("timestamp", both={"date": 0x5A6F, "time": 0x6C20}),
    "dated-two-seconds-later": bad_part("timestamp", both={"time": 1}),
    "dated-zero": bad_part("timestamp", both={"date": 0}),
    "mode-none": bad_part("attributes", both={"external": 0}),
    "mode-0600": bad_part("attributes", both={"external": 0o100600 << 16}),
    "mode-setuid": bad_part("attributes", both={"external": 0o104755 << 16}),
    "mode-without-type": bad_part("attributes", both={"external": 0o644 << 16}),
    "symlink": bad_part("attributes", both={"external": 0o120777 << 16}),
    "dos-attributes": bad_part("attributes", both={"external": PLAIN | 0x20}),
    "internal-attributes": bad_part("attributes", both={"internal": 1}),
    # names
    "name-empty": bad("name", Part("", b"nobody")),
    "name-directory": bad(
        "name", Part("a/", method=STORED, both={"external": 0o040755 << 16 | 16})
    ),
    "name-directory-as-file": bad("name", Part("a/", method=STORED)),
    "name-absolute": bad("name", Part("/etc/passwd")),
    "name-parent": bad("name", Part("../evil.py")),
    "name-parent-inside": bad("name", Part("a/../b.py")),
    "name-dot": bad("name", Part("./a.py")),
    "name-double-slash": bad("name", Part("a//b.py")),
    "name-backslash": bad("name", Part("a\\b.py")),
    "name-drive": bad("name", Part("C:a.py")),
    "name-nul": bad("name", Part("a.py\0.txt")),
    "name-escape": bad("name", Part("a\x1b[2J.py")),
    "name-newline": bad("name", Part("a\nb.py")),
    "name-not-utf8": bad("name", Part(b"caf\xe9.py")),
    "name-surrogate": bad("name", Part(b"a\xed\xb2\x80.py")),
    "name-overlong": bad("name", Part(b"a\xc0\xafb.py")),
    "names-unsorted": bad("order", B, A),
    "name-twice": bad("order", A, A),
    "name-twice-apart": bad("order", A, B, A),
    "names-sorted-by-case": bad("order", Part("a"), Part("B")),
    "names-sorted-as-utf16": bad("order", Part("\U0001f40d"), Part("\uffee")),
    "file-and-directory": bad("clash", Part("a"), Part("a/b")),
    "file-and-directory-apart": bad("clash", Part("a"), Part("a.py"), Part("a/b/c/d")),
    "file-and-deep-directory": bad("clash", Part("a/b"), Part("a/b.py"), Part("a/b/c/d")),
    # local headers
    "local-signature": bad_part("signature", local_signature=b"PK\3\5"),
    "local-extra": bad_part("layout", local_extra=b"UT\5\0\1\0\0\0\0"),
    "local-extra-inside": Malformed("agreement", local_extra_counted),
    "local-version": bad_part("agreement", local={"version": 10}),
    "local-flags": bad_part("agreement", local={"flags": 0x0800}),
    "local-encrypted": bad_part("agreement", local={"flags": 0x0001}),
    "local-descriptor": bad_part("agreement", local={"flags": 8, "crc": 0, "size": 0}),
    "local-method": bad_part("agreement", local={"method": STORED}),
    "local-time": bad_part("agreement", local={"time": 1}),
    "local-date": bad_part("agreement", local={"date": 0x22}),
    "local-crc": bad_part("agreement", local={"crc": 0}),
    "local-compressed": bad_part("agreement", local={"compressed": 1}),
    "local-size": bad_part("agreement", local={"size": 1}),
    "local-size-sentinel": bad_part("agreement", local={"size": 0xFFFFFFFF}),
    "local-name": bad_part("agreement", local_name=b"z.py"),
    "local-name-case": bad_part("agreement", local_name=b"A.py"),
    "local-name-length": bad_part("agreement", local={"name_length": 3}),
    # contents
    "crc-wrong": bad_part("crc", both={"crc": 1}),
    "crc-zero": bad_part("crc", both={"crc": 0}),
    "content-changed": bad_part("crc", method=STORED, raw=TEXT[:-1] + b"!"),
    "stored-sizes-differ": bad_part("stored", method=STORED, both={"size": len(TEXT) + 1}),
    "deflate-noise": bad_part("deflate", raw=b"\xff" * 30),
    "deflate-empty": bad_part("deflate", raw=b""),
    "deflate-cut": bad_part("deflate", raw=RAW[:-1]),
    "deflate-unfinished": bad_part("deflate", raw=SYNCED),
    "deflate-byte-behind": bad_part("deflate", raw=RAW + b"\0"),
    "deflate-megabyte-behind": bad_part("deflate", raw=RAW + noise(1 << 20)),
    "deflate-two-streams": bad_part("deflate", raw=RAW + RAW),
    "deflate-zlib-wrapper": bad_part("deflate", raw=zlib.compress(TEXT)),
    "stored-as-deflated": bad_part("deflate", raw=TEXT),
    "size-too-low": bad_part("size", both={"size": len(TEXT) - 1}),
    "size-too-high": bad_part("size", both={"size": len(TEXT) + 1}),
    "size-zero": bad_part("size", both={"size": 0}),
    "bomb": bad_part("size", raw=deflated(bytes(1 << 24)), both={"size": 1000}),
}
