"""Runs the probe in the target's interpreter, past modules that crash it or never end."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lambdaslim.bytecode import TASK_ROOT
from lambdaslim.errors import TargetError

Job = tuple[str, ...]
_PROBE = Path(__file__).with_name("probe.py")
# As on Lambda's path: no site directories and no variables of this machine. -B: nothing is
# written into the tree.
ISOLATED = ("-I", "-S", "-B")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a job: nothing wrong, or an error in one line.

    Attributes:
        error: one line, None when it worked.
        missing: the module that a ModuleNotFoundError names.
        names: a module's public names but for modules.
        modules: its public names that are modules.
        where: "tree", "beside" (among what the runtime provides) or None.
        facts: everything that the probe sent.
    """

    error: str | None = None
    missing: str | None = None
    names: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    where: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Answer:
        """Read an answer as the probe writes it."""
        return cls(
            facts.get("error"),
            facts.get("missing"),
            frozenset(facts.get("names", ())),
            frozenset(facts.get("modules", ())),
            facts.get("where"),
            facts,
        )


class Running:
    """The processes of one verification, which can be ended together and for good."""

    def __init__(self) -> None:
        """Start with none."""
        self.stopped = False
        self._processes: set[subprocess.Popen[bytes]] = set()

    def stop(self) -> None:
        """End them all: another thread is waiting for each of them."""
        self.stopped = True
        for process in tuple(self._processes):
            end(process)

    @contextmanager
    def started(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process with pipes as stdin and stdout; end it after the block."""
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.add(process)
        try:
            if self.stopped:  # since this thread looked last
                end(process)
            yield process
        finally:
            end(process)
            self._processes.discard(process)


@dataclass(frozen=True, slots=True)
class Probe:
    """The interpreter, the package, what is beside it, and the process's surroundings.

    Attributes:
        executable: the target's interpreter.
        package: the directory that stands for /var/task.
        beside: directories of what the runtime provides.
        home: a scratch directory, where the process works.
        environment: all its variables.
        timeout: seconds that one job may take.
        running: where the process is known while it lasts.
    """

    executable: Path
    package: Path
    beside: tuple[Path, ...]
    home: Path
    environment: Mapping[str, str]
    timeout: float
    running: Running

    def ask(self, jobs: Sequence[Job]) -> list[Answer]:
        """Return the answers to jobs, done one after the other in as few processes as can be.

        Raises:
            TargetError: the interpreter cannot run the probe.
        """
        answers: list[Answer] = []
        while len(answers) < len(jobs):
            if self.running.stopped:
                return [*answers, *(Answer("stopped") for _ in jobs[len(answers) :])]
            answers += self._until_death(jobs[len(answers) :])
        return answers

    def alone(self, job: Job) -> Answer:
        """Return the answer to one job in a process of its own."""
        return self.ask([job])[0]

    def _until_death(self, jobs: Sequence[Job]) -> list[Answer]:
        """Return answers up to that of the job which ended the process, if one did."""
        command = [self.executable, *ISOLATED, "-W", "ignore", _PROBE, self.package, *self.beside]
        answers: list[Answer] = []
        with self.running.started([*map(str, command)], self.package, self.environment) as process:
            lines = _Lines(process, json.dumps(jobs).encode())
            if lines.next(self.timeout) is None and not self.running.stopped:
                raise self._unusable(lines)
            while len(answers) < len(jobs):
                line = lines.next(self.timeout)
                if line is None:
                    return [*answers, Answer(self._death(process, lines))]
                # An error that names a file names it as Lambda would.
                text = line.decode().replace(_quoted(self.package), _quoted(Path(TASK_ROOT)))
                answers.append(Answer.of(json.loads(text)))
        return answers

    def _death(self, process: subprocess.Popen[bytes], lines: _Lines) -> str:
        if not lines.ended:
            return f"no answer within {self.timeout:g} seconds"
        return f"the interpreter died: {status(process.wait())}"

    def _unusable(self, lines: _Lines) -> TargetError:
        why = "ended at once" if lines.ended else f"did not start within {self.timeout:g} seconds"
        return TargetError(
            f"cannot run the probe: it {why}; a .pth file of the package may do that",
            where=str(self.executable),
            fix="try `-I -S` with it by hand, or give another --interpreter",
        )


class _Lines:
    """The lines that a process writes to its stdout, each waited for no longer than one may."""

    def __init__(self, process: subprocess.Popen[bytes], text: bytes) -> None:
        """Give the process its stdin, and begin to read."""
        assert process.stdin is not None  # noqa: S101 - we asked for pipes
        assert process.stdout is not None  # noqa: S101 - we asked for pipes
        self.ended = False
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(process.stdout,), daemon=True).start()
        with suppress(OSError):
            process.stdin.write(text)
            process.stdin.close()
        self._process = process

    def _read(self, stream: IO[bytes]) -> None:
        # Closed here and nowhere else: closing waits for a reader, and a child may hold the pipe.
        with stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def next(self, timeout: float) -> bytes | None:
        """Return the next line; None when there is none in time or the process has ended."""
        latest = time.monotonic() + timeout
        while time.monotonic() < latest:
            # A child may hold the pipe open when the process itself has ended.
            dead = self._process.poll() is not None
            try:
                line = self._lines.get(timeout=0.5)
            except queue.Empty:
                line = None
                if not dead:
                    continue
            self.ended = not line
            return line if line and line.endswith(b"\n") else None
        return None


def _quoted(path: Path) -> str:
    return json.dumps(str(path))[1:-1]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started in a session of its own, with its children."""
    with suppress(OSError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def status(code: int) -> str:
    """Return in words how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
