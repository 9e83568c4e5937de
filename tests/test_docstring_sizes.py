"""What docstrings take by their looks, against what blanking them saves."""

from __future__ import annotations

import sysconfig
import time
from pathlib import Path

import pytest

from lambdaslim.docstring_sizes import docstring_bytes
from lambdaslim.docstrings import Unchanged, stripped

TEXT = '"""Say it."""'


def saved(source: bytes, *, everywhere: bool) -> int:
    try:
        return len(source) - len(stripped(source, everywhere))
    except (Unchanged, SyntaxError):
        return 0


@pytest.mark.parametrize(
    "source",
    [
        f"{TEXT}\nx = 1\n",
        f"#!/bin/sh\n# A comment.\n\n{TEXT}\nx = 1\n",
        f"def f(\n    a=(1),\n) -> None:\n    {TEXT}\n    return a\n",
        f"async def f():  # why\n    {TEXT}\n    return 1\n",
        f"class C:\n    {TEXT}\n    x = 1\n\n    def f(self):\n        {TEXT}\n        return 1\n",
        f"class C():\n    {TEXT}\n    x = 1\n",
        f"call(\n)\ndef f():\n    {TEXT}\n    return 1\n",
        "def f():\n    r'''One\n    and two.\n    '''\n    return 1\n",
    ],
)
def test_a_docstring_out_of_sight_counts_with_its_lines(source: str) -> None:
    data = source.encode()
    assert docstring_bytes(data) == saved(data, everywhere=False) > 0


@pytest.mark.parametrize(
    "source",
    [
        f"x = {TEXT}\n",
        f"def f():\n    x = 1\n    {TEXT}\n",
        f"class C(B):\n    {TEXT}\n    x = 1\n",
        f"@register\ndef f():\n    {TEXT}\n    return 1\n",
        f"@register(\n    1,\n)\n@staticmethod\ndef f():\n    {TEXT}\n    return 1\n",
        'def f():\n    """never closed\n',
        "",
    ],
)
def test_other_texts_and_docstrings_in_sight_do_not_count(source: str) -> None:
    data = source.encode()
    assert docstring_bytes(data) == saved(data, everywhere=False) == 0


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_estimate_is_close_on_real_sources(everywhere: bool) -> None:  # noqa: FBT001
    library = Path(sysconfig.get_path("stdlib"))
    sources = [path.read_bytes() for path in sorted(library.glob("*.py"))]
    exact = sum(saved(source, everywhere=everywhere) for source in sources)
    about = sum(docstring_bytes(source, everywhere=everywhere) for source in sources)
    assert exact > 100_000
    assert about == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    "piece",
    ['"""a"""', ' x:\n """a"""\n', "  'x'\n", "'''", '"""\n', " " * 50, "def f(\n"],
)
def test_hostile_sources_take_bounded_time(piece: str) -> None:
    source = (piece * (1_000_000 // len(piece))).encode()
    start = time.process_time()
    docstring_bytes(source)
    assert time.process_time() - start < 5
