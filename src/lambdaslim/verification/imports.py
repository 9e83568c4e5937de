"""Every module and entry point that loaded before loads after, with the same public names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lambdaslim.verification.metadata import listed
from lambdaslim.verification.processes import Answer, Job
from lambdaslim.verification.proof import Outcome, Progress
from lambdaslim.verification.side import EntryPoint, Side
from lambdaslim.verification.values import Failure

# Of more failures that read alike than this, only some are tried in processes of their own.
_MANY = 25
_SAMPLE = 8


@dataclass
class ImportsProof:
    """Imports all modules and loads all entry points.

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
    kinds: tuple[str, ...] = ("import", "names", "entry-point")
    _alone: dict[Job, Answer] = field(default_factory=dict, repr=False)

    def compare(self, after: Side) -> Outcome:
        """Import everything on both sides, and look closer at what differs."""
        jobs = self._jobs
        self.progress(f"importing {sum(map(_is_import, jobs)):,} modules, before and after")
        mine = self.before.around.pool.submit(lambda: self._together)
        answers = dict(zip(jobs, after.probe.ask(jobs), strict=True))
        known = mine.result()
        worked = [job for job in jobs if known[job].error is None]
        suspects = {job: self._failure(job, known[job], answers[job], after) for job in worked}
        failures = self._confirmed({job: one for job, one in suspects.items() if one}, after)
        imported = sum(map(_is_import, worked))
        counts = {"import": imported, "names": imported, "entry-point": len(worked) - imported}
        return Outcome(failures, counts, self._notes(worked, answers, after))

    def still_fails(self, after: Side, failures: Sequence[Failure]) -> bool:
        """Try the first alone, then all others together; only what fails alone fails."""
        jobs = [job for failure in failures for job in self._jobs_of(failure)]
        if jobs and self._alone_fails(jobs[0], after):
            return True
        others = jobs[1:]
        found = zip(others, after.probe.ask(others), strict=True)
        suspects = (j for j, now in found if self._failure(j, self._was(j), now, after))
        return any(self._alone_fails(job, after) for job in suspects)

    def _jobs_of(self, failure: Failure) -> list[Job]:
        return [job for job in self._jobs if _subject(job) == failure.subject]

    @cached_property
    def _jobs(self) -> list[Job]:
        survey = self.before.survey
        modules = [name for name in sorted(survey.modules) if name not in self._exempt]
        points = dict.fromkeys(row[1:] for row in survey.entry_points if self._counts(row))
        return [*(("import", name) for name in modules), *(("entry-point", *p) for p in points)]

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
        """Return what a job answered before, in a process of its own if it was ever asked there."""
        return self._alone.get(job) or self._together[job]

    def _confirmed(self, suspects: Mapping[Job, Failure], after: Side) -> tuple[Failure, ...]:
        """Return the failures that remain when nothing else was imported in the same process.

        Of many that read alike, some stand for all, unless one of them does not fail alone.
        """
        if not suspects:
            return ()
        self.progress(f"looking closer at {len(suspects):,} that differ")
        groups = _alike(suspects)
        found = self._each_alone([job for group in groups for job in _sample(group)], after)
        for group in groups:
            rest = [job for job in group if job not in found]
            if all(found[job] for job in _sample(group)):
                found |= {job: suspects[job] for job in rest}
            else:
                found |= self._each_alone(rest, after)
        return tuple(failure for job in suspects if (failure := found[job]))

    def _each_alone(self, jobs: Sequence[Job], after: Side) -> dict[Job, Failure | None]:
        answers = self.before.around.pool.map(lambda job: self._alone_fails(job, after), jobs)
        return dict(zip(jobs, answers, strict=True))

    def _alone_fails(self, job: Job, after: Side) -> Failure | None:
        """Return what fails in processes of its own, one before and one after."""
        now = after.probe.alone(job)
        if job not in self._alone:
            self._alone[job] = self.before.probe.alone(job)
        was = self._alone[job]
        failure = None if was.error else self._failure(job, was, now, after)
        if failure and failure.kind == "names":
            # What comes and goes by itself was not lost.
            again = self.before.probe.alone(job)
            steady = was.names & (again.names | again.modules)
            return self._failure(job, Answer(names=steady), now, after)
        return failure

    def _failure(self, job: Job, was: Answer, now: Answer, after: Side) -> Failure | None:
        subject = _subject(job)
        if now.error is not None:
            if not _is_import(job):
                dropped = self._point_dropped(job, after)
                return None if dropped else Failure("entry-point", subject, "loads", now.error)
            other = self._in_other_version(subject, now, after)
            return None if other else Failure("import", subject, "imports", now.error)
        lost = was.names - now.names - now.modules
        if lost and now.where != "beside":
            before = f"{len(was.names):,} public names"
            return Failure("names", subject, before, f"lacks {listed(lost)}")
        return None

    def _point_dropped(self, job: Job, after: Side) -> bool:
        """Tell whether an entry point belongs to a distribution that the runtime now provides."""
        points = self.before.survey.entry_points
        owners = [row[0] for row in points if row[1:] == job[1:]]
        there = after.survey.distributions
        return all(there.get(owner, {}).get("where") == "beside" for owner in owners)

    def _dropped(self, name: str, after: Side) -> bool:
        """Tell whether a module went, and the runtime has it or another version of it."""
        return name not in after.survey.modules and name.partition(".")[0] in self.provided

    def _in_other_version(self, name: str, now: Answer, after: Side) -> bool:
        """Tell whether a submodule is missing because the runtime has another version of it."""
        lacks = now.missing is not None and f"{name}.".startswith(f"{now.missing}.")
        return lacks and now.missing != name.partition(".")[0] and self._dropped(name, after)

    def _never_loaded(self, worked: Sequence[Job]) -> list[str]:
        """Return what did not load before, the user's own modules first: they should have."""
        known = {
            name for one in self.before.survey.distributions.values() for name in one["packages"]
        }
        loaded = set(worked)
        names = [_subject(job) for job in self._jobs if job not in loaded]
        return sorted(names, key=lambda name: (name.partition(".")[0] in known, name))

    def _notes(
        self, worked: Sequence[Job], answers: Mapping[Job, Answer], after: Side
    ) -> tuple[str, ...]:
        notes = []
        if self._exempt:
            notes.append(f"{len(self._exempt):,} modules were left out on purpose: not imported")
        if failing := self._never_loaded(worked):
            what = f"{len(failing):,} modules and entry points do not load before: not compared"
            notes.append(f"{what} ({listed(failing)})")
        other = [job for job in worked if _is_import(job) and self._dropped(job[1], after)]
        if other:
            lacked = [j[1] for j in other if self._in_other_version(j[1], answers[j], after)]
            what = "modules are the runtime's now: only whether they import was compared"
            more = f", and its versions lack {listed(lacked)}" if lacked else ""
            notes.append(f"{len(other):,} {what}{more}")
        return tuple(notes)


def _is_import(job: Job) -> bool:
    return job[0] == "import"


def _subject(job: Job) -> str:
    return job[1] if _is_import(job) else f"{job[1]}:{job[2]}"


def _alike(suspects: Mapping[Job, Failure]) -> list[list[Job]]:
    """Return jobs in groups whose failures differ only in what they quote."""
    groups: dict[tuple[str, str], list[Job]] = {}
    for job, failure in suspects.items():
        text = "" if failure.kind == "names" else re.sub(r"'[^']*'", "''", failure.after)
        groups.setdefault((failure.kind, text), []).append(job)
    return list(groups.values())


def _sample(group: Sequence[Job]) -> Iterable[Job]:
    return group if len(group) <= _MANY else group[:: len(group) // _SAMPLE]


def worker_count() -> int:
    """Return how many processes work at once: two sides, or as many as there are processors."""
    return max(2, os.cpu_count() or 1)
