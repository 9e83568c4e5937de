"""Cut the metadata of distributions to what programs read at run time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from lambdaslim.distributions import metadata_headers
from lambdaslim.errors import UsageError
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Entry, Remove, Replace, Tree

_INSIDE = re.compile(r"(?:^|/)[^/]+\.(?:dist-info|egg-info)(?:/(.+))?$")
_LEGAL = re.compile(r"(?i)(?:^|/)(?:licen[cs]es?|copying|notice|authors|copyright)[^/]*(?:/|$)")
_HEADERS = {"METADATA", "PKG-INFO"}
# What importlib.metadata and pkg_resources ask for at run time. requires.txt states, for an
# egg-info, what Requires-Dist states for a dist-info; namespace_packages.txt serves pkg_resources.
_ASKED_FOR = {
    "entry_points.txt",
    "namespace_packages.txt",
    "requires.txt",
    "top_level.txt",
}


@dataclass(frozen=True, slots=True)
class StripMetadata:
    """Remove `*.dist-info` and `*.egg-info`, whole or but for what programs and auditors read.

    Attributes:
        keep: "none" removes the directories. "minimal" keeps METADATA (or PKG-INFO) cut to its
            header lines, entry_points.txt, top_level.txt and licence files, which is enough for
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

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:  # noqa: ARG002 - contract
        """Yield an edit for every metadata file that is cut or removed."""
        if self.keep == "all":
            return
        for path, entry in tree.items():
            if match := _INSIDE.search(path):
                decision = self._edit(entry, match[1])
                if decision:
                    yield decision

    def _edit(self, entry: Entry, inside: str | None) -> Decision | None:
        if self.keep == "none":
            return Remove(entry.path, "metadata of a distribution")
        # An egg-info may be a single file, which then is the PKG-INFO itself.
        if inside is None or inside in _HEADERS:
            return _cut(entry)
        if inside in _ASKED_FOR or _LEGAL.search(inside):
            return None
        return Remove(entry.path, "metadata that only installers read")


def _cut(entry: Entry) -> Decision | None:
    data = entry.read()
    headers = metadata_headers(data)
    # Without a header there is nothing that we understand, so nothing is cut.
    if not headers or headers == data or len(headers) > len(data):
        return None
    shorter = Entry.of(entry.path, headers, executable=entry.executable)
    return Replace(entry.path, shorter, "metadata without its description")
