"""`[tool.lambdaslim]`: what the command line leaves open, and what is refused."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from disk import environment
from lambdaslim import config
from lambdaslim.errors import ConfigError
from trees import PYTHON


def written(directory: Path, text: str) -> Path:
    path = directory / "pyproject.toml"
    path.write_text(text, "utf-8")
    return path


def given(**options: object) -> argparse.Namespace:
    return argparse.Namespace(**{**dict.fromkeys(config.KEYS), "config": None, **options})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('kep = ["a"]', r"kep is no option; did you mean keep\?"),
        ("zzz = 1", "zzz is no option; choose from runtime,"),
        ('keep = "a"', "keep is not a list of strings"),
        ("keep = [1]", "keep is not a list of strings"),
        ('strict = "yes"', "strict is not true or false"),
        ("strict = 1", "strict is not true or false"),
        ("optimize = true", "optimize is not a number"),
        ("keep = [", "is no TOML"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f"[tool.lambdaslim]\n{line}\n")
    with pytest.raises(ConfigError, match=message):
        config.load(path)


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1\n", "[project]\nname = 'x'\n"])
def test_a_file_without_the_table_says_nothing(tmp_path: Path, text: str) -> None:
    assert config.load(written(tmp_path, text)) == {}


@pytest.mark.parametrize("text", ["tool = 1\n[x]\n", "[tool]\nlambdaslim = 1\n"])
def test_a_table_that_is_none(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    if text.startswith("tool"):
        assert config.load(path) == {}
    else:
        with pytest.raises(ConfigError, match="is no table"):
            config.load(path)


def test_a_missing_file_is_an_error_only_if_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = given()
    config.complete(options)
    assert (options.preset, options.keep, options.runtime) == ("safe", [], None)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.complete(given(config="nowhere.toml"))


def test_the_command_line_goes_first_and_lists_add_up(tmp_path: Path) -> None:
    path = written(tmp_path, '[tool.lambdaslim]\nkeep = ["a"]\npreset = "classic"\noptimize = 1\n')
    options = given(config=str(path), keep=["b"], optimize=0)
    config.complete(options)
    assert (options.keep, options.preset, options.optimize) == (["a", "b"], "classic", 0)
    assert options.arch == "x86_64"


def test_the_command_reads_it(small: Path, tmp_path: Path) -> None:
    """As the diagnosis of a failed verification asks for."""
    text = f'[tool.lambdaslim]\nruntime = "python{PYTHON}"\nkeep = ["*.py"]\n'
    written(tmp_path, text)
    command = [sys.executable, "-m", "lambdaslim", "pack", str(small), "-o", "out.zip", "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = {row["reason"] for row in json.loads(done.stdout)["kept"]}
    assert "the keep pattern '*.py'" in kept


def test_a_runtime_is_needed_from_somewhere(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lambdaslim", "pack", str(small), "-o", "out.zip"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--runtime: is needed" in done.stderr
