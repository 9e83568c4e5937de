"""Remove what installers leave beside the packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lambdaslim.findings import Finding
from lambdaslim.passes.contract import Context
from lambdaslim.tree import Decision, Entry, Keep, Remove, Tree

# uv locks its target directory with this empty file and leaves it.
_LOCK = ".lock"
_SCRIPTS = ("bin", "Scripts")
# An installer writes its own interpreter's path into a script, straight or, when it is long or has
# a space, behind a shell line. `#!/usr/bin/env python` is no such path and works in Lambda, as does
# the path of Lambda's own interpreter.
_BUILDER_PATH = re.compile(
    rb"\A#!\s*(?!/var/lang/)(?:"
    rb"\"?(?:/|[A-Za-z]:\\)(?:[^\s\"]*[/\\])?(?:python|pypy)[^/\s]*(?:\s|\Z)"
    rb"|/bin/sh\r?\n'''exec' [^\n]*python)"
)
# The system's own Python, which people write into scripts of theirs as well.
_SYSTEM_PATH = re.compile(rb"\A#!\s*/(?:usr/)?(?:local/)?bin/python")
_ABSOLUTE = re.compile(rb"(?m)^(?:/|[A-Za-z]:[\\/]).*$")
# Windows launchers are executables of that system.
_WINDOWS_LAUNCHER = b"MZ"


@dataclass(frozen=True, slots=True)
class StripInstallerLeftovers:
    """Remove lock files of installers and, as an option, scripts that name the builder's Python.

    Attributes:
        scripts: remove the files of the top `bin/` (`Scripts/`) whose first line is an absolute
            path of a Python interpreter. That path is the build machine's, so they cannot start in
            Lambda, and the package would not be the same bytes on another machine. Programs and
            portable scripts stay, and so does a script of yours that names the system's Python.

    A `.pth` file stays and is reported, since Lambda runs its lines when it starts.
    """

    name: ClassVar[str] = "strip-installer-leftovers"
    scripts: bool = True

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a removal per leftover, and a `Keep` per `.pth` file."""
        roots = {distribution.root for distribution in context.distributions.every} | {""}
        for prefix in sorted(f"{root}/" if root else "" for root in roots):
            if _is_lock(tree.get(f"{prefix}{_LOCK}"), context):
                yield Remove(f"{prefix}{_LOCK}", "an installer's lock file")
            if self.scripts:
                yield from _scripts(tree, context, prefix)
            for path in tree.under(prefix.removesuffix("/")):
                if path.endswith(".pth") and "/" not in path.removeprefix(prefix):
                    yield Keep(path, "its lines run when Lambda adds the package to its path")
                    yield from _editable(tree[path])


def _editable(entry: Entry) -> Iterator[Finding]:
    """Report an editable installation: a `.pth` whose line is a path of the build machine."""
    if found := _ABSOLUTE.search(entry.read()):
        named = found[0].decode("utf-8", "replace").strip()
        message = f"{entry.path} names {named}, which is not in the package"
        yield Finding("editable-leftover", message, entry.path)


def _scripts(tree: Tree, context: Context, prefix: str) -> Iterator[Remove]:
    for directory in _SCRIPTS:
        for path in tree.under(f"{prefix}{directory}"):
            if _names_builder(tree[path], installed=bool(context.distributions.owner(path))):
                yield Remove(path, "a script that starts the build machine's Python")


def _is_lock(entry: Entry | None, context: Context) -> bool:
    """Tell whether a file is a lock: empty, and of no distribution."""
    return entry is not None and not entry.size and not context.distributions.owner(entry.path)


def _names_builder(entry: Entry, *, installed: bool) -> bool:
    head = entry.read()[:4096]
    if entry.name.endswith(".exe"):
        return head.startswith(_WINDOWS_LAUNCHER)
    if not installed and _SYSTEM_PATH.match(head):
        return False
    return _BUILDER_PATH.match(head) is not None
