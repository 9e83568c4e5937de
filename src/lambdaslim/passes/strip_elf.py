"""Take out of programs and shared libraries what no loader reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from lambdaslim import elf, elfstrip
from lambdaslim.elfstrip import Stripped
from lambdaslim.errors import UsageError
from lambdaslim.findings import Finding
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Entry, Keep, Replace, Tree

_SMALLEST = 64
# Opening a file takes longer than looking at its name, and most files of a tree are these, which
# Python reads as what their names say.
_NEVER = (".py", ".pyi", ".pyc")
# Files that hold a checksum of the library beside them, which it compares with itself: NSS has
# ".chk", libgcrypt, GnuTLS and others the two of HMACs, OpenSSL its configuration.
_CHECKSUMS = ("{stem}.chk", "{name}.hmac", ".{name}.hmac")
_OPENSSL, _OPENSSL_CHECKSUM = "fips.so", "fipsmodule.cnf"
# Less is not worth a line in the report.
_REPORTED = 64 * 1024
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class StripElf:
    """Drop the sections of ELF files that are in no segment: symbols, debugging information, notes.

    Every loaded byte, and whatever the loader is told of it, stays what it is; a file for which
    that cannot be proved stays as it was.

    Attributes:
        holes: what to do where such a section lies between two segments. "close" moves the segments
            behind it to the front of the file, in whole pages; in memory they stay where they are.
            "zero" leaves the program headers alone and writes zeros over the section, which makes
            the zip smaller and not the file.

    Raises:
        UsageError: another value of `holes`.
    """

    name: ClassVar[str] = "strip-elf"
    holes: Literal["zero", "close"] = "close"

    def __post_init__(self) -> None:
        """Refuse an unknown way."""
        if self.holes not in ("zero", "close"):
            raise UsageError("is no way with holes", where=self.holes, fix="choose zero or close")

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:  # noqa: ARG002 - contract
        """Yield a replacement per file that becomes smaller, and what was noticed in the others."""
        entries = [entry for entry in tree.values() if _is_elf(entry)]
        sizes = Counter(entry.size for entry in entries)
        copies: dict[str, list[Entry]] = {}
        holes: dict[str, int] = {}
        for entry in entries:
            data = entry.read()
            if sizes[entry.size] > 1:
                copies.setdefault(hashlib.sha256(data).hexdigest(), []).append(entry)
            outcome = self._strip(data)
            del data  # one large file is in memory at a time
            holes[entry.path] = outcome.holes
            if checksum := _checksum(entry, tree):
                yield Keep(entry.path, f"{checksum} may hold a checksum of it")
            elif outcome.left is not None:
                yield Keep(entry.path, outcome.left)
            elif outcome.parts:
                new = _smaller(entry, outcome.parts)
                yield Replace(entry.path, new, "without what no loader reads")
        yield from _report_holes(holes)
        yield from _report_copies(copies.values())

    def stripped(self, entry: Entry) -> Entry:
        """Return a file as this pass leaves it, should nothing beside it be against that."""
        outcome = self._strip(entry.read()) if _is_elf(entry) else None
        return _smaller(entry, outcome.parts) if outcome and outcome.parts else entry

    def _strip(self, data: bytes) -> elfstrip.Outcome:
        return elfstrip.strip(data, close=self.holes == "close")


def _is_elf(entry: Entry) -> bool:
    if entry.size < _SMALLEST or entry.path.endswith(_NEVER):
        return False
    return entry.head(len(elf.MAGIC)) == elf.MAGIC


def _smaller(entry: Entry, parts: tuple[elfstrip.Part, ...]) -> Entry:
    content = Stripped(entry.content, parts)
    return replace(entry, size=content.size, content=content)


def _checksum(entry: Entry, tree: Tree) -> str | None:
    """Return the file of the same directory that has a checksum of a library, if there is one."""
    stem, prefix = entry.name.partition(".so")[0], f"{entry.parent}/".lstrip("/")
    names = [one.format(name=entry.name, stem=stem) for one in _CHECKSUMS]
    if entry.name == _OPENSSL:
        return next((p for p in tree if p.rpartition("/")[2] == _OPENSSL_CHECKSUM), None)
    return next((f"{prefix}{name}" for name in names if f"{prefix}{name}" in tree), None)


def _report_holes(holes: dict[str, int]) -> Iterator[Finding]:
    total = sum(holes.values())
    if total >= _REPORTED:
        worst = sorted((path for path in holes if holes[path]), key=lambda path: -holes[path])
        shown = ", ".join(f"{path} ({holes[path]:,})" for path in worst[:_SHOWN])
        message = f"{len(worst)} native files hold {total:,} bytes of nothing: {shown}"
        yield Finding("elf-holes", message + (", ..." if len(worst) > _SHOWN else ""), worst[0])


def _report_copies(groups: Iterable[Sequence[Entry]]) -> Iterator[Finding]:
    for same in groups:
        wasted = (len(same) - 1) * same[0].size
        if wasted >= _REPORTED:
            paths = ", ".join(entry.path for entry in same)
            message = f"{wasted:,} bytes are copies of one native file: {paths}"
            yield Finding("elf-duplicate-library", message, same[0].path)
