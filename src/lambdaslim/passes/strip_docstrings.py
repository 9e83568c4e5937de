"""Blank the docstrings that no code needs, in sources that are to be compiled afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lambdaslim.bytecode import Source, blank_docstrings
from lambdaslim.interpreters import Interpreter, find
from lambdaslim.passes.contract import Context
from lambdaslim.passes.promote_bytecode import importable, inside, is_script
from lambdaslim.target import Target, parse_python
from lambdaslim.tree import Decision, Entry, Keep, Replace, Tree

# What reads sources as they are; a rule or a sign that holds against bytecode holds here too.
_BYTECODE = "promote-bytecode"


@dataclass(frozen=True, slots=True)
class StripDocstrings:
    """Replace docstrings by as many empty lines, so that tracebacks name the same lines.

    Assertions and all else stay. A docstring stays where it may be looked at: in classes with
    bases, under decorators, and in all sources of which the scan says that code uses docstrings,
    or that are read as text. The target's interpreter parses; without one, nothing is done.

    Attributes:
        python: the target's version, like "3.13".
        interpreter: path of an interpreter of that version; None looks for one.
        own: also in files that no RECORD lists, which are the user's.
        everywhere: also in classes with bases and under decorators.

    Raises:
        TargetError: a malformed version, one of no runtime, or an interpreter of another one.
    """

    name: ClassVar[str] = "strip-docstrings"
    python: str
    interpreter: Path | None = None
    own: bool = False
    everywhere: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no target."""
        Target.of("python{}.{}".format(*parse_python(self.python)))

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a replacement per source that loses docstrings, and a `Keep` per one that may not.

        Raises:
            BytecodeError: the target's interpreter cannot be run.
        """
        interpreter = self._found()
        if interpreter is None:
            return
        paths = [path for path in tree if self._concerns(path, tree, context)]
        kept = self._kept(paths, tree, context)
        yield from (Keep(path, why) for path, why in kept.items())
        jobs = [Source(path, tree[path].read()) for path in paths if path not in kept]
        made = blank_docstrings(jobs, interpreter, everywhere=self.everywhere, cache=context.cache)
        for path, data in made.items():
            new = Entry.of(path, data, executable=tree[path].executable)
            yield Replace(path, new, "docstrings that no code needs")

    def estimate(self, tree: Tree, context: Context) -> int:
        """Return about as many bytes as this would save; to parse all sources would take longer."""
        if self._found() is None:
            return 0
        paths = [path for path in tree if self._concerns(path, tree, context)]
        kept = self._kept(paths, tree, context)
        return sum(
            context.readings.docstring_bytes(tree[path], everywhere=self.everywhere)
            for path in paths
            if path not in kept
            and not context.keep.match(path)
            and not context.rule(self.name, path, tree)
        )

    def _found(self) -> Interpreter | None:
        runtime = Target.of("python{}.{}".format(*parse_python(self.python))).runtime
        return find(runtime.python, runtime.magic, self.interpreter)

    def _concerns(self, path: str, tree: Tree, context: Context) -> bool:
        """Tell whether a file is a source of somebody else's, and neither a script nor data."""
        if not path.endswith(".py") or not (self.own or context.distributions.owner(path)):
            return False
        return not is_script(path, context) and importable(inside(path, context), path, tree)

    def _kept(self, paths: list[str], tree: Tree, context: Context) -> dict[str, str]:
        """Return the sources that stay as they are, with the reason."""
        hazards = context.scan(tree)
        needed = {**hazards.sources, **hazards.documented} if hazards else {}
        kept: dict[str, str] = {}
        for path in paths:
            if rule := context.rule(_BYTECODE, path, tree):
                kept[path] = rule.why
            elif path in needed:
                kept[path] = needed[path]
        return kept
