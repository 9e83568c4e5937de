"""Patterns mean what they mean to Git, except where a user means something else.

"Row N" is the row of the catalogue of cases that a test covers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import disk
from lambdaslim.errors import PatternError
from lambdaslim.patterns import Patterns

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")


class Git:
    """Asks `git check-ignore --no-index`, which needs no file to be there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._run("init", "--quiet")

    def ignored(self, lines: Iterable[str], paths: Sequence[str]) -> dict[str, str | None]:
        """Return the line that decides, per path, None where no line or a `!` line does."""
        (self.directory / ".gitignore").write_bytes("".join(f"{x}\n" for x in lines).encode())
        options = ("--no-index", "--verbose", "--non-matching", "-z", "--stdin")
        answer = self._run("check-ignore", *options, text="".join(f"{path}\0" for path in paths))
        fields = answer.split("\0")
        rows = zip(fields[2::4], fields[3::4], strict=True)
        return {path: None if line.startswith("!") else line or None for line, path in rows}

    def _run(self, *arguments: str, text: str = "") -> str:
        environment = {
            name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ
        }
        nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", "-c", "core.ignoreCase=false", *arguments],
            input=text.encode(),
            capture_output=True,
            cwd=self.directory,
            env=environment | nowhere,
            check=False,
        )
        assert done.returncode <= 1, done.stderr  # 1: nothing is ignored
        return done.stdout.decode()


@pytest.fixture(scope="session")
def git(tmp_path_factory: pytest.TempPathFactory) -> Git:
    return Git(tmp_path_factory.mktemp("repository"))


# ASCII only: Git compares bytes, so its "?" is half a letter of other alphabets.
SPECIAL = [
    "*",
    "**",
    "?",
    "[ab]",
    "[!a]",
    "[^a]",
    "[a-c]",
    "[]a]",
    "[!]a]",
    "[[:alpha:]]",
]
ESCAPED = ["\\*", "\\?", "\\a", "\\ ", "\\#", "\\!", "\\[", "\\\\"]
PLAIN = [
    "a",
    "b",
    "ab",
    "A",
    ".",
    " ",
    "#",
    "!",
    "-",
    "{a}",
    "(",
    "+",
    "$",
    "^",
    "|",
    "]",
    "&",
    "~",
]
parts = st.lists(st.sampled_from([*SPECIAL, *ESCAPED, *PLAIN, *"aabb"]), min_size=1, max_size=3)
segments = st.one_of(st.just("**"), st.just("*"), parts.map("".join))


@st.composite
def lines(draw: st.DrawFn) -> str:
    """Draw a positive line that costs little enough to be accepted."""
    line = "/".join(draw(st.lists(segments, min_size=1, max_size=4)))
    line = draw(st.sampled_from(["", "", "/"])) + line + draw(st.sampled_from(["", "", "/"]))
    assume(not line.startswith("!"))
    assume(line.strip())
    assume(line.count("*") <= 4)
    return line


NAMES = ["a", "b", "ab", "ba", "A", "aa", ".a", "a b", "b ", " a", "*", "?", "#a", "!a", "[a", "a]"]
NAMES += ["c", "1", "\\", "a\\", "-", "{a}", "(", "+", "$", "^", "a&b", "~", "aXb", "]"]
path_parts = st.lists(st.sampled_from([*NAMES, *"aabb"]), min_size=1, max_size=4)
paths_of_files = st.lists(path_parts.map("/".join), min_size=1, max_size=8, unique=True)


def stands(line: str) -> str:
    """Return a line as Git reports it: without the spaces that mean nothing."""
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    return line


def above(path: str) -> list[str]:
    """Return the directories that a path is in, as Git knows them."""
    return [path[: place + 1] for place, letter in enumerate(path) if letter == "/"]


