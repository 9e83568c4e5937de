"""Compares packages after slimming with the one before."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lambdaslim import interpreters
from lambdaslim.errors import TargetError, UsageError
from lambdaslim.scanner import StrPath
from lambdaslim.target import Target
from lambdaslim.tree import Tree
from lambdaslim.verification.imports import ImportsProof, worker_count
from lambdaslim.verification.metadata import MetadataProof
from lambdaslim.verification.processes import Running
from lambdaslim.verification.proof import Proof
from lambdaslim.verification.provided import Beside, Store, beside
from lambdaslim.verification.running import CommandProof, HandlerProof
from lambdaslim.verification.side import Side, Surroundings
from lambdaslim.verification.values import Checks, Failure, Verification

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class Verifier:
    """Runs a package before slimming once, and packages after slimming as often as asked.

    A context manager, which owns scratch directories; the trees are copied into them.
    """

    def __init__(  # noqa: PLR0913 - what is compared, and the rest by keyword
        self,
        before: Tree,
        target: Target,
        checks: Checks,
        *,
        interpreter: StrPath | None = None,
        cache: Path | None = None,
        removed: Collection[str] = (),
        progress: Callable[[str], object] = str,
    ) -> None:
        """Find the interpreter; nothing is run or written yet.

        Args:
            before: the package as it was.
            target: what it is for.
            checks: what to compare.
            interpreter: path of a Python of the target's version; None looks for one.
            cache: where the runtime's distributions and client are kept; None installs them anew.
            removed: paths that were left out on purpose: their modules need not import.
            progress: called with one line before each step that takes time.

        Raises:
            TargetError: no such interpreter is here, or the target is another machine's.
            UsageError: the handler or command cannot be run on this system.
        """
        _refuse_other_machine(target, checks)
        name = "{}.{}".format(*target.python)
        found = interpreters.find(target.python, target.runtime.magic, interpreter)
        if found is None:
            raise TargetError(
                f"no Python {name} was found to verify with",
                where=target.runtime.name,
                fix=interpreters.how_to_get(target.python),
            )
        self.interpreter = found
        self._before = before
        self._target = target
        self._checks = checks
        self._cache = cache
        self._removed = frozenset(removed)
        self._progress = progress
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Stage the package before slimming, and find what the runtime has beside it.

        Raises:
            SlimError: the runtime client is needed and cannot be had, or a file has changed.
        """
        with ExitStack() as stack:
            scratch = tempfile.TemporaryDirectory(prefix="lambdaslim-", ignore_cleanup_errors=True)
            # What runs there must see the path that it is told.
            place = Path(stack.enter_context(scratch)).resolve()
            self._store = Store(self._cache or place / "cache", self._target, self._progress)
            hints = [self._checks.run] if self._checks.run else []
            self._beside = beside(self._before, hints, self._store, place / "own")
            pool = stack.enter_context(ThreadPoolExecutor(worker_count()))
            # Before the pool is left, which waits for what its threads wait for.
            running = Running()
            stack.callback(running.stop)
            timeout = self._checks.timeout
            around = Surroundings(
                self.interpreter,
                self._beside.paths,
                place,
                timeout,
                pool,
                running,
                self._checks.environment,
            )
            self._start, self._after = Side("before", around), Side("after", around)
            self._start.hold(self._before)
            self._proofs = tuple(self._proofs_asked(self._start, self._beside))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the scratch directories."""
        self._stack.close()

    def verify(self, after: Tree) -> Verification:
        """Compare everything.

        Raises:
            UsageError: the handler or the command fails before slimming too.
            ChangedError: a file of the tree changed since the scan.
        """
        self._after.hold(after)
        outcomes = [proof.compare(self._after) for proof in self._proofs]
        return Verification(
            failures=tuple(failure for one in outcomes for failure in one.failures),
            checked={kind: count for one in outcomes for kind, count in one.checked.items()},
            notes=(*self._beside.notes, *(note for one in outcomes for note in one.notes)),
            python=self.interpreter.version,
        )

    def still_fails(self, after: Tree, failures: Sequence[Failure]) -> bool:
        """Tell whether one of these failures is still there; nothing else is looked at.

        Only what differs from the tree staged last is written. It stops at the first failure that
        is still there, so put the likeliest first.
        """
        self._after.hold(after)
        for proof in self._proofs:
            mine = [failure for failure in failures if failure.kind in proof.kinds]
            if mine and proof.still_fails(self._after, mine):
                return True
        return False

    def _proofs_asked(self, before: Side, found: Beside) -> Iterator[Proof]:
        checks = self._checks
        if checks.imports:
            yield MetadataProof(before, self._removed)
            yield ImportsProof(before, self._removed, found.modules, self._progress)
        if checks.handler is not None:
            given = None if checks.client is None else Path(checks.client).absolute()
            client = self._store.client(given)
            yield HandlerProof(before, checks.handler, checks.event, client, self._progress)
        if checks.run is not None:
            yield CommandProof(before, checks.run, self._progress)


def _refuse_other_machine(target: Target, checks: Checks) -> None:
    machine = platform.machine().lower()
    here = _MACHINES.get(machine, machine)
    if here != target.machine:
        raise TargetError(
            f"is another machine's than this one's ({here}), so its binaries cannot run here",
            where=target.architecture,
            fix="verify on such a machine, or leave out the verification",
        )
    if checks.handler is not None and sys.platform != "linux":
        what = "the runtime client, which invokes a handler, is made for Linux only"
        raise UsageError(what, fix="verify on Linux, or leave out the handler")
    if checks.run is not None and os.name != "posix":
        raise UsageError("a command needs a POSIX shell", fix="verify on Linux or macOS")
