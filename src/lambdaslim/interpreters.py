"""Finds the interpreter of a target's Python version on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lambdaslim.errors import TargetError

_ASK = (
    "import sys, importlib.util as u;"
    "print('%d.%d' % sys.version_info[:2], sys.version.split()[0], sys.implementation.name,"
    " int.from_bytes(u.MAGIC_NUMBER[:2], 'little'), sep='|')"
)
_TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython that answered: where it is, its full version, the magic number of its bytecode."""

    executable: Path
    python: tuple[int, int]
    version: str
    magic: int


def find(
    python: tuple[int, int], magic: int, executable: str | os.PathLike[str] | None = None
) -> Interpreter | None:
    """Return an interpreter of exactly this version, or None when the machine has none.

    Its bytecode must have the magic number that the runtime reads: a pre-release has another.

    Looks at `executable` if given, else at the running interpreter, then for `pythonX.Y` on PATH.
    Each is run once to prove its version: a name on PATH may be a shim that fails.

    Raises:
        TargetError: `executable` was given and is no CPython of this version.
    """
    name = "python{}.{}".format(*python)
    if executable is not None:
        found = ask(str(executable))
        if found is None or (found.python, found.magic) != (python, magic):
            raise TargetError(
                f"is no released CPython {name.removeprefix('python')}",
                where=str(executable),
                fix=f"give the path of a {name}, or none",
            )
        return found
    candidates = [sys.executable] if sys.version_info[:2] == python else []
    candidates += [path for path in (shutil.which(name),) if path]
    answers = (ask(candidate) for candidate in candidates if candidate)
    wanted = (python, magic)
    return next((one for one in answers if one and (one.python, one.magic) == wanted), None)


@cache
def ask(executable: str) -> Interpreter | None:
    """Run an interpreter and return what it is, or None when it is no CPython or fails."""
    try:
        done = subprocess.run(
            [executable, "-I", "-S", "-c", _ASK],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        short, version, implementation, magic = done.stdout.strip().split("|")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if implementation != "cpython":
        return None
    major, minor = (int(part) for part in short.split("."))
    return Interpreter(Path(executable), (major, minor), version, int(magic))
