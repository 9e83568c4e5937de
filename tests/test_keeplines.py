from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdaslim.keeplines import MOST_LINES, keep_lines
from lambdaslim.patterns import Patterns


def numbered(template: str, count: int) -> list[str]:
    return [template.format(number) for number in range(count)]


@pytest.mark.parametrize(
    ("wanted", "spared", "lines"),
    [
        (["a/b.py"], [], ["/a/b.py"]),
        (["a/b.py"], ["a/c.py", "c/a/b.py"], ["/a/b.py"]),
        (["cv2/config.py", "cv2/config-3.py"], ["cv2/__init__.py"], ["/cv2/config*.py"]),
        (["a/x.py", "a/y.py"], ["b/x.py"], ["/a/*.py"]),
        (["a/x.py", "a/b/y.py"], ["a/x.txt"], ["/a/**/*.py"]),
        (["a/x.py", "a/b/y.txt"], ["b/x.py"], ["/a/"]),
        (["a/x.py", "b.txt"], [], ["/a/x.py", "/b.txt"]),
        (["a/x.py", "a/y.py", "b/x.py"], ["a/z.py"], ["/a/x.py", "/a/y.py", "/b/x.py"]),
        (["boto-1.dist-info/A", "boto/b", "boto/c.py"], ["b.py"], ["/boto*"]),
        (["a/1.py", "a/2.py"], ["a/x.py/y.txt"], ["/a/1.py", "/a/2.py"]),
        ([], ["a"], []),
    ],
)
def test_lines(wanted: list[str], spared: list[str], lines: list[str]) -> None:
    assert list(keep_lines(wanted, spared)) == lines


def test_lines_that_match_anywhere_are_the_last_resort() -> None:
    wanted = [f"p{number}/{name}" for number in range(12) for name in ("a.py", "b.txt")]
    spared = ["p/c.zip"]
    assert keep_lines(wanted, spared) == tuple(sorted(f"/p{number}/" for number in range(12)))
    assert keep_lines(wanted, spared, most=11) == ("/**/*.py", "/**/*.txt")


@pytest.mark.parametrize(
    "path", ["a[1].py", "a*b", "a?b", "#a", "!a", "a b ", "a  ", " a", "a]", "x/ /y", "**/**/**/**"]
)
def test_names_with_special_characters_stand_for_themselves(path: str) -> None:
    (line,) = keep_lines([path], ["a1.py", "axb", "ab", "a", "x", "x/y", "b/c/d/e"])
    patterns = Patterns([line])
    assert patterns.match(path)
    assert patterns.unused(["a1.py", "axb", "ab", "a", "x", "x/y", "b/c/d/e"]) == (line,)


def test_too_many_lines_become_fewer_and_match_slightly_more() -> None:
    wanted = numbered("a/even{}/x.py", 20)
    spared = [*numbered("a/even{}/y.py", 20), *numbered("a/odd{}/x.py", 100), "b.py"]
    lines = Patterns(keep_lines(wanted, spared))
    assert len(lines.lines) <= MOST_LINES
    assert all(lines.match(path) for path in wanted)
    assert not any(lines.match(path) for path in spared if "even" not in path)


def test_what_is_matched_beyond_is_as_little_as_possible() -> None:
    """Here the deeper directory, tried first among equals, holds much more to spare."""
    wanted = [*numbered("x/y/{}w.py", 7), *numbered("z/{}w.py", 7)]
    spared = [*numbered("x/y/{}s.py", 100), "z/s.py", "other.py"]
    lines = Patterns(keep_lines(wanted, spared))
    assert [path for path in spared if lines.match(path)] == ["z/s.py"]


def test_a_line_whose_paths_others_match_as_well_is_left_out() -> None:
    wanted = ["d/foo1.a", "d/foo2.b", "d/foo3.c", "d/x.a", "d/y.b", "d/z.c"]
    assert keep_lines(wanted, ["d/q.e"]) == ("/d/*.a", "/d/*.b", "/d/*.c")


def test_a_path_too_long_for_a_line_is_matched_by_a_directory() -> None:
    deep = "a/" + "/".join(["b" * 200] * 6) + "/c.py"
    lines = Patterns(keep_lines([deep], ["x", deep.replace("c.py", "d.py")]))
    assert lines.match(deep)
    assert not lines.match("x")


names = st.sampled_from(["a", "b.py", "c.py", "c d.py", "conf.py", "conf1.py", "[x]", "*", "d.x "])
paths = st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=30)


@given(paths, st.integers(1, 12), st.data())
def test_property(drawn: set[str], most: int, data: st.DataObject) -> None:
    """All that is wanted is matched, and nothing that is to be spared unless lines are too many."""
    files = {path for path in drawn if not any(one.startswith(f"{path}/") for one in drawn)}
    wanted = {path for path in sorted(files) if data.draw(st.booleans())}
    lines = keep_lines(wanted, files - wanted, most)
    assert len(lines) <= most
    assert all(line.startswith("/") for line in lines)
    patterns = Patterns(lines)
    assert wanted <= {path for path in files if patterns.match(path)}
    exact = keep_lines(wanted, files - wanted, 1_000)
    if len(exact) <= most:
        assert lines == exact
    assert {path for path in files if Patterns(exact).match(path)} == wanted
    for line in exact:
        fewer = Patterns([other for other in exact if other != line])
        assert not all(fewer.match(path) for path in wanted)
