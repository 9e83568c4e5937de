"""Which interpreter compiles: exactly the target's version, and bytecode that its runtime reads."""

from __future__ import annotations

import shutil
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from lambdaslim import interpreters
from lambdaslim.errors import TargetError
from lambdaslim.interpreters import Interpreter, ask, find, how_to_get

PYTHON = sys.version_info[:2]
MAGIC = int.from_bytes(MAGIC_NUMBER[:2], "little")


def test_the_running_interpreter_is_found() -> None:
    here = find(PYTHON, MAGIC)
    assert here is not None
    assert (here.python, here.magic) == (PYTHON, MAGIC)


def test_an_interpreter_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(TargetError, match=r"not a released CPython 3\.8"):
        find((3, 8), 3413, sys.executable)


def test_a_pre_release_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its magic number is another one, so Lambda could not load what it compiles."""
    early = Interpreter(Path("python3.99"), (3, 99), "3.99.0a3", 4000)
    monkeypatch.setattr(interpreters, "ask", lambda _: early)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"{path}/{name}")
    assert find((3, 99), 4000) == early
    assert find((3, 99), 4001) is None
    with pytest.raises(TargetError, match="not a released CPython"):
        find((3, 99), 4001, "python3.99")


@pytest.mark.parametrize("text", ["exit 1", "echo nonsense", "echo '3.13|3.13.0|pypy|3571'"])
def test_what_is_no_cpython_is_no_interpreter(tmp_path: Path, text: str) -> None:
    if sys.platform == "win32":
        pytest.skip("a shell script stands for an interpreter")
    script = tmp_path / "python3.13"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    assert ask(str(script)) is None


# Where it is looked for. A script that answers like Python 3.99 stands for one.

WANTED = ((3, 99), 4000)


def fake_python(place: Path, version: str = "3.99.0", kind: str = "cpython") -> Path:
    short = ".".join(version.split(".")[:2])
    return script(place, f"echo '{short}|{version}|{kind}|4000'")


def script(place: Path, text: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return place


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory: `bin` is all there is on PATH, `home` is the user's home."""
    if sys.platform == "win32":
        pytest.skip("a shell script stands for an interpreter")
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    ask.cache_clear()
    return tmp_path


def found(place: Path) -> Interpreter:
    version = "3.99.0" if "versions" not in place.parts else place.parts[-3]
    return Interpreter(place, (3, 99), version, 4000)


def test_nothing_is_found_where_there_is_nothing(machine: Path) -> None:
    assert find(*WANTED) is None
    assert list(machine.iterdir())


def test_a_failing_shim_on_path_does_not_hide_the_next(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(machine / "bin" / "python3.99", "exit 127")
    second = fake_python(machine / "more" / "python3.99")
    monkeypatch.setenv("PATH", f"{machine / 'bin'}:{machine / 'more'}")
    assert find(*WANTED) == found(second)


def test_uv_is_asked_for_its_own_and_downloads_nothing(machine: Path) -> None:
    python = fake_python(machine / "uv" / "python3.99")
    told = 'echo "$@" "$UV_PYTHON_DOWNLOADS" "$UV_PYTHON_PREFERENCE"'
    script(machine / "bin" / "uv", f"{told} > {machine}/asked\necho {python}")
    assert find(*WANTED) == found(python)
    asked = (machine / "asked").read_text()
    assert asked == "python find --no-project --no-config 3.99 never only-managed\n"


def test_a_uv_that_fails_is_passed_over(machine: Path) -> None:
    script(machine / "bin" / "uv", "echo nonsense\nexit 2")
    python = fake_python(
        machine / "home" / ".pyenv" / "versions" / "3.99.1" / "bin" / "python", "3.99.1"
    )
    assert find(*WANTED) == found(python)


@pytest.mark.parametrize("told_by", ["home", "variable", "command"])
def test_the_newest_of_pyenv_is_taken(
    machine: Path, told_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine / "home" / ".pyenv" if told_by == "home" else machine / "opt"
    versions = ("3.9.9", "3.99.9", "3.99.10")
    newest = [fake_python(root / "versions" / v / "bin" / "python", v) for v in versions][-1]
    if told_by == "variable":
        monkeypatch.setenv("PYENV_ROOT", str(root))
    elif told_by == "command":
        script(machine / "bin" / "pyenv", f"[ $1 = root ] && echo {root}")
    assert find(*WANTED) == found(newest)


def test_the_launcher_is_asked_last(machine: Path) -> None:
    python = fake_python(machine / "somewhere" / "python")
    script(machine / "bin" / "py", f'[ "$1" = -3.99 ] && echo {python}')
    assert find(*WANTED) == found(python)
    better = fake_python(machine / "bin" / "python3.99")
    assert find(*WANTED) == found(better)


@pytest.mark.parametrize("kind", ["cpythont", "pypy", "graalpy"])
def test_another_kind_of_python_does_not_count(machine: Path, kind: str) -> None:
    fake_python(machine / "bin" / "python3.99", kind=kind)
    assert find(*WANTED) is None


def test_advice_names_the_ways_to_get_one() -> None:
    advice = how_to_get((3, 13))
    for way in ("uv python install 3.13", "pyenv install 3.13", "python3.13 on PATH"):
        assert way in advice
