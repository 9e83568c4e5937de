"""Compress gzip files again, better, to the same content."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from string import hexdigits
from typing import ClassVar

from lambdaslim.cache import Cache, code_version
from lambdaslim.compressors import Compressor, compressor
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Bytes, Decision, Entry, Keep, Replace, Tree

_SUFFIXES = (".gz", ".tgz", ".svgz")
# RFC 1952: two bytes of magic, the method (8 is deflate), flags, time, extra flags, system.
_HEAD = b"\x1f\x8b\x08"
_HEAD_SIZE, _TAIL_SIZE = 10, 8
# Flags: a text, a name. All others are left alone.
_NAME, _PLAIN_FLAGS = 8, 1 | 8
# A plain header: no time, no flags, an unknown system (255), as zlib's own for "no metadata".
_PLAIN = _HEAD + b"\0\0\0\0\0\0\xff"
# Bytes of content that one file may unfold to, of what is held in memory for all files, and of a
# text that digests are looked for in.
_LARGEST, _MOST, _TEXT = 1 << 26, 1 << 27, 1 << 23
# Python's interpreter lock is let go of for all of the work; more threads would hold more content.
_THREADS = 4
_DIGESTS = ("md5", "sha1", "sha256", "sha512")
_HEX = re.compile(rb"(?<![0-9A-Za-z])[0-9a-fA-F]{32,128}(?![0-9A-Za-z])")
# Hexadecimal digits become zeros and all else spaces; the shortest digest is then this.
_HEX_ONLY = bytes(48 if chr(one) in hexdigits else 32 for one in range(256))
_SHORTEST = b"0" * 32
_NO_TEXT = (".gz", ".so", ".pyc", ".png", ".jpg", ".npy", ".npz", ".parquet", ".whl", ".zip")


@dataclass(frozen=True, slots=True)
class RecompressGzip:
    """Replace `.gz`, `.tgz` and `.svgz` files by smaller ones of the same content.

    The header becomes a plain one, without a time and a name. A file stays if it is no single gzip
    stream and nothing else, if its header has more than a name, if nothing is saved, or if a file
    of the same owner holds a digest of it.

    Attributes:
        compression: how to compress, see `compressors.compressor`: "zlib", "max", ...

    Raises:
        UsageError: an unknown compressor.
        MissingExtraError: the compressor's package is not installed.
    """

    name: ClassVar[str] = "recompress-gzip"
    compression: str = "zlib"

    def __post_init__(self) -> None:
        """Refuse an unknown compressor."""
        compressor(self.compression)

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a replacement per file that gets smaller, and a `Keep` per one that is checked."""
        found = [entry for path, entry in tree.items() if path.endswith(_SUFFIXES)]
        compress = compressor(self.compression)
        checked = _checked(found, tree, context)
        held = 0
        for entry, data in _smaller(found, compress, context.cache):
            if why := checked.get(entry.path):
                yield Keep(entry.path, why)
                continue
            held += len(data)
            content = Bytes(data) if held <= _MOST else _Again(entry, compress)
            new = Entry(entry.path, len(data), entry.executable, content)
            yield Replace(entry.path, new, "the same content, compressed better")


def recompressed(data: bytes, compress: Compressor) -> bytes | None:
    """Return a gzip file of the same content, or None if it is not smaller or not to be changed."""
    start = _start(data)
    content = _content(data, start) if start else None
    if content is None:
        return None
    stream = compress(content)
    tail = struct.pack("<II", zlib.crc32(content), len(content))
    if len(_PLAIN) + len(stream) + len(tail) >= len(data):
        return None
    if _inflated(stream) != (content, b""):  # a compressor that cannot be trusted
        return None
    return _PLAIN + stream + tail


@dataclass(frozen=True, slots=True)
class _Again:
    """Content that is compressed when it is read, where holding all would take too much memory."""

    entry: Entry
    compress: Compressor

    def read(self) -> bytes:
        """Return the smaller file."""
        data = self.entry.read()
        return recompressed(data, self.compress) or data


