"""One side of the comparison: a tree in a scratch directory, and the probe that runs there."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lambdaslim.archive import materialise
from lambdaslim.errors import TargetError
from lambdaslim.interpreters import Interpreter
from lambdaslim.runtime_api import function_environment
from lambdaslim.tree import Tree
from lambdaslim.verification.processes import Job, Probe, Running

EntryPoint = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a package offers.

    Attributes:
        modules: the files of each module that can be named.
        distributions: what each distribution answers, by its normal name.
        entry_points: distribution, group, name and value of each.
    """

    modules: dict[str, list[str]]
    distributions: dict[str, dict[str, Any]]
    entry_points: tuple[EntryPoint, ...]


@dataclass(frozen=True)
class Surroundings:
    """What both sides have in common.

    Attributes:
        interpreter: of the target's version.
        beside: directories of what the runtime provides.
        scratch: a directory for both sides' directories.
        timeout: seconds for one check.
        pool: runs what both sides do at once.
        running: the processes that are under way.
        variables: of the function, as its owner has configured it.
    """

    interpreter: Interpreter
    beside: tuple[Path, ...]
    scratch: Path
    timeout: float
    pool: Executor
    running: Running
    variables: Mapping[str, str]


class Side:
    """A package, staged; `name` is "before" or "after"."""

    def __init__(self, name: str, around: Surroundings) -> None:
        """Make its directories."""
        self.around = around
        self.package = around.scratch / name / "task"
        self.name = name
        self.home = around.scratch / name / "home"
        self.tree = Tree()
        for directory in (self.package, self.home):
            directory.mkdir(parents=True)

    def hold(self, tree: Tree) -> None:
        """Stage a tree; only what differs from the one before is written."""
        if tree is not self.tree:
            materialise(tree, self.package, self.tree)
            self.tree = tree
            self.__dict__.pop("survey", None)

    @property
    def probe(self) -> Probe:
        """The probe on this side."""
        return Probe(
            self.around.interpreter.executable,
            self.package,
            self.around.beside,
            self.home,
            self.environment,
            self.around.timeout,
            self.around.running,
        )

    @property
    def environment(self) -> dict[str, str]:
        """All variables of a process on this side."""
        return function_environment(self.package, self.home) | dict(self.around.variables)

    @cached_property
    def survey(self) -> Survey:
        """What the staged tree offers."""
        job: Job = ("survey",)
        answer = self.probe.alone(job)
        # After slimming, all that was there before is missing then, which says enough.
        if answer.error is not None and self.name == "before":
            what = f"its modules and distributions cannot be listed: {answer.error}"
            fix = "mend the package, or give more time (timeout, --timeout)"
            raise TargetError(what, where="the package before slimming", fix=fix)
        facts = answer.facts
        points = (tuple(row) for row in facts.get("entry_points", ()))
        return Survey(
            dict(facts.get("modules", {})), dict(facts.get("distributions", {})), tuple(points)
        )
