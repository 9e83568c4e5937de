"""Compiles sources to canonical `.pyc` files in an interpreter of the target's version.

The same source, path and interpreter version give the same bytes: unchecked-hash header (so the
dates of a zip cannot make it stale), a file name below the function's directory, no column tables,
and no trace of what else was compiled, where, or in what order.
"""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lambdaslim.errors import BytecodeError
from lambdaslim.interpreters import Interpreter

#: Where Lambda unpacks a function; a layer's Python files are below /opt/python.
TASK_ROOT = "/var/task"
#: Bytes before the payload of an answer: one for its kind, four for its size.
_ANSWER_HEAD = 5
# Seconds between two looks at the processes.
_TICK = 0.5
_CRASHED = "the compiler crashed on this source, twice"
_HUNG = "the compiler did not finish with this source"
# Seconds that a source may take, and bytes a second on top; compilers do a hundred times as many.
_PATIENCE, _SLOWEST = 60.0, 100_000
_WORKER = Path(__file__).with_name("compile_worker.py")
# -I and -S keep the user's site out, -B writes nothing, no_debug_ranges leaves out the column
# tables (3.11 on), which only draw carets below source lines that the package no longer holds.
_FLAGS = ("-I", "-S", "-B", "-W", "ignore", "-X", "no_debug_ranges", "-X", "utf8")


@dataclass(frozen=True, slots=True)
class Source:
    """A source to compile: its path in the package and its bytes."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Compiled:
    """The answer for one source: a whole `.pyc`, or why there is none.

    `compiled` tells that a compiler was asked, `crashed` that it gave no answer.
    """

    pyc: bytes | None
    error: str | None
    compiled: bool = True
    crashed: bool = False


def compile_all(
    sources: Iterable[Source],
    interpreter: Interpreter,
    *,
    root: str = TASK_ROOT,
    optimize: int = 0,
    workers: int | None = None,
) -> dict[str, Compiled]:
    """Compile sources in `workers` processes of `interpreter` (default: one per processor).

    A source that does not compile, or that crashes the compiler, has an `error` in its answer and
    does not disturb the others. Before a crash counts, the source is tried once more in a process
    of its own: the machine may have been short of memory.

    Returns:
        the answers by path, in the order of the sources.

    Raises:
        BytecodeError: the interpreter cannot be run, compiles nothing at all, or answers something
            else than bytecode.
    """
    wanted = list(sources)
    make = partial(_Worker, interpreter, root, optimize)
    answers = _answers(make, wanted, workers or os.cpu_count() or 1)
    crashed = [source for source in wanted if answers[source.path].crashed]
    if crashed:
        _demand_an_answer(make, interpreter)
        for source in crashed:
            answers |= _answers(make, [source], 1)
    return {source.path: answers[source.path] for source in wanted}


_Make = Callable[["queue.SimpleQueue[Source]"], "_Worker"]


def _answers(make: _Make, sources: Sequence[Source], workers: int) -> dict[str, Compiled]:
    jobs: queue.SimpleQueue[Source] = queue.SimpleQueue()
    for source in sources:
        jobs.put(source)
    team = [make(jobs) for _ in range(max(1, min(workers, len(sources))))]
    for worker in team:
        worker.start()
    while any(worker.is_alive() for worker in team):
        for worker in team:
            worker.join(_TICK / len(team))
            worker.watch()
    for worker in team:
        if worker.failure:
            raise worker.failure
    return {path: answer for worker in team for path, answer in worker.answers.items()}


def _demand_an_answer(make: _Make, interpreter: Interpreter) -> None:
    """Raise unless the interpreter compiles an empty source: then the others are to blame."""
    if _answers(make, [Source("empty.py", b"")], 1)["empty.py"].crashed:
        what = "ends or hangs instead of compiling, even an empty source"
        fix = "give another --interpreter"
        raise BytecodeError(what, where=str(interpreter.executable), fix=fix)


class _Worker(threading.Thread):
    """Feeds one process with jobs of the common queue, one at a time."""

    def __init__(
        self,
        interpreter: Interpreter,
        root: str,
        optimize: int,
        jobs: queue.SimpleQueue[Source],
    ) -> None:
        super().__init__(daemon=True)
        self.interpreter = interpreter
        self.root = root.rstrip("/")
        self.optimize = optimize
        self.jobs = jobs
        self.answers: dict[str, Compiled] = {}
        self.failure: BaseException | None = None
        # The process at work and when it should be done, None between two sources.
        self._at_work: tuple[subprocess.Popen[bytes], float] | None = None

    def watch(self) -> None:
        """Kill a process that hangs, which its thread then takes for a crash."""
        at_work = self._at_work
        if at_work and time.monotonic() > at_work[1]:
            at_work[0].kill()

    def run(self) -> None:
        process = None
        try:
            process = self._spawn()
            while True:
                source = self.jobs.get_nowait()
                latest = time.monotonic() + _PATIENCE + len(source.data) / _SLOWEST
                self._at_work = process, latest
                self.answers[source.path] = answer = self._ask(process, source)
                self._at_work = None
                if process.poll() is not None or answer.crashed:
                    _end(process)
                    process = self._spawn()
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            self.failure = error
        finally:
            if process is not None:
                _end(process)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self.interpreter.executable), *_FLAGS, str(_WORKER), str(self.optimize)]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise self._failed(f"cannot be run: {error}") from error

    def _ask(self, process: subprocess.Popen[bytes], source: Source) -> Compiled:
        assert process.stdin is not None  # noqa: S101 - we asked for pipes
        assert process.stdout is not None  # noqa: S101 - we asked for pipes
        name = f"{self.root}/{source.path}".encode()
        try:
            head = struct.pack("<II", len(name), len(source.data))
            process.stdin.write(head + name + source.data)
            process.stdin.flush()
        except OSError:
            return self._crash()
        head = process.stdout.read(_ANSWER_HEAD)
        size = int.from_bytes(head[1:], "little")
        payload = process.stdout.read(size)
        if len(head) < _ANSWER_HEAD or len(payload) < size:
            return self._crash()
        if head[0]:
            return Compiled(self._checked(payload), None)
        return Compiled(None, payload.decode("utf-8", "replace"))

    def _crash(self) -> Compiled:
        late = self._at_work is not None and time.monotonic() > self._at_work[1]
        return Compiled(None, _HUNG if late else _CRASHED, crashed=True)

    def _checked(self, pyc: bytes) -> bytes:
        expected = self.interpreter.magic.to_bytes(2, "little") + b"\r\n\x01\0\0\0"
        if pyc[:8] != expected:
            raise self._failed("answered something that is no unchecked-hash pyc")
        return pyc

    def _failed(self, why: str) -> BytecodeError:
        return BytecodeError(
            why, where=str(self.interpreter.executable), fix="give another --interpreter"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes, which ends the process; kill it if it does not listen."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
