"""Prune-rules and choices: their conditions, and what a row may not be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from elves import elf, extension
from lambdaslim import Entry, Pipeline, Result, Tree, passes
from lambdaslim.errors import DataError, UsageError
from lambdaslim.knowledge import Knowledge
from lambdaslim.knowledge.prune import ChoiceRule, PruneRule, parse_choice, parse_prune
from lambdaslim.passes import PruneData, StripDuplicateData
from lambdaslim.presets import preset
from lambdaslim.target import Target
from trees import PYTHON, dist, pyc_of, tree_from, without

ROW = """
[[prune]]
distribution = "lib"
versions = ""
paths = ["/lib/extra/"]
when = "unused"
unless_named = ["lib.extra"]
reason = "an extra"
evidence = "https://example.com"
checked = []
"""
CHOICE = r"""
[[choice]]
distribution = "lib"
versions = ""
option = "services"
key = '^lib/data/(?P<key>\w+)\.json$'
calls = ["client"]
keyword = "name"
lists = ["all_models"]
reason = "a model"
evidence = "https://example.com"
checked = []
"""
LIB = {"lib/__init__.py": "", "lib/extra/a.bin": "1"}
DATA = {"lib/__init__.py": "", **{f"lib/data/{name}.json": name for name in ("one", "two")}}


def run(tree: Tree, step: passes.Pass | None = None, rows: str = ROW) -> Result:
    knowledge = Knowledge(prune=parse_prune(rows, "x"), choice=parse_choice(rows, "x"))
    return Pipeline((step or PruneData(),), knowledge=knowledge).run(tree)


def removed(result: Result) -> list[str]:
    return [change.path for change in result.changes]


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({}, "no code of yours"),
        ({"data.json": "{}"}, "no code of yours"),
        ({"bin/tool.py": "import lib"}, "no code of yours"),
        ({"app.py": "from lib import extra"}, "app.py names lib.extra"),
        ({"app.py": "import lib", "plugins.ini": "use = lib.extra"}, "plugins.ini names"),
        ({"app.py": "import lib; getattr(lib, 'extra')"}, "app.py names"),
        ({"app.py": "import lib", "old.pyc": pyc_of("import lib")}, "old.pyc is compiled"),
        ({"app.py": "", "fast.so": extension("fast")}, "fast.so is compiled"),
    ],
)
def test_what_spares_the_files_of_a_rule(own: dict[str, str | bytes], why: str) -> None:
    result = run(tree_from(dist("lib", files=LIB), own))
    assert not result.changes
    assert why in result.kept[0].reason


@pytest.mark.parametrize(
    "own",
    [
        {"app.py": "import lib"},
        {"app.py": "'''Without lib.extra.'''\nimport lib  # no extra"},
        {"app.py": "import extra"},
    ],
)
def test_code_that_names_them_nowhere_gives_them_up(own: dict[str, str]) -> None:
    assert removed(run(tree_from(dist("lib", files=LIB), own))) == ["lib/extra/a.bin"]


@pytest.mark.parametrize(
    ("path", "data", "spares"),
    [
        ("other/a.pyc", pyc_of("from lib import extra"), True),
        ("other/a.so", extension("a") + b"\0lib\0extra\0", True),
        ("other/a.so", extension("a") + b"lib.extra", True),
        ("other/a.so", extension("a") + b"library extraordinary", False),
        ("other/a.py", b"from lib import (\n  extra,\n)", True),
        ("other/a.txt", b"lib.extra", False),
    ],
)
def test_code_of_other_distributions_spares_them(path: str, data: bytes, spares: bool) -> None:  # noqa: FBT001 - a parameter of the table
    other = dist("other", files={path: data})
    result = run(tree_from(dist("lib", files=LIB), other, {"app.py": ""}))
    assert (not result.changes) is spares


def test_without_a_record_nobody_knows_whose_code_it_is() -> None:
    tree = tree_from(
        dist("lib", files=LIB), without(dist("old"), "RECORD"), {"app.py": "import lib"}
    )
    assert "no RECORD" in run(tree).kept[0].reason


def test_a_library_that_another_one_needs_stays() -> None:
    files = {"lib/__init__.py": "", "lib/extra/libx.so.1": elf(soname="libx.so.1")}
    user = dist("user", files={"user/fast.so": elf(needed=["libx.so.1"])})
    result = run(tree_from(dist("lib", files=files), user, {"app.py": ""}))
    assert not result.changes
    assert "user/fast.so needs libx.so.1" in result.kept[0].reason
    assert removed(run(tree_from(dist("lib", files=files), {"app.py": ""}))) == [
        "lib/extra/libx.so.1"
    ]


def test_the_files_of_a_rule_are_one_unit() -> None:
    files = {"lib/__init__.py": "", "lib/extra/a": "1", "lib/extra/b": "2"}
    result = run(tree_from(dist("lib", files=files), {"app.py": ""}))
    assert len({change.unit for change in result.changes}) == 1
    assert result.changes[0].unit is not None


def test_a_distribution_below_a_prefix() -> None:
    tree = tree_from(dist("lib", files=LIB, root="python"), {"app.py": ""})
    assert removed(run(tree)) == ["python/lib/extra/a.bin"]


def test_a_service_that_nobody_has_is_refused_with_what_is_like_it() -> None:
    tree = tree_from(dist("lib", files=DATA))
    with pytest.raises(UsageError, match=r"onn: is none of the 2 services .* mean one"):
        run(tree, PruneData(services=["onn"]), CHOICE)
    assert removed(run(tree, PruneData(services=["one"]), CHOICE)) == ["lib/data/two.json"]


def test_services_of_a_tree_without_such_data_are_no_error() -> None:
    assert not run(tree_from(dist("other")), PruneData(services=["one"]), CHOICE).changes


@pytest.mark.parametrize(
    ("own", "gone"),
    [
        ({"app.py": "lib.client('one')"}, ["lib/data/two.json"]),
        ({"app.py": "lib.client('one')", "b.py": "x = 'two'"}, []),
        ({"app.py": "lib.client(name)"}, []),
        ({"app.py": "lib.other('one')"}, []),
        ({"app.py": "lib.client('one')", "b.py": "lib.all_models()"}, []),
        ({}, []),
    ],
)
def test_services_are_found_in_the_users_code(own: dict[str, str], gone: Sequence[str]) -> None:
    result = run(tree_from(dist("lib", files=DATA), own), rows=CHOICE)
    assert removed(result) == list(gone)


def test_code_of_others_that_cannot_be_read_keeps_all_services() -> None:
    other = dist("other", files={"other/a.pyc": pyc_of("import lib")})
    tree = tree_from(dist("lib", files=DATA), other, {"app.py": "lib.client('one')"})
    result = run(tree, rows=CHOICE)
    assert not result.changes
    assert "other/a.pyc is compiled" in result.kept[0].reason


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (ROW, 'when = "sometimes"', "when is neither"),
        (ROW, 'by = "strip-elf"', "by is none"),
        (ROW, "unless_named = []", "unless_named is missing"),
        (ROW, "paths = []", "paths is empty"),
        (ROW, 'paths = "lib"', "paths is no list"),
        (ROW, "checked = [1]", "something else than strings"),
        (ROW, 'distribution = "My_Lib"', "not normalised"),
        (ROW, 'evidence = "me"', "no link"),
        (ROW, 'colour = "red"', "colour"),
        (ROW, 'versions = "new"', "new"),
        (CHOICE, 'option = "colours"', "option is neither"),
        (CHOICE, 'key = "x"', "no group"),
        (CHOICE, 'key = "("', "unterminated"),
        (CHOICE, "[[colours]]", "unknown table"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(rows: str, line: str, message: str) -> None:
    key = line.partition(" ")[0]
    kept = [one for one in rows.splitlines() if one.partition(" ")[0] != key]
    parse = parse_prune if rows == ROW else parse_choice
    with pytest.raises(DataError, match=message):
        parse("\n".join([*kept, line]), "x")


LIBRARY = elf(soname="libx.so.2")
NAMES = ("lib/libx.so", "lib/libx.so.2", "lib/libx.so.2.1")


def copies(own: dict[str, str | bytes] | None = None, source: str = "") -> Result:
    files = {"lib/__init__.py": source, **dict.fromkeys(NAMES, LIBRARY)}
    return run(tree_from(dist("lib", files=files), own or {}), StripDuplicateData(), "")


def test_copies_of_a_library_go_but_for_its_own_name() -> None:
    assert removed(copies()) == ["lib/libx.so", "lib/libx.so.2.1"]


def test_a_copy_whose_name_is_held_somewhere_stays() -> None:
    result = copies({"app.py": "load('libx.so')"})
    assert removed(result) == ["lib/libx.so.2.1"]
    assert "app.py holds its name" in result.kept[0].reason


@pytest.mark.parametrize(
    "source",
    [
        "ctypes.CDLL(place)",
        "ctypes.CDLL('lib' + x)",
        "ctypes.CDLL(f'lib{x}.so')",
        "ctypes.cdll.LoadLibrary(place)",
        "ctypes.cdll.x",
        "from ctypes import CDLL",
    ],
)
def test_copies_stay_where_libraries_are_loaded_by_hand(source: str) -> None:
    assert not copies(source=f"import ctypes\n{source}\n").changes


@pytest.mark.parametrize("source", ["CDLL('msvcrt')", 'cdll.LoadLibrary("a.so", mode=1)'])
def test_copies_go_where_the_libraries_that_are_loaded_are_named(source: str) -> None:
    assert copies(source=f"import ctypes\nctypes.{source}\n").changes


def test_copies_stay_where_code_of_the_user_or_who_requires_them_loads_libraries() -> None:
    loads = "import ctypes\nctypes.CDLL(f'lib/lib{name}.so')\n"
    assert not copies({"app.py": loads}).changes
    files = {"lib/__init__.py": "", **dict.fromkeys(NAMES, LIBRARY)}
    for requires, gone in (["lib"], []), ([], ["lib/libx.so", "lib/libx.so.2.1"]):
        other = dist("other", files={"other/__init__.py": loads}, requires=requires)
        result = run(tree_from(dist("lib", files=files), other), StripDuplicateData(), "")
        assert removed(result) == gone


def test_what_only_looks_like_a_copy_stays() -> None:
    other = elf(soname="libx.so.3")
    files = {"lib/__init__.py": "", "lib/libx.so.2": LIBRARY, "lib/libx.so": other}
    assert len(LIBRARY) == len(other)
    assert not run(tree_from(dist("lib", files=files)), StripDuplicateData(), "").changes


def test_presets_take_services_and_locales() -> None:
    target = Target.of(f"python{PYTHON}")
    found = [step for step in preset("small", target, services=["s3"]) if step.name == "prune-data"]
    assert found == [PruneData(services=("s3",))]
    found = [step for step in preset("safe", target, locales=["de"]) if step.name == "prune-data"]
    assert found == [PruneData(locales=("de",), rules=False)]
    assert not [step for step in preset("safe", target) if step.name == "prune-data"]
    with pytest.raises(UsageError, match="classic"):
        preset("classic", target, services=["s3"])


def test_a_string_is_no_list_of_services() -> None:
    with pytest.raises(UsageError, match="services"):
        PruneData(services="s3")


def test_the_bundled_rules_say_what_shows_them() -> None:
    bundled = Knowledge.bundled()
    rules: list[PruneRule | ChoiceRule] = [*bundled.prune, *bundled.choice]
    for rule in rules:
        compile(rule.check, rule.distribution, "exec")
        assert rule.distribution == "*" or (rule.check.strip() and rule.checked)


SCRIPT = """
[[prune]]
distribution = "lib"
versions = ""
by = "strip-tests"
paths = ["/lib/scripts/"]
unless_named = ["lib.scripts"]
reason = "scripts"
evidence = "https://example.com"
checked = []
"""
TESTED = {
    "lib/__init__.py": "",
    "lib/scripts/make.py": "from lib.tests import data",
    "lib/tests/data.py": "",
}


@pytest.mark.parametrize(
    ("own", "keep", "gone"),
    [
        ({}, (), ["lib/scripts/make.py", "lib/tests/data.py"]),
        ({"app.py": "import lib.scripts"}, (), []),
        ({}, ("/lib/scripts/",), []),
        # What only tests use stays with them: they may import it.
        ({"app.py": "import lib.tests"}, (), []),
    ],
)
def test_tests_do_not_stay_for_scripts_that_go(
    own: dict[str, str], keep: tuple[str, ...], gone: list[str]
) -> None:
    knowledge = Knowledge(prune=parse_prune(SCRIPT, "x"))
    pipeline = Pipeline((passes.StripTests(),), keep=keep, knowledge=knowledge)
    assert removed(pipeline.run(tree_from(dist("lib", files=TESTED), own))) == gone


def test_a_slimmed_tree_has_no_more_to_prune() -> None:
    own = {"app.py": "import lib\nlib.client('one')\n"}
    tree = tree_from(dist("lib", files={**LIB, **DATA}), own, Entry.of("x.txt"))
    once = run(tree, rows=ROW + CHOICE)
    assert once.changes
    assert not run(once.after, rows=ROW + CHOICE).changes


@pytest.mark.parametrize(
    ("named_in", "goes"), [("lib/own.py", True), ("other/__init__.py", False), ("main.py", False)]
)
def test_what_the_distribution_itself_names_does_not_count(named_in: str, *, goes: bool) -> None:
    rows = ROW.replace('when = "unused"', 'when = "always"')
    files = {**LIB, "lib/own.py": "", "other/__init__.py": ""}
    files[named_in] = "import lib.extra\n"
    mine = {path: text for path, text in files.items() if path.startswith("lib/")}
    others = {path: text for path, text in files.items() if path.startswith("other/")}
    own = {path: text for path, text in files.items() if path == "main.py"}
    result = run(tree_from(dist("lib", "1", mine), dist("other", "1", others), own), rows=rows)
    assert ("lib/extra/a.bin" in removed(result)) == goes


def test_what_counts_for_one_of_two_rules_that_ask_for_a_name_counts() -> None:
    """Both ask for "lib.extra", and "other" names it: that is no news to the rule for "other"."""
    first = ROW.replace('when = "unused"', 'when = "always"')
    second = first.replace('distribution = "lib"', 'distribution = "other"').replace(
        '"/lib/extra/"', '"/other/extra/"'
    )
    other = {"other/__init__.py": "import lib.extra\n", "other/extra/b.bin": "2"}
    tree = tree_from(dist("lib", "1", LIB), dist("other", "1", other))
    result = run(tree, rows=first + second)
    assert removed(result) == ["other/extra/b.bin"]


@pytest.mark.parametrize("along", ['["other"]', "[]"])
def test_passes_that_ask_for_the_same_name_may_leave_out_others(along: str) -> None:
    first = ROW.replace('when = "unused"', 'when = "always"')
    second = first.replace("/lib/extra/", "/lib/more/") + 'by = "strip-duplicate-data"\n'
    second += f"along = {along}\n"
    lib = {**LIB, "lib/more/c.bin": "3"}
    other = {"other/__init__.py": "import lib.extra\n"}
    tree = tree_from(dist("lib", "1", lib), dist("other", "1", other))
    assert removed(run(tree, rows=first + second)) == []
    duplicates = removed(run(tree, StripDuplicateData(), first + second))
    assert duplicates == (["lib/more/c.bin"] if along != "[]" else [])
