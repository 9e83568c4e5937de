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
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lambdaslim.errors import BytecodeError
from lambdaslim.interpreters import Interpreter

#: Where Lambda unpacks a function; a layer's Python files are below /opt/python.
TASK_ROOT = "/var/task"
#: Bytes before the payload of an answer: one for its kind, four for its size.
_ANSWER_HEAD = 5
_CRASHED = "the compiler crashed on this source"
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

    `compiled` tells that a compiler was asked.
    """

    pyc: bytes | None
    error: str | None
    compiled: bool = True


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
    does not disturb the others.

    Returns:
        the answers by path, in the order of the sources.

    Raises:
        BytecodeError: the interpreter cannot be run, or answers something else than bytecode.
    """
    jobs: queue.SimpleQueue[Source] = queue.SimpleQueue()
    order: list[str] = []
    for source in sources:
        jobs.put(source)
        order.append(source.path)
    count = max(1, min(workers or os.cpu_count() or 1, jobs.qsize()))
    team = [_Worker(interpreter, root, optimize, jobs) for _ in range(count)]
    for worker in team:
        worker.start()
    for worker in team:
        worker.join()
    for worker in team:
        if worker.failure:
            raise worker.failure
    answers = {path: answer for worker in team for path, answer in worker.answers.items()}
    return {path: answers[path] for path in order}


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

    def run(self) -> None:
        process = None
        try:
            process = self._spawn()
            while True:
                source = self.jobs.get_nowait()
                self.answers[source.path] = answer = self._ask(process, source)
                if process.poll() is not None or answer.error == _CRASHED:
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
            return Compiled(None, _CRASHED)
        head = process.stdout.read(_ANSWER_HEAD)
        size = int.from_bytes(head[1:], "little")
        payload = process.stdout.read(size)
        if len(head) < _ANSWER_HEAD or len(payload) < size:
            return Compiled(None, _CRASHED)
        if head[0]:
            return Compiled(self._checked(payload), None)
        return Compiled(None, payload.decode("utf-8", "replace"))

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
