from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lambdaslim import Context, Decision, Entry, Pass, Pipeline, Result, Tree, passes
from lambdaslim.errors import UnhealableError
from lambdaslim.heal import Healing, heal
from lambdaslim.tree import Add
from lambdaslim.undo import Undoing, undone
from trees import PYTHON, cached, dist, metadata, tree_from

NAMES = ["alpha", "beta", "gam-ma"]


def as_before(result: Result, tree: Tree) -> set[str]:
    """Return the edited files that are in a tree as they were before."""
    edited = Undoing(result).edits
    return {path for path in edited if path in tree and tree[path] == result.before[path]}


def needs(result: Result, *paths: str) -> Callable[[Tree], bool]:
    """Return a predicate: it fails without these files as they were."""

    def still_fails(tree: Tree) -> bool:
        return any(path not in tree or tree[path] != result.before[path] for path in paths)

    return still_fails


def large(packages: int = 20, modules: int = 50) -> Result:
    """Return the result of removing the bytes of many packages: pipelines are not the subject."""
    entries: list[Entry] = []
    for number in range(packages):
        files = [
            f"p{number}/{'sub/' * (m % 3)}m{m}.{'py' if m % 2 else 'txt'}" for m in range(modules)
        ]
        entries += dist(f"p{number}", files=files)
    return Pipeline((passes.Exclude(["*.py", "*.txt", "!/*-info/"]),)).run(Tree(entries))


LARGE = large()


class TestSearch:
    def test_one_file_of_many(self) -> None:
        healing = heal(LARGE, needs(LARGE, "p7/sub/m1.py"))
        assert healing.undone == {"p7/sub/m1.py"}
        assert healing.keep == ("/p7/sub/m1.py",)
        assert healing.by_pass == {"exclude": 1}
        assert healing.minimal
        assert healing.calls <= 20

    def test_independent_failures_are_mended_together(self) -> None:
        wanted = {"p3/m3.py", "p11/sub/sub/m2.txt", "p11/m0.txt"}
        healing = heal(LARGE, needs(LARGE, *wanted))
        assert healing.undone == wanted
        assert healing.minimal
        assert healing.calls <= 50

    def test_a_directory_that_is_needed_whole_costs_few_questions(self) -> None:
        whole = [path for path in LARGE.before.under("p5") if path in Undoing(LARGE).edits]
        healing = heal(LARGE, needs(LARGE, *whole))
        assert healing.undone == set(whole)
        assert healing.keep == ("/p5/",)
        assert not healing.minimal
        assert healing.calls <= 35

    def test_most_of_a_directory_is_as_good_as_all(self) -> None:
        result = large(2, 300)
        most = [path for path in result.before.under("p1") if not path.endswith("7.py")]
        healing = heal(result, needs(result, *(p for p in most if p in Undoing(result).edits)))
        assert as_before(result, undone(result, healing.undone)) >= set(most)
        assert healing.calls <= 40
        assert not [path for path in healing.undone if path.startswith("p0/")]

    def test_suspects_are_tried_first(self) -> None:
        still_fails = needs(LARGE, "p7/sub/m1.py")
        alone = heal(LARGE, still_fails)
        for suspects in (["P7"], ["p7"], ["/p7/sub/"], ["p1", "p7/sub/m1.py"], ["no", "p7"]):
            healing = heal(LARGE, still_fails, suspects=suspects)
            assert healing.undone == alone.undone
            assert healing.calls < alone.calls

    def test_wrong_suspects_do_no_harm(self) -> None:
        healing = heal(LARGE, needs(LARGE, "p7/sub/m1.py"), suspects=["p1", "no such thing"])
        assert healing.undone == {"p7/sub/m1.py"}

    def test_of_two_ways_the_lighter_one(self) -> None:
        tree = tree_from({"a.txt": "x" * 100, "b.txt": "x", "c.txt": "x" * 50})
        result = Pipeline((passes.Exclude(["*"]),)).run(tree)
        healing = heal(result, lambda tree: not {"a.txt", "b.txt"} & set(tree))
        assert healing.undone == {"b.txt"}

    def test_what_it_answers_was_asked(self) -> None:
        """Even of a predicate for which undoing more does harm."""
        asked: dict[frozenset[str], bool] = {}

        def still_fails(tree: Tree) -> bool:
            there = frozenset(as_before(LARGE, tree))
            asked[there] = "p1/m3.py" not in there or ("p2/m3.py" in there and len(there) < 900)
            return asked[there]

        healing = heal(LARGE, still_fails)
        assert asked[healing.undone] is False

    def test_the_same_twice(self) -> None:
        still_fails = needs(LARGE, "p3/m3.py", "p11/m0.txt")
        assert heal(LARGE, still_fails) == heal(LARGE, still_fails)


