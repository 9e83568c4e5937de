"""Docstrings go where no code needs them, and the program stays the same."""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreters import find_interpreters
from lambdaslim import Companion, Pipeline, Result, slim
from lambdaslim.bytecode import Source, blank_docstrings
from lambdaslim.docstrings import Unchanged, blanked, documented, in_sight, stripped
from lambdaslim.errors import TargetError
from lambdaslim.interpreters import ask
from lambdaslim.passes import PromoteBytecode, StripDocstrings
from trees import PYTHON, Data, dist, on_disk, tree_from

MODULE = '''\
#!/usr/bin/env python
"""A module.

It has more lines.
"""  # noqa
from __future__ import annotations

def plain(x):
    """Doubles."""
    assert x, "no docstring"
    return 2 * x

@register
def offered(x):
    """Doubles, for whoever registers it."""

@staticmethod
def indifferent():
    """Has a docstring only."""

class Plain:
    """A class."""

    attribute = 1
    """Its attribute."""

class Derived(Plain):
    """Another class."""

    async def method(self):
        """Waits."""
        def inner():
            "In one line."
            return 1
        return inner
'''
BLANKED = '''\
#!/usr/bin/env python




from __future__ import annotations

def plain(x):

    assert x, "no docstring"
    return 2 * x

@register
def offered(x):
    """Doubles, for whoever registers it."""

@staticmethod
def indifferent():
    pass

class Plain:


    attribute = 1
    """Its attribute."""

class Derived(Plain):
    """Another class."""

    async def method(self):

        def inner():

            return 1
        return inner
'''


END = re.compile(r", end_(?:lineno|col_offset)=\d+")


def run(
    files: dict[str, Data], mine: dict[str, Data] | None = None, *, own: bool = False
) -> Result:
    tree = tree_from(dist("pkg", files=files), mine or {})
    return Pipeline((StripDocstrings(PYTHON, own=own),)).run(tree)


def content(result: Result, path: str) -> str:
    return result.after[path].read().decode()


def test_docstrings_become_empty_lines() -> None:
    assert stripped(MODULE.encode(), everywhere=False).decode() == BLANKED


def test_everywhere_takes_all() -> None:
    new = stripped(MODULE.encode(), everywhere=True).decode()
    assert "Another" not in new
    assert "registers" not in new
    assert '"""Its attribute."""' in new
    assert new.count("\n") == MODULE.count("\n")


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n",
        "'doc'; x = 1\n",
        "def f(): 'doc'\n",
        "def f(): \\\n 'doc'\n",
        "b'no docstring'\n",
        "f'no docstring'\n",
        "# -*- coding: latin-1 -*-\n'doc'\n",
        "\ufeff'doc'\n",
        "'doc'\rx = 1\r",
    ],
)
def test_what_is_unusual_stays(source: str) -> None:
    with pytest.raises(Unchanged):
        stripped(source.encode(), everywhere=True)


@pytest.mark.parametrize(
    ("source", "new"),
    [
        ("'doc'\n'another'\n", "pass\n'another'\n"),
        ("def f():\n\t'a' \\\n\t'b'\n\treturn 1\n", "def f():\n\n\n\treturn 1\n"),
        ("def f():\r\n  'a'\r\n  return 1\r\n", "def f():\r\n\n  return 1\r\n"),
        ("# coding: utf-8\n'ä'\nx = 'ä'\n", "# coding: utf-8\n\nx = 'ä'\n"),
        ("class A:\n  'a'\n  # a comment\n", "class A:\n  pass\n  # a comment\n"),
        ("'doc'", ""),
        ("(\n'doc'\n)\nx = 1\n", "\n\n\nx = 1\n"),
    ],
)
def test_what_is_put_there(source: str, new: str) -> None:
    assert stripped(source.encode(), everywhere=True) == new.encode()


def proved(source: bytes) -> bool:
    """Tell whether a source has docstrings, and parses to the same tree when they are gone."""
    try:
        new = stripped(source, everywhere=True)
    except (Unchanged, SyntaxError, ValueError):
        return False
    tree = ast.parse(source)
    lines = source.split(b"\n")
    for node in documented(tree):
        first = node.body[0] if node.body else None
        if blanked(node, lines) and first is not None:
            stays = ast.Pass(lineno=first.lineno, col_offset=first.col_offset)
            put = lines[first.lineno - 1].strip() == b"pass"
            node.body[:1] = [stays] if put else []
    # The places where nodes start are compared too; a class of nothing but a docstring ends where
    # its `pass` ends.
    there, here = (ast.dump(one, include_attributes=True) for one in (tree, ast.parse(new)))
    assert END.sub("", there) == END.sub("", here)
    return True


