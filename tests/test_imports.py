"""Which modules a file mentions: the same whatever Python looks, and what the parser would say."""

from __future__ import annotations

import ast
import os
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from disk import environment
from interpreters import find_interpreters
from lambdaslim import imports
from lambdaslim.imports import mentions

MODULES = ["a.tests", "b.c.tests", "pkg.tests", "pkg.sub.tests", "pkg.test", "tests"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.tests", ["a.tests"]),
        ("import x, a.tests as t, y", ["a.tests"]),
        ("if x: import a.tests.deep", ["a.tests"]),
        ("import tests", ["tests"]),
        ("from a import tests", ["a.tests"]),
        ("from a import (x,\n  # of y\n  tests as t,\n)", ["a.tests"]),
        ("from a import x, \\\n  tests", ["a.tests"]),
        ("from a.tests import *", ["a.tests"]),
        ("from . import tests", ["pkg.sub.tests"]),
        ("from .. import tests", ["pkg.tests"]),
        ("from ..tests.x import y", ["pkg.tests"]),
        ("from ... import tests", ["tests"]),
        ("from .tests import x; from a import y", ["pkg.sub.tests"]),
        ("lazy from a import tests", ["a.tests"]),
        ("type X = list[int]\nfrom a import tests", ["a.tests"]),
        ("x = f'{d['#']}'\nfrom a import tests", ["a.tests"]),
        ("print 'python 2'\nfrom a import tests", ["a.tests"]),
        ("import_module('a.tests')", ["a.tests"]),
        ("import_module('.tests', __package__)", ["pkg.sub.tests"]),
        ("import_module(f'{__package__}.tests')", ["pkg.sub.tests"]),
        ("run('a/tests/')", ["a.tests"]),
        ("x = ('a.'\n     'tests')", ["a.tests"]),
        ("x = r'a.tests' b''", ["a.tests"]),
        ("__all__ = ['x', 'tests']", ["pkg.sub.tests"]),
        ("__all__: list[str] = ['tests']", ["pkg.sub.tests"]),
        ("__all__ += [\n'tests',\n]", ["pkg.sub.tests"]),
        ("__import__('x', fromlist=['tests'])", ["pkg.sub.tests"]),
        ("attach(__name__, submodules={'tests'}, other=['test'])", ["pkg.sub.tests"]),
        ("raise X from a.tests", []),
        ("yield from tests", []),
        ("# import a.tests", []),
        ("'import a.tests'", []),
        ("'''\nimport a.tests\n'''", []),
        ("import atests, a.testsuite", []),
        ("tests = 1", []),
        ("print('tests')", []),
        ("", []),
    ],
)
def test_what_a_source_mentions(source: str, found: list[str]) -> None:
    assert sorted(mentions("pkg/sub/module.py", source.encode(), MODULES)) == found


def test_any_encoding_is_read() -> None:
    for text in ("# coding: latin-1\nx = 'é'\nimport a.tests", "# coding: no\nimport a.tests"):
        assert mentions("x.py", text.encode("latin-1"), MODULES) == {"a.tests"}
    assert mentions("x.py", b"\xff\nimport a.tests\n", MODULES) == {"a.tests"}
    assert mentions("x.py", b"\xef\xbb\xbfimport a.tests\n", MODULES) == {"a.tests"}


def test_it_finds_what_the_parser_finds() -> None:
    """Import statements of the standard library; strings are more than the parser tells."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py"))[::7]:
        data = path.read_bytes()
        try:
            tree = ast.parse(data)
        except (SyntaxError, ValueError):
            continue
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        expected = {alias.name for node in nodes for alias in node.names}
        assert expected <= set(imports._in_source(data, "package")), path


@pytest.mark.parametrize(
    "piece", ['"', "'", '"""a"b\\', "(", "from .", "import a,", "__all__ = [", "f'{", "\\", "\n("]
)
def test_hostile_sources_take_bounded_time(piece: str) -> None:
    started = time.perf_counter()
    mentions("a/b.py", piece.encode() * 50_000, MODULES)
    assert time.perf_counter() - started < 20


NEW = "type X = list[int]\nx = f'{d['a']}'\nfrom a import tests\n"
OLD = "print 'hello'\nexec 'x'\nfrom a import tests\n"
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from lambdaslim.imports import mentions
print(sorted(mentions("pkg/x.py", sys.argv[2].encode(), ["a.tests", "pkg.tests", "x.tests"])))
"""


@pytest.mark.interpreter
@pytest.mark.parametrize("source", [NEW, OLD], ids=["new", "old"])
def test_every_python_finds_the_same(source: str) -> None:
    """The grammar of the one that looks is no part of the answer."""
    place = str(Path(imports.__file__).parent.parent)
    for version, python in find_interpreters().items():
        if version >= (3, 11):
            command = [str(python), "-I", "-c", ASK, place, source]
            said = subprocess.check_output(command, env=environment(), text=True)
            assert said == "['a.tests']\n", version


HASHED = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from lambdaslim.tokens import decoded, tokens
whole = hashlib.sha256()
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        whole.update(repr(tokens(decoded(file.read()))).encode("utf-8", "replace"))
print(whole.hexdigest())
"""


def test_every_python_that_can_run_lambdaslim_sees_the_same_tokens(tmp_path: Path) -> None:
    """Their engines for regular expressions differ: that of 3.11.2 had faults."""
    tricky = tmp_path / "tricky.py"
    tricky.write_text(
        'class A:\n    """d "x" is.\n    """\n    x = 1\n\ty = r"\\"\nz = """ unfinished \\" "" ',
        encoding="utf-8",
    )
    files = [tricky, *sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))]
    pythons = {found for version, found in find_interpreters().items() if version >= (3, 11)}
    places = map(Path, os.environ["PATH"].split(os.pathsep))
    pythons |= {place / "python3" for place in places if _can_run(place / "python3")}
    root = Path(str(imports.__file__)).parent.parent
    seen = {
        subprocess.run(
            [python, "-I", "-c", HASHED, root, *files], capture_output=True, text=True, check=True
        ).stdout
        for python in pythons
    }
    assert len(seen) == 1


def _can_run(python: Path) -> bool:
    """Tell whether this is a Python of a version that lambdaslim runs in."""
    if not python.is_file():
        return False
    ask = "import sys; sys.exit(sys.version_info < (3, 11))"
    return (
        subprocess.run([python, "-I", "-c", ask], capture_output=True, check=False).returncode == 0
    )