@needs_git
@settings(max_examples=700, deadline=None)
@given(line=lines(), paths=paths_of_files)
@example(line="**/", paths=["a", "a/b"])
@example(line="a/**", paths=["a", "a/b", "b/a/c"])
@example(line="a/**/b", paths=["a/b", "a/b/c", "a/x/y/b"])
@example(line="a**b", paths=["aXb", "aa/b"])
@example(line="[[:alpha:]]", paths=["a", "1"])
@example(line="[[:digit:]]*", paths=["1a", "a"])
@example(line="a/**/", paths=["a/b", "a/b/c"])
@example(line="a\\  ", paths=["a", "a "])
@example(line="a/b/", paths=["a/b", "a/b/c", "x/a/b/c"])
@example(line="\\#a", paths=["#a"])
@example(line=" #a", paths=[" #a", "#a"])
@example(line="# a", paths=["# a"])
@example(line="/", paths=["a"])
@example(line="a\\ ", paths=["a", "a "])
@example(line="[a", paths=["[a", "a"])
def test_one_line_matches_what_git_ignores(git: Git, line: str, paths: list[str]) -> None:
    """Row 64."""
    asked = git.ignored([line], paths)
    patterns = Patterns([line])
    assert {path: patterns.match(path) is not None for path in paths} == {
        path: found is not None for path, found in asked.items()
    }


@needs_git
@settings(max_examples=300, deadline=None)
@given(some=st.lists(lines(), min_size=2, max_size=4, unique_by=stands), paths=paths_of_files)
def test_of_several_lines_the_one_that_git_names_decides(
    git: Git, some: list[str], paths: list[str]
) -> None:
    """Row 64: the last line that matches the outermost ignored directory, or the file.

    Git stops at a directory that is ignored; we look at every line, so a later line that matches
    only the file may be named instead. Whether the path is matched is the same.
    """
    asked = git.ignored(some, paths)
    patterns = Patterns(some)
    for path in paths:
        found = patterns.match(path)
        assert (found is None) == (asked[path] is None), path
        if found is not None and asked[path] != stands(found):
            assert some.index(found) > [stands(line) for line in some].index(asked[path] or "")


@needs_git
@settings(max_examples=300, deadline=None)
@given(
    some=st.lists(st.tuples(lines(), st.booleans()), min_size=2, max_size=4), paths=paths_of_files
)
def test_a_negated_line_does_what_it_does_in_git_where_no_directory_is_ignored(
    git: Git, some: list[tuple[str, bool]], paths: list[str]
) -> None:
    """Row 64. Below an ignored directory Git brings nothing back, and we do.

    For the same reason a `!` line that names a directory stands for all files below it.
    """
    signed = [f"!{line}" if negated and line[0] != "#" else line for line, negated in some]
    parents = sorted({parent for path in paths for parent in above(path)})
    asked = git.ignored(signed, [*paths, *parents])
    named = git.ignored([line for line, negated in some if negated], parents)
    patterns = Patterns(signed)
    for path in paths:
        if not any(asked[parent] or named[parent] for parent in above(path)):
            assert (patterns.match(path) is None) == (asked[path] is None), path


@needs_git
@pytest.mark.parametrize("line", ["docs/", "docs", "/docs/", "docs/**", "*ocs/"])
def test_a_negated_line_brings_a_file_back_from_a_removed_directory(git: Git, line: str) -> None:
    """Row 64: as the user means it; Git would not, except for `docs/**`."""
    patterns = Patterns([line, "!docs/keep.txt"])
    paths = ["docs/keep.txt", "docs/other.txt", "docs/a/keep.txt"]
    assert [patterns.match(path) for path in paths] == [None, line, line]
    ignored = git.ignored([line, "!docs/keep.txt"], paths)
    assert ignored["docs/keep.txt"] == (None if line == "docs/**" else line)


def test_a_negated_line_brings_a_directory_back_from_a_removed_one() -> None:
    """Row 64."""
    patterns = Patterns(["docs/", "!docs/keep/"])
    assert patterns.match("docs/keep/a/b.txt") is None
    assert patterns.match("docs/keep") == "docs/"


@pytest.mark.parametrize("line", ["!b", "!a/b", "!*", "!a/"])
def test_a_removed_directory_after_a_negated_line_is_removed(line: str) -> None:
    assert Patterns([line, "a/"]).match("a/b") == "a/"


def test_a_later_line_removes_again_what_a_negated_one_brought_back() -> None:
    patterns = Patterns(["*.txt", "!keep.txt", "/old/"])
    assert patterns.match("a/keep.txt") is None
    assert patterns.match("old/keep.txt") == "/old/"


@pytest.mark.parametrize(("line", "path"), [("caf?.py", "café.py"), ("[é]", "é"), ("ж*", "жук")])
def test_a_letter_of_any_alphabet_is_one_character(line: str, path: str) -> None:
    assert Patterns([line]).match(path) == line


def test_no_line_matches_nothing() -> None:
    assert not Patterns([])
    assert Patterns([]).match("a") is None
    assert Patterns([]).unused(["a"]) == ()


