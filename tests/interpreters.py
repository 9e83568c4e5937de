"""Finds the real CPython interpreters on this machine, for the tests that need other versions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

#: The versions that lambdaslim knows about.
VERSIONS = tuple((3, minor) for minor in range(8, 16))

_ASK = """
import json, sys
print(json.dumps([sys.implementation.name, sys.version_info[:2], sys.version_info[3]]))
"""


@cache
def find_interpreters() -> dict[tuple[int, int], Path]:
    """Return a working executable for each version of CPython 3.8 to 3.15 found here.

    Looked for, in this order: the directories in LAMBDASLIM_PYTHONS (separated like PATH), the
    running interpreter, PATH, and pyenv's versions. Each candidate is run, so a shim that leads
    nowhere, a pre-release and PyPy do not count.
    """
    found: dict[tuple[int, int], Path] = {}
    for candidate in dict.fromkeys(_candidates()):
        version = _version(candidate)
        if version in VERSIONS:
            found.setdefault(version, candidate)
    return dict(sorted(found.items()))


def _candidates() -> Iterator[Path]:
    names = [f"python{major}.{minor}" for major, minor in VERSIONS]
    for directory in os.environ.get("LAMBDASLIM_PYTHONS", "").split(os.pathsep):
        if directory:
            yield from (Path(directory) / name for name in [*names, "python3", "python"])
    yield Path(sys.executable)
    yield from (Path(path) for name in names if (path := shutil.which(name)))
    if root := _pyenv_root():
        yield from sorted(root.glob("versions/3.*/bin/python"))


def _pyenv_root() -> Path | None:
    """Return where pyenv keeps its versions: above its command, since HOME may be another one."""
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return None
    answer = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
    told = Path(answer.stdout.strip()) if answer.returncode == 0 else None
    roots = (told, *Path(pyenv).resolve().parents)
    return next((root for root in roots if root and (root / "versions").is_dir()), None)


def _version(python: Path) -> tuple[int, int] | None:
    """Return the (major, minor) of a released CPython, None for anything else."""
    if not os.access(python, os.X_OK) or python.is_dir():
        return None
    try:
        answer = subprocess.run(
            [python, "-I", "-c", _ASK], capture_output=True, text=True, check=True, timeout=30
        )
        name, (major, minor), level = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return (major, minor) if (name, level) == ("cpython", "final") else None
