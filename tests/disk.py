"""Small trees on disk, what they were like before, and other processes that work on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

import lambdaslim

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files and signals")
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="macOS and Windows hold no such file names or modes"
)

NOBODY = 65_534
_IMPORTABLE = (Path(lambdaslim.__file__).parents[1], Path(__file__).parent)
# What a subprocess does first to be nobody: root may read everything.
UNPRIVILEGED = f"""
import os
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""


def populate(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files (text as UTF-8) below a directory, which is made if need be; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        place = directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def populate_deep(directory: Path, levels: int, name: str = "d") -> Path:
    """Make `levels` directories in each other with one file in the last.

    Each is made from its parent's descriptor, since the whole path may be too long to be given.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    file = os.open("deep.py", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=descriptor)
    os.write(file, b"deep = True\n")
    os.close(file)
    os.close(descriptor)
    return directory


Snapshot = dict[str, tuple[int, int, int, bytes]]


def snapshot(directory: Path) -> Snapshot:
    """Return mode, date, inode and bytes of everything below a directory, and of itself."""
    return below(directory) | {".": (*_look(directory), b"")}


def below(directory: Path) -> Snapshot:
    """Return the same without the directory itself, whose date temporaries change."""
    found: Snapshot = {}
    for place in directory.rglob("*"):
        data = place.read_bytes() if place.is_file() else b""
        found[place.relative_to(directory).as_posix()] = (*_look(place), data)
    return found


def _look(place: Path) -> tuple[int, int, int]:
    status = place.lstat()
    return status.st_mode, status.st_mtime_ns, status.st_ino


def leftovers(directory: Path) -> list[str]:
    """Return the names in a directory that a temporary of lambdaslim has."""
    return sorted(place.name for place in directory.iterdir() if "lambdaslim" in place.name)


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without its Python options, and with `changes`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    clean["PYTHONPATH"] = os.pathsep.join(map(str, _IMPORTABLE))
    return {**clean, **(changes or {})}


def run_python(
    code: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 60,
    before: Callable[[], object] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run code that finds lambdaslim and this directory; `before` runs in the new process."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(env),
        cwd=cwd,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=before,
    )


@contextmanager
def started_python(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Start code that says when it is ready by a line; it is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def public_directory() -> Iterator[Path]:
    """Make a directory that every user can enter (pytest's own are private), and remove it."""
    place = Path(tempfile.mkdtemp(prefix="lambdaslim-test-")).resolve()
    place.chmod(0o755)
    try:
        yield place
    finally:
        for directory, names, _ in os.walk(place):
            for name in names:
                (Path(directory) / name).chmod(0o700)
        shutil.rmtree(place)
