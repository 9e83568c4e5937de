"""Every module, distribution and entry point that answered before answers after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lambdaslim.verification.processes import Answer, Job
from lambdaslim.verification.proof import Outcome, Progress
from lambdaslim.verification.side import EntryPoint, Side
from lambdaslim.verification.values import Failure, Kind

_SHOWN = 5
_KINDS = ("import", "names", "distribution", "entry-point")


@dataclass
class ImportsProof:
    """Compares what can be imported, found and loaded.

    Attributes:
        before: the side that says what has to work.
        removed: paths that were left out on purpose; their modules need not import.
        provided: top-level modules that the runtime has, in a version of its own.
        progress: called with a line before what takes time.
    """

    before: Side
    removed: frozenset[str]
    provided: frozenset[str]
    progress: Progress
    kinds: tuple[str, ...] = _KINDS
    _alone: dict[Job, Answer] = field(default_factory=dict, repr=False)

    def compare(self, after: Side) -> Outcome:
        """Import everything on both sides, and look closer at what differs."""
        jobs = self._jobs
        many = sum(job[0] == "import" for job in jobs)
        self.progress(f"importing {many:,} modules, before and after")
        pool = self.before.around.pool
        mine = pool.submit(lambda: self._together)
        answers = dict(zip(jobs, after.probe.ask(jobs), strict=True))
        known = mine.result()
        worked = [job for job in jobs if known[job].error is None]
        suspects = [j for j in worked if self._failures(j, known[j], answers[j], after)]
        if suspects:
            self.progress(f"looking closer at {len(suspects):,} that differ")
        confirmed = pool.map(lambda job: self._confirmed(job, after), suspects)
        found = [failure for failures in confirmed for failure in failures]
        names = {row.name for row in self._distributions(after)}
        found += [row for name in sorted(names) for row in self._distribution(name, after)]
        return Outcome(
            tuple(found), self._checked(worked, after), self._notes(known, answers, after)
        )

    def still_fails(self, after: Side, failure: Failure) -> bool:
        """Ask for one thing again, in processes of its own."""
        if failure.kind == "distribution":
            return bool(self._distribution(failure.subject, after))
        return any(self._confirmed(job, after) for job in self._jobs_of(failure))

    def _jobs_of(self, failure: Failure) -> Iterator[Job]:
        if failure.kind != "entry-point":
            yield ("import", failure.subject)
        for job in self._jobs:
            if job[0] == "entry-point" and f"{job[1]}:{job[2]}" == failure.subject:
                yield job

    @cached_property
    def _jobs(self) -> list[Job]:
        survey = self.before.survey
        modules = [name for name in sorted(survey.modules) if name not in self._exempt]
        points = [row[1:] for row in survey.entry_points if self._counts(row)]
        return [("import", name) for name in modules] + [
            ("entry-point", *row) for row in dict.fromkeys(points)
        ]

    @cached_property
    def _exempt(self) -> frozenset[str]:
        modules = self.before.survey.modules
        return frozenset(name for name, files in modules.items() if self.removed.issuperset(files))

    def _counts(self, point: EntryPoint) -> bool:
        """Tell whether an entry point is one of the package's and is not left out on purpose."""
        owner, _, _, value = point
        module = value.partition(":")[0].strip()
        there = self.before.survey.distributions[owner]["where"] == "tree"
        return there and module not in self._exempt

    @cached_property
    def _together(self) -> Mapping[Job, Answer]:
        """What every job answered before, one after the other in one process."""
        return dict(zip(self._jobs, self.before.probe.ask(self._jobs), strict=True))

    def _was(self, job: Job) -> Answer:
        """Return what a job answered before, in a process of its own."""
        if job not in self._alone:
            self._alone[job] = self.before.probe.alone(job)
        return self._alone[job]

    def _confirmed(self, job: Job, after: Side) -> list[Failure]:
        """Return the failures that remain when nothing else was imported in the same process."""
        now = after.probe.alone(job)
        was = self._was(job)
        if was.error is not None:
            return []
        failures = self._failures(job, was, now, after)
        if any(failure.kind == "names" for failure in failures):
            # What comes and goes by itself was not lost.
            again = self.before.probe.alone(job)
            steady = Answer(names=was.names & (again.names | again.modules), where=was.where)
            return self._failures(job, steady, now, after)
        return failures

    def _failures(self, job: Job, was: Answer, now: Answer, after: Side) -> list[Failure]:
        subject = job[1] if job[0] == "import" else f"{job[1]}:{job[2]}"
        if now.error is not None:
            if job[0] == "entry-point":
                dropped = self._point_dropped(job, after)
                return [] if dropped else [Failure("entry-point", subject, "loads", now.error)]
            if self._in_other_version(subject, now, after):
                return []
            return [Failure("import", subject, "imports", now.error)]
        lost = was.names - now.names - now.modules
        if job[0] == "import" and lost and now.where != "beside":
            before = f"{len(was.names):,} public names"
            return [Failure("names", subject, before, f"lacks {_listed(lost)}")]
        return []

    def _point_dropped(self, job: Job, after: Side) -> bool:
        """Tell whether an entry point belongs to a distribution that the runtime now provides."""
        points = self.before.survey.entry_points
        owners = [row[0] for row in points if row[1:] == job[1:]]
        there = after.survey.distributions
        return all(there.get(owner, {}).get("where") == "beside" for owner in owners)

    def _in_other_version(self, name: str, now: Answer, after: Side) -> bool:
        """Tell whether a submodule is missing because the runtime has another version of it."""
        top = name.partition(".")[0]
        gone = name not in after.survey.modules and top in self.provided
        lacks = now.missing is not None and f"{name}.".startswith(f"{now.missing}.")
        return gone and lacks and now.missing != top

    def _distributions(self, after: Side) -> Iterator[_Distribution]:
        """Yield the package's distributions but for those that were left out altogether."""
        for key, was in self.before.survey.distributions.items():
            if was["where"] == "tree" and not self._left_out(was["packages"]):
                yield _Distribution(key, was, after.survey.distributions.get(key))

    def _left_out(self, packages: Sequence[str]) -> bool:
        names = [
            name for name in self.before.survey.modules if name.partition(".")[0] in set(packages)
        ]
        return bool(names) and self._exempt.issuperset(names)

    def _distribution(self, name: str, after: Side) -> list[Failure]:
        rows = [row for row in self._distributions(after) if row.name == name]
        return [failure for row in rows if (failure := row.failure())]

    def _checked(self, worked: Iterable[Job], after: Side) -> dict[str, int]:
        imported = sum(job[0] == "import" for job in worked)
        points = sum(job[0] == "entry-point" for job in worked)
        found = sum(1 for _ in self._distributions(after))
        return dict(zip(_KINDS, (imported, imported, found, points), strict=True))

    def _notes(
        self, known: Mapping[Job, Answer], answers: Mapping[Job, Answer], after: Side
    ) -> tuple[str, ...]:
        worked = [job for job in self._jobs if known[job].error is None]
        failing = len(self._jobs) - len(worked)
        other = [
            job[1]
            for job in worked
            if job[0] == "import"
            and job[1] not in after.survey.modules
            and job[1].partition(".")[0] in self.provided
        ]
        notes = []
        if self._exempt:
            notes.append(f"{len(self._exempt):,} modules were left out on purpose: not imported")
        if failing:
            notes.append(f"{failing:,} modules and entry points do not load before: not compared")
        if other:
            lacked = [n for n in other if self._in_other_version(n, answers["import", n], after)]
            what = "modules are the runtime's now: only whether they import was compared"
            more = f", and its versions lack {_listed(lacked)}" if lacked else ""
            notes.append(f"{len(other):,} {what}{more}")
        return tuple(notes)


@dataclass(frozen=True)
class _Distribution:
    """What a distribution answered before, and what it answers after, None if nothing."""

    key: str
    was: Mapping[str, Any]
    now: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        return str(self.was["name"])

    def failure(self) -> Failure | None:
        if self.now is None:
            return self._failure(f"version {self.was['version']}", "is not found")
        if self.now["where"] == "beside":  # the runtime's, in its own version
            return None
        for what in ("name", "version", "requires"):
            if self.was[what] != self.now[what]:
                return self._failure(_shown(what, self.was[what]), _shown(what, self.now[what]))
        lost = set(self.was["packages"]) - set(self.now["packages"])
        if lost:
            before = f"packages_distributions() knows {_listed(self.was['packages'])}"
            return self._failure(before, f"it lacks {_listed(lost)}")
        return None

    def _failure(self, before: str, after: str) -> Failure:
        kind: Kind = "distribution"
        return Failure(kind, self.name, before, after)


def _shown(what: str, value: object) -> str:
    return f"{what} {_listed(value) if isinstance(value, list) else value}"


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN:,} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more if ordered else "nothing"


def worker_count() -> int:
    """Return how many processes work at once: two sides, or as many as there are processors."""
    return max(2, os.cpu_count() or 1)
