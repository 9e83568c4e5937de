"""Golden cases: `passes/<name of a pass>/<case>.toml` says what a pass makes of a tree.

A case holds the tree (`[before]`, a path and its content; `[[distribution]]`, the arguments of
`trees.dist`), the `options` of the pass, and everything that the pass decides: `[removed]`
(a path, or a directory that ends in "/", and the reason), `[replaced]` (with a `path` if it moves),
`[kept]` and `findings` (code, message, path). What a case does not mention must stay as it is. A
content is text, or bytes written as `{ latin1 = "..." }`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from lambdaslim import Entry, Finding, Pipeline, Tree, passes
from trees import Data, dist, tree_from

DIRECTORY = Path(__file__).with_name("passes")
CASES = sorted(path.relative_to(DIRECTORY).as_posix() for path in DIRECTORY.glob("*/*.toml"))
BY_INTERPRETERS = {"promote-bytecode", "strip-docstrings"}
BY_NAME = {step.name: step for step in passes.ALL}


@dataclass(frozen=True)
class Case:
    """One golden file; every field is a key of it, and is empty where the key is missing."""

    options: dict[str, Any]
    keep: list[str]
    distribution: list[dict[str, Any]]
    executable: list[str]
    before: dict[str, Any]
    removed: dict[str, str]
    replaced: dict[str, dict[str, Any]]
    kept: dict[str, str]
    findings: list[list[str]]

    @property
    def tree(self) -> Tree:
        entries = [entry for arguments in self.distribution for entry in _dist(arguments)]
        tree = tree_from(_contents(self.before), entries)
        return Tree(
            Entry(e.path, e.size, e.path in self.executable, e.content) for e in tree.values()
        )

    def reasons(self, tree: Tree) -> dict[str, str]:
        """Return the reason of every removal, directories written out as their files."""
        return {
            path: reason
            for key, reason in self.removed.items()
            for path in (tree.under(key.rstrip("/")) if key.endswith("/") else (key,))
        }


def load(name: str) -> Case:
    found = tomllib.loads((DIRECTORY / name).read_text(encoding="utf-8"))
    empty: dict[str, Any] = {"keep": [], "distribution": [], "executable": [], "findings": []}
    return Case(**{field.name: {} for field in fields(Case)} | empty | found)


def _dist(arguments: Mapping[str, Any]) -> list[Entry]:
    files = arguments.get("files")
    return dist(**{**arguments, "files": _contents(files) if isinstance(files, dict) else files})


def _contents(files: Mapping[str, Any]) -> dict[str, Data]:
    return {path: _data(data) for path, data in files.items()}


def _data(content: str | Mapping[str, str]) -> Data:
    return content if isinstance(content, str) else content["latin1"].encode("latin-1")


def _pipeline(name: str, case: Case) -> Pipeline:
    step: Callable[..., passes.Pass] = BY_NAME[Path(name).parent.name]
    return Pipeline((step(**case.options),), keep=tuple(case.keep))


def _contents_of(tree: Tree) -> dict[str, tuple[bytes, bool]]:
    return {path: (entry.read(), entry.executable) for path, entry in tree.items()}


def _expected(case: Case) -> Tree:
    removed = case.reasons(case.tree)
    entries = {path: entry for path, entry in case.tree.items() if path not in removed}
    for path, new in case.replaced.items():
        executable = entries.pop(path).executable
        place = new.get("path", path)
        entries[place] = Entry.of(place, _data(new["content"]), executable=executable)
    return Tree(entries.values())


@pytest.mark.parametrize("name", CASES)
def test_files(name: str) -> None:
    case = load(name)
    result = _pipeline(name, case).run(case.tree)
    assert _contents_of(result.after) == _contents_of(_expected(case))


@pytest.mark.parametrize("name", CASES)
def test_reasons(name: str) -> None:
    case = load(name)
    result = _pipeline(name, case).run(case.tree)
    removed = {c.path: c.reason for c in result.changes if c.new_path is None}
    replaced = {c.path: c.reason for c in result.changes if c.new_path is not None}
    assert removed == case.reasons(case.tree)
    assert replaced == {path: new["reason"] for path, new in case.replaced.items()}


@pytest.mark.parametrize("name", CASES)
def test_kept(name: str) -> None:
    case = load(name)
    result = _pipeline(name, case).run(case.tree)
    assert {one.path: one.reason for one in result.kept} == case.kept


@pytest.mark.parametrize("name", CASES)
def test_findings(name: str) -> None:
    case = load(name)
    result = _pipeline(name, case).run(case.tree)
    by_pass = [found for found in result.findings if found not in result.distributions.findings]
    assert by_pass == [Finding(*found) for found in case.findings]


@pytest.mark.parametrize("name", CASES)
def test_second_run_changes_nothing(name: str) -> None:
    case = load(name)
    pipeline = _pipeline(name, case)
    once = pipeline.run(case.tree).after
    again = pipeline.run(once)
    assert again.changes == ()
    assert again.after == once


@pytest.mark.parametrize("name", CASES)
def test_case_mentions_only_paths_of_its_tree(name: str) -> None:
    case = load(name)
    assert {*case.reasons(case.tree), *case.replaced, *case.executable} <= set(case.tree)


def test_every_pass_has_cases() -> None:
    # Bytecode is different in every interpreter, and the target's interpreter finds docstrings:
    # test_promote_bytecode.py and test_strip_docstrings.py run their own.
    assert {Path(name).parent.name for name in CASES} == set(BY_NAME) - BY_INTERPRETERS
