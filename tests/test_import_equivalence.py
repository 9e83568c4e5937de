"""What a generated tree let the target import, it lets it import when bytecode is in its place."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disk import environment, populate
from interpreters import find_interpreters
from lambdaslim import Pipeline, Result, Tree, scan, write_dir
from lambdaslim.passes import PromoteBytecode, StripBytecode
from lambdaslim.passes.promote_bytecode import MODES, Mode

VERSIONS = [(3, minor) for minor in range(9, 16)]
NAMES = ("a", "b", "c")
DEPTH = 3

# Runs in the target. For each of the trees: how every name imports, and how `python -m` runs it.
PROBE = r"""
import importlib, json, os, runpy, subprocess, sys, warnings
warnings.simplefilter("ignore")

def looked(name):
    module = importlib.import_module(name)
    spec = module.__spec__
    kind = "package" if spec.submodule_search_locations is not None else "module"
    return [kind, spec.origin is None, module.__doc__, sorted(
        (key, value) for key, value in vars(module).items() if isinstance(value, (str, int))
        and not key.startswith("__"))]

def ran(name):
    return sorted((k, v) for k, v in runpy.run_module(name).items() if k == "VALUE")

def outcome(function, name, before):
    try:
        return function(name)
    except BaseException as error:
        return type(error).__name__
    finally:
        for loaded in set(sys.modules) - before:
            del sys.modules[loaded]

looked("json.tool"), runpy.run_module("keyword")
found = []
for tree, names in json.load(sys.stdin):
    sys.path.insert(0, tree)
    importlib.invalidate_caches()
    before = set(sys.modules)
    found.append({f"{how.__name__} {name}": outcome(how, name, before)
                  for name in names for how in (looked, ran)})
    sys.path.remove(tree)
print(json.dumps(found))
"""
EXTENSION = """
import glob, importlib, json, sys, sysconfig
for path in sorted(glob.glob(sysconfig.get_config_var("DESTSHARED") + "/_[a-z]*.so")):
    name = path.rpartition("/")[2].partition(".")[0]
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    print(json.dumps([name, path, sysconfig.get_config_var("EXT_SUFFIX")]))
    break
"""


@dataclass(frozen=True)
class Extension:
    """A compiled module of the target's standard library: it loads from anywhere by its name."""

    name: str
    data: bytes
    suffix: str


