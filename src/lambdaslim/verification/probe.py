"""Imports what it is told to, in the target's interpreter, and says what came of it.

This file is run as a script by CPython 3.8 to 3.15, so it is written for the oldest of them and
uses the standard library alone: lambdaslim itself may be too new for the interpreter, and on the
path must be only what is on the path of a Lambda function. Its arguments are the directory that
stands for /var/task, and those of what the runtime provides.

Jobs are read from stdin, a JSON list; each gets one line of JSON on what was stdout when the
script started. Before the first job both are replaced by the null device, so modules may print.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import site
import sys
import types
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Facts = dict[str, Any]

LONGEST = 300


class Channel:
    """The private way out: a descriptor that no module knows of."""

    def __init__(self) -> None:
        self.descriptor = os.dup(1)
        self.process = os.getpid()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        # A module may replace what the module os offers.
        self.write, self.pid, self.exit = os.write, os.getpid, os._exit

    def send(self, answer: Facts) -> None:
        """Write one line; a process that a module has forked off is ended instead."""
        if self.pid() != self.process:
            self.exit(0)
        data = json.dumps(answer).encode() + b"\n"
        while data:
            data = data[self.write(self.descriptor, data) :]


class Tree:
    """The package on the path, as it is in /var/task, and what is found there."""

    def __init__(self, directory: str, beside: list[str]) -> None:
        self.directory = directory
        self.beside = beside
        site.setquit()
        site.sethelper()
        site.setcopyright()
        sys.path[:0] = [directory, *beside]
        site.addsitedir(directory)

    def where(self, path: str | None) -> str | None:
        """Return "tree", "beside" or None for a path that is in neither."""
        for name, tops in (("tree", [self.directory]), ("beside", self.beside)):
            if path and any(path.startswith(top + os.sep) or path == top for top in tops):
                return name
        return None

    def modules(self) -> dict[str, list[str]]:
        """Return the files of every module that some entry of the path lets one import."""
        found: dict[str, list[str]] = {}
        for top in sys.path:
            if self.where(top) == "tree":
                for name, path in files_of_modules(top, ""):
                    relative = os.path.relpath(path, self.directory).replace(os.sep, "/")
                    found.setdefault(name, []).append(relative)
        return found


def files_of_modules(directory: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the modules below a directory and their files; `__main__` is a program."""
    suffixes = sorted(importlib.machinery.all_suffixes(), key=len, reverse=True)
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir():
            # At the top, bin holds programs.
            if entry.name.isidentifier() and (prefix or entry.name != "bin"):
                yield from files_of_modules(entry.path, prefix + entry.name + ".")
            continue
        stems = (entry.name[: -len(end)] for end in suffixes if entry.name.endswith(end))
        stem = next(stems, "")
        if stem == "__init__" and prefix:
            yield prefix[:-1], entry.path
        elif stem.isidentifier() and stem not in ("__init__", "__main__"):
            yield prefix + stem, entry.path


def survey(tree: Tree) -> Facts:
    """Return the modules, distributions and entry points that there are."""
    owned = owned_packages()
    found: Facts = {}
    points = []
    for one in importlib.metadata.distributions():
        facts = facts_of(one, tree)
        if facts and facts["key"] not in found:
            facts["packages"] = owned.get(facts["key"], [])
            found[facts["key"]] = facts
            points += [[facts["key"], p.group, p.name, p.value] for p in entry_points(one)]
    return {"modules": tree.modules(), "distributions": found, "entry_points": points}


def key_of(name: str) -> str:
    """Return a name in its normal form (PEP 503), but for runs of dashes."""
    return name.lower().replace("_", "-").replace(".", "-")


def facts_of(one: importlib.metadata.Distribution, tree: Tree) -> Facts | None:
    """Return what a distribution answers, None if it cannot say its name."""
    name = attempt(lambda: one.metadata["Name"])
    if not isinstance(name, str):
        return None
    return {
        "key": key_of(name),
        "name": name,
        "version": attempt(lambda: one.version),
        "requires": sorted(attempt(lambda: one.requires) or []),
        "where": tree.where(str(one.locate_file("")).rstrip(os.sep)),
    }


def entry_points(one: importlib.metadata.Distribution) -> list[importlib.metadata.EntryPoint]:
    """Return a distribution's entry points, none if they cannot be read."""
    return attempt(lambda: list(one.entry_points)) or []


def owned_packages() -> dict[str, list[str]]:
    """Return what `packages_distributions()` answers, by distribution; Python 3.10 brought it."""
    ask = getattr(importlib.metadata, "packages_distributions", dict)
    found: dict[str, list[str]] = {}
    for package, names in (attempt(ask) or {}).items():
        for name in set(names):
            if package.isidentifier() and isinstance(name, str):
                found.setdefault(key_of(name), []).append(package)
    return {name: sorted(packages) for name, packages in found.items()}


def attempt(ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is asked
    """Return the answer, or None if asking raises."""
    try:
        return ask()
    except Exception:  # noqa: BLE001 - metadata may be broken in any way
        return None


def imported(tree: Tree, name: str) -> Facts:
    """Import a module and return its public names.

    Names of modules stand apart: they appear when somebody else has imported a submodule. A name
    that only `__dir__` tells of is not looked up, which could load anything.
    """
    module = importlib.import_module(name)
    known = getattr(module, "__dict__", {})
    names = [one for one in dir(module) if not str(one).startswith("_")]
    modules = [one for one in names if isinstance(known.get(one), types.ModuleType)]
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
    plain = sorted(set(names) - set(modules))
    return {"names": plain, "modules": modules, "where": tree.where(file)}


def loaded(tree: Tree, group: str, name: str, value: str) -> Facts:  # noqa: ARG001 - a job
    """Load an entry point as programs do, by what `importlib.metadata` finds."""
    for one in importlib.metadata.distributions():
        for point in entry_points(one):
            if (point.group, point.name, point.value) == (group, name, value):
                point.load()
                return {}
    return {"error": "importlib.metadata does not find it"}


JOBS: dict[str, Callable[..., Facts]] = {
    "survey": survey,
    "import": imported,
    "entry-point": loaded,
}


def answer(tree: Tree, job: list[str]) -> Facts:
    """Do a job; whatever it raises is its answer."""
    try:
        return JOBS[job[0]](tree, *job[1:])
    except BaseException as error:  # noqa: BLE001 - modules raise SystemExit, and their own
        return {"error": described(error), "missing": getattr(error, "name", None)}


def described(error: BaseException) -> str:
    """Return an error in one line."""
    text = " ".join(str(attempt(lambda: str(error))).split())
    return f"{type(error).__name__}: {text}"[:LONGEST] if text else type(error).__name__


def main() -> None:
    """Answer all jobs, then end at once, whatever threads and hooks the modules have left."""
    directory, *beside = sys.argv[1:]
    jobs = json.loads(sys.stdin.buffer.read())
    channel = Channel()
    tree = Tree(directory, beside)
    home, path, variables = Path.cwd(), list(sys.path), dict(os.environ)
    channel.send({"python": sys.version.split()[0]})
    for job in jobs:
        # Every module gets what the first one got.
        sys.argv[:] = [""]
        channel.send(answer(tree, job))
        sys.path[:] = path
        os.chdir(home)
        os.environ.clear()
        os.environ.update(variables)
    channel.exit(0)


if __name__ == "__main__":
    main()
