#!/usr/bin/env python3
"""The eight sets of packages that the benchmarks measure, and the programs that prove them.

Usage: corpora.py [NAME ...]

Installs each set of corpora.toml at its pinned versions, once, into `.cache/corpora/NAME`, bytecode
included, and runs its program from programs/ on it. Other scripts import this one. The interpreter
must be of the version that corpora.toml names; `lambdaslim.interpreters` finds it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lambdaslim import runtimes
from lambdaslim.interpreters import find

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
# The slowest program takes ten seconds on a machine that does other things.
TIMEOUT = 300

# Runs a program as Lambda would run a function: the package first, .pth files read, what the
# runtime provides last, and nothing else of this machine. Some libraries read the end of the name
# of the main script.
RUN = """
import site, sys
package, provided, program = sys.argv[1:]
sys.path.insert(0, package)
site.addsitedir(package)
sys.path.append(provided)
sys.argv = [program]
with open(program, encoding="utf-8") as file:
    code = compile(file.read(), program, "exec")
exec(code, {"__name__": "__main__", "__file__": program})
"""


@dataclass(frozen=True, slots=True)
class Corpus:
    """One set of packages.

    Attributes:
        name: names its directory and its program.
        title: what tables call it.
        requirements: what was asked for.
        pins: everything that is installed, as `name==version`.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    pins: tuple[str, ...]

    @property
    def program(self) -> Path:
        """The program that has to print OK."""
        return HERE / "programs" / f"{self.name.replace('-', '_')}.py"


@dataclass(frozen=True, slots=True)
class Corpora:
    """What corpora.toml says."""

    python: str
    runtime: str
    architecture: str
    provided: tuple[str, ...]
    sets: dict[str, Corpus]


@cache
def load() -> Corpora:
    """Read corpora.toml."""
    data = tomllib.loads((HERE / "corpora.toml").read_text(encoding="utf-8"))
    sets = {
        name: Corpus(name, row["title"], tuple(row["requirements"]), tuple(row["pins"]))
        for name, row in data["corpora"].items()
    }
    provided = tuple(data["provided"])
    return Corpora(data["python"], data["runtime"], data["architecture"], provided, sets)


@cache
def python() -> Path:
    """Return the interpreter for which the corpora are installed."""
    runtime = runtimes.load(load().runtime)
    found = find(runtime.python, runtime.magic)
    return found.executable if found else sys.exit(f"no Python {load().python} on this machine")


def installed(name: str) -> Path:
    """Return the directory of a corpus, installed now or before. Nobody may change it."""
    return _installed(CACHE / "corpora" / name, load().sets[name].pins)


def provided() -> Path:
    """Return a directory with what the runtime provides."""
    return _installed(CACHE / "corpora" / "provided", load().provided)


def clean_environment() -> dict[str, str]:
    """Return this process's variables without those that change what Python and pip do."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in {"PIP_TARGET", "VIRTUAL_ENV"}
    }


def _installed(place: Path, pins: tuple[str, ...]) -> Path:
    """Install into a new directory and rename it, so that half an installation is never found."""
    mark = place.with_name(f"{place.name}.pins")
    wanted = "\n".join(pins) + "\n"
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        staged = Path(scratch) / "staged"
        pip = [sys.executable, "-m", "pip", "--python", str(python()), "install", "--quiet"]
        options = ["--no-deps", "--only-binary=:all:", "--target", str(staged)]
        done = subprocess.run(
            [*pip, *options, *pins],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"cannot install {place.name}:\n{done.stderr}")
        shutil.rmtree(place, ignore_errors=True)
        staged.rename(place)
    mark.write_text(wanted, encoding="utf-8")
    return place


def works(name: str, directory: Path) -> str:
    """Run the program of a corpus on a directory, and return "OK" or what went wrong in a line."""
    paths = [str(directory.resolve()), str(provided()), str(load().sets[name].program)]
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run(
                [str(python()), "-I", "-S", "-B", "-c", RUN, *paths],
                env=_function_environment(home),
                cwd=home,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer in {TIMEOUT} s"
    if done.stdout.endswith("OK\n"):
        return "OK"
    lines = done.stderr.strip().splitlines()
    return lines[-1][:200] if lines else f"ended with {done.returncode} and said nothing"


def _function_environment(home: str) -> dict[str, str]:
    """Return what a function's environment has in common with Lambda's; nothing is called up."""
    same = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # of the machine: what its processor takes
    return {
        **{name: os.environ[name] for name in same if name in os.environ},
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def chosen(names: list[str]) -> list[str]:
    """Return the given names, or all when none is given; an unknown one ends the script."""
    unknown = sorted(set(names) - set(load().sets))
    if unknown:
        sys.exit(f"no corpus {', '.join(unknown)}; there are {', '.join(load().sets)}")
    return names or list(load().sets)


def main() -> None:
    """Install, run the programs, and say where what is."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("names", nargs="*", metavar="NAME")
    for name in chosen(ask.parse_args().names):
        directory = installed(name)
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        print(f"{name:14} {size:>12,} {works(name, directory)}", flush=True)


if __name__ == "__main__":
    main()
