"""Which interpreter compiles: exactly the target's version, and bytecode that its runtime reads."""

from __future__ import annotations

import shutil
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from lambdaslim import interpreters
from lambdaslim.errors import TargetError
from lambdaslim.interpreters import Interpreter, ask, find

PYTHON = sys.version_info[:2]
MAGIC = int.from_bytes(MAGIC_NUMBER[:2], "little")


def test_the_running_interpreter_is_found() -> None:
    found = find(PYTHON, MAGIC)
    assert found is not None
    assert (found.python, found.magic) == (PYTHON, MAGIC)


def test_an_interpreter_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(TargetError, match=r"no released CPython 3\.8"):
        find((3, 8), 3413, sys.executable)


def test_a_pre_release_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its magic number is another one, so Lambda could not load what it compiles."""
    early = Interpreter(Path("python3.99"), (3, 99), "3.99.0a3", 4000)
    monkeypatch.setattr(interpreters, "ask", lambda _: early)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"{path}/{name}")
    assert find((3, 99), 4000) == early
    assert find((3, 99), 4001) is None
    with pytest.raises(TargetError, match="no released CPython"):
        find((3, 99), 4001, "python3.99")


@pytest.mark.parametrize("text", ["exit 1", "echo nonsense", "echo '3.13|3.13.0|pypy|3571'"])
def test_what_is_no_cpython_is_no_interpreter(tmp_path: Path, text: str) -> None:
    if sys.platform == "win32":
        pytest.skip("a shell script stands for an interpreter")
    script = tmp_path / "python3.13"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    assert ask(str(script)) is None