class TestBudget:
    def test_the_set_is_larger_when_the_calls_run_out(self) -> None:
        wanted = {"p3/m3.py", "p11/m0.txt"}
        whole = heal(LARGE, needs(LARGE, *wanted))
        sizes: list[int] = []
        for most in range(1, whole.calls + 1):
            healing = heal(LARGE, needs(LARGE, *wanted), most_calls=most)
            assert healing.undone >= wanted
            assert healing.calls <= most
            assert healing.minimal == (most == whole.calls)
            assert len(healing.keep) <= 12
            sizes.append(len(healing.undone))
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] == 1000

    def test_the_caller_can_stop_it(self) -> None:
        answers = iter([True, True, True])
        healing = heal(LARGE, needs(LARGE, "p3/m3.py"), spend=lambda: next(answers, False))
        assert healing.calls == 3
        assert not healing.minimal

    @pytest.mark.parametrize("most", [0, -1])
    def test_no_call_no_answer(self, most: int) -> None:
        with pytest.raises(UnhealableError, match="nothing that was tried"):
            heal(LARGE, lambda _: False, most_calls=most)


@dataclass(frozen=True)
class AddJunk:
    name: ClassVar[str] = "add-junk"

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:  # noqa: ARG002 - contract
        yield Add(Entry.of("junk"), "because")


class TestUnhealable:
    def test_it_fails_before_too(self) -> None:
        asked: list[Tree] = []

        def still_fails(tree: Tree) -> bool:
            asked.append(tree)
            return True

        with pytest.raises(UnhealableError, match="every edit undone"):
            heal(LARGE, still_fails)
        assert [list(tree) for tree in asked] == [list(LARGE.before)]

    def test_an_added_file_is_at_fault(self) -> None:
        result = Pipeline((passes.Exclude(["a"]), AddJunk())).run(tree_from("a", "b"))
        with pytest.raises(UnhealableError, match="add-junk added") as caught:
            heal(result, lambda tree: "junk" in tree)
        assert caught.value.fix == "skip that pass"
        with pytest.raises(UnhealableError, match="every edit undone"):
            heal(result, lambda _: True)

    def test_nothing_was_edited(self) -> None:
        with pytest.raises(UnhealableError):
            heal(Pipeline(()).run(tree_from("a")), lambda _: True)


SDK = ["boto3", "botocore", "jmespath", "s3transfer", "python-dateutil", "six", "urllib3"]


class TestTogether:
    def test_provided_distributions_are_undone_all_or_none(self) -> None:
        tree = tree_from(
            *(dist(name, "1.0", [f"{name}/{n}.py" for n in "abc"]) for name in SDK),
            {"app/main.py": "", "app/junk.txt": ""},
        )
        steps = passes.DropProvided("python3.13", "always"), passes.Exclude(["*.txt", "!*-info"])
        result = Pipeline(steps).run(tree)
        healing = heal(result, needs(result, "jmespath/b.py"))
        dropped = {change.path for change in result.changes if change.unit is not None}
        assert dropped
        assert healing.undone == dropped
        assert healing.minimal
        assert len(healing.keep) <= 12
        assert heal(result, needs(result, "app/junk.txt")).undone == {"app/junk.txt"}

    def test_the_metadata_of_a_distribution_comes_back_whole(self) -> None:
        """Half of it makes importlib.metadata answer, and wrongly."""
        tree = tree_from(dist("alpha", "1.5"), dist("beta"), dist("alpha-extra"))
        result = Pipeline((passes.StripMetadata("none"),)).run(tree)
        healing = heal(result, lambda tree: not tree.under("alpha-1.5.dist-info"))
        assert healing.undone == set(result.before.under("alpha-1.5.dist-info"))
        assert healing.keep == ("/alpha-*.dist-info/",)

    def test_a_version_stays_in_a_line_that_would_match_more_without(self) -> None:
        tree = tree_from(dist("alpha", "1.5"), dist("alpha", "1.6", ["alpha_1_6.py"]))
        result = Pipeline((passes.StripMetadata("none"),)).run(tree)
        healing = heal(result, lambda tree: not tree.under("alpha-1.5.dist-info"))
        assert healing.keep == ("/alpha-1.5.dist-info/",)

    def test_the_cache_of_a_source_is_left_alone(self) -> None:
        """It would only take a second line of the user's configuration."""
        result = Pipeline((passes.PromoteBytecode(PYTHON),)).run(
            tree_from(cached("alpha/a.py", "x = 1"), cached("alpha/b.py", "x = 2"))
        )
        healing = heal(result, needs(result, "alpha/a.py"))
        assert healing.keep == ("/alpha/a.py",)

    def test_nor_are_the_caches_of_a_whole_directory_brought_back(self) -> None:
        places = [f"alpha/s{number % 15}/m{number}.py" for number in range(45)]
        result = Pipeline((passes.PromoteBytecode(PYTHON),)).run(
            tree_from(*(cached(place, "x = 1") for place in places))
        )
        healing = heal(result, needs(result, *places))
        assert healing.undone == set(places)
        assert healing.keep == ("/alpha/**/*.py",)

    def test_the_cache_comes_back_when_it_is_needed(self) -> None:
        tree = tree_from(cached("alpha/a.py", "x = 1"), cached("alpha/b.py", "x = 2"))
        result = Pipeline((passes.PromoteBytecode(PYTHON),)).run(tree)
        (cache,) = (path for path in tree if "/a." in path and path.endswith(".pyc"))
        assert heal(result, needs(result, cache)).undone == {cache}


