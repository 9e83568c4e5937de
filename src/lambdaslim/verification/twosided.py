"""Two packages in one call: paths in, a verification out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lambdaslim.passes import StripTests
from lambdaslim.patterns import Patterns
from lambdaslim.pipeline import Pipeline
from lambdaslim.scanner import StrPath, Symlinks, scan, scan_zip
from lambdaslim.target import Target
from lambdaslim.tree import Tree
from lambdaslim.verification.values import Checks, Verification
from lambdaslim.verification.verifier import Verifier

Source = Tree | StrPath | Sequence[StrPath]


def verify(  # noqa: PLR0913 - two packages, and the rest by keyword
    before: Source,
    after: Source,
    *,
    runtime: str | None = None,
    architecture: str = "x86_64",
    checks: Checks | None = None,
    removed: Sequence[str] = (),
    interpreter: StrPath | None = None,
    cache: StrPath | None = None,
    progress: Callable[[str], object] = str,
) -> Verification:
    """Compare what works in a package before and after slimming, in the target's interpreter.

    This runs the packages' code: every module is imported on this machine.

    Args:
        before: a tree, a zip, a directory, or several directories, which overlay.
        after: the same.
        runtime: like "python3.13"; by default that of the running interpreter.
        architecture: "x86_64" or "arm64"; it must be this machine's.
        checks: what to compare; by default imports, distributions and entry points.
        removed: gitignore patterns of files that were left out on purpose. Modules of theirs need
            not import, like those that the pass `strip-tests` would leave out.
        interpreter: path of a Python of the runtime's version.
        cache: a directory that keeps what has to be installed for later calls.
        progress: called with one line before each step that takes time.

    Raises:
        TargetError: no interpreter of the runtime's version is here, or another machine's target.
        UsageError: the handler or the command fails before slimming too.
        SlimError: any other member of the family, for packages that cannot be read.
    """
    target = Target.of(runtime, architecture)
    old, new = _tree(before), _tree(after)
    with Verifier(
        old,
        target,
        checks or Checks(),
        interpreter=interpreter,
        cache=None if cache is None else Path(cache).absolute(),
        removed=left_out(old, removed),
        progress=progress,
    ) as verifier:
        return verifier.verify(new)


def left_out(tree: Tree, patterns: Sequence[str]) -> frozenset[str]:
    """Return the paths that patterns match, and those that `strip-tests` would remove."""
    matches = Patterns(patterns)
    tests = Pipeline((StripTests(),)).run(tree).changes
    named = (path for path in tree if matches.match(path) is not None)
    return frozenset({change.path for change in tests}.union(named))


def _tree(source: Source) -> Tree:
    if isinstance(source, Tree):
        return source
    if isinstance(source, str) or not isinstance(source, Sequence):
        path = Path(source)
        return scan(path, symlinks=Symlinks.INSIDE) if path.is_dir() else scan_zip(path)
    return scan(*source, symlinks=Symlinks.INSIDE)