@dataclass(frozen=True)
class Python:
    """An interpreter to be the target."""

    version: str
    executable: Path
    extension: Extension | None

    def asked(self, script: str, given: object = None) -> Any:  # noqa: ANN401 - JSON
        done = subprocess.run(
            [self.executable, "-I", "-S", "-B", "-c", script],
            input=json.dumps(given),
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None


@pytest.fixture(scope="module", params=VERSIONS, ids="{0[0]}.{0[1]}".format)
def python(request: pytest.FixtureRequest) -> Python:
    version: tuple[int, int] = request.param
    if version not in find_interpreters():
        pytest.skip("no CPython {}.{} on this machine".format(*version))
    bare = Python("{}.{}".format(*version), find_interpreters()[version], None)
    found = bare.asked(EXTENSION)
    if found is None:
        return bare
    name, path, suffix = found
    extension = Extension(name, Path(path).read_bytes(), suffix)
    return Python(bare.version, bare.executable, extension)


Files = Mapping[str, bytes]
BODIES = (
    "",
    "'''A docstring.'''\n",
    "def f():\n    return [x for x in range(3)]\nN = sum(f())\n",
    "import {0}\nX = {0}.__name__\n",
    "from . import {0}\nX = {0}.__name__\n",
    "from .{0} import VALUE as OTHER\n",
    "from {0} import *\n",
    "from .. import {0} as up\nX = up.__name__\n",
    "try:\n    import {0}.{1} as inner\nexcept ImportError as e:\n    X = type(e).__name__\n",
    "assert not __debug__, 'fails at import'\n",
    "print 'no grammar of any version'\n",
)
names = st.sampled_from(NAMES)
sources = st.builds(str.format, st.sampled_from(BODIES), names, names)
# What may stand under one name, several of them side by side: a module, a package, a directory
# without __init__, extensions of a foreign tag and one that cannot be loaded.
KINDS = ("module", "package", "namespace", "broken.so", "foreign.so", "main", "extension")


@st.composite
def trees(draw: st.DrawFn, depth: int = DEPTH) -> dict[str, str | None]:
    """Draw paths with their sources; None stands for a compiled extension."""
    files: dict[str, str | None] = {}
    for name in draw(st.lists(names, unique=True, max_size=3)):
        for kind in draw(st.lists(st.sampled_from(KINDS), unique=True, min_size=1, max_size=3)):
            files |= _standing(name, kind, draw)
            if kind in ("package", "namespace") and depth > 1:
                inside = draw(trees(depth - 1))
                files |= {f"{name}/{path}": text for path, text in inside.items()}
    return files


def _standing(name: str, kind: str, draw: st.DrawFn) -> dict[str, str | None]:
    source = draw(sources)
    standing: dict[str, dict[str, str | None]] = {
        "module": {f"{name}.py": source},
        "package": {f"{name}/__init__.py": source},
        "namespace": {f"{name}/c.py": source},
        "broken.so": {f"{name}.so": "no library", f"{name}.py": source},
        "foreign.so": {f"{name}.cpython-36m-darwin.so": "of another system", f"{name}.py": source},
        "main": {f"{name}/__init__.py": "", f"{name}/__main__.py": source},
        "extension": {f"{name}/EXTENSION": None, f"{name}/EXTENSION.py": source},
    }
    return standing[kind]


def contents(files: Mapping[str, str | None], extension: Extension | None) -> Files:
    """Return the files as bytes: each source tells its own path, extensions get their names."""
    made: dict[str, bytes] = {}
    for path, text in files.items():
        if text is None:
            if extension:
                place = path.replace("EXTENSION", extension.name + extension.suffix)
                made[place] = extension.data
        else:
            place = path.replace("EXTENSION", extension.name if extension else "d")
            own = f"{text}VALUE = {place!r}\n" if place.endswith(".py") else text
            made[place] = own.encode()
    return made


def dotted(files: Files) -> list[str]:
    """Return every name that a path of the tree might be imported by, and one that is not there."""
    found = {"a", "b", "c", "a.missing"}
    for path in files:
        parts = path.split("/")
        parts[-1] = parts[-1].partition(".")[0]
        found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return sorted(found)


def promoted(tree: Tree, python: Python, mode: Mode) -> Result:
    passes = PromoteBytecode(python.version, python.executable, mode=mode)
    return Pipeline((passes, StripBytecode(python.version))).run(tree)


@pytest.mark.interpreter
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(drawn=st.lists(trees().filter(bool), min_size=1, max_size=6), mode=st.sampled_from(MODES))
def test_every_name_imports_as_before(
    python: Python, drawn: list[dict[str, str | None]], mode: Mode
) -> None:
    with TemporaryDirectory() as scratch:
        before, after = [], []
        for number, files in enumerate(drawn):
            written = contents(files, python.extension)
            place = populate(Path(scratch) / f"{number}-before", written)
            slimmed = Path(scratch) / f"{number}-after"
            write_dir(promoted(scan(place), python, mode).after, slimmed)
            before.append([str(place), dotted(written)])
            after.append([str(slimmed), dotted(written)])
        assert python.asked(PROBE, before) == python.asked(PROBE, after)


@pytest.mark.interpreter
def test_the_probe_tells_trees_apart(python: Python, tmp_path: Path) -> None:
    """The instrument: a removed module, a lost `__init__` and another winner are noticed."""
    files = {"a/__init__.py": b"VALUE = 1\n", "a/b.py": b"VALUE = 2\n", "a.py": b"VALUE = 3\n"}
    whole = populate(tmp_path / "whole", files)

    def seen(place: Path) -> dict[str, object]:
        answer: list[dict[str, object]] = python.asked(PROBE, [[str(place), ["a", "a.b"]]])
        return answer[0]

    expected = seen(whole)
    for missing in files:
        others = {path: data for path, data in files.items() if path != missing}
        told = seen(populate(tmp_path / missing.replace("/", "-"), others))
        # The module beside a package is never looked at.
        assert (told == expected) == (missing == "a.py"), missing
