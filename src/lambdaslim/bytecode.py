"""Compiles sources to canonical `.pyc` files in an interpreter of the target's version.

The same source, path and interpreter version give the same bytes: unchecked-hash header (so the
dates of a zip cannot make it stale), a file name below the function's directory, no column tables,
and no trace of what else was compiled, where, or in what order.
"""

from __future__ import annotations

import hashlib
import os
import queue
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lambdaslim.cache import Cache, code_version
from lambdaslim.errors import BytecodeError
from lambdaslim.interpreters import Interpreter

#: Where Lambda unpacks a function; a layer's Python files are below /opt/python.
TASK_ROOT = "/var/task"
#: Bytes before the payload of an answer: one for its kind, four for its size.
_ANSWER_HEAD = 5
# Jobs that a process is given, and bytes of one that are sure to fit into an empty pipe.
_AT_ONCE = 2
_AHEAD = 60_000 if sys.platform == "linux" else 0
# Seconds between two looks at the processes.
_TICK = 0.5
_CRASHED = "the compiler crashed on this source, twice"
_HUNG = "the compiler did not finish with this source"
# Seconds that a source may take, and bytes a second on top; compilers do a hundred times as many.
_PATIENCE, _SLOWEST = 60.0, 100_000
_WORKER = Path(__file__).with_name("compile_worker.py")
# The code on which the answers depend.
_CODE = tuple(
    str(_WORKER.with_name(name))
    for name in ("compile_worker.py", "canonical.py", "spelling.py", "docstrings.py")
)
_DOCSTRING_WORKER = Path(__file__).with_name("docstrings.py")
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
    """The answer for one source: a whole `.pyc` (or a source, if that was asked), or why not.

    `compiled` tells that a compiler was asked, `crashed` that it gave no answer.
    """

    pyc: bytes | None
    error: str | None
    compiled: bool = True
    crashed: bool = False


def compile_all(  # noqa: PLR0913 - how to compile, by keyword
    sources: Iterable[Source],
    interpreter: Interpreter,
    *,
    root: str = TASK_ROOT,
    optimize: int = 0,
    workers: int | None = None,
    cache: Cache | None = None,
) -> dict[str, Compiled]:
    """Compile sources in `workers` processes of `interpreter` (default: one per processor).

    A source that does not compile, or that crashes the compiler, has an `error` in its answer and
    does not disturb the others. Before a crash counts, the source is tried once more in a process
    of its own: the machine may have been short of memory. What the same interpreter has made of a
    source before is taken from `cache`, and the interpreter is not even started if that is all.

    Returns:
        the answers by path, in the order of the sources.

    Raises:
        BytecodeError: the interpreter cannot be run, compiles nothing at all, or answers something
            else than bytecode.
    """
    known = _Known(cache or Cache(None), "bytecode", interpreter, root.rstrip("/"), str(optimize))
    return _asked(sources, known, workers)


def _asked(sources: Iterable[Source], known: _Known, workers: int | None) -> dict[str, Compiled]:
    """Return what is known of sources, and what the interpreter answers for all others."""
    found = {source.path: known.get(source) or source for source in sources}
    wanted = [source for source in found.values() if isinstance(source, Source)]
    make = partial(_Worker, known.interpreter, known.root, known.task)
    answers = _answers(make, wanted, workers or os.cpu_count() or 1)
    crashed = [source for source in wanted if answers[source.path].crashed]
    if crashed:
        _demand_an_answer(make, known.interpreter)
        for source in crashed:
            answers |= _answers(make, [source], 1)
    for source in wanted:
        known.put(source, answers[source.path])
    return {
        path: answers[path] if isinstance(answer, Source) else answer
        for path, answer in found.items()
    }


@dataclass(frozen=True, slots=True)
class _Known:
    """What a cache has of the answers of one interpreter to one task of `compile_worker`.

    The answers also depend on `root`, "" if they do not depend on where a source is.
    """

    cache: Cache
    kind: str
    interpreter: Interpreter
    root: str
    task: str

    def _key(self, source: Source) -> str:
        compiler = (self.interpreter.version, self.interpreter.build, *_FLAGS, code_version(*_CODE))
        digest = hashlib.sha256(source.data).hexdigest()
        place = f"{self.root}/{source.path}" if self.root else ""
        return f"{' '.join(compiler)} {self.task} {digest} {place}"

    def get(self, source: Source) -> Compiled | None:
        answer = self.cache.get(self.kind, self._key(source)) if self.cache else None
        if not answer:
            return None
        if answer[0]:
            made = answer[1:]
            ours = self.kind != "bytecode" or made[:8] == _header(self.interpreter)
            return Compiled(made, None) if ours else None
        return Compiled(None, answer[1:].decode("utf-8", "replace"))

    def put(self, source: Source, answer: Compiled) -> None:
        if answer.crashed or not self.cache:
            return
        data = b"\0" + str(answer.error).encode() if answer.pyc is None else b"\1" + answer.pyc
        self.cache.put(self.kind, self._key(source), data)