MODULES = ["__init__.py", "a.py", "conf.py", "conf2.py", "sub/__init__.py", "sub/b.py", "c.txt"]
TESTS = ["tests/__init__.py", "tests/test_x.py", "sub/tests/data[1].txt"]
SOURCES = st.sampled_from(["x = 1\n", "", "def broken(:\n", "import beta.tests\n"])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    entries: list[Entry] = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        package = name.replace("-", "_")
        chosen = draw(st.lists(st.sampled_from(MODULES + TESTS), min_size=1, unique=True))
        files: dict[str, str | bytes] = {}
        for path in (f"{package}/{module}" for module in chosen):
            source = draw(SOURCES)
            good = path.endswith(".py") and "broken" not in source and draw(st.booleans())
            files |= cached(path, source) if good else {path: source}
        if draw(st.booleans()):
            files[f"{package}/a.pyc"] = b"what lies in the way"
        entries += dist(name, files=files, requires=draw(st.sampled_from([[], ["beta"]])))
    if draw(st.booleans()):
        entries += tree_from({"app.py": "x = 1\n", "old.egg-info": metadata("old", "1")}).values()
    return Tree(entries)


patterns = st.lists(
    st.sampled_from(["*.txt", "conf*.py", "/beta/", "top_level.txt", "!a.py"]), max_size=3
)
STEPS: list[st.SearchStrategy[Pass]] = [
    patterns.map(lambda lines: passes.Exclude(lines, must_match=False)),
    st.just(passes.StripTests()),
    st.builds(passes.StripMetadata, st.sampled_from(["none", "minimal"])),
    st.builds(passes.PromoteBytecode, st.just(PYTHON), mode=st.sampled_from(["legacy", "cached"])),
    st.sampled_from([None, PYTHON]).map(passes.StripBytecode),
]
pipelines = st.permutations(STEPS).flatmap(
    lambda some: st.integers(1, len(some)).flatmap(lambda n: st.tuples(*some[:n]))
)
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(result: Result, wanted: Sequence[str], healing: Healing) -> None:
    """The set is the wanted one, with what lies in its way, unless that is not claimed."""
    edits = Undoing(result).edits
    places = [path.partition("-info/")[0] + "-info/" for path in wanted if "-info/" in path]
    together = [path for path in edits if path.startswith(tuple(places))]
    least = Undoing(result).closed([*wanted, *together])
    tree = undone(result, healing.undone)
    assert set(wanted) <= as_before(result, tree)
    assert least <= healing.undone
    if healing.minimal:
        assert healing.undone == least
    count = len(wanted)
    assert healing.calls <= 6 + (count + 1) * (2 * len(edits).bit_length() + 4)


@few
@given(trees(), pipelines, st.data())
def test_the_hidden_paths_are_found(
    tree: Tree, steps: tuple[Pass, ...], data: st.DataObject
) -> None:
    """Whatever files a program needs, exactly these come back, and the keep lines say so."""
    pipeline = Pipeline(steps)
    result = pipeline.run(tree)
    edited = sorted(Undoing(result).edits)
    # A file that is like before although it was edited cannot be missed.
    edited = [path for path in edited if path not in as_before(result, result.after)]
    if not edited:
        return
    wanted = data.draw(st.lists(st.sampled_from(edited), min_size=1, max_size=4, unique=True))
    healing = heal(result, needs(result, *wanted))
    check(result, wanted, healing)
    again = Pipeline(steps, keep=healing.keep).run(tree)
    assert not needs(again, *healing.undone)(again.after)
    assert not [f for f in again.findings if "keep pattern" in f.message]


@few
@given(st.sets(st.sampled_from(sorted(Undoing(LARGE).edits)), min_size=1, max_size=6))
@example({"p0/m0.txt"})
@example({path for path in Undoing(LARGE).edits if path.startswith("p4/sub/")})
def test_in_a_large_result(wanted: set[str]) -> None:
    healing = heal(LARGE, needs(LARGE, *wanted))
    check(LARGE, sorted(wanted), healing)
    assert healing.calls <= 120


@few
@given(trees(), pipelines, st.data())
def test_undoing_leaves_the_rest_as_it_is(
    tree: Tree, steps: tuple[Pass, ...], data: st.DataObject
) -> None:
    """What is undone is as before, and every other file of the result has the same bytes."""
    result = Pipeline(steps).run(tree)
    undoing = Undoing(result)
    some = [path for path in undoing.edits if data.draw(st.booleans())]
    closed = undoing.closed(some)
    mended = undone(result, some)
    assert all(mended[path] == tree[path] for path in closed)
    changed = {change.path for path in closed for change in undoing.edits[path]}
    changed |= {c.new_path for path in closed for c in undoing.edits[path] if c.new_path}
    rest = set(result.after) - changed
    assert set(mended) == rest | closed
    assert all(mended[path] == result.after[path] for path in rest)
    if not undoing.added_by:
        assert undone(result, undoing.edits).digest() == tree.digest()
