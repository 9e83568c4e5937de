"""Finds the interpreter of a target's Python version on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lambdaslim.errors import TargetError

# A free-threaded build ("t" in abiflags) is another interpreter than Lambda's.
_ASK = (
    "import sys, importlib.util as u;"
    "print('%d.%d' % sys.version_info[:2], sys.version.split()[0],"
    " sys.implementation.name + getattr(sys, 'abiflags', '').replace('d', '').replace('m', ''),"
    " int.from_bytes(u.MAGIC_NUMBER[:2], 'little'), ' '.join(sys.version.split()), sep='|')"
)
_TIMEOUT = 30
_PYENV_LAYOUTS = ("versions/{}.*/bin/python", "pyenv-win/versions/{}.*/python.exe")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython that answered: where it is, its full version, the magic number of its bytecode.

    `build` is all that it says of itself (`sys.version`), on one line: two of one version may
    compile differently if somebody has patched one.
    """

    executable: Path
    python: tuple[int, int]
    version: str
    magic: int
    build: str = ""


def find(
    python: tuple[int, int], magic: int, executable: str | os.PathLike[str] | None = None
) -> Interpreter | None:
    """Return an interpreter of exactly this version, or None when the machine has none.

    Its bytecode must have the magic number that the runtime reads: a pre-release has another.

    Looks at `executable` if given, and else at, in this order: the running interpreter, every
    `pythonX.Y` on PATH, uv's interpreters, pyenv's, and what the `py` launcher knows. Each is run
    once to prove its version: a name on PATH may be a shim that fails. Nothing is downloaded.

    Raises:
        TargetError: `executable` was given and is no CPython of this version.
    """
    wanted = (python, magic)
    if executable is not None:
        return _demanded(os.fspath(executable), wanted)
    answers = (ask(candidate) for candidate in _candidates(python))
    return next((one for one in answers if one and (one.python, one.magic) == wanted), None)


def _demanded(executable: str, wanted: tuple[tuple[int, int], int]) -> Interpreter:
    """Return the interpreter at a path, or under a name on PATH; raise if it is another one."""
    place = shutil.which(executable) or executable
    found = ask(str(Path(place).absolute()))
    if found and (found.python, found.magic) == wanted:
        return found
    name = "{}.{}".format(*wanted[0])
    if found:
        what = f"is Python {found.version} and not a released CPython {name}"
    elif Path(place).exists():
        what = "does not run as a CPython"
    else:
        what = "is neither a file nor a command on PATH"
    fix = f"give the path of a python{name}, or leave the option out to have one looked for"
    raise TargetError(what, where=executable, fix=fix)


def how_to_get(python: tuple[int, int]) -> str:
    """Return what a user can do to have an interpreter of this version found, in one clause."""
    name = "{}.{}".format(*python)
    return (
        f"install one where it is looked for (`uv python install {name}`, `pyenv install {name}`, "
        f"or a python{name} on PATH), or give its path with --interpreter"
    )


def _candidates(python: tuple[int, int]) -> Iterator[str]:
    """Yield paths to try; the ways that run other programs come last and only if needed."""
    name = "{}.{}".format(*python)
    if sys.executable and sys.version_info[:2] == python:
        yield sys.executable
    for directory in os.get_exec_path():
        if path := shutil.which(f"python{name}", path=directory):
            yield path
    # uv looks at PATH too, and gives up at a shim that fails: only at its own ones it looks better.
    uv = {"UV_PYTHON_PREFERENCE": "only-managed", "UV_PYTHON_DOWNLOADS": "never"}
    yield from _told(["uv", "python", "find", "--no-project", "--no-config", name], uv)
    for root in _pyenv_roots():
        found = [path for layout in _PYENV_LAYOUTS for path in root.glob(layout.format(name))]
        yield from map(str, sorted(found, key=_numbers, reverse=True))
    yield from _told(["py", f"-{name}", "-c", "import sys; print(sys.executable)"])


def _told(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the line that a program prints, nothing if it is missing or fails."""
    program = shutil.which(command[0])
    if program is None:
        return
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(
            [program, *command[1:]],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
        yield from done.stdout.splitlines()[:1]


def _pyenv_roots() -> Iterator[Path]:
    """Yield where pyenv may keep its versions: it need not be on PATH, nor in the home."""
    if place := os.environ.get("PYENV_ROOT"):
        yield Path(place)
    with suppress(RuntimeError):  # a user without a home, as in many containers
        yield Path.home() / ".pyenv"
    yield from map(Path, _told(["pyenv", "root"]))


def _numbers(path: Path) -> tuple[list[int], str]:
    """Return a key by which 3.9.10 comes after 3.9.9."""
    return [int(number) for number in re.findall(r"\d+", path.as_posix())], str(path)


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
        short, version, implementation, magic, *build = done.stdout.strip().split("|", 4)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if implementation != "cpython":
        return None
    major, minor = (int(part) for part in short.split("."))
    return Interpreter(Path(executable), (major, minor), version, int(magic), "".join(build))