def test_the_case_of_letters_counts() -> None:
    assert Patterns(["readme"]).match("README") is None


# The line that decided, and the lines that decide nothing


def test_the_line_that_matched_is_returned_as_it_was_written() -> None:
    patterns = Patterns(["*.c", "# sources", " docs/ ", "**/**/**/deep", "*.c"])
    assert patterns.match("a/b.c") == "*.c"
    assert patterns.match("x/y/deep") == "**/**/**/deep"
    assert patterns.match(" docs/a") == " docs/ "


def test_lines_that_match_nothing_are_named() -> None:
    patterns = Patterns(["*.c", "*.h", "docs/", "# comment"])
    assert patterns.unused(["a.c", "docs"]) == ("*.h", "docs/")
    assert patterns.unused(["a.c", "a.h", "docs/a"]) == ()
    assert patterns.unused([]) == ("*.c", "*.h", "docs/")


def test_a_line_that_a_later_one_overrules_still_matched_something() -> None:
    assert Patterns(["*.c", "!*.c"]).unused(["a.c"]) == ()


@pytest.mark.parametrize(
    ("line", "path"),
    [("!keep.txt", "a/keep.txt"), ("!#keep", "#keep"), ("!!keep", "!keep"), ("!\\!keep", "!keep")],
)
def test_a_negated_line_that_brings_something_back_is_used(line: str, path: str) -> None:
    patterns = Patterns(["*", line])
    assert patterns.match(path) is None
    assert patterns.unused([path]) == ()


def test_a_negated_line_that_brings_nothing_back_is_named() -> None:
    assert Patterns(["*.c", "!keep.c"]).unused(["a.c"]) == ("!keep.c",)


# Lines that are wrong


@pytest.mark.parametrize("line", ["", " ", "[z-a]", "a[b-a]c", "![z-a]", "a\\", "!"])
def test_a_malformed_line_is_refused_and_named(line: str) -> None:
    """Row 65."""
    with pytest.raises(PatternError) as caught:
        Patterns(["fine", line])
    assert line[:20].strip() in (caught.value.where or "")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("line", ["a\nb", "a\0b", "a\r\nb"])
def test_a_line_that_can_never_match_is_refused(line: str) -> None:
    """Row 65: two lines given as one would otherwise match nothing in silence."""
    with pytest.raises(PatternError):
        Patterns([line])


COST = """
import sys
from lambdaslim.errors import SlimError
from lambdaslim.patterns import Patterns
line, path = sys.argv[1:]
try:
    patterns = Patterns([line])
    print(patterns.match(path), patterns.unused([path]))
except SlimError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("line", "path"),
    [
        pytest.param("**/" * 11 + "b", "a/" * 300 + "c", id="deep wildcards in a row"),
        pytest.param("a/**/" * 3 + "b", "a/" * 300 + "c", id="three deep wildcards"),
        pytest.param("**/a/" * 4 + "b", "a/" * 300 + "c", id="four deep wildcards"),
        pytest.param("*a" * 11 + "*b", "a" * 200, id="twelve stars"),
        pytest.param("*a" * 5 + "*b", "a" * 250, id="six stars"),
        pytest.param("*a" * 200 + "*b", "a" * 250, id="two hundred stars"),
        pytest.param("**a" * 9 + "b", "a" * 250, id="deep wildcards in a name"),
        pytest.param("x" * 10_000, "x" * 10_000, id="ten thousand letters"),
        pytest.param("*" * 500 + "b", "a" * 250, id="stars in a row"),
        pytest.param("*?" * 11 + "*b", "a" * 200, id="stars and question marks"),
        pytest.param("[!b]*" * 11 + "b", "a" * 200, id="stars and brackets"),
        pytest.param("*" + "?" * 900, "a" * 1000, id="question marks"),
        pytest.param("[" * 900, "[" * 900, id="open brackets"),
        pytest.param("[[:" * 300, "[" * 300, id="open classes"),
        pytest.param("\\" * 900, "\\" * 900, id="backslashes"),
    ],
)
def test_a_hostile_line_is_refused_or_matched_in_bounded_time(line: str, path: str) -> None:
    """Row 65: five seconds for one path, of which a package may have 50,000."""
    try:
        answer = disk.run_python(COST, line, path, timeout=5)
    except subprocess.TimeoutExpired:
        pytest.fail("it took more than five seconds")
    assert answer.returncode == 0, answer.stderr[-500:]