def test_the_standard_library_is_the_same_program() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    sources = [*library.glob("*.py"), *library.glob("asyncio/*.py"), *library.glob("email/*.py")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sum(proved(path.read_bytes()) for path in sources) > 100


LINE = st.sampled_from(
    [
        "'''doc'''",
        '"doc"',
        "'a' 'b'",
        "x = 1",
        "pass",
        "# comment",
        "",
        "'''two",
        "lines'''",
        "('d')",
    ]
)
HEAD = st.sampled_from(["def f():", "class A:", "class B(A):", "if x:", "async def g(a='#'):  # c"])


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(LINE, HEAD)), max_size=12))
def test_any_source_is_the_same_program(lines: list[tuple[int, str]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proved("\n".join(" " * depth + line for depth, line in lines).encode())


@pytest.mark.interpreter
@pytest.mark.parametrize("version", find_interpreters(), ids="{0[0]}.{0[1]}".format)
def test_every_interpreter_finds_the_same(version: tuple[int, int]) -> None:
    interpreter = ask(find_interpreters()[version])
    assert interpreter is not None
    jobs = [Source("a.py", MODULE.encode()), Source("b.py", b"x ="), Source("c.py", b"x = 1")]
    assert blank_docstrings(jobs, interpreter) == {"a.py": BLANKED.encode()}
    found = blank_docstrings([Source("d.py", b"(\n'doc'\n)\nx = 1\n")], interpreter)
    assert found == {"d.py": b"\n\n\nx = 1\n"}


def test_a_decorator_of_an_attribute_and_a_call_are_seen() -> None:
    tree = ast.parse(
        "@a.setter\ndef f(): ...\n@lru_cache(1)\ndef g(): ...\n@a.b(1)\ndef h(): ...\n"
    )
    assert [in_sight(node) for node in tree.body if isinstance(node, ast.FunctionDef)] == [
        False,
        False,
        True,
    ]


def test_the_users_sources_stay_unless_asked() -> None:
    mine: dict[str, Data] = {"app.py": MODULE}
    assert content(run({"pkg/a.py": MODULE}, mine), "app.py") == MODULE
    assert content(run({"pkg/a.py": MODULE}, mine), "pkg/a.py") == BLANKED
    assert content(run({"pkg/a.py": MODULE}, mine, own=True), "app.py") == BLANKED


def test_scripts_and_data_stay() -> None:
    files: dict[str, Data] = {"pkg/__init__.py": "", "pkg/my-template/a.py": MODULE}
    assert run(files | {"bin/tool.py": MODULE}).changes == ()


@pytest.mark.parametrize(
    "reader",
    [
        "import inspect, pkg.a\ninspect.getsource(pkg.a)\n'pkg/a.py'\nopen('a.py')\n",
        "def use(f):\n    return f.__doc__.partition('x')\n",
        "from pkg.a import plain\nplain.__doc__ += 'more'\n",
    ],
)
def test_sources_that_code_needs_stay(reader: str) -> None:
    result = run({"pkg/__init__.py": "", "pkg/a.py": MODULE, "pkg/b.py": reader})
    assert content(result, "pkg/a.py") == MODULE
    assert "pkg/a.py" in {one.path for one in result.kept}


def test_a_second_run_changes_nothing() -> None:
    once = run({"pkg/a.py": MODULE}).after
    assert Pipeline((StripDocstrings(PYTHON),)).run(once).changes == ()


def test_without_an_interpreter_nothing_is_done() -> None:
    tree = tree_from(dist("pkg", files={"pkg/a.py": MODULE}))
    with pytest.raises(TargetError):
        StripDocstrings("2.7")
    result = Pipeline((StripDocstrings("3.8", Path(sys.executable).with_name("no-python")),))
    with pytest.raises(TargetError):
        result.run(tree)


def test_the_companion_holds_the_whole_source(tmp_path: Path) -> None:
    tree = tree_from(dist("pkg", files={"pkg/__init__.py": "", "pkg/a.py": MODULE}))
    place = on_disk(tree, tmp_path / "vendored")
    companion = tmp_path / "out.src.zip"
    slim(place, tmp_path / "out.zip", sources=companion, preset="small")
    assert Companion.read(companion).sources["pkg/a.py"].read() == MODULE.encode()


def test_bytecode_has_no_docstrings_and_all_assertions() -> None:
    tree = tree_from(dist("pkg", files={"pkg/__init__.py": "", "pkg/a.py": MODULE}))
    result = Pipeline((StripDocstrings(PYTHON), PromoteBytecode(PYTHON))).run(tree)
    code = result.after["pkg/a.pyc"].read()
    assert b"Doubles." not in code
    assert b"no docstring" in code
    assert b"Another class." in code
