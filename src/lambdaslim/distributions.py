"""Who owns which path and requires what: computed once, from the scanned tree."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lambdaslim.findings import Finding
from lambdaslim.tree import Tree

_METADATA = re.compile(r"\.(?:dist-info|egg-info)$")
_CACHED = re.compile(r"^(?:(.*)/)?__pycache__/([^/]+?)\.[^/.]+(?:\.opt-[^/.]+)?\.pyc$")
# Real headers are a few kB; parsing ten thousand times as much would take minutes.
_MOST_HEADERS = 1 << 20
_MOVED = re.compile(r"(?:\.\./)+((?:bin|Scripts)/[^/]+|(?:share|etc|include)/.+)$")
_TAG = re.compile(r"(?m)^Tag:[ \t]*(\S+)")
_LEADING_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def metadata_headers(data: bytes) -> bytes:
    """Return METADATA (or PKG-INFO) cut to its header lines, without any description.

    The result ends with one newline and is cut to itself. Bytes that hold no header give b"".
    """
    kept: list[bytes] = []
    description = False
    for line in data.replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            break
        if not line[:1].isspace():
            if b":" not in line:
                break
            # Metadata before 2.1 may hold the README as a folded header.
            description = line[:12].lower() == b"description:"
        if not description:
            kept.append(line)
    return b"\n".join(kept) + b"\n" if kept else b""


def source_of(path: str) -> str | None:
    """Return the `.py` of a bytecode path, PEP 3147 or legacy, or None for other paths.

    >>> source_of("a/__pycache__/b.cpython-313.opt-1.pyc"), source_of("a/b.pyc")
    ('a/b.py', 'a/b.py')
    """
    if match := _CACHED.match(path):
        return posixpath.join(match[1] or "", f"{match[2]}.py")
    cached = "__pycache__" in path.split("/")
    return path[:-1] if path.endswith(".pyc") and not cached else None


def cache_of(path: str, tag: str) -> str:
    """Return where the interpreter with this cache tag looks for the bytecode of a `.py`.

    >>> cache_of("a/b.py", "cpython-313")
    'a/__pycache__/b.cpython-313.pyc'
    """
    directory, name = posixpath.split(path)
    return posixpath.join(directory, "__pycache__", f"{name.removesuffix('.py')}.{tag}.pyc")


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution.

    Attributes:
        name: normalised name (PEP 503).
        version: as METADATA states it, or None when it states none that is legal.
        root: the directory it is installed in, "" for the top of the tree.
        metadata: the path of its `*.dist-info` or `*.egg-info`.
        files: every path of the tree that it owns, metadata and cached bytecode included, in order.
        recorded: whether a RECORD said so; else the owned files were found by import names.
        requires: its requirements (all extras).
        malformed: requirement lines that cannot be parsed.
        tags: the wheel tags that its WHEEL states, like "cp311-abi3-manylinux_2_17_x86_64"; none
            when it was no wheel, or an earlier slimming has removed that file.
    """

    name: str
    version: str | None
    root: str
    metadata: str
    files: tuple[str, ...]
    recorded: bool
    requires: tuple[Requirement, ...]
    malformed: tuple[str, ...]
    tags: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name and version, for reports."""
        return f"{self.name} {self.version or '(unknown version)'}"


class Distributions(Mapping[str, Distribution]):
    """All distributions of a tree by normalised name, and who owns each path.

    Distributions that another one has vendored (metadata that a RECORD of an outer distribution
    lists, or that lies inside a regular package) are part of that other one and not listed. Of
    several copies of one distribution, the name leads to the newest; `every` has them all.
    """

    def __init__(self, found: Iterable[Distribution], findings: Iterable[Finding] = ()) -> None:
        """Index distributions by name and owned path."""
        #: Every distribution, copies of one included, sorted by name and version.
        self.every = tuple(sorted(found, key=_by_version))
        self._by_name = {one.name: one for one in self.every}
        #: What was wrong with the metadata.
        self.findings = tuple(findings)

    @classmethod
    def read(cls, tree: Tree) -> Distributions:
        """Read the metadata of every distribution in `tree`; malformed ones become findings."""
        readers = [_Reader(tree, directory) for directory in _metadata_places(tree)]
        findings = [finding for reader in readers for finding in reader.findings()]
        found: list[Distribution] = []
        taken: set[str] = set()
        for reader in readers:
            if reader.anchor not in taken:
                distribution = reader.distribution()
                taken.update(distribution.files)
                found.append(distribution)
        if not found:
            message = "no distribution metadata (*.dist-info): ownership of the files is unknown"
            findings.append(Finding("metadata-absent", message))
        return cls(found, findings)

    def __getitem__(self, name: str) -> Distribution:
        """Return a distribution by name, normalised or not."""
        return self._by_name[canonicalize_name(name)]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the normalised names, in order."""
        return iter(self._by_name)

    def __len__(self) -> int:
        """Return the number of distributions."""
        return len(self._by_name)

    def copies(self, name: str) -> tuple[Distribution, ...]:
        """Return every copy of a distribution, by its normalised name."""
        return tuple(one for one in self.every if one.name == name)

    @cached_property
    def owners(self) -> Mapping[str, tuple[Distribution, ...]]:
        """The distributions that own each owned path (several share a namespace's files)."""
        found: dict[str, tuple[Distribution, ...]] = {}
        for distribution in self.every:
            for path in distribution.files:
                found[path] = (*found.get(path, ()), distribution)
        return found

    def owners_of(self, path: str) -> tuple[Distribution, ...]:
        """Return who owns a path; bytecode that a pass put somewhere belongs with its source."""
        return self.owners.get(path) or self.owners.get(source_of(path) or path, ())

    def owner(self, path: str) -> Distribution | None:
        """Return the (first) distribution that owns a path; None for the user's own files."""
        return next(iter(self.owners_of(path)), None)


