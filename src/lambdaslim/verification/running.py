"""The handler answers, and the user's command succeeds, as they did before."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from lambdaslim.bytecode import TASK_ROOT
from lambdaslim.errors import TargetError, UsageError
from lambdaslim.runtime_api import NoAnswerError, RuntimeApi
from lambdaslim.verification.processes import ISOLATED, end, status
from lambdaslim.verification.proof import Outcome, Progress
from lambdaslim.verification.side import Side
from lambdaslim.verification.values import Failure

_LONGEST = 200
# In the environment of the command, as the runtime does for a function.
_PATH_FILE = "import os, site; site.addsitedir(os.environ['LAMBDA_TASK_ROOT'])\n"


@dataclass(frozen=True, slots=True)
class _Said:
    """What became of an invocation: `kind` is "response", "error", "init/error" or "nothing"."""

    kind: str
    body: Any

    def line(self) -> str:
        """One line for people."""
        if isinstance(self.body, dict) and "errorMessage" in self.body and self.kind != "response":
            text = f"{self.body.get('errorType')}: {self.body['errorMessage']}"
        else:
            text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return _short(f"{self.kind}: {text}")

    def shape(self) -> object:
        """What is left of an answer that is never the same twice."""
        return self.kind, _shape(self.body)


@dataclass
class HandlerProof:
    """Invokes a handler with the real runtime client, on both sides.

    Attributes:
        before: the side whose answer is right.
        handler: "module.function".
        event: what it is given.
        client: a directory with `awslambdaric`.
        progress: called with a line before an invocation.
    """

    before: Side
    handler: str
    event: object
    client: Path
    progress: Progress
    kinds: tuple[str, ...] = ("handler",)
    _unsteady: bool = field(default=False, repr=False)

    def compare(self, after: Side) -> Outcome:
        """Invoke it once more, and compare."""
        failure = self._failure(after)
        notes = []
        if self._right.kind == "error":
            notes.append(f"the handler raises before too ({self._right.line()}): compared with it")
        if self._unsteady:
            notes.append(
                "the handler's answers differ by themselves: only their shape was compared"
            )
        return Outcome((failure,) if failure else (), {"handler": 1}, tuple(notes))

    def still_fails(self, after: Side, failures: Sequence[Failure]) -> bool:  # noqa: ARG002 - one
        """Invoke it again."""
        return self._failure(after) is not None

    def _failure(self, after: Side) -> Failure | None:
        right, now = self._right, self._said(after)
        if now == right:
            return None
        if not self._unsteady and self._said(self.before) != right:
            self._unsteady = True
        if self._unsteady and now.shape() == right.shape():
            return None
        return Failure("handler", self.handler, right.line(), now.line())

    @cached_property
    def _right(self) -> _Said:
        said = self._said(self.before)
        if said.kind in ("nothing", "init/error"):
            raise UsageError(
                f"does not answer, before anything was slimmed ({said.line()})",
                where=self.handler,
                fix="mend the package or the handler's name; its environment is clean: give the "
                "variables that it needs with --env (environment), and more time with --timeout",
            )
        return said

    def _said(self, side: Side) -> _Said:
        self.progress(f"invoking {self.handler}, {side.package.parent.name}")
        around = side.around
        with RuntimeApi(self.client, timeout=around.timeout) as api:
            try:
                answer = api.invoke(
                    side.package,
                    self.handler,
                    self.event,
                    around.interpreter.executable,
                    extra_path=around.beside,
                    variables=around.variables,
                )
            except NoAnswerError as error:
                return _Said("nothing", f"no answer within {around.timeout:g} s: {error}")
        body = json.loads(json.dumps(answer.body).replace(str(side.package), TASK_ROOT))
        if answer.kind != "response" and isinstance(body, dict):
            # The traceback has other lines when sources are gone.
            body = {key: body.get(key) for key in ("errorType", "errorMessage")}
        return _Said(answer.kind, body)


@dataclass
class CommandProof:
    """Runs a shell command in both packages; its exit code has to be 0.

    `python` and `python3` are the target's interpreter with the package, then what the runtime
    provides, on its path, and nothing else but the standard library.
    """

    before: Side
    command: str
    progress: Progress
    kinds: tuple[str, ...] = ("command",)

    def compare(self, after: Side) -> Outcome:
        """Run it in both."""
        self._demand()
        failure = self._failure(after)
        return Outcome((failure,) if failure else (), {"command": 1})

    def still_fails(self, after: Side, failures: Sequence[Failure]) -> bool:  # noqa: ARG002 - one
        """Run it again."""
        return self._failure(after) is not None

    def _failure(self, after: Side) -> Failure | None:
        error = self._error(after)
        return None if error is None else Failure("command", self.command, "exit code 0", error)

    def _demand(self) -> None:
        if self._succeeds is not None:
            raise UsageError(
                f"fails before slimming too ({self._succeeds})",
                where=self.command,
                fix="mend the command; it runs in the package, with a clean environment",
            )

    @cached_property
    def _succeeds(self) -> str | None:
        return self._error(self.before)

    @cached_property
    def _environment(self) -> Path:
        """A virtual environment of the target's interpreter with nothing installed."""
        around = self.before.around
        place = around.scratch / "venv"
        # Where a link leads is where the standard library is looked for.
        python = [str(around.interpreter.executable.resolve()), *ISOLATED]
        made = subprocess.run(
            [*python, "-m", "venv", "--without-pip", str(place)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise TargetError(
                f"makes no virtual environment: {_last_line(made.stderr)}",
                where=python[0],
                fix="install its venv module, or give another --interpreter",
            )
        for packages in place.glob("lib/python*/site-packages"):
            (packages / "lambdaslim.pth").write_text(_PATH_FILE, "utf-8")
        return place

    def _error(self, side: Side) -> str | None:
        """Return what went wrong in one line, None if nothing did."""
        self.progress(f"running {self.command!r}, {side.package.parent.name}")
        environment = side.environment
        environment |= {
            "PATH": f"{self._environment / 'bin'}:{environment['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, (side.package, *side.around.beside))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with tempfile.TemporaryFile() as log:
            code = _run(["sh", "-c", self.command], side, environment, log)
            log.seek(0)
            said = _last_line(log.read().decode("utf-8", "replace"))
        if code is None:
            return f"did not end within {side.around.timeout:g} seconds"
        return None if code == 0 else _short(f"{status(code)}: {said}")


def _run(
    command: Sequence[str], side: Side, environment: dict[str, str], log: IO[bytes]
) -> int | None:
    """Run a command to its end, or to the end of its time: then there is no exit code."""
    process = subprocess.Popen(
        command,
        cwd=side.package,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(side.around.timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end(process)


def _shape(value: object) -> object:
    """Return a JSON value with its types in place of its values."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _short(lines[-1]) if lines else "no output"
