"""Takes back some of the edits of a finished run, and leaves the others as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from lambdaslim.errors import PlanError
from lambdaslim.pipeline import Change, Result
from lambdaslim.tree import Entry, Tree


class Undoing:
    """What became of every file of a run, and the trees in which some are as they were.

    Attributes:
        edits: by the path that a file had before the run, the changes made to it, in order. They
            are one chain: a later change may concern the path that an earlier one gave it.
        added_by: the passes that put files where there were none. Their files are of no chain.
    """

    def __init__(self, result: Result) -> None:
        """Follow every chain from its first path to its last."""
        self.result = result
        edits: dict[str, list[Change]] = {}
        # The first path of what lies at a path, None for what was added.
        self._origins: dict[str, str | None] = {path: path for path in result.before}
        for step in _steps(result):
            arrived: dict[str, str | None] = {}
            for change in step:
                origin = None if change.added else self._origins.pop(change.path)
                if origin is not None:
                    edits.setdefault(origin, []).append(change)
                if change.new_path is not None:
                    arrived[change.new_path] = origin
            self._origins |= arrived
        self.edits: Mapping[str, tuple[Change, ...]] = {p: tuple(c) for p, c in edits.items()}
        self.added_by = sorted({change.pass_name for change in result.changes if change.added})
        self._ends = {origin: path for path, origin in self._origins.items() if origin is not None}
        self._neighbours: dict[str, tuple[str, ...]] = {}

    def closed(self, paths: Iterable[str]) -> frozenset[str]:
        """Return the paths, and those of files that lie where one of them belongs.

        Raises:
            PlanError: a path that no edit concerns.
        """
        found: set[str] = set()
        open_paths = list(paths)
        while open_paths:
            path = open_paths.pop()
            if path not in self.edits:
                fix = "name a file that was edited, by its path before"
                raise PlanError("no edit of it can be undone", where=path, fix=fix)
            if path not in found:
                found.add(path)
                origins = (self._origins[other] for other in self._in_the_way(path))
                open_paths += [origin for origin in origins if origin is not None]
        return frozenset(found)

    def tree(self, paths: Iterable[str]) -> Tree:
        """Return `result.after` with the edits of these paths undone, see `undone`."""
        wanted = self.closed(paths)
        entries: dict[str, Entry] = dict(self.result.after)
        for path in wanted:
            entries.pop(self._ends.get(path, ""), None)
            # What is left there was added: it gives way.
            for added in self._in_the_way(path):
                entries.pop(added, None)
        return Tree([*entries.values(), *(self.result.before[path] for path in wanted)])

    def _in_the_way(self, path: str) -> tuple[str, ...]:
        """Return the paths after the run with which `path` cannot be in one tree, or is one."""
        if path not in self._neighbours:
            after = self.result.after
            parts = path.split("/")
            above = ("/".join(parts[:length]) for length in range(1, len(parts) + 1))
            below = after.under(path) if path in after.directories else ()
            self._neighbours[path] = (*(place for place in above if place in after), *below)
        return self._neighbours[path]


def undone(result: Result, paths: Collection[str]) -> Tree:
    """Return `result.after` with some edits undone; all other files have the same bytes.

    Args:
        result: what a pipeline made of a tree.
        paths: files by their path in `result.before`. Everything that any pass did to one is
            undone. Where a file now lies in the place of one, its edits are undone as well, unless
            it was added: then it is left out.

    Raises:
        PlanError: a path that no edit concerns.
    """
    return Undoing(result).tree(paths)


def _steps(result: Result) -> Iterator[list[Change]]:
    """Yield the changes of each pass: within one, paths ascend and all edits are simultaneous.

    Two passes of one name may follow each other. A change of what has just arrived at a path is
    the second one's, since no pass moves a file to where another is, unless that one goes as well.
    """
    here = set(result.before)
    step: list[Change] = []
    for change in result.changes:
        same = step and change.pass_name == step[-1].pass_name and change.path > step[-1].path
        if step and not (same and (change.added or change.path in here)):
            here -= {one.path for one in step}
            here |= {one.new_path for one in step if one.new_path is not None}
            yield step
            step = []
        step.append(change)
    if step:
        yield step