def _header(interpreter: Interpreter) -> bytes:
    """Return how a pyc begins whose source nobody compares with it (PEP 552)."""
    return interpreter.magic.to_bytes(2, "little") + b"\r\n\x01\0\0\0"


def blank_docstrings(
    sources: Iterable[Source],
    interpreter: Interpreter,
    *,
    everywhere: bool = False,
    workers: int | None = None,
    cache: Cache | None = None,
) -> dict[str, bytes]:
    """Return the sources that have docstrings without them, by path; see `docstrings`.

    The target's own parser decides what is one, so that the result does not depend on the Python
    that runs lambdaslim. A source that it does not parse, or that crashes it, is not in the answer.

    Args:
        sources: what to look at.
        interpreter: a Python of the target's version.
        everywhere: also where decorators, bases or metaclasses may look at docstrings.
        workers: how many processes (default: one per processor).
        cache: keeps what came of each source.

    Raises:
        BytecodeError: the interpreter cannot be run, or answers nothing at all.
    """
    task = "everywhere" if everywhere else "out-of-sight"
    known = _Known(cache or Cache(None), "without-docstrings", interpreter, "", task)
    answers = _asked(sources, known, workers)
    return {path: one.pyc for path, one in answers.items() if one.pyc is not None}


_Make = Callable[["queue.SimpleQueue[Source]"], "_Worker"]


def _answers(make: _Make, sources: Sequence[Source], workers: int) -> dict[str, Compiled]:
    jobs: queue.SimpleQueue[Source] = queue.SimpleQueue()
    # The largest first, so that none is left to one process at the end.
    for source in sorted(sources, key=lambda source: -len(source.data)):
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
    """Feeds one process with jobs of the common queue.

    While the process compiles one source, the next one lies in its pipe already, so that it never
    waits.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        root: str,
        task: str,
        jobs: queue.SimpleQueue[Source],
    ) -> None:
        super().__init__(daemon=True)
        self.interpreter = interpreter
        self.root = root.rstrip("/")
        self.task = task
        self.jobs = jobs
        self.answers: dict[str, Compiled] = {}
        self.failure: BaseException | None = None
        # What the process has been given and not answered, and a job that has to wait for that.
        self._given: deque[Source] = deque()
        self._next: Source | None = None
        # The process at work and when its answer is due, None between two answers.
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
            while self._give(process):
                source = self._given[0]
                latest = time.monotonic() + _PATIENCE + len(source.data) / _SLOWEST
                self._at_work = process, latest
                self.answers[source.path] = answer = self._received(process)
                self._at_work = None
                self._given.popleft()
                if answer.crashed:
                    self._take_back()
                    _end(process)
                    process = self._spawn()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            self.failure = error
        finally:
            if process is not None:
                _end(process)

    def _give(self, process: subprocess.Popen[bytes]) -> bool:
        """Give the process what it can take; return whether it has anything to do."""
        while len(self._given) < _AT_ONCE and (source := self._taken()):
            name = f"{self.root}/{source.path}".encode()
            head = struct.pack("<II", len(name), len(source.data))
            job = head + name + source.data
            # A job that does not fit into the pipe would wait for a process that waits for us.
            if self._given and len(job) > _AHEAD:
                self._next = source
                break
            self._given.append(source)
            assert process.stdin is not None  # noqa: S101 - we asked for pipes
            with suppress(OSError):  # seen as a crash when there is no answer
                process.stdin.write(job)
                process.stdin.flush()
        return bool(self._given)

    def _taken(self) -> Source | None:
        source, self._next = self._next, None
        if source is None:
            with suppress(queue.Empty):
                source = self.jobs.get_nowait()
        return source

    def _take_back(self) -> None:
        """Let others have what a process that crashed was given beyond the source at fault."""
        for source in self._given:
            self.jobs.put(source)
        self._given.clear()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self.interpreter.executable), *_FLAGS, str(_WORKER), self.task]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise self._failed(f"cannot be run: {error}") from error

    def _received(self, process: subprocess.Popen[bytes]) -> Compiled:
        assert process.stdout is not None  # noqa: S101 - we asked for pipes
        head = process.stdout.read(_ANSWER_HEAD)
        size = int.from_bytes(head[1:], "little")
        payload = process.stdout.read(size)
        if len(head) < _ANSWER_HEAD or len(payload) < size:
            return self._crash()
        if head[0]:
            # A level of optimisation is what asks for bytecode.
            return Compiled(self._checked(payload) if self.task.isdigit() else payload, None)
        return Compiled(None, payload.decode("utf-8", "replace"))

    def _crash(self) -> Compiled:
        late = self._at_work is not None and time.monotonic() > self._at_work[1]
        return Compiled(None, _HUNG if late else _CRASHED, crashed=True)

    def _checked(self, pyc: bytes) -> bytes:
        if pyc[:8] != _header(self.interpreter):
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
