"""Remove what installers leave beside the packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Entry, Remove, Tree

# uv locks its target directory with this empty file and leaves it.
_LOCK = ".lock"
# An installer writes its own interpreter's path into a script, straight or, when it is long or has
# a space, behind a shell line. `#!/usr/bin/env python` is no such path and works in Lambda.
_BUILDER_PATH = re.compile(
    rb"\A#!(?:\s*[\"']?/(?!usr/bin/env\b)[^\n]*python[^\n]*\n|\s*/bin/sh\n'''exec' [^\n]*python)"
)
# Windows launchers are executables of that system.
_WINDOWS_LAUNCHER = b"MZ"


@dataclass(frozen=True, slots=True)
class StripInstallerLeftovers:
    """Remove lock files of installers and, as an option, scripts that name the builder's Python.

    Attributes:
        scripts: remove the files of the top `bin/` (`Scripts/`) whose first line is an absolute
            path of a Python interpreter. That path is the build machine's, so they cannot start in
            Lambda, and the package would not be the same bytes on another machine. Programs and
            portable scripts stay.
    """

    name: ClassVar[str] = "strip-installer-leftovers"
    scripts: bool = True

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a removal per leftover."""
        roots = {context.distributions[name].root for name in context.distributions} | {""}
        for root in sorted(roots):
            prefix = f"{root}/" if root else ""
            if _is_lock(tree.get(f"{prefix}{_LOCK}"), context):
                yield Remove(f"{prefix}{_LOCK}", "an installer's lock file")
            for directory in (f"{prefix}bin", f"{prefix}Scripts") if self.scripts else ():
                for path in tree.under(directory):
                    if _names_builder(tree[path]):
                        yield Remove(path, "a script that starts the build machine's Python")


def _is_lock(entry: Entry | None, context: Context) -> bool:
    """Tell whether a file is a lock: empty, and of no distribution."""
    return entry is not None and not entry.size and not context.distributions.owner(entry.path)


def _names_builder(entry: Entry) -> bool:
    head = entry.read()[:4096]
    if entry.name.endswith(".exe"):
        return head.startswith(_WINDOWS_LAUNCHER)
    return _BUILDER_PATH.match(head) is not None
