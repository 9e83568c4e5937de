"""Cut the metadata of distributions to what programs read at run time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from lambdaslim.distributions import metadata_headers
from lambdaslim.errors import UsageError
from lambdaslim.hazards import Hazards
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Entry, Keep, Remove, Replace, Tree

_INSIDE = re.compile(r"(?:^|/)[^/]+\.(?:dist-info|egg-info)(?:/(.+))?$")
_LEGAL = re.compile(
    r"(?i)^sboms/|(?:^|/)(?:licen[cs]es?|copying|notice|authors|copyright)[^/]*(?:/|$)"
)
# A row of RECORD: the first part of a module's path.
_MODULE = re.compile(r"(?m)^\"?([A-Za-z_]\w*)(?:/[^,\"\n]*\.(?:py|so)|\.py|\.[\w-]+\.so|\.so)\"?,")
_LICENCE_FILE = re.compile(rb"(?im)^License-File:(.*)$")
_HEADERS = {"METADATA", "PKG-INFO"}
# What build backends and installers leave for each other. Other files are a distribution's own, and
# code may read them: entry_points.txt, requires.txt and their like among them.
_INSTALLERS = {
    *("RECORD", "RECORD.jws", "RECORD.p7s", "WHEEL", "INSTALLER", "REQUESTED", "direct_url.json"),
    *("uv_cache.json", "uv_build.json", "pbr.json", "metadata.json", "zip-safe", "not-zip-safe"),
    *("SOURCES.txt", "dependency_links.txt", "installed-files.txt", "DESCRIPTION.rst"),
    *("pylock.toml", "origin.json", "provenance_url.json"),
}


@dataclass(frozen=True, slots=True)
class StripMetadata:
    """Remove `*.dist-info` and `*.egg-info`, whole or but for what programs and auditors read.

    Attributes:
        keep: "none" removes the directories, but for those that code of the tree asks for, which
            it treats as "minimal". "minimal" keeps METADATA (or PKG-INFO) cut to its
            header lines, entry_points.txt, top_level.txt (made from RECORD where there is none),
            licences and SBOMs, which is enough for
            importlib.metadata, entry points, and vulnerability scanners. "all" removes nothing.

    Raises:
        UsageError: another value of `keep`.
    """

    name: ClassVar[str] = "strip-metadata"
    keep: Literal["none", "minimal", "all"] = "minimal"

    def __post_init__(self) -> None:
        """Refuse an unknown level."""
        if self.keep not in ("none", "minimal", "all"):
            raise UsageError(
                "is no level of metadata", where=self.keep, fix="choose none, minimal or all"
            )

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield an edit for every metadata file that is cut or removed."""
        if self.keep == "all":
            return
        hazards = context.scan(tree)
        parts = hazards.metadata_parts if hazards else {}
        needed = self._needed(hazards, context)
        yield from (Keep(place, why) for place, why in needed.items())
        found = {path: match[1] for path in tree if (match := _INSIDE.search(path))}
        named = _licence_files(tree, found)
        for path, inside in found.items():
            if path in parts:
                yield Keep(path, parts[path])
            elif self.keep == "none" and not any(path.startswith(place) for place in needed):
                yield Remove(path, "metadata of a distribution")
            # An egg-info may be a single file, which then is the PKG-INFO itself.
            elif inside is None or inside in _HEADERS:
                yield from _cut(tree[path])
            elif inside == "RECORD" and _beside(path, "top_level.txt") not in tree:
                yield _named_in(tree[path])
            elif inside in _INSTALLERS and not (_LEGAL.search(inside) or path in named):
                yield Remove(path, "metadata that only installers read")

    def _needed(self, hazards: Hazards | None, context: Context) -> dict[str, str]:
        """Return the metadata directories that code asks for, if they were all to go."""
        if hazards is None or self.keep != "none":
            return {}
        found = ((one.metadata, hazards.metadata(one)) for one in context.distributions.every)
        return {place: why for place, why in found if why is not None}


def _beside(path: str, name: str) -> str:
    return f"{path.rpartition('/')[0]}/{name}"


def _named_in(record: Entry) -> Decision:
    """Cut a RECORD to the import names in it, which packages_distributions() looks for there."""
    first = {match[1] for match in _MODULE.finditer(record.read().decode("utf-8", "replace"))}
    if not first:
        return Remove(record.path, "metadata that only installers read")
    names = "".join(f"{name}\n" for name in sorted(first))
    top_level = Entry.of(_beside(record.path, "top_level.txt"), names)
    return Replace(record.path, top_level, "the import names, of all that installers recorded")


def _licence_files(tree: Tree, found: Iterable[str]) -> frozenset[str]:
    """Return the files that a License-File header names, wherever installers put them."""
    headers = {path: tree[path].read() for path in found if path.rpartition("/")[2] in _HEADERS}
    return frozenset(
        f"{path.rpartition('/')[0]}/{place}{match[1].decode('utf-8', 'replace').strip()}"
        for path, data in headers.items()
        for match in _LICENCE_FILE.finditer(metadata_headers(data))
        for place in ("", "licenses/")
    )


def _cut(entry: Entry) -> Iterator[Decision]:
    data = entry.read()
    headers = metadata_headers(data)
    # Without a header there is nothing that we understand, so nothing is cut.
    if headers and headers != data and len(headers) <= len(data):
        shorter = Entry.of(entry.path, headers, executable=entry.executable)
        yield Replace(entry.path, shorter, "metadata without its description")
