"""What is to be verified, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lambdaslim.errors import UsageError

Kind = Literal["import", "names", "distribution", "entry-point", "handler", "command"]

#: Seconds for one import, one invocation, one run of the command.
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that worked before and does not after.

    Attributes:
        kind: what it is.
        subject: the module, the distribution, "group:name" of the entry point, the handler, or
            the command.
        before: what it answered before, in one line.
        after: what it answers after, such as "ModuleNotFoundError: No module named 'x'".
    """

    kind: Kind
    subject: str
    before: str
    after: str

    def __str__(self) -> str:
        """One line, for people."""
        return f"{self.kind} {self.subject}: {self.after} (before: {self.before})"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and what does not work any more.

    Attributes:
        failures: nothing if all that worked before works after.
        checked: how many of each kind worked before and were compared.
        notes: what limits the proof, a sentence each.
        python: the exact version of the interpreter.
    """

    failures: tuple[Failure, ...]
    checked: Mapping[str, int]
    notes: tuple[str, ...]
    python: str


@dataclass(frozen=True)
class Checks:
    """What to compare beside the imports.

    Attributes:
        handler: "module.function", to be invoked by the real runtime client.
        event: what the handler is given: anything that JSON can hold.
        run: a shell command, to be run in the package's directory.
        imports: whether to import all modules, and to ask for distributions and entry points.
        timeout: seconds for one import, one invocation, one run of the command.
        client: a directory with `awslambdaric` for the target; None installs one.
        environment: variables of the function. Beside those that Lambda sets, there are no others.

    Raises:
        UsageError: a handler without a dot, no check at all, or no time.
    """

    handler: str | None = None
    event: object = None
    run: str | None = None
    imports: bool = True
    timeout: float = TIMEOUT
    client: str | os.PathLike[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be checked."""
        if self.handler is not None and not all(self.handler.rpartition(".")):
            raise UsageError("is no handler", where=self.handler, fix="write it like app.handler")
        if not self.timeout > 0:  # which NaN is not either
            raise UsageError("leaves no time", where=str(self.timeout), fix="give some seconds")
        if not self.imports and self.handler is None and self.run is None:
            raise UsageError("nothing is to be checked", fix="name a handler or a command")
