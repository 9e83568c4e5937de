"""Proves a result by running it, finds out what has to be kept if it fails, and slims again so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from lambdaslim.distributions import Distributions
from lambdaslim.errors import UnhealableError
from lambdaslim.heal import Healing, heal
from lambdaslim.passes import DropProvided, PromoteBytecode, StripBytecode, StripMetadata
from lambdaslim.pipeline import Pipeline, Result
from lambdaslim.scanner import StrPath
from lambdaslim.target import Target
from lambdaslim.verification import Checks, Failure, Verification, Verifier

# Passes that promise that every module imports as before; what others remove may be missed.
_KEEPING = {one.name for one in (DropProvided, PromoteBytecode, StripBytecode, StripMetadata)}
# A failure may hide another one, which is found when the first is mended.
_MOST_ROUNDS = 4
# Failures whose words say where to look first; more say the same.
_TELLING = 20
_WORD = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What has to be kept for a package to work.

    Attributes:
        keep: gitignore lines for `keep`; none if nothing mends it.
        by_pass: the number of edits to be undone, per pass.
        minimal: whether each of them is known to be needed.
        calls: how many packages were tried.
        mended: whether the package passed the whole verification with these lines.
        why: why nothing mends it, None if something does.
    """

    keep: tuple[str, ...]
    by_pass: Mapping[str, int]
    minimal: bool
    calls: int
    mended: bool
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Proved:
    """A result, its verification, and what has to be kept if it failed.

    After healing, `result` is the healed one and `verification` its own; `diagnosis` tells what
    was kept for it.
    """

    result: Result
    verification: Verification
    diagnosis: Diagnosis | None = None


def prove(  # noqa: PLR0913 - what `slim` was given, by keyword
    pipeline: Pipeline,
    result: Result,
    target: Target,
    checks: Checks,
    *,
    healing: bool,
    interpreter: StrPath | None = None,
    cache: StrPath | None = None,
    progress: Callable[[str], object] = str,
) -> Proved:
    """Compare both trees of a result, and find out what has to be kept if one does less.

    Args:
        pipeline: what made the result; it is run again with what has to be kept.
        result: the trees. What a pass removed for good need not import.
        target: what the package is for.
        checks: what to compare.
        healing: return the healed result, if there is one, in place of the failing one.
        interpreter: path of a Python of the target's version; None looks for one.
        cache: where the runtime's distributions and client are kept; None installs them anew.
        progress: called with one line before each step that takes time.

    Raises:
        SlimError: the verification cannot be run, see `Verifier`.
    """
    place = None if cache is None else Path(cache).absolute()
    with Verifier(
        result.before,
        target,
        checks,
        interpreter=interpreter,
        cache=place,
        removed=_left_out(result),
        progress=progress,
    ) as verifier:
        first = Proved(result, verifier.verify(result.after))
        if not first.verification.failures:
            return first
        healed = _Healer(pipeline, verifier, progress).healed(first)
    mended = healed.diagnosis is not None and healed.diagnosis.mended
    return healed if healing and mended else replace(first, diagnosis=healed.diagnosis)


def _left_out(result: Result) -> set[str]:
    gone = (change for change in result.changes if change.new_path is None)
    return {change.path for change in gone if change.pass_name not in _KEEPING}


@dataclass(frozen=True)
class _Healer:
    """Searches round by round: what is mended may show what else is broken."""

    pipeline: Pipeline
    verifier: Verifier
    progress: Callable[[str], object]

    def healed(self, proved: Proved) -> Proved:
        found: list[Healing] = []
        for _ in range(_MOST_ROUNDS):
            self.progress("it fails: looking for the edits that have to be undone")
            try:
                found.append(self._search(proved))
            except UnhealableError as error:
                return replace(proved, diagnosis=_diagnosis(found, why=error.what))
            keep = (*self.pipeline.keep, *chain.from_iterable(one.keep for one in found))
            self.progress("slimming again with what has to be kept")
            result = replace(self.pipeline, keep=tuple(dict.fromkeys(keep))).run(
                proved.result.before
            )
            proved = Proved(result, self.verifier.verify(result.after))
            if not proved.verification.failures:
                return replace(proved, diagnosis=_diagnosis(found, mended=True))
        why = "each time that something was mended, something else failed"
        return replace(proved, diagnosis=_diagnosis(found, why=why))

    def _search(self, proved: Proved) -> Healing:
        failures = proved.verification.failures
        return heal(
            proved.result,
            lambda tree: self.verifier.still_fails(tree, failures),
            suspects=_suspects(failures, proved.result.distributions),
        )


def _suspects(failures: Iterable[Failure], distributions: Distributions) -> tuple[str, ...]:
    """Return the distributions that failures speak of, by their names or their modules."""
    texts = [f"{one.subject} {one.after}" for one in failures][:_TELLING]
    words = dict.fromkeys(word.strip(".-") for text in texts for word in _WORD.findall(text))
    modules = {
        path.partition("/")[0]: owner for owner in distributions.every for path in owner.files
    }
    named = [word for word in words if word in distributions]
    owners = [modules.get(word.partition(".")[0]) for word in words]
    return tuple(dict.fromkeys([*named, *(owner.name for owner in owners if owner)]))


def _diagnosis(
    found: Iterable[Healing], *, mended: bool = False, why: str | None = None
) -> Diagnosis:
    rounds = tuple(found)
    by_pass: dict[str, int] = {}
    for one in rounds:
        for name, count in one.by_pass.items():
            by_pass[name] = by_pass.get(name, 0) + count
    return Diagnosis(
        keep=tuple(dict.fromkeys(line for one in rounds for line in one.keep)),
        by_pass=by_pass,
        minimal=all(one.minimal for one in rounds),
        calls=sum(one.calls for one in rounds),
        mended=mended,
        why=why,
    )
