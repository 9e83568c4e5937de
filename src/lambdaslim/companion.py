"""The sources companion: what bytecode replaced, kept apart from the package it belongs to.

A companion is a zip as strict and deterministic as a package. Its `companion.json` says which
package it belongs to; the sources lie below `sources/` under their paths in the package.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambdaslim.archive import Package
from lambdaslim.distributions import source_of
from lambdaslim.errors import CompanionError
from lambdaslim.pipeline import Result
from lambdaslim.scanner import StrPath, scan_zip
from lambdaslim.tree import Entry, Tree

#: Grows when a reader of the old layout would misread the new one.
VERSION = 1
_FORMAT = "lambdaslim sources companion"
_MANIFEST = "companion.json"
_SOURCES = "sources/"
_SHA256_SIZE = 32
# Bytes of a file; a source that large takes a compiler minutes, and what is read here is not ours.
_LARGEST = 1 << 27
_DIGEST = re.compile(r"[0-9a-fA-F]{64}|[A-Za-z0-9+/]{43}=")


@dataclass(frozen=True, slots=True)
class Companion:
    """The sources of one package.

    Attributes:
        content_digest: the package's, see `Package`.
        sha256: SHA-256 (hex) of the package's zip; None for a directory.
        runtime: the runtime that the package is for.
        root: where the package is unpacked, like "/var/task".
        sources: the removed sources by their path in the package.
        kept: paths of the sources that are in the package itself.
        sourceless: paths of sources that were gone before: their bytecode came without them.
    """

    content_digest: str
    sha256: str | None
    runtime: str
    root: str
    sources: Tree
    kept: frozenset[str]
    sourceless: frozenset[str] = frozenset()

    @classmethod
    def of(cls, result: Result, package: Package, *, runtime: str, root: str) -> Companion:
        """Return the companion of a package that was written from `result.after`."""
        sources = removed_sources(result)
        compiled = (source_of(path) for path in result.after if "__pycache__" not in path)
        legacy = {path for path in compiled if path is not None}
        kept = frozenset(path for path in result.after if path.endswith(".py"))
        return cls(
            content_digest=package.content_digest,
            sha256=package.sha256,
            runtime=runtime,
            root=root.rstrip("/"),
            sources=sources,
            kept=kept,
            sourceless=frozenset(legacy - kept - set(sources)),
        )

    @classmethod
    def read(cls, path: StrPath) -> Companion:
        """Read a companion from its zip.

        Raises:
            ScanError: it is no zip, or cannot be read.
            CompanionError: no such file, or it is another zip, or a companion of another version.
        """
        if not Path(path).is_file():
            fix = "give the zip that --sources wrote"
            raise CompanionError("is no file", where=str(path), fix=fix)
        tree = scan_zip(path)
        for entry in tree.values():
            if entry.size > _LARGEST:
                what, fix = f"holds a file of {entry.size:,} bytes", "it is no companion of ours"
                raise CompanionError(what, where=str(path), fix=fix)
        try:
            manifest = _checked(json.loads(tree[_MANIFEST].read()))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CompanionError(
                f"is no sources companion of version {VERSION}",
                where=str(path),
                fix="give the zip that --sources wrote beside the package",
            ) from error
        sources = (tree[one].moved(one.removeprefix(_SOURCES)) for one in tree.under("sources"))
        return cls(
            content_digest=manifest["content_digest"],
            sha256=manifest["sha256"],
            runtime=manifest["runtime"],
            root=manifest["root"],
            sources=Tree(sources),
            kept=frozenset(manifest["kept"]),
            sourceless=frozenset(manifest["sourceless"]),
        )

    def tree(self) -> Tree:
        """Return the files of the companion's zip."""
        manifest = {
            "format": _FORMAT,
            "version": VERSION,
            "content_digest": self.content_digest,
            "sha256": self.sha256,
            "runtime": self.runtime,
            "root": self.root,
            "kept": sorted(self.kept),
            "sourceless": sorted(self.sourceless),
        }
        described = Entry.of(_MANIFEST, json.dumps(manifest, indent=1) + "\n")
        moved = (entry.moved(f"{_SOURCES}{path}") for path, entry in self.sources.items())
        return Tree([described, *moved])

    def demand(self, digest: str) -> None:
        """Raise `CompanionError` unless `digest` is that of the package.

        Args:
            digest: a content digest or SHA-256 in hex, or Lambda's CodeSha256 (base64).
        """
        if not _DIGEST.fullmatch(digest):
            fix = "give a SHA-256 in hex, or Lambda's CodeSha256"
            raise CompanionError("is no digest of a package", where=digest or "''", fix=fix)
        known = {self.content_digest}
        if self.sha256 is not None:
            code = base64.b64encode(bytes.fromhex(self.sha256)).decode("ascii")
            known |= {self.sha256, code}
        if digest not in known and digest.lower() not in known:
            raise CompanionError(
                "is the digest of another package than the companion's, whose content digest is "
                f"{self.content_digest}",
                where=digest,
                fix="give the companion that was written with this package",
            )


def _checked(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest; raise `KeyError`, `TypeError` or `ValueError` if it is none of ours."""
    if (manifest["format"], manifest["version"]) != (_FORMAT, VERSION):
        raise ValueError(manifest["version"])
    texts = [manifest[key] for key in ("content_digest", "runtime", "root")]
    texts += [*manifest["kept"], *manifest["sourceless"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(texts)
    if manifest["sha256"] is not None and len(bytes.fromhex(manifest["sha256"])) != _SHA256_SIZE:
        raise ValueError(manifest["sha256"])
    return manifest


def removed_sources(result: Result) -> Tree:
    """Return the sources that bytecode has taken the place of.

    That is what was compiled, or what was there before all passes, if they only blanked lines of it
    such as those of docstrings.
    """
    changes = (one for one in result.changes if one.new_path == f"{one.path}c")
    gone = ((p, one.original) for one in changes if (p := one.path).endswith(".py"))
    return Tree(_whole(result.before.get(path), last) for path, last in gone if last is not None)


def _whole(first: Entry | None, last: Entry) -> Entry:
    """Return the first of two states of a source if its lines are at the same places in it."""
    if first is None or first is last:
        return last
    before, after = first.read().split(b"\n"), last.read().split(b"\n")
    same = len(before) == len(after) and all(
        new in (b"", old) or new.strip() == b"pass" for old, new in zip(before, after, strict=True)
    )
    return first if same else last
