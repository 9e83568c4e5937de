"""Gitignore-style patterns over the paths of a tree, with the line that decided.

Paths are POSIX and relative to the tree's top, as Git's are to the repository's. The meaning is
that of `git check-ignore`, with one difference that users ask for: a `!` line brings back a file
although a parent directory is matched by an earlier line.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pathspec import GitIgnoreSpec

from lambdaslim.errors import PatternError

# Each wildcard multiplies the time of a failing match by the length of the path, so their number
# bounds it; nobody needs more.
_MOST_DEEP_WILDCARDS = 4
_MOST_WILDCARDS = 12
_LONGEST_PATTERN = 1_000
_REPEATED_DEEP = re.compile(r"(?:(?<=/)|^)(?:\*\*/){2,}")
_REPEATED_STAR = re.compile(r"\*{3,}")


def _bounded(line: str) -> str:
    """Return `line` with repeated wildcards collapsed (the meaning stays), or refuse it."""
    shorter = _REPEATED_DEEP.sub("**/", _REPEATED_STAR.sub("**", line))
    if (
        shorter.count("**") > _MOST_DEEP_WILDCARDS
        or shorter.count("*") > _MOST_WILDCARDS
        or len(shorter) > _LONGEST_PATTERN
    ):
        raise PatternError(
            "is too costly to match",
            where=line[:200],
            fix=f"use at most {_MOST_DEEP_WILDCARDS} '**', {_MOST_WILDCARDS} '*' "
            f"and {_LONGEST_PATTERN} characters",
        )
    return shorter


def _compiled(line: str) -> GitIgnoreSpec:
    """Compile one line, turning every way in which a pattern is wrong into `PatternError`."""
    try:
        with warnings.catch_warnings():
            # A "[" inside brackets is legal in a pattern and only suspicious in a regex.
            warnings.simplefilter("ignore", FutureWarning)
            return GitIgnoreSpec.from_lines([_bounded(line)])
    except (re.error, ValueError) as error:
        raise PatternError(
            f"is not a pattern: {error}", where=line, fix="write it as in a .gitignore file"
        ) from error


@dataclass(frozen=True)
class Patterns:
    """An ordered list of gitignore lines; the last line that matches a path decides.

    Raises:
        PatternError: a line that is malformed, empty or too costly to match.

    >>> Patterns(("docs/", "!docs/keep.txt")).match("docs/a/b.txt")
    'docs/'
    """

    lines: tuple[str, ...]

    def __init__(self, lines: Iterable[str]) -> None:
        """Check and store the lines."""
        object.__setattr__(self, "lines", tuple(lines))
        for line in self.lines:
            if not line.strip():
                raise PatternError("is empty", where=repr(line), fix="name a file or a directory")
            _compiled(line)

    def __bool__(self) -> bool:
        """Tell whether there is any line."""
        return bool(self.lines)

    @cached_property
    def _spec(self) -> GitIgnoreSpec:
        return sum((_compiled(line) for line in self.lines), GitIgnoreSpec([]))

    def match(self, path: str) -> str | None:
        """Return the line because of which `path` is matched, or None when it is not."""
        if not self.lines:
            return None
        found = self._spec.check_file(path)
        return self.lines[found.index] if found.include and found.index is not None else None

    def unused(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return the lines (comments aside) that match none of `paths`, `!` lines included."""
        open_lines = {line: _compiled(line.removeprefix("!")) for line in self.lines}
        open_lines = {line: spec for line, spec in open_lines.items() if line.lstrip()[0] != "#"}
        for path in paths:
            for line in [line for line, spec in open_lines.items() if spec.match_file(path)]:
                del open_lines[line]
            if not open_lines:
                break
        return tuple(open_lines)
