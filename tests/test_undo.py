from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from lambdaslim import Context, Decision, Entry, Pipeline, Result, Tree, passes
from lambdaslim.errors import PlanError
from lambdaslim.tree import Add, Edit, Remove, Replace
from lambdaslim.undo import Undoing, undone
from trees import dist, tree_from


@dataclass(frozen=True)
class Do:
    """A pass that makes the given edits."""

    name: ClassVar[str] = "do"
    what: tuple[Edit, ...] = field(default=())

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:  # noqa: ARG002 - contract
        yield from self.what


@dataclass(frozen=True)
class DoMore(Do):
    name: ClassVar[str] = "do-more"


def remove(path: str) -> Remove:
    return Remove(path, "because")


def move(path: str, new: str, data: str = "new") -> Replace:
    return Replace(path, Entry.of(new, data), "because")


def add(path: str) -> Add:
    return Add(Entry.of(path, "added"), "because")


def run(tree: Tree, *steps: passes.Pass) -> Result:
    return Pipeline(steps).run(tree)


def contents(tree: Tree) -> dict[str, str]:
    return {path: entry.read().decode() for path, entry in tree.items()}


def old(*paths: str) -> Tree:
    return tree_from({path: f"old {path}" for path in paths})


def test_a_removed_file_comes_back_and_others_do_not() -> None:
    result = run(old("a", "b", "c"), Do((remove("a"), remove("b"))))
    assert contents(undone(result, ["a"])) == {"a": "old a", "c": "old c"}


def test_nothing_undone_is_the_result() -> None:
    result = run(old("a", "b"), Do((move("a", "x"),)))
    assert undone(result, []).digest() == result.after.digest()


def test_a_chain_through_several_passes_is_undone_whole() -> None:
    steps = (Do((move("a", "b", "1"),)), DoMore((move("b", "c", "2"),)), Do((move("c", "d"),)))
    result = run(old("a", "other"), *steps)
    assert [change.path for change in Undoing(result).edits["a"]] == ["a", "b", "c"]
    assert contents(undone(result, ["a"])) == {"a": "old a", "other": "old other"}


def test_a_chain_that_ends_with_a_removal() -> None:
    result = run(old("a", "z"), Do((move("a", "b"),)), DoMore((remove("b"),)))
    assert contents(undone(result, ["a"])) == contents(result.before)


def test_two_passes_of_one_name_are_two() -> None:
    result = run(old("a", "z"), Do((move("a", "b"),)), Do((remove("b"),)))
    assert set(Undoing(result).edits) == {"a"}
    assert contents(undone(result, ["a"])) == contents(result.before)


def test_edits_of_one_pass_are_simultaneous() -> None:
    """What a moves to b is not what b moves to c."""
    result = run(old("a", "b"), Do((move("a", "b", "from a"), move("b", "c", "from b"))))
    undoing = Undoing(result)
    assert {path: len(edits) for path, edits in undoing.edits.items()} == {"a": 1, "b": 1}
    assert contents(undone(result, ["a"])) == {"a": "old a", "c": "from b"}


def test_what_lies_in_the_place_goes_back_as_well() -> None:
    result = run(old("a.py", "a.pyc"), Do((remove("a.pyc"), move("a.py", "a.pyc"))))
    assert Undoing(result).closed(["a.pyc"]) == {"a.py", "a.pyc"}
    assert contents(undone(result, ["a.pyc"])) == contents(result.before)
    assert contents(undone(result, ["a.py"])) == {"a.py": "old a.py"}


def test_a_directory_in_the_place_of_a_file_and_the_reverse() -> None:
    result = run(old("a", "b/c", "b/d"), Do((remove("a"),)), Do((move("b/c", "a/x"),)))
    assert contents(undone(result, ["a"])) == contents(result.before)
    result = run(old("a/x", "b", "c"), Do((remove("a/x"),)), Do((move("b", "a"),)))
    assert contents(undone(result, ["a/x"])) == contents(result.before)


def test_an_added_file_stays_unless_it_is_in_the_way() -> None:
    steps = (Do((remove("a"), remove("b"))), DoMore((add("a"), add("new"))))
    result = run(old("a", "b", "c"), *steps)
    assert contents(undone(result, ["b"])) == {
        "a": "added",
        "b": "old b",
        "c": "old c",
        "new": "added",
    }
    assert contents(undone(result, ["a"])) == {"a": "old a", "c": "old c", "new": "added"}


def test_an_added_file_is_of_no_chain_wherever_it_goes() -> None:
    result = run(old("a"), Do((add("new"),)), DoMore((move("new", "newer"),)))
    assert Undoing(result).edits == {}
    assert Undoing(result).added_by == ["do"]
    assert "newer" in undone(result, [])


@pytest.mark.parametrize("path", ["b", "c", "nowhere"])
def test_what_was_not_edited_cannot_be_undone(path: str) -> None:
    result = run(old("a", "b"), Do((move("a", "c"),)))
    with pytest.raises(PlanError) as caught:
        undone(result, [path])
    assert caught.value.where == path


def test_a_cut_file_has_its_old_bytes() -> None:
    result = run(tree_from(dist("alpha")), passes.StripMetadata())
    path = "alpha-1.0.dist-info/METADATA"
    assert result.after[path].size < result.before[path].size
    assert undone(result, [path])[path] == result.before[path]
