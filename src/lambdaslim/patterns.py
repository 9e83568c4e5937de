"""Gitignore-style patterns over the paths of a tree, with the line that decided.

Paths are POSIX and relative to the tree's top, as Git's are to the repository's. The meaning is
that of `git check-ignore`, with one difference that users ask for: a `!` line brings back a file
although a parent directory is matched by an earlier line.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field

from pathspec import GitIgnoreSpec

from lambdaslim.errors import PatternError

# A failing match takes time in the power of its wildcards: of stars, within a name, and of "**",
# within a path. Nobody needs more of them.
_MOST_STARS = 3
_MOST_DEEP = 3
_LONGEST_PATTERN = 1_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REPEATED_DEEP = re.compile(r"(?:(?<=/)|^)(?:\*\*/){2,}")
# An escaped character, or (group 1) a set of characters in brackets.
_BRACKETS = re.compile(r"\\.|(\[[!^]?\]?(?:\[:\w+:\]|[^]])*\])")
_STARS = re.compile(r"\\.|\*+")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def _normalised(line: str) -> str:
    """Return the pattern of a line without `!`, in the words of Git that pathspec understands.

    Unescaped spaces at the end count for nothing, "a/**/" means the directories below a, and
    `[[:alpha:]]` is written out.
    """
    shorter = re.sub(r"(?<!\\) +$", "", line)
    shorter = _collapsed(shorter)
    if shorter.endswith("/**/"):
        shorter = shorter[:-1] + "/*/"
    return _BRACKETS.sub(lambda m: _written_out(m[1], line) if m[1] else m[0], shorter)


def _written_out(brackets: str, line: str) -> str:
    for name in re.findall(r"\[:(\w+):\]", brackets):
        if name not in _CLASSES:
            fix = f"use one of {', '.join(_CLASSES)}, or list the characters"
            raise PatternError(f"holds the unknown class [:{name}:]", where=line, fix=fix)
        brackets = brackets.replace(f"[:{name}:]", _CLASSES[name])
    return brackets


def _refuse_strange(line: str) -> None:
    """Refuse a line that matches nothing, means something else to others, or takes too long."""
    if not line.removeprefix("!").strip():
        raise PatternError("is empty", where=repr(line), fix="name a file or a directory")
    if _CONTROL.search(line):
        problem = "holds a control character, which no path of a package does"
    elif any("\\" in brackets for brackets in _BRACKETS.findall(line)):
        problem = "holds a backslash in brackets"
    elif len(line) > _LONGEST_PATTERN:
        problem = f"is longer than {_LONGEST_PATTERN} characters"
    elif len(re.findall(r"\*\*+", line)) > _MOST_DEEP:
        problem = f"holds more than {_MOST_DEEP} '**'"
    elif any(len(re.findall(r"(?<!\\)\*", name)) > _MOST_STARS for name in line.split("/")):
        problem = f"holds more than {_MOST_STARS} '*' in one name"
    else:
        return
    raise PatternError(problem, where=line[:_LONGEST_PATTERN], fix="write a simpler pattern")


@dataclass(frozen=True, slots=True)
class _Line:
    """One compiled line; a comment has no `regex` and matches nothing."""

    text: str
    negated: bool
    regex: re.Pattern[str] | None

    @classmethod
    def of(cls, text: str) -> _Line:
        _refuse_strange(_collapsed(text))
        if text.startswith("#"):
            return cls(text, negated=False, regex=None)
        negated = text.startswith("!")
        pattern = _normalised(text.removeprefix("!"))
        # After the "!", these characters stand for themselves.
        pattern = f"\\{pattern}" if negated and pattern.startswith(("#", "!")) else pattern
        return cls(text, negated, _compiled(pattern, text))

    def matches(self, path: str) -> bool:
        return self.regex is not None and self.regex.search(path) is not None


def _collapsed(line: str) -> str:
    """Return the line with repeated wildcards as one: they mean the same and cost more.

    Stars that share a name with something else are one star; alone they are "**".
    """
    names = line.split("/")
    alone = [set(name) == {"*"} and len(name) > 1 for name in names]
    fewer = [
        "**" if deep else _STARS.sub(_one_star, name)
        for name, deep in zip(names, alone, strict=True)
    ]
    return _REPEATED_DEEP.sub("**/", "/".join(fewer))


def _one_star(found: re.Match[str]) -> str:
    return "*" if found[0].startswith("*") else found[0]


def _compiled(pattern: str, line: str) -> re.Pattern[str] | None:
    """Compile one pattern, turning every way in which it is wrong into `PatternError`.

    pathspec translates it; its sets like `[!a]` would match a slash, which Git's do not.
    """
    try:
        with warnings.catch_warnings():
            # A "[" inside brackets is legal in a pattern and only suspicious in a regex.
            warnings.simplefilter("ignore", FutureWarning)
            regex = GitIgnoreSpec.from_lines([pattern]).patterns[0].regex
            return re.compile(re.sub(r"\[\^(\]?)", r"[^\1/", regex.pattern)) if regex else None
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
    _compiled: tuple[_Line, ...] = field(init=False, repr=False, compare=False)

    def __init__(self, lines: Iterable[str]) -> None:
        """Check and store the lines."""
        if isinstance(lines, str):
            fix = f"write [{lines!r}]"
            raise PatternError("is one string where a list is meant", where=lines, fix=fix)
        object.__setattr__(self, "lines", tuple(lines))
        object.__setattr__(self, "_compiled", tuple(_Line.of(line) for line in self.lines))

    def __bool__(self) -> bool:
        """Tell whether there is any line."""
        return bool(self.lines)

    def match(self, path: str) -> str | None:
        """Return the line because of which `path` is matched, or None when it is not."""
        for line in reversed(self._compiled):
            if line.matches(path):
                return None if line.negated else line.text
        return None

    def unused(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return the lines (comments aside) that match none of `paths`, `!` lines included."""
        open_lines = [line for line in self._compiled if not line.text.startswith("#")]
        for path in paths:
            open_lines = [line for line in open_lines if not line.matches(path)]
            if not open_lines:
                break
        return tuple(line.text for line in open_lines)
