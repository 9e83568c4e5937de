"""The sources companion: what bytecode replaced, kept apart from the package it belongs to.

A companion is a zip as strict and deterministic as a package. Its `companion.json` says which
package it belongs to; the sources lie below `sources/` under their paths in the package.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from lambdaslim.archive import Package
from lambdaslim.errors import CompanionError
from lambdaslim.pipeline import Change, Result
from lambdaslim.scanner import StrPath, scan_zip
from lambdaslim.tree import Entry, Tree

#: Grows when a reader of the old layout would misread the new one.
VERSION = 1
_FORMAT = "lambdaslim sources companion"
_MANIFEST = "companion.json"
_SOURCES = "sources/"
_SHA256_SIZE = 32


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
    """

    content_digest: str
    sha256: str | None
    runtime: str
    root: str
    sources: Tree
    kept: frozenset[str]

    @classmethod
    def of(cls, result: Result, package: Package, *, runtime: str, root: str) -> Companion:
        """Return the companion of a package that was written from `result.after`."""
        return cls(
            content_digest=package.content_digest,
            sha256=package.sha256,
            runtime=runtime,
            root=root.rstrip("/"),
            sources=Tree(one.original for one in result.changes if one.original and _promotes(one)),
            kept=frozenset(path for path in result.after if path.endswith(".py")),
        )

    @classmethod
    def read(cls, path: StrPath) -> Companion:
        """Read a companion from its zip.

        Raises:
            ScanError: it is no zip, or cannot be read.
            CompanionError: it is another zip, or a companion of another version.
        """
        tree = scan_zip(path)
        try:
            manifest = _checked(json.loads(tree[_MANIFEST].read()))
        except (KeyError, TypeError, ValueError) as error:
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
        }
        described = Entry.of(_MANIFEST, json.dumps(manifest, indent=1) + "\n")
        moved = (entry.moved(f"{_SOURCES}{path}") for path, entry in self.sources.items())
        return Tree([described, *moved])

    def demand(self, digest: str) -> None:
        """Raise `CompanionError` unless `digest` is that of the package.

        Args:
            digest: a content digest or SHA-256 in hex, or Lambda's CodeSha256 (base64).
        """
        known = {self.content_digest}
        if self.sha256 is not None:
            code = base64.b64encode(bytes.fromhex(self.sha256)).decode("ascii")
            known |= {self.sha256, code}
        if digest not in known:
            raise CompanionError(
                f"the companion belongs to another package (content digest {self.content_digest})",
                where=digest,
                fix="give the companion that was written with this package",
            )


def _checked(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest; raise `KeyError`, `TypeError` or `ValueError` if it is none of ours."""
    if (manifest["format"], manifest["version"]) != (_FORMAT, VERSION):
        raise ValueError(manifest["version"])
    texts = [manifest[key] for key in ("content_digest", "runtime", "root")] + [*manifest["kept"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(texts)
    if manifest["sha256"] is not None and len(bytes.fromhex(manifest["sha256"])) != _SHA256_SIZE:
        raise ValueError(manifest["sha256"])
    return manifest


def _promotes(change: Change) -> bool:
    """Tell whether a change put bytecode in the place of a source."""
    return change.path.endswith(".py") and change.new_path == f"{change.path}c"
