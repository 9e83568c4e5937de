"""Runs passes over a tree and is the only place where their edits are applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lambdaslim.distributions import Distributions
from lambdaslim.errors import PlanError
from lambdaslim.findings import Finding
from lambdaslim.knowledge import Knowledge
from lambdaslim.passes.contract import Context, Pass
from lambdaslim.patterns import Patterns
from lambdaslim.readings import Readings
from lambdaslim.tree import Add, Edit, Entry, Keep, Remove, Tree


@dataclass(frozen=True, slots=True)
class Change:
    """One applied edit: who made it, why, and the bytes before and after.

    `new_path` is where the content of a replacement went (often `path`), None for a removal. An
    added file has no bytes before, and its `path` is its `new_path`. `original` is the file as it
    was before the edit, None for an added one. `follows` and `unit` are those of `Remove`.
    """

    pass_name: str
    path: str
    new_path: str | None
    reason: str
    before: int
    after: int
    original: Entry | None = field(default=None, repr=False, compare=False)
    follows: str | None = None
    unit: str | None = None

    @property
    def added(self) -> bool:
        """Whether there was no file before."""
        return self.original is None

    @property
    def saved(self) -> int:
        """Bytes saved; negative when the replacement is larger."""
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that stays on purpose: `path` is a file, a directory or a distribution."""

    pass_name: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a pipeline made of a tree. `before.size - after.size` is the sum of all savings."""

    before: Tree
    after: Tree
    changes: tuple[Change, ...]
    kept: tuple[Kept, ...]
    findings: tuple[Finding, ...]
    distributions: Distributions = field(repr=False)

    @property
    def saved(self) -> int:
        """Bytes saved by all changes."""
        return self.before.size - self.after.size


@dataclass(frozen=True)
class Pipeline:
    """An ordered tuple of passes, and what keeps them from taking too much.

    Attributes:
        passes: run in this order.
        keep: gitignore patterns of what no pass may touch.
        knowledge: the keep-rules of distributions that are in force.
        hazards: whether passes look for code that needs what they would take away.
        readings: remembers what was found in single files from run to run; its cache keeps that,
            and what passes compute, for later processes. None remembers nothing.

    Raises:
        PatternError: a malformed keep pattern.

    >>> from lambdaslim import Entry, Pipeline, Tree, passes
    >>> tree = Tree([Entry.of("a.py", "x = 1"), Entry.of("notes.txt", "hello")])
    >>> result = Pipeline((passes.Exclude(["*.txt"]),)).run(tree)
    >>> list(result.after), result.saved
    (['a.py'], 5)
    """

    passes: Sequence[Pass]
    keep: Sequence[str] = ()
    knowledge: Knowledge = field(default_factory=Knowledge.bundled, repr=False)
    hazards: bool = True
    readings: Readings | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the keep patterns."""
        object.__setattr__(self, "passes", tuple(self.passes))
        object.__setattr__(self, "keep", Patterns(self.keep).lines)

    def context(self, distributions: Distributions) -> Context:
        """Return what the passes are told about a tree with these distributions."""
        keep = Patterns(self.keep)
        readings = self.readings or Readings()
        return Context(distributions, self.knowledge, keep, self.hazards, readings)

    def run(self, tree: Tree) -> Result:
        """Apply every pass in turn; nothing on disk is changed.

        Raises:
            PlanError: a pass yields an edit that cannot be applied.
            ChangedError: a file of the tree changed since the scan.
            BytecodeError: the target's interpreter fails.
        """
        context = self.context(Distributions.read(tree))
        run = _Run(context, tree)
        run.findings.extend(context.distributions.findings)
        for line in context.keep.unused(tree):
            message = f"the keep pattern {line!r} matches nothing"
            run.findings.append(Finding("pattern-unused", message))
        for step in self.passes:
            run.apply(step)
        return Result(
            before=tree,
            after=run.tree,
            changes=tuple(run.changes),
            kept=tuple(run.kept),
            findings=tuple(dict.fromkeys(run.findings)),
            distributions=context.distributions,
        )


class _Run:
    """The state of one run: the tree so far, and the record of what was done to it."""

    def __init__(self, context: Context, tree: Tree) -> None:
        self.context = context
        self.tree = tree
        self.changes: list[Change] = []
        self.kept: list[Kept] = []
        self.findings: list[Finding] = []

    def apply(self, step: Pass) -> None:
        edits: dict[str, Edit] = {}
        for decision in step.edits(self.tree, self.context):
            if isinstance(decision, Finding):
                self.findings.append(decision)
            elif isinstance(decision, Keep):
                self.kept.append(Kept(step.name, decision.path, decision.reason))
            elif why := self._forbidden(step, decision):
                self.kept.append(Kept(step.name, decision.path, why))
            else:
                _add(edits, decision, step, self.tree)
        self._give_up(step, edits)
        self._commit(step, edits.values())

    def _forbidden(self, step: Pass, edit: Edit) -> str | None:
        if isinstance(edit, Add):  # touches nothing
            return None
        if line := self.context.keep.match(edit.path):
            return f"the keep pattern {line!r}"
        if rule := self.context.rule(step.name, edit.path, self.tree):
            return rule.why
        return None

    def _give_up(self, step: Pass, edits: dict[str, Edit]) -> None:
        """Take out edits that lost their ground: until none does, since one may carry another."""
        while lost := {e.path: why for e in edits.values() if (why := self._lost(e, edits))}:
            for path, why in lost.items():
                del edits[path]
                self.kept.append(Kept(step.name, path, why))

    def _lost(self, edit: Edit, edits: dict[str, Edit]) -> str | None:
        if isinstance(edit, Remove):
            alone = edit.follows is not None and edit.follows not in edits
            return f"{edit.follows} is kept" if alone else None
        new = edit.entry.path
        stays = new in self.tree.directories or (new in self.tree and new not in edits)
        taken = new != edit.path and stays
        return f"{new} is kept, and would be overwritten" if taken else None

    def _commit(self, step: Pass, edits: Iterable[Edit]) -> None:
        entries: dict[str, Entry] = dict(self.tree)
        added: list[Entry] = []
        for edit in sorted(edits, key=lambda edit: edit.path):
            old = entries.pop(edit.path, None)
            new = None if isinstance(edit, Remove) else edit.entry
            added += [new] if new else []
            self.changes.append(
                Change(
                    step.name,
                    edit.path,
                    new.path if new else None,
                    edit.reason,
                    old.size if old else 0,
                    new.size if new else 0,
                    old,
                    edit.follows if isinstance(edit, Remove) else None,
                    edit.unit if isinstance(edit, Remove) else None,
                )
            )
        if added or len(entries) != len(self.tree):
            self.tree = Tree([*entries.values(), *added])


def _add(edits: dict[str, Edit], edit: Edit, step: Pass, tree: Tree) -> None:
    adds = isinstance(edit, Add)
    if edit.path in edits or (edit.path in tree) == adds:
        there = "is in the tree already, and added" if adds else "is not in the tree, and edited"
        problem = "is edited twice" if edit.path in edits else there
        raise PlanError(f"{problem} by the pass {step.name}", where=edit.path, fix="mend the pass")
    edits[edit.path] = edit