def _by_version(distribution: Distribution) -> tuple[str, Version, str]:
    version = Version(distribution.version or "0.dev0")
    return distribution.name, version, distribution.metadata


def _metadata_places(tree: Tree) -> list[str]:
    """Return the metadata directories (and single egg-info files), outermost first.

    Those inside another one, or inside a regular package, are no installed distributions.
    """
    files = (path for path in tree if path.endswith(".egg-info"))
    found = [place for place in (*tree.directories, *files) if _METADATA.search(place)]
    outer = [
        place
        for place in found
        if not any(_METADATA.search(above) or _is_package(above, tree) for above in _above(place))
    ]
    return sorted(outer, key=lambda place: (place.count("/"), place))


def _is_package(directory: str, tree: Tree) -> bool:
    return f"{directory}/__init__.py" in tree or f"{directory}/__init__.pyc" in tree


def _above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


class _Texts(importlib.metadata.Distribution):
    """The standard library's view of a metadata directory of a tree (it knows requires.txt)."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def read_text(self, filename: str) -> str | None:
        data = self._reader.read(filename)
        if filename in ("METADATA", "PKG-INFO"):
            data = metadata_headers(data)[:_MOST_HEADERS]
        return data.decode("utf-8", "replace") if data else None

    def locate_file(self, path: object) -> object:  # type: ignore[override]
        return path


class _Reader:
    """Reads one metadata directory of a tree."""

    def __init__(self, tree: Tree, directory: str) -> None:
        self.tree = tree
        self.directory = directory
        self.root = posixpath.dirname(directory)
        #: The metadata's files. Who owns the first has vendored this distribution.
        self.files = tree.under(directory) or (directory,)
        self.anchor = self.files[0]
        self._bad_rows: list[str] = []
        self._outside: list[str] = []

    def read(self, name: str) -> bytes:
        # A single egg-info file is its own PKG-INFO.
        single = self.directory in self.tree and name == "PKG-INFO"
        path = self.directory if single else f"{self.directory}/{name}"
        return self.tree[path].read() if path in self.tree else b""

    @cached_property
    def _texts(self) -> _Texts:
        return _Texts(self)

    @cached_property
    def _name_and_version(self) -> tuple[str, str | None]:
        """Name and version by METADATA, else by the name of the directory."""
        stem = posixpath.basename(self.directory).rpartition(".")[0]
        guessed, _, rest = stem.partition("-")
        headers = self._texts.metadata
        # PackageMetadata has no get(), whatever class implements it.
        name = headers["Name"] if "Name" in headers else guessed  # noqa: SIM401
        version = headers["Version"] if "Version" in headers else rest.partition("-py")[0]
        try:
            return canonicalize_name(name), str(Version(version))
        except InvalidVersion:
            return canonicalize_name(name), None

    @cached_property
    def _headers(self) -> bytes:
        return metadata_headers(self.read("METADATA") or self.read("PKG-INFO"))

    @cached_property
    def _recorded(self) -> frozenset[str] | None:
        """Paths of the tree that RECORD or installed-files.txt lists, or None without either."""
        if text := self.read("RECORD").decode("utf-8", "replace"):
            return self._inside(self._rows(text), self.root)
        if text := self.read("installed-files.txt").decode("utf-8", "replace"):
            return self._inside(((line, "") for line in text.splitlines()), self.directory)
        return None

    def _rows(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the path and the hash of each row."""
        try:
            lines = io.StringIO(text, newline="")
            yield from (
                (row[0], row[1] if row[1:] else "") for row in csv.reader(lines, strict=True) if row
            )
        except csv.Error as error:
            self._bad_rows.append(str(error))

    def _inside(self, rows: Iterable[tuple[str, str]], base: str) -> frozenset[str]:
        """Resolve recorded paths; those that leave the tree are never acted on."""
        found: set[str] = set()
        for row, digest in rows:
            path = posixpath.normpath(posixpath.join(base, self._local(row, digest, base)))
            if path.startswith(("/", "../")):
                self._outside.append(row)
            elif path in self.tree:
                found.add(path)
        return frozenset(found)

    def _local(self, row: str, digest: str, base: str) -> str:
        """Return where a recorded file is: with --target, pip moves scripts and data into the tree.

        The hash tells that a file there is the recorded one and not the user's.
        """
        row = row.replace("\\", "/")
        match = _MOVED.match(row)
        moved = posixpath.join(base, match[1]) if match else ""
        if not match or moved not in self.tree:
            return row
        content = hashlib.sha256(self.tree[moved].read()).digest()
        same = base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
        return match[1] if digest == f"sha256={same}" else row

    def _named(self) -> Iterator[str]:
        """Yield the files of the import packages, by top_level.txt or by the name."""
        lines = self.read("top_level.txt").decode("utf-8", "replace").split()
        names = lines or [self._name_and_version[0].replace("-", "_")]
        for name in filter(None, names):
            place = posixpath.join(self.root, name)
            yield from self.tree.under(place)
            yield from (path for path in (f"{place}.py", f"{place}.pyc") if path in self.tree)
            yield from self.tree.under(f"{place}.libs")

    def _cached_bytecode(self, owned: frozenset[str]) -> Iterator[str]:
        """Yield caches beside owned sources: not every installer records them."""
        for directory in {posixpath.dirname(path) for path in owned}:
            for path in self.tree.under(posixpath.join(directory, "__pycache__")):
                if source_of(path) in owned:
                    yield path

    def _requirements(self) -> Iterator[Requirement | str]:
        lines = (self._texts.requires if self._headers or self.read("requires.txt") else None) or ()
        for line in lines:
            try:
                yield Requirement(line)
            except InvalidRequirement:
                yield line

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with this directory."""
        recorded = self._recorded
        label = posixpath.basename(self.directory)
        if not self._headers:
            message = f"{label} states no name or version"
            yield Finding("metadata-malformed", message, self.directory)
        if len(self._headers) > _MOST_HEADERS:
            message = f"{label} has {len(self._headers):,} bytes of headers; the rest is not read"
            yield Finding("metadata-malformed", message, self.directory)
        for why in self._bad_rows:
            yield Finding("metadata-malformed", f"RECORD of {label}: {why}", self.directory)
        # Scripts and man pages are recorded two levels up, where wheels put them.
        strange = [row for row in self._outside if not row.startswith("../../")]
        strange += [row for row in self._outside if row.startswith("../../../")]
        if strange and recorded is not None:
            message = f"RECORD of {label} names {strange[0]}, outside the tree; ignored"
            yield Finding("metadata-outside", message, self.directory)

    def distribution(self) -> Distribution:
        name, version = self._name_and_version
        recorded = self._recorded
        owned = frozenset(self._named() if recorded is None else recorded)
        owned |= frozenset(self.files)
        requirements = list(self._requirements())
        return Distribution(
            name=name,
            version=version,
            root=self.root,
            metadata=self.directory,
            files=tuple(sorted(owned | frozenset(self._cached_bytecode(owned)))),
            recorded=recorded is not None,
            requires=tuple(r for r in requirements if isinstance(r, Requirement)),
            malformed=tuple(r for r in requirements if isinstance(r, str)),
            tags=tuple(_TAG.findall(self.read("WHEEL").decode("utf-8", "replace"))),
        )


def required_name(line: str) -> str | None:
    """Return the normalised name that a requirement line, even a malformed one, begins with."""
    match = _LEADING_NAME.match(line.strip())
    return canonicalize_name(match[0]) if match else None


def normalised(name: str) -> str:
    """Return a distribution's name as PEP 503 normalises it."""
    return canonicalize_name(name)
