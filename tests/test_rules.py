"""Each bundled keep-rule is needed, and is enough: its own check says so, on real packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from disk import environment, populate
from lambdaslim import Pipeline, Result, preset, scan, write_dir
from lambdaslim.errors import DataError
from lambdaslim.knowledge import KeepRule, Knowledge, parse
from lambdaslim.knowledge.prune import ChoiceRule, PruneRule
from lambdaslim.passes import Exclude, PruneData, StripDocumentation, StripDuplicateData
from lambdaslim.target import Target
from trees import PYTHON, dist, tree_from
from vendored import Vendor

RULES = [rule for rule in Knowledge.bundled().keep if rule.checked]
# What the user's own code has to hold for a rule of that scope, by distribution.
OWN = {
    "alembic": {
        "migrations/script.py.mako": "",
        "migrations/versions/ab12_first.py": "revision = 'ab12'\ndown_revision = None\n",
    }
}
RUN = """
import os, site, sys
sys.path[0:0] = [sys.argv[1]]
site.addsitedir(sys.argv[1])
os.chdir(sys.argv[1])
exec(sys.argv[2])
"""


def ids(rule: KeepRule) -> str:
    return rule.distribution


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=ids)
def test_a_rule_is_needed_and_enough(rule: KeepRule, vendored: Vendor, tmp_path: Path) -> None:
    try:
        place = vendored(f"{rule.distribution}=={rule.checked[-1]}")
    except AssertionError as error:
        if "No matching distribution" not in str(error):
            raise
        # No wheel for this Python or system.
        pytest.skip(f"{rule.distribution} {rule.checked[-1]} cannot be installed here: {error}")
    own = populate(tmp_path / "own", OWN.get(rule.distribution, {"app.py": ""}))
    tree = scan(place, own)
    passes = preset("safe", Target.of(f"python{PYTHON}"))
    # The search for importers keeps these tests without any rule.
    gone = (Exclude(rule.paths.lines),) if "strip-tests" in rule.passes else ()
    without = Pipeline((*gone, *passes), knowledge=Knowledge(), hazards=False).run(tree)
    with_it = Pipeline(passes, knowledge=Knowledge((rule,)), hazards=False).run(tree)
    assert checked(rule.check, without, tmp_path / "without") != 0
    assert checked(rule.check, with_it, tmp_path / "with") == 0
    assert any(rule.why == kept.reason for kept in with_it.kept)


def checked(statements: str, result: Result, place: Path) -> int:
    write_dir(result.after, place)
    command = [sys.executable, "-I", "-S", "-B", "-c", RUN, str(place), statements]
    return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode


# A small wheel with rules of both kinds; those of others were tried by hand, with the versions in
# `checked`.
PRUNED = ("botocore", "certifi")


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prune", "choice"])
def test_what_rules_prune_is_not_missed(kind: str, vendored: Vendor, tmp_path: Path) -> None:
    tree = scan(vendored(*PRUNED), populate(tmp_path / "own", {"app.py": "x = 1"}))
    bundled = Knowledge.bundled()
    known = {
        "prune": Knowledge(prune=bundled.prune),
        "choice": Knowledge(choice=bundled.choice),
    }[kind]
    steps = (PruneData((), ()), StripDocumentation(), StripDuplicateData())
    result = Pipeline(steps, knowledge=known).run(tree)
    rules: list[PruneRule | ChoiceRule] = [*known.prune, *known.choice]
    mine = [rule for rule in rules if rule.distribution in PRUNED]
    assert all(any(rule.reason in c.reason for c in result.changes) for rule in mine)
    assert checked("\n".join(rule.check for rule in mine), result, tmp_path / "pruned") == 0


def test_every_rule_says_what_shows_its_need() -> None:
    for rule in Knowledge.bundled().keep:
        compile(rule.check, rule.distribution, "exec")
        assert rule.check.strip()


ROW = """
[[keep]]
distribution = "lib"
versions = ""
scope = "user"
paths = ["*.py"]
containing = "down_revision"
passes = ["promote-bytecode"]
reason = "lib looks for them"
evidence = "https://example.com"
checked = []
check = "import lib"
"""


def test_a_rule_of_the_users_scope_holds_for_files_of_no_distribution() -> None:
    own = {"m/a.py": "down_revision = None\n", "m/b.py": "x = 1\n"}
    lib = dist("lib", files={"lib/__init__.py": "", "lib/c.py": "down_revision = 1\n"})
    knowledge = Knowledge(parse(ROW, "lib.toml"))
    passes = preset("safe", Target.of(f"python{PYTHON}"))
    after = Pipeline(passes, knowledge=knowledge).run(tree_from(own, lib)).after
    assert {"m/a.py", "m/b.pyc", "lib/c.pyc"} <= set(after)
    without = Pipeline(passes, knowledge=knowledge).run(tree_from(own, dist("other"))).after
    assert "m/a.pyc" in without


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('scope = "theirs"', "scope is neither"),
        ('check = ""', "check is empty"),
        ('colour = "red"', "colour"),
        ('evidence = "somebody said so"', "no link"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(line: str, message: str) -> None:
    key = line.partition(" ")[0]
    kept = [one for one in ROW.splitlines() if one.partition(" ")[0] != key]
    with pytest.raises(DataError, match=message):
        parse("\n".join([*kept, line]), "lib.toml")
