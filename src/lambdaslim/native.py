"""Native files of a tree: what each is, for what it is made, and what it needs.

Names alone do not tell. A file is an extension module, which the import system loads, if its name
carries a tag of an interpreter or it exports `PyInit_` and its own name. Other native files are
libraries, which only matter when something loads them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lambdaslim import elf
from lambdaslim.elf import ElfFacts, MalformedElfError
from lambdaslim.target import Target
from lambdaslim.tree import Entry, Tree

_NATIVE = re.compile(r"\.(?:so(?:\.\d+)*|pyd|dylib|dll)$")
_MODULE = re.compile(r"(?P<name>[^.]+)(?:\.(?P<tag>[^.]+))?\.(?:so|pyd)$")
_INTERPRETER = re.compile(r"(?:cpython-|cp\d|abi3|pypy|graalpy)")
_CPYTHON = re.compile(r"(?:cpython-|cp)(?P<major>\d)(?P<minor>\d+)(?P<flags>[a-z]*)(?=-|$)")
_FREE_THREADED_STABLE = re.compile(r"abi3t(?=-|$)")
# The stable ABI for free-threaded builds, which ordinary ones load too.
_SINCE_ABI3T = (3, 15)

_MACH_O = {bytes.fromhex(magic) for magic in ("feedface", "feedfacf", "cafebabe")}
_MACH_O |= {magic[::-1] for magic in _MACH_O}
_MACHINES = {3: "i386", 8: "MIPS", 21: "ppc64", 22: "s390x", 40: "32-bit ARM", 243: "RISC-V"}
_MACHINES |= {elf.X86_64: "x86_64", elf.AARCH64: "aarch64"}
_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
# The one version that is named for what it brings: packed relocations, since 2.36.
_NAMED_VERSIONS = {"GLIBC_ABI_DT_RELR": (2, 36)}


@dataclass(frozen=True, slots=True)
class Native:
    """A native file.

    Attributes:
        path: where it lies in the tree.
        module: the path of the module that it is without any suffix; None for libraries.
        tag: the interpreter's tag in its name, "" without one.
        system: "Linux", "macOS" or "Windows"; None if its bytes are of none of them.
        facts: what it says of itself, if it is an ELF file.
        problem: what is wrong with its bytes, if anything.
    """

    path: str
    module: str | None
    tag: str
    system: str | None
    facts: ElfFacts | None = None
    problem: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """The names by which other files can need it."""
        own = posixpath.basename(self.path)
        return frozenset((own, self.facts.soname or own) if self.facts else (own,))

    @property
    def needed(self) -> tuple[str, ...]:
        """The file names of the libraries it must be loaded with."""
        return tuple(map(posixpath.basename, self.facts.needed)) if self.facts else ()

    def foreign(self, target: Target) -> tuple[str, str] | None:
        """Return a code and a clause if it is made for another system or machine."""
        if self.system in ("macOS", "Windows"):
            return "compat-platform", f"made for {self.system}"
        if "musl" in self.tag or any(map(_is_musl, self.needed)):
            return "compat-musl", "made for musl, another C library than Lambda's"
        if self.facts and (machine := _machine(self.facts)) != target.machine:
            return "compat-machine", f"made for {machine}"
        return None

    def other_python(self, target: Target) -> str | None:
        """Return a clause if its name is that of another interpreter's extension module."""
        if match := _CPYTHON.match(self.tag):
            version = int(match["major"]), int(match["minor"])
            if "t" in match["flags"]:
                return "made for free-threaded CPython {}.{}".format(*version)
            return None if version == target.python else "made for CPython {}.{}".format(*version)
        if _FREE_THREADED_STABLE.match(self.tag) and target.python < _SINCE_ABI3T:
            return "made for free-threaded CPython"
        if self.tag.startswith(("pypy", "graalpy")):
            return f"made for {self.tag.partition('-')[0]}"
        return None

    def glibc(self) -> tuple[int, int]:
        """Return the newest version of glibc, (major, minor), that it needs; (0, 0) for none."""
        facts = self.facts
        needs = [name for need in facts.versions for name in need.versions] if facts else []
        return max(map(_glibc_of, needs), default=(0, 0))


def _is_musl(library: str) -> bool:
    return library.startswith(("libc.musl-", "ld-musl-"))


def _machine(facts: ElfFacts) -> str:
    """Name the machine; of ours, a wrong class or byte order makes another one."""
    name = _MACHINES.get(facts.machine, f"machine {facts.machine}")
    if facts.bits == 32 and name in (_MACHINES[elf.X86_64], _MACHINES[elf.AARCH64]):  # noqa: PLR2004
        return f"32-bit {name}"
    return name if facts.little_endian else f"big-endian {name}"


def _glibc_of(version: str) -> tuple[int, int]:
    match = _GLIBC.fullmatch(version)
    return (int(match[1]), int(match[2])) if match else _NAMED_VERSIONS.get(version, (0, 0))


def find(tree: Tree) -> Iterator[Native]:
    """Yield every native file of a tree, in order; each is read once, whole.

    Raises:
        ChangedError: a file of the tree changed since the scan.
    """
    return (_inspect(entry) for path, entry in tree.items() if _NATIVE.search(path))


def _inspect(entry: Entry) -> Native:
    data = entry.read()
    module, tag = _module(entry, data)
    system = _system(data)
    facts: ElfFacts | None = None
    problem: str | None = None
    try:
        facts = elf.read(data)
    except MalformedElfError as error:
        problem = error.what
    if module is not None and system is None:
        system = "Windows" if entry.path.endswith(".pyd") else None
        system = "macOS" if tag.endswith("-darwin") else system
        problem = "is no native file, whatever its name says" if system is None else None
    return Native(entry.path, module, tag, system, facts, problem)


def _module(entry: Entry, data: bytes) -> tuple[str | None, str]:
    """Return the path of the module and the tag, (None, "") for a library."""
    match = _MODULE.match(entry.name)
    if match is None:
        return None, ""
    place = posixpath.join(entry.parent, match["name"])
    tag = match["tag"] or ""
    if _INTERPRETER.match(tag):
        return place, tag
    plain = not tag and (entry.path.endswith(".pyd") or _exports(data, match["name"]))
    return (place if plain else None), ""


def _exports(data: bytes, name: str) -> bool:
    """Tell whether a file has the function that the import system calls (PEP 489)."""
    if name.isascii():
        return b"PyInit_" + name.encode() in data
    return b"PyInitU_" in data


def _system(data: bytes) -> str | None:
    if data[:4] in _MACH_O:
        return "macOS"
    if data[:2] == b"MZ":
        return "Windows"
    return "Linux" if data[:4] == b"\x7fELF" else None