def _smaller(
    entries: Iterable[Entry], compress: Compressor, cache: Cache
) -> Iterator[tuple[Entry, bytes]]:
    """Yield the files that get smaller, in order, with their new bytes."""
    pending: deque[tuple[Entry, Future[bytes | None]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for entry in entries:
            pending.append((entry, pool.submit(_one, entry, compress, cache)))
            if len(pending) > 2 * _THREADS:
                yield from _done(pending.popleft())
        while pending:
            yield from _done(pending.popleft())


def _one(entry: Entry, compress: Compressor, cache: Cache) -> bytes | None:
    data = entry.read()
    if not cache:
        return recompressed(data, compress)
    key = f"{hashlib.sha256(data).hexdigest()} {compress.name} {code_version(__file__)}"
    return cache.once("gzip", key, lambda: recompressed(data, compress) or b"") or None


def _done(job: tuple[Entry, Future[bytes | None]]) -> Iterator[tuple[Entry, bytes]]:
    data = job[1].result()
    if data is not None:
        yield job[0], data


def _start(data: bytes) -> int:
    """Return where the deflate stream of a gzip file starts, 0 if it is to be left alone.

    An extra field or a comment may mean something to somebody: BGZF, whose readers seek in it,
    has an extra field.
    """
    if data[:3] != _HEAD or len(data) < _HEAD_SIZE + _TAIL_SIZE or data[3] & ~_PLAIN_FLAGS:
        return 0
    if not data[3] & _NAME:
        return _HEAD_SIZE
    return data.find(b"\0", _HEAD_SIZE) + 1


def _content(data: bytes, start: int) -> bytes | None:
    """Return what a gzip file holds, None if it is damaged, too large or followed by anything."""
    found = _inflated(memoryview(data)[start:])
    if found is None or len(found[1]) != _TAIL_SIZE:
        return None
    content, tail = found
    return content if tail == struct.pack("<II", zlib.crc32(content), len(content)) else None


def _inflated(stream: bytes | memoryview) -> tuple[bytes, bytes] | None:
    """Return the content of a deflate stream and what follows it, None if that cannot be."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(stream, _LARGEST)
    except zlib.error:
        return None
    return (content, inflate.unused_data) if inflate.eof else None


def _checked(found: Iterable[Entry], tree: Tree, context: Context) -> dict[str, str]:
    """Return the files of which a text of the same owner, or of the user, holds a digest."""
    by_group: dict[str | None, list[Entry]] = {}
    for entry in found:
        by_group.setdefault(_group(entry.path, context), []).append(entry)
    everything = [entry for entries in by_group.values() for entry in entries]
    digests: dict[str, frozenset[bytes]] = {}
    checked: dict[str, str] = {}
    for path in tree if everything else ():
        group = _group(path, context)
        concerned = everything if group is None else by_group.get(group, [])
        named = _named(tree[path]) if concerned else frozenset()
        for entry in concerned if named else ():
            if entry.path not in digests:
                digests[entry.path] = _digests(entry.read())
            if not named.isdisjoint(digests[entry.path]):
                checked[entry.path] = f"{path} holds a digest of it"
    return checked


def _group(path: str, context: Context) -> str | None:
    owner = context.distributions.owner(path)
    return owner.name if owner else None


def _named(text: Entry) -> frozenset[bytes]:
    """Return what may be digests in a file."""
    if text.path.endswith(_NO_TEXT) or text.size > _TEXT:
        return frozenset()
    data = text.read()
    if _SHORTEST not in data.translate(_HEX_ONLY):  # as nearly always, and soon found out
        return frozenset()
    return frozenset(match[0].lower() for match in _HEX.finditer(data))


def _digests(data: bytes) -> frozenset[bytes]:
    made = (hashlib.new(name, data, usedforsecurity=False) for name in _DIGESTS)
    return frozenset(one.hexdigest().encode() for one in made)
